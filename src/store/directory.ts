/** The index as it lies on the disk, read and checked: its header, its directory, and the rows of its leaves. */

import { BLOCK_LEAVES } from '../core/block.ts';
import { LEAF_ROWS, LEAF_WORDS, lowerRow, xorRows } from '../core/leaf.ts';
import { compareIds, HASH_WORDS, ID_WORDS } from '../core/sync-id.ts';
import { LacunaError } from '../errors.ts';
import type { Database } from './database.ts';
import {
  ALL_DIRECTORY,
  ALL_LEAVES,
  ALL_SYMBOLS,
  INDEX_HEADER_KEY,
  type KeyRange,
  leafKey,
  numberOfKey,
} from './keys.ts';
import {
  type DirectoryEntry,
  decodeEntry,
  decodeHeader,
  decodeRows,
  type IndexHeader,
} from './page-codec.ts';

export interface Directory {
  readonly header: IndexHeader;
  /** In the order of what they hold. */
  readonly entries: readonly DirectoryEntry[];
}

/**
 * The directory, or undefined where no index was completed.
 *
 * @throws LacunaError STORE_DAMAGED where it contradicts itself.
 */
export async function readDirectory(database: Database): Promise<Directory | undefined> {
  const encoded = await database.find(INDEX_HEADER_KEY);
  if (encoded === undefined) return undefined;
  const header = decodeHeader(encoded);
  if (header === undefined) throw damaged('the header of the index cannot be read');
  if (!header.isWhole) return undefined;
  const entries: DirectoryEntry[] = [];
  for await (const chunk of database.entries(ALL_DIRECTORY)) {
    for (const [key, value] of chunk) {
      const page = numberOfKey(key);
      const entry = page === undefined ? undefined : decodeEntry(page, value);
      if (entry === undefined) throw damaged('an entry of the directory cannot be read');
      entries.push(entry);
    }
  }
  entries.sort((a, b) => compareIds(a.lower, 0, b.lower, 0));
  assertWhole(header, entries);
  return { header, entries };
}

/** The first page and block whose numbers were never used, as far as the disk still tells. */
export async function firstUnused(database: Database): Promise<{ nextPage: number; nextBlock: number }> {
  const encoded = await database.find(INDEX_HEADER_KEY);
  const header = encoded === undefined ? undefined : decodeHeader(encoded);
  const after = async (range: KeyRange): Promise<number> => {
    const key = await database.lastKey(range);
    return (key === undefined ? 0 : (numberOfKey(key) ?? 0)) + 1;
  };
  return {
    nextPage: Math.max(header?.nextPage ?? 1, await after(ALL_DIRECTORY), await after(ALL_LEAVES)),
    nextBlock: Math.max(header?.nextBlock ?? 1, await after(ALL_SYMBOLS)),
  };
}

function assertWhole(header: IndexHeader, entries: readonly DirectoryEntry[]): void {
  const blocks = new Set<number>();
  let count = 0;
  let leavesOfBlock = 0;
  for (const [at, entry] of entries.entries()) {
    const before = entries[at - 1];
    if (before === undefined) {
      if (entry.lower.some((word) => word !== 0)) throw damaged('the first leaf of the index is missing');
    } else if (compareIds(before.lower, 0, entry.lower, 0) >= 0) {
      throw damaged('two leaves of the index begin at the same id');
    }
    if (entry.block !== before?.block) {
      if (blocks.has(entry.block)) throw damaged('a block of the index is torn apart');
      blocks.add(entry.block);
      leavesOfBlock = 0;
    }
    leavesOfBlock += 1;
    const fits =
      leavesOfBlock <= BLOCK_LEAVES &&
      entry.count <= LEAF_ROWS &&
      entry.page < header.nextPage &&
      entry.block < header.nextBlock;
    if (!fits) throw damaged('a leaf of the index is out of bounds');
    count += entry.count;
  }
  if (count !== header.count) throw damaged('leaves of the index are missing');
}

/** What can be looked up without waiting. */
export interface Lookup {
  getSync(key: Uint8Array): Uint8Array | undefined;
}

/**
 * The rows of a leaf, with room for `LEAF_ROWS`: those of its page, and those of its patches put in where they belong.
 *
 * @throws LacunaError STORE_DAMAGED where they are not what the directory says.
 */
export function readRows(
  records: Lookup,
  { page, patches }: { readonly page: number; readonly patches: number },
  count: number,
  xor: Uint32Array,
): Uint32Array {
  const rows = new Uint32Array(LEAF_WORDS);
  let held = decodeRecord(records, page, 0, rows);
  const added = patches === 0 ? rows : new Uint32Array(LEAF_WORDS);
  for (let patch = 1; patch <= patches; patch++) {
    const more = decodeRecord(records, page, patch, added);
    if (held + more > LEAF_ROWS) throw damaged(`page ${page} of the index holds more than it should`);
    for (let row = 0; row < more; row++) held = putInOrder(rows, held, added, row * ID_WORDS);
  }
  if (held !== count) throw damaged(`page ${page} of the index holds ${held} ids instead of ${count}`);
  const sum = xor.slice(0, HASH_WORDS);
  xorRows(rows, 0, held, sum, 0);
  if (sum.some((word) => word !== 0) || !isAscending(rows, held)) {
    throw damaged(`page ${page} of the index holds other ids than it should`);
  }
  return rows;
}

function decodeRecord(records: Lookup, page: number, patch: number, words: Uint32Array): number {
  const bytes = records.getSync(leafKey(page, patch));
  const count = bytes === undefined ? undefined : decodeRows(bytes, page, patch, words);
  if (count === undefined) throw damaged(`page ${page} of the index cannot be read`);
  return count;
}

function putInOrder(rows: Uint32Array, count: number, words: Uint32Array, offset: number): number {
  const at = lowerRow(rows, count, words, offset) * ID_WORDS;
  if (at < count * ID_WORDS) rows.copyWithin(at + ID_WORDS, at, count * ID_WORDS);
  for (let word = 0; word < ID_WORDS; word++) rows[at + word] = words[offset + word]!;
  return count + 1;
}

function isAscending(rows: Uint32Array, count: number): boolean {
  for (let row = 1; row < count; row++) {
    if (compareIds(rows, (row - 1) * ID_WORDS, rows, row * ID_WORDS) >= 0) return false;
  }
  return true;
}

function damaged(reason: string): LacunaError {
  return new LacunaError('STORE_DAMAGED', reason);
}
