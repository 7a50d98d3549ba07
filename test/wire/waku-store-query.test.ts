/** Store queries: requests and responses come back as they were, within limits; the vectors hold the bytes. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHex } from '../../scripts/vectors/shared.ts';
import { storeQueryFile } from '../../scripts/vectors/store-query.ts';
import { topicFromBytes } from '../../src/core/topic.ts';
import { LIMITS } from '../../src/limits.ts';
import { ByteWriter } from '../../src/wire/bytes.ts';
import { writeBytesField, writeVarintField } from '../../src/wire/protobuf.ts';
import {
  decodeStoreQueryRequest,
  decodeStoreQueryResponse,
  encodeStoreQueryRequest,
  encodeStoreQueryResponse,
  type StoreQueryRequest,
  type StoreQueryResponse,
} from '../../src/wire/waku-store-query.ts';
import { codeOf } from '../error-code.ts';
import { mutationsOf } from './mutations.ts';

const text = fc.uint8Array({ maxLength: 40 }).map(topicFromBytes);
const hash = fc.uint8Array({ minLength: 32, maxLength: 32 });
const timeNs = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.constantFrom(0n, 2n ** 63n - 1n, -(2n ** 63n)),
);
const optional = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(value, { nil: undefined });

const request: fc.Arbitrary<StoreQueryRequest> = fc.record({
  requestId: text,
  includeData: fc.boolean(),
  pubsubTopic: optional(text),
  contentTopics: fc.array(text, { maxLength: 6 }),
  timeStartNs: optional(timeNs),
  timeEndNs: optional(timeNs),
  messageHashes: fc.array(hash, { maxLength: 6 }),
  paginationCursor: optional(hash),
  paginationForward: fc.boolean(),
  paginationLimit: optional(fc.oneof(fc.nat(), fc.constantFrom(0, 2 ** 32, Number.MAX_SAFE_INTEGER))),
});

const response: fc.Arbitrary<StoreQueryResponse> = fc.record({
  requestId: text,
  statusCode: fc.oneof(fc.constantFrom(0, 200, 300, 400, 429, 503, 0xffff_ffff), fc.nat(0xffff_ffff)),
  statusDesc: text,
  messages: fc.array(
    fc.record({
      messageHash: hash,
      message: optional(
        fc.record({
          pubsubTopic: text,
          contentTopic: text,
          payload: fc.uint8Array({ maxLength: 300 }),
          timestamp: timeNs,
          version: fc.nat(0xffff_ffff),
          ephemeral: fc.boolean(),
          meta: fc.uint8Array({ maxLength: 64 }),
          rateLimitProof: fc.uint8Array({ maxLength: 40 }),
        }),
      ),
    }),
    { maxLength: 6 },
  ),
  paginationCursor: optional(hash),
});

const REQUEST: StoreQueryRequest = {
  requestId: 'r',
  includeData: false,
  pubsubTopic: undefined,
  contentTopics: [],
  timeStartNs: undefined,
  timeEndNs: undefined,
  messageHashes: [],
  paginationCursor: undefined,
  paginationForward: false,
  paginationLimit: undefined,
};
const RESPONSE: StoreQueryResponse = {
  requestId: '',
  statusCode: 200,
  statusDesc: '',
  messages: [],
  paginationCursor: undefined,
};
const HASH = new Uint8Array(32).fill(5);

/** A message of these fields, each a run of bytes or a number. */
function fields(...list: [number: number, value: Uint8Array | number][]): Uint8Array {
  const writer = new ByteWriter();
  for (const [number, value] of list) {
    if (typeof value === 'number') writeVarintField(writer, number, 0, value);
    else writeBytesField(writer, number, value);
  }
  return writer.finish();
}

const bytes = (length: number): Uint8Array => new Uint8Array(length).fill(0x61);

describe('a request', () => {
  it('comes back as it was', () => {
    fc.assert(
      fc.property(request, (sent) => {
        expect(decodeStoreQueryRequest(encodeStoreQueryRequest(sent))).toEqual(sent);
      }),
      { numRuns: 300 },
    );
  });

  it('may leave out all but its id', () => {
    expect(decodeStoreQueryRequest(fields([1, bytes(1)]))).toEqual({ ...REQUEST, requestId: 'a' });
    expect(codeOf(() => decodeStoreQueryRequest(fields([2, 1])))).toBe('WIRE_FIELD_MISSING');
    expect(codeOf(() => decodeStoreQueryRequest(new Uint8Array(0)))).toBe('WIRE_FIELD_MISSING');
  });

  it('reads a page limit beyond what a number holds as more than any page', () => {
    const writer = new ByteWriter();
    writeBytesField(writer, 1, bytes(1));
    writeVarintField(writer, 53, 0xffff_ffff, 0xffff_ffff);
    expect(decodeStoreQueryRequest(writer.finish()).paginationLimit).toBe(Number.MAX_SAFE_INTEGER);
  });

  it('holds its lists, texts and hashes to their limits', () => {
    const id: [number, Uint8Array] = [1, bytes(1)];
    const topics = (count: number) => fields(id, ...Array<[number, Uint8Array]>(count).fill([11, bytes(1)]));
    expect(decodeStoreQueryRequest(topics(LIMITS.storeQueryTopics)).contentTopics).toHaveLength(
      LIMITS.storeQueryTopics,
    );
    expect(codeOf(() => decodeStoreQueryRequest(topics(LIMITS.storeQueryTopics + 1)))).toBe('WIRE_LIMIT');
    const hashes = (count: number) => fields(id, ...Array<[number, Uint8Array]>(count).fill([20, HASH]));
    expect(decodeStoreQueryRequest(hashes(LIMITS.storeQueryHashes)).messageHashes).toHaveLength(
      LIMITS.storeQueryHashes,
    );
    expect(codeOf(() => decodeStoreQueryRequest(hashes(LIMITS.storeQueryHashes + 1)))).toBe('WIRE_LIMIT');
    for (const number of [1, 10, 11]) {
      const long = (length: number) =>
        codeOf(() => decodeStoreQueryRequest(fields(id, [number, bytes(length)])));
      expect(long(LIMITS.storeQueryTextBytes)).toBeUndefined();
      expect(long(LIMITS.storeQueryTextBytes + 1)).toBe('WIRE_LIMIT');
    }
    for (const number of [20, 51]) {
      for (const length of [0, 31, 33]) {
        expect(codeOf(() => decodeStoreQueryRequest(fields(id, [number, bytes(length)])))).toBe(
          'WIRE_FIELD_INVALID',
        );
      }
    }
  });

  it('cannot be made of what the protocol has no bytes for', () => {
    for (const broken of [
      { requestId: '\ud800' },
      { pubsubTopic: '\ud800' },
      { contentTopics: ['\ud800'] },
      { timeStartNs: 2n ** 63n },
      { timeEndNs: -(2n ** 63n) - 1n },
      { messageHashes: [bytes(31)] },
      { paginationCursor: bytes(33) },
      { paginationLimit: -1 },
      { paginationLimit: 1.5 },
      { paginationLimit: 2 ** 53 },
    ]) {
      expect(codeOf(() => encodeStoreQueryRequest({ ...REQUEST, ...broken }))).toBe('WIRE_UNENCODABLE');
    }
  });
});

describe('a response', () => {
  it('comes back as it was', () => {
    fc.assert(
      fc.property(response, (sent) => {
        expect(decodeStoreQueryResponse(encodeStoreQueryResponse(sent))).toEqual(sent);
      }),
      { numRuns: 300 },
    );
  });

  it('needs its status, and may leave out the rest', () => {
    expect(decodeStoreQueryResponse(fields([10, 400]))).toEqual({ ...RESPONSE, statusCode: 400 });
    expect(codeOf(() => decodeStoreQueryResponse(fields([1, bytes(1)])))).toBe('WIRE_FIELD_MISSING');
  });

  it('has a hash for every message, and a message only together with its topic', () => {
    const message = fields([1, bytes(3)], [2, bytes(1)]);
    const entries = (...entry: [number, Uint8Array][]) => fields([10, 200], [20, fields(...entry)]);
    const read = (...entry: [number, Uint8Array][]) =>
      decodeStoreQueryResponse(entries(...entry)).messages[0]?.message;
    expect(read([1, HASH], [2, message], [3, bytes(1)])?.pubsubTopic).toBe('a');
    expect(read([1, HASH], [2, message])).toBeUndefined();
    expect(read([1, HASH], [3, bytes(1)])).toBeUndefined();
    expect(codeOf(() => read([2, message], [3, bytes(1)]))).toBe('WIRE_FIELD_MISSING');
    expect(codeOf(() => read([1, HASH], [2, fields([1, bytes(3)])], [3, bytes(1)]))).toBe(
      'WIRE_FIELD_MISSING',
    );
  });

  it('holds its lists, texts and numbers to their limits', () => {
    const entry: [number, Uint8Array] = [20, fields([1, HASH])];
    const page = (count: number) => fields([10, 200], ...Array<[number, Uint8Array]>(count).fill(entry));
    const most = LIMITS.storeQueryMessages;
    expect(decodeStoreQueryResponse(page(most)).messages).toHaveLength(most);
    expect(codeOf(() => decodeStoreQueryResponse(page(most + 1)))).toBe('WIRE_LIMIT');
    for (const number of [1, 11]) {
      const long = (length: number) =>
        codeOf(() => decodeStoreQueryResponse(fields([10, 200], [number, bytes(length)])));
      expect(long(LIMITS.storeQueryTextBytes)).toBeUndefined();
      expect(long(LIMITS.storeQueryTextBytes + 1)).toBe('WIRE_LIMIT');
    }
    const wide = new ByteWriter();
    writeVarintField(wide, 10, 1, 0);
    expect(codeOf(() => decodeStoreQueryResponse(wide.finish()))).toBe('WIRE_VARINT');
    expect(codeOf(() => decodeStoreQueryResponse(fields([10, 200], [51, bytes(31)])))).toBe(
      'WIRE_FIELD_INVALID',
    );
  });

  it('cannot be made of what the protocol has no bytes for', () => {
    for (const broken of [
      { requestId: '\ud800' },
      { statusDesc: '\ud800' },
      { statusCode: -1 },
      { statusCode: 2 ** 32 },
      { paginationCursor: bytes(31) },
      { messages: [{ messageHash: bytes(31), message: undefined }] },
    ]) {
      expect(codeOf(() => encodeStoreQueryResponse({ ...RESPONSE, ...broken }))).toBe('WIRE_UNENCODABLE');
    }
  });

  it('of the largest page that nwaku gives fits its frame', () => {
    const message = {
      pubsubTopic: 'p'.repeat(LIMITS.messageTopicBytes),
      contentTopic: 'c'.repeat(LIMITS.messageTopicBytes),
      payload: new Uint8Array(LIMITS.messagePayloadBytes),
      timestamp: 1n,
      version: 0,
      ephemeral: false,
      meta: new Uint8Array(LIMITS.messageMetaBytes),
      rateLimitProof: new Uint8Array(LIMITS.messageProofBytes),
    };
    const messages = Array(100).fill({ messageHash: HASH, message });
    expect(encodeStoreQueryResponse({ ...RESPONSE, messages }).length).toBeLessThanOrEqual(
      LIMITS.storeQueryResponseBytes,
    );
  });
});

describe('damaged bytes', () => {
  const file = storeQueryFile.parse(
    JSON.parse(readFileSync(new URL('../../spec/vectors/store-query.json', import.meta.url), 'utf8')),
  );

  it.each([
    ['request', file.requests, decodeStoreQueryRequest, encodeStoreQueryRequest],
    ['response', file.responses, decodeStoreQueryResponse, encodeStoreQueryResponse],
  ] as [string, { encoded: string }[], (bytes: Uint8Array) => unknown, (value: never) => Uint8Array][])(
    'of a %s give a value or a code',
    (_, vectors, decode, encode) => {
      for (const vector of vectors.slice(0, 8)) {
        for (const damaged of mutationsOf(fromHex(vector.encoded))) {
          let read: unknown;
          const code = codeOf(() => {
            read = decode(damaged);
          });
          if (code !== undefined) expect(code).toMatch(/^WIRE_/);
          else if (read !== undefined) {
            // What could be read can be written, and is then written the same again.
            const once = encode(read as never);
            if (Buffer.compare(once, encode(decode(once) as never)) !== 0) expect(decode(once)).toEqual(read);
          }
        }
      }
    },
  );
});
