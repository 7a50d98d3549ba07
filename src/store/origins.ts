/**
 * The ways by which messages came: each is a record with a number, so that a message has to hold no more than the
 * number. A record is written in the batch of the first message that needs it, and is never written again.
 */
import { z } from 'zod';
import { LIMITS } from '../limits.ts';
import type { Arrival } from '../ports.ts';
import type { Batch, Database } from './database.ts';
import { recordKey, recordNameOf, recordRange } from './keys.ts';
import { decodeRecord, encodeRecord } from './page-codec.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const PREFIX = encoder.encode('origin/');

const arrivalSchema = z.union([
  z.object({ path: z.enum(['import', 'http']) }),
  z.object({
    path: z.literal('session'),
    dialect: z.enum(['native', 'waku', 'query']),
    role: z.enum(['initiator', 'responder']),
    peer: z.string().optional(),
  }),
]);

export class Origins {
  /** By what their records hold. Numbers begin at 1. */
  readonly #numbers = new Map<string, number>();
  readonly #texts = new Map<number, string>();
  #last = 0;
  /** Of them no record is known to be on the disk. */
  readonly #unwritten = new Set<number>();

  /** A record that is damaged keeps its number from being used again. @throws LacunaError STORE_DAMAGED. */
  async load(database: Database): Promise<void> {
    for await (const chunk of database.entries(recordRange(PREFIX))) {
      for (const [key, value] of chunk) {
        const number = Number(decoder.decode(recordNameOf(key).subarray(PREFIX.length)));
        if (!Number.isSafeInteger(number)) continue;
        this.#last = Math.max(this.#last, number);
        const record = decodeRecord(key, value);
        if (record !== undefined) this.#add(number, decoder.decode(record));
      }
    }
  }

  /** The number of the way; where too many are known, that of the way without its peer. */
  numberOf(arrival: Arrival): number {
    const known = this.#numbers.get(textOf(arrival));
    if (known !== undefined) return known;
    const isFull = this.#numbers.size >= LIMITS.origins;
    const text = textOf(isFull && arrival.path === 'session' ? { ...arrival, peer: undefined } : arrival);
    const number = this.#numbers.get(text) ?? this.#last + 1;
    if (number > this.#last) {
      this.#last = number;
      this.#add(number, text);
      this.#unwritten.add(number);
    }
    return number;
  }

  /** The way with this number, as far as it can still be told. */
  of(number: number): Arrival | undefined {
    const text = this.#texts.get(number);
    if (text === undefined) return undefined;
    try {
      const parsed = arrivalSchema.parse(JSON.parse(text));
      return parsed.path === 'session' ? { ...parsed, peer: parsed.peer } : parsed;
    } catch {
      return undefined;
    }
  }

  unwritten(): readonly number[] {
    return this.#unwritten.size === 0 ? NONE : [...this.#unwritten];
  }

  putInto(batch: Batch, number: number): void {
    const key = recordKey(encoder.encode(`origin/${number}`));
    batch.put(key, encodeRecord(key, encoder.encode(this.#texts.get(number)!)));
  }

  /** They are on the disk. */
  written(numbers: readonly number[]): void {
    for (const number of numbers) this.#unwritten.delete(number);
  }

  #add(number: number, text: string): void {
    this.#numbers.set(text, number);
    this.#texts.set(number, text);
  }
}

const NONE: readonly number[] = [];

/** Always in the same order. */
function textOf(arrival: Arrival): string {
  if (arrival.path !== 'session') return JSON.stringify({ path: arrival.path });
  const { path, dialect, role, peer } = arrival;
  return JSON.stringify({ path, dialect, role, peer });
}
