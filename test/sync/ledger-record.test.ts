/** The ledger as bytes: what is written is what is read, in no more room than a record has, and damage is told as such. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EVERYTHING, type Scope, scopeCovers } from '../../src/core/scope.ts';
import { ERROR_CODES, type ErrorCode } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { type ClosedGap, GAP_CAUSES, type Gap, type Verification } from '../../src/sync/gap.ts';
import {
  decodeClosed,
  decodeGap,
  decodeMeetings,
  decodePulse,
  decodeVerifications,
  encodeClosed,
  encodeGap,
  encodeMeetings,
  encodePulse,
  encodeVerifications,
} from '../../src/sync/ledger-record.ts';
import { mutationsOf } from '../wire/mutations.ts';

const text = fc.string({ unit: 'binary', maxLength: 12 });
const topics = fc.array(text, { maxLength: 4 });
const scope = fc.record({ pubsubTopics: topics, contentTopics: topics });
const time = fc.bigInt({ min: 0n, max: 2n ** 63n - 1n });
const interval = fc
  .tuple(time, time)
  .filter(([a, b]) => a !== b)
  .map(([a, b]) => (a < b ? { sinceNs: a, untilNs: b } : { sinceNs: b, untilNs: a }));
const moment = fc.nat(2 ** 31 - 1).map((ms) => ms * 1_000 + 0.25);
const peers = fc.array(text, { maxLength: 5 });
const code = fc.constantFrom(...(Object.keys(ERROR_CODES) as ErrorCode[]));

const gap: fc.Arbitrary<Gap> = fc
  .tuple(
    interval,
    fc.record({
      id: fc.integer({ min: 1, max: 1e12 - 1 }),
      scope,
      cause: fc.constantFrom(...GAP_CAUSES),
      openedMs: moment,
      attempts: fc.nat(),
      lastPeer: fc.option(text, { nil: undefined }),
      lastAttemptMs: fc.option(moment, { nil: undefined }),
      lastCode: fc.option(code, { nil: undefined }),
      witnesses: peers,
    }),
  )
  .map(([when, what]) => ({ ...what, ...when }));
const closedGap: fc.Arbitrary<ClosedGap> = fc
  .tuple(gap, moment, peers)
  .map(([one, closedMs, verifiedWith]) => ({ ...one, closedMs, verifiedWith }));
const verification: fc.Arbitrary<Verification> = fc
  .tuple(interval, scope, text, moment)
  .map(([when, scope, peer, verifiedMs]) => ({ ...when, scope, peer, verifiedMs }));
const pulse = fc.record({ aliveMs: moment, scope, rounds: fc.nat() });

const sample: Gap = {
  id: 7,
  sinceNs: 1_787_184_000_000_000_000n,
  untilNs: 1_787_184_900_000_000_000n,
  scope: { pubsubTopics: ['/waku/2/rs/1/0'], contentTopics: ['/a/1/ä/proto'] },
  cause: 'downtime',
  openedMs: 1_787_184_000_000,
  attempts: 2,
  lastPeer: 'peer',
  lastAttemptMs: 1_787_184_000_000,
  lastCode: 'PEER_TIMEOUT',
  witnesses: ['a', 'b'],
};
const closedSample: ClosedGap = { ...sample, closedMs: 1_787_184_000_000, verifiedWith: ['c'] };
const verificationSample: Verification = {
  sinceNs: 0n,
  untilNs: 5n,
  scope: EVERYTHING,
  peer: 'peer',
  verifiedMs: 1,
};

/** So many topics that no record holds them. */
function manyTopics(count: number): Scope {
  return { pubsubTopics: Array.from({ length: count }, (_, at) => `/waku/2/rs/${at}/0`), contentTopics: [] };
}

describe('a record of the ledger', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(gap, fc.array(closedGap), fc.array(verification), pulse, (one, closed, verified, last) => {
        expect(decodeGap(encodeGap(one))).toEqual(one);
        expect(decodeClosed(encodeClosed(closed))).toEqual(closed);
        expect(decodeVerifications(encodeVerifications(verified))).toEqual(verified);
        expect(decodePulse(encodePulse(last))).toEqual(last);
      }),
      { numRuns: 200 },
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(text, time)), (met) => {
        expect(decodeMeetings(encodeMeetings(met))).toEqual(met);
      }),
    );
  });

  it('of a gap that is too large says less of its witnesses, and then more of its topics', () => {
    const witnesses = Array.from({ length: 1_000 }, () => 'w'.repeat(100));
    const some = encodeGap({ ...sample, witnesses });
    expect(decodeGap(some)).toEqual({ ...sample, witnesses: [] });
    const wide = encodeGap({ ...sample, witnesses, scope: manyTopics(10_000) });
    expect(decodeGap(wide)).toEqual({ ...sample, witnesses: [], scope: EVERYTHING });
    for (const { length } of [some, wide]) expect(length).toBeLessThanOrEqual(LIMITS.recordBytes);
  });

  it('of a pulse that is too large covers no less', () => {
    const last = { aliveMs: 5, scope: manyTopics(10_000), rounds: 3 };
    const bytes = encodePulse(last);
    expect(bytes.length).toBeLessThanOrEqual(LIMITS.recordBytes);
    expect(scopeCovers(decodePulse(bytes)!.scope, last.scope)).toBe(true);
    expect(decodePulse(bytes)).toMatchObject({ aliveMs: 5, rounds: 3 });
  });

  it('of a list that is too large holds the first of it, and not many fewer than it could', () => {
    for (const count of [0, 1, 10, 1_000]) {
      const closed = Array.from({ length: 20 }, (_, at) => ({
        ...closedSample,
        id: at + 1,
        scope: manyTopics(count),
      }));
      const verified = closed.map(({ scope }, at) => ({ ...verificationSample, scope, verifiedMs: at }));
      for (const [bytes, read, all] of [
        [encodeClosed(closed), decodeClosed(encodeClosed(closed)), closed],
        [encodeVerifications(verified), decodeVerifications(encodeVerifications(verified)), verified],
      ] as const) {
        expect(bytes.length).toBeLessThanOrEqual(LIMITS.recordBytes);
        expect(read).toEqual(all.slice(0, read.length));
        expect(read.length === all.length || bytes.length > LIMITS.recordBytes / 2).toBe(true);
      }
    }
    const huge = { ...verificationSample, scope: manyTopics(10_000) };
    expect(decodeVerifications(encodeVerifications([huge, verificationSample]))).toEqual([]);
    const met = Array.from({ length: 5_000 }, (_, at) => [`peer ${at}`, BigInt(at)] as const);
    expect(decodeMeetings(encodeMeetings(met))[0]).toEqual(['peer 0', 0n]);
  });

  it('that is damaged is read as nothing, or as what it could have been', () => {
    for (const bytes of mutationsOf(encodeGap(sample))) {
      const read = decodeGap(bytes);
      if (read === undefined) continue;
      expect(read.sinceNs < read.untilNs && Number.isSafeInteger(read.id + 1)).toBe(true);
      expect(GAP_CAUSES).toContain(read.cause);
      expect(decodeGap(encodeGap(read))).toEqual(read);
    }
    for (const bytes of mutationsOf(encodeClosed([closedSample, closedSample])))
      for (const { id } of decodeClosed(bytes)) expect(Number.isSafeInteger(id + 1)).toBe(true);
    for (const bytes of mutationsOf(encodeVerifications([verificationSample])))
      for (const { untilNs } of decodeVerifications(bytes)) expect(typeof untilNs).toBe('bigint');
    for (const bytes of mutationsOf(encodeMeetings([['peer', 12n]])))
      for (const [peer] of decodeMeetings(bytes)) expect(typeof peer).toBe('string');
    for (const bytes of mutationsOf(
      encodePulse({ aliveMs: 1_787_184_000_000, scope: EVERYTHING, rounds: 3 }),
    )) {
      const read = decodePulse(bytes);
      expect(read === undefined || (Number.isInteger(read.rounds) && read.rounds >= 0)).toBe(true);
    }
  });

  it('that is none at all is read as nothing', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array(),
          fc.json().map((json) => new TextEncoder().encode(json)),
        ),
        (bytes) => {
          expect([decodeGap(bytes), decodePulse(bytes)]).toEqual([undefined, undefined]);
          for (const decodeList of [decodeClosed, decodeVerifications, decodeMeetings])
            expect(decodeList(bytes)).toEqual([]);
        },
      ),
    );
  });

  it('of a gap is refused where anything of it is wrong', () => {
    const { lastPeer: _, lastAttemptMs: __, lastCode: ___, ...untried } = sample;
    const asText = (value: object): Uint8Array =>
      new TextEncoder().encode(
        JSON.stringify(value, (_key, part) => (typeof part === 'bigint' ? String(part) : part)),
      );
    expect(decodeGap(asText(untried))).toEqual(untried);
    for (const wrong of [
      { untilNs: sample.sinceNs },
      { untilNs: sample.sinceNs - 1n },
      { sinceNs: -1n },
      { sinceNs: 10n ** 19n, untilNs: 10n ** 19n + 1n },
      { sinceNs: Number(sample.sinceNs) },
      { id: 0 },
      { id: 1.5 },
      { id: 1e12 },
      { id: '7' },
      { cause: 'whim' },
      { lastCode: 'toString' },
      { lastPeer: null },
      { witnesses: undefined },
      { scope: { pubsubTopics: [] } },
      { scope: { pubsubTopics: [1], contentTopics: [] } },
    ])
      expect([wrong, decodeGap(asText({ ...sample, ...wrong }))]).toEqual([wrong, undefined]);
  });
});
