/**
 * A disk that fills up under a running node, and is freed: nothing that was acknowledged is lost, what comes meanwhile
 * is refused with a code, the node stays up and says that it is not ready, and once there is room again it recovers by
 * itself and fetches what it missed. On a small file system of its own, where the system lets one be mounted, and
 * under a limit for the size of files, which any process can be given.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { rm, stat, truncate, writeFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, it } from 'vitest';
import { ago, digestOf, exported, lineOf, makeMessages } from '../e2e/message-lines.ts';
import {
  ask,
  endAll,
  type JsonObject,
  lacuna,
  lacunaJson,
  type RunningNode,
  startNode,
  temporaryFolder,
} from '../e2e/process.ts';

const PROGRAM = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const DISK_BYTES = 24 * 1024 * 1024;
/** What stays free on the small file system, and the size that files are limited to. */
const LEFT_BYTES = 256 * 1024;
const BATCH = 20;
const PAYLOAD_BYTES = 10_000;
const BATCHES_WHILE_FULL = 5;
/** Of a step that is to come by itself: the writer tries again after ten seconds, and gaps reach twenty ahead. */
const patience = { timeout: 35_000, interval: 100 };

/** The disk of a node. */
interface Disk {
  /** The command line that runs another one with the folder on this disk. */
  readonly wrapped: (folder: string, command: readonly string[]) => string[];
  readonly fill: (pid: number, folder: string) => Promise<void>;
  readonly free: (pid: number, folder: string) => Promise<void>;
  /** Whether the folder outlives the node. */
  readonly lasts: boolean;
}

/** Mounted where only the node sees it; the others reach it through the node. */
const smallFileSystem: Disk = {
  wrapped: (folder, command) => {
    const script = `mount -t tmpfs -o size=${DISK_BYTES} lacuna "$0" && exec "$@"`;
    return ['unshare', '-rm', 'sh', '-c', script, folder, ...command];
  },
  fill: async (pid, folder) => {
    const ballast = `/proc/${pid}/root${folder}/ballast`;
    // It does not fit: what does fill the disk is left. Then a little stays free, as on a disk that others fill.
    await writeFile(ballast, new Uint8Array(DISK_BYTES)).catch(() => undefined);
    await truncate(ballast, (await stat(ballast)).size - LEFT_BYTES);
  },
  free: async (pid, folder) => await rm(`/proc/${pid}/root${folder}/ballast`),
  lasts: false,
};

const limitedFiles: Disk = {
  wrapped: (_, command) => [...command],
  fill: async (pid) => limitFiles(pid, `${LEFT_BYTES}:unlimited`),
  free: async (pid) => limitFiles(pid, 'unlimited:unlimited'),
  lasts: true,
};

function limitFiles(pid: number, limit: string): void {
  const { status, error } = spawnSync('prlimit', ['--pid', `${pid}`, `--fsize=${limit}`]);
  if (status !== 0)
    throw new Error('prlimit (util-linux) could not limit the files of a process', { cause: error });
}

const mayMount = spawnSync('unshare', ['-rm', 'mount', '-t', 'tmpfs', 'lacuna', '/mnt']).status === 0;
const disks: readonly (readonly [string, Disk])[] = [
  ...(mayMount ? [['a small file system', smallFileSystem] as const] : []),
  ['a limit for the size of files', limitedFiles],
];

/** A node that may run inside other commands; what it prints is kept. */
class WrappedNode {
  readonly events: JsonObject[] = [];
  readonly ended: Promise<unknown>;
  readonly #child: ChildProcess;

  constructor([command, ...args]: readonly string[]) {
    this.#child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    this.ended = once(this.#child, 'close').then(([code]: unknown[]) => code);
    createInterface(this.#child.stdout!).on('line', (line) =>
      this.events.push(JSON.parse(line) as JsonObject),
    );
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Asked as the other nodes of these tests are. */
  get listening(): Pick<RunningNode, 'http' | 'address' | 'peerId'> | undefined {
    const event = this.events.find((line) => line['event'] === 'listening');
    if (event === undefined) return undefined;
    const [address] = event['addresses'] as string[];
    return { http: String(event['http']), address: String(address), peerId: String(event['peerId']) };
  }

  stop(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }
}

const wrappedNodes: WrappedNode[] = [];
afterAll(async () => {
  for (const node of wrappedNodes.splice(0)) {
    node.stop('SIGKILL');
    await node.ended;
  }
  await endAll();
});

describe('a disk that is full and freed costs nothing that was acknowledged, and what it kept away is fetched', () => {
  // At once, as most of the time is waited for.
  it.concurrent.for(disks)('as %s', { timeout: 60_000 }, async ([, disk], { expect }) => {
    const [peerData, data] = [await temporaryFolder(), await temporaryFolder()];
    const peer = await startNode(peerData, ['--sync-jitter', '0s']);
    const args = ['start', '--json', '--data', data, '--peer', peer.address];
    args.push('--listen', '/ip4/127.0.0.1/tcp/0', '--http', '127.0.0.1:0');
    args.push('--sync-interval', '1s', '--sync-jitter', '0s');
    const node = new WrappedNode(disk.wrapped(data, [process.execPath, PROGRAM, ...args]));
    wrappedNodes.push(node);
    await expect.poll(() => node.listening, patience).toBeDefined();
    const at = node.listening as RunningNode;
    const get = async (path: string): Promise<JsonObject> => (await ask(at, path)).json;
    const readiness = async (): Promise<number> => (await ask(at, '/readyz')).status;
    const storeGap = async (list: 'rows' | 'closed'): Promise<JsonObject | undefined> =>
      ((await get('/api/v1/gaps'))[list] as JsonObject[]).find(({ cause }) => cause === 'store-fault');
    const heldBy = async (which: RunningNode): Promise<unknown> =>
      (await ask(which, '/api/v1/status')).json['messages'];

    const acknowledged: string[] = [];
    const refused: string[] = [];
    /** Messages of this moment; whoever sends them goes on to the peer where the node refuses them. */
    const send = async (): Promise<JsonObject | undefined> => {
      const lines = makeMessages(BATCH, ago(0), 1_000n, { payloadBytes: PAYLOAD_BYTES }).map(lineOf);
      const body = lines.map((line) => JSON.parse(line.replace(/"timestamp":(\d+)/, '"timestamp":"$1"')));
      const { status, json } = await ask(at, '/store/v1/messages', body);
      if (status === 200) {
        expect(json).toMatchObject({ stored: BATCH, refused: 0 });
        acknowledged.push(...lines);
        return undefined;
      }
      refused.push(...lines);
      expect((await ask(peer, '/store/v1/messages', body)).status).toBe(200);
      return { status, ...(json['error'] as JsonObject) };
    };

    await expect.poll(readiness, patience).toBe(200);
    for (let batch = 0; batch < 5; batch++) expect(await send()).toBeUndefined();

    await disk.fill(node.pid, data);
    let refusal: JsonObject | undefined;
    for (let batch = 0; refusal === undefined && batch < 200; batch++) refusal = await send();
    expect(refusal).toMatchObject({ status: 503, code: 'STORE_FAULT' });
    expect(await readiness()).toBe(503);
    for (let batch = 1; batch < BATCHES_WHILE_FULL; batch++) {
      expect(await send()).toMatchObject({ status: 503, code: 'STORE_FAULT' });
    }
    await expect.poll(() => storeGap('rows'), patience).toBeDefined();
    expect(await readiness()).toBe(503);
    expect(Number(await heldBy(at))).toBeGreaterThanOrEqual(acknowledged.length);
    expect(node.isRunning).toBe(true);

    await disk.free(node.pid, data);
    await expect.poll(readiness, patience).toBe(200);
    const all = acknowledged.length + refused.length;
    await expect.poll(() => heldBy(at), patience).toBe(all);
    await expect.poll(() => storeGap('closed'), patience).toMatchObject({ verifiedWith: [peer.peerId] });
    expect(await send()).toBeUndefined();
    await expect.poll(() => storeGap('rows'), patience).toBeUndefined();
    // No more came from the peer than the node had refused: what was acknowledged was there all the time.
    const sessions = node.events.filter(({ event }) => event === 'session');
    const received = sessions.reduce((sum, session) => sum + Number(session['received']), 0);
    expect(received).toBeGreaterThan(0);
    expect(received).toBeLessThanOrEqual(refused.length);

    const whole = digestOf(exported([...acknowledged, ...refused]));
    await expect.poll(() => heldBy(peer), patience).toBe(whole.lines);
    node.stop('SIGTERM');
    expect(await node.ended).toBe(0);
    peer.process.kill('SIGTERM');
    await peer.process.ended;
    for (const folder of disk.lasts ? [data, peerData] : [peerData]) {
      const verified = await lacunaJson(['verify', '--data', folder]);
      expect(verified).toMatchObject({ code: 0, json: { checked: whole.lines, damaged: 0 } });
      expect(digestOf((await lacuna(['export', '--data', folder])).stdout)).toEqual(whole);
    }
  });
});
