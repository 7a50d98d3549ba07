/**
 * WakuMessage and WakuMessageAndTopic (14/WAKU2-MESSAGE; the transfer frame of nwaku's store sync). Every field
 * is written, empty ones too: nwaku refuses a message without payload or content topic. The same bytes are what
 * the store keeps, so that a message is sent as it lies on the disk.
 */

import type { MessageShape, WakuMessage } from '../core/message.ts';
import { topicBytes, topicFromBytes } from '../core/topic.ts';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { ByteWriter, lebLength, lebLength64 } from './bytes.ts';
import {
  bytesFieldLength,
  FieldReader,
  LENGTH_DELIMITED,
  VARINT,
  writeBytesField,
  writeVarintField,
  zigzag,
} from './protobuf.ts';

const PUBSUB_TOPIC = 1;
const MESSAGE = 2;

const PAYLOAD = 1;
const CONTENT_TOPIC = 2;
const VERSION = 3;
const TIMESTAMP = 10;
const META = 11;
const RATE_LIMIT_PROOF = 21;
const EPHEMERAL = 31;

const META_BYTES_MAX = 64;

/** @throws LacunaError MESSAGE_TOPIC_INVALID for a topic that has no bytes. */
export function encodeMessageAndTopic(message: WakuMessage): Uint8Array {
  const pubsubTopic = requiredBytes(message.pubsubTopic);
  const contentTopic = requiredBytes(message.contentTopic);
  const inner = messageLength(message, contentTopic);
  const writer = new ByteWriter(
    bytesFieldLength(PUBSUB_TOPIC, pubsubTopic.length) + bytesFieldLength(MESSAGE, inner),
  );
  writeBytesField(writer, PUBSUB_TOPIC, pubsubTopic);
  writer.leb(MESSAGE * 8 + LENGTH_DELIMITED);
  writer.leb(inner);
  writeMessage(writer, message, contentTopic);
  return writer.finish();
}

/** The WakuMessage alone, without its pubsub topic. */
export function encodeMessage(message: WakuMessage): Uint8Array {
  const contentTopic = requiredBytes(message.contentTopic);
  const writer = new ByteWriter(messageLength(message, contentTopic));
  writeMessage(writer, message, contentTopic);
  return writer.finish();
}

function writeMessage(writer: ByteWriter, message: WakuMessage, contentTopic: Uint8Array): void {
  const time = zigzag(message.timestamp);
  writeBytesField(writer, PAYLOAD, message.payload);
  writeBytesField(writer, CONTENT_TOPIC, contentTopic);
  writeVarintField(writer, VERSION, 0, message.version);
  writeVarintField(writer, TIMESTAMP, Number(time >> 32n), Number(time & 0xffff_ffffn));
  writeBytesField(writer, META, message.meta);
  writeBytesField(writer, RATE_LIMIT_PROOF, message.rateLimitProof);
  writeVarintField(writer, EPHEMERAL, 0, message.ephemeral ? 1 : 0);
}

function messageLength(message: WakuMessage, contentTopic: Uint8Array): number {
  const time = zigzag(message.timestamp);
  const lengths = {
    payloadBytes: message.payload.length,
    contentTopicBytes: contentTopic.length,
    metaBytes: message.meta.length,
    rateLimitProofBytes: message.rateLimitProof.length,
    version: message.version,
  };
  return innerLength(lengths, Number(time >> 32n), Number(time & 0xffff_ffffn));
}

/** Bytes of a WakuMessage, with its timestamp as it is written. */
function innerLength(
  message: Omit<MessageShape, 'pubsubTopicBytes' | 'timestamp' | 'ephemeral'>,
  timeHigh: number,
  timeLow: number,
): number {
  return (
    bytesFieldLength(PAYLOAD, message.payloadBytes) +
    bytesFieldLength(CONTENT_TOPIC, message.contentTopicBytes) +
    lebLength(VERSION * 8) +
    lebLength(message.version) +
    lebLength(TIMESTAMP * 8) +
    lebLength64(timeHigh, timeLow) +
    bytesFieldLength(META, message.metaBytes) +
    bytesFieldLength(RATE_LIMIT_PROOF, message.rateLimitProofBytes) +
    lebLength(EPHEMERAL * 8) +
    1
  );
}

/**
 * A transfer frame read in place: where its fields lie, and the few numbers. One view serves many frames, as
 * reading one makes no object; that matters where every message of a store is hashed on its way out.
 */
export class MessageView implements MessageShape {
  bytes: Buffer = NO_BYTES;
  readonly pubsubTopic = new Span();
  readonly contentTopic = new Span();
  readonly payload = new Span();
  readonly meta = new Span();
  readonly rateLimitProof = new Span();
  version = 0;
  ephemeral = false;
  /** The timestamp as two words, two's complement. */
  timeHigh = 0;
  timeLow = 0;

  /** @throws LacunaError with a WIRE_ code. */
  read(frame: Buffer): this {
    this.pubsubTopic.clear();
    let message = -1;
    let messageEnd = -1;
    const fields = new FieldReader(frame);
    while (fields.next()) {
      if (fields.wireType !== LENGTH_DELIMITED) continue;
      if (fields.number === PUBSUB_TOPIC) this.pubsubTopic.set(fields);
      else if (fields.number === MESSAGE) {
        message = fields.start;
        messageEnd = fields.end;
      }
    }
    if (message < 0) throw new LacunaError('WIRE_FIELD_MISSING', 'the field message is absent');
    this.pubsubTopic.require('pubsub_topic');
    return this.readMessage(frame, message, messageEnd);
  }

  /** Reads a WakuMessage alone, which has no pubsub topic. @throws LacunaError with a WIRE_ code. */
  readMessage(bytes: Buffer, start: number, end: number): this {
    this.bytes = bytes;
    this.contentTopic.clear();
    this.payload.clear();
    this.meta.clear();
    this.rateLimitProof.clear();
    this.version = 0;
    this.ephemeral = false;
    this.timeHigh = 0;
    this.timeLow = 0;
    const fields = new FieldReader(bytes, start, end);
    while (fields.next()) {
      if (fields.wireType === LENGTH_DELIMITED) this.#takeSpan(fields);
      else if (fields.wireType === VARINT) this.#takeNumber(fields);
    }
    this.payload.require('payload');
    this.contentTopic.require('content_topic');
    if (this.meta.length > META_BYTES_MAX) {
      throw new LacunaError('WIRE_FIELD_INVALID', `meta of ${this.meta.length} bytes`);
    }
    return this;
  }

  /** The message hash, 32 bytes, straight from the frame (see `messageHash`). */
  hash(sha256: (bytes: Uint8Array) => Uint8Array): Uint8Array {
    const { bytes, pubsubTopic, payload, contentTopic, meta } = this;
    const length = pubsubTopic.length + payload.length + contentTopic.length + meta.length;
    if (preimage.length < length + 8) preimage = Buffer.alloc((length + 8) * 2);
    let at = pubsubTopic.copy(bytes, preimage, 0);
    at = payload.copy(bytes, preimage, at);
    at = contentTopic.copy(bytes, preimage, at);
    at = meta.copy(bytes, preimage, at);
    preimage.writeInt32BE(this.timeHigh, at);
    preimage.writeInt32BE(this.timeLow, at + 4);
    return sha256(preimage.subarray(0, length + 8));
  }

  get pubsubTopicBytes(): number {
    return this.pubsubTopic.length;
  }

  get contentTopicBytes(): number {
    return this.contentTopic.length;
  }

  get payloadBytes(): number {
    return this.payload.length;
  }

  get metaBytes(): number {
    return this.meta.length;
  }

  get rateLimitProofBytes(): number {
    return this.rateLimitProof.length;
  }

  /**
   * Whether a frame is as long as `encodeMessageAndTopic` would write it: then it holds nothing but these fields, each
   * once and in as few bytes as it takes.
   */
  get isMinimal(): boolean {
    const sign = this.timeHigh >> 31;
    const timeHigh = ((this.timeHigh << 1) | (this.timeLow >>> 31)) ^ sign;
    const inner = innerLength(this, timeHigh >>> 0, ((this.timeLow << 1) ^ sign) >>> 0);
    const length = bytesFieldLength(PUBSUB_TOPIC, this.pubsubTopic.length) + bytesFieldLength(MESSAGE, inner);
    return length === this.bytes.length;
  }

  get timestamp(): bigint {
    return (BigInt(this.timeHigh) << 32n) | BigInt(this.timeLow >>> 0);
  }

  /** The topics of the message as text. */
  topics(): { pubsubTopic: string; contentTopic: string } {
    return { pubsubTopic: this.topic(this.pubsubTopic), contentTopic: this.topic(this.contentTopic) };
  }

  topic(span: Span): string {
    return span.start < 0 ? '' : topicFromBytes(this.bytes, span.start, span.end);
  }

  /** The message as an object of its own; its byte fields are views of the frame. */
  toMessage(): WakuMessage {
    return {
      ...this.topics(),
      payload: this.payload.of(this.bytes),
      timestamp: this.timestamp,
      version: this.version,
      ephemeral: this.ephemeral,
      meta: this.meta.of(this.bytes),
      rateLimitProof: this.rateLimitProof.of(this.bytes),
    };
  }

  #takeSpan(fields: FieldReader): void {
    if (fields.number === PAYLOAD) this.payload.set(fields);
    else if (fields.number === CONTENT_TOPIC) this.contentTopic.set(fields);
    else if (fields.number === META) this.meta.set(fields);
    else if (fields.number === RATE_LIMIT_PROOF) this.rateLimitProof.set(fields);
  }

  #takeNumber(fields: FieldReader): void {
    if (fields.number === VERSION) {
      if (fields.high !== 0) throw new LacunaError('WIRE_VARINT', 'the version is beyond 32 bits');
      this.version = fields.low;
    } else if (fields.number === TIMESTAMP) {
      // Zig-zag in words: half the value, with all bits turned where its lowest bit is set.
      const sign = -(fields.low & 1);
      this.timeHigh = (fields.high >>> 1) ^ sign;
      this.timeLow = ((fields.low >>> 1) | (fields.high << 31)) ^ sign;
    } else if (fields.number === EPHEMERAL) this.ephemeral = fields.high !== 0 || fields.low !== 0;
  }
}

/** Where a field's bytes lie in a frame. */
class Span {
  start = -1;
  end = -1;

  get length(): number {
    return this.end - this.start;
  }

  clear(): void {
    this.start = -1;
    this.end = -1;
  }

  set(fields: FieldReader): void {
    this.start = fields.start;
    this.end = fields.end;
  }

  require(name: string): void {
    if (this.start < 0) throw new LacunaError('WIRE_FIELD_MISSING', `the field ${name} is absent`);
  }

  of(bytes: Buffer): Uint8Array {
    if (this.start < 0) return NO_FIELD;
    return new Uint8Array(bytes.buffer, bytes.byteOffset + this.start, this.length);
  }

  /** Returns where the copy ends. */
  copy(from: Buffer, to: Buffer, at: number): number {
    if (this.start >= 0) from.copy(to, at, this.start, this.end);
    return at + this.length;
  }
}

const NO_BYTES = Buffer.alloc(0);
const NO_FIELD = new Uint8Array(0);
/** One buffer serves all preimages: hashing is synchronous. */
let preimage = Buffer.alloc(4_096);

/**
 * Reads a transfer frame. The byte fields of the result are views of `frame`.
 *
 * @throws LacunaError with a WIRE_ code.
 */
export function decodeMessageAndTopic(frame: Uint8Array): WakuMessage {
  return new MessageView().read(asBuffer(frame)).toMessage();
}

/** The two fields of a transfer frame, as views of it. @throws LacunaError with a WIRE_ code. */
export function messageAndTopicParts(frame: Uint8Array): { message: Uint8Array; pubsubTopic: Uint8Array } {
  let message: Uint8Array | undefined;
  let pubsubTopic: Uint8Array | undefined;
  const fields = new FieldReader(frame);
  while (fields.next()) {
    if (fields.wireType !== LENGTH_DELIMITED) continue;
    if (fields.number === PUBSUB_TOPIC) pubsubTopic = fields.bytes;
    else if (fields.number === MESSAGE) message = fields.bytes;
  }
  if (message === undefined || pubsubTopic === undefined)
    throw new LacunaError('WIRE_FIELD_MISSING', 'the frame lacks its message or its topic');
  return { message, pubsubTopic };
}

/** The pubsub topic of a transfer frame, without a look at the rest; undefined where it does not begin with one. */
export function pubsubTopicOf(frame: Uint8Array): string | undefined {
  if (frame[0] !== PUBSUB_TOPIC * 8 + LENGTH_DELIMITED || frame.length < 3) return undefined;
  const isShort = frame[1]! < 0x80;
  const length = isShort ? frame[1]! : (frame[1]! & 0x7f) | (frame[2]! << 7);
  const start = isShort ? 2 : 3;
  if (length > LIMITS.messageTopicBytes || start + length > frame.length) return undefined;
  return topicFromBytes(asBuffer(frame), start, start + length);
}

/** @throws LacunaError with a WIRE_ code. */
export function decodeMessage(bytes: Uint8Array, pubsubTopic: string): WakuMessage {
  return { ...new MessageView().readMessage(asBuffer(bytes), 0, bytes.length).toMessage(), pubsubTopic };
}

/** The same bytes as a Buffer; nothing is copied. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function requiredBytes(topic: string): Uint8Array {
  const bytes = topicBytes(topic);
  if (bytes === undefined) throw new LacunaError('MESSAGE_TOPIC_INVALID', 'a topic has no bytes');
  return bytes;
}
