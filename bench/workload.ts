/** Seeded messages for benches: the same ones in every run and every process. */
import { createHash } from 'node:crypto';
import { messageHash, type WakuMessage } from '../src/core/message.ts';
import { makeId } from '../src/core/sync-id.ts';
import type { StoredMessage } from '../src/ports.ts';
import { systemSha256 } from '../src/system.ts';
import { LineWriter } from '../src/wire/message-line.ts';
import { asBuffer, encodeMessageAndTopic, MessageView } from '../src/wire/waku-message.ts';

const PUBSUB_TOPICS = ['/waku/2/rs/16/32', '/waku/2/rs/16/64'];
const CONTENT_TOPICS = ['/app/1/chat/proto', '/app/1/community/proto', '/app/1/control/proto'];

export interface Workload {
  readonly messages: number;
  readonly payloadBytes: number;
  /** Timestamps are spread evenly with jitter over this interval. */
  readonly sinceNs: bigint;
  readonly spanNs: bigint;
  readonly seed: string;
  /** So many content topics, each of one of so many pubsub topics, as autosharding has it; else few of both, mixed. */
  readonly topics?: { readonly pubsub: number; readonly content: number };
}

export function pubsubTopicOf(index: number): string {
  return `/waku/2/rs/16/${index}`;
}

export function contentTopicOf(index: number): string {
  return `/app/1/topic-${index}/proto`;
}

/** Messages in order of time. */
export function* messagesOf(workload: Workload): Generator<WakuMessage> {
  const step = workload.spanNs / BigInt(workload.messages);
  for (let index = 0; index < workload.messages; index++) {
    const block = createHash('sha256').update(`${workload.seed} ${index}`).digest();
    const payload = Buffer.alloc(workload.payloadBytes);
    for (let at = 0; at < payload.length; at += 4096) fillFrom(payload.subarray(at, at + 4096), block, at);
    yield {
      ...topicsOf(workload, block),
      payload,
      timestamp:
        workload.sinceNs + step * BigInt(index) + (block.readBigUInt64BE(8) % (step > 0n ? step : 1n)),
      version: 0,
      ephemeral: false,
      meta: new Uint8Array(),
      rateLimitProof: new Uint8Array(),
    };
  }
}

export function storedMessage(message: WakuMessage): StoredMessage {
  const { pubsubTopic, contentTopic } = message;
  const id = makeId(message.timestamp, messageHash(message, systemSha256));
  return { id, encoded: encodeMessageAndTopic(message), pubsubTopic, contentTopic };
}

/** Message lines, with their line ends. */
export function linesOf(messages: Iterable<StoredMessage>): Buffer {
  const lines = new LineWriter();
  const view = new MessageView();
  for (const { id, encoded } of messages) lines.message(view.read(asBuffer(encoded)), id);
  return lines.take();
}

function topicsOf({ topics }: Workload, block: Buffer): Pick<WakuMessage, 'pubsubTopic' | 'contentTopic'> {
  if (topics === undefined) {
    return {
      pubsubTopic: PUBSUB_TOPICS[block[0]! % PUBSUB_TOPICS.length]!,
      contentTopic: CONTENT_TOPICS[block[1]! % CONTENT_TOPICS.length]!,
    };
  }
  const content = block.readUInt16BE(0) % topics.content;
  return { pubsubTopic: pubsubTopicOf(content % topics.pubsub), contentTopic: contentTopicOf(content) };
}

/** Bytes that compress badly, as encrypted payloads do. */
function fillFrom(target: Buffer, block: Buffer, salt: number): void {
  let state = block.readUInt32BE(16) ^ salt;
  for (let at = 0; at + 4 <= target.length; at += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    target.writeInt32LE(state, at);
  }
}
