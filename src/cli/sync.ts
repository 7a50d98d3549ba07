/** `sync`: one session with each peer named; through the running node where one has the data folder open. */
import { type Command, Option } from 'commander';
import { z } from 'zod';
import { isErrorCode, LacunaError, toLacunaError } from '../errors.ts';
import { parsePeerAddress } from '../net/host.ts';
import { LacunaNode } from '../node.ts';
import type { Direction } from '../sync/session.ts';
import { sessionJson } from '../sync/session-json.ts';
import { parseTimeNs } from '../time.ts';
import {
  type CommonOptions,
  type Context,
  contextOf,
  type TopicOptions,
  type WindowOptions,
  windowOf,
  withCommonOptions,
  withTopicOptions,
  withWindowOptions,
} from './context.ts';
import { bytes, count, print, printError, printJson } from './output.ts';
import { Progress } from './progress.ts';
import { runningNode } from './running-node.ts';

interface SyncCommandOptions extends CommonOptions, WindowOptions, TopicOptions {
  readonly direction?: Direction;
  readonly dialect?: 'auto' | 'native' | 'waku' | 'query';
  readonly dryRun?: boolean;
  readonly clusterId?: string;
}

const EXIT_FAILED = 1;
const EXIT_DIFFERENCES = 3;

export function addSyncCommand(program: Command): void {
  const command = program
    .command('sync')
    .description('compare with peers and exchange what either side lacks')
    .argument('<peer...>', 'multiaddrs ending in /p2p/<peer id>')
    .addOption(
      new Option('--direction <direction>', 'which way messages go').choices(['pull', 'push', 'both']),
    )
    .addOption(
      new Option('--dialect <dialect>', 'protocol to speak').choices(['auto', 'native', 'waku', 'query']),
    )
    .option('--dry-run', 'only compare; exit 3 when the stores differ')
    .option('--cluster-id <n>', 'refuse peers of another cluster');
  withTopicOptions(withWindowOptions(withCommonOptions(command)))
    .addHelpText(
      'after',
      `
Without --since and --until, two Lacunas compare all they have; with a stock nwaku, which keeps an index of
its last hour, that hour is compared.

  lacuna sync /ip4/10.0.0.7/tcp/60000/p2p/12D3KooW…          make both stores equal
  lacuna sync --since 30d --direction pull PEER              fetch what is missing of the last 30 days
  lacuna sync --dry-run --json PEER                          say how many messages differ, move none`,
    )
    .action(runSync);
}

async function runSync(peers: string[], options: SyncCommandOptions): Promise<void> {
  for (const peer of peers) parsePeerAddress(peer);
  if (options.dialect === 'native' || options.dialect === 'query') {
    throw new LacunaError('USAGE', `the dialect ${options.dialect} is not spoken by this version`);
  }
  const { sinceNs, untilNs } = windowOf(options);
  if (sinceNs >= untilNs)
    throw new LacunaError('USAGE', 'the window is empty: --since is not before --until');
  const context = await contextOf(options);
  const sessions = await openSessions(context, options);
  let failed = false;
  let differ = false;
  try {
    for (const peer of peers) {
      try {
        const session = sessionSchema.parse(await sessions.run(peer));
        if (context.json) printJson(session);
        else print(describe(session, options.dryRun ?? false));
        differ ||= session.have + session.need > 0;
        failed ||= session.missing > 0 && !(options.dryRun ?? false) && options.direction !== 'push';
      } catch (error) {
        failed = true;
        const { code, message } = toLacunaError(error);
        if (context.json) printJson({ peer, error: { code, message } });
        printError(error);
      }
    }
  } finally {
    await sessions.close();
  }
  if (failed) process.exitCode = EXIT_FAILED;
  else if (options.dryRun === true && differ) process.exitCode = EXIT_DIFFERENCES;
}

interface Sessions {
  run(peer: string): Promise<unknown>;
  close(): Promise<void>;
}

async function openSessions(context: Context, options: SyncCommandOptions): Promise<Sessions> {
  const scope =
    options.pubsubTopic === undefined && options.contentTopic === undefined
      ? undefined
      : { pubsubTopics: options.pubsubTopic ?? [], contentTopics: options.contentTopic ?? [] };
  const running = await runningNode(context.config.data);
  if (running !== undefined) {
    const { since, until, direction, dryRun } = options;
    const request = { since, until, direction, dryRun, ...scope };
    return {
      run: async (peer) => oneSession(await running.post('/api/v1/sync', { ...request, peers: [peer] })),
      close: async () => undefined,
    };
  }
  const now = Date.now();
  // A one-off session listens nowhere; the peer answers on the connection that we make.
  const config = { ...context.config, listen: [], peer: [] };
  const node = await LacunaNode.open({ config, log: context.log, create: true });
  await node.start();
  const progress = new Progress('moving messages', context.json);
  return {
    run: async (peer) =>
      sessionJson(
        await node.sync(peer, {
          sinceNs: options.since === undefined ? undefined : parseTimeNs(options.since, now),
          untilNs: options.until === undefined ? undefined : parseTimeNs(options.until, now),
          ...(scope === undefined ? {} : { scope }),
          direction: options.direction ?? 'both',
          dryRun: options.dryRun ?? false,
          onProgress: ({ need, received, have, sent }) =>
            progress.update(received + sent, (received + sent) / Math.max(1, need + have)),
        }),
      ),
    close: async () => {
      progress.end();
      await node.stop();
    },
  };
}

const sessionSchema = z.looseObject({
  peer: z.string(),
  since: z.string(),
  until: z.string(),
  have: z.number(),
  need: z.number(),
  received: z.number(),
  sent: z.number(),
  refused: z.number(),
  missing: z.number(),
  verified: z.boolean(),
  rounds: z.number(),
  bytesSent: z.number(),
  bytesReceived: z.number(),
  durationMs: z.number(),
});
type SessionJson = z.infer<typeof sessionSchema>;

const remoteAnswer = z.object({
  sessions: z.array(
    z.union([z.object({ error: z.object({ code: z.string(), message: z.string() }) }), sessionSchema]),
  ),
});

function oneSession(answer: unknown): unknown {
  const [session] = remoteAnswer.parse(answer).sessions;
  if (session !== undefined && 'error' in session) {
    const { code, message } = session.error as { code: string; message: string };
    throw new LacunaError(isErrorCode(code) ? code : 'INTERNAL', message);
  }
  return session;
}

function describe(session: SessionJson, dryRun: boolean): string {
  const found = `${count(session.need)} missing here, ${count(session.have)} missing there`;
  const moved = dryRun
    ? 'nothing moved (dry run)'
    : `${count(session.received)} received, ${count(session.sent)} sent`;
  const verdict = session.verified
    ? 'both stores hold the same messages'
    : session.missing > 0
      ? `${count(session.missing)} messages are still missing`
      : 'not verified equal';
  return [
    `peer     ${session.peer}`,
    `window   ${session.since} to ${session.until}`,
    `found    ${found}`,
    `moved    ${moved}${session.refused > 0 ? `, ${count(session.refused)} refused` : ''}`,
    `result   ${verdict}`,
    `cost     ${bytes(session.bytesSent + session.bytesReceived)} in ${session.rounds} payloads, ${session.durationMs} ms`,
  ].join('\n');
}
