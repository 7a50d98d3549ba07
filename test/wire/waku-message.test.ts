/** Transfer frames: a message comes back as it was, and damaged bytes give a value or a code, never anything else. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromHex } from '../../scripts/vectors/shared.ts';
import { wakuMessageFile } from '../../scripts/vectors/waku-message.ts';
import type { WakuMessage } from '../../src/core/message.ts';
import { topicFromBytes } from '../../src/core/topic.ts';
import { LIMITS } from '../../src/limits.ts';
import {
  decodeMessage,
  decodeMessageAndTopic,
  encodeMessage,
  encodeMessageAndTopic,
} from '../../src/wire/waku-message.ts';
import { codeOf } from '../error-code.ts';
import { mutationsOf } from './mutations.ts';

const topic = fc.uint8Array({ maxLength: 40 }).map(topicFromBytes);
const message: fc.Arbitrary<WakuMessage> = fc.record({
  pubsubTopic: topic,
  contentTopic: topic,
  payload: fc.uint8Array({ maxLength: 400 }),
  timestamp: fc.oneof(
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.constantFrom(0n, -1n, 2n ** 63n - 1n, -(2n ** 63n), 1_787_184_000_000_000_000n),
  ),
  version: fc.nat(0xffff_ffff),
  ephemeral: fc.boolean(),
  meta: fc.uint8Array({ maxLength: LIMITS.messageMetaBytes }),
  rateLimitProof: fc.uint8Array({ maxLength: 300 }),
});

describe('a transfer frame', () => {
  it('gives back the message it was made from', () => {
    fc.assert(
      fc.property(message, (sent) => {
        const frame = encodeMessageAndTopic(sent);
        expect(decodeMessageAndTopic(frame)).toEqual(sent);
        expect(decodeMessage(encodeMessage(sent), sent.pubsubTopic)).toEqual(sent);
        // Millions of these lie in queues and in the store: none may drag a larger buffer along.
        expect(frame.buffer.byteLength).toBe(frame.length);
      }),
      { numRuns: 500 },
    );
  });

  it('fits the limit of frames with the largest message that may be stored', () => {
    const largest = encodeMessageAndTopic({
      pubsubTopic: 'p'.repeat(LIMITS.messageTopicBytes),
      contentTopic: 'c'.repeat(LIMITS.messageTopicBytes),
      payload: new Uint8Array(LIMITS.messagePayloadBytes),
      timestamp: 2n ** 63n - 1n,
      version: 0xffff_ffff,
      ephemeral: true,
      meta: new Uint8Array(LIMITS.messageMetaBytes),
      rateLimitProof: new Uint8Array(LIMITS.messageProofBytes),
    });
    expect(largest.length).toBeLessThanOrEqual(LIMITS.transferFrameBytes);
  });

  it('needs its two topics and its payload, and nothing else', () => {
    const inner = [0x0a, 1, 9, 0x12, 1, 0x63];
    const frame = (...fields: number[]) => Uint8Array.of(0x0a, 1, 0x70, 0x12, fields.length, ...fields);
    const read = decodeMessageAndTopic(frame(...inner));
    expect(read).toEqual({
      pubsubTopic: 'p',
      contentTopic: 'c',
      payload: Uint8Array.of(9),
      timestamp: 0n,
      version: 0,
      ephemeral: false,
      meta: new Uint8Array(0),
      rateLimitProof: new Uint8Array(0),
    });
    for (const incomplete of [
      frame(0x0a, 1, 9),
      frame(0x12, 1, 0x63),
      Uint8Array.of(0x0a, 1, 0x70),
      Uint8Array.of(0x12, inner.length, ...inner),
      new Uint8Array(0),
    ]) {
      expect(codeOf(() => decodeMessageAndTopic(incomplete))).toBe('WIRE_FIELD_MISSING');
    }
  });

  it('takes the last of a field that comes twice, and none of a wrong type', () => {
    const bytes = [0x0a, 1, 1, 0x0a, 1, 2, 0x12, 1, 0x63, 0x52, 1, 7, 0x18, 5, 0x18, 6];
    const read = decodeMessage(Uint8Array.from(bytes), 'p');
    expect([[...read.payload], read.timestamp, read.version]).toEqual([[2], 0n, 6]);
  });

  it('holds meta and version to their size', () => {
    const sent: WakuMessage = {
      pubsubTopic: 'p',
      contentTopic: 'c',
      payload: new Uint8Array(1),
      timestamp: 1n,
      version: 1,
      ephemeral: false,
      meta: new Uint8Array(LIMITS.messageMetaBytes + 1),
      rateLimitProof: new Uint8Array(0),
    };
    expect(codeOf(() => decodeMessageAndTopic(encodeMessageAndTopic(sent)))).toBe('WIRE_FIELD_INVALID');
    const wide = Uint8Array.of(0x0a, 0, 0x12, 0, 0x18, 0x80, 0x80, 0x80, 0x80, 0x10);
    expect(codeOf(() => decodeMessage(wide, 'p'))).toBe('WIRE_VARINT');
  });

  it('cannot be made for a topic without bytes', () => {
    const [sent] = fc.sample(message, 1);
    for (const broken of [{ pubsubTopic: '\ud800' }, { contentTopic: '\ud800' }]) {
      expect(codeOf(() => encodeMessageAndTopic({ ...sent!, ...broken }))).toBe('MESSAGE_TOPIC_INVALID');
    }
  });

  it('damaged in any one place gives a value or a code', () => {
    const file = wakuMessageFile.parse(
      JSON.parse(readFileSync(new URL('../../spec/vectors/waku-message.json', import.meta.url), 'utf8')),
    );
    const samples = file.vectors
      .map((vector) => fromHex(vector.encoded))
      .filter((bytes) => bytes.length < 600);
    expect(samples.length).toBeGreaterThan(10);
    for (const sample of samples.slice(0, 25)) {
      for (const damaged of mutationsOf(sample)) {
        let read: WakuMessage | undefined;
        const code = codeOf(() => {
          read = decodeMessageAndTopic(damaged);
        });
        if (code !== undefined) expect(code).toMatch(/^WIRE_/);
        // What could be read can be written, and is then read the same.
        else if (!sameMessage(decodeMessageAndTopic(encodeMessageAndTopic(read!)), read!)) {
          expect(decodeMessageAndTopic(encodeMessageAndTopic(read!))).toEqual(read);
        }
      }
    }
  });
});

function sameMessage(a: WakuMessage, b: WakuMessage): boolean {
  return Buffer.compare(encodeMessageAndTopic(a), encodeMessageAndTopic(b)) === 0;
}
