/** `status`: of the running node, or of the data folder where none runs; with --watch, again every second. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Command } from 'commander';
import { z } from 'zod';
import { loadIdentity, peerIdOf } from '../identity.ts';
import { VERSION } from '../version.ts';
import { type CommonOptions, type Context, contextOf, withCommonOptions, withStore } from './context.ts';
import { loadLedger } from './gaps.ts';
import { bytes, count, duration, print, printJson } from './output.ts';
import { runningNode } from './running-node.ts';

interface StatusOptions extends CommonOptions {
  readonly watch?: boolean;
}

const WATCH_MS = 1_000;
const CLEAR = '\x1b[H\x1b[J';

const runningStatus = z.looseObject({
  running: z.literal(true),
  http: z.string(),
  version: z.string(),
  peerId: z.string(),
  addresses: z.array(z.string()),
  state: z.string(),
  uptimeSeconds: z.number(),
  messages: z.number(),
  bytes: z.number(),
  predictedBytes: z.number(),
  diskFreeBytes: z.number().nullable(),
  writable: z.boolean(),
  fault: z.object({ code: z.string(), message: z.string() }).nullable(),
  quarantined: z.number(),
  lost: z.number(),
  gaps: z.number(),
  lastVerifiedAt: z.string().nullable(),
  peersKnown: z.number(),
  connections: z.number(),
  sessionsRunning: z.number(),
  eventLoopDelayMs: z.number(),
});
type RunningStatus = z.infer<typeof runningStatus>;

interface FolderStatus {
  readonly running: false;
  readonly version?: string;
  readonly peerId?: string;
  readonly messages?: number;
  readonly bytes?: number;
  readonly gaps?: number;
}

type Status = RunningStatus | FolderStatus;

export function addStatusCommand(program: Command): void {
  withCommonOptions(
    program
      .command('status')
      .description('show the running node, or the data folder where none runs')
      .option('--watch', 'again every second, until Ctrl-C'),
  ).action(runStatus);
}

async function runStatus(options: StatusOptions): Promise<void> {
  const context = await contextOf(options);
  if (options.watch === true) await watch(context);
  else show(context, (await statusOfNode(context)) ?? (await statusOfFolder(context)));
}

/** Asks the node only: opening the store of a folder again and again would keep a node from starting on it. */
async function watch(context: Context): Promise<void> {
  const over = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => over.abort());
  const isTerminal = process.stdout.isTTY && !context.json;
  while (!over.signal.aborted) {
    const status = (await statusOfNode(context)) ?? { running: false };
    if (isTerminal) process.stdout.write(CLEAR);
    show(context, status);
    await delay(WATCH_MS, undefined, { signal: over.signal }).catch(() => undefined);
  }
}

async function statusOfNode({ config }: Context): Promise<RunningStatus | undefined> {
  const node = await runningNode(config);
  if (node === undefined) return undefined;
  const answer = z.record(z.string(), z.unknown()).parse(await node.get('/api/v1/status'));
  return runningStatus.parse({ running: true, http: node.url, ...answer });
}

async function statusOfFolder(context: Context): Promise<FolderStatus> {
  const peerId = peerIdOf(await loadIdentity(context.config.data));
  return await withStore(context, false, async (store) => ({
    running: false,
    version: VERSION,
    peerId,
    messages: store.count,
    bytes: store.retention.prediction().bytesNow,
    gaps: (await loadLedger(store, context)).open().length,
  }));
}

function show(context: Context, status: Status): void {
  if (context.json) printJson(status);
  else print((status.running ? rowsOf(status) : folderRows(status)).map(row).join('\n'));
}

type Row = readonly [name: string, value: string];

function row([name, value]: Row): string {
  return `${name.padEnd(12)}${value}`;
}

function folderRows({ version, peerId, messages, bytes: size = 0, gaps }: FolderStatus): Row[] {
  const rows: Row[] = [['node', 'not running']];
  if (version !== undefined) rows.push(['version', version]);
  if (peerId !== undefined) rows.push(['peer id', peerId]);
  if (messages !== undefined) rows.push(['store', `${count(messages)} messages, ${bytes(size)}`]);
  if (gaps !== undefined) rows.push(['gaps', gapsText(gaps)]);
  return rows;
}

function gapsText(gaps: number): string {
  return gaps === 0 ? 'none' : `${count(gaps)} open: lacuna gaps`;
}

function rowsOf(status: RunningStatus): Row[] {
  const { fault, lastVerifiedAt, quarantined, lost } = status;
  const free = status.diskFreeBytes === null ? '' : `; ${bytes(status.diskFreeBytes)} are free`;
  const verified =
    lastVerifiedAt === null
      ? 'never'
      : `${duration(Math.max(0, Date.now() - Date.parse(lastVerifiedAt)))} ago`;
  const rows: Row[] = [
    ['node', `${status.state} for ${duration(status.uptimeSeconds * 1_000)}, version ${status.version}`],
    ['peer id', status.peerId],
    ...status.addresses.map((address): Row => ['address', address]),
    ['http', status.http],
    ['store', `${count(status.messages)} messages, ${bytes(status.bytes)}`],
    ['in a month', `${bytes(status.predictedBytes)}, as it grows now${free}`],
    [
      'writes',
      fault === null ? (status.writable ? 'taken' : 'refused') : `refused: ${fault.code}: ${fault.message}`,
    ],
    ['gaps', gapsText(status.gaps)],
    ['verified', verified],
    ['peers', `${count(status.connections)} connected, ${count(status.peersKnown)} known`],
    ['sessions', `${count(status.sessionsRunning)} running`],
    ['event loop', `${status.eventLoopDelayMs} ms late at most, 99 times of 100`],
  ];
  if (quarantined > 0) rows.push(['damaged', `${count(quarantined)} set aside since the start`]);
  if (lost > 0) rows.push(['lost', `${count(lost)} messages: sync with a peer to get them back`]);
  return rows;
}
