/**
 * Damaged bytes: whatever a disk makes of a message, no wrong one is served. What is damaged is set aside, told by
 * `verify`, mended by `verify --repair`, and taken again when a peer sends it.
 */
import { execFile } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { boundAt, hashOf, SyncIdList, TIMESTAMP_MAX } from '../../src/core/sync-id.ts';
import type { StoredMessage } from '../../src/ports.ts';
import type { Batch } from '../../src/store/database.ts';
import { verifyStore } from '../../src/store/integrity.ts';
import {
  ALL_HASHES,
  ALL_QUARANTINED,
  ALL_TOPICS,
  hashKey,
  messageKey,
  quarantineKey,
  topicIndexKey,
  topicKey,
} from '../../src/store/keys.ts';
import type { LevelMessageStore } from '../../src/store/message-store.ts';
import { systemSha256 } from '../../src/system.ts';
import { endedIn } from '../ended-in.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { CHAT, hexOf, SHARD_0, samples } from '../sample-messages.ts';
import { temporaryFolder } from '../temporary-folder.ts';
import { type Finding, SURVEYED, surveyed } from './flip-survey.ts';
import { openStore, servedHashes } from './open-store.ts';

const SURVEY = fileURLToPath(new URL('flip-survey.ts', import.meta.url));
const SCOPE = { pubsubTopics: [SHARD_0], contentTopics: [] };

describe('one byte of a table turned over', () => {
  it('never makes a wrong message, is told wherever it harms, and is mended', {
    timeout: 120_000,
  }, async () => {
    const folder = await temporaryFolder();
    // A second opening moves the messages from the log into a table.
    for (const messages of [surveyed(), []]) {
      const store = await openStore(join(folder, 'store'));
      await store.append(messages);
      await store.close();
    }
    const [table] = (await readdir(join(folder, 'store', 'store'))).filter((name) => name.endsWith('.ldb'));
    const { findings, deaths } = await survey(join(folder, 'store'), table!, 50);
    expect(findings.length).toBeGreaterThan(90);

    expect(findings.filter(({ wrong }) => wrong > 0)).toEqual([]);
    // What opens serves what it can, and what it cannot is not passed over in silence.
    const untold = findings.filter(
      ({ served, damaged, quarantined, verifyCode }) =>
        served < SURVEYED && damaged + quarantined === 0 && verifyCode === undefined,
    );
    expect(untold).toEqual([]);
    const unmended = findings.filter(
      ({ healed, healedOfScope, damagedAfter }) =>
        healed !== SURVEYED || healedOfScope !== SURVEYED || damagedAfter !== 0,
    );
    expect(unmended).toEqual([]);
    const codes = new Set(findings.flatMap(({ readCode, verifyCode }) => [readCode, verifyCode]));
    expect([...codes].filter((code) => code !== undefined && code !== 'STORE_DAMAGED')).toEqual([]);
    // LevelDB ends the process where it rewrites a table whose keys are out of order: loud, and rare.
    expect(deaths).toBeLessThanOrEqual(3);
  });
});

/** Runs the survey as a program of its own, on behind the place where it died if it does. */
async function survey(
  folder: string,
  file: string,
  distance: number,
): Promise<{ findings: Finding[]; deaths: number }> {
  const findings: Finding[] = [];
  let deaths = 0;
  for (let first = 0; ; ) {
    const { lines, died } = await program([folder, file, String(first), String(distance)]);
    let begun = first;
    for (const line of lines) {
      if ('begins' in line) begun = line.begins;
      else findings.push(line);
    }
    if (!died) return { findings, deaths };
    deaths += 1;
    first = begun + distance;
  }
}

function program(args: string[]): Promise<{ lines: (Finding | { begins: number })[]; died: boolean }> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, ['--import', 'tsx', SURVEY, ...args], (error, stdout) => {
      const died = error?.signal === 'SIGABRT';
      if (error !== null && !died) reject(error);
      else
        resolve({
          lines: stdout
            .trim()
            .split('\n')
            .map((line) => JSON.parse(line) as Finding),
          died,
        });
    });
  });
}

describe('a message whose bytes do not hash to its identity', () => {
  it.each<[string, (encoded: Uint8Array) => Uint8Array]>([
    ['one bit is another', (encoded) => encoded.map((byte, at) => (at === 60 ? byte ^ 1 : byte))],
    ['cut short', (encoded) => encoded.subarray(0, encoded.length - 1)],
    ['empty', () => new Uint8Array(0)],
    ['another message', () => samples(1, { seed: 99 })[0]!.encoded],
    ['nonsense', () => new Uint8Array(500).fill(255)],
  ])('is not served and not counted any more (%s)', async (_, damage) => {
    const { store, messages, log } = await storeOf(20);
    const victim = messages[7]!;
    await put(store, messageKey(victim.id), damage(victim.encoded));
    const rest = messages.filter((message) => message !== victim).map(hexOf);

    expect(await servedHashes(store)).toEqual(rest);
    await settled(store);
    expect(log.codes('error')).toContain('STORE_DAMAGED');
    expect([store.has(victim.id), store.count, store.quarantined]).toEqual([false, 19, 1]);
    expect((await store.index(SCOPE, 0n, TIMESTAMP_MAX)).count).toBe(19);
    expect(await readHashes(store, messages)).toEqual(rest);
    expect(await store.readByHash([hashOf(victim.id)])).toEqual([]);
    // The bytes are kept for inspection.
    const kept = await store.database.get(quarantineKey(victim.id));
    expect(Buffer.from(kept!)).toEqual(Buffer.from(damage(victim.encoded)));
    await store.close();
  });

  it.each(['scan', 'read', 'readByHash'] as const)(
    'is found by %s, and taken again from whoever has it',
    async (way) => {
      const folder = await temporaryFolder();
      const { store, messages } = await storeOf(20, folder);
      const victim = messages[3]!;
      await put(store, messageKey(victim.id), new Uint8Array(10));
      // As far as anybody knows it is here.
      expect(await store.append([victim])).toEqual({ stored: 0, duplicate: 1 });
      if (way === 'scan') await servedHashes(store);
      else if (way === 'read') await readHashes(store, messages);
      else await store.readByHash([hashOf(victim.id)]);
      await settled(store);
      expect(await store.append([victim])).toEqual({ stored: 1, duplicate: 0 });
      await store.close();

      const again = await openStore(folder);
      expect(await servedHashes(again)).toEqual(messages.map(hexOf));
      expect(await verifyStore(again, false)).toEqual({ checked: 20, damaged: 0, repaired: 0 });
      await again.close();
    },
  );

  it('asked to be removed and appended at once is there in the end', async () => {
    const { store, messages } = await storeOf(20);
    const victim = messages[3]!;
    await put(store, messageKey(victim.id), new Uint8Array(10));
    const [, appended] = await Promise.all([
      store.quarantine(victim.id, new Uint8Array(10)),
      store.append([victim]),
    ]);
    expect(appended).toEqual({ stored: 1, duplicate: 0 });
    expect(await servedHashes(store)).toEqual(messages.map(hexOf));
    await store.close();
  });
});

describe('verify', () => {
  it('says of a whole store that it is whole, and changes nothing', async () => {
    const { store } = await storeOf(2_500);
    const seen: number[] = [];
    expect(await verifyStore(store, false, (checked) => seen.push(checked))).toEqual({
      checked: 2_500,
      damaged: 0,
      repaired: 0,
    });
    expect(await verifyStore(store, true)).toEqual({ checked: 2_500, damaged: 0, repaired: 0 });
    expect(seen.at(-1)).toBe(2_500);
    expect(seen).toEqual([...seen].sort((a, b) => a - b));
    await store.close();
  });

  type Damage = (batch: Batch, message: StoredMessage) => void;

  it.each<[string, Damage]>([
    ['a hash entry is missing', (batch, { id }) => batch.del(hashKey(id))],
    ['a hash entry tells another time', (batch, { id }) => batch.put(hashKey(id), new Uint8Array(8))],
    ['a hash entry has another length', (batch, { id }) => batch.put(hashKey(id), new Uint8Array(3))],
    [
      'a pubsub entry is missing',
      (batch, { id, pubsubTopic }) => batch.del(topicIndexKey('pubsub', keyOf(pubsubTopic), id)),
    ],
    [
      'a pubsub entry names another content topic',
      (batch, { id, pubsubTopic }) =>
        batch.put(topicIndexKey('pubsub', keyOf(pubsubTopic), id), new Uint8Array(16)),
    ],
    [
      'a content entry is missing',
      (batch, { id, contentTopic }) => batch.del(topicIndexKey('content', keyOf(contentTopic), id)),
    ],
    [
      'a content entry names another pubsub topic',
      (batch, { id, contentTopic }) =>
        batch.put(topicIndexKey('content', keyOf(contentTopic), id), new Uint8Array(1)),
    ],
  ])('finds and mends that %s', async (_, damage) => {
    const { store, messages } = await storeOf(20);
    await store.database.write((batch) => damage(batch, messages[4]!));
    const found = await verifyStore(store, false);
    expect(found.damaged).toBeGreaterThanOrEqual(1);
    expect(found.repaired).toBe(0);
    const mended = await verifyStore(store, true);
    expect(mended.repaired).toBe(mended.damaged);
    expect(mended.damaged).toBeGreaterThanOrEqual(1);
    expect(await verifyStore(store, false)).toEqual({ checked: 20, damaged: 0, repaired: 0 });
    await expectWhole(store, messages);
    await store.close();
  });

  it.each<[string, Damage]>([
    ['a hash entry', (batch, { id }) => batch.put(hashKey(id), new Uint8Array(8).fill(1))],
    [
      'a pubsub entry',
      (batch, { id }) => batch.put(topicIndexKey('pubsub', keyOf(SHARD_0), id), keyOf(CHAT)),
    ],
    [
      'a content entry',
      (batch, { id }) => batch.put(topicIndexKey('content', keyOf(CHAT), id), keyOf(SHARD_0)),
    ],
    [
      'a hash entry of no length at all',
      (batch) => batch.put(Uint8Array.of(1, 'h'.charCodeAt(0)), new Uint8Array(0)),
    ],
    [
      'a topic entry of no length at all',
      (batch) => batch.put(Uint8Array.of(1, 'p'.charCodeAt(0)), new Uint8Array(0)),
    ],
  ])('finds and removes %s without a message', async (_, damage) => {
    const { store, messages } = await storeOf(20);
    const [stranger] = samples(1, { seed: 77 });
    await store.database.write((batch) => damage(batch, stranger!));
    // Nobody who asks is given it meanwhile.
    await expectWhole(store, messages);
    expect(await verifyStore(store, false)).toEqual({ checked: 20, damaged: 1, repaired: 0 });
    expect(await verifyStore(store, true)).toEqual({ checked: 20, damaged: 1, repaired: 1 });
    expect(await verifyStore(store, false)).toEqual({ checked: 20, damaged: 0, repaired: 0 });
    for (const range of [ALL_HASHES, ALL_TOPICS.pubsub, ALL_TOPICS.content]) {
      expect(await keysOf(store, range)).toHaveLength(20);
    }
    await store.close();
  });

  it('finds a damaged message, sets it aside with all its entries, and tells the loss until a peer has mended it', async () => {
    const folder = await temporaryFolder();
    const { store, messages } = await storeOf(20, folder);
    const victim = messages[11]!;
    await put(store, messageKey(victim.id), victim.encoded.slice(1));
    expect(await verifyStore(store, false)).toEqual({ checked: 20, damaged: 1, repaired: 0 });
    const mended = await verifyStore(store, true);
    expect(mended.repaired).toBe(mended.damaged);
    expect(await verifyStore(store, false)).toEqual({ checked: 19, damaged: 0, repaired: 0 });
    expect(await keysOf(store, ALL_QUARANTINED)).toHaveLength(1);
    for (const range of [ALL_HASHES, ALL_TOPICS.pubsub, ALL_TOPICS.content]) {
      expect(await keysOf(store, range)).toHaveLength(19);
    }
    await store.close();
    const again = await openStore(folder);
    expect([again.count, again.lost]).toEqual([19, 0]);
    expect(await again.append(messages)).toEqual({ stored: 1, duplicate: 19 });
    await expectWhole(again, messages);
    await again.close();
  });

  it('removes a message under a key of another length', async () => {
    const folder = await temporaryFolder();
    const { store, messages } = await storeOf(20, folder);
    const key = messageKey(messages[0]!.id);
    await put(store, new Uint8Array([...key, 1]), messages[0]!.encoded);
    await put(store, key.subarray(0, 20), messages[0]!.encoded);
    await store.close();
    const again = await openStore(folder);
    expect((await verifyStore(again, false)).damaged).toBeGreaterThan(0);
    await verifyStore(again, true);
    expect(await verifyStore(again, false)).toEqual({ checked: 20, damaged: 0, repaired: 0 });
    await expectWhole(again, messages);
    await again.close();
  });

  it('mends a store in which much is damaged at once', async () => {
    const { store, messages } = await storeOf(1_500);
    await store.database.write((batch) => {
      for (const [at, { id, pubsubTopic, contentTopic }] of messages.entries()) {
        if (at % 7 === 0) batch.put(messageKey(id), new Uint8Array(at % 90));
        if (at % 5 === 0) batch.del(hashKey(id));
        if (at % 3 === 0) batch.del(topicIndexKey('pubsub', keyOf(pubsubTopic), id));
        if (at % 4 === 0) batch.del(topicIndexKey('content', keyOf(contentTopic), id));
      }
    });
    await verifyStore(store, true);
    const whole = messages.filter((_, at) => at % 7 !== 0);
    expect(await verifyStore(store, false)).toEqual({ checked: whole.length, damaged: 0, repaired: 0 });
    await expectWhole(store, whole);
    expect(await store.append(messages)).toEqual({
      stored: messages.length - whole.length,
      duplicate: whole.length,
    });
    await expectWhole(store, messages);
    await store.close();
  });
});

describe('a store rebuilt from what can be read', () => {
  it('keeps all but the block of a table that is damaged', async () => {
    const folder = await temporaryFolder();
    const messages = samples(600, { payloadBytes: 100 });
    for (const some of [messages, []]) {
      const store = await openStore(folder);
      await store.append(some);
      await store.close();
    }
    const database = join(folder, 'store');
    const table = join(database, (await readdir(database)).find((name) => name.endsWith('.ldb'))!);
    const bytes = await readFile(table);
    // In the middle of the messages, and long enough for the block not to be read at all.
    const at = bytes.indexOf(Buffer.from(messages[300]!.encoded.subarray(40, 80)));
    expect(at).toBeGreaterThan(0);
    bytes.fill(0xff, at - 400, at + 400);
    await writeFile(table, bytes);

    // Opening reads no messages; whoever does is told.
    const store = await openStore(folder);
    expect(await endedIn(servedHashes(store))).toBe('STORE_DAMAGED');
    expect(await endedIn(verifyStore(store, false))).toBe('STORE_DAMAGED');
    const report = await verifyStore(store, true);
    expect(store.count).toBeGreaterThan(540);
    expect(store.count).toBeLessThan(600);
    expect(report.damaged).toBeGreaterThanOrEqual(600 - store.count);
    expect(report.repaired).toBe(report.damaged);
    const kept = new Set(await servedHashes(store));
    await expectWhole(
      store,
      messages.filter((message) => kept.has(hexOf(message))),
    );
    expect(await store.append(messages)).toEqual({ stored: 600 - kept.size, duplicate: kept.size });
    await expectWhole(store, messages);
    await store.close();
  });

  it('has entries again that a damaged table passed over', async () => {
    const { store, messages } = await storeOf(50);
    // What is found by its key is not found in order, as where keys lie out of order; until the table is new.
    const entries = store.database.entries.bind(store.database);
    let passes = 2;
    store.database.entries = async function* (range) {
      const passedOver = range === ALL_TOPICS.pubsub && passes-- > 0;
      for await (const chunk of entries(range)) yield passedOver ? chunk.slice(3) : chunk;
    };
    expect(await verifyStore(store, false)).toEqual({ checked: 50, damaged: 3, repaired: 0 });
    expect(await verifyStore(store, true)).toEqual({ checked: 50, damaged: 1, repaired: 1 });
    await expectWhole(store, messages);
    await store.close();
  });

  it('holds every whole message and what was set aside, and stays so', async () => {
    const folder = await temporaryFolder();
    const { store, messages } = await storeOf(1_200, folder);
    await store.quarantine(messages[0]!.id, new Uint8Array(9));
    await put(store, messageKey(messages[1]!.id), new Uint8Array(9));
    await store.rebuild();
    await expectWhole(store, messages.slice(2));
    expect(await keysOf(store, ALL_QUARANTINED)).toHaveLength(1);
    expect(await store.append(messages)).toEqual({ stored: 2, duplicate: 1_198 });
    await store.close();
    const again = await openStore(folder);
    await expectWhole(again, messages);
    expect(await verifyStore(again, false)).toEqual({ checked: 1_200, damaged: 0, repaired: 0 });
    expect(await endedIn(openStore(folder))).toBe('STORE_LOCKED');
    await again.close();
  });
});

async function storeOf(
  count: number,
  folder?: string,
): Promise<{ store: LevelMessageStore; messages: StoredMessage[]; log: RecordingLogger }> {
  const log = new RecordingLogger();
  const store = await openStore(folder ?? (await temporaryFolder()), { log });
  const messages = samples(count);
  await store.append(messages);
  return { store, messages, log };
}

async function put(store: LevelMessageStore, key: Uint8Array, value: Uint8Array): Promise<void> {
  await store.database.write((batch) => batch.put(key, value));
}

/** What is being set aside is set aside when a later append has been written. */
async function settled(store: LevelMessageStore): Promise<void> {
  await store.amend([{ type: 'del', key: new Uint8Array([255]) }]);
}

function keyOf(topic: string): Uint8Array {
  return topicKey(topic, systemSha256);
}

async function readHashes(store: LevelMessageStore, messages: readonly StoredMessage[]): Promise<string[]> {
  const byEncoded = new Map(messages.map((message) => [hex(message.encoded), hexOf(message)]));
  const found: string[] = [];
  for await (const encoded of store.read(SyncIdList.of(...messages.map(({ id }) => id)))) {
    found.push(byEncoded.get(hex(encoded)) ?? 'unknown');
  }
  return found;
}

/** Every way of asking gives these messages, all of them and no others. */
async function expectWhole(store: LevelMessageStore, messages: readonly StoredMessage[]): Promise<void> {
  const hashes = messages.map(hexOf);
  expect(await servedHashes(store)).toEqual(hashes);
  expect(await readHashes(store, messages)).toEqual(hashes);
  expect((await store.readByHash(messages.map(({ id }) => hashOf(id)))).map(hexOf)).toEqual(hashes);
  for (const scope of [SCOPE, { pubsubTopics: [], contentTopics: [CHAT] }]) {
    const ids = (await store.index(scope, 0n, TIMESTAMP_MAX)).ids(boundAt(0n), boundAt(TIMESTAMP_MAX));
    expect(Array.from({ length: ids.count }, (_, row) => hex(hashOf(ids.at(row))))).toEqual(hashes);
  }
}

async function keysOf(store: LevelMessageStore, range: typeof ALL_HASHES): Promise<string[]> {
  const found: string[] = [];
  for await (const keys of store.database.keys(range)) found.push(...keys.map(hex));
  return found;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
