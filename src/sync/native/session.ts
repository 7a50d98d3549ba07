/** A session between two Lacunas: what it covers, what was found and moved, and what both sides said at its end. */
import type { Interval } from '../../core/interval.ts';
import type { Scope } from '../../core/scope.ts';
import { SyncIdList } from '../../core/sync-id.ts';
import type { ErrorCode } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { Clock } from '../../ports.ts';
import type { ResultFrame } from '../../wire/native-frame.ts';
import type { Role, RunningSession, SessionPlan, SessionResult } from '../session.ts';

export class NativeSession implements RunningSession {
  readonly peer: string;
  readonly role: Role;
  readonly plan: SessionPlan;
  /** What both sides turned out to cover. */
  scope: Scope;
  sinceNs: bigint;
  untilNs: bigint;
  /** Where the other side may lack messages, and how far its clock is ahead, as its hello said. */
  peerGaps: readonly Interval[] = [];
  peerSkewMs: number | undefined;
  /** Messages flow this way, as the two hellos have it. */
  takes = false;
  rounds = 0;
  bytesSent = 0;
  bytesReceived = 0;
  reconciliationBytesSent = 0;
  reconciliationBytesReceived = 0;
  have = 0;
  need = 0;
  received = 0;
  /** Offered, and here by another way before it was asked for or while it was on its way. */
  known = 0;
  sent = 0;
  /** A digest over what both believe to have in common agreed. */
  agreed = false;
  capped = false;
  /** What the other side said of its half. */
  theirs: ResultFrame | undefined;
  endedMs: number | undefined;
  displace: (() => void) | undefined;
  indexed = 0;
  idsLeft: () => number = () => LIMITS.sessionItems;
  /** Ids held for it, and those that were asked for in vain, as the conversation that runs it knows them. */
  heldIds: () => number = () => 0;
  missingIds: () => SyncIdList = () => new SyncIdList();

  readonly #clock: Clock;
  readonly #startedMs: number;
  readonly #refusals = new Map<ErrorCode, number>();
  #touchedMs: number;
  #lastMissing = new SyncIdList();

  constructor(peer: string, role: Role, plan: SessionPlan, clock: Clock) {
    this.peer = peer;
    this.role = role;
    this.plan = plan;
    this.scope = plan.scope;
    this.sinceNs = plan.sinceNs;
    this.untilNs = plan.untilNs;
    this.#clock = clock;
    this.#startedMs = clock.monotonicMs();
    this.#touchedMs = this.#startedMs;
  }

  get idleMs(): number {
    return this.#clock.monotonicMs() - this.#touchedMs;
  }

  get held(): number {
    return this.heldIds();
  }

  /** The messages that the other side has and this one still lacks. */
  get missing(): number {
    return Math.max(0, this.need - this.received - this.known);
  }

  get refused(): number {
    return [...this.#refusals.values()].reduce((sum, times) => sum + times, 0);
  }

  /** Something of use has come: idle times count from here. */
  touch(): void {
    this.#touchedMs = this.#clock.monotonicMs();
    this.plan.onProgress?.(this);
  }

  refuse(code: ErrorCode): void {
    this.#refusals.set(code, (this.#refusals.get(code) ?? 0) + 1);
  }

  /** Nothing comes after the end: every message was acknowledged, or its stream is closed. */
  isOpen(): boolean {
    return this.endedMs === undefined;
  }

  end(): void {
    this.endedMs = this.#clock.monotonicMs();
    this.heldIds = () => 0;
    this.missingIds = () => this.#lastMissing;
  }

  result(): SessionResult {
    const complete = this.agreed && this.missing === 0;
    this.#lastMissing = this.missing > 0 ? this.missingIds() : new SyncIdList();
    return {
      peer: this.peer,
      dialect: 'native',
      role: this.role,
      sinceNs: this.sinceNs,
      untilNs: this.untilNs,
      rounds: this.rounds,
      bytesSent: this.bytesSent,
      bytesReceived: this.bytesReceived,
      reconciliationBytesSent: this.reconciliationBytesSent,
      reconciliationBytesReceived: this.reconciliationBytesReceived,
      have: this.have,
      need: this.need,
      received: this.received,
      sent: this.sent,
      refused: this.refused,
      refusals: Object.fromEntries(this.#refusals),
      missing: this.missing,
      missingHashes: this.#lastMissing,
      verified: complete && this.theirs?.missing === 0,
      complete,
      capped: this.capped,
      durationMs: Math.round(this.#clock.monotonicMs() - this.#startedMs),
      takes: this.takes,
      scope: this.scope,
      peerGaps: this.peerGaps,
      peerSkewMs: this.peerSkewMs,
    };
  }
}
