/** The one door into the store: every code with which a message is turned away, and the edges at which it is not. */
import { describe, expect, it } from 'vitest';
import { messageHash } from '../../src/core/message.ts';
import { makeId } from '../../src/core/sync-id.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { Examiner, hexHash, Ingest } from '../../src/sync/ingest.ts';
import { systemSha256 } from '../../src/system.ts';
import { decodeMessageAndTopic, encodeMessageAndTopic } from '../../src/wire/waku-message.ts';
import { endedIn } from '../ended-in.ts';
import { MemoryStore } from '../memory-store.ts';
import { hexOf, type MessageInit, messageOf, NOW_NS, samples } from '../sample-messages.ts';
import { VirtualClock } from './virtual-clock.ts';

const FUTURE_MS = LIMITS.messageFutureMs;
const LATEST_NS = NOW_NS + BigInt(FUTURE_MS) * 1_000_000n;
const examiner = new Examiner(new VirtualClock(), systemSha256);
const verdict = (init: MessageInit): ErrorCode | undefined => {
  const admission = examiner.examine(messageOf(init), FUTURE_MS);
  return 'refused' in admission ? admission.refused : undefined;
};
const bytes = (length: number): Uint8Array => new Uint8Array(length);

describe('the door', () => {
  it.each<[string, ErrorCode, MessageInit, MessageInit]>([
    [
      'payload',
      'MESSAGE_TOO_LARGE',
      { payload: bytes(LIMITS.messagePayloadBytes + 1) },
      { payload: bytes(LIMITS.messagePayloadBytes) },
    ],
    [
      'meta',
      'MESSAGE_META_TOO_LONG',
      { meta: bytes(LIMITS.messageMetaBytes + 1) },
      { meta: bytes(LIMITS.messageMetaBytes) },
    ],
    [
      'proof',
      'MESSAGE_PROOF_TOO_LONG',
      { rateLimitProof: bytes(LIMITS.messageProofBytes + 1) },
      { rateLimitProof: bytes(LIMITS.messageProofBytes) },
    ],
    [
      'content topic',
      'MESSAGE_TOPIC_INVALID',
      { contentTopic: 'x'.repeat(LIMITS.messageTopicBytes + 1) },
      { contentTopic: 'x'.repeat(LIMITS.messageTopicBytes) },
    ],
    [
      'bytes of a topic',
      'MESSAGE_TOPIC_INVALID',
      { contentTopic: 'ü'.repeat(LIMITS.messageTopicBytes / 2 + 1) },
      { contentTopic: 'ü'.repeat(LIMITS.messageTopicBytes / 2) },
    ],
    [
      'pubsub topic',
      'MESSAGE_TOPIC_INVALID',
      { pubsubTopic: '/waku/\ud800' },
      { pubsubTopic: '/waku/\ud83d\ude00' },
    ],
    ['version', 'MESSAGE_VERSION_INVALID', { version: 2 ** 32 }, { version: 2 ** 32 - 1 }],
    ['sign of the version', 'MESSAGE_VERSION_INVALID', { version: -1 }, { version: 0 }],
    ['time', 'MESSAGE_TIMESTAMP_INVALID', { timestamp: 0n }, { timestamp: 1n }],
    ['sign of the time', 'MESSAGE_TIMESTAMP_INVALID', { timestamp: -1n }, { timestamp: 1n }],
    ['range of the time', 'MESSAGE_TIMESTAMP_INVALID', { timestamp: 2n ** 63n }, { timestamp: 1n }],
    ['clock', 'MESSAGE_TIMESTAMP_FUTURE', { timestamp: LATEST_NS + 1n }, { timestamp: LATEST_NS }],
    ['lifetime', 'MESSAGE_EPHEMERAL', { ephemeral: true }, { ephemeral: false }],
  ])('turns a message away for its %s, at the limit and not before', (_, code, refused, admitted) => {
    expect([verdict(refused), verdict(admitted)]).toEqual([code, undefined]);
  });

  it('goes by a clock that moves', async () => {
    const clock = new VirtualClock();
    const moving = new Examiner(clock, systemSha256);
    const message = messageOf({ timestamp: NOW_NS + 1_000_000n });
    expect(moving.examine(message, 0)).toMatchObject({ refused: 'MESSAGE_TIMESTAMP_FUTURE' });
    await clock.advance(1);
    expect(moving.examine(message, 0)).toHaveProperty('stored');
  });

  it('turns a message away that is not what it was called', () => {
    const message = messageOf();
    const hash = messageHash(message, systemSha256);
    expect(examiner.examine(message, 0, hash)).toHaveProperty('stored');
    const wrongs = [hash.map((byte, at) => (at === 31 ? byte ^ 1 : byte)), hash.subarray(0, 31), bytes(0)];
    for (const wrong of wrongs) {
      expect(examiner.examine(message, 0, wrong)).toEqual({ refused: 'MESSAGE_HASH_MISMATCH', hash });
    }
  });

  it('names the identity a refused message came under', () => {
    const hash = bytes(32).fill(7);
    const refused = examiner.examine(messageOf({ ephemeral: true }), 0, hash);
    expect(refused).toEqual({ refused: 'MESSAGE_EPHEMERAL', hash });
    expect(examiner.examine(messageOf({ ephemeral: true }), 0)).toMatchObject({ hash: undefined });
  });

  it('keeps all of a message that it lets in', () => {
    const message = messageOf({ version: 7, meta: bytes(3).fill(1), rateLimitProof: bytes(9).fill(2) });
    const admission = examiner.examine(message, 0);
    if (!('stored' in admission)) throw new Error('refused');
    const { id, encoded, pubsubTopic, contentTopic } = admission.stored;
    expect(id).toEqual(makeId(message.timestamp, messageHash(message, systemSha256)));
    expect(decodeMessageAndTopic(encoded)).toEqual(message);
    expect({ pubsubTopic, contentTopic }).toMatchObject({
      pubsubTopic: message.pubsubTopic,
      contentTopic: message.contentTopic,
    });
    expect(hexHash(id)).toBe(`0x${hexOf(admission.stored)}`);
  });
});

describe('the way into the store', () => {
  it('tells what was stored, and passes on what the store throws', async () => {
    const store = new MemoryStore();
    const ingest = new Ingest(store, new VirtualClock(), systemSha256);
    const messages = samples(5);
    expect(await ingest.append(messages.slice(0, 3))).toEqual({ stored: 3, duplicate: 0 });
    expect(await ingest.append(messages)).toEqual({ stored: 2, duplicate: 3 });
    store.writable = false;
    expect(await endedIn(ingest.append(samples(2, { seed: 9 })))).toBe('STORE_FAULT');
    expect(store.count).toBe(5);
  });
});

describe('a message as it was sent', () => {
  const admitted = (frame: Uint8Array) => {
    const admission = examiner.examineFrame(frame, FUTURE_MS);
    if ('refused' in admission) throw new Error(admission.refused);
    return admission.stored;
  };

  it('is the one that it would be as a value', () => {
    for (const sample of samples(300, { pubsubTopics: ['/waku/2/rs/1/0', '/ü/\ud83d\ude00'] })) {
      const message = decodeMessageAndTopic(sample.encoded);
      expect({ stored: admitted(sample.encoded) }).toEqual(examiner.examine(message, FUTURE_MS));
      // Its bytes are not copied.
      expect(admitted(sample.encoded).encoded).toBe(sample.encoded);
    }
  });

  it('is refused for the same reasons', () => {
    const inits: MessageInit[] = [
      { payload: bytes(LIMITS.messagePayloadBytes + 1) },
      { rateLimitProof: bytes(LIMITS.messageProofBytes + 1) },
      { contentTopic: 'ü'.repeat(LIMITS.messageTopicBytes / 2 + 1) },
      { timestamp: 0n },
      { timestamp: -1n },
      { timestamp: LATEST_NS + 1n },
      { ephemeral: true },
    ];
    for (const init of inits) {
      const admission = examiner.examineFrame(encodeMessageAndTopic(messageOf(init)), FUTURE_MS);
      expect('refused' in admission ? admission.refused : undefined).toBe(verdict(init));
      expect(verdict(init)).toBeDefined();
    }
  });

  it('is stored without what else was in its bytes', () => {
    const [sample] = samples(1);
    const { encoded } = sample!;
    // An unknown field behind it; and its topic a second time.
    const unknown = Uint8Array.of(...encoded, 0x7a, 3, 1, 2, 3);
    const again = Uint8Array.of(...encoded, ...encoded.subarray(0, 2 + encoded[1]!));
    for (const frame of [unknown, again]) expect(admitted(frame)).toEqual(admitted(encoded));
  });
});
