/**
 * A block of the index: up to 64 neighbouring leaves, with what is known of each in columns, and the count, the XOR
 * and the first coded symbols of all of them. The blocks together are the directory, the part of the index that is
 * always in memory: about 90 bytes for each leaf of 512 ids.
 */

import { type Leaf, xorHash } from './leaf.ts';
import { SYMBOL_WORDS, xorSymbols } from './symbols.ts';
import { HASH_WORDS, ID_WORDS } from './sync-id.ts';

export const BLOCK_LEAVES = 64;
/** Symbols kept of each block: what some 2,900 scattered differences need. */
export const BLOCK_SYMBOLS = 4_096;

export class Block {
  readonly leaves: Leaf[];
  /** Where each leaf begins: ids from here to where the next leaf begins belong into it. */
  readonly lowers: Uint32Array;
  readonly counts: Uint32Array;
  readonly xors: Uint32Array;
  /** Of all leaves together. */
  count = 0;
  readonly xor: Uint32Array;
  /** Undefined until they are asked for, where the leaves lie on the disk. */
  symbols: Uint32Array | undefined;
  /** The tree that may change this block in place; every other one copies it first. */
  owner: object;
  /** Not on the disk yet: what the disk says of its leaves names another block. */
  isNew = true;
  /** The number under which its symbols lie on the disk. */
  readonly number: number;

  constructor(owner: object, number: number) {
    this.owner = owner;
    this.number = number;
    this.leaves = [];
    this.lowers = new Uint32Array(BLOCK_LEAVES * ID_WORDS);
    this.counts = new Uint32Array(BLOCK_LEAVES);
    this.xors = new Uint32Array(BLOCK_LEAVES * HASH_WORDS);
    this.xor = new Uint32Array(HASH_WORDS);
  }

  copy(owner: object): Block {
    const copy = new Block(owner, this.number);
    for (const leaf of this.leaves) copy.leaves.push(leaf);
    copy.lowers.set(this.lowers);
    copy.counts.set(this.counts);
    copy.xors.set(this.xors);
    copy.isNew = this.isNew;
    copy.count = this.count;
    copy.xor.set(this.xor);
    copy.symbols = this.symbols?.slice();
    return copy;
  }

  get isFull(): boolean {
    return this.leaves.length === BLOCK_LEAVES;
  }

  /** XORs what is known of some of its leaves into `fingerprint`; returns how many ids they hold. */
  addLeaves(from: number, to: number, fingerprint: Uint32Array): number {
    // The shorter way round: the leaves, or all but the others.
    const around = (to - from) * 2 > this.leaves.length;
    let count = around ? this.count : 0;
    if (around) xorHash(this.xor, 0, fingerprint, 0);
    const sign = around ? -1 : 1;
    for (let place = around ? 0 : from; place < (around ? from : to); place++) {
      xorHash(this.xors, place * HASH_WORDS, fingerprint, 0);
      count += sign * this.counts[place]!;
    }
    if (!around) return count;
    for (let place = to; place < this.leaves.length; place++) {
      xorHash(this.xors, place * HASH_WORDS, fingerprint, 0);
      count -= this.counts[place]!;
    }
    return count;
  }

  /** Puts a leaf in at a place; `lower` is where it begins. Its symbols must be in those of the block already. */
  put(at: number, leaf: Leaf, lower: Uint32Array, offset: number, count: number, xor: Uint32Array): void {
    const held = this.leaves.length;
    this.leaves.splice(at, 0, leaf);
    this.lowers.copyWithin((at + 1) * ID_WORDS, at * ID_WORDS, held * ID_WORDS);
    this.counts.copyWithin(at + 1, at, held);
    this.xors.copyWithin((at + 1) * HASH_WORDS, at * HASH_WORDS, held * HASH_WORDS);
    for (let word = 0; word < ID_WORDS; word++) this.lowers[at * ID_WORDS + word] = lower[offset + word]!;
    this.counts[at] = count;
    for (let word = 0; word < HASH_WORDS; word++) this.xors[at * HASH_WORDS + word] = xor[word]!;
    this.count += count;
    xorHash(xor, 0, this.xor, 0);
  }

  /** Takes an empty leaf out; what belonged into it belongs into the one before it. */
  drop(at: number): void {
    const held = this.leaves.length;
    this.leaves.splice(at, 1);
    this.lowers.copyWithin(at * ID_WORDS, (at + 1) * ID_WORDS, held * ID_WORDS);
    this.counts.copyWithin(at, at + 1, held);
    this.xors.copyWithin(at * HASH_WORDS, (at + 1) * HASH_WORDS, held * HASH_WORDS);
  }

  /** Moves the leaves from a place on into a new block; `symbols` are those of what moves, if this block's are known. */
  splitOff(from: number, number: number, symbols: Uint32Array | undefined): Block {
    const right = new Block(this.owner, number);
    for (let place = from; place < this.leaves.length; place++) {
      const xor = this.xors.subarray(place * HASH_WORDS, (place + 1) * HASH_WORDS);
      const at = right.leaves.length;
      right.put(at, this.leaves[place]!, this.lowers, place * ID_WORDS, this.counts[place]!, xor);
    }
    this.leaves.length = from;
    this.count -= right.count;
    xorHash(right.xor, 0, this.xor, 0);
    if (this.symbols !== undefined && symbols !== undefined) xorSymbols(this.symbols, symbols);
    else this.symbols = undefined;
    right.symbols = symbols;
    return right;
  }
}

export function emptyBlockSymbols(): Uint32Array {
  return new Uint32Array(BLOCK_SYMBOLS * SYMBOL_WORDS);
}
