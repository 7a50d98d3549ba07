/**
 * The case of the sync bench in which there is nothing to do: two nodes hold the same million messages. What it takes
 * to find that out, from a stranger and from a peer that was found equal just before.
 */
import { inWorkspace, type Workspace } from './cells.ts';
import type { Report } from './report.ts';
import {
  bytesOf,
  type CaseContext,
  type Measured,
  Medians,
  measureSync,
  type NodeProcess,
  onlyResult,
  roundTripsOf,
  type Sides,
  spentBy,
  startNode,
  step,
  stopNodes,
} from './sync-nodes.ts';
import { copyStore, fill } from './sync-stores.ts';
import type { Workload } from './workload.ts';

const NAME = 'insync-1m';
const SAMPLES = 3;
/** Sessions with a peer that is known, after one with it as a stranger. */
const KNOWN_SESSIONS = 20;
/** Sessions with somebody else before: what is measured is not the compiler. */
const WARM_UPS = 10;
const CPU_TARGET = '≤ 15';

const WORKLOAD: Workload = {
  messages: 1_000_000,
  payloadBytes: 200,
  sinceNs: 1_700_000_000_000_000_000n,
  spanNs: 60n * 86_400_000_000_000n,
  seed: NAME,
};

/** What two processes that never met take to connect, to meet as strangers, and then as those who know each other. */
interface Meeting {
  readonly connecting: Sides;
  readonly unknown: Measured;
  readonly known: readonly Measured[];
}

export async function benchInSync({ report, samples = SAMPLES }: CaseContext): Promise<void> {
  await inWorkspace(async (space) => {
    const original = space.path('original');
    await step(`${NAME}: filling`, () => fill(space, { folder: original, workload: WORKLOAD }));
    const meetings: Meeting[] = [];
    for (let sample = 0; sample < samples; sample++) {
      meetings.push(await step(`${NAME}: sessions`, () => meet(space, original, sample)));
    }
    const connecting = new Medians(
      report,
      `${NAME}-connect`,
      meetings.map((meeting) => meeting.connecting),
    );
    connecting.add('cpuClientMs', 'ms', cpuClientMs);
    connecting.add('cpuServerMs', 'ms', cpuServerMs);
    addFigures(
      report,
      `${NAME}-unknown`,
      meetings.map(({ unknown }) => unknown),
    );
    addFigures(
      report,
      `${NAME}-known`,
      meetings.flatMap(({ known }) => known),
    );
  });
}

async function meet(space: Workspace, original: string, sample: number): Promise<Meeting> {
  const nodes: NodeProcess[] = [];
  for (const name of ['client', 'server', 'third']) {
    const folder = space.path(`${name}-${sample}`);
    await copyStore(original, folder);
    nodes.push(await startNode(space, { folder }));
  }
  const [client, server, third] = nodes as [NodeProcess, NodeProcess, NodeProcess];
  for (let turn = 0; turn < WARM_UPS; turn++) {
    await session(client, third);
    await session(third, server);
  }
  const connect = () => client.cell.ask('connect', { address: server.address });
  const [, connecting] = await spentBy(client, [server], false, connect);
  const unknown = await session(client, server);
  const known: Measured[] = [];
  while (known.length < KNOWN_SESSIONS) known.push(await session(client, server));
  await stopNodes(nodes);
  return { connecting, unknown, known };
}

async function session(from: NodeProcess, to: NodeProcess): Promise<Measured> {
  const measured = await measureSync(from, [to], { options: {}, memory: false });
  const { have, need, verified } = onlyResult(measured);
  if (have !== 0 || need !== 0 || !verified) throw new Error('equal stores were not found equal');
  return measured;
}

function addFigures(report: Report, name: string, sessions: readonly Measured[]): void {
  const medians = new Medians(report, name, sessions);
  const best = (metric: string, of: (session: Measured) => number): void =>
    report.add(name, metric, Math.min(...sessions.map(of)), 'ms', CPU_TARGET);
  medians.add('rounds', 'count', (one) => onlyResult(one).rounds);
  medians.add('roundTrips', 'count', (one) => roundTripsOf(onlyResult(one)), '≤ 2');
  best('cpuClientBestMs', cpuClientMs);
  best('cpuServerBestMs', cpuServerMs);
  medians.add('cpuClientMs', 'ms', cpuClientMs, CPU_TARGET);
  medians.add('cpuServerMs', 'ms', cpuServerMs, CPU_TARGET);
  medians.add('bytes', 'B', (one) => bytesOf(onlyResult(one)));
  medians.add('seconds', 's', ({ outcome }) => outcome.wallMs / 1e3);
}

function cpuClientMs({ client }: Sides): number {
  return client.cpuMs;
}

function cpuServerMs({ servers }: Sides): number {
  return servers[0]!.cpuMs;
}
