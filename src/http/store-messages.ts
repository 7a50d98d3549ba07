/**
 * `GET /store/v3/messages`: the history of the store over HTTP, with the parameters and the answer of nwaku's REST
 * interface. Messages are written as message lines are, so that an answer can be imported.
 */
import { z } from 'zod';
import { HASH_BYTES, hashOf } from '../core/sync-id.ts';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { StoreAnswer, StoreService } from '../sync/store-query/service.ts';
import { LineWriter } from '../wire/message-line.ts';
import { asBuffer, MessageView } from '../wire/waku-message.ts';
import type { StoreQueryRequest } from '../wire/waku-store-query.ts';
import { readQuery } from './query.ts';
import type { Answer } from './server.ts';

const flag = z
  .string()
  .regex(/^(true|false)?$/, 'true or false')
  .optional();
const text = z.string().optional();
const number = z
  .string()
  .regex(/^-?\d{0,20}$/, 'a whole number')
  .optional();

/** What is given without a value counts as left out, as in nwaku. */
const messagesQuery = z.strictObject({
  includeData: flag,
  pubsubTopic: text,
  contentTopics: text,
  startTime: number,
  endTime: number,
  hashes: text,
  cursor: text,
  ascending: flag,
  pageSize: number,
});

/** Reading a page takes memory and time: few do it at the same time. */
export class StoreMessages {
  readonly #service: StoreService;
  #running = 0;

  constructor(service: StoreService) {
    this.#service = service;
  }

  /** Refusals have the form of answers too: `statusCode` says what the status of HTTP does. */
  async answer(query: URLSearchParams): Promise<Answer> {
    this.#running += 1;
    try {
      const answer = await this.#service.answer('http', () => {
        if (this.#running > LIMITS.httpQueries)
          throw new LacunaError('HTTP_BUSY', `${LIMITS.httpQueries} queries are running`);
        return requestOf(query);
      });
      return { status: answer.status, text: jsonOf(answer), type: 'application/json' };
    } finally {
      this.#running -= 1;
    }
  }
}

/** @throws LacunaError USAGE. */
function requestOf(query: URLSearchParams): StoreQueryRequest {
  const given = readQuery(messagesQuery, query);
  return {
    requestId: '',
    includeData: given.includeData === 'true',
    pubsubTopic: given.pubsubTopic || undefined,
    contentTopics: given.contentTopics ? given.contentTopics.split(',') : [],
    timeStartNs: timeOf(given.startTime),
    timeEndNs: timeOf(given.endTime),
    messageHashes: given.hashes ? given.hashes.split(',').map(hashFrom) : [],
    paginationCursor: given.cursor ? hashFrom(given.cursor) : undefined,
    paginationForward: given.ascending !== 'false',
    paginationLimit: sizeOf(given.pageSize),
  };
}

/** 0 is no time, as in nwaku. */
function timeOf(given: string | undefined): bigint | undefined {
  const time = given === undefined || given === '-' ? 0n : BigInt(given);
  return time === 0n ? undefined : time;
}

function sizeOf(given: string | undefined): number | undefined {
  if (!given) return undefined;
  const size = Number(given);
  if (!(size >= 0)) throw new LacunaError('USAGE', 'pageSize is negative');
  return Math.min(size, Number.MAX_SAFE_INTEGER);
}

const HASH = new RegExp(`^(?:0x)?[0-9a-f]{${HASH_BYTES * 2}}$`, 'i');

function hashFrom(given: string): Uint8Array {
  if (!HASH.test(given))
    throw new LacunaError('USAGE', 'a message hash is 64 hex digits, with 0x or without');
  return Buffer.from(given.slice(-HASH_BYTES * 2), 'hex');
}

function jsonOf({ status, description, ids, messages, cursor }: StoreAnswer): string {
  const lines = new LineWriter();
  const view = new MessageView();
  for (let row = 0; row < ids.count; row++) {
    if (row > 0) lines.text(',');
    if (messages === undefined) lines.text(`{"messageHash":"${hexOf(hashOf(ids.at(row)))}"}`);
    else lines.message(view.read(asBuffer(messages[row]!)), ids.at(row));
  }
  const head = { requestId: '', statusCode: status, statusDesc: description };
  const end = cursor === undefined ? '' : `,"paginationCursor":"${hexOf(cursor)}"`;
  return `${JSON.stringify(head).slice(0, -1)},"messages":[${lines.take().toString('utf8')}]${end}}\n`;
}

function hexOf(hash: Uint8Array): string {
  return `0x${Buffer.from(hash).toString('hex')}`;
}
