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

/** One field as read: numbers as two words, bytes as a view. */
export interface Field {
  number: number;
  wireType: number;
  high: number;
  low: number;
  bytes: Uint8Array;
}

const NO_BYTES = new Uint8Array(0);

/**
 * Calls `take` for each field. The field object is reused: read it, do not keep it.
 *
 * @throws LacunaError WIRE_TRUNCATED, WIRE_VARINT, WIRE_TYPE.
 */
export function readFields(message: Uint8Array, take: (field: Field) => void): void {
  const reader = new ByteReader(message);
  const field: Field = { number: 0, wireType: 0, high: 0, low: 0, bytes: NO_BYTES };
  while (reader.left > 0) {
    const tag = minimalVarint(reader);
    field.number = Math.floor(tag / 8);
    field.wireType = tag % 8;
    field.bytes = NO_BYTES;
    if (field.wireType === VARINT) {
      minimalVarint(reader);
      field.high = reader.high;
      field.low = reader.low;
    } else if (field.wireType === LENGTH_DELIMITED) field.bytes = reader.take(minimalVarint(reader));
    else if (field.wireType === FIXED64) reader.take(8);
    else if (field.wireType === FIXED32) reader.take(4);
    else throw new LacunaError('WIRE_TYPE', `protobuf wire type ${field.wireType}`);
    take(field);
  }
}

function minimalVarint(reader: ByteReader): number {
  const start = reader.at;
  const value = reader.leb64();
  if (reader.at - start > 1 && reader.bytes[reader.at - 1] === 0) {
    throw new LacunaError('WIRE_VARINT', 'a varint is longer than it needs to be');
  }
  return value;
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

export function unzigzag(high: number, low: number): bigint {
  const raw = (BigInt(high) << 32n) | BigInt(low);
  return (raw >> 1n) ^ -(raw & 1n);
}
