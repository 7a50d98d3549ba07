/** What benches print: a table for people, or with --json one line a figure. */
import { cpus, totalmem } from 'node:os';

export interface Figure {
  readonly bench: string;
  readonly case: string;
  /** Where one case is run by several implementations: which of them. */
  readonly impl?: string;
  readonly metric: string;
  readonly value: number;
  readonly unit: string;
  /** What the issue or a peer sets as the mark, for the table. */
  readonly target?: string;
}

export class Report {
  readonly #bench: string;
  readonly #json: boolean;
  readonly #figures: Figure[] = [];

  constructor(bench: string, json: boolean) {
    this.#bench = bench;
    this.#json = json;
  }

  add(name: string, metric: string, value: number, unit: string, target?: string): void {
    const figure = { bench: this.#bench, case: name, metric, value: rounded(value), unit };
    this.#figures.push(target === undefined ? figure : { ...figure, target });
    if (this.#json) printFigure(figure);
  }

  print(): void {
    if (this.#json) return;
    const rows = this.#figures.map((figure) => [
      figure.case,
      figure.metric,
      `${readable(figure.value)} ${figure.unit}`,
      figure.target ?? '',
    ]);
    printTable(this.#bench, ['case', 'metric', 'value', 'target'], rows, [2]);
  }
}

/** One line that a script can read. The target is left to the table. */
export function printFigure({ target: _, ...figure }: Figure): void {
  console.log(JSON.stringify({ ...figure, value: rounded(figure.value) }));
}

/** `numeric`: the columns that are set to the right. */
export function printTable(
  bench: string,
  heading: readonly string[],
  rows: readonly (readonly string[])[],
  numeric: readonly number[],
): void {
  console.log(`\n${bench} on ${machine()}`);
  const all = [heading, ...rows];
  const widths = heading.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  for (const row of all) {
    const cells = row.map((cell, column) =>
      numeric.includes(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
    );
    console.log(cells.join('  ').trimEnd());
  }
}

export function readable(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 3 });
}

export function machine(): string {
  const [cpu] = cpus();
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${cpu?.model.trim() ?? 'unknown CPU'}, ${cpus().length} cores, ${memory} GiB, Node ${process.version}`;
}

/** Counts and bytes stay exact. */
function rounded(value: number): number {
  return Number.isInteger(value) ? value : Number(value.toPrecision(6));
}
