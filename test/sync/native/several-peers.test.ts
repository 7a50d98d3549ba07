/** One party and several others at once: they share the gap, no message is sent twice, and nobody is waited for in vain. */
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/limits.ts';
import type { StoredMessage } from '../../../src/ports.ts';
import type { SessionPlan, SessionResult } from '../../../src/sync/session.ts';
import { Chance } from '../../core/random-sets.ts';
import { endedIn } from '../../ended-in.ts';
import { hexOf } from '../../sample-messages.ts';
import { HOUR, hashes, Party } from '../party.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { sized } from './made-messages.ts';
import { Wiretap } from './wiretap.ts';

const pool = sized(3_000, 1_000);

/** Peers b0, b1, … that hold what `holds` says. */
function peersOf(
  clock: VirtualClock,
  count: number,
  holds: (message: StoredMessage, at: number, peer: number) => boolean,
  rateOf: (peer: number) => number | undefined = () => undefined,
): Party[] {
  return Array.from({ length: count }, (_, peer) => {
    const rate = rateOf(peer);
    const messages = pool.filter((message, at) => holds(message, at, peer));
    return new Party(`b${peer}`, clock, rate === undefined ? { messages } : { messages, rate });
  });
}

function sessionsWith(
  a: Party,
  peers: readonly Party[],
  tap: Wiretap,
  plan: Partial<SessionPlan> = {},
): Promise<SessionResult>[] {
  return peers.map((peer) => a.native.synchronise(tap.link(a, peer), { ...HOUR, ...plan }));
}

async function pullFromAll(
  a: Party,
  peers: readonly Party[],
  tap: Wiretap,
  plan: Partial<SessionPlan> = { direction: 'pull' },
): Promise<SessionResult[]> {
  const results = await a.clock.run(Promise.all(sessionsWith(a, peers, tap, plan)));
  await a.clock.run(tap.allServed());
  return results;
}

const sumOf = (results: readonly SessionResult[], field: 'received' | 'sent' | 'need'): number =>
  results.reduce((sum, result) => sum + result[field], 0);

describe('a gap that several can fill', () => {
  it('is shared by those who hold the same, and every message comes once', async () => {
    for (const count of [2, 3, 5]) {
      const clock = new VirtualClock();
      const a = new Party('a', clock, { messages: pool.slice(0, 500) });
      const peers = peersOf(clock, count, () => true);
      const tap = new Wiretap();
      const results = await pullFromAll(a, peers, tap);
      expect(a.holdings).toEqual(hashes(pool));
      expect(sumOf(results, 'received')).toBe(2_500);
      expect(tap.messages().sort()).toEqual(hashes(pool.slice(500)));
      for (const [at, result] of results.entries()) {
        expect(result).toMatchObject({ need: 2_500, missing: 0, complete: true, verified: true });
        expect(result.received).toBeGreaterThan(0);
        expect(peers[at]!.ended).toMatchObject([
          { error: undefined, result: { verified: true, sent: result.received } },
        ]);
        expect(a.strikes.strikesOf(`b${at}`)).toBe(0);
      }
      expect(a.sessions.running).toBe(0);
    }
  });

  it('is filled from those who hold different parts of it', async () => {
    for (const count of [2, 3, 5]) {
      const clock = new VirtualClock();
      const a = new Party('a', clock);
      const tap = new Wiretap();
      const results = await pullFromAll(
        a,
        peersOf(clock, count, (_, at, peer) => at % count === peer),
        tap,
      );
      expect(a.holdings).toEqual(hashes(pool));
      expect(tap.messages().sort()).toEqual(hashes(pool));
      expect(sumOf(results, 'need')).toBe(pool.length);
      for (const { need, received, missing, verified } of results) {
        expect({ received, missing, verified }).toEqual({ received: need, missing: 0, verified: true });
      }
    }
  });

  it('is filled once from those whose stores overlap, while they are given what they lack', async () => {
    for (const count of [2, 3, 5]) {
      const clock = new VirtualClock();
      const chance = new Chance(count);
      const ours = pool.filter(() => chance.below(3) === 0);
      const a = new Party('a', clock, { messages: ours });
      const peers = peersOf(clock, count, () => chance.below(10) < 6);
      const before = peers.map((peer) => new Set(peer.holdings));
      const tap = new Wiretap();
      const results = await pullFromAll(a, peers, tap, {});
      const held = new Set(hashes(ours));
      const gap = [...new Set(before.flatMap((holdings) => [...holdings]))].filter((hash) => !held.has(hash));
      expect(a.holdings).toEqual([...held, ...gap].sort());
      expect(sumOf(results, 'received')).toBe(gap.length);
      const fromPeers = peers.flatMap(({ name }) => tap.messages(name));
      expect(fromPeers.sort()).toEqual(gap.sort());
      for (const [at, peer] of peers.entries()) {
        const given = hashes(ours).filter((hash) => !before[at]!.has(hash));
        expect(results[at]).toMatchObject({
          sent: given.length,
          have: given.length,
          missing: 0,
          verified: true,
        });
        // What came from the others meanwhile is for the next session.
        expect(peer.holdings).toEqual([...before[at]!, ...given].sort());
      }
    }
  });
});

describe('one of several peers', () => {
  const RATE = 1_000_000;

  it('that dies in the middle leaves its part to the others', async () => {
    for (const count of [2, 3, 5]) {
      const clock = new VirtualClock();
      const a = new Party('a', clock);
      const peers = peersOf(
        clock,
        count,
        () => true,
        () => RATE,
      );
      const tap = new Wiretap();
      const sessions = sessionsWith(a, peers, tap, { direction: 'pull' });
      const codes = Promise.all(sessions.map(endedIn));
      // In the middle of what takes three seconds, divided by all of them.
      await clock.advance(1_500 / count);
      expect(a.store.count).toBeGreaterThan(0);
      expect(a.store.count).toBeLessThan(pool.length);
      const [dying] = tap.streams[0]!;
      dying.abort(new Error('gone'));
      expect(await clock.run(codes)).toEqual(['PEER_CLOSED', ...Array(count - 1).fill(undefined)]);
      await clock.run(tap.allServed());
      expect(a.holdings).toEqual(hashes(pool));
      expect(peers[0]!.lastError).toBe('PEER_CLOSED');
      for (const peer of peers.slice(1)) expect(peer.ended).toMatchObject([{ result: { verified: true } }]);
      // Only what was on its way from the dead one may have been sent again, and by one of the others.
      const again = tap.messages().length - pool.length;
      expect(again).toBeLessThanOrEqual(LIMITS.nativeWindowBytes / 1_000);
      const fromOthers = peers.slice(1).flatMap(({ name }) => tap.messages(name));
      expect(new Set(fromOthers).size).toBe(fromOthers.length);
      expect(clock.monotonicMs()).toBeLessThan(5_000);
      expect(a.sessions.running).toBe(0);
    }
  });

  it('that is slow holds up no more than what it was asked for', async () => {
    const large = sized(10_000, 2_000);
    const bytes = large.reduce((sum, { encoded }) => sum + encoded.length, 0);
    const [fast, slow] = [5_000_000, 100_000];
    const clock = new VirtualClock();
    const a = new Party('a', clock);
    const peers = [fast, fast, slow].map((rate, at) => new Party(`b${at}`, clock, { rate, messages: large }));
    const tap = new Wiretap();
    const sessions = Promise.all(sessionsWith(a, peers, tap, { direction: 'pull' }));
    // The fast ones need this long for all of it; in this time, all but what the slow one owes is there.
    await clock.advance((bytes / (2 * fast)) * 1_000 + 500);
    const owed = LIMITS.nativeWindowBytes / 2_000;
    expect(large.length - a.store.count).toBeLessThanOrEqual(owed);
    const results = await clock.run(sessions);
    await clock.run(tap.allServed());
    expect(a.holdings).toEqual(hashes(large));
    expect(clock.monotonicMs()).toBeLessThan((LIMITS.nativeWindowBytes / slow) * 1_000 + 3_000);
    expect(tap.messages()).toHaveLength(large.length);
    for (const result of results) expect(result).toMatchObject({ missing: 0, verified: true });
    for (const { name } of peers) expect(a.strikes.strikesOf(name)).toBe(0);
  });

  it('that is slow and asked for many small messages does not keep the others from the rest', async () => {
    const small = sized(30_000, 16);
    const bytes = small.reduce((sum, { encoded }) => sum + encoded.length, 0);
    const [fast, slow] = [1_000_000, 20_000];
    const clock = new VirtualClock();
    const a = new Party('a', clock);
    const peers = [slow, fast].map((rate, at) => new Party(`b${at}`, clock, { rate, messages: small }));
    const tap = new Wiretap();
    const sessions = Promise.all(sessionsWith(a, peers, tap, { direction: 'pull' }));
    await clock.advance((bytes / fast) * 1_000 + 1_000);
    expect(small.length - a.store.count).toBeLessThanOrEqual(LIMITS.nativeWantedIds);
    await clock.run(sessions);
    expect(a.holdings).toEqual(hashes(small));
    expect(tap.messages()).toHaveLength(small.length);
  });

  it('that goes silent in the middle is given up after the limit, and its part comes from the others', async () => {
    for (const stillSays of ['nothing', 'alive'] as const) {
      const clock = new VirtualClock();
      const a = new Party('a', clock);
      const peers = peersOf(
        clock,
        3,
        () => true,
        () => RATE,
      );
      const tap = new Wiretap();
      const codes = Promise.all(sessionsWith(a, peers, tap, { direction: 'pull' }).map(endedIn));
      await clock.advance(400);
      tap.stuck.add('b0');
      tap.passes = (by, { kind }) => by !== 'b0' || kind === stillSays;
      expect(await clock.run(codes)).toEqual(['PEER_TIMEOUT', undefined, undefined]);
      const endedMs = clock.monotonicMs();
      await clock.run(tap.allServed());
      expect(a.holdings).toEqual(hashes(pool));
      const untilMs = LIMITS.sessionReadMs + (stillSays === 'alive' ? LIMITS.nativeAliveMs : 0) + 5_000;
      expect(endedMs).toBeGreaterThan(LIMITS.sessionReadMs);
      expect(endedMs).toBeLessThan(untilMs);
      for (const peer of peers.slice(1)) {
        expect(peer.ended).toMatchObject([{ error: undefined, result: { verified: true } }]);
      }
      expect(a.sessions.running).toBe(0);
    }
  });

  it('that offers what another one has brought meanwhile is not asked for it', async () => {
    const clock = new VirtualClock();
    const a = new Party('a', clock);
    // The second is met when the first has brought half.
    const peers = peersOf(
      clock,
      2,
      () => true,
      (peer) => (peer === 0 ? RATE : undefined),
    );
    const tap = new Wiretap();
    const first = a.native.synchronise(tap.link(a, peers[0]!), { ...HOUR, direction: 'pull' });
    await clock.advance(1_500);
    const second = a.native.synchronise(tap.link(a, peers[1]!), { ...HOUR, direction: 'pull' });
    const [one, other] = await clock.run(Promise.all([first, second]));
    expect(tap.messages()).toHaveLength(pool.length);
    expect(one.received + other.received).toBe(pool.length);
    expect([one.verified, other.verified]).toEqual([true, true]);
    expect(other.need).toBeLessThan(pool.length);
  });
});

describe('two parties that open sessions to each other at the same time', () => {
  it('both end verified, and nothing is sent twice', async () => {
    const clock = new VirtualClock();
    const a = new Party('a', clock, { messages: pool.slice(0, 2_000) });
    const b = new Party('b', clock, { messages: pool.slice(1_000) });
    const tap = new Wiretap();
    const sessions = [...sessionsWith(a, [b], tap), ...sessionsWith(b, [a], tap)];
    const results = await clock.run(Promise.all(sessions));
    await clock.run(tap.allServed());
    for (const result of results) expect(result).toMatchObject({ missing: 0, verified: true });
    expect([a.holdings, b.holdings]).toEqual([hashes(pool), hashes(pool)]);
    expect(tap.messages('a').sort()).toEqual(hashes(pool.slice(0, 1_000)));
    expect(tap.messages('b').sort()).toEqual(hashes(pool.slice(2_000)));
    expect([a, b].map(({ ended }) => ended.length)).toEqual([2, 2]);
    expect([a.sessions.running, b.sessions.running]).toEqual([0, 0]);
    expect([a.strikes.strikesOf('b'), b.strikes.strikesOf('a')]).toEqual([0, 0]);
  });

  it('at different speeds, and with third parties, end with everything', async () => {
    const clock = new VirtualClock();
    const chance = new Chance(5);
    const parties = ['x', 'y', 'z'].map(
      (name, at) =>
        new Party(name, clock, {
          rate: 300_000 * (at + 1),
          messages: pool.filter(() => chance.below(3) === 0),
        }),
    );
    const all = [...new Set(parties.flatMap(({ store }) => store.messages.map(hexOf)))].sort();
    const tap = new Wiretap();
    const sessions = parties.flatMap((from) =>
      sessionsWith(
        from,
        parties.filter((to) => to !== from),
        tap,
      ),
    );
    for (const result of await clock.run(Promise.all(sessions))) expect(result).toMatchObject({ missing: 0 });
    await clock.run(tap.allServed());
    for (const party of parties) {
      expect(party.holdings).toEqual(all);
      expect(party.sessions.running).toBe(0);
    }
  });
});
