/**
 * Case `ingest-under-gap` of the node bench: a node fetches what it lacks, as fast as it can, while messages come in
 * over HTTP that are to be on its disk soon.
 */
import { inWorkspace, type Workspace } from './cells.ts';
import { median } from './measure.ts';
import type { NodeCase } from './node.ts';
import { type Delay, NodeWatch, percentile } from './node-gauges.ts';
import { BenchNode, pause, withNodes } from './node-process.ts';
import { Metronome, messageLine, type Published, Publisher } from './node-publish.ts';
import { lastAliveAt, nsOfMs } from './node-stores.ts';
import { copyStore, fill } from './sync-stores.ts';

const SAMPLES = 3;
const MESSAGES = 100_000;
const PAYLOAD_BYTES = 1_024;
const HOUR_MS = 3_600_000;
const PER_SECOND = 300;
const AT_A_TIME = 16;
const CONTENT_TOPIC = '/bench/1/ingest/proto';
/** What is older than the jitter can be compared at once. */
const COMPARABLE_MS = 60_000;
const FILL_LIMIT_MS = 300_000;
/** How long messages go on coming when the gap is filled, for comparison. */
const AFTER_MS = 10_000;

interface Sample {
  readonly fillSeconds: number;
  /** Sent while the gap was filling, and afterwards. */
  readonly during: readonly Published[];
  readonly after: readonly Published[];
  /** Acknowledged a second while it was filling. */
  readonly rate: number;
  /** Sessions that brought messages of the gap: the node's own, and those of its peer. */
  readonly sessions: number;
  readonly peakMb: number;
  readonly starvedPercent: number;
  readonly delay: Delay;
}

export async function benchIngestUnderGap({ report }: NodeCase): Promise<void> {
  const samples = await inWorkspace(async (space) => {
    const full = space.path('full');
    const sinceNs = nsOfMs(Date.now() - HOUR_MS - COMPARABLE_MS);
    const span = { sinceNs, spanNs: nsOfMs(HOUR_MS) };
    const workload = { messages: MESSAGES, payloadBytes: PAYLOAD_BYTES, ...span, seed: 'ingest-under-gap' };
    await fill(space, { folder: full, workload });
    const samples: Sample[] = [];
    for (let run = 0; run < SAMPLES; run++) samples.push(await sampleOf(space, full, run));
    return samples;
  });
  const add = (metric: string, unit: string, of: (sample: Sample) => number, target?: string): void =>
    report.add('ingest-under-gap', metric, median(samples.map(of)), unit, target);
  const refused = samples
    .flatMap(({ during, after }) => [...during, ...after])
    .flatMap((one) => one.refused ?? []);
  for (const refusal of new Set(refused)) process.stderr.write(`ingest-under-gap: ${refusal}\n`);
  report.add('ingest-under-gap', 'refused', refused.length, '', '0');
  add('ingests', '', ({ during }) => during.length);
  add('ingestRate', 'messages/s', ({ rate }) => rate, `${PER_SECOND}`);
  for (const percent of [50, 99, 100]) {
    const name = percent === 100 ? 'Max' : `P${percent}`;
    const target = percent === 99 ? '< 250' : undefined;
    add(`latency${name}`, 'ms', ({ during }) => percentile(during.map(latencyOf), percent), target);
  }
  add('latencyP99SinceDue', 'ms', ({ during }) => percentile(during.map(sinceDue), 99));
  report.add(
    'ingest-under-gap',
    'latencyP99Worst',
    Math.max(...samples.map(({ during }) => percentile(during.map(latencyOf), 99))),
    'ms',
  );
  add('afterP50', 'ms', ({ after }) => percentile(after.map(latencyOf), 50));
  add('afterP99', 'ms', ({ after }) => percentile(after.map(latencyOf), 99));
  add('fillSeconds', 's', ({ fillSeconds }) => fillSeconds);
  add('fillRate', 'messages/s', ({ fillSeconds }) => MESSAGES / fillSeconds);
  add('sessionsBringing', '', ({ sessions }) => sessions);
  add('peakRss', 'MB', ({ peakMb }) => peakMb);
  add('starved', '% of the time', ({ starvedPercent }) => starvedPercent);
  add('delayP99', 'ms', ({ delay }) => delay.p99);
  add('delayMax', 'ms', ({ delay }) => delay.max);
}

async function sampleOf(space: Workspace, full: string, run: number): Promise<Sample> {
  const [hasAll, hasNone] = [space.path(`full-${run}`), space.path(`empty-${run}`)];
  await copyStore(full, hasAll);
  await lastAliveAt(hasAll, Date.now());
  return await withNodes(async (nodes) => {
    const source = await BenchNode.start({ name: 'the source', data: hasAll });
    nodes.push(source);
    const node = await BenchNode.start({ name: 'the node', data: hasNone, peers: [source.address] });
    nodes.push(node);
    const startMs = performance.now();
    const publisher = new Publisher(node, AT_A_TIME);
    const all: Promise<Published>[] = [];
    const beat = new Metronome(PER_SECOND, (dueMs, timeMs) => {
      const line = messageLine(PAYLOAD_BYTES, CONTENT_TOPIC, timeMs);
      all.push(publisher.publish(line, dueMs).catch((error: unknown) => failed(dueMs, String(error))));
    });
    try {
      const watch = await NodeWatch.begin(node, 100);
      const filledMs = await filled(node);
      const usage = await watch.end();
      await pause(AFTER_MS);
      beat.stop();
      const published = await Promise.all(all);
      const fillSeconds = (filledMs - startMs) / 1e3;
      return {
        fillSeconds,
        during: published.filter(({ sentMs }) => sentMs <= filledMs),
        after: published.filter(({ sentMs }) => sentMs > filledMs),
        rate: published.filter(({ answeredMs }) => answeredMs <= filledMs).length / fillSeconds,
        sessions: node.sessions().filter(({ fields }) => Number(fields['received']) > 0).length,
        peakMb: usage.peakMb,
        starvedPercent: usage.starvedPercent,
        delay: usage.delay,
      };
    } finally {
      beat.stop();
      publisher.end();
    }
  });
}

/** When the sessions of the node had brought all that it lacked. */
async function filled(node: BenchNode): Promise<number> {
  for (const deadline = performance.now() + FILL_LIMIT_MS; performance.now() < deadline; await pause(20)) {
    let received = 0;
    for (const { atMs, fields } of node.sessions()) {
      received += Number(fields['received']);
      if (received >= MESSAGES) return atMs;
    }
  }
  throw new Error(`the gap is not filled\n${node.log}`);
}

function failed(dueMs: number, refused: string): Published {
  return { dueMs, sentMs: dueMs, answeredMs: performance.now(), refused };
}

/** What whoever published waited for the answer. */
function latencyOf({ sentMs, answeredMs }: Published): number {
  return answeredMs - sentMs;
}

/** With the wait for one of the connections. */
function sinceDue({ dueMs, answeredMs }: Published): number {
  return answeredMs - dueMs;
}
