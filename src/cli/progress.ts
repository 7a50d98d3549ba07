/**
 * Progress of long work on stderr: a bar that redraws itself on a terminal; where stderr is a file or a pipe and
 * JSON is asked for, one JSON line now and then, so that a script can follow.
 */
import { count } from './output.ts';

const REDRAW_MS = 100;
const LINE_MS = 250;
const BAR_WIDTH = 30;

export class Progress {
  readonly #label: string;
  readonly #asJson: boolean;
  readonly #startedMs = performance.now();
  #lastMs = 0;
  #drawn = false;

  constructor(label: string, asJson: boolean) {
    this.#label = label;
    this.#asJson = asJson;
  }

  /** `share` is how much of the work is done, 0 to 1, where that is known. */
  update(done: number, share?: number): void {
    const now = performance.now();
    const interval = this.#asJson ? LINE_MS : REDRAW_MS;
    if (now - this.#lastMs < interval) return;
    this.#lastMs = now;
    const perSecond = Math.round(done / Math.max(0.001, (now - this.#startedMs) / 1_000));
    if (this.#asJson) {
      process.stderr.write(`${JSON.stringify({ event: 'progress', work: this.#label, done, perSecond })}\n`);
    } else if (process.stderr.isTTY) {
      this.#drawn = true;
      process.stderr.write(`\r\x1b[K${this.#label}  ${bar(share)}${count(done)}  ${count(perSecond)}/s`);
    }
  }

  /** Takes the bar away again. */
  end(): void {
    if (this.#drawn) process.stderr.write('\r\x1b[K');
    this.#drawn = false;
  }
}

function bar(share: number | undefined): string {
  if (share === undefined) return '';
  const filled = Math.round(Math.min(1, share) * BAR_WIDTH);
  const percent = `${Math.floor(Math.min(1, share) * 100)}%`.padStart(4);
  return `[${'█'.repeat(filled)}${'·'.repeat(BAR_WIDTH - filled)}] ${percent}  `;
}
