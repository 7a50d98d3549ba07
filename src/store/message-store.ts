/**
 * The message store: messages by (timestamp, hash) with their indexes in LevelDB, and the ordered index of ids in
 * memory. What is acknowledged is on the disk; what is served was hashed again on the way out.
 */
import { join } from 'node:path';
import { DigestTree } from '../core/digest-tree.ts';
import type { RangeIndex } from '../core/range-index.ts';
import { isEverything, type Scope } from '../core/scope.ts';
import {
  boundAt,
  HASH_WORDS,
  hashOf,
  ID_WORDS,
  readHashWords,
  readIdBytes,
  SyncIdList,
} from '../core/sync-id.ts';
import { LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { AppendResult, Clock, Logger, MessageStore, Sha256, StoredMessage } from '../ports.ts';
import { asBuffer, MessageView } from '../wire/waku-message.ts';
import { type Batch, Database, type Operation } from './database.ts';
import {
  ALL_MESSAGES,
  ALL_QUARANTINED,
  hashKey,
  hashKeyOf,
  idOfKey,
  MessageKeys,
  messageKey,
  messageRange,
  quarantineKey,
  type TopicKind,
  topicKey,
  topicRange,
} from './keys.ts';
import { newSidecar, readSidecar, type Sidecar, writeSidecar } from './sidecar.ts';
import { type Change, Writer } from './writer.ts';

export interface StoreOptions {
  readonly directory: string;
  /** Make a store where there is none; otherwise STORE_MISSING. */
  readonly create: boolean;
  readonly clock: Clock;
  readonly log: Logger;
  readonly sha256: Sha256;
  /** Lets a test stand between the store and its database. */
  readonly openDatabase?: typeof Database.open;
}

/** A message as it lies in the store, checked against its identity; `MessageView` reads it. */
export interface StoreEntry {
  readonly id: Uint32Array;
  readonly encoded: Buffer;
}

const LOOKUPS_SIDE_BY_SIDE = 4;
const TOPIC_KEYS_REMEMBERED = 1_000;
/** Stored since the sidecar was written, before it is written again. */
const MESSAGES_UNREMEMBERED_MAX = 10_000;
/** About what an index entry weighs in a write group. */
const INDEX_ENTRY_BYTES = 128;

export class LevelMessageStore implements MessageStore {
  readonly database: Database;
  readonly #options: StoreOptions;
  readonly #writer: Writer;
  #tree: DigestTree;
  readonly #topicKeys = new Map<string, Uint8Array>();
  /** Reused for every message that is checked. */
  readonly #view = new MessageView();
  readonly #keys = new MessageKeys();
  readonly #hashed = new Uint32Array(HASH_WORDS);
  #sidecar: Sidecar;
  #remembering: Promise<void> | undefined;
  #quarantined = 0;

  private constructor(options: StoreOptions, database: Database, tree: DigestTree, sidecar: Sidecar) {
    this.#options = options;
    this.database = database;
    this.#tree = tree;
    this.#sidecar = sidecar;
    this.#writer = new Writer(database, options.clock, options.log);
  }

  /**
   * @throws LacunaError STORE_MISSING, STORE_LOCKED, STORE_FORMAT, STORE_DAMAGED.
   */
  static async open(options: StoreOptions): Promise<LevelMessageStore> {
    const { directory, log } = options;
    const sidecar = await readSidecar(directory);
    if (sidecar === undefined && !options.create) {
      throw new LacunaError('STORE_MISSING', `no store in ${directory}`);
    }
    const openDatabase = options.openDatabase ?? Database.open;
    const database = await openDatabase(join(directory, 'store'), sidecar === undefined, sidecar?.books);
    try {
      const tree = await loadTreeIfReadable(database);
      const known = sidecar ?? newSidecar(options.clock.nowMs());
      const store = new LevelMessageStore(options, database, tree ?? new DigestTree(), known);
      if (tree === undefined) {
        log.error({ code: 'STORE_DAMAGED' }, 'the store cannot be read: keeping what can be');
        await store.rebuild();
      }
      if (store.lost > 0) {
        log.error(
          { code: 'STORE_DAMAGED', lost: store.lost },
          'messages were lost: sync with a peer to get them back',
        );
      }
      await store.#remember();
      return store;
    } catch (error) {
      await database.close();
      throw error;
    }
  }

  get count(): number {
    return this.#tree.count;
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

  /** Messages that were here once and are not any more, as far as the sidecar remembers. */
  get lost(): number {
    return Math.max(0, this.#sidecar.count - this.#tree.count);
  }

  /** After a repair: what is lost is lost, and is not told again. */
  async acceptLoss(): Promise<void> {
    this.#sidecar = { ...this.#sidecar, count: this.#tree.count };
    await this.#remember();
  }

  /** Writes out what waits, remembers the count, and lets go of the files. */
  async close(): Promise<void> {
    await this.#writer.close();
    await this.#remembering;
    await this.database.close();
    // Last: LevelDB may add to its list of tables until it is closed.
    await this.#remember();
  }

  has(id: Uint32Array): boolean {
    return this.#tree.has(id);
  }

  async append(messages: readonly StoredMessage[]): Promise<AppendResult> {
    const stored = await this.#writer.submit(
      messages.map((message) => new NewMessage(this, this.#tree, message)),
    );
    if (this.#tree.count >= this.#sidecar.count + MESSAGES_UNREMEMBERED_MAX) this.#rememberLater();
    return { stored, duplicate: messages.length - stored };
  }

  /** How many messages lie in `[sinceNs, untilNs)`. */
  countBetween(sinceNs: bigint, untilNs: bigint): number {
    return this.#tree.rank(boundAt(untilNs)) - this.#tree.rank(boundAt(sinceNs));
  }

  async index(scope: Scope, sinceNs: bigint, untilNs: bigint): Promise<RangeIndex> {
    if (isEverything(scope)) return this.#tree.snapshot();
    const byPubsub = scope.pubsubTopics.length > 0;
    const kind: TopicKind = byPubsub ? 'pubsub' : 'content';
    const topics = byPubsub ? scope.pubsubTopics : scope.contentTopics;
    const wanted = byPubsub && scope.contentTopics.length > 0 ? this.#keySet(scope.contentTopics) : undefined;
    const ids = new SyncIdList();
    for (const topic of new Set(topics)) {
      const range = topicRange(kind, this.#topicKey(topic), boundAt(sinceNs), boundAt(untilNs));
      for await (const entries of this.database.entries(range)) {
        for (const [key, otherTopic] of entries) {
          if (wanted !== undefined && !wanted.has(latin1(otherTopic))) continue;
          const id = idOfKey(key);
          if (this.#tree.has(id)) ids.push(id, 0);
        }
      }
    }
    return DigestTree.from(ids);
  }

  async *read(ids: SyncIdList): AsyncGenerator<Uint8Array> {
    for (let row = 0; row < ids.count; row += LIMITS.readBatchMessages) {
      const batch = ids.slice(row, Math.min(row + LIMITS.readBatchMessages, ids.count));
      const keys = Array.from({ length: batch.count }, (_, index) =>
        messageKey(batch.words, index * ID_WORDS),
      );
      const values = await this.database.getMany(keys);
      for (const [index, value] of values.entries()) {
        if (value === undefined) continue;
        const id = batch.at(index);
        if (this.#check(id, asBuffer(value)) !== undefined) yield value;
      }
    }
  }

  /** Messages by hash, in the order asked for; unknown ones are left out. */
  async readByHash(hashes: readonly Uint8Array[]): Promise<StoreEntry[]> {
    const found: StoreEntry[] = [];
    for (let from = 0; from < hashes.length; from += LIMITS.readBatchMessages) {
      const batch = hashes.slice(from, from + LIMITS.readBatchMessages);
      found.push(...(await this.#readBatchByHash(batch)));
    }
    return found;
  }

  /**
   * Calls `visit` for the messages of `[sinceNs, untilNs)` in order, each checked. The view is reused: it is good
   * during the call. Yields now and then, with how many were visited since, so that the caller can pass on what it
   * gathered; nothing is read ahead of a caller that does not ask.
   */
  async *scan(
    sinceNs: bigint,
    untilNs: bigint,
    visit: (id: Uint32Array, view: MessageView) => void,
  ): AsyncGenerator<number> {
    const range = messageRange(boundAt(sinceNs), boundAt(untilNs));
    for await (const chunk of this.database.entries(range)) {
      let visited = 0;
      for (const [key, encoded] of chunk) {
        const id = idOfKey(key);
        if (this.#check(id, asBuffer(encoded)) === undefined) continue;
        visit(id, this.#view);
        visited += 1;
      }
      yield visited;
    }
  }

  /** Whether the bytes are a message that hashes to the id. */
  isWhole({ id, encoded }: StoreEntry): boolean {
    try {
      const view = this.#view.read(encoded);
      if (view.timeHigh !== id[0] || view.timeLow >>> 0 !== id[1]) return false;
      readHashWords(view.hash(this.#options.sha256), 0, this.#hashed, 0);
    } catch {
      return false;
    }
    for (let word = 0; word < HASH_WORDS; word++) {
      if (this.#hashed[word] !== id[ID_WORDS - HASH_WORDS + word]) return false;
    }
    return true;
  }

  /**
   * Sets bytes aside that do not hash to their id: they leave the index, so that a session finds the message
   * missing and fetches it again.
   */
  async quarantine(id: Uint32Array, encoded: Uint8Array): Promise<void> {
    const change: Change = {
      bytes: encoded.length,
      removes: true,
      verifyKey: () => quarantineKey(id),
      wanted: () => this.#tree.has(id),
      putInto(batch) {
        batch.put(quarantineKey(id), encoded);
        batch.del(messageKey(id));
        batch.del(hashKey(id));
      },
      applied: () => this.#tree.remove(id),
    };
    this.#quarantined += await this.#writer.submit([change]);
  }

  /** Writes and removes index entries, for a repair. */
  async amend(operations: readonly Operation[]): Promise<void> {
    const [first] = operations;
    if (first === undefined) return;
    const change: Change = {
      bytes: operations.length * INDEX_ENTRY_BYTES,
      verifyKey: () => first.key,
      wanted: () => true,
      putInto(batch) {
        for (const operation of operations) {
          if (operation.type === 'put') batch.put(operation.key, operation.value);
          else batch.del(operation.key);
        }
      },
      applied: () => true,
    };
    await this.#writer.submit([change]);
  }

  /** Copies every whole message that can be read into a new database, with new indexes, and goes on with that one. */
  async rebuild(): Promise<void> {
    await this.database.replace((fresh) => this.#copyReadable(fresh));
    this.#tree = await loadTree(this.database);
  }

  async #copyReadable(fresh: Database): Promise<void> {
    const topics = new MessageView();
    for await (const chunk of this.database.readable(ALL_MESSAGES)) {
      const whole = chunk
        .map(([key, encoded]) => ({ id: idOfKey(key), encoded: asBuffer(encoded) }))
        .filter((entry) => this.isWhole(entry));
      await fresh.write((batch) => {
        for (const entry of whole) this.putInto(batch, { ...entry, ...topics.read(entry.encoded).topics() });
      });
    }
    for await (const chunk of this.database.readable(ALL_QUARANTINED)) {
      await fresh.write((batch) => {
        for (const [key, encoded] of chunk) batch.put(key, encoded);
      });
    }
  }

  /** The operations that put a message and its index entries into the store; the message is first. */
  operationsFor(stored: StoredMessage): Operation[] {
    const operations: Operation[] = [];
    this.putInto(
      {
        put: (key, value) => operations.push({ type: 'put', key: key.slice(), value: value.slice() }),
        del: (key) => operations.push({ type: 'del', key: key.slice() }),
      },
      stored,
    );
    return operations;
  }

  putInto(batch: Batch, { id, encoded, pubsubTopic, contentTopic }: StoredMessage): void {
    const pubsub = this.#topicKey(pubsubTopic);
    const content = this.#topicKey(contentTopic);
    const keys = this.#keys.set(id, pubsub, content);
    batch.put(keys.message, encoded);
    batch.put(keys.hash, keys.time);
    batch.put(keys.pubsub, content);
    batch.put(keys.content, pubsub);
  }

  /** Writes the sidecar anew. */
  async #remember(): Promise<void> {
    await this.#remembering;
    const count = Math.max(this.#sidecar.count, this.#tree.count);
    this.#sidecar = { ...this.#sidecar, count, books: await this.database.books() };
    await writeSidecar(this.#options.directory, this.#sidecar);
  }

  /** The same beside other work: what a killed store has lost is noticed by what was remembered last. */
  #rememberLater(): void {
    this.#remembering ??= this.#remember()
      .catch((error: unknown) => {
        this.#options.log.warn({ error: toLacunaError(error).message }, 'the count could not be remembered');
      })
      .finally(() => {
        this.#remembering = undefined;
      });
  }

  /**
   * Two look-ups, hash to time and id to message. LevelDB answers one `getMany` on one thread: several run side by
   * side, and while some are out, the answers of others are hashed here.
   */
  async #readBatchByHash(hashes: readonly Uint8Array[]): Promise<StoreEntry[]> {
    const size = Math.ceil(hashes.length / LOOKUPS_SIDE_BY_SIDE);
    const parts: (readonly Uint8Array[])[] = [];
    for (let from = 0; from < hashes.length; from += size) parts.push(hashes.slice(from, from + size));
    const found = await Promise.all(parts.map((part) => this.#readPartByHash(part)));
    return found.flat();
  }

  async #readPartByHash(hashes: readonly Uint8Array[]): Promise<StoreEntry[]> {
    const times = await this.database.getMany(hashes.map(hashKeyOf));
    const ids: Uint32Array[] = [];
    for (const [index, time] of times.entries()) {
      if (time?.length === 8) ids.push(idFrom(time, hashes[index]!));
    }
    const values = await this.database.getMany(ids.map((id) => messageKey(id)));
    const entries: StoreEntry[] = [];
    for (const [index, encoded] of values.entries()) {
      if (encoded === undefined) continue;
      const id = ids[index]!;
      const entry = this.#check(id, asBuffer(encoded));
      if (entry !== undefined) entries.push(entry);
    }
    return entries;
  }

  /** The entry, if the bytes hash to the id; else they are set aside. */
  #check(id: Uint32Array, encoded: Buffer): StoreEntry | undefined {
    const entry = { id, encoded };
    if (this.isWhole(entry)) return entry;
    this.#options.log.error(
      { code: 'STORE_DAMAGED', messageHash: `0x${Buffer.from(hashOf(id)).toString('hex')}` },
      'a stored message does not hash to its identity: set aside, to be fetched again',
    );
    this.quarantine(id, encoded).catch((error: unknown) => {
      this.#options.log.warn(
        { error: toLacunaError(error).message },
        'a damaged message could not be set aside',
      );
    });
    return undefined;
  }

  #topicKey(topic: string): Uint8Array {
    const known = this.#topicKeys.get(topic);
    if (known !== undefined) return known;
    if (this.#topicKeys.size >= TOPIC_KEYS_REMEMBERED) this.#topicKeys.clear();
    const key = topicKey(topic, this.#options.sha256);
    this.#topicKeys.set(topic, key);
    return key;
  }

  #keySet(topics: readonly string[]): Set<string> {
    return new Set(topics.map((topic) => latin1(this.#topicKey(topic))));
  }
}

/** A message to be written; one small object for each, as thousands may wait. */
class NewMessage implements Change {
  readonly #store: LevelMessageStore;
  readonly #tree: DigestTree;
  readonly #message: StoredMessage;

  constructor(store: LevelMessageStore, tree: DigestTree, message: StoredMessage) {
    this.#store = store;
    this.#tree = tree;
    this.#message = message;
  }

  get bytes(): number {
    return this.#message.encoded.length;
  }

  verifyKey(): Uint8Array {
    return messageKey(this.#message.id);
  }

  wanted(): boolean {
    return !this.#tree.has(this.#message.id);
  }

  putInto(batch: Batch): void {
    this.#store.putInto(batch, this.#message);
  }

  applied(): boolean {
    return this.#tree.insert(this.#message.id);
  }
}

async function loadTreeIfReadable(database: Database): Promise<DigestTree | undefined> {
  try {
    return await loadTree(database);
  } catch (error) {
    if (toLacunaError(error).code === 'STORE_DAMAGED') return undefined;
    throw error;
  }
}

/** The ids come from the messages themselves, never from a record that a crash could have parted from them. */
async function loadTree(database: Database): Promise<DigestTree> {
  const ids = new SyncIdList();
  for await (const keys of database.keys(ALL_MESSAGES)) {
    for (const key of keys) {
      const at = ids.pushEmpty();
      readIdBytes(key, key.length - ID_WORDS * 4, ids.words, at);
    }
  }
  return DigestTree.from(ids);
}

function idFrom(time: Uint8Array, hash: Uint8Array): Uint32Array {
  const bytes = new Uint8Array(ID_WORDS * 4);
  bytes.set(time);
  bytes.set(hash, time.length);
  const id = new Uint32Array(ID_WORDS);
  readIdBytes(bytes, 0, id, 0);
  return id;
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
