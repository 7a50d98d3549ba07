/**
 * Answers store queries from the archive, whoever brings them: a page at a time, of bounded size, at a cost that does not
 * grow with the store. Every query ends in a status.
 */
import { compareIds, hashOf, ID_WORDS, makeIdOf, SyncIdList } from '../../core/sync-id.ts';
import { type ErrorCode, LacunaError, toLacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { Archive, ArchivePage, Clock, Logger, Sha256 } from '../../ports.ts';
import { asBuffer, MessageView } from '../../wire/waku-message.ts';
import { STORED_ENTRY_BYTES, type StoreQueryRequest } from '../../wire/waku-store-query.ts';
import { type HashQuestion, questionOf, type WindowQuestion } from './question.ts';

/** As nwaku has them. */
export const STATUS_DESCRIPTIONS = {
  200: 'OK',
  400: 'BAD_REQUEST',
  429: 'TOO_MANY_REQUESTS',
  503: 'SERVICE_UNAVAILABLE',
} as const;
export type StoreQueryStatus = keyof typeof STATUS_DESCRIPTIONS;

export interface StoreAnswer {
  readonly status: StoreQueryStatus;
  readonly description: string;
  /** In ascending order. */
  readonly ids: SyncIdList;
  /** Of each id its message as it lies in the store (WakuMessageAndTopic); undefined where hashes alone are told. */
  readonly messages: readonly Uint8Array[] | undefined;
  /** Where the next page goes on; undefined when nothing is left. */
  readonly cursor: Uint8Array | undefined;
}

export type Asker = 'peer' | 'http';

/** A query that has been answered, for who counts. */
export interface AnsweredQuery {
  readonly asker: Asker;
  readonly status: StoreQueryStatus;
  readonly messages: number;
  readonly durationMs: number;
}

/** What one question costs, and whether it may cost more. */
export interface QueryMeter {
  /** So many entries of the index were looked at for it. */
  looked(entries: number): void;
  /** Asked before it is looked further. @throws LacunaError SESSION_BUSY. */
  goOn(): void;
}

/** For who is held to nothing. */
const UNMETERED: QueryMeter = { looked: () => undefined, goOn: () => undefined };

export interface StoreServiceInit {
  readonly archive: Archive;
  readonly sha256: Sha256;
  readonly clock: Clock;
  readonly log: Logger;
}

export class StoreService {
  readonly #init: StoreServiceInit;
  readonly #listeners = new Set<(query: AnsweredQuery) => void>();
  readonly #view = new MessageView();

  constructor(init: StoreServiceInit) {
    this.#init = init;
  }

  /** Has every answer told, those that refuse too. */
  onAnswered(listener: (query: AnsweredQuery) => void): void {
    this.#listeners.add(listener);
  }

  /** `read` gives the request, or throws what is wrong with it or with its time. Never rejects. */
  async answer(
    asker: Asker,
    read: () => StoreQueryRequest,
    meter: QueryMeter = UNMETERED,
  ): Promise<StoreAnswer> {
    const { clock } = this.#init;
    const startMs = clock.monotonicMs();
    const answer = await this.#answer(read, meter);
    const { status, ids } = answer;
    const durationMs = clock.monotonicMs() - startMs;
    for (const listener of this.#listeners) listener({ asker, status, messages: ids.count, durationMs });
    return answer;
  }

  async #answer(read: () => StoreQueryRequest, meter: QueryMeter): Promise<StoreAnswer> {
    try {
      const question = questionOf(read());
      return 'hashes' in question ? await this.#lookUp(question, meter) : await this.#query(question, meter);
    } catch (error) {
      const known = toLacunaError(error);
      const status = statusOf(known.code);
      if (status === 503) {
        this.#init.log.error(
          { code: known.code, error: known.message },
          'a store query could not be answered',
        );
      }
      return refusal(status, known.message);
    }
  }

  async #query(question: WindowQuestion, meter: QueryMeter): Promise<StoreAnswer> {
    const { archive } = this.#init;
    return await this.#firstReadable(question, meter, (cursor, countMax) =>
      archive.page({ ...question, cursor, countMax }),
    );
  }

  async #lookUp(question: HashQuestion, meter: QueryMeter): Promise<StoreAnswer> {
    const found = (await this.#init.archive.find(question.hashes)).toAscending();
    meter.looked(question.hashes.length);
    return await this.#firstReadable(question, meter, (cursor, countMax) =>
      this.#pageOf(found, question.ascending, cursor, countMax),
    );
  }

  /**
   * Messages that cannot be read are left out, and of a sparse topic a page of the archive may be empty before the end:
   * clients take an empty page for the last one.
   */
  async #firstReadable(
    { includeData, ascending, countMax, cursor: asked }: WindowQuestion | HashQuestion,
    meter: QueryMeter,
    pageAt: (cursor: Uint8Array | undefined, countMax: number) => Promise<ArchivePage>,
  ): Promise<StoreAnswer> {
    let cursor = asked;
    for (let look = 1; ; look++) {
      if (look > 1) meter.goOn();
      const page = await pageAt(cursor, countMax);
      meter.looked(page.looked);
      if (!includeData && page.ids.count > 0) return answerOf(page.ids, undefined, page.cursor);
      const { ids, messages, isCut } = await this.#read(page.ids, ascending);
      if (isCut) {
        const end = ids.at(ascending ? ids.count - 1 : 0);
        // The archive remembers where its pages end: this message may be pruned before the reader comes back.
        await pageAt(cursor, rowsUpTo(end, page.ids, ascending));
        return answerOf(ids, messages, hashOf(end));
      }
      if (ids.count > 0 || page.cursor === undefined || look >= LIMITS.storeQueryPagesLooked)
        return answerOf(ids, includeData ? messages : undefined, page.cursor);
      cursor = page.cursor;
    }
  }

  /** The messages of a page, from where it begins: as many as may go out together, at least one. */
  async #read(ids: SyncIdList, ascending: boolean): Promise<ReadPage> {
    const wanted = ascending ? ids : reversed(ids);
    const messages: Uint8Array[] = [];
    let bytes = 0;
    let isCut = false;
    reading: for await (const together of this.#init.archive.readMany(wanted)) {
      for (const message of together) {
        bytes += message.length + STORED_ENTRY_BYTES;
        isCut = messages.length > 0 && bytes > LIMITS.storeQueryPageBytes;
        if (isCut) break reading;
        messages.push(message);
      }
    }
    // Where none was left out, they are in the order of their ids; otherwise their hashes tell whose they are.
    const read = messages.length === wanted.count ? wanted : this.#idsOf(messages);
    if (ascending) return { ids: read, messages, isCut };
    return { ids: reversed(read), messages: messages.reverse(), isCut };
  }

  #idsOf(messages: readonly Uint8Array[]): SyncIdList {
    const ids = new SyncIdList(messages.length);
    for (const message of messages) {
      const view = this.#view.read(asBuffer(message));
      ids.push(makeIdOf(view.timeHigh, view.timeLow, view.hash(this.#init.sha256)), 0);
    }
    return ids;
  }

  /** One page of messages that were asked for by hash. */
  async #pageOf(
    found: SyncIdList,
    ascending: boolean,
    cursor: Uint8Array | undefined,
    countMax: number,
  ): Promise<ArchivePage> {
    let from = 0;
    let to = found.count;
    if (cursor !== undefined) {
      const end = await this.#init.archive.find([cursor]);
      if (end.count === 0) throw new LacunaError('QUERY_CURSOR', 'the cursor is of no message that is kept');
      if (ascending) while (from < to && compareIds(found.at(from), 0, end.at(0), 0) <= 0) from += 1;
      else while (from < to && compareIds(found.at(to - 1), 0, end.at(0), 0) >= 0) to -= 1;
    }
    const isLast = to - from <= countMax;
    if (ascending) to = Math.min(to, from + countMax);
    else from = Math.max(from, to - countMax);
    const ids = found.slice(from, to);
    const last = ascending ? ids.count - 1 : 0;
    return { ids, cursor: isLast ? undefined : hashOf(ids.at(last)), looked: 0 };
  }
}

interface ReadPage {
  readonly ids: SyncIdList;
  readonly messages: readonly Uint8Array[];
  /** There were more, and no room for them. */
  readonly isCut: boolean;
}

/** What is said to who cannot be answered. */
export function refusal(status: StoreQueryStatus, reason: string): StoreAnswer {
  // What went wrong in here is for the log.
  const description = status === 503 ? STATUS_DESCRIPTIONS[503] : `${STATUS_DESCRIPTIONS[status]}: ${reason}`;
  return { status, description, ids: new SyncIdList(), messages: undefined, cursor: undefined };
}

function answerOf(
  ids: SyncIdList,
  messages: readonly Uint8Array[] | undefined,
  cursor: Uint8Array | undefined,
): StoreAnswer {
  return { status: 200, description: STATUS_DESCRIPTIONS[200], ids, messages, cursor };
}

function statusOf(code: ErrorCode): StoreQueryStatus {
  if (code === 'SESSION_BUSY' || code === 'HTTP_BUSY') return 429;
  const isOfRequest = code.startsWith('WIRE_') || code.startsWith('QUERY_') || code === 'USAGE';
  return isOfRequest ? 400 : 503;
}

/** How many of the ids a walk passes until it has come to this one. */
function rowsUpTo(end: Uint32Array, ids: SyncIdList, ascending: boolean): number {
  let row = 0;
  while (row < ids.count && compareIds(ids.at(row), 0, end, 0) !== 0) row += 1;
  return ascending ? row + 1 : ids.count - row;
}

function reversed(ids: SyncIdList): SyncIdList {
  const list = new SyncIdList(ids.count);
  for (let row = ids.count - 1; row >= 0; row--) list.push(ids.words, row * ID_WORDS);
  return list;
}
