/** One step of a reconciliation, and its first payload: how ranges are split, listed, echoed and bounded. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { StockNwaku } from '../../bench/baselines/stock-nwaku.ts';
import { DigestTree } from '../../src/core/digest-tree.ts';
import type { Claim, ItemsClaim } from '../../src/core/range.ts';
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
  nextMoment,
  SyncIdList,
} from '../../src/core/sync-id.ts';
import { decodeRanges, encodeRanges } from '../../src/wire/waku-ranges.ts';
import { codeOf } from '../error-code.ts';
import { expectExactly, fingerprintOf, policyOf, policyParameters, rowsOf } from './dialogues.ts';
import { Chance, makePair, type Pair, pairParameters, START_NS, textOf } from './random-sets.ts';

describe('one step', () => {
  it('answers every differing range with narrower ones, or lists it', () => {
    fc.assert(
      fc.property(pairParameters(3000), policyParameters, (parameters, of) => {
        const pair = makePair(parameters);
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

  it('takes an id that a bound names as part of the range, as nwaku does', () => {
    const chance = new Chance(29);
    const ids = SyncIdList.of(...Array.from({ length: 9 }, () => chance.id(START_NS))).toAscending();
    const index = DigestTree.from(ids);
    const upper = ids.at(4).slice();
    const claim = {
      kind: 'items',
      lower: boundAt(START_NS),
      upper,
      items: new SyncIdList(),
      reconciled: true,
    } as const;
    expectExactly(reconcileStep(index, [claim], WAKU_POLICY).have, ids.slice(0, 5));
    // What follows begins above it: the id is told once.
    const next = { ...claim, upper: nextMoment(upper) };
    expectExactly(reconcileStep(index, [claim, next], WAKU_POLICY).have, ids);
  });

  it('has nothing to say of what is skipped or the same', () => {
    const pair = makePair({
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
    const parts = (count: number, theirs = 1): number => {
      const { index, lower, upper } = spaced(count);
      const fingerprint = new Uint32Array(HASH_WORDS).fill(theirs);
      const claim = { kind: 'fingerprint', lower, upper, fingerprint } as const;
      return reconcileStep(index, [claim], WAKU_POLICY).reply.length;
    };
    expect(parts(2601)).toBe(3);
    expect(parts(2600)).toBe(51);
    expect(parts(100)).toBe(10);
    // Against nothing, two parts do.
    expect(parts(2601, 0)).toBe(2);
    expect(parts(100, 0)).toBe(2);
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
        const pair = makePair(parameters);
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

  it('fails with a code when nothing of what differs fits, and not before', () => {
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

  it('leaves for later what does not fit into a reply, and says so', () => {
    const chance = new Chance(14);
    const burst = (time: bigint): Uint32Array[] => Array.from({ length: 700 }, () => chance.id(time));
    const index = DigestTree.from(SyncIdList.of(...burst(START_NS), ...burst(START_NS + 1_000n)));
    const claims = [START_NS, START_NS + 1_000n].map((time) => {
      const lower = boundAt(time);
      const upper = boundAt(time + 1_000n);
      return { kind: 'fingerprint', lower, upper, fingerprint: new Uint32Array(HASH_WORDS) } as const;
    });
    const tight = reconcileStep(index, claims, { ...WAKU_POLICY, replyItems: 1_000 });
    expect(tight.incomplete).toBe(true);
    expect(tight.reply.map(({ kind }) => kind)).toEqual(['items', 'items', 'skip', 'items']);
    expect(reconcileStep(index, claims, { ...WAKU_POLICY, replyItems: 1_400 }).incomplete).toBe(false);
    const narrow = reconcileStep(index, claims, { ...WAKU_POLICY, replyRanges: 1 });
    expect(narrow.incomplete).toBe(true);
    expect(narrow.reply.map(({ kind }) => kind)).toEqual(['items', 'skip']);
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
  it('covers the window in ranges of about equal counts, or in one, or in two cut by chance', () => {
    fc.assert(
      fc.property(pairParameters(5000), policyParameters, fc.boolean(), (parameters, of, probablyEqual) => {
        const pair = makePair(parameters);
        const index = DigestTree.from(pair.a);
        const [lower, upper] = [boundAt(pair.lowerNs), boundAt(pair.upperNs)];
        const policy = policyOf(of, parameters.seed);
        const claims = openingClaims(index, lower, upper, policy, probablyEqual);
        expectContiguous(claims, lower, upper);
        if (probablyEqual || index.count <= 2 * policy.partItems) {
          expect(claims.length).toBeLessThanOrEqual(policy.random === undefined ? 1 : 2);
        } else {
          expect(claims.length).toBeLessThanOrEqual(policy.openingParts);
        }
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
