/**
 * How many messages and bytes each hour has. All hours are in memory: 16 bytes each in arrays, as a store may hold
 * half a million of them, which is every hour since 1970.
 */
import type { Batch, Database } from './database.ts';
import { ALL_HOURS, hourKey, numberOfKey } from './keys.ts';
import { decodeHourCount, encodeHourCount } from './page-codec.ts';
import { isSound, type Tally } from './tally.ts';

/** An hour is 2^13 times this many ns, so that times need not be rounded to be divided. */
const HOUR_SHIFTED = 439_453_125;
/** Hours side by side in one array. */
const PAGE_HOURS = 256;

/** The hour since 1970 that an id belongs to. */
export function hourOf(id: Uint32Array): number {
  // Below 2^51, and the quotient is further from a whole number than a double is inexact.
  return Math.floor((id[0]! * 0x8_0000 + (id[1]! >>> 13)) / HOUR_SHIFTED);
}

export class HourCounts {
  /** Messages and bytes of each hour, one after the other, by hour / `PAGE_HOURS`. */
  readonly #pages = new Map<number, Float64Array>();

  of(hour: number): Tally {
    const page = this.#pages.get(Math.floor(hour / PAGE_HOURS));
    const at = (hour % PAGE_HOURS) * 2;
    return { messages: page?.[at] ?? 0, bytes: page?.[at + 1] ?? 0 };
  }

  /** Hours of `[from, to)` that have messages, in their order. */
  *between(from: number, to: number): Generator<readonly [hour: number, tally: Tally]> {
    const numbers = [...this.#pages.keys()].sort((a, b) => a - b);
    for (const number of numbers) {
      const first = number * PAGE_HOURS;
      if (first + PAGE_HOURS <= from || first >= to) continue;
      const page = this.#pages.get(number)!;
      for (let at = Math.max(0, from - first); at < Math.min(PAGE_HOURS, to - first); at++) {
        const messages = page[at * 2]!;
        if (messages > 0) yield [first + at, { messages, bytes: page[at * 2 + 1]! }];
      }
    }
  }

  /** Returns false when what lies on the disk cannot be the counts. */
  async load(database: Database): Promise<boolean> {
    for await (const chunk of database.entries(ALL_HOURS)) {
      for (const [key, value] of chunk) {
        const hour = numberOfKey(key);
        const held = hour === undefined ? undefined : decodeHourCount(hour, value);
        if (hour === undefined || held === undefined) return false;
        this.#set(hour, held);
      }
    }
    return true;
  }

  areSound(changes: ReadonlyMap<number, Tally>): boolean {
    for (const [hour, change] of changes) if (!isSound(this.of(hour), change)) return false;
    return true;
  }

  /** Puts the counts as they will be into the batch. */
  stage(changes: ReadonlyMap<number, Tally>, batch: Batch): void {
    for (const [hour, { messages, bytes }] of changes) {
      const held = this.of(hour);
      put(hour, { messages: held.messages + messages, bytes: held.bytes + bytes }, batch);
    }
  }

  /** What was staged is on the disk. */
  adopt(changes: ReadonlyMap<number, Tally>): void {
    for (const [hour, { messages, bytes }] of changes) {
      const held = this.of(hour);
      this.#set(hour, { messages: held.messages + messages, bytes: held.bytes + bytes });
    }
  }

  /** Puts all counts into batches. */
  *all(): Generator<(batch: Batch) => void> {
    for (const [hour, tally] of this.between(0, Number.POSITIVE_INFINITY)) {
      yield (batch) => put(hour, tally, batch);
    }
  }

  clear(): void {
    this.#pages.clear();
  }

  #set(hour: number, { messages, bytes }: Tally): void {
    const number = Math.floor(hour / PAGE_HOURS);
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = new Float64Array(PAGE_HOURS * 2);
      this.#pages.set(number, page);
    }
    const at = (hour % PAGE_HOURS) * 2;
    page[at] = messages;
    page[at + 1] = bytes;
  }
}

function put(hour: number, tally: Tally, batch: Batch): void {
  if (tally.messages === 0) batch.del(hourKey(hour));
  else batch.put(hourKey(hour), encodeHourCount(hour, tally));
}
