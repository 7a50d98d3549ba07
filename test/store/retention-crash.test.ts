/**
 * Pruning that is broken off: by a write that fails, before it reached the disk or after, and by the end of the
 * process. What is found then is whole, nothing is taken for lost, and the next pass does the rest.
 */
import { describe, expect, it } from 'vitest';
import { EVERYTHING } from '../../src/core/scope.ts';
import { TIMESTAMP_MAX } from '../../src/core/sync-id.ts';
import { LacunaError } from '../../src/errors.ts';
import { verifyStore } from '../../src/store/integrity.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { CHAT, hexOf, NOTES, NOW_NS, SHARD_0, SHARD_1, samples } from '../sample-messages.ts';
import { temporaryFolder } from '../temporary-folder.ts';
import { type Fault, faultyDatabase } from './fault-injection.ts';
import { abandon, hurriedClock, indexedHashes, openStore, policyOf, servedHashes } from './open-store.ts';
import { isWithin, keptOf } from './retention-oracle.ts';

const HOUR_NS = 3_600_000_000_000n;
const retention = [
  'time:40h',
  `content:${NOTES}=time:5d;capacity:1500`,
  `content:/c/1/c/c=latest`,
  'capacity:2500',
];
const clock = { ...hurriedClock, nowMs: () => Number(NOW_NS / 1_000_000n) };
const messages = samples(5_000, {
  untilNs: NOW_NS,
  stepNs: HOUR_NS / 50n,
  pubsubTopics: [SHARD_0, SHARD_1],
  contentTopics: [CHAT, NOTES, '/c/1/c/c'],
});

/** A folder with all messages, of a store that knew of no policy. */
async function filled(): Promise<string> {
  const folder = await temporaryFolder();
  const store = await openStore(folder, { clock });
  await store.append(messages);
  await store.close();
  return folder;
}

/** Prunes what is left to prune, and looks at everything. */
async function pruneTheRest(folder: string): Promise<void> {
  const log = new RecordingLogger();
  const store = await openStore(folder, { clock, retention, log });
  expect(store.lost).toBe(0);
  expect(await verifyStore(store, false)).toMatchObject({ damaged: 0 });
  const held = new Set(await servedHashes(store));
  const windows = store.retention.windows(EVERYTHING, 0n, TIMESTAMP_MAX);
  const asked = messages.filter((message) => !held.has(hexOf(message)) && isWithin(windows, message));
  expect(asked.filter(({ id }) => !store.knows(id))).toEqual([]);
  const kept = keptOf(policyOf(...retention), messages, NOW_NS).map(hexOf);
  await store.retention.pass(false);
  expect(await servedHashes(store)).toEqual(kept);
  expect(await indexedHashes(store)).toEqual(kept);
  expect(await verifyStore(store, false)).toMatchObject({ damaged: 0 });
  expect(store.lost).toBe(0);
  await store.close();
  expect(log.codes('error')).toEqual([]);
}

describe('a write that fails while pruning', () => {
  const cases = [1, 2, 4].flatMap((fails) =>
    (['lost', 'kept'] as const).map((fault) => [fails, fault] as [number, Fault]),
  );
  it.each(cases)('the %ith, %s, is made up for by a later pass', async (fails, fault) => {
    const folder = await filled();
    const plan = { fails: (write: number) => write === fails, fault };
    const { open, watched } = faultyDatabase(plan);
    const log = new RecordingLogger();
    const store = await openStore(folder, { clock, retention, log, openDatabase: open });
    const code = await store.retention.pass(false).then(
      () => undefined,
      (error: unknown) => (error instanceof LacunaError ? error.code : 'another'),
    );
    expect(watched.failures).toBe(1);
    expect(code).toBe('STORE_FAULT');
    while (!store.writable) await clock.sleep(1);
    await store.retention.pass(false);
    expect(await servedHashes(store)).toEqual(keptOf(policyOf(...retention), messages, NOW_NS).map(hexOf));
    expect(store.lost).toBe(0);
    expect(await verifyStore(store, false)).toMatchObject({ damaged: 0 });
    await store.close();
    await pruneTheRest(folder);
  });

  it('in the background is told in the log and tried again', async () => {
    const folder = await filled();
    const { open } = faultyDatabase({ fails: (write) => write === 3, fault: 'lost' });
    const log = new RecordingLogger();
    const store = await openStore(folder, { clock, retention, log, openDatabase: open });
    store.retention.start();
    const kept = keptOf(policyOf(...retention), messages, NOW_NS).length;
    while (store.count !== kept) await clock.sleep(1);
    await store.close();
    expect(log.codes('warn')).toContain('STORE_FAULT');
  });
});

describe('a process that ends while pruning', () => {
  it.each([1, 2, 3, 4])('at write %i leaves a whole store', async (last) => {
    const folder = await filled();
    let isOver = false;
    const { open } = faultyDatabase({
      fails: (write) => {
        isOver ||= write > last;
        return isOver;
      },
      fault: 'lost',
      reopenFails: () => true,
    });
    const store = await openStore(folder, { clock, retention, openDatabase: open });
    await store.retention.pass(false).catch(() => undefined);
    expect(isOver).toBe(true);
    await abandon(store);
    await pruneTheRest(folder);
  });
});
