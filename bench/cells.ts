/**
 * Processes that a bench starts and commands over IPC, and the folder they work in. Whatever happens, an error or
 * Ctrl-C, the processes end and the folder is removed: a bench may fill it with many gigabytes.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What a process can be asked; each command takes one argument that survives a structured clone. */
export type Commands = Readonly<Record<string, (argument: never) => Promise<unknown>>>;

interface Request {
  readonly id: number;
  readonly verb: string;
  readonly argument: unknown;
}

type Reply =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: string };

const EXEC_ARGV = ['--import', import.meta.resolve('tsx')];
const COMMAND_LIMIT_MS = 30 * 60_000;
const END_LIMIT_MS = 15_000;

/** The side of the process itself: answers until the parent lets go, or dies. */
export function serveCommands(commands: Commands): void {
  process.on('message', async ({ id, verb, argument }: Request) => {
    process.send!(await replyOf(commands, id, verb, argument));
  });
  process.once('disconnect', () => process.exit());
}

async function replyOf(commands: Commands, id: number, verb: string, argument: unknown): Promise<Reply> {
  try {
    return { id, value: await commands[verb]!(argument as never) };
  } catch (error) {
    if (!(error instanceof Error)) return { id, error: String(error) };
    const code = 'code' in error ? `${String(error.code)}: ` : '';
    return { id, error: code + (error.stack ?? error.message) };
  }
}

/** The parent's side of one process. */
export class Cell<C extends Commands> {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  #asked = 0;
  #failure: Error | undefined;

  constructor(program: string, name: string) {
    this.#child = fork(program, [name], {
      execArgv: EXEC_ARGV,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
      serialization: 'advanced',
    });
    this.#child.on('message', (reply: Reply) => {
      const asked = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      if ('error' in reply) asked?.reject(new Error(`${name}: ${reply.error}`));
      else asked?.resolve(reply.value);
    });
    this.#child.once('error', (error) => this.#fail(error));
    this.#child.once('exit', (code, signal) => {
      this.#fail(new Error(`the process ${name} ended with ${signal ?? `code ${code}`}`));
    });
  }

  ask<V extends keyof C & string>(
    verb: V,
    argument: Parameters<C[V]>[0],
  ): Promise<Awaited<ReturnType<C[V]>>> {
    const id = this.#asked++;
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) {
        reject(this.#failure);
        return;
      }
      const timer = setTimeout(() => {
        this.kill();
        this.#fail(new Error(`${verb} took more than ${COMMAND_LIMIT_MS / 60_000} minutes`));
      }, COMMAND_LIMIT_MS);
      this.#waiting.set(id, {
        resolve(value) {
          clearTimeout(timer);
          resolve(value as Awaited<ReturnType<C[V]>>);
        },
        reject(error) {
          clearTimeout(timer);
          reject(error);
        },
      });
      this.#child.send({ id, verb, argument } satisfies Request);
    });
  }

  /** Lets the process go; one that does not is killed. */
  async end(): Promise<void> {
    if (this.#isOver()) return;
    const exited = once(this.#child, 'exit');
    const timer = setTimeout(() => this.kill(), END_LIMIT_MS);
    if (this.#child.connected) this.#child.disconnect();
    await exited;
    clearTimeout(timer);
  }

  kill(): void {
    if (!this.#isOver()) this.#child.kill('SIGKILL');
  }

  #isOver(): boolean {
    return this.#child.pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.values()) reject(this.#failure);
    this.#waiting.clear();
  }
}

/** A temporary folder and the processes that work in it. */
export class Workspace {
  readonly folder = mkdtempSync(join(tmpdir(), 'lacuna-bench-'));
  readonly #cells = new Set<{ end(): Promise<void>; kill(): void }>();

  path(name: string): string {
    return join(this.folder, name);
  }

  start<C extends Commands>(program: string, name: string): Cell<C> {
    const cell = new Cell<C>(program, name);
    this.#cells.add(cell);
    return cell;
  }

  async end(): Promise<void> {
    await Promise.all([...this.#cells].map((cell) => cell.end()));
    this.#remove();
  }

  endAtOnce(): void {
    for (const cell of this.#cells) cell.kill();
    this.#remove();
  }

  #remove(): void {
    // Of a killed process the last writes may still come.
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 });
  }
}

const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** Runs work in a workspace that is gone afterwards. */
export async function inWorkspace<T>(work: (space: Workspace) => Promise<T>): Promise<T> {
  const space = new Workspace();
  const stop = (signal: NodeJS.Signals): void => {
    space.endAtOnce();
    process.exit(SIGNALS[signal as keyof typeof SIGNALS]);
  };
  const signals = Object.keys(SIGNALS) as NodeJS.Signals[];
  for (const signal of signals) process.on(signal, stop);
  try {
    return await work(space);
  } finally {
    await space.end();
    for (const signal of signals) process.off(signal, stop);
  }
}
