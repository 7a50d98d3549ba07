/** `start`: the node, until SIGINT or SIGTERM. One line an event on stdout, logs on stderr. */
import { type Command, Option } from 'commander';
import { loadToken } from '../http/access.ts';
import { eventJson } from '../http/event-json.ts';
import { nodeRoutes } from '../http/routes.ts';
import { HttpServer } from '../http/server.ts';
import { LIMITS } from '../limits.ts';
import { LacunaNode } from '../node.ts';
import type { NodeEvent } from '../sync/events.ts';
import {
  type CommonOptions,
  contextOf,
  each,
  type TopicOptions,
  withCommonOptions,
  withTopicOptions,
} from './context.ts';
import { eventLine } from './event-line.ts';
import { print, printJson } from './output.ts';
import { RETENTION_HELP } from './retention-help.ts';
import { announceHttp, withdrawHttp } from './running-node.ts';

type StartOptions = CommonOptions & TopicOptions;

export function addStartCommand(program: Command): void {
  const command = program
    .command('start')
    .description('run the node: serve peers, and synchronise with --peer at every interval')
    .option('--listen <multiaddr>', 'where to listen (default /ip4/0.0.0.0/tcp/60000)', each)
    .option('--peer <multiaddr>', 'keep in step with this peer; may be given more than once', each)
    .option('--bootstrap <multiaddr>', 'a peer to begin with, that tells of others', each)
    .option('--mdns', 'find peers on the local network, and be found')
    .addOption(new Option('--learn-peers').hideHelp())
    .option('--no-learn-peers', 'neither ask peers for others nor tell them')
    .option('--allow-peer <peer id>', 'always let this peer in', each)
    .option('--deny-peer <peer id>', 'never let this peer in', each)
    .option('--private', 'serve the named peers only: --allow-peer, --peer, --bootstrap')
    .option('--connections <n>', 'the most connections of other peers (default 300)')
    .option(
      '--http <host:port|off>',
      'HTTP interface (default 127.0.0.1:8645); beyond loopback only with a token',
    )
    .option('--cluster-id <n>', 'the cluster of this node; peers of another are refused')
    .option('--sync-interval <duration>', 'pause between sessions (default 5m)')
    .option('--sync-range <duration>', 'how far back a periodic session compares (default 1h)')
    .option(
      '--upload-rate <[topic=]bytes>',
      'send at most so much a second to other Lacunas (20MB; default no limit), or of one pubsub topic',
      each,
    )
    .option('--download-rate <[topic=]bytes>', 'take at most so much a second from other Lacunas', each)
    .option('--retention <policy>', 'what is kept: time:30d, capacity:1000000, size:50GB (see below)', each)
    .addOption(new Option('--sync-jitter <duration>', 'how far before now its window ends (default 20s)'));
  withTopicOptions(withCommonOptions(command))
    .addHelpText(
      'after',
      `
${RETENTION_HELP}

Every option may also stand in the file named by --config (syncInterval: 1m) or in the environment
(LACUNA_SYNC_INTERVAL=1m). Ends on SIGINT or SIGTERM; a second signal ends it at once.`,
    )
    .action(runStart);
}

async function runStart(options: StartOptions): Promise<void> {
  const { config, log, json } = await contextOf(options, process.stdout.isTTY ? 'warn' : 'info');
  const token = await loadToken(config);
  const node = await LacunaNode.open({ config, log, create: true });
  const tell = json
    ? (event: NodeEvent) => printJson(eventJson(event))
    : (event: NodeEvent) => print(eventLine(event, Date.now()));
  const announce = json ? printJson : (stage: Stage) => print(describe(stage));
  const http = config.http === 'off' ? undefined : new HttpServer(nodeRoutes(node, config.data), log, token);
  const stopping = stopSignal();
  try {
    const url = (await http?.listen(config.http)) ?? null;
    if (url !== null) await announceHttp(config.data, url, node.peerId);
    // The first line says that the node serves, and what happens on the way there comes after it.
    let early: NodeEvent[] | undefined = [];
    node.events.subscribe((event) => (early === undefined ? tell(event) : early.push(event)));
    await node.start();
    announce({ event: 'listening', peerId: node.peerId, addresses: node.addresses, http: url });
    for (const event of early) tell(event);
    early = undefined;
    await stopping;
    announce({ event: 'stopping' });
  } finally {
    await within(LIMITS.stopMs, async () => {
      await http?.close();
      await withdrawHttp(config.data);
      await node.stop();
    });
  }
  announce({ event: 'stopped' });
}

/** Where the process is; what happens in the node meanwhile are events of the node. */
type Stage =
  | { event: 'listening'; peerId: string; addresses: string[]; http: string | null }
  | { event: 'stopping' }
  | { event: 'stopped' };

function describe(stage: Stage): string {
  if (stage.event !== 'listening') return stage.event;
  const http = stage.http === null ? '' : `\nhttp     ${stage.http}`;
  return `peer id  ${stage.peerId}\n${stage.addresses.map((address) => `address  ${address}`).join('\n')}${http}`;
}

/** Resolves at the first signal; the second one ends the process. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    let signals = 0;
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        signals += 1;
        if (signals === 1) resolve();
        else process.exit(1);
      });
    }
  });
}

/** A stop that hangs must not keep a supervisor waiting: what was acknowledged is on the disk either way. */
async function within(ms: number, work: () => Promise<void>): Promise<void> {
  const timer = setTimeout(() => process.exit(1), ms);
  try {
    await work();
  } finally {
    clearTimeout(timer);
  }
}
