/**
 * The database as the store uses it: whole batches on the disk, reads and walks with coded errors, and a fresh
 * handle after a failed write. How it is opened is told in `open-guard.ts`.
 */
import { mkdir, readdir, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { LacunaError, systemCode, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { KeyRange } from './keys.ts';
import {
  assertRoom,
  type Books,
  booksOf,
  type LevelHandle,
  type Opened,
  openGuarded,
  openLevel,
  replaceFiles,
} from './open-guard.ts';

/** What is written together. Keys and values are copied at once and may be reused. */
export interface Batch {
  put(key: Uint8Array, value: Uint8Array): unknown;
  del(key: Uint8Array): unknown;
}

export type Operation =
  | { readonly type: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly type: 'del'; readonly key: Uint8Array };

export type Entry = [key: Uint8Array, value: Uint8Array];

/** A range that is read as far as is wanted. Whoever began it closes it. */
export interface Walk {
  /** The next entries, no more than `rows` and none only at the end. */
  next(rows: number): Promise<Entry[]>;
  close(): Promise<void>;
}

const ROWS_PER_READ = 1_000;
const FILES_LOOKED_AT = 64;
/** Before all keys. */
const NO_KEY = new Uint8Array(1);

export class Database {
  /** Its books were damaged when it was opened: what LevelDB made of them may lack something. */
  readonly repaired: boolean;
  readonly #location: string;
  #level: LevelHandle;
  #isClosed = false;

  private constructor(location: string, { level, repaired }: Opened) {
    this.#location = location;
    this.#level = level;
    this.repaired = repaired;
  }

  /**
   * `books` is what is remembered of the list of tables, if anything is.
   *
   * @throws LacunaError STORE_LOCKED, STORE_DAMAGED; IO when the disk does not do what it is asked.
   */
  static async open(location: string, mayCreate: boolean, books?: Books): Promise<Database> {
    const opened = await claim(location);
    try {
      return new Database(opened, await openGuarded(opened, mayCreate, books));
    } catch (error) {
      openHere.delete(opened);
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#level.close();
    openHere.delete(this.#location);
  }

  /**
   * A failed write leaves LevelDB writing at the wrong place in its log: only a fresh handle may write again. While
   * there is no room for one, the old handle goes on reading.
   */
  async reopen(): Promise<void> {
    await assertRoom(this.#location);
    await this.#level.close();
    this.#level = await openLevel(this.#location, false);
  }

  /**
   * Puts a new database in the place of this one, as `fill` fills it; the old files stay beside it. What LevelDB's
   * own repair makes of a damaged table is not enough: measured, one byte in thirty leaves tables that cannot be
   * read or end the process. Nothing may be written meanwhile.
   */
  async replace(fill: (fresh: Database) => Promise<void>): Promise<void> {
    await replaceFiles(this.#location, async (beside) => {
      const fresh = await Database.open(beside, true);
      try {
        await fill(fresh);
      } finally {
        await fresh.close();
      }
      await this.#level.close();
    });
    this.#level = await openLevel(this.#location, false);
  }

  /** What is to be remembered of the list of tables. */
  books(): Promise<Books> {
    return booksOf(this.#location);
  }

  /**
   * Writes what `fill` puts into the batch; resolves when it is on the disk, whole. A chained batch costs a third
   * of an array of operations, which abstract-level copies one by one.
   */
  async write(fill: (batch: Batch) => void): Promise<void> {
    const batch = this.#level.batch();
    try {
      fill(batch);
    } catch (error) {
      await batch.close();
      throw error;
    }
    await batch.write({ sync: true });
  }

  /** Removes everything in a range, in batches of a bounded size. */
  async clear(range: KeyRange): Promise<void> {
    for await (const keys of this.keys(range)) {
      await this.write((batch) => {
        for (const key of keys) batch.del(key);
      });
    }
  }

  /** Bytes of all files in the folder of the database, as they are at the moment. */
  async bytesOnDisk(): Promise<number> {
    const names = await readdir(this.#location);
    let bytes = 0;
    for (let from = 0; from < names.length; from += FILES_LOOKED_AT) {
      const sizes = names.slice(from, from + FILES_LOOKED_AT).map((name) => this.#sizeOf(name));
      for (const size of await Promise.all(sizes)) bytes += size;
    }
    return bytes;
  }

  /** Bytes of tables that a range takes up, without what only readers still hold and what lies in the log. */
  async bytesOf({ gte, lt }: KeyRange): Promise<number> {
    return await reading(this.#level.approximateSize(gte, lt));
  }

  /**
   * Gives the disk back what was removed from a range, and writes the log out into tables. While LevelDB compacts a
   * range it takes in little: a large one is taken in parts, and what waits to be written comes in between.
   */
  async compact(range: KeyRange): Promise<void> {
    const bytes = await this.bytesOf(range);
    if (bytes === 0) return;
    const middle = bytes > LIMITS.compactionBytes ? keyBetween(range) : undefined;
    if (middle === undefined) return await reading(this.#level.compactRange(range.gte, range.lt));
    await this.compact({ gte: range.gte, lt: middle });
    await this.compact({ gte: middle, lt: range.lt });
  }

  /** Writes the log out into tables, so that its file is not needed any more. */
  async flush(): Promise<void> {
    await reading(this.#level.compactRange(NO_KEY, NO_KEY));
  }

  async #sizeOf(name: string): Promise<number> {
    try {
      return (await stat(join(this.#location, name))).size;
    } catch (error) {
      // A table that was compacted meanwhile.
      if (systemCode(error) === 'ENOENT') return 0;
      throw toLacunaError(error, 'IO');
    }
  }

  /**
   * The value of a key that is written again and again. Looked up, it may be an older one: LevelDB 1.20 can leave it
   * in a level above the newer one, where both outlived a compaction for an iterator (google/leveldb #320; measured:
   * one page of 19,532 after a rebuild). Iterators put versions in order.
   */
  async find(key: Uint8Array): Promise<Uint8Array | undefined> {
    for await (const [entry] of this.entries({ gte: key, lt: new Uint8Array([...key, 0]) }))
      return entry?.[1];
    return undefined;
  }

  /** The last key of a range. */
  async lastKey(range: KeyRange): Promise<Uint8Array | undefined> {
    const [key] = await reading(this.#level.keys({ ...range, reverse: true, limit: 1 }).all());
    return key;
  }

  /** Whether there is anything in a range. */
  async holds(range: KeyRange): Promise<boolean> {
    for await (const _ of this.keys(range)) return true;
    return false;
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return await reading(this.#level.get(key));
  }

  /** Answers at once: 5 to 10 us for a small value, some 40 for a page of the index. */
  getSync(key: Uint8Array): Uint8Array | undefined {
    try {
      return this.#level.getSync(key);
    } catch (error) {
      if (!NOT_OPEN.has(systemCode(error))) throw toLacunaError(error, 'STORE_DAMAGED');
      // Not open and not closed is what it is while it is reopened, or cannot be.
      throw toLacunaError(error, this.#isClosed ? 'STORE_CLOSED' : 'STORE_FAULT');
    }
  }

  async getMany(keys: Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return await reading(this.#level.getMany(keys));
  }

  /** Entries of a range in chunks; the next chunk is read while the caller works on this one. */
  async *entries(range: KeyRange): AsyncGenerator<Entry[]> {
    yield* readAhead(() => this.#level.iterator({ ...range, highWaterMarkBytes: LIMITS.iteratorBytes }));
  }

  /** Reads nothing ahead of what is asked for; backward from the end where it is `reverse`. */
  walk(range: KeyRange, reverse: boolean): Walk {
    const begin = () => this.#level.iterator({ ...range, reverse, highWaterMarkBytes: LIMITS.iteratorBytes });
    let iterator: ReturnType<typeof begin> | undefined;
    return {
      next: (rows) =>
        reading(
          (async () => {
            iterator ??= begin();
            return await iterator.nextv(rows);
          })(),
        ),
      close: async () => await iterator?.close(),
    };
  }

  /** Of the entries of a range those that can be read, where some cannot. */
  async *readable(range: KeyRange): AsyncGenerator<Entry[]> {
    let last: Uint8Array | undefined;
    try {
      for await (const chunk of this.entries(range)) {
        last = chunk.at(-1)?.[0];
        yield chunk;
      }
      return;
    } catch (error) {
      if (toLacunaError(error).code !== 'STORE_DAMAGED') throw error;
    }
    // LevelDB passes over what it cannot read and says so at the end; the rows of that last read are lost with it,
    // unless they are read one by one.
    const rest: Entry[] = [];
    const from = last === undefined ? { gte: range.gte } : { gt: last };
    const iterator = this.#level.iterator({ ...from, lt: range.lt });
    try {
      for (let row = await iterator.nextv(1); row.length > 0; row = await iterator.nextv(1))
        rest.push(...row);
    } catch {
      // The end of what can be read.
    } finally {
      await iterator.close();
    }
    yield rest;
  }

  async *keys(range: KeyRange): AsyncGenerator<Uint8Array[]> {
    yield* readAhead(() => this.#level.keys({ ...range, highWaterMarkBytes: LIMITS.iteratorBytes }));
  }
}

/**
 * The databases that this process has open. LevelDB notices a second opening, but in turning it down it closes the
 * file of its lock, and the system then takes the lock itself away: any other process could open the database too.
 */
const openHere = new Set<string>();

/** Returns the one name of the folder, whatever it was called. */
async function claim(location: string): Promise<string> {
  await mkdir(dirname(location), { recursive: true });
  const opened = join(await realpath(dirname(location)), basename(location));
  if (openHere.has(opened)) throw new LacunaError('STORE_LOCKED', 'this process has the store open already');
  openHere.add(opened);
  return opened;
}

/** A key halfway between the ends of a range, as numbers; undefined where there is none. */
function keyBetween({ gte, lt }: KeyRange): Uint8Array | undefined {
  const length = Math.max(gte.length, lt.length) + 1;
  const numberOf = (key: Uint8Array): bigint =>
    BigInt(`0x${Buffer.from(key).toString('hex')}`) << BigInt(8 * (length - key.length));
  const lower = numberOf(gte);
  const middle = (lower + numberOf(lt)) / 2n;
  if (middle <= lower) return undefined;
  return new Uint8Array(Buffer.from(middle.toString(16).padStart(length * 2, '0'), 'hex'));
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
