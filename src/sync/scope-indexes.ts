/**
 * The ids that a session compares. Of everything there is an index; of some topics, one is put together from their lists
 * on the disk, and somebody else says of which topics and of how long a time. For a stranger that is done one at a time,
 * with as much rest as work, within what strangers may cost and what their sessions hold together.
 */
import type { RangeIndex } from '../core/range-index.ts';
import { isEverything, type Scope } from '../core/scope.ts';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, MessageStore } from '../ports.ts';
import type { Budgets } from './budgets.ts';
import type { Role, RunningSession } from './session.ts';
import { within } from './session-runner.ts';
import type { SessionTable } from './session-table.ts';

export interface ScopeIndexesInit {
  readonly store: Pick<MessageStore, 'index'>;
  readonly budgets: Pick<Budgets, 'isFree' | 'openScope' | 'spendOnScope'>;
  readonly sessions: Pick<SessionTable, 'idsIndexed'>;
  readonly clock: Clock;
}

/** What of a session is compared. */
export interface Compared {
  readonly scope: Scope;
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
}

type IndexedSession = Pick<RunningSession, 'peer' | 'indexed'> & { readonly role: Role };

export class ScopeIndexes {
  readonly #init: ScopeIndexesInit;
  /** Resolves when the last stranger's that was asked for is there, or is not to come. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(init: ScopeIndexesInit) {
    this.#init = init;
  }

  /**
   * What this node compares of its own accord, or with a peer of the operator's choice, costs what it costs. What is put
   * together for a stranger is held until its session ends.
   *
   * @throws LacunaError SESSION_BUSY, with the time after which the peer may come again; the reason of the signal.
   */
  async of(session: IndexedSession, compared: Compared, signal: AbortSignal): Promise<RangeIndex> {
    const { store, budgets } = this.#init;
    const { scope, sinceNs, untilNs } = compared;
    if (session.role === 'initiator' || isEverything(scope) || budgets.isFree(session.peer)) {
      return await within(
        store.index(scope, sinceNs, untilNs, () => signal.throwIfAborted()),
        signal,
      );
    }
    const turn = this.#last.then(() => this.#putTogether(session, compared, signal));
    this.#last = turn.catch(() => undefined);
    return await within(turn, signal);
  }

  async #putTogether(session: IndexedSession, compared: Compared, signal: AbortSignal): Promise<RangeIndex> {
    const { store, budgets, sessions, clock } = this.#init;
    const { scope, sinceNs, untilNs } = compared;
    const { peer } = session;
    signal.throwIfAborted();
    budgets.openScope(peer);
    if (sessions.idsIndexed >= LIMITS.sessionsIndexed) {
      throw new LacunaError('SESSION_BUSY', 'sessions of single topics hold as much as they may', {
        retryAfterMs: LIMITS.sessionYieldMs,
      });
    }
    let read = 0;
    let restedMs = clock.monotonicMs();
    const index = await store.index(scope, sinceNs, untilNs, async (entries) => {
      signal.throwIfAborted();
      read += entries;
      budgets.spendOnScope(peer, entries);
      const workedMs = clock.monotonicMs() - restedMs;
      if (workedMs > 0) await clock.sleep(Math.min(LIMITS.scopeRestMs, workedMs), signal);
      restedMs = clock.monotonicMs();
    });
    // Where nothing was read it is the index of everything, which all share.
    session.indexed = Math.min(read, index.count);
    return index;
  }
}
