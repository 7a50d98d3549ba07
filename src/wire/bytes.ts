/**
 * Reading and writing of the few primitives that all our protocols share. A reader never looks past its bytes
 * and fails with a coded error; a writer grows as needed. 64-bit numbers are pairs of 32-bit words, so that
 * long lists of times are read without BigInt.
 */
import { LacunaError } from '../errors.ts';

const TWO_32 = 0x1_0000_0000;

export class ByteReader {
  readonly bytes: Uint8Array;
  at = 0;
  readonly end: number;
  /** The high and low word of the number read last by `leb64`. */
  high = 0;
  low = 0;

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  get left(): number {
    return this.end - this.at;
  }

  byte(): number {
    if (this.at >= this.end) throw new LacunaError('WIRE_TRUNCATED', 'a byte is missing');
    return this.bytes[this.at++]!;
  }

  /** A view of the next bytes, not a copy. */
  take(length: number): Uint8Array {
    if (length > this.left)
      throw new LacunaError('WIRE_TRUNCATED', `${length} bytes wanted, ${this.left} left`);
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  /**
   * An unsigned LEB128 number of at most `bytesMax` bytes into `high` and `low`; returns its value, exact up
   * to 2^53. Ten bytes carry 64 bits; the tenth may only be 0 or 1.
   */
  leb64(bytesMax = 10): number {
    let low = 0;
    let high = 0;
    for (let index = 0; index < bytesMax; index++) {
      const byte = this.byte();
      const bits = byte & 0x7f;
      if (index < 4) low |= bits << (7 * index);
      else if (index === 4) {
        low |= bits << 28;
        high |= bits >>> 4;
      } else if (index < 9) high |= bits << (7 * index - 32);
      else if (bits > 1) throw new LacunaError('WIRE_VARINT', 'a varint is beyond 64 bits');
      else high |= bits << 31;
      if (byte < 0x80) {
        this.high = high >>> 0;
        this.low = low >>> 0;
        return this.high * TWO_32 + this.low;
      }
    }
    throw new LacunaError('WIRE_VARINT', `a varint is longer than ${bytesMax} bytes`);
  }

  /** A LEB128 number that is a length or count: at most `max`, else WIRE_LIMIT. */
  length(bytesMax: number, max: number): number {
    const value = this.leb64(bytesMax);
    if (value > max) throw new LacunaError('WIRE_LIMIT', `a count of ${value} is over the limit of ${max}`);
    return value;
  }
}

export class ByteWriter {
  #bytes: Uint8Array;
  #length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  /** What was written, as a view of the buffer. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  byte(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  /** Reserves bytes for the caller to fill in; returns where they begin in `buffer`. */
  skip(length: number): number {
    this.#reserve(length);
    this.#length += length;
    return this.#length - length;
  }

  /** The buffer as it is now; only valid until the next write. */
  get buffer(): Uint8Array {
    return this.#bytes;
  }

  /** A whole number up to 2^53 as unsigned LEB128. */
  leb(value: number): void {
    this.leb64(Math.floor(value / TWO_32), value >>> 0);
  }

  leb64(high: number, low: number): void {
    // Most writers know their size: only at their very end is it worth counting what is truly needed.
    if (this.#length + 10 > this.#bytes.length) this.#reserve(lebLength64(high, low));
    let restHigh = high >>> 0;
    let restLow = low >>> 0;
    while (restHigh !== 0 || restLow > 0x7f) {
      this.#bytes[this.#length++] = (restLow & 0x7f) | 0x80;
      restLow = ((restLow >>> 7) | (restHigh << 25)) >>> 0;
      restHigh >>>= 7;
    }
    this.#bytes[this.#length++] = restLow;
  }

  #reserve(length: number): void {
    if (this.#length + length <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + length));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }
}

/** Bytes that `leb` writes for this value. */
export function lebLength(value: number): number {
  return lebLength64(Math.floor(value / TWO_32), value >>> 0);
}

export function lebLength64(high: number, low: number): number {
  const bits = high !== 0 ? 64 - Math.clz32(high) : 32 - Math.clz32(low);
  return Math.max(1, Math.ceil(bits / 7));
}
