/**
 * The frames between two Lacunas as bytes: golden ones, random ones there and back, damaged ones, and every limit
 * at its exact number. More golden frames, and malformed ones, are in spec/vectors.
 */

import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nativeFramesFile } from '../../scripts/vectors/native-frames.ts';
import { nativePayloadsFile } from '../../scripts/vectors/native-payloads.ts';
import { fromHex, toHex } from '../../scripts/vectors/shared.ts';
import type { Interval } from '../../src/core/interval.ts';
import { boundAt, HASH_BYTES, makeId, SyncIdList, TIMESTAMP_MAX } from '../../src/core/sync-id.ts';
import { topicFromBytes } from '../../src/core/topic.ts';
import { LIMITS } from '../../src/limits.ts';
import { ByteWriter, lebLength } from '../../src/wire/bytes.ts';
import { type HelloFrame, type NativeFrame, REFUSAL_REASONS } from '../../src/wire/native-frame.ts';
import { decodeNativeFrame, encodeNativeFrame } from '../../src/wire/native-frames.ts';
import { decodeNativePayload } from '../../src/wire/native-payload.ts';
import { EMPTY } from '../core/native-dialogue.ts';
import { Chance, START_NS } from '../core/random-sets.ts';
import { codeOf } from '../error-code.ts';
import { mutationsOf } from './mutations.ts';

const NUMBER_MAX = 2 ** 48;
const WORD_MAX = 2 ** 31 - 1;

const HELLO: HelloFrame = {
  kind: 'hello',
  features: 0,
  gives: true,
  takes: true,
  audit: false,
  sinceNs: 0n,
  untilNs: 300n,
  salt: new Uint8Array(16).fill(0xab),
  agreement: undefined,
  windowBytes: 128,
  messagesMax: undefined,
  bytesMax: 1,
  scope: { pubsubTopics: [], contentTopics: ['/a', ''] },
  clockMs: 300,
  gaps: [
    { sinceNs: 0n, untilNs: 100n },
    { sinceNs: 200n, untilNs: 300n },
  ],
};

const id = (timestampNs: bigint, fill: number): Uint32Array =>
  makeId(timestampNs, new Uint8Array(HASH_BYTES).fill(fill));
const salt = 'ab'.repeat(16);
const hashOf = (fill: string): string => fill.repeat(HASH_BYTES);

/** Each kind, and by its side the bytes that its grammar gives: the fields in order, spaces for the reader. */
const GOLDEN: readonly (readonly [name: string, frame: NativeFrame, hex: string])[] = [
  ['hello', HELLO, `00 00 03 00 ac02 ${salt} 8001 00 01 00 02 022f61 00 ac02 02 00 64 64 64`],
  [
    'hello with all flags',
    { ...HELLO, features: WORD_MAX, audit: true, agreement: new Uint8Array(8).fill(0xcd) },
    `00 ffffffff07 0f 00 ac02 ${salt} ${'cd'.repeat(8)} 8001 00 01 00 02 022f61 00 ac02 02 00 64 64 64`,
  ],
  ['refuse', { kind: 'refuse', reason: 'stopping', retryAfterMs: 1_000 }, '01 08 e807'],
  ['payload', { kind: 'payload', payload: { ...EMPTY, agreed: true } }, '02 08'],
  [
    'offer',
    { kind: 'offer', ids: SyncIdList.of(id(2n ** 32n, 2), id(2n ** 32n, 1), id(1n, 9)), last: true },
    `03 01 03 8080808010 ${hashOf('02')} 00 ${hashOf('01')} ffffffff0f ${hashOf('09')}`,
  ],
  [
    'want',
    { kind: 'want', page: 300, first: 16, bits: Uint8Array.of(0b1000_0001), final: true },
    '04 ac02 21 01 81',
  ],
  [
    'want, not final',
    { kind: 'want', page: 0, first: 16, bits: Uint8Array.of(1, 2), final: false },
    '04 00 20 02 0102',
  ],
  [
    'batch',
    { kind: 'batch', wants: 2, messages: [Uint8Array.of(1, 2, 3), Uint8Array.of(4)] },
    '05 02 03010203 0104',
  ],
  ['ack', { kind: 'ack', batches: 300 }, '06 ac02'],
  ['over, agreed', { kind: 'over', state: 'agreed', have: 7 }, '07 00 07'],
  ['over, incomplete', { kind: 'over', state: 'incomplete', have: 0 }, '07 01 00'],
  [
    'result',
    { kind: 'result', capped: false, received: 1, known: 2, refused: 3, missing: 300 },
    '08 00 01 02 03 ac02',
  ],
  [
    'result, capped',
    { kind: 'result', capped: true, received: 128, known: 0, refused: 0, missing: 0 },
    '08 01 8001 00 00 00',
  ],
  ['alive', { kind: 'alive' }, '09'],
];

const vectors = nativeFramesFile.parse(readVectors('native-frames.json'));
const payloads = nativePayloadsFile
  .parse(readVectors('native-payloads.json'))
  .nativePayloads.map(({ hex }) => decodeNativePayload(fromHex(hex)));

function readVectors(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`../../spec/vectors/${name}`, import.meta.url), 'utf8'));
}

describe('golden frames', () => {
  it.each(GOLDEN)('%s', (_, frame, spaced) => {
    const hex = spaced.replaceAll(' ', '');
    expect(toHex(encodeNativeFrame(frame))).toBe(hex);
    expect(decodeNativeFrame(fromHex(hex))).toEqual(frame);
  });

  it('are of every kind, here and in the vectors', () => {
    const kinds = new Set(GOLDEN.map(([, { kind }]) => kind));
    expect(kinds.size).toBe(10);
    expect(new Set(vectors.nativeFrames.map(({ frame }) => frame.kind))).toEqual(kinds);
  });

  it('name each reason by its place', () => {
    for (const [place, reason] of REFUSAL_REASONS.entries()) {
      const frame = { kind: 'refuse', reason, retryAfterMs: 0 } as const;
      expect([...encodeNativeFrame(frame)]).toEqual([1, place, 0]);
      expect(decodeNativeFrame(Uint8Array.of(1, place, 0))).toEqual(frame);
    }
    expect(decodeNativeFrame(Uint8Array.of(1, REFUSAL_REASONS.length, 0))).toMatchObject({
      reason: 'internal',
    });
  });
});

const number = fc.oneof(
  fc.nat(),
  fc.maxSafeNat().map((value) => value % (NUMBER_MAX + 1)),
  fc.constantFrom(0, NUMBER_MAX),
);
const word = fc.oneof(fc.nat(), fc.constantFrom(0, WORD_MAX));
const cap = number.map((value) => value || undefined);
const time = fc.oneof(
  fc.bigInt({ min: 0n, max: TIMESTAMP_MAX }),
  fc.constantFrom(0n, START_NS, TIMESTAMP_MAX),
);
const topics = fc.array(fc.uint8Array({ maxLength: 40 }).map(topicFromBytes), { maxLength: 5 });
const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length });

/** Ascending times two by two; one that is left over is left out. */
function gapsBetween(times: readonly bigint[]): Interval[] {
  return Array.from({ length: Math.floor(times.length / 2) }, (_, at) => ({
    sinceNs: times[2 * at]!,
    untilNs: times[2 * at + 1]!,
  }));
}

/** Every value that a frame of each kind may hold. */
const FRAMES: Readonly<Record<NativeFrame['kind'], fc.Arbitrary<NativeFrame>>> = {
  hello: fc
    .record({
      kind: fc.constant('hello' as const),
      features: word,
      gives: fc.boolean(),
      takes: fc.boolean(),
      audit: fc.boolean(),
      window: fc.tuple(time, time).filter(([since, until]) => since <= until),
      salt: bytes(16),
      agreement: fc.option(bytes(8), { nil: undefined }),
      windowBytes: number,
      messagesMax: cap,
      bytesMax: cap,
      scope: fc.record({ pubsubTopics: topics, contentTopics: topics }),
      clockMs: number,
      gaps: fc
        .uniqueArray(time, { maxLength: 8, comparator: 'IsStrictlyEqual' })
        .map((times) => gapsBetween([...times].sort((a, b) => (a < b ? -1 : 1)))),
    })
    .map(({ window: [sinceNs, untilNs], ...hello }) => ({ ...hello, sinceNs, untilNs })),
  refuse: fc.record({
    kind: fc.constant('refuse' as const),
    reason: fc.constantFrom(...REFUSAL_REASONS),
    retryAfterMs: word,
  }),
  payload: fc.record({ kind: fc.constant('payload' as const), payload: fc.constantFrom(...payloads) }),
  offer: fc.record({
    kind: fc.constant('offer' as const),
    ids: fc.tuple(fc.nat(), fc.integer({ min: 0, max: 60 })).map(([seed, count]) => descending(seed, count)),
    last: fc.boolean(),
  }),
  want: fc.record({
    kind: fc.constant('want' as const),
    page: number,
    first: fc.integer({ min: 0, max: LIMITS.nativeOfferIds }),
    bits: fc.uint8Array({ maxLength: LIMITS.nativeOfferIds / 8 }),
    final: fc.boolean(),
  }),
  batch: fc.record({
    kind: fc.constant('batch' as const),
    wants: number,
    messages: fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 12 }),
  }),
  ack: fc.record({ kind: fc.constant('ack' as const), batches: number }),
  over: fc.record({
    kind: fc.constant('over' as const),
    state: fc.constantFrom('agreed' as const, 'incomplete' as const),
    have: number,
  }),
  result: fc.record({
    kind: fc.constant('result' as const),
    capped: fc.boolean(),
    received: number,
    known: number,
    refused: number,
    missing: number,
  }),
  alive: fc.constant({ kind: 'alive' }),
};

/** Ids at distances of a bit, of a word, and of none, where their hashes differ in some byte. */
function descending(seed: number, count: number): SyncIdList {
  const chance = new Chance(seed);
  let at = chance.pick([TIMESTAMP_MAX, START_NS, 2n ** 32n + 5n, 3n]);
  const ids = Array.from({ length: count }, () => {
    const row = boundAt(at);
    for (let place = chance.below(3) === 0 ? 9 : 2; place < 10; place++) row[place] = chance.word();
    const step = BigInt(chance.pick([0, 0, 1, 7, 2 ** 31, 2 ** 32, 2 ** 40]));
    at = step > at ? at : at - step;
    return row;
  });
  const ascending = SyncIdList.of(...ids).toAscending();
  return SyncIdList.of(
    ...Array.from({ length: ascending.count }, (_, row) => ascending.at(ascending.count - 1 - row)),
  );
}

describe('a frame comes back as it was:', () => {
  it.each(Object.entries(FRAMES))('%s', (_, frames) => {
    fc.assert(
      fc.property(frames, (frame) => {
        const encoded = encodeNativeFrame(frame);
        expect(decodeNativeFrame(encoded)).toEqual(frame);
        expect(encodeNativeFrame(decodeNativeFrame(encoded))).toEqual(encoded);
      }),
      { numRuns: 500 },
    );
  });
});

describe('damaged bytes', () => {
  const samples = [
    ...GOLDEN.map(([, , hex]) => fromHex(hex.replaceAll(' ', ''))),
    ...vectors.nativeFrames.map(({ hex }) => fromHex(hex)),
    ...vectors.malformed.map(({ hex }) => fromHex(hex)),
    encodeNativeFrame({ kind: 'offer', ids: descending(1, 20), last: false }),
  ];

  it('end in a value or a code, and soon', () => {
    const codes = new Set<string | undefined>();
    const startMs = performance.now();
    let decoded = 0;
    for (const sample of samples) {
      for (const damaged of mutationsOf(sample)) {
        codes.add(outcomeOf(damaged));
        decoded += 1;
      }
    }
    expect(decoded).toBeGreaterThan(10_000);
    // A tenth of a millisecond is usual: this is about bytes that cost far more than they weigh.
    expect((performance.now() - startMs) / decoded).toBeLessThan(5);
    codes.delete(undefined);
    expect([...codes].sort()).toEqual([
      'WIRE_FIELD_INVALID',
      'WIRE_LIMIT',
      'WIRE_OVERFLOW',
      'WIRE_TRUNCATED',
      'WIRE_TYPE',
      'WIRE_VARINT',
    ]);
  });

  it('of any kind end in a value or a code', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10 }), fc.uint8Array({ maxLength: 200 }), (kind, body) => {
        outcomeOf(Uint8Array.of(kind, ...body));
        outcomeOf(body);
      }),
      { numRuns: 10_000 },
    );
  });

  it('cut off anywhere are refused, but for a batch between two messages', () => {
    for (const [, { kind }, hex] of GOLDEN) {
      const whole = fromHex(hex.replaceAll(' ', ''));
      for (let length = 0; length < whole.length; length++) {
        const code = outcomeOf(whole.subarray(0, length));
        if (kind !== 'batch') expect(code).toMatch(/^WIRE_/);
      }
    }
  });

  it('with something behind them are refused; behind a batch it would be a message of no bytes', () => {
    for (const [, , hex] of GOLDEN) {
      const more = Uint8Array.of(...fromHex(hex.replaceAll(' ', '')), 0);
      expect(outcomeOf(more)).toBe('WIRE_FIELD_INVALID');
    }
  });

  it('of more messages than may be asked for are refused', () => {
    const most = {
      kind: 'batch',
      wants: 0,
      messages: Array(LIMITS.nativeWantedIds).fill(Uint8Array.of(7)),
    } as const;
    const encoded = encodeNativeFrame(most);
    expect(decodeNativeFrame(encoded)).toEqual(most);
    expect(outcomeOf(Uint8Array.of(...encoded, 1, 7))).toBe('WIRE_LIMIT');
  });

  it.each(vectors.malformed)('$name', ({ hex, code }) => {
    expect(outcomeOf(fromHex(hex))).toBe(code);
  });
});

/** The code of a decoding. What could be read can be written, and means the same again. */
function outcomeOf(encoded: Uint8Array): string | undefined {
  let frame: NativeFrame | undefined;
  const code = codeOf(() => {
    frame = decodeNativeFrame(encoded);
  });
  if (frame === undefined) {
    if (!code?.startsWith('WIRE_')) expect(code).toMatch(/^WIRE_/);
    return code;
  }
  expect(decodeNativeFrame(encodeNativeFrame(frame))).toEqual(frame);
  return undefined;
}

describe('what a frame is read into', () => {
  it('is a view, where it is large: messages of a batch are not copied', () => {
    const encoded = encodeNativeFrame({ kind: 'batch', wants: 1, messages: [Uint8Array.of(1, 2, 3)] });
    const frame = decodeNativeFrame(encoded);
    encoded[3] = 9;
    expect(frame).toMatchObject({ messages: [Uint8Array.of(9, 2, 3)] });
  });

  it('is a copy, where it outlives the frame: salt and agreement', () => {
    const agreement = new Uint8Array(8).fill(1);
    // A Buffer, whose slice is a view, must not be mistaken for plain bytes.
    const encoded = Buffer.from(encodeNativeFrame({ ...HELLO, agreement }));
    const frame = decodeNativeFrame(encoded);
    encoded.fill(0xff);
    expect(frame).toMatchObject({ salt: HELLO.salt, agreement });
  });

  it('is not more than the bytes bear out: memory is taken for no id that is not there', () => {
    const before = process.memoryUsage().arrayBuffers;
    const announced = Uint8Array.of(3, 0, 0x80, 0x08);
    for (let turn = 0; turn < 1_000; turn++) {
      expect(codeOf(() => decodeNativeFrame(announced))).toBe('WIRE_TRUNCATED');
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1024 * 1024);
  });
});

describe('the limits of a frame', () => {
  it('ids of an offer', () => {
    const ids = (count: number): SyncIdList =>
      SyncIdList.of(...Array.from({ length: count }, (_, row) => id(START_NS - BigInt(row), 1)));
    const full = { kind: 'offer', ids: ids(LIMITS.nativeOfferIds), last: false } as const;
    const encoded = encodeNativeFrame(full);
    expect(decodeNativeFrame(encoded)).toEqual(full);
    const more = { ...full, ids: ids(LIMITS.nativeOfferIds + 1) };
    expect(codeOf(() => encodeNativeFrame(more))).toBe('WIRE_UNENCODABLE');
    // The count is the two bytes after the flags: one more is announced, and there.
    encoded[2] = 0x81;
    const one = Uint8Array.of(1, ...new Uint8Array(HASH_BYTES));
    expect(codeOf(() => decodeNativeFrame(Uint8Array.of(...encoded, ...one)))).toBe('WIRE_LIMIT');
  });

  it('bytes of a message, and of a batch', () => {
    const message = new Uint8Array(LIMITS.transferFrameBytes).fill(7);
    const batch = (...messages: Uint8Array[]): NativeFrame => ({ kind: 'batch', wants: 0, messages });
    expect(decodeNativeFrame(encodeNativeFrame(batch(message)))).toEqual(batch(message));
    const larger = new Uint8Array(message.length + 1);
    expect(codeOf(() => encodeNativeFrame(batch(larger)))).toBe('WIRE_UNENCODABLE');
    expect(codeOf(() => decodeNativeFrame(batchBytes(larger)))).toBe('WIRE_LIMIT');

    const three = [message, message, message];
    const held = 2 + 3 * (lebLength(message.length) + message.length);
    const rest = LIMITS.nativeBatchBytesMax - held - 3;
    const full = encodeNativeFrame(batch(...three, new Uint8Array(rest)));
    expect(full).toHaveLength(LIMITS.nativeBatchBytesMax);
    expect(decodeNativeFrame(full)).toMatchObject({ messages: { length: 4 } });
    const over = [...three, new Uint8Array(rest + 1)];
    expect(codeOf(() => encodeNativeFrame(batch(...over)))).toBe('WIRE_UNENCODABLE');
    expect(codeOf(() => decodeNativeFrame(batchBytes(...over)))).toBe('WIRE_LIMIT');
  });

  it('topics, and the bytes of one', () => {
    const named = (...pubsubTopics: string[]): HelloFrame => ({
      ...HELLO,
      scope: { pubsubTopics, contentTopics: pubsubTopics },
    });
    const most = Array.from({ length: LIMITS.payloadTopics }, (_, row) => `/t/${row}`);
    expect(decodeNativeFrame(encodeNativeFrame(named(...most)))).toEqual(named(...most));
    expect(codeOf(() => encodeNativeFrame(named(...most, '/t')))).toBe('WIRE_UNENCODABLE');
    const longest = 'a'.repeat(LIMITS.messageTopicBytes);
    expect(decodeNativeFrame(encodeNativeFrame(named(longest)))).toEqual(named(longest));
    expect(codeOf(() => encodeNativeFrame(named(`${longest}a`)))).toBe('WIRE_UNENCODABLE');
  });
});

/** A batch as a peer without limits would write it. */
function batchBytes(...messages: Uint8Array[]): Uint8Array {
  const writer = new ByteWriter();
  writer.byte(5);
  writer.leb(0);
  for (const message of messages) {
    writer.leb(message.length);
    writer.raw(message);
  }
  return writer.finish();
}

describe('what no peer would read is not written:', () => {
  const beyond = boundAt(TIMESTAMP_MAX);
  beyond[0] = 0x8000_0000;
  const offer = (...ids: Uint32Array[]): NativeFrame => ({
    kind: 'offer',
    ids: SyncIdList.of(...ids),
    last: true,
  });
  const want = { kind: 'want', page: 0, first: 0, bits: new Uint8Array(0), final: false } as const;

  it.each<[string, NativeFrame]>([
    ['a salt of 15 bytes', { ...HELLO, salt: new Uint8Array(15) }],
    ['a salt of 17 bytes', { ...HELLO, salt: new Uint8Array(17) }],
    ['an agreement of 7 bytes', { ...HELLO, agreement: new Uint8Array(7) }],
    ['features beyond 31 bits', { ...HELLO, features: 2 ** 31 }],
    ['a cap of 0', { ...HELLO, messagesMax: 0 }],
    ['a cap of 0 bytes', { ...HELLO, bytesMax: 0 }],
    ['a window that ends before it begins', { ...HELLO, sinceNs: 2n, untilNs: 1n }],
    ['a window from before 1970', { ...HELLO, sinceNs: -1n }],
    ['a window beyond the end of time', { ...HELLO, untilNs: TIMESTAMP_MAX + 1n }],
    ['a topic without bytes', { ...HELLO, scope: { pubsubTopics: ['\ud800'], contentTopics: [] } }],
    ['a pause beyond 31 bits', { kind: 'refuse', reason: 'busy', retryAfterMs: 2 ** 31 }],
    ['ids that ascend', offer(id(1n, 1), id(2n, 1))],
    ['an id twice', offer(id(1n, 1), id(1n, 1))],
    ['hashes that ascend under one time', offer(id(1n, 1), id(1n, 2))],
    ['an id beyond the end of time', offer(beyond)],
    ['a place beyond the page', { ...want, first: LIMITS.nativeOfferIds + 1 }],
    ['more bits than a page has ids', { ...want, bits: new Uint8Array(LIMITS.nativeOfferIds / 8 + 1) }],
    ['a number beyond 2^48', { kind: 'ack', batches: NUMBER_MAX + 1 }],
    ['a number below 0', { kind: 'ack', batches: -1 }],
    ['a part of a number', { kind: 'ack', batches: 0.5 }],
    ['no number', { kind: 'over', state: 'agreed', have: Number.NaN }],
  ])('%s', (_, frame) => {
    expect(codeOf(() => encodeNativeFrame(frame))).toBe('WIRE_UNENCODABLE');
  });
});
