/**
 * WakuMessage and WakuMessageAndTopic (14/WAKU2-MESSAGE; the transfer frame of nwaku's store sync). Every field
 * is written, empty ones too: nwaku refuses a message without payload or content topic. The same bytes are what
 * the store keeps, so that a message is sent as it lies on the disk.
 */

import type { WakuMessage } from '../core/message.ts';
import { topicBytes, topicFromBytes } from '../core/topic.ts';
import { LacunaError } from '../errors.ts';
import { ByteWriter, lebLength, lebLength64 } from './bytes.ts';
import {
  bytesFieldLength,
  LENGTH_DELIMITED,
  readFields,
  unzigzag,
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
const NO_BYTES = new Uint8Array(0);

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
  return (
    bytesFieldLength(PAYLOAD, message.payload.length) +
    bytesFieldLength(CONTENT_TOPIC, contentTopic.length) +
    lebLength(VERSION * 8) +
    lebLength(message.version) +
    lebLength(TIMESTAMP * 8) +
    lebLength64(Number(time >> 32n), Number(time & 0xffff_ffffn)) +
    bytesFieldLength(META, message.meta.length) +
    bytesFieldLength(RATE_LIMIT_PROOF, message.rateLimitProof.length) +
    lebLength(EPHEMERAL * 8) +
    1
  );
}

/**
 * Reads a transfer frame. The byte fields of the result are views of `frame`.
 *
 * @throws LacunaError with a WIRE_ code.
 */
export function decodeMessageAndTopic(frame: Uint8Array): WakuMessage {
  let pubsubTopic: Uint8Array | undefined;
  let message: Uint8Array | undefined;
  readFields(frame, (field) => {
    if (field.wireType !== LENGTH_DELIMITED) return;
    if (field.number === PUBSUB_TOPIC) pubsubTopic = field.bytes;
    else if (field.number === MESSAGE) message = field.bytes;
  });
  return decodeMessage(required(message, 'message'), topicFromBytes(required(pubsubTopic, 'pubsub_topic')));
}

/** @throws LacunaError with a WIRE_ code. */
export function decodeMessage(bytes: Uint8Array, pubsubTopic: string): WakuMessage {
  let payload: Uint8Array | undefined;
  let contentTopic: Uint8Array | undefined;
  let version = 0;
  let timestamp = 0n;
  let meta: Uint8Array = NO_BYTES;
  let rateLimitProof: Uint8Array = NO_BYTES;
  let ephemeral = false;
  readFields(bytes, (field) => {
    if (field.wireType === LENGTH_DELIMITED) {
      if (field.number === PAYLOAD) payload = field.bytes;
      else if (field.number === CONTENT_TOPIC) contentTopic = field.bytes;
      else if (field.number === META) meta = field.bytes;
      else if (field.number === RATE_LIMIT_PROOF) rateLimitProof = field.bytes;
    } else if (field.wireType === VARINT) {
      if (field.number === VERSION) {
        if (field.high !== 0) throw new LacunaError('WIRE_VARINT', 'the version is beyond 32 bits');
        version = field.low;
      } else if (field.number === TIMESTAMP) timestamp = unzigzag(field.high, field.low);
      else if (field.number === EPHEMERAL) ephemeral = field.high !== 0 || field.low !== 0;
    }
  });
  if (meta.length > META_BYTES_MAX)
    throw new LacunaError('WIRE_FIELD_INVALID', `meta of ${meta.length} bytes`);
  return {
    pubsubTopic,
    contentTopic: topicFromBytes(required(contentTopic, 'content_topic')),
    payload: required(payload, 'payload'),
    timestamp,
    version,
    ephemeral,
    meta,
    rateLimitProof,
  };
}

function required(bytes: Uint8Array | undefined, name: string): Uint8Array {
  if (bytes === undefined) throw new LacunaError('WIRE_FIELD_MISSING', `the field ${name} is absent`);
  return bytes;
}

function requiredBytes(topic: string): Uint8Array {
  const bytes = topicBytes(topic);
  if (bytes === undefined) throw new LacunaError('MESSAGE_TOPIC_INVALID', 'a topic has no bytes');
  return bytes;
}
