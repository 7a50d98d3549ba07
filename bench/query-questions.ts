/** What the store of the query bench holds, and what it is asked: the same questions in every run. */
import { contentTopicOf, pubsubTopicOf, type Workload } from './workload.ts';

export const PAGE = 100;
export const DAY_NS = 86_400_000_000_000n;

export const QUERY_TOPICS = { pubsub: 4, content: 100 };

export const QUERY_WORKLOAD: Workload = {
  messages: 1_000_000,
  payloadBytes: 512,
  sinceNs: 1_700_000_000_000_000_000n,
  spanNs: 30n * DAY_NS,
  seed: 'query',
  topics: QUERY_TOPICS,
};

/** One content topic with its pubsub topic, in a window of ten days, which has some 3,300 messages of them. */
export interface TopicAndTime {
  readonly pubsubTopic: string;
  readonly contentTopic: string;
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
  readonly ascending: boolean;
}

export interface Times {
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
}

export class Questions {
  #state = 1;

  below(end: number): number {
    this.#state = (Math.imul(this.#state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * end);
  }

  topicAndTime(): TopicAndTime {
    const content = this.below(QUERY_TOPICS.content);
    const sinceNs = QUERY_WORKLOAD.sinceNs + (QUERY_WORKLOAD.spanNs * BigInt(this.below(660))) / 1_000n;
    return {
      pubsubTopic: pubsubTopicOf(content % QUERY_TOPICS.pubsub),
      contentTopic: contentTopicOf(content),
      sinceNs,
      untilNs: sinceNs + 10n * DAY_NS,
      ascending: this.below(2) === 0,
    };
  }
}

export function timesOf(ms: readonly number[]): Times {
  const sorted = [...ms].sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.floor(sorted.length * share)]!;
  return { p50Ms: at(0.5), p90Ms: at(0.9), p99Ms: at(0.99) };
}
