/** Who is over a budget is turned away: politely where the dialect has words for it, and before anything is read. */
import { describe, expect, it } from 'vitest';
import { SyncIdList } from '../../src/core/sync-id.ts';
import { LacunaError } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { refusalOf } from '../../src/sync/native/refusal.ts';
import { WakuSession } from '../../src/sync/waku/session.ts';
import { endedIn } from '../ended-in.ts';
import { samples } from '../sample-messages.ts';
import { MemoryChannel } from './memory-channel.ts';
import { HOUR, hashes, Party } from './party.ts';
import { VirtualClock } from './virtual-clock.ts';

const pool = samples(200);

function pair(init: { friend?: string } = {}) {
  const clock = new VirtualClock();
  const a = new Party('a', clock);
  const b = new Party('b', clock, { messages: pool, ...init });
  return { clock, a, b };
}

async function failureOf(work: Promise<unknown>): Promise<LacunaError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof LacunaError) return error;
  }
  throw new Error('it did not fail as it should');
}

describe('a peer that opens too many sessions', () => {
  it('is told when to come again, and is served then', async () => {
    const { clock, a, b } = pair();
    for (let session = 0; session < LIMITS.peerSessionsPerMinute; session++) b.budgets.openSession('a');
    const error = await failureOf(clock.run(a.native.synchronise(a.linkTo(b), HOUR)));
    expect(error.code).toBe('PEER_BUSY');
    expect(error.retryAfterMs).toBe(Math.ceil(60_000 / LIMITS.peerSessionsPerMinute));
    // Nothing was made for it on the other side: no session, no report, no line in the log.
    expect([b.ended, b.log.lines, b.sessions.running]).toEqual([[], [], 0]);
    expect(b.counts.all['peer-sessions']).toBe(1);
    await clock.advance(error.retryAfterMs!);
    const result = await clock.run(a.native.synchronise(a.linkTo(b), HOUR));
    expect(result).toMatchObject({ received: pool.length, verified: true });
  });

  it('on the Waku wire finds its stream reset, and nothing read', async () => {
    const { clock, a, b } = pair();
    for (let session = 0; session < LIMITS.peerSessionsPerMinute; session++) b.budgets.openSession('a');
    expect(await endedIn(a.synchronise(b))).toBe('PEER_CLOSED');
    expect([b.ended, b.log.lines]).toEqual([[], []]);
    const [here, there] = MemoryChannel.pair(clock);
    await there.write([Uint8Array.of(1)]);
    await b.both.serve('waku', b.linkTo(a), here);
    expect(there.isReset).toBe(true);
  });
});

describe('a peer that has been served all it may be', () => {
  it.each(['native', 'waku'] as const)('gets no more within a session of the %s dialect', async (dialect) => {
    const { clock, a, b } = pair();
    // More than an eighth is left, so that a session begins: for fifty messages, and not for the rest.
    const left = LIMITS.peerServedBytesPerHour / 8;
    b.budgets.serve('a', LIMITS.peerServedBytesPerHour - left);
    const link = a.linkTo(b);
    const speaker = dialect === 'native' ? a.native : a.synchroniser;
    const opened = clock.run(speaker.synchronise(link, HOUR));
    b.budgets.serve('a', left - 1_000);
    const error = await failureOf(opened);
    expect(error.code).toBe(dialect === 'native' ? 'PEER_BUSY' : 'PEER_CLOSED');
    if (dialect === 'native') expect(error.retryAfterMs).toBeGreaterThan(3_600_000 / 10);
    expect(b.lastError).toBe('SESSION_BUSY');
    expect(a.holdings.length).toBeLessThan(pool.length);
    // It is none the worse for it: no strikes on either side, and later it gets the rest.
    expect([a.strikes.strikesOf('b'), b.strikes.strikesOf('a')]).toEqual([0, 0]);
    await clock.advance(3_600_000);
    await clock.run(speaker.synchronise(link, HOUR));
    expect(a.holdings).toEqual(hashes(pool));
  });

  it('is served for ever if the operator knows it', async () => {
    const { clock, a, b } = pair({ friend: 'a' });
    for (let time = 0; time < 3; time++) b.budgets.serve('a', LIMITS.peerServedBytesPerHour);
    expect(await clock.run(a.native.synchronise(a.linkTo(b), HOUR))).toMatchObject({ verified: true });
  });
});

describe('a peer for whose topics too much was read', () => {
  it.each(['native', 'waku'] as const)(
    'is compared with no more in the %s dialect, by topics',
    async (dialect) => {
      const { clock, a, b } = pair();
      const topics = { ...HOUR, scope: { pubsubTopics: [pool[0]!.pubsubTopic], contentTopics: [] } };
      const link = a.linkTo(b);
      const speaker = dialect === 'native' ? a.native : a.synchroniser;
      b.budgets.spendOnScope('a', 2 * LIMITS.peerScopeEntriesPerMinute);
      const error = await failureOf(clock.run(speaker.synchronise(link, topics)));
      expect(error.code).toBe(dialect === 'native' ? 'PEER_BUSY' : 'PEER_CLOSED');
      if (dialect === 'native') expect(error.retryAfterMs).toBe(60_000);
      expect([b.lastError, b.counts.all['peer-scopes']]).toEqual(['SESSION_BUSY', 1]);
      expect([a.strikes.strikesOf('b'), b.strikes.strikesOf('a'), a.holdings]).toEqual([0, 0, []]);
      await clock.advance(61_000);
      await clock.run(speaker.synchronise(link, topics));
      expect(a.holdings).toEqual(
        hashes(pool.filter(({ pubsubTopic }) => pubsubTopic === pool[0]!.pubsubTopic)),
      );
      // All that there is costs nobody anything.
      b.budgets.spendOnScope('a', 2 * LIMITS.peerScopeEntriesPerMinute);
      await clock.run(speaker.synchronise(link, HOUR));
      expect(a.holdings).toEqual(hashes(pool));
    },
  );
});

describe('a peer that pushes what nobody asked for', () => {
  it('is cut off when it is too much; what this node goes to fetch is taken all the same', async () => {
    const { clock, a, b } = pair();
    const encoded = pool.map((message) => message.encoded);
    a.sessions.add(new WakuSession('b', 'responder', HOUR, a.store, clock));
    a.budgets.takeUnasked('b', LIMITS.peerUnaskedMessagesPerHour - 100, 1);
    expect((await a.take('b', encoded.slice(0, 100))).isReset).toBe(false);
    expect(a.store.messages).toHaveLength(100);
    expect((await a.take('b', encoded.slice(100))).isReset).toBe(true);
    expect(a.store.messages).toHaveLength(100);
    expect(a.counts.all['peer-messages']).toBe(1);
    expect(a.strikes.strikesOf('b')).toBe(0);
    expect(await a.synchronise(b)).toMatchObject({ received: 100 });
    expect(a.counts.all['peer-messages']).toBe(1);
  });

  it('may bring what it has named before', async () => {
    const { clock, a } = pair();
    const session = new WakuSession('b', 'responder', HOUR, a.store, clock);
    a.sessions.add(session);
    a.budgets.takeUnasked('b', LIMITS.peerUnaskedMessagesPerHour, 1);
    session.needs(SyncIdList.of(...pool.slice(0, 50).map(({ id }) => id)));
    const encoded = pool.map((message) => message.encoded);
    expect((await a.take('b', encoded.slice(0, 50))).isReset).toBe(false);
    expect((await a.take('b', encoded)).isReset).toBe(true);
    expect(a.store.messages).toHaveLength(50);
  });
});

describe('a refusal', () => {
  it('carries the time that its error knows, as whole milliseconds; else that of the protocol', () => {
    const busy = (retryAfterMs?: number) => refusalOf(new LacunaError('SESSION_BUSY', '', { retryAfterMs }));
    expect(busy(12.3)).toMatchObject({ reason: 'busy', retryAfterMs: 13 });
    expect(busy()).toMatchObject({ reason: 'busy', retryAfterMs: LIMITS.nativeRetryMs });
    expect(refusalOf(new LacunaError('SESSION_SCOPE', ''))).toMatchObject({
      reason: 'scope',
      retryAfterMs: 0,
    });
  });
});
