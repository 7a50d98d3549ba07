/**
 * The file `STORE` beside the database: proof that a store exists here and how much it held when it was last
 * closed. LevelDB creates an empty database where its own files are damaged, and opens one that has lost its
 * tables as if nothing were missing; this file is what notices.
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { LacunaError, systemCode } from '../errors.ts';
import { writeDurably } from './durable-file.ts';
import { FORMAT } from './keys.ts';

const FILE_NAME = 'STORE';

const sidecarSchema = z.object({
  format: z.number().int(),
  storeId: z.string(),
  createdAt: z.string(),
  /** The most messages that were here or had been pruned, when this was written; by itself that grows only. */
  count: z.number().int().nonnegative(),
  /** The list of tables at the same time; see `Books`. */
  books: z.object({ file: z.string(), bytes: z.number(), sha256: z.string() }).optional(),
});

export type Sidecar = z.infer<typeof sidecarSchema>;

/** @throws LacunaError STORE_FORMAT for another version, STORE_DAMAGED when the file cannot be understood. */
export async function readSidecar(directory: string): Promise<Sidecar | undefined> {
  let text: string;
  try {
    text = await readFile(join(directory, FILE_NAME), 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  const parsed = sidecarSchema.safeParse(parseJson(text));
  if (!parsed.success)
    throw new LacunaError('STORE_DAMAGED', `${join(directory, FILE_NAME)} is not readable`);
  if (parsed.data.format !== FORMAT) {
    throw new LacunaError(
      'STORE_FORMAT',
      `the store has format ${parsed.data.format}, this is format ${FORMAT}`,
    );
  }
  return parsed.data;
}

export function newSidecar(nowMs: number): Sidecar {
  return {
    format: FORMAT,
    storeId: randomBytes(16).toString('hex'),
    createdAt: new Date(nowMs).toISOString(),
    count: 0,
  };
}

export async function writeSidecar(directory: string, sidecar: Sidecar): Promise<void> {
  await writeDurably(join(directory, FILE_NAME), `${JSON.stringify(sidecar, undefined, 2)}\n`);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
