/** `query`: what one store node has, as message lines on stdout while they come. Needs no store of its own. */
import type { Command } from 'commander';
import type { Config } from '../config.ts';
import type { Scope } from '../core/scope.ts';
import { HASH_BYTES } from '../core/sync-id.ts';
import { LacunaError } from '../errors.ts';
import { loadIdentity, newIdentity } from '../identity.ts';
import { LIMITS } from '../limits.ts';
import { parsePeerAddress } from '../net/addresses.ts';
import { Asker } from '../net/asker.ts';
import { RequestPace } from '../sync/query/request-pace.ts';
import { StoreClient, type StorePage } from '../sync/query/store-client.ts';
import { systemClock, systemRandom, systemSha256 } from '../system.ts';
import { VERSION } from '../version.ts';
import { LineWriter } from '../wire/message-line.ts';
import { asBuffer, MessageView } from '../wire/waku-message.ts';
import {
  type CommonOptions,
  type Context,
  contextOf,
  each,
  type TopicOptions,
  type WindowOptions,
  windowOf,
  withCommonOptions,
  withTopicOptions,
  withWindowOptions,
} from './context.ts';
import { bytes, count, toStdout } from './output.ts';
import { Progress } from './progress.ts';
import { runningNode } from './running-node.ts';

interface QueryOptions extends CommonOptions, WindowOptions, TopicOptions {
  readonly hash?: string[];
  readonly hashes?: boolean;
  readonly pageSize?: string;
  readonly ascending?: boolean;
  readonly clusterId?: string;
}

const HASH = /^(?:0x)?([0-9a-fA-F]{64})$/;

export function addQueryCommand(program: Command): void {
  const command = program
    .command('query')
    .description('ask a store node for messages: any Waku store node, by time and topic or by hash')
    .argument('<peer>', 'multiaddr ending in /p2p/<peer id>')
    .option('--hash <hash>', 'look up this message hash; may be given more than once', each)
    .option('--hashes', 'print message hashes only, one a line')
    .option('--page-size <n>', `messages a request, 1 to ${LIMITS.queryPageSize}`)
    .option('--ascending', 'from the oldest on (default: from the newest back)')
    .option('--cluster-id <n>', 'refuse a peer of another cluster');
  withTopicOptions(withWindowOptions(withCommonOptions(command)))
    .addHelpText(
      'after',
      `
Prints message lines as they come; how many they were, and what was left out, is told on stderr. Each message is
checked against its hash. A peer that limits its clients is asked again after a pause.

  lacuna query --since 1h PEER                     the last hour, the newest first
  lacuna query --hash 0x… --hash 0x… PEER          these messages, where the peer has them
  lacuna query --since 30d --hashes PEER | wc -l   how many it has of thirty days, without their bytes`,
    )
    .action(runQuery);
}

async function runQuery(peer: string, options: QueryOptions): Promise<void> {
  parsePeerAddress(peer);
  const ask = questionOf(options);
  const context = await contextOf(options);
  const stop = new AbortController();
  const interrupt = (): void => stop.abort(new LacunaError('SESSION_ABORTED', 'interrupted'));
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  const asker = await Asker.start({
    privateKey: await keyOf(context.config),
    cluster: context.config,
    version: VERSION,
    clock: systemClock,
  });
  try {
    const link = await asker.link(peer, stop.signal);
    const pace = new RequestPace(systemClock);
    const outside = { clock: systemClock, random: systemRandom, sha256: systemSha256 };
    const client = new StoreClient({ link, pace, ...outside });
    const report = new Report(client, context);
    try {
      const write = options.hashes !== true ? writeMessages : context.json ? writeHashObjects : writeHashes;
      await toStdout(linesOf(ask(client, stop.signal), report, write));
    } finally {
      report.end();
    }
  } finally {
    await asker.stop();
  }
}

/** That of the data folder, as peers may know it; another one where a node runs under it, or where there is none. */
async function keyOf(config: Config): ReturnType<typeof loadIdentity> {
  if ((await runningNode(config)) !== undefined) return await newIdentity();
  try {
    return await loadIdentity(config.data);
  } catch (error) {
    if (error instanceof LacunaError && error.code === 'STORE_MISSING') return await newIdentity();
    throw error;
  }
}

type Ask = (client: StoreClient, stop: AbortSignal) => AsyncIterable<StorePage>;

/** @throws LacunaError USAGE. */
function questionOf(options: QueryOptions): Ask {
  const includeData = options.hashes !== true;
  const pageSize = pageSizeOf(options.pageSize);
  const { since, until, pubsubTopic, contentTopic, hash, ascending = false } = options;
  if (hash !== undefined) {
    const filters = [since, until, pubsubTopic, contentTopic, options.ascending];
    if (filters.some((filter) => filter !== undefined)) {
      throw new LacunaError('USAGE', '--hash names messages: times, topics and an order do not go with it');
    }
    const hashes = hash.map(hashOf);
    return (client, stop) => client.lookUp(hashes, { includeData, stop });
  }
  const { sinceNs, untilNs } = windowOf(options);
  const scope: Scope = { pubsubTopics: pubsubTopic ?? [], contentTopics: contentTopic ?? [] };
  return (client, stop) => client.pages(scope, sinceNs, untilNs, { includeData, ascending, pageSize, stop });
}

function pageSizeOf(text: string | undefined): number {
  if (text === undefined) return LIMITS.queryPageSize;
  const size = Number(text);
  if (Number.isSafeInteger(size) && size >= 1 && size <= LIMITS.queryPageSize) return size;
  throw new LacunaError('USAGE', `--page-size ${text}: 1 to ${LIMITS.queryPageSize} is wanted`);
}

function hashOf(text: string): Uint8Array {
  const match = HASH.exec(text);
  if (match === null) throw new LacunaError('USAGE', `--hash ${text}: ${HASH_BYTES} bytes in hex are wanted`);
  return Buffer.from(match[1]!, 'hex');
}

type WritePage = (lines: LineWriter, page: StorePage) => void;

async function* linesOf(
  pages: AsyncIterable<StorePage>,
  report: Report,
  write: WritePage,
): AsyncGenerator<Uint8Array> {
  const lines = new LineWriter();
  for await (const page of pages) {
    write(lines, page);
    report.add(page.hashes.length);
    yield lines.take();
  }
}

const view = new MessageView();

const writeMessages: WritePage = (lines, { messages }) => {
  for (const { id, encoded } of messages) lines.message(view.read(asBuffer(encoded)), id);
};

const writeHashes: WritePage = (lines, { hashes }) => {
  for (const hash of hashes) lines.text(`${hexOf(hash)}\n`);
};

const writeHashObjects: WritePage = (lines, { hashes }) => {
  for (const hash of hashes) lines.text(`{"messageHash":"${hexOf(hash)}"}\n`);
};

function hexOf(hash: Uint8Array): string {
  return `0x${Buffer.from(hash).toString('hex')}`;
}

function ofThem(amount: number, name: string): string {
  return `${count(amount)} ${name}${amount === 1 ? '' : 's'}`;
}

/** How far it is, and at the end what came of it, on stderr. */
class Report {
  readonly #client: StoreClient;
  readonly #json: boolean;
  readonly #progress: Progress;
  #messages = 0;

  constructor(client: StoreClient, { json }: Context) {
    this.#client = client;
    this.#json = json;
    this.#progress = new Progress('messages', json);
  }

  add(messages: number): void {
    this.#messages += messages;
    this.#progress.update(this.#messages);
  }

  end(): void {
    this.#progress.end();
    const { requests, rateLimited, bytesSent, bytesReceived, dropped } = this.#client.tally;
    const messages = this.#messages;
    if (this.#json) {
      const summary = {
        event: 'summary',
        messages,
        requests,
        rateLimited,
        bytesSent,
        bytesReceived,
        dropped,
      };
      process.stderr.write(`${JSON.stringify(summary)}\n`);
      return;
    }
    const left = Object.entries(dropped).map(([code, times]) => `, ${count(times)} left out: ${code}`);
    const waited = rateLimited > 0 ? `, ${count(rateLimited)} of them refused for a while` : '';
    process.stderr.write(
      `${ofThem(messages, 'message')} in ${ofThem(requests, 'request')}${waited}, ${bytes(bytesReceived)}${left.join('')}\n`,
    );
  }
}
