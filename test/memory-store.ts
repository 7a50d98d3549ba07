/**
 * A message store without a disk and without cleverness: a list that is searched from end to end. The tests of the
 * real store compare with it, and the tests of the sync protocol run on it where thousands of sessions are wanted.
 */
import { DigestTree } from '../src/core/digest-tree.ts';
import { type Interval, intersection } from '../src/core/interval.ts';
import type { RangeIndex } from '../src/core/range-index.ts';
import type { KeptWindow } from '../src/core/retention.ts';
import { inScope, isEverything, type Scope } from '../src/core/scope.ts';
import { compareIds, SyncIdList, timeOf } from '../src/core/sync-id.ts';
import { LacunaError } from '../src/errors.ts';
import type { AppendResult, MessageStore, OnRead, Records, StoredMessage } from '../src/ports.ts';

const READ_TOGETHER = 100;

export class MemoryStore implements MessageStore {
  readonly messages: StoredMessage[] = [];
  /** Set to refuse writes, as a store with a fault does. */
  writable = true;
  /** Set to say that nothing older is kept. */
  keptSinceNs = 0n;

  constructor(messages: readonly StoredMessage[] = []) {
    for (const message of messages) this.#add(message);
  }

  get count(): number {
    return this.messages.length;
  }

  async append(messages: readonly StoredMessage[]): Promise<AppendResult> {
    if (!this.writable) throw new LacunaError('STORE_FAULT', 'told to refuse');
    const stored = messages.filter((message) => this.#add(message)).length;
    return { stored, duplicate: messages.length - stored };
  }

  has(id: Uint32Array): boolean {
    return this.#find(id) !== undefined;
  }

  knows(id: Uint32Array): boolean {
    return this.has(id);
  }

  horizonNs(): bigint {
    return this.keptSinceNs;
  }

  kept(scope: Scope, window: Interval): readonly KeptWindow[] {
    const part = intersection(window, { sinceNs: this.keptSinceNs, untilNs: window.untilNs });
    return part === undefined ? [] : [{ ...part, scope }];
  }

  async index(scope: Scope, sinceNs: bigint, untilNs: bigint, onRead?: OnRead): Promise<RangeIndex> {
    if (!isEverything(scope)) await onRead?.(this.messages.length);
    return DigestTree.from(this.#ids(this.select(scope, sinceNs, untilNs)));
  }

  async *read(ids: SyncIdList): AsyncGenerator<Uint8Array> {
    for await (const messages of this.readMany(ids)) yield* messages;
  }

  async *readMany(ids: SyncIdList): AsyncGenerator<readonly Uint8Array[]> {
    for (let from = 0; from < ids.count; from += READ_TOGETHER) {
      const messages: Uint8Array[] = [];
      for (let row = from; row < Math.min(from + READ_TOGETHER, ids.count); row++) {
        const message = this.#find(ids.at(row));
        if (message !== undefined) messages.push(message.encoded);
      }
      if (messages.length > 0) yield messages;
    }
  }

  /** The messages of a scope and interval, ordered by id. */
  select(scope: Scope, sinceNs: bigint, untilNs: bigint): StoredMessage[] {
    return this.messages
      .filter(({ pubsubTopic, contentTopic }) => inScope(scope, pubsubTopic, contentTopic))
      .filter(({ id }) => timeOf(id) >= sinceNs && timeOf(id) < untilNs)
      .sort((a, b) => compareIds(a.id, 0, b.id, 0));
  }

  #add(message: StoredMessage): boolean {
    if (this.has(message.id)) return false;
    this.#byId.set(String(message.id), message);
    this.messages.push(message);
    return true;
  }

  /** Only so that large tests end: a lookup by the id as text. */
  readonly #byId = new Map<string, StoredMessage>();

  #find(id: Uint32Array): StoredMessage | undefined {
    return this.#byId.get(String(id));
  }

  #ids(messages: readonly StoredMessage[]): SyncIdList {
    return SyncIdList.of(...messages.map(({ id }) => id));
  }
}

/** Records without a disk; they last as long as the object does. */
export class MemoryRecords implements Records {
  readonly #values: Map<string, Uint8Array>;

  constructor(values: Iterable<readonly [string, Uint8Array]> = []) {
    this.#values = new Map(values);
  }

  get size(): number {
    return this.#values.size;
  }

  /** What a process that starts now would find, whatever this one writes later. */
  copy(): MemoryRecords {
    return new MemoryRecords(this.#values);
  }

  async get(name: string): Promise<Uint8Array | undefined> {
    return this.#values.get(name)?.slice();
  }

  async put(name: string, value: Uint8Array): Promise<void> {
    this.#values.set(name, value.slice());
  }

  async delete(name: string): Promise<void> {
    this.#values.delete(name);
  }

  async *list(prefix: string): AsyncGenerator<readonly [name: string, value: Uint8Array]> {
    const named = [...this.#values].filter(([name]) => name.startsWith(prefix));
    // As their bytes are ordered in UTF-8, which is not how text is compared here.
    const ordered = named.sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    for (const [name, value] of ordered) yield [name, value.slice()];
  }
}
