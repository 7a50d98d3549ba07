/**
 * Damaged records of the index: whatever a disk makes of one, it is noticed when the store opens or when the record
 * is read, nothing wrong is told or acknowledged, and the index is built anew from the messages by itself.
 */
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DigestTree } from '../../src/core/digest-tree.ts';
import { SYMBOL_WORDS } from '../../src/core/symbols.ts';
import { boundAt, SyncIdList, TIMESTAMP_MAX } from '../../src/core/sync-id.ts';
import type { StoredMessage } from '../../src/ports.ts';
import { Database, type Entry } from '../../src/store/database.ts';
import { verifyStore } from '../../src/store/integrity.ts';
import { ALL_INDEX, type KeyRange, leafKey, messageKey } from '../../src/store/keys.ts';
import { LEAF_BYTES } from '../../src/store/leaf-cache.ts';
import type { LevelMessageStore } from '../../src/store/message-store.ts';
import { Chance } from '../core/random-sets.ts';
import { endedIn } from '../ended-in.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { hexOf, SHARD_0, SHARD_1, samples } from '../sample-messages.ts';
import { temporaryFolder } from '../temporary-folder.ts';
import { watchPuts } from './fault-injection.ts';
import { hurriedClock, indexedHashes, openStore, servedHashes } from './open-store.ts';

/** More than a block's symbols are worth saving for, some of them put in late as patches. */
const MESSAGES = samples(4_150, { payloadBytes: 4, pubsubTopics: [SHARD_0, SHARD_1] });
const HASHES = MESSAGES.map(hexOf);
const FAMILIES = ['header', 'directory', 'leaf', 'symbols', 'topic count'] as const;
type Family = (typeof FAMILIES)[number];

function rangeOf(family: Family): KeyRange {
  return ALL_INDEX[FAMILIES.indexOf(family)]!;
}

type Damage = (value: Uint8Array, chance: Chance) => Uint8Array | undefined;

const DAMAGES: readonly (readonly [string, Damage])[] = [
  ['is gone', () => undefined],
  ['is empty', () => new Uint8Array(0)],
  ['is cut short', (value, chance) => value.subarray(0, chance.below(value.length))],
  ['is cut short by a row', (value) => value.subarray(0, Math.max(0, value.length - 40))],
  ['is longer', (value) => new Uint8Array([...value, 0, 0, 0, 0])],
  ['has a byte turned over', (value, chance) => turned(value, chance.below(value.length))],
  ['has its first byte turned over', (value) => turned(value, 0)],
  ['has its last byte turned over', (value) => turned(value, value.length - 1)],
  ['has a bit turned over in a time', (value) => turned(value, 7, 1)],
  ['is all zeros', (value) => new Uint8Array(value.length)],
];

function turned(value: Uint8Array, at: number, bits = 0xff): Uint8Array {
  return value.map((byte, place) => (place === at % value.length ? byte ^ bits : byte));
}

async function recordsOf(database: Database, family: Family): Promise<Entry[]> {
  const records: Entry[] = [];
  for await (const chunk of database.entries(rangeOf(family))) records.push(...chunk);
  return records;
}

async function damage(
  database: Database,
  [key, value]: Entry,
  change: Damage,
  chance: Chance,
): Promise<void> {
  const changed = change(value, chance);
  await database.write((batch) => {
    if (changed === undefined) batch.del(key);
    else batch.put(key, changed);
  });
}

let original = '';

beforeAll(async () => {
  original = await mkdtemp(join(tmpdir(), 'lacuna-test-'));
  const store = await openStore(original);
  const late = new Set(Array.from({ length: 12 }, (_, at) => 100 + at * 50));
  await store.append(MESSAGES.filter((_, at) => !late.has(at)));
  for (const at of late) await store.append([MESSAGES[at]!]);
  await store.close();
});

afterAll(() => rm(original, { recursive: true, force: true }));

/** A copy of one closed store: making it anew each time would take most of the test's time. */
async function copyOfStore(): Promise<string> {
  const folder = await temporaryFolder();
  await cp(original, folder, { recursive: true });
  return folder;
}

/** The store is whole, in the index as on the disk, and no message was lost on the way. */
async function expectWhole(store: LevelMessageStore, messages: readonly StoredMessage[]): Promise<void> {
  const hashes = messages.map(hexOf);
  expect(await indexedHashes(store)).toEqual(hashes);
  expect(await servedHashes(store)).toEqual(hashes);
  expect(messages.every(({ id }) => store.has(id))).toBe(true);
  expect(await verifyStore(store, false)).toEqual({ checked: messages.length, damaged: 0, repaired: 0 });
}

async function mended(store: LevelMessageStore): Promise<void> {
  while (!store.writable) await new Promise((resolve) => setTimeout(resolve, 1));
}

describe.each(FAMILIES)('a damaged record of the index (%s)', (family) => {
  it.each(DAMAGES)('that %s is noticed by the next opening, and mended', async (_, change) => {
    const chance = new Chance(7);
    const folder = await copyOfStore();
    const database = await Database.open(join(folder, 'store'), false);
    const records = await recordsOf(database, family);
    expect(records.length).toBeGreaterThan(0);
    await damage(database, chance.pick(records), change, chance);
    await database.close();
    const log = new RecordingLogger();
    const store = await openStore(folder, { log });
    // Symbols can be made again: what cannot be read is as good as absent.
    expect(log.codes('warn')).toEqual(family === 'symbols' ? [] : ['INDEX_REBUILT']);
    expect(log.codes('error')).toEqual([]);
    expectSymbols(await store.index({ pubsubTopics: [], contentTopics: [] }, 0n, TIMESTAMP_MAX));
    await expectWhole(store, MESSAGES);
    await store.close();
  });

  it.each(DAMAGES.slice(-5))(
    'that %s while the store is open is found by verify, and mended',
    async (_, change) => {
      const chance = new Chance(8);
      const folder = await copyOfStore();
      const store = await openStore(folder, { clock: hurriedClock });
      await damage(store.database, chance.pick(await recordsOf(store.database, family)), change, chance);
      const found = await verifyStore(store, false);
      expect(found).toMatchObject({ checked: MESSAGES.length, repaired: 0 });
      if (family !== 'symbols') expect(found.damaged).toBeGreaterThan(0);
      const repaired = await verifyStore(store, true);
      expect(repaired.repaired).toBe(repaired.damaged);
      await expectWhole(store, MESSAGES);
      await store.close();
    },
  );
});

function expectSymbols(index: Awaited<ReturnType<LevelMessageStore['index']>>): void {
  const [found, expected] = [index, DigestTree.from(SyncIdList.of(...MESSAGES.map(({ id }) => id)))].map(
    (either) => {
      const symbols = new Uint32Array(SYMBOL_WORDS * 2_000);
      either.addSymbols(boundAt(0n), boundAt(TIMESTAMP_MAX), symbols);
      return Buffer.from(symbols.buffer).toString('hex');
    },
  );
  expect(found === expected).toBe(true);
}

describe('a leaf that cannot be read', () => {
  /** A store that has nearly nothing in memory, and a record of a leaf damaged. */
  async function storeOfDamagedLeaf(): Promise<{ store: LevelMessageStore; log: RecordingLogger }> {
    const log = new RecordingLogger();
    const store = await openStore(await copyOfStore(), {
      log,
      clock: hurriedClock,
      index: { cacheBytes: LEAF_BYTES },
    });
    const key = leafKey(store.storeIndex.tree.blocks[0]!.leaves[0]!.page);
    const value = store.database.getSync(key)!;
    await damage(store.database, [key, value], () => turned(value, 50), new Chance(1));
    return { store, log };
  }

  const FRESH = samples(40, { seed: 5, payloadBytes: 4, stepNs: 100_000_000n });

  it.each<[string, (store: LevelMessageStore) => Promise<unknown>]>([
    ['looking up messages', async (store) => MESSAGES.map(({ id }) => store.has(id))],
    ['a session', indexedHashes],
    ['a session of a content topic', (store) => store.index(scopeOfChat(), 0n, TIMESTAMP_MAX)],
    ['appending', (store) => store.append(MESSAGES.slice(0, 900))],
    ['appending among others', (store) => store.append([...FRESH, ...MESSAGES.slice(0, 900)])],
    ['setting aside', (store) => setAside(store)],
  ])('ends %s in its code; nothing is lost, and all works again', async (_, work) => {
    const { store, log } = await storeOfDamagedLeaf();
    expect(await endedIn(work(store))).toBe('STORE_DAMAGED');
    expect(store.fault?.code).toBe('STORE_FAULT');
    expect(await endedIn(store.append(FRESH))).toBe('STORE_FAULT');
    await mended(store);
    expect(log.codes('error')).toEqual(['STORE_DAMAGED']);
    expect(log.codes('warn')).toEqual(['INDEX_REBUILT']);
    await expectWhole(store, MESSAGES);
    expect(await store.append([...MESSAGES.slice(0, 10), ...FRESH])).toEqual({ stored: 40, duplicate: 10 });
    await expectWhole(store, inOrder([...MESSAGES, ...FRESH]));
    await store.close();
  });

  it('is noticed while others are written: what is acknowledged stays', async () => {
    const { store, log } = await storeOfDamagedLeaf();
    const acknowledged: StoredMessage[] = [];
    const codes = new Set<unknown>();
    const writing = (async () => {
      for (const message of FRESH) {
        await store.append([message]).then(
          () => acknowledged.push(message),
          (error: { code: unknown }) => codes.add(error.code),
        );
        if (!store.writable) await mended(store);
      }
    })();
    await new Promise((resolve) => setTimeout(resolve, 20));
    // One of the writes may have met it before, and the index may be whole again.
    expect([undefined, 'STORE_DAMAGED', 'STORE_FAULT']).toContain(await endedIn(indexedHashes(store)));
    await writing;
    await mended(store);
    expect(log.codes('warn')).toEqual(['INDEX_REBUILT']);
    const held = new Set(await servedHashes(store));
    expect(acknowledged.length).toBeGreaterThan(0);
    expect(acknowledged.filter((message) => !held.has(hexOf(message)))).toEqual([]);
    expect([...codes].filter((code) => code !== 'STORE_FAULT' && code !== 'STORE_DAMAGED')).toEqual([]);
    expect(HASHES.filter((hash) => !held.has(hash))).toEqual([]);
    expect(await indexedHashes(store)).toEqual(await servedHashes(store));
    await store.close();
  });

  it('is mended by verify together with a damaged message of it', async () => {
    const { store } = await storeOfDamagedLeaf();
    const victim = MESSAGES[20]!;
    await store.database.write((batch) => batch.put(messageKey(victim.id), new Uint8Array(7)));
    expect((await verifyStore(store, false)).damaged).toBeGreaterThan(1);
    expect(store.writable).toBe(true);
    const report = await verifyStore(store, true);
    expect(report.repaired).toBe(report.damaged);
    await expectWhole(
      store,
      MESSAGES.filter((message) => message !== victim),
    );
    expect(await store.append([victim])).toEqual({ stored: 1, duplicate: 0 });
    await expectWhole(store, MESSAGES);
    await store.close();
  });

  it('ends a session under way, and is not told twice', async () => {
    const { store, log } = await storeOfDamagedLeaf();
    const index = await store.index({ pubsubTopics: [], contentTopics: [] }, 0n, TIMESTAMP_MAX);
    const everything = async (): Promise<unknown> => index.ids(boundAt(0n), boundAt(TIMESTAMP_MAX));
    expect(await endedIn(everything())).toBe('STORE_DAMAGED');
    await mended(store);
    // The index that it looked at is no more, and has nothing to do with the new one.
    expect(await endedIn(everything())).toBe('STORE_DAMAGED');
    expect(store.writable).toBe(true);
    expect(log.codes('warn')).toEqual(['INDEX_REBUILT']);
    await expectWhole(store, MESSAGES);
    await store.close();
  });
});

describe('a message that the index has and the disk has not', () => {
  it('leaves the index when it is asked for, and is taken again', async () => {
    const store = await openStore(await copyOfStore());
    const victim = MESSAGES[1_000]!;
    await store.database.write((batch) => batch.del(messageKey(victim.id)));
    expect((await verifyStore(store, false)).damaged).toBeGreaterThan(0);
    expect(await store.append([victim])).toEqual({ stored: 0, duplicate: 1 });
    for await (const _ of store.read(SyncIdList.of(victim.id, MESSAGES[1_001]!.id)));
    while (store.has(victim.id)) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(await store.append([victim])).toEqual({ stored: 1, duplicate: 0 });
    await expectWhole(store, MESSAGES);
    await store.close();
  });
});

describe('a message that is not found by its key', () => {
  it('is not given up: it is there, and is written again', async () => {
    // What LevelDB does where a newer version of a key lies below an older one (google/leveldb #320).
    const store = await openStore(await copyOfStore());
    const victim = MESSAGES[1_000]!;
    const getMany = store.database.getMany.bind(store.database);
    store.database.getMany = async (keys) => {
      store.database.getMany = getMany;
      return (await getMany(keys)).map(() => undefined);
    };
    let written = 0;
    watchPuts(store.database, (key) => {
      if (Buffer.compare(key, messageKey(victim.id)) === 0) written += 1;
    });
    for await (const _ of store.read(SyncIdList.of(victim.id)));
    while (written === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    await expectWhole(store, MESSAGES);
    await store.close();
  });
});

describe('an index that differs from its messages', () => {
  it.each<[string, (database: Database) => Promise<void>]>([
    [
      'as a message came by itself',
      async (database) => {
        const [stranger] = samples(1, { seed: 3 });
        await database.write((batch) => batch.put(messageKey(stranger!.id), stranger!.encoded));
      },
    ],
    [
      'as a message went by itself',
      (database) => database.write((batch) => batch.del(messageKey(MESSAGES[40]!.id))),
    ],
  ])('is found by verify (%s), and mended', async (_, change) => {
    const store = await openStore(await copyOfStore(), { clock: hurriedClock });
    await change(store.database);
    expect((await verifyStore(store, false)).damaged).toBeGreaterThan(0);
    await verifyStore(store, true);
    expect(await verifyStore(store, false)).toMatchObject({ damaged: 0 });
    expect(await indexedHashes(store)).toEqual(await servedHashes(store));
    await store.close();
  });
});

function scopeOfChat(): { pubsubTopics: string[]; contentTopics: string[] } {
  return { pubsubTopics: [], contentTopics: [...new Set(MESSAGES.map(({ contentTopic }) => contentTopic))] };
}

async function setAside(store: LevelMessageStore): Promise<void> {
  await Promise.all(MESSAGES.slice(0, 900).map(({ id, encoded }) => store.quarantine(id, encoded)));
}

function inOrder(messages: readonly StoredMessage[]): StoredMessage[] {
  const byHash = new Map(messages.map((message) => [hexOf(message), message]));
  const sorted = SyncIdList.of(...messages.map(({ id }) => id)).toAscending();
  return Array.from({ length: sorted.count }, (_, row) => byHash.get(hexOf({ id: sorted.at(row) }))!);
}
