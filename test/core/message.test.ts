/** The message hash, and every reason for which a message may not be stored, at its exact limit and one beyond. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { messageFault, messageHash, shapeOf, type WakuMessage } from '../../src/core/message.ts';
import { TIMESTAMP_MAX } from '../../src/core/sync-id.ts';
import { topicFromBytes } from '../../src/core/topic.ts';
import { LIMITS } from '../../src/limits.ts';
import { codeOf } from '../error-code.ts';

const sha256 = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();

const NOW_MS = 1_787_184_000_000;
const NOW_NS = BigInt(NOW_MS) * 1_000_000n;

const MESSAGE: WakuMessage = {
  pubsubTopic: '/waku/2/rs/16/32',
  contentTopic: '/app/1/chat/proto',
  payload: Uint8Array.of(1, 2, 3),
  timestamp: NOW_NS,
  version: 0,
  ephemeral: false,
  meta: Uint8Array.of(9),
  rateLimitProof: new Uint8Array(),
};

function fault(changes: Partial<WakuMessage>, nowMs = NOW_MS, futureMs: number = LIMITS.messageFutureMs) {
  return messageFault(shapeOf({ ...MESSAGE, ...changes }, LIMITS), LIMITS, nowMs, futureMs);
}

function hex(changes: Partial<WakuMessage>): string {
  return Buffer.from(messageHash({ ...MESSAGE, ...changes }, sha256)).toString('hex');
}

describe('the message hash', () => {
  it('is SHA-256 of topic, payload, content topic, meta and time, whatever was hashed before', () => {
    const topic = fc.uint8Array({ maxLength: 40 }).map(topicFromBytes);
    fc.assert(
      fc.property(
        topic,
        topic,
        fc.uint8Array({ maxLength: 6000 }),
        fc.uint8Array({ maxLength: 64 }),
        fc.bigInt({ min: -(2n ** 63n), max: TIMESTAMP_MAX }),
        (pubsubTopic, contentTopic, payload, meta, timestamp) => {
          const time = Buffer.alloc(8);
          time.writeBigInt64BE(timestamp);
          const parts = [topicBuffer(pubsubTopic), payload, topicBuffer(contentTopic), meta, time];
          expect(hex({ pubsubTopic, contentTopic, payload, meta, timestamp })).toBe(
            createHash('sha256').update(Buffer.concat(parts)).digest('hex'),
          );
        },
      ),
    );
  });

  it('does not depend on version, ephemeral or proof, and does on all else', () => {
    for (const same of [{ version: 7 }, { ephemeral: true }, { rateLimitProof: Uint8Array.of(1) }]) {
      expect(hex(same)).toBe(hex({}));
    }
    for (const other of [
      { pubsubTopic: '/waku/2/rs/16/33' },
      { contentTopic: '/app/1/chat/protp' },
      { payload: Uint8Array.of(1, 2, 4) },
      { meta: new Uint8Array() },
      { timestamp: NOW_NS + 1n },
    ]) {
      expect(hex(other)).not.toBe(hex({}));
    }
  });

  it('refuses a topic without bytes', () => {
    expect(codeOf(() => messageHash({ ...MESSAGE, contentTopic: '\ud800' }, sha256))).toBe(
      'MESSAGE_TOPIC_INVALID',
    );
    expect(codeOf(() => messageHash({ ...MESSAGE, pubsubTopic: '\udfff' }, sha256))).toBe(
      'MESSAGE_TOPIC_INVALID',
    );
  });
});

describe('a message may be stored', () => {
  it('when nothing is wrong with it', () => {
    expect(fault({})).toBeUndefined();
    expect(
      fault({ payload: new Uint8Array(), meta: new Uint8Array(), contentTopic: '', pubsubTopic: '' }),
    ).toBe(undefined);
  });

  it('up to the limit of its payload', () => {
    expect(fault({ payload: new Uint8Array(LIMITS.messagePayloadBytes) })).toBeUndefined();
    expect(fault({ payload: new Uint8Array(LIMITS.messagePayloadBytes + 1) })).toBe('MESSAGE_TOO_LARGE');
  });

  it('up to the limit of its meta', () => {
    expect(fault({ meta: new Uint8Array(LIMITS.messageMetaBytes) })).toBeUndefined();
    expect(fault({ meta: new Uint8Array(LIMITS.messageMetaBytes + 1) })).toBe('MESSAGE_META_TOO_LONG');
  });

  it('up to the limit of its proof', () => {
    expect(fault({ rateLimitProof: new Uint8Array(LIMITS.messageProofBytes) })).toBeUndefined();
    expect(fault({ rateLimitProof: new Uint8Array(LIMITS.messageProofBytes + 1) })).toBe(
      'MESSAGE_PROOF_TOO_LONG',
    );
  });

  it.each(['pubsubTopic', 'contentTopic'] as const)('up to the limit of its %s, in bytes', (field) => {
    const longest = LIMITS.messageTopicBytes;
    expect(fault({ [field]: 'a'.repeat(longest) })).toBeUndefined();
    expect(fault({ [field]: 'a'.repeat(longest + 1) })).toBe('MESSAGE_TOPIC_INVALID');
    // Two bytes a character, and one byte for each escaped one.
    expect(fault({ [field]: 'é'.repeat(longest / 2) })).toBeUndefined();
    expect(fault({ [field]: `${'é'.repeat(longest / 2)}a` })).toBe('MESSAGE_TOPIC_INVALID');
    expect(fault({ [field]: '\udcff'.repeat(longest) })).toBeUndefined();
    expect(fault({ [field]: '\udcff'.repeat(longest + 1) })).toBe('MESSAGE_TOPIC_INVALID');
    expect(fault({ [field]: 'a\ud800' })).toBe('MESSAGE_TOPIC_INVALID');
  });

  it('with a version of 32 bits', () => {
    expect(fault({ version: 0xffff_ffff })).toBeUndefined();
    for (const version of [0x1_0000_0000, -1, 1.5, Number.NaN]) {
      expect(fault({ version })).toBe('MESSAGE_VERSION_INVALID');
    }
  });

  it('with a time of 1 to 2^63-1 ns', () => {
    expect(fault({ timestamp: 1n })).toBeUndefined();
    expect(fault({ timestamp: 0n })).toBe('MESSAGE_TIMESTAMP_INVALID');
    expect(fault({ timestamp: -1n })).toBe('MESSAGE_TIMESTAMP_INVALID');
    const endMs = Number(TIMESTAMP_MAX / 1_000_000n) + 1;
    expect(fault({ timestamp: TIMESTAMP_MAX }, endMs)).toBeUndefined();
    expect(fault({ timestamp: TIMESTAMP_MAX + 1n }, endMs)).toBe('MESSAGE_TIMESTAMP_INVALID');
  });

  it('not from further ahead than allowed', () => {
    const latest = NOW_NS + BigInt(LIMITS.messageFutureMs) * 1_000_000n;
    expect(fault({ timestamp: latest })).toBeUndefined();
    expect(fault({ timestamp: latest + 1n })).toBe('MESSAGE_TIMESTAMP_FUTURE');
    expect(fault({ timestamp: NOW_NS }, NOW_MS, 0)).toBeUndefined();
    expect(fault({ timestamp: NOW_NS + 1n }, NOW_MS, 0)).toBe('MESSAGE_TIMESTAMP_FUTURE');
    // A clock may give parts of a millisecond.
    expect(fault({ timestamp: NOW_NS + 1n }, NOW_MS + 0.25, 0)).toBeUndefined();
  });

  it('not when it is ephemeral', () => {
    expect(fault({ ephemeral: true })).toBe('MESSAGE_EPHEMERAL');
  });
});

/** An escaped byte is that byte; the rest is UTF-8. */
function topicBuffer(topic: string): Buffer {
  return Buffer.concat(
    [...topic].map((character) =>
      character >= '\udc80' && character <= '\udcff'
        ? Buffer.of(character.charCodeAt(0) - 0xdc00)
        : Buffer.from(character),
    ),
  );
}
