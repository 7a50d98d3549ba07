/** Made-up messages for the tests of the store, the sync protocol and the interfaces: everything follows from a seed. */
import type { WakuMessage } from '../src/core/message.ts';
import { hashOf } from '../src/core/sync-id.ts';
import type { StoredMessage } from '../src/ports.ts';
import { Examiner } from '../src/sync/ingest.ts';
import { systemSha256 } from '../src/system.ts';
import { Chance } from './core/random-sets.ts';

export const SHARD_0 = '/waku/2/rs/1/0';
export const SHARD_1 = '/waku/2/rs/1/1';
export const CHAT = '/toy-chat/1/chat/proto';
export const NOTES = '/notes/1/text/proto';

/** 2026-08-20 as ms; the messages of tests lie a little before it unless they say otherwise. */
export const NOW_MS = 1_787_184_000_000;
export const NOW_NS = BigInt(NOW_MS) * 1_000_000n;

export interface MessageInit {
  readonly timestamp?: bigint;
  readonly pubsubTopic?: string;
  readonly contentTopic?: string;
  readonly payload?: Uint8Array;
  readonly version?: number;
  readonly ephemeral?: boolean;
  readonly meta?: Uint8Array;
  readonly rateLimitProof?: Uint8Array;
}

export function messageOf(init: MessageInit = {}): WakuMessage {
  return {
    pubsubTopic: SHARD_0,
    contentTopic: CHAT,
    payload: new Uint8Array([1, 2, 3]),
    timestamp: NOW_NS - 1_000_000_000n,
    version: 0,
    ephemeral: false,
    meta: new Uint8Array(0),
    rateLimitProof: new Uint8Array(0),
    ...init,
  };
}

export interface SampleInit {
  readonly seed?: number;
  readonly pubsubTopics?: readonly string[];
  readonly contentTopics?: readonly string[];
  /** The newest lies just before this; the others every `stepNs` earlier. */
  readonly untilNs?: bigint;
  readonly stepNs?: bigint;
  readonly payloadBytes?: number;
}

/** Different messages, oldest first. */
export function sampleMessages(count: number, init: SampleInit = {}): WakuMessage[] {
  const chance = new Chance(init.seed ?? 1);
  const { pubsubTopics = [SHARD_0], contentTopics = [CHAT] } = init;
  const { untilNs = NOW_NS, stepNs = 1_000_000n, payloadBytes = 40 } = init;
  return Array.from({ length: count }, (_, index) =>
    messageOf({
      pubsubTopic: chance.pick(pubsubTopics),
      contentTopic: chance.pick(contentTopics),
      timestamp: untilNs - BigInt(count - index) * stepNs,
      payload: Uint8Array.from({ length: payloadBytes }, () => chance.below(256)),
    }),
  );
}

const examiner = new Examiner(
  { nowMs: () => NOW_MS, monotonicMs: () => 0, sleep: () => Promise.resolve() },
  systemSha256,
);

/** The messages as a store takes them. */
export function stored(messages: readonly WakuMessage[]): StoredMessage[] {
  return messages.map((message) => {
    const admission = examiner.examine(message, 0);
    if ('refused' in admission) throw new Error(`the sample was refused: ${admission.refused}`);
    return admission.stored;
  });
}

export function samples(count: number, init: SampleInit = {}): StoredMessage[] {
  return stored(sampleMessages(count, init));
}

export function hexOf({ id }: Pick<StoredMessage, 'id'>): string {
  return Buffer.from(hashOf(id)).toString('hex');
}
