/**
 * One session between two Lacunas after the hellos: reconciliation and transfers on one stream, at the same time, and
 * the settlement (spec/native-sync.md). What arrives is handled at once; what takes its time (the disk, the credit of
 * the other side) goes on beside it.
 */

import type { NativePayload } from '../../core/native/payload.ts';
import { NATIVE_POLICY } from '../../core/native/policy.ts';
import { NativeReconciler, type NativeState, type NativeStep } from '../../core/native/reconciler.ts';
import type { RangeIndex } from '../../core/range-index.ts';
import { boundAt, SyncIdList } from '../../core/sync-id.ts';
import { type ErrorCode, LacunaError, toLacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { Clock, FrameChannel, MessageStore, Random } from '../../ports.ts';
import { lebLength } from '../../wire/bytes.ts';
import type { NativeFrame, OverFrame, PayloadFrame, ResultFrame } from '../../wire/native-frame.ts';
import { decodeNativeFrame } from '../../wire/native-frames.ts';
import type { Budgets } from '../budgets.ts';
import type { Ingest } from '../ingest.ts';
import type { Pace } from '../pace.ts';
import { inTime, within } from '../session-runner.ts';
import { isMalformed, STRIKE_MALFORMED, type Strikes } from '../strikes.ts';
import type { ProtocolTraffic } from '../traffic.ts';
import type { Claims } from './claims.ts';
import { Demand } from './demand.ts';
import type { Terms } from './greeting.ts';
import type { Outlet } from './outlet.ts';
import { errorOf } from './refusal.ts';
import type { NativeSession } from './session.ts';
import { Supply } from './supply.ts';

export interface ConversationInit {
  readonly session: NativeSession;
  readonly channel: FrameChannel;
  readonly outlet: Outlet;
  readonly terms: Terms;
  /** The ids of the scope; does not change while the conversation runs. */
  readonly index: RangeIndex;
  readonly store: MessageStore;
  readonly ingest: Ingest;
  readonly claims: Claims;
  readonly strikes: Strikes;
  readonly budgets: Budgets;
  readonly traffic: ProtocolTraffic;
  readonly clock: Clock;
  readonly random: Random;
  readonly upload: Pace;
  readonly download: Pace;
  /** Fires when the session has to end. */
  readonly broken: AbortController;
  readonly signal: AbortSignal;
}

/**
 * Refusals that happen to an honest peer: a file that it imported may hold times that lie ahead, and its clock may be
 * ahead of ours.
 */
const BLAMELESS: ReadonlySet<ErrorCode> = new Set(['MESSAGE_TIMESTAMP_FUTURE']);
/** What a side weighs that offers messages and does not bring them, for each time it was asked. */
const STRIKES_ABSENT_MAX = 20;

export class Conversation {
  readonly #init: ConversationInit;
  readonly #supply: Supply | undefined;
  readonly #demand: Demand | undefined;
  /** Until both know that nothing more is to be found; it holds on to the ids of the whole window. */
  #reconciler: NativeReconciler | undefined;
  /** What both sides have that the other lacks, where that is to be told. */
  readonly #lists: { readonly have: SyncIdList; readonly need: SyncIdList } | undefined;
  #awaitsPayload = false;
  #theirOver: OverFrame | undefined;
  #isResultSent = false;
  #aliveMs = 0;
  readonly #over = new AbortController();

  constructor(init: ConversationInit) {
    this.#init = init;
    const { terms, session, index, random } = init;
    const { keyed, audit, sinceNs, untilNs } = terms;
    this.#reconciler = new NativeReconciler({
      index,
      lower: boundAt(sinceNs),
      upper: boundAt(untilNs),
      keyed,
      audit,
      policy: { ...NATIVE_POLICY, foundIdsMax: Math.min(NATIVE_POLICY.foundIdsMax, session.idsLeft()) },
      random: (below) => random.below(below),
    });
    const isListing = session.plan.listing !== undefined;
    this.#lists = isListing ? { have: new SyncIdList(), need: new SyncIdList() } : undefined;
    this.#supply = terms.gives ? this.#makeSupply() : undefined;
    this.#demand = terms.takes ? this.#makeDemand() : undefined;
    session.heldIds = () => (this.#supply?.held ?? 0) + (this.#demand?.held ?? 0);
    session.missingIds = () => this.#demand?.missing() ?? new SyncIdList();
  }

  /**
   * Resolves when both sides have settled. The channel is closed then.
   *
   * @throws LacunaError PEER_…, WIRE_…, SESSION_BUDGET, STORE_…
   */
  async run(): Promise<void> {
    const { session, channel, outlet, terms, claims, clock, signal } = this.#init;
    if (this.#demand !== undefined) claims.join(this.#demand);
    void outlet.keepAlive(signal);
    try {
      if (session.role === 'responder') this.#open(terms.probablyEqual);
      else this.#awaitsPayload = true;
      while (!this.#over.signal.aborted) {
        const frames = await this.#arrival();
        if (frames === undefined) throw new LacunaError('PEER_CLOSED', 'the peer closed the session');
        for (const frame of frames) this.#take(frame);
      }
      await within(outlet.flush(), signal);
      await channel.close();
      if (this.#lists !== undefined && session.agreed)
        session.plan.listing?.onDifferences(this.#lists.have, this.#lists.need);
    } finally {
      session.bytesSent += outlet.sentBytes;
      // What is on its way to the disk counts, and nobody else need ask for it.
      if (this.#demand !== undefined) {
        await inTime(this.#demand.stored(), clock, LIMITS.nativeLeaveMs);
        claims.leave(this.#demand);
      }
    }
  }

  /** What arrives next; nothing when the session ends while it is waited for. */
  async #arrival(): Promise<readonly Uint8Array[] | undefined> {
    const { channel, signal } = this.#init;
    const isOver = AbortSignal.any([signal, this.#over.signal]);
    try {
      return await within(channel.readMany(LIMITS.sessionReadMs), isOver);
    } catch (error) {
      if (this.#over.signal.aborted) return [];
      throw error;
    }
  }

  #makeSupply(): Supply {
    const { store, outlet, upload, signal, session, terms, budgets, traffic } = this.#init;
    return new Supply({
      store,
      outlet,
      pace: upload,
      signal,
      windowBytes: terms.windowBytes,
      messagesMax: terms.messagesMax,
      bytesMax: terms.bytesMax,
      onSending: (messages, bytes) => {
        budgets.serve(session.peer, bytes);
        traffic.messagesSent(messages);
      },
      onSent: (messages) => {
        session.sent += messages;
        session.touch();
      },
      onChange: () => this.#conclude(),
      onFailure: (error) => this.#fail(error),
    });
  }

  #makeDemand(): Demand {
    const { store, ingest, claims, clock, outlet, download, signal, session } = this.#init;
    const { strikes, terms, traffic } = this.#init;
    return new Demand({
      store,
      ingest,
      claims,
      clock,
      outlet,
      pace: download,
      arrival: { path: 'session', dialect: 'native', role: session.role, peer: session.peer },
      signal,
      scope: terms.scope,
      sinceNs: terms.sinceNs,
      untilNs: terms.untilNs,
      windowBytes: LIMITS.nativeWindowBytes,
      messagesMax: session.plan.messagesMax,
      bytesMax: session.plan.bytesMax,
      listed: this.#lists?.need,
      onDelivered: (messages) => traffic.messagesReceived(messages),
      onArrived: (stored, known) => {
        session.received += stored;
        session.known += known;
        if (stored > 0) session.touch();
      },
      onRefused: (code) => {
        session.refuse(code);
        if (!BLAMELESS.has(code)) strikes.strike(session.peer, isMalformed(code) ? STRIKE_MALFORMED : 1);
      },
      onAbsent: (messages) => strikes.strike(session.peer, Math.min(messages, STRIKES_ABSENT_MAX)),
      onChange: () => this.#conclude(),
      onFailure: (error) => this.#fail(error),
    });
  }

  #open(probablyEqual: boolean): void {
    const opening = this.#reconciler!.open(probablyEqual ? 1 : undefined);
    this.#say({ kind: 'payload', payload: opening });
  }

  #say(frame: PayloadFrame): void {
    const { session, outlet } = this.#init;
    session.reconciliationBytesSent += outlet.post(frame);
    session.rounds += 1;
    this.#awaitsPayload = true;
  }

  #fail(error: unknown): void {
    this.#init.broken.abort(error);
  }

  // ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

  #take(bytes: Uint8Array): void {
    const { session } = this.#init;
    const length = bytes.length + lebLength(bytes.length);
    session.bytesReceived += length;
    const frame = decodeNativeFrame(bytes);
    if (frame.kind === 'alive') {
      this.#stillThere();
      return;
    }
    if (frame.kind === 'payload') session.reconciliationBytesReceived += length;
    this.#handle(frame);
    session.touch();
    this.#conclude();
  }

  #handle(frame: NativeFrame): void {
    if (frame.kind === 'payload') this.#reconcile(frame);
    else if (frame.kind === 'offer') this.#expectDemand().offer(frame);
    else if (frame.kind === 'batch') this.#expectDemand().deliver(frame);
    else if (frame.kind === 'want') this.#expectSupply().want(frame);
    else if (frame.kind === 'ack') this.#expectSupply().acknowledge(frame.batches);
    else if (frame.kind === 'over') this.#theirSideIsOver(frame);
    else if (frame.kind === 'result') this.#theirResult(frame);
    else if (frame.kind === 'refuse') throw errorOf(frame);
    else throw misplaced(frame.kind);
  }

  #expectDemand(): Demand {
    if (this.#demand === undefined) throw misplaced('messages that nobody takes');
    return this.#demand;
  }

  #expectSupply(): Supply {
    if (this.#supply === undefined) throw misplaced('a wish for messages that are not given');
    return this.#supply;
  }

  #reconcile({ payload }: PayloadFrame): void {
    const { session } = this.#init;
    const reconciler = this.#reconciler;
    if (reconciler === undefined || !this.#awaitsPayload) throw misplaced('a payload out of turn');
    session.rounds += 1;
    this.#awaitsPayload = false;
    const { reply, have } = this.#step(reconciler, payload);
    session.have = reconciler.haveCount;
    session.need = reconciler.needCount;
    if (reply !== undefined) this.#say({ kind: 'payload', payload: reply });
    this.#supply?.add(have);
    this.#list(have);
    const { state } = reconciler;
    if (state === 'agreed' || state === 'incomplete') this.#settleReconciliation(state);
  }

  #list(have: SyncIdList): void {
    if (this.#lists === undefined) return;
    if (this.#lists.have.count + have.count > LIMITS.listedIds) {
      throw new LacunaError('SESSION_BUDGET', 'more ids differ than one session tells of');
    }
    this.#lists.have.pushRows(have.words, 0, have.count);
  }

  #step(reconciler: NativeReconciler, payload: NativePayload): NativeStep {
    try {
      return reconciler.step(payload);
    } catch (error) {
      // An honest peer keeps to the same policy: only one that never means to end goes beyond it.
      const { session, strikes } = this.#init;
      if (toLacunaError(error).code === 'SESSION_BUDGET') strikes.strike(session.peer, STRIKE_MALFORMED);
      throw error;
    }
  }

  #theirSideIsOver(over: OverFrame): void {
    if (this.#theirOver !== undefined) throw misplaced('a second end of the reconciliation');
    this.#theirOver = over;
    const state = this.#reconciler?.state;
    // Who still asks cannot be agreed with; who has said all and compared nothing takes the other's word.
    if (state === 'running' && over.state === 'agreed') throw misplaced('an agreement with a question');
    if (over.state === 'incomplete') this.#init.session.agreed = false;
    if (state !== undefined) this.#settleReconciliation(over.state);
    else this.#demand?.expect(over.have);
  }

  #theirResult(frame: ResultFrame): void {
    const { session } = this.#init;
    if (session.theirs !== undefined || this.#theirOver === undefined) throw misplaced('a result');
    session.theirs = frame;
  }

  /** Nothing more will be found, on either side. */
  #settleReconciliation(state: Exclude<NativeState, 'running' | 'ended'>): void {
    const { session, outlet } = this.#init;
    this.#reconciler = undefined;
    this.#awaitsPayload = false;
    session.agreed = state === 'agreed' && this.#theirOver?.state !== 'incomplete';
    outlet.post({ kind: 'over', state, have: session.have });
    this.#supply?.finish();
    // Who has compared the last digest knows it before the other side says so.
    if (this.#theirOver !== undefined) this.#demand?.expect(this.#theirOver.have);
    else if (session.need === 0) this.#demand?.expect(0);
  }

  // ── ending ───────────────────────────────────────────────────────────────────────────────────────────────────

  #conclude(): void {
    const { session, outlet, signal } = this.#init;
    if (this.#over.signal.aborted || signal.aborted || this.#reconciler !== undefined) return;
    session.capped =
      (this.#demand?.isCapped ?? false) ||
      (this.#supply?.isCapped ?? false) ||
      (session.theirs?.capped ?? false);
    const isDone = (this.#demand?.isDone ?? true) && (this.#supply?.isDone ?? true);
    if (isDone && !this.#isResultSent) {
      this.#isResultSent = true;
      const { received, known, refused, missing, capped } = session;
      outlet.post({ kind: 'result', capped, received, known, refused, missing });
    }
    if (!this.#isResultSent || session.theirs === undefined) return;
    this.#over.abort();
  }

  /** A side that only says that it is still there may wait for others, but not while it owes something itself. */
  #stillThere(): void {
    const { session, strikes, clock } = this.#init;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#aliveMs < LIMITS.nativeAliveMs / 10) strikes.strike(session.peer);
    this.#aliveMs = nowMs;
    const isOwed =
      this.#awaitsPayload ||
      this.#isResultSent ||
      (this.#demand?.awaitsOther ?? false) ||
      (this.#supply?.awaitsAcknowledgement ?? false);
    if (isOwed && session.idleMs > LIMITS.sessionReadMs) {
      throw new LacunaError('PEER_TIMEOUT', 'the peer does not go on');
    }
  }
}

function misplaced(what: string): LacunaError {
  return new LacunaError('WIRE_FIELD_INVALID', `out of place: ${what}`);
}
