/**
 * The index of ids on the disk. What a batch changes of it is written with the messages of that batch: whole pages
 * where much is new, small patches where little is, so that a message a second does not rewrite 20 kB each time.
 * Rows come back when the tree asks for them, and are checked against what the directory says of them.
 */
import { BLOCK_SYMBOLS, Block } from '../core/block.ts';
import { DigestTree } from '../core/digest-tree.ts';
import { LEAF_ROWS, type Leaf, type LeafSource } from '../core/leaf.ts';
import { SYMBOL_WORDS } from '../core/symbols.ts';
import { compareIds, HASH_WORDS, ID_WORDS } from '../core/sync-id.ts';
import { LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Batch } from './database.ts';
import { type Directory, type Lookup, readRows } from './directory.ts';
import { directoryKey, INDEX_HEADER_KEY, leafKey, symbolsKey } from './keys.ts';
import { LeafCache } from './leaf-cache.ts';
import {
  type BlockSums,
  type DirectoryEntry,
  decodeSymbols,
  encodeEntry,
  encodeHeader,
  encodeRows,
  encodeSymbols,
} from './page-codec.ts';
import type { Known } from './tally.ts';

/** Fewer ids than this, and a block's symbols are made from its leaves in no time. */
const SYMBOLS_WORTH_SAVING = BLOCK_SYMBOLS;

/** Changes of a block of which it is not known whether its symbols on the disk are good. */
const UNKNOWN = Number.POSITIVE_INFINITY;

/** What a batch has written of the index, to be known when it is on the disk. */
export interface WrittenPages {
  readonly leaves: Leaf[];
  /** Pages that hold nothing any more. */
  readonly dropped: readonly number[];
  /** How many ids have come or gone in a block since its symbols were written. */
  readonly unsaved: Map<number, number>;
  /** Blocks that went with their last leaf. */
  readonly droppedBlocks: readonly number[];
}

export class IndexPages implements LeafSource {
  readonly #records: Lookup;
  readonly #onDamage: (error: LacunaError) => void;
  readonly #cache: LeafCache;
  readonly #unsaved = new Map<number, number>();
  #nextPage = 1;
  #isRetired = false;

  /** `onDamage` is told when rows are not what they should be. */
  constructor(records: Lookup, cacheBytes: number, onDamage: (error: LacunaError) => void) {
    this.#records = records;
    this.#onDamage = onDamage;
    this.#cache = new LeafCache(cacheBytes);
  }

  /** Leaves whose rows are in memory. */
  get cached(): number {
    return this.#cache.size;
  }

  /** Another index takes the place of this one: what it has not in memory, it cannot give any more. */
  retire(): void {
    this.#isRetired = true;
  }

  rowsOf(leaf: Leaf, count: number, xor: Uint32Array): Uint32Array {
    if (this.#isRetired) throw new LacunaError('STORE_DAMAGED', 'the index is built anew');
    try {
      const rows = readRows(this.#records, leaf, count, xor);
      this.#cache.add(leaf);
      return rows;
    } catch (error) {
      const told = toLacunaError(error);
      if (told.code === 'STORE_DAMAGED') this.#onDamage(told);
      throw told;
    }
  }

  symbolsOf(block: BlockSums): Uint32Array | undefined {
    if (this.#isRetired || block.count < SYMBOLS_WORTH_SAVING) return undefined;
    const bytes = this.#saved(block.number);
    const symbols = new Uint32Array(BLOCK_SYMBOLS * SYMBOL_WORDS);
    if (bytes === undefined || !decodeSymbols(bytes, block, symbols)) return undefined;
    if (this.#unsaved.get(block.number) === UNKNOWN) this.#unsaved.set(block.number, 0);
    return symbols;
  }

  /** An empty tree whose pages and blocks get these numbers and later ones. */
  emptyTree({ nextPage, nextBlock }: { readonly nextPage: number; readonly nextBlock: number }): DigestTree {
    this.#nextPage = nextPage;
    return DigestTree.ofBlocks(this, [], nextBlock);
  }

  /** The tree that the directory describes. Where `previous` has the same leaves, they are taken over with their rows. */
  treeOf({ header, entries }: Directory, previous: DigestTree): DigestTree {
    const known = knownLeaves(previous);
    const owner = {};
    const blocks: Block[] = [];
    for (const entry of entries) {
      if (blocks.at(-1)?.number !== entry.block) {
        const block = new Block(owner, entry.block);
        block.isNew = false;
        blocks.push(block);
        if (!this.#unsaved.has(entry.block)) this.#unsaved.set(entry.block, UNKNOWN);
      }
      const block = blocks.at(-1)!;
      const leaf = known(entry) ?? leafOf(entry, owner);
      block.put(block.leaves.length, leaf, entry.lower, 0, entry.count, entry.xor);
      if (leaf.words !== undefined) this.#cache.add(leaf);
    }
    this.#nextPage = header.nextPage;
    return DigestTree.ofBlocks(this, blocks, header.nextBlock);
  }

  /**
   * Reads what was written last: a record that LevelDB lost from the end of its log is most likely one of these.
   *
   * @throws LacunaError STORE_DAMAGED
   */
  proveNewest(tree: DigestTree): void {
    const block = tree.blocks.at(-1);
    if (block === undefined) return;
    for (const [place, leaf] of block.leaves.entries()) {
      const xor = block.xors.subarray(place * HASH_WORDS, (place + 1) * HASH_WORDS);
      readRows(this.#records, leaf, block.counts[place]!, xor);
    }
  }

  /** Puts into the batch what `staged` has changed, and nothing else; leaves that were never written get their pages. */
  stage(staged: DigestTree, batch: Batch): WrittenPages {
    const dropped = staged.takeDropped();
    for (const page of dropped) dropPage(page, LIMITS.indexPatches, batch);
    const droppedBlocks = dropped.length > 0 ? this.#dropBlocks(staged, batch) : [];
    const written: WrittenPages = { leaves: [], dropped, unsaved: new Map(), droppedBlocks };
    let made = false;
    for (const [at, block] of staged.blocks.entries()) {
      if (!staged.owns(block)) continue;
      const isSplit = !block.isFull && staged.blocks[at + 1]?.isNew === true;
      let changes = this.#unsaved.get(block.number) ?? UNKNOWN;
      for (const [place, leaf] of block.leaves.entries()) {
        const isChanged = staged.owns(leaf);
        if (isChanged) {
          changes += this.#putRows(leaf, block.counts[place]!, batch, dropped);
          written.leaves.push(leaf);
        }
        if (isChanged || block.isNew) putEntry(block, place, batch);
      }
      // One in a batch, where a crash has left them behind: else each session would make them again for itself.
      if (block.symbols === undefined && !made && block.count >= SYMBOLS_WORTH_SAVING) {
        made = true;
        staged.symbolsOfBlock(block);
      }
      if (isDue(block, isSplit ? UNKNOWN : changes)) {
        batch.put(symbolsKey(block.number), encodeSymbols(block, staged.symbolsOfBlock(block)));
        changes = 0;
      }
      written.unsaved.set(block.number, changes);
      block.isNew = false;
    }
    return written;
  }

  /** While the index is built, its header does no more than keep numbers from being used again. */
  stageHeader(staged: DigestTree, known: Known, batch: Batch, isWhole = true): void {
    const { nextBlock, count } = staged;
    const header = { isWhole, known, nextPage: this.#nextPage, nextBlock, count };
    batch.put(INDEX_HEADER_KEY, encodeHeader(header));
  }

  /** What was staged is on the disk: its rows may be let go of from now on. */
  adopt({ leaves, dropped, unsaved, droppedBlocks }: WrittenPages): void {
    for (const page of dropped) this.#cache.forget(page);
    for (const leaf of leaves) this.#cache.add(leaf);
    for (const [block, changes] of unsaved) this.#unsaved.set(block, changes);
    for (const block of droppedBlocks) this.#unsaved.delete(block);
  }

  /** Blocks whose symbols are in memory and would have to be made again without being written. */
  unsavedOf(tree: DigestTree): Block[] {
    return tree.blocks.filter(
      (block) =>
        block.symbols !== undefined &&
        block.count >= SYMBOLS_WORTH_SAVING &&
        this.#unsaved.get(block.number) !== 0,
    );
  }

  /** Puts the rows of a leaf into the batch, or those that are new to it; returns how many. */
  #putRows(leaf: Leaf, count: number, batch: Batch, dropped: number[]): number {
    const { fresh, page, patches } = leaf;
    leaf.fresh = undefined;
    const isSmall = fresh !== undefined && patches < LIMITS.indexPatches && fresh.count * 2 <= count;
    if (page !== 0 && isSmall) {
      leaf.patches = patches + 1;
      batch.put(leafKey(page, leaf.patches), encodeRows(fresh.words, fresh.count, page, leaf.patches));
      return fresh.count;
    }
    if (page !== 0) {
      dropPage(page, patches, batch);
      dropped.push(page);
    }
    leaf.page = this.#nextPage++;
    leaf.patches = 0;
    batch.put(leafKey(leaf.page), encodeRows(leaf.words!, count, leaf.page, 0));
    return fresh?.count ?? count;
  }

  /** Removes the symbols of blocks that went with their last leaf; returns which blocks these are. */
  #dropBlocks(staged: DigestTree, batch: Batch): number[] {
    const kept = new Set(staged.blocks.map(({ number }) => number));
    const gone = [...this.#unsaved.keys()].filter((number) => !kept.has(number));
    for (const number of gone) batch.del(symbolsKey(number));
    return gone;
  }

  #saved(block: number): Uint8Array | undefined {
    try {
      return this.#records.getSync(symbolsKey(block));
    } catch (error) {
      // They can be made again from the leaves.
      if (toLacunaError(error).code === 'STORE_DAMAGED') return undefined;
      throw error;
    }
  }
}

/** A block that has just become full is written once more: as a rule it changes no more. */
function isDue(block: Block, changes: number): boolean {
  if (block.symbols === undefined || block.count < SYMBOLS_WORTH_SAVING) return false;
  const isFull = block.isFull && block.counts[block.leaves.length - 1] === LEAF_ROWS;
  return block.isNew || changes >= (isFull ? LEAF_ROWS : LIMITS.indexSymbolChanges);
}

function dropPage(page: number, patches: number, batch: Batch): void {
  batch.del(directoryKey(page));
  for (let patch = 0; patch <= patches; patch++) batch.del(leafKey(page, patch));
}

function putEntry(block: Block, place: number, batch: Batch): void {
  const { page, patches } = block.leaves[place]!;
  const { lowers, counts, xors, number } = block;
  batch.put(
    directoryKey(page),
    encodeEntry(page, lowers, place * ID_WORDS, counts[place]!, patches, number, xors, place * HASH_WORDS),
  );
}

function leafOf({ page, patches }: DirectoryEntry, owner: object): Leaf {
  return {
    words: undefined,
    symbols: undefined,
    owner,
    page,
    patches,
    fresh: undefined,
    pinned: false,
    used: false,
  };
}

/**
 * The leaves of a tree, by page, where the directory says the same of them. Snapshots that were taken of the tree
 * share its leaves: were there two leaves of one page, the older one would not be pinned when the newer one changes.
 */
function knownLeaves(tree: DigestTree): (entry: DirectoryEntry) => Leaf | undefined {
  const places = new Map<number, { readonly block: Block; readonly place: number }>();
  for (const block of tree.blocks) {
    for (const [place, { page }] of block.leaves.entries()) places.set(page, { block, place });
  }
  return (entry) => {
    const known = places.get(entry.page);
    if (known === undefined) return undefined;
    const { block, place } = known;
    const leaf = block.leaves[place]!;
    const isSame =
      leaf.patches === entry.patches &&
      block.counts[place] === entry.count &&
      compareIds(block.lowers, place * ID_WORDS, entry.lower, 0) === 0 &&
      entry.xor.every((word, at) => word === block.xors[place * HASH_WORDS + at]);
    if (!isSame) return undefined;
    // What would have been newer did not reach the disk.
    leaf.pinned = false;
    return leaf;
  };
}
