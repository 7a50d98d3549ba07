/**
 * Reconciliation over random pairs of sets, through real bytes: with itself it must find exactly the differences,
 * with a stock nwaku in either role at least all of them; it must end against sets that change and peers that lie.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lacunaParty } from '../../bench/baselines/lacuna-party.ts';
import {
  type Dialogue,
  type Party,
  runDialogue,
  StockNwaku,
  stockParty,
} from '../../bench/baselines/stock-nwaku.ts';
import { DigestTree } from '../../src/core/digest-tree.ts';
import type { Claim, ItemsClaim } from '../../src/core/range.ts';
import type { RangeIndex } from '../../src/core/range-index.ts';
import {
  acceptOpening,
  openingClaims,
  type ReconcilePolicy,
  reconcileStep,
  WAKU_POLICY,
} from '../../src/core/reconcile.ts';
import {
  boundAt,
  compareIds,
  HASH_WORDS,
  hasZeroHash,
  ID_WORDS,
  nextMoment,
  SyncIdList,
  successor,
} from '../../src/core/sync-id.ts';
import { LIMITS } from '../../src/limits.ts';
import { decodeRanges, encodeRanges } from '../../src/wire/waku-ranges.ts';
import { codeOf } from '../error-code.ts';
import {
  Chance,
  makePair,
  type Pair,
  type PairParameters,
  pairParameters,
  START_NS,
  textOf,
} from './random-sets.ts';

/** How a side of a session is set up, in a few small values. */
interface PolicyParameters {
  readonly echo: ReconcilePolicy['echo'];
  readonly echoItems: number;
  readonly jitter: boolean;
  readonly sizes: readonly [listItems: number, partItems: number];
}

/** The real sizes, and small ones that make small sets take many rounds. */
const policyParameters: fc.Arbitrary<PolicyParameters> = fc.record({
  echo: fc.constantFrom('everything', 'needed'),
  echoItems: fc.constantFrom(WAKU_POLICY.echoItems, 3),
  jitter: fc.boolean(),
  sizes: fc.constantFrom([WAKU_POLICY.listItems, WAKU_POLICY.partItems], [4, 30], [1, 5], [0, 1]),
});

function policyOf({ echo, echoItems, jitter, sizes }: PolicyParameters, seed: number): ReconcilePolicy {
  const chance = new Chance(seed ^ 0x5eed);
  const policy = { ...WAKU_POLICY, echo, echoItems, listItems: sizes[0], partItems: sizes[1] };
  return jitter ? { ...policy, random: (below) => chance.below(below) } : policy;
}

function lacuna(ids: SyncIdList, pair: Pair, policy: ReconcilePolicy, probablyEqual = false): Party {
  const tree = DigestTree.from(ids);
  return lacunaParty(() => tree, policy, pair, undefined, probablyEqual);
}

/** The window of a stock node includes its upper time, at which no id of a pair lies. */
function stock(ids: SyncIdList, pair: Pair): Party {
  return stockParty(new StockNwaku(ids), pair.lowerNs, pair.upperNs);
}

function run(a: Party, b: Party): Dialogue {
  return runDialogue(a, b, encodeRanges, decodeRanges, LIMITS.sessionRounds);
}

function expectExactly(found: SyncIdList, differences: SyncIdList): void {
  expect(found.count).toBe(differences.count);
  expect(textOf(found.toAscending())).toBe(textOf(differences));
}

function expectAtLeast(found: SyncIdList, differences: SyncIdList): void {
  expect(countWithin(differences, found.toAscending())).toBe(differences.count);
}

/** How many of the ids are in an ascending list. */
function countWithin(ids: SyncIdList, ascending: SyncIdList): number {
  const tree = DigestTree.from(ascending);
  let within = 0;
  for (let row = 0; row < ids.count; row++) if (tree.has(ids.at(row))) within += 1;
  return within;
}

const pairOf = (parameters: PairParameters): Pair => makePair(parameters);

describe('two Lacunas', () => {
  it('find exactly what differs, each side its own', () => {
    fc.assert(
      fc.property(
        pairParameters(5000),
        policyParameters,
        policyParameters,
        fc.boolean(),
        (parameters, ofA, ofB, probablyEqual) => {
          const pair = pairOf(parameters);
          const a = lacuna(pair.a, pair, policyOf(ofA, parameters.seed), probablyEqual);
          const dialogue = run(a, lacuna(pair.b, pair, policyOf(ofB, parameters.seed + 1)));
          expectExactly(dialogue.sendA, pair.onlyA);
          expectExactly(dialogue.sendB, pair.onlyB);
          // What a side is told that it lacks is true, though it is not always told all of it.
          expect(countWithin(dialogue.receiveA, pair.onlyB)).toBe(dialogue.receiveA.count);
          expect(countWithin(dialogue.receiveB, pair.onlyA)).toBe(dialogue.receiveB.count);
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('say little when they agree: one fingerprint, one byte', () => {
    const pair = pairOf({
      seed: 1,
      size: 5000,
      shape: 'spread',
      differing: 0,
      difference: 'scattered',
      lacking: 'a',
    });
    const dialogue = run(lacuna(pair.a, pair, WAKU_POLICY, true), lacuna(pair.b, pair, WAKU_POLICY));
    expect(dialogue.steps.map((step) => step.bytes.length <= 70)).toEqual([true, true]);
    expect(dialogue.steps[1]!.bytes).toEqual(Uint8Array.of(0));
  });

  it('compare what lies in the window, and nothing outside it', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(300), policyParameters, (seed, size, parameters) => {
        const chance = new Chance(seed);
        const lowerNs = START_NS + 1000n;
        const upperNs = lowerNs + BigInt(1 + chance.below(60));
        const lists = {
          a: new SyncIdList(),
          b: new SyncIdList(),
          inA: new SyncIdList(),
          inB: new SyncIdList(),
        };
        const atEnd = { a: new SyncIdList(), b: new SyncIdList() };
        for (let row = 0; row < size; row++) {
          const timeNs = lowerNs - 20n + BigInt(chance.below(100));
          const side = chance.pick(['a', 'b', 'ab']);
          const id = chance.id(timeNs);
          const inside = timeNs >= lowerNs && timeNs < upperNs;
          if (side !== 'b') lists.a.push(id, 0);
          if (side !== 'a') lists.b.push(id, 0);
          if (side === 'a' && inside) lists.inA.push(id, 0);
          if (side === 'b' && inside) lists.inB.push(id, 0);
          if (side === 'a' && timeNs === upperNs) atEnd.a.push(id, 0);
          if (side === 'b' && timeNs === upperNs) atEnd.b.push(id, 0);
        }
        const policy = policyOf(parameters, seed);
        const treeA = DigestTree.from(lists.a);
        const treeB = DigestTree.from(lists.b);
        const window = { lowerNs, upperNs };
        const dialogue = run(
          lacunaParty(() => treeA, policy, window),
          lacunaParty(() => treeB, policy, window),
        );
        expectAtLeast(dialogue.sendA, lists.inA);
        expectAtLeast(dialogue.sendB, lists.inB);
        // Only the nanosecond of the upper bound itself may be compared too, as a stock initiator means it.
        expect(countWithin(dialogue.sendA, atEnd.a)).toBe(dialogue.sendA.count - lists.inA.count);
        expect(countWithin(dialogue.sendB, atEnd.b)).toBe(dialogue.sendB.count - lists.inB.count);
      }),
      { numRuns: 200 },
    );
  });

  it('come to an end while both sets change under them', () => {
    fc.assert(
      fc.property(pairParameters(2000), policyParameters, policyParameters, (parameters, ofA, ofB) => {
        const pair = pairOf(parameters);
        const chance = new Chance(parameters.seed);
        const ever = DigestTree.from(pair.a);
        const changing = (ids: SyncIdList, policy: ReconcilePolicy): Party => {
          const tree = DigestTree.from(ids);
          const indexOf = (): RangeIndex => {
            for (let change = chance.below(30); change > 0; change--) {
              const known = tree.count > 0 ? tree.select(chance.below(tree.count)) : chance.id(START_NS);
              const near = chance.id((BigInt(known[0]!) << 32n) | BigInt(known[1]!));
              if (chance.below(3) === 0) tree.remove(known);
              else if (tree.insert(near)) ever.insert(near);
            }
            return tree.snapshot();
          };
          return lacunaParty(indexOf, policy, pair);
        };
        for (let row = 0; row < pair.b.count; row++) ever.insert(pair.b.at(row));
        const dialogue = run(
          changing(pair.a, policyOf(ofA, parameters.seed)),
          changing(pair.b, policyOf(ofB, parameters.seed)),
        );
        for (const found of [dialogue.sendA, dialogue.sendB]) {
          for (let row = 0; row < found.count; row++) expect(ever.has(found.at(row))).toBe(true);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('Lacuna and a stock nwaku', () => {
  it('find all that differs when Lacuna begins', () => {
    fc.assert(
      fc.property(pairParameters(5000), policyParameters, fc.boolean(), (parameters, ofA, probablyEqual) => {
        const pair = pairOf(parameters);
        const policy = policyOf(ofA, parameters.seed);
        const dialogue = run(lacuna(pair.a, pair, policy, probablyEqual), stock(pair.b, pair));
        expectAtLeast(dialogue.sendA, pair.onlyA);
        expectAtLeast(dialogue.sendB, pair.onlyB);
      }),
      { numRuns: 1000 },
    );
  });

  it('find all that differs when the stock node begins', () => {
    fc.assert(
      fc.property(pairParameters(5000), policyParameters, (parameters, ofB) => {
        const pair = pairOf(parameters);
        const dialogue = run(stock(pair.a, pair), lacuna(pair.b, pair, policyOf(ofB, parameters.seed)));
        expectAtLeast(dialogue.sendA, pair.onlyA);
        expectAtLeast(dialogue.sendB, pair.onlyB);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('the upper time of a stock initiator', () => {
  // Its fingerprint includes that nanosecond, its bound on the wire does not.
  it('loses nothing that the initiator holds there, nor anything below it', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(300), fc.nat(12), policyParameters, (seed, size, spanNs, parameters) => {
        const chance = new Chance(seed);
        const pair = { lowerNs: START_NS, upperNs: START_NS + BigInt(spanNs) };
        const lists = {
          a: new SyncIdList(),
          b: new SyncIdList(),
          onlyA: new SyncIdList(),
          onlyB: new SyncIdList(),
        };
        for (let row = 0; row < size; row++) {
          const timeNs = START_NS + BigInt(chance.pick([spanNs, chance.below(spanNs + 1)]));
          const side = chance.pick(['a', 'b', 'ab', 'ab']);
          const id = chance.id(timeNs);
          if (side !== 'b') lists.a.push(id, 0);
          if (side !== 'a') lists.b.push(id, 0);
          if (side === 'a') lists.onlyA.push(id, 0);
          if (side === 'b' && timeNs < pair.upperNs) lists.onlyB.push(id, 0);
        }
        const initiator = stockParty(new StockNwaku(lists.a.toAscending()), pair.lowerNs, pair.upperNs);
        const tree = DigestTree.from(lists.b);
        const dialogue = run(
          initiator,
          lacunaParty(() => tree, policyOf(parameters, seed), pair),
        );
        expectAtLeast(dialogue.sendA, lists.onlyA);
        expectAtLeast(dialogue.sendB, lists.onlyB);
      }),
      { numRuns: 300 },
    );
  });
});

describe('one step', () => {
  it('answers every differing range with narrower ones, or lists it', () => {
    fc.assert(
      fc.property(pairParameters(3000), policyParameters, (parameters, of) => {
        const pair = pairOf(parameters);
        const index = DigestTree.from(pair.a);
        const bounds = cutBounds(pair, new Chance(parameters.seed));
        for (let cut = 1; cut < bounds.length; cut++) {
          const [lower, upper] = [bounds[cut - 1]!, bounds[cut]!];
          const wrong = fingerprintOf(index, lower, upper).fill(0x0bad_0bad, 0, 1);
          const { reply } = reconcileStep(
            index,
            [{ kind: 'fingerprint', lower, upper, fingerprint: wrong }],
            policyOf(of, parameters.seed),
          );
          expectContiguous(reply, lower, upper);
          for (const claim of reply) {
            const whole = claim.lower === lower && claim.upper === upper;
            expect(claim.kind).not.toBe('skip');
            if (whole) expect(claim.kind).toBe('items');
            if (claim.kind === 'items') {
              expect(textOf(claim.items)).toBe(textOf(index.ids(claim.lower, claim.upper)));
              expect(claim.reconciled).toBe(claim.items.count === 0);
            } else if (claim.kind === 'fingerprint') {
              expect(claim.fingerprint).toEqual(fingerprintOf(index, claim.lower, claim.upper));
              // A stock node could do nothing with less than eight nanoseconds.
              expect(compareIds(claim.upper, 0, later(claim.lower, 8), 0)).toBeGreaterThanOrEqual(0);
            }
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  it('has nothing to say of what is skipped or the same', () => {
    const pair = pairOf({
      seed: 3,
      size: 900,
      shape: 'spread',
      differing: 0,
      difference: 'newest',
      lacking: 'a',
    });
    const index = DigestTree.from(pair.a);
    const [lower, middle, upper] = [0n, 1_800_000_000_000n, 3_600_000_000_000n].map((ns) =>
      boundAt(START_NS + ns),
    );
    const claims: Claim[] = [
      { kind: 'skip', lower: lower!, upper: middle! },
      {
        kind: 'fingerprint',
        lower: middle!,
        upper: upper!,
        fingerprint: fingerprintOf(index, middle!, upper!),
      },
    ];
    const step = reconcileStep(index, claims, WAKU_POLICY);
    expect(step.reply).toEqual([]);
    expect([step.have.count, step.need.count, step.unnamed]).toEqual([0, 0, false]);
  });

  it('lists a range of few ids, and splits one of more', () => {
    const { listItems } = WAKU_POLICY;
    for (const [count, kind] of [
      [listItems, 'items'],
      [listItems + 1, 'fingerprint'],
    ] as const) {
      const { index, lower, upper } = spaced(count);
      const claim = { kind: 'fingerprint', lower, upper, fingerprint: new Uint32Array(HASH_WORDS) } as const;
      const { reply } = reconcileStep(index, [claim], WAKU_POLICY);
      expect(new Set(reply.map((part) => part.kind))).toEqual(new Set([kind]));
    }
  });

  it('splits at 1300 ids a part, and below twice that at the square root', () => {
    const parts = (count: number): number => {
      const { index, lower, upper } = spaced(count);
      const claim = { kind: 'fingerprint', lower, upper, fingerprint: new Uint32Array(HASH_WORDS) } as const;
      return reconcileStep(index, [claim], WAKU_POLICY).reply.length;
    };
    expect(parts(2601)).toBe(3);
    expect(parts(2600)).toBe(51);
    expect(parts(100)).toBe(10);
  });

  it('lists ids of one timestamp together, with all that lies around them', () => {
    const chance = new Chance(9);
    const index = DigestTree.from(SyncIdList.of(...Array.from({ length: 500 }, () => chance.id(START_NS))));
    const lower = boundAt(START_NS - 1000n);
    const upper = boundAt(START_NS + 1000n);
    const claim = { kind: 'fingerprint', lower, upper, fingerprint: new Uint32Array(HASH_WORDS) } as const;
    const step = reconcileStep(index, [claim], WAKU_POLICY);
    expect(step.reply.map((part) => [part.kind, (part as ItemsClaim).items.count])).toEqual([
      ['items', 0],
      ['items', 500],
      ['items', 0],
    ]);
    expectContiguous(step.reply, lower, upper);
    expect(step.unnamed).toBe(true);
  });

  it('tells have from need, and believes no item outside its range', () => {
    fc.assert(
      fc.property(pairParameters(600), policyParameters, (parameters, of) => {
        const pair = pairOf(parameters);
        const index = DigestTree.from(pair.a);
        const bounds = cutBounds(pair, new Chance(parameters.seed));
        const [lower, upper] = [bounds[0]!, bounds[1]!];
        const step = reconcileStep(
          index,
          [{ kind: 'items', lower, upper, items: shuffledTwice(pair.b), reconciled: false }],
          policyOf(of, parameters.seed),
        );
        const trees = { a: DigestTree.from(pair.onlyA), b: DigestTree.from(pair.onlyB) };
        expectExactly(step.have, trees.a.ids(lower, upper));
        expectExactly(step.need, trees.b.ids(lower, upper));
        if (step.have.count + step.need.count === 0) expect(step.reply).toEqual([]);
        for (const claim of step.reply)
          expect(claim.kind === 'skip' || (claim as ItemsClaim).reconciled).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it('echoes everything, or only what brings it the ids it needs', () => {
    const { index, lower, upper } = spaced(10);
    const chance = new Chance(11);
    const theirs = index.ids(lower, upper).slice(2, 8);
    const missing = [chance.id(START_NS + 3n * 1000n), chance.id(START_NS + 500n)];
    for (const id of missing) theirs.push(id, 0);
    const claims = [{ kind: 'items', lower, upper, items: theirs, reconciled: false }] as const;
    const listed = (policy: ReconcilePolicy) =>
      reconcileStep(index, claims, policy).reply.flatMap((claim) =>
        claim.kind === 'items' ? [claim.items.count] : [],
      );
    expect(listed(WAKU_POLICY)).toEqual([10]);
    expect(listed({ ...WAKU_POLICY, echoItems: 10 })).toEqual([10]);
    // At the one timestamp nothing else is held here, at the other one id is.
    expect(listed({ ...WAKU_POLICY, echoItems: 9 })).toEqual([0, 1]);
    expect(listed({ ...WAKU_POLICY, echo: 'needed' })).toEqual([0, 1]);
    const nothingNeeded = [{ ...claims[0], items: index.ids(lower, upper).slice(2, 8) }];
    expect(reconcileStep(index, nothingNeeded, { ...WAKU_POLICY, echo: 'needed' }).reply).toEqual([]);
    const final = [{ ...claims[0], reconciled: true }];
    expect(reconcileStep(index, final, WAKU_POLICY).reply).toEqual([]);
  });

  it('fails with a code past its budget of listed ids, and not before', () => {
    const chance = new Chance(13);
    const index = DigestTree.from(SyncIdList.of(...Array.from({ length: 700 }, () => chance.id(START_NS))));
    const lower = boundAt(START_NS);
    const upper = nextMoment(lower);
    const claim = { kind: 'fingerprint', lower, upper, fingerprint: new Uint32Array(HASH_WORDS) } as const;
    const items = {
      kind: 'items',
      lower,
      upper,
      items: SyncIdList.of(chance.id(START_NS)),
      reconciled: false,
    } as const;
    for (const each of [claim, items]) {
      expect(codeOf(() => reconcileStep(index, [each], { ...WAKU_POLICY, replyItems: 700 }))).toBeUndefined();
      expect(codeOf(() => reconcileStep(index, [each], { ...WAKU_POLICY, replyItems: 699 }))).toBe(
        'SESSION_BUDGET',
      );
    }
    expect(codeOf(() => openingClaims(index, lower, upper, { ...WAKU_POLICY, replyItems: 699 }, true))).toBe(
      'SESSION_BUDGET',
    );
  });

  it('moves its cuts by a quarter of a part at most', () => {
    const { index, lower, upper } = spaced(10_000);
    const cuts = (random?: (below: number) => number): number[] =>
      openingClaims(
        index,
        lower,
        upper,
        random === undefined ? WAKU_POLICY : { ...WAKU_POLICY, random },
        false,
      )
        .slice(1)
        .map((claim) => index.rank(claim.lower));
    const straight = cuts();
    const chance = new Chance(17);
    const moved = cuts((below) => chance.below(below));
    expect(moved).not.toEqual(straight);
    expect(moved).toHaveLength(straight.length);
    for (const [cut, rank] of moved.entries())
      expect(Math.abs(rank - straight[cut]!)).toBeLessThanOrEqual(1250 / 4 + 1);
  });
});

describe('the first payload', () => {
  it('covers the window in ranges of about equal counts, or in one', () => {
    fc.assert(
      fc.property(pairParameters(5000), policyParameters, fc.boolean(), (parameters, of, probablyEqual) => {
        const pair = pairOf(parameters);
        const index = DigestTree.from(pair.a);
        const [lower, upper] = [boundAt(pair.lowerNs), boundAt(pair.upperNs)];
        const policy = policyOf(of, parameters.seed);
        const claims = openingClaims(index, lower, upper, policy, probablyEqual);
        expectContiguous(claims, lower, upper);
        if (probablyEqual || index.count <= 2 * policy.partItems) expect(claims).toHaveLength(1);
        for (const claim of claims) {
          if (claim.kind === 'fingerprint') {
            expect(claim.fingerprint).toEqual(fingerprintOf(index, claim.lower, claim.upper));
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  it('of a stock node is read with its upper time included, where the plain reading does not explain it', () => {
    const chance = new Chance(19);
    const upperNs = START_NS + 1000n;
    const inside = Array.from({ length: 30 }, (_, row) => chance.id(START_NS + BigInt(row)));
    const atEnd = chance.id(upperNs);
    const opening = decodeRanges(
      encodeRanges(new StockNwaku(SyncIdList.of(...inside, atEnd)).initiate(START_NS, upperNs)),
    ).claims;
    expect(hasZeroHash(opening[0]!.upper)).toBe(true);
    const lacking = DigestTree.from(SyncIdList.of(...inside.slice(1)));
    expect(acceptOpening(lacking, opening)[0]!.upper).toEqual(boundAt(upperNs + 1n));
    const withEnd = DigestTree.from(SyncIdList.of(...inside, atEnd));
    expect(reconcileStep(withEnd, acceptOpening(withEnd, opening), WAKU_POLICY).reply).toEqual([]);
    // A peer that means its bounds as they are written is taken at its word.
    const plain = openingClaims(withEnd, boundAt(START_NS), boundAt(upperNs), WAKU_POLICY, true);
    expect(acceptOpening(withEnd, plain)).toBe(plain);
  });
});

describe('a peer that lies', () => {
  it('gets an answer that can be sent, or a code, whatever it claims', () => {
    fc.assert(
      fc.property(pairParameters(800), policyParameters, fc.nat(60), (parameters, of, count) => {
        const pair = pairOf(parameters);
        const chance = new Chance(parameters.seed);
        const index = DigestTree.from(pair.a);
        const policy = { ...policyOf(of, parameters.seed), replyItems: chance.pick([50, 100_000]) };
        const claims = hostileClaims(pair, chance, count);
        let step: ReturnType<typeof reconcileStep> | undefined;
        const code = codeOf(() => {
          step = reconcileStep(index, acceptOpening(index, claims), policy);
        });
        if (code !== undefined) expect(code).toBe('SESSION_BUDGET');
        if (step === undefined) return;
        const { have, need, reply } = step;
        expect(have.toAscending().count).toBe(have.count);
        expect(countWithin(have, pair.a)).toBe(have.count);
        expect(countWithin(need, pair.a)).toBe(0);
        expect(
          decodeRanges(encodeRanges({ pubsubTopics: [], contentTopics: [], claims: reply })).claims,
        ).toHaveLength(reply.length);
      }),
      { numRuns: 500 },
    );
  });

  it('is told of each id once, though it asks for one timestamp many times', () => {
    const chance = new Chance(23);
    const index = DigestTree.from(SyncIdList.of(...Array.from({ length: 300 }, () => chance.id(START_NS))));
    const lower = boundAt(START_NS);
    const upper = boundAt(START_NS).fill(0xffff_ffff, 2);
    const again = { kind: 'items', lower, upper, items: new SyncIdList(), reconciled: true } as const;
    // Six bytes each on the wire: 200,000 of them would have us gather sixty million ids.
    const bytes = encodeRanges({ pubsubTopics: [], contentTopics: [], claims: Array(5000).fill(again) });
    const { claims } = decodeRanges(bytes);
    expect(claims).toHaveLength(5000);
    // The upper hash travels as its first byte: all but the last two hundred and fifty-sixth of the ids lie below.
    const below = index.ids(claims[0]!.lower, claims[0]!.upper);
    expect(below.count).toBeGreaterThan(280);
    expectExactly(reconcileStep(index, claims, WAKU_POLICY).have, below);
  });

  it('that always differs runs into a limit, in either role', () => {
    fc.assert(
      fc.property(pairParameters(1500), policyParameters, fc.boolean(), (parameters, of, begins) => {
        const pair = pairOf(parameters);
        const chance = new Chance(parameters.seed);
        const liar = contrarian(pair, chance);
        const honest = lacuna(pair.a, pair, policyOf(of, parameters.seed));
        const code = codeOf(() => run(begins ? liar : honest, begins ? honest : liar));
        expect([undefined, 'SESSION_ROUNDS', 'SESSION_BUDGET', 'WIRE_LIMIT']).toContain(code);
      }),
      { numRuns: 150 },
    );
  });
});

/** Answers each claim on the same bounds with a fingerprint that fits nothing, or with made-up items. */
function contrarian(pair: Pair, chance: Chance): Party {
  const fingerprint = (): Uint32Array => Uint32Array.from({ length: HASH_WORDS }, () => chance.word());
  const answer = (claims: readonly Claim[]) =>
    claims.map(({ lower, upper }): Claim => {
      if (chance.below(4) > 0) return { kind: 'fingerprint', lower, upper, fingerprint: fingerprint() };
      const items = SyncIdList.of(chance.id((BigInt(lower[0]!) << 32n) | BigInt(lower[1]!)));
      return { kind: 'items', lower, upper, items, reconciled: chance.below(2) === 0 };
    });
  const opening: Claim = {
    kind: 'fingerprint',
    lower: boundAt(pair.lowerNs),
    upper: boundAt(pair.upperNs),
    fingerprint: fingerprint(),
  };
  const none = { send: new SyncIdList(), receive: new SyncIdList() };
  return {
    open: () => ({ pubsubTopics: [], contentTopics: [], claims: [opening] }),
    answer: ({ claims }) => ({
      payload: { pubsubTopics: [], contentTopics: [], claims: answer(claims) },
      ...none,
    }),
  };
}

/** Claims as any bytes might decode to: ascending times, hashes in the bounds, overlaps, items of any order. */
function hostileClaims(pair: Pair, chance: Chance, count: number): Claim[] {
  const all = SyncIdList.of(...rowsOf(pair.a), ...rowsOf(pair.b)).toAscending();
  const times = Array.from({ length: count + 1 }, () =>
    all.count > 0 && chance.below(2) === 0
      ? all.at(chance.below(all.count)).slice()
      : chance.id(pair.lowerNs + BigInt(chance.below(1000))),
  ).sort((x, y) => compareIds(x, 0, y, 0));
  let lower = times[0]!.slice().fill(0, 2);
  return times.slice(1).map((id): Claim => {
    const sameTime = id[0] === lower[0] && id[1] === lower[1];
    const upper = sameTime
      ? chance.pick([id, id.slice().fill(0, 2), id.slice().fill(0, 3)])
      : id.slice().fill(0, 2);
    const bounds = { lower, upper };
    lower = upper.slice().fill(0, 2);
    const kind = chance.pick(['skip', 'fingerprint', 'true fingerprint', 'items'] as const);
    if (kind === 'skip') return { kind, ...bounds };
    if (kind === 'items') {
      const items = SyncIdList.of(
        ...Array.from({ length: chance.below(20) }, () =>
          all.count > 0 && chance.below(3) > 0
            ? all.at(chance.below(all.count))
            : chance.id(pair.lowerNs + BigInt(chance.below(1000))),
        ),
      );
      return { kind, ...bounds, items, reconciled: chance.below(2) === 0 };
    }
    const fingerprint =
      kind === 'fingerprint'
        ? Uint32Array.from({ length: HASH_WORDS }, () => chance.word())
        : fingerprintOf(DigestTree.from(pair.b), bounds.lower, bounds.upper);
    return { kind: 'fingerprint', ...bounds, fingerprint };
  });
}

function fingerprintOf(index: RangeIndex, lower: Uint32Array, upper: Uint32Array): Uint32Array {
  const fingerprint = new Uint32Array(HASH_WORDS);
  index.digest(lower, hasZeroHash(upper) ? upper : successor(upper), fingerprint);
  return fingerprint;
}

function expectContiguous(claims: readonly Claim[], lower: Uint32Array, upper: Uint32Array): void {
  expect(claims[0]!.lower).toEqual(lower);
  expect(claims.at(-1)!.upper).toEqual(upper);
  for (const [place, claim] of claims.entries()) {
    expect(compareIds(claim.lower, 0, claim.upper, 0)).toBeLessThan(0);
    if (place > 0) expect(claim.lower).toEqual(claims[place - 1]!.upper);
  }
}

/** The window cut at a few moments where ids are. */
function cutBounds(pair: Pair, chance: Chance): Uint32Array[] {
  const bounds = [boundAt(pair.lowerNs), boundAt(pair.upperNs)];
  const all = pair.a.count > 0 ? pair.a : pair.b;
  for (let cut = chance.below(3); cut > 0 && all.count > 0; cut--) {
    bounds.push(all.at(chance.below(all.count)).slice().fill(0, 2));
  }
  return rowsOf(SyncIdList.of(...bounds).toAscending());
}

/** A list out of order, with every id in it twice. */
function shuffledTwice(list: SyncIdList): SyncIdList {
  return SyncIdList.of(...rowsOf(list).reverse(), ...rowsOf(list));
}

function rowsOf(list: SyncIdList): Uint32Array[] {
  return Array.from({ length: list.count }, (_, row) =>
    list.words.slice(row * ID_WORDS, (row + 1) * ID_WORDS),
  );
}

/** This many ids a microsecond apart. */
function spaced(count: number): { index: DigestTree; lower: Uint32Array; upper: Uint32Array } {
  const chance = new Chance(count);
  const ids = Array.from({ length: count }, (_, row) => chance.id(START_NS + BigInt(row) * 1000n));
  return {
    index: DigestTree.from(SyncIdList.of(...ids)),
    lower: boundAt(START_NS),
    upper: boundAt(START_NS + BigInt(count) * 1000n),
  };
}

function later(bound: Uint32Array, ns: number): Uint32Array {
  return boundAt(((BigInt(bound[0]!) << 32n) | BigInt(bound[1]!)) + BigInt(ns));
}
