/** What a peer has brought so far, and from it how much to ask it for ahead. */
import { LIMITS } from '../../limits.ts';

/** Older times count half as much, so that a peer which slows down is noticed. */
const MEMORY_MS = 4_000;
/** What comes first comes at once, whatever the rate: no rate is believed that is told by less time than this. */
const BUSY_MIN_MS = 500;

export class Arrivals {
  bytes = 0;
  #messages = 0;
  /** Time in which something was asked for and had not come, and what came in it. */
  #busyMs = 0;
  #busyBytes = 0;
  #sinceMs: number | undefined;

  /** Something was asked for of a peer that owed nothing. */
  begin(nowMs: number): void {
    this.#sinceMs ??= nowMs;
  }

  /** `isMoreOwed`: not all that was asked for has come. */
  add(messages: number, bytes: number, nowMs: number, isMoreOwed: boolean): void {
    this.#messages += messages;
    this.bytes += bytes;
    this.#busyMs += nowMs - (this.#sinceMs ?? nowMs);
    this.#busyBytes += bytes;
    this.#sinceMs = isMoreOwed ? nowMs : undefined;
    if (this.#busyMs <= MEMORY_MS) return;
    this.#busyMs /= 2;
    this.#busyBytes /= 2;
  }

  /**
   * How many messages to have on the way: as many as fill the window at the size seen so far, and no more than come in
   * `nativeAheadMs` at the rate seen so far: what a slow peer was asked for keeps others waiting.
   */
  ahead(windowBytes: number): number {
    if (this.#messages === 0) return LIMITS.nativeFirstWants;
    const bytesPerMs = this.#busyBytes / Math.max(BUSY_MIN_MS, this.#busyMs);
    const bytes = Math.min(windowBytes, bytesPerMs * LIMITS.nativeAheadMs);
    const messages = Math.ceil((bytes * this.#messages) / Math.max(1, this.bytes));
    return Math.max(1, Math.min(LIMITS.nativeWantedIds, messages));
  }
}
