/** Store queries as tests put them: a request of which only what matters is said, and a reader that goes through all pages. */
import { hashOf } from '../../../src/core/sync-id.ts';
import type { Archive } from '../../../src/ports.ts';
import { type StoreAnswer, StoreService } from '../../../src/sync/store-query/service.ts';
import { systemSha256 } from '../../../src/system.ts';
import type { StoreQueryRequest } from '../../../src/wire/waku-store-query.ts';
import { RecordingLogger } from '../../recording-logger.ts';
import { VirtualClock } from '../virtual-clock.ts';

export function requestFor(given: Partial<StoreQueryRequest> = {}): StoreQueryRequest {
  return {
    requestId: 'request',
    includeData: true,
    pubsubTopic: undefined,
    contentTopics: [],
    timeStartNs: undefined,
    timeEndNs: undefined,
    messageHashes: [],
    paginationCursor: undefined,
    paginationForward: true,
    paginationLimit: undefined,
    ...given,
  };
}

export function serviceOf(archive: Archive, log = new RecordingLogger()): StoreService {
  return new StoreService({ archive, sha256: systemSha256, clock: new VirtualClock(), log });
}

export async function asked(
  service: StoreService,
  given: Partial<StoreQueryRequest> = {},
): Promise<StoreAnswer> {
  return await service.answer('peer', () => requestFor(given));
}

/** All pages that a client reads which asks until there is no cursor. */
export async function allPages(
  service: StoreService,
  given: Partial<StoreQueryRequest>,
  between: (page: StoreAnswer) => void = () => undefined,
): Promise<StoreAnswer[]> {
  const pages: StoreAnswer[] = [];
  let cursor = given.paginationCursor;
  do {
    const page = await asked(service, { ...given, paginationCursor: cursor });
    pages.push(page);
    between(page);
    ({ cursor } = page);
    if (pages.length > 10_000) throw new Error('the pages do not end');
  } while (cursor !== undefined);
  return pages;
}

export function hashesOf({ ids }: StoreAnswer): string[] {
  return Array.from({ length: ids.count }, (_, row) => Buffer.from(hashOf(ids.at(row))).toString('hex'));
}
