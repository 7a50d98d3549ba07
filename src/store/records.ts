/**
 * Small named records beside the messages: what other parts of the node remember from one run to the next. They are
 * written by the one writer, and each ends in a check of its bytes, as LevelDB does not check what it reads: a record
 * that was damaged is not there.
 */
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Logger, Records } from '../ports.ts';
import type { Database, Operation } from './database.ts';
import { recordKey, recordNameOf, recordRange } from './keys.ts';
import { decodeRecord, encodeRecord } from './page-codec.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

export class StoreRecords implements Records {
  readonly #database: Database;
  readonly #log: Logger;
  readonly #write: (operations: readonly Operation[]) => Promise<void>;

  /** `write` resolves when the operations are on the disk. */
  constructor(database: Database, log: Logger, write: (operations: readonly Operation[]) => Promise<void>) {
    this.#database = database;
    this.#log = log;
    this.#write = write;
  }

  async get(name: string): Promise<Uint8Array | undefined> {
    const key = keyOf(name);
    // The key is written again and again, so that a look-up would not do.
    const bytes = await this.#database.find(key);
    return bytes === undefined ? undefined : this.#open(key, bytes);
  }

  async put(name: string, value: Uint8Array): Promise<void> {
    if (value.length > LIMITS.recordBytes) {
      throw new LacunaError('INTERNAL', `the record ${name} is of ${value.length} bytes`);
    }
    const key = keyOf(name);
    await this.#write([{ type: 'put', key, value: encodeRecord(key, value) }]);
  }

  async delete(name: string): Promise<void> {
    await this.#write([{ type: 'del', key: keyOf(name) }]);
  }

  async *list(prefix: string): AsyncGenerator<readonly [name: string, value: Uint8Array]> {
    for await (const chunk of this.#database.entries(recordRange(bytesOf(prefix)))) {
      for (const [key, bytes] of chunk) {
        const value = this.#open(key, bytes);
        if (value !== undefined) yield [decoder.decode(recordNameOf(key)), value];
      }
    }
  }

  #open(key: Uint8Array, bytes: Uint8Array): Uint8Array | undefined {
    const value = decodeRecord(key, bytes);
    if (value === undefined) {
      const name = decoder.decode(recordNameOf(key));
      this.#log.warn({ code: 'STORE_DAMAGED', record: name }, 'a record is damaged, and taken for absent');
    }
    return value;
  }
}

function keyOf(name: string): Uint8Array {
  if (name === '') throw new LacunaError('INTERNAL', 'a record has no name');
  return recordKey(bytesOf(name));
}

/** Names are made by the node itself: one that does not do is a defect, and not something that may happen. */
function bytesOf(name: string): Uint8Array {
  const bytes = encoder.encode(name);
  if (!name.isWellFormed() || bytes.length > LIMITS.recordNameBytes) {
    throw new LacunaError('INTERNAL', `no record can have a name of ${bytes.length} bytes, or of no text`);
  }
  return bytes;
}
