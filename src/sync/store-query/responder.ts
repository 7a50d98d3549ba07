/**
 * Serves store queries that peers bring as frames: what a peer may ask, how many are answered at a time, and what is
 * counted. Whoever asks for too much is told so with a status; only bytes that are no request are a strike.
 */
import { LacunaError, toLacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import {
  decodeStoreQueryRequest,
  encodeStoredPage,
  requestIdOf,
  type StoreQueryRequest,
} from '../../wire/waku-store-query.ts';
import type { Budgets } from '../budgets.ts';
import type { LimitCounts } from '../limit-counts.ts';
import { isMalformed, type Strikes } from '../strikes.ts';
import type { ProtocolTraffic } from '../traffic.ts';
import { refusal, type StoreAnswer, type StoreService } from './service.ts';

export interface StoreResponderInit {
  readonly service: StoreService;
  readonly budgets: Budgets;
  readonly strikes: Strikes;
  readonly counts: LimitCounts;
  readonly traffic: ProtocolTraffic;
}

export class StoreResponder {
  readonly #init: StoreResponderInit;
  /** Queries of each peer that are being answered. */
  readonly #underWay = new Map<string, number>();
  #all = 0;

  constructor(init: StoreResponderInit) {
    this.#init = init;
  }

  /** `send` resolves when the answer has been taken; until then the query is under way. Rejects as `send` does. */
  async respond(peer: string, frame: Uint8Array, send: (answer: Uint8Array) => Promise<void>): Promise<void> {
    const isBusy = this.#isBusy(peer);
    this.#count(peer, 1);
    try {
      await send(await this.#answer(peer, frame, isBusy));
    } finally {
      this.#count(peer, -1);
    }
  }

  async #answer(peer: string, frame: Uint8Array, isBusy: boolean): Promise<Uint8Array> {
    const { service, budgets, traffic } = this.#init;
    let requestId: string | undefined;
    const read = (): StoreQueryRequest => {
      if (isBusy) throw new LacunaError('SESSION_BUSY', 'too many queries are being answered');
      budgets.openQuery(peer);
      const request = this.#decode(peer, frame);
      requestId = request.requestId;
      return request;
    };
    const answer = await service.answer('peer', read, {
      looked: (entries) => budgets.spendOnQuery(peer, entries),
      goOn: () => budgets.continueQuery(peer),
    });
    requestId ??= requestIdOf(frame);
    const encoded = encode(requestId, answer);
    try {
      budgets.serve(peer, encoded.length);
    } catch (error) {
      return encode(requestId, refusal(429, toLacunaError(error).message));
    }
    if (answer.messages !== undefined) traffic.messagesSent(answer.messages);
    return encoded;
  }

  #decode(peer: string, frame: Uint8Array): StoreQueryRequest {
    try {
      return decodeStoreQueryRequest(frame);
    } catch (error) {
      const { code } = toLacunaError(error);
      // A light one: of two queries at once, js-waku may write both on one stream, and then neither can be read.
      if (isMalformed(code)) this.#init.strikes.strike(peer);
      throw error;
    }
  }

  #isBusy(peer: string): boolean {
    const isFull = this.#all >= LIMITS.storeQueriesAtOnce;
    const ofPeer = this.#underWay.get(peer) ?? 0;
    if (isFull) this.#init.counts.hit('queries');
    else if (ofPeer >= LIMITS.storeQueriesAtOncePerPeer) this.#init.counts.hit('peer-queries');
    return isFull || ofPeer >= LIMITS.storeQueriesAtOncePerPeer;
  }

  #count(peer: string, change: 1 | -1): void {
    this.#all += change;
    const ofPeer = (this.#underWay.get(peer) ?? 0) + change;
    if (ofPeer === 0) this.#underWay.delete(peer);
    else this.#underWay.set(peer, ofPeer);
  }
}

function encode(requestId: string, { status, description, ids, messages, cursor }: StoreAnswer): Uint8Array {
  return encodeStoredPage({
    requestId,
    statusCode: status,
    statusDesc: description,
    ids,
    messages,
    paginationCursor: cursor,
  });
}
