/**
 * Two real nodes over loopback in the `waku` dialect: one serves, the other lacks a tenth of the last hour.
 * Seconds are those of the session; memory is the peak of each process as the kernel counted it.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Report } from './report.ts';
import { linesOf, messagesOf, storedMessage, type Workload } from './workload.ts';

const PROGRAM = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const HOUR_NS = 3_600_000_000_000n;
const SAMPLES = 3;
const POLL_MS = 20;

interface Case {
  readonly name: string;
  readonly messages: number;
  readonly payloadBytes: number;
  /** One message in this many is missing at the node that asks. */
  readonly missingEvery: number;
}

const CASES: readonly Case[] = [
  { name: '54k-1k', messages: 54_000, payloadBytes: 1_024, missingEvery: 10 },
  { name: '100-150k', messages: 100, payloadBytes: 150 * 1_024, missingEvery: 1 },
];

export async function benchSyncWaku(json: boolean): Promise<void> {
  const report = new Report('sync-waku', json);
  for (const item of CASES) {
    const folder = await mkdtemp(join(tmpdir(), 'lacuna-bench-'));
    try {
      await benchCase(report, folder, item);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }
  report.print();
}

interface Outcome {
  readonly seconds: number;
  readonly received: number;
  readonly reconciliationBytes: number;
  readonly serverRssMb: number;
  readonly clientRssMb: number;
}

async function benchCase(report: Report, folder: string, item: Case): Promise<void> {
  const nowNs = BigInt(Date.now()) * 1_000_000n;
  const workload: Workload = {
    messages: item.messages,
    payloadBytes: item.payloadBytes,
    sinceNs: nowNs - HOUR_NS,
    spanNs: HOUR_NS,
    seed: item.name,
  };
  const messages = [...messagesOf(workload)].map(storedMessage);
  const kept = messages.filter((_, index) => index % item.missingEvery !== 0);
  await writeFile(join(folder, 'all.ndjson'), linesOf(messages));
  await writeFile(join(folder, 'part.ndjson'), linesOf(kept));
  await run(['import', '--data', join(folder, 'full'), join(folder, 'all.ndjson')]);
  const outcomes: Outcome[] = [];
  for (let sample = 0; sample < SAMPLES; sample++) {
    const data = join(folder, `part-${sample}`);
    await run(['import', '--data', data, join(folder, 'part.ndjson')]);
    outcomes.push(await session(join(folder, 'full'), data));
    await rm(data, { recursive: true });
  }
  const missing = messages.length - kept.length;
  for (const { received } of outcomes) {
    if (received !== missing) throw new Error(`${received} of ${missing} messages arrived`);
  }
  const median = (of: (outcome: Outcome) => number): number =>
    outcomes.map(of).sort((a, b) => a - b)[SAMPLES >> 1]!;
  const seconds = median((outcome) => outcome.seconds);
  report.add(item.name, 'seconds', seconds, 's', '< 10');
  report.add(item.name, 'messagesPerSecond', missing / seconds, '1/s');
  report.add(item.name, 'megabytesPerSecond', (missing * item.payloadBytes) / seconds / 1e6, 'MB/s');
  report.add(
    item.name,
    'reconciliationBytes',
    median((outcome) => outcome.reconciliationBytes),
    'B',
  );
  report.add(
    item.name,
    'peakRssServer',
    median((outcome) => outcome.serverRssMb),
    'MB',
    '< 300',
  );
  report.add(
    item.name,
    'peakRssClient',
    median((outcome) => outcome.clientRssMb),
    'MB',
    '< 300',
  );
}

async function session(full: string, part: string): Promise<Outcome> {
  const server = start([
    'start',
    '--data',
    full,
    '--listen',
    '/ip4/127.0.0.1/tcp/0',
    '--http',
    'off',
    '--json',
    '--log-level',
    'silent',
  ]);
  const serverRss = new PeakRss(server);
  try {
    const listening = JSON.parse(await firstLine(server)) as { addresses: string[] };
    const client = start([
      'sync',
      '--dialect',
      'waku',
      '--data',
      part,
      '--since',
      '2h',
      '--json',
      listening.addresses[0]!,
    ]);
    const clientRss = new PeakRss(client);
    const exited = once(client, 'exit');
    const result = JSON.parse(await firstLine(client)) as Record<string, number>;
    await exited;
    if (client.exitCode !== 0) throw new Error(`sync ended with code ${client.exitCode}`);
    return {
      seconds: result['durationMs']! / 1_000,
      received: result['received']!,
      reconciliationBytes: result['reconciliationBytesSent']! + result['reconciliationBytesReceived']!,
      serverRssMb: serverRss.megabytes(),
      clientRssMb: clientRss.megabytes(),
    };
  } finally {
    server.kill('SIGTERM');
    await once(server, 'exit');
  }
}

/** The peak resident memory of a process, from the kernel's own high-water mark where there is one. */
class PeakRss {
  readonly #path: string;
  #bytes = 0;
  readonly #timer: NodeJS.Timeout;

  constructor(child: ChildProcess) {
    this.#path = `/proc/${child.pid}/status`;
    this.#timer = setInterval(() => this.#sample(), POLL_MS);
    child.once('exit', () => clearInterval(this.#timer));
  }

  megabytes(): number {
    this.#sample();
    return this.#bytes / 1e6;
  }

  #sample(): void {
    if (!existsSync(this.#path)) return;
    const match = /VmHWM:\s+(\d+) kB/.exec(readFileSync(this.#path, 'utf8'));
    this.#bytes = Math.max(this.#bytes, Number(match?.[1] ?? 0) * 1_024);
  }
}

function start(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
}

async function firstLine(child: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: child.stdout! })) return line;
  throw new Error('the process said nothing');
}

async function run(args: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [PROGRAM, ...args, '--json'], {
    stdio: ['ignore', 'ignore', 'ignore'],
  });
  await once(child, 'exit');
  if (child.exitCode !== 0) throw new Error(`lacuna ${args[0]} ended with code ${child.exitCode}`);
}
