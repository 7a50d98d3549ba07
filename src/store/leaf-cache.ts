/**
 * Which rows of leaves stay in memory: a ring of the leaves that have theirs, one for each page, and a hand that
 * goes round and lets go of what was not read since it came by last. Rows that only older snapshots still read are
 * pinned: what is on the disk is newer than they are, so they leave the ring with their rows.
 */
import { LEAF_SYMBOLS, LEAF_WORDS, type Leaf } from '../core/leaf.ts';
import { SYMBOL_WORDS } from '../core/symbols.ts';

/** A leaf with its rows and symbols. */
export const LEAF_BYTES = (LEAF_WORDS + LEAF_SYMBOLS * SYMBOL_WORDS) * 4;

export class LeafCache {
  readonly #leavesMax: number;
  readonly #ring: Leaf[] = [];
  readonly #placeOfPage = new Map<number, number>();
  #hand = 0;

  constructor(bytes: number) {
    this.#leavesMax = Math.max(1, Math.floor(bytes / LEAF_BYTES));
  }

  /** How many leaves have their rows in memory, those apart that are pinned. */
  get size(): number {
    return this.#ring.length;
  }

  /** Takes in a leaf that has its rows, or is about to; an older version of it makes way. */
  add(leaf: Leaf): void {
    const place = this.#placeOfPage.get(leaf.page);
    if (place !== undefined) {
      this.#ring[place] = leaf;
      return;
    }
    while (this.#ring.length >= this.#leavesMax) this.#letGo();
    this.#placeOfPage.set(leaf.page, this.#ring.length);
    this.#ring.push(leaf);
  }

  /** The page is no more; whoever still reads its rows has them. */
  forget(page: number): void {
    const place = this.#placeOfPage.get(page);
    if (place !== undefined) this.#takeOut(place);
  }

  #letGo(): void {
    for (;;) {
      if (this.#hand >= this.#ring.length) this.#hand = 0;
      const leaf = this.#ring[this.#hand]!;
      if (leaf.used && !leaf.pinned) {
        leaf.used = false;
        this.#hand += 1;
        continue;
      }
      if (!leaf.pinned) {
        leaf.words = undefined;
        leaf.symbols = undefined;
      }
      this.#takeOut(this.#hand);
      return;
    }
  }

  #takeOut(place: number): void {
    this.#placeOfPage.delete(this.#ring[place]!.page);
    const last = this.#ring.pop()!;
    if (place === this.#ring.length) return;
    this.#ring[place] = last;
    this.#placeOfPage.set(last.page, place);
  }
}
