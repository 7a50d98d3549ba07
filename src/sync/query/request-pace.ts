/** Holds the requests to each peer to so many in any second, whoever sends them: a store that is asked more refuses. */
import { LIMITS } from '../../limits.ts';
import type { Clock } from '../../ports.ts';

const SECOND_MS = 1_000;

export class RequestPace {
  readonly #clock: Clock;
  /** When the last requests went out, or will, the oldest first; the peer that was asked longest ago first. */
  readonly #sent = new Map<string, number[]>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves when the peer may be asked once. @throws LacunaError SESSION_ABORTED when the signal fires first. */
  async turn(peer: string, stop: AbortSignal): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    const sent = this.#sent.get(peer) ?? [];
    const isFull = sent.length >= LIMITS.queryRequestsPerSecond;
    const atMs = isFull ? Math.max(nowMs, sent.shift()! + SECOND_MS) : nowMs;
    sent.push(atMs);
    this.#sent.delete(peer);
    this.#sent.set(peer, sent);
    if (this.#sent.size > LIMITS.queryPeers) this.#forgetOldest();
    if (atMs > nowMs) await this.#clock.sleep(atMs - nowMs, stop);
  }

  #forgetOldest(): void {
    for (const [peer] of this.#sent) {
      this.#sent.delete(peer);
      return;
    }
  }
}
