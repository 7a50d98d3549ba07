/**
 * Cases of the sync bench that move many messages between two nodes: into an empty one, held against what the machine
 * can do; a tenth of an hour of large ones; and to a reader that is slower than the network.
 */
import { rm } from 'node:fs/promises';
import { inWorkspace, type Workspace } from './cells.ts';
import { type Ceilings, measureCeilings, measureParts, type Parts } from './sync-ceilings.ts';
import {
  addMemory,
  bytesOf,
  type CaseContext,
  type Measured,
  Medians,
  measureSync,
  memoryOf,
  onlyResult,
  roundTripsOf,
  startNode,
  step,
  stopNodes,
} from './sync-nodes.ts';
import { assertDisk, copyStore, fill } from './sync-stores.ts';
import type { Workload } from './workload.ts';

const SAMPLES = 3;
const PAST_NS = 1_700_000_000_000_000_000n;
const HOUR_NS = 3_600_000_000_000n;

interface PullOrder {
  readonly server: string;
  readonly client: string;
  /** The client's store takes this long for an append, beside what it takes. */
  readonly appendDelayMs?: number;
}

/** One session between two fresh processes. */
async function pull(space: Workspace, { server, client, appendDelayMs }: PullOrder): Promise<Measured> {
  const serving = await startNode(space, { folder: server });
  const asking = await startNode(space, { folder: client });
  if (appendDelayMs !== undefined) await asking.cell.ask('slow', { ms: appendDelayMs });
  const measured = await measureSync(asking, [serving], { options: { direction: 'pull' }, memory: true });
  await stopNodes([asking, serving]);
  return measured;
}

/** Throws unless the session brought all that was lacking. */
function assertComplete(measured: Measured, messages: number): void {
  const { received, missing } = onlyResult(measured);
  if (received !== messages || missing !== 0) {
    throw new Error(`${received} of ${messages} messages arrived, ${missing} are missing`);
  }
}

const EMPTY: Workload = {
  messages: 100_000,
  payloadBytes: 1_024,
  sinceNs: PAST_NS,
  spanNs: HOUR_NS,
  seed: 'empty-100k',
};

interface EmptySample extends Measured {
  readonly ceilings: Ceilings;
  readonly parts: Parts;
}

export async function benchEmpty({ report, samples = SAMPLES }: CaseContext): Promise<void> {
  const name = 'empty-100k';
  await inWorkspace(async (space) => {
    const server = space.path('server');
    const { encodedBytes } = await step(`${name}: filling`, () =>
      fill(space, { folder: server, workload: EMPTY }),
    );
    const taken: EmptySample[] = [];
    // Turn about, so that all meet the same machine.
    for (let sample = 0; sample < samples; sample++) {
      const ceilings = await step(`${name}: ceilings`, () => measureCeilings(space, EMPTY));
      const parts = await step(`${name}: parts`, () => measureParts(space, EMPTY));
      const client = space.path(`client-${sample}`);
      const measured = await step(`${name}: session`, () => pull(space, { server, client }));
      await rm(client, { recursive: true });
      assertComplete(measured, EMPTY.messages);
      taken.push({ ...measured, ceilings, parts });
    }
    const medians = new Medians(report, name, taken);
    const bytesPerMessage = encodedBytes / EMPTY.messages;
    const rate = ({ outcome }: Measured): number => (EMPTY.messages / outcome.wallMs) * 1e3;
    const streamRate = ({ ceilings }: EmptySample): number => ceilings.streamBytesPerSecond / bytesPerMessage;
    const ceiling = (sample: EmptySample): number =>
      Math.min(streamRate(sample), sample.ceilings.storeMessagesPerSecond);
    medians.add('seconds', 's', ({ outcome }) => outcome.wallMs / 1e3);
    medians.add('messagesPerSecond', '1/s', rate);
    medians.add('megabytesPerSecond', 'MB/s', (sample) => (rate(sample) * EMPTY.payloadBytes) / 1e6);
    medians.add('ceilingStreamMbPerS', 'MB/s', ({ ceilings }) => ceilings.streamBytesPerSecond / 1e6);
    medians.add('ceilingStreamMessagesPerS', '1/s', streamRate);
    medians.add('ceilingStoreMessagesPerS', '1/s', ({ ceilings }) => ceilings.storeMessagesPerSecond);
    medians.add('ratioToCeiling', '', (sample) => rate(sample) / ceiling(sample), '≥ 0.5');
    // Where the rest goes: what each part would reach alone, and its part of the session's time.
    medians.add('examineMessagesPerS', '1/s', ({ parts }) => parts.examine);
    medians.add('appendMessagesPerS', '1/s', ({ parts }) => parts.append);
    medians.add('shareStream', '', (sample) => rate(sample) / streamRate(sample));
    medians.add('shareExamine', '', (sample) => rate(sample) / sample.parts.examine);
    medians.add('shareAppend', '', (sample) => rate(sample) / sample.parts.append);
    medians.add('cpuServerMs', 'ms', ({ servers }) => servers[0]!.cpuMs);
    medians.add('cpuClientMs', 'ms', ({ client }) => client.cpuMs);
    addMemory(medians);
    medians.add('bytes', 'B', (sample) => bytesOf(onlyResult(sample)));
    medians.add('verified', '', (sample) => Number(onlyResult(sample).verified));
  });
}

const FURPS_EVERY = 10;
const GB = 1e9;
/** The stores have most of their tables in common, and LevelDB puts few of them together anew. */
const FURPS_DISK = 12 * GB;
const FURPS_DISK_PER_COPY = 2 * GB;

export async function benchFurps({ report, samples = 1 }: CaseContext): Promise<void> {
  const name = 'furps';
  const workload: Workload = {
    messages: 54_000,
    payloadBytes: 150_000,
    sinceNs: BigInt(Date.now()) * 1_000_000n - HOUR_NS,
    spanNs: HOUR_NS,
    seed: name,
  };
  const lacking = workload.messages / FURPS_EVERY;
  await assertDisk(FURPS_DISK + (samples - 1) * FURPS_DISK_PER_COPY);
  await inWorkspace(async (space) => {
    const [server, kept] = [space.path('server'), space.path('client')];
    await step(`${name}: filling the client`, () =>
      fill(space, { folder: kept, workload, part: { every: FURPS_EVERY, multiples: false } }),
    );
    await copyStore(kept, server);
    await step(`${name}: filling the server`, () =>
      fill(space, { folder: server, workload, part: { every: FURPS_EVERY, multiples: true } }),
    );
    const taken: Measured[] = [];
    for (let sample = 0; sample < samples; sample++) {
      // The last one needs no copy, which saves the disk of one where there is only one.
      const isLast = sample === samples - 1;
      const client = isLast ? kept : space.path(`client-${sample}`);
      if (!isLast) await copyStore(kept, client);
      const measured = await step(`${name}: session`, () => pull(space, { server, client }));
      await rm(client, { recursive: true });
      assertComplete(measured, lacking);
      taken.push(measured);
    }
    const medians = new Medians(report, name, taken);
    const megabytes = (lacking * workload.payloadBytes) / 1e6;
    medians.add('seconds', 's', ({ outcome }) => outcome.wallMs / 1e3, '< 25 (asked: < 60)');
    medians.add('megabytesPerSecond', 'MB/s', ({ outcome }) => (megabytes / outcome.wallMs) * 1e3);
    medians.add('roundTrips', '', (sample) => roundTripsOf(onlyResult(sample)));
    addMemory(medians, '< 400');
    medians.add('cpuServerMs', 'ms', ({ servers }) => servers[0]!.cpuMs);
    medians.add('cpuClientMs', 'ms', ({ client }) => client.cpuMs);
    medians.add('bytes', 'B', (sample) => bytesOf(onlyResult(sample)));
    medians.add('verified', '', (sample) => Number(onlyResult(sample).verified));
  });
}

const SLOW: Workload = {
  messages: 20_000,
  payloadBytes: 4_096,
  sinceNs: PAST_NS,
  spanNs: HOUR_NS,
  seed: 'slow-reader',
};
const SLOW_APPEND_MS = 20;

export async function benchSlowReader({ report, samples = SAMPLES }: CaseContext): Promise<void> {
  const name = 'slow-reader';
  await inWorkspace(async (space) => {
    const server = space.path('server');
    await step(`${name}: filling`, () => fill(space, { folder: server, workload: SLOW }));
    const taken: Measured[] = [];
    for (let sample = 0; sample < samples; sample++) {
      const client = space.path(`client-${sample}`);
      const order = { server, client, appendDelayMs: SLOW_APPEND_MS };
      const measured = await step(`${name}: session`, () => pull(space, order));
      await rm(client, { recursive: true });
      taken.push(measured);
      // A failure is a figure here, and what it was is told.
      const { error } = measured.outcome.sources[0]!;
      if (error !== undefined) process.stderr.write(`${name}: ${error}\n`);
    }
    const medians = new Medians(report, name, taken);
    const server0 = (sample: Measured) => memoryOf(sample.servers[0]!);
    medians.add('seconds', 's', ({ outcome }) => outcome.wallMs / 1e3);
    report.add(name, 'endedWithoutError', Math.min(...taken.map(endedWell)), '', '1');
    medians.add('messagesReceived', 'count', ({ client }) => client.stored, String(SLOW.messages));
    medians.add('peakRssServer', 'MB', (sample) => server0(sample).peakMb);
    const rise = (sample: Measured): number => server0(sample).stretchPeakMb - server0(sample).beforeMb;
    medians.add('peakRssServerRise', 'MB', rise, '< 100');
    // Without the tables that it mapped to read from, which the kernel takes back when it likes.
    const heldRise = (sample: Measured): number => {
      const { peakAnonymousMb = Number.NaN, beforeAnonymousMb = Number.NaN } = server0(sample);
      return peakAnonymousMb - beforeAnonymousMb;
    };
    medians.addIfKnown('peakAnonymousServerRise', 'MB', heldRise, '< 100');
    medians.add('peakRssClient', 'MB', ({ client }) => memoryOf(client).peakMb);
    medians.add('verified', '', ({ outcome }) => Number(outcome.sources[0]!.result?.verified ?? false));
  });
}

function endedWell({ outcome }: Measured): number {
  return outcome.sources.every(({ error }) => error === undefined) ? 1 : 0;
}
