/**
 * The one writer: many appends share few batches, one batch is under way at a time, nothing is acknowledged before
 * its batch is on the disk, and after any failed write nothing that was acknowledged is gone.
 */
import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ErrorCode } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import type { AppendResult, StoredMessage } from '../../src/ports.ts';
import { verifyStore } from '../../src/store/integrity.ts';
import type { LevelMessageStore } from '../../src/store/message-store.ts';
import { systemClock } from '../../src/system.ts';
import { endedIn } from '../ended-in.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { hexOf, messageOf, samples, stored } from '../sample-messages.ts';
import { temporaryFolder, withFolder } from '../temporary-folder.ts';
import { faultyDatabase } from './fault-injection.ts';
import { abandon, hurriedClock, openStore, servedHashes } from './open-store.ts';

describe('group commit', () => {
  it('writes thousands of appends in a few batches, one at a time', async () => {
    const { open, watched } = faultyDatabase();
    const store = await openStore(await temporaryFolder(), { openDatabase: open });
    const messages = samples(3_500);
    const results = await Promise.all(messages.map((message) => store.append([message])));
    expect(results.every(({ stored }) => stored === 1)).toBe(true);
    expect(watched.writes).toBeLessThanOrEqual(Math.ceil(3_500 / LIMITS.writeGroupMessages) + 1);
    expect(watched.inFlightMost).toBe(1);
    await store.close();
  });

  it('never has two batches under way, however appends arrive', async () => {
    const { open, watched } = faultyDatabase({
      onWrite: () => new Promise((resolve) => setTimeout(resolve, 3)),
    });
    const store = await openStore(await temporaryFolder(), { openDatabase: open });
    const messages = samples(400);
    const waves = Array.from({ length: 40 }, async (_, wave) => {
      await new Promise((resolve) => setTimeout(resolve, wave));
      await store.append(messages.slice(wave * 10, wave * 10 + 10));
    });
    await Promise.all(waves);
    expect(watched.inFlightMost).toBe(1);
    expect(watched.writes).toBeGreaterThan(2);
    expect(store.count).toBe(400);
    await store.close();
  });

  it('bounds a batch by its bytes too', async () => {
    const { open, watched } = faultyDatabase();
    const store = await openStore(await temporaryFolder(), { openDatabase: open });
    const large = samples(80, { payloadBytes: 120 * 1024 });
    await store.append(large);
    const bytes = large.reduce((sum, { encoded }) => sum + encoded.length, 0);
    expect(watched.writes).toBe(Math.ceil(bytes / (LIMITS.writeGroupBytes + 120 * 1024)));
    await store.close();
  });

  it('acknowledges when the batch is on the disk, and shows it then and not before', async () => {
    let finish: (() => void) | undefined;
    const held = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const { open, watched } = faultyDatabase({ onWrite: () => held });
    const store = await openStore(await temporaryFolder(), { openDatabase: open });
    const [message] = samples(1);
    let acknowledged = false;
    const append = store.append([message!]).then(() => {
      acknowledged = true;
    });
    while (watched.inFlight === 0) await tick();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect([acknowledged, store.has(message!.id), store.count]).toEqual([false, false, 0]);
    finish?.();
    await append;
    expect([acknowledged, store.has(message!.id), store.count]).toEqual([true, true, 1]);
    await store.close();
  });

  it('lets nobody who brings one message wait behind thousands, nor thousands behind those who bring one', async () => {
    const { open, release, watched } = held();
    const store = await openStore(await temporaryFolder(), { openDatabase: open });
    const order: string[] = [];
    const append = async (name: string, messages: StoredMessage[]): Promise<void> => {
      await store.append(messages);
      order.push(name);
    };
    const first = append('first', samples(1, { seed: 1 }));
    while (watched.inFlight === 0) await tick();
    const bulk = append('thousands', samples(3 * LIMITS.writeGroupMessages, { seed: 2 }));
    const before = append('one', samples(1, { seed: 3 }));
    // Whenever one is written, the next one comes.
    let done = false;
    const stream = (async () => {
      for (let seed = 4; !done && seed < 100; seed++) await append('one', samples(1, { seed }));
    })();
    release();
    await Promise.all([first, before, bulk]);
    done = true;
    await stream;
    expect(order.slice(0, 2)).toEqual(['first', 'one']);
    const passed = order.indexOf('thousands');
    expect(passed).toBeGreaterThan(3);
    expect(passed).toBeLessThan(3 / LIMITS.writeYieldingShare + 4);
    await store.close();
  });

  it('survives being killed right after the acknowledgement', async () => {
    const folder = await temporaryFolder();
    const store = await openStore(folder);
    await store.append(samples(100));
    await abandon(store);
    const again = await openStore(folder, { create: false });
    expect(again.count).toBe(100);
    await again.close();
  });
});

describe('a full queue', () => {
  it('refuses more messages than it may hold, and takes them again when it has emptied', async () => {
    const { open, release, watched } = held();
    const store = await openStore(await temporaryFolder(), { openDatabase: open });
    const first = store.append(samples(1, { seed: 7 }));
    while (watched.inFlight === 0) await tick();
    const messages = samples(LIMITS.writeQueueMessages);
    const waiting = store.append(messages);
    expect(await endedIn(store.append(samples(1, { seed: 8 })))).toBe('STORE_BUSY');
    release();
    await Promise.all([first, waiting]);
    expect(await store.append(samples(1, { seed: 8 }))).toEqual({ stored: 1, duplicate: 0 });
    expect(store.count).toBe(LIMITS.writeQueueMessages + 2);
    await store.close();
  });

  it('has room for what is published, however much is fetched', async () => {
    const { open, release, watched } = held();
    const store = await openStore(await temporaryFolder(), { openDatabase: open });
    const waiting = [store.append(samples(1, { seed: 7 }))];
    while (watched.inFlight === 0) await tick();
    const [size, most] = [1_000, LIMITS.writeQueueMessages * LIMITS.writeBulkShare];
    const messages = samples(most + size);
    for (let at = 0; at < most; at += size) waiting.push(store.append(messages.slice(at, at + size)));
    expect(await endedIn(store.append(messages.slice(most)))).toBe('STORE_BUSY');
    waiting.push(store.append(samples(1, { seed: 8 })));
    release();
    await Promise.all(waiting);
    expect(store.count).toBe(most + 2);
    await store.close();
  });

  it('refuses more bytes than it may hold', async () => {
    const { open, release, watched } = held();
    const store = await openStore(await temporaryFolder(), { openDatabase: open });
    const first = store.append(samples(1, { seed: 7 }));
    while (watched.inFlight === 0) await tick();
    // The same payload under many times: what counts is what they would weigh in the queue.
    const payload = new Uint8Array(LIMITS.messagePayloadBytes);
    const large = stored(
      Array.from({ length: Math.ceil(LIMITS.writeQueueBytes / payload.length) + 1 }, (_, index) =>
        messageOf({ timestamp: BigInt(index + 1), payload }),
      ),
    );
    const waiting = store.append(large);
    expect(await endedIn(store.append(samples(1, { seed: 8 })))).toBe('STORE_BUSY');
    release();
    await Promise.all([first, waiting]);
    expect(await store.append(samples(1, { seed: 8 }))).toEqual({ stored: 1, duplicate: 0 });
    await store.close();
  });

  it('takes one append larger than the queue when nothing else waits', async () => {
    const store = await openStore(await temporaryFolder());
    const messages = samples(LIMITS.writeQueueMessages + 1, { payloadBytes: 4 });
    expect(await store.append(messages)).toEqual({ stored: messages.length, duplicate: 0 });
    await store.close();
  });
});

describe('closing', () => {
  it('writes what was taken, refuses what comes later, and ends while appends keep coming', async () => {
    const folder = await temporaryFolder();
    const store = await openStore(folder);
    const acknowledged: string[] = [];
    const endings: (ErrorCode | undefined)[] = [];
    const pool = samples(60_000, { payloadBytes: 8 });
    let next = 0;
    const appender = async (): Promise<void> => {
      for (;;) {
        const message = pool[next++]!;
        try {
          await store.append([message]);
          acknowledged.push(hexOf(message));
        } catch (error) {
          endings.push((error as { code: ErrorCode }).code);
          return;
        }
      }
    };
    const appenders = Array.from({ length: 50 }, appender);
    await new Promise((resolve) => setTimeout(resolve, 100));
    await store.close();
    const acknowledgedAtClose = acknowledged.length;
    await Promise.all(appenders);
    expect(acknowledged.length - acknowledgedAtClose).toBeLessThanOrEqual(50);
    expect(new Set(endings)).toEqual(new Set(['STORE_CLOSED']));
    const again = await openStore(folder);
    const found = new Set(await servedHashes(again));
    expect(acknowledged.filter((hash) => !found.has(hash))).toEqual([]);
    expect(acknowledged.length).toBeGreaterThan(0);
    await again.close();
  });
});

describe('a write that fails', () => {
  it('is refused with what waits behind it, and the store takes writes again after a reopen', async () => {
    const log = new RecordingLogger();
    const { open, watched } = faultyDatabase({ fails: (write) => write === 2 });
    const store = await openStore(await temporaryFolder(), { openDatabase: open, log, clock: hurriedClock });
    const messages = samples(30);
    await store.append(messages.slice(0, 10));
    const second = endedIn(store.append(messages.slice(10, 20)));
    while (watched.inFlight === 0) await tick();
    const third = endedIn(store.append(messages.slice(20)));
    expect([await second, await third]).toEqual(['STORE_FAULT', 'STORE_FAULT']);
    await recovered(store);
    expect(watched.reopens).toBe(1);
    expect(log.codes('error')).toEqual(['STORE_FAULT']);
    expect(await store.append(messages)).toEqual({ stored: 20, duplicate: 10 });
    expect(store.fault).toBeUndefined();
    await store.close();
  });

  it('lets nothing be written until the store was reopened, and goes on being read meanwhile', async () => {
    const { open, watched } = faultyDatabase({ fails: (write) => write === 2 });
    // A pause that does not end keeps the store in its fault.
    const clock = {
      ...systemClock,
      sleep: (_ms: number, signal?: AbortSignal) => systemClock.sleep(60_000, signal),
    };
    const store = await openStore(await temporaryFolder(), { openDatabase: open, clock });
    const messages = samples(20);
    await store.append(messages.slice(0, 10));
    expect(await endedIn(store.append(messages.slice(10)))).toBe('STORE_FAULT');
    expect([store.writable, store.fault?.code]).toEqual([false, 'STORE_FAULT']);
    for (let attempt = 0; attempt < 5; attempt++) {
      expect(await endedIn(store.append(messages.slice(10)))).toBe('STORE_FAULT');
      expect(await endedIn(store.append([]))).toBe('STORE_FAULT');
    }
    expect(watched.writes).toBe(2);
    expect(await servedHashes(store)).toEqual(messages.slice(0, 10).map(hexOf));
    await store.close();
    expect(await endedIn(store.append(messages))).toBe('STORE_CLOSED');
  });

  it('is tried again, more and more slowly, for as long as the disk refuses', async () => {
    const pauses: number[] = [];
    const clock = {
      ...systemClock,
      sleep: (ms: number, signal?: AbortSignal) => {
        pauses.push(ms);
        return systemClock.sleep(0, signal);
      },
    };
    const { open } = faultyDatabase({
      // The first write, and the one that probes after the third reopen.
      fails: (write) => write === 1 || write === 2,
      reopenFails: (reopen) => reopen <= 8,
    });
    const store = await openStore(await temporaryFolder(), { openDatabase: open, clock });
    expect(await endedIn(store.append(samples(1)))).toBe('STORE_FAULT');
    await recovered(store);
    expect(pauses.slice(0, 3)).toEqual([1, 2, 4].map((factor) => factor * LIMITS.reopenDelayMs));
    expect(pauses).toHaveLength(10);
    expect(Math.max(...pauses)).toBe(LIMITS.reopenDelayMaxMs);
    expect(await store.append(samples(1))).toEqual({ stored: 1, duplicate: 0 });
    await store.close();
  });

  it('leaves the store readable while there is no room to reopen it', async () => {
    const { open, watched } = faultyDatabase({ fails: (write) => write === 2 });
    const folder = await temporaryFolder();
    const store = await openStore(folder, { openDatabase: open, clock: hurriedClock });
    const messages = samples(20);
    await store.append(messages.slice(0, 10));
    // What is written to see whether there is room cannot be written.
    const obstacle = join(folder, 'store', 'ROOM');
    await mkdir(obstacle);
    expect(await endedIn(store.append(messages.slice(10)))).toBe('STORE_FAULT');
    while (watched.reopens < 5) {
      expect(await servedHashes(store)).toEqual(messages.slice(0, 10).map(hexOf));
    }
    expect(store.writable).toBe(false);
    await rmdir(obstacle);
    await recovered(store);
    expect(await store.append(messages)).toEqual({ stored: 10, duplicate: 10 });
    await store.close();
  });

  it('counts what reached the disk all the same as known', async () => {
    const { open } = faultyDatabase({ fails: (write) => write === 1, fault: 'kept' });
    const store = await openStore(await temporaryFolder(), { openDatabase: open, clock: hurriedClock });
    const messages = samples(10);
    expect(await endedIn(store.append(messages))).toBe('STORE_FAULT');
    await recovered(store);
    expect(store.count).toBe(10);
    expect(await store.append(messages)).toEqual({ stored: 0, duplicate: 10 });
    expect(await servedHashes(store)).toEqual(messages.map(hexOf));
    await store.close();
  });

  /** The N-th write fails, for every N until a run comes to its end unharmed; then the same, with the write on the disk. */
  for (const fault of ['lost', 'kept'] as const) {
    it(`loses nothing acknowledged, whichever it is (${fault})`, async () => {
      const messages = samples(60);
      let failing = 1;
      for (let harmed = true; harmed; failing += 1) {
        harmed = await withFolder(async (folder) => {
          const { open, watched } = faultyDatabase({ fails: (write) => write === failing, fault });
          const store = await openStore(folder, { openDatabase: open, clock: hurriedClock });
          const acknowledged = await appendPersistently(store, messages);
          expect(watched.inFlightMost).toBe(1);
          await abandon(store);
          await expectKept(folder, acknowledged);
          return watched.failures > 0;
        });
      }
      // One write for each batch of ten, and the run after the last of them.
      expect(failing - 1).toBe(7);
    });
  }

  it('loses nothing acknowledged when writes fail again and again', async () => {
    await withFolder(async (folder) => {
      const { open } = faultyDatabase({
        fails: (write) => write % 3 === 0,
        reopenFails: (reopen) => reopen % 2 === 0,
      });
      const store = await openStore(folder, { openDatabase: open, clock: hurriedClock });
      const acknowledged = await appendPersistently(store, samples(200));
      expect(acknowledged).toHaveLength(200);
      await abandon(store);
      await expectKept(folder, acknowledged);
    });
  });
});

/** Appends in tens, each again until it is acknowledged; returns the hashes that were, in their order. */
async function appendPersistently(
  store: LevelMessageStore,
  messages: readonly StoredMessage[],
): Promise<string[]> {
  const acknowledged: string[] = [];
  for (let from = 0; from < messages.length; from += 10) {
    const batch = messages.slice(from, from + 10);
    let result: AppendResult | undefined;
    while (result === undefined) {
      result = await store.append(batch).catch((error: { code: ErrorCode }) => {
        expect(error.code).toBe('STORE_FAULT');
        return undefined;
      });
      if (result === undefined) await recovered(store);
    }
    expect(result.stored + result.duplicate).toBe(batch.length);
    expect(batch.every(({ id }) => store.has(id))).toBe(true);
    acknowledged.push(...batch.map(hexOf));
  }
  return acknowledged;
}

async function expectKept(folder: string, acknowledged: readonly string[]): Promise<void> {
  const again = await openStore(folder, { create: false });
  expect(await servedHashes(again)).toEqual([...acknowledged]);
  expect(await verifyStore(again, false)).toEqual({ checked: acknowledged.length, damaged: 0, repaired: 0 });
  await again.close();
}

/** A database whose writes wait until they are released. */
function held(): ReturnType<typeof faultyDatabase> & { release: () => void } {
  let release: () => void = () => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  return { ...faultyDatabase({ onWrite: () => released }), release };
}

async function recovered(store: LevelMessageStore): Promise<void> {
  while (!store.writable) await tick();
}

function tick(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
