/**
 * What stays known of pruned messages: how many there were, so that they are not taken for lost; up to where the
 * caps of the whole store have pruned; and single ids that are not to be fetched again. It is written in the batch
 * that prunes, and holds for the policy that it was written under.
 */
import { boundAt, compareIds, ID_WORDS } from '../core/sync-id.ts';
import { toLacunaError } from '../errors.ts';
import type { Batch, Database, Operation } from './database.ts';
import { ALL_FORGOTTEN, forgottenKey, idOfKey, recordKey } from './keys.ts';
import { decodeRecord, encodeRecord } from './page-codec.ts';

const encoder = new TextEncoder();
const TOTAL = recordKey(encoder.encode('retention/pruned'));
const HORIZON = recordKey(encoder.encode('retention/horizon'));
const POLICY = recordKey(encoder.encode('retention/policy'));
const START = boundAt(0n);

/** What a batch changes. */
export class PrunedChanges {
  removed = 0;
  forgotten = 0;
  newest: Uint32Array | undefined;
  passed: Uint32Array | undefined;
  readonly #book: PrunedBook;

  constructor(book: PrunedBook) {
    this.#book = book;
  }

  /** `passes`: everything older goes too. */
  add(id: Uint32Array, isForgotten: boolean, passes: boolean): void {
    this.removed += 1;
    if (isForgotten) {
      this.forgotten += 1;
      this.newest = newer(this.newest, id);
    }
    if (passes) this.passed = newer(this.passed, id);
  }

  /** A message comes back; returns whether its id has to be taken off the disk. */
  recall(id: Uint32Array): boolean {
    if (!this.#book.isForgotten(id)) return false;
    this.forgotten -= 1;
    return true;
  }

  release(ids: number): void {
    this.forgotten -= ids;
  }
}

export class PrunedBook {
  readonly #policy: string;
  #database: Database | undefined;
  #total = 0;
  #forgotten = 0;
  #newest: Uint32Array = START;
  #passed: Uint32Array = START;
  #isCurrent = true;

  /** `policy` is the text of the policy that prunes from now on. */
  constructor(policy: string) {
    this.#policy = policy;
  }

  /** Messages that were ever pruned. */
  get total(): number {
    return this.#total;
  }

  /** Ids that are kept of messages that are not. */
  get forgotten(): number {
    return this.#forgotten;
  }

  /** Whether it was written under this policy; otherwise `takeOver` is due. */
  get isCurrent(): boolean {
    return this.#isCurrent;
  }

  /** The newest id that a cap of the whole store has pruned: with it went everything older. */
  get passed(): Uint32Array {
    return this.#isCurrent ? this.#passed : START;
  }

  /** Whether the message was pruned and is not to be fetched again. */
  knows(id: Uint32Array): boolean {
    if (!this.#isCurrent) return false;
    return compareIds(id, 0, this.#passed, 0) <= 0 || this.isForgotten(id);
  }

  /** Whether its id is on the disk. Nearly all new messages are newer than those, and need no look-up. */
  isForgotten(id: Uint32Array): boolean {
    if (this.#forgotten <= 0 || compareIds(id, 0, this.#newest, 0) > 0) return false;
    try {
      return this.#database?.getSync(forgottenKey(id)) !== undefined;
    } catch (error) {
      // An id that cannot be read is fetched once more.
      if (toLacunaError(error).code === 'STORE_DAMAGED') return false;
      throw error;
    }
  }

  /** @throws LacunaError STORE_DAMAGED where the disk cannot be read. */
  async load(database: Database): Promise<void> {
    this.#database = database;
    const total = await recordOf(database, TOTAL);
    this.#total = total?.length === 8 ? Number(viewOf(total).getBigUint64(0)) : 0;
    this.#passed = idOf(await recordOf(database, HORIZON)) ?? START;
    const policy = await recordOf(database, POLICY);
    this.#isCurrent = new TextDecoder().decode(policy ?? new Uint8Array()) === this.#policy;
    let forgotten = 0;
    let newest = START;
    for await (const keys of database.keys(ALL_FORGOTTEN)) {
      forgotten += keys.length;
      newest = idOfKey(keys.at(-1)!);
    }
    this.#forgotten = forgotten;
    this.#newest = newest;
  }

  /** The single entries by which this policy takes the place of another, when no id is forgotten any more. */
  takeOver(): Operation[] {
    const policy = encodeRecord(POLICY, encoder.encode(this.#policy));
    return [
      { type: 'del', key: HORIZON },
      { type: 'put', key: POLICY, value: policy },
    ];
  }

  /** What `takeOver` gave is on the disk. */
  tookOver(): void {
    this.#passed = START;
    this.#isCurrent = true;
  }

  begin(): PrunedChanges {
    return new PrunedChanges(this);
  }

  stage({ removed, passed }: PrunedChanges, batch: Batch): void {
    if (removed > 0) {
      const total = new Uint8Array(8);
      viewOf(total).setBigUint64(0, BigInt(this.#total + removed));
      batch.put(TOTAL, encodeRecord(TOTAL, total));
    }
    if (passed !== undefined) batch.put(HORIZON, encodeRecord(HORIZON, bytesOf(newer(this.#passed, passed))));
  }

  /** What was staged is on the disk. */
  adopt({ removed, forgotten, newest, passed }: PrunedChanges): void {
    this.#total += removed;
    this.#forgotten += forgotten;
    if (newest !== undefined) this.#newest = newer(this.#newest, newest);
    if (passed !== undefined) this.#passed = newer(this.#passed, passed);
  }
}

/** The keys are written again and again, so that a look-up would not do. */
async function recordOf(database: Database, key: Uint8Array): Promise<Uint8Array | undefined> {
  const bytes = await database.find(key);
  return bytes === undefined ? undefined : decodeRecord(key, bytes);
}

function newer(known: Uint32Array | undefined, id: Uint32Array): Uint32Array {
  return known === undefined || compareIds(known, 0, id, 0) < 0 ? id : known;
}

function bytesOf(id: Uint32Array): Uint8Array {
  return forgottenKey(id).subarray(-ID_WORDS * 4);
}

function idOf(bytes: Uint8Array | undefined): Uint32Array | undefined {
  return bytes?.length === ID_WORDS * 4 ? idOfKey(bytes) : undefined;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
