/** An index less some of its ids answers like an index that never had them. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DigestTree } from '../../src/core/digest-tree.ts';
import { KEYED_SUM_WORDS, KeyedSums } from '../../src/core/keyed-sums.ts';
import { Remainder } from '../../src/core/native/remainder.ts';
import { SYMBOL_WORDS } from '../../src/core/symbols.ts';
import { HASH_WORDS, ID_WORDS, SyncIdList } from '../../src/core/sync-id.ts';
import { keyOf } from './native-dialogue.ts';
import { Chance, closeId, START_NS, textOf } from './random-sets.ts';

describe('what is left of an index', () => {
  it('answers every question as if the rest had never been', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(2_000), fc.nat(10), fc.boolean(), (seed, size, share, close) => {
        const chance = new Chance(seed);
        const lists = { whole: new SyncIdList(), without: new SyncIdList(), left: new SyncIdList() };
        for (let row = 0; row < size; row++) {
          const id = close ? closeId(chance) : chance.id(START_NS + BigInt(chance.below(1_000)));
          id[ID_WORDS - 1] = row + 1;
          lists.whole.push(id, 0);
          (chance.below(10) < share ? lists.without : lists.left).push(id, 0);
        }
        const remainder = new Remainder(DigestTree.from(lists.whole), DigestTree.from(lists.without));
        const naive = DigestTree.from(lists.left);
        const keyed = new KeyedSums(keyOf(seed));
        expect(remainder.count).toBe(naive.count);
        for (let question = 0; question < 30; question++) {
          const bound = (): Uint32Array =>
            size > 0 && chance.below(3) > 0 ? lists.whole.at(chance.below(size)).slice() : closeId(chance);
          const [lower, upper] = [bound(), bound()];
          expect(remainder.has(lower)).toBe(naive.has(lower));
          expect(remainder.rank(lower)).toBe(naive.rank(lower));
          expect(textOf(remainder.ids(lower, upper))).toBe(textOf(naive.ids(lower, upper)));
          const xors = [new Uint32Array(HASH_WORDS).fill(1), new Uint32Array(HASH_WORDS)] as const;
          expect(remainder.digest(lower, upper, xors[0])).toBe(naive.digest(lower, upper, xors[1]));
          expect(xors[0]).toEqual(xors[1]);
          const begun = Uint32Array.from({ length: chance.pick([1, 40, 300]) * SYMBOL_WORDS }, () =>
            chance.word(),
          );
          const symbols = [begun.slice(), begun.slice()] as const;
          remainder.addSymbols(lower, upper, symbols[0]);
          naive.addSymbols(lower, upper, symbols[1]);
          expect(symbols[0]).toEqual(symbols[1]);
          const start = Uint32Array.from({ length: KEYED_SUM_WORDS }, () => chance.word());
          const sums = [start.slice(), start.slice()] as const;
          remainder.addKeyed(lower, upper, keyed, sums[0]);
          naive.addKeyed(lower, upper, keyed, sums[1]);
          expect(sums[0]).toEqual(sums[1]);
          if (naive.count > 0) {
            const rank = chance.pick([0, naive.count - 1, chance.below(naive.count)]);
            expect(remainder.select(rank)).toEqual(naive.select(rank));
          }
        }
      }),
      { numRuns: 120 },
    );
  });
});
