/** The archive alone, without a network: in a process of its own that has the store open. */
import { fileURLToPath } from 'node:url';
import type { QueryCase } from './query.ts';
import type { ArchiveCommands } from './query-archive-cell.ts';

const PROGRAM = fileURLToPath(new URL('./query-archive-cell.ts', import.meta.url));

/** What a page, or a hundred hashes, may take, where there is a mark. */
const MARKS: Readonly<Record<string, { readonly p50?: string; readonly p99?: string }>> = {
  page: { p50: '≤ 3 ms', p99: '≤ 15 ms' },
  hashes: { p50: '≤ 2 ms' },
};

export async function benchArchive({ report, space, folder }: QueryCase): Promise<void> {
  const cell = space.start<ArchiveCommands>(PROGRAM, 'archive');
  for (const { name, p50Ms, p99Ms } of await cell.ask('measure', { folder })) {
    const mark = MARKS[name.split('-')[0]!] ?? {};
    const label = name.startsWith('raw ') ? name : `archive ${name}`;
    report.add(label, 'p50', p50Ms, 'ms', mark.p50);
    report.add(label, 'p99', p99Ms, 'ms', mark.p99);
  }
  await cell.end();
}
