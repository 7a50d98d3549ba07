/**
 * Retention of the real store against a list from which policies simply take away, and what comes with it: what was
 * pruned stays known, the store stays whole, and nothing is told of that was not lost.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { boundAt, SyncIdList, TIMESTAMP_MAX, timeOf } from '../../src/core/sync-id.ts';
import type { Clock, StoredMessage } from '../../src/ports.ts';
import { verifyStore } from '../../src/store/integrity.ts';
import type { LevelMessageStore } from '../../src/store/message-store.ts';
import { systemClock } from '../../src/system.ts';
import { Chance } from '../core/random-sets.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { CHAT, hexOf, NOTES, NOW_MS, NOW_NS, SHARD_0, SHARD_1, samples } from '../sample-messages.ts';
import { temporaryFolder, withFolder } from '../temporary-folder.ts';
import { abandon, indexedHashes, openStore, policyOf, servedHashes } from './open-store.ts';
import { isWithin, keptOf } from './retention-oracle.ts';

const EVERYTHING = { pubsubTopics: [], contentTopics: [] };
const HOUR_NS = 3_600_000_000_000n;
const DAY_NS = 24n * HOUR_NS;

/** A clock that stands at the time of the samples, and can be set on. */
function clockAt(nowMs = NOW_MS): Clock & { nowNs: bigint } {
  const clock = { ...systemClock, nowNs: BigInt(nowMs) * 1_000_000n, nowMs: () => 0 };
  clock.nowMs = () => Number(clock.nowNs / 1_000_000n);
  return clock;
}

async function isWhole(store: LevelMessageStore): Promise<void> {
  expect(await verifyStore(store, false)).toMatchObject({ damaged: 0 });
  expect(store.lost).toBe(0);
  expect(store.quarantined).toBe(0);
}

const hashesOf = (messages: readonly StoredMessage[]): string[] => messages.map(hexOf);
const windowed = (untilNs = NOW_NS, stepNs = HOUR_NS) => ({ untilNs, stepNs });

describe('what is kept', () => {
  it('is what a list would keep, whatever the policies and the order of things', async () => {
    const ages = fc.constantFrom('time:10h', 'time:40h', 'time:4d', 'none', 'latest', 'latest;time:3d');
    const caps = fc.constantFrom('capacity:3', 'capacity:20', 'size:300B', 'size:4kB', 'capacity:9;size:1kB');
    const rule = fc.oneof(ages, caps, fc.constantFrom('time:30h;capacity:5', 'latest;capacity:2'));
    const policy = fc.record({
      all: fc.constantFrom([], ['time:24h'], ['time:3d'], ['none'], ['capacity:50'], ['time:3d;capacity:40']),
      content: fc.dictionary(fc.constantFrom(CHAT, NOTES, '/c/1/c/c'), rule, { maxKeys: 3 }),
      pubsub: fc.dictionary(fc.constantFrom(SHARD_0, SHARD_1), rule, { maxKeys: 2 }),
    });
    const steps = fc.array(
      fc.record({ seed: fc.nat(), messages: fc.integer({ min: 0, max: 60 }), hours: fc.nat(30) }),
      {
        minLength: 1,
        maxLength: 5,
      },
    );
    await fc.assert(
      fc.asyncProperty(policy, steps, fc.boolean(), async (said, todo, reopens) => {
        const retention = [
          ...said.all,
          ...Object.entries(said.content).map(([topic, text]) => `content:${topic}=${text}`),
          ...Object.entries(said.pubsub).map(([topic, text]) => `pubsub:${topic}=${text}`),
        ];
        // Samples are of the past of their own clock.
        const clock = clockAt(NOW_MS - 7 * 86_400_000);
        const log = new RecordingLogger();
        await withFolder(async (folder) => {
          let store = await openStore(folder, { retention, clock, log });
          let held: StoredMessage[] = [];
          for (const { seed, messages, hours } of todo) {
            const chance = new Chance(seed);
            const added = samples(messages, {
              seed,
              untilNs: clock.nowNs - BigInt(chance.below(50)) * HOUR_NS,
              stepNs: HOUR_NS / BigInt(1 + chance.below(4)),
              pubsubTopics: [SHARD_0, SHARD_1],
              contentTopics: [CHAT, NOTES, '/c/1/c/c', '/d/1/d/d'],
              payloadBytes: 10 + chance.below(100),
            });
            // One at a time, as a cap lets in no more than one batch beyond it.
            const known = new Set(hashesOf(held));
            if (policyOf(...retention).all.messages === undefined) await store.append(added);
            else for (const message of added.slice(0, 30)) await store.append([message]);
            const served = new Set(await servedHashes(store));
            held = [...held, ...added.filter((message) => !known.has(hexOf(message)))];
            held = held.filter((message) => served.has(hexOf(message)));
            clock.nowNs += BigInt(hours) * HOUR_NS;
            if (reopens) {
              await store.close();
              store = await openStore(folder, { retention, clock, log });
            }
            const expected = keptOf(policyOf(...retention), held, clock.nowNs);
            const foreseen = await store.retention.pass(true);
            const result = await store.retention.pass(false);
            expect(result).toEqual(foreseen);
            expect(result.removed).toBe(held.length - expected.length);
            expect(await servedHashes(store)).toEqual(hashesOf(expected));
            expect(await indexedHashes(store)).toEqual(hashesOf(expected));
            // What went and would be compared is known; what is kept is in a window.
            const gone = held.filter((message) => !expected.includes(message));
            const windows = store.retention.windows(EVERYTHING, 0n, TIMESTAMP_MAX);
            const within = (message: StoredMessage): boolean => isWithin(windows, message);
            expect(gone.filter((message) => within(message) && !store.knows(message.id))).toEqual([]);
            expect(expected.filter((message) => !within(message))).toEqual([]);
            expect(expected.filter(({ id }) => !store.knows(id))).toEqual([]);
            held = expected;
          }
          await isWhole(store);
          await store.close();
          expect(log.codes('error')).toEqual([]);
          expect(log.codes('warn')).toEqual([]);
        });
      }),
      { numRuns: 25 },
    );
  }, 120_000);

  it('is everything with none, or without a policy', async () => {
    for (const retention of [[], ['none']]) {
      const store = await openStore(await temporaryFolder(), { retention, clock: clockAt() });
      await store.append(samples(500, windowed()));
      expect(await store.retention.pass(false)).toEqual({ removed: 0, bytes: 0 });
      expect(store.count).toBe(500);
      expect(store.horizonNs(EVERYTHING)).toBe(0n);
      expect(store.retention.windows(EVERYTHING, 5n, 9n)).toEqual([
        { scope: EVERYTHING, sinceNs: 5n, untilNs: 9n },
      ]);
      await store.close();
    }
  });

  it('of a topic with latest is replaced soon after a newer message came', async () => {
    const store = await openStore(await temporaryFolder(), {
      retention: [`pubsub:${SHARD_0}=latest`],
      clock: clockAt(),
    });
    const messages = samples(40, { ...windowed(), contentTopics: [CHAT, NOTES] });
    await store.append(messages.slice(0, 20));
    store.retention.start();
    await until(async () => store.count === 2);
    const startedMs = performance.now();
    await store.append(messages.slice(20));
    await until(async () => store.count === 2);
    expect(performance.now() - startedMs).toBeLessThan(2_000);
    const newest = [CHAT, NOTES].map(
      (topic) => messages.findLast(({ contentTopic }) => contentTopic === topic)!,
    );
    expect((await servedHashes(store)).sort()).toEqual(hashesOf(newest).sort());
    await store.close();
  });

  it('of a topic with a cap is soon as much as that again, and no pass is made for every message', async () => {
    let passes = 0;
    const store = await openStore(await temporaryFolder(), {
      retention: [`content:${CHAT}=capacity:100`, `pubsub:${SHARD_1}=size:20kB`],
      clock: clockAt(),
      onPruned: () => {
        passes += 1;
      },
    });
    store.retention.start();
    await store.retention.pass(false);
    await store.append(samples(105, { ...windowed() }));
    await systemClock.sleep(1_000);
    expect([store.count, passes]).toEqual([105, 0]);
    const startedMs = performance.now();
    await store.append(samples(1_000, { ...windowed(), seed: 2 }));
    await store.append(samples(1_000, { ...windowed(), pubsubTopics: [SHARD_1], contentTopics: [NOTES] }));
    await until(async () => store.count < 300);
    expect(performance.now() - startedMs).toBeLessThan(2_500);
    expect(passes).toBeLessThan(3);
    await store.close();
  });

  it('of pubsub topics with latest is one of each content topic, and their own of topics with a rule', async () => {
    const retention = [`pubsub:${SHARD_0}=latest`, `content:${NOTES}=none`];
    const store = await openStore(await temporaryFolder(), { retention, clock: clockAt() });
    const messages = samples(60, {
      ...windowed(),
      pubsubTopics: [SHARD_0, SHARD_1],
      contentTopics: [CHAT, NOTES],
    });
    await store.append(messages);
    await store.retention.pass(false);
    expect(await servedHashes(store)).toEqual(hashesOf(keptOf(policyOf(...retention), messages, NOW_NS)));
    await store.close();
  });
});

describe('what was pruned', () => {
  it('is known, and is not told as lost, over a close and over a crash', async () => {
    const folder = await temporaryFolder();
    const retention = ['time:2d', `content:${NOTES}=time:1d`];
    const clock = clockAt();
    const messages = samples(300, { ...windowed(), contentTopics: [CHAT, NOTES] });
    const log = new RecordingLogger();
    let store = await openStore(folder, { retention, clock, log });
    await store.append(messages);
    await store.close();
    store = await openStore(folder, { retention, clock, log });
    await store.retention.pass(false);
    for (const leave of [(open: LevelMessageStore) => open.close(), abandon]) {
      const gone = messages.filter(({ id }) => !store.has(id));
      expect(gone.length).toBe(300 - store.count);
      expect(gone.filter(({ id }) => !store.knows(id))).toEqual([]);
      await leave(store);
      store = await openStore(folder, { retention, clock, log });
      expect(store.lost).toBe(0);
    }
    expect(store.knows(samples(1, { seed: 9, untilNs: NOW_NS })[0]!.id)).toBe(false);
    await isWhole(store);
    await store.close();
    expect(log.codes('error')).toEqual([]);
  });

  it('is forgotten for good when nothing so old is kept any more', async () => {
    const folder = await temporaryFolder();
    const clock = clockAt();
    const store = await openStore(folder, { retention: ['time:2d', `content:${NOTES}=time:1d`], clock });
    const messages = samples(36, { ...windowed(), contentTopics: [NOTES] });
    await store.append(messages);
    await store.retention.pass(false);
    expect(await forgottenOf(store)).toBe(12);
    clock.nowNs += DAY_NS;
    await store.retention.pass(false);
    expect(await forgottenOf(store)).toBe(24);
    clock.nowNs += 2n * DAY_NS;
    await store.retention.pass(false);
    expect(await forgottenOf(store)).toBe(0);
    expect(messages.every(({ id }) => store.knows(id))).toBe(true);
    await store.close();
  });

  it('comes back when it is appended again, and is forgotten no longer', async () => {
    const folder = await temporaryFolder();
    const retention = [`content:${CHAT}=latest`];
    const clock = clockAt();
    let store = await openStore(folder, { retention, clock });
    const messages = samples(10, windowed());
    await store.append(messages);
    await store.retention.pass(false);
    expect(await forgottenOf(store)).toBe(9);
    expect(await store.append(messages)).toEqual({ stored: 9, duplicate: 1 });
    expect(await forgottenOf(store)).toBe(0);
    await store.close();
    store = await openStore(folder, { retention, clock });
    expect(store.count).toBe(10);
    await isWhole(store);
    await store.close();
  });

  it('by caps is not fetched again, until the policy is another', async () => {
    const folder = await temporaryFolder();
    const clock = clockAt();
    const messages = samples(1_000, windowed());
    let store = await openStore(folder, { clock });
    await store.append(messages);
    await store.close();
    store = await openStore(folder, { retention: ['capacity:500'], clock });
    await store.retention.pass(false);
    expect(store.count).toBe(475);
    const horizonNs = timeOf(messages[524]!.id);
    expect(store.horizonNs(EVERYTHING)).toBe(horizonNs);
    expect(store.retention.windows(EVERYTHING, 0n, NOW_NS)).toEqual([
      { scope: EVERYTHING, sinceNs: horizonNs, untilNs: NOW_NS },
    ]);
    await store.close();

    // A command that knows of no policy changes nothing of that.
    store = await openStore(folder, { clock });
    expect(store.horizonNs(EVERYTHING)).toBe(0n);
    await store.retention.pass(false);
    await store.close();
    store = await openStore(folder, { retention: ['capacity:500'], clock });
    expect(store.horizonNs(EVERYTHING)).toBe(horizonNs);
    expect(messages.filter(({ id }) => !store.knows(id))).toEqual([]);
    await store.close();

    store = await openStore(folder, { retention: ['capacity:900'], clock });
    await store.retention.pass(false);
    expect(store.horizonNs(EVERYTHING)).toBe(0n);
    expect(messages.filter(({ id }) => store.knows(id))).toHaveLength(475);
    await isWhole(store);
    await store.close();
  });

  it('is not there for a session that saw it, and is no damage', async () => {
    const log = new RecordingLogger();
    const store = await openStore(await temporaryFolder(), { retention: ['time:2d'], clock: clockAt(), log });
    const messages = samples(2_000, windowed(NOW_NS, HOUR_NS / 10n));
    await store.append(messages);
    const seen = await store.index(EVERYTHING, 0n, TIMESTAMP_MAX);
    const before = new Uint32Array(8);
    seen.digest(boundAt(0n), boundAt(TIMESTAMP_MAX), before);
    const { removed } = await store.retention.pass(false);
    expect(removed).toBe(2_000 - 480);
    const after = new Uint32Array(8);
    expect(seen.digest(boundAt(0n), boundAt(TIMESTAMP_MAX), after)).toBe(2_000);
    expect(after).toEqual(before);
    const ids = SyncIdList.of(...messages.map(({ id }) => id));
    let read = 0;
    for await (const _ of store.read(ids)) read += 1;
    expect(read).toBe(480);
    expect(store.quarantined).toBe(0);
    await store.close();
    expect(log.lines.filter(({ level }) => level === 'warn' || level === 'error')).toEqual([]);
  });
});

describe('passes', () => {
  it('never overlap, and end with the store', async () => {
    const store = await openStore(await temporaryFolder(), { retention: ['time:2d'], clock: clockAt() });
    await store.append(samples(3_000, windowed(NOW_NS, HOUR_NS / 10n)));
    const results = await Promise.all([1, 2, 3].map(() => store.retention.pass(false)));
    expect(results.map(({ removed }) => removed)).toEqual([2_520, 0, 0]);
    store.retention.start();
    const closing = store.close();
    await closing;
    await store.retention.stop();
  });

  it('tell whoever wants to know', async () => {
    const told: number[][] = [];
    const clock = clockAt();
    const store = await openStore(await temporaryFolder(), {
      retention: ['time:2d'],
      clock,
      onPruned: (removed, bytes) => told.push([removed, bytes]),
    });
    const messages = samples(100, windowed());
    await store.append(messages);
    const bytes = messages.slice(0, 52).reduce((sum, { encoded }) => sum + encoded.length, 0);
    expect(await store.retention.pass(true)).toEqual({ removed: 52, bytes });
    expect(told).toEqual([]);
    await store.retention.pass(false);
    await store.retention.pass(false);
    expect(told).toEqual([[52, bytes]]);
    await store.close();
  });

  it('take late messages too that are too old already', async () => {
    const retention = ['time:2d', `content:${NOTES}=none`];
    const store = await openStore(await temporaryFolder(), { retention, clock: clockAt() });
    await store.append(samples(100, { ...windowed(), contentTopics: [CHAT, NOTES] }));
    await store.retention.pass(false);
    const kept = store.count;
    await store.append(samples(5, { ...windowed(NOW_NS - 3n * DAY_NS), seed: 3 }));
    expect((await store.retention.pass(false)).removed).toBe(5);
    expect(store.count).toBe(kept);
    await store.close();
  });
});

describe('the month to come', () => {
  it('is what the last week says, within the policies', async () => {
    const clock = clockAt();
    const predicted = async (retention: string[]) => {
      const store = await openStore(await temporaryFolder(), { retention, clock });
      await store.append(samples(1_680, { ...windowed(NOW_NS, HOUR_NS / 10n) }));
      const prediction = store.retention.prediction();
      await store.close();
      return prediction;
    };
    const free = await predicted([]);
    expect(free.messagesInMonth).toBeGreaterThan(1_680 + 7_150);
    expect(free.messagesInMonth).toBeLessThan(1_680 + 7_250);
    expect(free.bytesInMonth / free.bytesNow).toBeCloseTo(free.messagesInMonth / 1_680, 2);
    expect((await predicted(['time:14d'])).messagesInMonth).toBeCloseTo(3_360, -2);
    expect((await predicted(['capacity:2000'])).messagesInMonth).toBe(2_000);
    const empty = await openStore(await temporaryFolder(), { clock });
    expect(empty.retention.prediction().messagesInMonth).toBe(0);
    await empty.close();
  });
});

/** Ids on the disk of messages that went. */
async function forgottenOf(store: LevelMessageStore): Promise<number> {
  let count = 0;
  const range = { gte: Uint8Array.of(1, 'g'.charCodeAt(0)), lt: Uint8Array.of(1, 'h'.charCodeAt(0)) };
  for await (const keys of store.database.keys(range)) count += keys.length;
  return count;
}

async function until(isTrue: () => Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await systemClock.sleep(10);
}
