/** Message lines for tests: the recorded month of a chat, and made-up messages of any time and size. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { WakuMessage } from '../../src/core/message.ts';

const CHAT = fileURLToPath(new URL('../fixtures/chat-cadence.ndjson', import.meta.url));

export const CHAT_FILE = CHAT;
export const CHAT_TOPICS = { chat: '/chat/1/chat/proto', presence: '/chat/1/presence/proto' } as const;
export const PUBSUB_TOPIC = '/waku/2/rs/16/32';
export const CONTENT_TOPIC = '/test/1/messages/proto';

/** 3,330 messages, in no order. */
export function chatLines(): string[] {
  return readFileSync(CHAT, 'utf8').trimEnd().split('\n');
}

/** What an export of these lines must be: ordered by (timestamp, hash), each line once. */
export function exported(lines: readonly string[]): string {
  const rows = [...new Set(lines)].map((line) => ({ line, ...keyOf(line) }));
  rows.sort((a, b) =>
    a.timestamp === b.timestamp ? (a.hash < b.hash ? -1 : 1) : a.timestamp < b.timestamp ? -1 : 1,
  );
  return rows.map(({ line }) => `${line}\n`).join('');
}

export function keyOf(line: string): { timestamp: bigint; hash: string } {
  const timestamp = /"timestamp":(\d+)/.exec(line)?.[1];
  const hash = /^\{"messageHash":"(0x[0-9a-f]{64})"/.exec(line)?.[1];
  if (timestamp === undefined || hash === undefined) throw new Error(`not a line of ours: ${line}`);
  return { timestamp: BigInt(timestamp), hash };
}

/** Written and hashed apart from the program, by the text of 14/WAKU2-MESSAGE alone. */
export function lineOf(message: WakuMessage): string {
  const { payload, contentTopic, version, timestamp, ephemeral, meta } = message;
  const rest = meta.length > 0 ? `,"meta":"${Buffer.from(meta).toString('base64')}"` : '';
  return (
    `{"messageHash":"${hashOf(message)}","message":{"payload":"${Buffer.from(payload).toString('base64')}",` +
    `"contentTopic":${JSON.stringify(contentTopic)},"version":${version},"timestamp":${timestamp},` +
    `"ephemeral":${ephemeral}${rest}},"pubsubTopic":${JSON.stringify(message.pubsubTopic)}}`
  );
}

export function hashOf(message: WakuMessage): string {
  const time = Buffer.alloc(8);
  time.writeBigInt64BE(message.timestamp);
  const digest = createHash('sha256')
    .update(message.pubsubTopic)
    .update(message.payload)
    .update(message.contentTopic)
    .update(message.meta)
    .update(time)
    .digest('hex');
  return `0x${digest}`;
}

export function text(lines: readonly string[]): string {
  return lines.map((line) => `${line}\n`).join('');
}

/** What two long texts are compared by, so that a difference can be read: how many lines, and the digest of all. */
export function digestOf(lines: string): { lines: number; sha256: string } {
  return { lines: lines.split('\n').length - 1, sha256: createHash('sha256').update(lines).digest('hex') };
}

export interface MessageInit {
  readonly timestamp: bigint;
  readonly seed?: string | number;
  readonly payloadBytes?: number;
  readonly pubsubTopic?: string;
  readonly contentTopic?: string;
  readonly ephemeral?: boolean;
  readonly meta?: Uint8Array;
}

/** A message whose payload follows from its seed alone. */
export function makeMessage(init: MessageInit): WakuMessage {
  return {
    pubsubTopic: init.pubsubTopic ?? PUBSUB_TOPIC,
    contentTopic: init.contentTopic ?? CONTENT_TOPIC,
    payload: seededBytes(`${init.seed ?? ''}:${init.timestamp}`, init.payloadBytes ?? 64),
    timestamp: init.timestamp,
    version: 0,
    ephemeral: init.ephemeral ?? false,
    meta: init.meta ?? new Uint8Array(0),
    rateLimitProof: new Uint8Array(0),
  };
}

/** Messages at equal distances of time, the last one just before `untilNs`. */
export function makeMessages(
  count: number,
  untilNs: bigint,
  stepNs: bigint,
  init: Omit<MessageInit, 'timestamp'> = {},
): WakuMessage[] {
  return Array.from({ length: count }, (_, index) =>
    makeMessage({ ...init, timestamp: untilNs - BigInt(count - index) * stepNs }),
  );
}

/** So long ago, in ns since 1970. */
export function ago(ms: number): bigint {
  return BigInt(Math.round(Date.now() - ms)) * 1_000_000n;
}

/** Hashed once and repeated: enough to tell messages apart, and quick to make. */
function seededBytes(seed: string, length: number): Uint8Array {
  const block = createHash('sha512').update(seed).digest();
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += block.length) bytes.set(block.subarray(0, length - at), at);
  return bytes;
}
