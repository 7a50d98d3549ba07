/**
 * Questions to the history of a store of a million messages: of how long a page takes, the first and the
 * ten-thousandth, and the look-up of a hundred hashes, here and over the network; and how long counting takes.
 */
import { inWorkspace, type Workspace } from './cells.ts';
import { benchArchive } from './query-archive.ts';
import { benchCounts } from './query-counts.ts';
import { benchNetwork } from './query-network.ts';
import { QUERY_WORKLOAD } from './query-questions.ts';
import { Report } from './report.ts';
import { assertDisk, fill } from './sync-stores.ts';

/** What each case is given. */
export interface QueryCase {
  readonly report: Report;
  readonly space: Workspace;
  /** The data folder of a node that is not running, with the messages of the workload. */
  readonly folder: string;
}

const DISK_BYTES = 3_000_000_000;

const CASES: Readonly<Record<string, (context: QueryCase) => Promise<void>>> = {
  archive: benchArchive,
  count: benchCounts,
  network: benchNetwork,
};

export const QUERY_CASES: readonly string[] = Object.keys(CASES);

export async function benchQuery(json: boolean, cases: readonly string[] = QUERY_CASES): Promise<void> {
  const report = new Report('query', json);
  await assertDisk(DISK_BYTES);
  await inWorkspace(async (space) => {
    const folder = space.path('store');
    await fill(space, { folder, workload: QUERY_WORKLOAD });
    for (const name of cases) {
      try {
        await CASES[name]!({ report, space, folder });
      } catch (error) {
        // The figures of the others stay.
        process.stderr.write(`${name} failed: ${error instanceof Error ? error.message : String(error)}\n`);
        process.exitCode = 1;
      }
    }
  });
  report.print();
}
