/**
 * Gives the disk back what was pruned. LevelDB forgets removed entries when it compacts the tables they lie in, which
 * for what is old can take for ever. Messages that lay side by side are compacted as soon as many of them went; others,
 * and the entries that lie everywhere between those of messages that stay, when enough have gone to be worth it.
 */
import { LIMITS } from '../limits.ts';
import type { Database } from './database.ts';
import { ALL_HASHES, ALL_LEAVES, ALL_TOPICS, type KeyRange } from './keys.ts';

/** Entries are worth compacting when one in so many has gone. */
const WORTH = 20;
const SCATTERED: readonly KeyRange[] = [ALL_HASHES, ALL_TOPICS.pubsub, ALL_TOPICS.content, ALL_LEAVES];

/** Messages that have gone from a range of keys, and what they took up. */
export interface Gone {
  readonly range: KeyRange;
  readonly messages: number;
  readonly bytes: number;
}

export class Reclaimer {
  readonly #database: Database;
  readonly #pause: () => Promise<void>;
  /** What went since entries were last compacted. */
  #messages = 0;
  #bytes = 0;
  /** Where messages went that are not compacted yet. */
  #range: KeyRange | undefined;

  /** `pause` is called between ranges, and rejects to end the work. */
  constructor(database: Database, pause: () => Promise<void>) {
    this.#database = database;
    this.#pause = pause;
  }

  /** `isDense`: nearly all that was in the range has gone, and much of it. */
  async removed({ range, messages, bytes }: Gone, isDense: boolean): Promise<void> {
    this.#messages += messages;
    this.#bytes += bytes;
    if (isDense) await this.#database.compact(range);
    else this.#range = this.#range === undefined ? range : around(this.#range, range);
  }

  /** Whether enough has gone for `reclaim` to give back something, where so many messages are left. */
  isWorthIt(left: number): boolean {
    return this.#messages > 0 && this.#messages * WORTH >= left;
  }

  /** Whether it would be worth it even where nothing presses. */
  isDue(left: number): boolean {
    return this.isWorthIt(left) && this.#bytes >= LIMITS.retentionReclaimBytes;
  }

  async reclaim(): Promise<void> {
    for (const range of this.#range === undefined ? SCATTERED : [this.#range, ...SCATTERED]) {
      await this.#pause();
      await this.#database.compact(range);
    }
    this.#messages = 0;
    this.#bytes = 0;
    this.#range = undefined;
  }
}

function around(a: KeyRange, b: KeyRange): KeyRange {
  return {
    gte: Buffer.compare(a.gte, b.gte) < 0 ? a.gte : b.gte,
    lt: Buffer.compare(a.lt, b.lt) > 0 ? a.lt : b.lt,
  };
}
