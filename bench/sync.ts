/**
 * Nodes in processes of their own that synchronise over loopback: how fast messages move against what the machine can
 * do, what a session in sync costs, how a sender fares with a slow reader, and what several sources gain.
 */
import { Report } from './report.ts';
import { benchInSync } from './sync-equal.ts';
import type { CaseContext } from './sync-nodes.ts';
import { benchSources, SOURCE_CASES } from './sync-sources.ts';
import { benchEmpty, benchFurps, benchSlowReader } from './sync-transfer.ts';
import { benchWire } from './sync-wire.ts';

export interface SyncBenchOptions {
  readonly json: boolean;
  /** All when undefined. */
  readonly cases: readonly string[] | undefined;
  /** How often each session is measured; undefined for as often as its case likes. */
  readonly samples: number | undefined;
}

const SINGLE_CASES: Readonly<Record<string, (context: CaseContext) => Promise<void>>> = {
  'empty-100k': benchEmpty,
  furps: benchFurps,
  'insync-1m': benchInSync,
  'slow-reader': benchSlowReader,
  wire: ({ report }) => benchWire(report),
};

export const SYNC_CASES: readonly string[] = [...Object.keys(SINGLE_CASES), ...Object.keys(SOURCE_CASES)];

export async function benchSync({ json, cases = SYNC_CASES, samples }: SyncBenchOptions): Promise<void> {
  const report = new Report('sync', json);
  const context = { report, samples };
  const sources = cases.filter((name) => Object.hasOwn(SOURCE_CASES, name));
  for (const name of cases) {
    const run = SINGLE_CASES[name];
    if (run !== undefined) await attempt(name, () => run(context));
  }
  if (sources.length > 0) await attempt(sources.join(', '), () => benchSources(context, sources));
  report.print();
}

/** A case that fails must not take the figures of the others with it. */
async function attempt(name: string, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    process.stderr.write(`${name} failed: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
