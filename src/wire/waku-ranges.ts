/**
 * The reconciliation payload of `/vac/waku/reconciliation/1.0.0`, byte for byte as a running nwaku writes and
 * reads it (spec/waku-sync.md). Where nwaku would wrap around, die, or read one field twice, this decoder
 * refuses with a code.
 */

import { type Claim, EMPTY_PAYLOAD, type RangesPayload } from '../core/range.ts';
import {
  HASH_BYTES,
  HASH_WORDS,
  hasZeroHash,
  ID_WORDS,
  readHashWords,
  SyncIdList,
  writeHashWords,
} from '../core/sync-id.ts';
import { topicBytes, topicFromBytes } from '../core/topic.ts';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { ByteReader, ByteWriter } from './bytes.ts';

const SKIP = 0;
const FINGERPRINT = 1;
const ITEM_SET = 2;

/** nwaku reads no varint from more than nine bytes: 63 bits, enough for every time to come. */
const VARINT_BYTES = 9;
const TWO_32 = 0x1_0000_0000;
const TIME_HIGH_MAX = 0x7fff_ffff;

/**
 * A lower bound is not on the wire: each range is read as beginning where the one before it ended.
 *
 * @throws LacunaError WIRE_UNENCODABLE for what this wire cannot say: bounds or items whose times descend, times
 *   beyond 2^63-1.
 */
export function encodeRanges(payload: RangesPayload): Uint8Array {
  const first = payload.claims[0];
  if (first === undefined) return Uint8Array.of(0);
  const writer = new ByteWriter(estimate(payload));
  writeTopics(writer, payload.pubsubTopics);
  writeTopics(writer, payload.contentTopics);
  writer.leb64(timeHigh(first.lower, 0), first.lower[1]!);
  let previous = first.lower;
  for (const claim of payload.claims) {
    writeBound(writer, previous, claim, first.lower);
    writeClaim(writer, claim);
    previous = claim.upper;
  }
  return writer.finish();
}

function writeBound(writer: ByteWriter, previous: Uint32Array, claim: Claim, first: Uint32Array): void {
  timeHigh(claim.upper, 0);
  if (!writeTimeDelta(writer, previous, 0, claim.upper, 0)) return;
  // Under the same time the hash is sent, up to its first byte that differs from the first lower bound's hash.
  const hash = hashBytes(claim.upper);
  const base = hashBytes(first);
  let length = 0;
  while (length < HASH_BYTES) {
    length += 1;
    if (hash[length - 1] !== base[length - 1]) break;
  }
  writer.byte(length);
  writer.raw(hash.subarray(0, length));
}

function writeClaim(writer: ByteWriter, claim: Claim): void {
  if (claim.kind === 'skip') {
    writer.byte(SKIP);
  } else if (claim.kind === 'fingerprint') {
    writer.byte(FINGERPRINT);
    const at = writer.skip(HASH_BYTES);
    writeHashWords(claim.fingerprint, 0, writer.buffer, at);
  } else {
    writer.byte(ITEM_SET);
    writeItems(writer, claim.items);
    writer.byte(claim.reconciled ? 1 : 0);
  }
}

const ZERO_TIME = new Uint32Array(2);

function writeItems(writer: ByteWriter, items: SyncIdList): void {
  const { words } = items;
  writer.leb(items.count);
  for (let row = 0; row < items.count; row++) {
    const at = row * ID_WORDS;
    timeHigh(words, at);
    if (row === 0) writeTimeDelta(writer, ZERO_TIME, 0, words, at);
    else writeTimeDelta(writer, words, at - ID_WORDS, words, at);
    const place = writer.skip(HASH_BYTES);
    writeHashWords(words, at + 2, writer.buffer, place);
  }
}

/** Writes `to - from`; returns true when it is zero. */
function writeTimeDelta(
  writer: ByteWriter,
  from: Uint32Array,
  fromAt: number,
  to: Uint32Array,
  toAt: number,
): boolean {
  let low = to[toAt + 1]! - from[fromAt + 1]!;
  let high = to[toAt]! - from[fromAt]!;
  if (low < 0) {
    low += TWO_32;
    high -= 1;
  }
  if (high < 0) throw new LacunaError('WIRE_UNENCODABLE', 'times descend');
  writer.leb64(high, low);
  return high === 0 && low === 0;
}

function timeHigh(words: Uint32Array, at: number): number {
  const high = words[at]!;
  if (high > TIME_HIGH_MAX) throw new LacunaError('WIRE_UNENCODABLE', 'a time is beyond 2^63-1');
  return high;
}

function writeTopics(writer: ByteWriter, topics: readonly string[]): void {
  writer.leb(topics.length);
  for (const topic of topics) {
    const bytes = topicBytes(topic);
    if (bytes === undefined) throw new LacunaError('WIRE_UNENCODABLE', 'a topic has no bytes');
    writer.leb(bytes.length);
    writer.raw(bytes);
  }
}

function hashBytes(bound: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(HASH_BYTES);
  if (!hasZeroHash(bound)) writeHashWords(bound, 2, bytes, 0);
  return bytes;
}

function estimate(payload: RangesPayload): number {
  let bytes = 64;
  for (const claim of payload.claims) {
    bytes += claim.kind === 'items' ? 16 + claim.items.count * 40 : 48;
  }
  return bytes;
}

/**
 * @throws LacunaError WIRE_TRUNCATED, WIRE_VARINT, WIRE_OVERFLOW, WIRE_TYPE, WIRE_LIMIT.
 */
export function decodeRanges(bytes: Uint8Array): RangesPayload {
  // One byte of any value, or none, is "nothing left to say".
  if (bytes.length <= 1) return EMPTY_PAYLOAD;
  const reader = new ByteReader(bytes);
  const budget = { items: LIMITS.payloadItems };
  const pubsubTopics = readTopics(reader);
  const contentTopics = readTopics(reader);
  let lower = new Uint32Array(ID_WORDS);
  readRoomyVarint(reader);
  lower[0] = reader.high;
  lower[1] = reader.low;
  const claims: Claim[] = [];
  // nwaku ignores one byte that is left over; it takes more for another range.
  while (reader.left > 1) {
    if (claims.length >= LIMITS.payloadRanges) throw new LacunaError('WIRE_LIMIT', 'too many ranges');
    const upper = readBound(reader, lower);
    claims.push(readClaim(reader, lower, upper, budget));
    // The hash of a lower bound is not on the wire: it is always taken for zero.
    lower = new Uint32Array(ID_WORDS);
    lower[0] = upper[0]!;
    lower[1] = upper[1]!;
  }
  return { pubsubTopics, contentTopics, claims };
}

function readTopics(reader: ByteReader): string[] {
  const count = readRoomyVarint(reader);
  if (count > LIMITS.payloadTopics) throw new LacunaError('WIRE_LIMIT', `${count} topics`);
  const topics: string[] = [];
  for (let index = 0; index < count; index++) {
    const length = readRoomyVarint(reader);
    if (length > LIMITS.messageTopicBytes) throw new LacunaError('WIRE_LIMIT', `a topic of ${length} bytes`);
    topics.push(topicFromBytes(reader.take(length)));
  }
  return topics;
}

/** nwaku wants nine bytes left before it reads a topic count, a topic length or a time, however short it is. */
function readRoomyVarint(reader: ByteReader): number {
  if (reader.left < VARINT_BYTES) throw new LacunaError('WIRE_TRUNCATED', 'fewer than nine bytes are left');
  return reader.leb64(VARINT_BYTES);
}

function readBound(reader: ByteReader, lower: Uint32Array): Uint32Array {
  reader.leb64(Math.min(VARINT_BYTES, reader.left));
  const upper = new Uint32Array(ID_WORDS);
  const zero = reader.high === 0 && reader.low === 0;
  addTime(lower, 0, reader, upper, 0);
  if (zero) readBoundHash(reader, upper);
  return upper;
}

function readBoundHash(reader: ByteReader, upper: Uint32Array): void {
  const length = reader.byte();
  if (length > HASH_BYTES) throw new LacunaError('WIRE_FIELD_INVALID', `a bound hash of ${length} bytes`);
  const hash = new Uint8Array(HASH_BYTES);
  hash.set(reader.take(length));
  readHashWords(hash, 0, upper, 2);
}

function readClaim(
  reader: ByteReader,
  lower: Uint32Array,
  upper: Uint32Array,
  budget: { items: number },
): Claim {
  const type = reader.byte();
  if (type === SKIP) return { kind: 'skip', lower, upper };
  if (type === FINGERPRINT) {
    const fingerprint = new Uint32Array(HASH_WORDS);
    readHashWords(reader.take(HASH_BYTES), 0, fingerprint, 0);
    return { kind: 'fingerprint', lower, upper, fingerprint };
  }
  if (type !== ITEM_SET) throw new LacunaError('WIRE_TYPE', `range type ${type}`);
  const count = reader.leb64(Math.min(VARINT_BYTES, reader.left));
  if (count > budget.items)
    throw new LacunaError('WIRE_LIMIT', `item sets of more than ${LIMITS.payloadItems} ids`);
  budget.items -= count;
  const items = readItems(reader, count);
  const reconciled = reader.byte();
  if (reconciled > 1) throw new LacunaError('WIRE_TYPE', `reconciled flag ${reconciled}`);
  return { kind: 'items', lower, upper, items, reconciled: reconciled === 1 };
}

function readItems(reader: ByteReader, count: number): SyncIdList {
  // An item takes 33 bytes at least: a count that cannot be true is refused before memory is taken for it.
  if (count * (HASH_BYTES + 1) > reader.left)
    throw new LacunaError('WIRE_TRUNCATED', `${count} items announced`);
  const items = new SyncIdList(count);
  for (let row = 0; row < count; row++) {
    readRoomyVarint(reader);
    const at = items.pushEmpty();
    if (row === 0) addTime(ZERO_TIME, 0, reader, items.words, at);
    else addTime(items.words, at - ID_WORDS, reader, items.words, at);
    if (reader.left < HASH_BYTES) throw new LacunaError('WIRE_TRUNCATED', 'a hash is cut short');
    readHashWords(reader.bytes, reader.at, items.words, at + 2);
    reader.at += HASH_BYTES;
  }
  return items;
}

/** `into = base + the number just read`; an overflow kills nwaku, and is refused here. */
function addTime(base: Uint32Array, baseAt: number, reader: ByteReader, into: Uint32Array, at: number): void {
  let low = base[baseAt + 1]! + reader.low;
  let high = base[baseAt]! + reader.high;
  if (low >= TWO_32) {
    low -= TWO_32;
    high += 1;
  }
  if (high > TIME_HIGH_MAX) throw new LacunaError('WIRE_OVERFLOW', 'a time is beyond 2^63-1');
  into[at] = high;
  into[at + 1] = low;
}
