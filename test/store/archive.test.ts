/**
 * The archive against a filter over a list: whatever is asked, with whatever cursor, page for page; while messages
 * come and go between the pages; and for questions that pass by much more than they find.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compareIds,
  HASH_BYTES,
  hashOf,
  type SyncIdList,
  TIMESTAMP_MAX,
  timeOf,
} from '../../src/core/sync-id.ts';
import { LIMITS } from '../../src/limits.ts';
import type { ArchivePage, ArchiveQuery, StoredMessage } from '../../src/ports.ts';
import type { Database } from '../../src/store/database.ts';
import { Chance } from '../core/random-sets.ts';
import { endedIn } from '../ended-in.ts';
import { hexOf, messageOf, NOW_NS, samples, stored } from '../sample-messages.ts';
import { temporaryFolder, withFolder } from '../temporary-folder.ts';
import { openStore, servedHashes } from './open-store.ts';

const PUBSUB = ['/waku/2/rs/1/0', '/waku/2/rs/1/1', '/waku/2/rs/1/2'];
const CONTENT = Array.from({ length: 6 }, (_, at) => `/app/1/topic-${at}/proto`);
const NOBODYS = '/app/1/nobody/proto';
const START_NS = NOW_NS - 1_000_000_000_000n;

type Filters = Omit<ArchiveQuery, 'cursor' | 'countMax'>;

const EVERYTHING_ASKED: Filters = {
  scope: { pubsubTopics: [], contentTopics: [] },
  sinceNs: 0n,
  untilNs: TIMESTAMP_MAX,
  ascending: true,
};

describe('any question', () => {
  it('is answered as by a filter over a list, in pages of any size', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.constantFrom(0, 1, 7, 60, 300), async (seed, count) => {
        await withFolder((folder) => answersLikeAFilter(folder, new Chance(seed), count));
      }),
      { numRuns: 30 },
    );
  });

  it('goes on from any message, in the window and scope or not', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        await withFolder((folder) => goesOnFromAnywhere(folder, new Chance(seed)));
      }),
      { numRuns: 15 },
    );
  });

  it('may be answered in part where it passes by too much, and then says where to go on', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        await withFolder((folder) => answersInParts(folder, new Chance(seed)));
      }),
      { numRuns: 25 },
    );
  });

  it('passes over nothing and gives nothing twice while messages come and go', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), async (seed) => {
        await withFolder((folder) => holdsWhileMessagesComeAndGo(folder, new Chance(seed)));
      }),
      { numRuns: 40 },
    );
  });
});

describe('a cursor', () => {
  it('outlives its message, also where the reader made it from the last page', async () => {
    for (const ascending of [true, false]) {
      for (const pubsubTopics of [[], PUBSUB.slice(0, 2)]) {
        const store = await openStore(await temporaryFolder());
        const messages = history(new Chance(7), 90);
        await store.append(messages);
        const asked = { ...EVERYTHING_ASKED, ascending, scope: { pubsubTopics, contentTopics: [] } };
        const all = naive(messages, asked);
        const last = await store.archive.page({ ...asked, cursor: undefined, countMax: all.length });
        expect(last.cursor).toBeUndefined();
        const end = ascending ? all.at(-1)! : all[0]!;
        await store.quarantine(end.id, end.encoded);
        const rest = await store.archive.page({ ...asked, cursor: hashOf(end.id), countMax: 5 });
        expect([idsIn(rest), rest.cursor]).toEqual([[], undefined]);
        const others = history(new Chance(8), 30, 1);
        await store.append(others);
        const more = await store.archive.page({ ...asked, cursor: hashOf(end.id), countMax: 100 });
        const behind = naive(others, asked).filter(({ id }) => {
          const order = compareIds(id, 0, end.id, 0);
          return ascending ? order > 0 : order < 0;
        });
        expect(idsIn(more)).toEqual(behind.map(hexOf));
        await store.close();
      }
    }
  });

  it('outlives a pass of retention', async () => {
    const store = await openStore(await temporaryFolder(), { retention: ['capacity:40'] });
    const messages = samples(40, { untilNs: NOW_NS - 1_000_000_000n });
    await store.append(messages);
    const asked = {
      ...EVERYTHING_ASKED,
      scope: { pubsubTopics: [], contentTopics: [messages[0]!.contentTopic] },
    };
    const first = await store.archive.page({ ...asked, cursor: undefined, countMax: 5 });
    await store.append(samples(20, { seed: 2, untilNs: NOW_NS + 1_000_000n }));
    await store.retention.pass(false);
    expect(store.has(messages[4]!.id)).toBe(false);
    const next = await store.archive.page({ ...asked, cursor: first.cursor, countMax: 5 });
    expect(idsIn(next)).toEqual((await servedHashes(store)).slice(0, 5));
    await store.close();
  });

  it('that nothing is known of is refused', async () => {
    const store = await openStore(await temporaryFolder(), { archive: { cursors: 2 } });
    const messages = samples(10);
    await store.append(messages);
    const ask = (cursor: Uint8Array) =>
      store.archive.page({ ...EVERYTHING_ASKED, untilNs: 0n, cursor, countMax: 1 });
    const strange = [new Uint8Array(), new Uint8Array(31), new Uint8Array(33), new Uint8Array(HASH_BYTES)];
    for (const cursor of [...strange, hashOf(samples(1, { seed: 9 })[0]!.id)]) {
      expect(await endedIn(ask(cursor))).toBe('QUERY_CURSOR');
    }
    // Of those that were pruned, the two that were handed out last are known.
    let cursor: Uint8Array | undefined;
    for (let page = 0; page < 4; page++) {
      ({ cursor } = await store.archive.page({ ...EVERYTHING_ASKED, cursor, countMax: 1 }));
    }
    for (const { id, encoded } of messages.slice(0, 4)) await store.quarantine(id, encoded);
    const outcomes = [];
    for (const { id } of messages.slice(0, 4).reverse()) outcomes.push(await endedIn(ask(hashOf(id))));
    expect(outcomes).toEqual([undefined, undefined, 'QUERY_CURSOR', 'QUERY_CURSOR']);
    await store.close();
  });

  it('of a reader that asks again and again for what is new stays known', async () => {
    const store = await openStore(await temporaryFolder(), { archive: { cursors: 2 } });
    const messages = samples(10);
    await store.append(messages);
    const newest = messages.at(-1)!;
    const polls = () => store.archive.page({ ...EVERYTHING_ASKED, cursor: hashOf(newest.id), countMax: 3 });
    await polls();
    await store.quarantine(newest.id, newest.encoded);
    for (let turn = 0; turn < 5; turn++) {
      const other = { ...EVERYTHING_ASKED, cursor: hashOf(messages[turn]!.id), countMax: 1 };
      await store.archive.page(other);
      expect((await polls()).ids.count).toBe(0);
    }
    await store.close();
  });
});

describe('a page', () => {
  it('of no topics that are here costs nothing, and of no size is one of one', async () => {
    const store = await openStore(await temporaryFolder());
    await store.append(samples(10));
    store.database.walk = () => {
      throw new Error('nothing is to be read');
    };
    const scope = { pubsubTopics: [PUBSUB[2]!], contentTopics: [] };
    const none = await store.archive.page({ ...EVERYTHING_ASKED, scope, cursor: undefined, countMax: 5 });
    expect([none.ids.count, none.cursor]).toEqual([0, undefined]);
    for (const countMax of [0, -1, 0.5, Number.NaN]) {
      const page = await store.archive.page({ ...EVERYTHING_ASKED, cursor: undefined, countMax });
      expect([page.ids.count, page.cursor?.length]).toEqual([1, HASH_BYTES]);
    }
    await store.close();
  });

  it('reads little more than it gives, whatever else there is', async () => {
    const store = await openStore(await temporaryFolder());
    await store.append(history(new Chance(3), 3_000));
    const rows = watchWalks(store.database);
    for (const [pubsubTopics, contentTopics] of [
      [PUBSUB.slice(0, 2), []],
      [[], CONTENT.slice(0, 4)],
      [PUBSUB.slice(0, 1), CONTENT.slice(0, 1)],
    ] as const) {
      for (const ascending of [true, false]) {
        const scope = { pubsubTopics, contentTopics };
        rows.read = 0;
        const page = await store.archive.page({
          ...EVERYTHING_ASKED,
          scope,
          ascending,
          cursor: undefined,
          countMax: 20,
        });
        expect(page.ids.count).toBe(20);
        expect(rows.read).toBeLessThan(150);
      }
    }
    expect(rows.open).toBe(0);
    await store.close();
  });

  it('takes the list that has less in its way', async () => {
    const store = await openStore(await temporaryFolder());
    const common = { contentTopic: CONTENT[0]!, pubsubTopic: PUBSUB[0]! };
    const at = (index: number): bigint => START_NS + BigInt(index);
    const crowd = Array.from({ length: 6_000 }, (_, index) => messageOf({ ...common, timestamp: at(index) }));
    const few = [5, 2_999, 5_999].map((index) =>
      messageOf({ ...common, pubsubTopic: PUBSUB[1]!, timestamp: at(index) }),
    );
    await store.append(stored([...crowd, ...few]));
    const rows = watchWalks(store.database);
    const many = Array.from({ length: 500 }, (_, index) => `/app/1/none-${index}/proto`);
    const turns = [true, false].flatMap((ascending) => [
      { ascending, more: [] },
      { ascending, more: many },
    ]);
    for (const { ascending, more } of turns) {
      rows.read = 0;
      rows.begun = 0;
      const scope = { pubsubTopics: [PUBSUB[1]!], contentTopics: [CONTENT[0]!, ...more] };
      const page = await store.archive.page({
        ...EVERYTHING_ASKED,
        scope,
        ascending,
        cursor: undefined,
        countMax: 9,
      });
      expect(idsIn(page)).toEqual(stored(few).map(hexOf));
      expect(rows.read).toBeLessThan(1_000);
      expect(rows.begun).toBeLessThan(10);
    }
    await store.close();
  });

  it('leaves out entries whose message is not acknowledged', async () => {
    const store = await openStore(await temporaryFolder());
    const [here, astray] = [samples(5), samples(5, { seed: 2 })];
    await store.append(here);
    await store.database.write((batch) => {
      for (const message of astray) store.putter.putInto(batch, message, undefined);
    });
    const scope = { pubsubTopics: [], contentTopics: [here[0]!.contentTopic] };
    const page = await store.archive.page({ ...EVERYTHING_ASKED, scope, cursor: undefined, countMax: 5 });
    expect([idsIn(page), page.cursor]).toEqual([here.map(hexOf), undefined]);
    const found = await store.archive.find([...here, ...astray].map(({ id }) => hashOf(id)));
    expect(hashesOf(found)).toEqual(here.map(hexOf));
    await store.close();
  });

  it('of a closed store ends in its code, and so does one that is closed meanwhile', async () => {
    const store = await openStore(await temporaryFolder());
    await store.append(history(new Chance(1), 50));
    const scope = { pubsubTopics: [], contentTopics: CONTENT };
    const page = () => store.archive.page({ ...EVERYTHING_ASKED, scope, cursor: undefined, countMax: 5 });
    const meanwhile = page().then(
      () => undefined,
      (error: { code: string }) => error.code,
    );
    await store.close();
    expect([undefined, 'STORE_CLOSED']).toContain(await meanwhile);
    expect(await endedIn(page())).toBe('STORE_CLOSED');
    expect(await endedIn(store.archive.find([]))).toBe('STORE_CLOSED');
  });
});

describe('hashes', () => {
  it('are answered in their order, each once', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.constantFrom(0, 3, 99, 401, 950), async (seed, count) => {
        await withFolder(async (folder) => {
          const store = await openStore(folder);
          const chance = new Chance(seed);
          const [here, elsewhere] = [history(chance, 200), history(chance, 50, 1)];
          await store.append(here);
          const asked = Array.from({ length: count }, () => chance.pick([...here, ...elsewhere]));
          const hashes: Uint8Array[] = asked.map(({ id }) => hashOf(id));
          hashes.splice(chance.below(count + 1), 0, new Uint8Array(5), new Uint8Array(HASH_BYTES));
          const known = new Set(here.map(hexOf));
          const expected = [...new Set(asked.map(hexOf))].filter((hash) => known.has(hash));
          expect(hashesOf(await store.archive.find(hashes))).toEqual(expected);
          await store.close();
        });
      }),
      { numRuns: 15 },
    );
  });

  it('are read as they were found', async () => {
    const store = await openStore(await temporaryFolder());
    const messages = samples(150);
    await store.append(messages);
    const found = await store.archive.find(messages.map(({ id }) => hashOf(id)));
    const read: Uint8Array[] = [];
    for await (const some of store.archive.readMany(found)) read.push(...some);
    expect(read.length).toBe(150);
    expect(read.every((bytes, at) => Buffer.compare(bytes, messages[at]!.encoded) === 0)).toBe(true);
    await store.close();
  });
});

/** Few timestamps, so that many messages share one, and both ends of a window lie on some. */
function history(chance: Chance, count: number, salt = 0): StoredMessage[] {
  return stored(
    Array.from({ length: count }, (_, at) =>
      messageOf({
        pubsubTopic: chance.pick(PUBSUB),
        contentTopic: chance.pick(CONTENT),
        timestamp: START_NS + BigInt(chance.below(Math.max(2, count >> 1))),
        payload: new Uint8Array([salt, at >> 8, at]),
      }),
    ),
  );
}

function filters(chance: Chance, span: number): Filters {
  const some = (topics: readonly string[]): string[] =>
    chance.below(3) === 0
      ? []
      : Array.from({ length: 1 + chance.below(topics.length + 1) }, () => chance.pick([...topics, NOBODYS]));
  const moments = [
    0n,
    START_NS,
    START_NS + BigInt(chance.below(span)),
    START_NS + BigInt(chance.below(span)),
  ];
  return {
    scope: { pubsubTopics: some(PUBSUB), contentTopics: some(CONTENT) },
    sinceNs: chance.pick([...moments, -5n]),
    untilNs: chance.pick([...moments, NOW_NS, NOW_NS, 2n ** 63n - 1n, 2n ** 70n]),
    ascending: chance.below(2) === 0,
  };
}

/** The list that is filtered, ascending. */
function naive(messages: readonly StoredMessage[], { scope, sinceNs, untilNs }: Filters): StoredMessage[] {
  const { pubsubTopics, contentTopics } = scope;
  return messages
    .filter(({ id }) => timeOf(id) >= sinceNs && timeOf(id) < untilNs)
    .filter(({ pubsubTopic }) => pubsubTopics.length === 0 || pubsubTopics.includes(pubsubTopic))
    .filter(({ contentTopic }) => contentTopics.length === 0 || contentTopics.includes(contentTopic))
    .sort((a, b) => compareIds(a.id, 0, b.id, 0));
}

function idsIn({ ids }: ArchivePage): string[] {
  expect(ids.isStrictlyAscending()).toBe(true);
  return hashesOf(ids);
}

function hashesOf(ids: SyncIdList): string[] {
  return Array.from({ length: ids.count }, (_, row) => Buffer.from(hashOf(ids.at(row))).toString('hex'));
}

/** How many rows walks have read, and how many of them are not closed. */
function watchWalks(database: Database): { read: number; open: number; begun: number } {
  const seen = { read: 0, open: 0, begun: 0 };
  const walk = database.walk.bind(database);
  database.walk = (range, reverse) => {
    const inner = walk(range, reverse);
    seen.open += 1;
    seen.begun += 1;
    return {
      async next(rows) {
        const entries = await inner.next(rows);
        seen.read += entries.length;
        return entries;
      },
      async close() {
        seen.open -= 1;
        await inner.close();
      },
    };
  };
  return seen;
}

async function answersLikeAFilter(folder: string, chance: Chance, count: number): Promise<void> {
  const store = await openStore(folder, { archive: { patience: chance.pick([1, 5, 256]) } });
  const messages = history(chance, count);
  await store.append(messages);
  for (let turn = 0; turn < 12; turn++) {
    const asked = filters(chance, count);
    const expected = naive(messages, asked).map(hexOf);
    const countMax = 1 + chance.below(chance.pick([3, 30, count + 2]));
    let left = expected;
    let cursor: Uint8Array | undefined;
    do {
      const page = await store.archive.page({ ...asked, cursor, countMax });
      const due = asked.ascending ? left.slice(0, countMax) : left.slice(-countMax);
      expect(idsIn(page)).toEqual(due);
      left = asked.ascending ? left.slice(countMax) : left.slice(0, -countMax);
      const end = asked.ascending ? due.at(-1) : due[0];
      // A cursor says that there is more, and is the message where the page ended.
      expect(page.cursor && Buffer.from(page.cursor).toString('hex')).toBe(left.length > 0 ? end : undefined);
      cursor = page.cursor;
    } while (cursor !== undefined);
    expect(left).toEqual([]);
  }
  await store.close();
}

async function goesOnFromAnywhere(folder: string, chance: Chance): Promise<void> {
  const store = await openStore(folder, { archive: { patience: 4 } });
  const messages = history(chance, 60);
  await store.append(messages);
  const asked = filters(chance, 60);
  const all = naive(messages, asked);
  for (const { id } of messages) {
    const countMax = 1 + chance.below(5);
    const page = await store.archive.page({ ...asked, cursor: hashOf(id), countMax });
    const behind = all.filter((other) => {
      const order = compareIds(other.id, 0, id, 0);
      return asked.ascending ? order > 0 : order < 0;
    });
    const due = asked.ascending ? behind.slice(0, countMax) : behind.slice(-countMax);
    expect(idsIn(page)).toEqual(due.map(hexOf));
    expect(page.cursor !== undefined).toBe(behind.length > countMax);
  }
  await store.close();
}

async function answersInParts(folder: string, chance: Chance): Promise<void> {
  const entries = 1 + chance.below(60);
  const store = await openStore(folder, { archive: { entries, patience: chance.pick([1, 8, 256]) } });
  const messages = history(chance, 200);
  await store.append(messages);
  for (let turn = 0; turn < 3; turn++) {
    const asked = filters(chance, 200);
    const countMax = 1 + chance.below(20);
    const seen: string[] = [];
    let pages = 0;
    let cursor: Uint8Array | undefined;
    do {
      const page = await store.archive.page({ ...asked, cursor, countMax });
      const ids = idsIn(page);
      expect(ids.length).toBeLessThanOrEqual(countMax);
      if (asked.ascending) seen.push(...ids);
      else seen.unshift(...ids);
      cursor = page.cursor;
      pages += 1;
      expect(pages).toBeLessThanOrEqual(messages.length + 1);
    } while (cursor !== undefined);
    expect(seen).toEqual(naive(messages, asked).map(hexOf));
  }
  await store.close();
}

async function holdsWhileMessagesComeAndGo(folder: string, chance: Chance): Promise<void> {
  const limits = { patience: chance.pick([1, 256]), entries: chance.pick([12, LIMITS.archiveEntries]) };
  const store = await openStore(folder, { archive: limits });
  const messages = history(chance, 120);
  await store.append(messages);
  const asked = filters(chance, 120);
  const countMax = 1 + chance.below(15);
  const always = new Map(messages.map((message) => [hexOf(message), message]));
  const ever = new Set(always.keys());
  const seen: string[] = [];
  let cursor: Uint8Array | undefined;
  for (let turn = 1; ; turn++) {
    const page = await store.archive.page({ ...asked, cursor, countMax });
    const ids = idsIn(page);
    if (asked.ascending) seen.push(...ids);
    else seen.unshift(...ids);
    cursor = page.cursor;
    if (cursor === undefined) break;
    if (turn > 20) continue;
    const more = history(chance, 5, turn);
    await store.append(more);
    for (const message of more) ever.add(hexOf(message));
    // The message that the cursor names goes, most times, and some others.
    const going = [...always.values()].filter(({ id }) => {
      const isCursor = Buffer.compare(hashOf(id), cursor!) === 0;
      return isCursor ? chance.below(4) > 0 : chance.below(12) === 0;
    });
    // They go with all their entries, as they do when they are pruned.
    await Promise.all(going.map(({ id, encoded }) => store.quarantine(id, encoded)));
    for (const message of going) always.delete(hexOf(message));
  }
  expect(new Set(seen).size).toBe(seen.length);
  expect(seen.every((hash) => ever.has(hash))).toBe(true);
  const wanted = naive([...always.values()], asked).map(hexOf);
  const given = new Set(seen);
  expect(wanted.filter((hash) => !given.has(hash))).toEqual([]);
  await store.close();
}
