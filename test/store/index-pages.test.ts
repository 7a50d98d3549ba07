/**
 * The index on the disk against a tree that keeps everything in memory: the same changes, with reopenings between
 * them and a cache of any size, and the same answers; also from snapshots that were taken before later writes.
 */
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DigestTree } from '../../src/core/digest-tree.ts';
import { SYMBOL_WORDS } from '../../src/core/symbols.ts';
import { boundAt, HASH_WORDS, SyncIdList, TIMESTAMP_MAX } from '../../src/core/sync-id.ts';
import type { LacunaError } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { Database } from '../../src/store/database.ts';
import { readDirectory } from '../../src/store/directory.ts';
import { IndexPages } from '../../src/store/index-pages.ts';
import { ALL_INDEX } from '../../src/store/keys.ts';
import { LEAF_BYTES } from '../../src/store/leaf-cache.ts';
import { NOTHING_KNOWN } from '../../src/store/tally.ts';
import { Chance, START_NS, textOf } from '../core/random-sets.ts';
import { temporaryFolder, withFolder } from '../temporary-folder.ts';

const FIRST = boundAt(0n);
const END = boundAt(TIMESTAMP_MAX);
const HOUR_NS = 3_600_000_000_000;

/** A tree whose leaves lie in a database, without messages beside them. */
class PagedTree {
  readonly database: Database;
  readonly damages: LacunaError[] = [];
  readonly #cacheBytes: number;
  pages: IndexPages;
  tree: DigestTree;

  private constructor(database: Database, cacheBytes: number) {
    this.database = database;
    this.#cacheBytes = cacheBytes;
    this.pages = this.#newPages();
    this.tree = new DigestTree(this.pages);
  }

  static async open(folder: string, leavesInMemory: number): Promise<PagedTree> {
    const database = await Database.open(join(folder, 'store'), true);
    return new PagedTree(database, leavesInMemory * LEAF_BYTES);
  }

  async write(change: (staged: DigestTree) => void, fails?: 'lost' | 'kept'): Promise<void> {
    const staged = this.tree.snapshot();
    change(staged);
    let written: ReturnType<IndexPages['stage']> | undefined;
    const fill = this.database.write((batch) => {
      written = this.pages.stage(staged, batch);
      this.pages.stageHeader(staged, NOTHING_KNOWN, batch);
      if (fails === 'lost') throw new Error('lost');
    });
    await fill.catch(() => undefined);
    if (fails !== undefined) return await this.reload();
    this.pages.adopt(written!);
    this.tree = staged;
  }

  /** As after a write that failed: the same database, the same process. */
  async reload(): Promise<void> {
    const directory = await readDirectory(this.database);
    this.tree =
      directory === undefined ? new DigestTree(this.pages) : this.pages.treeOf(directory, this.tree);
  }

  /** As in a new process: nothing of the index is in memory. */
  async restart(): Promise<void> {
    await this.database.reopen();
    this.pages = this.#newPages();
    this.tree = new DigestTree(this.pages);
    await this.reload();
  }

  #newPages(): IndexPages {
    return new IndexPages(this.database, this.#cacheBytes, (error) => this.damages.push(error));
  }
}

/** A change of a few to a few thousand ids: behind all others, anywhere, close together, or taken out. */
function someChange(chance: Chance, held: SyncIdList): (tree: DigestTree) => void {
  const kind = chance.below(5);
  const around = START_NS + BigInt(chance.below(HOUR_NS));
  const size = chance.pick([1, 1, 3, 20, 200, 900]);
  const ids = new SyncIdList();
  if (kind === 0) {
    for (let row = 0; row < size; row++) ids.push(chance.id(START_NS + BigInt(2 * HOUR_NS + row)), 0);
  } else if (kind === 1) {
    for (let row = 0; row < size; row++) ids.push(chance.id(START_NS + BigInt(chance.below(HOUR_NS))), 0);
  } else if (kind === 2) {
    for (let row = 0; row < size; row++) ids.push(chance.id(around + BigInt(chance.below(1_000))), 0);
  }
  if (kind <= 2) {
    return (tree) => {
      for (let row = 0; row < ids.count; row++) tree.insert(ids.at(row));
    };
  }
  // One run, so that leaves empty; or here and there.
  const from = chance.below(Math.max(1, held.count));
  const picks = Array.from({ length: Math.min(size * 2, held.count) }, (_, at) =>
    kind === 3 ? Math.min(from + at, held.count - 1) : chance.below(held.count),
  );
  return (tree) => {
    for (const row of picks) tree.remove(held.at(row));
  };
}

function expectAlike(tree: DigestTree, plain: DigestTree, chance: Chance): void {
  expect(tree.count).toBe(plain.count);
  expect(textOf(tree.ids(FIRST, END))).toBe(textOf(plain.ids(FIRST, END)));
  for (let question = 0; question < 8; question++) {
    const [lower, upper] = [0, 0].map(() => boundAt(START_NS + BigInt(chance.below(2 * HOUR_NS))));
    const sums = [tree, plain].map((either) => {
      const fingerprint = new Uint32Array(HASH_WORDS);
      const symbols = new Uint32Array(SYMBOL_WORDS * 300);
      const count = either.digest(lower!, upper!, fingerprint);
      either.addSymbols(FIRST, question === 0 ? END : upper!, symbols);
      return { count, fingerprint, symbols, rank: either.rank(upper!) };
    });
    expect(sums[0]).toEqual(sums[1]);
    if (plain.count === 0) continue;
    const id = plain.select(chance.below(plain.count));
    expect(tree.has(id)).toBe(true);
  }
}

describe('the index on the disk', () => {
  it('answers as one in memory does, through changes, failures, restarts and with any cache', {
    timeout: 240_000,
  }, async () => {
    const parameters = fc.record({
      seed: fc.nat(),
      // Some begin with more than one block holds, so that blocks split.
      first: fc.constantFrom(0, 0, 300, 5_000, 34_000, 70_000),
      leaves: fc.constantFrom(1, 2, 7, 40, 10_000),
      changes: fc.nat(25),
    });
    await fc.assert(
      fc.asyncProperty(parameters, async ({ seed, first, leaves, changes }) => {
        await withFolder(async (folder) => {
          const chance = new Chance(seed);
          const paged = await PagedTree.open(folder, leaves);
          let plain = new DigestTree();
          const begin = SyncIdList.of(
            ...Array.from({ length: first }, () => chance.id(START_NS + BigInt(chance.below(HOUR_NS)))),
          ).toAscending();
          if (first > 0) await paged.write((tree) => tree.appendRows(begin.words, begin.count));
          plain.appendRows(begin.words, begin.count);
          const snapshots: [DigestTree, DigestTree][] = [];
          const restart = async (): Promise<void> => {
            // What was seen when they were taken, whatever was written and let go of since.
            for (const [snapshot, expected] of snapshots.splice(0)) expectAlike(snapshot, expected, chance);
            await paged.restart();
          };
          for (let turn = 0; turn < changes; turn++) {
            const change = someChange(chance, plain.ids(FIRST, END));
            const changed = plain.snapshot();
            change(changed);
            const fate = chance.below(12);
            await paged.write(change, fate === 0 ? 'lost' : fate === 1 ? 'kept' : undefined);
            if (fate !== 0) plain = changed;
            if (fate === 2) await paged.reload();
            if (fate === 3) await restart();
            if (chance.below(4) === 0) snapshots.push([paged.tree.snapshot(), plain.snapshot()]);
            // A look in between: what is read is what may be let go of later.
            const id = chance.id(START_NS + BigInt(chance.below(HOUR_NS)));
            expect(paged.tree.rank(id)).toBe(plain.rank(id));
            expect(paged.pages.cached).toBeLessThanOrEqual(leaves);
          }
          expectAlike(paged.tree, plain, chance);
          await restart();
          expectAlike(paged.tree, plain, chance);
          expect(paged.damages).toEqual([]);
          await paged.database.close();
        });
      }),
      { numRuns: 60 },
    );
  });

  it('grows by a patch when little is new, and by whole pages when much is', async () => {
    const paged = await PagedTree.open(await temporaryFolder(), 10);
    const chance = new Chance(1);
    const later = (at: number): Uint32Array => chance.id(START_NS + BigInt(at));
    await paged.write((tree) => {
      for (let at = 0; at < 100; at++) tree.insert(later(at));
    });
    const sizes: number[] = [];
    for (let at = 100; at < 100 + LIMITS.indexPatches + 1; at++) {
      await paged.write((tree) => tree.insert(later(at)));
      sizes.push(await bytesOfLeaves(paged.database));
    }
    // A page of 100 rows, and patches of one; then a page of all of them.
    const check = 4;
    const page = 100 * 40 + check;
    expect(sizes.slice(0, -1)).toEqual(
      Array.from({ length: LIMITS.indexPatches }, (_, at) => page + (at + 1) * (40 + check)),
    );
    expect(sizes.at(-1)).toBe((100 + LIMITS.indexPatches + 1) * 40 + check);
    await paged.write((tree) => {
      for (let at = 200; at < 400; at++) tree.insert(later(at));
    });
    expect(await bytesOfLeaves(paged.database)).toBe(317 * 40 + check);
    await paged.database.close();
  });

  it('leaves nothing behind of leaves and blocks that are gone', async () => {
    const paged = await PagedTree.open(await temporaryFolder(), 1_000);
    const chance = new Chance(2);
    const ids = SyncIdList.of(
      ...Array.from({ length: 40_000 }, (_, at) => chance.id(START_NS + BigInt(at))),
    ).toAscending();
    await paged.write((tree) => tree.appendRows(ids.words, ids.count));
    expect(await keysHeld(paged.database)).toEqual({ header: 1, directory: 79, leaves: 79, symbols: 2 });
    await paged.restart();
    await paged.write((tree) => {
      for (let row = 0; row < ids.count; row++) expect(tree.remove(ids.at(row))).toBe(true);
    });
    // The first leaf stays, and so does its block: everything belongs into it that comes next.
    expect(await keysHeld(paged.database)).toEqual({ header: 1, directory: 1, leaves: 1, symbols: 1 });
    await paged.restart();
    await paged.write((tree) => tree.insert(ids.at(5)));
    await paged.restart();
    expect(textOf(paged.tree.ids(FIRST, END))).toBe(textOf(ids.slice(5, 6)));
    await paged.database.close();
  });

  it('has the symbols of its blocks again without reading their leaves', async () => {
    const paged = await PagedTree.open(await temporaryFolder(), 1_000);
    const chance = new Chance(3);
    const ids = SyncIdList.of(...Array.from({ length: 33_000 }, (_, at) => chance.id(START_NS + BigInt(at))));
    await paged.write((tree) => tree.appendRows(ids.words, ids.count));
    await paged.restart();
    const [first, second] = paged.tree.blocks;
    const expected = paged.tree.symbolsOfBlock(first!);
    expect(paged.pages.cached).toBe(0);
    // Too few to be worth it.
    paged.tree.symbolsOfBlock(second!);
    expect(paged.pages.cached).toBe(1);
    // Those on the disk are of no use once the block has changed, and made again from its leaves.
    await paged.write((tree) => tree.remove(ids.at(5)));
    await paged.restart();
    const made = paged.tree.symbolsOfBlock(paged.tree.blocks[0]!);
    expect(paged.pages.cached).toBe(64);
    expect(made).not.toEqual(expected);
    const plain = new Uint32Array(made.length);
    DigestTree.from(paged.tree.ids(FIRST, boundAt(START_NS + 32_768n))).addSymbols(FIRST, END, plain);
    expect(made).toEqual(plain);
    // A block that is split has them written for both halves.
    await paged.write((tree) => tree.insert(chance.id(START_NS + 20_000n)));
    await paged.restart();
    const cached = paged.pages.cached;
    expect(paged.tree.blocks).toHaveLength(3);
    for (const block of paged.tree.blocks.slice(0, 2)) paged.tree.symbolsOfBlock(block);
    expect(paged.pages.cached).toBe(cached);
    await paged.database.close();
  });
});

async function bytesOfLeaves(database: Database): Promise<number> {
  let bytes = 0;
  for await (const chunk of database.entries(ALL_INDEX[2]!)) {
    for (const [, value] of chunk) bytes += value.length;
  }
  return bytes;
}

async function keysHeld(database: Database): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const [at, name] of ['header', 'directory', 'leaves', 'symbols'].entries()) {
    counts[name] = 0;
    for await (const keys of database.keys(ALL_INDEX[at]!)) counts[name] += keys.length;
  }
  return counts;
}
