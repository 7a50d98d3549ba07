/** What became of the audits of a series: a small record each beside the messages, and of the oldest none any more. */
import { z } from 'zod';
import { LIMITS } from '../limits.ts';
import type { Logger, Records } from '../ports.ts';
import type { AuditResult } from './audit.ts';

const PREFIX = 'audit/';
/** Digits of a time in ms, so that names are ordered like times. */
const DIGITS = 15;

const time = z
  .string()
  .regex(/^\d{1,19}$/)
  .transform(BigInt);
const entrySchema = z.object({
  atMs: z.number(),
  durationMs: z.number(),
  sinceNs: time,
  untilNs: time,
  existing: z.number(),
  agree: z.boolean(),
  nodes: z.array(
    z.object({
      peer: z.string(),
      address: z.string().nullable(),
      missing: z.number(),
      late: z.number(),
      unknownRows: z.number(),
      code: z.string().nullable(),
      bytes: z.number(),
    }),
  ),
});

/** One audit in short. Nodes are in the order of the result, this one first; those without a code were reached. */
export type AuditEntry = z.output<typeof entrySchema>;

export class AuditHistory {
  readonly #records: Records;
  readonly #log: Logger;
  #loaded: Promise<AuditEntry[]> | undefined;

  constructor(records: Records, log: Logger) {
    this.#records = records;
    this.#log = log;
  }

  /** The oldest first. */
  async entries(): Promise<readonly AuditEntry[]> {
    this.#loaded ??= this.#load();
    return await this.#loaded;
  }

  /** A history that cannot be written does not make the audit fail. */
  async add(result: AuditResult): Promise<void> {
    this.#loaded ??= this.#load();
    const entries = await this.#loaded;
    const entry = entryOf(result);
    entries.push(entry);
    const old = entries.splice(0, Math.max(0, entries.length - LIMITS.auditsRemembered));
    try {
      await this.#records.put(nameOf(entry.atMs), encode(entry));
      for (const { atMs } of old) await this.#records.delete(nameOf(atMs));
    } catch (error) {
      this.#log.warn({ error: String(error) }, 'an audit could not be written down');
    }
  }

  async #load(): Promise<AuditEntry[]> {
    const entries: AuditEntry[] = [];
    for await (const [, bytes] of this.#records.list(PREFIX)) {
      const entry = decode(bytes);
      if (entry !== undefined) entries.push(entry);
    }
    return entries;
  }
}

function entryOf(result: AuditResult): AuditEntry {
  const { startedMs, durationMs, sinceNs, untilNs, existing, agree, nodes } = result;
  return {
    atMs: startedMs,
    durationMs,
    sinceNs,
    untilNs,
    existing,
    agree,
    nodes: nodes.map(({ peer, address, missing, late, unknownRows, error, bytes }) => ({
      peer,
      address: address ?? null,
      missing,
      late,
      unknownRows,
      code: error?.code ?? null,
      bytes,
    })),
  };
}

function nameOf(atMs: number): string {
  return `${PREFIX}${String(Math.floor(atMs)).padStart(DIGITS, '0')}`;
}

/** Without addresses where they are more than a record holds; they name the nodes no better than their ids. */
function encode(entry: AuditEntry): Uint8Array {
  const bytes = bytesOf(entry);
  if (bytes.length <= LIMITS.recordBytes) return bytes;
  return bytesOf({ ...entry, nodes: entry.nodes.map((node) => ({ ...node, address: null })) });
}

function bytesOf(entry: AuditEntry): Uint8Array {
  const asText = (_key: string, part: unknown): unknown => (typeof part === 'bigint' ? String(part) : part);
  return new TextEncoder().encode(JSON.stringify(entry, asText));
}

function decode(bytes: Uint8Array): AuditEntry | undefined {
  try {
    return entrySchema.safeParse(JSON.parse(new TextDecoder().decode(bytes))).data;
  } catch {
    return undefined;
  }
}
