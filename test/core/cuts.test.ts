/** Where ranges are cut: between two ids, about where counts are equal, at the shortest bound there is nearby. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { boundBetween, equalCuts } from '../../src/core/cuts.ts';
import { DigestTree } from '../../src/core/digest-tree.ts';
import { compareIds, SyncIdList, timeOf } from '../../src/core/sync-id.ts';
import { Chance, closeId, makePair, SHAPES } from './random-sets.ts';

const LEEWAY_RANKS = 8;

describe('cuts by equal counts', () => {
  it('lie between two ids each, in order, near where counts are equal, at the roundest place there', () => {
    fc.assert(
      fc.property(
        fc.nat(),
        fc.nat(1_500),
        fc.constantFrom(...SHAPES, 'close' as const),
        fc.integer({ min: 1, max: 60 }),
        (seed, size, shape, parts) => {
          const chance = new Chance(seed);
          const index = indexOf(seed, size, shape);
          const [from, to] = [chance.below(index.count + 1), chance.below(index.count + 1)].sort(
            (x, y) => x - y,
          );
          const bounds = equalCuts(index, from!, to!, parts);
          const part = (to! - from!) / parts;
          const leeway = Math.min(LEEWAY_RANKS, Math.floor(part / 4));
          const ranks = bounds.map((bound) => index.rank(bound));
          // As many as asked for, unless there are fewer ids.
          if (part >= 1) expect(bounds).toHaveLength(parts - 1);
          expect(bounds.length).toBeLessThan(Math.max(1, to! - from!));
          let cut = 1;
          for (const [at, rank] of ranks.entries()) {
            // At least one id on either side, and before the next.
            expect(rank).toBeGreaterThan(at === 0 ? from! : ranks[at - 1]!);
            expect(rank).toBeLessThan(to!);
            while (Math.abs(rank - Math.round(from! + cut * part)) > leeway && cut < parts) cut += 1;
            expect(cut).toBeLessThan(parts);
            const target = Math.round(from! + cut * part);
            const lowest = Math.max(target - leeway, (ranks[at - 1] ?? from!) + 1);
            const highest = Math.min(target + leeway, to! - 1);
            for (let other = lowest; other <= highest; other++) {
              const bound = boundBetween(index.select(other - 1), index.select(other));
              expect(lengthOf(bounds[at]!)).toBeLessThanOrEqual(lengthOf(bound));
            }
            cut += 1;
          }
        },
      ),
      { numRuns: 1_500 },
    );
  });

  it('make parts that differ by no more than the leeway allows', () => {
    for (const shape of SHAPES) {
      const index = indexOf(7, 10_000, shape);
      const ranks = equalCuts(index, 0, index.count, 24).map((bound) => index.rank(bound));
      const sizes = [...ranks, index.count].map((rank, at) => rank - (ranks[at - 1] ?? 0));
      for (const size of sizes) expect(Math.abs(size - index.count / 24)).toBeLessThanOrEqual(17);
    }
  });

  it('are none where there is nothing to cut', () => {
    const index = indexOf(1, 5, 'spread');
    expect(equalCuts(index, 0, 0, 24)).toEqual([]);
    expect(equalCuts(index, 2, 3, 24)).toEqual([]);
    expect(equalCuts(index, 0, 5, 1)).toEqual([]);
    expect(equalCuts(index, 0, 5, 24)).toHaveLength(4);
  });
});

describe('a bound between two neighbours', () => {
  it('parts them, and is as short as can be', () => {
    fc.assert(
      fc.property(fc.nat(), fc.boolean(), (seed, close) => {
        const chance = new Chance(seed);
        const make = (): Uint32Array =>
          close ? closeId(chance) : chance.id((BigInt(chance.word()) << 31n) | BigInt(chance.word()));
        const [below, above] = [make(), make()].sort((x, y) => compareIds(x, 0, y, 0));
        if (compareIds(below!, 0, above!, 0) === 0) return;
        const bound = boundBetween(below!, above!);
        expect(compareIds(below!, 0, bound, 0)).toBeLessThan(0);
        expect(compareIds(bound, 0, above!, 0)).toBeLessThanOrEqual(0);
        const time = timeOf(bound);
        if (timeOf(below!) === timeOf(above!)) {
          expect(time).toBe(timeOf(above!));
          // One byte less of the hash would lie at or below the lower one.
          const shorter = withoutLastByte(bound);
          expect(compareIds(shorter, 0, below!, 0)).toBeLessThanOrEqual(0);
        } else {
          expect(hashBytes(bound)).toBe(0);
          // The next rounder time would lie at or below the lower one, or above the upper one.
          const step = time & -time;
          const rounder = time - step;
          expect(rounder <= timeOf(below!) || time === 0n).toBe(true);
          expect(time + step > timeOf(above!)).toBe(true);
        }
      }),
      { numRuns: 3_000 },
    );
  });
});

/** What a bound weighs, most of all the bits of its time, then the bytes of its hash. */
function lengthOf(bound: Uint32Array): number {
  const time = timeOf(bound);
  // Bits that are not zeros at the end.
  const bits = time === 0n ? 0 : time.toString(2).replace(/0+$/, '').length;
  return hashBytes(bound) > 0 ? 1_000 : bits;
}

function hashBytes(bound: Uint32Array): number {
  const hex = [...bound.subarray(2)].map((word) => word.toString(16).padStart(8, '0')).join('');
  return Math.ceil(hex.replace(/0+$/, '').length / 2);
}

function withoutLastByte(bound: Uint32Array): Uint32Array {
  const shorter = bound.slice();
  const last = hashBytes(bound) - 1;
  const word = 2 + (last >>> 2);
  shorter[word] = shorter[word]! & ~(0xff00_0000 >>> ((last & 3) * 8));
  return shorter;
}

function indexOf(seed: number, size: number, shape: (typeof SHAPES)[number] | 'close'): DigestTree {
  if (shape === 'close') {
    const chance = new Chance(seed);
    const list = new SyncIdList();
    for (let row = 0; row < size; row++) list.push(closeId(chance), 0);
    return DigestTree.from(list);
  }
  const { a } = makePair({ seed, size, shape, differing: 0, difference: 'scattered', lacking: 'a' });
  return DigestTree.from(a);
}
