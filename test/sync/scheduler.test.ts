/**
 * When a node synchronises what with whom: gaps first and the newest of them first, the recent past at each interval,
 * all that is older ever more rarely, and no peer that fails, hangs or lacks things itself keeps it from that.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Interval, joined } from '../../src/core/interval.ts';
import { EVERYTHING, type Scope } from '../../src/core/scope.ts';
import { type ErrorCode, LacunaError } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import type { Random } from '../../src/ports.ts';
import { Ledger } from '../../src/sync/ledger.ts';
import { PeerDirectory } from '../../src/sync/peers.ts';
import { Scheduler, type SchedulerInit, type ScopedWindow } from '../../src/sync/scheduler.ts';
import type { Dialect } from '../../src/sync/session.ts';
import { Chance } from '../core/random-sets.ts';
import { sessionResult } from '../http/plain-node.ts';
import { MemoryRecords } from '../memory-store.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { NOW_MS } from '../sample-messages.ts';
import { VirtualClock } from './virtual-clock.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const INTERVAL_MS = MINUTE_MS;
const RANGE_MS = 5 * MINUTE_MS;
const JITTER_MS = 20_000;
const P0: Scope = { pubsubTopics: ['p0'], contentTopics: [] };
const P1: Scope = { pubsubTopics: ['p1'], contentTopics: [] };
/** Half of everything: pauses are as long as they are meant, and of peers the one in the middle is chosen. */
const EVEN: Random = { below: (below) => below >> 1 };

/** What a peer is like; one that nothing is said of takes a little while, and has everything. */
interface PeerInit {
  readonly takesMs?: number;
  /** The code that it fails with, given how many sessions there were before. */
  readonly fails?: (before: number) => ErrorCode | undefined;
  readonly dialect?: Dialect;
  /** Where it lacks messages itself. */
  readonly peerGaps?: readonly Interval[];
  /** It ends with everything compared, and nothing of it closed. */
  readonly isPartial?: boolean;
  /** How many messages it brings each time. */
  readonly brings?: number;
}

interface Asked {
  readonly peer: string;
  readonly atMs: number;
  readonly window: ScopedWindow;
  endMs: number | undefined;
}

interface Init extends Partial<Omit<SchedulerInit, 'peers' | 'ledger'>> {
  readonly behaviours?: Readonly<Record<string, PeerInit>>;
  /** Of them, those who were not configured, but heard of. */
  readonly strangers?: RegExp;
}

/** A node with a real ledger and directory, and sessions that do what they are told. */
async function node({ behaviours = { peer: {} }, random = EVEN, strangers, ...init }: Init = {}) {
  const clock = new VirtualClock();
  const log = new RecordingLogger();
  const asked: Asked[] = [];
  const ledger = await Ledger.load({ records: new MemoryRecords(), clock, log });
  const peers = new PeerDirectory({
    ownPeer: 'self',
    clock,
    random,
    intervalMs: INTERVAL_MS,
    asksInbound: true,
    onNews: () => scheduler.soon(),
  });
  const scheduler: Scheduler = new Scheduler({
    ledger,
    clock,
    random,
    log,
    scope: EVERYTHING,
    intervalMs: INTERVAL_MS,
    rangeMs: RANGE_MS,
    jitterMs: JITTER_MS,
    keptOf: (window) => [window],
    synchronise: async (address, window, stop) => {
      const peer = address.slice(address.lastIndexOf('/') + 1);
      const behaviour = behaviours[peer] ?? {};
      const { takesMs = 50, fails, dialect = 'native', peerGaps = [], isPartial, brings = 0 } = behaviour;
      const before = asked.filter((session) => session.peer === peer).length;
      const session: Asked = { peer, atMs: clock.monotonicMs(), window, endMs: undefined };
      asked.push(session);
      try {
        // As a session does: it listens to a signal of its own.
        await clock.sleep(takesMs, AbortSignal.any([stop]));
        const code = fails?.(before);
        if (code !== undefined) throw new LacunaError(code, 'told to fail');
        const told = { ...window, peer, dialect, peerGaps, received: brings, sent: 0 };
        const result = sessionResult({ ...told, complete: isPartial !== true });
        peers.note(result);
        if (result.complete) ledger.compared(result);
        return result;
      } finally {
        session.endMs = clock.monotonicMs();
        scheduler.wake();
      }
    },
    ...init,
    peers,
  });
  for (const peer of Object.keys(behaviours))
    peers.add(at(peer), strangers?.test(peer) ? 'learnt' : 'static');
  return {
    clock,
    log,
    ledger,
    peers,
    scheduler,
    asked,
    add: (peer: string) => peers.add(at(peer), 'static'),
  };
}

type Node = Awaited<ReturnType<typeof node>>;

function at(peer: string): string {
  return `/memory/${peer}/p2p/${peer}`;
}

/** Of the time before these tests begin, so many minutes ago. */
function minutes(sinceAgo: number, untilAgo: number): Interval {
  const ns = (ago: number): bigint => BigInt(NOW_MS - ago * MINUTE_MS) * 1_000_000n;
  return { sinceNs: ns(sinceAgo), untilNs: ns(untilAgo) };
}

/** A window in ms from the time at which these tests begin. */
function msOf({ sinceNs, untilNs }: Interval): [number, number] {
  return [Number(sinceNs / 1_000_000n) - NOW_MS, Number(untilNs / 1_000_000n) - NOW_MS];
}

/** A window in minutes ago. */
function agoOf(window: Interval): number[] {
  return msOf(window).map((ms) => -ms / MINUTE_MS);
}

function timesOf(asked: readonly Asked[], peer = 'peer'): number[] {
  return asked.filter((session) => session.peer === peer).map(({ atMs }) => atMs);
}

/** Sessions that looked at no gap: they end where what is known for sure does. */
function looks(asked: readonly Asked[]): Asked[] {
  return asked.filter(({ atMs, window }) => msOf(window)[1] === atMs - JITTER_MS);
}

/** The most sessions at one moment: in all, and with one peer. */
function mostAtOnce(asked: readonly Asked[]): { all: number; ofOne: number } {
  let most = { all: 0, ofOne: 0 };
  for (const { atMs, peer } of asked) {
    const there = asked.filter((other) => other.atMs <= atMs && (other.endMs ?? Infinity) > atMs);
    const ofOne = there.filter((other) => other.peer === peer).length;
    most = { all: Math.max(most.all, there.length), ofOne: Math.max(most.ofOne, ofOne) };
  }
  return most;
}

async function run({ clock, scheduler }: Node, ms: number, rounds = 0): Promise<void> {
  scheduler.start(rounds);
  await clock.advance(ms);
  await clock.run(scheduler.stop());
}

describe('the recent past', () => {
  it('is looked at when the node begins, and at each interval', async () => {
    const made = await node();
    await run(made, 3.5 * INTERVAL_MS);
    expect(timesOf(made.asked)).toEqual([0, 1, 2, 3].map((round) => round * INTERVAL_MS));
    expect(msOf(made.asked[0]!.window)).toEqual([-RANGE_MS - JITTER_MS, -JITTER_MS]);
    expect(msOf(made.asked[2]!.window)).toEqual([
      2 * INTERVAL_MS - RANGE_MS - JITTER_MS,
      2 * INTERVAL_MS - JITTER_MS,
    ]);
    expect(made.asked[0]!.window.scope).toEqual(EVERYTHING);
    expect(made.scheduler.rounds).toBe(4);
  });

  it('is looked at a tenth sooner or later', async () => {
    for (const [share, random] of [
      [0.9, { below: () => 0 }],
      [1.099, { below: (below: number) => below - 1 }],
    ] as const) {
      const made = await node({ random });
      await run(made, 1.5 * INTERVAL_MS);
      expect(made.asked[1]!.atMs).toBeCloseTo(share * INTERVAL_MS, -1);
    }
  });

  it('is looked at with each peer in turn, by chance', async () => {
    const chance = new Chance(5);
    const made = await node({
      behaviours: { a: {}, b: {}, c: {} },
      random: { below: (below) => chance.below(below) },
    });
    await run(made, 300 * INTERVAL_MS);
    for (const peer of ['a', 'b', 'c'])
      expect(Math.abs(timesOf(made.asked, peer).length - 100)).toBeLessThan(30);
  });

  it('goes on with two more peers as long as they bring something, and with each of them once', async () => {
    const news = { brings: 1 };
    const made = await node({ behaviours: { a: news, b: news, c: news, d: news } });
    await run(made, INTERVAL_MS / 2);
    expect(made.asked.map(({ atMs }) => atMs)).toEqual([0, 50, 100]);
    expect(new Set(made.asked.map(({ peer }) => peer)).size).toBe(LIMITS.roundPeers);
    expect(made.asked.map(({ window }) => msOf(window)[0])).toEqual([0, 50, 100].map((ms) => ms - 320_000));
    const [first] = made.asked;
    const quiet = { [first!.peer]: news };
    const ended = await node({ behaviours: { a: {}, b: {}, c: {}, d: {}, ...quiet } });
    await run(ended, INTERVAL_MS / 2);
    expect(ended.asked.length).toBe(2);
    const few = await node({ behaviours: { a: news, b: news } });
    await run(few, INTERVAL_MS * 1.5);
    expect(few.asked.length).toBe(4);
  });

  it('does not go on after a failure of a further peer: it has been looked at', async () => {
    const made = await node({
      behaviours: {
        a: { brings: 1 },
        b: { brings: 1 },
        c: { fails: (before) => (before < 9 ? 'PEER_UNREACHABLE' : undefined) },
      },
    });
    await run(made, INTERVAL_MS * 3.5);
    const rounds = new Set(
      looks(made.asked)
        .filter(({ peer }) => peer !== 'c')
        .map(({ atMs }) => Math.floor(atMs / INTERVAL_MS)),
    );
    expect([...rounds]).toEqual([0, 1, 2, 3]);
    expect(made.asked.length).toBeLessThanOrEqual(4 * LIMITS.roundPeers);
  });

  it('reaches back twice as far every second time, four times every fourth, and to the beginning at last', async () => {
    const made = await node({ intervalMs: 1_000 });
    await run(made, 4_096.5 * 1_000);
    expect(made.asked.length).toBeGreaterThan(4_096);
    for (const [at, { window, atMs }] of made.asked.slice(0, 4_096).entries()) {
      const doublings = Math.log2((at + 1) & -(at + 1));
      const sinceMs = doublings === 12 ? -NOW_MS : atMs - JITTER_MS - RANGE_MS * 2 ** doublings;
      expect(msOf(window)).toEqual([sinceMs, atMs - JITTER_MS]);
    }
  });

  it('and 2^k times the range before it are covered by any 2^k rounds, wherever the node had been', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(100_000), fc.nat(6), async (rounds, k) => {
        const made = await node({ intervalMs: 1_000 });
        await run(made, 2 ** k * 1_000 - 500, rounds);
        expect([made.asked.length, made.scheduler.rounds]).toEqual([2 ** k, rounds + 2 ** k]);
        const [since, until] = msOf(joined(made.asked.map(({ window }) => window))[0]!);
        expect(since).toBeLessThanOrEqual(-JITTER_MS - RANGE_MS * 2 ** k + 2 ** k * 1_000);
        expect(until).toBe(made.asked.at(-1)!.atMs - JITTER_MS);
      }),
      { numRuns: 20 },
    );
  });

  it('begins no later than where the last comparison ended, however long the two were parted', async () => {
    const made = await node();
    made.ledger.met('peer', minutes(200, 100).untilNs);
    await run(made, 2.5 * INTERVAL_MS);
    expect(made.asked.map(({ window }) => msOf(window)[0])).toEqual([
      -100 * MINUTE_MS,
      INTERVAL_MS - JITTER_MS - 2 * RANGE_MS,
      2 * INTERVAL_MS - JITTER_MS - RANGE_MS,
    ]);
    // A stranger is compared from where anybody was.
    const other = await node();
    other.ledger.compared({ ...minutes(90, 60), scope: EVERYTHING, peer: 'another', peerGaps: [] });
    await run(other, 10);
    expect(agoOf(other.asked[0]!.window)[0]).toBe(60);
  });

  it('is as much of it as is kept', async () => {
    const made = await node({
      keptOf: (window) => [
        { ...window, scope: P0 },
        { ...window, scope: P1 },
      ],
    });
    await run(made, 3.5 * INTERVAL_MS);
    expect(made.asked.map(({ window }) => window.scope)).toEqual([P0, P1, P0, P1]);
    const empty = await node({ keptOf: () => [] });
    await run(empty, 3.5 * INTERVAL_MS);
    expect(empty.asked).toEqual([]);
  });

  it('is looked at with another peer at once where one fails, just as far back', async () => {
    const made = await node({
      behaviours: {
        good: {},
        bad: { fails: () => 'PEER_UNREACHABLE' },
        worse: { fails: () => 'PEER_TIMEOUT' },
      },
      // The last of them first.
      random: { below: (below) => below - 1 },
    });
    await run(made, 1_000, 7);
    const reach = RANGE_MS * 8;
    expect(made.asked.map(({ peer, window, atMs }) => [peer, atMs - JITTER_MS - msOf(window)[0]])).toEqual([
      ['worse', reach],
      ['bad', reach],
      ['good', reach],
    ]);
    expect(made.asked[2]!.atMs).toBe(100);
    expect(made.log.codes('warn')).toEqual(['PEER_TIMEOUT', 'PEER_UNREACHABLE']);
  });

  it('is tried ever more rarely where all fail, and at the interval again when one does not', async () => {
    const made = await node({
      behaviours: { peer: { takesMs: 0, fails: (before) => (before < 5 ? 'PEER_TIMEOUT' : undefined) } },
    });
    await run(made, 200_000);
    const times = timesOf(made.asked);
    expect(times.slice(0, 6)).toEqual([0, 1_000, 3_000, 7_000, 15_000, 31_000]);
    expect(times.slice(6)).toEqual([1, 2].map((round) => 31_000 + round * INTERVAL_MS));
  });

  it('is looked at at once after news, and not more than once in a moment', async () => {
    const made = await node({ behaviours: {} });
    made.scheduler.start();
    await made.clock.advance(12_345);
    made.add('peer');
    await made.clock.advance(0);
    expect(timesOf(made.asked)).toEqual([12_345]);
    await made.clock.advance(10_000);
    made.scheduler.soon();
    await made.clock.advance(0);
    expect(timesOf(made.asked)).toEqual([12_345, 22_345]);
    for (let news = 0; news < 99; news++) {
      made.scheduler.soon();
      await made.clock.advance(10);
    }
    expect(timesOf(made.asked).length).toBe(2);
    await made.clock.advance(10);
    expect(timesOf(made.asked)).toEqual([12_345, 22_345, 22_345 + LIMITS.retryMs]);
    await made.clock.run(made.scheduler.stop());
  });
});

describe('gaps', () => {
  it('come before the recent past, the newest first', async () => {
    const made = await node({ behaviours: { peer: { takesMs: 1_000 } } });
    for (const ago of [500, 300, 900, 100]) made.ledger.add('session', EVERYTHING, minutes(ago + 5, ago));
    await run(made, 4_500);
    expect(made.asked.map(({ window }) => agoOf(window))).toEqual([
      [105, 100],
      [305, 300],
      [505, 500],
      [905, 900],
      agoOf(made.asked[4]!.window),
    ]);
    expect(looks(made.asked)).toEqual([made.asked[4]]);
    expect(made.ledger.open()).toEqual([]);
  });

  it('that lie close together are closed by one session, if it is about the same topics', async () => {
    const made = await node({ behaviours: { peer: { takesMs: 1_000 } } });
    for (const [ago, scope] of [
      [100, P0],
      [107, P0],
      [104, P1],
      [113, P0],
      [130, P0],
    ] as const)
      made.ledger.add('session', scope, minutes(ago + 2, ago));
    await run(made, 3_500);
    const windows = made.asked.slice(0, 3).map(({ window }) => [window.scope, ...agoOf(window)]);
    expect(windows).toEqual([
      [P0, 115, 100],
      [P1, 106, 104],
      [P0, 132, 130],
    ]);
  });

  it('are compared as far as they are past, when that is worth it', async () => {
    const made = await node();
    const asked = ({ pubsubTopics: [topic] }: Scope): [number, number][] =>
      made.asked.flatMap(({ window }) => (window.scope.pubsubTopics[0] === topic ? [msOf(window)] : []));
    made.scheduler.start();
    await made.clock.advance(1_000);
    const soon = BigInt(NOW_MS + 30_000) * 1_000_000n;
    made.ledger.add('downtime', P0, { ...minutes(0.1, 0), untilNs: soon });
    await made.clock.advance(48_000);
    expect(asked(P0)).toEqual([]);
    await made.clock.advance(2_000);
    expect(asked(P0)).toEqual([[-6_000, 30_000]]);
    expect(made.ledger.open()).toEqual([]);
    made.ledger.add('downtime', P1, { ...minutes(60, 0), untilNs: BigInt(NOW_MS + 80_000) * 1_000_000n });
    made.scheduler.wake();
    await made.clock.advance(0);
    expect(asked(P1)).toEqual([[-HOUR_MS, 51_000 - JITTER_MS]]);
    await made.clock.run(made.scheduler.stop());
  });

  it('of topics or times that are not kept are left alone', async () => {
    const made = await node({
      scope: P0,
      keptOf: (window) => (window.sinceNs < minutes(200, 0).sinceNs ? [] : [window]),
    });
    made.ledger.add('session', P1, minutes(101, 100));
    made.ledger.add('session', P0, minutes(301, 300));
    made.ledger.add('session', EVERYTHING, minutes(102, 101));
    await run(made, 10);
    expect(made.asked.map(({ window }) => [window.scope, ...agoOf(window)])).toEqual([[P0, 102, 101]]);
  });

  it('are filled by several peers, one session each, and so many in all', async () => {
    const behaviours = Object.fromEntries(
      Array.from({ length: 10 }, (_, peer) => [`peer${peer}`, { takesMs: 1_500 }]),
    );
    const made = await node({ behaviours });
    for (let gap = 1; gap <= 10; gap++)
      made.ledger.add('session', EVERYTHING, minutes(100 * gap + 1, 100 * gap));
    await run(made, 10_000);
    expect(made.ledger.open()).toEqual([]);
    expect(mostAtOnce(made.asked)).toEqual({ all: LIMITS.scheduledSessions, ofOne: 1 });
    const gaps = made.asked.filter((session) => !looks([session]).length);
    expect(gaps.map(({ window }) => agoOf(window)[1])).toEqual(
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((gap) => 100 * gap),
    );
    expect(gaps.map(({ atMs }) => atMs)).toEqual([0, 0, 0, 0, 1_500, 1_500, 1_500, 1_500, 3_000, 3_000]);
  });

  it('that one Lacuna alone has been filling for a while are shared by several, a while apart', async () => {
    const made = await node({
      behaviours: Object.fromEntries(['a', 'b', 'c', 'd', 'e'].map((peer) => [peer, { takesMs: HOUR_MS }])),
      // Nothing of the recent past.
      keptOf: (window) => (window.untilNs > minutes(0, 50).untilNs ? [] : [window]),
    });
    made.ledger.add('downtime', EVERYTHING, minutes(500, 100));
    await run(made, LIMITS.lastingSessionMs - 1);
    expect(made.asked.map(({ window }) => agoOf(window))).toEqual(Array(LIMITS.gapPeers).fill([500, 100]));
    expect(made.asked.map(({ atMs }) => atMs)).toEqual([0, 1, 2].map((peer) => peer * LIMITS.gapShareMs));
  });

  it('are never shared with a stock node, nor given to it where a Lacuna fills them', async () => {
    for (const first of ['stock', 'lacuna'] as const) {
      const made = await node({
        behaviours: { lacuna: { takesMs: HOUR_MS }, stock: { takesMs: HOUR_MS, dialect: 'waku' } },
        keptOf: (window) => (window.untilNs > minutes(0, 50).untilNs ? [] : [window]),
        random: { below: (below) => (first === 'stock' ? below - 1 : 0) },
      });
      // What they speak is known.
      for (const [peer, dialect] of [
        ['lacuna', 'native'],
        ['stock', 'waku'],
      ] as const)
        made.peers.note(sessionResult({ peer, dialect }));
      made.ledger.add('downtime', EVERYTHING, minutes(500, 100));
      await run(made, LIMITS.lastingSessionMs - 1);
      expect(made.asked.map(({ peer }) => peer)).toEqual([first]);
    }
  });

  it('go to a Lacuna too where a stock node or several of its own go on and on, never to a further stock node', async () => {
    for (const dialect of ['native', 'waku'] as const) {
      const made = await node({
        behaviours: {
          ...Object.fromEntries(['a', 'b', 'c'].map((peer) => [peer, { takesMs: HOUR_MS }])),
          stock: { takesMs: HOUR_MS, dialect: 'waku' },
          good: {},
        },
        keptOf: (window) => (window.untilNs > minutes(0, 50).untilNs ? [] : [window]),
        random: { below: () => 0 },
      });
      for (const peer of ['a', 'b', 'c', 'good']) made.peers.note(sessionResult({ peer, dialect }));
      made.peers.note(sessionResult({ peer: 'good', dialect: 'native' }));
      made.peers.note(sessionResult({ peer: 'stock', dialect: 'waku' }));
      made.ledger.add('downtime', EVERYTHING, minutes(500, 100));
      await run(made, 2 * LIMITS.lastingSessionMs);
      expect(made.ledger.open()).toEqual([]);
      const expected = dialect === 'native' ? ['a', 'b', 'c', 'good'] : ['a', 'good'];
      expect(made.asked.map(({ peer }) => peer)).toEqual(expected);
    }
  });

  it('of which a peer has nothing do not keep it from being asked for the rest, nor for them again', async () => {
    const made = await node({
      behaviours: { peer: { fails: (before) => (before === 0 ? 'SESSION_WINDOW' : undefined) } },
    });
    made.ledger.add('downtime', EVERYTHING, minutes(500, 100));
    await run(made, 10_000);
    expect(timesOf(looks(made.asked))).toEqual([50 + LIMITS.retryMs]);
    expect([made.asked.length, made.ledger.open()]).toEqual([3, []]);
    expect(made.asked[2]!.atMs).toBeGreaterThanOrEqual(50 + LIMITS.gapRetryMs);
  });

  it('in any number do not keep the recent past from its turn', async () => {
    const made = await node({ behaviours: { peer: { takesMs: INTERVAL_MS / 4 } } });
    for (let gap = 1; gap <= 300; gap++)
      made.ledger.add('session', EVERYTHING, minutes(100 * gap + 1, 100 * gap));
    await run(made, 30 * INTERVAL_MS);
    const times = looks(made.asked).map(({ atMs }) => atMs);
    expect(times[0]!).toBeLessThanOrEqual(1.5 * INTERVAL_MS);
    for (const [round, atMs] of times.slice(1).entries())
      expect(atMs - times[round]!).toBeLessThanOrEqual(2.5 * INTERVAL_MS);
    expect(times.length).toBeGreaterThan(10);
    // And the gaps have theirs.
    expect(made.ledger.open().length).toBeLessThan(300 - 50);
  });

  it('that a peer could not close it is asked about ever more rarely, and each peer on its own', async () => {
    const made = await node({
      behaviours: { a: { isPartial: true, takesMs: 0 } },
      intervalMs: 1_000 * HOUR_MS,
    });
    made.ledger.add('downtime', EVERYTHING, minutes(500, 100));
    made.scheduler.start();
    await made.clock.advance(100_000);
    const times = looks(made.asked).length;
    const gap = (peer: string): number[] =>
      timesOf(
        made.asked.filter((one) => agoOf(one.window)[1] === 100),
        peer,
      );
    const pauses = [1, 2, 4, 8].map((times) => times * LIMITS.gapRetryMs);
    const sums = pauses.map((_, at) => pauses.slice(0, at + 1).reduce((sum, pause) => sum + pause));
    expect([gap('a'), times]).toEqual([[0, ...sums], 1]);
    made.add('b');
    await made.clock.advance(0);
    expect(gap('b')).toEqual([100_000]);
    await made.clock.advance(50);
    expect(made.ledger.open()).toEqual([]);
    await made.clock.run(made.scheduler.stop());
  });

  it('are asked for again within hours, however often that was in vain', async () => {
    const made = await node({
      behaviours: { a: { isPartial: true, takesMs: 0 } },
      intervalMs: 14 * 24 * HOUR_MS,
    });
    made.ledger.add('downtime', EVERYTHING, minutes(500, 100));
    await run(made, 30 * HOUR_MS);
    const times = made.asked.filter(({ window }) => agoOf(window)[1] === 100).map(({ atMs }) => atMs);
    const pauses = times.slice(1).map((atMs, at) => atMs - times[at]!);
    // The node looks once a second.
    expect(Math.max(...pauses)).toBeLessThanOrEqual(LIMITS.gapRetryMaxMs + LIMITS.pulseMs);
    expect(pauses.at(-1)).toBeGreaterThanOrEqual(LIMITS.gapRetryMaxMs);
  });

  it('of which a part was closed meanwhile are asked for again soon', async () => {
    const made = await node({
      behaviours: { peer: { isPartial: true, takesMs: 1_000 } },
      intervalMs: 1_000 * HOUR_MS,
    });
    made.ledger.add('downtime', EVERYTHING, minutes(500, 100));
    made.scheduler.start();
    // In vain at 0, 6, 17 and 38 s.
    await made.clock.advance(79_500);
    made.ledger.compared({ ...minutes(400, 300), scope: EVERYTHING, peer: 'another', peerGaps: [] });
    await made.clock.advance(20_000);
    const times = made.asked.filter(({ window }) => agoOf(window)[1] === 100).map(({ atMs }) => atMs);
    expect(times.slice(-3)).toEqual([79_000, 85_000, 96_000]);
    await made.clock.run(made.scheduler.stop());
  });

  it('whose peer fails go to another at once, and tell of it', async () => {
    const made = await node({
      behaviours: { good: {}, bad: { fails: () => 'PEER_TIMEOUT' } },
      random: { below: (below) => below - 1 },
    });
    made.ledger.add('downtime', EVERYTHING, minutes(500, 100));
    made.scheduler.start();
    await made.clock.advance(60);
    expect(made.ledger.open()[0]).toMatchObject({ attempts: 1, lastPeer: 'bad', lastCode: 'PEER_TIMEOUT' });
    await made.clock.advance(100);
    const gap = made.asked.filter(({ window }) => agoOf(window)[1] === 100);
    expect(gap.map(({ peer, atMs }) => [peer, atMs])).toEqual([
      ['bad', 0],
      // Meanwhile it had looked at the recent past.
      ['good', 50],
    ]);
    expect(made.ledger.closed()[0]).toMatchObject({ verifiedWith: ['good'] });
    await made.clock.run(made.scheduler.stop());
  });

  it('are closed in spite of peers that never answer or never end', async () => {
    const made = await node({
      behaviours: {
        down: { fails: () => 'PEER_UNREACHABLE', takesMs: LIMITS.dialMs },
        hung: { takesMs: 1_000 * HOUR_MS },
        stranger: { fails: () => 'PEER_PROTOCOL' },
        good: {},
      },
    });
    for (let gap = 1; gap <= 20; gap++)
      made.ledger.add('session', EVERYTHING, minutes(100 * gap + 1, 100 * gap));
    await run(made, 5 * INTERVAL_MS);
    // What the hung one was given, another takes over.
    expect(made.ledger.open()).toEqual([]);
    expect(timesOf(looks(made.asked), 'good').length).toBeGreaterThanOrEqual(3);
    expect(timesOf(made.asked, 'down').length).toBeLessThan(12);
    expect(timesOf(made.asked, 'stranger').length).toBe(2);
  });
});

describe('a gap that nobody can close', () => {
  const all = [minutes(10_000, 0)];

  it('is settled when all peers were compared and lack it themselves', async () => {
    const made = await node({ behaviours: { a: { peerGaps: all }, b: { peerGaps: all } } });
    made.ledger.add('downtime', EVERYTHING, minutes(500, 100));
    await run(made, 2_000);
    expect(made.ledger.open()).toEqual([]);
    expect([...made.ledger.closed()[0]!.verifiedWith].sort()).toEqual(['a', 'b']);
  });

  it('waits for a peer that is busy, and for one that could not bring it yet', async () => {
    const made = await node({ behaviours: { a: { peerGaps: all }, b: { isPartial: true } } });
    made.ledger.add('downtime', EVERYTHING, minutes(500, 100));
    await run(made, HOUR_MS);
    expect(made.ledger.open().map(({ witnesses }) => witnesses)).toEqual([['a']]);
    const busy = await node({ behaviours: { a: { peerGaps: all }, b: { takesMs: HOUR_MS } } });
    busy.ledger.add('downtime', EVERYTHING, minutes(500, 100));
    busy.peers.begin('b');
    await run(busy, 30 * MINUTE_MS);
    expect(busy.ledger.open().map(({ witnesses }) => witnesses)).toEqual([['a']]);
  });

  it('does not wait for a peer that was met and fails, or has nothing of that time', async () => {
    for (const code of ['PEER_UNREACHABLE', 'SESSION_WINDOW', 'SESSION_SCOPE'] as const) {
      const made = await node({ behaviours: { a: { peerGaps: all }, b: { fails: () => code } } });
      if (code === 'PEER_UNREACHABLE') made.ledger.met('b', minutes(0, 600).untilNs);
      made.ledger.add('downtime', EVERYTHING, minutes(500, 100));
      await run(made, 10_000);
      expect([code, made.ledger.open().length]).toEqual([code, 0]);
      expect(made.ledger.closed()[0]).toMatchObject({ verifiedWith: ['a'] });
    }
  });

  it('waits for a configured peer that was never met, and not for one that was only heard of', async () => {
    for (const [source, open] of [
      ['static', 1],
      ['learnt', 0],
    ] as const) {
      const made = await node({ behaviours: { a: { peerGaps: all } } });
      made.peers.add(at('gone'), source);
      made.peers.begin('gone');
      made.peers.end('gone', new LacunaError('PEER_UNREACHABLE', 'told to fail'));
      made.ledger.add('first-start', EVERYTHING, minutes(500, 100));
      await run(made, 900);
      expect([source, made.ledger.open().length]).toEqual([source, open]);
    }
  });

  it('stays open where nobody was compared at all', async () => {
    const made = await node({ behaviours: { a: { fails: () => 'PEER_UNREACHABLE' } } });
    made.ledger.add('downtime', EVERYTHING, minutes(500, 100));
    await run(made, HOUR_MS);
    expect(made.ledger.open().length).toBe(1);
    expect(made.ledger.closed()).toEqual([]);
  });
});

describe('a node that stops', () => {
  it('asks for nothing more', async () => {
    const made = await node();
    made.scheduler.start();
    await made.clock.advance(10_000);
    await made.scheduler.stop();
    expect(made.clock.monotonicMs()).toBe(10_000);
    await made.clock.advance(10 * INTERVAL_MS);
    made.scheduler.soon();
    await made.clock.advance(10 * INTERVAL_MS);
    expect(timesOf(made.asked)).toEqual([0]);
  });

  it('aborts the sessions under way, and holds that against nobody', async () => {
    const made = await node({ behaviours: { a: { takesMs: HOUR_MS }, b: { takesMs: HOUR_MS } } });
    made.ledger.add('downtime', EVERYTHING, minutes(500, 100));
    made.scheduler.start();
    await made.clock.advance(10);
    expect(made.asked.length).toBe(2);
    await made.scheduler.stop();
    expect([made.clock.monotonicMs(), made.clock.sleepers]).toEqual([10, 0]);
    expect(made.log.codes('warn')).toEqual([]);
    expect(made.peers.list().map(({ failures }) => failures)).toEqual([0, 0]);
    expect(made.ledger.open()[0]).toMatchObject({ attempts: 0, lastCode: undefined });
  });

  it('waits for sessions that take their time to end', async () => {
    let isOver = false;
    const clock = new VirtualClock();
    const made = await node({
      clock,
      synchronise: async (_address, _window, stop) => {
        await clock.sleep(HOUR_MS, stop).catch(() => clock.sleep(700));
        isOver = true;
        throw stop.reason;
      },
    });
    made.scheduler.start();
    await clock.advance(10);
    const stopping = made.scheduler.stop();
    await clock.advance(699);
    expect(isOver).toBe(false);
    await clock.run(stopping);
    expect([isOver, clock.monotonicMs()]).toEqual([true, 710]);
  });
});

describe('places', () => {
  const hung = (peers: number): Record<string, PeerInit> =>
    Object.fromEntries(Array.from({ length: peers }, (_, peer) => [`hung${peer}`, { takesMs: HOUR_MS }]));
  /** The last of those that may be asked. */
  const LAST: Random = { below: (below) => below - 1 };

  it('are left to others by sessions that go on and on', async () => {
    const made = await node({ behaviours: { good: {}, ...hung(LIMITS.scheduledSessions) }, random: LAST });
    for (let gap = 1; gap <= 10; gap++)
      made.ledger.add('session', EVERYTHING, minutes(100 * gap + 1, 100 * gap));
    made.scheduler.start();
    await made.clock.advance(LIMITS.lastingSessionMs - 1);
    expect([timesOf(made.asked, 'good'), made.ledger.open().length]).toEqual([[], 10]);
    await made.clock.advance(1_000);
    expect(made.ledger.open()).toEqual([]);
    await made.clock.run(made.scheduler.stop());
  });

  it('are bounded however long sessions go on, and the last are for configured peers', async () => {
    const { scheduledSessions, scheduledSessionsMax } = LIMITS;
    const strangers = scheduledSessionsMax - scheduledSessions;
    const made = await node({ behaviours: { good: {}, ...hung(40) }, random: LAST, strangers: /^hung/ });
    for (let gap = 1; gap <= 40; gap++)
      made.ledger.add('session', EVERYTHING, minutes(100 * gap + 1, 100 * gap));
    made.scheduler.start();
    await made.clock.advance(10 * MINUTE_MS);
    expect(made.ledger.open()).toEqual([]);
    expect(made.asked.filter(({ peer }) => peer !== 'good').length).toBe(strangers);
    for (let peer = 0; peer < 40; peer++) made.peers.add(at(`hung${peer}`), 'static');
    await made.clock.advance(30 * MINUTE_MS);
    expect(mostAtOnce(made.asked)).toEqual({ all: scheduledSessionsMax, ofOne: 1 });
    await made.clock.run(made.scheduler.stop());
  });
});

describe('whatever peers are like', () => {
  const behaviour: fc.Arbitrary<PeerInit> = fc.record(
    {
      takesMs: fc.constantFrom(0, 50, 3_000, 40_000, HOUR_MS),
      dialect: fc.constantFrom('native', 'waku'),
      isPartial: fc.boolean(),
      fails: fc
        .tuple(
          fc.constantFrom('PEER_UNREACHABLE', 'PEER_PROTOCOL', 'SESSION_WINDOW', 'STORE_FAULT'),
          fc.nat(9),
        )
        .map(
          ([code, rarely]) =>
            (before: number) =>
              before % (rarely + 1) === 0 ? code : undefined,
        ),
    },
    { requiredKeys: [] },
  );

  it('every gap is closed where one of them is good, within what is allowed to go on at once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(behaviour, { maxLength: 7 }), fc.nat(), async (others, seed) => {
        const chance = new Chance(seed);
        const behaviours = {
          good: {},
          ...Object.fromEntries(others.map((other, at) => [`peer${at}`, other])),
        };
        const made = await node({ behaviours, random: { below: (below) => chance.below(below) } });
        for (let gap = 0; gap < 20; gap++) {
          const ago = 10 + chance.below(3_000);
          made.ledger.add(
            'session',
            chance.pick([P0, P1, EVERYTHING]),
            minutes(ago + 1 + chance.below(20), ago),
          );
        }
        await run(made, 15 * MINUTE_MS);
        expect(made.ledger.open()).toEqual([]);
        const most = mostAtOnce(made.asked);
        expect([most.all <= LIMITS.scheduledSessionsMax, most.ofOne]).toEqual([true, 1]);
      }),
      { numRuns: 40, examples: [[Array.from({ length: 4 }, () => ({ takesMs: HOUR_MS })), 0]] },
    );
  });
});
