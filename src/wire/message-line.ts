/**
 * A message as one JSON line, in the shape of nwaku's REST store answer. Timestamps are JSON numbers beyond 2^53
 * or decimal strings; both are read without loss, and the number is written.
 */
import type { WakuMessage } from '../core/message.ts';
import { LacunaError } from '../errors.ts';

export interface MessageLine {
  readonly message: WakuMessage;
  /** The identity given with the message, 32 bytes; undefined when the line has none. */
  readonly hash: Uint8Array | undefined;
}

/**
 * `"timestamp": digits` as a key, at whatever depth. Inside a JSON string a quote stands behind a backslash, so
 * that a quote behind `{`, `,` or white space can only open a key or a value, and only a key has a colon behind it.
 */
const TIMESTAMP = /(?<=[{,\s])"timestamp"\s*:\s*(-?\d+)(?=\s*[,}])/g;

/** @throws LacunaError LINE_INVALID_JSON, LINE_INVALID_FIELD, MESSAGE_TIMESTAMP_INVALID. */
export function parseMessageLine(line: string): MessageLine {
  return messageFromJson(parseJson(line));
}

/** JSON in which every `timestamp` that is a whole number is kept as the decimal string of its digits. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text.replace(TIMESTAMP, '"timestamp":"$1"'));
  } catch {
    throw new LacunaError('LINE_INVALID_JSON', 'not valid JSON');
  }
}

/** @throws LacunaError LINE_INVALID_FIELD, MESSAGE_TIMESTAMP_INVALID. */
export function messageFromJson(line: unknown): MessageLine {
  const outer = object(line, 'line');
  const inner = object(outer['message'], 'message');
  return {
    hash: outer['messageHash'] === undefined ? undefined : hash(outer['messageHash']),
    message: {
      pubsubTopic: text(outer['pubsubTopic'], 'pubsubTopic'),
      contentTopic: text(inner['contentTopic'], 'contentTopic'),
      payload: base64(inner['payload'], 'payload'),
      timestamp: timestamp(inner['timestamp']),
      version: optional(inner['version'], 0, version),
      ephemeral: optional(inner['ephemeral'], false, flag),
      meta: optional(inner['meta'], NO_BYTES, (value) => base64(value, 'meta')),
      rateLimitProof: optional(inner['rateLimitProof'], NO_BYTES, (value) => base64(value, 'rateLimitProof')),
    },
  };
}

/** Without the line end. `hash` is the identity, 32 bytes. */
export function formatMessageLine(message: WakuMessage, hash: Uint8Array): string {
  const meta = message.meta.length > 0 ? `,"meta":"${toBase64(message.meta)}"` : '';
  const proof =
    message.rateLimitProof.length > 0 ? `,"rateLimitProof":"${toBase64(message.rateLimitProof)}"` : '';
  return (
    `{"messageHash":"0x${buffer(hash).toString('hex')}",` +
    `"message":{"payload":"${toBase64(message.payload)}","contentTopic":${quoted(message.contentTopic)},` +
    `"version":${message.version},"timestamp":${message.timestamp},"ephemeral":${message.ephemeral}` +
    `${meta}${proof}},"pubsubTopic":${quoted(message.pubsubTopic)}}`
  );
}

const NO_BYTES = new Uint8Array(0);
const HASH = /^0x[0-9a-fA-F]{64}$/;
const DECIMAL = /^-?\d{1,20}$/;

function object(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(name, 'an object');
  return value as Record<string, unknown>;
}

function text(value: unknown, name: string): string {
  if (typeof value !== 'string') throw invalid(name, 'a string');
  return value;
}

function flag(value: unknown): boolean {
  if (typeof value !== 'boolean') throw invalid('ephemeral', 'true or false');
  return value;
}

function version(value: unknown): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > 0xffff_ffff) {
    throw invalid('version', 'a whole number of 32 bits');
  }
  return value;
}

function hash(value: unknown): Uint8Array {
  if (typeof value !== 'string' || !HASH.test(value)) throw invalid('messageHash', '0x and 64 hex digits');
  return Buffer.from(value.slice(2), 'hex');
}

function timestamp(value: unknown): bigint {
  // A number here was not written as plain digits, or under an escaped key: its last digits may be lost.
  if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value);
  if (typeof value === 'string' && DECIMAL.test(value)) return BigInt(value);
  if (value === undefined) throw new LacunaError('MESSAGE_TIMESTAMP_INVALID', 'the message has no timestamp');
  if (typeof value === 'string' && /^-?\d+$/.test(value)) {
    throw new LacunaError('MESSAGE_TIMESTAMP_INVALID', 'the timestamp is beyond 64 bits');
  }
  throw invalid('timestamp', 'a whole number of ns, or its decimal string');
}

/** Buffer skips what is not base64; the length of what it made tells whether it skipped anything. */
function base64(value: unknown, name: string): Uint8Array {
  if (typeof value !== 'string') throw invalid(name, 'a base64 string');
  const bytes = Buffer.from(value, 'base64');
  const padding = value.endsWith('==') ? 2 : value.endsWith('=') ? 1 : 0;
  if (bytes.length !== Math.floor(((value.length - padding) * 3) / 4)) throw invalid(name, 'a base64 string');
  return bytes;
}

function optional<T>(value: unknown, absent: T, read: (value: unknown) => T): T {
  return value === undefined || value === null ? absent : read(value);
}

function invalid(name: string, expected: string): LacunaError {
  return new LacunaError('LINE_INVALID_FIELD', `${name} must be ${expected}`);
}

function buffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function toBase64(bytes: Uint8Array): string {
  return buffer(bytes).toString('base64');
}

/** Topics repeat from line to line. */
const quotedTopics = new Map<string, string>();
const QUOTED_TOPICS_MAX = 256;

function quoted(topic: string): string {
  const known = quotedTopics.get(topic);
  if (known !== undefined) return known;
  if (quotedTopics.size >= QUOTED_TOPICS_MAX) quotedTopics.clear();
  const json = JSON.stringify(topic);
  quotedTopics.set(topic, json);
  return json;
}
