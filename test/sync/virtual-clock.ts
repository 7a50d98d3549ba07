/** A clock that stands still until a test moves it: half an hour of waiting takes as long as its callbacks do. */
import { setImmediate as turn } from 'node:timers/promises';
import { LacunaError } from '../../src/errors.ts';
import type { Clock } from '../../src/ports.ts';
import { NOW_MS } from '../sample-messages.ts';

/** One for all: millions of waits are ended early, and where from does not matter. */
const STOPPED = new LacunaError('SESSION_ABORTED', 'stopped while waiting');

interface Sleeper {
  readonly atMs: number;
  readonly wake: () => void;
}

export class VirtualClock implements Clock {
  #passedMs = 0;
  readonly #sleepers = new Set<Sleeper>();

  nowMs(): number {
    return NOW_MS + this.#passedMs;
  }

  monotonicMs(): number {
    return this.#passedMs;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const stop = (): void => {
        this.#sleepers.delete(sleeper);
        reject(STOPPED);
      };
      const sleeper: Sleeper = {
        atMs: this.#passedMs + ms,
        wake: () => {
          signal?.removeEventListener('abort', stop);
          resolve();
        },
      };
      if (signal?.aborted === true) return stop();
      signal?.addEventListener('abort', stop, { once: true });
      this.#sleepers.add(sleeper);
    });
  }

  /** How many wait for time to pass. */
  get sleepers(): number {
    return this.#sleepers.size;
  }

  /** Lets so much time pass, and everything happen that is due in it. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#passedMs + ms;
    await turn();
    for (let next = this.#next(); next !== undefined && next.atMs <= untilMs; next = this.#next()) {
      this.#wake(next);
      await turn();
    }
    this.#passedMs = untilMs;
  }

  /** Lets time pass until the promise has settled, and no further. */
  async run<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const settle = (): void => {
      settled = true;
    };
    promise.then(settle, settle);
    // Nothing under test waits for anything but promises and this clock: after a turn, all stands still.
    for (await turn(); !settled; await turn()) {
      const next = this.#next();
      if (next === undefined) throw new Error('nobody waits for time any more');
      this.#wake(next);
    }
    return await promise;
  }

  /** Lets time pass until nobody waits for it. */
  async runOut(): Promise<void> {
    await turn();
    for (let next = this.#next(); next !== undefined; next = this.#next()) {
      this.#wake(next);
      await turn();
    }
  }

  #next(): Sleeper | undefined {
    let first: Sleeper | undefined;
    for (const sleeper of this.#sleepers)
      if (first === undefined || sleeper.atMs < first.atMs) first = sleeper;
    return first;
  }

  #wake(sleeper: Sleeper): void {
    this.#sleepers.delete(sleeper);
    this.#passedMs = Math.max(this.#passedMs, sleeper.atMs);
    sleeper.wake();
  }
}
