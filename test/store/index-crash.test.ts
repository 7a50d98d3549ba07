/**
 * The index and the messages never part: whichever write fails, with its batch on the disk or not, and wherever the
 * process ends, the store that opens again finds in its index exactly the messages that it has.
 */
import { describe, expect, it } from 'vitest';
import type { ErrorCode } from '../../src/errors.ts';
import type { StoredMessage } from '../../src/ports.ts';
import { Database } from '../../src/store/database.ts';
import { verifyStore } from '../../src/store/integrity.ts';
import { ALL_INDEX, ALL_LEAVES, ALL_MESSAGES } from '../../src/store/keys.ts';
import { LEAF_BYTES } from '../../src/store/leaf-cache.ts';
import type { LevelMessageStore } from '../../src/store/message-store.ts';
import { systemClock } from '../../src/system.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { CHAT, hexOf, NOTES, SHARD_0, SHARD_1, samples } from '../sample-messages.ts';
import { temporaryFolder, withFolder } from '../temporary-folder.ts';
import { faultyDatabase, watchPuts } from './fault-injection.ts';
import { abandon, hurriedClock, indexedHashes, openStore, servedHashes } from './open-store.ts';

const MESSAGES = samples(1_400, {
  payloadBytes: 4,
  pubsubTopics: [SHARD_0, SHARD_1],
  contentTopics: [CHAT, NOTES],
});

type Step = (store: LevelMessageStore) => Promise<unknown>;

/** Leaves that fill, split, grow by patches, shrink and vanish. */
const STEPS: readonly Step[] = [
  (store) => store.append(MESSAGES.slice(700)),
  (store) => store.append(MESSAGES.slice(0, 300)),
  ...Array.from(
    { length: 20 },
    (_, at): Step =>
      (store) =>
        store.append(MESSAGES.slice(300 + at * 5, 305 + at * 5)),
  ),
  (store) => store.append(MESSAGES.slice(350, 650)),
  ...[0, 299, 710, 1_399].map(
    (at): Step =>
      (store) =>
        setAside(store, [MESSAGES[at]!]),
  ),
  // All of a leaf, and of its neighbours.
  (store) => setAside(store, MESSAGES.slice(600, 1_350)),
  (store) => store.append(MESSAGES.slice(500, 900)),
];

async function setAside(store: LevelMessageStore, messages: readonly StoredMessage[]): Promise<void> {
  await Promise.all(messages.map(({ id }) => store.quarantine(id, new Uint8Array(1))));
}

/** A clock that never lets the store recover: as if the process had ended. */
const stoppedClock = {
  ...systemClock,
  sleep: (_ms: number, signal?: AbortSignal) => systemClock.sleep(600_000, signal),
};

async function expectInStep(store: LevelMessageStore): Promise<void> {
  const held = await servedHashes(store);
  expect(await indexedHashes(store)).toEqual(held);
  // What was set aside is missed until a peer has brought it back; nothing else is.
  expect(await verifyStore(store, false)).toEqual({
    checked: held.length,
    damaged: store.lost,
    repaired: 0,
  });
  expect(store.storeIndex.topics.areKnown).toBe(true);
}

/** Takes the steps in order; one that fails ends them, or is taken again until it does not. */
async function takeSteps(store: LevelMessageStore, goesOn: boolean): Promise<void> {
  for (const step of STEPS) {
    for (let isDone = false; !isDone; ) {
      isDone = await step(store).then(
        () => true,
        (error: { code: ErrorCode }) => {
          expect(error.code).toBe('STORE_FAULT');
          return false;
        },
      );
      if (!isDone && !goesOn) return;
      while (!store.writable) await tick();
      await expectQuickly(store);
    }
  }
}

/** What a store shows while it goes on: as many ids as there are keys. */
async function expectQuickly(store: LevelMessageStore): Promise<void> {
  let keys = 0;
  for await (const chunk of store.database.keys(ALL_MESSAGES)) keys += chunk.length;
  expect(store.count).toBe(keys);
}

describe('the index and its messages', () => {
  for (const fault of ['lost', 'kept'] as const) {
    it(`stay in step when any one write fails and the store goes on (${fault})`, async () => {
      const ends = new Set<string>();
      for (let failing = 1, harmed = true; harmed; failing += 1) {
        harmed = await withFolder(async (folder) => {
          const { open, watched } = faultyDatabase({ fails: (write) => write === failing, fault });
          const index = { cacheBytes: 2 * LEAF_BYTES };
          const store = await openStore(folder, { openDatabase: open, clock: hurriedClock, index });
          await takeSteps(store, true);
          await abandon(store);
          const log = new RecordingLogger();
          const again = await openStore(folder, { log });
          await expectInStep(again);
          expect(log.codes('warn')).toEqual([]);
          ends.add((await servedHashes(again)).join());
          await again.close();
          if (watched.failures === 0) expect(failing).toBeGreaterThan(STEPS.length);
          return watched.failures > 0;
        });
      }
      // Whatever failed on the way, the end is the same.
      expect(ends.size).toBe(1);
    });

    it(`are in step when the process ends at any one write (${fault})`, async () => {
      for (let failing = 1, harmed = true; harmed; failing += 1) {
        harmed = await withFolder(async (folder) => {
          const { open, watched } = faultyDatabase({ fails: (write) => write === failing, fault });
          const store = await openStore(folder, { openDatabase: open, clock: stoppedClock });
          await takeSteps(store, false);
          await abandon(store);
          const log = new RecordingLogger();
          const again = await openStore(folder, { log });
          await expectInStep(again);
          expect(log.codes('warn')).toEqual([]);
          // It goes on from there.
          await takeSteps(again, false);
          await expectInStep(again);
          await again.close();
          return watched.failures > 0;
        });
      }
    });
  }
});

describe('a rebuild', () => {
  const INDEX = { rebuildIds: 300, cacheBytes: 2 * LEAF_BYTES };

  /** A store of 1,400 messages in whose index there is something wrong. */
  async function spoilt(folder: string): Promise<void> {
    const store = await openStore(folder);
    await store.append(MESSAGES);
    await store.database.write((batch) => batch.del(ALL_INDEX[0]!.gte));
    await abandon(store);
  }

  for (const fault of ['lost', 'kept'] as const) {
    it(`that is interrupted begins again, and again (${fault})`, async () => {
      const folder = await temporaryFolder();
      await spoilt(folder);
      let interruptions = 0;
      for (let failing = 1; ; failing += 1) {
        const { open, watched } = faultyDatabase({ fails: (write) => write === failing, fault });
        const opened = await openStore(folder, { openDatabase: open, index: INDEX }).catch(
          (error: { code: ErrorCode }) => error.code,
        );
        if (typeof opened === 'string') {
          expect([opened, watched.failures]).toEqual(['IO', 1]);
          interruptions += 1;
          continue;
        }
        await expectInStep(opened);
        expect(await servedHashes(opened)).toEqual(MESSAGES.map(hexOf));
        await opened.close();
        break;
      }
      // Five batches of ids, what was there to be removed, and the header.
      expect(interruptions).toBeGreaterThanOrEqual(fault === 'lost' ? 8 : 6);
      const log = new RecordingLogger();
      const again = await openStore(folder, { log });
      expect(log.lines).toEqual([]);
      await expectInStep(again);
      await again.close();
    });
  }

  it('is told, and done once', async () => {
    const folder = await temporaryFolder();
    await spoilt(folder);
    const log = new RecordingLogger();
    const store = await openStore(folder, { log, index: INDEX });
    expect(log.codes('warn')).toEqual(['INDEX_REBUILT']);
    expect(log.lines.at(-1)?.fields).toMatchObject({ count: 1_400 });
    await expectInStep(store);
    await store.close();
    const again = await openStore(folder, { log });
    expect(log.codes('warn')).toEqual(['INDEX_REBUILT']);
    await again.close();
  });

  it('gives up where the store is closed meanwhile, and is done by the next opening', async () => {
    const folder = await temporaryFolder();
    let store: LevelMessageStore | undefined;
    let closing: Promise<void> | undefined;
    const { open } = faultyDatabase({
      onWrite: (write) => {
        if (write === 10) closing = store!.close();
      },
    });
    store = await openStore(folder, { openDatabase: open, index: { ...INDEX, rebuildIds: 50 } });
    await store.append(MESSAGES);
    await store.rebuildIndex('to be interrupted').catch(() => undefined);
    expect(closing).toBeDefined();
    await closing;
    const again = await openStore(folder);
    await expectInStep(again);
    expect(again.count).toBe(1_400);
    await again.close();
  });
});

describe('a page', () => {
  it('is written once: LevelDB may give an older value of a key that was written again', async () => {
    const folder = await temporaryFolder();
    const written: string[] = [];
    const open: typeof Database.open = async (...args) => {
      const database = await Database.open(...args);
      watchPuts(database, (key) => {
        if (key[1] === ALL_LEAVES.gte[1]) written.push(Buffer.from(key).toString('hex'));
      });
      return database;
    };
    const index = { rebuildIds: 300 };
    for (let round = 0; round < 3; round++) {
      const store = await openStore(folder, { openDatabase: open, index, clock: hurriedClock });
      await takeSteps(store, true);
      await store.rebuildIndex('to see what it writes');
      // As where a rebuild is interrupted, and where the header is lost with the numbers in it.
      if (round > 0) await store.database.write((batch) => batch.del(ALL_INDEX[0]!.gte));
      await store.close();
    }
    expect(written.length).toBeGreaterThan(50);
    expect(new Set(written).size).toBe(written.length);
  });
});

describe('a store that was made before there was an index', () => {
  it('gets one when it is opened', async () => {
    const folder = await temporaryFolder();
    const store = await openStore(folder);
    await store.append(MESSAGES);
    await store.close();
    const database = await Database.open(`${folder}/store`, false);
    for (const range of ALL_INDEX) await database.clear(range);
    await database.close();
    const log = new RecordingLogger();
    const again = await openStore(folder, { log });
    expect(log.codes('warn')).toEqual(['INDEX_REBUILT']);
    expect(log.codes('error')).toEqual([]);
    await expectInStep(again);
    expect(await again.append(MESSAGES)).toEqual({ stored: 0, duplicate: 1_400 });
    await again.close();
  });
});

function tick(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
