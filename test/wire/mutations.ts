/** Damaged bytes: every prefix of a sample, and changes of every single byte of it. */
export function* mutationsOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let length = 0; length < bytes.length; length++) yield bytes.slice(0, length);
  for (let place = 0; place < bytes.length; place++) {
    const was = bytes[place]!;
    // The ends of a byte, its neighbours, its continuation bit, and one value that depends on where it stands.
    for (const value of new Set([0, 0xff, was + 1, was - 1, was ^ 0x80, was ^ 0x07, place * 37])) {
      const changed = bytes.slice();
      changed[place] = value;
      if (changed[place] !== was) yield changed;
    }
  }
  for (let place = 0; place < bytes.length; place++) {
    yield Uint8Array.of(...bytes.subarray(0, place), ...bytes.subarray(place + 1));
  }
}
