/**
 * How many messages and bytes each topic of a kind has. By those of pubsub topics a scope of all topics that are here
 * is known to be everything. Where there are more topics than the limit, or it is not known which topic lost a
 * message, nothing is counted any more until the counts are made anew.
 */
import type { Batch, Database } from './database.ts';
import { ALL_TOPIC_COUNTS, type TopicKind, topicCountKey, topicOfKey } from './keys.ts';
import { decodeTopicCount, encodeTopicCount } from './page-codec.ts';
import { addTo, isSound, isSpent, type Tally } from './tally.ts';

/** A topic key, as bytes and as a name for maps. */
export interface TopicKey {
  readonly bytes: Uint8Array;
  readonly name: string;
}

export function topicKeyOf(bytes: Uint8Array): TopicKey {
  return { bytes, name: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1') };
}

export function topicKeyNamed(name: string): TopicKey {
  return { bytes: Buffer.from(name, 'latin1'), name };
}

export class TopicCounts {
  readonly #kind: TopicKind;
  readonly #topicsMax: number;
  #counts: Map<string, Tally> | undefined = new Map();

  constructor(kind: TopicKind, topicsMax: number) {
    this.#kind = kind;
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
    for (const name of topics) sum += this.#counts.get(name)?.messages ?? 0;
    return sum;
  }

  /** The topics that have messages, as far as they are counted. */
  names(): string[] {
    return [...(this.#counts?.keys() ?? [])];
  }

  /** What a topic has; undefined where it has nothing, or nothing is known. */
  of(name: string): Readonly<Tally> | undefined {
    return this.#counts?.get(name);
  }

  entries(): Iterable<readonly [name: string, tally: Readonly<Tally>]> {
    return this.#counts ?? [];
  }

  /** Returns false when what lies on the disk cannot be the counts. */
  async load(database: Database): Promise<boolean> {
    const counts = new Map<string, Tally>();
    for await (const chunk of database.entries(ALL_TOPIC_COUNTS[this.#kind])) {
      for (const [key, value] of chunk) {
        const topic = topicOfKey(key);
        const held = decodeTopicCount(topic, value);
        if (held === undefined || counts.size >= this.#topicsMax) return false;
        counts.set(topicKeyOf(topic).name, held);
      }
    }
    this.#counts = counts;
    return true;
  }

  /** Whether the counts will be known after these changes. */
  admits(changes: ReadonlyMap<string, Tally>): boolean {
    const counts = this.#counts;
    if (counts === undefined) return false;
    let size = counts.size;
    for (const [name, change] of changes) {
      const held = counts.get(name);
      if (held === undefined) size += 1;
      else if (isSpent(held, change)) size -= 1;
    }
    return size <= this.#topicsMax;
  }

  /** Whether no topic loses more than it has: else what told the topics was damaged. */
  areSound(changes: ReadonlyMap<string, Tally>): boolean {
    if (this.#counts === undefined) return true;
    for (const [name, change] of changes) if (!isSound(this.#counts.get(name), change)) return false;
    return true;
  }

  /** Puts the counts as they will be into the batch. */
  stage(changes: ReadonlyMap<string, Tally>, batch: Batch): void {
    for (const [name, { messages, bytes }] of changes) {
      const held = this.#counts?.get(name);
      const after = { messages: (held?.messages ?? 0) + messages, bytes: (held?.bytes ?? 0) + bytes };
      this.#put(name, after, batch);
    }
  }

  /** What was staged is on the disk. */
  adopt(changes: ReadonlyMap<string, Tally>): void {
    const counts = this.#counts;
    if (counts === undefined) return;
    for (const [name, change] of changes) {
      const held = counts.get(name);
      if (held === undefined) counts.set(name, { ...change });
      else if (addTo(held, change).messages === 0) counts.delete(name);
    }
  }

  /** Puts all counts into batches. */
  *all(): Generator<(batch: Batch) => void> {
    for (const [name, tally] of this.entries()) yield (batch) => this.#put(name, tally, batch);
  }

  forget(): void {
    this.#counts = undefined;
  }

  #put(name: string, tally: Tally, batch: Batch): void {
    const topic = Buffer.from(name, 'latin1');
    const key = topicCountKey(this.#kind, topic);
    if (tally.messages === 0) batch.del(key);
    else batch.put(key, encodeTopicCount(topic, tally));
  }
}
