/**
 * The ordered index: ids in leaves of a few hundred rows, leaves in blocks of 64. Of any range it gives the count,
 * the XOR of the hashes, the coded symbols and keyed sums in O(log n), or in proportion to what it returns: whole
 * blocks and leaves from what is kept of them, the edges from rows.
 *
 * A snapshot shares blocks and leaves; each is copied before it changes under one, so that a session keeps seeing
 * the set it began with, and a write that fails leaves no trace. Rows may lie on the disk: a `LeafSource` brings
 * them when they are needed.
 */
import { BLOCK_LEAVES, BLOCK_SYMBOLS, Block, emptyBlockSymbols } from './block.ts';
import { kernel } from './kernel.ts';
import type { KeyedSums } from './keyed-sums.ts';
import {
  LEAF_ROWS,
  LEAF_SYMBOLS,
  LEAF_WORDS,
  type Leaf,
  type LeafSource,
  lowerRow,
  symbolsOf,
  xorHash,
  xorRow,
  xorRows,
} from './leaf.ts';
import type { RangeIndex } from './range-index.ts';
import { SYMBOL_WORDS, shortIdHigh, shortIdLow, toggleBoth, xorSymbols } from './symbols.ts';
import { compareIds, HASH_WORDS, ID_WORDS, SyncIdList } from './sync-id.ts';

const START = new Uint32Array(ID_WORDS);

/** A place between rows: `row` rows of the leaf lie before it. */
class Place {
  block = 0;
  leaf = 0;
  row = 0;
}

export class DigestTree implements RangeIndex {
  #blocks: Block[] = [];
  #count = 0;
  #owner: object = {};
  #nextBlock = 1;
  /** Pages of leaves that are no more. */
  #dropped: number[] = [];
  readonly #source: LeafSource | undefined;
  /** Where the range that is looked at begins and ends; used again by each look. */
  readonly #first = new Place();
  readonly #last = new Place();

  constructor(source?: LeafSource) {
    this.#source = source;
  }

  /** A tree of these ids; takes them in any order. */
  static from(ids: SyncIdList): DigestTree {
    const tree = new DigestTree();
    const sorted = ids.toAscending();
    tree.appendRows(sorted.words, sorted.count);
    return tree;
  }

  /** A tree whose leaves lie on the disk; blocks in order, as the directory has them. */
  static ofBlocks(source: LeafSource, blocks: Block[], nextBlock: number): DigestTree {
    const tree = new DigestTree(source);
    tree.#blocks = blocks;
    tree.#nextBlock = nextBlock;
    for (const { count } of blocks) tree.#count += count;
    return tree;
  }

  get count(): number {
    return this.#count;
  }

  /** The directory, in order; to be read only. */
  get blocks(): readonly Block[] {
    return this.#blocks;
  }

  get nextBlock(): number {
    return this.#nextBlock;
  }

  /** Pages that hold nothing of this tree any more; forgets them. */
  takeDropped(): number[] {
    return this.#dropped.splice(0);
  }

  /** Whether this tree, since it was made as a snapshot, has changed the block or leaf. */
  owns(part: Block | Leaf): boolean {
    return part.owner === this.#owner;
  }

  /** A copy that later changes of this tree do not reach. O(blocks), without copying ids. */
  snapshot(): DigestTree {
    const copy = new DigestTree(this.#source);
    copy.#blocks = this.#blocks.slice();
    copy.#count = this.#count;
    copy.#nextBlock = this.#nextBlock;
    // Neither of the two owns the shared parts any more.
    this.#owner = {};
    return copy;
  }

  /** Puts rows in whose ids ascend and lie above all that are here: whole leaves at a time. */
  appendRows(words: Uint32Array, count: number): void {
    let row = 0;
    while (row < count) {
      const taken = this.#topUp(words, row, Math.min(LEAF_ROWS, count - row));
      row += taken;
    }
  }

  /** Returns false when the id was there already. */
  insert(words: Uint32Array, offset = 0): boolean {
    if (this.#blocks.length === 0) this.#appendLeaf(START, 0);
    if (this.#append(words, offset)) return true;
    const blockAt = this.#blockFor(words, offset);
    const leafAt = leafFor(this.#blocks[blockAt]!, words, offset);
    const shared = this.#blocks[blockAt]!;
    const count = shared.counts[leafAt]!;
    const rows = this.#rows(shared, leafAt);
    const row = lowerRow(rows, count, words, offset);
    if (row < count && compareIds(rows, row * ID_WORDS, words, offset) === 0) return false;
    if (count === LEAF_ROWS) {
      this.#split(blockAt, leafAt, row, words, offset);
      return this.insert(words, offset);
    }
    const block = this.#writableBlock(blockAt);
    const leaf = this.#writableLeaf(block, leafAt);
    const own = leaf.words!;
    const at = row * ID_WORDS;
    if (row < count) own.copyWithin(at + ID_WORDS, at, count * ID_WORDS);
    for (let word = 0; word < ID_WORDS; word++) own[at + word] = words[offset + word]!;
    leaf.fresh?.push(words, offset);
    this.#counted(block, leafAt, leaf, words, offset, 1);
    return true;
  }

  /** Returns false when the id was not there. */
  remove(words: Uint32Array, offset = 0): boolean {
    if (this.#blocks.length === 0) return false;
    const blockAt = this.#blockFor(words, offset);
    const shared = this.#blocks[blockAt]!;
    const leafAt = leafFor(shared, words, offset);
    const count = shared.counts[leafAt]!;
    const rows = this.#rows(shared, leafAt);
    const row = lowerRow(rows, count, words, offset);
    if (row >= count || compareIds(rows, row * ID_WORDS, words, offset) !== 0) return false;
    const block = this.#writableBlock(blockAt);
    const leaf = this.#writableLeaf(block, leafAt);
    leaf.words!.copyWithin(row * ID_WORDS, (row + 1) * ID_WORDS, count * ID_WORDS);
    leaf.fresh = undefined;
    this.#counted(block, leafAt, leaf, words, offset, -1);
    if (block.counts[leafAt] === 0) this.#drop(blockAt, leafAt);
    return true;
  }

  has(id: Uint32Array): boolean {
    if (this.#blocks.length === 0) return false;
    const block = this.#blocks[this.#blockFor(id, 0)]!;
    const place = leafFor(block, id, 0);
    const count = block.counts[place]!;
    if (count === 0) return false;
    const rows = this.#rows(block, place);
    const row = lowerRow(rows, count, id, 0);
    return row < count && compareIds(rows, row * ID_WORDS, id, 0) === 0;
  }

  rank(bound: Uint32Array): number {
    if (this.#blocks.length === 0) return 0;
    const place = this.#locate(bound, this.#first);
    let rank = place.row;
    for (let block = 0; block < place.block; block++) rank += this.#blocks[block]!.count;
    const { counts } = this.#blocks[place.block]!;
    for (let leaf = 0; leaf < place.leaf; leaf++) rank += counts[leaf]!;
    return rank;
  }

  select(rank: number): Uint32Array {
    if (!(rank >= 0 && rank < this.#count)) throw new RangeError(`rank ${rank} of ${this.#count}`);
    let row = rank;
    let at = 0;
    while (row >= this.#blocks[at]!.count) {
      row -= this.#blocks[at]!.count;
      at += 1;
    }
    const block = this.#blocks[at]!;
    let leaf = 0;
    while (row >= block.counts[leaf]!) {
      row -= block.counts[leaf]!;
      leaf += 1;
    }
    return this.#rows(block, leaf).slice(row * ID_WORDS, (row + 1) * ID_WORDS);
  }

  digest(lower: Uint32Array, upper: Uint32Array, fingerprint: Uint32Array): number {
    fingerprint.fill(0);
    if (this.#blocks.length === 0 || compareIds(lower, 0, upper, 0) >= 0) return 0;
    const first = this.#locate(lower, this.#first);
    const last = this.#locate(upper, this.#last);
    // All leaves from the first one up to the last one, which is left out; then the rows before either end.
    let count = last.row - first.row;
    for (let at = first.block; at <= last.block; at++) {
      const block = this.#blocks[at]!;
      const from = at === first.block ? first.leaf : 0;
      const to = at === last.block ? last.leaf : block.leaves.length;
      count += block.addLeaves(from, to, fingerprint);
    }
    this.#xorRowsBefore(first, fingerprint);
    this.#xorRowsBefore(last, fingerprint);
    return count;
  }

  addSymbols(lower: Uint32Array, upper: Uint32Array, symbols: Uint32Array): void {
    const fromBlocks = symbols.length <= BLOCK_SYMBOLS * SYMBOL_WORDS;
    const fromLeaves = symbols.length <= LEAF_SYMBOLS * SYMBOL_WORDS;
    const leaf = (block: Block, place: number): void => {
      if (fromLeaves) xorSymbols(symbols, this.#symbolsOfLeaf(block, place));
      else kernel.addSymbols(this.#rows(block, place), 0, block.counts[place]!, symbols);
    };
    this.#walk(lower, upper, {
      block: (block) => {
        if (fromBlocks) xorSymbols(symbols, this.#symbolsOfBlock(block));
        else for (let place = 0; place < block.leaves.length; place++) leaf(block, place);
      },
      leaf,
      rows: (block, place, from, to) => {
        const rows = this.#rows(block, place);
        const whole = block.counts[place]!;
        if (!fromLeaves || (to - from) * 2 <= whole) {
          kernel.addSymbols(rows, from, to - from, symbols);
        } else {
          xorSymbols(symbols, this.#symbolsOfLeaf(block, place));
          kernel.addSymbols(rows, 0, from, symbols);
          kernel.addSymbols(rows, to, whole - to, symbols);
        }
      },
    });
  }

  addKeyed(lower: Uint32Array, upper: Uint32Array, keyed: KeyedSums, sum: Uint32Array): void {
    const leaf = (block: Block, place: number): void => {
      const rows = (): Uint32Array => this.#rows(block, place);
      keyed.addLeaf(block.leaves[place]!, rows, block.counts[place]!, sum);
    };
    this.#walk(lower, upper, {
      block(block) {
        for (let place = 0; place < block.leaves.length; place++) leaf(block, place);
      },
      leaf,
      rows: (block, place, from, to) => keyed.addRows(this.#rows(block, place), from, to - from, sum),
    });
  }

  ids(lower: Uint32Array, upper: Uint32Array): SyncIdList {
    const list = new SyncIdList();
    const leaf = (block: Block, place: number): void =>
      list.pushRows(this.#rows(block, place), 0, block.counts[place]!);
    this.#walk(lower, upper, {
      block(block) {
        for (let place = 0; place < block.leaves.length; place++) leaf(block, place);
      },
      leaf,
      rows: (block, place, from, to) => list.pushRows(this.#rows(block, place), from * ID_WORDS, to - from),
    });
    return list;
  }

  /** The symbols of a block, made from its leaves where they are not known. */
  symbolsOfBlock(block: Block): Uint32Array {
    return this.#symbolsOfBlock(block);
  }

  /** Takes a range apart into whole blocks, whole leaves and rows of leaves, in order. */
  #walk(lower: Uint32Array, upper: Uint32Array, to: Parts): void {
    if (this.#blocks.length === 0 || compareIds(lower, 0, upper, 0) >= 0) return;
    const first = this.#locate(lower, this.#first);
    const last = this.#locate(upper, this.#last);
    for (let at = first.block; at <= last.block; at++) {
      const block = this.#blocks[at]!;
      const fromLeaf = at === first.block ? first.leaf : 0;
      const toLeaf = at === last.block ? last.leaf : block.leaves.length - 1;
      const fromRow = at === first.block ? first.row : 0;
      const toRow = at === last.block ? last.row : block.counts[toLeaf]!;
      const isWhole = fromLeaf === 0 && fromRow === 0 && toLeaf === block.leaves.length - 1;
      if (isWhole && toRow === block.counts[toLeaf]) {
        to.block(block);
        continue;
      }
      for (let place = fromLeaf; place <= toLeaf; place++) {
        const start = place === fromLeaf ? fromRow : 0;
        const end = place === toLeaf ? toRow : block.counts[place]!;
        if (start === 0 && end === block.counts[place]) to.leaf(block, place);
        else if (start < end) to.rows(block, place, start, end);
      }
    }
  }

  /** Finds the place before the first id that is not below the bound. */
  #locate(bound: Uint32Array, place: Place): Place {
    const last = this.#blocks.length - 1;
    if (isEndOfTime(bound)) {
      // No rows are needed to know that all lie before it.
      place.block = last;
      place.leaf = this.#blocks[last]!.leaves.length - 1;
      place.row = this.#blocks[last]!.counts[place.leaf]!;
      return place;
    }
    place.block = this.#blockFor(bound, 0);
    const block = this.#blocks[place.block]!;
    place.leaf = leafFor(block, bound, 0);
    const count = block.counts[place.leaf]!;
    const isStart = compareIds(block.lowers, place.leaf * ID_WORDS, bound, 0) >= 0;
    place.row = isStart || count === 0 ? 0 : lowerRow(this.#rows(block, place.leaf), count, bound, 0);
    return place;
  }

  /** XORs the hashes of a leaf's rows before a place, the shorter way round. */
  #xorRowsBefore({ block: at, leaf, row }: Place, fingerprint: Uint32Array): void {
    if (row === 0) return;
    const block = this.#blocks[at]!;
    const count = block.counts[leaf]!;
    if (row * 2 <= count) {
      xorRows(this.#rows(block, leaf), 0, row, fingerprint, 0);
    } else {
      xorHash(block.xors, leaf * HASH_WORDS, fingerprint, 0);
      if (row < count) xorRows(this.#rows(block, leaf), row, count, fingerprint, 0);
    }
  }

  /** The block that an id belongs into: the last one that does not begin above it. */
  #blockFor(words: Uint32Array, offset: number): number {
    let low = 0;
    let high = this.#blocks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (compareIds(this.#blocks[middle]!.lowers, 0, words, offset) <= 0) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #rows(block: Block, place: number): Uint32Array {
    const leaf = block.leaves[place]!;
    leaf.used = true;
    if (leaf.words !== undefined) return leaf.words;
    const xor = block.xors.subarray(place * HASH_WORDS, (place + 1) * HASH_WORDS);
    leaf.words = this.#source!.rowsOf(leaf, block.counts[place]!, xor);
    return leaf.words;
  }

  #symbolsOfLeaf(block: Block, place: number): Uint32Array {
    const leaf = block.leaves[place]!;
    leaf.symbols ??= symbolsOf(this.#rows(block, place), block.counts[place]!);
    return leaf.symbols;
  }

  #symbolsOfBlock(block: Block): Uint32Array {
    if (block.symbols !== undefined) return block.symbols;
    block.symbols = this.#source?.symbolsOf(block);
    if (block.symbols !== undefined) return block.symbols;
    const symbols = emptyBlockSymbols();
    for (let place = 0; place < block.leaves.length; place++) {
      kernel.addSymbols(this.#rows(block, place), 0, block.counts[place]!, symbols);
    }
    block.symbols = symbols;
    return symbols;
  }

  /** Notes an id that came or went in everything that is kept of its leaf and block. */
  #counted(
    block: Block,
    place: number,
    leaf: Leaf,
    words: Uint32Array,
    offset: number,
    change: 1 | -1,
  ): void {
    block.counts[place] = block.counts[place]! + change;
    block.count += change;
    this.#count += change;
    xorRow(words, offset, block.xors, place * HASH_WORDS);
    xorRow(words, offset, block.xor, 0);
    toggleBoth(leaf.symbols, block.symbols, shortIdHigh(words, offset), shortIdLow(words, offset));
  }

  /** What comes last, as most messages do, needs no search; false where it does not, or the leaf is not ours. */
  #append(words: Uint32Array, offset: number): boolean {
    const block = this.#blocks.at(-1)!;
    const place = block.leaves.length - 1;
    const leaf = block.leaves[place]!;
    const count = block.counts[place]!;
    if (leaf.owner !== this.#owner || count === 0 || count === LEAF_ROWS) return false;
    const rows = leaf.words!;
    const at = count * ID_WORDS;
    if (compareIds(rows, at - ID_WORDS, words, offset) >= 0) return false;
    for (let word = 0; word < ID_WORDS; word++) rows[at + word] = words[offset + word]!;
    leaf.fresh?.push(words, offset);
    this.#counted(block, place, leaf, words, offset, 1);
    return true;
  }

  /** Fills up the last leaf, or begins a new one; returns how many rows it took. */
  #topUp(words: Uint32Array, row: number, count: number): number {
    const last = this.#blocks.length - 1;
    const lastLeaf = last < 0 ? -1 : this.#blocks[last]!.leaves.length - 1;
    if (last < 0 || this.#blocks[last]!.counts[lastLeaf] === LEAF_ROWS) {
      if (this.#count === 0) this.#appendLeaf(START, 0);
      else this.#appendLeaf(words, row * ID_WORDS);
      return this.#topUp(words, row, count);
    }
    const block = this.#writableBlock(last);
    const leaf = this.#writableLeaf(block, lastLeaf);
    const held = block.counts[lastLeaf]!;
    const taken = Math.min(count, LEAF_ROWS - held);
    leaf.words!.set(words.subarray(row * ID_WORDS, (row + taken) * ID_WORDS), held * ID_WORDS);
    leaf.fresh?.pushRows(words, row * ID_WORDS, taken);
    const xor = new Uint32Array(HASH_WORDS);
    xorRows(words, row, row + taken, xor, 0);
    xorHash(xor, 0, block.xors, lastLeaf * HASH_WORDS);
    xorHash(xor, 0, block.xor, 0);
    block.counts[lastLeaf] = held + taken;
    block.count += taken;
    this.#count += taken;
    addSymbolsToBoth(leaf, block, words, row, taken);
    return taken;
  }

  /** An append at the very end starts a fresh leaf, so that ordered inserts leave full leaves behind. */
  #split(blockAt: number, leafAt: number, row: number, words: Uint32Array, offset: number): void {
    const isLast = blockAt === this.#blocks.length - 1 && leafAt === this.#blocks[blockAt]!.leaves.length - 1;
    if (isLast && row === LEAF_ROWS) {
      this.#appendLeaf(words, offset);
      return;
    }
    const [at, place] = this.#makeRoom(blockAt, leafAt);
    const block = this.#writableBlock(at);
    const right = this.#newLeaf();
    const left = this.#writableLeaf(block, place);
    const kept = LEAF_ROWS / 2;
    const moved = LEAF_ROWS - kept;
    right.words!.set(left.words!.subarray(kept * ID_WORDS));
    kernel.addSymbols(right.words!, 0, moved, right.symbols!);
    if (left.symbols !== undefined) xorSymbols(left.symbols, right.symbols!);
    left.fresh = undefined;
    const xor = new Uint32Array(HASH_WORDS);
    xorRows(right.words!, 0, moved, xor, 0);
    block.counts[place] = kept;
    block.count -= moved;
    xorHash(xor, 0, block.xors, place * HASH_WORDS);
    xorHash(xor, 0, block.xor, 0);
    block.put(place + 1, right, right.words!, 0, moved, xor);
  }

  /** Begins a new leaf after all others; its first id may follow. */
  #appendLeaf(lower: Uint32Array, offset: number): void {
    const last = this.#blocks.length - 1;
    const full = last < 0 || this.#blocks[last]!.isFull;
    const block = full ? this.#newBlock(this.#blocks.length) : this.#writableBlock(last);
    block.put(block.leaves.length, this.#newLeaf(), lower, offset, 0, START);
  }

  /** Sees to it that the leaf's block can take one more; returns where the leaf is then. */
  #makeRoom(blockAt: number, leafAt: number): [block: number, leaf: number] {
    if (!this.#blocks[blockAt]!.isFull) return [blockAt, leafAt];
    const left = this.#writableBlock(blockAt);
    const from = BLOCK_LEAVES / 2;
    let symbols: Uint32Array | undefined;
    if (left.symbols !== undefined) {
      symbols = emptyBlockSymbols();
      for (let place = from; place < BLOCK_LEAVES; place++) {
        kernel.addSymbols(this.#rows(left, place), 0, left.counts[place]!, symbols);
      }
    }
    const right = left.splitOff(from, this.#nextBlock++, symbols);
    this.#blocks.splice(blockAt + 1, 0, right);
    return leafAt < from ? [blockAt, leafAt] : [blockAt + 1, leafAt - from];
  }

  /** The first leaf of all stays, as everything below its rows belongs into it. */
  #drop(blockAt: number, leafAt: number): void {
    if (blockAt === 0 && leafAt === 0) return;
    const block = this.#blocks[blockAt]!;
    const { page } = block.leaves[leafAt]!;
    if (page !== 0) this.#dropped.push(page);
    block.drop(leafAt);
    if (block.leaves.length === 0) this.#blocks.splice(blockAt, 1);
  }

  #writableBlock(at: number): Block {
    const block = this.#blocks[at]!;
    if (block.owner === this.#owner) return block;
    // Else every insert into a block whose symbols lie on the disk would leave them to be made from all its leaves.
    block.symbols ??= this.#source?.symbolsOf(block);
    const copy = block.copy(this.#owner);
    this.#blocks[at] = copy;
    return copy;
  }

  /** The leaf of a writable block, for this tree to change, with its rows. */
  #writableLeaf(block: Block, place: number): Leaf {
    const leaf = block.leaves[place]!;
    if (leaf.owner === this.#owner) return leaf;
    const words = this.#rows(block, place).slice();
    const fresh = leaf.page === 0 ? undefined : new SyncIdList();
    const copy = { ...leaf, words, symbols: leaf.symbols?.slice(), owner: this.#owner, fresh, used: true };
    leaf.pinned = true;
    block.leaves[place] = copy;
    return copy;
  }

  #newBlock(at: number): Block {
    const block = new Block(this.#owner, this.#nextBlock++);
    block.symbols = emptyBlockSymbols();
    this.#blocks.splice(at, 0, block);
    return block;
  }

  #newLeaf(): Leaf {
    return {
      words: new Uint32Array(LEAF_WORDS),
      symbols: new Uint32Array(LEAF_SYMBOLS * SYMBOL_WORDS),
      owner: this.#owner,
      page: 0,
      patches: 0,
      fresh: undefined,
      pinned: false,
      used: true,
    };
  }
}

/** No id has the last hash of all at the last moment of all. */
function isEndOfTime(bound: Uint32Array): boolean {
  if (bound[0] !== 0x7fff_ffff) return false;
  for (let word = 1; word < ID_WORDS; word++) if (bound[word] !== 0xffff_ffff) return false;
  return true;
}

/** What a range consists of. */
interface Parts {
  block(block: Block): void;
  leaf(block: Block, place: number): void;
  rows(block: Block, place: number, from: number, to: number): void;
}

/** The leaf of a block that an id belongs into: the last one that does not begin above it. */
function leafFor(block: Block, words: Uint32Array, offset: number): number {
  let low = 0;
  let high = block.leaves.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (compareIds(block.lowers, middle * ID_WORDS, words, offset) <= 0) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** The symbols of a leaf are the first of those that the same ids have in the block. */
function addSymbolsToBoth(leaf: Leaf, block: Block, words: Uint32Array, row: number, count: number): void {
  if (block.symbols === undefined) {
    if (leaf.symbols !== undefined) kernel.addSymbols(words, row, count, leaf.symbols);
    return;
  }
  const symbols = emptyBlockSymbols();
  kernel.addSymbols(words, row, count, symbols);
  xorSymbols(block.symbols, symbols);
  if (leaf.symbols !== undefined) xorSymbols(leaf.symbols, symbols);
}
