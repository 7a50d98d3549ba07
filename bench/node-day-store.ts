/**
 * The second half of case `day`: a real store on a real disk lives through a day of virtual time, keeping six hours of
 * what comes in. What is looked at is whether files, memory and disk are the same in the evening as at noon.
 */
import { readdir, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { openStore } from '../test/store/open-store.ts';
import { VirtualClock } from '../test/sync/virtual-clock.ts';
import { inWorkspace } from './cells.ts';
import type { NodeCase } from './node.ts';
import { nsOfMs } from './node-stores.ts';
import { messagesOf, storedMessage } from './workload.ts';

const STEP_MS = 30_000;
const HOUR_MS = 3_600_000;
const HOURS = 24;
/** Hours after which the store has all that it keeps, and has pruned for a while. */
const SETTLED = 12;
const KEPT = 'time:6h';
const PER_STEP = 60;
const PAYLOAD_BYTES = 1_024;

interface Look {
  readonly messages: number;
  readonly openFiles: number;
  readonly heapMb: number;
  readonly residentMb: number;
  readonly diskMb: number;
}

export async function benchDayOfStore({ report }: NodeCase): Promise<void> {
  await inWorkspace(async (space) => {
    const folder = space.path('day');
    const clock = new VirtualClock();
    const store = await openStore(folder, { clock, retention: [KEPT] });
    store.retention.start();
    const looks: Look[] = [];
    for (let atMs = STEP_MS; atMs <= HOURS * HOUR_MS; atMs += STEP_MS) {
      const span = { sinceNs: nsOfMs(clock.nowMs()), spanNs: nsOfMs(STEP_MS) };
      const workload = { ...span, messages: PER_STEP, payloadBytes: PAYLOAD_BYTES, seed: `day ${atMs}` };
      await store.append([...messagesOf(workload)].map(storedMessage));
      await clock.advance(STEP_MS);
      if (atMs % HOUR_MS !== 0) continue;
      // The pass of the hour is over when one that begins after it is.
      await store.retention.pass(false);
      looks.push(await look(folder, store.count));
    }
    await store.close();
    const noon = looks[SETTLED - 1]!;
    const evening = looks.at(-1)!;
    const add = (metric: string, value: number, unit: string, target?: string): void =>
      report.add('day', metric, value, unit, target);
    add('storeTaken', (HOURS * HOUR_MS * PER_STEP) / STEP_MS, 'messages');
    for (const [name, unit] of UNITS) {
      add(`store${name}Noon`, noon[keyOf(name)], unit);
      add(`store${name}Evening`, evening[keyOf(name)], unit, 'as at noon');
      add(`store${name}Most`, Math.max(...looks.map((each) => each[keyOf(name)])), unit);
    }
  });
}

const UNITS = [
  ['Messages', 'kept'],
  ['OpenFiles', ''],
  ['HeapMb', 'MB'],
  ['ResidentMb', 'MB'],
  ['DiskMb', 'MB'],
] as const;

function keyOf(name: (typeof UNITS)[number][0]): keyof Look {
  return `${name[0]!.toLowerCase()}${name.slice(1)}` as keyof Look;
}

async function look(folder: string, messages: number): Promise<Look> {
  globalThis.gc?.();
  const { heapUsed, rss } = process.memoryUsage();
  return {
    messages,
    openFiles: await openFilesOf(folder),
    heapMb: heapUsed / 1e6,
    residentMb: rss / 1e6,
    diskMb: (await bytesOf(folder)) / 1e6,
  };
}

/** Descriptors of this process that lead into the folder. */
async function openFilesOf(folder: string): Promise<number> {
  const names = await readdir('/proc/self/fd');
  const links = names.map((name) => readlink(`/proc/self/fd/${name}`).catch(() => ''));
  return (await Promise.all(links)).filter((target) => target.startsWith(folder)).length;
}

async function bytesOf(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    // LevelDB may have removed it meanwhile.
    bytes += (await stat(join(entry.parentPath, entry.name)).catch(() => undefined))?.size ?? 0;
  }
  return bytes;
}
