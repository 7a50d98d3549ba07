/** Rates of all messages and of single topics, in both dialects: what is held, how long, and what is not. */
import { describe, expect, it } from 'vitest';
import type { StoredMessage } from '../../src/ports.ts';
import { Pace } from '../../src/sync/pace.ts';
import { SHARD_0, SHARD_1, samples } from '../sample-messages.ts';
import { HOUR, hashes, Party } from './party.ts';
import { VirtualClock } from './virtual-clock.ts';

const KB = 1_000;
const signal = new AbortController().signal;

const ofTopic = (topic: string, count: number, payloadBytes = 1_000, seed = 1): StoredMessage[] =>
  samples(count, { pubsubTopics: [topic], payloadBytes, seed });
const encodedOf = (messages: readonly StoredMessage[]): Uint8Array[] =>
  messages.map(({ encoded }) => encoded);
const bytesOf = (messages: readonly StoredMessage[]): number =>
  messages.reduce((sum, { encoded }) => sum + encoded.length, 0);

/** How long these take to pass, one batch after the other, in ms. */
async function timeOf(pace: Pace, clock: VirtualClock, batches: readonly StoredMessage[][]): Promise<number> {
  const startMs = clock.monotonicMs();
  for (const batch of batches) await clock.run(pace.pass(encodedOf(batch), bytesOf(batch), signal));
  return clock.monotonicMs() - startMs;
}

const capped = ofTopic(SHARD_0, 100);
const free = ofTopic(SHARD_1, 100);

describe('a pace', () => {
  it('without a rate holds nothing', async () => {
    const clock = new VirtualClock();
    expect(await timeOf(new Pace(clock), clock, [capped, free])).toBe(0);
  });

  it('holds a topic to its rate, and no other', async () => {
    const clock = new VirtualClock();
    const pace = new Pace(clock, undefined, { [SHARD_0]: 100 * KB });
    expect(await timeOf(pace, clock, [free, free, free])).toBe(0);
    const ms = await timeOf(pace, clock, Array<StoredMessage[]>(10).fill(capped));
    expect(ms).toBeCloseTo((10 * bytesOf(capped)) / 100, 0);
  });

  it('holds a batch until the slowest of its topics, which counts its own messages alone', async () => {
    const clock = new VirtualClock();
    const pace = new Pace(clock, undefined, { [SHARD_0]: 100 * KB, [SHARD_1]: 50 * KB });
    const both = [...capped.slice(0, 50), ...free.slice(0, 50)];
    const ms = await timeOf(pace, clock, Array<StoredMessage[]>(10).fill(both));
    expect(ms).toBeCloseTo((10 * bytesOf(free.slice(0, 50))) / 50, 0);
  });

  it('holds all together to one rate, whatever their topics may have', async () => {
    const clock = new VirtualClock();
    const pace = new Pace(clock, 50 * KB, { [SHARD_0]: 100 * KB });
    const ms = await timeOf(pace, clock, [capped, free, capped, free]);
    expect(ms).toBeCloseTo((4 * bytesOf(capped)) / 50, 0);
  });

  it('lets others pass while a topic waits', async () => {
    const clock = new VirtualClock();
    const pace = new Pace(clock, undefined, { [SHARD_0]: 32 * KB });
    await clock.run(pace.pass(encodedOf(capped), bytesOf(capped), signal));
    const waiting = pace.pass(encodedOf(capped), bytesOf(capped), signal);
    const before = clock.monotonicMs();
    await clock.run(pace.pass(encodedOf(free), bytesOf(free), signal));
    expect(clock.monotonicMs()).toBe(before);
    await clock.run(waiting);
    expect(clock.monotonicMs()).toBeGreaterThan(before + 3_000);
  });

  it('is no reason to wait when the session is over', async () => {
    const clock = new VirtualClock();
    const pace = new Pace(clock, 1 * KB);
    const waiting = pace.pass([], 100_000, AbortSignal.abort());
    await expect(clock.run(waiting)).rejects.toMatchObject({ code: 'SESSION_ABORTED' });
  });

  it('takes what is no message for one without a topic', async () => {
    const clock = new VirtualClock();
    const pace = new Pace(clock, undefined, { [SHARD_0]: 1 * KB });
    const noise = [[], [10], [10, 200], [10, 5, 1], [8, 1, 1], [10, 255, 255, 255]];
    await clock.run(
      pace.pass(
        noise.map((bytes) => Uint8Array.from(bytes)),
        20,
        signal,
      ),
    );
    expect(clock.monotonicMs()).toBe(0);
  });
});

describe('a session', () => {
  const pool = [...ofTopic(SHARD_0, 500, 2_000), ...ofTopic(SHARD_1, 500, 2_000, 2)];
  const one = bytesOf(pool.slice(0, 500));

  it.each(['native', 'waku'] as const)(
    'of the %s dialect is sent at the rate of its topic',
    async (dialect) => {
      const clock = new VirtualClock();
      const a = new Party('a', clock);
      const b = new Party('b', clock, { messages: pool, topicRates: { [SHARD_0]: 100 * KB } });
      const speaker = dialect === 'native' ? a.native : a.synchroniser;
      const result = await clock.run(speaker.synchronise(a.linkTo(b), HOUR));
      expect(result).toMatchObject({ verified: true });
      expect(a.holdings).toEqual(hashes(pool));
      const ms = (one / (100 * KB)) * 1_000;
      expect(clock.monotonicMs()).toBeGreaterThan(ms * 0.6);
      expect(clock.monotonicMs()).toBeLessThan(ms * 1.2);
    },
  );

  it.each(['rate', 'downloadRate'] as const)('of the Waku wire is held by a %s', async (held) => {
    const clock = new VirtualClock();
    const a = new Party('a', clock, held === 'rate' ? {} : { downloadRate: 100 * KB });
    const b = new Party(
      'b',
      clock,
      held === 'rate' ? { messages: pool, rate: 100 * KB } : { messages: pool },
    );
    const result = await a.synchronise(b);
    expect(result).toMatchObject({ verified: true, received: pool.length });
    expect(clock.monotonicMs()).toBeGreaterThan((bytesOf(pool) / 100) * 0.8);
  });
});
