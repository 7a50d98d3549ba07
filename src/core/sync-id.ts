/**
 * SyncId: the total order of everything (waku-sync: `SyncID`). On hot paths an id is a row of ten unsigned
 * 32-bit words: the timestamp in ns (high, low), then the message hash as eight big-endian words. Comparing
 * words compares times, then hash bytes; XOR of words is XOR of hashes; no BigInt and no byte loop is needed.
 */

/** Words of one id. */
export const ID_WORDS = 10;
/** Words of one hash or Waku fingerprint. */
export const HASH_WORDS = 8;
export const HASH_BYTES = 32;
/** Bytes of an id as stored in keys: time big-endian, then the hash. */
export const ID_BYTES = 40;
export const TIMESTAMP_MAX = 2n ** 63n - 1n;

const TIME_WORDS = 2;

/** Compares two rows; negative when a < b. */
export function compareIds(a: Uint32Array, aOffset: number, b: Uint32Array, bOffset: number): number {
  // Times first, out of the loop: they decide nearly always, and a search does nothing else.
  const high = a[aOffset]! - b[bOffset]!;
  if (high !== 0) return high;
  const low = a[aOffset + 1]! - b[bOffset + 1]!;
  if (low !== 0) return low;
  for (let word = TIME_WORDS; word < ID_WORDS; word++) {
    const difference = a[aOffset + word]! - b[bOffset + word]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

export function compareTimes(a: Uint32Array, aOffset: number, b: Uint32Array, bOffset: number): number {
  const high = a[aOffset]! - b[bOffset]!;
  return high !== 0 ? high : a[aOffset + 1]! - b[bOffset + 1]!;
}

/** The first id of a moment: (time, 32 zero bytes). A moment beyond the last one becomes the last one. */
export function boundAt(timestampNs: bigint): Uint32Array {
  const bound = new Uint32Array(ID_WORDS);
  setTime(bound, 0, timestampNs);
  return bound;
}

export function setTime(words: Uint32Array, offset: number, timestampNs: bigint): void {
  const clamped = timestampNs < 0n ? 0n : timestampNs > TIMESTAMP_MAX ? TIMESTAMP_MAX : timestampNs;
  words[offset] = Number(clamped >> 32n);
  words[offset + 1] = Number(clamped & 0xffff_ffffn);
}

export function timeOf(words: Uint32Array, offset = 0): bigint {
  return (BigInt(words[offset]!) << 32n) | BigInt(words[offset + 1]!);
}

/** The bound of the next nanosecond, (time + 1, zeros); the end of time stays where it is. */
export function nextMoment(words: Uint32Array, offset = 0): Uint32Array {
  const bound = new Uint32Array(ID_WORDS);
  const low = words[offset + 1]!;
  const high = words[offset]!;
  if (low !== 0xffff_ffff) {
    bound[0] = high;
    bound[1] = low + 1;
  } else if (high !== 0x7fff_ffff) {
    bound[0] = high + 1;
  } else {
    return Uint32Array.from({ length: ID_WORDS }, (_, word) => (word === 0 ? 0x7fff_ffff : 0xffff_ffff));
  }
  return bound;
}

/** The smallest id above this one. */
export function successor(id: Uint32Array): Uint32Array {
  const next = id.slice(0, ID_WORDS);
  for (let word = ID_WORDS - 1; word >= 0; word--) {
    next[word] = next[word]! + 1;
    if (next[word] !== 0) break;
  }
  return next;
}

export function hasZeroHash(id: Uint32Array, offset = 0): boolean {
  for (let word = TIME_WORDS; word < ID_WORDS; word++) if (id[offset + word] !== 0) return false;
  return true;
}

export function makeId(timestampNs: bigint, hash: Uint8Array): Uint32Array {
  const id = new Uint32Array(ID_WORDS);
  setTime(id, 0, timestampNs);
  readHashWords(hash, 0, id, TIME_WORDS);
  return id;
}

/** The same from the two words of a time that is not negative. */
export function makeIdOf(timeHigh: number, timeLow: number, hash: Uint8Array): Uint32Array {
  const id = new Uint32Array(ID_WORDS);
  id[0] = timeHigh;
  id[1] = timeLow;
  readHashWords(hash, 0, id, TIME_WORDS);
  return id;
}

export function hashOf(id: Uint32Array, offset = 0): Uint8Array {
  const hash = new Uint8Array(HASH_BYTES);
  writeHashWords(id, offset + TIME_WORDS, hash, 0);
  return hash;
}

/** Reads 32 bytes as eight big-endian words. */
export function readHashWords(bytes: Uint8Array, at: number, words: Uint32Array, offset: number): void {
  for (let word = 0; word < HASH_WORDS; word++) {
    const byte = at + word * 4;
    words[offset + word] =
      (bytes[byte]! << 24) | (bytes[byte + 1]! << 16) | (bytes[byte + 2]! << 8) | bytes[byte + 3]!;
  }
}

export function writeHashWords(words: Uint32Array, offset: number, bytes: Uint8Array, at: number): void {
  for (let word = 0; word < HASH_WORDS; word++) writeWord(words[offset + word]!, bytes, at + word * 4);
}

/** Writes an id as 40 bytes whose byte order is the order of ids. */
export function writeIdBytes(id: Uint32Array, offset: number, bytes: Uint8Array, at: number): void {
  for (let word = 0; word < ID_WORDS; word++) writeWord(id[offset + word]!, bytes, at + word * 4);
}

export function readIdBytes(bytes: Uint8Array, at: number, words: Uint32Array, offset: number): void {
  for (let word = 0; word < TIME_WORDS; word++) {
    const byte = at + word * 4;
    words[offset + word] =
      (bytes[byte]! << 24) | (bytes[byte + 1]! << 16) | (bytes[byte + 2]! << 8) | bytes[byte + 3]!;
  }
  readHashWords(bytes, at + TIME_WORDS * 4, words, offset + TIME_WORDS);
}

function writeWord(value: number, bytes: Uint8Array, at: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** A growing list of ids in one typed array, row after row. */
export class SyncIdList {
  words: Uint32Array;
  #count = 0;

  constructor(capacity = 0) {
    this.words = new Uint32Array(capacity * ID_WORDS);
  }

  static of(...ids: Uint32Array[]): SyncIdList {
    const list = new SyncIdList(ids.length);
    for (const id of ids) list.push(id, 0);
    return list;
  }

  get count(): number {
    return this.#count;
  }

  push(words: Uint32Array, offset: number): void {
    this.pushRows(words, offset, 1);
  }

  /** Appends `rows` consecutive ids. */
  pushRows(words: Uint32Array, offset: number, rows: number): void {
    const start = this.#grow(rows);
    this.words.set(words.subarray(offset, offset + rows * ID_WORDS), start);
  }

  /** Appends a row to be filled in by the caller; returns its first word's place in `words`. */
  pushEmpty(): number {
    return this.#grow(1);
  }

  /** A view of one id; valid until the list grows. */
  at(row: number): Uint32Array {
    return this.words.subarray(row * ID_WORDS, (row + 1) * ID_WORDS);
  }

  slice(from: number, to: number): SyncIdList {
    const list = new SyncIdList(to - from);
    list.pushRows(this.words, from * ID_WORDS, to - from);
    return list;
  }

  /** Sorted and without duplicates: what a set comparison may rely on. */
  isStrictlyAscending(): boolean {
    for (let row = 1; row < this.#count; row++) {
      if (compareIds(this.words, (row - 1) * ID_WORDS, this.words, row * ID_WORDS) >= 0) return false;
    }
    return true;
  }

  /** This list in ascending order without duplicates; itself when it is so already. */
  toAscending(): SyncIdList {
    if (this.isStrictlyAscending()) return this;
    const rows = Uint32Array.from({ length: this.#count }, (_, row) => row);
    rows.sort((a, b) => compareIds(this.words, a * ID_WORDS, this.words, b * ID_WORDS));
    const sorted = new SyncIdList(this.#count);
    for (const row of rows) {
      const last = sorted.count - 1;
      const repeated =
        last >= 0 && compareIds(sorted.words, last * ID_WORDS, this.words, row * ID_WORDS) === 0;
      if (!repeated) sorted.push(this.words, row * ID_WORDS);
    }
    return sorted;
  }

  #grow(rows: number): number {
    const start = this.#count * ID_WORDS;
    this.#count += rows;
    const needed = this.#count * ID_WORDS;
    if (needed > this.words.length) {
      const grown = new Uint32Array(Math.max(needed, this.words.length * 2, 8 * ID_WORDS));
      grown.set(this.words.subarray(0, start));
      this.words = grown;
    }
    return start;
  }
}
