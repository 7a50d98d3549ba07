/**
 * A fleet of real nodes that keep in step with each other over lines that can be cut, while messages are published to
 * some of them: what happens to which node is drawn from one seed.
 */
import { createServer } from 'node:net';
import { lineOf, makeMessage } from '../e2e/message-lines.ts';
import {
  ask,
  type JsonObject,
  lacunaJson,
  type RunningNode,
  startNode,
  temporaryFolder,
} from '../e2e/process.ts';
import { CuttableLine } from './cuttable-line.ts';

export type Trouble = 'stop' | 'kill' | 'pause' | 'cut';
const TROUBLES: readonly Trouble[] = ['stop', 'kill', 'pause', 'cut'];

export interface Member {
  readonly name: string;
  readonly data: string;
  readonly peerId: string;
  readonly port: number;
  /** The lines over which the others reach it. */
  readonly lines: CuttableLine[];
  node: RunningNode | undefined;
  trouble: Trouble | undefined;
}

export interface FleetInit {
  readonly nodes: number;
  readonly seed: number;
  readonly args: readonly string[];
}

export class TroubledFleet {
  readonly members: Member[] = [];
  /** Hashes of the messages that at least one node has acknowledged. */
  readonly acknowledged = new Set<string>();
  readonly told: Record<Trouble, number> = { stop: 0, kill: 0, pause: 0, cut: 0 };
  readonly #init: FleetInit;
  readonly #random: () => number;
  #published = 0;

  private constructor(init: FleetInit) {
    this.#init = init;
    this.#random = seeded(init.seed);
  }

  static async start(init: FleetInit): Promise<TroubledFleet> {
    const fleet = new TroubledFleet(init);
    for (let at = 0; at < init.nodes; at++) {
      const data = await temporaryFolder();
      const { json } = await lacunaJson(['init', '--data', data]);
      const member = { name: `node ${at}`, data, peerId: String(json['peerId']), port: await freePort() };
      fleet.members.push({ ...member, lines: [], node: undefined, trouble: undefined });
    }
    for (const member of fleet.members) {
      for (let at = 1; at < init.nodes; at++) member.lines.push(await CuttableLine.open(member.port));
    }
    await Promise.all(fleet.members.map((member) => fleet.bringUp(member)));
    return fleet;
  }

  get quiet(): Member[] {
    return this.members.filter(({ trouble }) => trouble === undefined);
  }

  /** A whole number from 0 to below. */
  below(below: number): number {
    return Math.floor(this.#random() * below);
  }

  async bringUp(member: Member): Promise<void> {
    const at = this.members.indexOf(member);
    const peers = this.members.flatMap((other, place) => {
      if (other === member) return [];
      const line = other.lines[at < place ? at : at - 1]!;
      return ['--peer', `/ip4/127.0.0.1/tcp/${line.port}/p2p/${other.peerId}`];
    });
    const listen = ['--listen', `/ip4/127.0.0.1/tcp/${member.port}`];
    // What they tell each other of where they listen would lead around the lines.
    const environment = { LACUNA_LEARN_PEERS: 'false' };
    member.node = await startNode(member.data, [...listen, ...peers, ...this.#init.args], { environment });
  }

  /** Publishes to some of the nodes that can take it, as a network that loses messages does. */
  async publish(): Promise<void> {
    const able = this.members.filter(({ trouble }) => trouble === undefined || trouble === 'cut');
    if (able.length === 0) return;
    const count = 1 + this.below(5);
    const lines = Array.from({ length: count }, () => this.#message());
    const first = this.below(able.length);
    const takers = able.filter((_, at) => at === first || this.below(3) > 0);
    await Promise.all(takers.map((member) => this.#give(member, lines)));
  }

  /** Something happens to a node that is well. */
  async strike(): Promise<Member | undefined> {
    const well = this.quiet;
    if (well.length < 2) return undefined;
    const member = well[this.below(well.length)]!;
    // Each at least once, then as it comes.
    const untold = TROUBLES.filter((kind) => this.told[kind] === 0);
    const kinds = untold.length > 0 ? untold : TROUBLES;
    const trouble = kinds[this.below(kinds.length)]!;
    member.trouble = trouble;
    this.told[trouble] += 1;
    const { process } = member.node!;
    if (trouble === 'pause') process.kill('SIGSTOP');
    else if (trouble === 'cut') {
      for (const line of this.#linesOf(member)) line.cut();
    } else {
      process.kill(trouble === 'kill' ? 'SIGKILL' : 'SIGTERM');
      await process.ended;
    }
    return member;
  }

  async heal(member: Member): Promise<void> {
    const { trouble } = member;
    if (trouble === 'pause') member.node!.process.kill('SIGCONT');
    else if (trouble === 'cut') {
      for (const line of this.#linesOf(member)) {
        const isOthersTrouble = this.members.some(
          (other) => other !== member && other.trouble === 'cut' && this.#linesOf(other).includes(line),
        );
        if (!isOthersTrouble) line.mend();
      }
    } else if (trouble !== undefined) await this.bringUp(member);
    member.trouble = undefined;
  }

  async healAll(): Promise<void> {
    for (const member of this.members) await this.heal(member);
  }

  /** Per node: how many messages it holds, and its open gaps. */
  async states(): Promise<{ name: string; messages: number; gaps: JsonObject[] }[]> {
    return await Promise.all(
      this.members.map(async ({ name, node }) => {
        const [status, gaps] = await Promise.all([ask(node!, '/api/v1/status'), ask(node!, '/api/v1/gaps')]);
        return { name, messages: Number(status.json['messages']), gaps: gaps.json['rows'] as JsonObject[] };
      }),
    );
  }

  async stop(): Promise<void> {
    for (const { node } of this.members) node?.process.kill('SIGTERM');
    await Promise.all(this.members.map(({ node }) => node?.process.ended));
    await Promise.all(this.members.flatMap(({ lines }) => lines.map((line) => line.close())));
  }

  /** All lines that it is reached by, and those by which it reaches the others. */
  #linesOf(member: Member): CuttableLine[] {
    const at = this.members.indexOf(member);
    const out = this.members.flatMap((other, place) =>
      other === member ? [] : [other.lines[at < place ? at : at - 1]!],
    );
    return [...member.lines, ...out];
  }

  #message(): { hash: string; line: string } {
    this.#published += 1;
    const timestamp = BigInt(Date.now()) * 1_000_000n + BigInt(this.#published % 1_000_000);
    const message = makeMessage({ timestamp, seed: this.#published, payloadBytes: 100 + this.below(400) });
    const line = lineOf(message);
    return { hash: /0x[0-9a-f]{64}/.exec(line)![0], line };
  }

  async #give(member: Member, lines: readonly { hash: string; line: string }[]): Promise<void> {
    const { node } = member;
    try {
      const response = await fetch(`${node!.http}/store/v1/messages`, {
        method: 'POST',
        body: `[${lines.map(({ line }) => line).join(',')}]`,
        signal: AbortSignal.timeout(5_000),
      });
      if (response.ok) for (const { hash } of lines) this.acknowledged.add(hash);
    } catch {
      // It was stopped meanwhile: nothing was acknowledged.
    }
  }
}

/** Numbers from 0 to 1 that follow from the seed (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (typeof address !== 'object' || address === null) throw new Error('no port');
  return address.port;
}
