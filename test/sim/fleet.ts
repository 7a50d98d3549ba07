/** A fleet of nodes over one clock and one seed, and what happens to fleets: partitions, crashes, sleep, broken links. */
import { LacunaError } from '../../src/errors.ts';
import { Examiner } from '../../src/sync/ingest.ts';
import { systemSha256 } from '../../src/system.ts';
import { nsFromMs } from '../../src/time.ts';
import { Chance } from '../core/random-sets.ts';
import { hexOf, messageOf } from '../sample-messages.ts';
import type { MemoryChannel } from '../sync/memory-channel.ts';
import { hashes } from '../sync/party.ts';
import { VirtualClock } from '../sync/virtual-clock.ts';
import { SimNode, type SimNodeInit, type Wires } from './sim-node.ts';

export interface FleetInit {
  readonly seed: number;
  readonly size: number;
  readonly intervalMs: number;
  readonly rangeMs: number;
  /** The most that a clock is off. */
  readonly skewMs?: number;
  /** What is different with single nodes. */
  readonly nodes?: (at: number) => Partial<SimNodeInit>;
}

interface Wire {
  readonly ends: readonly [SimNode, SimNode];
  readonly channel: MemoryChannel;
}

const HOUR_MS = 3_600_000;

export class Fleet implements Wires {
  readonly clock = new VirtualClock();
  readonly nodes: readonly SimNode[];
  readonly chance: Chance;
  /** What was published and taken by at least one node, as text. */
  readonly published: string[] = [];
  readonly #examiner = new Examiner(this.clock, systemSha256);
  readonly #wires = new Set<Wire>();
  /** The side of each node while there is a partition. */
  #sides = new Map<SimNode, number>();

  constructor({ seed, size, intervalMs, rangeMs, skewMs = 0, nodes }: FleetInit) {
    this.chance = new Chance(seed);
    const names = Array.from({ length: size }, (_, at) => `node${at}`);
    this.nodes = names.map((name, at) => {
      const init = {
        name,
        seed: seed * 101 + at,
        skewMs: Math.round(((this.chance.below(2_001) - 1_000) / 1_000) * skewMs),
        intervalMs,
        rangeMs,
        peers: names.filter((other) => other !== name),
        ...nodes?.(at),
      };
      return new SimNode(init, this);
    });
  }

  dial(from: SimNode, to: string): SimNode {
    const other = this.nodes.find(({ name }) => name === to);
    if (other === undefined || !this.#areLinked(from, other)) {
      throw new LacunaError('PEER_UNREACHABLE', 'there is no way to it');
    }
    from.upkeep.connected(other.name);
    other.upkeep.connected(from.name);
    return other;
  }

  hold(from: SimNode, to: SimNode, channel: MemoryChannel): void {
    for (const wire of this.#wires)
      if (wire.channel.isClosed || wire.channel.isReset) this.#wires.delete(wire);
    this.#wires.add({ ends: [from, to], channel });
  }

  async start(...nodes: readonly SimNode[]): Promise<void> {
    for (const node of nodes) if (node.state === 'down') await node.start();
  }

  async stop(node: SimNode): Promise<void> {
    if (node.state !== 'running') return;
    await this.clock.run(node.stop());
    this.#cut();
  }

  crash(node: SimNode): void {
    if (node.state === 'down') return;
    node.crash();
    this.#cut();
  }

  sleep(node: SimNode): void {
    if (node.state !== 'running') return;
    node.hold();
    this.#cut();
  }

  wake(node: SimNode): void {
    if (node.state === 'held') node.release();
  }

  /** Two sides that do not reach each other. */
  part(): void {
    this.#sides = new Map(this.nodes.map((node) => [node, this.chance.below(2)]));
    this.#cut();
  }

  join(): void {
    this.#sides.clear();
  }

  /** Every stream breaks, whatever it is in the midst of. */
  breakLinks(): void {
    for (const { channel } of this.#wires) channel.abort(new Error('cut'));
    this.#wires.clear();
  }

  /** Whatever was broken is whole again. */
  async heal(): Promise<void> {
    this.join();
    for (const node of this.nodes) this.wake(node);
    await this.start(...this.nodes);
  }

  /** A message of this moment, as a clock that is a little off has it, reaches some of the nodes by relay. */
  publish(to: readonly SimNode[] = this.someRunning(), topics: { pubsubTopic?: string } = {}): void {
    const timestamp = nsFromMs(this.clock.nowMs() + this.chance.below(40_001) - 20_000);
    const payload = Uint8Array.from({ length: 8 }, () => this.chance.below(256));
    const admission = this.#examiner.examine(messageOf({ timestamp, payload, ...topics }), HOUR_MS);
    if ('refused' in admission) throw new Error(admission.refused);
    if (to.length === 0) return;
    this.published.push(hexOf(admission.stored));
    for (const node of to) void node.store.append([admission.stored]);
  }

  someRunning(): SimNode[] {
    return this.nodes.filter(({ state }) => state === 'running' && this.chance.below(2) === 0);
  }

  /** What is not as it should be in the end, in words; nothing, when all have all and lack nothing. */
  faults(): string[] {
    const all = [...this.published].sort().join();
    return this.nodes.flatMap(({ name, store, upkeep }) => {
      const gaps = upkeep.ledger.open().length;
      const lacks = hashes(store.messages).join() === all ? 0 : this.published.length - store.count;
      const isWhole = hashes(store.messages).join() === all;
      return [
        ...(isWhole ? [] : [`${name} lacks ${lacks}`]),
        ...(gaps === 0 ? [] : [`${name} has ${gaps} gaps`]),
      ];
    });
  }

  /** How long it takes until nothing is at fault, tried at every interval; undefined when it is not in time. */
  async intervalsToBeWhole(intervalMs: number, most: number): Promise<number | undefined> {
    for (let intervals = 0; intervals <= most; intervals++) {
      if (this.faults().length === 0) return intervals;
      if (intervals < most) await this.clock.advance(intervalMs);
    }
    return undefined;
  }

  async end(): Promise<void> {
    for (const node of this.nodes) if (node.state !== 'down') node.crash();
    this.breakLinks();
    await this.clock.advance(HOUR_MS);
  }

  #areLinked(a: SimNode, b: SimNode): boolean {
    return a.state === 'running' && b.state === 'running' && this.#sides.get(a) === this.#sides.get(b);
  }

  /** Breaks what goes where there is no way any more. */
  #cut(): void {
    for (const wire of this.#wires) {
      if (this.#areLinked(...wire.ends)) continue;
      wire.channel.abort(new Error('cut'));
      this.#wires.delete(wire);
    }
    for (const a of this.nodes) {
      if (a.state === 'down') continue;
      for (const b of this.nodes) if (a !== b && !this.#areLinked(a, b)) a.upkeep.disconnected(b.name);
    }
  }
}
