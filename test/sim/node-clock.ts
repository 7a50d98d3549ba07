/** The clock of one node of a fleet: a little off, as clocks are, and standing still while the node is held. */
import type { Clock } from '../../src/ports.ts';
import type { VirtualClock } from '../sync/virtual-clock.ts';

export class NodeClock implements Clock {
  /** How far it is ahead of the time that it is. */
  skewMs: number;
  readonly #clock: VirtualClock;
  #heldSinceMs: number | undefined;
  /** What the monotonic clock does not count: it stands still with the machine. */
  #heldMs = 0;
  readonly #waiting = new Set<() => void>();

  constructor(clock: VirtualClock, skewMs = 0) {
    this.#clock = clock;
    this.skewMs = skewMs;
  }

  nowMs(): number {
    return this.#clock.nowMs() + this.skewMs;
  }

  monotonicMs(): number {
    return (this.#heldSinceMs ?? this.#clock.monotonicMs()) - this.#heldMs;
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    await this.#clock.sleep(ms, signal);
    while (this.#heldSinceMs !== undefined) {
      await new Promise<void>((resolve) => {
        this.#waiting.add(resolve);
      });
    }
  }

  hold(): void {
    this.#heldSinceMs = this.#clock.monotonicMs();
  }

  release(): void {
    if (this.#heldSinceMs === undefined) return;
    this.#heldMs += this.#clock.monotonicMs() - this.#heldSinceMs;
    this.#heldSinceMs = undefined;
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}
