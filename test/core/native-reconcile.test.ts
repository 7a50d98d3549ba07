/**
 * Two Lacunas over random pairs of sets, through real bytes: each finds exactly what only it holds, whatever the
 * shapes, the windows and the figures by which the engine decides.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DigestTree } from '../../src/core/digest-tree.ts';
import { NATIVE_POLICY, type NativePolicy } from '../../src/core/native/policy.ts';
import { boundAt, ID_WORDS, SyncIdList, setTime } from '../../src/core/sync-id.ts';
import {
  expectAgreement,
  expectAllFound,
  expectExact,
  keyOf,
  less,
  nativePolicies,
  reconcileLists,
  runNative,
  type SideOptions,
  side,
  type Window,
  windowOf,
  within,
} from './native-dialogue.ts';
import {
  Chance,
  closeId,
  DIFFERENCES,
  makePair,
  type PairParameters,
  pairParameters,
  SHAPES,
  START_NS,
} from './random-sets.ts';

const END_OF_TIME = new Uint32Array(ID_WORDS).fill(0xffff_ffff);
END_OF_TIME[0] = 0x7fff_ffff;
const EVER: Window = { lower: new Uint32Array(ID_WORDS), upper: END_OF_TIME };

describe('two Lacunas', () => {
  it('find exactly what differs, each side its own', () => {
    fc.assert(
      fc.property(pairParameters(300), (parameters) => {
        const pair = makePair(parameters);
        const outcome = reconcileLists(pair.a, pair.b, windowOf(pair), parameters.seed);
        expectExact(outcome, pair.onlyA, pair.onlyB);
      }),
      { numRuns: 7_000 },
    );
  });

  it('do so whatever the figures by which either decides', () => {
    fc.assert(
      fc.property(pairParameters(600), nativePolicies, nativePolicies, (parameters, ofA, figuresOfB) => {
        const pair = makePair(parameters);
        // How often a sketch is extended is agreed between the two; everything else each decides alone.
        const { sketchExtensions = NATIVE_POLICY.sketchExtensions } = ofA;
        const ofB = { ...figuresOfB, sketchExtensions };
        const chance = new Chance(parameters.seed);
        const options = (policy: Partial<NativePolicy>): SideOptions => ({
          policy,
          audit: chance.below(5) === 0,
          random: (below) => chance.below(below),
        });
        const window = windowOf(pair);
        const outcome = reconcileLists(pair.a, pair.b, window, parameters.seed, options(ofA), options(ofB));
        expectExact(outcome, pair.onlyA, pair.onlyB);
      }),
      { numRuns: 7_000 },
    );
  });

  it('find them when only lists and cuts are left, as no sketch ever decodes', () => {
    const policy = { sketchSymbols: 4, sketchExtensions: 0, listedIdBytes: 1_000, listIds: 1, partIdsMin: 1 };
    fc.assert(
      fc.property(pairParameters(500), (parameters) => {
        const pair = makePair(parameters);
        const outcome = reconcileLists(pair.a, pair.b, windowOf(pair), parameters.seed, { policy });
        expectExact(outcome, pair.onlyA, pair.onlyB);
      }),
      { numRuns: 1_000 },
    );
  });

  it('compare what lies in the window, and name nothing outside it', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(300), nativePolicies, (seed, size, policy) => {
        const chance = new Chance(seed);
        const lists = { a: new SyncIdList(), b: new SyncIdList() };
        const held: Uint32Array[] = [];
        for (let row = 0; row < size; row++) {
          const id = chance.id(START_NS + BigInt(chance.below(100)));
          held.push(id);
          const on = chance.pick(['a', 'b', 'ab', 'ab', 'ab']);
          if (on !== 'b') lists.a.push(id, 0);
          if (on !== 'a') lists.b.push(id, 0);
        }
        // Bounds are moments, ids that are held, or anything at all.
        const bound = (): Uint32Array =>
          chance.below(2) === 0 && held.length > 0
            ? chance.pick(held)
            : boundAt(START_NS + BigInt(chance.below(100)));
        const [lower, upper] = [bound(), chance.below(8) === 0 ? END_OF_TIME : bound()].sort((x, y) =>
          Buffer.compare(bytesOf(x), bytesOf(y)),
        );
        const window = { lower: lower!, upper: upper! };
        const a = lists.a.toAscending();
        const b = lists.b.toAscending();
        const outcome = reconcileLists(a, b, window, seed, { policy });
        expectExact(outcome, within(less(a, b), window), within(less(b, a), window));
      }),
      { numRuns: 2_000 },
    );
  });

  it('find what differs among ids that lie as close together as ids can, short ids and all', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(200), fc.nat(20), nativePolicies, (seed, size, differing, policy) => {
        const chance = new Chance(seed);
        const lists = { a: new SyncIdList(), b: new SyncIdList() };
        for (let row = 0; row < size; row++) {
          const id = closeId(chance);
          // A hash covers the time of its message: no two ids have the same.
          id[ID_WORDS - 1] = row + 1;
          const on = chance.below(20) < differing ? chance.pick(['a', 'b']) : 'ab';
          if (on !== 'b') lists.a.push(id, 0);
          if (on !== 'a') lists.b.push(id, 0);
        }
        const a = lists.a.toAscending();
        const b = lists.b.toAscending();
        expectAllFound(reconcileLists(a, b, EVER, seed, { policy }), a, b);
      }),
      { numRuns: 1_500 },
    );
  });

  it('find what differs among ids that share the beginning of their hashes and their second', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(300), fc.nat(1000), (seed, size, differing) => {
        const chance = new Chance(seed);
        const shared = chance.word();
        const lists = { a: new SyncIdList(), b: new SyncIdList() };
        for (let row = 0; row < size; row++) {
          // The first four bytes are shared, the fifth makes 256 short ids of the slot: many collide.
          const id = chance.id(START_NS + BigInt(chance.below(3_000_000_000)));
          id[2] = chance.below(3) === 0 ? shared + row : shared;
          const on = chance.below(1000) < differing ? chance.pick(['a', 'b']) : 'ab';
          if (on !== 'b') lists.a.push(id, 0);
          if (on !== 'a') lists.b.push(id, 0);
        }
        const a = lists.a.toAscending();
        const b = lists.b.toAscending();
        expectAllFound(reconcileLists(a, b, EVER, seed), a, b);
      }),
      { numRuns: 1_000 },
    );
  });

  it('find what differs over years, where the slots of short ids come round again', () => {
    const cycleNs = 1n << 54n;
    fc.assert(
      fc.property(fc.nat(), fc.nat(300), fc.nat(1000), (seed, size, differing) => {
        const chance = new Chance(seed);
        const lists = { a: new SyncIdList(), b: new SyncIdList() };
        for (let row = 0; row < size; row++) {
          const id = chance.id(START_NS + BigInt(chance.below(2_000_000_000)));
          const timeNs =
            chance.pick([0n, 1n, 2n, 5n, -40n]) * cycleNs + START_NS + BigInt(chance.below(2000));
          setTime(id, 0, timeNs);
          const on = chance.below(1000) < differing ? chance.pick(['a', 'b']) : 'ab';
          if (on !== 'b') lists.a.push(id, 0);
          if (on !== 'a') lists.b.push(id, 0);
        }
        const a = lists.a.toAscending();
        const b = lists.b.toAscending();
        expectExact(reconcileLists(a, b, EVER, seed), less(a, b), less(b, a));
      }),
      { numRuns: 500 },
    );
  });

  it('find what differs at the very first and last moments', () => {
    for (let seed = 0; seed < 50; seed++) {
      const chance = new Chance(seed);
      const lists = { a: new SyncIdList(), b: new SyncIdList() };
      for (let row = 0; row < 200; row++) {
        const id = chance.id(chance.pick([0n, 1n, 2n ** 63n - 1n, 2n ** 63n - 2n, START_NS]));
        const on = chance.pick(['a', 'b', 'ab', 'ab', 'ab', 'ab', 'ab', 'ab']);
        if (on !== 'b') lists.a.push(id, 0);
        if (on !== 'a') lists.b.push(id, 0);
      }
      const a = lists.a.toAscending();
      const b = lists.b.toAscending();
      expectExact(reconcileLists(a, b, EVER, seed), less(a, b), less(b, a));
    }
  });
});

describe('large sets', () => {
  it.each(SHAPES)('of the shape "%s" are told apart exactly', (shape) => {
    let seed = 0;
    for (const difference of DIFFERENCES) {
      for (const differing of [0, 1, 20, 300, 1000]) {
        const lacking = (['both', 'a', 'b'] as const)[seed % 3]!;
        const size = seed % 5 === 0 ? 40_000 : 8_000;
        seed += 1;
        const pair = makePair({ seed, size, shape, differing, difference, lacking });
        expectExact(reconcileLists(pair.a, pair.b, windowOf(pair), seed), pair.onlyA, pair.onlyB);
      }
    }
  });

  it('of a hundred thousand ids are told apart exactly, also where one side holds nothing', () => {
    for (const [seed, differing, lacking] of [
      [1, 0, 'both'],
      [2, 1, 'both'],
      [3, 100, 'both'],
      [4, 1000, 'b'],
      [5, 1000, 'a'],
      [6, 1000, 'both'],
    ] as const) {
      const size = 100_000;
      const pair = makePair({
        seed,
        size,
        shape: 'burst in spread',
        differing,
        difference: 'scattered',
        lacking,
      });
      expectExact(reconcileLists(pair.a, pair.b, windowOf(pair), seed), pair.onlyA, pair.onlyB);
    }
  });

  it('take every path by other figures', () => {
    fc.assert(
      fc.property(
        fc.nat(),
        fc.constantFrom(...SHAPES),
        nativePolicies,
        fc.nat(200),
        (seed, shape, policy, differing) => {
          const pair = makePair({
            seed,
            size: 6_000,
            shape,
            differing,
            difference: 'scattered',
            lacking: 'both',
          });
          const outcome = reconcileLists(pair.a, pair.b, windowOf(pair), seed, { policy });
          expectExact(outcome, pair.onlyA, pair.onlyB);
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('scattered differences', () => {
  it('of a thousand pairs are all found, and nothing else', () => {
    for (let seed = 1; seed <= 1_000; seed++) {
      const chance = new Chance(seed);
      const size = 2_000 + chance.below(seed % 16 === 0 ? 18_000 : 3_000);
      const differing = 2 + chance.below(999);
      const { a, b, onlyA, onlyB } = scattered(chance, size, differing);
      const outcome = reconcileLists(a, b, HOUR, seed);
      expectExact(outcome, onlyA, onlyB);
    }
  });
});

/** Pairs that have so little in common that every limit is reached. */
const DISTINCT: PairParameters[] = (['both', 'a', 'b'] as const).map((lacking) => ({
  seed: 1,
  size: 1_500,
  shape: 'spread',
  differing: 1000,
  difference: 'scattered',
  lacking,
}));

describe('limits on the parts and lists of one session', () => {
  const cutsOnly = { sketchSymbols: 4, listedIdBytes: 1_000, listIds: 1, partIdsMin: 1, openingParts: 4 };

  it.each([
    ['few parts', { ...cutsOnly, partsMax: 16 }],
    ['some parts', { ...cutsOnly, partsMax: 60 }],
    ['few listed ids', { listedIdsMax: 40, oneSidedIds: 0 }],
    ['some listed ids', { listedIdsMax: 400, oneSidedIds: 100 }],
    ['few found ids', { foundIdsMax: 30 }],
    ['few listed ids and no sketches', { ...cutsOnly, listedIdsMax: 40, oneSidedIds: 0 }],
  ])('leave things unfound, but nothing wrong, and the next sessions find the rest: %s', (_, policy) => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(pairParameters(1_500), (parameters) => {
        const pair = makePair(parameters);
        const window = windowOf(pair);
        const trees = { a: DigestTree.from(pair.a), b: DigestTree.from(pair.b) };
        let left = pair.onlyA.count + pair.onlyB.count;
        for (let session = 0; ; session++) {
          const key = keyOf(parameters.seed + session);
          const a = side(trees.a.snapshot(), window, key, { policy });
          const b = side(trees.b.snapshot(), window, key, { policy });
          const outcome = runNative(a, b);
          for (const state of [outcome.a.state, outcome.b.state]) seen.add(state);
          for (const [from, to, { have }] of [
            [trees.a, trees.b, outcome.a],
            [trees.b, trees.a, outcome.b],
          ] as const) {
            for (let row = 0; row < have.count; row++) {
              expect(from.has(have.at(row))).toBe(true);
              expect(to.insert(have.at(row))).toBe(true);
            }
          }
          left -= outcome.a.have.count + outcome.b.have.count;
          if (outcome.a.state === 'agreed' || outcome.b.state === 'agreed') break;
          expect(outcome.a.have.count + outcome.b.have.count).toBeGreaterThan(0);
        }
        expect(left).toBe(0);
      }),
      { numRuns: 100, examples: DISTINCT.map((parameters) => [parameters]) },
    );
    expect(seen).toContain('incomplete');
  });
});

describe('limits on the payloads of one session', () => {
  it('end it, with nothing wrong found', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(pairParameters(2_000), fc.integer({ min: 1, max: 6 }), (parameters, payloadsMax) => {
        const pair = makePair(parameters);
        const policy = { payloadsMax, listIds: 1, partIdsMin: 1, sketchSymbols: 4, listedIdBytes: 1_000 };
        const { a, b } = reconcileLists(pair.a, pair.b, windowOf(pair), parameters.seed, { policy });
        expect(less(a.have, pair.onlyA).count + less(b.have, pair.onlyB).count).toBe(0);
        const states = [a.state, b.state];
        for (const state of states) seen.add(state);
        if (states.includes('incomplete')) return;
        expect(states).toContain('agreed');
        expect([a.have.count, b.have.count]).toEqual([pair.onlyA.count, pair.onlyB.count]);
      }),
      { numRuns: 500, examples: DISTINCT.map((parameters) => [parameters, 2]) },
    );
    expect(seen).toContain('incomplete');
  });
});

describe('sets that change during a session', () => {
  it('are compared as they were when it began', () => {
    fc.assert(
      fc.property(pairParameters(3_000), nativePolicies, (parameters, policy) => {
        const pair = makePair(parameters);
        const chance = new Chance(parameters.seed);
        const trees = [DigestTree.from(pair.a), DigestTree.from(pair.b)] as const;
        const key = keyOf(parameters.seed);
        const [a, b] = trees.map((tree) => side(tree.snapshot(), windowOf(pair), key, { policy }));
        const change = (): void => {
          for (const tree of trees) {
            for (let left = chance.below(60); left > 0; left--) {
              const known = tree.count > 0 ? tree.select(chance.below(tree.count)) : chance.id(START_NS);
              if (chance.below(2) === 0) tree.remove(known);
              else tree.insert(chance.id((BigInt(known[0]!) << 32n) | BigInt(known[1]!)));
            }
          }
        };
        expectExact(runNative(a!, b!, change), pair.onlyA, pair.onlyB);
      }),
      { numRuns: 600 },
    );
  });

  it('are compared as they are by the next session, with sums remembered from the one before', () => {
    for (let seed = 0; seed < 40; seed++) {
      const chance = new Chance(seed);
      const { a, b } = scattered(chance, 3_000, 20);
      const trees = { a: DigestTree.from(a), b: DigestTree.from(b) };
      const key = keyOf(seed);
      for (let session = 0; session < 3; session++) {
        const held = { a: all(trees.a), b: all(trees.b) };
        const outcome = runNative(side(trees.a.snapshot(), HOUR, key), side(trees.b.snapshot(), HOUR, key));
        expectAgreement(outcome);
        expectExact(outcome, less(held.a, held.b), less(held.b, held.a));
        for (const tree of [trees.a, trees.b]) {
          for (let change = 0; change < 30; change++) {
            tree.insert(chance.id(START_NS + BigInt(chance.below(HOUR_NS))));
            tree.remove(tree.select(chance.below(tree.count)));
          }
        }
      }
    }
  });
});

const HOUR_NS = 3_600_000_000_000;
const HOUR: Window = { lower: boundAt(START_NS), upper: boundAt(START_NS + BigInt(HOUR_NS)) };

/** Ids spread over an hour, of which so many are on one side only, either by chance. */
function scattered(
  chance: Chance,
  size: number,
  differing: number,
): { a: SyncIdList; b: SyncIdList; onlyA: SyncIdList; onlyB: SyncIdList } {
  const unordered = new SyncIdList(size);
  for (let row = 0; row < size; row++) unordered.push(chance.id(START_NS + BigInt(chance.below(HOUR_NS))), 0);
  const ids = unordered.toAscending();
  const rows = new Set<number>();
  while (rows.size < differing) rows.add(chance.below(size));
  const a = new SyncIdList(size);
  const b = new SyncIdList(size);
  const onlyA = new SyncIdList();
  const onlyB = new SyncIdList();
  for (let row = 0; row < size; row++) {
    const lists = !rows.has(row) ? [a, b] : chance.below(2) === 0 ? [a, onlyA] : [b, onlyB];
    for (const list of lists) list.push(ids.words, row * ID_WORDS);
  }
  return { a, b, onlyA, onlyB };
}

function all(tree: DigestTree): SyncIdList {
  return tree.ids(EVER.lower, EVER.upper);
}

function bytesOf(id: Uint32Array): Buffer {
  const bytes = Buffer.alloc(ID_WORDS * 4);
  for (const [word, value] of id.entries()) bytes.writeUInt32BE(value, word * 4);
  return bytes;
}
