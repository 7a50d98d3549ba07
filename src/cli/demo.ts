/**
 * `demo`: a fleet of real nodes on this machine. Each misses some of the messages; they fill each other's gaps;
 * one is stopped while messages go on, comes back, and heals. Ends with proof: every store exports the same lines.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { LacunaError } from '../errors.ts';
import { nsFromMs } from '../time.ts';
import { DemoNode, type NodeEvent } from './demo-node.ts';
import { count, print, printJson } from './output.ts';

const NAMES = ['ada', 'bob', 'cleo'] as const;
const FIRST_MESSAGES = 1_200;
const MISSED_MESSAGES = 1_800;
/** Of each message, the chance that a running node does not get it when it is published. */
const LOSS = 0.12;
const PAYLOAD_BYTES = 400;
/** Messages carry times of the last half hour, as a chat would. */
const HISTORY_MS = 30 * 60_000;
const DEADLINE_MS = 55_000;
const POLL_MS = 200;
const BAR_WIDTH = 36;

export function addDemoCommand(program: Command): void {
  program
    .command('demo')
    .description('a fleet of real nodes on this machine, one of which sleeps and heals')
    .option('--json', 'print the outcome as JSON, and nothing else')
    .action(runDemo);
}

async function runDemo(options: { json?: boolean }): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'lacuna-demo-'));
  const fleet = NAMES.map((name) => new DemoNode(name, join(folder, name)));
  const demo = new Demo(fleet, options.json ?? false);
  const interrupted = (): void => {
    for (const node of fleet) node.kill();
    void rm(folder, { recursive: true, force: true }).finally(() => process.exit(1));
  };
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  try {
    await demo.run();
  } finally {
    for (const node of fleet) node.kill();
    await Promise.all(fleet.map((node) => node.stop()));
    await rm(folder, { recursive: true, force: true });
    demo.say(`\ncleaned up ${folder}`);
  }
}

class Demo {
  readonly #fleet: readonly DemoNode[];
  readonly #json: boolean;
  readonly #startedMs = performance.now();
  #published = 0;
  #moved = 0;
  #sessions = 0;

  constructor(fleet: readonly DemoNode[], json: boolean) {
    this.#fleet = fleet;
    this.#json = json;
    for (const node of fleet) node.onEvent = (event) => this.#onEvent(event);
  }

  async run(): Promise<void> {
    const [ada, bob, cleo] = this.#fleet as [DemoNode, DemoNode, DemoNode];
    this.#title('Three nodes start, each a process with a store of its own');
    await ada.start([]);
    await bob.start([ada.address]);
    await cleo.start([ada.address, bob.address]);
    for (const node of this.#fleet) this.say(`   ${node.name.padEnd(5)} ${node.address}`);

    this.#title(
      `${count(FIRST_MESSAGES)} messages are published; every node misses some, as on a real network`,
    );
    await this.#publish(FIRST_MESSAGES, this.#fleet);
    await this.#showCounts('before');
    await this.#untilEqual(this.#fleet);
    await this.#showCounts('after ');

    this.#title('cleo goes to sleep, and messages go on without her');
    await cleo.stop();
    await this.#publish(MISSED_MESSAGES, [ada, bob]);
    await this.#untilEqual([ada, bob]);
    const missing = this.#published - FIRST_MESSAGES;
    this.say(`   ada and bob hold ${count(this.#published)}; cleo, asleep, lacks ${count(missing)}`);

    this.#title('cleo comes back, and heals');
    const wokeMs = performance.now();
    await cleo.start([ada.address, bob.address]);
    await this.#untilEqual(this.#fleet, cleo);
    const healedMs = Math.round(performance.now() - wokeMs);
    await this.#showCounts('after ');
    this.say(
      `   healed ${count(missing)} messages in ${(healedMs / 1_000).toFixed(1)} s, process start included`,
    );

    this.#title('The nodes stop, and their stores are compared line by line');
    const digests = await this.#exportAll();
    const equal = digests.every(
      ({ sha256, lines }) => sha256 === digests[0]!.sha256 && lines === this.#published,
    );
    const seconds = Math.round((performance.now() - this.#startedMs) / 100) / 10;
    if (this.#json) {
      const nodes = digests.map(({ name, lines, sha256 }) => ({ name, messages: lines, sha256 }));
      printJson({
        published: this.#published,
        nodes,
        sessions: this.#sessions,
        moved: this.#moved,
        healedMs,
        equal,
        seconds,
      });
    }
    if (!equal) throw new LacunaError('INTERNAL', 'the stores differ');
    this.say(`\nevery store exports the same ${count(this.#published)} lines`);
    this.say(
      `${count(this.#sessions)} sessions moved ${count(this.#moved)} messages, in ${seconds} s altogether`,
    );
  }

  say(text: string): void {
    if (!this.#json) print(text);
  }

  #title(text: string): void {
    this.say(`\n── ${text}`);
  }

  #onEvent(event: NodeEvent): void {
    if (event.event !== 'session' || event['role'] !== 'initiator') return;
    this.#sessions += 1;
    this.#moved += Number(event['received']) + Number(event['sent']);
  }

  /** Gives each message to each of the nodes but for some losses, and to one of them for certain. */
  async #publish(messages: number, nodes: readonly DemoNode[]): Promise<void> {
    const batches = nodes.map((): string[] => []);
    for (let index = 0; index < messages; index++) {
      const line = chatLine();
      const certain = Math.floor(Math.random() * nodes.length);
      for (const [place, batch] of batches.entries()) {
        if (place === certain || Math.random() >= LOSS) batch.push(line);
      }
    }
    await Promise.all(nodes.map((node, place) => node.publish(batches[place]!)));
    this.#published += messages;
  }

  /** Waits until each of the nodes holds every message; draws the one that is watched. */
  async #untilEqual(nodes: readonly DemoNode[], watched?: DemoNode): Promise<void> {
    for (;;) {
      const counts = await Promise.all(nodes.map((node) => node.count()));
      if (watched !== undefined) this.#draw(watched.name, counts[nodes.indexOf(watched)]!);
      if (counts.every((held) => held === this.#published)) break;
      if (performance.now() - this.#startedMs > DEADLINE_MS) {
        throw new LacunaError(
          'PEER_TIMEOUT',
          `the fleet is not equal: ${counts.join(', ')} of ${this.#published}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    if (watched !== undefined && process.stdout.isTTY && !this.#json) process.stdout.write('\n');
  }

  #draw(name: string, held: number): void {
    const line = `   ${name.padEnd(5)} ${bar(held / this.#published)} ${count(held)} of ${count(this.#published)}`;
    if (this.#json) return;
    if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${line}`);
    else print(line);
  }

  async #showCounts(when: string): Promise<void> {
    const counts = await Promise.all(this.#fleet.map((node) => node.count()));
    for (const [place, held] of counts.entries()) {
      const lacks = this.#published - held;
      const verdict = lacks === 0 ? 'complete' : `lacks ${count(lacks)}`;
      this.say(
        `   ${when}  ${this.#fleet[place]!.name.padEnd(5)} ${bar(held / this.#published)} ${count(held).padStart(6)}  ${verdict}`,
      );
    }
  }

  async #exportAll(): Promise<{ name: string; sha256: string; lines: number }[]> {
    const digests: { name: string; sha256: string; lines: number }[] = [];
    for (const node of this.#fleet) {
      const code = await node.stop();
      if (code !== 0) throw new LacunaError('INTERNAL', `node ${node.name} ended with code ${code}`);
      const hash = createHash('sha256');
      let lines = 0;
      for await (const chunk of node.export()) {
        hash.update(chunk);
        for (const byte of chunk) if (byte === 10) lines += 1;
      }
      const sha256 = hash.digest('hex');
      this.say(`   ${node.name.padEnd(5)} ${count(lines)} lines  sha256 ${sha256.slice(0, 32)}…`);
      digests.push({ name: node.name, sha256, lines });
    }
    return digests;
  }
}

/** Half a line of the fleet's chat, at a time of the last half hour. */
function chatLine(): string {
  const timestamp = nsFromMs(Date.now() - Math.random() * HISTORY_MS);
  const payload = randomBytes(PAYLOAD_BYTES).toString('base64');
  const message = `{"payload":"${payload}","contentTopic":"/demo/1/chat/proto","version":0,"timestamp":${timestamp}}`;
  return `{"message":${message},"pubsubTopic":"/waku/2/rs/16/32"}`;
}

function bar(share: number): string {
  const filled = Math.round(Math.min(1, share) * BAR_WIDTH);
  return `${'█'.repeat(filled)}${'░'.repeat(BAR_WIDTH - filled)}`;
}
