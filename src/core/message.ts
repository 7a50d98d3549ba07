/**
 * A Waku message with its pubsub topic, its identity, and what makes it fit to be stored
 * (14/WAKU2-MESSAGE, 13/WAKU2-STORE).
 */
import type { ErrorCode } from '../errors.ts';
import { LacunaError } from '../errors.ts';
import type { Limits } from '../limits.ts';
import { TIMESTAMP_MAX } from './sync-id.ts';
import { topicBytes } from './topic.ts';

export interface WakuMessage {
  readonly pubsubTopic: string;
  readonly contentTopic: string;
  readonly payload: Uint8Array;
  /** Nanoseconds since 1970, signed 64-bit on the wire. */
  readonly timestamp: bigint;
  /** Unsigned 32-bit. */
  readonly version: number;
  readonly ephemeral: boolean;
  /** Empty when absent: the two hash alike. */
  readonly meta: Uint8Array;
  /** Empty when absent. Kept as it came; not part of the identity. */
  readonly rateLimitProof: Uint8Array;
}

/**
 * The deterministic message hash, 32 bytes: SHA-256 over pubsub topic, payload, content topic, meta and the
 * timestamp as a big-endian int64 (14/WAKU2-MESSAGE, "Deterministic message hashing").
 *
 * @throws LacunaError MESSAGE_TOPIC_INVALID for a topic that has no bytes.
 */
export function messageHash(message: WakuMessage, sha256: (bytes: Uint8Array) => Uint8Array): Uint8Array {
  const pubsubTopic = requiredTopicBytes(message.pubsubTopic);
  const contentTopic = requiredTopicBytes(message.contentTopic);
  const { payload, meta } = message;
  const length = pubsubTopic.length + payload.length + contentTopic.length + meta.length;
  reserve(length + TIMESTAMP_BYTES);
  preimage.set(pubsubTopic, 0);
  preimage.set(payload, pubsubTopic.length);
  preimage.set(contentTopic, pubsubTopic.length + payload.length);
  preimage.set(meta, length - meta.length);
  preimageView.setBigInt64(length, message.timestamp);
  return sha256(preimage.subarray(0, length + TIMESTAMP_BYTES));
}

/** What of a message decides whether it may be stored: sizes in bytes, and its numbers. */
export interface MessageShape {
  readonly pubsubTopicBytes: number;
  readonly contentTopicBytes: number;
  readonly payloadBytes: number;
  readonly metaBytes: number;
  readonly rateLimitProofBytes: number;
  readonly timestamp: bigint;
  readonly version: number;
  readonly ephemeral: boolean;
}

/** A topic that has no bytes is longer than any may be. */
export function shapeOf(message: WakuMessage, limits: Limits): MessageShape {
  const { timestamp, version, ephemeral } = message;
  return {
    pubsubTopicBytes: bytesOfTopic(message.pubsubTopic, limits),
    contentTopicBytes: bytesOfTopic(message.contentTopic, limits),
    payloadBytes: message.payload.length,
    metaBytes: message.meta.length,
    rateLimitProofBytes: message.rateLimitProof.length,
    timestamp,
    version,
    ephemeral,
  };
}

/** What forbids storing this message, or undefined. `nowMs` and `futureMs` bound its timestamp from above. */
export function messageFault(
  message: MessageShape,
  limits: Limits,
  nowMs: number,
  futureMs: number,
): ErrorCode | undefined {
  if (message.payloadBytes > limits.messagePayloadBytes) return 'MESSAGE_TOO_LARGE';
  if (message.metaBytes > limits.messageMetaBytes) return 'MESSAGE_META_TOO_LONG';
  if (message.rateLimitProofBytes > limits.messageProofBytes) return 'MESSAGE_PROOF_TOO_LONG';
  if (Math.max(message.pubsubTopicBytes, message.contentTopicBytes) > limits.messageTopicBytes) {
    return 'MESSAGE_TOPIC_INVALID';
  }
  if (message.version >>> 0 !== message.version) return 'MESSAGE_VERSION_INVALID';
  if (message.timestamp <= 0n || message.timestamp > TIMESTAMP_MAX) return 'MESSAGE_TIMESTAMP_INVALID';
  if (message.timestamp > BigInt(Math.ceil(nowMs + futureMs)) * 1_000_000n) return 'MESSAGE_TIMESTAMP_FUTURE';
  if (message.ephemeral) return 'MESSAGE_EPHEMERAL';
  return undefined;
}

function bytesOfTopic(topic: string, limits: Limits): number {
  // Text never has more units than bytes: an overlong topic is not even encoded.
  if (topic.length > limits.messageTopicBytes) return topic.length;
  return topicBytes(topic)?.length ?? Number.POSITIVE_INFINITY;
}

function requiredTopicBytes(topic: string): Uint8Array {
  const bytes = topicBytes(topic);
  if (bytes === undefined) {
    throw new LacunaError('MESSAGE_TOPIC_INVALID', 'a topic holds a surrogate that stands for no byte');
  }
  return bytes;
}

const TIMESTAMP_BYTES = 8;

/** One buffer serves all preimages: hashing is synchronous, and messages of one store are of like size. */
let preimage = new Uint8Array(4_096);
let preimageView = new DataView(preimage.buffer);

function reserve(length: number): void {
  if (preimage.length >= length) return;
  preimage = new Uint8Array(length * 2);
  preimageView = new DataView(preimage.buffer);
}
