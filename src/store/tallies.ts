/**
 * What the messages of the store come to, by hour, pubsub topic and content topic, so that counting them costs no walk
 * over them. The counts are written in the batch of the messages that they tell of, and checked against each other
 * when they are read: a message counts once in each of the three.
 */
import { LIMITS } from '../limits.ts';
import type { Batch, Database } from './database.ts';
import { HourCounts, hourOf } from './hour-counts.ts';
import { addTo, type Known, NOTHING_KNOWN, type Tally, tallyIn } from './tally.ts';
import { TopicCounts } from './topic-counts.ts';

export interface TallyLimits {
  readonly topicsMax?: number;
  readonly contentTopicsMax?: number;
}

/** What a batch changes. */
export class TallyChanges {
  readonly hours = new Map<number, Tally>();
  readonly pubsub = new Map<string, Tally>();
  readonly content = new Map<string, Tally>();
  /** A message went, and it is not known what it was counted under. */
  isUnsure = false;

  /** `messages` is 1 for a message that comes and -1 for one that goes; topics are the names of their keys. */
  add(id: Uint32Array, pubsub: string, content: string, messages: 1 | -1, bytes: number): void {
    const change = messages * bytes;
    tallyIn(this.hours, hourOf(id), messages, change);
    tallyIn(this.pubsub, pubsub, messages, change);
    tallyIn(this.content, content, messages, change);
  }
}

export class Tallies {
  readonly pubsub: TopicCounts;
  readonly content: TopicCounts;
  readonly #hours = new HourCounts();
  #areKept = true;

  constructor({
    topicsMax = LIMITS.indexTopics,
    contentTopicsMax = LIMITS.indexContentTopics,
  }: TallyLimits = {}) {
    this.pubsub = new TopicCounts('pubsub', topicsMax);
    this.content = new TopicCounts('content', contentTopicsMax);
  }

  /** Undefined when nothing is counted any more, until the counts are made anew. */
  get hours(): HourCounts | undefined {
    return this.#areKept ? this.#hours : undefined;
  }

  get known(): Known {
    const { pubsub, content } = this;
    return { hours: this.#areKept, pubsub: pubsub.areKnown, content: content.areKnown };
  }

  /** Reads what is known; returns false when it contradicts itself, or what the index holds. */
  async load(database: Database, known: Known, count: number): Promise<boolean> {
    if (!known.hours) {
      this.forget();
      return true;
    }
    if (!(await this.#hours.load(database))) return false;
    for (const kind of ['pubsub', 'content'] as const) {
      if (!known[kind]) this[kind].forget();
      else if (!(await this[kind].load(database))) return false;
    }
    return this.addUpTo(count);
  }

  /** Whether all counts are of so many messages, and of the same number of bytes. */
  addUpTo(count: number): boolean {
    const sum = { messages: 0, bytes: 0 };
    for (const [, tally] of this.#hours.between(0, Number.POSITIVE_INFINITY)) addTo(sum, tally);
    if (sum.messages !== count) return false;
    return [this.pubsub, this.content].every((topics) => {
      const ofTopics = { messages: 0, bytes: 0 };
      for (const [, tally] of topics.entries()) addTo(ofTopics, tally);
      return !topics.areKnown || (ofTopics.messages === count && ofTopics.bytes === sum.bytes);
    });
  }

  /** What will be known after these changes. */
  after(changes: TallyChanges): Known {
    const { pubsub, content } = this;
    const isSound =
      this.#areKept &&
      !changes.isUnsure &&
      this.#hours.areSound(changes.hours) &&
      pubsub.areSound(changes.pubsub) &&
      content.areSound(changes.content);
    if (!isSound) return NOTHING_KNOWN;
    return { hours: true, pubsub: pubsub.admits(changes.pubsub), content: content.admits(changes.content) };
  }

  /** Puts the counts as they will be into the batch; returns what will be known. */
  stage(changes: TallyChanges, batch: Batch): Known {
    const known = this.after(changes);
    if (known.hours) this.#hours.stage(changes.hours, batch);
    if (known.pubsub) this.pubsub.stage(changes.pubsub, batch);
    if (known.content) this.content.stage(changes.content, batch);
    return known;
  }

  /** What was staged is on the disk. */
  adopt(changes: TallyChanges, known: Known): void {
    if (!known.hours) {
      this.forget();
      return;
    }
    this.#hours.adopt(changes.hours);
    for (const kind of ['pubsub', 'content'] as const) {
      if (known[kind]) this[kind].adopt(changes[kind]);
      else this[kind].forget();
    }
  }

  /** Puts all counts into batches. */
  *all(): Generator<(batch: Batch) => void> {
    if (!this.#areKept) return;
    yield* this.#hours.all();
    yield* this.pubsub.all();
    yield* this.content.all();
  }

  /** Hours and topics by which these differ from others, as far as both know them. */
  differencesFrom(other: Tallies): number {
    if (this.hours === undefined || other.hours === undefined) return 0;
    const everyHour = [this.hours, other.hours].map(
      (hours) => new Map(hours.between(0, Number.POSITIVE_INFINITY)),
    );
    let differences = differencesOf(everyHour[0]!, everyHour[1]!);
    for (const kind of ['pubsub', 'content'] as const) {
      if (!this[kind].areKnown || !other[kind].areKnown) continue;
      differences += differencesOf(new Map(this[kind].entries()), new Map(other[kind].entries()));
    }
    return differences;
  }

  forget(): void {
    this.#areKept = false;
    this.#hours.clear();
    this.pubsub.forget();
    this.content.forget();
  }
}

function differencesOf<K>(ours: ReadonlyMap<K, Tally>, theirs: ReadonlyMap<K, Tally>): number {
  let differences = 0;
  for (const [key, { messages, bytes }] of ours) {
    const other = theirs.get(key);
    if (other?.messages !== messages || other.bytes !== bytes) differences += 1;
  }
  for (const key of theirs.keys()) if (!ours.has(key)) differences += 1;
  return differences;
}
