/** Sums of keyed hashes: over parts they add up to the whole, and what is remembered of leaves changes nothing. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DigestTree } from '../../src/core/digest-tree.ts';
import { addSum, KEYED_SUM_WORDS, KeyedSums, subtractSum } from '../../src/core/keyed-sums.ts';
import type { RangeIndex } from '../../src/core/range-index.ts';
import { addKeyedHashes } from '../../src/core/siphash.ts';
import { boundAt, compareIds, SyncIdList } from '../../src/core/sync-id.ts';
import { keyOf } from './native-dialogue.ts';
import { Chance, START_NS } from './random-sets.ts';

const FIRST = boundAt(0n);
const LAST = boundAt(2n ** 63n - 1n);

describe('sums of keyed hashes', () => {
  it('of parts add up to that of the whole, and take away again', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(4_000), fc.nat(12), (seed, size, cuts) => {
        const chance = new Chance(seed);
        const list = randomList(chance, size);
        const index = DigestTree.from(list);
        const keyed = new KeyedSums(keyOf(seed));
        const bounds = Array.from({ length: cuts }, () =>
          chance.id(START_NS + BigInt(chance.below(1_000_000))),
        );
        bounds.sort((x, y) => compareIds(x, 0, y, 0));
        const whole = sumOf(index, keyed, FIRST, LAST);
        expect(whole).toEqual(plainSum(list, keyed.key));
        const added = new Uint32Array(KEYED_SUM_WORDS);
        const left = whole.slice();
        for (const [at, upper] of [...bounds, LAST].entries()) {
          const part = sumOf(index, keyed, bounds[at - 1] ?? FIRST, upper);
          addSum(added, part);
          subtractSum(left, part);
        }
        expect(added).toEqual(whole);
        expect(left).toEqual(new Uint32Array(KEYED_SUM_WORDS));
      }),
      { numRuns: 150 },
    );
  });

  it('are the same the second time, and right after each snapshot of a tree that changes', () => {
    for (let seed = 0; seed < 15; seed++) {
      const chance = new Chance(seed);
      const tree = DigestTree.from(randomList(chance, 5_000));
      const keyed = new KeyedSums(keyOf(seed));
      const kept: { index: RangeIndex; sum: Uint32Array }[] = [];
      for (let round = 0; round < 6; round++) {
        const index = tree.snapshot();
        const sum = sumOf(index, keyed, FIRST, LAST);
        expect(sum).toEqual(plainSum(index.ids(FIRST, LAST), keyed.key));
        expect(sumOf(index, new KeyedSums(keyed.key), FIRST, LAST)).toEqual(sum);
        kept.push({ index, sum });
        for (let change = 0; change < 300; change++) {
          tree.insert(chance.id(START_NS + BigInt(chance.below(1_000_000))));
          tree.remove(tree.select(chance.below(tree.count)));
        }
        // New leaves are changed in place between two snapshots: nothing may be remembered of them before.
        for (const { index: old, sum: was } of kept) expect(sumOf(old, keyed, FIRST, LAST)).toEqual(was);
      }
    }
  });

  it('are others under another key', () => {
    const list = randomList(new Chance(1), 10);
    const index = DigestTree.from(list);
    const sums = [1, 2].map((seed) => sumOf(index, new KeyedSums(keyOf(seed)), FIRST, LAST).join());
    expect(sums[0]).not.toBe(sums[1]);
  });

  it('carry from the low half to the high one, and borrow back', () => {
    const sum = Uint32Array.of(0xffff_ffff, 0, 1, 0xffff_ffff);
    addSum(sum, Uint32Array.of(1, 0, 0xffff_ffff, 0));
    expect([...sum]).toEqual([0, 1, 0, 0]);
    subtractSum(sum, Uint32Array.of(1, 0, 0xffff_ffff, 0));
    expect([...sum]).toEqual([0xffff_ffff, 0, 1, 0xffff_ffff]);
  });
});

function sumOf(index: RangeIndex, keyed: KeyedSums, lower: Uint32Array, upper: Uint32Array): Uint32Array {
  const sum = new Uint32Array(KEYED_SUM_WORDS);
  index.addKeyed(lower, upper, keyed, sum);
  return sum;
}

function plainSum(list: SyncIdList, key: Uint32Array): Uint32Array {
  const sum = new Uint32Array(KEYED_SUM_WORDS);
  addKeyedHashes(list.words, 0, list.count, key, sum);
  return sum;
}

function randomList(chance: Chance, size: number): SyncIdList {
  const list = new SyncIdList();
  for (let row = 0; row < size; row++) list.push(chance.id(START_NS + BigInt(chance.below(1_000_000))), 0);
  return list.toAscending();
}
