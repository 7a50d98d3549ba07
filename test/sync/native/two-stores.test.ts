/**
 * Two stores and the native protocol between them: whatever they hold, whatever is asked for, both sides end with what
 * a simple oracle says, and both say the same of it.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EVERYTHING, inScope, intersectScopes, type Scope } from '../../../src/core/scope.ts';
import { TIMESTAMP_MAX, timeOf } from '../../../src/core/sync-id.ts';
import { LIMITS } from '../../../src/limits.ts';
import type { StoredMessage } from '../../../src/ports.ts';
import type { Direction, SessionPlan } from '../../../src/sync/session.ts';
import { encodeMessageAndTopic } from '../../../src/wire/waku-message.ts';
import { Chance } from '../../core/random-sets.ts';
import { endedIn } from '../../ended-in.ts';
import { CHAT, hexOf, messageOf, NOTES, NOW_NS, SHARD_0, SHARD_1, samples } from '../../sample-messages.ts';
import { HOUR, hashes, Party } from '../party.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { storedAs, tappedSession, Wiretap } from './wiretap.ts';

const POOL = 3_000;
const DAY_NS = 86_400_000_000_000n;
/** How the messages lie in time: all at once, in bursts, or spread over up to two months. */
const STEPS_NS = [0n, 1n, 1_000_000n, 1_000_000_000n, 1_800_000_000_000n] as const;
const pools = new Map<bigint, readonly StoredMessage[]>();

/** Made once for each step: what a run takes of it is up to its seed. */
function poolOf(stepNs: bigint): readonly StoredMessage[] {
  const pool =
    pools.get(stepNs) ??
    samples(POOL, {
      seed: Number(stepNs % 1_000n) + 1,
      stepNs,
      payloadBytes: 8,
      pubsubTopics: [SHARD_0, SHARD_1],
      contentTopics: [CHAT, NOTES],
    });
  pools.set(stepNs, pool);
  return pool;
}

const LOSSES = ['scattered', 'few', 'gap', 'all of one', 'newest', 'none'] as const;
type Loss = (typeof LOSSES)[number];

/** Two stores that differ in this way; `onlyB` says whether the one that lacks is a, b, or each in turn. */
function split(
  pool: readonly StoredMessage[],
  loss: Loss,
  lacking: 'a' | 'b' | 'both',
  chance: Chance,
): [StoredMessage[], StoredMessage[]] {
  const a: StoredMessage[] = [];
  const b: StoredMessage[] = [];
  const from = chance.below(pool.length + 1);
  const to = from + chance.below(pool.length + 1 - from);
  const tenth = pool.length - Math.ceil(pool.length / 10);
  for (const [at, message] of pool.entries()) {
    const isLost =
      loss === 'scattered'
        ? chance.below(10) < 4
        : loss === 'few'
          ? chance.below(200) === 0
          : loss === 'gap'
            ? at >= from && at < to
            : loss === 'newest'
              ? at >= tenth
              : loss === 'all of one';
    const side = lacking === 'both' ? chance.pick(['a', 'b'] as const) : lacking;
    if (!isLost || side === 'b') a.push(message);
    if (!isLost || side === 'a') b.push(message);
  }
  return [a, b];
}

const SCOPES: readonly Scope[] = [
  EVERYTHING,
  EVERYTHING,
  { pubsubTopics: [SHARD_0], contentTopics: [] },
  { pubsubTopics: [SHARD_1, SHARD_0], contentTopics: [CHAT] },
  { pubsubTopics: [], contentTopics: [NOTES, CHAT] },
  { pubsubTopics: [], contentTopics: [CHAT] },
];

const WINDOWS = ['all', 'all', 'part', 'part', 'the newest moment', 'none of it'] as const;

/** `[since, until)` in relation to the messages, with bounds that lie on them. */
function windowOf(
  kind: (typeof WINDOWS)[number],
  pool: readonly StoredMessage[],
  chance: Chance,
): readonly [bigint, bigint] {
  if (kind === 'the newest moment') return [NOW_NS - 1n, NOW_NS + 1n];
  if (kind === 'none of it') return [NOW_NS, NOW_NS + 1n];
  if (kind === 'all' || pool.length === 0) return [0n, TIMESTAMP_MAX];
  const from = chance.below(pool.length);
  const to = from + chance.below(pool.length - from);
  return [timeOf(pool[from]!.id), timeOf(pool[to]!.id) + BigInt(chance.below(2))];
}

const parameters = fc.record({
  seed: fc.nat(),
  size: fc.oneof(
    { weight: 3, arbitrary: fc.nat(40) },
    { weight: 4, arbitrary: fc.nat(400) },
    { weight: 3, arbitrary: fc.noBias(fc.integer({ min: 400, max: POOL })) },
  ),
  stepNs: fc.constantFrom(...STEPS_NS),
  loss: fc.constantFrom(...LOSSES),
  lacking: fc.constantFrom('a', 'b', 'both'),
  direction: fc.constantFrom<Direction>('both', 'both', 'pull', 'push'),
  dryRun: fc.constantFrom(false, false, false, true),
  audit: fc.boolean(),
  scope: fc.constantFrom(...SCOPES),
  scopeOfB: fc.constantFrom(...SCOPES),
  window: fc.constantFrom(...WINDOWS),
});

function union(...lists: readonly (readonly StoredMessage[])[]): string[] {
  return [...new Set(lists.flatMap((list) => list.map(hexOf)))].sort();
}

describe('two stores', () => {
  it('are made equal, both sides say so', async () => {
    const clock = new VirtualClock();
    const messages = samples(400);
    const a = new Party('a', clock, { messages: messages.slice(0, 300) });
    const b = new Party('b', clock, { messages: messages.slice(100) });
    const { result } = await tappedSession(a, b);
    expect(result).toMatchObject({
      dialect: 'native',
      role: 'initiator',
      peer: 'b',
      have: 100,
      need: 100,
      received: 100,
      sent: 100,
      missing: 0,
      capped: false,
      verified: true,
    });
    expect(a.holdings).toEqual(hashes(messages));
    expect(b.holdings).toEqual(hashes(messages));
    expect(b.ended).toMatchObject([
      { error: undefined, result: { role: 'responder', peer: 'a', verified: true, received: 100 } },
    ]);
  });

  it('end as the oracle says, whatever they hold and whatever is asked for', async () => {
    const moved = { pull: 0, push: 0, both: 0, dry: 0, windows: 0, scopes: 0, large: 0 };
    const property = fc.asyncProperty(parameters, async (chosen) => {
      const { seed, size, stepNs, loss, lacking, direction, dryRun, audit, scope, scopeOfB, window } = chosen;
      const chance = new Chance(seed);
      const whole = poolOf(stepNs);
      const start = chance.below(POOL - size + 1);
      const pool = whole.slice(start, start + size);
      const [ours, theirs] = split(pool, loss, lacking, chance);
      const clock = new VirtualClock();
      const a = new Party('a', clock, { messages: ours });
      const b = new Party('b', clock, { messages: theirs, scope: scopeOfB });
      const [sinceNs, from] = windowOf(window, pool, chance);
      const untilNs = from > sinceNs ? from : sinceNs + 1n;
      const common = intersectScopes(scopeOfB, scope)!;

      // The oracle: sets, and nothing else.
      const isInScope = ({ pubsubTopic, contentTopic }: StoredMessage): boolean =>
        inScope(common, pubsubTopic, contentTopic);
      const isCovered = (message: StoredMessage): boolean =>
        timeOf(message.id) >= sinceNs && timeOf(message.id) < untilNs && isInScope(message);
      const held = { a: new Set(ours), b: new Set(theirs) };
      const onlyA = ours.filter((message) => !held.b.has(message) && isCovered(message));
      const onlyB = theirs.filter((message) => !held.a.has(message) && isCovered(message));
      const pulls = !dryRun && direction !== 'push';
      const pushes = !dryRun && direction !== 'pull';
      const toA = pulls ? onlyB : [];
      const toB = pushes ? onlyA : [];
      const isEqual = toA.length === onlyB.length && toB.length === onlyA.length;

      const plan: SessionPlan = { scope, sinceNs, untilNs, direction, dryRun, audit };
      const { tap, result } = await tappedSession(a, b, plan);

      expect(a.holdings).toEqual(union(ours, toA));
      expect(b.holdings).toEqual(union(theirs, toB));
      const rounds = tap.written('payload').length;
      const clean = { rounds, refused: 0, capped: false, verified: isEqual };
      const expectedOfA = {
        ...clean,
        have: onlyA.length,
        need: onlyB.length,
        received: toA.length,
        sent: toB.length,
        missing: onlyB.length - toA.length,
        complete: onlyB.length === toA.length,
        bytesSent: tap.weight('a'),
        bytesReceived: tap.weight('b'),
      };
      const expectedOfB = {
        ...clean,
        have: onlyB.length,
        need: onlyA.length,
        received: toB.length,
        sent: toA.length,
        missing: onlyA.length - toB.length,
        complete: onlyA.length === toB.length,
        bytesSent: tap.weight('b'),
        bytesReceived: tap.weight('a'),
      };
      expect(result).toMatchObject(expectedOfA);
      expect(a.ended).toMatchObject([{ error: undefined, result: expectedOfA }]);
      expect(b.ended).toMatchObject([{ error: undefined, result: expectedOfB }]);
      expect(tap.messages('a').sort()).toEqual(hashes(toB));
      expect(tap.messages('b').sort()).toEqual(hashes(toA));
      expect([a.strikes.strikesOf('b'), b.strikes.strikesOf('a')]).toEqual([0, 0]);
      expect([a.sessions.running, b.sessions.running]).toEqual([0, 0]);
      expect(clock.monotonicMs()).toBe(0);

      if (dryRun && onlyA.length + onlyB.length > 0) moved.dry += 1;
      if (toA.length + toB.length > 0) moved[direction] += 1;
      if (toA.length > 0 && pool.some(({ id }) => timeOf(id) < sinceNs)) moved.windows += 1;
      if (toA.length > 0 && pool.some((message) => !isInScope(message))) moved.scopes += 1;
      if (toA.length + toB.length > 200) moved.large += 1;
    });
    await fc.assert(property, { numRuns: 500 });

    // What the runs are about has happened in many of them.
    for (const times of Object.values(moved)) expect(times).toBeGreaterThan(5);
  });

  it('of three thousand, without anything in common, are both filled', async () => {
    const pool = poolOf(1_000_000n);
    const clock = new VirtualClock();
    const a = new Party('a', clock, { messages: pool.slice(0, 1_500) });
    const b = new Party('b', clock, { messages: pool.slice(1_500) });
    const { result } = await tappedSession(a, b);
    expect(result).toMatchObject({ have: 1_500, need: 1_500, received: 1_500, sent: 1_500, verified: true });
    expect([a.holdings, b.holdings]).toEqual([hashes(pool), hashes(pool)]);
  });
});

describe('a window', () => {
  it('leaves what lies outside it alone', async () => {
    const pool = samples(300, { stepNs: 1_000_000_000n });
    const clock = new VirtualClock();
    const a = new Party('a', clock, { messages: pool.slice(0, 10) });
    const b = new Party('b', clock, { messages: pool.slice(10) });
    // The bounds lie on messages: the first is in, the last is not.
    const sinceNs = timeOf(pool[100]!.id);
    const untilNs = timeOf(pool[200]!.id);
    const { result } = await tappedSession(a, b, { sinceNs, untilNs });
    expect(result).toMatchObject({ need: 100, have: 0, received: 100, verified: true, sinceNs, untilNs });
    expect(a.holdings).toEqual(hashes([...pool.slice(0, 10), ...pool.slice(100, 200)]));
  });

  it('that is later than anything the responder takes is refused, and both know why', async () => {
    const clock = new VirtualClock();
    const messages = samples(20);
    const a = new Party('a', clock, { messages });
    const b = new Party('b', clock, { messages });
    const sinceNs = NOW_NS + BigInt(LIMITS.importFutureMs) * 1_000_000n;
    const plan = { sinceNs, untilNs: sinceNs + 1_000n };
    expect(await endedIn(tappedSession(a, b, plan))).toBe('SESSION_WINDOW');
    expect([a.lastError, b.lastError]).toEqual(['SESSION_WINDOW', 'SESSION_WINDOW']);
    // A nanosecond earlier, there is one.
    expect(await endedIn(tappedSession(a, b, { ...plan, sinceNs: sinceNs - 1n }))).toBeUndefined();
    expect([a.strikes.strikesOf('b'), b.strikes.strikesOf('a')]).toEqual([0, 0]);
  });

  it('without a moment in it is refused', async () => {
    const clock = new VirtualClock();
    const [a, b] = [new Party('a', clock), new Party('b', clock)];
    const plan = { sinceNs: NOW_NS, untilNs: NOW_NS };
    expect(await endedIn(tappedSession(a, b, plan))).toBe('SESSION_WINDOW');
    expect(b.lastError).toBe('SESSION_WINDOW');
  });

  it('is refused in the words of the protocol', async () => {
    const clock = new VirtualClock();
    const [a, b] = [new Party('a', clock), new Party('b', clock)];
    const tap = new Wiretap();
    const plan = { sinceNs: TIMESTAMP_MAX - 1n, untilNs: TIMESTAMP_MAX };
    expect(await endedIn(tappedSession(a, b, plan, tap))).toBe('SESSION_WINDOW');
    expect(tap.written('refuse', 'b')).toMatchObject([{ reason: 'window', retryAfterMs: 0 }]);
  });
});

describe('a scope', () => {
  it('that the two have no topic of in common is refused, and both know why', async () => {
    const messages = samples(20);
    const pairs: [Scope, Scope][] = [
      [
        { pubsubTopics: [SHARD_0], contentTopics: [] },
        { pubsubTopics: [SHARD_1], contentTopics: [] },
      ],
      [
        { pubsubTopics: [SHARD_0], contentTopics: [CHAT] },
        { pubsubTopics: [SHARD_0], contentTopics: [NOTES] },
      ],
    ];
    for (const [scope, scopeOfB] of pairs) {
      const clock = new VirtualClock();
      const a = new Party('a', clock, { messages });
      const b = new Party('b', clock, { scope: scopeOfB });
      const tap = new Wiretap();
      expect(await endedIn(tappedSession(a, b, { scope }, tap))).toBe('SESSION_SCOPE');
      expect([a.lastError, b.lastError]).toEqual(['SESSION_SCOPE', 'SESSION_SCOPE']);
      expect(tap.written('refuse', 'b')).toMatchObject([{ reason: 'scope', retryAfterMs: 0 }]);
      expect(tap.written('payload')).toEqual([]);
      expect(b.holdings).toEqual([]);
      expect([a.strikes.strikesOf('b'), b.strikes.strikesOf('a')]).toEqual([0, 0]);
      expect([a.sessions.running, b.sessions.running]).toEqual([0, 0]);
    }
  });
});

describe('a message that one side refuses', () => {
  it('is missing, counts against nobody, and keeps the session from being verified', async () => {
    const ahead = messageOf({ timestamp: NOW_NS + (23n * DAY_NS) / 24n });
    const pool = samples(100);
    const theirs = [...pool, storedAs(encodeMessageAndTopic(ahead))];
    const plan = { untilNs: NOW_NS + 2n * DAY_NS };
    for (const direction of ['both', 'push'] as const) {
      const clock = new VirtualClock();
      const [a, b] = [new Party('a', clock, { messages: pool }), new Party('b', clock, { messages: theirs })];
      // Whoever opens the session: the one that has it sends it, the other one refuses it.
      const [from, to] = direction === 'both' ? [a, b] : [b, a];
      await tappedSession(from, to, { ...plan, direction });
      expect(a.ended).toMatchObject([
        {
          error: undefined,
          result: {
            need: 1,
            received: 0,
            refused: 1,
            refusals: { MESSAGE_TIMESTAMP_FUTURE: 1 },
            missing: 1,
            complete: false,
            verified: false,
          },
        },
      ]);
      expect(a.ended[0]!.result.missingHashes.count).toBe(1);
      expect(b.ended).toMatchObject([{ error: undefined, result: { have: 1, missing: 0, verified: false } }]);
      expect(a.holdings).toEqual(hashes(pool));
      expect([a.sessions.running, b.sessions.running]).toEqual([0, 0]);
    }
  });

  it('is no fault of the peer that has it', async () => {
    const ahead = messageOf({ timestamp: NOW_NS + (23n * DAY_NS) / 24n });
    const clock = new VirtualClock();
    const a = new Party('a', clock);
    const b = new Party('b', clock, { messages: [storedAs(encodeMessageAndTopic(ahead))] });
    await tappedSession(a, b, { ...HOUR, untilNs: NOW_NS + 2n * DAY_NS });
    expect([a.strikes.strikesOf('b'), b.strikes.strikesOf('a')]).toEqual([0, 0]);
  });
});
