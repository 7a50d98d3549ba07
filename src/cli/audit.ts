/**
 * `audit`: who of a fleet lacks which messages; through the running node where one has the data folder open. Once, or
 * at an interval until it is stopped.
 */
import { type Command, Option } from 'commander';
import { z } from 'zod';
import { auditJson, entryJson } from '../audit/audit-json.ts';
import { AuditHistory } from '../audit/history.ts';
import { isErrorCode, LacunaError, toLacunaError } from '../errors.ts';
import { type AuditRequest, auditPlanOf, auditRequest } from '../http/audit-request.ts';
import { definedOf } from '../http/sync-request.ts';
import { LIMITS } from '../limits.ts';
import { parsePeerAddress } from '../net/addresses.ts';
import { LacunaNode } from '../node.ts';
import { systemClock } from '../system.ts';
import { parseDurationMs } from '../time.ts';
import {
  type AuditReport,
  auditReport,
  csvOf,
  describeAudit,
  describeHistory,
  lineOf,
} from './audit-report.ts';
import {
  type CommonOptions,
  type Context,
  contextOf,
  type TopicOptions,
  type WindowOptions,
  withCommonOptions,
  withStore,
  withTopicOptions,
  withWindowOptions,
} from './context.ts';
import { exitCodeOf, print, printError, printJson } from './output.ts';
import { Progress } from './progress.ts';
import { runningNode } from './running-node.ts';

interface AuditOptions extends CommonOptions, WindowOptions, TopicOptions {
  readonly bucket?: string;
  readonly late?: string;
  readonly list?: boolean;
  readonly repair?: boolean;
  readonly push?: boolean;
  readonly watch?: boolean;
  readonly interval?: string;
  readonly history?: boolean;
  readonly csv?: boolean;
  readonly clusterId?: string;
}

const EXIT_FAILED = 1;
const EXIT_DIFFERENCES = 3;
const INTERVAL_MS = 600_000;

export function addAuditCommand(program: Command): void {
  const command = program
    .command('audit')
    .description('compare the stores of a fleet: who lacks how many messages, and which')
    .argument('[peer...]', 'multiaddrs ending in /p2p/<peer id>')
    .option('--bucket <duration>', 'count by so much time (default 1h)')
    .option('--late <duration>', 'what is missing and younger than this may be on its way (default 60s)')
    .option('--list', 'name every message that is missing anywhere')
    .option('--repair', 'fetch what this store lacks, and look again')
    .option('--push', 'with --repair: give the others what they lack')
    .option('--watch', 'again at every interval, remembered in the history, until it is stopped')
    .option('--interval <duration>', 'with --watch: the pause between two (default 10m)')
    .option('--history', 'show what earlier runs of --watch found')
    .addOption(new Option('--csv', 'rows for a spreadsheet').conflicts('json'))
    .option('--cluster-id <n>', 'refuse peers of another cluster');
  withTopicOptions(withWindowOptions(withCommonOptions(command)))
    .addHelpText(
      'after',
      `
What exists is what any node has. Lacunas are compared by digests, which takes a few bytes for each difference;
other store nodes are asked for the hashes of the window, 32 bytes for each message. A node that does not answer,
and the time that a node does not keep, are unknown, never zero.

Exit codes: 0 all agree; 3 a node lacks messages; 1 none is known to, and a node could not be looked at.

  lacuna audit --since 30d PEER PEER PEER              counts by the hour, where they differ
  lacuna audit --since 24h --list PEER PEER            every missing message: hash, time, topics, who has it
  lacuna audit --since 30d --repair --push PEER PEER   fill this store, then the others, and look again
  lacuna audit --since 24h --watch PEER PEER           every ten minutes, with metrics and history`,
    )
    .action(runAudit);
}

async function runAudit(peers: string[], options: AuditOptions): Promise<void> {
  const context = await contextOf(options);
  if (options.history === true) {
    const history = z.object({ rows: z.array(z.unknown()) }).parse(await historyOf(context));
    if (context.json) printJson(history);
    else print(describeHistory(history.rows));
    return;
  }
  if (peers.length === 0) throw new LacunaError('USAGE', 'name the nodes to compare with');
  for (const peer of peers) parsePeerAddress(peer);
  const request = requestOf(peers, options);
  const intervalMs = parseDurationMs(options.interval ?? '') ?? INTERVAL_MS;
  if (options.interval !== undefined && parseDurationMs(options.interval) === undefined) {
    throw new LacunaError('USAGE', `--interval ${options.interval}: a duration such as 10m is wanted`);
  }
  const stop = stopSignal();
  await withAuditor(context, stop, async (run) => {
    if (options.watch !== true) {
      const report = await run(request);
      tell(report, context, options);
      settle(report);
      return;
    }
    while (!stop.aborted) {
      await turn(() => run(request), context);
      await systemClock.sleep(Math.max(LIMITS.auditPauseMs, intervalMs), stop).catch(() => undefined);
    }
  });
}

/** One of a series: what fails now may succeed the next time. */
async function turn(run: () => Promise<AuditReport>, context: Context): Promise<void> {
  try {
    const report = await run();
    if (context.json) printJson(report);
    else print(lineOf(report));
    settle(report);
  } catch (error) {
    const { code } = toLacunaError(error);
    if (code === 'SESSION_ABORTED') {
      process.exitCode ??= EXIT_FAILED;
      return;
    }
    // What was asked for wrongly stays wrong.
    if (exitCodeOf(error) !== EXIT_FAILED) throw error;
    printError(error);
    process.exitCode = EXIT_FAILED;
  }
}

function tell(report: AuditReport, context: Context, options: AuditOptions): void {
  if (context.json) printJson(report);
  else if (options.csv === true) print(csvOf(report));
  else print(describeAudit(report));
  for (const { error, address } of report.nodes) {
    if (error === null) continue;
    const code = isErrorCode(error.code) ? error.code : 'INTERNAL';
    // Of a node that cannot be reached, the message names the address itself.
    const text = error.message.startsWith(`${address}: `) ? error.message : `${address}: ${error.message}`;
    printError(new LacunaError(code, text));
  }
}

/** The exit code of the last audit. */
function settle({ differs, agree }: AuditReport): void {
  process.exitCode = differs ? EXIT_DIFFERENCES : agree ? 0 : EXIT_FAILED;
}

function requestOf(peers: readonly string[], options: AuditOptions): AuditRequest {
  const { since, until, bucket, late, pubsubTopic, contentTopic, list, repair, push, watch } = options;
  return {
    peers: [...peers],
    ...definedOf({ since, until, bucket, late, list, repair, push, watch }),
    ...definedOf({ pubsubTopics: pubsubTopic, contentTopics: contentTopic }),
  };
}

type Run = (request: AuditRequest) => Promise<AuditReport>;

async function withAuditor(
  context: Context,
  stop: AbortSignal,
  work: (run: Run) => Promise<void>,
): Promise<void> {
  const running = await runningNode(context.config);
  if (running !== undefined) {
    const asked = async (request: AuditRequest): Promise<AuditReport> =>
      auditReport.parse(await running.post('/api/v1/audit', request));
    // The node ends an audit that nobody waits for. One that has told nothing yet has found no agreement either.
    const leave = (): never => {
      if (process.exitCode === undefined) printError(toLacunaError(stop.reason));
      process.exit(process.exitCode ?? EXIT_FAILED);
    };
    stop.addEventListener('abort', leave, { once: true });
    return await work(asked);
  }
  // It listens nowhere and begins nothing itself; peers answer on the connections that it makes.
  const alone = { listen: [], peer: [], bootstrap: [], mdns: false, learnPeers: false };
  const config = { ...context.config, ...alone };
  const node = await LacunaNode.open({ config, log: context.log, create: true });
  const progress = new Progress('nodes compared', context.json);
  try {
    await node.start();
    await work(async (request) => {
      const plan = auditPlanOf(auditRequest.parse(request), node.scope, Date.now());
      const onProgress = ({ done, nodes }: { done: number; nodes: number }): void =>
        progress.update(done, done / Math.max(1, nodes));
      try {
        return auditReport.parse(auditJson(await node.auditor.run({ ...plan, onProgress, stop })));
      } finally {
        progress.end();
      }
    });
  } finally {
    await node.stop();
  }
}

/** Of the running node, or of the data folder where none runs. */
async function historyOf(context: Context): Promise<unknown> {
  const node = await runningNode(context.config);
  if (node !== undefined) return await node.get('/api/v1/audits');
  return await withStore(context, false, async ({ records }) => ({
    rows: (await new AuditHistory(records, context.log).entries()).map(entryJson),
  }));
}

function stopSignal(): AbortSignal {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => stop.abort(new LacunaError('SESSION_ABORTED', 'the audit was stopped')));
  }
  return stop.signal;
}
