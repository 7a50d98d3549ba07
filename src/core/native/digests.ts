/**
 * The fingerprints and checks of one side of a reconciliation: 128 bits over the ids of a range, none of which can
 * be foreseen without the session's key. Plain ones hash the XOR of all hashes and cost O(log n); keyed ones hash
 * each id, and no publisher can arrange messages around them.
 */
import { boundBetween } from '../cuts.ts';
import { kernel } from '../kernel.ts';
import { KEYED_SUM_WORDS, type KeyedSums, subtractSum } from '../keyed-sums.ts';
import { xorRows } from '../leaf.ts';
import type { RangeIndex } from '../range-index.ts';
import { compareIds, HASH_WORDS, ID_WORDS, type SyncIdList } from '../sync-id.ts';
import type { Check } from './payload.ts';
import type { NativePolicy } from './policy.ts';
import { overBudget } from './refusals.ts';
import type { Range } from './short-ids.ts';

export interface Counted {
  readonly count: number;
  /** Four words. */
  readonly sum: Uint32Array;
}

export class Digests {
  readonly #window: Range;
  readonly #keyed: KeyedSums;
  readonly #policy: NativePolicy;
  /** Ids that the other side made us hash one by one. */
  #hashed = 0;

  constructor(window: Range, keyed: KeyedSums, policy: NativePolicy) {
    this.#window = window;
    this.#keyed = keyed;
    this.#policy = policy;
  }

  of(index: RangeIndex, range: Range, keyed: boolean): Counted {
    if (!keyed) return this.#plain(index, range);
    const sum = new Uint32Array(KEYED_SUM_WORDS);
    index.addKeyed(range.lower, range.upper, this.#keyed, sum);
    return { count: countOf(index, range), sum };
  }

  /** The check over the window less some ids of it; `spot` is what is hashed id by id. */
  check(index: RangeIndex, less: SyncIdList, spot: Range): Check {
    const { lower, upper } = spot;
    const plain = this.#plain(index, this.#window, less).sum;
    const keyed = new Uint32Array(KEYED_SUM_WORDS);
    index.addKeyed(lower, upper, this.#keyed, keyed);
    subtractSum(keyed, this.#keyedOf(less, spot));
    return { lower, upper, plain, keyed };
  }

  /** A part of the window that no publisher could prepare for; nothing of a large one without `random`. */
  spot(index: RangeIndex, random: ((below: number) => number) | undefined): Range {
    const first = index.rank(this.#window.lower);
    const count = index.rank(this.#window.upper) - first;
    const { keyedSpotIds } = this.#policy;
    if (count <= keyedSpotIds) return this.#window;
    if (random === undefined || keyedSpotIds === 0) {
      return { lower: this.#window.lower, upper: this.#window.lower };
    }
    const from = first + random(count - keyedSpotIds + 1);
    // Between ids, not moments: a burst under one timestamp, where it is easiest to hide, must not fall out.
    const boundAtRank = (rank: number): Uint32Array =>
      boundBetween(index.select(rank - 1), index.select(rank));
    const to = from + keyedSpotIds;
    return {
      lower: from === first ? this.#window.lower : boundAtRank(from),
      upper: to === first + count ? this.#window.upper : boundAtRank(to),
    };
  }

  /**
   * Counts ids that are to be hashed one by one at the other side's wish.
   *
   * @throws LacunaError SESSION_BUDGET
   */
  spend(index: RangeIndex, range: Range): void {
    this.#hashed += Math.max(0, countOf(index, range));
    if (this.#hashed > this.#policy.keyedIdsMax) {
      throw overBudget('more ids to be hashed than allowed');
    }
  }

  #plain(index: RangeIndex, { lower, upper }: Range, less?: SyncIdList): Counted {
    const row = new Uint32Array(ID_WORDS);
    let count = index.digest(lower, upper, row.subarray(ID_WORDS - HASH_WORDS));
    if (less !== undefined) {
      xorRows(less.words, 0, less.count, row, ID_WORDS - HASH_WORDS);
      count -= less.count;
    }
    const sum = new Uint32Array(KEYED_SUM_WORDS);
    kernel.addKeyedHashes(row, 0, 1, this.#keyed.key, sum);
    // Sets of different sizes differ, whatever their hashes do.
    sum[0] = (sum[0]! ^ count) >>> 0;
    return { count, sum };
  }

  #keyedOf({ words, count }: SyncIdList, { lower, upper }: Range): Uint32Array {
    const sum = new Uint32Array(KEYED_SUM_WORDS);
    const isWithin = (row: number): boolean =>
      compareIds(words, row * ID_WORDS, lower, 0) >= 0 && compareIds(words, row * ID_WORDS, upper, 0) < 0;
    for (let row = 0; row < count; row++) {
      const from = row;
      while (row < count && isWithin(row)) row += 1;
      kernel.addKeyedHashes(words, from, row - from, this.#keyed.key, sum);
    }
    return sum;
  }
}

export function countOf(index: RangeIndex, { lower, upper }: Range): number {
  return index.rank(upper) - index.rank(lower);
}

export function sameWords(a: Uint32Array, b: Uint32Array): boolean {
  return a.length === b.length && a.every((word, at) => word === b[at]);
}
