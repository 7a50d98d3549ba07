/** What the writer writes: new messages, removals, what retention prunes, and corrections of single records. */
import { ID_WORDS } from '../core/sync-id.ts';
import type { Sha256, StoredMessage } from '../ports.ts';
import type { Batch, Operation } from './database.ts';
import type { Lookup } from './directory.ts';
import {
  type ArrivalStamp,
  forgottenKey,
  hashKey,
  MessageKeys,
  messageKey,
  otherTopicOf,
  quarantineKey,
  readTopicEntry,
  TOPIC_KEY_BYTES,
  type TopicEntry,
  topicIndexKey,
  topicKey,
} from './keys.ts';
import type { IndexChange } from './store-index.ts';
import { type TopicCounts, type TopicKey, topicKeyNamed, topicKeyOf } from './topic-counts.ts';
import type { Change } from './writer.ts';

export interface StoreChange extends Change {
  /** Makes the index what it will be; false when there is nothing to do, as the message is known. */
  applyTo(index: IndexChange): boolean;
  putInto(batch: Batch): void;
  /** Tells what the change has made of the store, now that it is on the disk. */
  tell(watcher: ChangeWatcher): void;
}

/** Who keeps count of messages as they come and go. */
export interface ChangeWatcher {
  added(message: StoredMessage): void;
  pruned(message: PrunedMessage): void;
  /** Something went, and its topics are not known. */
  lost(): void;
}

const TOPIC_KEYS_REMEMBERED = 1_000;
/** About what an index entry weighs in a write group. */
const INDEX_ENTRY_BYTES = 128;
/** What the removal of a message weighs: four keys, and its share of the pages of the index. */
const PRUNED_BYTES = 4 * INDEX_ENTRY_BYTES;
const NOTHING = new Uint8Array();

/** Puts messages with their index entries into a batch. */
export class MessagePutter {
  readonly #sha256: Sha256;
  readonly #keys = new MessageKeys();
  readonly #topicKeys = new Map<string, TopicKey>();

  constructor(sha256: Sha256) {
    this.#sha256 = sha256;
  }

  putInto(
    batch: Batch,
    { id, encoded, pubsubTopic, contentTopic }: StoredMessage,
    arrival: ArrivalStamp | undefined,
  ): void {
    const pubsub = this.topicKey(pubsubTopic).bytes;
    const content = this.topicKey(contentTopic).bytes;
    const keys = this.#keys.set(id, pubsub, content, encoded.length);
    batch.put(keys.message, encoded);
    batch.put(keys.hash, arrival === undefined ? keys.time : keys.setArrival(arrival).ofHash);
    batch.put(keys.pubsub, keys.ofPubsub);
    batch.put(keys.content, keys.ofContent);
  }

  /** The operations that put a message and its index entries into the store; the message is first, the hash second. */
  operationsFor(stored: StoredMessage): Operation[] {
    const operations: Operation[] = [];
    this.putInto(
      {
        put: (key, value) => operations.push({ type: 'put', key: key.slice(), value: value.slice() }),
        del: (key) => operations.push({ type: 'del', key: key.slice() }),
      },
      stored,
      undefined,
    );
    return operations;
  }

  topicKey(topic: string): TopicKey {
    const known = this.#topicKeys.get(topic);
    if (known !== undefined) return known;
    if (this.#topicKeys.size >= TOPIC_KEYS_REMEMBERED) this.#topicKeys.clear();
    const key = topicKeyOf(topicKey(topic, this.#sha256));
    this.#topicKeys.set(topic, key);
    return key;
  }
}

/** A message to be written; one small object for each, as thousands may wait. */
export class NewMessage implements StoreChange {
  readonly #putter: MessagePutter;
  readonly #message: StoredMessage;
  readonly #arrival: ArrivalStamp;
  #wasForgotten = false;

  constructor(putter: MessagePutter, message: StoredMessage, arrival: ArrivalStamp) {
    this.#putter = putter;
    this.#message = message;
    this.#arrival = arrival;
  }

  get bytes(): number {
    return this.#message.encoded.length;
  }

  applyTo({ tree, tallies, pruned }: IndexChange): boolean {
    const { id, encoded, pubsubTopic, contentTopic } = this.#message;
    if (!tree.insert(id)) return false;
    const pubsub = this.#putter.topicKey(pubsubTopic).name;
    tallies.add(id, pubsub, this.#putter.topicKey(contentTopic).name, 1, encoded.length);
    this.#wasForgotten = pruned.recall(id);
    return true;
  }

  putInto(batch: Batch): void {
    this.#putter.putInto(batch, this.#message, this.#arrival);
    if (this.#wasForgotten) batch.del(forgottenKey(this.#message.id));
  }

  tell(watcher: ChangeWatcher): void {
    watcher.added(this.#message);
  }
}

/** A message that is not what its id says, or is not there at all, leaves the index with its entries. */
export class Removal implements StoreChange {
  readonly removes = true;
  readonly #records: Lookup;
  readonly #counts: TopicCounts;
  readonly #id: Uint32Array;
  readonly #encoded: Uint8Array | undefined;
  #entries: Uint8Array[] = [];

  /** Without bytes, only a message that is not there is removed. */
  constructor(records: Lookup, counts: TopicCounts, id: Uint32Array, encoded: Uint8Array | undefined) {
    this.#records = records;
    this.#counts = counts;
    this.#id = id.slice(0, ID_WORDS);
    this.#encoded = encoded;
  }

  get bytes(): number {
    return this.#encoded?.length ?? INDEX_ENTRY_BYTES;
  }

  applyTo({ tree, tallies }: IndexChange): boolean {
    if (this.#encoded === undefined && this.#isThere()) return false;
    if (!tree.remove(this.#id)) return false;
    const entry = this.#findEntry();
    if (entry === undefined) {
      tallies.isUnsure = true;
    } else {
      const { id, topic, otherTopic, bytes } = entry;
      tallies.add(id, topicKeyOf(topic).name, topicKeyOf(otherTopic).name, -1, bytes);
    }
    return true;
  }

  putInto(batch: Batch): void {
    if (this.#encoded !== undefined) batch.put(quarantineKey(this.#id), this.#encoded);
    batch.del(messageKey(this.#id));
    batch.del(hashKey(this.#id));
    for (const key of this.#entries) batch.del(key);
  }

  tell(watcher: ChangeWatcher): void {
    watcher.lost();
  }

  #isThere(): boolean {
    try {
      return this.#records.getSync(messageKey(this.#id)) !== undefined;
    } catch {
      // What cannot be read is for `verify` to find.
      return true;
    }
  }

  /** The bytes cannot be trusted to tell topics and length: the entry that stands under a topic does. */
  #findEntry(): TopicEntry | undefined {
    for (const name of this.#counts.names()) {
      const key = topicIndexKey('pubsub', topicKeyNamed(name).bytes, this.#id);
      const value = this.#find(key);
      if (value === undefined) continue;
      this.#entries.push(key);
      if (value.length >= TOPIC_KEY_BYTES)
        this.#entries.push(topicIndexKey('content', otherTopicOf(value), this.#id));
      return readTopicEntry(key, value);
    }
    return undefined;
  }

  #find(key: Uint8Array): Uint8Array | undefined {
    try {
      return this.#records.getSync(key);
    } catch {
      return undefined;
    }
  }
}

/** A message that is no longer kept, by what its entries are found under. */
export interface PrunedMessage {
  readonly id: Uint32Array;
  readonly pubsub: TopicKey;
  readonly content: TopicKey;
  /** Of the encoded message. */
  readonly bytes: number;
  /** Sessions would still ask for it: its id is kept, so that it is not fetched again. */
  readonly isForgotten: boolean;
}

/** Messages that are no longer kept leave the store with all their entries; their bytes go. */
export class Prune implements StoreChange {
  readonly removes = true;
  /** What was here to be removed; of meaning when it was written. */
  gone: PrunedMessage[] = [];
  readonly #messages: readonly PrunedMessage[];
  readonly #passes: boolean;

  /** `passes`: with them goes everything that is older, for good. */
  constructor(messages: readonly PrunedMessage[], passes: boolean) {
    this.#messages = messages;
    this.#passes = passes;
  }

  get bytes(): number {
    return this.#messages.length * PRUNED_BYTES;
  }

  applyTo({ tree, tallies, pruned }: IndexChange): boolean {
    this.gone = this.#messages.filter(({ id }) => tree.remove(id));
    for (const message of this.gone) {
      tallies.add(message.id, message.pubsub.name, message.content.name, -1, message.bytes);
      pruned.add(message.id, message.isForgotten, this.#passes);
    }
    return this.gone.length > 0;
  }

  putInto(batch: Batch): void {
    const keys = new MessageKeys();
    for (const { id, pubsub, content, isForgotten } of this.gone) {
      keys.set(id, pubsub.bytes, content.bytes, 0);
      batch.del(keys.message);
      batch.del(keys.hash);
      batch.del(keys.pubsub);
      batch.del(keys.content);
      if (isForgotten) batch.put(forgottenKey(id), NOTHING);
    }
  }

  tell(watcher: ChangeWatcher): void {
    for (const message of this.gone) watcher.pruned(message);
  }
}

/** Ids of pruned messages that need not be kept any longer. */
export class Release implements StoreChange {
  readonly removes = true;
  readonly #keys: readonly Uint8Array[];

  constructor(keys: readonly Uint8Array[]) {
    this.#keys = keys;
  }

  get bytes(): number {
    return this.#keys.length * INDEX_ENTRY_BYTES;
  }

  applyTo({ pruned }: IndexChange): boolean {
    pruned.release(this.#keys.length);
    return this.#keys.length > 0;
  }

  putInto(batch: Batch): void {
    for (const key of this.#keys) batch.del(key);
  }

  tell(): void {
    // No message came or went.
  }
}

/** Single entries written and removed, for a repair or for `Records`; the index of ids stays as it is. */
export class Amendment implements StoreChange {
  readonly #operations: readonly Operation[];

  constructor(operations: readonly Operation[]) {
    this.#operations = operations;
  }

  get bytes(): number {
    let bytes = this.#operations.length * INDEX_ENTRY_BYTES;
    for (const operation of this.#operations) if (operation.type === 'put') bytes += operation.value.length;
    return bytes;
  }

  applyTo(): boolean {
    return true;
  }

  putInto(batch: Batch): void {
    for (const operation of this.#operations) {
      if (operation.type === 'put') batch.put(operation.key, operation.value);
      else batch.del(operation.key);
    }
  }

  tell(): void {
    // Whoever keeps count keeps it of messages.
  }
}
