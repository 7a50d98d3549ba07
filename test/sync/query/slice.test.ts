/** Slices cover a window without overlap, hold few own ids, and come to its beginning in few steps. */
import { describe, expect, it } from 'vitest';
import { DigestTree } from '../../../src/core/digest-tree.ts';
import { boundAt, hashOf, SyncIdList, setTime } from '../../../src/core/sync-id.ts';
import { LIMITS } from '../../../src/limits.ts';
import { keyOf, nextLengthNs, SliceComparison, sliceBelow } from '../../../src/sync/query/slice.ts';
import { Chance } from '../../core/random-sets.ts';

/** Ids at these times, as an index. */
function indexOf(times: Iterable<bigint>): DigestTree {
  const chance = new Chance(7);
  const ids = new SyncIdList();
  for (const timeNs of times) {
    const at = ids.pushEmpty();
    setTime(ids.words, at, timeNs);
    for (let word = 2; word < 10; word++) ids.words[at + word] = chance.below(2 ** 32);
  }
  return DigestTree.from(ids.toAscending());
}

function slicesOf(
  times: readonly bigint[],
  sinceNs: bigint,
  untilNs: bigint,
  firstNs: bigint,
  listed = 5_000,
) {
  const slices = [];
  let lengthNs = firstNs;
  for (let endNs = untilNs; endNs > sinceNs; ) {
    const index = indexOf(times.filter((timeNs) => timeNs >= sinceNs && timeNs < endNs));
    const slice = sliceBelow(index, { sinceNs, untilNs: endNs }, lengthNs);
    const own = index.count - index.rank(boundAt(slice.sinceNs));
    slices.push({ ...slice, own });
    if (slices.length > 60) throw new Error('no end');
    endNs = slice.sinceNs;
    lengthNs = nextLengthNs(lengthNs, listed);
  }
  return slices;
}

describe('slices', () => {
  it('hold no more own ids than may be, but where they share a moment', () => {
    const times = [
      ...Array.from({ length: 25_000 }, (_, at) => 1_000n + BigInt(at)),
      ...Array.from({ length: 30_000 }, () => 50_000n),
      ...Array.from({ length: 500 }, (_, at) => 60_000n + BigInt(at)),
    ];
    const slices = slicesOf(times, 0n, 100_000n, 1_000_000n);
    for (const [at, slice] of slices.entries()) {
      expect(slice.untilNs).toBe(at === 0 ? 100_000n : slices[at - 1]!.sinceNs);
      expect(slice.untilNs).toBeGreaterThan(slice.sinceNs);
      const isMoment = slice.untilNs - slice.sinceNs === 1n;
      expect(isMoment || slice.own <= LIMITS.querySliceIds).toBe(true);
    }
    expect(slices.at(-1)!.sinceNs).toBe(0n);
    expect(slices.reduce((sum, { own }) => sum + own, 0)).toBe(times.length);
    expect(slices.length).toBeLessThan(8);
  });

  it('reach back to 1970 in few steps where there is nothing', () => {
    const nowNs = 1_787_184_000_000_000_000n;
    expect(slicesOf([], 0n, nowNs, 3_600_000_000_000n, 0).length).toBeLessThan(8);
    expect(slicesOf([], 0n, nowNs, 3_600_000_000_000n, 1).length).toBeLessThan(22);
  });

  it('are shorter after many, and never of no length', () => {
    let lengthNs = 3_600_000_000_000n;
    for (let step = 0; step < 100; step++) lengthNs = nextLengthNs(lengthNs, LIMITS.querySliceDense + 1);
    expect(lengthNs).toBeGreaterThan(0n);
    expect(nextLengthNs(8n, LIMITS.querySliceDense)).toBe(8n);
  });

  it('count each own id once, however often it is listed', () => {
    const index = indexOf([1n, 2n, 3n]);
    const ids = index.ids(boundAt(0n), boundAt(9n));
    const comparison = new SliceComparison(ids);
    const first = keyOf(hashOf(ids.at(0)));
    expect([comparison.list(first), comparison.list(first), comparison.list('unknown')]).toEqual([
      true,
      true,
      false,
    ]);
    expect(comparison.unlisted).toBe(2);
  });
});
