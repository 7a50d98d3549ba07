/**
 * The metadata exchange (66/WAKU2-METADATA) as nwaku speaks it: shards are written twice, unpacked under the
 * deprecated number and packed under the present one, and read from whichever is there.
 */
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { ByteReader, ByteWriter } from './bytes.ts';
import { LENGTH_DELIMITED, readFields, VARINT, writeBytesField, writeVarintField } from './protobuf.ts';

const CLUSTER_ID = 1;
const SHARDS_DEPRECATED = 2;
const SHARDS = 3;

export interface WakuMetadata {
  /** undefined when the peer names none. */
  readonly clusterId: number | undefined;
  readonly shards: readonly number[];
}

export function encodeMetadata(metadata: WakuMetadata): Uint8Array {
  const writer = new ByteWriter(64);
  if (metadata.clusterId !== undefined) writeVarintField(writer, CLUSTER_ID, 0, metadata.clusterId);
  for (const shard of metadata.shards) writeVarintField(writer, SHARDS_DEPRECATED, 0, shard);
  if (metadata.shards.length > 0) {
    const packed = new ByteWriter(metadata.shards.length * 2);
    for (const shard of metadata.shards) packed.leb(shard);
    writeBytesField(writer, SHARDS, packed.finish());
  }
  return writer.finish();
}

/** @throws LacunaError with a WIRE_ code. */
export function decodeMetadata(bytes: Uint8Array): WakuMetadata {
  let clusterId: number | undefined;
  const shards: Record<typeof SHARDS | typeof SHARDS_DEPRECATED, number[]> = {
    [SHARDS]: [],
    [SHARDS_DEPRECATED]: [],
  };
  readFields(bytes, (field) => {
    if (field.number === CLUSTER_ID && field.wireType === VARINT) clusterId = word(field.high, field.low);
    if (field.number !== SHARDS && field.number !== SHARDS_DEPRECATED) return;
    const list = shards[field.number];
    if (field.wireType === VARINT) list.push(word(field.high, field.low));
    if (field.wireType === LENGTH_DELIMITED) readPacked(field.bytes, list);
    if (list.length > LIMITS.metadataShards) throw new LacunaError('WIRE_LIMIT', 'too many shards');
  });
  return { clusterId, shards: shards[SHARDS].length > 0 ? shards[SHARDS] : shards[SHARDS_DEPRECATED] };
}

function readPacked(bytes: Uint8Array, into: number[]): void {
  const reader = new ByteReader(bytes);
  while (reader.left > 0) {
    reader.leb64();
    into.push(word(reader.high, reader.low));
  }
}

function word(high: number, low: number): number {
  if (high !== 0) throw new LacunaError('WIRE_VARINT', 'a number is beyond 32 bits');
  return low;
}
