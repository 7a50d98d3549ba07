/**
 * Messages that a publisher chose so that they hide from a comparison: sets whose hashes XOR to nothing, sets of
 * equal count and XOR, ids of one short id, and ids that together pass for another. All are found.
 */
import { describe, expect, it } from 'vitest';
import { lacunaParty } from '../../bench/baselines/lacuna-party.ts';
import { runDialogue } from '../../bench/baselines/stock-nwaku.ts';
import { DigestTree } from '../../src/core/digest-tree.ts';
import type { NativePolicy } from '../../src/core/native/policy.ts';
import { WAKU_POLICY } from '../../src/core/reconcile.ts';
import { addSymbols, SYMBOL_WORDS } from '../../src/core/symbols.ts';
import { boundAt, HASH_WORDS, ID_WORDS, SyncIdList } from '../../src/core/sync-id.ts';
import { decodeNativePayload } from '../../src/wire/native-payload.ts';
import { decodeRanges, encodeRanges } from '../../src/wire/waku-ranges.ts';
import {
  expectAllFound,
  expectExact,
  type NativeOutcome,
  reconcileLists,
  type SideOptions,
  type Window,
} from './native-dialogue.ts';
import { Chance, START_NS } from './random-sets.ts';

const HOUR_NS = 3_600_000_000_000;
const HOUR: Window = { lower: boundAt(START_NS), upper: boundAt(START_NS + BigInt(HOUR_NS)) };
/** Where the publisher puts its messages: all under one timestamp. */
const BURST_NS = START_NS + BigInt(HOUR_NS / 2);

/** The window counts as large: plain digests, and no part of it is small enough to be hashed id by id. */
const LARGE: Partial<NativePolicy> = { keyedIds: 50, keyedSpotIds: 0 };

describe('a set whose hashes XOR to nothing', () => {
  it('is found where the window is small enough for every id to be hashed', () => {
    for (let seed = 0; seed < 30; seed++) expectXorZeroFound(seed, {});
  });

  it('is found in a large window too, as digests hold the count', () => {
    for (let seed = 0; seed < 30; seed++) expectXorZeroFound(seed, { policy: LARGE });
  });

  it('passes the plain Waku wire, unless a cut falls among it', () => {
    const { odd, common } = xorZero(3);
    const burst = SyncIdList.of(...rows(odd));
    /** The same within two milliseconds, under as many timestamps as it has ids: there are moments to cut at. */
    const spread = SyncIdList.of(
      ...rows(odd).map((id, row) => withTime(id, BURST_NS + BigInt(row * 10_000))),
    ).toAscending();
    // One fingerprint over the window, or cuts that fall where they always fall, beside the set: it is missed.
    expect(foundByWaku(common, spread, undefined, 1_300)).toBe(0);
    expect(foundByWaku(spaced(40_000), spread, undefined, 1_300)).toBe(0);
    // Under one timestamp it cannot be cut: it is missed, wherever chance moves the cuts around it.
    for (let seed = 0; seed < 20; seed++) expect(foundByWaku(common, burst, seed, 1_300)).toBe(0);
    for (let seed = 0; seed < 20; seed++) expect(foundByWaku(common, burst, seed, 20)).toBe(0);
    // Parts that are smaller than the set: a cut falls among it, and it is found whole, wherever cuts are moved.
    for (let seed = 0; seed < 20; seed++)
      expect(foundByWaku(spaced(2_000), spread, seed, 20)).toBe(odd.count);
    // Else by chance: a session finds all of it or nothing, and another session has another chance.
    for (const [others, partItems] of [
      [common, 1_300],
      [spaced(8_000), 600],
    ] as const) {
      const counts = Array.from({ length: 60 }, (_, seed) => foundByWaku(others, spread, seed, partItems));
      expect(counts.every((count) => count === 0 || count === odd.count)).toBe(true);
      expect(counts).toContain(odd.count);
      expect(counts).toContain(0);
    }
  });
});

describe('two sets of equal count and equal XOR under one timestamp, one on each side', () => {
  it('are found in small windows, under every key', () => {
    for (let seed = 0; seed < 40; seed++) expectTwinsFound(seed, {});
  });

  it('are found in large windows when all is audited', () => {
    for (let seed = 0; seed < 40; seed++) expectTwinsFound(seed, { policy: LARGE, audit: true });
  });

  it('are found when only the other side audits', () => {
    for (let seed = 0; seed < 20; seed++) {
      expectTwinsFound(seed, { policy: LARGE }, { policy: LARGE, audit: true });
      expectTwinsFound(seed, { policy: LARGE, audit: true }, { policy: LARGE });
    }
  });

  it('are found in large windows when the spot that nobody foresees touches them', () => {
    for (let seed = 0; seed < 40; seed++) {
      const chance = new Chance(seed);
      const { a } = twins(seed);
      // As many ids as the set has without one: wherever it begins, it covers all but one.
      const policy = { ...LARGE, keyedSpotIds: a.count - 1 };
      expectTwinsFound(seed, { policy, random: (below) => chance.below(below) });
    }
  });

  it('are found where the spot is as large as the window', () => {
    for (let seed = 0; seed < 20; seed++) {
      const policy = { ...LARGE, keyedSpotIds: 100_000 };
      expectTwinsFound(seed, { policy, random: () => 0 });
    }
  });

  it('are found where nothing but the burst is held, and the spot lies within one timestamp', () => {
    for (let seed = 0; seed < 20; seed++) {
      const { onlyA, onlyB } = twins(seed);
      const chance = new Chance(seed + 1_000);
      const others = SyncIdList.of(...Array.from({ length: 300 }, () => chance.id(BURST_NS))).toAscending();
      const [a, b] = [union(others, onlyA), union(others, onlyB)];
      const policy = { ...LARGE, keyedSpotIds: a.count - 20 };
      const outcome = reconcileLists(a, b, HOUR, seed, { policy, random: (below) => chance.below(below) });
      expectExact(outcome, onlyA, onlyB);
    }
  });

  it('pass a large window that is neither audited nor looked at where they lie: the known price', () => {
    const { a, b } = twins(1);
    const outcome = reconcileLists(a, b, HOUR, 1, { policy: LARGE });
    expect([outcome.a.have.count, outcome.b.have.count]).toEqual([0, 0]);
  });
});

describe('ids of one short id', () => {
  it('are found, both on one side', () => {
    for (let seed = 0; seed < 60; seed++) {
      expectCollisionsFound(seed, seed % 2 === 0 ? 1 : 50, (pair, sides) => sides.a.push(...pair));
    }
  });

  it('are found, one on each side', () => {
    for (let seed = 0; seed < 60; seed++) {
      expectCollisionsFound(seed, seed % 2 === 0 ? 1 : 50, ([one, other], sides) => {
        sides.a.push(one);
        sides.b.push(other);
      });
    }
  });

  it('are found where both sides have the one, and only one has the other', () => {
    for (let seed = 0; seed < 60; seed++) {
      expectCollisionsFound(seed, seed % 2 === 0 ? 1 : 50, ([one, other], sides, row) => {
        sides.a.push(one);
        sides.b.push(one);
        sides[row % 2 === 0 ? 'a' : 'b'].push(other);
      });
    }
  });
});

describe('ids that together pass for another', () => {
  it.each(['neither side holds', 'both sides hold', 'one side holds'])('that %s are found', (whose) => {
    for (let seed = 0; seed < 10; seed++) {
      const chance = new Chance(seed);
      const { ids, target } = impostors(chance);
      const a: Uint32Array[] = [];
      const b: Uint32Array[] = [];
      // Enough on both sides that a sketch is sent, not a list.
      for (let row = 0; row < 8_000; row++) {
        const id = chance.id(START_NS + BigInt(chance.below(HOUR_NS)));
        a.push(id);
        b.push(id);
      }
      a.push(...ids);
      if (whose !== 'neither side holds') a.push(target);
      if (whose === 'both sides hold') b.push(target);
      const [listA, listB] = [SyncIdList.of(...a).toAscending(), SyncIdList.of(...b).toAscending()];
      expectAllFound(reconcileLists(listA, listB, HOUR, seed), listA, listB);
      expectAllFound(reconcileLists(listB, listA, HOUR, seed), listB, listA);
    }
  });
});

describe('ids that fall into the same symbols, all of them', () => {
  it('keep a sketch from ever being decoded, and are found by what follows it', () => {
    const twinIds = sameSymbols();
    for (let seed = 0; seed < 10; seed++) {
      const { a, b, onlyA, onlyB } = withScattered(seed, twinIds);
      const outcome = reconcileLists(a, b, HOUR, seed);
      expectExact(outcome, onlyA, onlyB);
      // The first sketch was extended as often as may be, and then given up.
      const answers = outcome.payloads.flatMap((bytes) =>
        decodeNativePayload(bytes).sketchAnswers.map(({ kind }) => kind),
      );
      expect(answers.slice(0, 3)).toEqual(['more', 'more', 'undecoded']);
    }
  });
});

/** Some ordinary ids and, on one side only, the set of which the XOR is zero; both ways. */
function expectXorZeroFound(seed: number, options: SideOptions): void {
  const { odd, common } = xorZero(seed);
  const whole = union(common, odd);
  const none = new SyncIdList();
  expectExact(reconcileLists(whole, common, HOUR, seed, options), odd, none);
  expectExact(reconcileLists(common, whole, HOUR, seed, options), none, odd);
}

/** How many of the hidden ids a session on the Waku wire finds, which only its initiator holds. */
function foundByWaku(
  shared: SyncIdList,
  hidden: SyncIdList,
  seed: number | undefined,
  partItems: number,
): number {
  const chance = new Chance(seed ?? 0);
  const random = (below: number): number => chance.below(below);
  const policy = { ...WAKU_POLICY, partItems, ...(seed === undefined ? {} : { random }) };
  const window = { lowerNs: START_NS, upperNs: START_NS + BigInt(HOUR_NS) };
  const a = DigestTree.from(union(shared, hidden));
  const b = DigestTree.from(shared);
  const { sendA, sendB } = runDialogue(
    lacunaParty(() => a, policy, window),
    lacunaParty(() => b, policy, window),
    encodeRanges,
    decodeRanges,
  );
  expect(sendB.count).toBe(0);
  return sendA.count;
}

function expectTwinsFound(seed: number, ofA: SideOptions, ofB: SideOptions = ofA): void {
  const { a, b, onlyA, onlyB } = twins(seed);
  expectExact(reconcileLists(a, b, HOUR, seed, ofA, ofB), onlyA, onlyB);
}

function expectCollisionsFound(
  seed: number,
  pairs: number,
  place: (
    pair: [Uint32Array, Uint32Array],
    sides: { a: Uint32Array[]; b: Uint32Array[] },
    row: number,
  ) => void,
): void {
  const chance = new Chance(seed);
  const sides: { a: Uint32Array[]; b: Uint32Array[] } = { a: [], b: [] };
  for (let row = 0; row < 4_000; row++) {
    const id = chance.id(START_NS + BigInt(chance.below(HOUR_NS)));
    const on = row >= 60 ? 'ab' : chance.pick(['a', 'b']);
    if (on !== 'b') sides.a.push(id);
    if (on !== 'a') sides.b.push(id);
  }
  for (let row = 0; row < pairs; row++) {
    const one = chance.id(START_NS + BigInt(chance.below(HOUR_NS)));
    const other = one.slice();
    other[3] = (other[3]! & 0xff00_0000) | (chance.word() >>> 8);
    for (let word = 4; word < ID_WORDS; word++) other[word] = chance.word();
    place([one, other], sides, row);
  }
  const [a, b] = [SyncIdList.of(...sides.a).toAscending(), SyncIdList.of(...sides.b).toAscending()];
  const outcome: NativeOutcome = reconcileLists(a, b, HOUR, seed);
  expectAllFound(outcome, a, b);
}

/** Ids of the burst of which the hashes XOR to nothing, and ordinary ones around it. */
function xorZero(seed: number): { odd: SyncIdList; common: SyncIdList } {
  const chance = new Chance(seed);
  const ids = Array.from({ length: 300 }, () => chance.id(BURST_NS));
  const odd = SyncIdList.of(...subsetSummingTo(ids, (id) => id.slice(2), new Uint32Array(HASH_WORDS)));
  expect(xorOf(odd.toAscending())).toEqual(new Uint32Array(HASH_WORDS));
  const common = Array.from({ length: 400 }, () => chance.id(START_NS + BigInt(chance.below(HOUR_NS))));
  return { odd: odd.toAscending(), common: SyncIdList.of(...common).toAscending() };
}

/** Such a set of an even number of ids, one half on each side: their counts and XORs are the same. */
function twins(seed: number): { a: SyncIdList; b: SyncIdList; onlyA: SyncIdList; onlyB: SyncIdList } {
  const chance = new Chance(seed);
  const ids = Array.from({ length: 300 }, () => chance.id(BURST_NS));
  // A bit of its own for each id, to be left zero, makes the number of them even.
  const subset = subsetSummingTo(
    ids,
    (id) => Uint32Array.of(...id.slice(2), 1),
    new Uint32Array(HASH_WORDS + 1),
  );
  expect(subset.length % 2).toBe(0);
  const onlyA = SyncIdList.of(...subset.slice(0, subset.length / 2)).toAscending();
  const onlyB = SyncIdList.of(...subset.slice(subset.length / 2)).toAscending();
  const common = SyncIdList.of(
    ...Array.from({ length: 5_000 }, () => chance.id(START_NS + BigInt(chance.below(HOUR_NS)))),
  ).toAscending();
  expect(xorOf(onlyA)).toEqual(xorOf(onlyB));
  return { a: union(common, onlyA), b: union(common, onlyB), onlyA, onlyB };
}

/** Ids of one slot whose short ids and checks XOR to those of another id. */
function impostors(chance: Chance): { ids: Uint32Array[]; target: Uint32Array } {
  const timeNs = START_NS + BigInt(chance.below(HOUR_NS));
  const target = chance.id(timeNs);
  const ids = Array.from({ length: 130 }, () => chance.id(timeNs));
  const symbolOf = (id: Uint32Array): Uint32Array => {
    const symbol = new Uint32Array(SYMBOL_WORDS);
    addSymbols(id, 0, 1, symbol);
    return symbol;
  };
  return { ids: subsetSummingTo(ids, symbolOf, symbolOf(target)), target };
}

/** Two ids whose generators of indexes begin with the same 32 bits: some hundred thousand hashes have such a pair. */
function sameSymbols(): [Uint32Array, Uint32Array] {
  const chance = new Chance(4);
  const seen = new Map<number, Uint32Array>();
  for (;;) {
    const id = chance.id(BURST_NS);
    const print = placesOf(id, 400);
    const other = seen.get(print);
    if (other !== undefined && placesOf(id, 16_384) === placesOf(other, 16_384)) return [id, other];
    seen.set(print, id);
  }
}

/** Of the places of an id among so many symbols, a hash. */
function placesOf(id: Uint32Array, count: number): number {
  const symbols = new Uint32Array(count * SYMBOL_WORDS);
  addSymbols(id, 0, 1, symbols);
  let print = 0;
  for (let at = 0; at < symbols.length; at += SYMBOL_WORDS) {
    if ((symbols[at]! | symbols[at + 1]! | symbols[at + 2]!) !== 0) print = Math.imul(print ^ at, 0x01000193);
  }
  return print;
}

/** Ordinary ids, a hundred of them on one side only, and those given, which only one side holds. */
function withScattered(
  seed: number,
  given: readonly Uint32Array[],
): { a: SyncIdList; b: SyncIdList; onlyA: SyncIdList; onlyB: SyncIdList } {
  const chance = new Chance(seed);
  const only = { a: new SyncIdList(), b: new SyncIdList() };
  const shared = new SyncIdList();
  for (let row = 0; row < 6_000; row++) {
    const id = chance.id(START_NS + BigInt(chance.below(HOUR_NS)));
    (row >= 100 ? shared : only[chance.pick(['a', 'b'] as const)]).push(id, 0);
  }
  for (const id of given) only[seed % 2 === 0 ? 'a' : 'b'].push(id, 0);
  return {
    a: union(shared, only.a),
    b: union(shared, only.b),
    onlyA: only.a.toAscending(),
    onlyB: only.b.toAscending(),
  };
}

/** Some of the items whose vectors XOR to `sum`, by Gaussian elimination over GF(2). */
function subsetSummingTo(
  items: readonly Uint32Array[],
  vectorOf: (item: Uint32Array) => Uint32Array,
  sum: Uint32Array,
): Uint32Array[] {
  const toBits = (words: Uint32Array): bigint =>
    words.reduce((bits, word) => (bits << 32n) | BigInt(word), 0n);
  /** By its highest bit: a vector, and of which items it is the sum. */
  const basis = new Map<number, { vector: bigint; of: bigint }>();
  const reduce = (start: { vector: bigint; of: bigint }): { vector: bigint; of: bigint } => {
    let { vector, of } = start;
    while (vector !== 0n) {
      const pivot = basis.get(vector.toString(2).length);
      if (pivot === undefined) break;
      vector ^= pivot.vector;
      of ^= pivot.of;
    }
    return { vector, of };
  };
  let dependent = 0n;
  for (const [row, item] of items.entries()) {
    const left = reduce({ vector: toBits(vectorOf(item)), of: 1n << BigInt(row) });
    if (left.vector !== 0n) basis.set(left.vector.toString(2).length, left);
    else dependent = left.of;
  }
  const { vector, of } = reduce({ vector: toBits(sum), of: 0n });
  expect(vector).toBe(0n);
  // Of nothing, nothing is the sum: the last vector that depends on others is.
  const chosen = of === 0n ? dependent : of;
  expect(chosen).not.toBe(0n);
  return items.filter((_, row) => ((chosen >> BigInt(row)) & 1n) === 1n);
}

function xorOf(ids: SyncIdList): Uint32Array {
  const xor = new Uint32Array(HASH_WORDS);
  DigestTree.from(ids).digest(HOUR.lower, HOUR.upper, xor);
  return xor;
}

function union(a: SyncIdList, b: SyncIdList): SyncIdList {
  return SyncIdList.of(...rows(a), ...rows(b)).toAscending();
}

function rows(ids: SyncIdList): Uint32Array[] {
  return Array.from({ length: ids.count }, (_, row) => ids.at(row).slice());
}

/** The same hash under another time: only for a wire whose fingerprints do not hold the time. */
function withTime(id: Uint32Array, timeNs: bigint): Uint32Array {
  return Uint32Array.of(...boundAt(timeNs).subarray(0, 2), ...id.subarray(2));
}

/** So many ids at equal distances over the hour. */
function spaced(count: number): SyncIdList {
  const chance = new Chance(count);
  const step = Math.floor(HOUR_NS / count);
  return SyncIdList.of(
    ...Array.from({ length: count }, (_, row) => chance.id(START_NS + BigInt(row * step))),
  );
}
