/**
 * LevelDB opened with the care it does not take itself: never created where a store was, repaired where its own
 * books are damaged and only there, and never repaired on a disk that has no room for it.
 */
import { createHash } from 'node:crypto';
import { open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { LacunaError, systemCode, toLacunaError } from '../errors.ts';
import { syncFolder } from './durable-file.ts';

export type LevelHandle = ClassicLevel<Uint8Array, Uint8Array>;

/**
 * The list of tables (MANIFEST) as it was once. Cut short, it reads like an older one: LevelDB opens without a word,
 * and deletes the tables that are not on it or writes over them. Measured: 20 messages of 140 were left, for good.
 */
export interface Books {
  readonly file: string;
  readonly bytes: number;
  readonly sha256: string;
}

export interface Opened {
  readonly level: LevelHandle;
  /** Its books were made anew from what tables and logs were there. */
  readonly repaired: boolean;
}

/** What opening writes beside the records of the log: new books, and a little more. */
const SPARE_BYTES = 1024 * 1024;

/**
 * `books` is what is remembered of the list of tables, if anything is.
 *
 * @throws LacunaError STORE_LOCKED, STORE_DAMAGED; IO when the disk does not do what it is asked.
 */
export async function openGuarded(
  location: string,
  mayCreate: boolean,
  books: Books | undefined,
): Promise<Opened> {
  await finishReplacing(location);
  const files = await list(location);
  if (files.includes('CURRENT')) return await openOrRepair(location, books);
  if (files.some((file) => /\.(ldb|sst|log)$/.test(file))) {
    // Without CURRENT, LevelDB would take this for an empty folder and delete the tables.
    return await repairAndOpen(location);
  }
  if (!mayCreate) throw new LacunaError('STORE_DAMAGED', `the database files are gone from ${location}`);
  return { level: await openLevel(location, true), repaired: false };
}

async function openOrRepair(location: string, books: Books | undefined): Promise<Opened> {
  try {
    if (books === undefined || (await holds(location, books))) {
      return { level: await openLevel(location, false), repaired: false };
    }
  } catch (error) {
    if (toLacunaError(error).code !== 'STORE_DAMAGED') throw error;
  }
  return await repairAndOpen(location);
}

async function repairAndOpen(location: string): Promise<Opened> {
  await repairLevel(location);
  return { level: await openLevel(location, false), repaired: true };
}

/**
 * LevelDB maps the tables that it has open into memory, 2 MB each: this many are 64 of them, 128 MB, and the fewest
 * that it takes. A store of 1.8 GB was all in memory after a scan, 1,970 MB with the 1,000 files that are usual, and
 * 270 MB so. Messages that lie together are read no slower. The price is paid in a store of more than 128 MB by
 * look-ups at random, as a table is opened again in some 30 us: by hash, 45,000 messages a second became 17,000.
 * Of a store of a million messages, 810 MB, to find a hundred hashes takes 2.4 ms with 64 tables and 1.4 with 128; but
 * the process that scans it is at 370 MB at its peak with 64, at 446 with 96 and at 525 with 128.
 * Larger tables or write buffers take more memory again; smaller tables, and to compress or not, gained nothing.
 */
const OPEN_FILES = 74;

/** Opens as it is. The handle is made here and not before: making one begins to open it. */
export async function openLevel(location: string, createIfMissing: boolean): Promise<LevelHandle> {
  try {
    const level: LevelHandle = new ClassicLevel(location, {
      keyEncoding: 'view',
      valueEncoding: 'view',
      createIfMissing,
      maxOpenFiles: OPEN_FILES,
    });
    await level.open();
    return level;
  } catch (error) {
    const cause = error instanceof Error ? error.cause : undefined;
    const code = systemCode(cause);
    if (code === 'LEVEL_LOCKED') {
      throw new LacunaError('STORE_LOCKED', 'another process has the store open', { cause: error });
    }
    const reason = cause instanceof Error ? cause.message : 'the database does not open';
    // A full disk or too many open files say nothing of the data: only a repair would lose it.
    const damaged = code === 'LEVEL_CORRUPTION' || (await lacksManifest(location));
    throw new LacunaError(damaged ? 'STORE_DAMAGED' : 'IO', reason, { cause: error });
  }
}

/**
 * Makes new files beside those of a database and swaps the two. A crash leaves the one or the other in place, or
 * neither for a moment, which the next opening mends. `make` fills the folder it is given and closes both databases.
 */
export async function replaceFiles(location: string, make: (beside: string) => Promise<void>): Promise<void> {
  const beside = `${location}.new`;
  await rm(beside, { recursive: true, force: true });
  await make(beside);
  await rm(damagedOf(location), { recursive: true, force: true });
  await rename(location, damagedOf(location));
  await rename(beside, location);
  await syncFolder(dirname(location));
}

/** Between the two renames there is no database at all; the damaged one is then used again. */
async function finishReplacing(location: string): Promise<void> {
  try {
    await stat(location);
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
    await rename(damagedOf(location), location).catch(() => undefined);
  }
}

function damagedOf(location: string): string {
  return `${location}.damaged`;
}

/**
 * Rebuilds LevelDB's books from its tables and logs, which must be closed.
 *
 * @throws LacunaError STORE_DAMAGED; IO when there is no room for it.
 */
async function repairLevel(location: string): Promise<void> {
  await assertRoom(location);
  try {
    await ClassicLevel.repair(location);
  } catch (error) {
    throw new LacunaError('STORE_DAMAGED', 'the database could not be repaired', { cause: error });
  }
}

/**
 * Opening and repairing write the records of the log anew. Without room for them LevelDB does not open; and its
 * repair sets the log aside all the same, and all of its records are lost.
 *
 * @throws LacunaError IO.
 */
export async function assertRoom(location: string): Promise<void> {
  const probe = join(location, 'ROOM');
  try {
    let bytes = SPARE_BYTES;
    for (const name of await list(location)) {
      if (name.endsWith('.log')) bytes += (await stat(join(location, name))).size;
    }
    const file = await open(probe, 'w');
    try {
      const zeros = new Uint8Array(SPARE_BYTES);
      for (let left = bytes; left > 0; left -= zeros.length) await file.writeFile(zeros);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    throw new LacunaError('IO', 'there is no room on the disk of the store', { cause: error });
  } finally {
    await rm(probe, { force: true }).catch(() => undefined);
  }
}

/** What is to be remembered of the list of tables as it is now; it only grows until the next opening. */
export async function booksOf(location: string): Promise<Books> {
  const file = await manifestOf(location);
  const bytes = await readFile(join(location, file));
  return { file, bytes: bytes.length, sha256: sha256Of(bytes) };
}

/** Whether the list of tables still begins with what is remembered. One of another name was begun since. */
async function holds(location: string, books: Books): Promise<boolean> {
  try {
    if ((await manifestOf(location)) !== books.file) return true;
    const bytes = await readFile(join(location, books.file));
    return bytes.length >= books.bytes && sha256Of(bytes.subarray(0, books.bytes)) === books.sha256;
  } catch {
    // LevelDB finds the same, and says more of it.
    return true;
  }
}

/** LevelDB reports a list of tables that is gone like any other failure to read. */
async function lacksManifest(location: string): Promise<boolean> {
  try {
    await stat(join(location, await manifestOf(location)));
    return false;
  } catch (error) {
    return systemCode(error) === 'ENOENT';
  }
}

async function manifestOf(location: string): Promise<string> {
  return (await readFile(join(location, 'CURRENT'), 'utf8')).trimEnd();
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

async function list(location: string): Promise<string[]> {
  try {
    return await readdir(location);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}
