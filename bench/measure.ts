/** Runs a piece of work over and over with benchmark.js and gives the median of its times. */
import Benchmark from 'benchmark';

/**
 * Seconds of one run, the median over at least `samples` runs. Work that differs from run to run gets the number
 * of the run.
 */
export function medianSeconds(
  name: string,
  samples: number,
  work: (run: number) => Promise<void>,
): Promise<number> {
  let run = 0;
  return new Promise((resolve, reject) => {
    new Benchmark(name, {
      defer: true,
      async: true,
      minSamples: samples,
      initCount: 1,
      maxTime: 0,
      minTime: 1e-9,
      fn(deferred: { resolve(): void }) {
        work(run++).then(() => deferred.resolve(), reject);
      },
      onComplete(event: { target: { stats: { sample: number[] }; error?: Error } }) {
        const { stats, error } = event.target;
        if (error !== undefined) reject(error);
        else resolve(median(stats.sample));
      },
    }).run();
  });
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
