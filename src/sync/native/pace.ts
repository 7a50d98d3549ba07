/** Holds what passes through to so many bytes a second, first come, first served. */
import type { Clock } from '../../ports.ts';

/** What may pass at once after a pause. A second of it was measured, and gained nothing. */
const BURST_MS = 100;

export class Pace {
  readonly #clock: Clock;
  readonly #bytesPerMs: number;
  /** When what was let through so far will have passed at the rate. */
  #passedMs = 0;

  /** Without a rate, nothing is held. */
  constructor(clock: Clock, bytesPerSecond: number | undefined) {
    this.#clock = clock;
    this.#bytesPerMs = bytesPerSecond === undefined ? Number.POSITIVE_INFINITY : bytesPerSecond / 1_000;
  }

  /** Resolves when so many bytes may pass. @throws LacunaError SESSION_ABORTED when the signal fires first. */
  async pass(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.#bytesPerMs === Number.POSITIVE_INFINITY) return;
    const nowMs = this.#clock.monotonicMs();
    this.#passedMs = Math.max(this.#passedMs, nowMs - BURST_MS) + bytes / this.#bytesPerMs;
    // As on a line of this rate, what passes takes its own time, not that of what was before it.
    if (this.#passedMs > nowMs) await this.#clock.sleep(this.#passedMs - nowMs, signal);
  }
}
