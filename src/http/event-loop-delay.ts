/** How long the event loop kept things waiting since it was last asked, in ms: one of these for each who asks. */
import { monitorEventLoopDelay } from 'node:perf_hooks';

const RESOLUTION_MS = 20;
const NS_PER_MS = 1e6;

export interface Delay {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export class EventLoopDelay {
  readonly #histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });

  constructor() {
    this.#histogram.enable();
  }

  take(): Delay {
    const histogram = this.#histogram;
    // The time between two ticks of its timer is measured: what is over the resolution is delay.
    const delay = (ns: number): number => Math.max(0, ns / NS_PER_MS - RESOLUTION_MS);
    const isEmpty = histogram.count === 0;
    const taken = {
      p50: isEmpty ? 0 : delay(histogram.percentile(50)),
      p99: isEmpty ? 0 : delay(histogram.percentile(99)),
      max: isEmpty ? 0 : delay(histogram.max),
    };
    histogram.reset();
    return taken;
  }
}
