/**
 * Lacuna as it is installed: the built program, in processes of its own, over real sockets on ports that the
 * system chooses. `endAll` kills what still runs and removes every folder; each test file calls it afterwards.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const START_MS = 30_000;

export interface Ended {
  /** undefined when a signal ended it. */
  readonly code: number | undefined;
  readonly signal: string | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

export type JsonObject = Record<string, unknown>;

const running = new Set<LacunaProcess>();
const folders = new Set<string>();

/** One process of the program; what it prints is kept. */
export class LacunaProcess {
  readonly ended: Promise<Ended>;
  readonly #child: ChildProcess;
  readonly #watchers = new Set<() => void>();
  #stdout = '';
  #stderr = '';
  #over = false;

  constructor(args: readonly string[], options: RunOptions = {}) {
    this.#child = spawn(process.execPath, [PROGRAM, ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...environmentWithoutSettings(), ...options.environment },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    running.add(this);
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
      this.#changed();
    });
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
      this.#changed();
    });
    // A killed process takes no more input: that is what the test is about, not a failure of it.
    this.#child.stdin?.on('error', () => undefined);
    if (options.input !== undefined) this.#child.stdin?.end(options.input);
    this.ended = once(this.#child, 'close').then(([code, signal]: unknown[]) => {
      this.#over = true;
      running.delete(this);
      this.#changed();
      return {
        code: typeof code === 'number' ? code : undefined,
        signal: typeof signal === 'string' ? signal : undefined,
        stdout: this.#stdout,
        stderr: this.#stderr,
      };
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get stderr(): string {
    return this.#stderr;
  }

  get isRunning(): boolean {
    return !this.#over;
  }

  /** The JSON lines on stdout so far: the events of a node, the sessions of a sync. */
  get events(): JsonObject[] {
    return jsonLines(this.#stdout);
  }

  /** The JSON lines on stderr so far: logs and progress. */
  get logs(): JsonObject[] {
    return jsonLines(this.#stderr);
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Writes to stdin as fast as the process takes it; false when it takes no more. */
  async write(text: string): Promise<boolean> {
    const { stdin } = this.#child;
    if (stdin === null || this.#over || stdin.destroyed) return false;
    if (stdin.write(text)) return true;
    await Promise.race([once(stdin, 'drain').catch(() => undefined), this.ended]);
    return !this.#over;
  }

  endInput(): void {
    this.#child.stdin?.end();
  }

  /** The first event that fits, from now or before; rejects when the process ends or the time is up. */
  async event(fits: (event: JsonObject) => boolean, timeoutMs = START_MS): Promise<JsonObject> {
    return await this.until(() => this.events.find(fits), timeoutMs);
  }

  /** Waits until the look at this process gives something. */
  async until<T>(look: () => T | undefined, timeoutMs = START_MS): Promise<T> {
    for (const deadline = Date.now() + timeoutMs; ; ) {
      const found = look();
      if (found !== undefined) return found;
      const leftMs = deadline - Date.now();
      if (this.#over || leftMs <= 0) {
        const why = this.#over ? 'the process ended' : `nothing for ${timeoutMs} ms`;
        throw new Error(`${why}\nstdout: ${tail(this.#stdout)}\nstderr: ${tail(this.#stderr)}`);
      }
      await this.#change(Math.min(leftMs, 200));
    }
  }

  #change(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#watchers.delete(done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      this.#watchers.add(done);
    });
  }

  #changed(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }
}

/** Runs a command to its end. */
export async function lacuna(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  return await new LacunaProcess(args, { input: '', ...options }).ended;
}

/** Runs a command with --json and gives its one document. */
export async function lacunaJson(
  args: readonly string[],
  options: RunOptions = {},
): Promise<{ code: number | undefined; json: JsonObject }> {
  const { code, stdout, stderr } = await lacuna([...args, '--json'], options);
  const lines = jsonLines(stdout);
  if (lines.length !== 1)
    throw new Error(`one document expected, code ${code}\nstdout: ${tail(stdout)}\nstderr: ${tail(stderr)}`);
  return { code, json: lines[0]! };
}

export interface RunningNode {
  readonly process: LacunaProcess;
  readonly data: string;
  /** The address that peers dial, with the peer id. */
  readonly address: string;
  readonly peerId: string;
  /** The base URL of the HTTP interface; '' where it is off. */
  readonly http: string;
}

/** A node that listens on a port of the system's choice; `args` come last and may say otherwise. */
export async function startNode(
  data: string,
  args: readonly string[] = [],
  options: RunOptions = {},
): Promise<RunningNode> {
  const defaults = ['--listen', '/ip4/127.0.0.1/tcp/0', '--http', '127.0.0.1:0'];
  const own = defaults.filter((_, at) => !args.includes(defaults[at - (at % 2)]!));
  const node = new LacunaProcess(['start', '--json', '--data', data, ...own, ...args], options);
  const listening = await node.event(({ event }) => event === 'listening');
  const [address] = listening['addresses'] as string[];
  return {
    process: node,
    data,
    address: address ?? '',
    peerId: String(listening['peerId']),
    http: typeof listening['http'] === 'string' ? listening['http'] : '',
  };
}

/** Asks the HTTP interface of a node. */
export async function ask(
  node: RunningNode,
  path: string,
  body?: unknown,
): Promise<{ status: number; json: JsonObject }> {
  const init = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
  const response = await fetch(`${node.http}${path}`, init);
  return { status: response.status, json: (await response.json()) as JsonObject };
}

/** One session of a running node with a peer: its result, or the code it failed with. */
export async function sessionOf(
  node: RunningNode,
  peer: string,
  request: JsonObject = {},
): Promise<JsonObject> {
  const { json } = await ask(node, '/api/v1/sync', { ...request, peers: [peer] });
  const [session] = json['sessions'] as JsonObject[];
  return session!;
}

/** The code of a failed session, as commands, events and HTTP show it. */
export function errorCode(json: JsonObject): string | undefined {
  const { error } = json;
  return typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : undefined;
}

/** The code at the head of the one line that a failed command leaves on stderr. */
export function failureCode(ended: Ended): string | undefined {
  return /^lacuna: ([A-Z_]+): /m.exec(ended.stderr)?.[1];
}

/** Resident memory in MiB, at its highest and now; undefined where the system does not tell. */
export function memoryOf(pid: number): { peak: number; now: number } | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const read = (name: string): number =>
      Number(new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(status)?.[1]);
    return { peak: read('VmHWM') / 1_024, now: read('VmRSS') / 1_024 };
  } catch {
    return undefined;
  }
}

/** A folder of its own, gone after the test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'lacuna-test-'));
  folders.add(folder);
  return folder;
}

/** Kills every process that still runs and removes every folder. */
export async function endAll(): Promise<void> {
  const left = [...running];
  for (const child of left) child.kill('SIGKILL');
  await Promise.all(left.map(({ ended }) => ended));
  for (const folder of folders) await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  folders.clear();
}

function jsonLines(text: string): JsonObject[] {
  const objects: JsonObject[] = [];
  // The last piece is a line only when its end has come.
  for (const line of text.split('\n').slice(0, -1)) {
    if (line.startsWith('{')) objects.push(JSON.parse(line) as JsonObject);
  }
  return objects;
}

/** The settings of whoever runs the tests are not those of the processes under test. */
function environmentWithoutSettings(): NodeJS.ProcessEnv {
  const environment = { ...process.env };
  for (const name of Object.keys(environment)) {
    if (name.startsWith('LACUNA_') || name.startsWith('VITEST') || name === 'NODE_OPTIONS')
      delete environment[name];
  }
  return environment;
}

function tail(text: string): string {
  return text.slice(-2_000);
}
