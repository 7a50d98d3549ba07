/** Answers to store queries, held against a plain filter, and refusals of those that contradict themselves. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hashOf, timeOf } from '../../../src/core/sync-id.ts';
import { LacunaError } from '../../../src/errors.ts';
import { LIMITS } from '../../../src/limits.ts';
import type { StoredMessage } from '../../../src/ports.ts';
import type { StoreQueryRequest } from '../../../src/wire/waku-store-query.ts';
import { MemoryArchive } from '../../memory-archive.ts';
import { RecordingLogger } from '../../recording-logger.ts';
import {
  CHAT,
  hexOf,
  messageOf,
  NOTES,
  NOW_NS,
  SHARD_0,
  SHARD_1,
  samples,
  stored,
} from '../../sample-messages.ts';
import { allPages, asked, hashesOf, serviceOf } from './asking.ts';

const START_NS = NOW_NS - 1_000n;

/** Few moments and topics, so that ties and empty topics are common. */
const stores = fc
  .array(
    fc.record({
      moment: fc.integer({ min: 0, max: 12 }),
      pubsubTopic: fc.constantFrom(SHARD_0, SHARD_1),
      contentTopic: fc.constantFrom(CHAT, NOTES, '/third/1/x/proto'),
      payload: fc.uint8Array({ minLength: 1, maxLength: 6 }),
      isDamaged: fc.nat({ max: 5 }).map((chance) => chance === 0),
    }),
    { maxLength: 40 },
  )
  .map((rows) => {
    const archive = new MemoryArchive([]);
    const byHash = new Map<string, StoredMessage>();
    for (const { moment, isDamaged, ...init } of rows) {
      const [message] = stored([messageOf({ ...init, timestamp: START_NS + BigInt(moment) })]);
      if (byHash.has(hexOf(message!))) continue;
      byHash.set(hexOf(message!), message!);
      if (isDamaged) archive.damaged.add(message!);
    }
    archive.messages = new MemoryArchive([...byHash.values()]).messages;
    return archive;
  });

const moments = fc.option(fc.integer({ min: -1, max: 14 }), { nil: undefined });
const queries = fc
  .record({
    includeData: fc.boolean(),
    pubsubTopic: fc.option(fc.constantFrom(SHARD_0, SHARD_1, '/nobody'), { nil: undefined }),
    contentTopics: fc.subarray([CHAT, NOTES, '/nobody/1/x/proto'], { maxLength: 3 }),
    start: moments,
    end: moments,
    paginationForward: fc.boolean(),
    paginationLimit: fc.constantFrom(undefined, 0, 1, 2, 3, 7, 100, 1_000),
  })
  .map(({ start, end, ...rest }) => ({
    ...rest,
    timeStartNs: start === undefined ? undefined : START_NS + BigInt(start),
    timeEndNs: end === undefined ? undefined : START_NS + BigInt(end),
  }));

/** What a query should find, oldest first. */
function filtered(archive: MemoryArchive, query: Partial<StoreQueryRequest>): StoredMessage[] {
  const { pubsubTopic, contentTopics = [], timeStartNs = 0n, timeEndNs } = query;
  return archive.messages.filter(
    (message) =>
      (pubsubTopic === undefined || message.pubsubTopic === pubsubTopic) &&
      (contentTopics.length === 0 || contentTopics.includes(message.contentTopic)) &&
      timeOf(message.id) >= timeStartNs &&
      (timeEndNs === undefined || timeOf(message.id) < timeEndNs) &&
      !(query.includeData === true && archive.damaged.has(message)),
  );
}

describe('a query', () => {
  it('finds in its pages what a plain filter finds', async () => {
    await fc.assert(
      fc.asyncProperty(stores, queries, async (archive, query) => {
        const service = serviceOf(archive);
        const { timeStartNs: since = 0n, timeEndNs: until } = query;
        if (until !== undefined && since >= until) {
          expect((await asked(service, query)).status).toBe(400);
          return;
        }
        const pages = await allPages(service, query);
        const most = Math.min(query.paginationLimit || LIMITS.storeQueryPage, LIMITS.storeQueryPageMax);
        for (const page of pages) {
          expect(page.status).toBe(200);
          expect(page.ids.count).toBeLessThanOrEqual(most);
          expect(page.ids.isStrictlyAscending()).toBe(true);
          expect(page.messages?.length).toBe(query.includeData ? page.ids.count : undefined);
        }
        const inOrder = query.paginationForward ? pages : pages.reverse();
        const found = filtered(archive, query);
        expect(inOrder.flatMap(hashesOf)).toEqual(found.map(hexOf));
        if (query.includeData) {
          expect(inOrder.flatMap(({ messages }) => messages)).toEqual(found.map(({ encoded }) => encoded));
        }
      }),
      { numRuns: 400 },
    );
  });

  it('goes on from any message as a client names it, and loses none to pruning in between', async () => {
    await fc.assert(
      fc.asyncProperty(stores, queries, fc.nat(), async (archive, query, keep) => {
        const given = { ...query, timeStartNs: undefined, timeEndNs: undefined, includeData: true };
        const due = filtered(archive, given).map(hexOf);
        const read: string[] = [];
        await allPages(serviceOf(archive), given, (page) => {
          const hashes = hashesOf(page);
          if (query.paginationForward) read.push(...hashes);
          else read.unshift(...hashes);
          // What was read goes, the end of the page too.
          const gone = new Set(hashes);
          if (keep % 2 === 0)
            archive.messages = archive.messages.filter((message) => !gone.has(hexOf(message)));
        });
        expect(read).toEqual(due);
      }),
      { numRuns: 200 },
    );
  });

  it('without any filter is one of all; its page is of twenty', async () => {
    const messages = samples(30);
    const service = serviceOf(new MemoryArchive(messages));
    const forward = await asked(service);
    expect(hashesOf(forward)).toEqual(messages.slice(0, 20).map(hexOf));
    expect(forward.cursor).toEqual(hashOf(messages[19]!.id));
    const backward = await asked(service, { paginationForward: false });
    expect(hashesOf(backward)).toEqual(messages.slice(10).map(hexOf));
    expect(backward.cursor).toEqual(hashOf(messages[10]!.id));
  });

  it('has a page of no more bytes than clients read, whatever was asked, and its pages hold everything', async () => {
    const messages = samples(60, { payloadBytes: 140_000 });
    const archive = new MemoryArchive(messages);
    const service = serviceOf(archive);
    for (const paginationForward of [true, false]) {
      archive.messagesRead = 0;
      const pages = await allPages(service, { paginationForward, paginationLimit: 100 });
      for (const page of pages) {
        const bytes = page.messages!.reduce((sum, { length }) => sum + length, 0);
        expect(bytes).toBeLessThanOrEqual(LIMITS.storeQueryPageBytes);
      }
      expect(pages.length).toBeLessThan(5);
      expect((paginationForward ? pages : pages.reverse()).flatMap(hashesOf)).toEqual(messages.map(hexOf));
      // No more was read than went out, but for what the store reads together.
      expect(archive.messagesRead).toBeLessThan(60 + pages.length * 7);
    }
  });

  it('goes on behind a page that was cut by its bytes, though its messages were pruned', async () => {
    for (const paginationForward of [true, false]) {
      const archive = new MemoryArchive(samples(60, { payloadBytes: 140_000 }));
      let read = 0;
      await allPages(serviceOf(archive), { paginationForward, paginationLimit: 100 }, (page) => {
        const gone = new Set(hashesOf(page));
        read += gone.size;
        archive.messages = archive.messages.filter((message) => !gone.has(hexOf(message)));
      });
      expect([read, archive.messages.length]).toEqual([60, 0]);
    }
  });

  it('is answered past pages of messages that cannot be read', async () => {
    const messages = samples(12);
    const archive = new MemoryArchive(messages);
    for (const message of messages.slice(0, 8)) archive.damaged.add(message);
    const page = await asked(serviceOf(archive), { paginationLimit: 2 });
    expect(hashesOf(page)).toEqual(messages.slice(8, 10).map(hexOf));
    const many = new MemoryArchive(samples(60));
    for (const message of many.messages) many.damaged.add(message);
    const empty = await asked(serviceOf(many), { paginationLimit: 2 });
    expect([empty.status, empty.ids.count, many.pagesAsked]).toEqual([200, 0, LIMITS.storeQueryPagesLooked]);
    expect(empty.cursor).toBeDefined();
  });
});

describe('a look-up by hash', () => {
  const messages = samples(250, { pubsubTopics: [SHARD_0, SHARD_1] });
  const hash = (message: StoredMessage): Uint8Array => hashOf(message.id);
  const unknown = new Uint8Array(32).fill(7);

  it.each([1, 99, 100])('of %i gives them all, ascending, each once, and no others', async (count) => {
    const wanted = messages.slice(20, 20 + count);
    const messageHashes = [unknown, ...wanted.map(hash).reverse(), hash(wanted[0]!)];
    const page = await asked(serviceOf(new MemoryArchive(messages)), { messageHashes });
    expect(hashesOf(page)).toEqual(wanted.map(hexOf));
    expect(page.cursor).toBeUndefined();
  });

  it.each([true, false])(
    'of more than a page goes on with a cursor (forward: %s)',
    async (paginationForward) => {
      const messageHashes = messages.map(hash);
      const service = serviceOf(new MemoryArchive(messages));
      const pages = await allPages(service, { messageHashes, paginationForward, paginationLimit: 90 });
      expect(pages.map(({ ids }) => ids.count)).toEqual([90, 90, 70]);
      const inOrder = paginationForward ? pages : pages.reverse();
      expect(inOrder.flatMap(hashesOf)).toEqual(messages.map(hexOf));
    },
  );

  it('asked for behind its last message is empty, as js-waku ends with', async () => {
    const wanted = messages.slice(0, 3);
    const given = { messageHashes: wanted.map(hash), pubsubTopic: SHARD_0 };
    const service = serviceOf(new MemoryArchive(messages));
    const page = await asked(service, { ...given, paginationCursor: hash(wanted[2]!) });
    expect([page.status, page.ids.count, page.cursor]).toEqual([200, 0, undefined]);
    const back = { ...given, paginationForward: false, paginationCursor: hash(wanted[1]!) };
    expect(hashesOf(await asked(service, back))).toEqual([hexOf(wanted[0]!)]);
    expect((await asked(service, { ...given, paginationCursor: unknown })).status).toBe(400);
  });

  it('does not look at a pubsub topic beside the hashes', async () => {
    const [message] = messages;
    for (const pubsubTopic of ['/another', '']) {
      const given = { messageHashes: [hash(message!)], pubsubTopic };
      expect(hashesOf(await asked(serviceOf(new MemoryArchive(messages)), given))).toEqual([hexOf(message!)]);
    }
  });

  it('of presence reads no message', async () => {
    const archive = new MemoryArchive(messages);
    const given = { includeData: false, messageHashes: [unknown, hash(messages[5]!)] };
    const page = await asked(serviceOf(archive), given);
    expect(hashesOf(page)).toEqual([hexOf(messages[5]!)]);
    expect([page.messages, archive.messagesRead]).toEqual([undefined, 0]);
  });

  it('of none that is here is empty', async () => {
    const page = await asked(serviceOf(new MemoryArchive(messages)), { messageHashes: [unknown] });
    expect([page.status, page.ids.count, page.cursor]).toEqual([200, 0, undefined]);
  });
});

describe('what contradicts itself', () => {
  const hash = new Uint8Array(32).fill(1);
  const topics = (count: number): string[] => Array.from({ length: count }, (_, at) => `/topic/${at}`);

  it.each<[string, Partial<StoreQueryRequest>]>([
    ['a start after the end', { timeStartNs: 5n, timeEndNs: 4n }],
    ['a start at the end', { timeStartNs: 5n, timeEndNs: 5n }],
    ['an end at the beginning of time', { timeEndNs: 0n }],
    ['a negative start', { timeStartNs: -1n }],
    ['a negative end', { timeEndNs: -1n }],
    ['an empty pubsub topic', { pubsubTopic: '' }],
    ['an empty content topic', { contentTopics: [CHAT, ''] }],
    ['too many content topics', { contentTopics: topics(LIMITS.storeQueryContentTopics + 1) }],
    ['a cursor of zeros', { paginationCursor: new Uint8Array(32) }],
    ['a cursor of nothing that is known', { paginationCursor: hash }],
    ['a cursor that is no hash', { paginationCursor: hash.subarray(1) }],
    ['hashes with content topics', { messageHashes: [hash], contentTopics: [CHAT] }],
    ['hashes with a start', { messageHashes: [hash], timeStartNs: 1n }],
    ['hashes with an end', { messageHashes: [hash], timeEndNs: 1n }],
    ['too many hashes', { messageHashes: Array(LIMITS.storeQueryHashesAsked + 1).fill(hash) }],
  ])('%s is a bad request', async (_, given) => {
    const archive = new MemoryArchive(samples(3));
    for (const includeData of [true, false]) {
      const answer = await asked(serviceOf(archive), { ...given, includeData });
      expect([answer.status, answer.ids.count, answer.cursor]).toEqual([400, 0, undefined]);
      expect(answer.description.length).toBeLessThan(120);
    }
  });

  it('is not what comes to a limit', async () => {
    const service = serviceOf(new MemoryArchive(samples(3)));
    const contentTopics = topics(LIMITS.storeQueryContentTopics);
    const messageHashes = Array<Uint8Array>(LIMITS.storeQueryHashesAsked).fill(hash);
    expect((await asked(service, { contentTopics: [...contentTopics, ...contentTopics] })).status).toBe(200);
    expect((await asked(service, { messageHashes })).status).toBe(200);
    expect((await asked(service, { paginationLimit: Number.MAX_SAFE_INTEGER })).ids.count).toBe(3);
  });
});

describe('a store that cannot be read', () => {
  it.each(['STORE_FAULT', 'STORE_CLOSED', 'STORE_DAMAGED', 'INTERNAL'] as const)(
    'for %s is unavailable; why, its log tells and the answer does not',
    async (code) => {
      const archive = new MemoryArchive(samples(3));
      archive.fault = new LacunaError(code, 'something in here');
      const log = new RecordingLogger();
      const answer = await asked(serviceOf(archive, log));
      expect([answer.status, answer.description]).toEqual([503, 'SERVICE_UNAVAILABLE']);
      expect(log.codes('error')).toEqual([code]);
    },
  );

  it('is told to who counts, as every answer is', async () => {
    const archive = new MemoryArchive(samples(30));
    const service = serviceOf(archive);
    const told: [string, number, number][] = [];
    service.onAnswered(({ asker, status, messages }) => told.push([asker, status, messages]));
    await asked(service);
    await asked(service, { timeEndNs: -1n });
    archive.fault = new LacunaError('STORE_CLOSED', 'for the test');
    await asked(service);
    expect(told).toEqual([
      ['peer', 200, 20],
      ['peer', 400, 0],
      ['peer', 503, 0],
    ]);
  });
});
