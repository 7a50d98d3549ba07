/**
 * An index less some of its ids: what a side believes the other to have too, once it knows what the other lacks.
 * Sums are linear, so every question is answered from the two.
 */
import type { DigestTree } from '../digest-tree.ts';
import { KEYED_SUM_WORDS, type KeyedSums, subtractSum } from '../keyed-sums.ts';
import type { RangeIndex } from '../range-index.ts';
import { compareIds, HASH_WORDS, ID_WORDS, SyncIdList } from '../sync-id.ts';

export class Remainder implements RangeIndex {
  readonly #whole: RangeIndex;
  readonly #without: DigestTree;

  /** Every id of `without` must be in `whole`. */
  constructor(whole: RangeIndex, without: DigestTree) {
    this.#whole = whole;
    this.#without = without;
  }

  get count(): number {
    return this.#whole.count - this.#without.count;
  }

  has(id: Uint32Array): boolean {
    return this.#whole.has(id) && !this.#without.has(id);
  }

  rank(bound: Uint32Array): number {
    return this.#whole.rank(bound) - this.#without.rank(bound);
  }

  select(rank: number): Uint32Array {
    // The first id of the whole with more than `rank` of these ids up to and with it.
    let low = rank;
    let high = rank + this.#without.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const id = this.#whole.select(middle);
      const without = this.#without.rank(id) + (this.#without.has(id) ? 1 : 0);
      if (middle + 1 - without > rank) high = middle;
      else low = middle + 1;
    }
    return this.#whole.select(low);
  }

  digest(lower: Uint32Array, upper: Uint32Array, fingerprint: Uint32Array): number {
    const other = new Uint32Array(HASH_WORDS);
    const count = this.#whole.digest(lower, upper, fingerprint) - this.#without.digest(lower, upper, other);
    for (let word = 0; word < HASH_WORDS; word++) fingerprint[word] = fingerprint[word]! ^ other[word]!;
    return count;
  }

  addSymbols(lower: Uint32Array, upper: Uint32Array, symbols: Uint32Array): void {
    this.#whole.addSymbols(lower, upper, symbols);
    this.#without.addSymbols(lower, upper, symbols);
  }

  addKeyed(lower: Uint32Array, upper: Uint32Array, keyed: KeyedSums, sum: Uint32Array): void {
    this.#whole.addKeyed(lower, upper, keyed, sum);
    const other = new Uint32Array(KEYED_SUM_WORDS);
    this.#without.addKeyed(lower, upper, keyed, other);
    subtractSum(sum, other);
  }

  ids(lower: Uint32Array, upper: Uint32Array): SyncIdList {
    const all = this.#whole.ids(lower, upper);
    const without = this.#without.ids(lower, upper);
    if (without.count === 0) return all;
    const left = new SyncIdList(all.count - without.count);
    let other = 0;
    for (let row = 0; row < all.count; row++) {
      const at = row * ID_WORDS;
      if (other < without.count && compareIds(all.words, at, without.words, other * ID_WORDS) === 0) {
        other += 1;
      } else {
        left.push(all.words, at);
      }
    }
    return left;
  }
}
