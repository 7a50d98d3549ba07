/**
 * How many messages each pubsub topic has, so that a scope of all topics that are here is known to be everything.
 * Where there are more topics than the limit, or it is not known which topic lost a message, nothing is counted any
 * more until the index is built anew; scopes are then put together from the lists of their topics.
 */
import { LIMITS } from '../limits.ts';
import type { Batch, Database } from './database.ts';
import { ALL_TOPIC_COUNTS, topicCountKey, topicOfKey } from './keys.ts';
import { decodeTopicCount, encodeTopicCount } from './page-codec.ts';

/** What a batch changes. */
export class TopicChanges {
  readonly byName = new Map<string, number>();
  /** A message went, and it is not known which topic it had. */
  isUnsure = false;

  add(topic: TopicKey, change: number): void {
    this.byName.set(topic.name, (this.byName.get(topic.name) ?? 0) + change);
  }
}

/** A topic key, as bytes and as a name for maps. */
export interface TopicKey {
  readonly bytes: Uint8Array;
  readonly name: string;
}

export function topicKeyOf(bytes: Uint8Array): TopicKey {
  return { bytes, name: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1') };
}

export class TopicCounts {
  readonly #topicsMax: number;
  #counts: Map<string, number> | undefined = new Map();

  constructor(topicsMax: number = LIMITS.indexTopics) {
    this.#topicsMax = topicsMax;
  }

  /** Whether the counts are known. */
  get areKnown(): boolean {
    return this.#counts !== undefined;
  }

  /** Of how many messages the topics are, all together; undefined when that is not known. */
  sumOf(topics: Iterable<string>): number | undefined {
    if (this.#counts === undefined) return undefined;
    let sum = 0;
    for (const name of topics) sum += this.#counts.get(name) ?? 0;
    return sum;
  }

  /** The topics that have messages, as far as they are counted. */
  names(): string[] {
    return [...(this.#counts?.keys() ?? [])];
  }

  /** Returns false when the counts contradict each other, or what the index holds. */
  async load(database: Database, count: number): Promise<boolean> {
    const counts = new Map<string, number>();
    let sum = 0;
    for await (const chunk of database.entries(ALL_TOPIC_COUNTS)) {
      for (const [key, value] of chunk) {
        const topic = topicOfKey(key);
        const held = decodeTopicCount(topic, value);
        if (held === undefined || counts.size >= this.#topicsMax) return false;
        counts.set(topicKeyOf(topic).name, held);
        sum += held;
      }
    }
    this.#counts = counts;
    return sum === count;
  }

  /** Puts the counts as they will be into the batch; returns whether they will be known. */
  stage(changes: TopicChanges, batch: Batch): boolean {
    const counts = this.#counts;
    if (counts === undefined || changes.isUnsure) return false;
    let size = counts.size;
    for (const [name, change] of changes.byName) {
      if (!counts.has(name)) size += 1;
      // More went than there were: what told the topic was damaged.
      if ((counts.get(name) ?? 0) + change < 0) return false;
    }
    if (size > this.#topicsMax) return false;
    for (const [name, change] of changes.byName) {
      const topic = Buffer.from(name, 'latin1');
      const count = (counts.get(name) ?? 0) + change;
      if (count === 0) batch.del(topicCountKey(topic));
      else batch.put(topicCountKey(topic), encodeTopicCount(topic, count));
    }
    return true;
  }

  /** What was staged is on the disk. */
  adopt(changes: TopicChanges, areKnown: boolean): void {
    if (!areKnown) this.forget();
    for (const [name, change] of changes.byName) {
      const count = (this.#counts?.get(name) ?? 0) + change;
      if (count === 0) this.#counts?.delete(name);
      else this.#counts?.set(name, count);
    }
  }

  forget(): void {
    this.#counts = undefined;
  }
}
