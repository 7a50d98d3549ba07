/**
 * Cases of the sync bench with several sources: the same gap filled from one, two and three servers at once, each of
 * which sends at a rate of its own, so that what is gained by asking several is seen on one machine too.
 */
import { rm } from 'node:fs/promises';
import { inWorkspace, type Workspace } from './cells.ts';
import { median } from './measure.ts';
import { measureStore } from './sync-ceilings.ts';
import {
  addMemory,
  bytesOf,
  type CaseContext,
  type Measured,
  Medians,
  measureSync,
  type NodeProcess,
  resultOf,
  startNode,
  step,
  stopNodes,
} from './sync-nodes.ts';
import { copyStore, fill } from './sync-stores.ts';
import type { Workload } from './workload.ts';

export const SOURCE_CASES: Readonly<Record<string, number>> = {
  'sources-1': 1,
  'sources-2': 2,
  'sources-3': 3,
};

const TARGETS: Readonly<Record<string, string>> = { 'sources-2': '≥ 1.6', 'sources-3': '≥ 2' };
const SAMPLES = 3;
const UPLOAD_RATE = 20_000_000;
const PAST_NS = 1_700_000_000_000_000_000n;
const HOUR_NS = 3_600_000_000_000n;

/** What all hold, before the gap and after it. */
const SHARED: readonly Workload[] = [PAST_NS, PAST_NS + 2n * HOUR_NS].map((sinceNs, part) => ({
  messages: 25_000,
  payloadBytes: 1_024,
  sinceNs,
  spanNs: HOUR_NS,
  seed: `shared ${part}`,
}));
const GAP: Workload = {
  messages: 24_400,
  payloadBytes: 16_384,
  sinceNs: PAST_NS + HOUR_NS,
  spanNs: HOUR_NS,
  seed: 'gap',
};

/** The cases named; they share their stores. */
export async function benchSources(context: CaseContext, names: readonly string[]): Promise<void> {
  const { report, samples = SAMPLES } = context;
  await inWorkspace(async (space) => {
    const { gapBytes, servers } = await step(`${names.join(', ')}: filling`, () => makeStores(space, names));
    const taken = new Map<string, Measured[]>(names.map((name) => [name, []]));
    // Turn about, so that all meet the same machine.
    const ceilings: number[] = [];
    for (let sample = 0; sample < samples; sample++) {
      ceilings.push(await step('sources: ceiling', () => measureStore(space, GAP)));
      for (const [name, sessions] of taken) {
        const sources = servers.slice(0, SOURCE_CASES[name]!);
        sessions.push(await step(`${name}: sessions`, () => fetchGap(space, sources)));
      }
    }
    const seconds = (name: string): number | undefined => {
      const sessions = taken.get(name);
      return sessions && new Medians(report, name, sessions).of(({ outcome }) => outcome.wallMs / 1e3);
    };
    const alone = seconds('sources-1');
    for (const [name, sessions] of taken) {
      const medians = new Medians(report, name, sessions);
      const megabytes = (GAP.messages * GAP.payloadBytes) / 1e6;
      medians.add('seconds', 's', ({ outcome }) => outcome.wallMs / 1e3);
      medians.add('megabytesPerSecond', 'MB/s', ({ outcome }) => (megabytes / outcome.wallMs) * 1e3);
      // However many send, the store takes no more than this.
      report.add(name, 'ceilingStoreMbPerS', (median(ceilings) * GAP.payloadBytes) / 1e6, 'MB/s');
      if (name !== 'sources-1' && alone !== undefined) {
        report.add(name, 'speedup', alone / seconds(name)!, '', TARGETS[name]);
      }
      medians.add('messagesReceivedTwice', 'count', ({ client }) => client.duplicate, '0');
      // A node may drop what it has before its store sees it: by the bytes, what came twice is seen all the same.
      medians.add('transferRatio', '', (sample) => transferredBytes(sample) / gapBytes, '≤ 1.01');
      medians.add('cpuClientMs', 'ms', ({ client }) => client.cpuMs);
      medians.add('cpuServersMs', 'ms', cpuServersMs);
      // Near the number of cores, the machine is what holds it.
      medians.add('coresBusy', '', (sample) => {
        return (sample.client.cpuMs + cpuServersMs(sample)) / sample.outcome.wallMs;
      });
      addMemory(medians);
      medians.add('bytes', 'B', (sample) => resultsOf(sample).reduce((sum, one) => sum + bytesOf(one), 0));
    }
  });
}

async function makeStores(
  space: Workspace,
  names: readonly string[],
): Promise<{ gapBytes: number; servers: string[] }> {
  const client = space.path('client');
  for (const workload of SHARED) await fill(space, { folder: client, workload });
  const first = space.path('server-0');
  await copyStore(client, first);
  const { encodedBytes } = await fill(space, { folder: first, workload: GAP });
  const servers = [first];
  const most = Math.max(...names.map((name) => SOURCE_CASES[name]!));
  while (servers.length < most) {
    const another = space.path(`server-${servers.length}`);
    await copyStore(first, another);
    servers.push(another);
  }
  return { gapBytes: encodedBytes, servers };
}

async function fetchGap(space: Workspace, folders: readonly string[]): Promise<Measured> {
  const folder = space.path('client-copy');
  await copyStore(space.path('client'), folder);
  const servers: NodeProcess[] = [];
  for (const server of folders) {
    servers.push(await startNode(space, { folder: server, uploadRate: UPLOAD_RATE }));
  }
  const client = await startNode(space, { folder });
  const measured = await measureSync(client, servers, { options: { direction: 'pull' }, memory: true });
  await stopNodes([client, ...servers]);
  await rm(folder, { recursive: true });
  const { stored } = measured.client;
  if (stored !== GAP.messages) throw new Error(`${stored} of ${GAP.messages} messages arrived`);
  return measured;
}

function cpuServersMs({ servers }: Measured): number {
  return servers.reduce((sum, { cpuMs }) => sum + cpuMs, 0);
}

function resultsOf({ outcome }: Measured) {
  return outcome.sources.map(resultOf);
}

function transferredBytes(sample: Measured): number {
  return resultsOf(sample).reduce(
    (sum, { bytesReceived, reconciliationBytesReceived }) =>
      sum + bytesReceived - reconciliationBytesReceived,
    0,
  );
}
