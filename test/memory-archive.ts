/** The history of a store without a disk and without cleverness: every question goes through all messages. */
import { inScope } from '../src/core/scope.ts';
import { compareIds, hashOf, SyncIdList, timeOf } from '../src/core/sync-id.ts';
import { LacunaError } from '../src/errors.ts';
import type { Archive, ArchivePage, ArchiveQuery, StoredMessage } from '../src/ports.ts';

const READ_TOGETHER = 7;

export class MemoryArchive implements Archive {
  messages: StoredMessage[];
  /** Told instead of an answer. */
  fault: LacunaError | undefined;
  /** Messages whose bytes are damaged: they are in the index, and cannot be read. */
  readonly damaged = new Set<StoredMessage>();
  pagesAsked = 0;
  messagesRead = 0;
  /** An answer waits for it. */
  gate: Promise<void> = Promise.resolve();
  readonly #remembered = new Map<string, Uint32Array>();

  constructor(messages: readonly StoredMessage[]) {
    this.messages = [...messages].sort((a, b) => compareIds(a.id, 0, b.id, 0));
  }

  async page(query: ArchiveQuery): Promise<ArchivePage> {
    await this.#ready();
    this.pagesAsked += 1;
    const position = query.cursor === undefined ? undefined : this.#positionOf(query.cursor);
    const isWanted = ({ id, pubsubTopic, contentTopic }: StoredMessage): boolean => {
      const order = position === undefined ? 1 : compareIds(id, 0, position, 0);
      return (
        (position === undefined || (query.ascending ? order > 0 : order < 0)) &&
        inScope(query.scope, pubsubTopic, contentTopic) &&
        timeOf(id) >= query.sinceNs &&
        timeOf(id) < query.untilNs
      );
    };
    const wanted = this.messages.filter(isWanted);
    const page = query.ascending ? wanted.slice(0, query.countMax) : wanted.slice(-query.countMax);
    const end = query.ascending ? page.at(-1) : page[0];
    if (end !== undefined) this.#remembered.set(nameOf(hashOf(end.id)), end.id);
    const isLast = page.length === wanted.length;
    const ids = SyncIdList.of(...page.map(({ id }) => id));
    const cursor = isLast || end === undefined ? undefined : hashOf(end.id);
    return { ids, cursor, looked: this.messages.length };
  }

  async find(hashes: readonly Uint8Array[]): Promise<SyncIdList> {
    await this.#ready();
    const found = hashes.flatMap((hash) => {
      const message = this.messages.find(({ id }) => nameOf(hashOf(id)) === nameOf(hash));
      return message === undefined ? [] : [message.id];
    });
    return SyncIdList.of(...found);
  }

  async *readMany(ids: SyncIdList): AsyncGenerator<readonly Uint8Array[]> {
    for (let from = 0; from < ids.count; from += READ_TOGETHER) {
      const together: Uint8Array[] = [];
      for (let row = from; row < Math.min(from + READ_TOGETHER, ids.count); row++) {
        const message = this.messages.find(({ id }) => compareIds(id, 0, ids.at(row), 0) === 0);
        if (message !== undefined && !this.damaged.has(message)) together.push(message.encoded);
      }
      this.messagesRead += together.length;
      if (together.length > 0) yield together;
    }
  }

  async #ready(): Promise<void> {
    await this.gate;
    if (this.fault !== undefined) throw this.fault;
  }

  #positionOf(cursor: Uint8Array): Uint32Array {
    const kept = this.messages.find(({ id }) => nameOf(hashOf(id)) === nameOf(cursor))?.id;
    const position = kept ?? this.#remembered.get(nameOf(cursor));
    if (position === undefined) throw new LacunaError('QUERY_CURSOR', 'nothing is known of it');
    return position;
  }
}

function nameOf(hash: Uint8Array): string {
  return Buffer.from(hash).toString('hex');
}
