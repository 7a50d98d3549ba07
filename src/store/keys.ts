/**
 * The keys of the store. Each begins with the format version and a letter for what it holds; ids are 40 bytes
 * whose byte order is the order of ids, so that a scan over messages is a walk through time.
 *
 *   1 m id               → message (WakuMessageAndTopic)
 *   1 h hash             → timestamp, 8 bytes; and when the message arrived, in seconds since 1970, and the number of
 *                          its origin (`origins.ts`), in 4 bytes each. Numbers are big-endian. Where it is not known
 *                          how a message came, as in stores of earlier versions, there is the timestamp alone
 *   1 p topic key, id    → key of the message's content topic, and how many bytes the message has, in four
 *   1 c topic key, id    → key of the message's pubsub topic, and the same
 *   1 q id               → bytes that did not hash to their id, kept for inspection
 *   1 r name             → a small record of another part of the node, with a check of its bytes
 *   1 g id               → nothing: the message was pruned, and is not to be fetched again
 *
 * and the index of ids, whose values end in a check of their bytes (`page-codec.ts`; numbers are big-endian):
 *
 *   1 x                  → header: version, flags, next page, next block, count of all ids
 *   1 d page             → directory: where a leaf begins, its count, patches, block and XOR of hashes
 *   1 l page             → rows of the leaf, ascending, as they were when the page was last written whole
 *   1 l page patch       → rows put in since, of one batch; patches are numbered from 1
 *   1 s block            → coded symbols of a block, with the count and XOR of what they are the symbols of
 *   1 t topic key        → how many messages a pubsub topic has, and their bytes, in eight bytes each
 *   1 v topic key        → the same of a content topic
 *   1 u hour             → the same of an hour; hours are counted from 1970
 *
 * Pages, blocks and hours are numbers of four bytes, patches of one. All of it is written in the batch of the messages that
 * it tells of; the symbols alone may be older, and are then of no use. Rows are looked up by their keys, and such a
 * key is never written twice: a page that is written whole gets a new number. Of the others, which are written again
 * and again, iterators give the newest value, and a look-up may not (see `Database.find`).
 *
 * A topic key is the first 16 bytes of the topic's SHA-256: no table of topic numbers that could be reused for
 * another topic (W15), and no memory that a publisher of many topics could fill.
 */
import {
  HASH_BYTES,
  ID_BYTES,
  ID_WORDS,
  readIdBytes,
  writeHashWords,
  writeIdBytes,
} from '../core/sync-id.ts';
import { topicBytes } from '../core/topic.ts';
import type { Sha256 } from '../ports.ts';

export const FORMAT = 1;
export const TOPIC_KEY_BYTES = 16;

const MESSAGE = 'm'.charCodeAt(0);
const HASH = 'h'.charCodeAt(0);
const PUBSUB_TOPIC = 'p'.charCodeAt(0);
const CONTENT_TOPIC = 'c'.charCodeAt(0);
const QUARANTINE = 'q'.charCodeAt(0);
const RECORD = 'r'.charCodeAt(0);
const FORGOTTEN = 'g'.charCodeAt(0);
const PROBE = 'w'.charCodeAt(0);
const INDEX_HEADER = 'x'.charCodeAt(0);
const DIRECTORY = 'd'.charCodeAt(0);
const LEAF = 'l'.charCodeAt(0);
const SYMBOLS = 's'.charCodeAt(0);
const PUBSUB_COUNT = 't'.charCodeAt(0);
const CONTENT_COUNT = 'v'.charCodeAt(0);
const HOUR_COUNT = 'u'.charCodeAt(0);
const HEAD = 2;
const TIME_BYTES = 8;
const NUMBER_BYTES = 4;

export type TopicKind = 'pubsub' | 'content';

export function messageKey(words: Uint32Array, offset = 0): Uint8Array {
  return withId(MESSAGE, words, offset);
}

export function quarantineKey(words: Uint32Array, offset = 0): Uint8Array {
  return withId(QUARANTINE, words, offset);
}

export function forgottenKey(words: Uint32Array, offset = 0): Uint8Array {
  return withId(FORGOTTEN, words, offset);
}

export function hashKey(words: Uint32Array, offset = 0): Uint8Array {
  const key = head(HASH, HASH_BYTES);
  writeHashWords(words, offset + 2, key, HEAD);
  return key;
}

export function hashKeyOf(hash: Uint8Array): Uint8Array {
  const key = head(HASH, HASH_BYTES);
  key.set(hash, HEAD);
  return key;
}

export function topicKey(topic: string, sha256: Sha256): Uint8Array {
  return sha256(topicBytes(topic) ?? new Uint8Array()).subarray(0, TOPIC_KEY_BYTES);
}

export function topicIndexKey(
  kind: TopicKind,
  topic: Uint8Array,
  words: Uint32Array,
  offset = 0,
): Uint8Array {
  const key = head(letterOf(kind), TOPIC_KEY_BYTES + ID_BYTES);
  key.set(topic, HEAD);
  writeIdBytes(words, offset, key, HEAD + TOPIC_KEY_BYTES);
  return key;
}

/**
 * The keys of one message, built in the same buffers for each: LevelDB copies what is put into a batch, and a batch
 * of a thousand messages would else leave four thousand small arrays to be collected.
 */
export class MessageKeys {
  readonly message = head(MESSAGE, ID_BYTES);
  readonly hash = head(HASH, HASH_BYTES);
  /** What the hash points to: the time of the message, and when and how it came. */
  readonly ofHash = new Uint8Array(TIME_BYTES + 2 * NUMBER_BYTES);
  readonly time = this.ofHash.subarray(0, TIME_BYTES);
  readonly pubsub = head(PUBSUB_TOPIC, TOPIC_KEY_BYTES + ID_BYTES);
  readonly content = head(CONTENT_TOPIC, TOPIC_KEY_BYTES + ID_BYTES);
  /** What the entries under the two topics say of the message: its other topic, and its length. */
  readonly ofPubsub = new Uint8Array(TOPIC_KEY_BYTES + NUMBER_BYTES);
  readonly ofContent = new Uint8Array(TOPIC_KEY_BYTES + NUMBER_BYTES);

  set(id: Uint32Array, pubsubTopic: Uint8Array, contentTopic: Uint8Array, bytes: number): this {
    this.ofPubsub.set(contentTopic);
    this.ofContent.set(pubsubTopic);
    writeNumber(bytes, this.ofPubsub, TOPIC_KEY_BYTES);
    writeNumber(bytes, this.ofContent, TOPIC_KEY_BYTES);
    writeIdBytes(id, 0, this.message, HEAD);
    this.hash.set(this.message.subarray(HEAD + TIME_BYTES), HEAD);
    this.time.set(this.message.subarray(HEAD, HEAD + TIME_BYTES));
    this.pubsub.set(pubsubTopic, HEAD);
    this.pubsub.set(this.message.subarray(HEAD), HEAD + TOPIC_KEY_BYTES);
    this.content.set(contentTopic, HEAD);
    this.content.set(this.message.subarray(HEAD), HEAD + TOPIC_KEY_BYTES);
    return this;
  }

  setArrival({ seconds, origin }: ArrivalStamp): this {
    writeNumber(seconds, this.ofHash, TIME_BYTES);
    writeNumber(origin, this.ofHash, TIME_BYTES + NUMBER_BYTES);
    return this;
  }
}

/** When and how a message came. */
export interface ArrivalStamp {
  /** Since 1970. */
  readonly seconds: number;
  /** Its number in the table of origins; 0 where it is not known. */
  readonly origin: number;
}

/** The timestamp in the value of a hash; undefined for a value that is damaged. */
export function timeOfHash(value: Uint8Array): Uint8Array | undefined {
  if (value.length !== TIME_BYTES && value.length !== TIME_BYTES + 2 * NUMBER_BYTES) return undefined;
  return value.subarray(0, TIME_BYTES);
}

/** Undefined where it is not known. */
export function arrivalOfHash(value: Uint8Array): ArrivalStamp | undefined {
  if (value.length !== TIME_BYTES + 2 * NUMBER_BYTES) return undefined;
  const view = new DataView(value.buffer, value.byteOffset);
  return { seconds: view.getUint32(TIME_BYTES), origin: view.getUint32(TIME_BYTES + NUMBER_BYTES) };
}

/** A message as the entry under one of its topics has it. */
export interface TopicEntry {
  readonly id: Uint32Array;
  /** The topic key that the entry stands under, and the other one. */
  readonly topic: Uint8Array;
  readonly otherTopic: Uint8Array;
  /** Bytes of the encoded message. */
  readonly bytes: number;
}

/** Undefined for an entry that is damaged. */
export function readTopicEntry(key: Uint8Array, value: Uint8Array): TopicEntry | undefined {
  if (key.length !== HEAD + TOPIC_KEY_BYTES + ID_BYTES) return undefined;
  if (value.length !== TOPIC_KEY_BYTES + NUMBER_BYTES) return undefined;
  return {
    id: idOfKey(key),
    topic: topicOfKey(key),
    otherTopic: otherTopicOf(value),
    bytes: new DataView(value.buffer, value.byteOffset).getUint32(TOPIC_KEY_BYTES),
  };
}

/** The topic key in the value of a topic's entry. */
export function otherTopicOf(value: Uint8Array): Uint8Array {
  return value.subarray(0, TOPIC_KEY_BYTES);
}

/** The name is UTF-8, whose byte order is the order of its characters. */
export function recordKey(name: Uint8Array): Uint8Array {
  const key = head(RECORD, name.length);
  key.set(name, HEAD);
  return key;
}

/** All records whose names begin with these bytes. */
export function recordRange(prefix: Uint8Array): KeyRange {
  const gte = recordKey(prefix);
  const lt = gte.slice();
  // No byte of UTF-8, and no letter, is so large that it could not be one more.
  lt[lt.length - 1] = lt[lt.length - 1]! + 1;
  return { gte, lt };
}

/** The name of a record, as bytes. */
export function recordNameOf(key: Uint8Array): Uint8Array {
  return key.subarray(HEAD);
}

/** A key that means nothing: written to see whether the disk takes writes again. */
export const PROBE_KEY = head(PROBE, 0);

export const INDEX_HEADER_KEY = head(INDEX_HEADER, 0);
/** Bytes of the key of a message; one of another length is not the key of its id. */
export const MESSAGE_KEY_BYTES = HEAD + ID_BYTES;

export function directoryKey(page: number): Uint8Array {
  return withNumber(DIRECTORY, page, 0);
}

/** The number in a key of the directory, a leaf, symbols or an hour. */
export function numberOfKey(key: Uint8Array): number | undefined {
  if (key.length < HEAD + NUMBER_BYTES) return undefined;
  return new DataView(key.buffer, key.byteOffset).getUint32(HEAD);
}

/** Rows of a leaf: patch 0 is the page itself. */
export function leafKey(page: number, patch = 0): Uint8Array {
  const key = withNumber(LEAF, page, patch === 0 ? 0 : 1);
  if (patch !== 0) key[HEAD + NUMBER_BYTES] = patch;
  return key;
}

export function symbolsKey(block: number): Uint8Array {
  return withNumber(SYMBOLS, block, 0);
}

export function hourKey(hour: number): Uint8Array {
  return withNumber(HOUR_COUNT, hour, 0);
}

export function topicCountKey(kind: TopicKind, topic: Uint8Array): Uint8Array {
  const key = head(kind === 'pubsub' ? PUBSUB_COUNT : CONTENT_COUNT, TOPIC_KEY_BYTES);
  key.set(topic, HEAD);
  return key;
}

/** The topic key in the key of a topic count or of a topic's entry. */
export function topicOfKey(key: Uint8Array): Uint8Array {
  return key.subarray(HEAD, HEAD + TOPIC_KEY_BYTES);
}

/** The id at the end of a message, quarantine or topic key. */
export function idOfKey(key: Uint8Array): Uint32Array {
  const id = new Uint32Array(ID_WORDS);
  readIdBytes(key, key.length - ID_BYTES, id, 0);
  return id;
}

export interface KeyRange {
  readonly gte: Uint8Array;
  readonly lt: Uint8Array;
}

/** All messages whose ids lie in `[lower, upper)`. */
export function messageRange(lower: Uint32Array, upper: Uint32Array): KeyRange {
  return { gte: messageKey(lower), lt: messageKey(upper) };
}

export const ALL_MESSAGES: KeyRange = prefixRange(MESSAGE);
export const ALL_QUARANTINED: KeyRange = prefixRange(QUARANTINE);
export const ALL_RECORDS: KeyRange = prefixRange(RECORD);
export const ALL_FORGOTTEN: KeyRange = prefixRange(FORGOTTEN);
export const ALL_HASHES: KeyRange = prefixRange(HASH);
export const ALL_TOPICS: Readonly<Record<TopicKind, KeyRange>> = {
  pubsub: prefixRange(PUBSUB_TOPIC),
  content: prefixRange(CONTENT_TOPIC),
};

export const ALL_DIRECTORY: KeyRange = prefixRange(DIRECTORY);
export const ALL_LEAVES: KeyRange = prefixRange(LEAF);
export const ALL_SYMBOLS: KeyRange = prefixRange(SYMBOLS);
export const ALL_HOURS: KeyRange = prefixRange(HOUR_COUNT);
export const ALL_TOPIC_COUNTS: Readonly<Record<TopicKind, KeyRange>> = {
  pubsub: prefixRange(PUBSUB_COUNT),
  content: prefixRange(CONTENT_COUNT),
};
/** Everything of the index; the header, which tells whether the rest is whole, comes first. */
export const ALL_INDEX: readonly KeyRange[] = [
  prefixRange(INDEX_HEADER),
  ALL_DIRECTORY,
  ALL_LEAVES,
  ALL_SYMBOLS,
  ALL_HOURS,
  ALL_TOPIC_COUNTS.pubsub,
  ALL_TOPIC_COUNTS.content,
];

export function topicRange(
  kind: TopicKind,
  topic: Uint8Array,
  lower: Uint32Array,
  upper: Uint32Array,
): KeyRange {
  return { gte: topicIndexKey(kind, topic, lower), lt: topicIndexKey(kind, topic, upper) };
}

function letterOf(kind: TopicKind): number {
  return kind === 'pubsub' ? PUBSUB_TOPIC : CONTENT_TOPIC;
}

function prefixRange(letter: number): KeyRange {
  return { gte: Uint8Array.of(FORMAT, letter), lt: Uint8Array.of(FORMAT, letter + 1) };
}

function head(letter: number, rest: number): Uint8Array {
  const key = new Uint8Array(HEAD + rest);
  key[0] = FORMAT;
  key[1] = letter;
  return key;
}

function writeNumber(number: number, bytes: Uint8Array, at: number): void {
  bytes[at] = number >>> 24;
  bytes[at + 1] = number >>> 16;
  bytes[at + 2] = number >>> 8;
  bytes[at + 3] = number;
}

function withNumber(letter: number, number: number, more: number): Uint8Array {
  const key = head(letter, NUMBER_BYTES + more);
  new DataView(key.buffer).setUint32(HEAD, number);
  return key;
}

function withId(letter: number, words: Uint32Array, offset: number): Uint8Array {
  const key = head(letter, ID_BYTES);
  writeIdBytes(words, offset, key, HEAD);
  return key;
}
