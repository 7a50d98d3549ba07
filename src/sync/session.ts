/** What every session is, whatever it speaks: what it is to cover, what came of it, and what the node must know of it. */
import type { Interval } from '../core/interval.ts';
import type { RangeIndex } from '../core/range-index.ts';
import type { Scope } from '../core/scope.ts';
import type { SyncIdList } from '../core/sync-id.ts';
import type { ErrorCode } from '../errors.ts';

export type Direction = 'pull' | 'push' | 'both';
export type Role = 'initiator' | 'responder';
/** A wire protocol in which stores can be compared: two in which both sides speak, and one in which a peer is asked. */
export type Dialect = ServedDialect | 'query';
/** One in which a peer may open a session here. */
export type ServedDialect = 'native' | 'waku';

export interface SessionPlan {
  readonly scope: Scope;
  /** The window `[sinceNs, untilNs)`. */
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
  readonly direction: Direction;
  readonly dryRun: boolean;
  /** The most that is taken from this peer; the native dialect tells it so. */
  readonly messagesMax?: number | undefined;
  readonly bytesMax?: number | undefined;
  /** Compare by the hash of every id under the session's key, however many there are. */
  readonly audit?: boolean | undefined;
  /** Every id that differs is told, and nothing moves; of two Lacunas only. With `dryRun`. */
  readonly listing?: Listing | undefined;
  /** Told now and then how far the session is. */
  readonly onProgress?: ((progress: SessionProgress) => void) | undefined;
}

/** Where the differences of a session go, each with its id. */
export interface Listing {
  /** The own ids of the scope: sessions with several peers compare with the same ones, whatever arrives meanwhile. */
  readonly index: RangeIndex;
  /**
   * Told once, when both sides agree that these are all: ids here and not there, and there and not here, each in no
   * order. Not told where a session came to its limits.
   */
  readonly onDifferences: (have: SyncIdList, need: SyncIdList) => void;
}

export interface SessionProgress {
  readonly need: number;
  readonly received: number;
  readonly have: number;
  readonly sent: number;
}

export interface SessionResult {
  readonly peer: string;
  readonly dialect: Dialect;
  readonly role: Role;
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
  /** Payloads sent and received. */
  readonly rounds: number;
  /** All bytes of the session's frames, prefixes included. */
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** Of these, reconciliation. */
  readonly reconciliationBytesSent: number;
  readonly reconciliationBytesReceived: number;
  /** Messages found here and not there; found there and not here. */
  readonly have: number;
  readonly need: number;
  readonly received: number;
  readonly sent: number;
  readonly refused: number;
  readonly refusals: Readonly<Partial<Record<ErrorCode, number>>>;
  /** Messages known to be there and still not here. */
  readonly missing: number;
  /** The hashes of some of them. */
  readonly missingHashes: SyncIdList;
  /** Both sides hold the same messages in the window. */
  readonly verified: boolean;
  /** This side holds all that the peer holds in the window. */
  readonly complete: boolean;
  /** A cap on messages or bytes ended the transfer. */
  readonly capped: boolean;
  readonly durationMs: number;
  /** This side took messages: it was no dry run, and no session to push only. */
  readonly takes: boolean;
  /** What was compared, as far as both sides cover it. */
  readonly scope: Scope;
  /** Where the peer may lack messages itself, as far as it says. */
  readonly peerGaps: readonly Interval[];
  /** How far the clock of the peer is ahead of this one, where it was told. */
  readonly peerSkewMs: number | undefined;
}

/** How many missing messages a result names. */
export const MISSING_NAMED = 20;

/** A session as the table of all of them sees it, and as it is reported at its end. */
export interface RunningSession {
  readonly peer: string;
  /** When it ended, on the monotonic clock; undefined while it runs. */
  readonly endedMs: number | undefined;
  /** How long nothing has moved, either way. */
  readonly idleMs: number;
  /** How many ids it holds. */
  readonly held: number;
  /** How many ids the index has that was put together for it. */
  indexed: number;
  /** How many more ids may be held, by all sessions together. */
  idsLeft: () => number;
  /** Ends it in favour of another one; undefined where it may not be. */
  displace: (() => void) | undefined;
  /** Whether it still takes messages: for a while after its end, if its protocol lets them come late. */
  isOpen(nowMs: number): boolean;
  /** Lets go of the ids. */
  end(): void;
  result(): SessionResult;
}
