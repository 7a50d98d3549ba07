/**
 * When to synchronise with whom: with every configured peer at start, and then at each interval; a peer that
 * fails is tried again sooner, ever more slowly, and never all at the same moment.
 */
import { toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, Logger, Random } from '../ports.ts';

export interface SchedulerInit {
  readonly peers: readonly string[];
  readonly intervalMs: number;
  /** One session with a peer; throws a coded error. */
  readonly synchronise: (peer: string, stop: AbortSignal) => Promise<unknown>;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
}

export class Scheduler {
  readonly #init: SchedulerInit;
  readonly #stop = new AbortController();
  #loops: Promise<void>[] = [];

  constructor(init: SchedulerInit) {
    this.#init = init;
  }

  start(): void {
    this.#loops = this.#init.peers.map((peer) => this.#loop(peer));
  }

  async stop(): Promise<void> {
    this.#stop.abort(toLacunaError(new Error('the node stops'), 'SESSION_ABORTED'));
    await Promise.all(this.#loops);
  }

  async #loop(peer: string): Promise<void> {
    const { clock, log, synchronise } = this.#init;
    let failures = 0;
    while (!this.#stop.signal.aborted) {
      try {
        await synchronise(peer, this.#stop.signal);
        failures = 0;
      } catch (error) {
        failures += 1;
        const { code, message } = toLacunaError(error);
        if (!this.#stop.signal.aborted)
          log.warn({ peer, code, error: message, failures }, 'synchronising failed');
      }
      await clock.sleep(this.#pauseMs(failures), this.#stop.signal).catch(() => undefined);
    }
  }

  #pauseMs(failures: number): number {
    const { intervalMs, random } = this.#init;
    const pause = failures === 0 ? intervalMs : Math.min(intervalMs, LIMITS.retryMs * 2 ** (failures - 1));
    return pause * (0.9 + random.below(200) / 1_000);
  }
}
