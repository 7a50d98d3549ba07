/**
 * A client of `/vac/waku/store-query/3.0.0` (13/WAKU2-STORE) that any Waku store node may stand behind: walks over
 * windows page by page, and looks up hashes. Trusts nothing that it can check: messages are hashed and matched to what was
 * asked, walks come to an end. Knows no network.
 */
import { messageHash } from '../../core/message.ts';
import { inScope, type Scope } from '../../core/scope.ts';
import { compareIds, hashOf, makeId, TIMESTAMP_MAX } from '../../core/sync-id.ts';
import { type ErrorCode, toLacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { Sha256, StoredMessage } from '../../ports.ts';
import { encodeMessageAndTopic } from '../../wire/waku-message.ts';
import type { StoreQueryEntry, StoreQueryRequest, StoreQueryResponse } from '../../wire/waku-store-query.ts';
import { isMalformed } from '../strikes.ts';
import { CursorWatch } from './cursor-watch.ts';
import { mergedPages } from './page-merge.ts';
import { partsOf, type ScopePart } from './scope-parts.ts';
import { type QueryTally, StoreExchange, type StoreExchangeInit } from './store-exchange.ts';

export interface StoreClientInit extends StoreExchangeInit {
  readonly sha256: Sha256;
}

export interface PageOptions {
  /** Whole messages, each checked against its hash; or hashes alone. */
  readonly includeData: boolean;
  /** From the oldest message on, or from the newest back (the default). */
  readonly ascending?: boolean;
  /** 1 to `LIMITS.queryPageSize`, which is the default. */
  readonly pageSize?: number;
  readonly stop?: AbortSignal;
}

export interface StorePage {
  /** 32 bytes each, in memory of their own. */
  readonly hashes: readonly Uint8Array[];
  /** The messages of these hashes, in the same order; none where only hashes were asked for. */
  readonly messages: readonly StoredMessage[];
}

type Question = Omit<StoreQueryRequest, 'requestId'>;

type Fault = ErrorCode | 'boundary' | undefined;
type FaultOf = (message: StoredMessage) => Fault;

interface Window {
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
}

const NEVER = new AbortController().signal;
const NOTHING: Question = {
  includeData: false,
  pubsubTopic: undefined,
  contentTopics: [],
  timeStartNs: undefined,
  timeEndNs: undefined,
  messageHashes: [],
  paginationCursor: undefined,
  paginationForward: true,
  paginationLimit: undefined,
};

export class StoreClient {
  readonly peer: string;
  readonly #exchange: StoreExchange;
  readonly #sha256: Sha256;
  /** Whether the peer reads the end of a window as a part of it, as nwaku does; undefined while nobody knows. */
  #includesEnd: boolean | undefined;
  /** Answers to look-ups that could not be read since one could. */
  #unreadable = 0;

  constructor(init: StoreClientInit) {
    this.peer = init.link.peer;
    this.#exchange = new StoreExchange(init);
    this.#sha256 = init.sha256;
  }

  /** What it has cost so far; grows. */
  get tally(): Readonly<QueryTally> {
    return this.#exchange.tally;
  }

  /**
   * All that the peer has of a scope and of the window `[sinceNs, untilNs)`, page by page, none of them empty. Messages
   * come in the order of their ids, or backwards. Hashes alone come in that order too where the scope is one request;
   * else topic by topic. A peer may give the same hash twice; what it gives beside the window or the scope is left out
   * and counted, as far as it can be told: of a hash alone it cannot.
   *
   * @throws LacunaError QUERY_UNENDING, QUERY_TOPICS, and as `StoreExchange.ask`.
   */
  async *pages(
    scope: Scope,
    sinceNs: bigint,
    untilNs: bigint,
    options: PageOptions,
  ): AsyncGenerator<StorePage> {
    if (sinceNs >= untilNs) return;
    const parts = partsOf(scope);
    const { includeData, ascending = false, pageSize = LIMITS.queryPageSize } = options;
    const window = { sinceNs, untilNs };
    const walks = parts.map((part) => this.#walk(part, window, options));
    if (!includeData || walks.length === 1) {
      for (const walk of walks) yield* walk;
      return;
    }
    for await (const messages of mergedPages(walks.map(messagesOf), ascending, pageSize)) {
      yield { hashes: messages.map(hashOfStored), messages };
    }
  }

  /**
   * Which of these hashes the peer has: a page for each batch that it has some of. With data, the messages too; one that
   * it names and does not bring whole is left out and counted. What was not asked for is ignored.
   *
   * @throws LacunaError as `StoreExchange.ask`.
   */
  async *lookUp(
    hashes: readonly Uint8Array[],
    { includeData, stop = NEVER }: Pick<PageOptions, 'includeData' | 'stop'>,
  ): AsyncGenerator<StorePage> {
    for (let at = 0; at < hashes.length; at += LIMITS.queryLookUpHashes) {
      yield* this.#lookUpBatch(hashes.slice(at, at + LIMITS.queryLookUpHashes), includeData, stop);
    }
  }

  async *#lookUpBatch(
    batch: readonly Uint8Array[],
    includeData: boolean,
    stop: AbortSignal,
  ): AsyncGenerator<StorePage> {
    const left = new Map(batch.map((hash) => [keyOf(hash), hash]));
    while (left.size > 0) {
      const asked = [...left.values()];
      let response: StoreQueryResponse;
      try {
        const limit = LIMITS.queryPageSize;
        response = await this.#exchange.ask(
          { ...NOTHING, includeData, messageHashes: asked, paginationLimit: limit },
          stop,
        );
      } catch (error) {
        // One message that cannot be read, or a few that are too large together, must not hide the others.
        this.#unreadable += 1;
        if (!isMalformed(toLacunaError(error).code) || this.#unreadable > LIMITS.queryUnreadable) throw error;
        if (asked.length === 1) return this.#drop(toLacunaError(error).code);
        const half = asked.length >> 1;
        yield* this.#lookUpBatch(asked.slice(0, half), includeData, stop);
        yield* this.#lookUpBatch(asked.slice(half), includeData, stop);
        return;
      }
      this.#unreadable = 0;
      const named = response.messages.filter(({ messageHash }) => left.delete(keyOf(messageHash)));
      this.#drop('TRANSFER_NOT_ASKED', response.messages.length - named.length);
      const page = includeData ? this.#checked(named, () => undefined) : hashesAlone(named);
      if (page.hashes.length > 0) yield page;
      // A peer whose pages are smaller than the batch is asked again for the rest; cursors of look-ups are not trusted.
      if (response.paginationCursor === undefined || named.length === 0) return;
    }
  }

  async *#walk(part: ScopePart, window: Window, options: PageOptions): AsyncGenerator<StorePage> {
    const { includeData, ascending = false, stop = NEVER } = options;
    const watch = new CursorWatch();
    const endNs = includeData ? window.untilNs : await this.#endFor(part, window, stop);
    const faultOf = faultIn(part, window);
    const limit = Math.min(options.pageSize ?? LIMITS.queryPageSize, LIMITS.queryPageSize);
    let question: Question = {
      ...questionOf(part, window.sinceNs, endNs),
      includeData,
      paginationForward: ascending,
      paginationLimit: limit,
    };
    for (;;) {
      const { response, isRead } = await this.#page(question, stop);
      const { messages, paginationCursor } = response;
      const entries = ascending ? messages : [...messages].reverse();
      if (includeData && !isRead) yield* this.#pageByHash(entries, faultOf, ascending, stop);
      else {
        const page = includeData ? inOrder(this.#checked(entries, faultOf), ascending) : hashesAlone(entries);
        if (page.hashes.length > 0) yield page;
      }
      if (paginationCursor === undefined) return;
      watch.note(paginationCursor, messages.length);
      question = { ...question, paginationCursor: paginationCursor.slice() };
    }
  }

  /** A page of messages that cannot be read, or is too large for one frame, is asked for as hashes. */
  async #page(
    question: Question,
    stop: AbortSignal,
  ): Promise<{ response: StoreQueryResponse; isRead: boolean }> {
    try {
      return { response: await this.#exchange.ask(question, stop), isRead: true };
    } catch (error) {
      if (!question.includeData || !isMalformed(toLacunaError(error).code)) throw error;
      return { response: await this.#exchange.ask({ ...question, includeData: false }, stop), isRead: false };
    }
  }

  /** The messages of a page whose hashes are known, looked up. */
  async *#pageByHash(
    entries: readonly StoreQueryEntry[],
    faultOf: FaultOf,
    ascending: boolean,
    stop: AbortSignal,
  ): AsyncGenerator<StorePage> {
    const hashes = hashesAlone(entries).hashes;
    for (let at = 0; at < hashes.length; at += LIMITS.queryLookUpHashes) {
      const batch = hashes.slice(at, at + LIMITS.queryLookUpHashes);
      const messages: StoredMessage[] = [];
      for await (const page of this.#lookUpBatch(batch, true, stop)) {
        messages.push(...page.messages.filter((message) => !this.#isFaulty(faultOf(message))));
      }
      if (messages.length > 0) yield inOrder({ hashes: [], messages }, ascending);
    }
  }

  /** Messages that hash to what they were announced as, and that nothing is said against. */
  #checked(entries: readonly StoreQueryEntry[], faultOf: FaultOf): StorePage {
    const page = { hashes: [] as Uint8Array[], messages: [] as StoredMessage[] };
    for (const { messageHash: announced, message } of entries) {
      if (message === undefined) {
        this.#drop('WIRE_FIELD_MISSING');
        continue;
      }
      const hash = messageHash(message, this.#sha256);
      if (!sameBytes(hash, announced)) {
        this.#drop('MESSAGE_HASH_MISMATCH');
        continue;
      }
      const { pubsubTopic, contentTopic, timestamp } = message;
      // A time before 1970 has no id; it is outside of every window.
      const encoded = encodeMessageAndTopic(message);
      const stored = { id: makeId(timestamp, hash), encoded, pubsubTopic, contentTopic };
      if (this.#isFaulty(timestamp < 0n ? 'MESSAGE_TIMESTAMP_INVALID' : faultOf(stored))) continue;
      page.hashes.push(hash);
      page.messages.push(stored);
    }
    return page;
  }

  #isFaulty(fault: Fault): boolean {
    if (fault !== undefined && fault !== 'boundary') this.#drop(fault);
    return fault !== undefined;
  }

  #drop(code: ErrorCode, times = 1): void {
    const { dropped } = this.#exchange.tally;
    if (times > 0) dropped[code] = (dropped[code] ?? 0) + times;
  }

  // ── the end of a window ──────────────────────────────────────────────────────────────────────────────────────

  /** What to send as the end so that hashes alone are of `[sinceNs, untilNs)`, whichever way the peer reads it. */
  async #endFor(part: ScopePart, window: Window, stop: AbortSignal): Promise<bigint> {
    const { untilNs } = window;
    if (untilNs >= TIMESTAMP_MAX) return untilNs;
    this.#includesEnd ??= await this.#learnEnd(part, window, stop);
    return this.#includesEnd === true ? untilNs - 1n : untilNs;
  }

  /** A message of the peer is asked for as a window of its own moment: there it is only where ends are included. */
  async #learnEnd(part: ScopePart, window: Window, stop: AbortSignal): Promise<boolean | undefined> {
    const { sinceNs, untilNs } = window;
    const newest = { ...questionOf(part, sinceNs, untilNs), includeData: true, paginationForward: false };
    const { messages } = await this.#exchange.ask({ ...newest, paginationLimit: 1 }, stop);
    const timeNs = messages.find(({ message }) => message !== undefined)?.message?.timestamp;
    if (timeNs === undefined || timeNs < sinceNs || timeNs > untilNs) return undefined;
    if (timeNs === untilNs) return true;
    try {
      const moment = questionOf(part, timeNs, timeNs);
      const answer = await this.#exchange.ask({ ...moment, paginationLimit: 1 }, stop);
      return answer.messages.length > 0;
    } catch (error) {
      // A window without any time in it is no question, to a peer that excludes the end.
      if (toLacunaError(error).code === 'QUERY_REFUSED') return false;
      throw error;
    }
  }
}

function questionOf({ pubsubTopic, contentTopics }: ScopePart, sinceNs: bigint, endNs: bigint): Question {
  return {
    ...NOTHING,
    pubsubTopic,
    contentTopics,
    timeStartNs: sinceNs <= 0n ? undefined : sinceNs,
    timeEndNs: endNs >= TIMESTAMP_MAX ? undefined : endNs,
  };
}

/** What speaks against a message of this part of the scope. The moment of the end is there by a reading of the rules. */
function faultIn(part: ScopePart, { sinceNs, untilNs }: Window): FaultOf {
  const since = makeId(sinceNs, LOWEST);
  const until = makeId(untilNs, LOWEST);
  const end = makeId(untilNs, HIGHEST);
  const scope: Scope = {
    pubsubTopics: part.pubsubTopic === undefined ? [] : [part.pubsubTopic],
    contentTopics: part.contentTopics,
  };
  return ({ id, pubsubTopic, contentTopic }) => {
    if (!inScope(scope, pubsubTopic, contentTopic)) return 'TRANSFER_OUT_OF_SCOPE';
    if (compareIds(id, 0, since, 0) < 0 || compareIds(id, 0, end, 0) > 0) return 'TRANSFER_OUT_OF_WINDOW';
    return compareIds(id, 0, until, 0) < 0 ? undefined : 'boundary';
  };
}

const LOWEST = new Uint8Array(32);
const HIGHEST = new Uint8Array(32).fill(0xff);

function hashesAlone(entries: readonly StoreQueryEntry[]): StorePage {
  return { hashes: entries.map(({ messageHash: hash }) => hash.slice()), messages: [] };
}

/** Pages are ascending by the rules, whichever way the walk goes; not all peers keep to them. */
function inOrder({ messages }: StorePage, ascending: boolean): StorePage {
  const sign = ascending ? 1 : -1;
  const ordered = [...messages].sort((a, b) => sign * compareIds(a.id, 0, b.id, 0));
  return { hashes: ordered.map(hashOfStored), messages: ordered };
}

async function* messagesOf(walk: AsyncIterable<StorePage>): AsyncGenerator<readonly StoredMessage[]> {
  for await (const { messages } of walk) yield messages;
}

function hashOfStored({ id }: StoredMessage): Uint8Array {
  return hashOf(id);
}

/** A hash as a key of a map: 32 characters of one byte each. */
function keyOf(hash: Uint8Array): string {
  return String.fromCharCode(...hash);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((byte, index) => byte === b[index]);
}
