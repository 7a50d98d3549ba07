/**
 * A message as one JSON line, in the shape of nwaku's REST store answer. Timestamps are JSON numbers beyond 2^53
 * or decimal strings; both are read without loss, and the number is written.
 */
import type { WakuMessage } from '../core/message.ts';
import { HASH_BYTES, HASH_WORDS, ID_WORDS } from '../core/sync-id.ts';
import { LacunaError } from '../errors.ts';
import { asBuffer, encodeMessageAndTopic, MessageView } from './waku-message.ts';

export interface MessageLine {
  readonly message: WakuMessage;
  /** The identity given with the message, 32 bytes; undefined when the line has none. */
  readonly hash: Uint8Array | undefined;
}

/** @throws LacunaError LINE_INVALID_JSON, LINE_INVALID_FIELD, MESSAGE_TIMESTAMP_INVALID. */
export function parseMessageLine(line: string): MessageLine {
  const digits = soleTimestamp(line);
  return digits === undefined ? messageFromJson(parseJson(line)) : messageFromJson(parsed(line), digits);
}

/**
 * The digits behind the only `"timestamp"` of the line, if they can be told without rewriting it: no other one, and
 * no escapes, so that the name cannot stand elsewhere in another spelling. Nearly every line is like that.
 */
function soleTimestamp(line: string): string | undefined {
  const at = line.indexOf(KEY);
  if (at < 0 || line.includes('\\') || line.includes(KEY, at + KEY.length)) return undefined;
  if (!BEFORE_KEY.has(line[at - 1] ?? '')) return undefined;
  WHOLE_NUMBER.lastIndex = at + KEY.length;
  return WHOLE_NUMBER.exec(line)?.[1];
}

/** JSON in which every `timestamp` that is a whole number is kept as the decimal string of its digits. */
export function parseJson(text: string): unknown {
  return parsed(quoteTimestamps(text));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new LacunaError('LINE_INVALID_JSON', 'not valid JSON');
  }
}

const KEY = '"timestamp"';
/** As JSON writes it: with leading zeros it stays bare, and the line is refused. */
const WHOLE_NUMBER = /\s*:\s*(-?(?:0|[1-9]\d*))(?=\s*[,}])/y;
const BEFORE_KEY = new Set(['{', ',', ' ', '\t', '\n', '\r']);

/**
 * Puts quotes around the digits behind each key `"timestamp"`, at whatever depth. Inside a JSON string a quote
 * stands behind a backslash, so that one behind `{`, `,` or white space can only open a key or a value, and only a
 * key has a colon behind it.
 */
function quoteTimestamps(text: string): string {
  let quoted = '';
  let done = 0;
  for (let at = text.indexOf(KEY); at >= 0; at = text.indexOf(KEY, at + KEY.length)) {
    if (!BEFORE_KEY.has(text[at - 1] ?? '')) continue;
    WHOLE_NUMBER.lastIndex = at + KEY.length;
    const digits = WHOLE_NUMBER.exec(text)?.[1];
    if (digits === undefined) continue;
    quoted += `${text.slice(done, WHOLE_NUMBER.lastIndex - digits.length)}"${digits}"`;
    done = WHOLE_NUMBER.lastIndex;
  }
  return done === 0 ? text : quoted + text.slice(done);
}

/**
 * `digits` are those of the only `timestamp` in the line, whatever its place.
 *
 * @throws LacunaError LINE_INVALID_FIELD, MESSAGE_TIMESTAMP_INVALID.
 */
export function messageFromJson(line: unknown, digits?: string): MessageLine {
  const outer = object(line, 'line');
  const inner = object(outer['message'], 'message');
  return {
    hash: outer['messageHash'] === undefined ? undefined : hash(outer['messageHash']),
    message: {
      pubsubTopic: text(outer['pubsubTopic'], 'pubsubTopic'),
      contentTopic: text(inner['contentTopic'], 'contentTopic'),
      payload: base64(inner['payload'], 'payload'),
      timestamp: timestamp(
        typeof inner['timestamp'] === 'number' ? (digits ?? inner['timestamp']) : inner['timestamp'],
      ),
      version: optional(inner['version'], 0, version),
      ephemeral: optional(inner['ephemeral'], false, flag),
      meta: optional(inner['meta'], NO_BYTES, (value) => base64(value, 'meta')),
      rateLimitProof: optional(inner['rateLimitProof'], NO_BYTES, (value) => base64(value, 'rateLimitProof')),
    },
  };
}

/** Without the line end. `id` is the SyncId of the message, ten words. */
export function formatMessageLine(message: WakuMessage, id: Uint32Array): string {
  const lines = new LineWriter();
  lines.message(new MessageView().read(asBuffer(encodeMessageAndTopic(message))), id);
  return lines.take().toString('utf8').trimEnd();
}

/**
 * Message lines gathered as bytes. Joining strings and encoding them afterwards costs three times as much as
 * writing each piece to its place.
 */
export class LineWriter {
  #buffer = Buffer.allocUnsafe(LINES_BYTES);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Appends one message and a line end. `id` is its SyncId, ten words. */
  message(view: MessageView, id: Uint32Array): void {
    const { bytes, payload, meta, rateLimitProof } = view;
    this.#bytes(LINE_HEAD);
    this.#hash(id);
    this.#bytes(LINE_PAYLOAD);
    this.text(bytes.toString('base64', payload.start, payload.end));
    this.#bytes(LINE_CONTENT_TOPIC);
    this.#bytes(quoted(view.topic(view.contentTopic)));
    this.text(`,"version":${view.version},"timestamp":${view.timestamp},"ephemeral":${view.ephemeral}`);
    if (meta.length > 0) this.text(`,"meta":"${bytes.toString('base64', meta.start, meta.end)}"`);
    if (rateLimitProof.length > 0) {
      this.text(`,"rateLimitProof":"${bytes.toString('base64', rateLimitProof.start, rateLimitProof.end)}"`);
    }
    this.#bytes(LINE_PUBSUB_TOPIC);
    this.#bytes(quoted(view.topic(view.pubsubTopic)));
    this.#bytes(LINE_END);
  }

  /** Appends ASCII text as it is. */
  text(text: string): void {
    this.#reserve(text.length);
    this.#length += this.#buffer.write(text, this.#length, 'latin1');
  }

  /** The lines so far, as bytes that are the caller's. */
  take(): Buffer {
    const taken = this.#buffer.subarray(0, this.#length);
    // The next run will be about as long.
    this.#buffer = Buffer.allocUnsafe(Math.max(LINES_BYTES, this.#length + (this.#length >> 3)));
    this.#length = 0;
    return taken;
  }

  /** The hash of an id in hex, straight into place. */
  #hash(id: Uint32Array): void {
    this.#reserve(HASH_BYTES * 2);
    for (let word = ID_WORDS - HASH_WORDS; word < ID_WORDS; word++) {
      for (let shift = 28; shift >= 0; shift -= 4) {
        this.#buffer[this.#length++] = HEX_DIGITS[(id[word]! >>> shift) & 15]!;
      }
    }
  }

  #bytes(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #reserve(length: number): void {
    if (this.#length + length <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + length));
    this.#buffer.copy(grown, 0, 0, this.#length);
    this.#buffer = grown;
  }
}

const LINES_BYTES = 4 * 1024;
const HEX_DIGITS = Buffer.from('0123456789abcdef');
const LINE_HEAD = Buffer.from('{"messageHash":"0x');
const LINE_PAYLOAD = Buffer.from('","message":{"payload":"');
const LINE_CONTENT_TOPIC = Buffer.from('","contentTopic":');
const LINE_PUBSUB_TOPIC = Buffer.from('},"pubsubTopic":');
const LINE_END = Buffer.from('}\n');

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
  if (typeof value === 'string' && DECIMAL.test(value)) return BigInt(value);
  if (value === undefined) throw new LacunaError('MESSAGE_TIMESTAMP_INVALID', 'the message has no timestamp');
  if (typeof value === 'string' && /^-?\d+$/.test(value)) {
    throw new LacunaError('MESSAGE_TIMESTAMP_INVALID', 'the timestamp is beyond 64 bits');
  }
  // A number here was not written as plain digits, or under an escaped key: its last digits may be lost.
  throw invalid('timestamp', 'a whole number of ns, or its decimal string');
}

/**
 * Buffer skips what is not base64; the length of what it made tells whether it skipped anything, unless one digit
 * stands alone behind the last four. Of a character beyond ASCII it may take the lower byte for a digit.
 */
function base64(value: unknown, name: string): Uint8Array {
  if (typeof value !== 'string') throw invalid(name, 'a base64 string');
  const bytes = Buffer.from(value, 'base64');
  const padding = value.endsWith('==') ? 2 : value.endsWith('=') ? 1 : 0;
  const digits = value.length - padding;
  const whole = digits % 4 !== 1 && bytes.length === Math.floor((digits * 3) / 4);
  if (!whole || Buffer.byteLength(value) !== value.length) throw invalid(name, 'a base64 string');
  return bytes;
}

function optional<T>(value: unknown, absent: T, read: (value: unknown) => T): T {
  return value === undefined || value === null ? absent : read(value);
}

function invalid(name: string, expected: string): LacunaError {
  return new LacunaError('LINE_INVALID_FIELD', `${name} must be ${expected}`);
}

/** Topics as JSON strings: they repeat from line to line. */
const quotedTopics = new Map<string, Uint8Array>();
const QUOTED_TOPICS_MAX = 256;

function quoted(topic: string): Uint8Array {
  const known = quotedTopics.get(topic);
  if (known !== undefined) return known;
  if (quotedTopics.size >= QUOTED_TOPICS_MAX) quotedTopics.clear();
  const json = Buffer.from(JSON.stringify(topic));
  quotedTopics.set(topic, json);
  return json;
}
