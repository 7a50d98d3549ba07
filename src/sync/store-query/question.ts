/**
 * What a store query asks for, once it is found to be one that has an answer: a window of topics and time, or messages
 * by their hashes (13/WAKU2-STORE; spec/store-query.md).
 */
import type { Scope } from '../../core/scope.ts';
import { TIMESTAMP_MAX } from '../../core/sync-id.ts';
import { LacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { StoreQueryRequest } from '../../wire/waku-store-query.ts';

interface Paged {
  readonly includeData: boolean;
  readonly ascending: boolean;
  readonly cursor: Uint8Array | undefined;
  /** Messages on a page: 1 to `storeQueryPageMax`. */
  readonly countMax: number;
}

/** The window `[sinceNs, untilNs)` of a scope. */
export interface WindowQuestion extends Paged {
  readonly scope: Scope;
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
}

export interface HashQuestion extends Paged {
  /** At least one. */
  readonly hashes: readonly Uint8Array[];
}

/** @throws LacunaError QUERY_INVALID, with a text for who asked. */
export function questionOf(request: StoreQueryRequest): WindowQuestion | HashQuestion {
  const { includeData, paginationForward: ascending, paginationCursor: cursor, messageHashes } = request;
  if (cursor?.every((byte) => byte === 0) === true) throw invalid('the cursor is no message hash');
  if (messageHashes.length > 0) {
    checkHashes(request);
    const countMax = pageSize(request, LIMITS.storeQueryPageMax);
    return { includeData, ascending, cursor, countMax, hashes: messageHashes };
  }
  const countMax = pageSize(request, LIMITS.storeQueryPage);
  return { includeData, ascending, cursor, countMax, scope: scopeOf(request), ...windowOf(request) };
}

/**
 * A pubsub topic beside the hashes is not looked at: js-waku always sends one. Nor is a cursor out of place: js-waku
 * asks for the page behind the last one too.
 */
function checkHashes({ messageHashes, contentTopics, timeStartNs, timeEndNs }: StoreQueryRequest): void {
  if (contentTopics.length > 0 || timeStartNs !== undefined || timeEndNs !== undefined)
    throw invalid('message hashes go with neither content topics nor times');
  if (messageHashes.length > LIMITS.storeQueryHashesAsked)
    throw invalid(`more than ${LIMITS.storeQueryHashesAsked} message hashes`);
}

function scopeOf({ pubsubTopic, contentTopics }: StoreQueryRequest): Scope {
  const contents = [...new Set(contentTopics)];
  if (pubsubTopic === '' || contents.includes('')) throw invalid('a topic is empty');
  if (contents.length > LIMITS.storeQueryContentTopics)
    throw invalid(`more than ${LIMITS.storeQueryContentTopics} content topics`);
  return { pubsubTopics: pubsubTopic === undefined ? [] : [pubsubTopic], contentTopics: contents };
}

function windowOf({ timeStartNs, timeEndNs }: StoreQueryRequest): { sinceNs: bigint; untilNs: bigint } {
  const sinceNs = timeStartNs ?? 0n;
  const untilNs = timeEndNs ?? END_OF_TIME;
  if (sinceNs < 0n || untilNs < 0n) throw invalid('a time is negative');
  if (sinceNs >= untilNs) throw invalid('the time range is empty: its start is not before its end');
  return { sinceNs, untilNs };
}

/** The last moment is one of the window too. */
const END_OF_TIME = TIMESTAMP_MAX + 1n;

function pageSize({ paginationLimit }: StoreQueryRequest, usual: number): number {
  // Encoders that cannot leave a number out write 0.
  const asked = paginationLimit === undefined || paginationLimit === 0 ? usual : paginationLimit;
  return Math.min(asked, LIMITS.storeQueryPageMax);
}

function invalid(text: string): LacunaError {
  return new LacunaError('QUERY_INVALID', text);
}
