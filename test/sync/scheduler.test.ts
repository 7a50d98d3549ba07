/** When a node synchronises: at each interval, sooner after a failure, and not at all once it stops. */
import { describe, expect, it } from 'vitest';
import { LacunaError } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { Scheduler } from '../../src/sync/scheduler.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { VirtualClock } from './virtual-clock.ts';

const INTERVAL_MS = 60_000;
/** Chance that leaves every pause as long as it is meant. */
const EVEN = 100;

interface Init {
  readonly peers?: readonly string[];
  /** Whether the session with this peer fails, given how many there were before. */
  readonly fails?: (peer: string, before: number) => boolean;
  readonly chance?: number;
  readonly takes?: (stop: AbortSignal, clock: VirtualClock) => Promise<void>;
}

function scheduling({ peers = ['peer'], fails = () => false, chance = EVEN, takes }: Init = {}) {
  const clock = new VirtualClock();
  const log = new RecordingLogger();
  const calls: [string, number][] = [];
  const scheduler = new Scheduler({
    peers,
    intervalMs: INTERVAL_MS,
    clock,
    log,
    random: { below: () => chance },
    synchronise: async (peer, stop) => {
      const before = calls.filter(([called]) => called === peer).length;
      calls.push([peer, clock.monotonicMs()]);
      await takes?.(stop, clock);
      if (fails(peer, before)) throw new LacunaError('PEER_UNREACHABLE', 'not there');
    },
  });
  const times = (peer = 'peer'): number[] => calls.filter(([called]) => called === peer).map(([, ms]) => ms);
  return { clock, log, scheduler, times };
}

describe('a scheduler', () => {
  it('begins at once and goes on at each interval', async () => {
    const { clock, scheduler, times } = scheduling();
    scheduler.start();
    await clock.advance(3 * INTERVAL_MS);
    expect(times()).toEqual([0, INTERVAL_MS, 2 * INTERVAL_MS, 3 * INTERVAL_MS]);
    await scheduler.stop();
  });

  it('varies its pauses by a tenth', async () => {
    for (const [chance, share] of [
      [0, 0.9],
      [199, 1.099],
    ] as const) {
      const { clock, scheduler, times } = scheduling({ chance });
      scheduler.start();
      await clock.advance(1.5 * INTERVAL_MS);
      expect(times()[1]).toBeCloseTo(share * INTERVAL_MS, 3);
      await scheduler.stop();
    }
  });

  it('tries again soon after a failure, ever more slowly, and never later than the interval', async () => {
    const { clock, scheduler, times, log } = scheduling({ fails: () => true });
    scheduler.start();
    await clock.advance(5 * INTERVAL_MS);
    const pauses = times()
      .slice(1)
      .map((ms, at) => ms - times()[at]!);
    const expected = [1, 2, 4, 8, 16, 32].map((times) => times * LIMITS.retryMs);
    expect(pauses.slice(0, 6)).toEqual(expected);
    expect(pauses.slice(6)).toEqual(pauses.slice(6).map(() => INTERVAL_MS));
    expect(pauses.length).toBeGreaterThan(7);
    expect(new Set(log.codes('warn'))).toEqual(new Set(['PEER_UNREACHABLE']));
    await scheduler.stop();
  });

  it('is back at its interval after a success', async () => {
    const { clock, scheduler, times } = scheduling({ fails: (_, before) => before < 2 || before === 3 });
    scheduler.start();
    await clock.advance(70_000);
    expect(times()).toEqual([0, 1_000, 3_000, 63_000, 64_000]);
    await scheduler.stop();
  });

  it('lets no peer wait for another', async () => {
    const { clock, scheduler, times } = scheduling({
      peers: ['good', 'bad'],
      fails: (peer) => peer === 'bad',
    });
    scheduler.start();
    await clock.advance(7_000);
    expect([times('good'), times('bad')]).toEqual([[0], [0, 1_000, 3_000, 7_000]]);
    await scheduler.stop();
  });

  it('stops at once while it waits', async () => {
    const { clock, scheduler, times } = scheduling();
    scheduler.start();
    await clock.advance(10);
    await scheduler.stop();
    expect(clock.monotonicMs()).toBe(10);
    await clock.advance(10 * INTERVAL_MS);
    expect(times()).toEqual([0]);
  });

  it('stops a session that runs, and does not call that a failure', async () => {
    const { clock, scheduler, times, log } = scheduling({
      takes: (stop, clock) => clock.sleep(LIMITS.sessionMs, stop),
    });
    scheduler.start();
    await clock.advance(10);
    await scheduler.stop();
    expect(clock.monotonicMs()).toBe(10);
    expect([times(), log.codes('warn')]).toEqual([[0], []]);
  });
});
