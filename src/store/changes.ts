/** What the writer writes: new messages, removals, and corrections of single records. */
import { ID_WORDS } from '../core/sync-id.ts';
import type { Sha256, StoredMessage } from '../ports.ts';
import type { Batch, Operation } from './database.ts';
import type { Lookup } from './directory.ts';
import { hashKey, MessageKeys, messageKey, quarantineKey, topicIndexKey, topicKey } from './keys.ts';
import type { IndexChange } from './store-index.ts';
import { type TopicCounts, type TopicKey, topicKeyOf } from './topic-counts.ts';
import type { Change } from './writer.ts';

export interface StoreChange extends Change {
  /** Makes the index what it will be; false when there is nothing to do, as the message is known. */
  applyTo(index: IndexChange): boolean;
  putInto(batch: Batch): void;
}

const TOPIC_KEYS_REMEMBERED = 1_000;
/** About what an index entry weighs in a write group. */
const INDEX_ENTRY_BYTES = 128;

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
    const keys = this.#keys.set(id, pubsub, content);
    batch.put(keys.message, encoded);
    batch.put(keys.hash, keys.time);
    batch.put(keys.pubsub, content);
    batch.put(keys.content, pubsub);
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

  constructor(putter: MessagePutter, message: StoredMessage) {
    this.#putter = putter;
    this.#message = message;
  }

  get bytes(): number {
    return this.#message.encoded.length;
  }

  applyTo({ tree, topics }: IndexChange): boolean {
    if (!tree.insert(this.#message.id)) return false;
    topics.add(this.#putter.topicKey(this.#message.pubsubTopic), 1);
    return true;
  }

  putInto(batch: Batch): void {
    this.#putter.putInto(batch, this.#message);
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
      if (content.length === topic.bytes.length)
        this.#entries.push(topicIndexKey('content', content, this.#id));
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
}
