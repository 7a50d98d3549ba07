/** From short ids back to ids: by their slot of time within ranges, by their keyed hashes, by their bits. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DigestTree } from '../../src/core/digest-tree.ts';
import {
  compareWithList,
  countBits,
  findShortIds,
  hashedIds,
  pickIds,
} from '../../src/core/native/short-ids.ts';
import { SLOT_BITS, SLOT_MASK, shortIdHigh, shortIdLow } from '../../src/core/symbols.ts';
import { boundAt, compareIds, ID_WORDS, SyncIdList, setTime, TIMESTAMP_MAX } from '../../src/core/sync-id.ts';
import { expectSame, keyOf, type Window } from './native-dialogue.ts';
import { Chance, START_NS, textOf } from './random-sets.ts';

const SLOT_NS = 1n << BigInt(SLOT_BITS);
/** After so long, slots come round again: 208 days. */
const CYCLE_NS = SLOT_NS << 24n;

const EVER: Window = { lower: boundAt(0n), upper: new Uint32Array(ID_WORDS).fill(0xffff_ffff) };

describe('ids by their short ids', () => {
  it('are found in the ranges and nowhere else; of those that are not, the short ids are returned', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(400), fc.nat(6), (seed, size, count) => {
        const chance = new Chance(seed);
        const list = new SyncIdList();
        for (let row = 0; row < size; row++) list.push(spreadId(chance), 0);
        const held = list.toAscending();
        const ranges = randomRanges(chance, held, count);
        const shortIds: number[] = [];
        const inside = new SyncIdList();
        const missing: number[] = [];
        for (let row = 0; row < held.count; row++) {
          if (chance.below(3) > 0) continue;
          const at = row * ID_WORDS;
          const short = [shortIdHigh(held.words, at), shortIdLow(held.words, at)];
          shortIds.push(...short);
          if (ranges.some((range) => isWithin(held.words, at, range))) inside.push(held.words, at);
          else missing.push(...short);
          if (chance.below(4) > 0) continue;
          // The same slot, another hash: not held.
          const other = [chance.word(), short[1]! & SLOT_MASK];
          shortIds.push(...other);
          missing.push(...other);
        }
        const found = new SyncIdList();
        const left = findShortIds(DigestTree.from(held), ranges, Uint32Array.from(shortIds), found);
        expectSame(found, inside);
        expect([...left]).toEqual(missing);
      }),
      { numRuns: 400 },
    );
  });

  it('are told apart by cycle where ranges leave only one of those that share a short id', () => {
    const chance = new Chance(5);
    const first = chance.id(START_NS);
    const cycles = [-30n, -1n, 0n, 1n, 7n].map((cycle) => {
      const id = first.slice();
      setTime(id, 0, START_NS + cycle * CYCLE_NS);
      id[ID_WORDS - 1] = Number(cycle + 100n);
      return id;
    });
    const index = DigestTree.from(SyncIdList.of(...cycles));
    const short = Uint32Array.of(shortIdHigh(first, 0), shortIdLow(first, 0));
    for (const id of cycles) {
      expect([shortIdHigh(id, 0), shortIdLow(id, 0)]).toEqual([...short]);
      const upper = id.slice();
      upper[ID_WORDS - 1] = upper[ID_WORDS - 1]! + 1;
      const found = new SyncIdList();
      expect(findShortIds(index, [{ lower: id, upper }], short, found)).toHaveLength(0);
      expect(textOf(found)).toBe(textOf(SyncIdList.of(id)));
    }
    // In a wider range there is no telling which was meant: one of them, once.
    const found = new SyncIdList();
    expect(findShortIds(index, [EVER], short, found)).toHaveLength(0);
    expect(found.count).toBe(1);
  });

  it('are found at both ends of time and of each slot', () => {
    const chance = new Chance(6);
    const slot = (START_NS / SLOT_NS) * SLOT_NS;
    for (const timeNs of [
      0n,
      1n,
      SLOT_NS - 1n,
      slot,
      slot + SLOT_NS - 1n,
      TIMESTAMP_MAX - 1n,
      TIMESTAMP_MAX,
    ]) {
      const id = chance.id(timeNs);
      const index = DigestTree.from(SyncIdList.of(id, chance.id(START_NS)));
      const found = new SyncIdList();
      const short = Uint32Array.of(shortIdHigh(id, 0), shortIdLow(id, 0));
      expect(findShortIds(index, [EVER], short, found)).toHaveLength(0);
      expect(textOf(found)).toBe(textOf(SyncIdList.of(id)));
    }
  });

  it('are found once, however often they are asked for', () => {
    const id = new Chance(7).id(START_NS);
    const short = [shortIdHigh(id, 0), shortIdLow(id, 0)];
    const found = new SyncIdList();
    findShortIds(
      DigestTree.from(SyncIdList.of(id)),
      [EVER],
      Uint32Array.of(...short, ...short, ...short),
      found,
    );
    expect(found.count).toBe(1);
  });

  it('are none of an empty index, or of no ranges', () => {
    const id = new Chance(8).id(START_NS);
    const short = Uint32Array.of(shortIdHigh(id, 0), shortIdLow(id, 0));
    const found = new SyncIdList();
    expect(findShortIds(new DigestTree(), [EVER], short, found)).toEqual(short);
    expect(findShortIds(DigestTree.from(SyncIdList.of(id)), [], short, found)).toEqual(short);
    expect(found.count).toBe(0);
  });
});

describe('ids by a list of their hashes', () => {
  it('are compared as sets: what is not named is lacking there, what is not held is wanted', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(600), (seed, size) => {
        const chance = new Chance(seed);
        const key = keyOf(seed);
        const lists = { own: new SyncIdList(), theirs: new SyncIdList(), onlyOwn: new SyncIdList() };
        const isWanted: boolean[] = [];
        for (let row = 0; row < size; row++) {
          const id = spreadId(chance);
          const on = chance.pick(['own', 'theirs', 'both', 'both']);
          if (on !== 'theirs') lists.own.push(id, 0);
          if (on === 'own') lists.onlyOwn.push(id, 0);
          if (on === 'own') continue;
          lists.theirs.push(id, 0);
          isWanted.push(on === 'theirs');
        }
        const have = new SyncIdList();
        const wanted = compareWithList(lists.own, key, hashedIds(lists.theirs, key), have);
        expect(textOf(have)).toBe(textOf(lists.onlyOwn));
        expect(wanted).toHaveLength(Math.ceil(isWanted.length / 8));
        expect(isWanted.map((_, row) => ((wanted[row >>> 3]! >>> (row & 7)) & 1) === 1)).toEqual(isWanted);
        expect(countBits(wanted)).toBe(isWanted.filter(Boolean).length);
        const picked = new SyncIdList();
        pickIds(lists.theirs, wanted, picked);
        expect(picked.count).toBe(countBits(wanted));
        for (let row = 0, at = 0; row < lists.theirs.count; row++) {
          if (!isWanted[row]) continue;
          expect(compareIds(picked.words, at * ID_WORDS, lists.theirs.words, row * ID_WORDS)).toBe(0);
          at += 1;
        }
      }),
      { numRuns: 300 },
    );
  });

  it('that are named twice are wanted neither time', () => {
    const key = keyOf(1);
    const own = SyncIdList.of(new Chance(1).id(START_NS));
    const hashed = hashedIds(own, key);
    const have = new SyncIdList();
    expect([...compareWithList(own, key, Uint32Array.of(...hashed, ...hashed), have)]).toEqual([0]);
    expect(have.count).toBe(0);
  });

  it('of a list that was made to fall on one place are taken to be lacking, at worst', () => {
    const key = keyOf(2);
    const chance = new Chance(2);
    const own = SyncIdList.of(...Array.from({ length: 300 }, () => chance.id(START_NS)));
    // A hundred thousand times the same, then the true ones.
    const hashed = hashedIds(own, key);
    const theirs = new Uint32Array(200_000 + hashed.length);
    theirs.set(hashed, 200_000);
    const have = new SyncIdList();
    const wanted = compareWithList(own, key, theirs, have);
    expect(have.count + (theirs.length / 2 - countBits(wanted))).toBe(own.count);
  });

  it('are picked by bits, of which any number may be missing or too many', () => {
    const chance = new Chance(3);
    const ids = SyncIdList.of(...Array.from({ length: 10 }, () => chance.id(START_NS)));
    for (const [bits, count] of [
      [[], 0],
      [[0xff], 8],
      [[0xff, 0xff, 0xff], 10],
      [[0b1000_0001, 0b10], 3],
    ] as const) {
      const picked = new SyncIdList();
      pickIds(ids, Uint8Array.from(bits), picked);
      expect(picked.count).toBe(count);
    }
  });
});

/** Over several cycles, many in few slots. */
function spreadId(chance: Chance): Uint32Array {
  const cycle = chance.pick([0n, 0n, 1n, 2n, -3n]);
  const slot = BigInt(chance.below(4));
  return chance.id(START_NS + cycle * CYCLE_NS + slot * SLOT_NS + BigInt(chance.below(1_000_000_000)));
}

/** Ascending ranges that do not overlap, some of which touch. */
function randomRanges(chance: Chance, held: SyncIdList, count: number): Window[] {
  const bounds = Array.from({ length: 2 * count }, () =>
    held.count > 0 && chance.below(2) === 0
      ? held.at(chance.below(held.count)).slice()
      : boundAt(START_NS + BigInt(chance.below(5) - 3) * CYCLE_NS + BigInt(chance.below(6)) * SLOT_NS),
  ).sort((x, y) => compareIds(x, 0, y, 0));
  if (chance.below(2) === 0) return count === 0 ? [EVER] : pairsOf(bounds);
  return bounds.slice(1).map((upper, at) => ({ lower: bounds[at]!, upper }));
}

function pairsOf(bounds: readonly Uint32Array[]): Window[] {
  return Array.from({ length: bounds.length >>> 1 }, (_, at) => ({
    lower: bounds[2 * at]!,
    upper: bounds[2 * at + 1]!,
  }));
}

function isWithin(words: Uint32Array, at: number, { lower, upper }: Window): boolean {
  return compareIds(words, at, lower, 0) >= 0 && compareIds(words, at, upper, 0) < 0;
}
