/** What the ledger is made of: gaps, the intervals of time in which this store may lack messages, and how they close. */
import type { Interval } from '../core/interval.ts';
import { type Scope, scopeCovers } from '../core/scope.ts';
import type { ErrorCode } from '../errors.ts';

/** Why messages may be missing. */
export const GAP_CAUSES = [
  /** The store has never been compared with anybody. */
  'first-start',
  /** Topics that were not covered before. */
  'new-topics',
  /** The node was not running, or was held, as a machine does that sleeps. */
  'downtime',
  /** No peer was connected. */
  'no-peer',
  /** The store took no writes. */
  'store-fault',
  /** A session ended before all that it had found was here. */
  'session',
] as const;
export type GapCause = (typeof GAP_CAUSES)[number];

/** An interval in which this store may lack messages of the scope. */
export interface Gap extends Interval {
  /** Names it for as long as it is on the ledger; of what remains when parts are closed, the newest keeps the name. */
  readonly id: number;
  readonly scope: Scope;
  readonly cause: GapCause;
  readonly openedMs: number;
  /** Sessions that were run for it, the peer of the last one, when that ended, and the code it failed with. */
  readonly attempts: number;
  readonly lastPeer: string | undefined;
  readonly lastAttemptMs: number | undefined;
  readonly lastCode: ErrorCode | undefined;
  /** Peers that it was compared with and that have a gap there themselves; of many, the last ones. */
  readonly witnesses: readonly string[];
}

/** A gap, or a part of one, that was compared with peers; or that retention has passed. */
export interface ClosedGap extends Gap {
  readonly closedMs: number;
  /** Whom it was compared with; nobody, where nothing of that time is kept any more. */
  readonly verifiedWith: readonly string[];
}

/** An interval in which this store was found to hold all that a peer holds. */
export interface Verification extends Interval {
  readonly scope: Scope;
  readonly peer: string;
  readonly verifiedMs: number;
}

/**
 * What of the scope is not covered by another one; undefined when nothing is left. Where that cannot be said in
 * topics, all of it is left.
 */
export function scopeWithout(scope: Scope, covered: Scope): Scope | undefined {
  if (scopeCovers(covered, scope)) return undefined;
  const isDivisible =
    scope.pubsubTopics.length > 0 &&
    scopeCovers({ pubsubTopics: [], contentTopics: covered.contentTopics }, { ...scope, pubsubTopics: [] });
  if (!isDivisible) return scope;
  const left = scope.pubsubTopics.filter((topic) => !covered.pubsubTopics.includes(topic));
  return { pubsubTopics: left, contentTopics: scope.contentTopics };
}

/** All of both, and where the topics of both sides are crossed, more. */
export function unitedScopes(a: Scope, b: Scope): Scope {
  const united = (one: readonly string[], other: readonly string[]): readonly string[] =>
    one.length === 0 || other.length === 0 ? [] : [...new Set([...one, ...other])];
  return {
    pubsubTopics: united(a.pubsubTopics, b.pubsubTopics),
    contentTopics: united(a.contentTopics, b.contentTopics),
  };
}
