/**
 * Holds messages to so many bytes a second, first come, first served: all of them, and those of single pubsub topics to
 * rates of their own.
 */
import type { Clock } from '../ports.ts';
import { pubsubTopicOf } from '../wire/waku-message.ts';

/** What may pass at once after a pause. A second of it was measured, and gained nothing. */
const BURST_MS = 100;

export class Pace {
  readonly #clock: Clock;
  readonly #all: Line | undefined;
  readonly #topics: ReadonlyMap<string, Line>;

  /** Bytes a second of all messages, and of those of single topics. Without a rate, nothing is held. */
  constructor(clock: Clock, all?: number, topics: Readonly<Record<string, number>> = {}) {
    this.#clock = clock;
    this.#all = all === undefined ? undefined : new Line(all);
    this.#topics = new Map(Object.entries(topics).map(([topic, rate]) => [topic, new Line(rate)]));
  }

  /**
   * Resolves when these messages may pass, which are `bytes` in all. They stay together: a batch waits for the slowest of
   * its topics, as a session sends the newest first whatever they are of; other sessions are not held by that.
   *
   * @throws LacunaError SESSION_ABORTED when the signal fires first.
   */
  async pass(messages: readonly Uint8Array[], bytes: number, signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    let passedMs = this.#all?.add(bytes, nowMs) ?? nowMs;
    if (this.#topics.size > 0) {
      for (const message of messages) {
        const line = this.#topics.get(pubsubTopicOf(message) ?? '');
        if (line !== undefined) passedMs = Math.max(passedMs, line.add(message.length, nowMs));
      }
    }
    // As on a line of this rate, what passes takes its own time, not that of what was before it.
    if (passedMs > nowMs) await this.#clock.sleep(passedMs - nowMs, signal);
  }
}

class Line {
  readonly #bytesPerMs: number;
  /** When what was let through so far will have passed at the rate. */
  #passedMs = 0;

  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1_000;
  }

  /** Returns when these too will have passed. */
  add(bytes: number, nowMs: number): number {
    this.#passedMs = Math.max(this.#passedMs, nowMs - BURST_MS) + bytes / this.#bytesPerMs;
    return this.#passedMs;
  }
}
