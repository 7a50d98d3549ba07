/** What the ledger of gaps is made of: gaps, the intervals of time in which this store may lack messages. */
import type { Scope } from '../core/scope.ts';
import type { ErrorCode } from '../errors.ts';

/**
 * Why messages may be missing: the first start of a store, topics that were not covered before, the node did not run,
 * no peer was connected, the store took no writes, a session ended before it was through, the clock jumped.
 */
export type GapCause =
  | 'first-start'
  | 'new-topics'
  | 'downtime'
  | 'no-peer'
  | 'store-fault'
  | 'session'
  | 'clock';

/** An interval `[sinceNs, untilNs)` of message time in which this store may lack messages of the scope. */
export interface Gap {
  /** Names it for as long as it is on the ledger; a part that remains of it keeps the name. */
  readonly id: number;
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
  readonly scope: Scope;
  readonly cause: GapCause;
  readonly openedMs: number;
  /** Sessions that were tried for it, the peer of the last one, when that was, and the code it failed with. */
  readonly attempts: number;
  readonly lastPeer: string | undefined;
  readonly lastAttemptMs: number | undefined;
  readonly lastCode: ErrorCode | undefined;
  /** Peers that it was compared with and that have a gap there themselves. */
  readonly witnesses: readonly string[];
}

/** A gap, or a part of one, that was compared with peers; or that retention has passed. */
export interface ClosedGap extends Gap {
  readonly closedMs: number;
  /** Whom it was verified with; nobody, where nothing of that time is kept any more. */
  readonly verifiedWith: readonly string[];
}

/** An interval that was found to hold all that a peer holds. */
export interface Verification {
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
  readonly scope: Scope;
  readonly peer: string;
  readonly verifiedMs: number;
}

/** `[sinceNs, untilNs)`. */
export interface Interval {
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
}
