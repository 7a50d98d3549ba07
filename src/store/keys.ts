/**
 * The keys of the store. Each begins with the format version and a letter for what it holds; ids are 40 bytes
 * whose byte order is the order of ids, so that a scan over messages is a walk through time.
 *
 *   1 m id               → message (WakuMessageAndTopic)
 *   1 h hash             → timestamp, 8 bytes big-endian
 *   1 p topic key, id    → key of the message's content topic
 *   1 c topic key, id    → key of the message's pubsub topic
 *   1 q id               → bytes that did not hash to their id, kept for inspection
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
const PROBE = 'w'.charCodeAt(0);
const HEAD = 2;
const TIME_BYTES = 8;

export type TopicKind = 'pubsub' | 'content';

export function messageKey(words: Uint32Array, offset = 0): Uint8Array {
  return withId(MESSAGE, words, offset);
}

export function quarantineKey(words: Uint32Array, offset = 0): Uint8Array {
  return withId(QUARANTINE, words, offset);
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
  /** What the hash points to. */
  readonly time = new Uint8Array(TIME_BYTES);
  readonly pubsub = head(PUBSUB_TOPIC, TOPIC_KEY_BYTES + ID_BYTES);
  readonly content = head(CONTENT_TOPIC, TOPIC_KEY_BYTES + ID_BYTES);

  set(id: Uint32Array, pubsubTopic: Uint8Array, contentTopic: Uint8Array): this {
    writeIdBytes(id, 0, this.message, HEAD);
    this.hash.set(this.message.subarray(HEAD + TIME_BYTES), HEAD);
    this.time.set(this.message.subarray(HEAD, HEAD + TIME_BYTES));
    this.pubsub.set(pubsubTopic, HEAD);
    this.pubsub.set(this.message.subarray(HEAD), HEAD + TOPIC_KEY_BYTES);
    this.content.set(contentTopic, HEAD);
    this.content.set(this.message.subarray(HEAD), HEAD + TOPIC_KEY_BYTES);
    return this;
  }
}

/** A key that means nothing: written to see whether the disk takes writes again. */
export const PROBE_KEY = head(PROBE, 0);

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
export const ALL_HASHES: KeyRange = prefixRange(HASH);
export const ALL_TOPICS: Readonly<Record<TopicKind, KeyRange>> = {
  pubsub: prefixRange(PUBSUB_TOPIC),
  content: prefixRange(CONTENT_TOPIC),
};

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

function withId(letter: number, words: Uint32Array, offset: number): Uint8Array {
  const key = head(letter, ID_BYTES);
  writeIdBytes(words, offset, key, HEAD);
  return key;
}
