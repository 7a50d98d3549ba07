/**
 * LevelDB behind the guard it needs: never created where a store was, repaired where its own books are damaged,
 * and closed and reopened after a failed write. The only file that imports `level`.
 */
import { readdir } from 'node:fs/promises';
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

export class Database {
  readonly #location: string;
  readonly #level: Level<Uint8Array, Uint8Array>;

  private constructor(location: string) {
    this.#location = location;
    this.#level = new Level(location, { keyEncoding: 'view', valueEncoding: 'view', createIfMissing: false });
  }

  /**
   * @throws LacunaError STORE_LOCKED, STORE_DAMAGED.
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

  /** Rebuilds LevelDB's books from its tables and logs, then opens. */
  async repair(): Promise<void> {
    await this.#level.close();
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

  /** A failed write leaves LevelDB writing at the wrong place in its log: only a fresh handle may write again. */
  async reopen(): Promise<void> {
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
    const iterator = this.#level.iterator({ ...range, highWaterMarkBytes: LIMITS.iteratorBytes });
    yield* readAhead(iterator);
  }

  async *keys(range: KeyRange): AsyncGenerator<Uint8Array[]> {
    const iterator = this.#level.keys({ ...range, highWaterMarkBytes: LIMITS.iteratorBytes });
    yield* readAhead(iterator);
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
      if (systemCode(cause) === 'LEVEL_LOCKED') {
        throw new LacunaError('STORE_LOCKED', 'another process has the store open', { cause: error });
      }
      const reason = cause instanceof Error ? cause.message : 'the database does not open';
      throw new LacunaError('STORE_DAMAGED', reason, { cause: error });
    }
  }
}

interface Chunks<T> {
  nextv(size: number): Promise<T[]>;
  close(): Promise<void>;
}

async function* readAhead<T>(iterator: Chunks<T>): AsyncGenerator<T[]> {
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

async function reading<T>(result: Promise<T>): Promise<T> {
  try {
    return await result;
  } catch (error) {
    throw toLacunaError(
      error,
      systemCode(error) === 'LEVEL_DATABASE_NOT_OPEN' ? 'STORE_CLOSED' : 'STORE_DAMAGED',
    );
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
