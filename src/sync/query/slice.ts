/** A part of a window that is listed in one walk: what this store has of it, held against what the peer lists. */
import type { Interval } from '../../core/interval.ts';
import type { RangeIndex } from '../../core/range-index.ts';
import { boundAt, hashOf, ID_WORDS, type SyncIdList, timeOf } from '../../core/sync-id.ts';
import { LIMITS } from '../../limits.ts';

/**
 * The next slice back from the upper end of `index`, which holds the window's ids below `untilNs`: at most `lengthNs`
 * long, and with no more own ids than are held at once, unless they are all of one moment.
 */
export function sliceBelow(
  index: RangeIndex,
  { sinceNs: windowSinceNs, untilNs }: Interval,
  lengthNs: bigint,
): Interval {
  const longestNs = untilNs - lengthNs;
  let sinceNs = longestNs > windowSinceNs ? longestNs : windowSinceNs;
  const own = index.count - index.rank(boundAt(sinceNs));
  if (own > LIMITS.querySliceIds) {
    const afterNs = timeOf(index.select(index.count - LIMITS.querySliceIds - 1)) + 1n;
    sinceNs = afterNs < untilNs ? afterNs : untilNs - 1n;
  }
  return { sinceNs, untilNs };
}

/** How long the next slice is to be, after one of this length in which the peer listed so many. */
export function nextLengthNs(lengthNs: bigint, listed: number): bigint {
  // Nothing at all may mean years of nothing: a window that begins in 1970 must not take hundreds of requests.
  if (listed === 0) return lengthNs * 16n;
  if (listed < LIMITS.querySliceSparse) return lengthNs * 2n;
  return listed > LIMITS.querySliceDense && lengthNs > 1_000n ? lengthNs / 2n : lengthNs;
}

export class SliceComparison {
  readonly #own = new Map<string, number>();
  readonly #isListed: Uint8Array;
  #unlisted: number;

  constructor(ids: SyncIdList) {
    for (let row = 0; row < ids.count; row++) this.#own.set(keyOf(hashOf(ids.words, row * ID_WORDS)), row);
    this.#isListed = new Uint8Array(ids.count);
    this.#unlisted = ids.count;
  }

  /** What this store has, and the peer has not listed yet. */
  get unlisted(): number {
    return this.#unlisted;
  }

  /** The peer has listed it; whether this store has it. */
  list(key: string): boolean {
    const row = this.#own.get(key);
    if (row === undefined) return false;
    this.#unlisted -= 1 - this.#isListed[row]!;
    this.#isListed[row] = 1;
    return true;
  }
}

/** A hash as a key of a map: 32 characters of one byte each. */
export function keyOf(hash: Uint8Array): string {
  return String.fromCharCode(...hash);
}
