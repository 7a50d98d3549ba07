/** Vectors of store queries: the bytes nwaku writes for a request or a response, written and read again here. */
import { z } from 'zod';
import {
  decodeStoreQueryRequest,
  decodeStoreQueryResponse,
  encodeStoreQueryRequest,
  encodeStoreQueryResponse,
  type StoreQueryRequest,
  type StoreQueryResponse,
} from '../../src/wire/waku-store-query.ts';
import type { CaseResult } from './shared.ts';
import { decimal, fromHex, hexString, runCase, sameJson, toHex, topicFromJson, topicJson } from './shared.ts';
import { messageFromJson, messageJson, messageToJson } from './waku-message.ts';

const requestJson = z.object({
  requestId: z.string(),
  includeData: z.boolean(),
  pubsubTopic: topicJson.nullable(),
  contentTopics: z.array(topicJson),
  startTime: decimal.nullable(),
  endTime: decimal.nullable(),
  messageHashes: z.array(hexString),
  paginationCursor: hexString.nullable(),
  paginationForward: z.boolean(),
  paginationLimit: decimal.nullable(),
});

const responseJson = z.object({
  requestId: z.string(),
  statusCode: z.number(),
  statusDesc: z.string(),
  messages: z.array(
    z.object({
      messageHash: hexString,
      message: messageJson.nullable(),
      pubsubTopic: topicJson.nullable(),
    }),
  ),
  paginationCursor: hexString.nullable(),
});

export const storeQueryFile = z.object({
  requests: z.array(requestJson.extend({ encoded: hexString })).min(1),
  responses: z.array(responseJson.extend({ encoded: hexString })).min(1),
});

export function checkStoreQuery(file: z.infer<typeof storeQueryFile>): CaseResult[] {
  return [
    ...file.requests.flatMap(({ encoded, ...json }) => [
      bytesCase(`encode request ${json.requestId}`, encoded, () =>
        encodeStoreQueryRequest(requestFromJson(json)),
      ),
      jsonCase(`decode request ${json.requestId}`, json, () =>
        requestToJson(decodeStoreQueryRequest(fromHex(encoded))),
      ),
    ]),
    ...file.responses.flatMap(({ encoded, ...json }) => [
      bytesCase(`encode response ${json.requestId}`, encoded, () =>
        encodeStoreQueryResponse(responseFromJson(json)),
      ),
      jsonCase(`decode response ${json.requestId}`, json, () =>
        responseToJson(decodeStoreQueryResponse(fromHex(encoded))),
      ),
    ]),
  ];
}

function bytesCase(name: string, expected: string, encode: () => Uint8Array): CaseResult {
  return runCase(name, () => {
    const encoded = toHex(encode());
    return encoded === expected ? undefined : `wrote ${encoded.slice(0, 80)}…`;
  });
}

function jsonCase(name: string, expected: unknown, decode: () => unknown): CaseResult {
  return runCase(name, () => {
    const decoded = decode();
    return sameJson(decoded, expected)
      ? undefined
      : `read otherwise: ${JSON.stringify(decoded).slice(0, 300)}`;
  });
}

function requestFromJson(json: z.infer<typeof requestJson>): StoreQueryRequest {
  return {
    requestId: json.requestId,
    includeData: json.includeData,
    pubsubTopic: present(json.pubsubTopic, topicFromJson),
    contentTopics: json.contentTopics.map(topicFromJson),
    timeStartNs: present(json.startTime, BigInt),
    timeEndNs: present(json.endTime, BigInt),
    messageHashes: json.messageHashes.map(fromHex),
    paginationCursor: present(json.paginationCursor, fromHex),
    paginationForward: json.paginationForward,
    paginationLimit: present(json.paginationLimit, Number),
  };
}

function requestToJson(request: StoreQueryRequest): z.infer<typeof requestJson> {
  return {
    requestId: request.requestId,
    includeData: request.includeData,
    pubsubTopic: request.pubsubTopic ?? null,
    contentTopics: [...request.contentTopics],
    startTime: request.timeStartNs?.toString() ?? null,
    endTime: request.timeEndNs?.toString() ?? null,
    messageHashes: request.messageHashes.map(toHex),
    paginationCursor: hexOrNull(request.paginationCursor),
    paginationForward: request.paginationForward,
    paginationLimit: request.paginationLimit?.toString() ?? null,
  };
}

function responseFromJson(json: z.infer<typeof responseJson>): StoreQueryResponse {
  return {
    requestId: json.requestId,
    statusCode: json.statusCode,
    statusDesc: json.statusDesc,
    messages: json.messages.map(({ messageHash, message, pubsubTopic }) => ({
      messageHash: fromHex(messageHash),
      message: message === null || pubsubTopic === null ? undefined : messageFromJson(pubsubTopic, message),
    })),
    paginationCursor: present(json.paginationCursor, fromHex),
  };
}

function responseToJson(response: StoreQueryResponse): z.infer<typeof responseJson> {
  return {
    requestId: response.requestId,
    statusCode: response.statusCode,
    statusDesc: response.statusDesc,
    messages: response.messages.map(({ messageHash, message }) => ({
      messageHash: toHex(messageHash),
      message: message === undefined ? null : messageToJson(message),
      pubsubTopic: message?.pubsubTopic ?? null,
    })),
    paginationCursor: hexOrNull(response.paginationCursor),
  };
}

function present<T, U>(value: T | null, read: (value: T) => U): U | undefined {
  return value === null ? undefined : read(value);
}

function hexOrNull(bytes: Uint8Array | undefined): string | null {
  return bytes === undefined ? null : toHex(bytes);
}
