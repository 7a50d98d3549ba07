/**
 * What keeps a store whole for months without anybody looking: the ledger of gaps, the heartbeat that finds them, the
 * directory of peers, and the scheduler that closes them. Every session of the node is told here when it ends, and what
 * it means for the ledger is decided here.
 */
import type { Interval } from '../core/interval.ts';
import type { Scope } from '../core/scope.ts';
import type { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { MessageStore, Records } from '../ports.ts';
import type { NodeEvent } from './events.ts';
import { Heartbeat } from './heartbeat.ts';
import type { PeerSource } from './known-peer.ts';
import { Ledger } from './ledger.ts';
import { PeerDirectory } from './peers.ts';
import { Scheduler, type SchedulerInit } from './scheduler.ts';
import type { SessionResult } from './session.ts';

export interface UpkeepInit
  extends Pick<
    SchedulerInit,
    'clock' | 'random' | 'log' | 'scope' | 'intervalMs' | 'rangeMs' | 'jitterMs' | 'keptOf' | 'synchronise'
  > {
  readonly ownPeer: string;
  readonly store: Pick<MessageStore, 'horizonNs' | 'writable'> & {
    readonly records: Records;
    readonly fault: LacunaError | undefined;
  };
  /** Static peers, and those to begin with. */
  readonly staticPeers: readonly string[];
  readonly bootstrapPeers: readonly string[];
  /** A node that was told of no peers serves those who come, and asks nobody. */
  readonly isPassive: boolean;
  readonly emit: (event: NodeEvent) => void;
}

/** The same skew of the same peer is reported again after this. */
const SKEW_REPORT_MS = 3_600_000;

export class Upkeep {
  readonly ledger: Ledger;
  readonly peers: PeerDirectory;
  readonly #init: UpkeepInit;
  readonly #scheduler: Scheduler;
  readonly #heartbeat: Heartbeat;
  readonly #connected = new Set<string>();
  readonly #skewsToldMs = new Map<string, number>();
  #isRunning = false;

  private constructor(init: UpkeepInit, ledger: Ledger) {
    this.#init = init;
    this.ledger = ledger;
    const { clock, random, log, scope, store, intervalMs, rangeMs, jitterMs, keptOf, synchronise } = init;
    this.peers = new PeerDirectory({
      ownPeer: init.ownPeer,
      clock,
      random,
      intervalMs,
      asksInbound: !init.isPassive,
      onNews: () => this.#scheduler.soon(),
    });
    const { peers } = this;
    this.#scheduler = new Scheduler({
      peers,
      ledger,
      clock,
      random,
      log,
      scope,
      intervalMs,
      rangeMs,
      jitterMs,
      keptOf,
      synchronise,
    });
    this.#heartbeat = new Heartbeat({
      records: store.records,
      ledger,
      clock,
      log,
      scope,
      horizonNs: () => store.horizonNs(scope),
      peersConnected: () => this.#connected.size,
      isWritable: () => store.writable,
      rounds: () => this.#scheduler.rounds,
      onHeld: () => this.#scheduler.soon(),
      onWritable: (isWritable) => {
        this.#tellWritable(isWritable);
        if (isWritable) this.#scheduler.soon();
      },
    });
  }

  static async load(init: UpkeepInit): Promise<Upkeep> {
    const { clock, log, emit } = init;
    const ledger = await Ledger.load({
      records: init.store.records,
      clock,
      log,
      onOpened: (gap) => emit({ event: 'gap-opened', gap }),
      onClosed: (gap) => emit({ event: 'gap-closed', gap }),
    });
    return new Upkeep(init, ledger);
  }

  /** Finds what was missed since the node ran last, and begins to close it. */
  async start(): Promise<void> {
    const rounds = await this.#heartbeat.begin();
    this.#isRunning = true;
    for (const address of this.#init.bootstrapPeers) this.peers.add(address, 'bootstrap');
    for (const address of this.#init.staticPeers) this.peers.add(address, 'static');
    this.#heartbeat.start();
    this.#scheduler.start(rounds);
  }

  async stop(): Promise<void> {
    await this.#scheduler.stop();
    if (this.#isRunning) await this.#heartbeat.stop();
    else await this.ledger.save();
  }

  /** A peer was heard of. */
  heard(address: string, source: PeerSource): void {
    this.peers.add(address, source);
  }

  connected(peer: string): void {
    this.#connected.add(peer);
    this.peers.connected(peer);
  }

  disconnected(peer: string): void {
    this.#connected.delete(peer);
    this.peers.disconnected(peer);
  }

  /** Where this node may lack messages of a window. */
  gapsWithin(scope: Scope, window: Interval): readonly Interval[] {
    // Woken a moment ago, it does not vouch for the time that it slept through.
    if (this.#isRunning) this.#heartbeat.look();
    return this.ledger.gapsWithin(scope, window);
  }

  /** A session has ended, whoever asked for it. */
  settle(result: SessionResult, error: LacunaError | undefined): void {
    this.peers.note(result);
    this.#watchClock(result);
    if (error === undefined && result.complete) this.ledger.compared(result);
    else if (result.takes && result.missing > 0 && !result.capped) this.#noteMissing(result);
    this.#scheduler.wake();
  }

  /** What a peer has and did not bring may be had of another one, also after a crash. */
  #noteMissing({ scope, ...window }: SessionResult): void {
    for (const part of this.ledger.outsideGaps(scope, window)) this.ledger.add('session', scope, part);
    void this.ledger.save();
  }

  #watchClock({ peer, peerSkewMs }: SessionResult): void {
    if (peerSkewMs === undefined || Math.abs(peerSkewMs) < LIMITS.clockSkewMs) return;
    const { clock, log, emit } = this.#init;
    const nowMs = clock.monotonicMs();
    const toldMs = this.#skewsToldMs.get(peer);
    if (toldMs !== undefined && nowMs - toldMs < SKEW_REPORT_MS) return;
    if (this.#skewsToldMs.size >= LIMITS.peersKnown) this.#skewsToldMs.clear();
    this.#skewsToldMs.set(peer, nowMs);
    const skewMs = Math.round(peerSkewMs);
    log.warn(
      { peer, skewMs },
      'the clock of a peer and the one of this machine differ: one of them is wrong',
    );
    emit({ event: 'skew', peer, skewMs });
  }

  #tellWritable(isWritable: boolean): void {
    const { emit, store } = this.#init;
    if (isWritable) emit({ event: 'recovered' });
    else if (store.fault !== undefined) emit({ event: 'fault', error: store.fault });
  }
}
