/**
 * What the outside lends us: time, chance, hashing, a log, a store and a channel to a peer. Everything
 * below `net/` and `store/` takes these, so that one process can simulate a whole fleet from one seed.
 */
import type { Interval } from './core/interval.ts';
import type { RangeIndex } from './core/range-index.ts';
import type { KeptWindow } from './core/retention.ts';
import type { Scope } from './core/scope.ts';
import type { SyncIdList } from './core/sync-id.ts';

export interface Clock {
  /** Milliseconds since 1970, as the world counts them; may jump. */
  nowMs(): number;
  /** Milliseconds since some moment; never jumps back. */
  monotonicMs(): number;
  /** Resolves after `ms`, or rejects with SESSION_ABORTED when the signal fires first. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export interface Random {
  /** A whole number of 0 to `below` - 1. */
  below(below: number): number;
}

/** SHA-256 of one run of bytes: 32 bytes. */
export type Sha256 = (bytes: Uint8Array) => Uint8Array;

export interface Logger {
  debug(fields: object, text: string): void;
  info(fields: object, text: string): void;
  warn(fields: object, text: string): void;
  error(fields: object, text: string): void;
}

/** A duplex of whole frames with one peer. Every method rejects with a coded error. */
export interface FrameChannel {
  /** The next frame, or undefined when the peer has closed its side. */
  read(timeoutMs: number): Promise<Uint8Array | undefined>;
  /** All frames that have arrived, at least one; undefined when the peer has closed its side. */
  readMany(timeoutMs: number): Promise<Uint8Array[] | undefined>;
  /** Resolves when the frames were handed to the transport and more may be sent. */
  write(frames: readonly Uint8Array[]): Promise<void>;
  /** Closes our side; what was written still arrives. */
  close(): Promise<void>;
  /** Resets the stream at once. */
  abort(reason: Error): void;
}

/** A connected peer, as the sync protocol sees it. */
export interface PeerLink {
  /** Its peer id, as text. */
  readonly peer: string;
  /** It says to be a Lacuna: it lists what it will send, takes larger frames, and serves windows of any age. */
  readonly isLacuna: boolean;
  /** It may speak a protocol that reconciles; one that says that it does not can only be asked. */
  readonly reconciles: boolean;
  /** The one stream of a session between two Lacunas. Rejects with PEER_PROTOCOL where the peer does not speak it. */
  openSync(): Promise<FrameChannel>;
  openReconciliation(): Promise<FrameChannel>;
  openTransfer(): Promise<FrameChannel>;
  /** One stream for each request. Rejects with PEER_PROTOCOL where the peer answers no store queries. */
  openStoreQuery(): Promise<FrameChannel>;
}

/** A message as it is stored: its identity, the bytes it is kept and sent as, and what it is indexed by. */
export interface StoredMessage {
  /** SyncId: ten 32-bit words (see `core/sync-id.ts`). */
  readonly id: Uint32Array;
  /** WakuMessageAndTopic. */
  readonly encoded: Uint8Array;
  readonly pubsubTopic: string;
  readonly contentTopic: string;
}

/** By which way messages came. */
export type Arrival =
  | { readonly path: 'import' | 'http' }
  | {
      readonly path: 'session';
      readonly dialect: 'native' | 'waku' | 'query';
      /** Of this node. */
      readonly role: 'initiator' | 'responder';
      /** Undefined where more peers have brought messages than are told apart. */
      readonly peer: string | undefined;
    };

/** What a store knows of one message. */
export interface MessageFacts {
  readonly id: Uint32Array;
  /** Here; set aside as damaged; or removed by retention, and not to be fetched again. */
  readonly state: 'stored' | 'quarantined' | 'pruned';
  /** Of a message that is here. */
  readonly message:
    | { readonly pubsubTopic: string; readonly contentTopic: string; readonly bytes: number }
    | undefined;
  /** Of a message that is here, where it is known. */
  readonly arrival: { readonly atMs: number; readonly by: Arrival | undefined } | undefined;
  /** Damaged bytes of it are set aside, whatever it is now. */
  readonly hasDamagedCopy: boolean;
}

export interface AppendResult {
  readonly stored: number;
  readonly duplicate: number;
}

/** Told of so many entries that were read, and waited for before more are; it may throw to end that. */
export type OnRead = (entries: number) => Promise<void> | void;

/** What the sync protocol needs of a message store. */
export interface MessageStore {
  /** Resolves when all are on the disk. Throws STORE_FAULT, STORE_BUSY, STORE_CLOSED. */
  append(messages: readonly StoredMessage[], arrival?: Arrival): Promise<AppendResult>;
  has(id: Uint32Array): boolean;
  /** It is here, or was pruned and is not to be fetched again. */
  knows(id: Uint32Array): boolean;
  /** Nothing of the scope is kept that is older than this, in ns since 1970; 0 where all is. */
  horizonNs(scope: Scope): bigint;
  /** The parts of a window that are kept, those first that end last; of several, the older ones are of fewer topics. */
  kept(scope: Scope, window: Interval): readonly KeptWindow[];
  /**
   * The ids of a scope and time interval as an index that no later write changes; `onRead` is told where it has to be
   * put together from the disk.
   */
  index(scope: Scope, sinceNs: bigint, untilNs: bigint, onRead?: OnRead): Promise<RangeIndex>;
  /** The encoded messages of these ids in their order, each checked against its hash; absent ones are left out. */
  read(ids: SyncIdList): AsyncIterable<Uint8Array>;
  /** The same, many at a time: one array after the other, none of them empty. */
  readMany(ids: SyncIdList): AsyncIterable<readonly Uint8Array[]>;
  readonly writable: boolean;
}

export interface CountOrder {
  /** The window `[sinceNs, untilNs)`. */
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
  /** One row for all where it is left out. */
  readonly by?: 'hour' | 'day' | 'pubsub-topic' | 'content-topic' | undefined;
  readonly rowsMax: number;
  /** Told how many of the messages that have to be looked at were, and of how many. */
  readonly onProgress?: ((done: number, expected: number) => void) | undefined;
  readonly stop?: AbortSignal | undefined;
}

export interface CountRow {
  readonly bucket: string;
  readonly messages: number;
  /** As they lie in the store and travel to peers. */
  readonly bytes: number;
}

export interface Counted {
  /** In the order of their buckets; none of them empty. */
  readonly rows: readonly CountRow[];
  readonly total: number;
  readonly bytes: number;
}

/** Counts by an index, without going through the messages. */
export interface MessageCounter {
  /**
   * Exact; undefined where the index cannot tell. Throws USAGE for more than `rowsMax` rows; SESSION_ABORTED;
   * STORE_DAMAGED, STORE_CLOSED.
   */
  count(order: CountOrder): Promise<Counted | undefined>;
  /** The pubsub topics with the most messages, as far as they are counted. */
  largestTopics(most: number): Promise<readonly CountRow[]>;
  /** Of all messages; undefined while they are not counted. */
  readonly bytes: number | undefined;
}

/** A question to the history of a store, answered a page at a time. */
export interface ArchiveQuery {
  readonly scope: Scope;
  /** The window `[sinceNs, untilNs)`. */
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
  /** From the oldest message on, or from the newest back. */
  readonly ascending: boolean;
  /** The hash of the message that the page before ended at. */
  readonly cursor: Uint8Array | undefined;
  readonly countMax: number;
}

export interface ArchivePage {
  /** Ascending, whatever the direction. */
  readonly ids: SyncIdList;
  /** Where the next page goes on; undefined when nothing is left. */
  readonly cursor: Uint8Array | undefined;
  /** How many entries were looked at for it, those of other topics too. */
  readonly looked: number;
}

/** The history of a store, as those ask for it who read it. */
export interface Archive {
  /** Costs what the page costs, not what the store holds. Throws QUERY_CURSOR for a cursor that nothing is known of. */
  page(query: ArchiveQuery): Promise<ArchivePage>;
  /** The ids of these hashes, in their order; those that are not here are left out. */
  find(hashes: readonly Uint8Array[]): Promise<SyncIdList>;
  /** The encoded messages of these ids, each checked against its hash; absent ones are left out. */
  readMany(ids: SyncIdList): AsyncIterable<readonly Uint8Array[]>;
}

/** Small named records that outlive the process. Names are text; values are bytes of the caller's own making. */
export interface Records {
  get(name: string): Promise<Uint8Array | undefined>;
  /** Resolves when it is on the disk. Throws STORE_FAULT, STORE_BUSY, STORE_CLOSED. */
  put(name: string, value: Uint8Array): Promise<void>;
  delete(name: string): Promise<void>;
  /** All whose name begins with this, in the order of their names. */
  list(prefix: string): AsyncIterable<readonly [name: string, value: Uint8Array]>;
}
