/**
 * Counts over a million messages of thirty days: what the counting takes, and what the answer of a running node over
 * HTTP takes. By hour is what operators ask for most; the others tell what rows and windows cost.
 */
import { configSchema } from '../src/config.ts';
import { TIMESTAMP_MAX } from '../src/core/sync-id.ts';
import { countMessages } from '../src/http/counts.ts';
import { nodeRoutes } from '../src/http/routes.ts';
import { HttpServer } from '../src/http/server.ts';
import { LacunaNode } from '../src/node.ts';
import type { CountOrder } from '../src/ports.ts';
import { silentLogger } from '../src/system.ts';
import { median } from './measure.ts';
import type { QueryCase } from './query.ts';
import { QUERY_WORKLOAD } from './query-questions.ts';
import { copyStore } from './sync-stores.ts';

const HOUR_NS = 3_600_000_000_000n;
const SAMPLES = 21;
const ALL = { sinceNs: 0n, untilNs: TIMESTAMP_MAX, rowsMax: 1_000_000 };
/** Neither begins nor ends with an hour. */
const ODD = {
  ...ALL,
  sinceNs: QUERY_WORKLOAD.sinceNs + HOUR_NS / 3n,
  untilNs: QUERY_WORKLOAD.sinceNs + 500n * HOUR_NS + 1n,
};
const DAY = {
  ...ALL,
  sinceNs: QUERY_WORKLOAD.sinceNs + 240n * HOUR_NS,
  untilNs: QUERY_WORKLOAD.sinceNs + 264n * HOUR_NS,
};

const CASES: readonly (readonly [name: string, order: CountOrder, target?: string])[] = [
  ['by-hour', { ...ALL, by: 'hour' }, '≤ 100 ms'],
  ['by-hour-odd-window', { ...ODD, by: 'hour' }],
  ['by-day', { ...ALL, by: 'day' }],
  ['by-content-topic', { ...ALL, by: 'content-topic' }],
  ['by-content-topic-of-a-day', { ...DAY, by: 'content-topic' }],
];

export async function benchCounts({ report, space, folder }: QueryCase): Promise<void> {
  const data = space.path('counted');
  await copyStore(folder, data);
  const config = configSchema.parse({ data, listen: ['/ip4/127.0.0.1/tcp/0'] });
  const node = await LacunaNode.open({ config, log: silentLogger });
  const server = new HttpServer(nodeRoutes(node, data), silentLogger);
  try {
    const url = await server.listen('127.0.0.1:0');
    for (const [name, order, target] of CASES) {
      const ms = await medianMs(() => countMessages(node.store, order));
      report.add(`count-${name}`, 'p50', ms, 'ms', target);
    }
    const byHttp = await medianMs(async () => {
      const answer = await fetch(`${url}/api/v1/counts?by=hour`);
      const { total } = (await answer.json()) as { total: number };
      if (total !== QUERY_WORKLOAD.messages) throw new Error(`${total} messages were counted`);
    });
    report.add('count-by-hour-http', 'p50', byHttp, 'ms', '≤ 100 ms');
  } finally {
    await server.close();
    await node.stop();
  }
}

async function medianMs(work: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let sample = 0; sample < SAMPLES; sample++) {
    const begun = performance.now();
    await work();
    times.push(performance.now() - begun);
  }
  return median(times);
}
