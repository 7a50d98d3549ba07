/** Coded symbols: what they add up to, what is decoded from them, and what hostile ones can do. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addSymbols,
  peel,
  SHORT_ID_WORDS,
  SLOT_BITS,
  SLOT_MASK,
  SYMBOL_WORDS,
  shortIdHigh,
  shortIdLow,
  toggle,
  toggleBoth,
  xorSymbols,
} from '../../src/core/symbols.ts';
import { ID_WORDS, SyncIdList, setTime, timeOf } from '../../src/core/sync-id.ts';
import { Chance, START_NS } from './random-sets.ts';

const HOUR_NS = 3_600_000_000_000;

/** Ids of an hour whose hashes do not repeat. */
function randomIds(chance: Chance, count: number): SyncIdList {
  const list = new SyncIdList(count);
  for (let row = 0; row < count; row++) list.push(chance.id(START_NS + BigInt(chance.below(HOUR_NS))), 0);
  return list;
}

function symbolsOf(list: SyncIdList, count: number): Uint32Array {
  const symbols = new Uint32Array(count * SYMBOL_WORDS);
  addSymbols(list.words, 0, list.count, symbols);
  return symbols;
}

/** Of two short ids or many, as text in an order of its own. */
function textsOf(ids: Uint32Array): string[] {
  const texts: string[] = [];
  for (let at = 0; at < ids.length; at += SHORT_ID_WORDS) texts.push(`${ids[at]} ${ids[at + 1]}`);
  return texts.sort();
}

function shortTextsOf(list: SyncIdList): string[] {
  const ids: number[] = [];
  for (let row = 0; row < list.count; row++) {
    ids.push(shortIdHigh(list.words, row * ID_WORDS), shortIdLow(list.words, row * ID_WORDS));
  }
  return textsOf(Uint32Array.from(ids));
}

/** Decodes and checks what must hold of anything: no more ids than symbols, no id twice, and they are all of it. */
function peelChecked(symbols: Uint32Array): Uint32Array | undefined {
  const before = symbols.slice();
  const ids = peel(symbols);
  if (ids === undefined) return undefined;
  expect(ids.length / SHORT_ID_WORDS).toBeLessThanOrEqual(symbols.length / SYMBOL_WORDS);
  expect(new Set(textsOf(ids)).size).toBe(ids.length / SHORT_ID_WORDS);
  for (let at = 0; at < ids.length; at += SHORT_ID_WORDS) toggle(before, ids[at]!, ids[at + 1]!);
  expect(before.every((word) => word === 0)).toBe(true);
  return ids;
}

describe('a short id', () => {
  it('carries the slot of its time and 40 bits of its hash', () => {
    fc.assert(
      fc.property(fc.nat(), fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }), (seed, timestampNs) => {
        const words = new Chance(seed).id(timestampNs);
        const slot = Number((timeOf(words) >> BigInt(SLOT_BITS)) & BigInt(SLOT_MASK));
        expect(shortIdLow(words, 0) & SLOT_MASK).toBe(slot);
        expect(shortIdLow(words, 0) >>> 24).toBe(words[3]! >>> 24);
        expect(shortIdHigh(words, 0)).toBe(words[2]);
        const other = words.slice();
        other.fill(0, 4);
        other[3] = (other[3]! & 0xff00_0000) >>> 0;
        expect(shortIdLow(other, 0)).toBe(shortIdLow(words, 0));
      }),
    );
  });

  it('is the same within a slot and another in the next', () => {
    const words = new Chance(1).id(0n);
    const slotAt = (timestampNs: bigint): number => {
      setTime(words, 0, timestampNs);
      return shortIdLow(words, 0) & SLOT_MASK;
    };
    const slotNs = 1n << BigInt(SLOT_BITS);
    for (const slot of [0n, 1n, 3n, 4n, 0x3f_ffffn, 0xff_ffffn]) {
      expect(slotAt(slot * slotNs)).toBe(Number(slot));
      expect(slotAt((slot + 1n) * slotNs - 1n)).toBe(Number(slot));
    }
    expect(slotAt(slotNs << 24n)).toBe(0);
  });
});

describe('symbols', () => {
  it('of disjoint sets leave those of the union, XORed', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(200), fc.nat(200), fc.nat(100), (seed, size, more, count) => {
        const chance = new Chance(seed);
        const all = randomIds(chance, size + more);
        const symbols = symbolsOf(all.slice(0, size), count);
        xorSymbols(symbols, symbolsOf(all.slice(size, size + more), count));
        expect(symbols).toEqual(symbolsOf(all, count));
      }),
    );
  });

  it('of a longer array begin with those of a shorter one', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(100), fc.nat(300), fc.nat(300), (seed, size, a, b) => {
        const list = randomIds(new Chance(seed), size);
        const few = symbolsOf(list, Math.min(a, b));
        const many = symbolsOf(list, Math.max(a, b));
        expect(many.subarray(0, few.length)).toEqual(few);
        // Arrays of two lengths leave the difference as far as both go.
        xorSymbols(many, few);
        expect(many.subarray(0, few.length).every((word) => word === 0)).toBe(true);
        xorSymbols(few, many);
        expect(few).toEqual(symbolsOf(list, Math.min(a, b)));
      }),
    );
  });

  it('hold all ids in the first, and fewer and fewer after it', () => {
    const size = 20_000;
    const counts = new Float64Array(64);
    const chance = new Chance(7);
    for (let id = 0; id < size; id++) {
      const symbols = new Uint32Array(64 * SYMBOL_WORDS);
      toggle(symbols, chance.word(), chance.word() | 1);
      for (let index = 0; index < 64; index++) {
        counts[index] = counts[index]! + (symbols[index * SYMBOL_WORDS + 1] === 0 ? 0 : 1);
      }
    }
    expect(counts[0]).toBe(size);
    for (let index = 1; index < 64; index++) {
      const expected = 1 / (1 + index / 2);
      expect(Math.abs(counts[index]! / size - expected)).toBeLessThan(0.04);
    }
  });

  it('are put into two arrays at once as into each', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(80), fc.nat(80), (seed, a, b) => {
        const chance = new Chance(seed);
        const [few, many] = [Math.min(a, b), Math.max(a, b)].map(
          (count) => new Uint32Array(count * SYMBOL_WORDS),
        ) as [Uint32Array, Uint32Array];
        const [high, low] = [chance.word(), chance.word()];
        const [expectedFew, expectedMany] = [few.slice(), many.slice()];
        toggle(expectedFew, high, low);
        toggle(expectedMany, high, low);
        toggleBoth(few, many, high, low);
        expect([few, many]).toEqual([expectedFew, expectedMany]);
        toggleBoth(undefined, many, high, low);
        toggleBoth(few, undefined, high, low);
        toggleBoth(undefined, undefined, high, low);
        expect([...few, ...many].every((word) => word === 0)).toBe(true);
      }),
    );
  });
});

describe('a difference', () => {
  it('is decoded when there are symbols enough', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(300), fc.nat(60), fc.nat(60), (seed, shared, onlyA, onlyB) => {
        const all = randomIds(new Chance(seed), shared + onlyA + onlyB);
        const count = 16 + 4 * (onlyA + onlyB);
        // What both hold leaves nothing.
        const a = symbolsOf(all.slice(0, shared + onlyA), count);
        const b = symbolsOf(all.slice(0, shared), count);
        xorSymbols(b, symbolsOf(all.slice(shared + onlyA, all.count), count));
        xorSymbols(a, b);
        const ids = peelChecked(a);
        expect(ids === undefined ? ids : textsOf(ids)).toEqual(shortTextsOf(all.slice(shared, all.count)));
      }),
      { seed: 1, numRuns: 300 },
    );
  });

  it('of a set and itself is empty', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(300), fc.nat(100), (seed, size, count) => {
        const list = randomIds(new Chance(seed), size);
        const symbols = symbolsOf(list, count);
        xorSymbols(symbols, symbolsOf(list, count));
        expect(peel(symbols)).toEqual(new Uint32Array(0));
      }),
    );
  });

  it('of one id needs one symbol', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 100 }), (seed, count) => {
        const list = randomIds(new Chance(seed), 1);
        expect(textsOf(peelChecked(symbolsOf(list, count))!)).toEqual(shortTextsOf(list));
      }),
    );
  });

  it('is told in full or not at all', () => {
    let undecided = 0;
    for (let seed = 0; seed < 6000; seed++) {
      const chance = new Chance(seed);
      const list = randomIds(chance, 1 + chance.below(40));
      const ids = peelChecked(symbolsOf(list, 1 + chance.below(48)));
      if (ids === undefined) undecided += 1;
      else expect(textsOf(ids)).toEqual(shortTextsOf(list));
    }
    expect(undecided).toBeGreaterThan(1000);
    expect(undecided).toBeLessThan(5000);
  });
});

describe('hostile symbols', () => {
  /** Two ids each whose XOR passes for an id of its own: one in 2^32 pairs does, so that messages can be chosen so. */
  const PAIRS = [
    [0x2071_f2d2, 0x99d0_5010, 0x7ce4_e6ba, 0xe41e_eab7],
    [0xdae3_779d, 0x0b30_6bbb, 0x9a54_f6df, 0x87c7_63da],
    [0xa5d6_6d2a, 0xb94a_529b, 0x18d3_5a2c, 0x3f78_e255],
    [0xeae3_5573, 0x9509_b7c9, 0x8e8a_717d, 0x8020_afcc],
  ] as const;

  it('that seem to hold an id they do not hold give no wrong one', () => {
    let decoded = 0;
    for (let seed = 0; seed < 2000; seed++) {
      const chance = new Chance(seed);
      const ids: number[] = PAIRS.filter(() => chance.below(2) === 0).flatMap((pair) => [...pair]);
      for (let more = chance.below(6); more > 0; more--) ids.push(chance.word(), chance.word());
      const symbols = new Uint32Array((8 + chance.below(60)) * SYMBOL_WORDS);
      for (let at = 0; at < ids.length; at += SHORT_ID_WORDS) toggle(symbols, ids[at]!, ids[at + 1]!);
      const found = peelChecked(symbols);
      if (found === undefined) continue;
      decoded += 1;
      expect(textsOf(found)).toEqual(textsOf(Uint32Array.from(ids)));
    }
    expect(decoded).toBeGreaterThan(1000);
  });

  it('that hold such a pair and nothing else can be taken for one id by themselves only', () => {
    for (const pair of PAIRS) {
      const symbols = new Uint32Array(64 * SYMBOL_WORDS);
      toggle(symbols, pair[0], pair[1]);
      toggle(symbols, pair[2], pair[3]);
      const third = textsOf(Uint32Array.of(pair[0] ^ pair[2], pair[1] ^ pair[3]));
      expect(textsOf(peel(symbols.slice(0, SYMBOL_WORDS))!)).toEqual(third);
      expect(textsOf(peelChecked(symbols)!)).toEqual(textsOf(Uint32Array.from(pair)));
    }
  });

  it('of chance end', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(2000), (seed, count) => {
        const chance = new Chance(seed);
        peelChecked(Uint32Array.from({ length: count * SYMBOL_WORDS }, () => chance.word()));
      }),
    );
  });

  it('that all hold the same id end, as do those that mix a few ids at will', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(1000), fc.integer({ min: 1, max: 8 }), (seed, count, kinds) => {
        const chance = new Chance(seed);
        // One symbol of one id is that id with its check.
        const choices = Array.from({ length: kinds }, () => {
          const symbol = new Uint32Array(SYMBOL_WORDS);
          toggle(symbol, chance.word(), chance.word());
          return symbol;
        });
        const symbols = new Uint32Array(count * SYMBOL_WORDS);
        for (let index = 0; index < count; index++) symbols.set(chance.pick(choices), index * SYMBOL_WORDS);
        peelChecked(symbols);
      }),
    );
  });

  it('that each hold an id of their own end soon', () => {
    // Ids come up again as others are taken out; what bounds that is that no more are taken out than symbols are.
    const count = 65_536;
    const chance = new Chance(3);
    const symbols = new Uint32Array(count * SYMBOL_WORDS);
    for (let at = 0; at < symbols.length; at += SYMBOL_WORDS) {
      toggle(symbols.subarray(at, at + SYMBOL_WORDS), chance.word(), chance.word());
    }
    const start = performance.now();
    peelChecked(symbols);
    expect(performance.now() - start).toBeLessThan(5000);
  });
});
