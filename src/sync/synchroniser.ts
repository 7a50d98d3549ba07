/** Sessions in the best dialect that the peer speaks, unless one is asked for: native, else waku, else query. */
import { type LacunaError, toLacunaError } from '../errors.ts';
import type { FrameChannel, PeerLink } from '../ports.ts';
import type { Budgets } from './budgets.ts';
import type { NativeSynchroniser } from './native/synchroniser.ts';
import type { QuerySynchroniser } from './query/synchroniser.ts';
import type { Dialect, ServedDialect, SessionPlan, SessionResult } from './session.ts';
import type { WakuSynchroniser } from './waku/synchroniser.ts';

export class Synchroniser {
  readonly #native: NativeSynchroniser;
  readonly #waku: WakuSynchroniser;
  readonly #query: QuerySynchroniser;
  readonly #budgets: Budgets;

  constructor(
    native: NativeSynchroniser,
    waku: WakuSynchroniser,
    query: QuerySynchroniser,
    budgets: Budgets,
  ) {
    this.#native = native;
    this.#waku = waku;
    this.#query = query;
    this.#budgets = budgets;
  }

  /**
   * Runs one session as initiator. A failed one throws after what moved so far was kept; its result is reported all
   * the same.
   *
   * @throws LacunaError SESSION_…, WIRE_…, PEER_…, STORE_…, QUERY_…
   */
  async synchronise(
    link: PeerLink,
    plan: SessionPlan,
    dialect: Dialect | 'auto' = 'auto',
    stop?: AbortSignal,
  ): Promise<SessionResult> {
    const speakers = { native: this.#native, waku: this.#waku, query: this.#query };
    if (dialect !== 'auto') return await speakers[dialect].synchronise(link, plan, stop);
    if (!link.reconciles) return await this.#query.synchronise(link, plan, stop);
    if (!link.isLacuna) return await this.#waku.synchronise(link, plan, stop);
    try {
      return await this.#native.synchronise(link, plan, stop);
    } catch (error) {
      // One of the first versions, which spoke the Waku wire only.
      if (toLacunaError(error).code !== 'PEER_PROTOCOL') throw error;
    }
    return await this.#waku.synchronise(link, plan, stop);
  }

  /** Answers a peer that opened a session. Never throws. */
  async serve(
    dialect: ServedDialect,
    link: PeerLink,
    channel: FrameChannel,
    stop?: AbortSignal,
  ): Promise<void> {
    const synchroniser = dialect === 'native' ? this.#native : this.#waku;
    const refusal = this.#refusalOf(link.peer);
    if (refusal === undefined) await synchroniser.serve(link, channel, stop);
    else await synchroniser.turnAway(channel, refusal);
  }

  /** Before anything is read, made or logged: a refusal has to cost less than what is refused. */
  #refusalOf(peer: string): LacunaError | undefined {
    try {
      this.#budgets.openSession(peer);
      return undefined;
    } catch (error) {
      return toLacunaError(error);
    }
  }
}
