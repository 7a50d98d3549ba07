/** What the writer writes: new messages, removals, what retention prunes, and corrections of single records. */
import { ID_WORDS } from '../core/sync-id.ts';
import type { Sha256, StoredMessage } from '../ports.ts';
import type { Batch, Operation } from './database.ts';
import type { Lookup } from './directory.ts';
import {
  forgottenKey,
  hashKey,
  MessageKeys,
  messageKey,
  otherTopicOf,
  quarantineKey,
  TOPIC_KEY_BYTES,
  topicIndexKey,
  topicKey,
} from './keys.ts';
import type { IndexChange } from './store-index.ts';
import { type TopicCounts, type TopicKey, topicKeyOf } from './topic-counts.ts';
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

  putInto(batch: Batch, { id, encoded, pubsubTopic, contentTopic }: StoredMessage): void {
    const pubsub = this.topicKey(pubsubTopic).bytes;
    const content = this.topicKey(contentTopic).bytes;
    const keys = this.#keys.set(id, pubsub, content, encoded.length);
    batch.put(keys.message, encoded);
    batch.put(keys.hash, keys.time);
    batch.put(keys.pubsub, keys.ofPubsub);
    batch.put(keys.content, keys.ofContent);
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
  #wasForgotten = false;

  constructor(putter: MessagePutter, message: StoredMessage) {
    this.#putter = putter;
    this.#message = message;
  }

  get bytes(): number {
    return this.#message.encoded.length;
  }

  applyTo({ tree, topics, pruned }: IndexChange): boolean {
    if (!tree.insert(this.#message.id)) return false;
    topics.add(this.#putter.topicKey(this.#message.pubsubTopic), 1);
    this.#wasForgotten = pruned.recall(this.#message.id);
    return true;
  }

  putInto(batch: Batch): void {
    this.#putter.putInto(batch, this.#message);
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

  applyTo({ tree, topics }: IndexChange): boolean {
    if (this.#encoded === undefined && this.#isThere()) return false;
    if (!tree.remove(this.#id)) return false;
    const topic = this.#findTopic();
    if (topic === undefined) topics.isUnsure = true;
    else topics.add(topic, -1);
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

  /** The bytes cannot be trusted to tell the topic: the entry that stands under one does. */
  #findTopic(): TopicKey | undefined {
    for (const name of this.#counts.names()) {
      const topic = topicKeyOf(Buffer.from(name, 'latin1'));
      const key = topicIndexKey('pubsub', topic.bytes, this.#id);
      const content = this.#find(key);
      if (content === undefined) continue;
      this.#entries.push(key);
      if (content.length >= TOPIC_KEY_BYTES)
        this.#entries.push(topicIndexKey('content', otherTopicOf(content), this.#id));
      return topic;
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

  applyTo({ tree, topics, pruned }: IndexChange): boolean {
    this.gone = this.#messages.filter(({ id }) => tree.remove(id));
    for (const message of this.gone) {
      topics.add(message.pubsub, -1);
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
