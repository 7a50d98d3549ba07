/** A session in the `query` dialect: what it covers, what the peer listed, what was fetched of that, and what is missing. */
import type { Interval } from '../../core/interval.ts';
import type { Scope } from '../../core/scope.ts';
import { makeId, SyncIdList } from '../../core/sync-id.ts';
import type { ErrorCode } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { Clock } from '../../ports.ts';
import { MISSING_NAMED, type RunningSession, type SessionPlan, type SessionResult } from '../session.ts';
import type { QueryTally } from './store-exchange.ts';

export class QuerySession implements RunningSession {
  readonly peer: string;
  readonly plan: SessionPlan;
  readonly scope: Scope;
  /** The window, without what this store does not keep. */
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
  /** What this store has and the peer did not list, in the slices that were finished. */
  have = 0;
  /** What the peer listed, and this store lacked, and may store as far as that is known. */
  need = 0;
  received = 0;
  /** Listed, and here by another way before it came; or pruned, and not to be fetched again. */
  known = 0;
  readonly sent = 0;
  /** Bytes of messages that were fetched, without their frames. */
  messageBytes = 0;
  /** What fetching has cost, frames and all. */
  fetchBytesSent = 0;
  fetchBytesReceived = 0;
  /** All of the window was listed. */
  isListed = false;
  capped = false;
  /** Where the peer may have nothing because it keeps nothing of that time. */
  peerGaps: readonly Interval[] = [];
  /** Ids and hashes that the slice in work holds. */
  held = 0;
  indexed = 0;
  endedMs: number | undefined;
  displace: (() => void) | undefined;
  idsLeft: () => number = () => LIMITS.sessionItems;

  readonly #clock: Clock;
  readonly #tally: Readonly<QueryTally>;
  readonly #startedMs: number;
  readonly #refusals = new Map<ErrorCode, number>();
  readonly #missing = new SyncIdList(MISSING_NAMED);
  #touchedMs: number;

  constructor(peer: string, plan: SessionPlan, horizonNs: bigint, tally: Readonly<QueryTally>, clock: Clock) {
    this.peer = peer;
    this.plan = plan;
    this.scope = plan.scope;
    this.untilNs = plan.untilNs;
    const keptNs = horizonNs < plan.untilNs ? horizonNs : plan.untilNs;
    this.sinceNs = keptNs > plan.sinceNs ? keptNs : plan.sinceNs;
    this.#tally = tally;
    this.#clock = clock;
    this.#startedMs = clock.monotonicMs();
    this.#touchedMs = this.#startedMs;
  }

  get takes(): boolean {
    return !this.plan.dryRun;
  }

  get missing(): number {
    return Math.max(0, this.need - this.received - this.known);
  }

  /** How many more may be fetched. */
  get messagesLeft(): number {
    const { messagesMax = Number.POSITIVE_INFINITY, bytesMax = Number.POSITIVE_INFINITY } = this.plan;
    return this.messageBytes >= bytesMax ? 0 : Math.max(0, messagesMax - this.received);
  }

  get idleMs(): number {
    return this.#clock.monotonicMs() - this.#touchedMs;
  }

  /** The peer has answered: idle times count from here. */
  touch(): void {
    this.#touchedMs = this.#clock.monotonicMs();
    this.plan.onProgress?.(this);
  }

  refuse(code: ErrorCode): void {
    this.#refusals.set(code, (this.#refusals.get(code) ?? 0) + 1);
  }

  /** The peer listed it, and does not bring it. Of its time nothing is known but the slice that it was listed in. */
  lacks(hash: Uint8Array, sliceNs: bigint): void {
    if (this.#missing.count < MISSING_NAMED) this.#missing.push(makeId(sliceNs, hash), 0);
  }

  /** Nothing comes that was not asked for. */
  isOpen(): boolean {
    return this.endedMs === undefined;
  }

  end(): void {
    this.endedMs = this.#clock.monotonicMs();
    this.held = 0;
  }

  result(): SessionResult {
    const { requests, bytesSent, bytesReceived, dropped } = this.#tally;
    const refusals: Partial<Record<ErrorCode, number>> = { ...dropped };
    for (const [code, times] of this.#refusals) refusals[code] = (refusals[code] ?? 0) + times;
    const complete = this.isListed && this.missing === 0;
    return {
      peer: this.peer,
      dialect: 'query',
      role: 'initiator',
      sinceNs: this.sinceNs,
      untilNs: this.untilNs,
      rounds: requests,
      bytesSent,
      bytesReceived,
      reconciliationBytesSent: bytesSent - this.fetchBytesSent,
      reconciliationBytesReceived: bytesReceived - this.fetchBytesReceived,
      have: this.have,
      need: this.need,
      received: this.received,
      sent: 0,
      refused: Object.values(refusals).reduce((sum, times) => sum + times, 0),
      refusals,
      missing: this.missing,
      missingHashes: this.missing > 0 ? this.#missing : new SyncIdList(),
      verified: complete && this.have === 0,
      complete,
      capped: this.capped,
      durationMs: Math.round(this.#clock.monotonicMs() - this.#startedMs),
      takes: this.takes,
      scope: this.scope,
      peerGaps: this.peerGaps,
      peerSkewMs: undefined,
    };
  }
}
