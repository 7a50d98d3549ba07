/**
 * Reconciliation itself, without network and store: real bytes, messages, time and what was missed, of every
 * implementation over every pair of sets. Each cell has a process of its own, so that none meets the garbage or
 * the compiled code of another.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import {
  type Implementation,
  NATIVE,
  NEGENTROPY,
  STOCK,
  WAKU,
  WAKU_RESPONDER,
} from './baselines/contender.ts';
import { printFigure, printTable, readable } from './report.ts';
import { CASES, isCase } from './sets.ts';

/** What competes. */
export const IMPLEMENTATIONS: Readonly<Record<string, Implementation>> = {
  native: NATIVE,
  stock: STOCK,
  waku: WAKU,
  'waku-responder': WAKU_RESPONDER,
  negentropy: NEGENTROPY,
};

/** What the process of a cell says in its last line. */
export type CellOutcome = CellFigures | CellFailure;

export interface CellFigures {
  /** True ones, of both sides. */
  readonly differences: number;
  readonly bytes: number;
  readonly messages: number;
  readonly cpuInitiatorMs: number;
  readonly cpuResponderMs: number;
  readonly missed: number;
  /** Named as different, and are not. */
  readonly wrong: number;
}

export interface CellFailure {
  readonly failure: 'unfinished' | 'timedOut' | 'failed';
  readonly reason: string;
}

export interface ReconcileOptions {
  readonly json: boolean;
  /** All when undefined. */
  readonly cases: readonly string[] | undefined;
  readonly implementations: readonly string[] | undefined;
}

const PROGRAM = fileURLToPath(new URL('./reconcile-cell.ts', import.meta.url));
const NODE_OPTIONS = ['--max-old-space-size=8000', '--import', import.meta.resolve('tsx')];
const CELL_LIMIT_MS = 10 * 60_000;

/** A message for the operator when a name is unknown. */
export function unknownNames({ cases = [], implementations = [] }: ReconcileOptions): string | undefined {
  const unknownCases = cases.filter((name) => !isCase(name));
  if (unknownCases.length > 0) {
    return `no case ${unknownCases.join(', ')}: there are ${CASES.join(', ')}, and w1-SIZE-DIFFERENCES`;
  }
  const unknown = implementations.filter((name) => !Object.hasOwn(IMPLEMENTATIONS, name));
  if (unknown.length === 0) return undefined;
  return `no implementation ${unknown.join(', ')}: there are ${Object.keys(IMPLEMENTATIONS).join(', ')}`;
}

export async function benchReconcile(options: ReconcileOptions): Promise<void> {
  const rows: string[][] = [];
  for (const name of options.cases ?? CASES) {
    for (const implementation of options.implementations ?? Object.keys(IMPLEMENTATIONS)) {
      process.stderr.write(`${name} ${implementation} … `);
      const startMs = performance.now();
      const outcome = await runCell(name, implementation);
      const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
      process.stderr.write('failure' in outcome ? `${outcome.reason} (${seconds} s)\n` : `${seconds} s\n`);
      if ('failure' in outcome && outcome.failure === 'failed') process.exitCode = 1;
      if (options.json) printCell(name, implementation, outcome);
      rows.push([name, implementation, ...columnsOf(outcome)]);
    }
  }
  if (!options.json) printTable('reconcile', HEADING, rows, [2, 3, 4, 5, 6, 7]);
}

async function runCell(name: string, implementation: string): Promise<CellOutcome> {
  const child = spawn(process.execPath, [...NODE_OPTIONS, PROGRAM, name, implementation], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill('SIGKILL');
  }, CELL_LIMIT_MS);
  const [said] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  clearTimeout(timer);
  if (timedOut) return { failure: 'timedOut', reason: `stopped after ${CELL_LIMIT_MS / 60_000} minutes` };
  const line = said.trimEnd().split('\n').at(-1)!;
  if (child.exitCode === 0 && line !== '') return JSON.parse(line) as CellOutcome;
  return { failure: 'failed', reason: `ended with ${child.signalCode ?? `code ${child.exitCode}`}` };
}

function printCell(name: string, impl: string, outcome: CellOutcome): void {
  const print = (metric: string, value: number, unit: string): void =>
    printFigure({ bench: 'reconcile', case: name, impl, metric, value, unit });
  if ('failure' in outcome) {
    print(outcome.failure, 1, 'count');
    return;
  }
  print('bytes', outcome.bytes, 'B');
  print('messages', outcome.messages, 'count');
  print('cpuInitiatorMs', outcome.cpuInitiatorMs, 'ms');
  print('cpuResponderMs', outcome.cpuResponderMs, 'ms');
  print('missed', outcome.missed, 'count');
  if (outcome.wrong > 0) print('wrong', outcome.wrong, 'count');
}

const HEADING = [
  'case',
  'impl',
  'differences',
  'bytes',
  'messages',
  'cpu initiator ms',
  'cpu responder ms',
  'missed',
  '',
];

function columnsOf(outcome: CellOutcome): string[] {
  if ('failure' in outcome) return ['', '', '', '', '', '', outcome.reason];
  const { differences, bytes, messages, cpuInitiatorMs, cpuResponderMs, missed, wrong } = outcome;
  return [
    ...[differences, bytes, messages].map(readable),
    cpuInitiatorMs.toFixed(2),
    cpuResponderMs.toFixed(2),
    readable(missed),
    wrong > 0 ? `${readable(wrong)} named that do not differ` : '',
  ];
}
