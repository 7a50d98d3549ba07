/** `sync`: one session with each peer named; through the running node where one has the data folder open. */
import { type Command, Option } from 'commander';
import { z } from 'zod';
import { isErrorCode, LacunaError } from '../errors.ts';
import { definedOf, type SyncRequest, syncOptionsOf } from '../http/sync-request.ts';
import { parsePeerAddress } from '../net/addresses.ts';
import { LacunaNode } from '../node.ts';
import { parseBytes } from '../quantity.ts';
import type { Dialect, Direction, SessionProgress } from '../sync/session.ts';
import { outcomeJson } from '../sync/session-json.ts';
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
  readonly dialect?: Dialect | 'auto';
  readonly dryRun?: boolean;
  readonly audit?: boolean;
  readonly maxMessages?: string;
  readonly maxBytes?: string;
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
      new Option('--dialect <dialect>', 'protocol to speak (default: the best that the peer offers)').choices(
        ['auto', 'native', 'waku', 'query'],
      ),
    )
    .option('--dry-run', 'only compare; exit 3 when the stores differ')
    .option('--audit', 'compare by the hash of every message; finds even what was forged to look equal')
    .option('--max-messages <n>', 'take at most so many messages from each peer that is a Lacuna')
    .option('--max-bytes <bytes>', 'take at most so much from each peer that is a Lacuna (500MB)')
    .option('--cluster-id <n>', 'refuse peers of another cluster');
  withTopicOptions(withWindowOptions(withCommonOptions(command)))
    .addHelpText(
      'after',
      `
Without --since and --until, two Lacunas compare all they have; with a stock nwaku, which keeps an index of
its last hour, that hour is compared. A store node that cannot reconcile is asked for all it has, by hashes first;
--dialect query asks any peer that way, and only fetches. Several Lacunas share what there is to fetch: no message is asked of two,
and what one does not bring, another does.

  lacuna sync /ip4/10.0.0.7/tcp/60000/p2p/12D3KooW…          make both stores equal
  lacuna sync --since 30d --direction pull PEER PEER PEER    fetch what is missing of the last 30 days from three
  lacuna sync --dry-run --json PEER                          say how many messages differ, move none`,
    )
    .action(runSync);
}

async function runSync(peers: string[], options: SyncCommandOptions): Promise<void> {
  for (const peer of peers) parsePeerAddress(peer);
  const request = requestOf(options);
  const context = await contextOf(options);
  let failed = false;
  let differ = false;
  await withSessions(context, peers, request, (json) => {
    const failure = failedSchema.safeParse(json);
    if (failure.success) {
      failed = true;
      const { code, message } = failure.data.error;
      if (context.json) printJson(failure.data);
      printError(new LacunaError(isErrorCode(code) ? code : 'INTERNAL', message));
      return;
    }
    const outcome = sessionSchema.parse(json);
    if (context.json) printJson(outcome);
    else print(describe(outcome, request.dryRun ?? false));
    differ ||= outcome.have + outcome.need > 0;
    const isOwed = request.dryRun !== true && request.direction !== 'push' && !outcome.capped;
    failed ||= outcome.missing > 0 && isOwed;
  });
  if (failed) process.exitCode = EXIT_FAILED;
  else if (request.dryRun === true && differ) process.exitCode = EXIT_DIFFERENCES;
}

/** What is asked for, in the shape of `POST /api/v1/sync`. */
type Request = Omit<SyncRequest, 'peers'>;

function requestOf(options: SyncCommandOptions): Request {
  const { since, until, pubsubTopic, contentTopic, direction, dialect, dryRun, audit } = options;
  // Of an empty window nothing is asked.
  windowOf(options);
  return {
    ...definedOf({ since, until, direction, dialect, dryRun, audit }),
    ...definedOf({ pubsubTopics: pubsubTopic, contentTopics: contentTopic }),
    ...definedOf({
      messagesMax: amountOf('--max-messages', options.maxMessages, Number),
      bytesMax: amountOf('--max-bytes', options.maxBytes, parseBytes),
    }),
  };
}

function amountOf(
  option: string,
  text: string | undefined,
  parse: (text: string) => number | undefined,
): number | undefined {
  if (text === undefined) return undefined;
  const amount = parse(text);
  if (amount !== undefined && Number.isSafeInteger(amount) && amount > 0) return amount;
  throw new LacunaError('USAGE', `${option} ${text}: a whole number above 0 is wanted`);
}

/** Runs a session with each peer, through the running node where there is one; tells of each when it has ended. */
async function withSessions(
  context: Context,
  peers: readonly string[],
  request: Request,
  onOutcome: (json: unknown) => void,
): Promise<void> {
  const running = await runningNode(context.config);
  if (running !== undefined) {
    const answer = await running.post('/api/v1/sync', { ...request, peers });
    for (const outcome of remoteAnswer.parse(answer).sessions) onOutcome(outcome);
    return;
  }
  // A one-off session listens nowhere; the peer answers on the connection that we make.
  const config = { ...context.config, listen: [], peer: [] };
  const node = await LacunaNode.open({ config, log: context.log, create: true });
  const progress = new PeersProgress(new Progress('moving messages', context.json));
  try {
    await node.start();
    const options = { ...syncOptionsOf(request, Date.now()), onProgress: progress.of };
    await node.syncAll(peers, options, (outcome) => onOutcome(outcomeJson(outcome)));
  } finally {
    progress.end();
    await node.stop();
  }
}

/** The sum of what moves in several sessions. */
class PeersProgress {
  readonly #bar: Progress;
  readonly #sessions = new Map<object, SessionProgress>();

  constructor(bar: Progress) {
    this.#bar = bar;
  }

  /** Told the state of one session, which is the same object each time. */
  readonly of = (session: SessionProgress): void => {
    this.#sessions.set(session, session);
    let moved = 0;
    let found = 0;
    for (const { need, received, have, sent } of this.#sessions.values()) {
      moved += received + sent;
      found += need + have;
    }
    this.#bar.update(moved, moved / Math.max(1, found));
  };

  end(): void {
    this.#bar.end();
  }
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
  complete: z.boolean(),
  capped: z.boolean(),
  rounds: z.number(),
  bytesSent: z.number(),
  bytesReceived: z.number(),
  durationMs: z.number(),
});
type SessionJson = z.infer<typeof sessionSchema>;

const failedSchema = z.object({
  peer: z.string(),
  error: z.object({ code: z.string(), message: z.string() }),
});
const remoteAnswer = z.object({ sessions: z.array(z.unknown()) });

function describe(session: SessionJson, dryRun: boolean): string {
  const found = `${count(session.need)} missing here, ${count(session.have)} missing there`;
  const moved = dryRun
    ? 'nothing moved (dry run)'
    : `${count(session.received)} received, ${count(session.sent)} sent`;
  const verdict = session.verified
    ? 'both stores hold the same messages'
    : session.missing > 0
      ? `${count(session.missing)} messages are still missing${session.capped ? ' (a cap ended it)' : ''}`
      : session.complete
        ? 'this store holds all that the peer holds'
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
