/**
 * Clocks that are wrong: one that jumps far ahead prunes nothing until messages agree with it or it was left alone for
 * a day, one that is set back prunes nothing, and whoever asks for a pass answers for the clock.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EVERYTHING } from '../../src/core/scope.ts';
import type { Clock, StoredMessage } from '../../src/ports.ts';
import { RetentionClock } from '../../src/store/retention-clock.ts';
import { Examiner } from '../../src/sync/ingest.ts';
import { silentLogger, systemClock, systemSha256 } from '../../src/system.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { messageOf, NOW_MS, NOW_NS, samples } from '../sample-messages.ts';
import { temporaryFolder } from '../temporary-folder.ts';
import { openStore } from './open-store.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const YEAR_MS = 365 * DAY_MS;
const DAY_NS = 86_400_000_000_000n;

/** A clock of the world that is `offMs` wrong, and whose pauses pass in a millisecond. */
class SetClock implements Clock {
  livedMs = 0;
  offMs = 0;

  nowMs = (): number => NOW_MS + this.livedMs + this.offMs;
  monotonicMs = (): number => this.livedMs;

  sleep = async (ms: number, signal?: AbortSignal): Promise<void> => {
    await systemClock.sleep(1, signal);
    this.livedMs += ms;
  };
}

/** A message that is ahead of the samples by so much. */
function inFuture(ms: number): StoredMessage {
  const message = messageOf({ timestamp: NOW_NS + BigInt(ms) * 1_000_000n });
  const admission = new Examiner({ ...systemClock, nowMs: () => NOW_MS }, systemSha256).examine(message, ms);
  if ('refused' in admission) throw new Error(admission.refused);
  return admission.stored;
}

describe('the clock of retention', () => {
  const begin = (newestMs: number | undefined = NOW_MS) => {
    const clock = new SetClock();
    const newest = { ms: newestMs };
    return { clock, newest, time: new RetentionClock(clock, silentLogger, () => newest.ms) };
  };

  it('goes on from where it was when the clock jumps ahead, until a message agrees', () => {
    const { clock, newest, time } = begin();
    expect(time.nowMs()).toBe(NOW_MS);
    clock.offMs = YEAR_MS;
    clock.livedMs = HOUR_MS;
    expect(time.nowMs()).toBe(NOW_MS + HOUR_MS);
    clock.livedMs = 2 * HOUR_MS;
    newest.ms = NOW_MS + 2 * HOUR_MS;
    expect(time.nowMs()).toBe(NOW_MS + 2 * HOUR_MS);
    newest.ms = clock.nowMs() - 20_000;
    expect(time.nowMs()).toBe(clock.nowMs());
  });

  it('follows one that nothing spoke against for a day, and none that messages speak against', () => {
    for (const isQuiet of [true, false]) {
      const { clock, newest, time } = begin();
      time.nowMs();
      clock.offMs = YEAR_MS;
      for (let hour = 0; hour < 24; hour++) {
        expect(time.nowMs()).toBe(NOW_MS + clock.livedMs);
        clock.livedMs += HOUR_MS;
        if (!isQuiet) newest.ms = NOW_MS + clock.livedMs;
      }
      expect(time.nowMs() === clock.nowMs()).toBe(isQuiet);
    }
  });

  it('begins with the newest message where the store was left long ago, and not where it is empty', () => {
    expect(begin(NOW_MS - YEAR_MS).time.nowMs()).toBe(NOW_MS - YEAR_MS);
    expect(begin(NOW_MS - HOUR_MS).time.nowMs()).toBe(NOW_MS);
    expect(begin(NOW_MS + HOUR_MS).time.nowMs()).toBe(NOW_MS);
    const empty = new RetentionClock(new SetClock(), silentLogger, () => undefined);
    expect(empty.nowMs()).toBe(NOW_MS);
  });

  it('is never ahead of the clock of the world, nor more than a day of what was lived through', () => {
    const step = fc.record({
      livedMs: fc.nat(DAY_MS - 1),
      setMs: fc.integer({ min: -YEAR_MS, max: YEAR_MS }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        const { clock, newest, time } = begin();
        let before = time.nowMs();
        for (const { livedMs, setMs } of steps) {
          clock.livedMs += livedMs;
          clock.offMs += setMs;
          // The network goes on as it does.
          newest.ms = NOW_MS + clock.livedMs;
          const now = time.nowMs();
          expect(now).toBeLessThanOrEqual(clock.nowMs());
          const isConfirmed = clock.nowMs() - newest.ms <= DAY_MS;
          if (!isConfirmed) expect(now).toBeLessThanOrEqual(before + livedMs + DAY_MS);
          before = now;
        }
      }),
    );
  });
});

describe('a store whose clock', () => {
  const retention = ['time:2d'];
  const messages = samples(40, { untilNs: NOW_NS, stepNs: DAY_NS / 24n });

  it('jumps a year ahead keeps its messages and its horizon, and tells so, until a message agrees', async () => {
    const [clock, log] = [new SetClock(), new RecordingLogger()];
    const store = await openStore(await temporaryFolder(), { retention, clock, log });
    await store.append(messages);
    const horizonNs = store.horizonNs(EVERYTHING);
    clock.offMs = YEAR_MS;
    store.retention.start();
    await expect.poll(() => clock.livedMs).toBeGreaterThan(4 * HOUR_MS);
    expect(store.count).toBe(40);
    expect(store.horizonNs(EVERYTHING) - horizonNs).toBeLessThan(DAY_NS);
    expect(log.lines.filter(({ level }) => level === 'warn')).toHaveLength(1);
    await store.append([inFuture(YEAR_MS)]);
    await expect.poll(() => store.count).toBe(1);
    await store.close();
  });

  it('is set back prunes nothing, and less than a message in the future says', async () => {
    const clock = new SetClock();
    const store = await openStore(await temporaryFolder(), { retention, clock });
    await store.append(messages);
    await store.append([inFuture(DAY_MS)]);
    for (const offMs of [0, -YEAR_MS, 0]) {
      clock.offMs = offMs;
      expect((await store.retention.pass(false)).removed).toBe(0);
    }
    expect(store.count).toBe(41);
    await store.close();
  });

  it('is far ahead is believed by whoever asks for a pass', async () => {
    const folder = await temporaryFolder();
    const clock = new SetClock();
    let store = await openStore(folder, { clock });
    await store.append(messages);
    await store.close();
    clock.offMs = YEAR_MS;
    store = await openStore(folder, { retention, clock });
    expect(messages.filter(({ id }) => store.knows(id))).toHaveLength(40);
    expect(await store.retention.pass(true)).toMatchObject({ removed: 40 });
    expect((await store.retention.pass(false)).removed).toBe(40);
    await store.close();
  });
});
