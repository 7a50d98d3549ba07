/** The sets of the reconcile bench: figures can be compared only while these stay the same, bit by bit. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { CASES, isCase, makeSets } from '../../bench/sets.ts';
import { ID_WORDS, type SyncIdList, timeOf } from '../../src/core/sync-id.ts';

describe('the sets of a case', () => {
  // Digests of the rows, as the first of all measurements had them.
  const cases: [name: string, a: string, b: string, onlyA: number, onlyB: number][] = [
    ['w1-10k-100', 'b79ac256501042aa8550433a92d04638', '7ffe28430cbd24cde755234d13341a89', 50, 50],
    ['w1-10k-10000', '1047b7370ade2b4b47c8e182142b4c61', 'fb5d648685642576cda097ca30cc3faf', 5000, 5000],
    ['w1-100k-1000', 'ad17109324768b5b3cffc7ecf2b6c38a', 'f30817c86e0cc9d0c63272d9b0bd50aa', 500, 500],
    ['w2-1pct', 'dde7902e602014831f5051dbaafd470a', 'd89a879434c01c40b5a20585e9c9d4f3', 50, 10_000],
    [
      'w3-initiator-empty',
      'e3b0c44298fc1c149afbf4c8996fb924',
      '721742a87b513892f9f86a6dc50a6b0e',
      0,
      100_000,
    ],
    [
      'w3-responder-empty',
      '721742a87b513892f9f86a6dc50a6b0e',
      'e3b0c44298fc1c149afbf4c8996fb924',
      100_000,
      0,
    ],
    ['w4-alone', 'a07a366a0cf95eaa1372eeb76eb67ed4', 'a9513eca77034827a609fdc856d245cc', 50, 50],
    ['w4-among', '273a9ae61e86468539cfe3413a586089', '3a688978d536a4dd945d8c00d42c4387', 50, 50],
    ['w5', '4f93caf99f1e90ed2f2b66e7cffe1cf3', 'eb926e6174929f1b401271217c77207c', 50, 164_427],
    ['w6', 'f80c0d4f2b3942a8d6d9c1657b7c6979', 'da06e9d7d75a725f4c10a369f5c9cac8', 70, 10_020],
  ];

  it.each(cases)('%s are the same as ever', (name, a, b, onlyA, onlyB) => {
    const pair = makeSets(name);
    expect([digestOf(pair.a), digestOf(pair.b)]).toEqual([a, b]);
    expect([pair.onlyA.count, pair.onlyB.count]).toEqual([onlyA, onlyB]);
    expect(pair.a.isStrictlyAscending() && pair.b.isStrictlyAscending()).toBe(true);
  });

  it.each(['w1-10k-100', 'w5'])('%s lie in their window', (name) => {
    const { a, b, lowerNs, upperNs } = makeSets(name);
    for (const ids of [a, b]) {
      expect(timeOf(ids.words)).toBeGreaterThanOrEqual(lowerNs);
      expect(timeOf(ids.words, (ids.count - 1) * ID_WORDS)).toBeLessThan(upperNs);
    }
  });
});

describe('a name', () => {
  it('is of the full run, or of scattered differences in a set of any size', () => {
    expect(CASES).toHaveLength(25);
    expect([...CASES, 'w1-3m-100', 'w1-30k-100', 'w1-500-7'].every(isCase)).toBe(true);
    expect(['w1', 'w1-10k', 'w1-10x-5', 'w7', 'toString', ''].some(isCase)).toBe(false);
    expect(makeSets('w1-30k-100').a.count).toBe(30_050);
    expect(makeSets('w1-500-7').onlyA.count).toBe(4);
    expect(() => makeSets('w7')).toThrow(RangeError);
  });
});

function digestOf(ids: SyncIdList): string {
  const bytes = new Uint8Array(ids.words.buffer, ids.words.byteOffset, ids.count * ID_WORDS * 4);
  return createHash('sha256').update(bytes).digest('hex').slice(0, 32);
}
