/** When and how each message came is told as long as it is here: after a restart, a failed write, and a rebuild. */
import { describe, expect, it } from 'vitest';
import { hashOf } from '../../src/core/sync-id.ts';
import { LIMITS } from '../../src/limits.ts';
import type { Arrival, StoredMessage } from '../../src/ports.ts';
import type { Batch } from '../../src/store/database.ts';
import { verifyStore } from '../../src/store/integrity.ts';
import { hashKey, recordKey, timeOfHash } from '../../src/store/keys.ts';
import type { LevelMessageStore } from '../../src/store/message-store.ts';
import { Origins } from '../../src/store/origins.ts';
import { NOW_MS, SHARD_0, SHARD_1, samples } from '../sample-messages.ts';
import { temporaryFolder } from '../temporary-folder.ts';
import { faultyDatabase } from './fault-injection.ts';
import { abandon, hurriedClock, openStore } from './open-store.ts';

const [FIRST, SECOND, THIRD, FOURTH] = samples(4, { pubsubTopics: [SHARD_0, SHARD_1] }) as [
  StoredMessage,
  StoredMessage,
  StoredMessage,
  StoredMessage,
];
const NATIVE: Arrival = { path: 'session', dialect: 'native', role: 'initiator', peer: 'peer-a' };
const WAKU: Arrival = { path: 'session', dialect: 'waku', role: 'responder', peer: 'peer-b' };
const clock = { ...hurriedClock, nowMs: () => NOW_MS };

async function told(store: LevelMessageStore, { id }: StoredMessage) {
  return await store.facts(hashOf(id));
}

async function arrivalsOf(store: LevelMessageStore, messages: readonly StoredMessage[]) {
  return await Promise.all(messages.map(async (message) => (await told(store, message))?.arrival));
}

describe('how a message came', () => {
  it('is known after a restart, a crash, an index built anew and a database copied', async () => {
    const folder = await temporaryFolder();
    let store = await openStore(folder, { clock });
    await store.append([FIRST], { path: 'import' });
    await store.append([SECOND], NATIVE);
    await store.append([THIRD], WAKU);
    await store.append([FOURTH]);
    // It came the first time.
    await store.append([FIRST, SECOND], WAKU);
    const messages = [FIRST, SECOND, THIRD, FOURTH];
    const expected = [{ path: 'import' }, NATIVE, WAKU, undefined].map((by) => ({ atMs: NOW_MS, by }));
    expect(await arrivalsOf(store, messages)).toEqual(expected);
    expect(await told(store, FIRST)).toMatchObject({
      state: 'stored',
      message: { pubsubTopic: FIRST.pubsubTopic, bytes: FIRST.encoded.length },
      hasDamagedCopy: false,
    });
    await abandon(store);
    store = await openStore(folder, { clock });
    await store.rebuildIndex('for the test');
    expect(await arrivalsOf(store, messages)).toEqual(expected);
    await store.rebuild();
    expect(await arrivalsOf(store, messages)).toEqual(expected);
    expect(await verifyStore(store, true)).toEqual({ checked: 4, damaged: 0, repaired: 0 });
    expect(await arrivalsOf(store, messages)).toEqual(expected);
    await store.close();
    store = await openStore(folder, { clock });
    expect(await arrivalsOf(store, messages)).toEqual(expected);
    await store.close();
  });

  it.each(['lost', 'kept'] as const)(
    'is told of messages whose origin was in a write that failed (%s)',
    async (fault) => {
      const folder = await temporaryFolder();
      const { open: openDatabase, watched } = faultyDatabase({ fault, fails: (write) => write === failing });
      let failing = 0;
      let store = await openStore(folder, { clock, openDatabase });
      await store.append([FIRST]);
      failing = watched.writes + 1;
      await expect(store.append([SECOND], NATIVE)).rejects.toMatchObject({ code: 'STORE_FAULT' });
      await expect.poll(() => store.writable, { interval: 1 }).toBe(true);
      await store.append([SECOND, THIRD], NATIVE);
      await abandon(store);
      store = await openStore(folder, { clock });
      expect(await arrivalsOf(store, [SECOND, THIRD])).toEqual([
        { atMs: NOW_MS, by: NATIVE },
        { atMs: NOW_MS, by: NATIVE },
      ]);
      await store.close();
    },
  );

  it('is not known of what an earlier version stored, nor where the origin is damaged', async () => {
    const folder = await temporaryFolder();
    let store = await openStore(folder, { clock });
    await store.append([FIRST, SECOND], NATIVE);
    const old = timeOfHash((await store.database.get(hashKey(FIRST.id)))!)!.slice();
    await store.database.write((batch) => {
      batch.put(hashKey(FIRST.id), old);
      batch.put(recordKey(Buffer.from('origin/1')), new Uint8Array(30));
    });
    await store.close();
    store = await openStore(folder, { clock });
    expect(await arrivalsOf(store, [FIRST, SECOND])).toEqual([undefined, { atMs: NOW_MS, by: undefined }]);
    expect(await verifyStore(store, false)).toEqual({ checked: 2, damaged: 0, repaired: 0 });
    // Its number is of nothing else from now on.
    await store.append([THIRD], WAKU);
    expect(await arrivalsOf(store, [SECOND, THIRD])).toEqual([
      { atMs: NOW_MS, by: undefined },
      { atMs: NOW_MS, by: WAKU },
    ]);
    await store.close();
  });
});

describe('a message that is not here', () => {
  it('was set aside, was pruned, has come again, or is not known', async () => {
    const folder = await temporaryFolder();
    const store = await openStore(folder, { clock, retention: [`pubsub:${SHARD_0}=capacity:1`] });
    const messages = samples(3, { pubsubTopics: [SHARD_0] });
    const other = samples(1, { seed: 8, pubsubTopics: [SHARD_1] })[0]!;
    await store.append([...messages, other]);
    await store.retention.pass(false);
    const gone = messages.find(({ id }) => !store.has(id))!;
    expect(await told(store, gone)).toEqual({
      id: gone.id,
      state: 'pruned',
      message: undefined,
      arrival: undefined,
      hasDamagedCopy: false,
    });
    await store.quarantine(other.id, new Uint8Array(5));
    expect(await told(store, other)).toMatchObject({
      id: other.id,
      state: 'quarantined',
      hasDamagedCopy: true,
    });
    await store.append([other], NATIVE);
    expect(await told(store, other)).toMatchObject({
      state: 'stored',
      arrival: { by: NATIVE },
      hasDamagedCopy: true,
    });
    expect(await told(store, FOURTH)).toBeUndefined();
    await store.close();
  });
});

it('more peers than the limit are one, and are told apart by all but their names', () => {
  const origins = new Origins();
  const of = (peer: string) =>
    origins.numberOf({ path: 'session', dialect: 'waku', role: 'responder', peer });
  for (let at = 0; at < LIMITS.origins; at++) expect(of(`peer-${at}`)).toBe(at + 1);
  expect([of('one'), of('more'), of('peer-5')]).toEqual([LIMITS.origins + 1, LIMITS.origins + 1, 6]);
  expect(origins.of(of('one'))).toEqual({
    path: 'session',
    dialect: 'waku',
    role: 'responder',
    peer: undefined,
  });
  const written: string[] = [];
  const batch: Batch = {
    put: (key) => written.push(Buffer.from(key).toString('latin1')),
    del: () => undefined,
  };
  for (const number of origins.unwritten()) origins.putInto(batch, number);
  expect(written).toHaveLength(LIMITS.origins + 1);
});
