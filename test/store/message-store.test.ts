/**
 * The message store against a list that is searched from end to end: what goes in comes out, once, in order, in
 * whatever scope and window it is asked for, before and after the store was closed.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Scope } from '../../src/core/scope.ts';
import { boundAt, hashOf, makeId, SyncIdList, TIMESTAMP_MAX, timeOf } from '../../src/core/sync-id.ts';
import { LacunaError } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import type { AppendResult, MessageStore, StoredMessage } from '../../src/ports.ts';
import type { LevelMessageStore } from '../../src/store/message-store.ts';
import { Chance } from '../core/random-sets.ts';
import { endedIn } from '../ended-in.ts';
import { MemoryStore } from '../memory-store.ts';
import {
  CHAT,
  hexOf,
  messageOf,
  NOTES,
  NOW_NS,
  SHARD_0,
  SHARD_1,
  samples,
  stored,
} from '../sample-messages.ts';
import { temporaryFolder, withFolder } from '../temporary-folder.ts';
import { abandon, openStore, served, servedHashes } from './open-store.ts';

const EVERYTHING: Scope = { pubsubTopics: [], contentTopics: [] };

/** What every message store must do, whatever it is made of. */
async function keepsTheContract(store: MessageStore): Promise<void> {
  const messages = samples(300, { pubsubTopics: [SHARD_0, SHARD_1], contentTopics: [CHAT, NOTES] });
  const first = messages.slice(0, 200);
  const second = messages.slice(100);

  expect(await store.append([])).toEqual({ stored: 0, duplicate: 0 });
  expect(await store.append(first)).toEqual({ stored: 200, duplicate: 0 });
  expect(await store.append(second)).toEqual({ stored: 100, duplicate: 100 });
  expect(await store.append([...first, ...second])).toEqual({ stored: 0, duplicate: 400 });
  expect(messages.every(({ id }) => store.has(id))).toBe(true);
  expect(store.has(makeId(NOW_NS, hashOf(messages[0]!.id)))).toBe(false);

  const index = await store.index(EVERYTHING, 0n, TIMESTAMP_MAX);
  expect(idsOf(index.ids(boundAt(0n), boundAt(TIMESTAMP_MAX)))).toEqual(messages.map(hexOf));

  // An index keeps what it saw.
  await store.append(samples(5, { seed: 2 }));
  expect(index.count).toBe(300);

  // In the order asked for, without what is not there.
  const asked = [messages[7]!.id, makeId(NOW_NS, new Uint8Array(32)), messages[3]!.id, messages[7]!.id];
  const read: Uint8Array[] = [];
  for await (const encoded of store.read(SyncIdList.of(...asked))) read.push(encoded);
  expect(read.map(text)).toEqual([7, 3, 7].map((at) => text(messages[at]!.encoded)));
  expect(store.writable).toBe(true);
}

describe('the contract of a message store', () => {
  it('is kept by the store on LevelDB', async () => {
    const store = await openStore(await temporaryFolder());
    await keepsTheContract(store);
    await store.close();
  });

  it('is kept by the list that the other tests compare with', async () => {
    await keepsTheContract(new MemoryStore());
  });
});

describe('appending', () => {
  it('counts a message once that comes twice in one append', async () => {
    const store = await openStore(await temporaryFolder());
    const [message] = samples(1);
    expect(await store.append([message!, message!, message!])).toEqual({ stored: 1, duplicate: 2 });
    expect(await servedHashes(store)).toEqual([hexOf(message!)]);
    await store.close();
  });

  it('counts a message once that comes in appends at the same time', async () => {
    const store = await openStore(await temporaryFolder());
    const messages = samples(50);
    const results = await Promise.all(Array.from({ length: 20 }, () => store.append(messages)));
    expect(results.reduce((sum, result) => sum + result.stored, 0)).toBe(50);
    expect(results.reduce((sum, result) => sum + result.duplicate, 0)).toBe(950);
    expect(store.count).toBe(50);
    await store.close();
  });

  it('keeps every field of a message', async () => {
    const folder = await temporaryFolder();
    const message = messageOf({
      payload: Uint8Array.from({ length: LIMITS.messagePayloadBytes }, (_, at) => at & 255),
      meta: Uint8Array.from({ length: 64 }, (_, at) => 255 - at),
      rateLimitProof: Uint8Array.from({ length: 300 }, (_, at) => at & 255),
      version: 0xffff_ffff,
      timestamp: NOW_NS - 1n,
      pubsubTopic: '/ü/\udcff/\u0000',
      contentTopic: '',
    });
    const store = await openStore(folder);
    await store.append(stored([message]));
    await store.close();
    const again = await openStore(folder);
    const [found] = await served(again);
    expect(found?.message).toEqual(message);
    await again.close();
  });

  it('tells messages of one timestamp apart', async () => {
    const store = await openStore(await temporaryFolder());
    const burst = stored(
      Array.from({ length: 2_000 }, (_, index) =>
        messageOf({ timestamp: 5n, payload: Uint8Array.of(index >> 8, index & 255) }),
      ),
    );
    expect(await store.append(burst)).toEqual({ stored: 2_000, duplicate: 0 });
    expect(await servedHashes(store)).toEqual(burst.map(hexOf).sort());
    await store.close();
  });
});

describe('reading', () => {
  it('by hash gives the messages in the order asked for, and leaves out unknown ones', async () => {
    const store = await openStore(await temporaryFolder());
    const messages = samples(350);
    await store.append(messages);
    const chance = new Chance(3);
    const asked = messages.map(({ id }) => hashOf(id)).sort(() => chance.below(3) - 1);
    asked.splice(10, 0, new Uint8Array(32), new Uint8Array(32).fill(255));
    const found = await store.readByHash(asked);
    expect(found.map(hexOf)).toEqual([...asked.slice(0, 10), ...asked.slice(12)].map(text));
    expect(await store.readByHash([])).toEqual([]);
    await store.close();
  });

  it('scans a window that ends before its upper time', async () => {
    const store = await openStore(await temporaryFolder());
    const messages = samples(10, { stepNs: 1n });
    await store.append(messages);
    const times = messages.map(({ id }) => timeOf(id));
    const found = await served(store, times[2]!, times[5]!);
    expect(found.map(({ hash }) => hash)).toEqual(messages.slice(2, 5).map(hexOf));
    expect(store.countBetween(times[2]!, times[5]!)).toBe(3);
    expect(store.countBetween(times[5]!, times[2]!)).toBeLessThanOrEqual(0);
    expect(await served(store, times[5]!, times[2]!)).toEqual([]);
    await store.close();
  });

  it('goes on while messages are written, and sees what was there at its beginning', async () => {
    const store = await openStore(await temporaryFolder());
    const old = samples(3_000, { seed: 1 });
    await store.append(old);
    const seen: string[] = [];
    const scan = store.scan(0n, TIMESTAMP_MAX, (id) => seen.push(text(hashOf(id))));
    await scan.next();
    await store.append(samples(100, { seed: 2, untilNs: NOW_NS }));
    for await (const _ of scan);
    expect(seen).toEqual(old.map(hexOf));
    await store.close();
  });

  it('may be given up half way', async () => {
    const store = await openStore(await temporaryFolder());
    await store.append(samples(3_000));
    for await (const _ of store.scan(0n, TIMESTAMP_MAX, () => undefined)) break;
    for await (const _ of store.read(
      (await store.index(EVERYTHING, 0n, 1n)).ids(boundAt(0n), boundAt(NOW_NS)),
    ))
      break;
    await store.close();
  });
});

describe('an index of a scope', () => {
  it('of a topic that the store does not hold is empty, and never everything', async () => {
    const store = await openStore(await temporaryFolder());
    await store.append(samples(100));
    const scopes: Scope[] = [
      { pubsubTopics: ['/unknown'], contentTopics: [] },
      { pubsubTopics: [], contentTopics: ['/unknown'] },
      { pubsubTopics: [''], contentTopics: [] },
      { pubsubTopics: [SHARD_0], contentTopics: ['/unknown'] },
      { pubsubTopics: ['/unknown'], contentTopics: [CHAT] },
      // A pubsub topic is not a content topic.
      { pubsubTopics: [CHAT], contentTopics: [] },
      { pubsubTopics: [], contentTopics: [SHARD_0] },
      // A surrogate that stands for no byte is no topic at all.
      { pubsubTopics: ['\ud800'], contentTopics: [] },
    ];
    for (const scope of scopes) expect((await store.index(scope, 0n, TIMESTAMP_MAX)).count).toBe(0);
    await store.close();
  });

  it('counts a message once when a topic is named twice', async () => {
    const store = await openStore(await temporaryFolder());
    await store.append(samples(100));
    const scope = { pubsubTopics: [SHARD_0, SHARD_0, '/unknown'], contentTopics: [CHAT, CHAT] };
    expect((await store.index(scope, 0n, TIMESTAMP_MAX)).count).toBe(100);
    await store.close();
  });

  it('tells how much is read for it, waits to read on, and is given up where that throws', async () => {
    const store = await openStore(await temporaryFolder());
    const messages = samples(3_000);
    await store.append(messages);
    const scope = { pubsubTopics: [], contentTopics: [CHAT] };
    const told: number[] = [];
    let waiting = 0;
    const index = await store.index(scope, 0n, TIMESTAMP_MAX, async (entries) => {
      waiting += 1;
      await new Promise((resolve) => setImmediate(resolve));
      expect(waiting).toBe(1);
      waiting -= 1;
      told.push(entries);
    });
    expect(told.length).toBeGreaterThan(1);
    expect(told.reduce((sum, entries) => sum + entries, 0)).toBe(index.count);
    let read = 0;
    const given = store.index(scope, 0n, TIMESTAMP_MAX, (entries) => {
      read += entries;
      throw new LacunaError('SESSION_BUSY', 'enough');
    });
    await expect(given).rejects.toMatchObject({ code: 'SESSION_BUSY' });
    expect(read).toBe(told[0]);
    const everything = await store.index(EVERYTHING, 0n, TIMESTAMP_MAX, () => {
      throw new Error('nothing has to be read');
    });
    expect(everything.count).toBe(3_000);
    await store.close();
  });

  it('holds what it held when it was made', async () => {
    const store = await openStore(await temporaryFolder());
    await store.append(samples(100));
    const scope = { pubsubTopics: [SHARD_0], contentTopics: [] };
    const [narrow, wide] = [
      await store.index(scope, 0n, TIMESTAMP_MAX),
      await store.index(EVERYTHING, 0n, TIMESTAMP_MAX),
    ];
    await store.append(samples(700, { seed: 9 }));
    expect([narrow.count, wide.count]).toEqual([100, 100]);
    await store.close();
  });
});

describe('any history of a store', () => {
  const topics = { pubsub: [SHARD_0, SHARD_1, '/ö', '\udc80'], content: [CHAT, NOTES, '', '/1'] };

  /** Ten appends in three turns, some at the same time, then every way of asking; then again after a reopen. */
  it('answers as a list does', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({ seed: fc.nat(), count: fc.nat(250), stepNs: fc.constantFrom(0n, 1n, 1_000_000n) }),
        async ({ seed, count, stepNs }) => {
          await withFolder(async (folder) => {
            const chance = new Chance(seed);
            const pool = samples(count, {
              seed,
              stepNs,
              pubsubTopics: topics.pubsub,
              contentTopics: topics.content,
            });
            const oracle = new MemoryStore();
            const store = await openStore(folder);
            for (let turn = 0; turn < 3; turn++) {
              const appends = Array.from({ length: chance.below(4) }, () => {
                const from = chance.below(count + 1);
                return pool.slice(from, from + chance.below(120));
              });
              const results = await Promise.all(appends.map((messages) => store.append(messages)));
              const expected = await Promise.all(appends.map((messages) => oracle.append(messages)));
              // Of appends under way together a small one may be written first: which of them stored what both bring
              // is then another one's.
              expect(totalOf(results)).toEqual(totalOf(expected));
              if (appends.length === 1) expect(results).toEqual(expected);
            }
            await expectSame(store, oracle, chance);
            await store.close();
            const again = await openStore(folder, { create: false });
            await expectSame(again, oracle, chance);
            expect(pool.map(({ id }) => again.has(id))).toEqual(pool.map(({ id }) => oracle.has(id)));
            await again.close();
          });
        },
      ),
      { numRuns: 25 },
    );
  });

  async function expectSame(store: LevelMessageStore, oracle: MemoryStore, chance: Chance): Promise<void> {
    expect(store.count).toBe(oracle.count);
    expect(await servedHashes(store)).toEqual(oracle.select(EVERYTHING, 0n, TIMESTAMP_MAX).map(hexOf));
    for (let question = 0; question < 12; question++) {
      const scope = {
        pubsubTopics: someOf(topics.pubsub, chance),
        contentTopics: someOf(topics.content, chance),
      };
      const sinceNs = NOW_NS - BigInt(chance.below(300)) * 1_000_000n;
      const untilNs = sinceNs + BigInt(chance.below(300)) * 1_000_000n;
      const index = await store.index(scope, sinceNs, untilNs);
      const found = idsOf(index.ids(boundAt(sinceNs), boundAt(untilNs)));
      expect(found).toEqual(oracle.select(scope, sinceNs, untilNs).map(hexOf));
      expect(store.countBetween(sinceNs, untilNs)).toBe(oracle.select(EVERYTHING, sinceNs, untilNs).length);
    }
  }
});

describe('a store that is closed', () => {
  it('takes no messages and gives none', async () => {
    const store = await openStore(await temporaryFolder());
    const messages = samples(10);
    await store.append(messages);
    await store.close();
    await store.close();
    expect(await endedIn(store.append(messages))).toBe('STORE_CLOSED');
    expect(await endedIn(store.append([]))).toBe('STORE_CLOSED');
    expect(await endedIn(store.readByHash(messages.map(({ id }) => hashOf(id))))).toBe('STORE_CLOSED');
    expect(await endedIn(served(store))).toBe('STORE_CLOSED');
    expect(await endedIn(firstOf(store, messages))).toBe('STORE_CLOSED');
    const scope = { pubsubTopics: [SHARD_0], contentTopics: [] };
    expect(await endedIn(store.index(scope, 0n, TIMESTAMP_MAX))).toBe('STORE_CLOSED');
    expect(store.writable).toBe(false);
  });

  it('ends a scan under way with the code of a closed store, not of a damaged one', async () => {
    const store = await openStore(await temporaryFolder());
    await store.append(samples(5_000));
    const scan = store.scan(0n, TIMESTAMP_MAX, () => undefined);
    await scan.next();
    await store.close();
    expect(await endedIn(drain(scan))).toBe('STORE_CLOSED');
  });

  it('remembers how much it held', async () => {
    const folder = await temporaryFolder();
    const store = await openStore(folder);
    await store.append(samples(17));
    await store.close();
    const sidecar: unknown = JSON.parse(await readFile(join(folder, 'STORE'), 'utf8'));
    expect(sidecar).toMatchObject({ count: 17, storeId: store.storeId, format: 1 });
  });

  it('has remembered how much it held, some time ago, also when it is killed', async () => {
    const folder = await temporaryFolder();
    const store = await openStore(folder);
    await store.append(samples(10_050, { payloadBytes: 4 }));
    await store.append(samples(1, { seed: 2 }));
    const remembered = async (): Promise<number> =>
      (JSON.parse(await readFile(join(folder, 'STORE'), 'utf8')) as { count: number }).count;
    while ((await remembered()) === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(await remembered()).toBeGreaterThanOrEqual(10_000);
    await abandon(store);
    const again = await openStore(folder);
    expect([again.count, again.lost]).toEqual([10_051, 0]);
    await again.close();
  });

  it('keeps its name from one opening to the next', async () => {
    const folder = await temporaryFolder();
    const first = await openStore(folder);
    await first.close();
    const second = await openStore(folder, { create: false });
    await second.close();
    expect(second.storeId).toBe(first.storeId);
    expect(first.storeId).toMatch(/^[0-9a-f]{32}$/);
  });
});

async function drain(source: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of source);
}

async function firstOf(store: LevelMessageStore, messages: readonly StoredMessage[]): Promise<void> {
  await drain(store.read(SyncIdList.of(...messages.map(({ id }) => id))));
}

function idsOf(ids: SyncIdList): string[] {
  return Array.from({ length: ids.count }, (_, row) => text(hashOf(ids.at(row))));
}

function text(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function someOf(topics: readonly string[], chance: Chance): string[] {
  const some = topics.filter(() => chance.below(3) === 0);
  return chance.below(5) === 0 ? [...some, '/not held'] : some;
}

function totalOf(results: readonly AppendResult[]): AppendResult {
  const sum = (key: keyof AppendResult): number => results.reduce((all, result) => all + result[key], 0);
  return { stored: sum('stored'), duplicate: sum('duplicate') };
}
