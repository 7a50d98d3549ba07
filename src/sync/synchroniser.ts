/** Sessions in the best dialect that the peer speaks, unless one is asked for: native, else waku. */
import { toLacunaError } from '../errors.ts';
import type { FrameChannel, PeerLink } from '../ports.ts';
import type { NativeSynchroniser } from './native/synchroniser.ts';
import type { Dialect, SessionPlan, SessionResult } from './session.ts';
import type { WakuSynchroniser } from './waku/synchroniser.ts';

export class Synchroniser {
  readonly #native: NativeSynchroniser;
  readonly #waku: WakuSynchroniser;

  constructor(native: NativeSynchroniser, waku: WakuSynchroniser) {
    this.#native = native;
    this.#waku = waku;
  }

  /**
   * Runs one session as initiator. A failed one throws after what moved so far was kept; its result is reported all
   * the same.
   *
   * @throws LacunaError SESSION_…, WIRE_…, PEER_…, STORE_…
   */
  async synchronise(
    link: PeerLink,
    plan: SessionPlan,
    dialect: Dialect | 'auto' = 'auto',
    stop?: AbortSignal,
  ): Promise<SessionResult> {
    if (dialect === 'waku') return await this.#waku.synchronise(link, plan, stop);
    if (dialect === 'native') return await this.#native.synchronise(link, plan, stop);
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
  async serve(dialect: Dialect, link: PeerLink, channel: FrameChannel, stop?: AbortSignal): Promise<void> {
    await (dialect === 'native' ? this.#native : this.#waku).serve(link, channel, stop);
  }
}
