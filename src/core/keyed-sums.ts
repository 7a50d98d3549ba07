/**
 * Fingerprints that no publisher can prepare for: the sum of a SipHash-2-4-128 of each id under a key that the two
 * sides of a session have between them. Computed from the rows (about 25 ns an id), and remembered for each leaf as
 * long as it does not change, so that a key that is used again costs what has changed since.
 */
import { kernel } from './kernel.ts';
import type { SipKey } from './siphash.ts';

/** Two sums modulo 2^64, low word before high. */
export const KEYED_SUM_WORDS = 4;

export class KeyedSums {
  readonly key: SipKey;
  readonly #ofLeaves = new WeakMap<object, Uint32Array>();

  constructor(key: SipKey) {
    this.key = key;
  }

  /** Adds the sum over a whole leaf whose rows do not change; `rows` gives them where they are needed. */
  addLeaf(leaf: object, rows: () => Uint32Array, count: number, sum: Uint32Array): void {
    let known = this.#ofLeaves.get(leaf);
    if (known === undefined) {
      known = new Uint32Array(KEYED_SUM_WORDS);
      kernel.addKeyedHashes(rows(), 0, count, this.key, known);
      this.#ofLeaves.set(leaf, known);
    }
    addSum(sum, known);
  }

  addRows(words: Uint32Array, row: number, count: number, sum: Uint32Array): void {
    kernel.addKeyedHashes(words, row, count, this.key, sum);
  }
}

/** Adds one pair of sums to another. */
export function addSum(sum: Uint32Array, other: Uint32Array): void {
  for (let half = 0; half < KEYED_SUM_WORDS; half += 2) {
    const low = sum[half]! + other[half]!;
    sum[half] = low;
    sum[half + 1] = sum[half + 1]! + other[half + 1]! + (low > 0xffff_ffff ? 1 : 0);
  }
}

/** Takes one pair of sums from another. */
export function subtractSum(sum: Uint32Array, other: Uint32Array): void {
  for (let half = 0; half < KEYED_SUM_WORDS; half += 2) {
    const low = sum[half]! - other[half]!;
    sum[half] = low;
    sum[half + 1] = sum[half + 1]! - other[half + 1]! - (low < 0 ? 1 : 0);
  }
}
