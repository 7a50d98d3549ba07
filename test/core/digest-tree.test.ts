/**
 * The ordered index against the plainest one there is: a sorted array. Both take the same random changes and must
 * answer every question alike; snapshots must not move.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BLOCK_LEAVES } from '../../src/core/block.ts';
import { DigestTree } from '../../src/core/digest-tree.ts';
import { KEYED_SUM_WORDS, KeyedSums } from '../../src/core/keyed-sums.ts';
import { LEAF_ROWS } from '../../src/core/leaf.ts';
import { addKeyedHashes } from '../../src/core/siphash.ts';
import { addSymbols, SYMBOL_WORDS } from '../../src/core/symbols.ts';
import {
  boundAt,
  compareIds,
  HASH_WORDS,
  ID_WORDS,
  nextMoment,
  SyncIdList,
  successor,
} from '../../src/core/sync-id.ts';
import { Chance, closeId, START_NS, textOf } from './random-sets.ts';

/** The whole contract of the index, told with a sorted array. */
class SortedArray {
  readonly rows: Uint32Array[];

  constructor(rows: Uint32Array[] = []) {
    this.rows = rows;
  }

  rank(bound: Uint32Array): number {
    let low = 0;
    let high = this.rows.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareIds(this.rows[middle]!, 0, bound, 0) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  has(id: Uint32Array): boolean {
    const row = this.rows[this.rank(id)];
    return row !== undefined && compareIds(row, 0, id, 0) === 0;
  }

  insert(id: Uint32Array): boolean {
    if (this.has(id)) return false;
    this.rows.splice(this.rank(id), 0, id);
    return true;
  }

  remove(id: Uint32Array): boolean {
    if (!this.has(id)) return false;
    this.rows.splice(this.rank(id), 1);
    return true;
  }

  range(lower: Uint32Array, upper: Uint32Array): Uint32Array[] {
    return this.rows.slice(this.rank(lower), Math.max(this.rank(lower), this.rank(upper)));
  }
}

function expectAlike(tree: DigestTree, array: SortedArray, chance: Chance, questions: number): void {
  expect(tree.count).toBe(array.rows.length);
  for (let question = 0; question < questions; question++) {
    const lower = someBound(array, chance);
    const upper = someBound(array, chance);
    expect(tree.rank(lower)).toBe(array.rank(lower));
    expect(tree.has(lower)).toBe(array.has(lower));
    const expected = array.range(lower, upper);
    const fingerprint = new Uint32Array(HASH_WORDS).fill(chance.word());
    expect(tree.digest(lower, upper, fingerprint)).toBe(expected.length);
    expect(fingerprint).toEqual(xorOf(expected));
    expect(textOf(tree.ids(lower, upper))).toBe(textOf(SyncIdList.of(...expected)));
    if (tree.count > 0) {
      const rank = chance.below(tree.count);
      expect(tree.select(rank)).toEqual(array.rows[rank]);
    }
  }
}

/** As many symbols as leaves and blocks keep of their ids, and one more or less: each comes from another place. */
const SYMBOL_COUNTS = [1, 64, 255, 256, 257, 4_095, 4_096, 4_097];

/** Symbols and keyed sums of ranges of all kinds, against those of the same ids one by one. */
function expectSumsAlike(
  tree: DigestTree,
  array: SortedArray,
  chance: Chance,
  questions: number,
  keyed = new KeyedSums(KEY),
): void {
  for (let question = 0; question < questions; question++) {
    const lower = question % 4 === 0 ? boundAt(0n) : someBound(array, chance);
    const upper = question % 3 === 0 ? END_OF_TIME : someBound(array, chance);
    const expected = SyncIdList.of(...array.range(lower, upper));
    // What is in the symbols and sums already stays in.
    const begun = Uint32Array.from({ length: chance.pick(SYMBOL_COUNTS) * SYMBOL_WORDS }, () =>
      chance.word(),
    );
    const symbols = begun.slice();
    tree.addSymbols(lower, upper, symbols);
    addSymbols(expected.words, 0, expected.count, begun);
    if (!isSame(symbols, begun)) expect.fail(`other symbols, of ${begun.length / SYMBOL_WORDS}`);
    const start = Uint32Array.from({ length: KEYED_SUM_WORDS }, () => chance.word());
    const sum = start.slice();
    tree.addKeyed(lower, upper, keyed, sum);
    addKeyedHashes(expected.words, 0, expected.count, KEY, start);
    expect(sum).toEqual(start);
  }
}

const KEY = Uint32Array.of(1, 2, 3, 4);
const END_OF_TIME = new Uint32Array(ID_WORDS).fill(0xffff_ffff);
END_OF_TIME[0] = 0x7fff_ffff;

function isSame(a: Uint32Array, b: Uint32Array): boolean {
  return a.length === b.length && a.every((word, at) => word === b[at]);
}

function xorOf(rows: readonly Uint32Array[]): Uint32Array {
  const xor = new Uint32Array(HASH_WORDS);
  for (const row of rows) {
    for (let word = 0; word < HASH_WORDS; word++) xor[word] = xor[word]! ^ row[ID_WORDS - HASH_WORDS + word]!;
  }
  return xor;
}

/** Ids that are held, their moments, what lies right beside them, and anything else. */
function someBound(array: SortedArray, chance: Chance): Uint32Array {
  const held = array.rows.length > 0 ? chance.pick(array.rows) : closeId(chance);
  const kind = chance.below(6);
  if (kind === 0) return held;
  if (kind === 1) return successor(held);
  if (kind === 2) return nextMoment(held);
  if (kind === 3) return boundAt((BigInt(held[0]!) << 32n) | BigInt(held[1]!));
  if (kind === 4) return chance.pick([boundAt(0n), boundAt(2n ** 63n - 1n)]);
  return closeId(chance);
}

/** Spread, or as close together as ids can be. */
function someId(chance: Chance, close: boolean): Uint32Array {
  return close ? closeId(chance) : chance.id(START_NS + BigInt(chance.below(1_000_000)));
}

describe('the digest tree', () => {
  it('answers like a sorted array through inserts and removals', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(1500), fc.boolean(), fc.nat(10), (seed, changes, close, removing) => {
        const chance = new Chance(seed);
        const tree = new DigestTree();
        const array = new SortedArray();
        for (let change = 0; change < changes; change++) {
          const known = array.rows.length > 0 && chance.below(3) === 0;
          const id = known ? chance.pick(array.rows).slice() : someId(chance, close);
          if (chance.below(20) < removing) expect(tree.remove(id)).toBe(array.remove(id));
          else expect(tree.insert(id)).toBe(array.insert(id));
          if (chance.below(100) === 0) expectAlike(tree, array, chance, 2);
        }
        expectAlike(tree, array, chance, 20);
        expectSumsAlike(tree, array, chance, 8);
      }),
      { numRuns: 60 },
    );
  });

  it.each([
    ['in ascending order', (rows: Uint32Array[]) => rows],
    ['in descending order', (rows: Uint32Array[]) => rows.toReversed()],
    ['from the middle outwards', (rows: Uint32Array[]) => outwards(rows)],
    ['in no order', (rows: Uint32Array[]) => shuffled(rows, new Chance(7))],
  ])('holds several thousand ids, inserted %s', (_, order) => {
    const chance = new Chance(5);
    const array = new SortedArray();
    for (let row = 0; row < 6000; row++) array.insert(someId(chance, row % 2 === 0));
    const tree = new DigestTree();
    for (const id of order(array.rows.slice())) expect(tree.insert(id)).toBe(true);
    expectAlike(tree, array, chance, 300);
    expectSumsAlike(tree, array, chance, 30);
    const whole = tree.ids(boundAt(0n), boundAt(2n ** 63n - 1n));
    expect(textOf(whole)).toBe(textOf(SyncIdList.of(...array.rows)));
    for (const id of shuffled(array.rows, chance).slice(0, 5000)) {
      expect(tree.remove(id)).toBe(true);
      array.remove(id);
    }
    expectAlike(tree, array, chance, 300);
    expectSumsAlike(tree, array, chance, 30);
    for (const id of array.rows) expect(tree.remove(id)).toBe(true);
    expectAlike(tree, new SortedArray(), chance, 20);
  });

  it('is the same whether made from a list or by inserts', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(3000), (seed, size) => {
        const chance = new Chance(seed);
        const array = new SortedArray();
        const list = new SyncIdList();
        for (let row = 0; row < size; row++) {
          const id = row % 7 === 6 ? chance.pick(array.rows) : someId(chance, row % 2 === 0);
          array.insert(id);
          list.push(id, 0);
        }
        const tree = DigestTree.from(list);
        expectAlike(tree, array, chance, 20);
        // A tree made at once goes on like any other.
        for (let change = 0; change < 200; change++) {
          const id =
            chance.below(2) === 0 || array.rows.length === 0 ? someId(chance, true) : chance.pick(array.rows);
          if (chance.below(2) === 0) expect(tree.remove(id)).toBe(array.remove(id));
          else expect(tree.insert(id)).toBe(array.insert(id));
        }
        expectAlike(tree, array, chance, 20);
      }),
      { numRuns: 25 },
    );
  });

  it('keeps its snapshots as they were, and lets them go their own way', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(2500), (seed, size) => {
        const chance = new Chance(seed);
        const pairs = [{ tree: new DigestTree(), array: new SortedArray() }];
        for (let row = 0; row < size; row++) pairs[0]!.array.insert(someId(chance, row % 2 === 0));
        pairs[0]!.tree = DigestTree.from(SyncIdList.of(...pairs[0]!.array.rows));
        for (let change = 0; change < 600; change++) {
          const { tree, array } = chance.pick(pairs);
          if (chance.below(60) === 0 && pairs.length < 8) {
            // A snapshot shares the prefix sums when they are there: let it happen both ways.
            if (chance.below(2) === 0) tree.rank(closeId(chance));
            pairs.push({ tree: tree.snapshot(), array: new SortedArray(array.rows.slice()) });
          }
          const id =
            chance.below(2) === 0 && array.rows.length > 0 ? chance.pick(array.rows) : someId(chance, true);
          if (chance.below(2) === 0) expect(tree.remove(id)).toBe(array.remove(id));
          else expect(tree.insert(id)).toBe(array.insert(id));
        }
        for (const { tree, array } of pairs) {
          expectAlike(tree, array, chance, 10);
          expectSumsAlike(tree, array, chance, 4);
        }
      }),
      { numRuns: 25 },
    );
  });

  it.each([
    ['appended one by one', (tree: DigestTree, rows: Uint32Array[]) => insertAll(tree, rows)],
    [
      'inserted in no order',
      (tree: DigestTree, rows: Uint32Array[]) => insertAll(tree, shuffled(rows, new Chance(8))),
    ],
    [
      'inserted from the last to the first',
      (tree: DigestTree, rows: Uint32Array[]) => insertAll(tree, rows.toReversed()),
    ],
    ['appended at once', (tree: DigestTree, rows: Uint32Array[]) => appendAll(tree, rows, rows.length)],
    ['appended by hundreds', (tree: DigestTree, rows: Uint32Array[]) => appendAll(tree, rows, 300)],
    [
      'appended in two halves, the second one by one',
      (tree: DigestTree, rows: Uint32Array[]) => {
        appendAll(tree, rows.slice(0, rows.length >>> 1), rows.length);
        insertAll(tree, rows.slice(rows.length >>> 1));
      },
    ],
  ])('holds more than a block of leaves, %s', (_, fill) => {
    const chance = new Chance(9);
    const array = manyIds(chance, BLOCK_LEAVES * LEAF_ROWS + 12_000);
    const tree = new DigestTree();
    fill(tree, array.rows.slice());
    expect(tree.blocks.length).toBeGreaterThan(1);
    expect(tree.blocks.every(({ leaves }) => leaves.length <= BLOCK_LEAVES)).toBe(true);
    expectAlike(tree, array, chance, 60);
    expectSumsAlike(tree, array, chance, 24);
    // Changes all over, and a stretch of whole leaves that goes: blocks shrink, split and vanish.
    const before = { tree: tree.snapshot(), array: new SortedArray(array.rows.slice()) };
    for (let change = 0; change < 6_000; change++) {
      const id = someId(chance, false);
      expect(tree.insert(id)).toBe(array.insert(id));
      const other = array.rows[chance.below(array.rows.length)]!;
      expect(tree.remove(other)).toBe(array.remove(other));
    }
    for (const id of array.rows.splice(3_000, 36_000)) expect(tree.remove(id)).toBe(true);
    expectAlike(tree, array, chance, 60);
    expectSumsAlike(tree, array, chance, 24);
    // The snapshot has not moved, and what was remembered for a key is right for both.
    const keyed = new KeyedSums(KEY);
    expectSumsAlike(before.tree, before.array, chance, 8, keyed);
    expectSumsAlike(tree.snapshot(), array, chance, 8, keyed);
    expectAlike(before.tree, before.array, chance, 30);
    // Emptied, it goes on as ever.
    for (const id of array.rows.splice(0)) expect(tree.remove(id)).toBe(true);
    expectAlike(tree, array, chance, 5);
    expectSumsAlike(tree, array, chance, 5);
    const again = manyIds(chance, 2_000);
    appendAll(tree, again.rows.slice(), 700);
    expectAlike(tree, again, chance, 20);
    expectSumsAlike(tree, again, chance, 5);
  });

  it('takes inserts and removals into the symbols that snapshots of it were asked for', () => {
    const chance = new Chance(10);
    const array = manyIds(chance, 45_000);
    const tree = DigestTree.from(SyncIdList.of(...array.rows));
    const keyed = new KeyedSums(KEY);
    const kept: { tree: DigestTree; array: SortedArray }[] = [];
    for (let round = 0; round < 5; round++) {
      kept.push({ tree: tree.snapshot(), array: new SortedArray(array.rows.slice()) });
      for (const { tree, array } of kept) expectSumsAlike(tree, array, chance, 6, keyed);
      for (let change = 0; change < 1_500; change++) {
        const id = someId(chance, false);
        expect(tree.insert(id)).toBe(array.insert(id));
        const other = array.rows[chance.below(array.rows.length)]!;
        expect(tree.remove(other)).toBe(array.remove(other));
      }
    }
    expectSumsAlike(tree, array, chance, 12);
  });

  it('fills up the last leaf with rows that are appended, also under a snapshot', () => {
    fc.assert(
      fc.property(fc.nat(), fc.array(fc.nat(1_300), { maxLength: 8 }), (seed, sizes) => {
        const chance = new Chance(seed);
        const all = manyIds(
          chance,
          sizes.reduce((sum, size) => sum + size, 0),
        ).rows;
        const tree = new DigestTree();
        const array = new SortedArray();
        const kept: { tree: DigestTree; array: SortedArray }[] = [];
        let from = 0;
        for (const size of sizes) {
          const rows = all.slice(from, from + size);
          from += size;
          if (chance.below(2) === 0) {
            kept.push({ tree: tree.snapshot(), array: new SortedArray(array.rows.slice()) });
          }
          appendAll(tree, rows, Math.max(1, rows.length));
          array.rows.push(...rows);
          for (let removals = chance.below(4); removals > 0 && array.rows.length > 0; removals--) {
            const id = chance.pick(array.rows);
            expect(tree.remove(id)).toBe(array.remove(id));
          }
        }
        for (const { tree: held, array: naive } of [...kept, { tree, array }]) {
          expectAlike(held, naive, chance, 6);
          expectSumsAlike(held, naive, chance, 4);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('reads an id at any place of the words it is given', () => {
    const chance = new Chance(3);
    const list = SyncIdList.of(...Array.from({ length: 10 }, () => chance.id(START_NS)));
    const tree = new DigestTree();
    for (let row = 0; row < 10; row++) expect(tree.insert(list.words, row * ID_WORDS)).toBe(true);
    expect(tree.insert(list.words, 3 * ID_WORDS)).toBe(false);
    expect(tree.remove(list.words, 3 * ID_WORDS)).toBe(true);
    expect(tree.has(list.at(3))).toBe(false);
    expect(tree.has(list.at(4))).toBe(true);
  });

  it('gives copies: what the caller does with them changes nothing', () => {
    const chance = new Chance(4);
    const ids = Array.from({ length: 5 }, () => chance.id(START_NS));
    const tree = DigestTree.from(SyncIdList.of(...ids));
    const first = tree.select(0);
    const kept = first.slice();
    first.fill(0);
    tree.ids(boundAt(0n), boundAt(2n ** 63n - 1n)).words.fill(0);
    expect(tree.select(0)).toEqual(kept);
  });

  it('refuses a rank that it does not hold', () => {
    const tree = DigestTree.from(SyncIdList.of(new Chance(1).id(START_NS)));
    for (const rank of [-1, 1, Number.NaN]) expect(() => tree.select(rank)).toThrow(RangeError);
    expect(() => new DigestTree().select(0)).toThrow(RangeError);
  });
});

/** So many ids in order, made at once: inserting them one by one into an array takes its time. */
function manyIds(chance: Chance, count: number): SortedArray {
  const rows = Array.from({ length: count }, () => chance.id(START_NS + BigInt(chance.below(1_000_000))));
  return new SortedArray(rows.sort((a, b) => compareIds(a, 0, b, 0)));
}

function insertAll(tree: DigestTree, rows: readonly Uint32Array[]): void {
  for (const id of rows) if (!tree.insert(id)) expect.fail('an id was there already');
}

function appendAll(tree: DigestTree, rows: readonly Uint32Array[], step: number): void {
  for (let from = 0; from < rows.length; from += step) {
    const list = SyncIdList.of(...rows.slice(from, from + step));
    tree.appendRows(list.words, list.count);
  }
}

function shuffled(rows: readonly Uint32Array[], chance: Chance): Uint32Array[] {
  const mixed = rows.slice();
  for (let row = mixed.length - 1; row > 0; row--) {
    const other = chance.below(row + 1);
    [mixed[row], mixed[other]] = [mixed[other]!, mixed[row]!];
  }
  return mixed;
}

function outwards(rows: readonly Uint32Array[]): Uint32Array[] {
  const middle = rows.length >>> 1;
  const order: Uint32Array[] = [];
  for (let step = 0; order.length < rows.length; step++) {
    if (middle + step < rows.length) order.push(rows[middle + step]!);
    if (middle - step - 1 >= 0) order.push(rows[middle - step - 1]!);
  }
  return order;
}
