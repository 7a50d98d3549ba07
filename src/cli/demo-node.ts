/** One node of the demo: a real process of this program with a data folder of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { LacunaError } from '../errors.ts';

const PROGRAM = fileURLToPath(new URL('./main.js', import.meta.url));
const START_MS = 15_000;

const listeningEvent = z.object({
  event: z.literal('listening'),
  addresses: z.array(z.string()),
  http: z.string(),
});
const nodeEvent = z.looseObject({ event: z.string() });
const nodeStatus = z.object({ messages: z.number() });

export type NodeEvent = z.infer<typeof nodeEvent>;

export class DemoNode {
  readonly name: string;
  readonly data: string;
  /** Called for every event of the node after the first. */
  onEvent: (event: NodeEvent) => void = () => undefined;
  #process: ChildProcess | undefined;
  #http = '';
  #address = '';

  constructor(name: string, data: string) {
    this.name = name;
    this.data = data;
  }

  get address(): string {
    return this.#address;
  }

  get running(): boolean {
    return this.#process !== undefined;
  }

  /** Resolves when the node serves. */
  async start(peers: readonly string[]): Promise<void> {
    const args = ['start', '--data', this.data, '--listen', '/ip4/127.0.0.1/tcp/0', '--http', '127.0.0.1:0'];
    args.push('--sync-interval', '1s', '--sync-jitter', '0s', '--log-level', 'silent', '--json');
    for (const peer of peers) args.push('--peer', peer);
    const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#process = child;
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const first = await Promise.race([lines.next(), timeout(this.name)]);
    if (first.done === true) throw new LacunaError('INTERNAL', `node ${this.name} did not start`);
    const listening = listeningEvent.parse(JSON.parse(first.value));
    this.#http = listening.http;
    this.#address = listening.addresses[0] ?? '';
    void this.#follow(lines);
  }

  /** Asks it to end, and waits until it has. Returns its exit code. */
  async stop(): Promise<number> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined) return 0;
    if (child.exitCode === null) {
      child.kill('SIGTERM');
      await once(child, 'exit');
    }
    return child.exitCode ?? 1;
  }

  kill(): void {
    this.#process?.kill('SIGKILL');
  }

  /** Hands message lines to the running node; resolves when they are on its disk. */
  async publish(lines: readonly string[]): Promise<void> {
    const response = await fetch(`${this.#http}/store/v1/messages`, {
      method: 'POST',
      body: `[${lines.join(',')}]`,
    });
    if (!response.ok)
      throw new LacunaError('INTERNAL', `node ${this.name} refused messages: ${response.status}`);
  }

  async count(): Promise<number> {
    const response = await fetch(`${this.#http}/api/v1/status`);
    return nodeStatus.parse(await response.json()).messages;
  }

  /** What `export` prints for its store; the node must be stopped. */
  async *export(): AsyncGenerator<Buffer> {
    const child = spawn(process.execPath, [PROGRAM, 'export', '--data', this.data], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(child, 'exit');
    yield* child.stdout as AsyncIterable<Buffer>;
    await exited;
    if (child.exitCode !== 0) throw new LacunaError('INTERNAL', `node ${this.name} does not export`);
  }

  async #follow(lines: AsyncIterator<string>): Promise<void> {
    for (let line = await lines.next(); line.done !== true; line = await lines.next()) {
      this.onEvent(nodeEvent.parse(JSON.parse(line.value)));
    }
  }
}

async function timeout(name: string): Promise<never> {
  await new Promise((resolve) => setTimeout(resolve, START_MS).unref());
  throw new LacunaError('INTERNAL', `node ${name} did not start within ${START_MS} ms`);
}
