/**
 * The life of a node: it opens its parts, serves, keeps its store in step with peers, and closes everything in the
 * reverse order. What it is made of stands in `node-parts.ts`.
 */
import { Auditor } from './audit/auditor.ts';
import type { Config } from './config.ts';
import type { Scope } from './core/scope.ts';
import { LacunaError, toLacunaError } from './errors.ts';
import { LIMITS } from './limits.ts';
import { peerOfAddress } from './net/addresses.ts';
import { PeerLearner, servePeers } from './net/peers.ts';
import { serveSessions } from './net/sessions.ts';
import { serveMetadata } from './net/waku-metadata.ts';
import { serveStoreQueries } from './net/waku-store.ts';
import { serveTransfer } from './net/waku-transfer.ts';
import { type NodeInit, openParts, type Parts, type Protocols, protocolsOf } from './node-parts.ts';
import type { Logger, PeerLink } from './ports.ts';
import type { LevelMessageStore } from './store/message-store.ts';
import type { NodeEvents } from './sync/events.ts';
import type { Ingest } from './sync/ingest.ts';
import type { PeerSource } from './sync/known-peer.ts';
import type { Ledger } from './sync/ledger.ts';
import type { MissingBook } from './sync/missing-book.ts';
import type { PeerDirectory } from './sync/peers.ts';
import { StoreClient } from './sync/query/store-client.ts';
import type { ScopedWindow } from './sync/scheduler.ts';
import type { Dialect, Direction, SessionPlan, SessionResult } from './sync/session.ts';
import type { SessionTable } from './sync/session-table.ts';
import type { StoreService } from './sync/store-query/service.ts';
import type { TrafficRow } from './sync/traffic.ts';
import { Upkeep } from './sync/upkeep.ts';
import { systemSha256 } from './system.ts';
import { nsFromMs } from './time.ts';

export type NodeState = 'starting' | 'serving' | 'stopping';

/** What one call of `sync` covers; what is left out is chosen by what the peer is. */
export interface SyncOptions {
  readonly sinceNs?: bigint | undefined;
  readonly untilNs?: bigint | undefined;
  readonly scope?: Scope;
  readonly direction?: Direction;
  readonly dryRun?: boolean;
  readonly dialect?: Dialect | 'auto';
  /** The most that is taken from each peer. */
  readonly messagesMax?: number | undefined;
  readonly bytesMax?: number | undefined;
  readonly audit?: boolean;
  readonly onProgress?: SessionPlan['onProgress'];
  readonly stop?: AbortSignal;
}

/** How the session with one of several peers ended: with a result, or with an error. */
export interface SyncOutcome {
  readonly address: string;
  readonly result?: SessionResult;
  readonly error?: LacunaError;
}

export class LacunaNode {
  readonly store: LevelMessageStore;
  readonly events: NodeEvents;
  /** Compares this node with others, and remembers what came of it. */
  readonly auditor: Auditor;
  readonly #config: Config;
  readonly #log: Logger;
  readonly #parts: Parts;
  readonly #protocols: Protocols;
  readonly #stop = new AbortController();
  #learner: PeerLearner | undefined;
  #upkeep!: Upkeep;
  #state: NodeState = 'starting';
  #stopped: Promise<void> | undefined;

  private constructor({ config, log }: NodeInit, parts: Parts) {
    const { store, events } = parts;
    this.#config = config;
    this.#log = log;
    this.#parts = parts;
    this.store = store;
    this.events = events;
    this.#protocols = protocolsOf(config, log, parts, {
      scope: this.scope,
      stop: this.#stop.signal,
      gapsWithin: (asked, window) => this.#upkeep.gapsWithin(asked, window),
      onCompared: (comparison) => this.ledger.compared(comparison),
      onSession: (result, error) => {
        this.#upkeep.settle(result, error);
        events.emit({ event: 'session', result, error });
      },
    });
    this.auditor = this.#makeAuditor();
    const { strikes, counts, host } = parts;
    strikes.onBan = (peer) => {
      counts.hit('bans');
      log.warn({ code: 'PEER_BANNED', peer, hosts: host.hostsOf(peer) }, 'a peer is banned for a while');
      host.disconnect(peer);
    };
  }

  /** Opens the store and the host; nothing listens yet. */
  static async open(init: NodeInit): Promise<LacunaNode> {
    const parts = await openParts(init);
    try {
      const node = new LacunaNode(init, parts);
      node.#upkeep = await node.#loadUpkeep();
      return node;
    } catch (error) {
      await parts.store.close();
      throw error;
    }
  }

  get peerId(): string {
    return this.#parts.host.peerId;
  }

  get ingest(): Ingest {
    return this.#protocols.ingest;
  }

  get sessions(): SessionTable {
    return this.#protocols.sessions;
  }

  /** Answers queries of its history. */
  get storeQueries(): StoreService {
    return this.#protocols.storeQueries;
  }

  /** What peers named and did not bring. */
  get missing(): MissingBook {
    return this.#protocols.missing;
  }

  /** The topics that this node covers; all where none are named. */
  get scope(): Scope {
    return { pubsubTopics: this.#config.pubsubTopic, contentTopics: this.#config.contentTopic };
  }

  get addresses(): string[] {
    return this.#parts.host.addresses;
  }

  get connections(): number {
    return this.#parts.host.libp2p.getConnections().length;
  }

  get state(): NodeState {
    return this.#state;
  }

  /** Where this store may lack messages, and what was compared with whom. */
  get ledger(): Ledger {
    return this.#upkeep.ledger;
  }

  get peers(): PeerDirectory {
    return this.#upkeep.peers;
  }

  /** Bytes that have moved since the node was opened. */
  traffic(): TrafficRow[] {
    return this.#parts.traffic.rows();
  }

  /** How often each limit has turned somebody away. */
  limitsHit(): Readonly<Record<string, number>> {
    return this.#parts.counts.all;
  }

  /** Serves the protocols, listens, finds out what was missed, and begins to fetch it. */
  async start(): Promise<void> {
    const { host } = this.#parts;
    const { receiver, responder, synchroniser, cluster } = this.#protocols;
    host.onPeer = (address, source) => this.#heard(address, source);
    host.onConnect = (peer) => this.#upkeep.connected(peer);
    host.onDisconnect = (peer) => this.#upkeep.disconnected(peer);
    await serveMetadata(host, this.#config);
    await serveTransfer(host, receiver);
    await serveStoreQueries(host, { responder, strikes: this.#parts.strikes, log: this.#log });
    await serveSessions(host, synchroniser, cluster, this.#stop.signal, this.#log);
    if (this.#config.learnPeers) await this.#sharePeers();
    await host.start();
    await this.#upkeep.start();
    this.store.retention.start();
    this.#state = 'serving';
  }

  /** Ends sessions, closes connections, and writes out the store. Safe to call twice. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stopInOrder();
    return this.#stopped;
  }

  /**
   * One session with the peer at this address.
   *
   * @throws LacunaError PEER_…, SESSION_…, WIRE_…, STORE_…
   */
  async sync(address: string, options: SyncOptions = {}): Promise<SessionResult> {
    const stop = this.#stopWith(options.stop);
    const link = await this.#linkTo(address, stop);
    const plan = this.#plan(link, options);
    return await this.#protocols.synchroniser.synchronise(link, plan, options.dialect, stop);
  }

  /**
   * One session with each peer, as far as they can at the same time: Lacunas share what there is to fetch, whereas a
   * stock node would send what another one is sending, and waits for its turn. Resolves when all have ended; each is
   * told to `onOutcome` when it has.
   */
  async syncAll(
    addresses: readonly string[],
    options: SyncOptions = {},
    onOutcome: (outcome: SyncOutcome) => void = () => undefined,
  ): Promise<SyncOutcome[]> {
    const stop = this.#stopWith(options.stop);
    let turn: Promise<unknown> = Promise.resolve();
    const one = async (address: string): Promise<SyncOutcome> => {
      try {
        const link = await this.#linkTo(address, stop);
        const run = (): Promise<SessionResult> =>
          this.#protocols.synchroniser.synchronise(link, this.#plan(link, options), options.dialect, stop);
        const { dialect = 'auto' } = options;
        if (link.isLacuna && (dialect === 'auto' || dialect === 'native'))
          return { address, result: await run() };
        const session = turn.then(run);
        turn = session.catch(() => undefined);
        return { address, result: await session };
      } catch (error) {
        return { address, error: toLacunaError(error) };
      }
    };
    return await Promise.all(
      addresses.map(async (address) => {
        const outcome = await one(address);
        onOutcome(outcome);
        return outcome;
      }),
    );
  }

  /**
   * Asks the peer at this address for what it has, whether it can reconcile or not. That it answers store queries is
   * known with its first answer, else PEER_PROTOCOL.
   *
   * @throws LacunaError PEER_…
   */
  async storeClient(address: string, stop?: AbortSignal): Promise<StoreClient> {
    return this.#clientOf(await this.#linkTo(address, this.#stopWith(stop)));
  }

  #clientOf(link: PeerLink): StoreClient {
    const { clock, random } = this.#parts;
    return new StoreClient({ link, clock, random, pace: this.#protocols.requests, sha256: systemSha256 });
  }

  #makeAuditor(): Auditor {
    const { store, ingest } = this;
    return new Auditor({
      ownPeer: this.peerId,
      store,
      ingest,
      records: store.records,
      missing: this.missing,
      clock: this.#parts.clock,
      log: this.#log,
      connect: (address, stop) => this.#linkTo(address, stop),
      peerOf: peerOfAddress,
      synchronise: (link, plan, dialect, stop) =>
        this.#protocols.synchroniser.synchronise(link, plan, dialect, stop),
      clientOf: (link) => this.#clientOf(link),
      stop: this.#stop.signal,
    });
  }

  async #linkTo(address: string, stop: AbortSignal): Promise<PeerLink> {
    const connection = await this.#parts.host.connect(address, stop);
    await this.#protocols.cluster.admit(connection);
    return await this.#parts.host.link(connection);
  }

  #stopWith(stop: AbortSignal | undefined): AbortSignal {
    return stop === undefined ? this.#stop.signal : AbortSignal.any([this.#stop.signal, stop]);
  }

  async #loadUpkeep(): Promise<Upkeep> {
    const { syncInterval, syncRange, syncJitter, peer, bootstrap, mdns } = this.#config;
    const { store, events } = this;
    return await Upkeep.load({
      ownPeer: this.peerId,
      store,
      clock: this.#parts.clock,
      random: this.#parts.random,
      log: this.#log,
      scope: this.scope,
      intervalMs: syncInterval,
      rangeMs: syncRange,
      jitterMs: syncJitter,
      staticPeers: peer,
      bootstrapPeers: bootstrap,
      isPassive: peer.length === 0 && bootstrap.length === 0 && !mdns,
      keptOf: ({ scope, sinceNs, untilNs }) => store.retention.windows(scope, sinceNs, untilNs),
      synchronise: (address, window, stop) => this.#synchroniseWindow(address, window, stop),
      emit: (event) => events.emit(event),
    });
  }

  /**
   * A session that the scheduler asks for. A stock node that reconciles looks at its last hour, whatever it is asked for;
   * one that does not is asked for everything by hash.
   */
  async #synchroniseWindow(address: string, window: ScopedWindow, stop: AbortSignal): Promise<SessionResult> {
    const link = await this.#linkTo(address, stop);
    let { sinceNs } = window;
    if (link.isLacuna) void this.#learner?.learnFrom(address, link.peer);
    else if (link.reconciles) {
      const oldestMs = this.#parts.clock.nowMs() - LIMITS.stockSyncRangeMs - LIMITS.sessionJitterMs;
      const oldestNs = nsFromMs(Math.max(0, oldestMs));
      if (oldestNs >= window.untilNs)
        throw new LacunaError('SESSION_WINDOW', 'a stock node keeps no index of that time');
      if (sinceNs < oldestNs) sinceNs = oldestNs;
    }
    const plan: SessionPlan = { ...window, sinceNs, direction: 'both', dryRun: false };
    return await this.#protocols.synchroniser.synchronise(link, plan, 'auto', stop);
  }

  async #sharePeers(): Promise<void> {
    const mayShare = (peer: string): boolean => this.#parts.gate.sharesPeersWith(peer);
    await servePeers(this.#parts.host, () => this.peers.goodAddresses(LIMITS.peerListAddresses), mayShare);
    this.#learner = new PeerLearner({
      host: this.#parts.host,
      strikes: this.#parts.strikes,
      clock: this.#parts.clock,
      log: this.#log,
      mayShare,
      onLearnt: (address) => this.#heard(address, 'learnt'),
      stop: this.#stop.signal,
    });
  }

  #heard(address: string, source: PeerSource): void {
    if (this.#config.learnPeers || source !== 'inbound') this.#upkeep.heard(address, source);
  }

  /**
   * Where nothing is said, two Lacunas compare all they have. A stock node keeps an index of its last hour only:
   * asked for more, it would be sent history that it does not look for. One that is only asked has no such bounds.
   */
  #plan(link: PeerLink, options: SyncOptions): SessionPlan {
    const nowMs = this.#parts.clock.nowMs();
    const isAsked = options.dialect === 'query' || !link.reconciles;
    const untilMs = link.isLacuna ? nowMs + LIMITS.importFutureMs : nowMs - LIMITS.sessionJitterMs;
    const sinceMs = link.isLacuna || isAsked ? 0 : untilMs - LIMITS.stockSyncRangeMs;
    const sinceNs = options.sinceNs ?? nsFromMs(sinceMs);
    const untilNs = options.untilNs ?? nsFromMs(untilMs);
    if (sinceNs >= untilNs)
      throw new LacunaError('USAGE', 'the window is empty: --since is not before --until');
    const scope = options.scope ?? this.scope;
    const { direction = 'both', dryRun = false, messagesMax, bytesMax, audit, onProgress } = options;
    return { scope, sinceNs, untilNs, direction, dryRun, messagesMax, bytesMax, audit, onProgress };
  }

  async #stopInOrder(): Promise<void> {
    this.#state = 'stopping';
    this.#stop.abort(new LacunaError('SESSION_ABORTED', 'the node stops'));
    await this.#upkeep.stop();
    await this.#parts.host.stop();
    await this.store.close();
  }
}
