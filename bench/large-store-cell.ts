/**
 * One store of the large-store bench in its own process: `generate FOLDER MESSAGES SEED` puts messages into it;
 * `serve FOLDER` opens it, says what that took, and answers the payloads that its parent passes on.
 */
import '../src/platform.ts';
import { readFileSync } from 'node:fs';
import { KeyedSums } from '../src/core/keyed-sums.ts';
import { NativeReconciler } from '../src/core/native/reconciler.ts';
import { EVERYTHING } from '../src/core/scope.ts';
import { boundAt, nextMoment, TIMESTAMP_MAX } from '../src/core/sync-id.ts';
import type { StoredMessage } from '../src/ports.ts';
import { LevelMessageStore } from '../src/store/message-store.ts';
import { silentLogger, systemClock, systemSha256 } from '../src/system.ts';
import { decodeNativePayload, encodeNativePayload } from '../src/wire/native-payload.ts';
import type { StoreReport } from './large-store.ts';
import { messagesOf, storedMessage } from './workload.ts';

const BATCH = 1_000;
const PAYLOAD_BYTES = 50;
const DAY_NS = 86_400_000_000_000n;

const [verb, folder = '', messages = '', seed = ''] = process.argv.slice(2);
if (verb === 'generate') await generate(Number(messages));
else await serve();

function openStore(): Promise<LevelMessageStore> {
  return LevelMessageStore.open({
    directory: folder,
    create: true,
    clock: systemClock,
    log: silentLogger,
    sha256: systemSha256,
  });
}

/** Thirty days of messages, in order of time. */
async function generate(count: number): Promise<void> {
  const store = await openStore();
  const workload = {
    messages: count,
    payloadBytes: PAYLOAD_BYTES,
    sinceNs: 1_700_000_000_000_000_000n,
    spanNs: 30n * DAY_NS,
    seed,
  };
  let batch: StoredMessage[] = [];
  let writing: Promise<unknown> = Promise.resolve();
  for (const message of messagesOf(workload)) {
    batch.push(storedMessage(message));
    if (batch.length < BATCH) continue;
    // The next thousand are made while these are written.
    await writing;
    writing = store.append(batch);
    batch = [];
  }
  await writing;
  await store.append(batch);
  await store.close();
  process.disconnect();
}

async function serve(): Promise<void> {
  const start = performance.now();
  const store = await openStore();
  const index = await store.index(EVERYTHING, 0n, TIMESTAMP_MAX);
  const openMs = performance.now() - start;
  const keyed = new KeyedSums(Uint32Array.of(1, 2, 3, 4));
  const upper = nextMoment(boundAt(TIMESTAMP_MAX));
  const reconciler = new NativeReconciler({ index, lower: boundAt(0n), upper, keyed });
  let cpuMs = 0;
  let found = 0;
  const report = (): StoreReport => ({
    openMs,
    rssMb: process.memoryUsage.rss() / 1e6,
    peakMb: peakMb(),
    cpuMs,
    found,
    count: store.count,
  });
  process.on('message', async (message: Uint8Array | 'open' | 'end') => {
    if (message === 'end') {
      process.send!(report());
      await store.close();
      process.disconnect();
      return;
    }
    const began = performance.now();
    const step =
      message === 'open'
        ? { reply: reconciler.open(), have: undefined }
        : reconciler.step(decodeNativePayload(message));
    const reply = step.reply === undefined ? null : encodeNativePayload(step.reply);
    cpuMs += performance.now() - began;
    found += step.have?.count ?? 0;
    process.send!(reply);
  });
  process.send!(report());
}

/** The kernel's own high-water mark, where there is one. */
function peakMb(): number {
  try {
    const match = /VmHWM:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'));
    return (Number(match?.[1]) * 1_024) / 1e6;
  } catch {
    return process.memoryUsage.rss() / 1e6;
  }
}
