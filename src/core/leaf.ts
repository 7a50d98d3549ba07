/**
 * A leaf of the index: up to some hundred rows of ids in one typed array, with the first coded symbols of them.
 * How many rows there are, what they XOR to and where the leaf begins stands in its block, so that a leaf whose
 * rows lie on the disk costs next to nothing.
 */
import { kernel } from './kernel.ts';
import { SYMBOL_WORDS } from './symbols.ts';
import { compareIds, HASH_WORDS, ID_WORDS, type SyncIdList } from './sync-id.ts';

/** Rows of a full leaf: 512 is where appends, random inserts and range digests are all near their best. */
export const LEAF_ROWS = 512;
export const LEAF_WORDS = LEAF_ROWS * ID_WORDS;
/** Symbols kept of each leaf: enough for what some 170 scattered differences need. */
export const LEAF_SYMBOLS = 256;

const HASH_OFFSET = ID_WORDS - HASH_WORDS;

export interface Leaf {
  /** Room for `LEAF_ROWS` rows; undefined while they lie on the disk only. */
  words: Uint32Array | undefined;
  /** Of all rows; undefined until they are asked for, where the rows came from the disk. */
  symbols: Uint32Array | undefined;
  /** The tree that may change this leaf in place; every other one copies it first. */
  owner: object;
  /** The number of the page on the disk, and how many patches follow it; 0 for a leaf that was never written. */
  page: number;
  patches: number;
  /** Rows put in since the page was written; undefined when the page is to be written whole. */
  fresh: SyncIdList | undefined;
  /** A newer version of this leaf is on the disk, or about to be: the rows stay here for whoever still reads them. */
  pinned: boolean;
  /** Read lately; for whoever decides which rows to let go of. */
  used: boolean;
}

/** Where the rows and symbols lie that are not in memory. Answers at once: a step of a session never waits. */
export interface LeafSource {
  /**
   * The rows of a leaf with room for `LEAF_ROWS`, checked against what the directory says of them.
   *
   * @throws LacunaError STORE_DAMAGED
   */
  rowsOf(leaf: Leaf, count: number, xor: Uint32Array): Uint32Array;
  /** The symbols of a block, if they were written since it changed last. */
  symbolsOf(block: {
    readonly number: number;
    readonly count: number;
    readonly xor: Uint32Array;
  }): Uint32Array | undefined;
}

/** The first of the rows that is not below the id. */
export function lowerRow(leaf: Uint32Array, count: number, words: Uint32Array, offset: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareIds(leaf, middle * ID_WORDS, words, offset) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function symbolsOf(words: Uint32Array, count: number): Uint32Array {
  const symbols = new Uint32Array(LEAF_SYMBOLS * SYMBOL_WORDS);
  kernel.addSymbols(words, 0, count, symbols);
  return symbols;
}

export function xorRow(words: Uint32Array, offset: number, into: Uint32Array, at: number): void {
  for (let word = 0; word < HASH_WORDS; word++) {
    into[at + word] = into[at + word]! ^ words[offset + HASH_OFFSET + word]!;
  }
}

export function xorHash(hashes: Uint32Array, offset: number, into: Uint32Array, at: number): void {
  for (let word = 0; word < HASH_WORDS; word++) into[at + word] = into[at + word]! ^ hashes[offset + word]!;
}

/** XORs the hashes of rows into eight words, held in locals: 3.5 ns a row. */
export function xorRows(
  words: Uint32Array,
  fromRow: number,
  toRow: number,
  into: Uint32Array,
  at: number,
): void {
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  let e = 0;
  let f = 0;
  let g = 0;
  let h = 0;
  for (let word = fromRow * ID_WORDS + HASH_OFFSET; word < toRow * ID_WORDS; word += ID_WORDS) {
    a ^= words[word]!;
    b ^= words[word + 1]!;
    c ^= words[word + 2]!;
    d ^= words[word + 3]!;
    e ^= words[word + 4]!;
    f ^= words[word + 5]!;
    g ^= words[word + 6]!;
    h ^= words[word + 7]!;
  }
  into[at] = into[at]! ^ a;
  into[at + 1] = into[at + 1]! ^ b;
  into[at + 2] = into[at + 2]! ^ c;
  into[at + 3] = into[at + 3]! ^ d;
  into[at + 4] = into[at + 4]! ^ e;
  into[at + 5] = into[at + 5]! ^ f;
  into[at + 6] = into[at + 6]! ^ g;
  into[at + 7] = into[at + 7]! ^ h;
}
