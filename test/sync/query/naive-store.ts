/**
 * A store node without cleverness behind `/vac/waku/store-query/3.0.0`: a filter over a list, with the oddities of
 * running nodes to be switched on. Answers over channels in memory, or over any channel that it is given.
 */
import { messageHash, type WakuMessage } from '../../../src/core/message.ts';
import { inScope } from '../../../src/core/scope.ts';
import type { Clock, FrameChannel, PeerLink } from '../../../src/ports.ts';
import { systemSha256 } from '../../../src/system.ts';
import {
  decodeStoreQueryRequest,
  encodeStoreQueryResponse,
  type StoreQueryEntry,
  type StoreQueryRequest,
  type StoreQueryResponse,
} from '../../../src/wire/waku-store-query.ts';
import { MemoryChannel } from '../memory-channel.ts';
import { WAKU_ONLY } from '../party.ts';

export interface NaiveStoreInit {
  readonly name?: string;
  /** As nwaku reads it. */
  readonly endIncluded?: boolean;
  readonly pageMax?: number;
  /** nwaku over Postgres: a look-up of k·100 hashes is followed by one without any filter. */
  readonly answersHundredsWrongly?: boolean;
  /** Pages of a walk backwards are given newest first, against the rules. */
  readonly reversesPages?: boolean;
  /** In place of the honest answer: another one, or none; the stream is reset then. `nth` counts requests from 1. */
  readonly odd?: (
    request: StoreQueryRequest,
    nth: number,
    honest: () => StoreQueryResponse,
  ) => StoreQueryResponse | undefined;
}

interface Row {
  readonly message: WakuMessage;
  readonly hash: Buffer;
}

export class NaiveStore {
  readonly requests: StoreQueryRequest[] = [];
  /** When each of them came. */
  readonly atMs: number[] = [];
  /** Streams that were opened, and that it has seen the end of. */
  opened = 0;
  readonly #clock: Clock;
  readonly #init: NaiveStoreInit;
  readonly #rows: Row[];

  constructor(messages: readonly WakuMessage[], clock: Clock, init: NaiveStoreInit = {}) {
    this.#clock = clock;
    this.#init = init;
    this.#rows = messages.map((message) => ({
      message,
      hash: Buffer.from(messageHash(message, systemSha256)),
    }));
    this.#rows.sort(compare);
  }

  /** The first `count` messages are no longer kept. */
  prune(count: number): void {
    this.#rows.splice(0, count);
  }

  link(init: Partial<PeerLink> = {}): PeerLink {
    return {
      peer: this.#init.name ?? 'store',
      isLacuna: false,
      ...WAKU_ONLY,
      openReconciliation: WAKU_ONLY.openStoreQuery,
      openTransfer: WAKU_ONLY.openStoreQuery,
      reconciles: false,
      openStoreQuery: async () => {
        const [here, there] = MemoryChannel.pair(this.#clock);
        void this.serve(there);
        return here;
      },
      ...init,
    };
  }

  /** Answers the one request of a stream. */
  async serve(channel: FrameChannel): Promise<void> {
    this.opened += 1;
    const frame = await channel.read(60_000).catch(() => undefined);
    if (frame === undefined) return channel.abort(new Error('no request'));
    const request = decodeStoreQueryRequest(frame.slice());
    this.requests.push(request);
    this.atMs.push(this.#clock.monotonicMs());
    const honest = (): StoreQueryResponse => this.answer(request);
    const { odd } = this.#init;
    const response = odd === undefined ? honest() : odd(request, this.requests.length, honest);
    if (response === undefined) return channel.abort(new Error('told to drop it'));
    await channel.write([encodeStoreQueryResponse(response)]);
    await channel.close();
  }

  answer(request: StoreQueryRequest): StoreQueryResponse {
    const { pageMax = 100, reversesPages = false } = this.#init;
    const wanted = request.paginationLimit ?? 20;
    const limit = Math.min(wanted === 0 ? 20 : wanted, pageMax);
    const { messageHashes, paginationForward, paginationCursor, requestId } = request;
    let rows = this.#matching(request);
    if (!paginationForward) rows.reverse();
    if (paginationCursor !== undefined) {
      const at = rows.findIndex(({ hash }) => hash.equals(paginationCursor));
      if (at < 0) return refusal(300, 'archive error: cursor not found');
      rows = rows.slice(at + 1);
    }
    const page = rows.slice(0, limit);
    const cursor = rows.length > page.length ? page.at(-1)?.hash : undefined;
    if (!paginationForward && !reversesPages) page.reverse();
    const isHundreds = messageHashes.length > 0 && messageHashes.length % 100 === 0;
    if (isHundreds && this.#init.answersHundredsWrongly === true) page.push(...this.#rows.slice(0, limit));
    return {
      requestId,
      statusCode: 200,
      statusDesc: '',
      messages: page.map((row) => entryOf(row, request.includeData)),
      paginationCursor: cursor,
    };
  }

  #matching(request: StoreQueryRequest): Row[] {
    const { pubsubTopic, contentTopics, timeStartNs = 0n, timeEndNs = 2n ** 63n, messageHashes } = request;
    const scope = { pubsubTopics: pubsubTopic === undefined ? [] : [pubsubTopic], contentTopics };
    const endNs = this.#init.endIncluded === true ? timeEndNs : timeEndNs - 1n;
    return this.#rows.filter(({ message, hash }) => {
      const { timestamp } = message;
      if (timestamp < timeStartNs || timestamp > endNs) return false;
      if (messageHashes.length > 0 && !messageHashes.some((asked) => hash.equals(asked))) return false;
      return inScope(scope, message.pubsubTopic, message.contentTopic);
    });
  }
}

export function entryOf({ message, hash }: Row, includeData: boolean): StoreQueryEntry {
  return { messageHash: hash, message: includeData ? message : undefined };
}

export function refusal(statusCode: number, statusDesc = ''): StoreQueryResponse {
  return { requestId: 'N/A', statusCode, statusDesc, messages: [], paginationCursor: undefined };
}

function compare(a: Row, b: Row): number {
  if (a.message.timestamp !== b.message.timestamp) return a.message.timestamp < b.message.timestamp ? -1 : 1;
  return Buffer.compare(a.hash, b.hash);
}
