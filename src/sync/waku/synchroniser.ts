/**
 * Sessions in the `waku` dialect from beginning to end: as initiator over several passes until the window is verified
 * or nothing moves any more, and as responder to whoever opens one. Knows no network: peers come as links and channels.
 */
import { type ReconcilePolicy, WAKU_POLICY } from '../../core/reconcile.ts';
import type { Scope } from '../../core/scope.ts';
import { type LacunaError, toLacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { Clock, FrameChannel, PeerLink, Random } from '../../ports.ts';
import type { ScopeIndexes } from '../scope-indexes.ts';
import type { SessionPlan, SessionResult } from '../session.ts';
import { type SessionRunner, within } from '../session-runner.ts';
import { type DialogueOutcome, initiate, respond } from './dialogue.ts';
import { Outbox, type OutboxInit } from './outbox.ts';
import { WakuSession } from './session.ts';

export interface WakuSynchroniserInit extends OutboxInit {
  readonly runner: SessionRunner;
  readonly scopes: ScopeIndexes;
  readonly clock: Clock;
  readonly random: Random;
  /** The topics this node covers. */
  readonly scope: Scope;
}

export class WakuSynchroniser {
  readonly #init: WakuSynchroniserInit;
  /** When each peer was last verified equal, on the monotonic clock. */
  readonly #agreements = new Map<string, number>();

  constructor(init: WakuSynchroniserInit) {
    this.#init = init;
  }

  /**
   * Runs one session as initiator. A failed one throws after what moved so far was kept.
   *
   * @throws LacunaError SESSION_…, WIRE_…, PEER_…, STORE_…
   */
  async synchronise(link: PeerLink, plan: SessionPlan, stop?: AbortSignal): Promise<SessionResult> {
    const { runner, store, clock } = this.#init;
    const session = new WakuSession(link.peer, 'initiator', plan, store, clock);
    return await runner.run(session, { stop, yields: false, timeMs: LIMITS.sessionMs }, (signal) =>
      this.#passes(session, link, plan, signal),
    );
  }

  /** Answers a peer that opened a reconciliation stream. Never throws: how it ended is told by the runner. */
  async serve(link: PeerLink, channel: FrameChannel, stop?: AbortSignal): Promise<void> {
    const { runner, store, clock, scope } = this.#init;
    const plan: SessionPlan = { scope, sinceNs: 0n, untilNs: 0n, direction: 'both', dryRun: false };
    const session = new WakuSession(link.peer, 'responder', plan, store, clock);
    const outbox = new Outbox(session, link, this.#init);
    try {
      await runner.run(session, { stop, yields: true, timeMs: LIMITS.sessionMs }, async (signal) => {
        const outcome = await this.#dialogue(session, channel, link, outbox, signal, respond);
        session.verified = outcome.equal;
        await within(outbox.finish(), signal);
        await session.settle(signal);
      });
    } catch (error) {
      channel.abort(new Error(toLacunaError(error).code));
      outbox.abort(new Error('SESSION_ABORTED'));
    }
  }

  /** The Waku wire has no words for a refusal. */
  async turnAway(channel: FrameChannel, { code }: LacunaError): Promise<void> {
    channel.abort(new Error(code));
  }

  async #passes(
    session: WakuSession,
    link: PeerLink,
    plan: SessionPlan,
    deadline: AbortSignal,
  ): Promise<void> {
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
    session: WakuSession,
    link: PeerLink,
    probablyEqual: boolean,
    deadline: AbortSignal,
  ): Promise<DialogueOutcome> {
    const outbox = new Outbox(session, link, this.#init);
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
    session: WakuSession,
    channel: FrameChannel,
    link: PeerLink,
    outbox: Outbox,
    deadline: AbortSignal,
    run: (context: Parameters<typeof respond>[0]) => Promise<DialogueOutcome>,
  ): Promise<DialogueOutcome> {
    const { scopes, scope } = this.#init;
    const indexOf = () => scopes.of(session, session, deadline);
    const have = (ids: Parameters<Outbox['send']>[0]): void => {
      if (session.sends) outbox.send(ids);
    };
    // As initiator the plan's scope is what we name; as responder, what this node covers.
    const ownScope = session.role === 'initiator' ? session.plannedScope : scope;
    try {
      const policy = this.#policy(link, session.namesAll);
      const context = { session, channel, indexOf, policy, ownScope, upperIncluded: !link.isLacuna, have };
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
}
