/**
 * LevelDB behind the guard it needs: never created where a store was, repaired where its own books are damaged,
 * and closed and reopened after a failed write. The only file that imports `level`.
 */
import { open, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { Level } from 'level';
import { LacunaError, systemCode, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { KeyRange } from './keys.ts';

/** What is written together. Keys and values are copied at once and may be reused. */
export interface Batch {
  put(key: Uint8Array, value: Uint8Array): unknown;
  del(key: Uint8Array): unknown;
}

export type Operation =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: Uint8Array };

export type Entry = [key: Uint8Array, value: Uint8Array];

const ROWS_PER_READ = 1_000;
/** What opening writes beside the records of the log: new books, and a little more. */
const SPARE_BYTES = 1024 * 1024;

export class Database {
  readonly #location: string;
  readonly #level: Level<Uint8Array, Uint8Array>;

  private constructor(location: string) {
    this.#location = location;
    this.#level = new Level(location, { keyEncoding: 'view', valueEncoding: 'view', createIfMissing: false });
  }

  /**
   * @throws LacunaError STORE_LOCKED, STORE_DAMAGED; IO when the disk does not do what it is asked.
   */
  static async open(location: string, mayCreate: boolean): Promise<Database> {
    const database = new Database(location);
    const files = await list(location);
    if (files.includes('CURRENT')) {
      await database.#openOrRepair();
    } else if (files.some((file) => /\.(ldb|sst|log)$/.test(file))) {
      // Without CURRENT, LevelDB would take this for an empty folder and delete the tables.
      await database.repair();
    } else if (mayCreate) {
      await database.#open(true);
    } else {
      throw new LacunaError('STORE_DAMAGED', `the database files are gone from ${location}`);
    }
    return database;
  }

  /**
   * Rebuilds LevelDB's books from its tables and logs, then opens.
   *
   * @throws LacunaError STORE_DAMAGED; IO when there is no room for it.
   */
  async repair(): Promise<void> {
    await this.#level.close();
    await this.#assertRoom();
    try {
      await ClassicLevel.repair(this.#location);
    } catch (error) {
      throw new LacunaError('STORE_DAMAGED', 'the database could not be repaired', { cause: error });
    }
    await this.#open(false);
  }

  async close(): Promise<void> {
    await this.#level.close();
  }

  /**
   * A failed write leaves LevelDB writing at the wrong place in its log: only a fresh handle may write again. While
   * there is no room for one, the old handle goes on reading.
   */
  async reopen(): Promise<void> {
    await this.#assertRoom();
    await this.#level.close();
    await this.#open(false);
  }

  /**
   * Writes what `fill` puts into the batch; resolves when it is on the disk, whole. A chained batch costs a third
   * of an array of operations, which abstract-level copies one by one.
   */
  async write(fill: (batch: Batch) => void): Promise<void> {
    const batch = this.#level.batch();
    fill(batch);
    await batch.write({ sync: true });
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return await reading(this.#level.get(key));
  }

  async getMany(keys: Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return await reading(this.#level.getMany(keys));
  }

  /** Entries of a range in chunks; the next chunk is read while the caller works on this one. */
  async *entries(range: KeyRange): AsyncGenerator<Entry[]> {
    yield* readAhead(() => this.#level.iterator({ ...range, highWaterMarkBytes: LIMITS.iteratorBytes }));
  }

  async *keys(range: KeyRange): AsyncGenerator<Uint8Array[]> {
    yield* readAhead(() => this.#level.keys({ ...range, highWaterMarkBytes: LIMITS.iteratorBytes }));
  }

  async #openOrRepair(): Promise<void> {
    try {
      await this.#open(false);
    } catch (error) {
      if (toLacunaError(error).code !== 'STORE_DAMAGED') throw error;
      await this.repair();
    }
  }

  async #open(createIfMissing: boolean): Promise<void> {
    try {
      await this.#level.open({ createIfMissing });
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined;
      const code = systemCode(cause);
      if (code === 'LEVEL_LOCKED') {
        throw new LacunaError('STORE_LOCKED', 'another process has the store open', { cause: error });
      }
      const reason = cause instanceof Error ? cause.message : 'the database does not open';
      // A full disk or too many open files say nothing of the data: only a repair would lose it.
      const damaged = code === 'LEVEL_CORRUPTION' || (await this.#lacksManifest());
      throw new LacunaError(damaged ? 'STORE_DAMAGED' : 'IO', reason, { cause: error });
    }
  }

  /** LevelDB reports a list of tables that is gone like any other failure to read. */
  async #lacksManifest(): Promise<boolean> {
    try {
      const name = (await readFile(join(this.#location, 'CURRENT'), 'utf8')).trimEnd();
      await stat(join(this.#location, name));
      return false;
    } catch (error) {
      return systemCode(error) === 'ENOENT';
    }
  }

  /**
   * Opening and repairing write the records of the log anew. Without room for them LevelDB does not open; and its
   * repair sets the log aside all the same, and all of its records are lost.
   */
  async #assertRoom(): Promise<void> {
    const probe = join(this.#location, 'ROOM');
    try {
      let bytes = SPARE_BYTES;
      for (const name of await list(this.#location)) {
        if (name.endsWith('.log')) bytes += (await stat(join(this.#location, name))).size;
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
      await rm(probe, { force: true });
    }
  }
}

interface Chunks<T> {
  nextv(size: number): Promise<T[]>;
  close(): Promise<void>;
}

async function* readAhead<T>(begin: () => Chunks<T>): AsyncGenerator<T[]> {
  const iterator = await reading((async () => begin())());
  try {
    let next = iterator.nextv(ROWS_PER_READ);
    for (;;) {
      const chunk = await reading(next);
      if (chunk.length === 0) return;
      next = iterator.nextv(ROWS_PER_READ);
      // Kept from counting as unhandled while the caller works; it is awaited on the next turn.
      next.catch(() => undefined);
      yield chunk;
    }
  } finally {
    await iterator.close();
  }
}

const NOT_OPEN: ReadonlySet<string | undefined> = new Set([
  'LEVEL_DATABASE_NOT_OPEN',
  'LEVEL_ITERATOR_NOT_OPEN',
]);

async function reading<T>(result: Promise<T>): Promise<T> {
  try {
    return await result;
  } catch (error) {
    throw toLacunaError(error, NOT_OPEN.has(systemCode(error)) ? 'STORE_CLOSED' : 'STORE_DAMAGED');
  }
}

async function list(location: string): Promise<string[]> {
  try {
    return await readdir(location);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}
