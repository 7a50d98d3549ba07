/**
 * The message store: messages by (timestamp, hash) with their entries in LevelDB, and the ordered index of their
 * ids. What is acknowledged is on the disk; what is served was hashed again on the way out.
 */
import { join } from 'node:path';
import type { Interval } from '../core/interval.ts';
import type { RangeIndex } from '../core/range-index.ts';
import type { KeptWindow } from '../core/retention.ts';
import { KEEP_EVERYTHING, type RetentionPolicy } from '../core/retention.ts';
import type { Scope } from '../core/scope.ts';
import { boundAt, type SyncIdList } from '../core/sync-id.ts';
import { LacunaError, toLacunaError } from '../errors.ts';
import type {
  AppendResult,
  Archive,
  Arrival,
  Clock,
  Logger,
  MessageFacts,
  MessageStore,
  OnRead,
  Records,
  Sha256,
  StoredMessage,
} from '../ports.ts';
import type { MessageView } from '../wire/waku-message.ts';
import { type ArchiveLimits, StoreArchive } from './archive.ts';
import { Amendment, MessagePutter, NewMessage, Removal, type StoreChange } from './changes.ts';
import { StoreCounter } from './counter.ts';
import { Database, type Operation } from './database.ts';
import { messageKey, PROBE_KEY } from './keys.ts';
import { factsOf } from './message-facts.ts';
import { MessageReader, type StoreEntry } from './message-reader.ts';
import { Origins } from './origins.ts';
import { PrunedBook } from './pruned-book.ts';
import { StoreRecords } from './records.ts';
import { Retention } from './retention.ts';
import { copyReadable } from './salvage.ts';
import { idsOfScope } from './scope-ids.ts';
import { newSidecar, readSidecar, type Sidecar } from './sidecar.ts';
import { SidecarKeeper } from './sidecar-keeper.ts';
import { type IndexLimits, StoreIndex } from './store-index.ts';
import { Writer } from './writer.ts';

export interface StoreOptions {
  readonly directory: string;
  /** Make a store where there is none; otherwise STORE_MISSING. */
  readonly create: boolean;
  readonly clock: Clock;
  readonly log: Logger;
  readonly sha256: Sha256;
  /** What is kept; everything, unless it is said. */
  readonly retention?: RetentionPolicy;
  /** Told of what retention has removed: how many messages, and their bytes. */
  readonly onPruned?: (removed: number, bytes: number) => void;
  /** Lets a test stand between the store and its database. */
  readonly openDatabase?: typeof Database.open;
  /** Lets a test reach the limits of the index with few messages. */
  readonly index?: IndexLimits;
  /** The same for the archive. */
  readonly archive?: ArchiveLimits;
}

const MS_PER_SECOND = 1_000;

export class LevelMessageStore implements MessageStore {
  readonly database: Database;
  readonly putter: MessagePutter;
  readonly storeIndex: StoreIndex;
  /** What other parts of the node remember beside the messages. */
  readonly records: Records;
  readonly retention: Retention;
  readonly archive: Archive;
  readonly counter: StoreCounter;
  readonly #book: PrunedBook;
  readonly #origins = new Origins();
  readonly #options: StoreOptions;
  readonly #writer: Writer<StoreChange>;
  readonly #reader: MessageReader;
  readonly #sidecar: SidecarKeeper;
  #quarantined = 0;

  private constructor(options: StoreOptions, database: Database, sidecar: Sidecar) {
    const { clock, log, sha256 } = options;
    this.#options = options;
    this.database = database;
    this.putter = new MessagePutter(sha256);
    const policy = options.retention ?? KEEP_EVERYTHING;
    this.#book = new PrunedBook(policy.text);
    const everHeld = (): number => this.count + this.#book.total;
    this.#sidecar = new SidecarKeeper({ directory: options.directory, sidecar, database, log, everHeld });
    this.storeIndex = new StoreIndex({
      ...options.index,
      database,
      clock,
      log,
      pruned: this.#book,
      onDamage: (error) => this.#mendIndex(error.message),
    });
    this.#reader = new MessageReader({
      database,
      sha256,
      log,
      onDamaged: (id, encoded) => this.#setAside(id, encoded),
      isIndexed: (id) => this.has(id),
    });
    this.records = new StoreRecords(database, log, (operations) => this.amend(operations));
    this.archive = new StoreArchive({
      ...options.archive,
      source: { database, index: this.storeIndex, putter: this.putter },
      reader: this.#reader,
      assertOpen: () => this.#assertOpen(),
    });
    const messages = {
      topicKey: (topic: string) => this.putter.topicKey(topic),
      viewOf: (id: Uint32Array, encoded: Uint8Array) => this.#reader.viewOf(id, encoded),
    };
    this.counter = new StoreCounter({ ...messages, database, index: this.storeIndex, reader: this.#reader });
    const target = {
      write: (changes: readonly StoreChange[]) => this.#write(changes),
      recover: (signal: AbortSignal) => this.#recover(signal),
    };
    this.#writer = new Writer(target, clock, log);
    this.retention = new Retention({
      policy,
      clock,
      log,
      database,
      index: this.storeIndex,
      book: this.#book,
      messages,
      submit: (change) => this.#writer.submit([change]),
      amend: (operations) => this.amend(operations),
      isWritable: () => this.writable,
      onPruned: options.onPruned ?? (() => undefined),
    });
  }

  /**
   * @throws LacunaError STORE_MISSING, STORE_LOCKED, STORE_FORMAT, STORE_DAMAGED.
   */
  static async open(options: StoreOptions): Promise<LevelMessageStore> {
    const { directory } = options;
    const sidecar = await readSidecar(directory);
    if (sidecar === undefined && !options.create) {
      throw new LacunaError('STORE_MISSING', `no store in ${directory}`);
    }
    const openDatabase = options.openDatabase ?? Database.open;
    const database = await openDatabase(join(directory, 'store'), sidecar === undefined, sidecar?.books);
    try {
      const known = sidecar ?? newSidecar(options.clock.nowMs());
      const store = new LevelMessageStore(options, database, known);
      // Whatever LevelDB lost, the messages themselves say best what is left.
      if (database.repaired) store.storeIndex.distrust('the database was repaired');
      await store.#load();
      await store.#origins.load(database);
      await store.#sidecar.write();
      await store.retention.load();
      return store;
    } catch (error) {
      await database.close();
      throw toLacunaError(error, 'IO');
    }
  }

  get count(): number {
    return this.storeIndex.tree.count;
  }

  get storeId(): string {
    return this.#sidecar.storeId;
  }

  get writable(): boolean {
    return this.#writer.state === 'ready';
  }

  /** Why the store takes no writes, if so. */
  get fault(): LacunaError | undefined {
    return this.#writer.fault;
  }

  /** Messages that were found not to hash to their identity since the store was opened. */
  get quarantined(): number {
    return this.#quarantined;
  }

  /** Messages that were here once and are not any more. */
  get lost(): number {
    return this.#sidecar.lost;
  }

  /** After a repair: what is lost is lost, and is not told again. */
  async acceptLoss(): Promise<void> {
    await this.#sidecar.acceptLoss();
  }

  /** Writes out what waits, remembers the count, and lets go of the files. */
  async close(): Promise<void> {
    await this.retention.stop();
    const wasWritable = this.writable;
    await this.#writer.close();
    if (wasWritable) await this.#saveSymbols();
    await this.#sidecar.settled();
    await this.database.close();
    // Last: LevelDB may add to its list of tables until it is closed.
    await this.#sidecar.write();
  }

  /** @throws LacunaError STORE_DAMAGED, STORE_CLOSED where rows of the index have to be read and cannot be. */
  has(id: Uint32Array): boolean {
    return this.storeIndex.tree.has(id);
  }

  knows(id: Uint32Array): boolean {
    return this.has(id) || this.retention.knows(id);
  }

  horizonNs(scope: Scope): bigint {
    return this.retention.horizonNs(scope);
  }

  kept(scope: Scope, window: Interval): readonly KeptWindow[] {
    return this.retention.windows(scope, window.sinceNs, window.untilNs);
  }

  /** Resolves when all are on the disk; where a cap is reached, after there was room for them. */
  async append(messages: readonly StoredMessage[], arrival?: Arrival): Promise<AppendResult> {
    const room = this.retention.admit(messages);
    if (room !== undefined) await room;
    try {
      const stamp = {
        seconds: Math.floor(this.#options.clock.nowMs() / MS_PER_SECOND),
        origin: arrival === undefined ? 0 : this.#origins.numberOf(arrival),
      };
      const stored = await this.#writer.submit(
        messages.map((message) => new NewMessage(this.putter, message, stamp)),
      );
      this.#sidecar.noteAppended();
      return { stored, duplicate: messages.length - stored };
    } finally {
      this.retention.admitted(messages);
    }
  }

  /** How many messages lie in `[sinceNs, untilNs)`. */
  countBetween(sinceNs: bigint, untilNs: bigint): number {
    const { tree } = this.storeIndex;
    return tree.rank(boundAt(untilNs)) - tree.rank(boundAt(sinceNs));
  }

  async index(scope: Scope, sinceNs: bigint, untilNs: bigint, onRead?: OnRead): Promise<RangeIndex> {
    this.#assertOpen();
    const source = { database: this.database, index: this.storeIndex, putter: this.putter };
    return await idsOfScope(source, scope, sinceNs, untilNs, onRead);
  }

  read(ids: SyncIdList): AsyncGenerator<Uint8Array> {
    return this.#reader.read(ids);
  }

  readMany(ids: SyncIdList): AsyncGenerator<readonly Uint8Array[]> {
    return this.#reader.readMany(ids);
  }

  /** Messages by hash, in the order asked for; unknown ones are left out. */
  async readByHash(hashes: readonly Uint8Array[]): Promise<StoreEntry[]> {
    return await this.#reader.readByHash(hashes);
  }

  /** What is known of a message; undefined when nothing is. What was pruned may take a look at a million ids. */
  async facts(hash: Uint8Array, stop?: AbortSignal): Promise<MessageFacts | undefined> {
    const { database } = this;
    return await factsOf({ database, reader: this.#reader, origins: this.#origins }, hash, stop);
  }

  /**
   * Calls `visit` for the messages of `[sinceNs, untilNs)` in order, each checked. The view is reused: it is good
   * during the call. Yields now and then, with how many were visited since, so that the caller can pass on what it
   * gathered; nothing is read ahead of a caller that does not ask.
   */
  scan(
    sinceNs: bigint,
    untilNs: bigint,
    visit: (id: Uint32Array, view: MessageView) => void,
  ): AsyncGenerator<number> {
    return this.#reader.scan(sinceNs, untilNs, visit);
  }

  /** Whether the bytes are a message that hashes to the id. */
  isWhole(entry: StoreEntry): boolean {
    return this.#reader.isWhole(entry);
  }

  /**
   * Sets bytes aside that do not hash to their id: they leave the index, so that a session finds the message
   * missing and fetches it again. Without bytes, the same for a message that is not there.
   */
  async quarantine(id: Uint32Array, encoded: Uint8Array | undefined): Promise<void> {
    if (encoded === undefined) {
      const key = messageKey(id);
      const found = await this.database.find(key);
      // Written again, it is found by its key again.
      if (found !== undefined) return await this.amend([{ type: 'put', key, value: found }]);
    }
    const removal = new Removal(this.database, this.storeIndex.topics, id, encoded);
    // Not in one expression: what is added to would be read before the wait, and another removal's count be lost.
    const removed = await this.#writer.submit([removal]);
    this.#quarantined += removed;
  }

  /** Writes and removes single entries, for a repair or for `records`. */
  async amend(operations: readonly Operation[]): Promise<void> {
    if (operations.length > 0) await this.#writer.submit([new Amendment(operations)]);
  }

  /** The operations that put a message and its entries into the store; the message is first. */
  operationsFor(stored: StoredMessage): Operation[] {
    return this.putter.operationsFor(stored);
  }

  /** Copies every whole message that can be read into a new database, with new indexes, and goes on with that one. */
  async rebuild(): Promise<void> {
    const { database, putter } = this;
    await database.replace((fresh) => copyReadable(database, fresh, putter, (entry) => this.isWhole(entry)));
    await this.storeIndex.load();
    this.retention.watch.forget();
  }

  /** Builds the index anew from the messages; resolves when that is done. */
  async rebuildIndex(reason: string): Promise<void> {
    this.#mendIndex(reason);
    await this.#writer.recovered();
    if (this.fault !== undefined) throw this.fault;
  }

  #assertOpen(): void {
    if (this.#writer.state === 'closed') throw new LacunaError('STORE_CLOSED', 'the store is closed');
  }

  async #write(changes: readonly StoreChange[]): Promise<boolean[]> {
    const staged = this.storeIndex.begin();
    const isNeeded = changes.map((change) => change.applyTo(staged));
    if (!isNeeded.includes(true)) return isNeeded;
    const origins = this.#origins.unwritten();
    await this.database.write((batch) => {
      for (const [at, change] of changes.entries()) if (isNeeded[at]) change.putInto(batch);
      this.storeIndex.stage(staged, batch);
      for (const origin of origins) this.#origins.putInto(batch, origin);
    });
    this.#origins.written(origins);
    this.storeIndex.adopt(staged);
    const { watch } = this.retention;
    if (watch.isNeeded) {
      for (const [at, change] of changes.entries()) if (isNeeded[at]) change.tell(watch);
    }
    return isNeeded;
  }

  async #recover(signal: AbortSignal): Promise<void> {
    await this.database.reopen();
    await this.database.write((batch) => batch.put(PROBE_KEY, new Uint8Array()));
    await this.#load(signal);
    // What failed may have reached the disk all the same.
    this.retention.watch.forget();
  }

  /** Brings the index; where not even the messages can be read, keeps what can be. */
  async #load(signal?: AbortSignal): Promise<void> {
    const { log } = this.#options;
    const lostBefore = this.lost;
    try {
      await this.storeIndex.load(signal);
    } catch (error) {
      if (toLacunaError(error).code !== 'STORE_DAMAGED') throw error;
      log.error({ code: 'STORE_DAMAGED' }, 'the store cannot be read: keeping what can be');
      await this.rebuild();
    }
    if (this.lost > 0 && (signal === undefined || this.lost !== lostBefore)) {
      log.error(
        { code: 'STORE_DAMAGED', lost: this.lost },
        'messages were lost: sync with a peer to get them back',
      );
    }
  }

  /** Nothing is written until the index was built anew from the messages. */
  #mendIndex(reason: string): void {
    this.storeIndex.distrust(reason);
    if (this.#writer.state !== 'ready') return;
    this.#options.log.error(
      { code: 'STORE_DAMAGED', error: reason },
      'the index is not what it should be: it is built anew from the messages',
    );
    this.#writer.latch(new LacunaError('STORE_FAULT', `the index is built anew: ${reason}`));
  }

  #setAside(id: Uint32Array, encoded: Uint8Array | undefined): void {
    this.quarantine(id, encoded).catch((error: unknown) => {
      this.#options.log.warn(
        { error: toLacunaError(error).message },
        'a damaged message could not be set aside',
      );
    });
  }

  async #saveSymbols(): Promise<void> {
    try {
      await this.storeIndex.saveSymbols();
    } catch (error) {
      this.#options.log.warn({ error: toLacunaError(error).message }, 'symbols will have to be made again');
    }
  }
}
