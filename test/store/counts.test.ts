/**
 * Counts against a walk over all messages: random messages, windows and removals, with reopenings, crashes and writes
 * that fail between them. What a store of an earlier version lacks, and what was damaged, is counted anew.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TIMESTAMP_MAX, timeOf } from '../../src/core/sync-id.ts';
import { toLacunaError } from '../../src/errors.ts';
import { countMessages } from '../../src/http/counts.ts';
import type { Counted, CountOrder, StoredMessage } from '../../src/ports.ts';
import type { Database } from '../../src/store/database.ts';
import { readDirectory } from '../../src/store/directory.ts';
import { hourOf } from '../../src/store/hour-counts.ts';
import { verifyStore } from '../../src/store/integrity.ts';
import {
  ALL_HOURS,
  ALL_TOPIC_COUNTS,
  hourKey,
  INDEX_HEADER_KEY,
  messageKey,
  topicCountKey,
  topicIndexKey,
} from '../../src/store/keys.ts';
import type { LevelMessageStore } from '../../src/store/message-store.ts';
import { encodeHeader, encodeHourCount } from '../../src/store/page-codec.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { CHAT, messageOf, NOTES, NOW_NS, SHARD_0, SHARD_1, samples, stored } from '../sample-messages.ts';
import { temporaryFolder, withFolder } from '../temporary-folder.ts';
import { faultyDatabase } from './fault-injection.ts';
import { abandon, hurriedClock, openStore } from './open-store.ts';

const HOUR_NS = 3_600_000_000_000n;
const FIRST_NS = (NOW_NS / HOUR_NS - 60n) * HOUR_NS;
const BUCKETS = [undefined, 'hour', 'day', 'pubsub-topic', 'content-topic'] as const;
const ALL = { sinceNs: 0n, untilNs: TIMESTAMP_MAX, rowsMax: 10_000 };

/** The oracle: every message is looked at. */
function countedOf(messages: readonly StoredMessage[], { sinceNs, untilNs, by }: CountOrder): Counted {
  const rows = new Map<string, { messages: number; bytes: number }>();
  const within = messages.filter(({ id }) => timeOf(id) >= sinceNs && timeOf(id) < untilNs);
  for (const message of within) {
    const iso = new Date(Number(timeOf(message.id) / 1_000_000n)).toISOString();
    const bucket = {
      all: 'all',
      hour: `${iso.slice(0, 13)}:00:00Z`,
      day: iso.slice(0, 10),
      'pubsub-topic': message.pubsubTopic,
      'content-topic': message.contentTopic,
    }[by ?? 'all'];
    const row = rows.get(bucket) ?? { messages: 0, bytes: 0 };
    rows.set(bucket, { messages: row.messages + 1, bytes: row.bytes + message.encoded.length });
  }
  return {
    rows: [...rows]
      .map(([bucket, row]) => ({ bucket, ...row }))
      .sort((a, b) => (a.bucket < b.bucket ? -1 : 1)),
    total: within.length,
    bytes: within.reduce((sum, { encoded }) => sum + encoded.length, 0),
  };
}

async function errorCode(result: Promise<unknown>): Promise<string | undefined> {
  return await result.then(
    () => undefined,
    (error: unknown) => toLacunaError(error).code,
  );
}

async function expectCounts(
  store: LevelMessageStore,
  held: readonly StoredMessage[],
  orders: CountOrder[] = [ALL],
) {
  for (const order of orders) {
    for (const by of BUCKETS) {
      const asked = { ...order, by };
      expect([by, await countMessages(store, asked)]).toEqual([by, countedOf(held, asked)]);
    }
  }
}

/** Times at hours, just before and after them, and anywhere; few enough for several messages to share one. */
const timeNs = fc
  .tuple(
    fc.integer({ min: 0, max: 50 }),
    fc.constantFrom(-1n, 0n, 1n, 1_000n, 777_777_777_777n, HOUR_NS - 128n),
  )
  .map(([hour, offset]) => FIRST_NS + BigInt(hour) * HOUR_NS + offset);
const message = fc
  .record({
    timestamp: timeNs,
    pubsubTopic: fc.constantFrom(SHARD_0, SHARD_1, '/three'),
    contentTopic: fc.constantFrom(CHAT, NOTES, '/a', '/b', '/c'),
    payload: fc.uint8Array({ maxLength: 60 }),
  })
  .map((init) => stored([messageOf(init)])[0]!);
const window = fc.tuple(timeNs, timeNs).map(([sinceNs, untilNs]) => ({ ...ALL, sinceNs, untilNs }));
const step = fc.oneof(
  fc.record({
    do: fc.constant('append' as const),
    messages: fc.array(message, { maxLength: 25, size: 'max' }),
  }),
  fc.record({ do: fc.constant('remove' as const), at: fc.array(fc.nat(), { maxLength: 8 }) }),
  fc.record({ do: fc.constant('prune' as const) }),
  fc.record({
    do: fc.constant('restart' as const),
    how: fc.constantFrom('close' as const, 'crash' as const, 'rebuild' as const),
  }),
  fc.record({
    do: fc.constant('fail' as const),
    fault: fc.constantFrom('lost' as const, 'kept' as const),
    messages: fc.array(message, { minLength: 1 }),
  }),
);

describe('counts', () => {
  it.each([
    ['all topics are counted', {}],
    ['there are too many content topics', { contentTopicsMax: 3 }],
    ['there are too many pubsub topics', { topicsMax: 2 }],
  ])('are those of a walk over the messages, where %s', async (_, index) => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 12 }),
        fc.array(window, { minLength: 2, maxLength: 4 }),
        (steps, windows) =>
          withFolder(async (folder) => {
            let fails: 'lost' | 'kept' | undefined;
            let log = new RecordingLogger();
            const open = async () => {
              const faulty = faultyDatabase();
              const openDatabase: typeof Database.open = async (...given) => {
                const database = await faulty.open(...given);
                const write = database.write.bind(database);
                database.write = async (fill) => {
                  const fault = fails;
                  fails = undefined;
                  if (fault !== 'lost') await write(fill);
                  if (fault !== undefined) throw new Error('injected');
                };
                return database;
              };
              log = new RecordingLogger();
              return await openStore(folder, {
                log,
                index,
                openDatabase,
                clock: hurriedClock,
                retention: ['capacity:5'],
              });
            };
            let store = await open();
            const held = new Map<string, StoredMessage>();
            const put = (messages: readonly StoredMessage[]) => {
              for (const each of messages) held.set(String(each.id), each);
            };
            for (const each of steps) {
              if (each.do === 'append') {
                await store.append(each.messages);
                put(each.messages);
              } else if (each.do === 'remove') {
                const all = [...held.values()];
                const victims = new Set(all.length === 0 ? [] : each.at.map((at) => all[at % all.length]!));
                await Promise.all([...victims].map(({ id, encoded }) => store.quarantine(id, encoded)));
                for (const { id } of victims) held.delete(String(id));
              } else if (each.do === 'prune') {
                await store.retention.pass(false);
                for (const [id, { id: words }] of held) if (!store.has(words)) held.delete(id);
              } else if (each.do === 'restart') {
                if (each.how === 'rebuild') await store.rebuildIndex('for the test');
                else {
                  await (each.how === 'close' ? store.close() : abandon(store));
                  store = await open();
                  // What was written was right: it did not have to be made anew.
                  expect(log.codes('warn')).not.toContain('INDEX_REBUILT');
                }
              } else {
                fails = each.fault;
                const isNew = each.messages.some(({ id }) => !store.has(id));
                const code = await errorCode(store.append(each.messages));
                expect(code).toBe(isNew ? 'STORE_FAULT' : undefined);
                if (!isNew) fails = undefined;
                else await expect.poll(() => store.writable, { interval: 1 }).toBe(true);
                if (each.fault === 'kept') put(each.messages);
              }
              // A cap may prune in the background of an append.
              for (const [id, { id: words }] of held) if (!store.has(words)) held.delete(id);
            }
            expect(store.count).toBe(held.size);
            await expectCounts(store, [...held.values()], [ALL, ...windows]);
            await abandon(store);
            store = await open();
            expect(log.codes('warn')).not.toContain('INDEX_REBUILT');
            await expectCounts(store, [...held.values()], [ALL]);
            await store.close();
          }),
      ),
      { numRuns: 12 },
    );
  });

  it('are of the hour, to the nanosecond, however late it is', () => {
    const hours = fc.bigInt({ min: 0n, max: TIMESTAMP_MAX / HOUR_NS - 1n });
    fc.assert(
      fc.property(hours, fc.bigInt({ min: 0n, max: HOUR_NS - 1n }), (hour, offset) => {
        for (const ns of [0n, offset, HOUR_NS - 1n]) {
          const time = hour * HOUR_NS + ns;
          const id = Uint32Array.of(
            Number(time >> 32n),
            Number(time & 0xffff_ffffn),
            ...new Array(8).fill(7),
          );
          expect(hourOf(id)).toBe(Number(hour));
        }
      }),
    );
  });
});

describe('a store whose tallies are missing or damaged', () => {
  const MESSAGES = samples(300, {
    pubsubTopics: [SHARD_0, SHARD_1],
    contentTopics: [CHAT, NOTES],
    stepNs: 97_000_000_000n,
  });

  /** What a store of before there were tallies has: a count of messages for each pubsub topic. */
  async function makeOld(database: Database): Promise<void> {
    const { header } = (await readDirectory(database))!;
    const known = { hours: false, pubsub: true, content: false };
    for (const range of [ALL_HOURS, ...Object.values(ALL_TOPIC_COUNTS)]) await database.clear(range);
    await database.write((batch) => {
      batch.put(INDEX_HEADER_KEY, encodeHeader({ ...header, known }));
      batch.put(topicCountKey('pubsub', new Uint8Array(16)), new Uint8Array(12));
    });
  }

  const firstHour = hourOf(MESSAGES[0]!.id);
  it.each<[string, (database: Database) => Promise<void>]>([
    ['as an earlier version left it', makeOld],
    ['with an hour gone', (database) => database.write((batch) => batch.del(hourKey(firstHour)))],
    [
      'with an hour overwritten',
      (database) => database.write((batch) => batch.put(hourKey(firstHour), new Uint8Array(20))),
    ],
    ['with content topics gone', (database) => database.clear(ALL_TOPIC_COUNTS.content)],
    [
      'with too many bytes in an hour',
      async (database) => {
        const bytes = encodeHourCount(firstHour, { messages: 38, bytes: 1_000_000 });
        await database.write((batch) => batch.put(hourKey(firstHour), bytes));
      },
    ],
  ])('counts them anew once, %s', async (_, damage) => {
    const folder = await temporaryFolder();
    let store = await openStore(folder);
    await store.append(MESSAGES);
    await damage(store.database);
    await abandon(store);
    store = await openStore(folder);
    await expectCounts(store, MESSAGES);
    expect(await verifyStore(store, false)).toEqual({ checked: 300, damaged: 0, repaired: 0 });
    await store.close();
    store = await openStore(folder);
    expect(store.storeIndex.tallies.known).toEqual({ hours: true, pubsub: true, content: true });
    await expectCounts(store, MESSAGES);
    await store.close();
  });

  it('has it found by verify where they add up and are wrong, and mended', async () => {
    const folder = await temporaryFolder();
    let store = await openStore(folder);
    await store.append(MESSAGES);
    const { hours } = store.storeIndex.tallies;
    const [a, b] = [hours!.of(firstHour), hours!.of(firstHour + 1)];
    await store.database.write((batch) => {
      batch.put(hourKey(firstHour), encodeHourCount(firstHour, b));
      batch.put(hourKey(firstHour + 1), encodeHourCount(firstHour + 1, a));
    });
    await abandon(store);
    store = await openStore(folder);
    const { damaged } = await verifyStore(store, true);
    expect(damaged).toBe(2);
    await expectCounts(store, MESSAGES);
    await store.close();
  });

  it('goes through the messages while it is not known what was lost, and counts anew when it is opened', async () => {
    const folder = await temporaryFolder();
    let store = await openStore(folder);
    await store.append(MESSAGES);
    const victim = MESSAGES[7]!;
    const topic = store.putter.topicKey(victim.pubsubTopic);
    await store.database.write((batch) => batch.del(topicIndexKey('pubsub', topic.bytes, victim.id)));
    await store.quarantine(victim.id, victim.encoded);
    const left = MESSAGES.filter((each) => each !== victim);
    expect(store.storeIndex.tallies.hours).toBeUndefined();
    await expectCounts(store, left);
    await store.append(samples(3, { seed: 5 }));
    await store.close();
    store = await openStore(folder);
    expect(store.storeIndex.tallies.hours).toBeDefined();
    await expectCounts(store, [...left, ...samples(3, { seed: 5 })]);
    await store.close();
  });

  it('says that it cannot tell the name of a topic whose newest message is not there', async () => {
    const store = await openStore(await temporaryFolder());
    await store.append(MESSAGES);
    const newest = MESSAGES.findLast(({ contentTopic }) => contentTopic === NOTES)!;
    await store.database.write((batch) => batch.del(messageKey(newest.id)));
    expect(await store.counter.count({ ...ALL, by: 'content-topic' })).toBeUndefined();
    await store.close();
  });
});

describe('a count', () => {
  it('does not look at messages where hours and topics are whole', async () => {
    const store = await openStore(await temporaryFolder());
    await store.append(samples(500, { stepNs: 60_000_000_000n, contentTopics: [CHAT, NOTES] }));
    let read = 0;
    const { entries } = store.database;
    store.database.entries = (range) => {
      read += 1;
      return entries.call(store.database, range);
    };
    for (const by of BUCKETS) await store.counter.count({ ...ALL, by });
    const whole = { ...ALL, sinceNs: NOW_NS - 5n * HOUR_NS - (NOW_NS % HOUR_NS), untilNs: NOW_NS };
    for (const by of BUCKETS.slice(0, 3)) await store.counter.count({ ...whole, by });
    expect(read).toBe(0);
    await store.close();
  });

  it('is refused where it has more rows than it may, and ended where nobody waits', async () => {
    const store = await openStore(await temporaryFolder());
    await store.append(samples(20, { stepNs: HOUR_NS, contentTopics: [CHAT, NOTES] }));
    for (const by of ['hour', 'content-topic'] as const) {
      expect(await errorCode(store.counter.count({ ...ALL, by, rowsMax: 1 }))).toBe('USAGE');
    }
    const narrow = { ...ALL, sinceNs: NOW_NS - 3n * HOUR_NS - 5n, stop: AbortSignal.abort() };
    expect(await errorCode(store.counter.count({ ...narrow, by: 'content-topic' }))).toBe('SESSION_ABORTED');
    await store.close();
  });
});
