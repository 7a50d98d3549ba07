/** Peers that lie: whatever they claim, the answer is a value that can be sent, or a code. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Party } from '../../bench/baselines/stock-nwaku.ts';
import { DigestTree } from '../../src/core/digest-tree.ts';
import type { Claim } from '../../src/core/range.ts';
import { acceptOpening, reconcileStep, WAKU_POLICY } from '../../src/core/reconcile.ts';
import { boundAt, compareIds, HASH_WORDS, SyncIdList } from '../../src/core/sync-id.ts';
import { decodeRanges, encodeRanges } from '../../src/wire/waku-ranges.ts';
import { codeOf } from '../error-code.ts';
import {
  countWithin,
  expectExactly,
  fingerprintOf,
  lacuna,
  policyOf,
  policyParameters,
  rowsOf,
  run,
} from './dialogues.ts';
import { Chance, makePair, type Pair, pairParameters, START_NS } from './random-sets.ts';

describe('a peer that lies', () => {
  it('gets an answer that can be sent, or a code, whatever it claims', () => {
    fc.assert(
      fc.property(pairParameters(800), policyParameters, fc.nat(60), (parameters, of, count) => {
        const pair = makePair(parameters);
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
        const pair = makePair(parameters);
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
