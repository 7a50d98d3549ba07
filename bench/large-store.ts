/**
 * Two stores of millions of small messages that differ in a hundred of them: how soon one is open with its index
 * ready, and what it holds in memory then and during a session with the other, each in a process of its own.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { CoreFigure } from './core.ts';

const PROGRAM = fileURLToPath(new URL('./large-store-cell.ts', import.meta.url));
const OPENINGS = 3;
const MESSAGES_MAX = 40;

export const LARGE_STORES: Readonly<Record<string, number>> = {
  'open-100k': 100_000,
  'open-1m': 1_000_000,
  'open-10m': 10_000_000,
};

/** What a store's process says when it is open, and when its session is over. */
export interface StoreReport {
  readonly openMs: number;
  readonly rssMb: number;
  readonly peakMb: number;
  readonly cpuMs: number;
  readonly found: number;
  readonly count: number;
}

export async function benchLargeStore(name: string): Promise<CoreFigure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'lacuna-bench-'));
  try {
    const [a, b] = [join(folder, 'a'), join(folder, 'b')];
    await generate(a, String(LARGE_STORES[name]), 'shared');
    await cp(a, b, { recursive: true });
    await generate(a, '50', 'only a');
    await generate(b, '50', 'only b');
    return await measured(a, b);
  } finally {
    // After a failure a store's process may still be writing.
    await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  }
}

async function generate(store: string, messages: string, seed: string): Promise<void> {
  const child = fork(PROGRAM, ['generate', store, messages, seed], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (code !== 0) throw new Error(`making the store ended with code ${code}`);
}

async function measured(a: string, b: string): Promise<CoreFigure[]> {
  const openMs: number[] = [];
  for (let opening = 0; opening < OPENINGS; opening++) openMs.push((await openOnly(a)).openMs);
  const [here, there] = [new StoreProcess(a), new StoreProcess(b)];
  const opened = await here.opened();
  await there.opened();
  let bytes = 0;
  let messages = 0;
  let message = await here.ask('open');
  for (
    let asked = there;
    message !== null && messages < MESSAGES_MAX;
    asked = asked === there ? here : there
  ) {
    bytes += message.length;
    messages += 1;
    message = await asked.ask(message);
  }
  const [ours, theirs] = [await here.end(), await there.end()];
  openMs.sort((x, y) => x - y);
  return [
    { metric: 'messagesInStore', value: opened.count, unit: 'count' },
    { metric: 'openMilliseconds', value: openMs[OPENINGS >> 1]!, unit: 'ms', target: '<= 1000 at 10 M' },
    { metric: 'rssAfterOpen', value: opened.rssMb, unit: 'MB', target: '<= 250' },
    { metric: 'rssPeakInSession', value: Math.max(ours.peakMb, theirs.peakMb), unit: 'MB', target: '<= 250' },
    { metric: 'sessionBytes', value: bytes, unit: 'B' },
    { metric: 'sessionMessages', value: messages, unit: 'count' },
    { metric: 'sessionCpuInitiator', value: ours.cpuMs, unit: 'ms' },
    { metric: 'sessionCpuResponder', value: theirs.cpuMs, unit: 'ms' },
    { metric: 'sessionMissed', value: 100 - ours.found - theirs.found, unit: 'count' },
  ];
}

async function openOnly(store: string): Promise<StoreReport> {
  const process = new StoreProcess(store);
  await process.opened();
  return process.end();
}

class StoreProcess {
  readonly #child: ChildProcess;

  constructor(store: string) {
    this.#child = fork(PROGRAM, ['serve', store], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      serialization: 'advanced',
    });
  }

  opened(): Promise<StoreReport> {
    return this.#next() as Promise<StoreReport>;
  }

  async ask(message: Uint8Array | 'open'): Promise<Uint8Array | null> {
    this.#child.send(message);
    return (await this.#next()) as Uint8Array | null;
  }

  async end(): Promise<StoreReport> {
    const exited = once(this.#child, 'exit');
    this.#child.send('end');
    const report = (await this.#next()) as StoreReport;
    await exited;
    return report;
  }

  async #next(): Promise<unknown> {
    const died = once(this.#child, 'exit').then(([code]) => {
      throw new Error(`a store's process ended with code ${code}`);
    });
    died.catch(() => undefined);
    const [message] = (await Promise.race([once(this.#child, 'message'), died])) as [unknown];
    return message;
  }
}
