/** `start`: the node, until SIGINT or SIGTERM. One line an event on stdout, logs on stderr. */
import { type Command, Option } from 'commander';
import type { LacunaError } from '../errors.ts';
import { nodeRoutes } from '../http/routes.ts';
import { HttpServer } from '../http/server.ts';
import { LIMITS } from '../limits.ts';
import { LacunaNode } from '../node.ts';
import type { SessionResult } from '../sync/session.ts';
import { sessionJson } from '../sync/session-json.ts';
import {
  type CommonOptions,
  contextOf,
  each,
  type TopicOptions,
  withCommonOptions,
  withTopicOptions,
} from './context.ts';
import { count, print, printJson } from './output.ts';
import { announceHttp, withdrawHttp } from './running-node.ts';

type StartOptions = CommonOptions & TopicOptions;

export function addStartCommand(program: Command): void {
  const command = program
    .command('start')
    .description('run the node: serve peers, and synchronise with --peer at every interval')
    .option('--listen <multiaddr>', 'where to listen (default /ip4/0.0.0.0/tcp/60000)', each)
    .option('--peer <multiaddr>', 'synchronise with this peer at every interval', each)
    .option('--http <host:port|off>', 'HTTP interface, loopback only (default 127.0.0.1:8645)')
    .option('--cluster-id <n>', 'the cluster of this node; peers of another are refused')
    .option('--sync-interval <duration>', 'pause between sessions (default 5m)')
    .option('--sync-range <duration>', 'how far back a periodic session compares (default 1h)')
    .option(
      '--upload-rate <[topic=]bytes>',
      'send at most so much a second to other Lacunas (20MB; default no limit), or of one pubsub topic',
      each,
    )
    .option('--download-rate <[topic=]bytes>', 'take at most so much a second from other Lacunas', each)
    .addOption(new Option('--sync-jitter <duration>', 'how far before now its window ends (default 20s)'));
  withTopicOptions(withCommonOptions(command))
    .addHelpText(
      'after',
      `
Every option may also stand in the file named by --config (syncInterval: 1m) or in the environment
(LACUNA_SYNC_INTERVAL=1m). Ends on SIGINT or SIGTERM; a second signal ends it at once.`,
    )
    .action(runStart);
}

async function runStart(options: StartOptions): Promise<void> {
  const { config, log, json } = await contextOf(options, process.stdout.isTTY ? 'warn' : 'info');
  const emit = json ? printJson : (event: Event) => print(describe(event));
  const node = await LacunaNode.open({
    config,
    log,
    create: true,
    onSession: (result, error) => emit(sessionEvent(result, error)),
  });
  const http = config.http === 'off' ? undefined : new HttpServer(nodeRoutes(node), log);
  const stopping = stopSignal();
  try {
    const url = (await http?.listen(config.http)) ?? null;
    if (url !== null) await announceHttp(config.data, url, node.peerId);
    await node.start();
    emit({ event: 'listening', peerId: node.peerId, addresses: node.addresses, http: url });
    await stopping;
    emit({ event: 'stopping' });
  } finally {
    await within(LIMITS.stopMs, async () => {
      await http?.close();
      await withdrawHttp(config.data);
      await node.stop();
    });
  }
  emit({ event: 'stopped' });
}

type Event =
  | { event: 'listening'; peerId: string; addresses: string[]; http: string | null }
  | ({ event: 'session' } & Record<string, unknown>)
  | { event: 'stopping' }
  | { event: 'stopped' };

function sessionEvent(result: SessionResult, error: LacunaError | undefined): Event {
  const failure = error === undefined ? {} : { error: { code: error.code, message: error.message } };
  return { event: 'session', ...sessionJson(result), ...failure };
}

function describe(event: Event): string {
  if (event.event === 'listening') {
    const http = event.http === null ? '' : `\nhttp     ${event.http}`;
    return `peer id  ${event.peerId}\n${event.addresses.map((address) => `address  ${address}`).join('\n')}${http}`;
  }
  if (event.event !== 'session') return event.event;
  const time = new Date().toISOString().slice(11, 19);
  const figures = ['received', 'sent', 'missing']
    .map((key) => `${count(Number(event[key]))} ${key}`)
    .join(', ');
  const verdict =
    event['error'] === undefined
      ? event['verified'] === true
        ? 'verified equal'
        : 'not verified'
      : 'failed';
  return `${time}  ${event['role']}  ${String(event['peer']).slice(-8)}  ${figures}, ${verdict}`;
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
