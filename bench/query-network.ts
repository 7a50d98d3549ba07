/**
 * A node that serves its history, as a client meets it: store queries over libp2p from another process, and the same
 * page over HTTP. One question at a time, on a connection that is open, from the request to the decoded answer.
 * Questions keep below the node's limits, as an answer of 429 would be a fast one; each has to be a whole page.
 */
import { fileURLToPath } from 'node:url';
import { configSchema } from '../src/config.ts';
import { newIdentity } from '../src/identity.ts';
import { LIMITS } from '../src/limits.ts';
import { Asker } from '../src/net/asker.ts';
import { METADATA } from '../src/net/protocols.ts';
import { RequestPace } from '../src/sync/query/request-pace.ts';
import { StoreExchange } from '../src/sync/query/store-exchange.ts';
import { systemClock, systemRandom } from '../src/system.ts';
import { VERSION } from '../src/version.ts';
import { encodeMetadata } from '../src/wire/waku-metadata.ts';
import type { StoreQueryRequest } from '../src/wire/waku-store-query.ts';
import { BenchNode, pause, withNodes } from './node-process.ts';
import type { QueryCase } from './query.ts';
import type { ArchiveCommands } from './query-archive-cell.ts';
import { PAGE, Questions, type TopicAndTime, timesOf } from './query-questions.ts';
import type { Report } from './report.ts';
import { copyStore } from './sync-stores.ts';
import { openHost } from './sync-stream.ts';

const PROGRAM = fileURLToPath(new URL('./query-archive-cell.ts', import.meta.url));
const SAMPLES = 200;
/** Both processes have compiled what they run by then. */
const WARM_UP = 50;
/**
 * The node takes 1,200 questions at once of a peer and 20 a second beyond, and 100 streams a second: these come fifty
 * one after the other and then a pause, at most 40 a second and some 1,500 in a minute.
 */
const BURST = 50;
const REST_MS = 1_250;
const TARGET = '< 10 ms';
const NO_ANSWER_MS = 10_000;
const NEVER = new AbortController().signal;

type Question = Omit<StoreQueryRequest, 'requestId'>;

export async function benchNetwork({ report, space, folder }: QueryCase): Promise<void> {
  const cell = space.start<ArchiveCommands>(PROGRAM, 'hashes');
  const hashes = await cell.ask('hashes', { folder, samples: SAMPLES + WARM_UP });
  await cell.end();
  const data = space.path('served');
  await copyStore(folder, data);
  await withNodes(async (nodes) => {
    const node = await BenchNode.start({ name: 'the store node', data });
    nodes.push(node);
    const questions = new Questions();
    const pages = Array.from({ length: SAMPLES + WARM_UP }, () => questions.topicAndTime());
    await withExchange(node, async (exchange) => {
      const ask = (made: readonly Question[]) => timed(made, (question) => answered(exchange, question));
      const add = async (name: string, made: readonly Question[]): Promise<void> =>
        addTimes(report, `network ${name}`, await ask(made));
      await add(
        'page-topic-time',
        pages.map((page) => pageOf(page, false)),
      );
      await add(
        'page-topic-time-data',
        pages.map((page) => pageOf(page, true)),
      );
      await add(
        'hashes-100',
        hashes.everything.map((some) => lookUpOf(some, false)),
      );
      await add(
        'hashes-100-data',
        hashes.everything.map((some) => lookUpOf(some, true)),
      );
      await add(
        'hashes-100-newest-day',
        hashes.newestDay.map((some) => lookUpOf(some, false)),
      );
      await add(
        'hashes-100-newest-day-data',
        hashes.newestDay.map((some) => lookUpOf(some, true)),
      );
      const { retries, rateLimited } = exchange.tally;
      if (retries + rateLimited > 0) throw new Error(`${retries} questions were asked again`);
    });
    const folder = space.path('empty');
    addTimes(report, 'network metadata', await withStreams(folder, node, (ask) => timed(pages, ask)));
    for (const includeData of [false, true]) {
      const name = `http page-topic-time${includeData ? '-data' : ''}`;
      addTimes(report, name, await timed(pages, (page) => fetched(node, page, includeData)));
    }
  });
}

async function withExchange(
  node: BenchNode,
  work: (exchange: StoreExchange) => Promise<void>,
): Promise<void> {
  const asker = await Asker.start({
    privateKey: await newIdentity(),
    cluster: configSchema.parse({}),
    version: VERSION,
    clock: systemClock,
  });
  try {
    const link = await asker.link(node.address, NEVER);
    const pace = new NoPace(systemClock);
    await work(new StoreExchange({ link, pace, clock: systemClock, random: systemRandom }));
  } finally {
    await asker.stop();
  }
}

/**
 * What libp2p takes by itself: a stream opened, a frame each way, with nothing of the store in them. The other figures
 * cannot be below this one.
 */
async function withStreams<T>(
  folder: string,
  node: BenchNode,
  work: (ask: () => Promise<() => number>) => Promise<T>,
): Promise<T> {
  const host = await openHost(folder);
  try {
    await host.start();
    const connection = await host.connect(node.address);
    return await work(async () => {
      const channel = await host.open(connection, METADATA, LIMITS.metadataFrameBytes);
      await channel.write([encodeMetadata({ clusterId: 0, shards: [] })]);
      await channel.close();
      const answer = await channel.read(NO_ANSWER_MS);
      return () => (answer === undefined ? 0 : PAGE);
    });
  } finally {
    await host.stop();
  }
}

/** The bench has its own. */
class NoPace extends RequestPace {
  override async turn(): Promise<void> {}
}

/** Milliseconds of each, after the first few. */
async function timed<T>(
  questions: readonly T[],
  ask: (question: T) => Promise<() => number>,
): Promise<number[]> {
  const times: number[] = [];
  for (const question of questions) {
    const startMs = performance.now();
    const countOf = await ask(question);
    times.push(performance.now() - startMs);
    const count = countOf();
    if (count !== PAGE) throw new Error(`${count} of ${PAGE} messages were answered`);
    if (times.length % BURST === 0) await pause(REST_MS);
  }
  return times.slice(WARM_UP);
}

/** Any status but 200 is an error, or tried again and counted. */
async function answered(exchange: StoreExchange, question: Question): Promise<() => number> {
  const { messages } = await exchange.ask(question, NEVER);
  return () => messages.filter(({ message }) => (message !== undefined) === question.includeData).length;
}

async function fetched(node: BenchNode, page: TopicAndTime, includeData: boolean): Promise<() => number> {
  const query = new URLSearchParams({
    includeData: String(includeData),
    pubsubTopic: page.pubsubTopic,
    contentTopics: page.contentTopic,
    startTime: String(page.sinceNs),
    endTime: String(page.untilNs),
    ascending: String(page.ascending),
    pageSize: String(PAGE),
  });
  const text = await node.getText(`/store/v3/messages?${query}`);
  return () => (JSON.parse(text) as { messages: unknown[] }).messages.length;
}

function pageOf(page: TopicAndTime, includeData: boolean): Question {
  return {
    includeData,
    pubsubTopic: page.pubsubTopic,
    contentTopics: [page.contentTopic],
    timeStartNs: page.sinceNs,
    timeEndNs: page.untilNs,
    messageHashes: [],
    paginationCursor: undefined,
    paginationForward: page.ascending,
    paginationLimit: PAGE,
  };
}

function lookUpOf(messageHashes: readonly Uint8Array[], includeData: boolean): Question {
  return {
    includeData,
    pubsubTopic: undefined,
    contentTopics: [],
    timeStartNs: undefined,
    timeEndNs: undefined,
    messageHashes,
    paginationCursor: undefined,
    paginationForward: true,
    paginationLimit: PAGE,
  };
}

function addTimes(report: Report, name: string, ms: readonly number[]): void {
  const { p50Ms, p90Ms, p99Ms } = timesOf(ms);
  report.add(name, 'p50', p50Ms, 'ms');
  report.add(name, 'p90', p90Ms, 'ms', TARGET);
  report.add(name, 'p99', p99Ms, 'ms');
}
