/** The process of `query-archive`: asks the archive of a store, and gives the times that it took. */
import '../src/platform.ts';
import { boundAt, hashOf, type SyncIdList, TIMESTAMP_MAX } from '../src/core/sync-id.ts';
import type { Archive, ArchiveQuery } from '../src/ports.ts';
import { LevelMessageStore } from '../src/store/message-store.ts';
import { silentLogger, systemClock, systemSha256 } from '../src/system.ts';
import { serveCommands } from './cells.ts';
import { contentTopicOf, pubsubTopicOf } from './workload.ts';

export interface Timed {
  readonly name: string;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const PAGE = 100;
const SAMPLES = 1_000;
const HASH_SAMPLES = 200;
const PUBSUB = 4;
const CONTENT = 100;
const SPAN_NS = 30n * 86_400_000_000_000n;
const SINCE_NS = 1_700_000_000_000_000_000n;
const DAY_NS = 86_400_000_000_000n;

const commands = {
  async measure({ folder }: { readonly folder: string }): Promise<Timed[]> {
    return await measureArchive(folder);
  },
};

export type ArchiveCommands = typeof commands;

if (process.send !== undefined) serveCommands(commands);

export async function measureArchive(directory: string): Promise<Timed[]> {
  const store = await LevelMessageStore.open({
    directory,
    create: false,
    clock: systemClock,
    log: silentLogger,
    sha256: systemSha256,
  });
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
  // Of each content topic the pubsub topic that it is in; a window of ten days, which has some 3,300 of them.
  const byTopicAndTime = (): ArchiveQuery => {
    const content = below(CONTENT);
    const sinceNs = SINCE_NS + (SPAN_NS * BigInt(below(660))) / 1_000n;
    return {
      ...all,
      scope: { pubsubTopics: [pubsubTopicOf(content % PUBSUB)], contentTopics: [contentTopicOf(content)] },
      sinceNs,
      untilNs: sinceNs + 10n * DAY_NS,
      ascending: below(2) === 0,
    };
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
  const hashesFrom = (rank: number): Uint8Array[] => {
    const ranks = new Set<number>();
    while (ranks.size < PAGE) ranks.add(rank + below(tree.count - rank));
    return [...ranks].map(hashAt);
  };
  const hundred = () => hashesFrom(0);
  const newest = () => hashesFrom(tree.count - Math.round(tree.count / 30));
  const find = async (hashes: readonly Uint8Array[]) => full(await archive.find(hashes));
  const findWithData = async (hashes: readonly Uint8Array[]) => await read(archive, await find(hashes));
  const pubsub = { pubsubTopics: [pubsubTopicOf(1)], contentTopics: [] };
  const wrong = { pubsubTopics: [pubsubTopicOf(2)], contentTopics: [contentTopicOf(1)] };
  const timed: Timed[] = [
    await timesOf('page-topic-time', byTopicAndTime, page),
    await timesOf('page-topic-time-cursor', () => within(byTopicAndTime()), page),
    await timesOf('page-topic-time-data', byTopicAndTime, pageWithData),
    await timesOf('page-topic-time-cursor-data', () => within(byTopicAndTime()), pageWithData),
    await timesOf('page-pubsub-1', () => ({ ...all, scope: pubsub }), page),
    await timesOf('page-pubsub-any', () => ({ ...all, scope: pubsub, cursor: hashAt(below(900_000)) }), page),
    await timesOf('page-10-topics-any', () => ({ ...all, scope: ten, cursor: hashAt(below(900_000)) }), page),
    await timesOf('page-everything-1', () => all, page),
    await timesOf('page-everything-10000', () => ({ ...all, cursor: hashAt(tenThousandth) }), page),
    await timesOf('104-topics-1', () => ({ ...all, scope: allTopics }), page, 100),
    await timesOf(
      '104-topics-10000',
      () => ({ ...all, scope: allTopics, cursor: hashAt(tenThousandth) }),
      page,
      100,
    ),
    await timesOf(
      'nothing-fits',
      () => ({ ...all, scope: wrong }),
      (query) => archive.page(query),
      100,
    ),
    await timesOf('hashes-100', hundred, find, HASH_SAMPLES),
    await timesOf('hashes-100-newest-day', newest, find, HASH_SAMPLES),
    await timesOf('hashes-100-data', hundred, findWithData, HASH_SAMPLES),
    await timesOf('hashes-100-newest-day-data', newest, findWithData, HASH_SAMPLES),
  ];
  await store.close();
  return timed;
}

/** All questions are made first: to look for their hashes brings parts of the index into memory that they ask for. */
async function timesOf<T>(
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
  times.sort((a, b) => a - b);
  return { name, p50Ms: times[samples >> 1]!, p99Ms: times[Math.floor(samples * 0.99)]! };
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

let state = 1;

/** The same questions in every run. */
function below(end: number): number {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  return Math.floor((state / 2 ** 32) * end);
}
