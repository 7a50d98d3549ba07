/**
 * Where messages to be pruned are found, each with what it takes to remove it: in their order, by reading them, or
 * in the list of a topic, by its entries alone.
 */
import type { TopicKind } from '../core/retention.ts';
import { boundAt } from '../core/sync-id.ts';
import type { MessageView } from '../wire/waku-message.ts';
import {
  ALL_TOPICS,
  idOfKey,
  type KeyRange,
  MESSAGE_KEY_BYTES,
  messageRange,
  readTopicEntry,
  topicRange,
} from './keys.ts';
import { type TopicKey, topicKeyOf } from './topic-counts.ts';

/** A message that may have to go. */
export interface Candidate {
  readonly id: Uint32Array;
  readonly pubsub: TopicKey;
  readonly content: TopicKey;
  /** Of the encoded message. */
  readonly bytes: number;
}

export interface Source {
  readonly range: KeyRange;
  /** Whether its messages lie side by side, so that the room of those removed is given back at once. */
  readonly isInOrder: boolean;
  /** Undefined for what is damaged, and has to be left to others. */
  read(key: Uint8Array, value: Uint8Array): Candidate | undefined;
}

/** What is needed to read messages. */
export interface MessageSource {
  topicKey(topic: string): TopicKey;
  viewOf(id: Uint32Array, encoded: Uint8Array): MessageView | undefined;
}

/** All messages with ids in `[lower, upper)`, the oldest first. */
export function messagesIn(source: MessageSource, lower: Uint32Array, upper: Uint32Array): Source {
  return {
    range: messageRange(lower, upper),
    isInOrder: true,
    read(key, value) {
      if (key.length !== MESSAGE_KEY_BYTES) return undefined;
      const id = idOfKey(key);
      const view = source.viewOf(id, value);
      if (view === undefined) return undefined;
      const { pubsubTopic, contentTopic } = view.topics();
      const pubsub = source.topicKey(pubsubTopic);
      return { id, pubsub, content: source.topicKey(contentTopic), bytes: value.length };
    },
  };
}

/** The messages of one topic with ids in `[lower, upper)`, the oldest first. */
export function listOf(kind: TopicKind, topic: TopicKey, lower: Uint32Array, upper: Uint32Array): Source {
  return { range: topicRange(kind, topic.bytes, lower, upper), isInOrder: false, read: reading(kind) };
}

/** All messages, content topic by content topic; of each the oldest first. */
export function messagesByContentTopic(): Source {
  return { range: ALL_TOPICS.content, isInOrder: false, read: reading('content') };
}

export const START = boundAt(0n);
/** Above all ids. */
export const END = new Uint32Array(START.length).fill(0xffff_ffff);

function reading(kind: TopicKind): Source['read'] {
  return (key, value) => {
    const entry = readTopicEntry(key, value);
    if (entry === undefined) return undefined;
    const topic = topicKeyOf(entry.topic);
    const other = topicKeyOf(entry.otherTopic);
    const [pubsub, content] = kind === 'pubsub' ? [topic, other] : [other, topic];
    return { id: entry.id, pubsub, content, bytes: entry.bytes };
  };
}
