/**
 * The composition root: the only file that names concrete classes. Opens the store, the host and the protocols
 * in order, and closes them in the reverse one.
 */
import { join } from 'node:path';
import { Auditor } from './audit/auditor.ts';
import type { Config } from './config.ts';
import type { Scope } from './core/scope.ts';
import { LacunaError, toLacunaError } from './errors.ts';
import { loadOrCreateIdentity } from './identity.ts';
import { LIMITS } from './limits.ts';
import { peerOfAddress } from './net/addresses.ts';
import { Host } from './net/host.ts';
import { PeerLearner, servePeers } from './net/peers.ts';
import { STORE_QUERY, SYNC, TRANSFER } from './net/protocols.ts';
import { serveSessions } from './net/sessions.ts';
import { ClusterCheck, metadataOf, namedCluster, serveMetadata } from './net/waku-metadata.ts';
import { serveStoreQueries } from './net/waku-store.ts';
import { serveTransfer } from './net/waku-transfer.ts';
import type { Clock, Logger, PeerLink, Random } from './ports.ts';
import { LevelMessageStore } from './store/message-store.ts';
import { Budgets } from './sync/budgets.ts';
import { NodeEvents } from './sync/events.ts';
import { Gate } from './sync/gate.ts';
import { Ingest } from './sync/ingest.ts';
import type { PeerSource } from './sync/known-peer.ts';
import type { Ledger } from './sync/ledger.ts';
import { LimitCounts } from './sync/limit-counts.ts';
import type { MissingBook } from './sync/missing-book.ts';
import { Agreements } from './sync/native/agreements.ts';
import { NativeSynchroniser } from './sync/native/synchroniser.ts';
import { Pace } from './sync/pace.ts';
import type { PeerDirectory } from './sync/peers.ts';
import { RequestPace } from './sync/query/request-pace.ts';
import { StoreClient } from './sync/query/store-client.ts';
import { QuerySynchroniser } from './sync/query/synchroniser.ts';
import type { ScopedWindow } from './sync/scheduler.ts';
import type { Dialect, Direction, SessionPlan, SessionResult } from './sync/session.ts';
import { SessionRunner } from './sync/session-runner.ts';
import { SessionTable } from './sync/session-table.ts';
import { StoreResponder } from './sync/store-query/responder.ts';
import { StoreService } from './sync/store-query/service.ts';
import { Strikes } from './sync/strikes.ts';
import { Synchroniser } from './sync/synchroniser.ts';
import { Traffic, type TrafficRow } from './sync/traffic.ts';
import { Upkeep } from './sync/upkeep.ts';
import { WakuSynchroniser } from './sync/waku/synchroniser.ts';
import { TransferReceiver } from './sync/waku/transfer.ts';
import { systemClock, systemRandom, systemSha256 } from './system.ts';
import { nsFromMs } from './time.ts';
import { VERSION } from './version.ts';

export interface NodeInit {
  readonly config: Config;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Make the data folder where there is none. */
  readonly create?: boolean;
}

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

/** What is made before the node itself, because making it takes time. */
interface Parts {
  readonly store: LevelMessageStore;
  readonly host: Host;
  readonly gate: Gate;
  readonly counts: LimitCounts;
  readonly strikes: Strikes;
  readonly budgets: Budgets;
  readonly traffic: Traffic;
  readonly clock: Clock;
  readonly random: Random;
  readonly events: NodeEvents;
}

export class LacunaNode {
  readonly store: LevelMessageStore;
  readonly ingest: Ingest;
  readonly strikes: Strikes;
  readonly sessions: SessionTable;
  readonly events: NodeEvents;
  /** What peers named and did not bring. */
  readonly missing: MissingBook;
  /** Answers queries of its history. */
  readonly storeQueries: StoreService;
  /** Compares this node with others, and remembers what came of it. */
  readonly auditor: Auditor;
  readonly #host: Host;
  readonly #gate: Gate;
  readonly #counts: LimitCounts;
  readonly #traffic: Traffic;
  readonly #cluster: ClusterCheck;
  readonly #receiver: TransferReceiver;
  readonly #responder: StoreResponder;
  readonly #synchroniser: Synchroniser;
  readonly #config: Config;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #log: Logger;
  readonly #requests: RequestPace;
  readonly #stop = new AbortController();
  #learner: PeerLearner | undefined;
  #upkeep!: Upkeep;
  #state: NodeState = 'starting';
  #stopped: Promise<void> | undefined;

  private constructor({ config, log }: NodeInit, parts: Parts) {
    const { store, host, gate, counts, strikes, budgets, traffic, clock, random, events } = parts;
    const scope = scopeOf(config);
    this.#config = config;
    this.#clock = clock;
    this.#random = random;
    this.#log = log;
    this.#requests = new RequestPace(clock);
    this.store = store;
    this.events = events;
    this.#host = host;
    this.#gate = gate;
    this.#counts = counts;
    this.#traffic = traffic;
    this.strikes = strikes;
    this.sessions = new SessionTable(clock, counts);
    this.ingest = new Ingest(store, clock, systemSha256);
    const { sessions, ingest } = this;
    const onSession = (result: SessionResult, error: LacunaError | undefined): void => {
      this.#upkeep.settle(result, error);
      events.emit({ event: 'session', result, error });
    };
    const runner = new SessionRunner({ sessions, strikes, store, clock, log, onSession });
    this.missing = runner.missing;
    const upload = new Pace(clock, config.uploadRate?.all, config.uploadRate?.topics);
    const download = new Pace(clock, config.downloadRate?.all, config.downloadRate?.topics);
    const native = new NativeSynchroniser({
      runner,
      store,
      ingest,
      strikes,
      budgets,
      agreements: new Agreements({ records: store.records, sha256: systemSha256, clock, log }),
      traffic: traffic.of(SYNC),
      clock,
      random,
      scope,
      gapsWithin: (asked, window) => this.#upkeep.gapsWithin(asked, window),
      upload,
      download,
    });
    const transfers = traffic.of(TRANSFER);
    const waku = new WakuSynchroniser({
      runner,
      store,
      clock,
      random,
      scope,
      upload,
      budgets,
      traffic: transfers,
    });
    const query = new QuerySynchroniser({
      runner,
      store,
      ingest,
      strikes,
      clock,
      random,
      sha256: systemSha256,
      pace: this.#requests,
      download,
      traffic: traffic.of(STORE_QUERY),
      onCompared: (comparison) => this.ledger.compared(comparison),
    });
    this.#synchroniser = new Synchroniser(native, waku, query, budgets);
    this.#cluster = new ClusterCheck(host, metadataOf(config), namedCluster(config) !== undefined);
    this.#receiver = new TransferReceiver({
      ingest,
      store,
      sessions,
      strikes,
      budgets,
      download,
      traffic: transfers,
      log,
      stop: this.#stop.signal,
    });
    const { archive } = store;
    this.storeQueries = new StoreService({ archive, sha256: systemSha256, clock, log });
    this.#responder = new StoreResponder({
      service: this.storeQueries,
      budgets,
      strikes,
      counts,
      traffic: traffic.of(STORE_QUERY),
    });
    this.auditor = this.#makeAuditor();
    strikes.onBan = (peer) => {
      counts.hit('bans');
      log.warn({ code: 'PEER_BANNED', peer, hosts: host.hostsOf(peer) }, 'a peer is banned for a while');
      host.disconnect(peer);
    };
  }

  /** Opens the store and the host; nothing listens yet. */
  static async open(init: NodeInit): Promise<LacunaNode> {
    const { config, log, clock = systemClock, random = systemRandom } = init;
    const events = new NodeEvents();
    const store = await LevelMessageStore.open({
      directory: config.data,
      create: init.create ?? false,
      clock,
      log,
      sha256: systemSha256,
      retention: config.retention,
      onPruned: (removed, bytes) => events.emit({ event: 'pruned', removed, bytes }),
    });
    try {
      const counts = new LimitCounts();
      const strikes = new Strikes(clock);
      const gate = new Gate({
        allow: config.allowPeer,
        deny: config.denyPeer,
        configured: [...config.peer, ...config.bootstrap].map(peerOfAddress),
        isPrivate: config.private,
        connectionsMax: config.connections,
        isBanned: (peer) => strikes.isBanned(peer),
        counts,
      });
      const budgets = new Budgets({ clock, strikes, counts, isKnown: (peer) => gate.isKnown(peer) });
      const topicsWithRates = [config.uploadRate, config.downloadRate].flatMap((rates) =>
        Object.keys(rates?.topics ?? {}),
      );
      const traffic = new Traffic(config.pubsubTopic, topicsWithRates);
      const host = await Host.create({
        privateKey: await loadOrCreateIdentity(config.data),
        peerStoreDirectory: join(config.data, 'libp2p'),
        listen: config.listen,
        version: VERSION,
        clock,
        gate,
        admitsStream: (peer) => budgets.admitsStream(peer),
        traffic,
        mdns: config.mdns,
      });
      const parts = { store, host, gate, counts, strikes, budgets, traffic, clock, random, events };
      const node = new LacunaNode(init, parts);
      node.#upkeep = await node.#loadUpkeep(random);
      return node;
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  get peerId(): string {
    return this.#host.peerId;
  }

  /** The topics that this node covers; all where none are named. */
  get scope(): Scope {
    return scopeOf(this.#config);
  }

  get addresses(): string[] {
    return this.#host.addresses;
  }

  get connections(): number {
    return this.#host.libp2p.getConnections().length;
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
    return this.#traffic.rows();
  }

  /** How often each limit has turned somebody away. */
  limitsHit(): Readonly<Record<string, number>> {
    return this.#counts.all;
  }

  /** Serves the protocols, listens, finds out what was missed, and begins to fetch it. */
  async start(): Promise<void> {
    const host = this.#host;
    host.onPeer = (address, source) => this.#heard(address, source);
    host.onConnect = (peer) => this.#upkeep.connected(peer);
    host.onDisconnect = (peer) => this.#upkeep.disconnected(peer);
    await serveMetadata(host, this.#config);
    await serveTransfer(host, this.#receiver);
    await serveStoreQueries(host, { responder: this.#responder, strikes: this.strikes, log: this.#log });
    await serveSessions(host, this.#synchroniser, this.#cluster, this.#stop.signal, this.#log);
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
    return await this.#synchroniser.synchronise(link, plan, options.dialect, stop);
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
          this.#synchroniser.synchronise(link, this.#plan(link, options), options.dialect, stop);
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
    const [clock, random, pace] = [this.#clock, this.#random, this.#requests];
    return new StoreClient({ link, clock, random, pace, sha256: systemSha256 });
  }

  #makeAuditor(): Auditor {
    const { store, ingest } = this;
    return new Auditor({
      ownPeer: this.peerId,
      store,
      ingest,
      records: store.records,
      missing: this.missing,
      clock: this.#clock,
      log: this.#log,
      connect: (address, stop) => this.#linkTo(address, stop),
      peerOf: peerOfAddress,
      synchronise: (link, plan, dialect, stop) => this.#synchroniser.synchronise(link, plan, dialect, stop),
      clientOf: (link) => this.#clientOf(link),
      stop: this.#stop.signal,
    });
  }

  async #linkTo(address: string, stop: AbortSignal): Promise<PeerLink> {
    const connection = await this.#host.connect(address, stop);
    await this.#cluster.admit(connection);
    return await this.#host.link(connection);
  }

  #stopWith(stop: AbortSignal | undefined): AbortSignal {
    return stop === undefined ? this.#stop.signal : AbortSignal.any([this.#stop.signal, stop]);
  }

  async #loadUpkeep(random: Random): Promise<Upkeep> {
    const { syncInterval, syncRange, syncJitter, peer, bootstrap, mdns } = this.#config;
    const { store, events } = this;
    return await Upkeep.load({
      ownPeer: this.peerId,
      store,
      clock: this.#clock,
      random,
      log: this.#log,
      scope: scopeOf(this.#config),
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
      const oldestMs = this.#clock.nowMs() - LIMITS.stockSyncRangeMs - LIMITS.sessionJitterMs;
      const oldestNs = nsFromMs(Math.max(0, oldestMs));
      if (oldestNs >= window.untilNs)
        throw new LacunaError('SESSION_WINDOW', 'a stock node keeps no index of that time');
      if (sinceNs < oldestNs) sinceNs = oldestNs;
    }
    const plan: SessionPlan = { ...window, sinceNs, direction: 'both', dryRun: false };
    return await this.#synchroniser.synchronise(link, plan, 'auto', stop);
  }

  async #sharePeers(): Promise<void> {
    const mayShare = (peer: string): boolean => this.#gate.sharesPeersWith(peer);
    await servePeers(this.#host, () => this.peers.goodAddresses(LIMITS.peerListAddresses), mayShare);
    this.#learner = new PeerLearner({
      host: this.#host,
      strikes: this.strikes,
      clock: this.#clock,
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
    const nowMs = this.#clock.nowMs();
    const isAsked = options.dialect === 'query' || !link.reconciles;
    const untilMs = link.isLacuna ? nowMs + LIMITS.importFutureMs : nowMs - LIMITS.sessionJitterMs;
    const sinceMs = link.isLacuna || isAsked ? 0 : untilMs - LIMITS.stockSyncRangeMs;
    const sinceNs = options.sinceNs ?? nsFromMs(sinceMs);
    const untilNs = options.untilNs ?? nsFromMs(untilMs);
    if (sinceNs >= untilNs)
      throw new LacunaError('USAGE', 'the window is empty: --since is not before --until');
    const scope = options.scope ?? scopeOf(this.#config);
    const { direction = 'both', dryRun = false, messagesMax, bytesMax, audit, onProgress } = options;
    return { scope, sinceNs, untilNs, direction, dryRun, messagesMax, bytesMax, audit, onProgress };
  }

  async #stopInOrder(): Promise<void> {
    this.#state = 'stopping';
    this.#stop.abort(new LacunaError('SESSION_ABORTED', 'the node stops'));
    await this.#upkeep.stop();
    await this.#host.stop();
    await this.store.close();
  }
}

function scopeOf(config: Config): Scope {
  return { pubsubTopics: config.pubsubTopic, contentTopics: config.contentTopic };
}
