/**
 * Sessions from beginning to end: as initiator over several passes until the window is verified or nothing moves
 * any more, and as responder to whoever opens one. Knows no network: peers come as links and channels.
 */
import { type ReconcilePolicy, WAKU_POLICY } from '../core/reconcile.ts';
import type { Scope } from '../core/scope.ts';
import { LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, FrameChannel, Logger, MessageStore, PeerLink, Random } from '../ports.ts';
import { hexHash } from './ingest.ts';
import { Outbox } from './outbox.ts';
import { Session, type SessionPlan, type SessionResult } from './session.ts';
import type { SessionTable } from './session-table.ts';
import type { Strikes } from './strikes.ts';
import { isMalformed, STRIKE_MALFORMED } from './strikes.ts';
import { type DialogueOutcome, initiate, respond } from './waku-dialogue.ts';

export interface SynchroniserInit {
  readonly store: MessageStore;
  readonly sessions: SessionTable;
  readonly strikes: Strikes;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** The topics this node covers. */
  readonly scope: Scope;
  /** Called with the result of every session that ended, and its error if it failed. */
  readonly onSession?: (result: SessionResult, error: LacunaError | undefined) => void;
}

export class Synchroniser {
  readonly #init: SynchroniserInit;
  /** When each peer was last verified equal, on the monotonic clock. */
  readonly #agreements = new Map<string, number>();

  constructor(init: SynchroniserInit) {
    this.#init = init;
  }

  /**
   * Runs one session as initiator. A failed one throws after what moved so far was kept; its result is told to
   * `onSession` all the same.
   *
   * @throws LacunaError SESSION_…, WIRE_…, PEER_…, STORE_…
   */
  async synchronise(link: PeerLink, plan: SessionPlan, stop?: AbortSignal): Promise<SessionResult> {
    const { store, sessions, clock } = this.#init;
    const session = new Session(link.peer, 'initiator', plan, store, clock);
    sessions.add(session);
    const deadline = new Deadline(clock, stop);
    try {
      await this.#passes(session, link, plan, deadline.signal);
      return this.#ended(session, undefined);
    } catch (error) {
      throw this.#failed(session, error, deadline.signal);
    } finally {
      deadline.end();
      sessions.end(session);
    }
  }

  /** Answers a peer that opened a reconciliation stream. Never throws: how it ended is told to `onSession`. */
  async serve(link: PeerLink, channel: FrameChannel, stop?: AbortSignal): Promise<void> {
    const { store, sessions, clock, scope, strikes } = this.#init;
    const plan: SessionPlan = { scope, sinceNs: 0n, untilNs: 0n, direction: 'both', dryRun: false };
    const session = new Session(link.peer, 'responder', plan, store, clock);
    const deadline = new Deadline(clock, stop);
    const outbox = new Outbox(session, link, store);
    try {
      if (strikes.isBanned(link.peer)) throw new LacunaError('PEER_BANNED', 'the peer is banned');
      sessions.add(session);
      session.displace = () => deadline.abort(new LacunaError('SESSION_BUSY', 'others need the place'));
      const outcome = await this.#dialogue(session, channel, link, outbox, deadline.signal, respond);
      session.verified = outcome.equal;
      await within(outbox.finish(), deadline.signal);
      await session.settle(deadline.signal);
      this.#ended(session, undefined);
    } catch (error) {
      channel.abort(new Error(toLacunaError(error).code));
      outbox.abort(new Error('SESSION_ABORTED'));
      this.#failed(session, error, deadline.signal);
    } finally {
      deadline.end();
      sessions.end(session);
    }
  }

  async #passes(session: Session, link: PeerLink, plan: SessionPlan, deadline: AbortSignal): Promise<void> {
    let engaged = false;
    for (let pass = 0; pass < LIMITS.sessionPasses; pass++) {
      const movedBefore = session.received + session.sent;
      const outcome = await this.#pass(session, link, pass > 0 || this.#agreedLately(link.peer), deadline);
      engaged ||= outcome.engaged;
      if (outcome.equal) {
        this.#agree(link.peer);
        session.verified = link.isLacuna || engaged || this.#isRecent(plan);
        return;
      }
      if (plan.dryRun) return;
      // What was pushed without a name may have been lost without a trace: the next pass asks for names.
      const told = !session.unnamed || !session.takes;
      const idle = session.received + session.sent === movedBefore && told;
      // One-sided sessions leave the other side's differences: there is nothing to verify, only to complete.
      const complete = plan.direction === 'push' || (session.missing().count === 0 && told);
      // A first pass that opened with lists, as for ids under one timestamp, and met no objection has yet to be
      // confirmed by a fingerprint: a peer may skip what it merely does not need.
      if ((idle && (pass > 0 || outcome.engaged)) || (plan.direction !== 'both' && complete)) return;
      session.nextPass();
    }
  }

  async #pass(
    session: Session,
    link: PeerLink,
    probablyEqual: boolean,
    deadline: AbortSignal,
  ): Promise<DialogueOutcome> {
    const outbox = new Outbox(session, link, this.#init.store);
    try {
      const channel = await within(link.openReconciliation(), deadline);
      const outcome = await this.#dialogue(session, channel, link, outbox, deadline, (context) =>
        initiate(context, probablyEqual),
      );
      await within(outbox.finish(), deadline);
      await session.settle(deadline);
      return outcome;
    } catch (error) {
      outbox.abort(new Error('SESSION_ABORTED'));
      throw error;
    }
  }

  async #dialogue(
    session: Session,
    channel: FrameChannel,
    link: PeerLink,
    outbox: Outbox,
    deadline: AbortSignal,
    run: (context: Parameters<typeof respond>[0]) => Promise<DialogueOutcome>,
  ): Promise<DialogueOutcome> {
    const { store, scope } = this.#init;
    const have = (ids: Parameters<Outbox['send']>[0]): void => {
      if (session.sends) outbox.send(ids);
    };
    // As initiator the plan's scope is what we name; as responder, what this node covers.
    const ownScope = session.role === 'initiator' ? session.plannedScope : scope;
    try {
      const policy = this.#policy(link, session.namesAll);
      const context = { session, channel, store, policy, ownScope, upperIncluded: !link.isLacuna, have };
      const outcome = await within(run(context), deadline);
      await channel.close();
      return outcome;
    } catch (error) {
      if (toLacunaError(error).code === 'SESSION_SCOPE') await channel.close().catch(() => undefined);
      else channel.abort(new Error(toLacunaError(error).code));
      throw error;
    }
  }

  #policy(link: PeerLink, nameAll: boolean): ReconcilePolicy {
    const { random } = this.#init;
    const echo = link.isLacuna ? 'everything' : 'needed';
    return { ...WAKU_POLICY, echo, nameAll, random: (below) => random.below(below) };
  }

  #agreedLately(peer: string): boolean {
    const agreed = this.#agreements.get(peer);
    return agreed !== undefined && this.#init.clock.monotonicMs() - agreed < LIMITS.agreementMs;
  }

  #agree(peer: string): void {
    if (this.#agreements.size >= LIMITS.peersRemembered) this.#agreements.clear();
    this.#agreements.set(peer, this.#init.clock.monotonicMs());
  }

  /** A stock nwaku passes over what is older than its own window: its silence says something of recent time only. */
  #isRecent(plan: SessionPlan): boolean {
    const oldestMs = this.#init.clock.nowMs() - LIMITS.stockSyncRangeMs - LIMITS.sessionJitterMs;
    return plan.sinceNs >= BigInt(Math.floor(oldestMs)) * 1_000_000n;
  }

  #ended(session: Session, error: LacunaError | undefined): SessionResult {
    const result = session.result();
    const { log, onSession } = this.#init;
    const { missingHashes, sinceNs, untilNs, ...fields } = result;
    const line = {
      ...fields,
      since: String(sinceNs),
      until: String(untilNs),
      code: error?.code,
      error: error?.message,
    };
    if (error === undefined) log.info(line, 'session ended');
    else log.warn(line, 'session failed');
    for (let row = 0; row < missingHashes.count; row++) {
      log.warn({ peer: session.peer, messageHash: hexHash(missingHashes.at(row)) }, 'message still missing');
    }
    onSession?.(result, error);
    return result;
  }

  #failed(session: Session, thrown: unknown, deadline: AbortSignal): LacunaError {
    const error = deadline.aborted
      ? toLacunaError(deadline.reason, 'SESSION_ABORTED')
      : toLacunaError(thrown, 'PEER_CLOSED');
    if (isMalformed(error.code) || error.code === 'SESSION_ROUNDS') {
      this.#init.strikes.strike(session.peer, STRIKE_MALFORMED);
    }
    this.#ended(session, error);
    return error;
  }
}

/** A signal that fires when the session's time is up or the node stops; `end` lets go of both. */
class Deadline {
  readonly signal: AbortSignal;
  readonly #late = new AbortController();
  readonly #done = new AbortController();

  constructor(clock: Clock, stop: AbortSignal | undefined) {
    this.signal = stop === undefined ? this.#late.signal : AbortSignal.any([stop, this.#late.signal]);
    clock.sleep(LIMITS.sessionMs, this.#done.signal).then(
      () => this.abort(new LacunaError('SESSION_BUDGET', 'the session is over its time')),
      () => undefined,
    );
  }

  abort(reason: LacunaError): void {
    this.#late.abort(reason);
  }

  end(): void {
    this.#done.abort();
  }
}

/** The promise, or the signal's reason as soon as it fires. */
async function within<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  // Whatever comes first: nobody may be left to hear of the promise's failure.
  promise.catch(() => undefined);
  signal.throwIfAborted();
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort);
  }
}
