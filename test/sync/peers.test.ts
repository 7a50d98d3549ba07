/** Whom a node knows, and when it asks whom: after failures ever more rarely, never sooner than it was asked to. */
import { describe, expect, it } from 'vitest';
import { type ErrorCode, LacunaError } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import type { PeerSource } from '../../src/sync/known-peer.ts';
import { PeerDirectory, type PeerDirectoryInit } from '../../src/sync/peers.ts';
import { sessionResult } from '../http/plain-node.ts';
import { NOW_MS } from '../sample-messages.ts';
import { VirtualClock } from './virtual-clock.ts';

const INTERVAL_MS = 60_000;
const LONGEST_MS = 4 * INTERVAL_MS;

function directory(init: Partial<PeerDirectoryInit> = {}) {
  const clock = new VirtualClock();
  const state = { news: 0 };
  const peers = new PeerDirectory({
    ownPeer: 'self',
    clock,
    // Half of everything: a pause is as long as it is meant.
    random: { below: (below) => below >> 1 },
    intervalMs: INTERVAL_MS,
    asksInbound: true,
    onNews: () => {
      state.news += 1;
    },
    ...init,
  });
  const ready = (): string[] => peers.ready().map(({ peer }) => peer);
  const fail = (code: ErrorCode, { peer = 'peer', retryAfterMs, isPart = false }: Failing = {}): void => {
    peers.begin(peer);
    peers.end(peer, new LacunaError(code, 'told to fail', { retryAfterMs }), isPart);
  };
  const entry = (peer = 'peer') => peers.list().find((known) => known.peer === peer);
  return { clock, peers, state, ready, fail, entry };
}

interface Failing {
  readonly peer?: string;
  readonly retryAfterMs?: number;
  readonly isPart?: boolean;
}

function at(peer: string, host = 'host'): string {
  return `/dns4/${host}/tcp/1/p2p/${peer}`;
}

/** How long the peer is left alone from now on: it is not asked a moment sooner than the directory says. */
async function pauseOf({ clock, ready, entry }: ReturnType<typeof directory>): Promise<number> {
  const pauseMs = (entry()?.retryAtMs ?? clock.nowMs()) - clock.nowMs();
  if (pauseMs > 0) {
    await clock.advance(pauseMs - 1);
    expect(ready()).toEqual([]);
    await clock.advance(1);
  }
  expect(ready()).toEqual(['peer']);
  return pauseMs;
}

describe('the directory of peers', () => {
  it('takes peers from everywhere, tells of them once, and is no peer of itself', () => {
    const { peers, state, ready, entry } = directory();
    for (const source of ['static', 'bootstrap', 'mdns', 'learnt', 'inbound'] as const)
      peers.add(at(source), source);
    peers.add(at('self'), 'static');
    peers.add('/dns4/host/tcp/1/p2p/', 'static');
    peers.add(at('learnt', 'elsewhere'), 'learnt');
    expect([peers.size, state.news]).toEqual([5, 5]);
    expect(ready()).toEqual(['static', 'bootstrap', 'mdns', 'learnt', 'inbound']);
    expect([peers.has('mdns'), peers.has('self'), entry('self')]).toEqual([true, false, undefined]);
  });

  it('does not ask those who only dialled in, if it is told so, until it hears of them otherwise', () => {
    const { peers, ready } = directory({ asksInbound: false });
    peers.add(at('peer'), 'inbound');
    expect(ready()).toEqual([]);
    peers.add(at('peer'), 'mdns');
    expect(ready()).toEqual(['peer']);
  });

  it('believes the surest source, and remembers the addresses it heard last', () => {
    const { peers, entry } = directory();
    const order: readonly PeerSource[] = ['learnt', 'inbound', 'mdns', 'bootstrap', 'static'];
    for (const [sure, source] of order.entries()) {
      peers.add(at('peer', `host${sure}`), source);
      for (const lesser of order.slice(0, sure)) peers.add(at('peer', `host${sure}`), lesser);
      expect(entry()?.source).toBe(source);
    }
    expect(entry()?.addresses).toEqual([4, 3, 2, 1].map((host) => at('peer', `host${host}`)));
    peers.add(at('peer', 'hearsay'), 'learnt');
    expect(entry()?.addresses).not.toContain(at('peer', 'hearsay'));
  });

  it('asks a peer at another of its addresses after each failure', async () => {
    const made = directory();
    for (const host of ['a', 'b', 'c']) made.peers.add(at('peer', host), 'learnt');
    const asked: (string | undefined)[] = [];
    for (let failure = 0; failure < 4; failure++) {
      asked.push(made.peers.ready()[0]?.address);
      made.fail('PEER_UNREACHABLE');
      await pauseOf(made);
    }
    expect(asked).toEqual(['c', 'b', 'a', 'c'].map((host) => at('peer', host)));
  });

  it('gives one session at a time', () => {
    const { peers, ready } = directory();
    peers.add(at('peer'), 'static');
    peers.begin('peer');
    expect(ready()).toEqual([]);
    peers.end('peer', undefined);
    expect(ready()).toEqual(['peer']);
  });
});

describe('a peer that fails', () => {
  it('is left alone ever longer, up to four intervals, and asked at once after a success', async () => {
    const made = directory();
    made.peers.add(at('peer'), 'static');
    const pauses: number[] = [];
    for (let failure = 0; failure < 10; failure++) {
      made.fail('PEER_UNREACHABLE');
      expect(made.entry()).toMatchObject({ failures: failure + 1, lastCode: 'PEER_UNREACHABLE' });
      pauses.push(await pauseOf(made));
    }
    const doubling = Array.from({ length: 8 }, (_, at) => LIMITS.retryMs * 2 ** at);
    expect(pauses).toEqual([...doubling, LONGEST_MS, LONGEST_MS]);
    made.peers.begin('peer');
    made.peers.end('peer', undefined);
    expect(made.entry()).toMatchObject({ failures: 0, lastCode: undefined, retryAtMs: undefined });
    expect(await pauseOf(made)).toBe(0);
    made.fail('PEER_UNREACHABLE');
    expect(await pauseOf(made)).toBe(LIMITS.retryMs);
  });

  it('is never left alone for longer than the limit, however long the interval is', async () => {
    const made = directory({ intervalMs: 24 * 3_600_000 });
    made.peers.add(at('peer'), 'static');
    made.fail('PEER_PROTOCOL');
    expect(made.entry()?.retryAtMs).toBe(NOW_MS + LIMITS.backOffMaxMs);
  });

  it('is asked again a little sooner or later than others that failed with it', () => {
    for (const [share, chance] of [
      [0.9, () => 0],
      [1.099, (below: number) => below - 1],
    ] as const) {
      const { peers, fail, entry } = directory({ random: { below: chance } });
      peers.add(at('peer'), 'static');
      fail('PEER_PROTOCOL');
      expect(entry()!.retryAtMs! - NOW_MS).toBe(Math.round(share * LONGEST_MS));
    }
  });

  it('and will fail the same way again is left alone for long at once', async () => {
    const lasting = [
      'PEER_PROTOCOL',
      'PEER_CLUSTER',
      'PEER_IDENTITY',
      'PEER_REFUSED',
      'PEER_BANNED',
      'SESSION_SCOPE',
      'SESSION_WINDOW',
    ] as const;
    for (const code of lasting) {
      const made = directory();
      made.peers.add(at('peer'), 'static');
      made.fail(code);
      expect([code, await pauseOf(made), made.entry()?.failures]).toEqual([code, LONGEST_MS, 1]);
    }
  });

  it('because it has nothing of a part is not to blame, and is there for the rest', async () => {
    for (const code of ['SESSION_SCOPE', 'SESSION_WINDOW'] as const) {
      const made = directory();
      made.peers.add(at('peer'), 'static');
      made.fail('PEER_UNREACHABLE');
      await pauseOf(made);
      made.fail(code, { isPart: true });
      expect(made.entry()).toMatchObject({ failures: 0, lastCode: code });
      expect(made.peers.hasReachable).toBe(true);
      expect(await pauseOf(made)).toBe(LIMITS.retryMs);
    }
    const made = directory();
    made.peers.add(at('peer'), 'static');
    made.fail('PEER_UNREACHABLE', { isPart: true });
    expect(made.entry()?.failures).toBe(1);
  });

  it('because of this node is not to blame, and is asked again soon', async () => {
    for (const code of [
      'SESSION_BUSY',
      'SESSION_ABORTED',
      'STORE_FAULT',
      'STORE_BUSY',
      'STORE_CLOSED',
    ] as const) {
      const made = directory();
      made.peers.add(at('peer'), 'static');
      for (let failure = 0; failure < 5; failure++) {
        made.fail(code);
        const expected = code.startsWith('STORE_') ? LIMITS.reopenDelayMaxMs : LIMITS.retryMs;
        expect([code, await pauseOf(made), made.entry()?.failures]).toEqual([code, expected, 0]);
      }
    }
  });

  it('that asks for time is never asked sooner, by whatever chance, and is not to blame', async () => {
    for (const chance of [() => 0, (below: number) => below - 1]) {
      const made = directory({ random: { below: chance } });
      made.peers.add(at('peer'), 'static');
      made.fail('SESSION_BUSY', { retryAfterMs: 7_000 });
      const pauseMs = await pauseOf(made);
      expect(pauseMs).toBeGreaterThanOrEqual(7_000);
      expect(pauseMs).toBeLessThanOrEqual(7_000 * 1.25);
      expect(made.entry()?.failures).toBe(0);
    }
  });

  it('and connects is asked at once', async () => {
    const { peers, fail, ready, state, clock, entry } = directory();
    peers.add(at('peer'), 'static');
    for (let failure = 0; failure < 10; failure++) fail('PEER_UNREACHABLE');
    await clock.advance(10);
    expect([ready(), peers.hasReachable, state.news]).toEqual([[], false, 1]);
    peers.connected('peer');
    expect([ready(), peers.hasReachable, state.news]).toEqual([['peer'], true, 2]);
    expect(entry()).toMatchObject({ connected: true, failures: 0 });
  });

  it('is not asked at once because of a connection that it has had all the time', () => {
    const { peers, fail, ready, state } = directory();
    peers.add(at('peer'), 'static');
    peers.connected('peer');
    fail('PEER_TIMEOUT');
    peers.connected('peer');
    expect([ready(), state.news]).toEqual([[], 1]);
    peers.disconnected('peer');
    peers.connected('peer');
    expect([ready(), state.news]).toEqual([['peer'], 2]);
  });

  it('and connects in the midst of a session with it is still to blame when that fails', () => {
    const { peers, fail, ready, state, entry } = directory();
    peers.add(at('peer'), 'static');
    fail('PEER_UNREACHABLE');
    peers.begin('peer');
    peers.connected('peer');
    peers.end('peer', new LacunaError('PEER_TIMEOUT', 'told to fail'));
    expect([entry()?.failures, ready(), state.news]).toEqual([2, [], 1]);
  });

  it('and connects before the time that it asked for is over is given that time', async () => {
    const made = directory();
    made.peers.add(at('peer'), 'static');
    made.fail('PEER_UNREACHABLE');
    await pauseOf(made);
    made.fail('PEER_BUSY', { retryAfterMs: 30_000 });
    await made.clock.advance(1_000);
    made.peers.connected('peer');
    expect(made.ready()).toEqual([]);
    expect(await pauseOf(made)).toBeGreaterThanOrEqual(29_000);
  });
});

describe('room for peers', () => {
  const fill = (made: ReturnType<typeof directory>, source: PeerSource): void => {
    for (let peer = made.peers.size; peer < LIMITS.peersKnown; peer++)
      made.peers.add(at(`peer${peer}`), source);
  };

  it('is made by who is least sure, fails most, and was of use the longest time ago', async () => {
    const made = directory();
    const { peers, clock, fail } = made;
    for (const peer of ['verified', 'failing', 'old', 'older', 'rumour']) {
      peers.add(at(peer), peer === 'rumour' ? 'learnt' : 'mdns');
    }
    for (const peer of ['older', 'old', 'verified', 'failing']) {
      await clock.advance(1_000);
      peers.note(sessionResult({ peer, verified: true }));
    }
    fail('PEER_UNREACHABLE', { peer: 'failing' });
    for (let peer = peers.size; peer < LIMITS.peersKnown; peer++) {
      peers.add(at(`peer${peer}`), 'mdns');
      peers.note(sessionResult({ peer: `peer${peer}`, verified: true }));
    }
    const victims: string[] = [];
    for (const comer of ['one', 'two', 'three', 'four']) {
      const before = new Set(peers.list().map(({ peer }) => peer));
      peers.add(at(comer), 'bootstrap');
      expect(peers.size).toBe(LIMITS.peersKnown);
      for (const { peer } of peers.list()) before.delete(peer);
      victims.push(...before);
    }
    expect(victims).toEqual(['rumour', 'failing', 'older', 'old']);
  });

  it('is not made by those who are connected or in a session', () => {
    const made = directory();
    const { peers } = made;
    for (const peer of ['connected', 'busy', 'idle']) peers.add(at(peer), 'learnt');
    peers.connected('connected');
    peers.begin('busy');
    fill(made, 'mdns');
    peers.add(at('one'), 'mdns');
    peers.add(at('two'), 'learnt');
    const known = ['connected', 'busy', 'idle', 'one', 'two'].map((peer) => peers.has(peer));
    expect(known).toEqual([true, true, false, true, false]);
  });

  it('is not made by anybody surer, and always by somebody for who is configured', () => {
    for (const [here, comer, isTaken] of [
      ['mdns', 'inbound', false],
      ['mdns', 'mdns', true],
      ['inbound', 'learnt', false],
      ['learnt', 'inbound', true],
      ['bootstrap', 'mdns', false],
      ['bootstrap', 'static', true],
      ['static', 'bootstrap', false],
    ] as const) {
      const made = directory();
      fill(made, here);
      made.peers.add(at('comer'), comer);
      expect([here, comer, made.peers.has('comer')]).toEqual([here, comer, isTaken]);
      expect(made.peers.size).toBe(LIMITS.peersKnown);
    }
  });

  it('is never made by who is configured, whatever becomes of it', () => {
    const made = directory();
    made.peers.add(at('static'), 'static');
    for (let failure = 0; failure < 20; failure++) made.fail('PEER_IDENTITY', { peer: 'static' });
    fill(made, 'learnt');
    for (let peer = 0; peer < 2 * LIMITS.peersKnown; peer++) made.peers.add(at(`more${peer}`), 'bootstrap');
    expect([made.peers.has('static'), made.peers.size]).toEqual([true, LIMITS.peersKnown]);
    for (let peer = 0; peer <= LIMITS.peersKnown; peer++) made.peers.add(at(`own${peer}`), 'static');
    expect(made.peers.list().filter(({ source }) => source === 'static').length).toBe(LIMITS.peersKnown + 2);
  });
});

describe('what is known of a peer', () => {
  it('is how sessions with it went', async () => {
    const { peers, clock, entry, ready } = directory();
    peers.add(at('peer'), 'static');
    await clock.advance(1_000);
    peers.note(sessionResult({ peer: 'peer', dialect: 'waku', verified: true, peerSkewMs: 1.4 }));
    await clock.advance(1_000);
    peers.note(sessionResult({ peer: 'peer', dialect: 'native', verified: false }));
    peers.note(sessionResult({ peer: 'nobody' }));
    expect(entry()).toMatchObject({
      dialect: 'native',
      lastSessionMs: NOW_MS + 2_000,
      lastVerifiedMs: NOW_MS + 1_000,
      skewMs: 1,
    });
    expect([ready(), peers.ready()[0]?.dialect]).toEqual([['peer'], 'native']);
  });

  it('is told to others where it is a Lacuna that was verified lately', async () => {
    const { peers, clock, fail } = directory();
    for (const [peer, dialect, verified] of [
      ['first', 'native', true],
      ['stock', 'waku', true],
      ['unequal', 'native', false],
      ['failing', 'native', true],
      ['last', 'native', true],
    ] as const) {
      peers.add(at(peer), 'learnt');
      await clock.advance(1_000);
      peers.note(sessionResult({ peer, dialect, verified }));
    }
    peers.add(at('stranger'), 'learnt');
    fail('PEER_TIMEOUT', { peer: 'failing' });
    expect(peers.goodAddresses(8)).toEqual([at('last'), at('first')]);
    expect(peers.goodAddresses(1)).toEqual([at('last')]);
  });
});
