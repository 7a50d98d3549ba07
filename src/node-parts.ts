/**
 * What a node is made of, and in which order it is made: the store, the host and what stands between peers and both;
 * then the protocols, which are spoken over them. With `node.ts`, which gives it life, all that names concrete classes.
 */
import type { Config } from './config.ts';
import type { Scope } from './core/scope.ts';
import type { LacunaError } from './errors.ts';
import { loadOrCreateIdentity } from './identity.ts';
import { peerOfAddress } from './net/addresses.ts';
import { Host } from './net/host.ts';
import { STORE_QUERY, SYNC, TRANSFER } from './net/protocols.ts';
import { ClusterCheck, metadataOf, namedCluster } from './net/waku-metadata.ts';
import type { Clock, Logger, Random } from './ports.ts';
import { LevelMessageStore } from './store/message-store.ts';
import { Budgets } from './sync/budgets.ts';
import { NodeEvents } from './sync/events.ts';
import { Gate } from './sync/gate.ts';
import { Ingest } from './sync/ingest.ts';
import type { Comparison } from './sync/ledger.ts';
import { LimitCounts } from './sync/limit-counts.ts';
import type { MissingBook } from './sync/missing-book.ts';
import { Agreements } from './sync/native/agreements.ts';
import type { GapsWithin } from './sync/native/greeting.ts';
import { NativeSynchroniser } from './sync/native/synchroniser.ts';
import { Pace } from './sync/pace.ts';
import { RequestPace } from './sync/query/request-pace.ts';
import { QuerySynchroniser } from './sync/query/synchroniser.ts';
import { ScopeIndexes } from './sync/scope-indexes.ts';
import type { SessionResult } from './sync/session.ts';
import { SessionRunner } from './sync/session-runner.ts';
import { SessionTable } from './sync/session-table.ts';
import { StoreResponder } from './sync/store-query/responder.ts';
import { StoreService } from './sync/store-query/service.ts';
import { Strikes } from './sync/strikes.ts';
import { Synchroniser } from './sync/synchroniser.ts';
import { Traffic } from './sync/traffic.ts';
import { WakuSynchroniser } from './sync/waku/synchroniser.ts';
import { TransferReceiver } from './sync/waku/transfer.ts';
import { systemClock, systemRandom, systemSha256 } from './system.ts';
import { VERSION } from './version.ts';

export interface NodeInit {
  readonly config: Config;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Make the data folder where there is none. */
  readonly create?: boolean;
}

/** What peers meet before any protocol, and what all protocols stand on. */
export interface Parts {
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

/** Opens the store and the host; nothing listens yet. */
export async function openParts(init: NodeInit): Promise<Parts> {
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
      listen: config.listen,
      version: VERSION,
      clock,
      gate,
      admitsStream: (peer) => budgets.admitsStream(peer),
      traffic,
      mdns: config.mdns,
    });
    return { store, host, gate, counts, strikes, budgets, traffic, clock, random, events };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** What speaks with peers, and what of it others ask for. */
export interface Protocols {
  readonly ingest: Ingest;
  readonly sessions: SessionTable;
  readonly synchroniser: Synchroniser;
  readonly receiver: TransferReceiver;
  readonly storeQueries: StoreService;
  readonly responder: StoreResponder;
  readonly cluster: ClusterCheck;
  readonly requests: RequestPace;
  readonly missing: MissingBook;
}

/** What protocols tell the node, and ask it for. */
export interface ProtocolHooks {
  readonly scope: Scope;
  readonly stop: AbortSignal;
  readonly gapsWithin: GapsWithin;
  readonly onCompared: (comparison: Comparison) => void;
  readonly onSession: (result: SessionResult, error: LacunaError | undefined) => void;
}

export function protocolsOf(config: Config, log: Logger, parts: Parts, hooks: ProtocolHooks): Protocols {
  const { store, host, counts, strikes, budgets, traffic, clock, random } = parts;
  const { scope } = hooks;
  const sessions = new SessionTable(clock, counts);
  const ingest = new Ingest(store, clock, systemSha256);
  const requests = new RequestPace(clock);
  const runner = new SessionRunner({ sessions, strikes, store, clock, log, onSession: hooks.onSession });
  const upload = new Pace(clock, config.uploadRate?.all, config.uploadRate?.topics);
  const download = new Pace(clock, config.downloadRate?.all, config.downloadRate?.topics);
  const scopes = new ScopeIndexes({ store, budgets, sessions, clock });
  const native = new NativeSynchroniser({
    runner,
    scopes,
    store,
    ingest,
    strikes,
    budgets,
    agreements: new Agreements({ records: store.records, sha256: systemSha256, clock, log }),
    traffic: traffic.of(SYNC),
    clock,
    random,
    scope,
    gapsWithin: hooks.gapsWithin,
    upload,
    download,
  });
  const transfers = traffic.of(TRANSFER);
  const waku = new WakuSynchroniser({
    runner,
    scopes,
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
    pace: requests,
    download,
    traffic: traffic.of(STORE_QUERY),
    onCompared: hooks.onCompared,
  });
  const synchroniser = new Synchroniser(native, waku, query, budgets);
  const cluster = new ClusterCheck(host, metadataOf(config), namedCluster(config) !== undefined);
  const receiver = new TransferReceiver({
    ingest,
    store,
    sessions,
    strikes,
    budgets,
    download,
    traffic: transfers,
    log,
    stop: hooks.stop,
  });
  const storeQueries = new StoreService({ archive: store.archive, sha256: systemSha256, clock, log });
  const responder = new StoreResponder({
    service: storeQueries,
    budgets,
    strikes,
    counts,
    traffic: traffic.of(STORE_QUERY),
  });
  const { missing } = runner;
  return {
    ingest,
    sessions,
    synchroniser,
    receiver,
    storeQueries,
    responder,
    cluster,
    requests,
    missing,
  };
}
