/**
 * The built program as the node bench starts it: `start --json` in a process of its own, on ports of loopback, with
 * what it prints kept line by line. Whatever happens, none of them outlives the bench.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const PROGRAM = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const LISTENING_MS = 60_000;
const END_MS = 20_000;
const LOG_KEPT = 4_000;

/** One line of what a node prints, and when it came, on the monotonic clock. */
export interface PrintedEvent {
  readonly atMs: number;
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

export interface NodeOrder {
  readonly name: string;
  readonly data: string;
  /** Of loopback; 0 for one that the system chooses. */
  readonly port?: number;
  readonly peers?: readonly string[];
  readonly args?: readonly string[];
}

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class BenchNode {
  readonly name: string;
  /** When the process was started. */
  readonly startedMs = performance.now();
  readonly events: PrintedEvent[] = [];
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #log = '';
  #http = '';
  #address = '';

  private constructor({ name, data, port = 0, peers = [], args = [] }: NodeOrder) {
    this.name = name;
    const listen = ['--listen', `/ip4/127.0.0.1/tcp/${port}`, '--http', '127.0.0.1:0'];
    const known = peers.flatMap((peer) => ['--peer', peer]);
    const all = ['start', '--json', '--data', data, '--log-level', 'warn', ...listen, ...known, ...args];
    this.#child = spawn(process.execPath, [PROGRAM, ...all], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: plainEnvironment(),
    });
    running.add(this.#child);
    this.#ended = once(this.#child, 'exit').finally(() => running.delete(this.#child));
    createInterface({ input: this.#child.stdout! }).on('line', (line) => this.#note(line));
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.#log = (this.#log + text).slice(-LOG_KEPT);
    });
  }

  /** Resolves when it listens. */
  static async start(order: NodeOrder): Promise<BenchNode> {
    const node = new BenchNode(order);
    const { fields } = await node.event(({ event }) => event === 'listening', LISTENING_MS);
    const addresses = Array.isArray(fields['addresses']) ? fields['addresses'] : [];
    node.#address = String(addresses[0] ?? '');
    node.#http = String(fields['http']);
    return node;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Where peers dial it, with its peer id. */
  get address(): string {
    return this.#address;
  }

  get http(): string {
    return this.#http;
  }

  /** The last of what it logged. */
  get log(): string {
    return this.#log;
  }

  /** Asks its HTTP interface for JSON. */
  async get<T>(path: string): Promise<T> {
    const response = await fetch(`${this.#http}${path}`);
    if (!response.ok) throw new Error(`${this.name}: GET ${path} answered ${response.status}`);
    return (await response.json()) as T;
  }

  async getText(path: string): Promise<string> {
    const response = await fetch(`${this.#http}${path}`);
    if (!response.ok) throw new Error(`${this.name}: GET ${path} answered ${response.status}`);
    return await response.text();
  }

  /** The first event that fits, from now or before. */
  async event(fits: (event: PrintedEvent) => boolean, timeoutMs: number): Promise<PrintedEvent> {
    for (const deadline = performance.now() + timeoutMs; ; ) {
      const found = this.events.find(fits);
      if (found !== undefined) return found;
      if (this.#isOver || performance.now() > deadline) {
        const why = this.#isOver ? 'ended' : `said nothing of it for ${timeoutMs} ms`;
        throw new Error(`the node ${this.name} ${why}\n${this.#log}`);
      }
      await pause(20);
    }
  }

  /** Sessions that ended so far, whoever began them. */
  sessions(): PrintedEvent[] {
    return this.events.filter(({ event }) => event === 'session');
  }

  async stop(): Promise<void> {
    if (this.#isOver) return;
    this.#child.kill('SIGTERM');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), END_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  get #isOver(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  #note(line: string): void {
    if (!line.startsWith('{')) return;
    const fields = JSON.parse(line) as Record<string, unknown>;
    this.events.push({ atMs: performance.now(), event: String(fields['event']), fields });
  }
}

/** Stops all of them, however the work with them ended. */
export async function withNodes<T>(work: (nodes: BenchNode[]) => Promise<T>): Promise<T> {
  const nodes: BenchNode[] = [];
  try {
    return await work(nodes);
  } finally {
    await Promise.all(nodes.map((node) => node.stop()));
  }
}

/** Makes a data folder; gives the peer id of the node that will have it. */
export async function initialise(data: string): Promise<string> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [PROGRAM, 'init', '--json', '--data', data],
    { env: plainEnvironment() },
  );
  return String((JSON.parse(stdout) as { peerId: unknown }).peerId);
}

/** Ports of loopback that nobody has at this moment. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  const ports = await Promise.all(
    servers.map(async (server) => {
      await once(server, 'listening');
      const address = server.address();
      return typeof address === 'object' && address !== null ? address.port : 0;
    }),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The settings of whoever runs the bench are not those of the nodes. */
function plainEnvironment(): NodeJS.ProcessEnv {
  const left = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('LACUNA_') && name !== 'NODE_OPTIONS',
  );
  return Object.fromEntries(left);
}
