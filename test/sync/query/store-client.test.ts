/** What a client of store nodes makes of honest, odd and hostile ones, compared with a filter over a list. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { messageHash, type WakuMessage } from '../../../src/core/message.ts';
import { EVERYTHING, inScope, type Scope } from '../../../src/core/scope.ts';
import { TIMESTAMP_MAX } from '../../../src/core/sync-id.ts';
import { LacunaError } from '../../../src/errors.ts';
import { LIMITS } from '../../../src/limits.ts';
import type { FrameChannel } from '../../../src/ports.ts';
import { RequestPace } from '../../../src/sync/query/request-pace.ts';
import { StoreClient, type StorePage } from '../../../src/sync/query/store-client.ts';
import { systemSha256 } from '../../../src/system.ts';
import { decodeStoreQueryRequest, encodeStoreQueryResponse } from '../../../src/wire/waku-store-query.ts';
import { endedIn } from '../../ended-in.ts';
import {
  CHAT,
  hexOf,
  messageOf,
  NOTES,
  NOW_NS,
  SHARD_0,
  SHARD_1,
  sampleMessages,
  stored,
} from '../../sample-messages.ts';
import { MemoryChannel } from '../memory-channel.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { NaiveStore, type NaiveStoreInit, refusal } from './naive-store.ts';

const SECOND_NS = 1_000_000_000n;

function asking(messages: readonly WakuMessage[], init: NaiveStoreInit = {}) {
  const clock = new VirtualClock();
  const node = new NaiveStore(messages, clock, init);
  const pace = new RequestPace(clock);
  const random = { below: (below: number) => Math.floor(below / 2) };
  const client = new StoreClient({ link: node.link(), clock, random, pace, sha256: systemSha256 });
  return { clock, node, client };
}

async function all(pages: AsyncIterable<StorePage>): Promise<StorePage[]> {
  const list: StorePage[] = [];
  for await (const page of pages) list.push(page);
  return list;
}

const hexesOf = (pages: readonly StorePage[]): string[] =>
  pages.flatMap(({ hashes }) => hashes.map((hash) => Buffer.from(hash).toString('hex')));

const hexes = (messages: readonly WakuMessage[]): string[] => stored(messages).map(hexOf);

/** By time, then hash. */
function inOrder(messages: readonly WakuMessage[]): string[] {
  const rows = stored(messages).map((message, at) => ({
    timestamp: messages[at]!.timestamp,
    hex: hexOf(message),
  }));
  rows.sort((a, b) =>
    a.timestamp === b.timestamp ? (a.hex < b.hex ? -1 : 1) : a.timestamp < b.timestamp ? -1 : 1,
  );
  return rows.map(({ hex }) => hex);
}

describe('a walk over pages', () => {
  it('gives what a filter gives, whichever way, whatever the page and however the peer reads the end', async () => {
    const pool = sampleMessages(60, {
      pubsubTopics: [SHARD_0, SHARD_1],
      contentTopics: [CHAT, NOTES, '/a/1/b/c'],
      stepNs: 1n,
    }).map((message, at) => (at % 3 === 0 ? { ...message, timestamp: message.timestamp + 1n } : message));
    const topics = (all: readonly string[]) => fc.subarray([...all]);
    const time = fc.integer({ min: -65, max: 5 }).map((step) => NOW_NS + BigInt(step));
    await fc.assert(
      fc.asyncProperty(
        topics([SHARD_0, SHARD_1]),
        topics([CHAT, NOTES]),
        time,
        time,
        fc.record({
          includeData: fc.boolean(),
          ascending: fc.boolean(),
          pageSize: fc.integer({ min: 1, max: 70 }),
        }),
        fc.record({
          endIncluded: fc.boolean(),
          reversesPages: fc.boolean(),
          pageMax: fc.integer({ min: 1, max: 50 }),
        }),
        async (pubsubTopics, contentTopics, sinceNs, untilNs, options, init) => {
          const scope: Scope = { pubsubTopics, contentTopics };
          const { clock, client } = asking(pool, init);
          const pages = await clock.run(all(client.pages(scope, sinceNs, untilNs, options)));
          const expected = inOrder(
            pool.filter(
              ({ timestamp, pubsubTopic, contentTopic }) =>
                timestamp >= sinceNs && timestamp < untilNs && inScope(scope, pubsubTopic, contentTopic),
            ),
          );
          if (!options.ascending) expected.reverse();
          // Hashes of several requests have no times to be put in order by.
          const isOrdered = options.includeData || pubsubTopics.length < 2;
          const got = hexesOf(pages);
          if (isOrdered && (options.includeData || !init.reversesPages)) expect(got).toEqual(expected);
          else expect(got.sort()).toEqual(expected.sort());
          expect(pages.every(({ hashes }) => hashes.length > 0)).toBe(true);
          const messages = pages.flatMap((page) => page.messages);
          expect(messages.map(hexOf)).toEqual(options.includeData ? got : []);
          expect(client.tally.dropped).toEqual({});
        },
      ),
      { numRuns: 150 },
    );
  });

  it('splits many content topics into requests that a peer takes', async () => {
    const contentTopics = Array.from({ length: 23 }, (_, at) => `/t/1/${at}/proto`);
    const pool = sampleMessages(200, { contentTopics });
    const { clock, node, client } = asking(pool);
    const some = contentTopics.slice(0, 21);
    const pages = await clock.run(
      all(
        client.pages({ pubsubTopics: [SHARD_0], contentTopics: some }, 0n, TIMESTAMP_MAX, {
          includeData: true,
        }),
      ),
    );
    const expected = inOrder(pool.filter(({ contentTopic }) => some.includes(contentTopic))).reverse();
    expect(hexesOf(pages)).toEqual(expected);
    expect(node.requests).toHaveLength(3);
    expect(Math.max(...node.requests.map((request) => request.contentTopics.length))).toBe(10);
    const many = Array.from({ length: 10 * LIMITS.queryParts + 1 }, (_, at) => `/t/1/${at}/proto`);
    const tooMany = client.pages({ pubsubTopics: [], contentTopics: many }, 0n, 1n, { includeData: false });
    expect(await endedIn(all(tooMany))).toBe('QUERY_TOPICS');
  });

  it('asks for nothing where the window is empty', async () => {
    const { clock, node, client } = asking(sampleMessages(3));
    expect(await clock.run(all(client.pages(EVERYTHING, 5n, 5n, { includeData: true })))).toEqual([]);
    expect(node.requests).toEqual([]);
  });
});

describe('a peer with limits', () => {
  it('is asked no more than seven times in any second', async () => {
    const { clock, node, client } = asking(sampleMessages(60), { pageMax: 2 });
    await clock.run(all(client.pages(EVERYTHING, 0n, TIMESTAMP_MAX, { includeData: false })));
    expect(node.requests).toHaveLength(30);
    for (let at = LIMITS.queryRequestsPerSecond; at < node.atMs.length; at++) {
      expect(node.atMs[at]! - node.atMs[at - LIMITS.queryRequestsPerSecond]!).toBeGreaterThanOrEqual(1_000);
    }
    expect(node.atMs.at(-1)).toBeLessThan(5_000);
  });

  it('that says 429 is left alone for a while, ever longer, and the walk goes on where it was', async () => {
    const pool = sampleMessages(30);
    const { clock, node, client } = asking(pool, {
      pageMax: 10,
      odd: (_, nth, honest) => (nth >= 2 && nth <= 4 ? refusal(429) : honest()),
    });
    const pages = await clock.run(all(client.pages(EVERYTHING, 0n, TIMESTAMP_MAX, { includeData: true })));
    expect(hexesOf(pages)).toEqual(inOrder(pool).reverse());
    expect(client.tally).toMatchObject({ requests: 6, retries: 3, rateLimited: 3 });
    const pauses = [2, 3, 4].map((at) => node.atMs[at]! - node.atMs[at - 1]!);
    expect(pauses).toEqual([750, 1_500, 3_000]);
  });

  it('that says nothing but 429 is given up, with the time after which to come again', async () => {
    const { clock, node, client } = asking([], { odd: () => refusal(429) });
    const walk = all(client.pages(EVERYTHING, 0n, TIMESTAMP_MAX, { includeData: true }));
    const error = await clock.run(walk.catch((thrown: unknown) => thrown));
    expect(error).toMatchObject({ code: 'QUERY_RATE_LIMITED' });
    expect((error as LacunaError).retryAfterMs).toBeGreaterThan(10_000);
    expect(node.requests).toHaveLength(LIMITS.queryTries);
  });

  it('that refuses for another reason is not asked again', async () => {
    for (const status of [0, 300, 400, 504, 777]) {
      const { clock, node, client } = asking([], { odd: () => refusal(status, 'so it is\u001b[2J') });
      const error = await clock.run(
        all(client.pages(EVERYTHING, 0n, TIMESTAMP_MAX, { includeData: true })).catch((e: unknown) => e),
      );
      expect(error).toMatchObject({ code: 'QUERY_REFUSED' });
      expect((error as Error).message).toContain(`status ${status}`);
      expect((error as Error).message).not.toContain('\u001b');
      expect(node.requests).toHaveLength(1);
    }
  });
});

describe('a stream that breaks', () => {
  it('in the middle of a walk is opened again from the last cursor', async () => {
    const pool = sampleMessages(50);
    const { clock, node, client } = asking(pool, {
      pageMax: 10,
      odd: (_, nth, honest) => (nth % 2 === 0 ? undefined : honest()),
    });
    const pages = await clock.run(all(client.pages(EVERYTHING, 0n, TIMESTAMP_MAX, { includeData: true })));
    expect(hexesOf(pages)).toEqual(inOrder(pool).reverse());
    expect(node.requests[1]!.paginationCursor).toEqual(node.requests[2]!.paginationCursor);
  });

  it('always ends the walk, after a bounded number of tries', async () => {
    const { clock, node, client } = asking([], { odd: () => undefined });
    const walk = all(client.pages(EVERYTHING, 0n, TIMESTAMP_MAX, { includeData: true }));
    expect(await clock.run(endedIn(walk))).toBe('PEER_CLOSED');
    expect(node.requests).toHaveLength(LIMITS.queryTries);
  });

  it('or is never answered, is given up when the signal fires', async () => {
    const { clock, node, client } = asking(sampleMessages(1));
    const stop = new AbortController();
    const link = node.link({ openStoreQuery: () => new Promise<never>(() => undefined) });
    const random = { below: () => 0 };
    const silent = new StoreClient({
      link,
      clock,
      random,
      pace: new RequestPace(clock),
      sha256: systemSha256,
    });
    for (const one of [silent, client]) {
      const walk = all(one.pages(EVERYTHING, 0n, TIMESTAMP_MAX, { includeData: true, stop: stop.signal }));
      stop.abort(new LacunaError('SESSION_ABORTED', 'enough'));
      expect(await endedIn(walk)).toBe('SESSION_ABORTED');
    }
  });
});

describe('cursors', () => {
  const pool = sampleMessages(30);
  const [first, second, third] = stored(pool).map(({ id }) => Buffer.from(hexOf({ id }), 'hex'));

  it.each([
    ['that stand still', () => first!],
    ['that go round', (nth: number) => [first!, second!, third!][nth % 3]!],
    ['behind pages that are empty', (nth: number) => Buffer.alloc(32, nth)],
  ])('%s end in an error', async (_, cursorOf) => {
    const { clock, node, client } = asking(pool, {
      pageMax: 5,
      odd: (request, nth, honest) => {
        const isEmpty = cursorOf.length > 0 && cursorOf(1).equals(Buffer.alloc(32, 1));
        const { messages, ...rest } = { ...honest(), paginationCursor: cursorOf(nth) };
        return { ...rest, requestId: request.requestId, messages: isEmpty ? [] : messages, statusCode: 200 };
      },
    });
    const walk = all(client.pages(EVERYTHING, 0n, TIMESTAMP_MAX, { includeData: false }));
    expect(await clock.run(endedIn(walk))).toBe('QUERY_UNENDING');
    expect(node.requests.length).toBeLessThan(20);
  });
});

describe('pages that are short or empty', () => {
  // Of a store that looks at three messages for a page: five pages in a row have none of the topic.
  const pool = Array.from({ length: 40 }, (_, at) =>
    messageOf({
      timestamp: NOW_NS - BigInt(100 - at) * SECOND_NS,
      contentTopic: (at > 4 && at < 22) || at % 4 === 1 ? NOTES : CHAT,
    }),
  );
  const rows = pool.map((message) => ({ message, messageHash: messageHash(message, systemSha256) }));

  it.each([true, false])('are no end as long as they have a cursor; ascending %s', async (ascending) => {
    let empty = 0;
    const { clock, node, client } = asking(pool, {
      odd: ({ requestId, paginationCursor: cursor }) => {
        const order = ascending ? rows : rows.toReversed();
        const from = order.findIndex(
          ({ messageHash: hash }) => cursor !== undefined && sameBytes(hash, cursor),
        );
        const looked = order.slice(from + 1, from + 4);
        const messages = looked.filter(({ message }) => message.contentTopic === CHAT);
        if (!ascending) messages.reverse();
        if (messages.length === 0) empty += 1;
        const paginationCursor = from + 4 < rows.length ? looked.at(-1)!.messageHash : undefined;
        return { requestId, statusCode: 200, statusDesc: '', messages, paginationCursor };
      },
    });
    const scope = { pubsubTopics: [], contentTopics: [CHAT] };
    const walk = client.pages(scope, 0n, TIMESTAMP_MAX, { includeData: true, ascending });
    const read = hexesOf(await clock.run(all(walk)));
    const wanted = hexes(pool.filter(({ contentTopic }) => contentTopic === CHAT));
    expect([...read].sort()).toEqual(wanted.sort());
    expect([empty > 3, node.requests.length]).toEqual([true, 14]);
  });
});

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

describe('messages that were not asked for', () => {
  const pool = sampleMessages(10);

  it('of another time or topic are left out and counted', async () => {
    const foreign = [
      messageOf({ timestamp: NOW_NS - 100n * SECOND_NS }),
      messageOf({ timestamp: NOW_NS + 100n * SECOND_NS }),
      messageOf({ pubsubTopic: SHARD_1 }),
      messageOf({ contentTopic: NOTES }),
      messageOf({ timestamp: -5n }),
    ];
    const liar = new NaiveStore([...pool, ...foreign], new VirtualClock());
    const { clock, client } = asking(pool, {
      odd: (request) =>
        liar.answer({
          ...request,
          ...{ timeStartNs: -9n, timeEndNs: undefined, pubsubTopic: undefined, contentTopics: [] },
        }),
    });
    const scope = { pubsubTopics: [SHARD_0], contentTopics: [CHAT] };
    const since = NOW_NS - 10n * SECOND_NS;
    const pages = await clock.run(all(client.pages(scope, since, NOW_NS + SECOND_NS, { includeData: true })));
    expect(hexesOf(pages).sort()).toEqual(hexes(pool).sort());
    expect(client.tally.dropped).toEqual({
      TRANSFER_OUT_OF_WINDOW: 2,
      TRANSFER_OUT_OF_SCOPE: 2,
      MESSAGE_TIMESTAMP_INVALID: 1,
    });
  });

  it.each([true, false])('or that cannot be read, hide no other; ascending: %s', async (ascending) => {
    const more = sampleMessages(90);
    const broken = [-40n, 0n].map((step) =>
      messageOf({ meta: new Uint8Array(65), timestamp: NOW_NS - 45_000_000n + step * 1_000_000n }),
    );
    const { clock, node, client } = asking([...more, ...broken], { endIncluded: true, pageMax: 60 });
    const walk = client.pages(EVERYTHING, 0n, NOW_NS - 1_000_000n, { includeData: true, ascending });
    const expected = inOrder(more.slice(0, -1));
    expect(hexesOf(await clock.run(all(walk)))).toEqual(ascending ? expected : expected.reverse());
    expect(client.tally.dropped).toEqual({ WIRE_FIELD_INVALID: 2 });
    expect(node.requests.length).toBeLessThan(40);
  });

  it('or that do not hash to what they are announced as, or come without bytes, are refused', async () => {
    const { clock, client } = asking(pool, {
      odd: (_, __, honest) => {
        const { messages, ...rest } = honest();
        const wrong = messages.map((entry, at) =>
          at === 3
            ? { ...entry, messageHash: Buffer.alloc(32, 7) }
            : at === 4
              ? { ...entry, message: undefined }
              : entry,
        );
        return { ...rest, messages: wrong };
      },
    });
    const pages = await clock.run(
      all(client.pages(EVERYTHING, 0n, TIMESTAMP_MAX, { includeData: true, ascending: true })),
    );
    expect(hexesOf(pages)).toEqual(inOrder(pool).filter((_, at) => at !== 3 && at !== 4));
    expect(client.tally.dropped).toEqual({ MESSAGE_HASH_MISMATCH: 1, WIRE_FIELD_MISSING: 1 });
  });
});

describe('a look-up', () => {
  const pool = sampleMessages(250);
  const asked = stored(pool).map((message) => Buffer.from(hexOf(message), 'hex'));

  it.each([true, false])('gives what the peer has of the hashes, with data: %s', async (includeData) => {
    const { clock, node, client } = asking(
      pool.filter((_, at) => at % 5 !== 0),
      { answersHundredsWrongly: true },
    );
    const pages = await clock.run(all(client.lookUp(asked, { includeData })));
    expect(hexesOf(pages).sort()).toEqual(hexes(pool.filter((_, at) => at % 5 !== 0)).sort());
    expect(pages.flatMap(({ messages }) => messages)).toHaveLength(includeData ? 200 : 0);
    expect(node.requests.map(({ messageHashes }) => messageHashes.length)).toEqual([50, 50, 50, 50, 50]);
    expect(client.tally.dropped).toEqual({});
  });

  it('ignores what it has not asked for, and what comes twice', async () => {
    const { clock, client } = asking(pool, {
      odd: (request, _, honest) => {
        const others = new NaiveStore(pool, new VirtualClock()).answer({ ...request, messageHashes: [] });
        const { messages, ...rest } = honest();
        return { ...rest, messages: [...messages, ...others.messages, ...messages] };
      },
    });
    const pages = await clock.run(all(client.lookUp(asked.slice(100, 130), { includeData: true })));
    expect(hexesOf(pages).sort()).toEqual(hexes(pool.slice(100, 130)).sort());
    expect(client.tally.dropped['TRANSFER_NOT_ASKED']).toBeGreaterThan(100);
  });

  it('gets everything from a peer with small pages', async () => {
    const { clock, client } = asking(pool, { pageMax: 20 });
    const pages = await clock.run(all(client.lookUp(asked.slice(0, 100), { includeData: true })));
    expect(hexesOf(pages).sort()).toEqual(hexes(pool.slice(0, 100)).sort());
  });

  it('loses one message that cannot be read, and no other', async () => {
    const broken = messageOf({ meta: new Uint8Array(65), timestamp: NOW_NS });
    const { clock, client } = asking([...pool, broken]);
    const hash = messageHash(broken, systemSha256);
    const pages = await clock.run(all(client.lookUp([...asked.slice(0, 30), hash], { includeData: true })));
    expect(hexesOf(pages).sort()).toEqual(hexes(pool.slice(0, 30)).sort());
    expect(client.tally.dropped).toEqual({ WIRE_FIELD_INVALID: 1 });
  });
});

describe('bytes that are no answer', () => {
  it('end in a value or a coded error, within few requests', async () => {
    const pool = sampleMessages(20);
    const honest = new NaiveStore(pool, new VirtualClock());
    await fc.assert(
      fc.asyncProperty(
        fc.boolean(),
        fc.boolean(),
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 6 }),
        fc.option(fc.uint8Array({ maxLength: 200 })),
        async (includeData, byHash, changes, garbage) => {
          const clock = new VirtualClock();
          let opened = 0;
          const openStoreQuery = async (): Promise<FrameChannel> => {
            opened += 1;
            const [here, there] = MemoryChannel.pair(clock);
            void (async () => {
              const request = decodeStoreQueryRequest((await there.read(1_000))!);
              const bytes = encodeStoreQueryResponse(honest.answer(request)).slice();
              for (const [at, value] of changes) bytes[at % bytes.length] = value;
              await there.write([garbage ?? bytes]);
              await there.close();
            })();
            return here;
          };
          const link = honest.link({ openStoreQuery });
          const random = { below: () => 0 };
          const client = new StoreClient({
            link,
            clock,
            random,
            pace: new RequestPace(clock),
            sha256: systemSha256,
          });
          const known = stored(pool).map((message) => Buffer.from(hexOf(message), 'hex'));
          const pages = byHash
            ? client.lookUp(known, { includeData })
            : client.pages(EVERYTHING, 0n, NOW_NS, { includeData });
          const code = await clock.run(endedIn(all(pages)));
          expect(code === undefined || /^(WIRE|QUERY|PEER)_/.test(code)).toBe(true);
          expect(opened).toBeLessThan(50);
        },
      ),
      { numRuns: 300 },
    );
  });
});
