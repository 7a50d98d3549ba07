/**
 * Whether the index holds what the messages are, and nothing else: the keys of the messages and the rows of the
 * leaves, as they lie on the disk and not as they are remembered, walked side by side.
 */
import { BLOCK_SYMBOLS } from '../core/block.ts';
import { kernel } from '../core/kernel.ts';
import { SYMBOL_WORDS } from '../core/symbols.ts';
import { compareIds, HASH_WORDS, ID_WORDS, readIdBytes } from '../core/sync-id.ts';
import { toLacunaError } from '../errors.ts';
import type { Database } from './database.ts';
import { type Directory, readDirectory, readRows } from './directory.ts';
import { ALL_MESSAGES, MESSAGE_KEY_BYTES, symbolsKey } from './keys.ts';
import { type DirectoryEntry, decodeSymbols } from './page-codec.ts';
import type { StoreIndex } from './store-index.ts';
import { Tallies } from './tallies.ts';

export interface IndexFindings {
  readonly differences: number;
  /** Whether the messages are counted by hour and pubsub topic. */
  readonly isCounted: boolean;
}

/** `found` is what the messages come to, where that is known. Nothing may be written meanwhile. */
export async function countIndexDifferences(
  database: Database,
  index: StoreIndex,
  found: Tallies | undefined,
): Promise<IndexFindings> {
  let directory: Directory | undefined;
  try {
    directory = await readDirectory(database);
  } catch (error) {
    if (toLacunaError(error).code !== 'STORE_DAMAGED') throw error;
    return { differences: 1, isCounted: true };
  }
  // The index of an empty store begins with its first message.
  const entries = directory?.entries ?? [];
  const walk = new IndexWalk(database, entries);
  const id = new Uint32Array(ID_WORDS);
  for await (const keys of database.keys(ALL_MESSAGES)) {
    for (const key of keys) {
      if (key.length !== MESSAGE_KEY_BYTES) continue;
      readIdBytes(key, key.length - ID_WORDS * 4, id, 0);
      walk.visit(id);
    }
  }
  walk.finish();
  const known = directory?.header.known;
  const isCounted = known === undefined || (known.hours && known.pubsub);
  const differences =
    walk.differences +
    differencesInMemory(entries, index) +
    (directory === undefined ? 0 : await differencesOfTallies(database, directory, index, found));
  return { differences, isCounted };
}

/** Goes through the leaves as it is told of the ids of messages, in order. */
class IndexWalk {
  differences = 0;
  readonly #database: Database;
  readonly #entries: readonly DirectoryEntry[];
  #at = -1;
  /** Undefined where the leaf cannot be read: it then says nothing of the ids that belong into it. */
  #rows: Uint32Array | undefined = new Uint32Array(0);
  #row = 0;
  #count = 0;
  /** Symbols that the disk has for the block, and those of the leaves so far. */
  #saved: Uint32Array | undefined;
  readonly #symbols = new Uint32Array(BLOCK_SYMBOLS * SYMBOL_WORDS);

  constructor(database: Database, entries: readonly DirectoryEntry[]) {
    this.#database = database;
    this.#entries = entries;
  }

  visit(id: Uint32Array): void {
    for (let next = this.#entries[this.#at + 1]; next !== undefined; next = this.#entries[this.#at + 1]) {
      if (compareIds(next.lower, 0, id, 0) > 0) break;
      this.#turnPage();
    }
    const rows = this.#rows;
    if (rows === undefined) return;
    let order = -1;
    while (this.#row < this.#count) {
      order = compareIds(rows, this.#row * ID_WORDS, id, 0);
      if (order >= 0) break;
      this.differences += 1;
      this.#row += 1;
    }
    if (this.#row < this.#count && order === 0) this.#row += 1;
    else this.differences += 1;
  }

  finish(): void {
    while (this.#at < this.#entries.length) this.#turnPage();
  }

  /** Ids of the old leaf that no message was told of are differences too. */
  #turnPage(): void {
    this.differences += this.#count - this.#row;
    const before = this.#entries[this.#at];
    this.#at += 1;
    const entry = this.#entries[this.#at];
    if (entry?.block !== before?.block) this.#turnBlock();
    this.#row = 0;
    this.#count = 0;
    if (entry === undefined) return;
    this.#rows = this.#read(entry);
    if (this.#rows === undefined) {
      this.differences += 1;
      this.#saved = undefined;
    } else {
      this.#count = entry.count;
      if (this.#saved !== undefined) kernel.addSymbols(this.#rows, 0, entry.count, this.#symbols);
    }
  }

  #read(entry: DirectoryEntry): Uint32Array | undefined {
    try {
      const rows = readRows(this.#database, entry, entry.count, entry.xor);
      const next = this.#entries[this.#at + 1];
      const last = (entry.count - 1) * ID_WORDS;
      const isWithin =
        entry.count === 0 ||
        (compareIds(rows, 0, entry.lower, 0) >= 0 &&
          (next === undefined || compareIds(rows, last, next.lower, 0) < 0));
      return isWithin ? rows : undefined;
    } catch (error) {
      if (toLacunaError(error).code !== 'STORE_DAMAGED') throw error;
      return undefined;
    }
  }

  /** Symbols that do not fit the block are only old; those that fit and are wrong would mislead a session. */
  #turnBlock(): void {
    if (this.#saved?.some((word, at) => word !== this.#symbols[at])) this.differences += 1;
    this.#saved = undefined;
    this.#symbols.fill(0);
    const number = this.#entries[this.#at]?.block;
    const bytes = number === undefined ? undefined : this.#database.getSync(symbolsKey(number));
    if (number === undefined || bytes === undefined) return;
    const block = { number, count: 0, xor: new Uint32Array(HASH_WORDS) };
    for (let at = this.#at; this.#entries[at]?.block === number; at++) {
      const { count, xor } = this.#entries[at]!;
      block.count += count;
      for (let word = 0; word < HASH_WORDS; word++) block.xor[word] = block.xor[word]! ^ xor[word]!;
    }
    const symbols = new Uint32Array(BLOCK_SYMBOLS * SYMBOL_WORDS);
    if (decodeSymbols(bytes, block, symbols)) this.#saved = symbols;
  }
}

/** The directory that sessions see, compared with the one on the disk. */
function differencesInMemory(entries: readonly DirectoryEntry[], { tree }: StoreIndex): number {
  let differences = 0;
  let at = 0;
  for (const block of tree.blocks) {
    for (const [place, leaf] of block.leaves.entries()) {
      const entry = entries[at++];
      const isSame =
        entry !== undefined &&
        entry.page === leaf.page &&
        entry.patches === leaf.patches &&
        entry.block === block.number &&
        entry.count === block.counts[place] &&
        compareIds(entry.lower, 0, block.lowers, place * ID_WORDS) === 0 &&
        entry.xor.every((word, of) => word === block.xors[place * HASH_WORDS + of]);
      if (!isSame) differences += 1;
    }
  }
  return differences + Math.max(0, entries.length - at);
}

/** The tallies on the disk and in memory, compared with what the messages come to. */
async function differencesOfTallies(
  database: Database,
  { header }: Directory,
  { tree, tallies }: StoreIndex,
  found: Tallies | undefined,
): Promise<number> {
  const onDisk = new Tallies(NO_LIMITS);
  if (!(await onDisk.load(database, header.known, tree.count))) return 1;
  if (found === undefined) return 0;
  return found.differencesFrom(onDisk) + onDisk.differencesFrom(tallies);
}

/** What lies on the disk is looked at, whatever the limits that it was counted under. */
const NO_LIMITS = { topicsMax: Number.POSITIVE_INFINITY, contentTopicsMax: Number.POSITIVE_INFINITY };
