/** What benches print: a table for people, or with --json one line a figure. */
import { cpus, totalmem } from 'node:os';

export interface Figure {
  readonly bench: string;
  readonly case: string;
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
    if (this.#json) console.log(JSON.stringify(figure));
  }

  print(): void {
    if (this.#json) return;
    console.log(`\n${this.#bench} on ${machine()}`);
    const rows = this.#figures.map((figure) => [
      figure.case,
      figure.metric,
      `${figure.value.toLocaleString('en-US', { maximumFractionDigits: 3 })} ${figure.unit}`,
      figure.target ?? '',
    ]);
    const all = [['case', 'metric', 'value', 'target'], ...rows];
    const widths = [0, 1, 2, 3].map((column) => Math.max(...all.map((row) => row[column]!.length)));
    for (const row of all) {
      console.log(
        row
          .map((cell, column) => (column === 2 ? cell.padStart(widths[2]!) : cell.padEnd(widths[column]!)))
          .join('  ')
          .trimEnd(),
      );
    }
  }
}

export function machine(): string {
  const [cpu] = cpus();
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${cpu?.model.trim() ?? 'unknown CPU'}, ${cpus().length} cores, ${memory} GiB, Node ${process.version}`;
}

function rounded(value: number): number {
  return Number(value.toPrecision(6));
}
