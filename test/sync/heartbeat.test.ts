/** How a node finds out what it may have missed: not running, held, alone, or unable to write. */
import { describe, expect, it } from 'vitest';
import { type Interval, without } from '../../src/core/interval.ts';
import { EVERYTHING, type Scope } from '../../src/core/scope.ts';
import { LacunaError } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import type { Clock } from '../../src/ports.ts';
import { Heartbeat } from '../../src/sync/heartbeat.ts';
import { Ledger } from '../../src/sync/ledger.ts';
import { MemoryRecords } from '../memory-store.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { NOW_MS } from '../sample-messages.ts';
import { VirtualClock } from './virtual-clock.ts';

const HOUR_MS = 3_600_000;
const P0: Scope = { pubsubTopics: ['p0'], contentTopics: [] };
const P0_AND_P1: Scope = { pubsubTopics: ['p0', 'p1'], contentTopics: [] };
const TOLERANCE_MS = LIMITS.clockToleranceMs;

/** The clocks of a machine: that of the world may be set, and either may leap when the machine was held. */
class MachineClock implements Clock {
  readonly #time: VirtualClock;
  aheadMs = 0;
  leaptMs = 0;

  constructor(time: VirtualClock) {
    this.#time = time;
  }

  nowMs(): number {
    return this.#time.nowMs() + this.aheadMs;
  }

  monotonicMs(): number {
    return this.#time.monotonicMs() + this.leaptMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return this.#time.sleep(ms, signal);
  }
}

/** Records that take so many more writes and then none, and those of gaps only if they are told to. */
class EndingRecords extends MemoryRecords {
  writesLeft = Number.POSITIVE_INFINITY;
  takesGaps = true;

  override async put(name: string, value: Uint8Array): Promise<void> {
    if (!this.takesGaps && name.startsWith('gap/')) throw new LacunaError('STORE_FAULT', 'told to fail');
    if (this.writesLeft-- <= 0) throw new LacunaError('STORE_FAULT', 'told to fail');
    await super.put(name, value);
  }

  override async delete(name: string): Promise<void> {
    if (this.writesLeft-- <= 0) throw new LacunaError('STORE_FAULT', 'told to fail');
    await super.delete(name);
  }
}

interface Init {
  readonly time?: VirtualClock;
  readonly records?: MemoryRecords;
  readonly scope?: Scope;
  readonly aheadMs?: number;
}

/** A node that has begun to beat; connected and writable as long as nobody says otherwise. */
async function begun({
  time = new VirtualClock(),
  records = new MemoryRecords(),
  scope = P0,
  aheadMs = 0,
}: Init = {}) {
  const clock = new MachineClock(time);
  clock.aheadMs = aheadMs;
  const log = new RecordingLogger();
  const state = { peers: 1, isWritable: true, horizonMs: NOW_MS - 24 * HOUR_MS, rounds: 0, holds: 0 };
  const writable: boolean[] = [];
  const ledger = await Ledger.load({ records, clock, log });
  const heartbeat = new Heartbeat({
    records,
    ledger,
    clock,
    log,
    scope,
    horizonNs: () => BigInt(state.horizonMs) * 1_000_000n,
    peersConnected: () => state.peers,
    isWritable: () => state.isWritable,
    rounds: () => state.rounds,
    onHeld: () => {
      state.holds += 1;
    },
    onWritable: (isWritable) => writable.push(isWritable),
  });
  const rounds = await heartbeat.begin();
  heartbeat.start();
  return { time, clock, records, log, state, writable, ledger, heartbeat, rounds };
}

/** One that has run for a while and lacks nothing that is on the ledger. */
async function running(init: Init = {}) {
  const made = await begun(init);
  compareAll(made.ledger);
  await made.time.advance(60_000);
  expect(made.ledger.open()).toEqual([]);
  return made;
}

function compareAll(ledger: Ledger): void {
  const always = { sinceNs: 0n, untilNs: BigInt(NOW_MS + 1_000 * HOUR_MS) * 1_000_000n };
  ledger.compared({ ...always, scope: EVERYTHING, peer: 'peer', peerGaps: [] });
}

/** The causes of open gaps and what they cover, in ms from the time at which these tests begin. */
function gapsOf(ledger: Ledger): [string, number, number][] {
  return ledger.open().map((gap) => [gap.cause, ...msOf(gap)]);
}

function msOf({ sinceNs, untilNs }: Interval): [number, number] {
  return [Number(sinceNs / 1_000_000n) - NOW_MS, Number(untilNs / 1_000_000n) - NOW_MS];
}

/** The node is killed: what is on the disk then. Whatever it still writes, nobody reads. */
function killed({ records, heartbeat }: Awaited<ReturnType<typeof begun>>): MemoryRecords {
  const left = records.copy();
  void heartbeat.stop();
  return left;
}

describe('a node that starts', () => {
  it('for the first time may lack all that is kept', async () => {
    const { ledger, rounds, records, heartbeat } = await begun();
    expect(gapsOf(ledger)).toEqual([['first-start', -24 * HOUR_MS, TOLERANCE_MS]]);
    expect(rounds).toBe(0);
    // And still does if it is killed at once.
    const again = await begun({ records: records.copy() });
    expect(gapsOf(again.ledger)).toContainEqual(['first-start', -24 * HOUR_MS, TOLERANCE_MS]);
    await Promise.all([heartbeat.stop(), again.heartbeat.stop()]);
  });

  it('after it was killed may lack what came since it was last known to live', async () => {
    const made = await running();
    made.state.rounds = 17;
    await made.time.advance(15_500);
    const records = killed(made);
    await made.time.advance(HOUR_MS);
    const again = await begun({ time: made.time, records });
    // It beat at 70 s, and would have again at 80 s.
    expect(gapsOf(again.ledger)).toEqual([
      ['downtime', 70_000 - TOLERANCE_MS, 75_500 + HOUR_MS + TOLERANCE_MS],
    ]);
    expect(again.rounds).toBe(17);
    await again.heartbeat.stop();
  });

  it('after a clean end may lack what came since that', async () => {
    const made = await running();
    await made.time.advance(5_500);
    await made.heartbeat.stop();
    await made.time.advance(HOUR_MS);
    const again = await begun(made);
    expect(gapsOf(again.ledger)).toEqual([
      ['downtime', 65_500 - TOLERANCE_MS, 65_500 + HOUR_MS + TOLERANCE_MS],
    ]);
    await again.heartbeat.stop();
  });

  it('before it has ended, by its clock, may lack all that is kept', async () => {
    for (const [backMs, sinceMs] of [
      [LIMITS.heldMs, 60_000 - TOLERANCE_MS],
      [LIMITS.heldMs + 1, -24 * HOUR_MS],
      [5 * HOUR_MS, -24 * HOUR_MS],
    ] as const) {
      const made = await running();
      await made.heartbeat.stop();
      const again = await begun({ time: made.time, records: made.records, aheadMs: -backMs });
      expect(gapsOf(again.ledger)).toEqual([['downtime', sinceMs, 60_000 - backMs + TOLERANCE_MS]]);
      await again.heartbeat.stop();
    }
  });

  it('with more topics than before may lack all that is kept of those', async () => {
    const made = await running();
    await made.heartbeat.stop();
    const again = await begun({ time: made.time, records: made.records, scope: P0_AND_P1 });
    const fresh = again.ledger.open().find(({ cause }) => cause === 'new-topics')!;
    expect([fresh.scope.pubsubTopics, msOf(fresh)]).toEqual([['p1'], [-24 * HOUR_MS, 60_000 + TOLERANCE_MS]]);
    const rest = again.ledger.open().find(({ cause }) => cause === 'downtime')!;
    expect([rest.scope, ...msOf(rest)]).toEqual([P0_AND_P1, 60_000 - TOLERANCE_MS, 60_000 + TOLERANCE_MS]);
    await again.heartbeat.stop();
    // And none of those that it does not cover any more.
    const last = await begun({ time: made.time, records: made.records, scope: P0 });
    expect(last.ledger.open().map(({ scope }) => scope)).toEqual(last.ledger.open().map(() => P0));
    expect(last.ledger.open().map(({ cause }) => cause)).not.toContain('new-topics');
    await last.heartbeat.stop();
  });

  it('and cannot read when it lived last may lack all that is kept', async () => {
    const made = await running();
    await made.heartbeat.stop();
    await made.records.put('pulse', new TextEncoder().encode('{"aliveMs":17'));
    const again = await begun({ time: made.time, records: made.records });
    expect(gapsOf(again.ledger)).toEqual([['first-start', -24 * HOUR_MS, 60_000 + TOLERANCE_MS]]);
    await again.heartbeat.stop();
  });
});

describe('a node that runs', () => {
  it('steadily misses nothing', async () => {
    const { time, ledger, heartbeat, state, log } = await running();
    await time.advance(HOUR_MS);
    expect([gapsOf(ledger), state.holds, log.codes('warn')]).toEqual([[], 0, []]);
    await heartbeat.stop();
  });

  it('and was held may lack what came meanwhile, whichever clock went on', async () => {
    for (const [aheadMs, leaptMs] of [
      // A machine that slept; a process that was stopped; one whose clock was set back while it was.
      [HOUR_MS, 0],
      [HOUR_MS, HOUR_MS],
      [0, HOUR_MS],
    ] as const) {
      const { time, clock, ledger, heartbeat, state } = await running();
      clock.aheadMs += aheadMs;
      clock.leaptMs += leaptMs;
      await time.advance(1_000);
      const [[cause, sinceMs, untilMs] = ['', 0, 0], ...others] = gapsOf(ledger);
      const nowMs = clock.nowMs() - NOW_MS;
      expect([cause, sinceMs, untilMs, others]).toEqual([
        'downtime',
        nowMs - 1_000 - HOUR_MS - TOLERANCE_MS,
        nowMs + TOLERANCE_MS,
        [],
      ]);
      expect(state.holds).toBe(1);
      await time.advance(60_000);
      expect([gapsOf(ledger).length, state.holds]).toEqual([1, 1]);
      await heartbeat.stop();
    }
  });

  it('and was held for a moment has missed nothing', async () => {
    const { time, clock, ledger, heartbeat, state } = await running();
    clock.aheadMs += LIMITS.heldMs;
    await time.advance(1_000);
    expect([gapsOf(ledger), state.holds]).toEqual([[], 0]);
    clock.aheadMs += LIMITS.heldMs + 1;
    await time.advance(1_000);
    expect([gapsOf(ledger).length, state.holds]).toEqual([1, 1]);
    await heartbeat.stop();
  });

  it('knows that it was held before it says anything of what it holds', async () => {
    const { clock, ledger, heartbeat, state } = await running();
    clock.aheadMs += HOUR_MS;
    heartbeat.look();
    expect([gapsOf(ledger).length, state.holds]).toEqual([1, 1]);
    await heartbeat.stop();
  });

  it('is told of a clock that was set back, and has missed nothing by that', async () => {
    const { time, clock, ledger, heartbeat, state, log, records } = await running();
    clock.aheadMs -= HOUR_MS;
    await time.advance(60_000);
    expect([gapsOf(ledger), state.holds, log.codes('warn').length]).toEqual([[], 0, 1]);
    // It goes on saying that it lives, by the clock as it is now.
    const again = await begun({ time, records: records.copy(), aheadMs: -HOUR_MS });
    expect(gapsOf(again.ledger)).toEqual([
      ['downtime', 111_000 - HOUR_MS - TOLERANCE_MS, 120_000 - HOUR_MS + TOLERANCE_MS],
    ]);
    await Promise.all([heartbeat.stop(), again.heartbeat.stop()]);
  });

  it('lets go of gaps of which nothing is kept any more', async () => {
    const { time, ledger, heartbeat, state } = await begun();
    state.horizonMs = NOW_MS + TOLERANCE_MS - 1;
    await time.advance(2_000);
    expect(gapsOf(ledger).length).toBe(1);
    state.horizonMs += 1;
    await time.advance(1_000);
    expect(gapsOf(ledger)).toEqual([]);
    await heartbeat.stop();
  });
});

describe('a node without any peer', () => {
  it('may lack what comes while it has none, more and more of it, until somewhat later', async () => {
    const { time, ledger, heartbeat, state } = await running();
    state.peers = 0;
    await time.advance(LIMITS.alonePatienceMs);
    expect(gapsOf(ledger)).toEqual([]);
    // It was seen to be alone at the first look, a second later.
    await time.advance(1_000);
    const sinceMs = 61_000 - TOLERANCE_MS;
    expect(gapsOf(ledger)).toEqual([['no-peer', sinceMs, 61_000 + LIMITS.alonePatienceMs]]);
    await time.advance(600_000);
    expect(gapsOf(ledger)).toEqual([['no-peer', sinceMs, 661_000 + LIMITS.alonePatienceMs]]);
    state.peers = 1;
    await time.advance(1_000);
    const whole = [['no-peer', sinceMs, 662_000 + LIMITS.alonePatienceMs + TOLERANCE_MS]];
    expect(gapsOf(ledger)).toEqual(whole);
    await time.advance(600_000);
    expect(gapsOf(ledger)).toEqual(whole);
    await heartbeat.stop();
  });

  it('for a moment has missed nothing, however often', async () => {
    const { time, ledger, heartbeat, state } = await running();
    for (let moment = 0; moment < 10; moment++) {
      state.peers = 0;
      await time.advance(LIMITS.alonePatienceMs - 1_000);
      state.peers = 1;
      await time.advance(1_000);
    }
    expect(gapsOf(ledger)).toEqual([]);
    await heartbeat.stop();
  });

  it('knows since when, whatever is done to its clock meanwhile', async () => {
    for (const aheadMs of [-2 * HOUR_MS, 2 * HOUR_MS]) {
      const { time, clock, ledger, heartbeat, state } = await running();
      state.peers = 0;
      await time.advance(5_000);
      clock.aheadMs = aheadMs;
      await time.advance(600_000);
      const alone = ledger.open().filter(({ cause }) => cause === 'no-peer');
      const [sinceMs, untilMs] = msOf(alone[0]!);
      // Seen at 61 s, by the clock as it was then and by the one as it is now.
      expect(sinceMs).toBeLessThanOrEqual(61_000 + Math.min(0, aheadMs) - TOLERANCE_MS);
      expect(untilMs).toBe(665_000 + aheadMs);
      await heartbeat.stop();
    }
  });

  it('that is killed then starts with all of it', async () => {
    const made = await running();
    made.state.peers = 0;
    await made.time.advance(300_000);
    const again = await begun({ time: made.time, records: killed(made) });
    expect(missedOf(again.ledger, 61_000, 360_000)).toEqual([]);
    await again.heartbeat.stop();
  });
});

describe('a node whose store is at fault', () => {
  it('may lack what comes from then on, at once, and tells so', async () => {
    const { time, ledger, heartbeat, state, writable } = await running();
    state.isWritable = false;
    await time.advance(1_000);
    expect([gapsOf(ledger), writable]).toEqual([[['store-fault', 61_000 - TOLERANCE_MS, 61_000]], [false]]);
    await time.advance(30_000);
    state.isWritable = true;
    await time.advance(1_000);
    expect(gapsOf(ledger)).toEqual([['store-fault', 61_000 - TOLERANCE_MS, 92_000 + TOLERANCE_MS]]);
    await time.advance(30_000);
    expect([gapsOf(ledger).length, writable]).toEqual([1, [false, true]]);
    await heartbeat.stop();
  });

  it('says that it lives again as soon as it can, and until then that it did before', async () => {
    const records = new EndingRecords();
    const made = await running({ records });
    const { time, state, heartbeat, log } = made;
    records.writesLeft = 0;
    state.isWritable = false;
    await time.advance(600_000);
    expect(new Set(log.codes('debug'))).toEqual(new Set(['STORE_FAULT']));
    const crashed = await begun({ time, records: records.copy() });
    expect(gapsOf(crashed.ledger)).toEqual([['downtime', 60_000 - TOLERANCE_MS, 660_000 + TOLERANCE_MS]]);
    records.writesLeft = Number.POSITIVE_INFINITY;
    state.isWritable = true;
    await time.advance(2_000);
    const again = await begun({ time, records: records.copy() });
    expect(
      gapsOf(again.ledger)
        .map(([cause]) => cause)
        .sort(),
    ).toEqual(['downtime', 'store-fault']);
    expect(missedOf(again.ledger, 61_000, 660_000)).toEqual([]);
    await Promise.all([heartbeat.stop(), crashed.heartbeat.stop(), again.heartbeat.stop()]);
  });
});

describe('a crash', () => {
  it('between any two records leaves out nothing of what was missed', async () => {
    for (let writes = 0; writes < 8; writes++) {
      const records = new EndingRecords();
      const { time, clock, heartbeat } = await running({ records });
      // It slept for an hour; and dies as it writes that down.
      records.writesLeft = writes;
      clock.aheadMs += HOUR_MS;
      await time.advance(20_000);
      const again = await begun({ time, records: records.copy(), aheadMs: HOUR_MS });
      expect(missedOf(again.ledger, 60_000, 60_000 + HOUR_MS)).toEqual([]);
      await Promise.all([heartbeat.stop(), again.heartbeat.stop()]);
    }
  });

  it('finds no word that the node lives where what it missed could not be written down', async () => {
    const records = new EndingRecords();
    const { time, clock, heartbeat } = await running({ records });
    records.takesGaps = false;
    clock.aheadMs += HOUR_MS;
    await time.advance(60_000);
    const crashed = await begun({ time, records: records.copy(), aheadMs: HOUR_MS });
    expect(gapsOf(crashed.ledger)).toEqual([
      ['downtime', 60_000 - TOLERANCE_MS, 120_000 + HOUR_MS + TOLERANCE_MS],
    ]);
    // As soon as it can be, it lives again.
    records.takesGaps = true;
    await time.advance(1_000);
    const again = await begun({ time, records: records.copy(), aheadMs: HOUR_MS });
    expect(gapsOf(again.ledger)).toEqual([
      ['downtime', 121_000 + HOUR_MS - TOLERANCE_MS, 121_000 + HOUR_MS + TOLERANCE_MS],
      ['downtime', 60_000 - TOLERANCE_MS, 61_000 + HOUR_MS + TOLERANCE_MS],
    ]);
    await Promise.all([heartbeat.stop(), crashed.heartbeat.stop(), again.heartbeat.stop()]);
  });
});

/** What of this time is in no gap, in ms as above. */
function missedOf(ledger: Ledger, sinceMs: number, untilMs: number): [number, number][] {
  const ns = (ms: number): bigint => BigInt(NOW_MS + ms) * 1_000_000n;
  return without({ sinceNs: ns(sinceMs), untilNs: ns(untilMs) }, ledger.open()).map(msOf);
}
