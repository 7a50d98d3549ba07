/**
 * The time that ages are counted from. What is pruned is gone, so that a clock is not believed at once when it says
 * that far more time has passed than the node has lived through, as one does that jumps a year ahead: time goes on from
 * where it was until a message agrees with the clock, or a day has passed without one that does not. A clock that was
 * set back is believed: it prunes less.
 */
import type { Clock, Logger } from '../ports.ts';

/** A clock that is ahead by no more is believed; so is any, after so long without a newer message. */
const DOUBT_MS = 86_400_000;

/** A moment on the clock of the world, and on one that nobody sets. */
interface Moment {
  readonly wallMs: number;
  readonly monotonicMs: number;
}

interface Doubt {
  readonly newestMs: number | undefined;
  readonly sinceMonotonicMs: number;
}

export class RetentionClock {
  readonly #clock: Clock;
  readonly #log: Logger;
  /** The time of the newest message; undefined where there is none. */
  readonly #newestMs: () => number | undefined;
  /** When the clock was believed last. */
  #anchor: Moment | undefined;
  #doubt: Doubt | undefined;
  #isTold = false;

  constructor(clock: Clock, log: Logger, newestMs: () => number | undefined) {
    this.#clock = clock;
    this.#log = log;
    this.#newestMs = newestMs;
  }

  nowMs(): number {
    const now = this.#now();
    // When a store is opened, its newest message says best when it was used last.
    this.#anchor ??= { ...now, wallMs: Math.min(now.wallMs, this.#newestMs() ?? now.wallMs) };
    const reckonedMs = this.#anchor.wallMs + (now.monotonicMs - this.#anchor.monotonicMs);
    if (now.wallMs - reckonedMs <= DOUBT_MS || this.#isConfirmed(now)) {
      this.#believe(now);
      return now.wallMs;
    }
    return reckonedMs;
  }

  /** Tells in the log when the clock is not believed, and when it is again. */
  tell(): void {
    const reckonedMs = this.nowMs();
    if (this.#isTold === (this.#doubt !== undefined)) return;
    this.#isTold = !this.#isTold;
    const aheadMs = Math.round(this.#clock.nowMs() - reckonedMs);
    if (this.#isTold) this.#log.warn({ aheadMs }, 'the clock is far ahead: nothing is pruned by it yet');
    else this.#log.info({}, 'the clock is believed: what is too old by it is pruned');
  }

  /** Whoever asks for a pass answers for the clock. */
  believe(): void {
    this.#believe(this.#now());
  }

  /** Of a clock that is far ahead. */
  #isConfirmed({ wallMs, monotonicMs }: Moment): boolean {
    const newestMs = this.#newestMs();
    if (newestMs !== undefined && wallMs - newestMs <= DOUBT_MS) return true;
    // A newer message that does not agree is one more reason for doubt.
    if (this.#doubt === undefined || this.#doubt.newestMs !== newestMs)
      this.#doubt = { newestMs, sinceMonotonicMs: monotonicMs };
    return monotonicMs - this.#doubt.sinceMonotonicMs >= DOUBT_MS;
  }

  #believe(now: Moment): void {
    this.#anchor = now;
    this.#doubt = undefined;
  }

  #now(): Moment {
    return { wallMs: this.#clock.nowMs(), monotonicMs: this.#clock.monotonicMs() };
  }
}
