/** What of a node its HTTP interface shows and asks for. The node is one of these; a test may be another. */
import type { Auditor } from '../audit/auditor.ts';
import type { Scope } from '../core/scope.ts';
import type { LacunaError } from '../errors.ts';
import type { SyncOptions, SyncOutcome } from '../node.ts';
import type { MessageCounter, MessageFacts } from '../ports.ts';
import type { NodeEvents } from '../sync/events.ts';
import type { LedgerView } from '../sync/gap-json.ts';
import type { Ingest } from '../sync/ingest.ts';
import type { KnownPeer } from '../sync/known-peer.ts';
import type { MissingMessage } from '../sync/missing-book.ts';
import type { RunningSession } from '../sync/session.ts';
import type { StoreService } from '../sync/store-query/service.ts';
import type { TrafficRow } from '../sync/traffic.ts';
import type { MessageView } from '../wire/waku-message.ts';

export interface ServedNode {
  readonly peerId: string;
  readonly addresses: readonly string[];
  readonly state: 'starting' | 'serving' | 'stopping';
  readonly connections: number;
  readonly events: NodeEvents;
  readonly sessions: { readonly running: number; list(): readonly RunningSession[] };
  readonly ledger: LedgerView;
  readonly peers: { list(): readonly KnownPeer[] };
  readonly store: ServedStore;
  readonly storeQueries: StoreService;
  /** What is missed and was asked for, by `0x…` hash. */
  readonly missing: { find(messageHash: string): MissingMessage | undefined };
  readonly ingest: Pick<Ingest, 'examine' | 'append' | 'counts'>;
  /** The topics that this node covers. */
  readonly scope: Scope;
  readonly auditor: { run: Auditor['run']; readonly history: Pick<Auditor['history'], 'entries'> };
  /** Bytes of all streams since the start. */
  traffic(): readonly TrafficRow[];
  /** How often each limit turned something away since the start. */
  limitsHit(): Readonly<Record<string, number>>;
  syncAll(addresses: readonly string[], options: SyncOptions): Promise<SyncOutcome[]>;
}

export interface ServedStore extends CountedStore, ExplainedStore {
  readonly count: number;
  readonly writable: boolean;
  readonly fault: LacunaError | undefined;
  readonly quarantined: number;
  readonly lost: number;
  readonly retention: {
    pass(dryRun: boolean): Promise<{ removed: number; bytes: number }>;
    prediction(): { bytesNow: number; bytesInMonth: number; messagesInMonth: number };
  };
}

/** A store that says what it knows of a message. */
export interface ExplainedStore {
  /** Undefined when nothing is known. */
  facts(hash: Uint8Array, stop?: AbortSignal): Promise<MessageFacts | undefined>;
}

/** A store whose messages can be gone through in order; most counts its index answers. */
export interface CountedStore {
  readonly counter?: MessageCounter | undefined;
  countBetween(sinceNs: bigint, untilNs: bigint): number;
  scan(
    sinceNs: bigint,
    untilNs: bigint,
    visit: (id: Uint32Array, view: MessageView) => void,
  ): AsyncGenerator<number>;
}
