/**
 * The store against raw `level` in the same run: import, export and look-ups by hash, as shares of what LevelDB
 * alone reaches with the same keys and values.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Level } from 'level';
import { exported, writeMessage } from '../src/cli/export.ts';
import { importLines } from '../src/cli/import.ts';
import { EVERYTHING } from '../src/core/scope.ts';
import { hashOf, TIMESTAMP_MAX } from '../src/core/sync-id.ts';
import type { StoredMessage } from '../src/ports.ts';
import type { Operation } from '../src/store/database.ts';
import { ALL_MESSAGES, hashKey, messageKey } from '../src/store/keys.ts';
import { LevelMessageStore } from '../src/store/message-store.ts';
import { Examiner } from '../src/sync/ingest.ts';
import { silentLogger, systemClock, systemSha256 } from '../src/system.ts';
import { medianSeconds } from './measure.ts';
import { Report } from './report.ts';
import { linesOf, messagesOf, storedMessage } from './workload.ts';

const MESSAGES = 40_000;
const PAYLOAD_BYTES = 1_024;
const SAMPLES = 5;
const BATCH = 1_000;
const LOOKUP = 100;
const LOOKUPS = 100;
const READ_CHUNK_BYTES = 256 * 1024;

type Raw = Level<Uint8Array, Uint8Array>;
type Put = Operation & { type: 'put' };

export async function benchStore(json: boolean): Promise<void> {
  const report = new Report('store', json);
  const folder = await mkdtemp(join(tmpdir(), 'lacuna-bench-'));
  try {
    const workload = {
      messages: MESSAGES,
      payloadBytes: PAYLOAD_BYTES,
      sinceNs: 1_700_000_000_000_000_000n,
      spanNs: 3_600_000_000_000n,
      seed: 'store',
    };
    const messages = [...messagesOf(workload)].map(storedMessage);
    await benchImport(report, folder, messages);
    await benchReads(report, folder, messages);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  report.print();
}

async function benchImport(
  report: Report,
  folder: string,
  messages: readonly StoredMessage[],
): Promise<void> {
  const file = linesOf(messages);
  const store = await openStore(join(folder, 'keys'));
  const operations = messages.map((message) => store.operationsFor(message) as Put[]);
  await store.close();
  // Turn about, so that both meet the same machine.
  const raw: number[] = [];
  const ours: number[] = [];
  for (let sample = 0; sample < SAMPLES; sample++) {
    raw.push(
      await medianSeconds('raw import', 1, () => rawImport(join(folder, `raw-${sample}`), operations)),
    );
    ours.push(await medianSeconds('import', 1, () => import_(join(folder, `ours-${sample}`), file)));
  }
  const rawRate = MESSAGES / middle(raw);
  const rate = MESSAGES / middle(ours);
  report.add('import-1k', 'messagesPerSecond', rate, '1/s');
  report.add('import-1k', 'rawMessagesPerSecond', rawRate, '1/s');
  report.add('import-1k', 'ratioToRaw', rate / rawRate, '', '≥ 0.6');
}

async function rawImport(location: string, operations: readonly Put[][]): Promise<void> {
  const raw = await openRaw(location);
  for (let at = 0; at < operations.length; at += BATCH) {
    // The fastest way that level has; an array of operations reaches a third of it.
    const batch = raw.batch();
    for (const { key, value } of operations.slice(at, at + BATCH).flat()) batch.put(key, value);
    await batch.write({ sync: true });
  }
  await raw.close();
}

async function import_(directory: string, file: Buffer): Promise<void> {
  const store = await openStore(directory);
  const examiner = new Examiner(systemClock, systemSha256);
  const counts = { read: 0, stored: 0, duplicate: 0, refused: 0, refusals: {} };
  const append = (batch: readonly StoredMessage[]) => store.append(batch);
  await importLines(chunks(file), examiner, append, counts, () => undefined);
  await store.close();
  if (counts.stored !== MESSAGES) throw new Error(`${counts.stored} of ${MESSAGES} were stored`);
}

async function* chunks(file: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < file.length; at += READ_CHUNK_BYTES) yield file.subarray(at, at + READ_CHUNK_BYTES);
}

async function benchReads(report: Report, folder: string, messages: readonly StoredMessage[]): Promise<void> {
  const directory = join(folder, 'reads');
  const store = await openStore(directory);
  for (let at = 0; at < messages.length; at += BATCH) await store.append(messages.slice(at, at + BATCH));
  await store.close();
  const exported: number[] = [];
  const iterated: number[] = [];
  const iteratedSingly: number[] = [];
  const found: number[] = [];
  const gotten: number[] = [];
  const gottenTwice: number[] = [];
  const picks = Array.from({ length: LOOKUPS }, (_, turn) => pick(messages, turn));
  for (let sample = 0; sample < SAMPLES; sample++) {
    // LevelDB takes one handle at a time: each side opens its own, outside the measured part.
    const raw = await openRaw(join(directory, 'store'));
    iterated.push(await medianSeconds('raw iterator', 1, () => iterate(raw)));
    iteratedSingly.push(await medianSeconds('raw iterator, one by one', 1, () => iterateSingly(raw)));
    gotten.push(await medianSeconds('raw getMany', 1, () => getByKey(raw, picks)));
    gottenTwice.push(await medianSeconds('raw getMany, index and message', 1, () => getByHash(raw, picks)));
    await raw.close();
    const ours = await openStore(directory);
    exported.push(await medianSeconds('export', 1, () => exportAll(ours)));
    found.push(await medianSeconds('look-up', 1, () => lookUp(ours, picks)));
    await ours.close();
  }
  report.add('export-1k', 'messagesPerSecond', MESSAGES / middle(exported), '1/s');
  report.add('export-1k', 'rawMessagesPerSecond', MESSAGES / middle(iterated), '1/s');
  report.add('export-1k', 'ratioToRaw', middle(iterated) / middle(exported), '', '≥ 0.5');
  report.add('export-1k', 'ratioToRawForAwait', middle(iteratedSingly) / middle(exported), '');
  const lookups = LOOKUP * LOOKUPS;
  report.add('lookup-100', 'messagesPerSecond', lookups / middle(found), '1/s');
  report.add('lookup-100', 'rawMessagesPerSecond', lookups / middle(gotten), '1/s');
  report.add('lookup-100', 'ratioToRaw', middle(gotten) / middle(found), '', '≥ 0.6');
  report.add('lookup-100', 'ratioToRawTwoSteps', middle(gottenTwice) / middle(found), '');
}

/** The fastest way: a thousand entries a call. */
async function iterate(raw: Raw): Promise<void> {
  let seen = 0;
  const iterator = raw.iterator({ ...ALL_MESSAGES, highWaterMarkBytes: 1024 * 1024 });
  for (let chunk = await iterator.nextv(BATCH); chunk.length > 0; chunk = await iterator.nextv(BATCH)) {
    seen += chunk.length;
  }
  await iterator.close();
  if (seen !== MESSAGES) throw new Error(`${seen} of ${MESSAGES} were seen`);
}

/** As the documentation of level shows it: `for await` over entries. */
async function iterateSingly(raw: Raw): Promise<void> {
  let seen = 0;
  for await (const _entry of raw.iterator({ ...ALL_MESSAGES, highWaterMarkBytes: 1024 * 1024 })) seen += 1;
  if (seen !== MESSAGES) throw new Error(`${seen} of ${MESSAGES} were seen`);
}

async function exportAll(store: LevelMessageStore): Promise<void> {
  let bytes = 0;
  for await (const lines of exported(store, 0n, TIMESTAMP_MAX, EVERYTHING, writeMessage)) {
    bytes += lines.length;
  }
  if (bytes < MESSAGES * PAYLOAD_BYTES) throw new Error('the export is too short');
}

async function getByKey(raw: Raw, picks: readonly StoredMessage[][]): Promise<void> {
  for (const batch of picks) await raw.getMany(batch.map(({ id }) => messageKey(id)));
}

async function getByHash(raw: Raw, picks: readonly StoredMessage[][]): Promise<void> {
  for (const batch of picks) {
    await raw.getMany(batch.map(({ id }) => hashKey(id)));
    await raw.getMany(batch.map(({ id }) => messageKey(id)));
  }
}

async function lookUp(store: LevelMessageStore, picks: readonly StoredMessage[][]): Promise<void> {
  for (const batch of picks) {
    const found = await store.readByHash(batch.map(({ id }) => hashOf(id)));
    if (found.length !== LOOKUP) throw new Error(`${found.length} of ${LOOKUP} were found`);
  }
}

/** Spread over the whole store, different for each turn. */
function pick(messages: readonly StoredMessage[], turn: number): StoredMessage[] {
  return Array.from(
    { length: LOOKUP },
    (_, index) => messages[(index * 7_919 + turn * 104_729) % messages.length]!,
  );
}

async function openStore(directory: string): Promise<LevelMessageStore> {
  return await LevelMessageStore.open({
    directory,
    create: true,
    clock: systemClock,
    log: silentLogger,
    sha256: systemSha256,
  });
}

async function openRaw(location: string): Promise<Raw> {
  const raw: Raw = new Level(location, { keyEncoding: 'view', valueEncoding: 'view' });
  await raw.open();
  return raw;
}

function middle(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}
