/**
 * The index by itself: building it, inserting, digests and symbols of ranges, memory; and a store of millions of
 * messages opened with its index ready and taken through a session. Each case has a process of its own.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { benchLargeStore, LARGE_STORES } from './large-store.ts';
import { Report } from './report.ts';

const PROGRAM = fileURLToPath(new URL('./core-cell.ts', import.meta.url));
const CELL_CASES = ['build', 'append', 'insert', 'range', 'keyed', 'memory'] as const;
/** Of the large stores a full run makes the one that the mark is set for. */
const LARGE_BY_DEFAULT = 'open-10m';

export const CORE_CASES: readonly string[] = [...CELL_CASES, ...Object.keys(LARGE_STORES)];

/** What the process of a cell says, a line each. */
export interface CoreFigure {
  readonly metric: string;
  readonly value: number;
  readonly unit: string;
  readonly target?: string;
}

export async function benchCore(json: boolean, cases: readonly string[] | undefined): Promise<void> {
  const report = new Report('core', json);
  for (const name of cases ?? [...CELL_CASES, LARGE_BY_DEFAULT]) {
    process.stderr.write(`${name} …\n`);
    const figures = Object.hasOwn(LARGE_STORES, name) ? await benchLargeStore(name) : await runCell(name);
    for (const { metric, value, unit, target } of figures) report.add(name, metric, value, unit, target);
  }
  report.print();
}

async function runCell(name: string): Promise<CoreFigure[]> {
  const child = spawn(
    process.execPath,
    ['--expose-gc', '--import', import.meta.resolve('tsx'), PROGRAM, name],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const [said] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  if (child.exitCode !== 0) throw new Error(`${name} ended with code ${child.exitCode}`);
  return said
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as CoreFigure);
}
