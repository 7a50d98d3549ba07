/**
 * A session in the `waku` dialect: what it covers, what was found, what has moved, and what is still missing. It owns
 * the reconciliation and its transfers together, so that it can say of each message whether it arrived.
 */
import { DigestTree } from '../../core/digest-tree.ts';
import type { WakuMessage } from '../../core/message.ts';
import { inScope, type Scope } from '../../core/scope.ts';
import { boundAt, ID_WORDS, SyncIdList, TIMESTAMP_MAX, timeOf } from '../../core/sync-id.ts';
import type { ErrorCode } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { Clock, MessageStore } from '../../ports.ts';
import {
  type Direction,
  MISSING_NAMED,
  type Role,
  type RunningSession,
  type SessionPlan,
  type SessionResult,
} from '../session.ts';

export class WakuSession implements RunningSession {
  readonly peer: string;
  readonly role: Role;
  readonly direction: Direction;
  readonly dryRun: boolean;
  sinceNs: bigint;
  untilNs: bigint;
  /** What this side named; `scope` is what both sides turned out to cover. */
  readonly plannedScope: Scope;
  scope: Scope;
  rounds = 0;
  reconciliationBytesSent = 0;
  reconciliationBytesReceived = 0;
  transferBytesSent = 0;
  transferBytesReceived = 0;
  sent = 0;
  received = 0;
  verified = false;
  /** Set when a range was answered in a way that lets the peer push what it has not named. */
  unnamed = false;
  /** The peer is asked to name all that it would send: in a dry run, and after a pass that may have lost some of it. */
  namesAll: boolean;
  /** When it ended, on the monotonic clock; undefined while it runs. */
  endedMs: number | undefined;
  /** Ends it in favour of another one; undefined where it may not be. */
  displace: (() => void) | undefined;
  indexed = 0;
  /** How many more ids may be held, by all sessions together. */
  idsLeft: () => number = () => LIMITS.sessionItems;

  readonly #store: MessageStore;
  readonly #clock: Clock;
  readonly #startedMs: number;
  readonly #onProgress: SessionPlan['onProgress'];
  /** Named by the peer and not arrived yet. */
  #awaited = new DigestTree();
  /** Found here and not there, in all passes; and in this one. */
  #lacking = new DigestTree();
  #offered = this.#lacking;
  readonly #refusals = new Map<ErrorCode, number>();
  #named = 0;
  #unnamedArrived = 0;
  #openTransfers = 0;
  #transfersEnded = 0;
  #lastActivityMs: number;
  #waiter: (() => void) | undefined;

  constructor(peer: string, role: Role, plan: SessionPlan, store: MessageStore, clock: Clock) {
    this.peer = peer;
    this.role = role;
    this.direction = plan.direction;
    this.dryRun = plan.dryRun;
    this.namesAll = plan.dryRun;
    this.sinceNs = plan.sinceNs;
    this.untilNs = plan.untilNs;
    this.plannedScope = plan.scope;
    this.scope = plan.scope;
    this.#store = store;
    this.#clock = clock;
    this.#startedMs = clock.monotonicMs();
    this.#onProgress = plan.onProgress;
    this.#lastActivityMs = this.#startedMs;
  }

  get sends(): boolean {
    return this.direction !== 'pull' && !this.dryRun;
  }

  get takes(): boolean {
    return this.direction !== 'push' && !this.dryRun;
  }

  /** How many messages the peer is known to hold and this node lacked when it was found. */
  get need(): number {
    return this.#named + this.#unnamedArrived;
  }

  /** How many messages this node holds and the peer was found to lack. */
  get have(): number {
    return this.#lacking.count;
  }

  /**
   * Remembers ids found at the peer; each counts once however often it is found. A session holds so many ids and
   * no more: what is beyond is found again by a later one.
   */
  needs(ids: SyncIdList): void {
    const heldMax = this.#heldMax();
    for (let row = 0; row < ids.count && this.held < heldMax; row++) {
      if (!this.#store.knows(ids.at(row)) && this.#awaited.insert(ids.words, row * ID_WORDS))
        this.#named += 1;
    }
  }

  /** Remembers ids that the peer lacks; returns those that were not offered in this pass already. */
  lacks(ids: SyncIdList): SyncIdList {
    const fresh = new SyncIdList();
    const heldMax = this.#heldMax();
    for (let row = 0; row < ids.count && this.held < heldMax; row++) {
      const offset = row * ID_WORDS;
      if (this.#offered !== this.#lacking) this.#lacking.insert(ids.words, offset);
      if (this.#offered.insert(ids.words, offset)) fresh.push(ids.words, offset);
    }
    return fresh;
  }

  /** How many ids it holds. */
  get held(): number {
    return this.#awaited.count + this.#lacking.count;
  }

  #heldMax(): number {
    return Math.min(LIMITS.sessionItems, this.held + Math.max(0, this.idsLeft()));
  }

  /** How long nothing has moved, either way. */
  get idleMs(): number {
    return this.#clock.monotonicMs() - this.#lastActivityMs;
  }

  /** Lets go of the ids: what comes late is matched by topic and time alone. */
  end(): void {
    this.endedMs = this.#clock.monotonicMs();
    this.#awaited = new DigestTree();
    this.#lacking = new DigestTree();
    this.#offered = this.#lacking;
  }

  /** The named messages that have not come yet. */
  missing(): SyncIdList {
    const missing = new SyncIdList();
    const awaited = this.#awaited.ids(boundAt(0n), boundAt(TIMESTAMP_MAX));
    for (let row = 0; row < awaited.count; row++) {
      if (!this.#store.has(awaited.at(row))) missing.push(awaited.words, row * ID_WORDS);
    }
    return missing;
  }

  /**
   * Why this message is not taken in this session, or undefined when it fits. The upper time is let in: a responder
   * may have read the window as including it (see `acceptOpening`).
   */
  refusalOf(message: WakuMessage): ErrorCode | undefined {
    if (!this.takes) return 'TRANSFER_NOT_WANTED';
    if (message.timestamp < this.sinceNs || message.timestamp > this.untilNs) return 'TRANSFER_OUT_OF_WINDOW';
    return inScope(this.scope, message.pubsubTopic, message.contentTopic)
      ? undefined
      : 'TRANSFER_OUT_OF_SCOPE';
  }

  /** Whether the peer named it, and it has not come. */
  awaits(id: Uint32Array): boolean {
    return this.#awaited.has(id);
  }

  arrived(id: Uint32Array, wasNew: boolean): void {
    const named = this.#awaited.remove(id);
    if (wasNew) this.received += 1;
    if (wasNew && !named) this.#unnamedArrived += 1;
    this.touch();
  }

  refuse(code: ErrorCode, times = 1): void {
    this.#refusals.set(code, (this.#refusals.get(code) ?? 0) + times);
    this.touch();
  }

  transferOpened(): void {
    this.#openTransfers += 1;
    this.touch();
  }

  transferClosed(): void {
    this.#openTransfers -= 1;
    this.#transfersEnded += 1;
    this.touch();
  }

  /** The peer has shown itself: idle times count from here. */
  touch(): void {
    this.#lastActivityMs = this.#clock.monotonicMs();
    this.#waiter?.();
    this.#onProgress?.(this);
  }

  /**
   * Waits until what the peer owes has come: at once when everything named is here, after a silence when it is
   * not, or when nobody can know what is still to come.
   */
  async settle(signal: AbortSignal): Promise<void> {
    this.touch();
    for (;;) {
      const leftMs = this.#silenceMs() - (this.#clock.monotonicMs() - this.#lastActivityMs);
      if (leftMs <= 0 || signal.aborted) return;
      await this.#changeWithin(leftMs, signal);
    }
  }

  /** How long a silence ends the wait from here on; 0 when nothing is waited for. */
  #silenceMs(): number {
    if (!this.takes) return 0;
    const over = this.#openTransfers === 0 && this.#transfersEnded > 0;
    // A peer whose stream ended early may open another, but not after long.
    if (this.#awaited.count > 0) return over ? LIMITS.unnamedIdleMs : LIMITS.transferIdleMs;
    return this.unnamed && !over ? LIMITS.unnamedIdleMs : 0;
  }

  async #changeWithin(ms: number, signal: AbortSignal): Promise<void> {
    const changed = new AbortController();
    this.#waiter = () => changed.abort();
    const stop = AbortSignal.any([signal, changed.signal]);
    await this.#clock.sleep(ms, stop).catch(() => undefined);
    this.#waiter = undefined;
  }

  /** Begins another pass over the same window: what was waited for in the last one no longer counts. */
  nextPass(): void {
    this.namesAll ||= this.unnamed;
    this.unnamed = false;
    this.#offered = new DigestTree();
    this.#transfersEnded = 0;
  }

  result(): SessionResult {
    const missing = this.missing();
    const refusals = Object.fromEntries(this.#refusals);
    return {
      peer: this.peer,
      dialect: 'waku',
      role: this.role,
      sinceNs: this.sinceNs,
      untilNs: this.untilNs,
      rounds: this.rounds,
      bytesSent: this.reconciliationBytesSent + this.transferBytesSent,
      bytesReceived: this.reconciliationBytesReceived + this.transferBytesReceived,
      reconciliationBytesSent: this.reconciliationBytesSent,
      reconciliationBytesReceived: this.reconciliationBytesReceived,
      have: this.have,
      need: this.need,
      received: this.received,
      sent: this.sent,
      refused: [...this.#refusals.values()].reduce((sum, times) => sum + times, 0),
      refusals,
      missing: missing.count,
      missingHashes: missing.slice(0, Math.min(missing.count, MISSING_NAMED)),
      verified: this.verified,
      complete: this.verified,
      capped: false,
      durationMs: Math.round(this.#clock.monotonicMs() - this.#startedMs),
      takes: this.takes,
      scope: this.scope,
      peerGaps: [],
      peerSkewMs: undefined,
    };
  }

  /** Late messages are taken for a while after the end. */
  isOpen(nowMs: number): boolean {
    return this.endedMs === undefined || nowMs - this.endedMs < LIMITS.sessionGraceMs;
  }

  /** The window as far as a first payload tells it. */
  cover(lower: Uint32Array, upper: Uint32Array): void {
    this.sinceNs = timeOf(lower);
    this.untilNs = timeOf(upper);
  }
}
