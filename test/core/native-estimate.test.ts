/** How many ids differ, told from counts; and how often a sketch of the size that follows decodes at once. */
import { describe, expect, it } from 'vitest';
import { estimate, symbolsFor, symbolsToDecode } from '../../src/core/native/estimate.ts';
import { peel, SYMBOL_WORDS, toggle } from '../../src/core/symbols.ts';
import { Chance } from './random-sets.ts';

const PARTS = 24;
const SEEDS = 300;

/** Differences that fall on parts by chance, of which so many in a hundred are missing here and the others there. */
function comparison(
  chance: Chance,
  differences: number,
  percentHere: number,
): { drifts: number[]; compared: number } {
  const drifts = new Map<number, number>();
  for (let left = differences; left > 0; left--) {
    const part = chance.below(PARTS);
    drifts.set(part, (drifts.get(part) ?? 0) + (chance.below(100) < percentHere ? 1 : -1));
  }
  return { drifts: [...drifts.values()], compared: PARTS };
}

function decodes(chance: Chance, differences: number, count: number): boolean {
  const symbols = new Uint32Array(count * SYMBOL_WORDS);
  for (let left = differences; left > 0; left--) toggle(symbols, chance.word(), chance.word());
  return peel(symbols) !== undefined;
}

function share(trial: (chance: Chance) => boolean): number {
  let successes = 0;
  for (let seed = 1; seed <= SEEDS; seed++) if (trial(new Chance(seed * 7_919))) successes += 1;
  return successes / SEEDS;
}

describe('the size of a sketch', () => {
  it.each([1, 2, 5, 10, 30, 100, 300, 1_000])('decodes %i differences, where their number is known', (d) => {
    expect(share((chance) => decodes(chance, d, symbolsToDecode(d)))).toBeGreaterThan(0.88);
  });

  it.each([
    [10, 50, 0.96],
    [100, 50, 0.88],
    [1_000, 50, 0.85],
    [10, 100, 0.96],
    [100, 100, 0.98],
    [1_000, 100, 0.98],
    [100, 80, 0.91],
    [1_000, 80, 0.85],
  ])(
    'decodes %i differences at the first try, %i in a hundred here, in more than a share of %d',
    (d, here, least) => {
      expect(share((chance) => decodes(chance, d, symbolsFor(comparison(chance, d, here))))).toBeGreaterThan(
        least,
      );
    },
  );

  it('is not wasteful: on average under twice what the number itself would ask for', () => {
    for (const d of [10, 100, 1_000]) {
      let sum = 0;
      for (let seed = 1; seed <= SEEDS; seed++) sum += symbolsFor(comparison(new Chance(seed), d, 50));
      expect(sum / SEEDS).toBeLessThan(2 * symbolsToDecode(d));
    }
  });
});

describe('an estimate', () => {
  it('is none where nothing differs', () => {
    expect(estimate({ drifts: [], compared: 24 }).expected).toBe(0);
    expect(estimate({ drifts: [], compared: 0 }).expected).toBe(0);
  });

  it('is a number for whatever counts the other side claims', () => {
    for (const drifts of [[0], [1], [2 ** 35], [-(2 ** 35), 2 ** 35], Array(24).fill(-(2 ** 35))]) {
      for (const compared of [drifts.length, drifts.length + 1, 10_000]) {
        const { expected, margin } = estimate({ drifts, compared });
        expect(expected).toBeGreaterThanOrEqual(1);
        expect(Number.isFinite(expected * margin)).toBe(true);
      }
    }
  });

  it('is never under what the counts prove', () => {
    for (let seed = 0; seed < 300; seed++) {
      const chance = new Chance(seed);
      const { drifts, compared } = comparison(chance, 1 + chance.below(500), chance.below(101));
      const { expected } = estimate({ drifts, compared });
      expect(expected).toBeGreaterThanOrEqual(Math.abs(drifts.reduce((sum, drift) => sum + drift, 0)));
      expect(expected).toBeGreaterThanOrEqual(drifts.length);
    }
  });
});
