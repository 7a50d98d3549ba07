/** A node without a network or a disk: all of src/sync over a store in memory, linked to others by channels in memory. */
import { EVERYTHING, type Scope } from '../../src/core/scope.ts';
import { LacunaError } from '../../src/errors.ts';
import type { Clock, FrameChannel, PeerLink, Random, StoredMessage } from '../../src/ports.ts';
import { Budgets } from '../../src/sync/budgets.ts';
import { Ingest } from '../../src/sync/ingest.ts';
import type { Comparison } from '../../src/sync/ledger.ts';
import { LimitCounts } from '../../src/sync/limit-counts.ts';
import { Agreements } from '../../src/sync/native/agreements.ts';
import type { GapsWithin } from '../../src/sync/native/greeting.ts';
import { NativeSynchroniser } from '../../src/sync/native/synchroniser.ts';
import { Pace } from '../../src/sync/pace.ts';
import { RequestPace } from '../../src/sync/query/request-pace.ts';
import { QuerySynchroniser } from '../../src/sync/query/synchroniser.ts';
import { ScopeIndexes } from '../../src/sync/scope-indexes.ts';
import type { SessionPlan, SessionResult } from '../../src/sync/session.ts';
import { SessionRunner } from '../../src/sync/session-runner.ts';
import { SessionTable } from '../../src/sync/session-table.ts';
import { Strikes } from '../../src/sync/strikes.ts';
import { Synchroniser } from '../../src/sync/synchroniser.ts';
import { Traffic } from '../../src/sync/traffic.ts';
import { WakuSession } from '../../src/sync/waku/session.ts';
import { WakuSynchroniser } from '../../src/sync/waku/synchroniser.ts';
import { TransferReceiver } from '../../src/sync/waku/transfer.ts';
import { systemRandom, systemSha256 } from '../../src/system.ts';
import { MemoryRecords, MemoryStore } from '../memory-store.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { hexOf, NOW_NS } from '../sample-messages.ts';
import { MemoryChannel } from './memory-channel.ts';
import type { VirtualClock } from './virtual-clock.ts';

/** Of a link to a peer that speaks the Waku wire alone. */
export const WAKU_ONLY = {
  openSync: async (): Promise<FrameChannel> => {
    throw new LacunaError('PEER_PROTOCOL', 'it speaks the Waku wire alone');
  },
  openStoreQuery: async (): Promise<FrameChannel> => {
    throw new LacunaError('PEER_PROTOCOL', 'it answers no store queries');
  },
  reconciles: true,
};

/** The hour of the sample messages. */
export const HOUR: SessionPlan = {
  scope: EVERYTHING,
  sinceNs: NOW_NS - 3_600_000_000_000n,
  untilNs: NOW_NS + 1_000_000_000n,
  direction: 'both',
  dryRun: false,
};

export interface PartyInit {
  readonly messages?: readonly StoredMessage[];
  readonly scope?: Scope;
  /** Where salts and spots of its native sessions come from. */
  readonly random?: Random;
  /** Bytes a second that it sends, and that it takes; of single pubsub topics. */
  readonly rate?: number;
  readonly downloadRate?: number;
  readonly topicRates?: Readonly<Record<string, number>>;
  /** Pubsub topics that it covers, for its counts of traffic. */
  readonly topics?: readonly string[];
  /** In place of a store of its own over `messages`. */
  readonly store?: MemoryStore;
  /** What it takes for the time, where that is not what the clock of the test says. */
  readonly ownClock?: Clock;
  /** Told of every session that ended. */
  readonly onSession?: (result: SessionResult, error: LacunaError | undefined) => void;
  /** Where it says that it may lack messages. */
  readonly gapsWithin?: GapsWithin;
  /** What it wrote down when it ran before. */
  readonly records?: MemoryRecords;
  /** The name of a party that its operator knows. */
  readonly friend?: string;
}

export class Party {
  readonly name: string;
  readonly clock: VirtualClock;
  readonly store: MemoryStore;
  readonly sessions: SessionTable;
  readonly strikes: Strikes;
  readonly log = new RecordingLogger();
  readonly receiver: TransferReceiver;
  readonly synchroniser: WakuSynchroniser;
  readonly native: NativeSynchroniser;
  readonly query: QuerySynchroniser;
  /** Parts of windows that its query sessions told of while they ran. */
  readonly compared: Comparison[] = [];
  /** What serves those who open sessions with it. */
  readonly both: Synchroniser;
  readonly counts = new LimitCounts();
  readonly budgets: Budgets;
  readonly traffic: Traffic;
  readonly records: MemoryRecords;
  /** Every session that ended here, in this order. */
  readonly ended: { result: SessionResult; error: LacunaError | undefined }[] = [];

  constructor(name: string, testClock: VirtualClock, init: PartyInit = {}) {
    const clock = init.ownClock ?? testClock;
    const { messages = [], scope = EVERYTHING, random = systemRandom, rate, downloadRate } = init;
    this.name = name;
    this.clock = testClock;
    this.store = init.store ?? new MemoryStore(messages);
    this.records = init.records ?? new MemoryRecords();
    this.sessions = new SessionTable(clock, this.counts);
    this.strikes = new Strikes(clock);
    this.traffic = new Traffic(init.topics);
    const { store, sessions, strikes, log, records, counts } = this;
    this.budgets = new Budgets({ clock, strikes, counts, isKnown: (peer) => peer === init.friend });
    const { budgets } = this;
    const upload = new Pace(clock, rate, init.topicRates);
    const download = new Pace(clock, downloadRate);
    const transfer = { store, budgets, traffic: this.traffic.of('waku') };
    const ingest = new Ingest(store, clock, systemSha256);
    this.receiver = new TransferReceiver({
      ...transfer,
      ingest,
      sessions,
      strikes,
      download,
      log,
      stop: new AbortController().signal,
    });
    const runner = new SessionRunner({
      sessions,
      strikes,
      store,
      clock,
      log,
      onSession: (result, error) => {
        this.ended.push({ result, error });
        init.onSession?.(result, error);
      },
    });
    const scopes = new ScopeIndexes({ store, budgets, sessions, clock });
    this.synchroniser = new WakuSynchroniser({
      scopes,
      ...transfer,
      upload,
      runner,
      clock,
      scope,
      random: { below: (below) => Math.floor(below / 2) },
    });
    this.native = new NativeSynchroniser({
      runner,
      scopes,
      store,
      ingest,
      strikes,
      agreements: new Agreements({ records, sha256: systemSha256, clock, log }),
      clock,
      scope,
      gapsWithin: init.gapsWithin ?? (() => []),
      random,
      budgets,
      traffic: this.traffic.of('native'),
      upload,
      download,
    });
    this.query = new QuerySynchroniser({
      runner,
      store,
      ingest,
      strikes,
      clock,
      random,
      sha256: systemSha256,
      pace: new RequestPace(clock),
      download,
      traffic: this.traffic.of('query'),
      onCompared: (comparison) => this.compared.push(comparison),
    });
    this.both = new Synchroniser(this.native, this.synchroniser, this.query, budgets);
  }

  /** The other party as this one sees it: a Lacuna, or a stock node. The other one always sees a Lacuna. */
  linkTo(other: Party, isLacuna = true): PeerLink {
    const open = (serve: (channel: FrameChannel) => Promise<void>): FrameChannel => {
      const [here, there] = MemoryChannel.pair(this.clock);
      void serve(there);
      return here;
    };
    return {
      peer: other.name,
      isLacuna,
      openSync: async () => open((channel) => other.both.serve('native', other.linkTo(this), channel)),
      openReconciliation: async () =>
        open((channel) => other.both.serve('waku', other.linkTo(this), channel)),
      openTransfer: async () => open((channel) => other.receiver.receive(this.name, channel)),
      openStoreQuery: WAKU_ONLY.openStoreQuery,
      reconciles: true,
    };
  }

  /** A session with another party, in virtual time. */
  async synchronise(other: Party, plan: Partial<SessionPlan> = {}, isLacuna = true): Promise<SessionResult> {
    const link = this.linkTo(other, isLacuna);
    return await this.clock.run(this.synchroniser.synchronise(link, { ...HOUR, ...plan }));
  }

  /** A session that is open in the table and takes messages, without a reconciliation. */
  openSession(peer: string, plan: Partial<SessionPlan> = {}): WakuSession {
    const session = new WakuSession(peer, 'initiator', { ...HOUR, ...plan }, this.store, this.clock);
    this.sessions.add(session);
    return session;
  }

  /** Gives these frames to the receiver as one transfer stream; returns the peer's end when it is over. */
  async take(peer: string, frames: readonly Uint8Array[]): Promise<MemoryChannel> {
    const [here, there] = MemoryChannel.pair(this.clock);
    await there.write(frames);
    await there.close();
    await this.clock.run(this.receiver.receive(peer, here));
    return there;
  }

  /** What it holds, as sorted text. */
  get holdings(): string[] {
    return hashes(this.store.messages);
  }

  get lastError(): string | undefined {
    return this.ended.at(-1)?.error?.code;
  }
}

export function hashes(messages: readonly StoredMessage[]): string[] {
  return messages.map(hexOf).sort();
}
