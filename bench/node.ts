/**
 * Nodes as they are installed, in processes of their own over loopback, doing what they do for months: keeping equal
 * while messages come in, taking messages in while a gap is filled, and coming back after two weeks; and a day of their
 * timers on a virtual clock.
 */
import { benchDay } from './node-day.ts';
import { benchDayOfStore } from './node-day-store.ts';
import { benchIngestUnderGap } from './node-gap.ts';
import { benchSteady } from './node-steady.ts';
import { benchTwoWeeks } from './node-weeks.ts';
import { Report } from './report.ts';

/** What each case is given. */
export interface NodeCase {
  readonly report: Report;
  /** How long `steady` is measured. */
  readonly minutes: number | undefined;
}

export interface NodeBenchOptions {
  readonly json: boolean;
  /** All when undefined. */
  readonly cases: readonly string[] | undefined;
  readonly minutes: number | undefined;
}

const CASES: Readonly<Record<string, (context: NodeCase) => Promise<void>>> = {
  steady: benchSteady,
  'ingest-under-gap': benchIngestUnderGap,
  'two-weeks': benchTwoWeeks,
  day: async (context) => {
    await benchDay(context);
    await benchDayOfStore(context);
  },
};

export const NODE_CASES: readonly string[] = Object.keys(CASES);

export async function benchNode({ json, cases = NODE_CASES, minutes }: NodeBenchOptions): Promise<void> {
  const report = new Report('node', json);
  for (const name of cases) {
    try {
      await CASES[name]!({ report, minutes });
    } catch (error) {
      // The figures of the others stay.
      process.stderr.write(`${name} failed: ${error instanceof Error ? error.message : String(error)}\n`);
      process.exitCode = 1;
    }
  }
  report.print();
}
