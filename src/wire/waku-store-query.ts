/**
 * StoreQueryRequest and StoreQueryResponse of `/vac/waku/store-query/3.0.0` (13/WAKU2-STORE), as a running nwaku
 * writes them: flags are written even when false, an absent option is left out. The decoders also take what other
 * implementations leave out, and refuse lists, texts and hashes of a size that no honest peer sends.
 */

import type { WakuMessage } from '../core/message.ts';
import { HASH_BYTES, hashOf, type SyncIdList } from '../core/sync-id.ts';
import { topicBytes, topicFromBytes } from '../core/topic.ts';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { ByteWriter } from './bytes.ts';
import {
  bytesFieldLength,
  type FieldReader,
  LENGTH_DELIMITED,
  readFields,
  unzigzag,
  VARINT,
  writeBytesField,
  writeVarintField,
  zigzag,
} from './protobuf.ts';
import { decodeMessage, encodeMessage, messageAndTopicParts } from './waku-message.ts';

const TWO_32 = 0x1_0000_0000;

/** Both messages begin with it, and end with the cursor. */
const REQUEST_ID = 1;
const PAGINATION_CURSOR = 51;

const INCLUDE_DATA = 2;
const PUBSUB_TOPIC = 10;
const CONTENT_TOPICS = 11;
const TIME_START = 12;
const TIME_END = 13;
const MESSAGE_HASHES = 20;
const PAGINATION_FORWARD = 52;
const PAGINATION_LIMIT = 53;

const STATUS_CODE = 10;
const STATUS_DESC = 11;
const MESSAGES = 20;

const KEY_MESSAGE_HASH = 1;
const KEY_MESSAGE = 2;
const KEY_PUBSUB_TOPIC = 3;

export interface StoreQueryRequest {
  /** Any bytes, as text: an answer must give them back as they came. */
  readonly requestId: string;
  /** False: hashes only. */
  readonly includeData: boolean;
  readonly pubsubTopic: string | undefined;
  readonly contentTopics: readonly string[];
  /** Nanoseconds, inclusive. */
  readonly timeStartNs: bigint | undefined;
  /** Nanoseconds; exclusive by the specification, inclusive in nwaku. */
  readonly timeEndNs: bigint | undefined;
  readonly messageHashes: readonly Uint8Array[];
  /** The hash of the message that the page before ended at. */
  readonly paginationCursor: Uint8Array | undefined;
  readonly paginationForward: boolean;
  /** Beyond 2^53-1 it is read as that: more than any page can hold. */
  readonly paginationLimit: number | undefined;
}

/** A stored message, or its hash alone. */
export interface StoreQueryEntry {
  readonly messageHash: Uint8Array;
  readonly message: WakuMessage | undefined;
}

export interface StoreQueryResponse {
  /** Empty where the answering side could not read the request. */
  readonly requestId: string;
  readonly statusCode: number;
  readonly statusDesc: string;
  readonly messages: readonly StoreQueryEntry[];
  readonly paginationCursor: Uint8Array | undefined;
}

/** @throws LacunaError WIRE_UNENCODABLE for a topic without bytes, a hash that is not one, or a time beyond 64 bits. */
export function encodeStoreQueryRequest(request: StoreQueryRequest): Uint8Array {
  const writer = new ByteWriter();
  writeText(writer, REQUEST_ID, request.requestId);
  writeVarintField(writer, INCLUDE_DATA, 0, request.includeData ? 1 : 0);
  if (request.pubsubTopic !== undefined) writeText(writer, PUBSUB_TOPIC, request.pubsubTopic);
  for (const topic of request.contentTopics) writeText(writer, CONTENT_TOPICS, topic);
  if (request.timeStartNs !== undefined) writeTime(writer, TIME_START, request.timeStartNs);
  if (request.timeEndNs !== undefined) writeTime(writer, TIME_END, request.timeEndNs);
  for (const hash of request.messageHashes) writeHash(writer, MESSAGE_HASHES, hash);
  if (request.paginationCursor !== undefined) writeHash(writer, PAGINATION_CURSOR, request.paginationCursor);
  writeVarintField(writer, PAGINATION_FORWARD, 0, request.paginationForward ? 1 : 0);
  if (request.paginationLimit !== undefined) {
    const limit = request.paginationLimit;
    if (!Number.isSafeInteger(limit) || limit < 0) {
      throw new LacunaError('WIRE_UNENCODABLE', `a page limit of ${limit}`);
    }
    writeVarintField(writer, PAGINATION_LIMIT, Math.floor(limit / TWO_32), limit >>> 0);
  }
  return writer.finish();
}

/**
 * The hashes of the result are views of `frame`.
 *
 * @throws LacunaError with a WIRE_ code.
 */
export function decodeStoreQueryRequest(frame: Uint8Array): StoreQueryRequest {
  let requestId: string | undefined;
  let includeData = false;
  let pubsubTopic: string | undefined;
  const contentTopics: string[] = [];
  let timeStartNs: bigint | undefined;
  let timeEndNs: bigint | undefined;
  const messageHashes: Uint8Array[] = [];
  let paginationCursor: Uint8Array | undefined;
  let paginationForward = false;
  let paginationLimit: number | undefined;
  readFields(frame, (field) => {
    if (field.wireType === LENGTH_DELIMITED) {
      if (field.number === REQUEST_ID) requestId = readText(field);
      else if (field.number === PUBSUB_TOPIC) pubsubTopic = readText(field);
      else if (field.number === CONTENT_TOPICS) {
        addWithin(contentTopics, readText(field), LIMITS.storeQueryTopics);
      } else if (field.number === MESSAGE_HASHES) {
        addWithin(messageHashes, readHash(field), LIMITS.storeQueryHashes);
      } else if (field.number === PAGINATION_CURSOR) paginationCursor = readHash(field);
    } else if (field.wireType === VARINT) {
      if (field.number === INCLUDE_DATA) includeData = isSet(field);
      else if (field.number === TIME_START) timeStartNs = unzigzag(field.high, field.low);
      else if (field.number === TIME_END) timeEndNs = unzigzag(field.high, field.low);
      else if (field.number === PAGINATION_FORWARD) paginationForward = isSet(field);
      else if (field.number === PAGINATION_LIMIT) {
        paginationLimit = Math.min(field.high * TWO_32 + field.low, Number.MAX_SAFE_INTEGER);
      }
    }
  });
  if (requestId === undefined) throw new LacunaError('WIRE_FIELD_MISSING', 'the field request_id is absent');
  return {
    requestId,
    includeData,
    pubsubTopic,
    contentTopics,
    timeStartNs,
    timeEndNs,
    messageHashes,
    paginationCursor,
    paginationForward,
    paginationLimit,
  };
}

/** The id of a request that need not be whole: what of it could be read, or ''. */
export function requestIdOf(frame: Uint8Array): string {
  let requestId = '';
  try {
    readFields(frame, (field) => {
      if (field.wireType === LENGTH_DELIMITED && field.number === REQUEST_ID) requestId = readText(field);
    });
  } catch {
    // What stands before the damage is all there is.
  }
  return requestId;
}

/** @throws LacunaError WIRE_UNENCODABLE, or MESSAGE_TOPIC_INVALID for a message whose topic has no bytes. */
export function encodeStoreQueryResponse(response: StoreQueryResponse): Uint8Array {
  const writer = new ByteWriter();
  writeText(writer, REQUEST_ID, response.requestId);
  if (response.statusCode >>> 0 !== response.statusCode) {
    throw new LacunaError('WIRE_UNENCODABLE', `a status of ${response.statusCode}`);
  }
  writeVarintField(writer, STATUS_CODE, 0, response.statusCode);
  writeText(writer, STATUS_DESC, response.statusDesc);
  for (const entry of response.messages) writeEntry(writer, entry);
  if (response.paginationCursor !== undefined)
    writeHash(writer, PAGINATION_CURSOR, response.paginationCursor);
  return writer.finish();
}

/** A message goes with its pubsub topic: nwaku reads neither without the other. */
function writeEntry(writer: ByteWriter, { messageHash, message }: StoreQueryEntry): void {
  const hashLength = bytesFieldLength(KEY_MESSAGE_HASH, HASH_BYTES);
  if (message === undefined) {
    writer.leb(MESSAGES * 8 + LENGTH_DELIMITED);
    writer.leb(hashLength);
    writeHash(writer, KEY_MESSAGE_HASH, messageHash);
    return;
  }
  const encoded = encodeMessage(message);
  const pubsubTopic = textBytes(message.pubsubTopic);
  writer.leb(MESSAGES * 8 + LENGTH_DELIMITED);
  writer.leb(
    hashLength +
      bytesFieldLength(KEY_MESSAGE, encoded.length) +
      bytesFieldLength(KEY_PUBSUB_TOPIC, pubsubTopic.length),
  );
  writeHash(writer, KEY_MESSAGE_HASH, messageHash);
  writeBytesField(writer, KEY_MESSAGE, encoded);
  writeBytesField(writer, KEY_PUBSUB_TOPIC, pubsubTopic);
}

/** A page as a store serves it: messages as they lie there (WakuMessageAndTopic), which nobody takes apart. */
export interface StoredPage {
  readonly requestId: string;
  readonly statusCode: number;
  readonly statusDesc: string;
  readonly ids: SyncIdList;
  /** One for each id; undefined where only hashes go out. */
  readonly messages: readonly Uint8Array[] | undefined;
  readonly paginationCursor: Uint8Array | undefined;
}

/** The same bytes as `encodeStoreQueryResponse` writes for these messages. @throws LacunaError WIRE_UNENCODABLE. */
export function encodeStoredPage(page: StoredPage): Uint8Array {
  const { ids, messages } = page;
  const messageBytes = messages?.reduce((sum, message) => sum + message.length, 0) ?? 0;
  const writer = new ByteWriter(messageBytes + ids.count * STORED_ENTRY_BYTES + RESPONSE_BYTES);
  writeText(writer, REQUEST_ID, page.requestId);
  writeVarintField(writer, STATUS_CODE, 0, page.statusCode);
  writeText(writer, STATUS_DESC, page.statusDesc);
  for (let row = 0; row < ids.count; row++) writeStored(writer, hashOf(ids.at(row)), messages?.[row]);
  if (page.paginationCursor !== undefined) writeHash(writer, PAGINATION_CURSOR, page.paginationCursor);
  return writer.finish();
}

/** What an entry holds beside the fields of the stored message, and a response beside its entries: at most, or about. */
export const STORED_ENTRY_BYTES = 48;
const RESPONSE_BYTES = 256;

function writeStored(writer: ByteWriter, hash: Uint8Array, stored: Uint8Array | undefined): void {
  const hashLength = bytesFieldLength(KEY_MESSAGE_HASH, HASH_BYTES);
  writer.leb(MESSAGES * 8 + LENGTH_DELIMITED);
  if (stored === undefined) {
    writer.leb(hashLength);
    writeHash(writer, KEY_MESSAGE_HASH, hash);
    return;
  }
  const { message, pubsubTopic } = messageAndTopicParts(stored);
  writer.leb(
    hashLength +
      bytesFieldLength(KEY_MESSAGE, message.length) +
      bytesFieldLength(KEY_PUBSUB_TOPIC, pubsubTopic.length),
  );
  writeHash(writer, KEY_MESSAGE_HASH, hash);
  writeBytesField(writer, KEY_MESSAGE, message);
  writeBytesField(writer, KEY_PUBSUB_TOPIC, pubsubTopic);
}

/**
 * The byte fields of the result are views of `frame`. Only the status is required: encoders of proto3 leave out
 * empty texts.
 *
 * @throws LacunaError with a WIRE_ code.
 */
export function decodeStoreQueryResponse(frame: Uint8Array): StoreQueryResponse {
  let requestId = '';
  let statusCode: number | undefined;
  let statusDesc = '';
  const messages: StoreQueryEntry[] = [];
  let paginationCursor: Uint8Array | undefined;
  readFields(frame, (field) => {
    if (field.wireType === LENGTH_DELIMITED) {
      if (field.number === REQUEST_ID) requestId = readText(field);
      else if (field.number === STATUS_DESC) statusDesc = readText(field);
      else if (field.number === MESSAGES) {
        addWithin(messages, readEntry(field.bytes), LIMITS.storeQueryMessages);
      } else if (field.number === PAGINATION_CURSOR) paginationCursor = readHash(field);
    } else if (field.wireType === VARINT && field.number === STATUS_CODE) {
      if (field.high !== 0) throw new LacunaError('WIRE_VARINT', 'the status is beyond 32 bits');
      statusCode = field.low;
    }
  });
  if (statusCode === undefined)
    throw new LacunaError('WIRE_FIELD_MISSING', 'the field status_code is absent');
  return { requestId, statusCode, statusDesc, messages, paginationCursor };
}

function readEntry(bytes: Uint8Array): StoreQueryEntry {
  let messageHash: Uint8Array | undefined;
  let message: Uint8Array | undefined;
  let pubsubTopic: string | undefined;
  readFields(bytes, (field) => {
    if (field.wireType !== LENGTH_DELIMITED) return;
    if (field.number === KEY_MESSAGE_HASH) messageHash = readHash(field);
    else if (field.number === KEY_MESSAGE) message = field.bytes;
    else if (field.number === KEY_PUBSUB_TOPIC) pubsubTopic = readText(field);
  });
  if (messageHash === undefined)
    throw new LacunaError('WIRE_FIELD_MISSING', 'the field message_hash is absent');
  if (message === undefined || pubsubTopic === undefined) return { messageHash, message: undefined };
  return { messageHash, message: decodeMessage(message, pubsubTopic) };
}

function addWithin<T>(list: T[], value: T, max: number): void {
  if (list.length >= max) throw new LacunaError('WIRE_LIMIT', `a list of more than ${max}`);
  list.push(value);
}

function readText(field: FieldReader): string {
  if (field.bytes.length > LIMITS.storeQueryTextBytes) {
    throw new LacunaError('WIRE_LIMIT', `a text of ${field.bytes.length} bytes`);
  }
  return topicFromBytes(field.bytes);
}

function writeText(writer: ByteWriter, number: number, text: string): void {
  writeBytesField(writer, number, textBytes(text));
}

function textBytes(text: string): Uint8Array {
  const bytes = topicBytes(text);
  if (bytes === undefined) throw new LacunaError('WIRE_UNENCODABLE', 'a text has no bytes');
  return bytes;
}

function readHash(field: FieldReader): Uint8Array {
  if (field.bytes.length !== HASH_BYTES) {
    throw new LacunaError('WIRE_FIELD_INVALID', `a hash of ${field.bytes.length} bytes`);
  }
  return field.bytes;
}

function writeHash(writer: ByteWriter, number: number, hash: Uint8Array): void {
  if (hash.length !== HASH_BYTES) throw new LacunaError('WIRE_UNENCODABLE', `a hash of ${hash.length} bytes`);
  writeBytesField(writer, number, hash);
}

function isSet(field: FieldReader): boolean {
  return field.high !== 0 || field.low !== 0;
}

function writeTime(writer: ByteWriter, number: number, timeNs: bigint): void {
  if (BigInt.asIntN(64, timeNs) !== timeNs)
    throw new LacunaError('WIRE_UNENCODABLE', 'a time is beyond 64 bits');
  const raw = zigzag(timeNs);
  writeVarintField(writer, number, Number(raw >> 32n), Number(raw & 0xffff_ffffn));
}
