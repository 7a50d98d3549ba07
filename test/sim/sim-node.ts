/**
 * A whole node without a network or a disk: the protocols of a party, and what keeps its store whole. What it has
 * acknowledged and written down outlives it; everything else is lost when it crashes.
 */
import { EVERYTHING, type Scope } from '../../src/core/scope.ts';
import { LacunaError } from '../../src/errors.ts';
import type { FrameChannel, PeerLink } from '../../src/ports.ts';
import type { NodeEvent } from '../../src/sync/events.ts';
import type { ScopedWindow } from '../../src/sync/scheduler.ts';
import { Upkeep } from '../../src/sync/upkeep.ts';
import { Chance } from '../core/random-sets.ts';
import { MemoryRecords, MemoryStore } from '../memory-store.ts';
import { MemoryChannel } from '../sync/memory-channel.ts';
import { Party } from '../sync/party.ts';
import type { VirtualClock } from '../sync/virtual-clock.ts';
import { NodeClock } from './node-clock.ts';

export interface SimNodeInit {
  readonly name: string;
  readonly seed: number;
  readonly skewMs?: number;
  readonly scope?: Scope;
  readonly intervalMs: number;
  readonly rangeMs: number;
  /** Names of the nodes that it is configured with. */
  readonly peers: readonly string[];
}

/** Who can reach whom, and the streams between them. */
export interface Wires {
  readonly clock: VirtualClock;
  /** The node at the other end of a new connection. @throws LacunaError PEER_UNREACHABLE. */
  dial(from: SimNode, to: string): SimNode;
  hold(from: SimNode, to: SimNode, channel: MemoryChannel): void;
}

export type SimState = 'running' | 'held' | 'down';

const JITTER_MS = 20_000;
/** What it takes to connect: without it, a node that asks again at once would stop the time. */
const DIAL_MS = 20;

export class SimNode {
  readonly name: string;
  readonly clock: NodeClock;
  readonly events: NodeEvent[] = [];
  state: SimState = 'down';
  store = new MemoryStore();
  records = new MemoryRecords();
  /** Sessions that it has asked for, over all its lives. */
  asked = 0;
  party!: Party;
  upkeep!: Upkeep;
  readonly #init: SimNodeInit;
  readonly #wires: Wires;
  #lives = 0;

  constructor(init: SimNodeInit, wires: Wires) {
    this.name = init.name;
    this.#init = init;
    this.#wires = wires;
    this.clock = new NodeClock(wires.clock, init.skewMs);
  }

  async start(): Promise<void> {
    const { scope = EVERYTHING, intervalMs, rangeMs, seed, peers, name } = this.#init;
    const { store, records, clock } = this;
    const chance = new Chance(seed + 7_919 * this.#lives++);
    const random = { below: (below: number) => chance.below(below) };
    const party = new Party(name, this.#wires.clock, {
      ownClock: clock,
      random,
      store,
      records,
      scope,
      gapsWithin: (asked, window) => upkeep.gapsWithin(asked, window),
      onSession: (result, error) => upkeep.settle(result, error),
    });
    const upkeep = await Upkeep.load({
      ownPeer: name,
      store: {
        horizonNs: () => store.horizonNs(),
        get writable() {
          return store.writable;
        },
        records,
        fault: undefined,
      },
      clock,
      random,
      log: party.log,
      scope,
      intervalMs,
      rangeMs,
      jitterMs: JITTER_MS,
      staticPeers: peers.map(addressOf),
      bootstrapPeers: [],
      isPassive: false,
      keptOf: (window) => keptOf(window, store.keptSinceNs),
      synchronise: async (address, window, stop) => {
        this.asked += 1;
        await clock.sleep(DIAL_MS, stop);
        const link = this.#linkTo(address.slice(address.lastIndexOf('/') + 1));
        const plan = { ...window, direction: 'both', dryRun: false } as const;
        return await party.both.synchronise(link, plan, 'auto', stop);
      },
      emit: (event) => this.events.push(event),
    });
    this.party = party;
    this.upkeep = upkeep;
    await upkeep.start();
    this.state = 'running';
  }

  /** A clean end. */
  async stop(): Promise<void> {
    this.clock.release();
    await this.upkeep.stop();
    this.state = 'down';
  }

  /** An end in the midst of everything: what was not acknowledged or written down by now never was. */
  crash(): void {
    const [store, records] = [this.store, this.records];
    this.store = new MemoryStore(store.messages);
    this.store.keptSinceNs = store.keptSinceNs;
    this.records = records.copy();
    store.writable = false;
    this.state = 'down';
    this.clock.release();
    // Only so that nothing goes on: what it still writes, nobody reads.
    void this.upkeep.stop();
  }

  hold(): void {
    this.clock.hold();
    this.state = 'held';
  }

  release(): void {
    this.clock.release();
    this.state = 'running';
  }

  #linkTo(name: string): PeerLink {
    const other = this.#wires.dial(this, name);
    const { party } = this;
    const open = (serve: (there: Party, channel: FrameChannel) => Promise<void>): FrameChannel => {
      const [here, there] = MemoryChannel.pair(this.#wires.clock);
      this.#wires.hold(this, other, here);
      void serve(other.party, there);
      return here;
    };
    const nobody = async (): Promise<FrameChannel> => {
      throw new LacunaError('PEER_PROTOCOL', 'only Lacunas live here');
    };
    return {
      peer: name,
      isLacuna: true,
      openSync: async () =>
        open((there, channel) => there.both.serve('native', there.linkTo(party), channel)),
      openReconciliation: nobody,
      openTransfer: nobody,
      openStoreQuery: nobody,
      reconciles: true,
    };
  }
}

export function addressOf(name: string): string {
  return `/memory/${name}/p2p/${name}`;
}

function keptOf(window: ScopedWindow, keptSinceNs: bigint): ScopedWindow[] {
  const sinceNs = window.sinceNs > keptSinceNs ? window.sinceNs : keptSinceNs;
  return sinceNs < window.untilNs ? [{ ...window, sinceNs }] : [];
}
