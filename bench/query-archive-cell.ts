/** The process of `query-archive`: asks the archive of a store, and gives the times that it took. */
import '../src/platform.ts';
import { join } from 'node:path';
import { Level } from 'level';
import type { DigestTree } from '../src/core/digest-tree.ts';
import { boundAt, hashOf, type SyncIdList, TIMESTAMP_MAX } from '../src/core/sync-id.ts';
import type { Archive, ArchiveQuery } from '../src/ports.ts';
import { hashKeyOf, topicRange } from '../src/store/keys.ts';
import { LevelMessageStore } from '../src/store/message-store.ts';
import { silentLogger, systemClock, systemSha256 } from '../src/system.ts';
import { serveCommands } from './cells.ts';
import { DAY_NS, PAGE, QUERY_TOPICS, Questions, type Times, timesOf } from './query-questions.ts';
import { contentTopicOf, pubsubTopicOf } from './workload.ts';

export interface Timed extends Times {
  readonly name: string;
}

export interface HashOrder {
  readonly folder: string;
  readonly samples: number;
}

/** A hundred hashes each. */
export interface PickedHashes {
  readonly everything: readonly Uint8Array[][];
  readonly newestDay: readonly Uint8Array[][];
}

const SAMPLES = 1_000;
const HASH_SAMPLES = 200;
const PUBSUB = QUERY_TOPICS.pubsub;
const CONTENT = QUERY_TOPICS.content;

const commands = {
  async measure({ folder }: { readonly folder: string }): Promise<Timed[]> {
    return [...(await measureArchive(folder)), ...(await measureRaw(folder))];
  },

  /** Of messages that are there, a hundred at a time. */
  async hashes({ folder, samples }: HashOrder): Promise<PickedHashes> {
    const store = await openStore(folder);
    const { tree } = store.storeIndex;
    const questions = new Questions();
    const sets = (from: number): Uint8Array[][] =>
      Array.from({ length: samples }, () => hashesFrom(tree, questions, from));
    const picked = { everything: sets(0), newestDay: sets(newestDayOf(tree)) };
    await store.close();
    return picked;
  },
};

export type ArchiveCommands = typeof commands;

if (process.send !== undefined) serveCommands(commands);

export async function measureArchive(directory: string): Promise<Timed[]> {
  const store = await openStore(directory);
  const { archive } = store;
  const { tree } = store.storeIndex;
  const hashAt = (rank: number): Uint8Array => hashOf(tree.select(rank));
  const all: ArchiveQuery = {
    scope: { pubsubTopics: [], contentTopics: [] },
    sinceNs: 0n,
    untilNs: TIMESTAMP_MAX,
    ascending: true,
    cursor: undefined,
    countMax: PAGE,
  };
  const questions = new Questions();
  const below = (end: number): number => questions.below(end);
  const byTopicAndTime = (): ArchiveQuery => {
    const { pubsubTopic, contentTopic, sinceNs, untilNs, ascending } = questions.topicAndTime();
    const scope = { pubsubTopics: [pubsubTopic], contentTopics: [contentTopic] };
    return { ...all, scope, sinceNs, untilNs, ascending };
  };
  const within = (query: ArchiveQuery): ArchiveQuery => {
    const middle = tree.rank(boundAt(query.sinceNs + BigInt(2 + below(5)) * DAY_NS));
    return { ...query, cursor: hashAt(middle) };
  };
  const allTopics = {
    pubsubTopics: Array.from({ length: PUBSUB }, (_, at) => pubsubTopicOf(at)),
    contentTopics: Array.from({ length: CONTENT }, (_, at) => contentTopicOf(at)),
  };
  const ten = { pubsubTopics: [], contentTopics: allTopics.contentTopics.slice(0, 10) };
  const tenThousandth = tree.count - PAGE - 1;
  const page = async (query: ArchiveQuery): Promise<SyncIdList> => full((await archive.page(query)).ids);
  const pageWithData = async (query: ArchiveQuery) => await read(archive, await page(query));
  const hundred = () => hashesFrom(tree, questions, 0);
  const newest = () => hashesFrom(tree, questions, newestDayOf(tree));
  const find = async (hashes: readonly Uint8Array[]) => full(await archive.find(hashes));
  const findWithData = async (hashes: readonly Uint8Array[]) => await read(archive, await find(hashes));
  const pubsub = { pubsubTopics: [pubsubTopicOf(1)], contentTopics: [] };
  const wrong = { pubsubTopics: [pubsubTopicOf(2)], contentTopics: [contentTopicOf(1)] };
  const timed: Timed[] = [
    await timesFor('page-topic-time', byTopicAndTime, page),
    await timesFor('page-topic-time-cursor', () => within(byTopicAndTime()), page),
    await timesFor('page-topic-time-data', byTopicAndTime, pageWithData),
    await timesFor('page-topic-time-cursor-data', () => within(byTopicAndTime()), pageWithData),
    await timesFor('page-pubsub-1', () => ({ ...all, scope: pubsub }), page),
    await timesFor(
      'page-pubsub-any',
      () => ({ ...all, scope: pubsub, cursor: hashAt(below(900_000)) }),
      page,
    ),
    await timesFor(
      'page-10-topics-any',
      () => ({ ...all, scope: ten, cursor: hashAt(below(900_000)) }),
      page,
    ),
    await timesFor('page-everything-1', () => all, page),
    await timesFor('page-everything-10000', () => ({ ...all, cursor: hashAt(tenThousandth) }), page),
    await timesFor('104-topics-1', () => ({ ...all, scope: allTopics }), page, 100),
    await timesFor(
      '104-topics-10000',
      () => ({ ...all, scope: allTopics, cursor: hashAt(tenThousandth) }),
      page,
      100,
    ),
    await timesFor(
      'nothing-fits',
      () => ({ ...all, scope: wrong }),
      (query) => archive.page(query),
      100,
    ),
    await timesFor('hashes-100', hundred, find, HASH_SAMPLES),
    await timesFor('hashes-100-newest-day', newest, find, HASH_SAMPLES),
    await timesFor('hashes-100-data', hundred, findWithData, HASH_SAMPLES),
    await timesFor('hashes-100-newest-day-data', newest, findWithData, HASH_SAMPLES),
  ];
  await store.close();
  return timed;
}

/** LevelDB alone, opened as it opens by itself: what a page and a look-up cannot do without. */
async function measureRaw(directory: string): Promise<Timed[]> {
  const store = await openStore(directory);
  const { tree } = store.storeIndex;
  const questions = new Questions();
  const sets = Array.from({ length: HASH_SAMPLES }, () => hashesFrom(tree, questions, 0));
  const pages = Array.from({ length: SAMPLES }, () => {
    const { contentTopic, sinceNs, untilNs, ascending } = questions.topicAndTime();
    const { bytes } = store.putter.topicKey(contentTopic);
    const range = topicRange('content', bytes, boundAt(sinceNs), boundAt(untilNs));
    return { ...range, reverse: !ascending };
  });
  await store.close();
  const raw = new Level<Uint8Array, Uint8Array>(join(directory, 'store'), {
    keyEncoding: 'view',
    valueEncoding: 'view',
  });
  await raw.open();
  const timed = [
    await timesFor(
      'raw iterator of 100 entries',
      () => pages.pop()!,
      async (range) => {
        const iterator = raw.iterator(range);
        const { length } = await iterator.nextv(PAGE);
        await iterator.close();
        if (length !== PAGE) throw new Error(`${length} of ${PAGE} were read`);
      },
    ),
    await timesFor(
      'raw getMany of 100 hashes',
      () => sets.pop()!,
      async (hashes) => {
        const values = await raw.getMany(hashes.map(hashKeyOf));
        if (values.some((value) => value === undefined)) throw new Error('a hash was not found');
      },
      HASH_SAMPLES,
    ),
  ];
  await raw.close();
  return timed;
}

/** All questions are made first: to look for their hashes brings parts of the index into memory that they ask for. */
async function timesFor<T>(
  name: string,
  make: () => T,
  ask: (question: T) => Promise<unknown>,
  samples = SAMPLES,
): Promise<Timed> {
  const questions = Array.from({ length: samples }, make);
  const times: number[] = [];
  for (const question of questions) {
    const startMs = performance.now();
    await ask(question);
    times.push(performance.now() - startMs);
  }
  return { name, ...timesOf(times) };
}

async function openStore(directory: string): Promise<LevelMessageStore> {
  return await LevelMessageStore.open({
    directory,
    create: false,
    clock: systemClock,
    log: silentLogger,
    sha256: systemSha256,
  });
}

/** A page of messages at random, of those at this rank and behind it. */
function hashesFrom(tree: DigestTree, questions: Questions, rank: number): Uint8Array[] {
  const ranks = new Set<number>();
  while (ranks.size < PAGE) ranks.add(rank + questions.below(tree.count - rank));
  return [...ranks].map((at) => hashOf(tree.select(at)));
}

/** Where the last thirtieth begins. */
function newestDayOf(tree: DigestTree): number {
  return tree.count - Math.round(tree.count / 30);
}

function full(ids: SyncIdList): SyncIdList {
  if (ids.count !== PAGE) throw new Error(`${ids.count} of ${PAGE} were found`);
  return ids;
}

async function read(archive: Archive, ids: SyncIdList): Promise<void> {
  let count = 0;
  for await (const messages of archive.readMany(ids)) count += messages.length;
  if (count !== ids.count) throw new Error(`${count} of ${ids.count} were read`);
}
