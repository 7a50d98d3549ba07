/**
 * The composition root: the only file that names concrete classes. Opens the store, the host and the protocols
 * in order, and closes them in the reverse one.
 */
import { join } from 'node:path';
import type { Config } from './config.ts';
import type { Scope } from './core/scope.ts';
import { LacunaError, toLacunaError } from './errors.ts';
import { loadOrCreateIdentity } from './identity.ts';
import { LIMITS } from './limits.ts';
import { Host } from './net/host.ts';
import { serveSessions } from './net/sessions.ts';
import { ClusterCheck, serveMetadata } from './net/waku-metadata.ts';
import { serveTransfer } from './net/waku-transfer.ts';
import type { Clock, Logger, PeerLink, Random } from './ports.ts';
import { LevelMessageStore } from './store/message-store.ts';
import { Ingest } from './sync/ingest.ts';
import { Agreements } from './sync/native/agreements.ts';
import { Pace } from './sync/native/pace.ts';
import { NativeSynchroniser } from './sync/native/synchroniser.ts';
import { Scheduler } from './sync/scheduler.ts';
import type { Dialect, Direction, SessionPlan, SessionResult } from './sync/session.ts';
import { SessionRunner } from './sync/session-runner.ts';
import { SessionTable } from './sync/session-table.ts';
import { Strikes } from './sync/strikes.ts';
import { Synchroniser } from './sync/synchroniser.ts';
import { WakuSynchroniser } from './sync/waku/synchroniser.ts';
import { TransferReceiver } from './sync/waku/transfer.ts';
import { systemClock, systemRandom, systemSha256 } from './system.ts';
import { nsFromMs } from './time.ts';
import { VERSION } from './version.ts';
import type { WakuMetadata } from './wire/waku-metadata.ts';

export interface NodeInit {
  readonly config: Config;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Make the data folder where there is none. */
  readonly create?: boolean;
  readonly onSession?: (result: SessionResult, error: LacunaError | undefined) => void;
}

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
  readonly ingest: Ingest;
  readonly strikes: Strikes;
  readonly sessions: SessionTable;
  readonly #host: Host;
  readonly #cluster: ClusterCheck;
  readonly #receiver: TransferReceiver;
  readonly #synchroniser: Synchroniser;
  readonly #scheduler: Scheduler;
  readonly #config: Config;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  #stopped: Promise<void> | undefined;

  private constructor(init: NodeInit, store: LevelMessageStore, host: Host, strikes: Strikes) {
    const { config, log } = init;
    const random = init.random ?? systemRandom;
    const clock = init.clock ?? systemClock;
    const scope = { pubsubTopics: config.pubsubTopic, contentTopics: config.contentTopic };
    this.#config = config;
    this.#clock = clock;
    this.#log = log;
    this.store = store;
    this.#host = host;
    this.strikes = strikes;
    this.sessions = new SessionTable(clock);
    this.ingest = new Ingest(store, clock, systemSha256);
    const onSession = init.onSession ?? (() => undefined);
    const { sessions, ingest } = this;
    const runner = new SessionRunner({ sessions, strikes, clock, log, onSession });
    const native = new NativeSynchroniser({
      runner,
      store,
      ingest,
      strikes,
      agreements: new Agreements({ records: store.records, sha256: systemSha256, clock, log }),
      clock,
      random,
      scope,
      upload: new Pace(clock, config.uploadRate?.all),
      download: new Pace(clock, config.downloadRate?.all),
    });
    const waku = new WakuSynchroniser({ runner, store, clock, random, scope });
    this.#synchroniser = new Synchroniser(native, waku);
    this.#cluster = new ClusterCheck(host, metadataOf(config), namedCluster(config) !== undefined);
    this.#scheduler = new Scheduler({
      peers: config.peer,
      intervalMs: config.syncInterval,
      synchronise: (peer, stop) => this.#synchroniseLately(peer, stop),
      clock,
      random,
      log,
    });
    this.#receiver = new TransferReceiver(this.ingest, store, sessions, strikes, log);
    strikes.onBan = (peer) => {
      log.warn({ code: 'PEER_BANNED', peer }, 'a peer broke the protocol too often: banned for a while');
      host.disconnect(peer);
    };
  }

  /** Opens the store and the host; nothing listens yet. */
  static async open(init: NodeInit): Promise<LacunaNode> {
    const { config, log } = init;
    const clock = init.clock ?? systemClock;
    const create = init.create ?? false;
    const store = await LevelMessageStore.open({
      directory: config.data,
      create,
      clock,
      log,
      sha256: systemSha256,
    });
    const strikes = new Strikes(clock);
    try {
      const host = await Host.create({
        privateKey: await loadOrCreateIdentity(config.data),
        peerStoreDirectory: join(config.data, 'libp2p'),
        listen: config.listen,
        version: VERSION,
        clock,
        isBanned: (peer) => strikes.isBanned(peer),
      });
      return new LacunaNode(init, store, host, strikes);
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  get peerId(): string {
    return this.#host.peerId;
  }

  get addresses(): string[] {
    return this.#host.addresses;
  }

  get connections(): number {
    return this.#host.libp2p.getConnections().length;
  }

  /** Serves the protocols, listens, and begins the periodic sessions. */
  async start(): Promise<void> {
    await serveMetadata(this.#host, metadataOf(this.#config));
    await serveTransfer(this.#host, this.#receiver);
    await serveSessions(this.#host, this.#synchroniser, this.#cluster, this.#stop.signal, this.#log);
    await this.#host.start();
    this.#scheduler.start();
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
    const plan = this.#plan(link.isLacuna, options);
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
          this.#synchroniser.synchronise(link, this.#plan(link.isLacuna, options), options.dialect, stop);
        if (link.isLacuna && options.dialect !== 'waku') return { address, result: await run() };
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

  async #linkTo(address: string, stop: AbortSignal): Promise<PeerLink> {
    const connection = await this.#host.connect(address, stop);
    await this.#cluster.admit(connection);
    return await this.#host.link(connection);
  }

  #stopWith(stop: AbortSignal | undefined): AbortSignal {
    return stop === undefined ? this.#stop.signal : AbortSignal.any([this.#stop.signal, stop]);
  }

  #synchroniseLately(peer: string, stop: AbortSignal): Promise<SessionResult> {
    const untilMs = this.#clock.nowMs() - this.#config.syncJitter;
    const sinceMs = Math.max(0, untilMs - this.#config.syncRange);
    return this.sync(peer, { sinceNs: nsFromMs(sinceMs), untilNs: nsFromMs(untilMs), stop });
  }

  /**
   * Where nothing is said, two Lacunas compare all they have. A stock node keeps an index of its last hour only:
   * asked for more, it would be sent history that it does not look for.
   */
  #plan(isLacuna: boolean, options: SyncOptions): SessionPlan {
    const nowMs = this.#clock.nowMs();
    const untilMs = isLacuna ? nowMs + LIMITS.importFutureMs : nowMs - LIMITS.sessionJitterMs;
    const sinceMs = isLacuna ? 0 : untilMs - LIMITS.stockSyncRangeMs;
    const sinceNs = options.sinceNs ?? nsFromMs(sinceMs);
    const untilNs = options.untilNs ?? nsFromMs(untilMs);
    if (sinceNs >= untilNs)
      throw new LacunaError('USAGE', 'the window is empty: --since is not before --until');
    const scope = options.scope ?? {
      pubsubTopics: this.#config.pubsubTopic,
      contentTopics: this.#config.contentTopic,
    };
    const { direction = 'both', dryRun = false, messagesMax, bytesMax, audit, onProgress } = options;
    return { scope, sinceNs, untilNs, direction, dryRun, messagesMax, bytesMax, audit, onProgress };
  }

  async #stopInOrder(): Promise<void> {
    this.#stop.abort(new LacunaError('SESSION_ABORTED', 'the node stops'));
    await this.#scheduler.stop();
    await this.#host.stop();
    await this.store.close();
  }
}

/** The cluster that the operator named, in so many words or by static sharding topics. */
function namedCluster(config: Config): number | undefined {
  if (config.clusterId !== undefined) return config.clusterId;
  for (const topic of config.pubsubTopic) {
    const match = STATIC_SHARD.exec(topic);
    if (match !== null) return Number(match[1]);
  }
  return undefined;
}

const STATIC_SHARD = /^\/waku\/2\/rs\/(\d{1,5})\/(\d{1,5})$/;
const THE_WAKU_NETWORK = 1;

function metadataOf(config: Config): WakuMetadata {
  const shards = config.pubsubTopic.flatMap((topic) => {
    const match = STATIC_SHARD.exec(topic);
    return match === null ? [] : [Number(match[2])];
  });
  return { clusterId: namedCluster(config) ?? THE_WAKU_NETWORK, shards };
}
