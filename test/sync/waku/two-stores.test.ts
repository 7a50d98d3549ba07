/**
 * Sessions from beginning to end between two nodes in memory: they make both stores equal whatever differs, say
 * exactly what they found and moved, keep to their scope, window and direction, and end in a code when the peer
 * does not do its part.
 */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EVERYTHING, type Scope } from '../../../src/core/scope.ts';
import { boundAt, TIMESTAMP_MAX, timeOf } from '../../../src/core/sync-id.ts';
import { type ErrorCode, LacunaError } from '../../../src/errors.ts';
import { LIMITS } from '../../../src/limits.ts';
import type { PeerLink, StoredMessage } from '../../../src/ports.ts';
import type { SessionPlan, SessionResult } from '../../../src/sync/session.ts';
import { encodeRanges } from '../../../src/wire/waku-ranges.ts';
import { Chance } from '../../core/random-sets.ts';
import { endedIn } from '../../ended-in.ts';
import { MemoryStore } from '../../memory-store.ts';
import {
  CHAT,
  hexOf,
  messageOf,
  NOTES,
  NOW_NS,
  SHARD_0,
  SHARD_1,
  samples,
  stored,
} from '../../sample-messages.ts';
import { MemoryChannel } from '../memory-channel.ts';
import { Party, WAKU_ONLY } from '../party.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { allServed, type LinkInit, meddledLink } from './meddled-link.ts';

interface Two {
  readonly clock: VirtualClock;
  readonly a: Party;
  readonly b: Party;
}

function two(
  ours: readonly StoredMessage[],
  theirs: readonly StoredMessage[],
  scopeOfB: Scope = EVERYTHING,
): Two {
  const clock = new VirtualClock();
  const a = new Party('a', clock, { messages: ours });
  const b = new Party('b', clock, { messages: theirs, scope: scopeOfB });
  return { clock, a, b };
}

const ALL_OF_TIME: SessionPlan = {
  scope: EVERYTHING,
  sinceNs: 0n,
  untilNs: TIMESTAMP_MAX,
  direction: 'both',
  dryRun: false,
};

/** A session of one party, after which nobody serves anybody any more. */
async function session(
  party: Party,
  link: PeerLink,
  plan: Partial<SessionPlan> = {},
  stop?: AbortSignal,
): Promise<SessionResult> {
  const { clock, synchroniser } = party;
  try {
    return await clock.run(synchroniser.synchronise(link, { ...ALL_OF_TIME, ...plan }, stop));
  } finally {
    await allServed(clock);
  }
}

function codesOf({ ended }: Party): (ErrorCode | undefined)[] {
  return ended.map(({ error }) => error?.code);
}

function hashesOf({ store }: Party): string[] {
  return store.messages.map(hexOf).sort();
}

function union(...lists: readonly (readonly StoredMessage[])[]): string[] {
  return [...new Set(lists.flatMap((list) => list.map(hexOf)))].sort();
}

describe('two stores', () => {
  it('become equal, whatever differs', async () => {
    const parameters = fc.record({
      seed: fc.nat(),
      count: fc.oneof(
        { weight: 4, arbitrary: fc.nat(120) },
        { weight: 1, arbitrary: fc.integer({ min: 500, max: 4_000 }) },
      ),
      stepNs: fc.constantFrom(0n, 1n, 3n, 1_000_000n, 60_000_000_000n),
      // Of a hundred messages, how many each side lacks.
      oursLack: fc.constantFrom(0, 1, 10, 50, 100),
      theirsLack: fc.constantFrom(0, 1, 10, 50, 100),
      isLacuna: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(parameters, async ({ seed, count, stepNs, oursLack, theirsLack, isLacuna }) => {
        const chance = new Chance(seed);
        const pool = samples(count, { seed, stepNs, payloadBytes: 12 });
        const ours = pool.filter(() => chance.below(100) >= oursLack);
        const theirs = pool.filter(() => chance.below(100) >= theirsLack);
        const { a, b } = two(ours, theirs);
        const result = await session(a, meddledLink(a, b, { isLacuna }));
        expect(hashesOf(a)).toEqual(union(ours, theirs));
        expect(hashesOf(b)).toEqual(union(ours, theirs));
        expect([result.missing, result.refused]).toEqual([0, 0]);
        // Two that take each other for stock nodes do not tell each other what they will send.
        if (isLacuna) {
          expect(result).toMatchObject({
            need: union(ours, theirs).length - ours.length,
            have: union(ours, theirs).length - theirs.length,
            received: union(ours, theirs).length - ours.length,
            sent: union(ours, theirs).length - theirs.length,
            verified: true,
          });
        }
        expect([a.strikes.strikesOf('b'), b.strikes.strikesOf('a')]).toEqual([0, 0]);
        expect([a.sessions.running, b.sessions.running]).toEqual([0, 0]);
      }),
      { numRuns: 80 },
    );
  });

  it('that are equal, all under one timestamp, say so after a second exchange', async () => {
    const messages = samples(2_601, { stepNs: 0n, payloadBytes: 12 });
    const { a, b } = two(messages, messages);
    expect(await session(a, meddledLink(a, b))).toMatchObject({ need: 0, have: 0, verified: true });
  });

  it('that are equal say so in one exchange', async () => {
    const messages = samples(2_000);
    const { a, b } = two(messages, messages);
    const result = await session(a, meddledLink(a, b));
    expect(result).toMatchObject({ rounds: 2, need: 0, have: 0, sent: 0, received: 0, verified: true });
    expect(result.bytesSent + result.bytesReceived).toBeLessThan(200);
    expect(b.ended).toMatchObject([
      { error: undefined, result: { role: 'responder', verified: true, need: 0, have: 0 } },
    ]);
    expect(a.ended).toMatchObject([{ error: undefined, result: { role: 'initiator', peer: 'b' } }]);
  });

  it('that are empty are equal', async () => {
    const { a, b } = two([], []);
    expect(await session(a, meddledLink(a, b))).toMatchObject({
      verified: true,
      need: 0,
      have: 0,
      rounds: 2,
    });
  });

  it('of ten thousand messages are compared with one fingerprint after they were found equal', async () => {
    const messages = samples(10_000, { payloadBytes: 8 });
    const { a, b } = two(messages, messages);
    const first = await session(a, meddledLink(a, b));
    const second = await session(a, meddledLink(a, b));
    expect(first.reconciliationBytesSent).toBeGreaterThan(200);
    expect(second.reconciliationBytesSent).toBeLessThan(100);
    // What was agreed on long ago says nothing.
    await a.clock.advance(LIMITS.agreementMs);
    expect((await session(a, meddledLink(a, b))).reconciliationBytesSent).toBeGreaterThan(200);
  });

  it('count every byte that moves', async () => {
    const pool = samples(400);
    const { a, b } = two(pool.slice(0, 300), pool.slice(100));
    const ends: MemoryChannel[] = [];
    const transfers: { sender: MemoryChannel; receiver: MemoryChannel; from: string }[] = [];
    const link = meddledLink(a, b, {
      onReconciliation: (ours, theirs) => {
        ends.push(ours, theirs);
        return undefined;
      },
      onTransfer: (sender, receiver, from) => {
        transfers.push({ sender, receiver, from });
        return undefined;
      },
    });
    const result = await session(a, link);
    const weigh = (channels: readonly MemoryChannel[]): number =>
      channels
        .flatMap(({ written }) => written)
        .reduce(
          (sum, frame) => sum + frame.length + (frame.length < 128 ? 1 : frame.length < 16_384 ? 2 : 3),
          0,
        );
    const [ours, theirs] = [ends.filter((_, at) => at % 2 === 0), ends.filter((_, at) => at % 2 === 1)];
    const sentBy = (name: string): MemoryChannel[] =>
      transfers.filter(({ from }) => from === name).map(({ sender }) => sender);
    expect(result.reconciliationBytesSent).toBe(weigh(ours));
    expect(result.reconciliationBytesReceived).toBe(weigh(theirs));
    expect(result.bytesSent).toBe(weigh(ours) + weigh(sentBy('a')));
    expect(result.bytesReceived).toBe(weigh(theirs) + weigh(sentBy('b')));
    expect(result.rounds).toBe(ends.flatMap(({ written }) => written).length);
    // Every stream was closed by both.
    const all = [...ends, ...transfers.flatMap(({ sender, receiver }) => [sender, receiver])];
    expect(all.filter(({ isClosed, isReset }) => !isClosed || isReset)).toEqual([]);
  });
});

describe('a direction', () => {
  const pool = samples(300);
  const [ours, theirs] = [pool.slice(0, 200), pool.slice(100)];

  it('pull fetches and sends nothing', async () => {
    const { a, b } = two(ours, theirs);
    const result = await session(a, meddledLink(a, b), { direction: 'pull' });
    expect(result).toMatchObject({ need: 100, have: 100, received: 100, sent: 0, missing: 0, refused: 0 });
    expect(hashesOf(a)).toEqual(union(pool));
    expect(hashesOf(b)).toEqual(union(theirs));
  });

  it('push sends and takes nothing, and holds that against nobody', async () => {
    const { a, b } = two(ours, theirs);
    const result = await session(a, meddledLink(a, b), { direction: 'push' });
    expect(result).toMatchObject({
      have: 100,
      received: 0,
      sent: 100,
      refusals: { TRANSFER_NOT_WANTED: 100 },
    });
    expect(hashesOf(a)).toEqual(union(ours));
    expect(hashesOf(b)).toEqual(union(pool));
    expect(a.strikes.strikesOf('b')).toBe(0);
  });

  it('in a dry run moves nothing, and finds exactly what differs', async () => {
    const { a, b } = two(ours, theirs);
    const result = await session(a, meddledLink(a, b), { dryRun: true });
    expect(result).toMatchObject({ need: 100, have: 100, received: 0, sent: 0, verified: false });
    expect([hashesOf(a), hashesOf(b)]).toEqual([union(ours), union(theirs)]);
    expect(a.strikes.strikesOf('b')).toBe(0);
  });

  it('in a dry run against one that has nothing, or that we have nothing of, finds it all', async () => {
    for (const [here, there] of [
      [pool, []],
      [[], pool],
      [[], []],
      [pool, pool],
    ] as const) {
      const { a, b } = two(here, there);
      const result = await session(a, meddledLink(a, b), { dryRun: true });
      expect([result.have, result.need]).toEqual([
        here.length - (there.length && here.length),
        there.length - (there.length && here.length),
      ]);
      expect(result.verified).toBe(here.length === there.length);
      expect([hashesOf(a), hashesOf(b)]).toEqual([union(here), union(there)]);
    }
  });
});

describe('a scope', () => {
  const pool = samples(400, { pubsubTopics: [SHARD_0, SHARD_1], contentTopics: [CHAT, NOTES] });
  const ours = pool.filter((_, at) => at % 4 !== 0);
  const theirs = pool.filter((_, at) => at % 4 !== 1);
  const within = (scope: Scope, messages: readonly StoredMessage[]): StoredMessage[] =>
    new MemoryStore(messages).select(scope, 0n, NOW_NS);

  it.each<[string, { a?: Scope; plan?: Scope; b?: Scope }, Scope]>([
    [
      'of the plan',
      { plan: { pubsubTopics: [SHARD_0], contentTopics: [] } },
      { pubsubTopics: [SHARD_0], contentTopics: [] },
    ],
    [
      'of a content topic',
      { plan: { pubsubTopics: [], contentTopics: [NOTES] } },
      { pubsubTopics: [], contentTopics: [NOTES] },
    ],
    [
      'of both kinds',
      { plan: { pubsubTopics: [SHARD_1], contentTopics: [CHAT] } },
      { pubsubTopics: [SHARD_1], contentTopics: [CHAT] },
    ],
    [
      'of the responder',
      { b: { pubsubTopics: [SHARD_1], contentTopics: [] } },
      { pubsubTopics: [SHARD_1], contentTopics: [] },
    ],
    [
      'that is what both cover',
      {
        plan: { pubsubTopics: [SHARD_0, SHARD_1], contentTopics: [] },
        b: { pubsubTopics: [SHARD_1], contentTopics: [CHAT] },
      },
      { pubsubTopics: [SHARD_1], contentTopics: [CHAT] },
    ],
    [
      'named in another order',
      {
        plan: { pubsubTopics: [SHARD_1, SHARD_0], contentTopics: [] },
        b: { pubsubTopics: [SHARD_0, SHARD_1], contentTopics: [] },
      },
      { pubsubTopics: [], contentTopics: [] },
    ],
  ])('%s is all that is compared and moved', async (_, scopes, common) => {
    const { a, b } = two(ours, theirs, scopes.b);
    const result = await session(
      a,
      meddledLink(a, b),
      scopes.plan === undefined ? {} : { scope: scopes.plan },
    );
    expect(hashesOf(a)).toEqual(union(ours, within(common, theirs)));
    expect(hashesOf(b)).toEqual(union(theirs, within(common, ours)));
    expect(result).toMatchObject({ missing: 0, refused: 0, verified: true });
    expect(codesOf(b).filter((code) => code !== undefined)).toEqual([]);
    expect([a.strikes.strikesOf('b'), b.strikes.strikesOf('a')]).toEqual([0, 0]);
  });

  it.each<[string, Scope, Scope]>([
    [
      'pubsub topics',
      { pubsubTopics: [SHARD_0], contentTopics: [] },
      { pubsubTopics: [SHARD_1], contentTopics: [] },
    ],
    [
      'content topics',
      { pubsubTopics: [], contentTopics: [CHAT] },
      { pubsubTopics: [], contentTopics: [NOTES] },
    ],
    [
      'content topics of a common pubsub topic',
      { pubsubTopics: [SHARD_0], contentTopics: [CHAT] },
      { pubsubTopics: [SHARD_0], contentTopics: [NOTES] },
    ],
  ])('without common %s ends in a code on both sides, with nothing moved', async (_, here, there) => {
    const { a, b } = two(ours, theirs, there);
    expect(await endedIn(session(a, meddledLink(a, b), { scope: here }))).toBe('SESSION_SCOPE');
    expect([codesOf(a), codesOf(b)]).toEqual([['SESSION_SCOPE'], ['SESSION_SCOPE']]);
    expect([hashesOf(a), hashesOf(b)]).toEqual([union(ours), union(theirs)]);
    expect([a.strikes.strikesOf('b'), b.strikes.strikesOf('a')]).toEqual([0, 0]);
  });

  it('that the peer answers with other topics ends in a code', async () => {
    const { a, clock } = two(ours, []);
    const answer = encodeRanges({
      pubsubTopics: [SHARD_1],
      contentTopics: [],
      claims: [
        { kind: 'fingerprint', lower: boundAt(0n), upper: boundAt(NOW_NS), fingerprint: new Uint32Array(8) },
      ],
    });
    const link: PeerLink = {
      peer: 'other',
      isLacuna: true,
      ...WAKU_ONLY,
      openReconciliation: async () => {
        const [here, there] = MemoryChannel.pair(clock);
        await there.write([answer]);
        return here;
      },
      openTransfer: () => Promise.reject(new LacunaError('INTERNAL', 'not of this test')),
    };
    expect(await endedIn(session(a, link, { scope: { pubsubTopics: [SHARD_0], contentTopics: [] } }))).toBe(
      'SESSION_SCOPE',
    );
  });

  it('of a topic that neither holds is equal', async () => {
    const { a, b } = two(ours, theirs);
    const result = await session(a, meddledLink(a, b), {
      scope: { pubsubTopics: ['/unknown'], contentTopics: [] },
    });
    expect(result).toMatchObject({ verified: true, need: 0, have: 0 });
  });
});

describe('a window', () => {
  it('is all that is compared and moved, from its first nanosecond to before its last', async () => {
    const pool = samples(300, { stepNs: 1n });
    const ours = pool.filter((_, at) => at % 2 === 0);
    const theirs = pool.filter((_, at) => at % 2 === 1);
    const [sinceNs, untilNs] = [timeOf(pool[101]!.id), timeOf(pool[201]!.id)];
    const { a, b } = two(ours, theirs);
    const result = await session(a, meddledLink(a, b), { sinceNs, untilNs });
    expect(result).toMatchObject({
      need: 50,
      have: 50,
      received: 50,
      sent: 50,
      verified: true,
      sinceNs,
      untilNs,
    });
    expect(hashesOf(a)).toEqual(union(ours, pool.slice(101, 201)));
    expect(hashesOf(b)).toEqual(union(theirs, pool.slice(101, 201)));
  });

  it('of one nanosecond holds what lies in it', async () => {
    const pool = stored(
      Array.from({ length: 40 }, (_, at) =>
        messageOf({ timestamp: 100n + BigInt(at >> 3), payload: Uint8Array.of(at) }),
      ),
    );
    const { a, b } = two(pool.slice(0, 20), pool.slice(10));
    const result = await session(a, meddledLink(a, b), { sinceNs: 102n, untilNs: 103n });
    expect(result).toMatchObject({ need: 4, received: 4, missing: 0 });
    expect(hashesOf(a)).toEqual(union(pool.slice(0, 24)));
  });
});

describe('messages that do not arrive', () => {
  it('are counted missing, with their hashes, and fetched by the next session', async () => {
    const pool = samples(60);
    const { a, b } = two(pool.slice(0, 40), pool);
    let lost = 0;
    const lossy: LinkInit = {
      onTransfer: () => (frame) => (lost++ % 4 === 0 ? undefined : frame),
    };
    // Every fourth is lost in the first pass; what is asked for again comes by the others.
    const result = await session(a, meddledLink(a, b, lossy));
    expect(result.missing).toBe(0);
    expect(hashesOf(a)).toEqual(union(pool));
  });

  it('however often asked for, stay missing and are named', async () => {
    const pool = samples(60);
    const { a, b } = two(pool.slice(0, 40), pool);
    const victims = new Set(pool.slice(50, 55).map(({ encoded }) => Buffer.from(encoded).toString('hex')));
    const link = meddledLink(a, b, {
      onTransfer: () => (frame) => (victims.has(Buffer.from(frame).toString('hex')) ? undefined : frame),
    });
    const result = await session(a, link);
    expect(result).toMatchObject({ need: 20, received: 15, missing: 5, verified: false });
    const named = Array.from({ length: result.missingHashes.count }, (_, row) =>
      hexOf({ id: result.missingHashes.at(row) }),
    );
    expect(named).toEqual(pool.slice(50, 55).map(hexOf));
    // The next session finds them again.
    const next = await session(a, meddledLink(a, b));
    expect(next).toMatchObject({ need: 5, received: 5, missing: 0, verified: true });
  });

  it('at all, as the peer opens no stream, end the session after a silence', async () => {
    const pool = samples(60);
    const { a, b } = two(pool.slice(0, 40), pool);
    const link = meddledLink(a, b, {
      onTransfer: (_opener, _server, from) => (from === 'b' ? () => undefined : undefined),
    });
    const result = await session(a, link);
    expect(result).toMatchObject({ need: 20, received: 0, missing: 20, verified: false });
    expect(result.durationMs).toBeGreaterThanOrEqual(LIMITS.unnamedIdleMs);
    expect(result.durationMs).toBeLessThanOrEqual(LIMITS.transferIdleMs * LIMITS.sessionPasses);
  });

  it('as our store refuses them, leave the session with what was kept', async () => {
    const pool = samples(60);
    const { a, b } = two(pool.slice(0, 40), pool);
    a.store.writable = false;
    const result = await session(a, meddledLink(a, b));
    expect(result).toMatchObject({ received: 0, missing: 20, verified: false });
    expect(a.strikes.strikesOf('b')).toBe(0);
    a.store.writable = true;
    expect(await session(a, meddledLink(a, b))).toMatchObject({ received: 20, missing: 0, verified: true });
  });
});

describe('a peer that does not do its part', () => {
  const pool = samples(100);

  it('and names messages that it does not have is not believed for long', async () => {
    const { a, b } = two(pool, samples(50, { seed: 5 }));
    // The peer lists its messages and drops them before it is asked.
    const link = meddledLink(a, b);
    const read = b.store.read.bind(b.store);
    b.store.read = (ids) => (b.store.messages.length > 0 ? empty() : read(ids));
    const result = await session(a, link);
    expect(result).toMatchObject({ need: 50, received: 0, missing: 50, verified: false });
  });

  it('and opens no stream, or cannot, has ended the session', async () => {
    const { a, clock } = two(pool, []);
    const link: PeerLink = {
      peer: 'script',
      isLacuna: true,
      ...WAKU_ONLY,
      openReconciliation: () => Promise.reject(new LacunaError('PEER_PROTOCOL', 'it does not speak this')),
      openTransfer: () => Promise.reject(new LacunaError('PEER_CLOSED', 'gone')),
    };
    expect(await endedIn(session(a, link))).toBe('PEER_PROTOCOL');
    const never = { ...link, ...WAKU_ONLY, openReconciliation: () => new Promise<never>(() => undefined) };
    const before = clock.monotonicMs();
    expect(await endedIn(session(a, never))).toBe('SESSION_BUDGET');
    expect(clock.monotonicMs() - before).toBe(LIMITS.sessionMs);
    expect(a.sessions.running).toBe(0);
  });

  it('whose stream for messages breaks has ended the session, and the next one sends what it missed', async () => {
    const { a, b } = two(pool, pool.slice(0, 10));
    let sent = 0;
    const link = meddledLink(a, b, {
      onTransfer: (_opener, server) => (frame) => {
        sent += 1;
        if (sent === 50) server.abort(new Error('reset'));
        return frame;
      },
    });
    expect(await endedIn(session(a, link))).toBe('PEER_CLOSED');
    expect(await session(a, meddledLink(a, b))).toMatchObject({ verified: true });
    expect(hashesOf(b)).toEqual(union(pool));
  });
});

describe('a session that is stopped', () => {
  it('ends in a code, resets its streams and keeps what has come', async () => {
    const pool = samples(100);
    const { a, b, clock } = two(pool.slice(0, 10), pool);
    const stop = new AbortController();
    const ends: MemoryChannel[] = [];
    const link = meddledLink(a, b, {
      onReconciliation: (ours) => {
        ends.push(ours);
        void clock.sleep(100).then(() => stop.abort(new LacunaError('SESSION_ABORTED', 'the node stops')));
        return () => undefined;
      },
    });
    expect(await endedIn(session(a, link, {}, stop.signal))).toBe('SESSION_ABORTED');
    expect(codesOf(a)).toEqual(['SESSION_ABORTED']);
    expect(ends[0]?.isReset).toBe(true);
    expect(clock.monotonicMs()).toBeLessThan(LIMITS.sessionReadMs);
    expect(a.sessions.running).toBe(0);
    expect(await endedIn(session(a, link, {}, stop.signal))).toBe('SESSION_ABORTED');
    expect(b.sessions.running).toBe(0);
  });

  it('leaves nothing waiting behind', async () => {
    const pool = samples(100);
    const { a, b, clock } = two(pool.slice(0, 50), pool.slice(40));
    await session(a, meddledLink(a, b));
    const endedMs = clock.monotonicMs();
    await clock.runOut();
    expect(clock.monotonicMs()).toBe(endedMs);
  });
});

describe('limits', () => {
  it('hold so many sessions with one peer, and so many in all', async () => {
    const { a, clock } = two([], []);
    const silent = (peer: string): PeerLink => ({
      peer,
      isLacuna: true,
      ...WAKU_ONLY,
      openReconciliation: async () => MemoryChannel.pair(clock)[0],
      openTransfer: async () => MemoryChannel.pair(clock)[0],
    });
    const running = Array.from({ length: LIMITS.sessionsPerPeer }, () =>
      endedIn(a.synchroniser.synchronise(silent('x'), ALL_OF_TIME)),
    );
    expect(await endedIn(a.synchroniser.synchronise(silent('x'), ALL_OF_TIME))).toBe('SESSION_BUSY');
    for (let peer = 0; a.sessions.running < LIMITS.sessions; peer++) {
      running.push(endedIn(a.synchroniser.synchronise(silent(`y${peer}`), ALL_OF_TIME)));
    }
    expect(await endedIn(a.synchroniser.synchronise(silent('z'), ALL_OF_TIME))).toBe('SESSION_BUSY');
    const codes = await clock.run(Promise.all(running));
    expect(new Set(codes)).toEqual(new Set(['PEER_TIMEOUT']));
    expect(a.sessions.running).toBe(0);
  });

  it('keep a banned peer out until its time is over', async () => {
    const pool = samples(20);
    const { a, b, clock } = two(pool, []);
    b.strikes.strike('a', LIMITS.strikesBeforeBan);
    expect(b.strikes.isBanned('a')).toBe(true);
    expect(await endedIn(session(a, meddledLink(a, b)))).toBe('PEER_CLOSED');
    expect([codesOf(b)[0], b.store.count]).toEqual(['PEER_BANNED', 0]);
    await clock.advance(LIMITS.banMs);
    expect(await session(a, meddledLink(a, b))).toMatchObject({ sent: 20, verified: true });
  });
});

describe('many nodes', () => {
  it('that each hold a part hold all of it after each has spoken with the next, twice round', async () => {
    const clock = new VirtualClock();
    const pool = samples(500);
    const chance = new Chance(4);
    const parties = Array.from(
      { length: 5 },
      (_, at) => new Party(`p${at}`, clock, { messages: pool.filter(() => chance.below(5) === 0) }),
    );
    const all = union(...parties.map(({ store }) => store.messages));
    for (let turn = 0; turn < 2 * parties.length; turn++) {
      const [from, to] = [parties[turn % 5]!, parties[(turn + 1) % 5]!];
      expect((await session(from, meddledLink(from, to))).verified).toBe(true);
    }
    for (const party of parties) expect(hashesOf(party)).toEqual(all);
  });

  it('may all speak with one at the same time', async () => {
    const clock = new VirtualClock();
    const pool = samples(600);
    const chance = new Chance(4);
    const parties = Array.from(
      { length: 6 },
      (_, at) => new Party(`p${at}`, clock, { messages: pool.filter(() => chance.below(3) === 0) }),
    );
    const all = union(...parties.map(({ store }) => store.messages));
    const [hub, ...rest] = parties as [Party, ...Party[]];
    const results = await clock.run(
      Promise.all(rest.map((party) => party.synchroniser.synchronise(meddledLink(party, hub), ALL_OF_TIME))),
    );
    expect(results.map(({ missing }) => missing)).toEqual(rest.map(() => 0));
    expect(hashesOf(hub)).toEqual(all);
    for (const party of rest) {
      await session(party, meddledLink(party, hub));
      expect(hashesOf(party)).toEqual(all);
    }
    expect(
      parties.flatMap((party) => parties.map(({ name }) => party.strikes.strikesOf(name))),
    ).not.toContain(1);
  });

  it('two of which open sessions with each other at once become equal', async () => {
    const pool = samples(400);
    const { a, b, clock } = two(pool.slice(0, 250), pool.slice(150));
    const results = await clock.run(
      Promise.all([
        a.synchroniser.synchronise(meddledLink(a, b), ALL_OF_TIME),
        b.synchroniser.synchronise(meddledLink(b, a), ALL_OF_TIME),
      ]),
    );
    expect(results.map(({ missing, refused }) => [missing, refused])).toEqual([
      [0, 0],
      [0, 0],
    ]);
    expect([hashesOf(a), hashesOf(b)]).toEqual([union(pool), union(pool)]);
  });
});

async function* empty(): AsyncGenerator<Uint8Array> {}
