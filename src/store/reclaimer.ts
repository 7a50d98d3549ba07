/**
 * Gives the disk back what was pruned. LevelDB forgets removed entries when it compacts the tables they lie in, which
 * for what is old can take for ever. Messages that lie side by side are compacted as soon as they went; entries that
 * lie everywhere between others, by hash and by topic, when enough of them have gone to be worth it.
 */
import type { Database } from './database.ts';
import { ALL_HASHES, ALL_LEAVES, ALL_MESSAGES, ALL_TOPICS, type KeyRange } from './keys.ts';

/** Entries are worth compacting when one in so many has gone. */
const WORTH = 20;
const SCATTERED: readonly KeyRange[] = [ALL_HASHES, ALL_TOPICS.pubsub, ALL_TOPICS.content, ALL_LEAVES];

export class Reclaimer {
  readonly #database: Database;
  readonly #pause: () => Promise<void>;
  /** Messages that went since their entries were last compacted. */
  #gone = 0;
  #hasHoles = false;

  /** `pause` is called between ranges, and rejects to end the work. */
  constructor(database: Database, pause: () => Promise<void>) {
    this.#database = database;
    this.#pause = pause;
  }

  /** Messages have gone from a range of keys: all that were there, or some from between others. */
  async removed(messages: number, range: KeyRange, isWhole: boolean): Promise<void> {
    this.#gone += messages;
    if (isWhole) await this.#database.compact(range);
    else this.#hasHoles = true;
  }

  /** Whether enough has gone for `reclaim` to be worth it, where so many messages are left. */
  isWorthIt(left: number): boolean {
    return this.#gone > 0 && this.#gone * WORTH >= left;
  }

  async reclaim(): Promise<void> {
    for (const range of this.#hasHoles ? [ALL_MESSAGES, ...SCATTERED] : SCATTERED) {
      await this.#pause();
      await this.#database.compact(range);
    }
    this.#gone = 0;
    this.#hasHoles = false;
  }
}
