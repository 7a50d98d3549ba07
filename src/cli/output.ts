/** What commands print: JSON for machines, tables and bars for people, and one line on stderr for an error. */
import { once } from 'node:events';
import { LacunaError, systemCode, toLacunaError } from '../errors.ts';

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Rows under their headings; numbers to the right. */
export function table(headings: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = [
    headings,
    ...rows.map((row) => row.map((cell) => (typeof cell === 'number' ? count(cell) : cell))),
  ];
  const widths = headings.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  const numeric = headings.map((_, column) => rows.every((row) => typeof row[column] === 'number'));
  return cells
    .map((row) =>
      row
        .map((cell, column) =>
          numeric[column] ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** 12345 → 12,345 */
export function count(value: number): string {
  return value.toLocaleString('en-US');
}

export function bytes(value: number): string {
  if (value < 1_000) return `${value} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let scaled = value / 1_000;
  let unit = 0;
  while (scaled >= 1_000 && unit < units.length - 1) {
    scaled /= 1_000;
    unit += 1;
  }
  return `${scaled.toFixed(scaled < 10 ? 1 : 0)} ${units[unit]}`;
}

const DURATIONS: readonly (readonly [unit: string, ms: number])[] = [
  ['y', 365 * 86_400_000],
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
];

/** 8040000 → 2 h 14 min: the two largest units. */
export function duration(ms: number): string {
  const first = DURATIONS.findIndex(([, unitMs]) => ms >= unitMs);
  if (first < 0) return `${Math.round(ms)} ms`;
  const [unit, unitMs] = DURATIONS[first]!;
  const whole = `${Math.floor(ms / unitMs)} ${unit}`;
  const next = DURATIONS[first + 1];
  const rest = next === undefined ? 0 : Math.floor((ms % unitMs) / next[1]);
  return rest === 0 ? whole : `${whole} ${rest} ${next![0]}`;
}

/** The end of a peer id tells peers apart; all begin alike. */
export function shortPeer(peer: string): string {
  return peer.slice(-8);
}

/** The end of a pipe: writes chunks to stdout as fast as it takes them. A reader that went away ends it quietly. */
export async function toStdout(source: AsyncIterable<Uint8Array>): Promise<void> {
  const failed = new Promise<never>((_, reject) => process.stdout.once('error', reject));
  failed.catch(() => undefined);
  try {
    for await (const chunk of source) {
      if (!process.stdout.write(chunk)) await Promise.race([once(process.stdout, 'drain'), failed]);
    }
  } catch (error) {
    if (systemCode(error) !== 'EPIPE') throw error;
  }
}

/** One line: code, what happened, what to do. */
export function printError(thrown: unknown): void {
  const error = toLacunaError(thrown);
  process.stderr.write(`lacuna: ${error.code}: ${error.message.replaceAll('\n', ' ')}. ${error.remedy}\n`);
  if (error.code === 'INTERNAL' && error.cause instanceof Error)
    process.stderr.write(`${error.cause.stack}\n`);
}

export function exitCodeOf(thrown: unknown): number {
  return thrown instanceof LacunaError && (thrown.code === 'USAGE' || thrown.code === 'PEER_ADDRESS_INVALID')
    ? 2
    : 1;
}
