/**
 * The ledger of gaps: what is on it stays, through restarts, crashes and damage, until it was compared with a peer that
 * does not lack it itself. An oracle that knows every topic and second on its own says what must still be on it.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Interval } from '../../src/core/interval.ts';
import { EVERYTHING, inScope, type Scope } from '../../src/core/scope.ts';
import { LacunaError } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import type { ClosedGap, Gap } from '../../src/sync/gap.ts';
import { type Comparison, Ledger, type LedgerInit } from '../../src/sync/ledger.ts';
import { Chance } from '../core/random-sets.ts';
import { MemoryRecords } from '../memory-store.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { NOW_MS, NOW_NS } from '../sample-messages.ts';
import { VirtualClock } from './virtual-clock.ts';

/** The second 0 of these tests: so long ago that all of them are past. */
const BEGIN_NS = NOW_NS - 100_000_000_000_000n;
const P0: Scope = { pubsubTopics: ['p0'], contentTopics: [] };
const P1: Scope = { pubsubTopics: ['p1'], contentTopics: [] };
const BOTH: Scope = { pubsubTopics: ['p0', 'p1'], contentTopics: [] };

/** Records of which single writes fail; what was written before and beside them is there. */
class FaultyRecords extends MemoryRecords {
  writes = 0;
  fails: (write: number) => boolean = () => false;

  override async put(name: string, value: Uint8Array): Promise<void> {
    this.#count();
    await super.put(name, value);
  }

  override async delete(name: string): Promise<void> {
    this.#count();
    await super.delete(name);
  }

  #count(): void {
    if (this.fails(this.writes++)) throw new LacunaError('STORE_FAULT', 'told to fail');
  }
}

async function loaded(init: Partial<LedgerInit> = {}) {
  const [records, clock, log] = [new FaultyRecords(), new VirtualClock(), new RecordingLogger()];
  const ledger = await Ledger.load({ records, clock, log, ...init });
  return { ledger, records, clock, log };
}

async function writtenIn(records: MemoryRecords, prefix = ''): Promise<(readonly [string, Uint8Array])[]> {
  const written: (readonly [string, Uint8Array])[] = [];
  for await (const record of records.list(prefix)) written.push(record);
  return written;
}

/** What a process that starts now would find. */
async function reloaded(records: MemoryRecords): Promise<Ledger> {
  return (await loaded({ records: records.copy() })).ledger;
}

function seconds(since: number, until: number): Interval {
  return { sinceNs: secondNs(since), untilNs: secondNs(until) };
}

function secondNs(second: number): bigint {
  return BEGIN_NS + BigInt(second) * 1_000_000_000n;
}

function comparison(since: number, until: number, said: Partial<Comparison> = {}): Comparison {
  return { ...seconds(since, until), scope: EVERYTHING, peer: 'peer', peerGaps: [], ...said };
}

/** Intervals as pairs of seconds, which a failure is easier to read in. */
function spans(intervals: readonly Interval[]): [number, number][] {
  const second = (ns: bigint): number => Number((ns - BEGIN_NS) / 1_000_000_000n);
  return intervals.map(({ sinceNs, untilNs }) => [second(sinceNs), second(untilNs)]);
}

describe('a ledger of gaps', () => {
  it('is the same after a restart', async () => {
    const { ledger, records, clock } = await loaded();
    ledger.add('downtime', P0, seconds(0, 100));
    ledger.add('store-fault', EVERYTHING, seconds(50, 200));
    ledger.add('session', BOTH, seconds(300, 310));
    await clock.advance(1_000);
    ledger.attempted('peer', P0, seconds(0, 60), 'PEER_TIMEOUT');
    ledger.compared(comparison(20, 30, { scope: P0 }));
    ledger.compared(comparison(40, 50, { scope: P0, peerGaps: [seconds(0, 45)] }));
    ledger.met('peer', secondNs(50));
    expect(await ledger.save()).toBe(true);
    const again = await reloaded(records);
    expect(again.open()).toEqual(ledger.open());
    expect(again.closed()).toEqual(ledger.closed());
    expect(again.verifications()).toEqual(ledger.verifications());
    expect(again.metUntilNs('peer')).toBe(secondNs(50));
    expect(ledger.open().map(({ attempts }) => attempts)).toEqual([0, 1, 1, 1, 1, 1]);
    expect(ledger.open()[2]).toMatchObject({
      cause: 'downtime',
      lastPeer: 'peer',
      lastAttemptMs: NOW_MS + 1_000,
      lastCode: 'PEER_TIMEOUT',
    });
  });

  it('gives every gap a name of its own, also after a restart', async () => {
    const { ledger, records } = await loaded();
    for (const at of [0, 10, 20]) ledger.add('downtime', P0, seconds(at, at + 1));
    ledger.compared(comparison(20, 30));
    await ledger.save();
    const again = await reloaded(records);
    again.add('downtime', P0, seconds(30, 31));
    expect(again.open().map(({ id }) => id)).toEqual([4, 2, 1]);
  });

  it('lets a gap grow that is touched by another one of its cause and topics', async () => {
    const { ledger } = await loaded();
    ledger.add('no-peer', P0, seconds(10, 20));
    ledger.add('no-peer', P0, seconds(20, 30));
    ledger.add('no-peer', P0, seconds(5, 12));
    ledger.add('no-peer', P0, seconds(8, 9));
    expect(spans(ledger.open())).toEqual([[5, 30]]);
    ledger.add('no-peer', P0, seconds(31, 32));
    ledger.add('no-peer', P1, seconds(20, 29));
    ledger.add('downtime', P0, seconds(20, 28));
    ledger.add('no-peer', P0, seconds(3, 3));
    expect(spans(ledger.open())).toEqual([
      [31, 32],
      [5, 30],
      [20, 29],
      [20, 28],
    ]);
  });

  it('tells of every gap once, and of every part that closes', async () => {
    const opened: Gap[] = [];
    const closed: ClosedGap[] = [];
    const { ledger } = await loaded({
      onOpened: (gap) => opened.push(gap),
      onClosed: (gap) => closed.push(gap),
    });
    ledger.add('no-peer', P0, seconds(0, 10));
    ledger.add('no-peer', P0, seconds(10, 20));
    ledger.compared(comparison(5, 8));
    ledger.compared(comparison(0, 30));
    expect(spans(opened)).toEqual([[0, 10]]);
    expect(spans(closed)).toEqual([
      [5, 8],
      [8, 20],
      [0, 5],
    ]);
    expect(ledger.closed()).toEqual(closed.toReversed());
  });

  it('tells where it lacks messages of a window, in as few intervals as a hello takes', async () => {
    const { ledger } = await loaded();
    for (let at = 0; at < 3 * LIMITS.helloGaps; at++)
      ledger.add('session', P0, seconds(at ** 2, at ** 2 + 1));
    ledger.add('downtime', P1, seconds(0, 5));
    expect(spans(ledger.gapsWithin(P1, seconds(3, 100)))).toEqual([[3, 5]]);
    expect(spans(ledger.gapsWithin(P0, seconds(0, 10)))).toEqual([
      [0, 2],
      [4, 5],
      [9, 10],
    ]);
    expect(ledger.gapsWithin({ pubsubTopics: ['p2'], contentTopics: [] }, seconds(0, 1_000))).toEqual([]);
    const told = ledger.gapsWithin(EVERYTHING, seconds(0, 100_000));
    expect(told.length).toBe(LIMITS.helloGaps);
    for (const { sinceNs, untilNs } of ledger.open())
      expect(told.some((part) => part.sinceNs <= sinceNs && untilNs <= part.untilNs)).toBe(true);
    // What is far apart is told apart.
    expect(spans(told).slice(-2)).toEqual([
      [190 ** 2, 190 ** 2 + 1],
      [191 ** 2, 191 ** 2 + 1],
    ]);
  });

  it('tells what of a window is in no gap of all its topics', async () => {
    const { ledger } = await loaded();
    ledger.add('downtime', BOTH, seconds(10, 20));
    ledger.add('session', P0, seconds(30, 40));
    const outside = (scope: Scope): [number, number][] => spans(ledger.outsideGaps(scope, seconds(0, 50)));
    expect(outside(P0)).toEqual([
      [40, 50],
      [20, 30],
      [0, 10],
    ]);
    expect(outside(BOTH)).toEqual([
      [20, 50],
      [0, 10],
    ]);
    expect(outside(EVERYTHING)).toEqual([[0, 50]]);
  });

  it('drops topics that are not covered any more', async () => {
    const { ledger } = await loaded();
    ledger.add('downtime', BOTH, seconds(0, 10));
    ledger.add('no-peer', P1, seconds(20, 30));
    ledger.add('session', P0, seconds(40, 50));
    const before = ledger.open()[0];
    ledger.narrow(P0);
    expect(ledger.open()).toEqual([before, expect.objectContaining({ ...seconds(0, 10), scope: P0 })]);
    expect(ledger.closed()).toEqual([expect.objectContaining({ scope: P1, verifiedWith: [] })]);
  });

  it('lets go of gaps that retention has passed, and of no other', async () => {
    const { ledger } = await loaded();
    ledger.add('downtime', P0, seconds(0, 10));
    ledger.add('downtime', P0, seconds(15, 21));
    ledger.add('downtime', P1, seconds(0, 11));
    ledger.expire(P0, secondNs(9));
    expect(ledger.open().length).toBe(3);
    ledger.expire(P0, secondNs(20));
    expect(spans(ledger.open())).toEqual([
      [15, 21],
      [0, 11],
    ]);
    expect(ledger.closed()).toEqual([expect.objectContaining({ ...seconds(0, 10), verifiedWith: [] })]);
  });
});

describe('a comparison', () => {
  it('closes the parts that it covers; the newest of the others keeps the name', async () => {
    const { ledger, clock } = await loaded();
    ledger.add('downtime', P0, seconds(0, 100));
    await clock.advance(5_000);
    ledger.compared(comparison(20, 30));
    expect(spans(ledger.open())).toEqual([
      [30, 100],
      [0, 20],
    ]);
    expect(ledger.open().map(({ id }) => id)).toEqual([1, 2]);
    expect(ledger.closed()).toEqual([
      expect.objectContaining({
        ...seconds(20, 30),
        id: 1,
        cause: 'downtime',
        verifiedWith: ['peer'],
        closedMs: NOW_MS + 5_000,
      }),
    ]);
    ledger.compared(comparison(100, 200));
    expect(spans(ledger.open())).toEqual([
      [30, 100],
      [0, 20],
    ]);
    ledger.compared(comparison(40, 200, { peerGaps: [seconds(90, 95)] }));
    expect(ledger.open().map((gap) => [gap.id, ...spans([gap])])).toEqual([
      [1, [90, 95]],
      [3, [30, 40]],
      [2, [0, 20]],
    ]);
  });

  it('closes nothing where the peer lacks messages itself, and notes it as a witness', async () => {
    const { ledger } = await loaded();
    ledger.add('downtime', P0, seconds(0, 100));
    const peerGaps = [seconds(0, 10), seconds(40, 60), seconds(50, 70), seconds(99, 500)];
    ledger.compared(comparison(5, 80, { peerGaps, peer: 'a' }));
    const witnesses = ledger.open().map((gap) => [...spans([gap]), gap.witnesses]);
    expect(witnesses).toEqual([
      [[80, 100], []],
      [[40, 70], ['a']],
      [[5, 10], ['a']],
      [[0, 5], []],
    ]);
    expect(spans(ledger.closed())).toEqual([
      [70, 80],
      [10, 40],
    ]);
    const open = ledger.open();
    for (const [since, until] of [
      [40, 70],
      [45, 50],
    ] as const)
      ledger.compared(comparison(since, until, { peerGaps, peer: 'a' }));
    expect(ledger.open()).toEqual(open);
    ledger.compared(comparison(40, 50, { peerGaps, peer: 'b' }));
    expect(ledger.open().map((gap) => gap.witnesses)).toEqual([[], ['a'], ['a', 'b'], ['a'], []]);
    // Another one that knows better.
    ledger.compared(comparison(0, 100, { peer: 'c' }));
    expect(ledger.open()).toEqual([]);
  });

  it('with peers that all lack messages themselves closes a gap only when that is accepted', async () => {
    const { ledger } = await loaded();
    ledger.add('downtime', P0, seconds(0, 100));
    ledger.acceptWitnesses(1);
    expect(ledger.open().length).toBe(1);
    for (const peer of ['a', 'b']) ledger.compared(comparison(0, 100, { peer, peerGaps: [seconds(0, 100)] }));
    const [{ id, witnesses } = { id: 0, witnesses: [] }] = ledger.open();
    expect(witnesses).toEqual(['a', 'b']);
    ledger.acceptWitnesses(id + 1);
    ledger.acceptWitnesses(id);
    expect(ledger.open()).toEqual([]);
    expect(ledger.closed()[0]).toMatchObject({ ...seconds(0, 100), verifiedWith: ['a', 'b'] });
  });

  it('that was before more went missing says nothing of it', async () => {
    for (const more of [seconds(0, 200), seconds(40, 60), seconds(0, 100)]) {
      const { ledger } = await loaded();
      ledger.add('downtime', P0, seconds(0, 100));
      ledger.compared(comparison(0, 100, { peerGaps: [seconds(0, 100)] }));
      expect(ledger.open()[0]?.witnesses).toEqual(['peer']);
      ledger.add('downtime', P0, more);
      ledger.acceptWitnesses(1);
      expect(ledger.open()).toEqual([expect.objectContaining({ witnesses: [] })]);
    }
  });

  it('remembers so many witnesses, the last ones', async () => {
    const { ledger } = await loaded();
    ledger.add('downtime', P0, seconds(0, 10));
    for (let peer = 0; peer <= LIMITS.gapWitnesses; peer++)
      ledger.compared(comparison(0, 10, { peer: `peer${peer}`, peerGaps: [seconds(0, 10)] }));
    const { witnesses } = ledger.open()[0]!;
    expect([witnesses.length, witnesses[0]]).toEqual([LIMITS.gapWitnesses, 'peer1']);
  });

  it('that cuts more gaps than there may be leaves out none of the others', async () => {
    const { ledger } = await loaded();
    ledger.add('downtime', P0, seconds(5_000, 5_010));
    for (let at = 0; ledger.open().length < LIMITS.gaps; at++)
      ledger.add('session', P0, seconds(2 * at, 2 * at + 1));
    // The first cut makes one of the two oldest: one that the comparison covers, and one before it.
    ledger.compared(comparison(2, 6_000, { peerGaps: [seconds(5_002, 5_004), seconds(5_006, 5_008)] }));
    const open = cellsOf(ledger.open(), 6_000);
    expect(missingIn(open, cellsWithin(P0, seconds(0, 1), 6_000))).toEqual([]);
    expect(spans(ledger.open()).slice(0, 2)).toEqual([
      [5_006, 5_008],
      [5_002, 5_004],
    ]);
  });

  it('of some topics leaves the others open', async () => {
    const { ledger } = await loaded();
    ledger.add('downtime', BOTH, seconds(0, 100));
    ledger.compared(comparison(20, 50, { scope: P0, peerGaps: [seconds(30, 40)] }));
    const open = ledger.open().map((gap) => [...spans([gap]), gap.scope.pubsubTopics, gap.witnesses]);
    expect(open).toEqual([
      [[50, 100], ['p0', 'p1'], []],
      [[20, 50], ['p1'], []],
      [[30, 40], ['p0'], ['peer']],
      [[0, 20], ['p0', 'p1'], []],
    ]);
    expect(ledger.closed().map(({ scope }) => scope)).toEqual([P0, P0]);
  });

  it('closes nothing where what is left cannot be said in topics, or nothing is in common', async () => {
    const x: Scope = { pubsubTopics: [], contentTopics: ['x'] };
    const p0x: Scope = { pubsubTopics: ['p0'], contentTopics: ['x'] };
    for (const [missing, compared] of [
      [EVERYTHING, P0],
      [EVERYTHING, x],
      [BOTH, p0x],
      [P0, P1],
      [x, P0],
    ] as const) {
      const { ledger } = await loaded();
      ledger.add('downtime', missing, seconds(0, 100));
      const open = ledger.open();
      ledger.compared(comparison(0, 100, { scope: compared }));
      expect([ledger.open(), ledger.closed()]).toEqual([open, []]);
    }
  });

  it('is remembered as the newest look at its time and topics', async () => {
    const { ledger, clock } = await loaded();
    ledger.compared(comparison(0, 100, { peer: 'a', scope: P0 }));
    ledger.compared(comparison(50, 150, { peer: 'b', scope: P1 }));
    await clock.advance(1_000);
    ledger.compared(comparison(20, 30, { peer: 'c', scope: BOTH }));
    const looks = ledger
      .verifications()
      .map((look) => [look.peer, ...spans([look]), look.verifiedMs - NOW_MS]);
    expect(looks).toEqual([
      ['b', [50, 150], 0],
      ['a', [30, 100], 0],
      ['c', [20, 30], 1_000],
      ['a', [0, 20], 0],
    ]);
    expect(ledger.verifiedUntilNs(P0)).toBe(secondNs(100));
    expect(ledger.verifiedUntilNs(BOTH)).toBe(secondNs(30));
    expect(ledger.verifiedUntilNs(EVERYTHING)).toBeUndefined();
  });

  it('says nothing of what is still to come', async () => {
    const { ledger } = await loaded();
    ledger.compared({ ...comparison(0, 1), untilNs: NOW_NS + 5_000_000_000n });
    expect(ledger.verifiedUntilNs(EVERYTHING)).toBe(NOW_NS);
    ledger.compared({ ...comparison(0, 1), sinceNs: NOW_NS, untilNs: NOW_NS + 1n });
    expect(ledger.verifications().length).toBe(1);
  });

  it('round after round reaches further with each peer, and never less far', async () => {
    const { ledger, records } = await loaded();
    ledger.met('peer', secondNs(50));
    ledger.met('peer', secondNs(40));
    expect([ledger.metUntilNs('peer'), ledger.metUntilNs('nobody')]).toEqual([secondNs(50), undefined]);
    for (let peer = 1; peer < LIMITS.verificationsRemembered; peer++)
      ledger.met(`peer${peer}`, secondNs(peer));
    ledger.met('peer', secondNs(60));
    await ledger.save();
    const again = await reloaded(records);
    again.met('one more', secondNs(70));
    const remembered = ['peer', 'peer1', 'peer2', 'one more'].map((peer) => again.metUntilNs(peer));
    expect(remembered).toEqual([secondNs(60), undefined, secondNs(2), secondNs(70)]);
  });
});

describe('what is written down', () => {
  it('leaves out nothing, whichever records fail or a crash comes before', async () => {
    const changed = async () => {
      const made = await loaded();
      made.ledger.add('downtime', BOTH, seconds(0, 100));
      made.ledger.add('no-peer', P0, seconds(200, 300));
      made.ledger.add('session', P1, seconds(400, 410));
      await made.ledger.save();
      const saved = cellsOf(made.ledger.open(), 700);
      made.records.writes = 0;
      // One is cut in pieces, one becomes less, one grows, one is closed, one is new.
      made.ledger.compared(comparison(20, 50, { scope: P0, peerGaps: [seconds(30, 40)] }));
      made.ledger.compared(comparison(190, 250, { scope: P0 }));
      made.ledger.add('downtime', BOTH, seconds(100, 120));
      made.ledger.compared(comparison(400, 410, { scope: P1 }));
      made.ledger.add('store-fault', P0, seconds(500, 600));
      const open = cellsOf(made.ledger.open(), 700);
      return { ...made, open, safe: [...open].filter((cell) => saved.has(cell)) };
    };
    const { ledger, records } = await changed();
    await ledger.save();
    const { writes } = records;
    expect(writes).toBeGreaterThan(8);
    const faults: ((write: number) => boolean)[] = [];
    for (let at = 0; at < writes; at++) {
      faults.push(
        (write) => write === at,
        (write) => write >= at,
        (write) => write !== at,
      );
    }
    for (const fails of faults) {
      const made = await changed();
      made.records.fails = fails;
      expect(await made.ledger.save()).toBe(false);
      expect(made.log.codes('debug')).toEqual(['STORE_FAULT']);
      const crashed = await reloaded(made.records);
      expect(missingIn(cellsOf(crashed.open(), 700), made.safe)).toEqual([]);
      // What has failed is tried again.
      made.records.fails = () => false;
      expect(await made.ledger.save()).toBe(true);
      const again = await reloaded(made.records);
      expect(cellsOf(again.open(), 700)).toEqual(made.open);
      expect(again.open()).toEqual(made.ledger.open());
      expect(again.closed()).toEqual(made.ledger.closed());
    }
  });

  it('is all that was there when it was asked for, and what came meanwhile', async () => {
    const { ledger, records } = await loaded();
    ledger.add('downtime', P0, seconds(0, 10));
    const saves = [ledger.save(), ledger.save()];
    ledger.add('session', P0, seconds(20, 30));
    ledger.met('peer', secondNs(30));
    expect(await Promise.all(saves)).toEqual([true, true]);
    expect((await reloaded(records)).open()).toEqual(ledger.open());
    const { writes } = records;
    expect([await ledger.save(), records.writes]).toEqual([true, writes]);
  });

  it('becomes a gap over all times and topics where it cannot be read, until that is compared', async () => {
    const { ledger, records } = await loaded();
    ledger.add('downtime', P0, seconds(0, 10));
    ledger.add('session', P1, seconds(20, 30));
    await ledger.save();
    const [damaged] = await writtenIn(records, 'gap/');
    await records.put(damaged![0], new TextEncoder().encode('{"id":1'));
    const again = await Ledger.load({ records, clock: new VirtualClock(), log: new RecordingLogger() });
    const wide = {
      cause: 'first-start',
      scope: EVERYTHING,
      sinceNs: 0n,
      untilNs: NOW_NS + BigInt(LIMITS.clockToleranceMs) * 1_000_000n,
    };
    expect(again.open()).toEqual([expect.objectContaining(wide), ledger.open()[0]]);
    // A crash before it is written down, one in the midst of that, and one after it.
    expect((await reloaded(records)).open()[0]).toMatchObject(wide);
    records.writes = 0;
    records.fails = (write) => write > 0;
    expect(await again.save()).toBe(false);
    expect((await reloaded(records)).open()[0]).toMatchObject(wide);
    records.fails = () => false;
    expect(await again.save()).toBe(true);
    expect((await reloaded(records)).open()).toEqual(again.open());
    again.compared({ ...comparison(0, 10), sinceNs: 0n, untilNs: wide.untilNs });
    await again.save();
    expect((await reloaded(records)).open()).toEqual([]);
  });

  it('is doubted where a record has the name of another one, or covers no time at all', async () => {
    for (const damage of [
      (text: string) => text.replace('"id":1', '"id":2'),
      (text: string) => text.replace(/"untilNs":"\d/, '"untilNs":"0'),
    ]) {
      const { ledger, records } = await loaded();
      ledger.add('downtime', P0, seconds(0, 10));
      await ledger.save();
      const [name, value] = (await writtenIn(records, 'gap/'))[0]!;
      await records.put(name, new TextEncoder().encode(damage(new TextDecoder().decode(value))));
      const open = (await reloaded(records)).open();
      expect(open).toEqual([expect.objectContaining({ cause: 'first-start', sinceNs: 0n })]);
    }
  });

  it('of what was closed and compared may be lost, and gaps are named and kept as before', async () => {
    const { ledger, records } = await loaded();
    ledger.add('downtime', P0, seconds(0, 10));
    ledger.compared(comparison(0, 5));
    ledger.met('peer', secondNs(5));
    await ledger.save();
    const [closed] = ledger.closed();
    const huge = [
      { ...closed, id: 1e300 },
      { ...closed, id: 2 ** 53 },
      { ...closed, id: 0.5 },
    ];
    const text = JSON.stringify(huge, (_key, part) => (typeof part === 'bigint' ? String(part) : part));
    for (const bytes of [new Uint8Array(0), Uint8Array.of(0xff), new TextEncoder().encode(text)]) {
      for (const list of ['closed', 'verified', 'met']) await records.put(`ledger/${list}`, bytes);
      const again = await reloaded(records);
      expect([again.closed(), again.verifications(), again.metUntilNs('peer')]).toEqual([[], [], undefined]);
      again.add('session', P0, seconds(20, 30));
      again.add('session', P0, seconds(40, 50));
      expect(spans(again.open())).toEqual([
        [40, 50],
        [20, 30],
        [5, 10],
      ]);
    }
  });
});

// ── every topic and second on its own ────────────────────────────────────────────────────────────────────────────

const TOPICS = ['p0', 'p1', 'p2'] as const;
const CONTENTS = ['x', 'y'] as const;
const CELLS = TOPICS.flatMap((pubsub) => CONTENTS.map((content) => [pubsub, content] as const));

function* cellsWithin(scope: Scope, { sinceNs, untilNs }: Interval, length: number): Generator<string> {
  const at = (ns: bigint): number => Math.max(0, Math.min(length, Number(ns - BEGIN_NS) / 1e9));
  for (const [pubsub, content] of CELLS) {
    if (!inScope(scope, pubsub, content)) continue;
    for (let second = at(sinceNs); second < at(untilNs); second++) yield `${pubsub} ${content} ${second}`;
  }
}

function cellsOf(gaps: readonly Gap[], length: number): Set<string> {
  const cells = new Set<string>();
  for (const gap of gaps) for (const cell of cellsWithin(gap.scope, gap, length)) cells.add(cell);
  return cells;
}

function missingIn(cells: ReadonlySet<string>, expected: Iterable<string>): string[] {
  return [...expected].filter((cell) => !cells.has(cell));
}

/** What may be missing, cell by cell: nothing is known but what was said of each. */
class Oracle {
  /** Doubted, and not compared since with anybody who vouches for it; with the peers that were met there since. */
  readonly open = new Map<string, Set<string>>();
  /** Of these, the ones that have been on the disk all the time, with the peers that may be named there. */
  #safe = new Map<string, Set<string>>();
  readonly #length: number;

  constructor(length: number) {
    this.#length = length;
  }

  add(scope: Scope, interval: Interval): void {
    for (const cell of cellsWithin(scope, interval, this.#length)) this.open.set(cell, new Set());
  }

  compared({ scope, peer, peerGaps, ...window }: Comparison): void {
    const doubtful = cellsOf(
      peerGaps.map((part) => ({ ...part, scope }) as Gap),
      this.#length,
    );
    for (const cell of cellsWithin(scope, window, this.#length)) {
      if (!doubtful.has(cell)) this.close(cell);
      for (const met of [this.open.get(cell), this.#safe.get(cell)]) met?.add(peer);
    }
  }

  expire(scope: Scope, horizonNs: bigint): void {
    const past = { sinceNs: BEGIN_NS, untilNs: horizonNs };
    for (const cell of cellsWithin(scope, past, this.#length)) this.close(cell);
  }

  close(cell: string): void {
    this.open.delete(cell);
    this.#safe.delete(cell);
  }

  saved(): void {
    this.#safe = copyOf(this.open);
  }

  /** What was not on the disk was never said. */
  crashed(): void {
    this.open.clear();
    for (const [cell, met] of copyOf(this.#safe)) this.open.set(cell, met);
  }
}

function copyOf(cells: ReadonlyMap<string, Set<string>>): Map<string, Set<string>> {
  return new Map([...cells].map(([cell, met]) => [cell, new Set(met)]));
}

const LENGTH = 30;
const scope: fc.Arbitrary<Scope> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc
      .subarray([...TOPICS], { minLength: 1 })
      .map((pubsubTopics) => ({ pubsubTopics, contentTopics: [] })),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      pubsubTopics: fc.subarray([...TOPICS]),
      contentTopics: fc.subarray([...CONTENTS]),
    }),
  },
);
const divisible = fc
  .subarray([...TOPICS], { minLength: 1 })
  .map((pubsubTopics): Scope => ({ pubsubTopics, contentTopics: [] }));
const interval = fc
  .tuple(fc.nat(LENGTH), fc.nat(LENGTH))
  .map(([a, b]) => seconds(Math.min(a, b), Math.max(a, b)));
const cause = fc.constantFrom('downtime', 'no-peer', 'session');
const peer = fc.constantFrom('a', 'b', 'c');

function additionIn(scopes: fc.Arbitrary<Scope>) {
  return fc.record({ kind: fc.constant('add'), cause, scope: scopes, interval });
}

function comparisonIn(scopes: fc.Arbitrary<Scope>) {
  const peerGaps = fc.array(interval, { maxLength: 4 });
  return fc.record({ kind: fc.constant('compared'), scope: scopes, interval, peer, peerGaps });
}

const step = fc.oneof(
  { weight: 4, arbitrary: additionIn(scope) },
  { weight: 5, arbitrary: comparisonIn(scope) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('expire'), scope, until: fc.nat(LENGTH) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('accept'), choice: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('save'), fault: fc.option(fc.nat()) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('crash') }) },
);

describe('whatever happens to a ledger', () => {
  it('it covers all that was doubted and not compared since, through crashes and failed writes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 25 }), async (steps) => {
        const oracle = new Oracle(LENGTH);
        let { ledger, records } = await loaded();
        for (const next of steps) {
          if (next.kind === 'add') {
            ledger.add(next.cause, next.scope, next.interval);
            oracle.add(next.scope, next.interval);
          } else if (next.kind === 'compared') {
            const { interval: window, scope, peer, peerGaps } = next;
            ledger.compared({ ...window, scope, peer, peerGaps });
            oracle.compared({ ...window, scope, peer, peerGaps });
          } else if (next.kind === 'expire') {
            ledger.expire(next.scope, secondNs(next.until));
            oracle.expire(next.scope, secondNs(next.until));
          } else if (next.kind === 'accept') {
            const open = ledger.open();
            const gap = open[next.choice % Math.max(1, open.length)];
            if (gap === undefined) continue;
            ledger.acceptWitnesses(gap.id);
            const left = cellsOf(ledger.open(), LENGTH);
            for (const cell of missingIn(left, cellsOf([gap], LENGTH))) {
              expect(missingIn(oracle.open.get(cell) ?? new Set(gap.witnesses), gap.witnesses)).toEqual([]);
              oracle.close(cell);
            }
          } else if (next.kind === 'save') {
            const chance = new Chance(next.fault ?? 0);
            records.fails = () => next.fault !== null && chance.below(4) === 0;
            if (await ledger.save()) oracle.saved();
          } else {
            oracle.crashed();
            records = new FaultyRecords(await writtenIn(records));
            ledger = (await loaded({ records })).ledger;
          }
          expect(missingIn(cellsOf(ledger.open(), LENGTH), oracle.open.keys())).toEqual([]);
        }
      }),
      { numRuns: 400 },
    );
  });

  it('it covers nothing else, where all can be said in topics', async () => {
    const steps = fc.array(fc.oneof(additionIn(divisible), comparisonIn(divisible)), { maxLength: 25 });
    await fc.assert(
      fc.asyncProperty(steps, async (steps) => {
        const oracle = new Oracle(LENGTH);
        let { ledger, records } = await loaded();
        for (const next of steps) {
          if ('cause' in next) {
            ledger.add(next.cause, next.scope, next.interval);
            oracle.add(next.scope, next.interval);
          } else {
            const { interval: window, scope, peer, peerGaps } = next;
            ledger.compared({ ...window, scope, peer, peerGaps });
            oracle.compared({ ...window, scope, peer, peerGaps });
          }
          expect(cellsOf(ledger.open(), LENGTH)).toEqual(new Set(oracle.open.keys()));
        }
        await ledger.save();
        ledger = await reloaded(records);
        expect(cellsOf(ledger.open(), LENGTH)).toEqual(new Set(oracle.open.keys()));
      }),
      { numRuns: 200 },
    );
  });

  it('it has a bounded number of gaps, and leaves out none of their times for that', async () => {
    const length = 3 * LIMITS.gaps;
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        const chance = new Chance(seed);
        const oracle = new Oracle(length);
        const { ledger, records } = await loaded();
        const scopes = [P0, P1, BOTH, P0];
        const anInterval = (longest: number): Interval => {
          const since = chance.below(length);
          return seconds(since, since + 1 + chance.below(longest));
        };
        const add = (): void => {
          const [topics, window] = [chance.pick(scopes), anInterval(2)];
          ledger.add(chance.pick(['session', 'downtime']), topics, window);
          oracle.add(topics, window);
        };
        while (ledger.open().length < LIMITS.gaps - 1) for (let more = 0; more < 20; more++) add();
        for (let round = 0; round < 6; round++) {
          const peerGaps = Array.from({ length: LIMITS.helloGaps }, () => anInterval(60));
          const window = chance.below(2) === 0 ? anInterval(length) : seconds(chance.below(100), length);
          const found = { ...window, scope: chance.pick(scopes), peer: `peer${round}`, peerGaps };
          ledger.compared(found);
          oracle.compared(found);
          expect(ledger.open().length).toBeLessThanOrEqual(LIMITS.gaps);
          for (let more = 0; more < 50; more++) add();
          expect(ledger.open().length).toBeLessThanOrEqual(LIMITS.gaps);
          expect(missingIn(cellsOf(ledger.open(), length), oracle.open.keys())).toEqual([]);
        }
        await ledger.save();
        expect(cellsOf((await reloaded(records)).open(), length)).toEqual(cellsOf(ledger.open(), length));
      }),
      { numRuns: 5 },
    );
  });

  it('it remembers a bounded number of what was closed and compared, the last and the newest', async () => {
    const { ledger } = await loaded();
    const most = Math.max(LIMITS.gapsRemembered, LIMITS.verificationsRemembered) + 10;
    for (let at = 0; at < most; at++) {
      ledger.add('session', P0, seconds(2 * at, 2 * at + 1));
      ledger.compared(comparison(2 * at, 2 * at + 1));
    }
    const [closed, verified] = [ledger.closed(), ledger.verifications()];
    expect([closed.length, verified.length]).toEqual([LIMITS.gapsRemembered, LIMITS.verificationsRemembered]);
    expect([spans(closed)[0], spans(verified)[0]]).toEqual(Array(2).fill([2 * most - 2, 2 * most - 1]));
  });
});
