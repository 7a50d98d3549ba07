/**
 * What the sync bench has done in a process of its own beside the nodes: stores filled, and what the machine could do
 * at best measured, by LevelDB alone, by a stream alone, and by the parts of receiving one by one.
 */
import '../src/platform.ts';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Level } from 'level';
import { LIMITS } from '../src/limits.ts';
import type { StoredMessage } from '../src/ports.ts';
import type { Operation } from '../src/store/database.ts';
import { LevelMessageStore } from '../src/store/message-store.ts';
import { Examiner } from '../src/sync/ingest.ts';
import { silentLogger, systemClock, systemSha256 } from '../src/system.ts';
import { serveCommands } from './cells.ts';
import { StreamSink, sendStream } from './sync-stream.ts';
import { messagesOf, storedMessage, type Workload } from './workload.ts';

export interface FillOrder {
  readonly folder: string;
  readonly workload: Workload;
  /** Of all messages, only those whose place is a multiple of `every`, or only the others. */
  readonly part?: { readonly every: number; readonly multiples: boolean };
}

export interface Filled {
  readonly messages: number;
  /** As they are stored and sent. */
  readonly encodedBytes: number;
}

export interface WorkOrder {
  readonly folder: string;
  readonly workload: Workload;
}

export interface SendOrder {
  readonly folder: string;
  readonly address: string;
  readonly bytes: number;
}

const BATCH = 1_000;
const BATCH_BYTES = 4 * 1024 * 1024;
/** As many as a receiver hands to the store at a time, and how many such groups wait at most. */
const GROUP = 250;
const GROUPS_WAITING_MAX = 16;
const QUIET_MS = 1_000;

type Put = Operation & { type: 'put' };

let sink: StreamSink | undefined;

const commands = {
  async fill({ folder, workload, part }: FillOrder): Promise<Filled> {
    const store = await openStore(folder);
    const filled = { messages: 0, encodedBytes: 0 };
    let batch: StoredMessage[] = [];
    let batchBytes = 0;
    let writing: Promise<unknown> = Promise.resolve();
    let place = -1;
    for (const message of messagesOf(workload)) {
      place += 1;
      if (part !== undefined && (place % part.every === 0) !== part.multiples) continue;
      const made = storedMessage(message);
      batch.push(made);
      batchBytes += made.encoded.length;
      filled.messages += 1;
      filled.encodedBytes += made.encoded.length;
      if (batch.length < BATCH && batchBytes < BATCH_BYTES) continue;
      // The next ones are made while these are written.
      await writing;
      writing = store.append(batch);
      batch = [];
      batchBytes = 0;
    }
    await writing;
    await store.append(batch);
    await settled(join(folder, 'store'));
    await store.close();
    return filled;
  },

  /** LevelDB alone, with the keys and values that the store writes; gives seconds. */
  async rawStore({ folder, workload }: WorkOrder): Promise<number> {
    const store = await openStore(join(folder, 'keys'));
    const operations = [...messagesOf(workload)].map((message) => putsOf(store, storedMessage(message)));
    await store.close();
    const raw = new Level<Uint8Array, Uint8Array>(join(folder, 'raw'), {
      keyEncoding: 'view',
      valueEncoding: 'view',
    });
    await raw.open();
    const startMs = performance.now();
    for (let at = 0; at < operations.length; at += BATCH) {
      const batch = raw.batch();
      for (const { key, value } of operations.slice(at, at + BATCH).flat()) batch.put(key, value);
      await batch.write({ sync: true });
    }
    const seconds = (performance.now() - startMs) / 1e3;
    await raw.close();
    return seconds;
  },

  /** What a receiver does with each message, one thing at a time. */
  async parts({ folder, workload }: WorkOrder): Promise<{ examineSeconds: number; appendSeconds: number }> {
    const frames = [...messagesOf(workload)].map((message) => storedMessage(message).encoded);
    const examiner = new Examiner(systemClock, systemSha256);
    const examinedMs = performance.now();
    const admitted = frames.map((frame) => admittedOf(examiner, frame));
    const examineSeconds = (performance.now() - examinedMs) / 1e3;
    const store = await openStore(folder);
    const appendedMs = performance.now();
    await appendAll(store, admitted);
    const appendSeconds = (performance.now() - appendedMs) / 1e3;
    if (store.count !== frames.length) throw new Error(`${store.count} of ${frames.length} were stored`);
    await store.close();
    return { examineSeconds, appendSeconds };
  },

  /** Listens for one stream of so many bytes. */
  async listen({ folder, bytes }: { readonly folder: string; readonly bytes: number }): Promise<string> {
    sink = await StreamSink.open(folder, bytes);
    return sink.address;
  },

  /** Seconds that the stream took. */
  async received(_: undefined): Promise<number> {
    return await sink!.finished();
  },

  async send({ folder, address, bytes }: SendOrder): Promise<void> {
    await sendStream(folder, address, bytes);
  },
};

export type WorkCommands = typeof commands;

serveCommands(commands);

function openStore(directory: string): Promise<LevelMessageStore> {
  return LevelMessageStore.open({
    directory,
    create: true,
    clock: systemClock,
    log: silentLogger,
    sha256: systemSha256,
  });
}

/** Waits until LevelDB puts no more tables together: what is opened later must not go on with it while measured. */
async function settled(location: string): Promise<void> {
  let before: string | undefined;
  for (;;) {
    const now = (await readdir(location)).sort().join();
    if (now === before) return;
    before = now;
    await delay(QUIET_MS);
  }
}

function putsOf(store: LevelMessageStore, message: StoredMessage): Put[] {
  return store.operationsFor(message).filter((operation): operation is Put => operation.type === 'put');
}

function admittedOf(examiner: Examiner, frame: Uint8Array): StoredMessage {
  const admission = examiner.examineFrame(frame, LIMITS.messageFutureMs);
  if ('refused' in admission) throw new Error(`a message was refused: ${admission.refused}`);
  return admission.stored;
}

/** Without waiting for each group, as far as the queue of the writer goes. */
async function appendAll(store: LevelMessageStore, messages: readonly StoredMessage[]): Promise<void> {
  const waiting: Promise<unknown>[] = [];
  for (let at = 0; at < messages.length; at += GROUP) {
    waiting.push(store.append(messages.slice(at, at + GROUP)));
    if (waiting.length >= GROUPS_WAITING_MAX) await waiting.shift();
  }
  await Promise.all(waiting);
}
