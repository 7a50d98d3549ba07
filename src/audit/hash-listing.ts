/**
 * A node that can only be asked for hashes, held against the own ids: listed window by window. A hash says nothing of
 * its time; those that are not here are asked for with their messages, which say it.
 */
import type { Interval } from '../core/interval.ts';
import type { RangeIndex } from '../core/range-index.ts';
import type { Scope } from '../core/scope.ts';
import {
  boundAt,
  HASH_WORDS,
  ID_WORDS,
  readHashWords,
  SyncIdList,
  TIMESTAMP_MAX,
  timeOf,
} from '../core/sync-id.ts';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { StoreClient } from '../sync/query/store-client.ts';
import type { NodeView } from './comparison.ts';
import type { TopicBook } from './topic-book.ts';

export interface HashListing {
  readonly client: Pick<StoreClient, 'pages' | 'lookUp'>;
  readonly index: RangeIndex;
  readonly scope: Scope;
  readonly window: Interval;
  /** Told the topics of messages that had to be fetched. */
  readonly topics: TopicBook;
  readonly stop: AbortSignal;
}

export interface ListedNode extends NodeView {
  /** Hashes that it names and has no message for. */
  readonly phantoms: number;
}

/**
 * What a store node has more and less. Nothing is said of the time before its oldest message, as it does not say how
 * long it keeps them; of a node without any, that it lacks everything.
 *
 * @throws LacunaError SESSION_BUDGET where more is new here than is fetched, and as `StoreClient.pages`.
 */
export async function listNode(listing: HashListing): Promise<ListedNode> {
  const { index, window } = listing;
  const oldestNs = await oldestOf(listing);
  const sinceNs = oldestNs === undefined || oldestNs < window.sinceNs ? window.sinceNs : oldestNs;
  if (sinceNs >= window.untilNs)
    return { covered: [], lacks: new SyncIdList(), extra: new SyncIdList(), phantoms: 0 };
  const covered = { sinceNs, untilNs: window.untilNs };
  const found = { lacks: new SyncIdList(), extra: new SyncIdList(), phantoms: 0 };
  for (const part of partsOf(index, covered)) await listPart(listing, part, found);
  const { lacks, phantoms } = found;
  return { covered: [covered], lacks, extra: found.extra.toAscending(), phantoms };
}

async function oldestOf({ client, scope, stop }: HashListing): Promise<bigint | undefined> {
  const first = { includeData: true, ascending: true, pageSize: 1, stop };
  for await (const { messages } of client.pages(scope, 0n, TIMESTAMP_MAX, first)) {
    const [oldest] = messages;
    if (oldest !== undefined) return timeOf(oldest.id);
  }
  return undefined;
}

/** Cut so that no part holds many own ids; ids of one moment stay together. */
function* partsOf(index: RangeIndex, { sinceNs, untilNs }: Interval): Generator<Interval> {
  const end = index.rank(boundAt(untilNs));
  let fromNs = sinceNs;
  for (;;) {
    const rank = index.rank(boundAt(fromNs)) + LIMITS.auditPartIds;
    const cutNs = rank < end ? timeOf(index.select(rank)) : untilNs;
    // More ids of one moment than a part holds: the moment alone.
    const toNs = cutNs > fromNs ? cutNs : fromNs + 1n;
    yield { sinceNs: fromNs, untilNs: toNs };
    if (toNs >= untilNs) return;
    fromNs = toNs;
  }
}

async function listPart(
  { client, index, scope, topics, stop }: HashListing,
  { sinceNs, untilNs }: Interval,
  found: { lacks: SyncIdList; extra: SyncIdList; phantoms: number },
): Promise<void> {
  const own = index.ids(boundAt(sinceNs), boundAt(untilNs));
  const table = new HashTable(own);
  const isThere = new Uint8Array(own.count);
  const strangers = new Map<string, Uint8Array>();
  for await (const { hashes } of client.pages(scope, sinceNs, untilNs, { includeData: false, stop })) {
    for (const hash of hashes) {
      const row = table.find(hash);
      if (row >= 0) isThere[row] = 1;
      else strangers.set(Buffer.from(hash).toString('latin1'), hash);
    }
    if (strangers.size + found.extra.count > LIMITS.auditFetched) {
      throw new LacunaError('SESSION_BUDGET', 'the peer lists more that is not here than an audit fetches');
    }
  }
  for (let row = 0; row < own.count; row++) {
    if (isThere[row] === 0) found.lacks.push(own.words, row * ID_WORDS);
  }
  let fetched = 0;
  for await (const { messages } of client.lookUp([...strangers.values()], { includeData: true, stop })) {
    fetched += messages.length;
    for (const message of messages) {
      const timeNs = timeOf(message.id);
      // A hash that belongs to another part is listed there.
      if (timeNs < sinceNs || timeNs >= untilNs) continue;
      if (!index.has(message.id)) found.extra.push(message.id, 0);
      topics.note(message.id, message);
    }
  }
  found.phantoms += strangers.size - fetched;
}

/** Rows of a list of ids by their hashes. */
class HashTable {
  readonly #ids: SyncIdList;
  readonly #slots: Int32Array;
  readonly #mask: number;
  readonly #hash = new Uint32Array(HASH_WORDS);

  constructor(ids: SyncIdList) {
    let size = 16;
    while (size < ids.count * 2) size *= 2;
    this.#ids = ids;
    this.#slots = new Int32Array(size).fill(-1);
    this.#mask = size - 1;
    for (let row = 0; row < ids.count; row++) {
      let slot = ids.words[row * ID_WORDS + TIME_WORDS]! & this.#mask;
      while (this.#slots[slot]! >= 0) slot = (slot + 1) & this.#mask;
      this.#slots[slot] = row;
    }
  }

  /** The row of this hash, or -1. */
  find(hash: Uint8Array): number {
    readHashWords(hash, 0, this.#hash, 0);
    for (let slot = this.#hash[0]! & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const row = this.#slots[slot]!;
      if (row < 0 || this.#isHashOf(row)) return row;
    }
  }

  #isHashOf(row: number): boolean {
    const offset = row * ID_WORDS + TIME_WORDS;
    for (let word = 0; word < HASH_WORDS; word++) {
      if (this.#ids.words[offset + word] !== this.#hash[word]) return false;
    }
    return true;
  }
}

const TIME_WORDS = ID_WORDS - HASH_WORDS;
