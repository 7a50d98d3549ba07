/** Nodes of the sync bench as the parent commands them, and what a session between them was measured to take. */
import { fileURLToPath } from 'node:url';
import type { Cell, Workspace } from './cells.ts';
import { median } from './measure.ts';
import type { MemoryFigures } from './memory.ts';
import type { Report } from './report.ts';
import type {
  NodeCommands,
  OpenOrder,
  SessionFigures,
  SourceOutcome,
  Spent,
  SyncOrder,
  SyncOutcome,
} from './sync-cell.ts';

const PROGRAM = fileURLToPath(new URL('./sync-cell.ts', import.meta.url));

/** What each case is given. */
export interface CaseContext {
  readonly report: Report;
  /** How often each is measured; undefined for as often as the case likes. */
  readonly samples: number | undefined;
}

export interface NodeProcess {
  readonly cell: Cell<NodeCommands>;
  readonly address: string;
}

export async function startNode(space: Workspace, order: OpenOrder): Promise<NodeProcess> {
  const cell = space.start<NodeCommands>(PROGRAM, 'node');
  const { address } = await cell.ask('open', order);
  return { cell, address };
}

export async function stopNodes(nodes: readonly NodeProcess[]): Promise<void> {
  await Promise.all(
    nodes.map(async ({ cell }) => {
      await cell.ask('stop', undefined);
      await cell.end();
    }),
  );
}

export interface Sides {
  readonly client: Spent;
  readonly servers: readonly Spent[];
}

export interface Measured extends Sides {
  readonly outcome: SyncOutcome;
}

/** One call of `sync` of the client with the servers, all of them measured meanwhile. */
export async function measureSync(
  client: NodeProcess,
  servers: readonly NodeProcess[],
  { options, memory }: { readonly options: SyncOrder['options']; readonly memory: boolean },
): Promise<Measured> {
  const addresses = servers.map(({ address }) => address);
  const [outcome, sides] = await spentBy(client, servers, memory, () =>
    client.cell.ask('sync', { addresses, options }),
  );
  for (const { result } of outcome.sources) {
    if (result === undefined || result.dialect === 'native') continue;
    tellAfterStep(`a session spoke ${result.dialect}, not native`);
  }
  return { outcome, ...sides };
}

/** What the processes spend while something is done. */
export async function spentBy<T>(
  client: NodeProcess,
  servers: readonly NodeProcess[],
  memory: boolean,
  work: () => Promise<T>,
): Promise<[result: T, sides: Sides]> {
  const nodes = [client, ...servers];
  await Promise.all(nodes.map(({ cell }) => cell.ask('begin', { memory })));
  const result = await work();
  const [own, ...others] = await Promise.all(nodes.map(({ cell }) => cell.ask('end', undefined)));
  return [result, { client: own!, servers: others }];
}

/** The result of a session that must not have failed. */
export function resultOf({ address, result, error }: SourceOutcome): SessionFigures {
  if (result === undefined) throw new Error(`the session with ${address} failed: ${error}`);
  return result;
}

/** The result of the only session. */
export function onlyResult({ outcome }: Measured): SessionFigures {
  return resultOf(outcome.sources[0]!);
}

export function bytesOf({ bytesSent, bytesReceived }: SessionFigures): number {
  return bytesSent + bytesReceived;
}

/** A payload each way is one trip; what opens a session and what ends it is another together. */
export function roundTripsOf({ rounds }: SessionFigures): number {
  return (rounds + 2) / 2;
}

export function memoryOf({ memory }: Spent): MemoryFigures {
  if (memory === undefined) throw new Error('the memory was not watched');
  return memory;
}

/** Adds figures of one case, each the median over its samples. */
export class Medians<T> {
  readonly #report: Report;
  readonly #name: string;
  readonly #samples: readonly T[];

  constructor(report: Report, name: string, samples: readonly T[]) {
    this.#report = report;
    this.#name = name;
    this.#samples = samples;
  }

  of(value: (sample: T) => number): number {
    return median(this.#samples.map(value));
  }

  add(metric: string, unit: string, value: (sample: T) => number, target?: string): void {
    this.#report.add(this.#name, metric, this.of(value), unit, target);
  }

  /** Leaves out what is not a number, as where the system does not tell. */
  addIfKnown(metric: string, unit: string, value: (sample: T) => number, target?: string): void {
    if (!Number.isNaN(this.of(value))) this.add(metric, unit, value, target);
  }
}

/** The peaks of both sides; the client is the one that asks. */
export function addMemory(medians: Medians<Measured>, target?: string): void {
  for (const [side, spent] of SIDES) {
    medians.add(`peakRss${side}`, 'MB', (sample) => memoryOf(spent(sample)).peakMb, target);
  }
  for (const [side, spent] of SIDES) {
    const figures = (sample: Measured): MemoryFigures => memoryOf(spent(sample));
    medians.addIfKnown(`peakAnonymous${side}`, 'MB', (one) => figures(one).peakAnonymousMb ?? Number.NaN);
    medians.addIfKnown(`peakMappedFiles${side}`, 'MB', (one) => figures(one).peakFileMb ?? Number.NaN);
  }
}

const SIDES = [
  ['Server', (sample: Measured): Spent => sample.servers[0]!],
  ['Client', (sample: Measured): Spent => sample.client],
] as const;

/** Runs one piece of a case and tells how long it took, as some take minutes. */
export async function step<T>(name: string, work: () => Promise<T>): Promise<T> {
  const startMs = performance.now();
  process.stderr.write(`${name} … `);
  try {
    const result = await work();
    process.stderr.write(`${((performance.now() - startMs) / 1e3).toFixed(1)} s\n`);
    return result;
  } catch (error) {
    process.stderr.write('failed\n');
    throw error;
  } finally {
    for (const text of toTell.splice(0)) process.stderr.write(`  ${name}: ${text}\n`);
  }
}

/** Kept until the step is over, whose line would be torn apart. */
const toTell: string[] = [];

function tellAfterStep(text: string): void {
  if (!toTell.includes(text)) toTell.push(text);
}
