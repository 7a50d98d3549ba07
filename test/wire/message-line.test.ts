/** Message lines: no spelling of a timestamp loses a digit, and what is no message is refused with a code. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { messageHash, type WakuMessage } from '../../src/core/message.ts';
import { makeId, TIMESTAMP_MAX } from '../../src/core/sync-id.ts';
import { topicFromBytes } from '../../src/core/topic.ts';
import { Examiner } from '../../src/sync/ingest.ts';
import { systemSha256 } from '../../src/system.ts';
import {
  formatMessageLine,
  LineWriter,
  messageFromJson,
  parseJson,
  parseMessageLine,
} from '../../src/wire/message-line.ts';
import { asBuffer, encodeMessageAndTopic, MessageView } from '../../src/wire/waku-message.ts';
import { codeOf } from '../error-code.ts';
import { CHAT, messageOf, NOW_MS, SHARD_0 } from '../sample-messages.ts';

/** Beyond 2^53, and odd: as a double it would be another number. */
const EXACT = 1_442_504_880_048_014_721n;
const HASH = `0x${'aB'.repeat(32)}`;

/** A line in which the timestamp stands as it is written here. */
function lineWith(timestamp: string, contentTopic = '"/a"', more = ''): string {
  return `{"message":{"payload":"AQID","contentTopic":${contentTopic},"timestamp":${timestamp}${more}},"pubsubTopic":"/p"}`;
}

/** A line with these fields instead of the usual ones; undefined leaves one out. */
function lineOf(inner: Record<string, unknown> = {}, outer: Record<string, unknown> = {}): string {
  const message = { payload: 'AQID', contentTopic: CHAT, timestamp: '5', ...inner };
  return JSON.stringify({ message, pubsubTopic: SHARD_0, ...outer });
}

/** As an import reads a line, and as a request body is read: the two must agree. */
const readers: readonly [string, (line: string) => ReturnType<typeof messageFromJson>][] = [
  ['a line', parseMessageLine],
  ['a body', (line) => messageFromJson(parseJson(line))],
];

function idOf(message: WakuMessage): Uint32Array {
  return makeId(message.timestamp, messageHash(message, systemSha256));
}

describe.each(readers)('the timestamp of %s', (_, read) => {
  const timestampOf = (line: string): bigint => read(line).message.timestamp;

  it('is exact as a number and as a string', () => {
    for (const value of [EXACT, 2n ** 53n + 1n, TIMESTAMP_MAX, TIMESTAMP_MAX - 1n, 1n]) {
      expect(timestampOf(lineWith(`${value}`))).toBe(value);
      expect(timestampOf(lineWith(`"${value}"`))).toBe(value);
      expect(timestampOf(lineWith(` \t${value} `))).toBe(value);
    }
  });

  it('is not touched by a topic that holds its name', () => {
    for (const topic of ['"timestamp":123', ' "timestamp":123,', '{"timestamp":123}', '\\"timestamp":123']) {
      const { message } = read(lineWith(`${EXACT}`, JSON.stringify(topic)));
      expect([message.contentTopic, message.timestamp]).toEqual([topic, EXACT]);
    }
  });

  it('is the one of the message, whatever stands around it', () => {
    const nested = lineWith(`${EXACT}`, '"/a"', ',"x":{"timestamp":7}');
    expect(timestampOf(nested)).toBe(EXACT);
    expect(timestampOf(nested.replace('{', '{"timestamp":9007199254740993,'))).toBe(EXACT);
    expect(timestampOf(lineWith(`${EXACT}`, '"timestamp"'))).toBe(EXACT);
    const outerOnly = '{"timestamp":5,"message":{"payload":"","contentTopic":"/a"},"pubsubTopic":"/p"}';
    expect(codeOf(() => read(outerOnly))).toBe('MESSAGE_TIMESTAMP_INVALID');
  });

  it('is the last of two, as in all JSON', () => {
    expect(timestampOf(lineWith('7', '"/a"', `,"timestamp":${EXACT}`))).toBe(EXACT);
    expect(timestampOf(lineWith('7', '"/a"', `,"timestamp":"${EXACT}"`))).toBe(EXACT);
  });

  it('is exact or refused under an escaped name', () => {
    const plain = lineWith(`${EXACT}`);
    const escaped = plain.replace('"timestamp"', '"\\u0074imestamp"');
    expect(codeOf(() => read(escaped))).toBe('LINE_INVALID_FIELD');
    expect(timestampOf(lineWith('7').replace('"timestamp":7', `"\\u0074imestamp":"${EXACT}"`))).toBe(EXACT);
    const both = lineWith('7', '"/a"', `,"time\\u0073tamp":${EXACT}`);
    expect(codeOf(() => read(both))).toBe('LINE_INVALID_FIELD');
  });

  it.each(['1.0', '1.5', '1e3', '1E18', '1442504880048014720.0', '9007199254740990.6', '-1.0'])(
    'may not be %s',
    (written) => {
      expect(codeOf(() => read(lineWith(written)))).toBe('LINE_INVALID_FIELD');
      expect(codeOf(() => read(lineWith(`"${written}"`)))).toBe('LINE_INVALID_FIELD');
    },
  );

  it.each(['null', 'true', '[5]', '{}', '""', '" 5"', '"0x5"', '"5n"'])('may not be %s either', (written) => {
    expect(codeOf(() => read(lineWith(written)))).toBe('LINE_INVALID_FIELD');
  });

  it.each(['007', '-', '+5', '5 5', '-01'])('is no JSON as %s', (written) => {
    expect(codeOf(() => read(lineWith(written)))).toBe('LINE_INVALID_JSON');
    expect(codeOf(() => read(lineWith(written, '"\\u0061"')))).toBe('LINE_INVALID_JSON');
  });

  it('is left to the check of the message where it is no time to store', () => {
    const examiner = new Examiner(
      { nowMs: () => NOW_MS, monotonicMs: () => 0, sleep: () => Promise.resolve() },
      systemSha256,
    );
    for (const value of ['0', '-1', `-${EXACT}`]) {
      expect(timestampOf(lineWith(value))).toBe(BigInt(value));
    }
    for (const value of ['0', '-0', '-1', '9223372036854775808', '99999999999999999999', '9'.repeat(40)]) {
      for (const written of [value, `"${value}"`]) {
        const code = codeOf(() => {
          const { message, hash } = read(lineWith(written));
          const admission = examiner.examine(message, 0, hash);
          expect('refused' in admission && admission.refused).toBe('MESSAGE_TIMESTAMP_INVALID');
        });
        expect([undefined, 'MESSAGE_TIMESTAMP_INVALID']).toContain(code);
      }
    }
  });

  it('never becomes another one, however the line is put together', () => {
    const key = fc.constantFrom('"timestamp"', '"\\u0074imestamp"', '"timestam\\u0070"');
    const space = fc.constantFrom('', ' ', '\t', '\n');
    const value = fc.oneof(fc.bigInt(-(2n ** 64n), 2n ** 64n), fc.bigInt(0n, 2n ** 54n));
    const entry = fc.tuple(space, key, space, space, value, fc.boolean(), space);
    const topic = fc.constantFrom('/a', '"timestamp":1', ',"timestamp" : 2}', '\\', '\\"timestamp":3,');
    fc.assert(
      fc.property(
        fc.array(entry, { minLength: 1, maxLength: 3 }),
        topic,
        fc.boolean(),
        (entries, text, first) => {
          const fields = entries.map(
            ([a, name, b, c, number, quoted, d]) =>
              `${a}${name}${b}:${c}${quoted ? `"${number}"` : `${number}`}${d}`,
          );
          const topics = `"payload":"","contentTopic":${JSON.stringify(text)}`;
          const inner = first ? `${topics},${fields.join(',')}` : `${fields.join(',')},${topics}`;
          const line = `{"message":{${inner}},"pubsubTopic":${JSON.stringify(text)}}`;
          let parsed: bigint | undefined;
          const code = codeOf(() => {
            const { message } = read(line);
            parsed = message.timestamp;
            expect([message.contentTopic, message.pubsubTopic]).toEqual([text, text]);
          });
          if (code === undefined) expect(parsed).toBe(entries.at(-1)![4]);
          else expect(['LINE_INVALID_FIELD', 'MESSAGE_TIMESTAMP_INVALID']).toContain(code);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

describe('a line', () => {
  it('may leave out what a message may', () => {
    const least = { version: undefined, ephemeral: undefined, meta: undefined, rateLimitProof: undefined };
    const none = { version: null, ephemeral: null, meta: null, rateLimitProof: null };
    for (const inner of [{}, least, none]) {
      const { message, hash } = parseMessageLine(lineOf(inner));
      expect(hash).toBeUndefined();
      expect({ ...message, payload: [...message.payload] }).toEqual({
        ...messageOf({ timestamp: 5n }),
        payload: [1, 2, 3],
      });
    }
  });

  it('may hold fields that we do not know', () => {
    const line = lineOf({ colour: 'red', nested: { payload: '!' } }, { hops: [1, 2], messagehash: 'x' });
    expect(parseMessageLine(line)).toEqual(parseMessageLine(lineOf()));
  });

  it('carries every field', () => {
    const inner = { version: 0xffff_ffff, ephemeral: true, meta: 'BAU=', rateLimitProof: 'Bg==' };
    const { message, hash } = parseMessageLine(lineOf(inner, { messageHash: HASH }));
    expect(hash).toEqual(Buffer.alloc(32, 0xab));
    expect([message.version, message.ephemeral]).toEqual([0xffff_ffff, true]);
    expect([[...message.meta], [...message.rateLimitProof]]).toEqual([[4, 5], [6]]);
  });

  const wrong: readonly [string, Record<string, unknown>, Record<string, unknown>][] = [
    ['no payload', { payload: undefined }, {}],
    ['a payload that is null', { payload: null }, {}],
    ['a payload of numbers', { payload: [1, 2] }, {}],
    ['no content topic', { contentTopic: undefined }, {}],
    ['a content topic that is a number', { contentTopic: 5 }, {}],
    ['no pubsub topic', {}, { pubsubTopic: undefined }],
    ['a pubsub topic that is a list', {}, { pubsubTopic: ['/p'] }],
    ['no message', {}, { message: undefined }],
    ['a message that is null', {}, { message: null }],
    ['a message that is a list', {}, { message: [] }],
    ['a message that is text', {}, { message: 'AQID' }],
    ['a version below zero', { version: -1 }, {}],
    ['a version beyond 32 bits', { version: 2 ** 32 }, {}],
    ['a version with a fraction', { version: 0.5 }, {}],
    ['a version as text', { version: '0' }, {}],
    ['ephemeral as a number', { ephemeral: 0 }, {}],
    ['ephemeral as text', { ephemeral: 'false' }, {}],
    ['a meta that is a number', { meta: 5 }, {}],
    ['a proof that is an object', { rateLimitProof: {} }, {}],
    ['a hash without 0x', {}, { messageHash: HASH.slice(2) }],
    ['a hash that is short', {}, { messageHash: HASH.slice(0, -1) }],
    ['a hash that is long', {}, { messageHash: `${HASH}0` }],
    ['a hash with a line end', {}, { messageHash: `${HASH}\n` }],
    ['a hash that is not hex', {}, { messageHash: `${HASH.slice(0, -1)}g` }],
    ['a hash that is null', {}, { messageHash: null }],
    ['a hash that is a number', {}, { messageHash: 5 }],
  ];
  it.each(wrong)('is refused for %s', (_, inner, outer) => {
    expect(codeOf(() => parseMessageLine(lineOf(inner, outer)))).toBe('LINE_INVALID_FIELD');
  });

  it.each(['payload', 'meta', 'rateLimitProof'])('is refused for bad base64 in %s', (name) => {
    for (const bad of [
      'A',
      'AAAAA',
      '!',
      'AQ!D',
      'A!AAA',
      'AQ ID',
      'AAA A',
      'AQ\n',
      'A===',
      'AA==AAAA',
      'AQIŁ',
    ]) {
      expect([bad, codeOf(() => parseMessageLine(lineOf({ [name]: bad })))]).toEqual([
        bad,
        'LINE_INVALID_FIELD',
      ]);
    }
  });

  it('is refused for base64 with anything else in it, wherever', () => {
    const stranger = fc.constantFrom(' ', '\n', '!', '.', ',', '"', '\\', '\0', 'é', 'Ł', '€', '💧', '%');
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), stranger, fc.nat(60), (bytes, sign, place) => {
        const text = Buffer.from(bytes).toString('base64');
        const at = Math.min(place, text.length);
        const line = lineOf({ payload: text.slice(0, at) + sign + text.slice(at) });
        expect(codeOf(() => parseMessageLine(line))).toBe('LINE_INVALID_FIELD');
      }),
      { numRuns: 1_000 },
    );
  });

  it.each([
    '',
    ' ',
    '{',
    'no',
    '{"message":}',
    "{'message':{}}",
    lineOf().slice(0, -1),
    `${lineOf()},`,
    `\ufeff${lineOf()}`,
  ])('is refused when it is no JSON: %j', (text) => {
    expect(codeOf(() => parseMessageLine(text))).toBe('LINE_INVALID_JSON');
  });

  it.each(['null', '5', '"text"', '[]', '{}', 'true'])('is refused when it is no message: %s', (text) => {
    expect(codeOf(() => parseMessageLine(text))).toBe('LINE_INVALID_FIELD');
  });

  it('is given a code whatever it is', () => {
    const codes = [undefined, 'LINE_INVALID_JSON', 'LINE_INVALID_FIELD', 'MESSAGE_TIMESTAMP_INVALID'];
    const texts = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.json(),
      fc.json().map((json) => `{"message":${json}}`),
    );
    fc.assert(
      fc.property(texts, (text) => {
        expect(codes).toContain(codeOf(() => parseMessageLine(text)));
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('writing', () => {
  const fixture = readFileSync(new URL('../fixtures/chat-cadence.ndjson', import.meta.url), 'utf8');

  it('gives back a file of lines byte for byte', () => {
    const lines = fixture.trimEnd().split('\n');
    expect(lines.length).toBe(3_330);
    const writer = new LineWriter();
    for (const line of lines) {
      const { message, hash } = parseMessageLine(line);
      const id = idOf(message);
      expect(makeId(message.timestamp, hash!)).toEqual(id);
      expect(formatMessageLine(message, id)).toBe(line);
      writer.message(new MessageView().read(asBuffer(encodeMessageAndTopic(message))), id);
    }
    expect(writer.length).toBe(Buffer.byteLength(fixture));
    expect(writer.take().toString('utf8') === fixture).toBe(true);
    expect([writer.length, writer.take().length]).toEqual([0, 0]);
  });

  it('and reading is the way back for every message', () => {
    const topic = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 30 }),
      fc.constantFrom('"timestamp":1', ',"timestamp":2}', '\\"', '\u2028\n\0'),
      fc.uint8Array({ maxLength: 30 }).map((bytes) => topicFromBytes(bytes)),
    );
    const message: fc.Arbitrary<WakuMessage> = fc.record({
      pubsubTopic: topic,
      contentTopic: topic,
      payload: fc.uint8Array({ maxLength: 6_000, size: 'max' }),
      timestamp: fc.bigInt(1n, TIMESTAMP_MAX),
      version: fc.nat(0xffff_ffff),
      ephemeral: fc.boolean(),
      meta: fc.uint8Array({ maxLength: 64 }),
      rateLimitProof: fc.uint8Array({ maxLength: 64 }),
    });
    const plain = (one: WakuMessage): object => ({
      ...one,
      payload: [...one.payload],
      meta: [...one.meta],
      rateLimitProof: [...one.rateLimitProof],
    });
    fc.assert(
      fc.property(message, (one) => {
        const id = idOf(one);
        const line = formatMessageLine(one, id);
        expect(line.includes('\n')).toBe(false);
        for (const [, read] of readers) {
          const back = read(line);
          expect(plain(back.message)).toEqual(plain(one));
          expect(makeId(back.message.timestamp, back.hash!)).toEqual(id);
        }
      }),
      { numRuns: 300 },
    );
  });
});
