/**
 * The protobuf wire format, as strict as nwaku's decoder (nim-libp2p minprotobuf): varints must be minimal,
 * groups are refused, unknown fields are skipped, a field of another wire type counts as absent, and of a field
 * that comes twice the last one is taken.
 */
import { LacunaError } from '../errors.ts';
import { ByteReader, type ByteWriter, lebLength } from './bytes.ts';

export const VARINT = 0;
const FIXED64 = 1;
export const LENGTH_DELIMITED = 2;
const FIXED32 = 5;
/** Tags up to here are taken apart by bits. */
const SMALL_TAG = 0x7fff_ffff;

/**
 * Walks over the fields of a message without making an object for any of them.
 *
 * @throws LacunaError WIRE_TRUNCATED, WIRE_VARINT, WIRE_TYPE.
 */
export class FieldReader {
  readonly #reader: ByteReader;
  number = 0;
  wireType = 0;
  /** The value of a varint field, as two words. */
  high = 0;
  low = 0;
  #length = 0;

  /** Reads the fields that lie between `start` and `end`. */
  constructor(message: Uint8Array, start = 0, end = message.length) {
    this.#reader = new ByteReader(message, start, end);
  }

  /** Where the bytes of a length-delimited field begin and end. */
  get start(): number {
    return this.#reader.at - this.#length;
  }

  get end(): number {
    return this.#reader.at;
  }

  /** Reads the next field; false when there is none. */
  next(): boolean {
    const reader = this.#reader;
    if (reader.at >= reader.end) return false;
    const tag = this.#varint();
    if (tag <= SMALL_TAG) {
      this.number = tag >>> 3;
      this.wireType = tag & 7;
    } else {
      this.number = Math.floor(tag / 8);
      this.wireType = tag % 8;
    }
    this.#length = 0;
    if (this.wireType === VARINT) {
      this.#varint();
      this.high = reader.high;
      this.low = reader.low;
    } else if (this.wireType === LENGTH_DELIMITED) this.#skip(this.#varint());
    else if (this.wireType === FIXED64) this.#skip(8);
    else if (this.wireType === FIXED32) this.#skip(4);
    else throw new LacunaError('WIRE_TYPE', `protobuf wire type ${this.wireType}`);
    return true;
  }

  /** The bytes of a length-delimited field, as a view. */
  get bytes(): Uint8Array {
    const { bytes, at } = this.#reader;
    return bytes.subarray(at - this.#length, at);
  }

  #skip(length: number): void {
    const reader = this.#reader;
    if (length > reader.end - reader.at)
      throw new LacunaError('WIRE_TRUNCATED', `a field of ${length} bytes`);
    reader.at += length;
    this.#length = length;
  }

  #varint(): number {
    const reader = this.#reader;
    const first = reader.bytes[reader.at]!;
    if (first < 0x80 && reader.at < reader.end) {
      reader.at += 1;
      reader.high = 0;
      reader.low = first;
      return first;
    }
    const start = reader.at;
    const value = reader.leb64();
    if (reader.at - start > 1 && reader.bytes[reader.at - 1] === 0) {
      throw new LacunaError('WIRE_VARINT', 'a varint is longer than it needs to be');
    }
    return value;
  }
}

/** Calls `take` for each field. The field is reused: read it, do not keep it. Throws as the reader does. */
export function readFields(message: Uint8Array, take: (field: FieldReader) => void): void {
  const reader = new FieldReader(message);
  while (reader.next()) take(reader);
}

export function writeVarintField(writer: ByteWriter, number: number, high: number, low: number): void {
  writer.leb(number * 8 + VARINT);
  writer.leb64(high, low);
}

export function writeBytesField(writer: ByteWriter, number: number, bytes: Uint8Array): void {
  writer.leb(number * 8 + LENGTH_DELIMITED);
  writer.leb(bytes.length);
  writer.raw(bytes);
}

/** Bytes that `writeBytesField` writes for a value of this length. */
export function bytesFieldLength(number: number, length: number): number {
  return lebLength(number * 8) + lebLength(length) + length;
}

/** sint64: the sign is the lowest bit. */
export function zigzag(value: bigint): bigint {
  return BigInt.asUintN(64, (value << 1n) ^ (value >> 63n));
}

const scratch = new DataView(new ArrayBuffer(8));

/** In words: half the value, with all bits turned where its lowest bit is set. */
export function unzigzag(high: number, low: number): bigint {
  const sign = -(low & 1);
  scratch.setInt32(0, (high >>> 1) ^ sign);
  scratch.setInt32(4, ((low >>> 1) | (high << 31)) ^ sign);
  return scratch.getBigInt64(0);
}
