/**
 * The real database with a fault put in: the N-th write fails, before it reached the disk or after, as a disk and
 * a controller can do. Also counts the writes, and how many were ever under way at once.
 */
import { Database } from '../../src/store/database.ts';

/** `lost`: the write fails and nothing is on the disk; `kept`: it reaches the disk and fails all the same. */
export type Fault = 'lost' | 'kept';

export interface FaultPlan {
  /** Which writes fail, counted from 1 over the life of the store. */
  readonly fails?: (write: number) => boolean;
  readonly fault?: Fault;
  /** Whether a reopen fails, counted from 1. */
  readonly reopenFails?: (reopen: number) => boolean;
  /** Called when a write has begun; the write waits for it. */
  readonly onWrite?: (write: number) => Promise<void> | void;
}

export interface Watched {
  writes: number;
  reopens: number;
  inFlight: number;
  inFlightMost: number;
  failures: number;
}

/** A way to open the database for `StoreOptions.openDatabase`, and what was seen of its writes. */
export function faultyDatabase(plan: FaultPlan = {}): { open: typeof Database.open; watched: Watched } {
  const watched: Watched = { writes: 0, reopens: 0, inFlight: 0, inFlightMost: 0, failures: 0 };
  const open = async (location: string, mayCreate: boolean): Promise<Database> => {
    const database = await Database.open(location, mayCreate);
    const write = database.write.bind(database);
    const reopen = database.reopen.bind(database);
    database.write = async (fill) => {
      watched.writes += 1;
      watched.inFlight += 1;
      watched.inFlightMost = Math.max(watched.inFlightMost, watched.inFlight);
      try {
        const number = watched.writes;
        await plan.onWrite?.(number);
        const fails = plan.fails?.(number) ?? false;
        if (!fails || plan.fault === 'kept') await write(fill);
        if (fails) {
          watched.failures += 1;
          throw Object.assign(new Error('injected'), { code: 'LEVEL_IO_ERROR' });
        }
      } finally {
        watched.inFlight -= 1;
      }
    };
    database.reopen = async () => {
      watched.reopens += 1;
      if (plan.reopenFails?.(watched.reopens) ?? false) throw new Error('injected');
      await reopen();
    };
    return database;
  };
  return { open, watched };
}

/** Tells of every key that is put into the database from now on. */
export function watchPuts(database: Database, onPut: (key: Uint8Array) => void): void {
  const write = database.write.bind(database);
  database.write = (fill) =>
    write((batch) =>
      fill({
        put: (key, value) => {
          onPut(key);
          batch.put(key, value);
        },
        del: (key) => batch.del(key),
      }),
    );
}
