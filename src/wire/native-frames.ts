/**
 * The frames of `/lacuna/sync/1.0.0`, the one stream of a session between two Lacunas: a byte that tells the kind,
 * then the body. The length before each frame is the business of `frame.ts`. The decoder is bounded by what the
 * bytes can hold, and what it would refuse the encoder does not write.
 */

import type { Interval } from '../core/interval.ts';
import {
  compareIds,
  HASH_BYTES,
  ID_WORDS,
  readHashWords,
  SyncIdList,
  TIMESTAMP_MAX,
  writeHashWords,
} from '../core/sync-id.ts';
import { topicBytes, topicFromBytes } from '../core/topic.ts';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { ByteReader, ByteWriter, lebLength } from './bytes.ts';
import type {
  BatchFrame,
  HelloFrame,
  NativeFrame,
  OfferFrame,
  OverFrame,
  RefuseFrame,
  ResultFrame,
  WantFrame,
} from './native-frame.ts';
import { REFUSAL_REASONS } from './native-frame.ts';
import { decodeNativePayload, encodeNativePayload } from './native-payload.ts';

/** The first byte of a frame is the place of its kind here. */
const KINDS = [
  'hello',
  'refuse',
  'payload',
  'offer',
  'want',
  'batch',
  'ack',
  'over',
  'result',
  'alive',
] as const satisfies readonly NativeFrame['kind'][];

/** Flags of a hello. */
const GIVES = 0x01;
const TAKES = 0x02;
const AGREEMENT = 0x04;
const AUDIT = 0x08;
/** The one flag of an offer, of an end, and of a result. */
const LAST = 0x01;
const INCOMPLETE = 0x01;
const CAPPED = 0x01;

const SALT_BYTES = 16;
const AGREEMENT_BYTES = 8;
/** The most that a number may be unless a smaller limit is named: a count of bytes beyond it is no honest one. */
const NUMBER_MAX = 2 ** 48;
/** Features and milliseconds: what a signed word can hold. */
const WORD_MAX = 2 ** 31 - 1;
const LEB_BYTES = 10;
const TWO_32 = 0x1_0000_0000;
const TIME_HIGH_MAX = 0x7fff_ffff;
const WANT_BITS_BYTES = LIMITS.nativeOfferIds / 8;

/** @throws LacunaError WIRE_UNENCODABLE for what the decoder would refuse. */
export function encodeNativeFrame(frame: NativeFrame): Uint8Array {
  const writer = new FrameWriter(capacityFor(frame));
  writer.frame(frame);
  return writer.finish();
}

/**
 * Messages of a batch and bits of a want are views of `bytes`, not copies.
 *
 * @throws LacunaError WIRE_TRUNCATED, WIRE_VARINT, WIRE_OVERFLOW, WIRE_TYPE, WIRE_LIMIT, WIRE_FIELD_INVALID
 */
export function decodeNativeFrame(bytes: Uint8Array): NativeFrame {
  const reader = new FrameReader(bytes);
  const frame = reader.frame();
  if (reader.left > 0) throw new LacunaError('WIRE_FIELD_INVALID', `${reader.left} bytes after the frame`);
  return frame;
}

/** Frames that are large know their size, so that nothing of them is copied twice. */
function capacityFor(frame: NativeFrame): number | undefined {
  if (frame.kind === 'offer') return 16 + frame.ids.count * (HASH_BYTES + LEB_BYTES);
  if (frame.kind !== 'batch') return undefined;
  let bytes = 1 + lebLength(frame.wants);
  for (const message of frame.messages) bytes += lebLength(message.length) + message.length;
  if (bytes > LIMITS.nativeBatchBytesMax) throw unencodable(`a batch of ${bytes} bytes`);
  return bytes;
}

class FrameWriter extends ByteWriter {
  frame(frame: NativeFrame): void {
    this.byte(KINDS.indexOf(frame.kind));
    if (frame.kind === 'hello') this.#hello(frame);
    else if (frame.kind === 'refuse') this.#refuse(frame);
    else if (frame.kind === 'payload') this.raw(encodeNativePayload(frame.payload));
    else if (frame.kind === 'offer') this.#offer(frame);
    else if (frame.kind === 'want') this.#want(frame);
    else if (frame.kind === 'batch') this.#batch(frame);
    else if (frame.kind === 'ack') this.#number(frame.batches);
    else if (frame.kind === 'over') this.#over(frame);
    else if (frame.kind === 'result') this.#result(frame);
    else frame.kind satisfies 'alive';
  }

  #hello(frame: HelloFrame): void {
    const { agreement, sinceNs, untilNs } = frame;
    if (untilNs < sinceNs) throw unencodable('a window that ends before it begins');
    let flags = 0;
    if (frame.gives) flags |= GIVES;
    if (frame.takes) flags |= TAKES;
    if (agreement !== undefined) flags |= AGREEMENT;
    if (frame.audit) flags |= AUDIT;
    this.#number(frame.features, WORD_MAX);
    this.byte(flags);
    this.#time(sinceNs);
    this.#time(untilNs);
    this.#exactly(frame.salt, SALT_BYTES);
    if (agreement !== undefined) this.#exactly(agreement, AGREEMENT_BYTES);
    this.#number(frame.windowBytes);
    this.#cap(frame.messagesMax);
    this.#cap(frame.bytesMax);
    this.#topics(frame.scope.pubsubTopics);
    this.#topics(frame.scope.contentTopics);
    this.#number(frame.clockMs);
    this.#gaps(frame.gaps);
  }

  /** Each begins so long after the one before it has ended; the first, after 1970. */
  #gaps(gaps: readonly Interval[]): void {
    this.#number(gaps.length, LIMITS.helloGaps);
    let endNs = 0n;
    for (const [at, { sinceNs, untilNs }] of gaps.entries()) {
      if (untilNs <= sinceNs || sinceNs < endNs || (at > 0 && sinceNs === endNs)) {
        throw unencodable('gaps that do not ascend');
      }
      this.#time(sinceNs - endNs);
      this.#time(untilNs - sinceNs);
      endNs = untilNs;
    }
  }

  #refuse({ reason, retryAfterMs }: RefuseFrame): void {
    this.#number(REFUSAL_REASONS.indexOf(reason));
    this.#number(retryAfterMs, WORD_MAX);
  }

  #offer({ ids, last }: OfferFrame): void {
    const { words, count } = ids;
    this.byte(last ? LAST : 0);
    this.#number(count, LIMITS.nativeOfferIds);
    for (let row = 0; row < count; row++) {
      const at = row * ID_WORDS;
      let high = words[at]!;
      let low = words[at + 1]!;
      if (row === 0) {
        if (high > TIME_HIGH_MAX) throw unencodable('a time beyond 2^63-1');
      } else {
        const before = at - ID_WORDS;
        if (compareIds(words, before, words, at) <= 0) throw unencodable('ids that do not descend');
        low = words[before + 1]! - low;
        high = words[before]! - high;
        if (low < 0) {
          low += TWO_32;
          high -= 1;
        }
      }
      this.leb64(high, low);
      const place = this.skip(HASH_BYTES);
      writeHashWords(words, at + 2, this.buffer, place);
    }
  }

  #want({ page, first, bits, final }: WantFrame): void {
    this.#number(page);
    this.#number(2 * first + (final ? 1 : 0), 2 * LIMITS.nativeOfferIds + 1);
    this.#bytes(bits, WANT_BITS_BYTES);
  }

  #batch({ wants, messages }: BatchFrame): void {
    this.#number(wants);
    if (messages.length > LIMITS.nativeWantedIds) throw unencodable(`a batch of ${messages.length} messages`);
    for (const message of messages) {
      if (message.length === 0) throw unencodable('a message of no bytes');
      this.#bytes(message, LIMITS.transferFrameBytes);
    }
  }

  #over({ state, have }: OverFrame): void {
    this.byte(state === 'agreed' ? 0 : INCOMPLETE);
    this.#number(have);
  }

  #result({ capped, received, known, refused, missing }: ResultFrame): void {
    this.byte(capped ? CAPPED : 0);
    for (const count of [received, known, refused, missing]) this.#number(count);
  }

  #time(timestampNs: bigint): void {
    if (timestampNs < 0n || timestampNs > TIMESTAMP_MAX) throw unencodable(`a time of ${timestampNs} ns`);
    this.leb64(Number(timestampNs >> 32n), Number(timestampNs & 0xffff_ffffn));
  }

  /** No cap is written as 0, which is why a cap of 0 cannot be. */
  #cap(cap: number | undefined): void {
    if (cap === 0) throw unencodable('a cap of 0');
    this.#number(cap ?? 0);
  }

  #topics(topics: readonly string[]): void {
    this.#number(topics.length, LIMITS.payloadTopics);
    for (const topic of topics) {
      const bytes = topicBytes(topic);
      if (bytes === undefined) throw unencodable('a topic has no bytes');
      this.#bytes(bytes, LIMITS.messageTopicBytes);
    }
  }

  #bytes(bytes: Uint8Array, max: number): void {
    this.#number(bytes.length, max);
    this.raw(bytes);
  }

  #exactly(bytes: Uint8Array, length: number): void {
    if (bytes.length !== length) throw unencodable(`${bytes.length} bytes in place of ${length}`);
    this.raw(bytes);
  }

  #number(value: number, max = NUMBER_MAX): void {
    if (!Number.isInteger(value) || value < 0 || value > max) {
      throw unencodable(`${value} is no number of 0 to ${max}`);
    }
    this.leb(value);
  }
}

class FrameReader extends ByteReader {
  frame(): NativeFrame {
    const head = this.byte();
    const kind = KINDS[head];
    if (kind === 'hello') return this.#hello();
    if (kind === 'refuse') return this.#refuse();
    if (kind === 'payload') return { kind, payload: decodeNativePayload(this.take(this.left)) };
    if (kind === 'offer') return this.#offer();
    if (kind === 'want') return this.#want();
    if (kind === 'batch') return this.#batch();
    if (kind === 'ack') return { kind, batches: this.#number() };
    if (kind === 'over') return this.#over();
    if (kind === 'result') return this.#result();
    if (kind === 'alive') return { kind };
    throw new LacunaError('WIRE_TYPE', `a frame of kind ${head}`);
  }

  #hello(): HelloFrame {
    const features = this.#number(WORD_MAX);
    const flags = this.#flags(GIVES | TAKES | AGREEMENT | AUDIT);
    const sinceNs = this.#time();
    const untilNs = this.#time();
    if (untilNs < sinceNs) {
      throw new LacunaError('WIRE_FIELD_INVALID', 'a window that ends before it begins');
    }
    return {
      kind: 'hello',
      features,
      gives: (flags & GIVES) !== 0,
      takes: (flags & TAKES) !== 0,
      audit: (flags & AUDIT) !== 0,
      sinceNs,
      untilNs,
      // These outlive the frame, and must not hold on to it.
      salt: new Uint8Array(this.take(SALT_BYTES)),
      agreement: (flags & AGREEMENT) === 0 ? undefined : new Uint8Array(this.take(AGREEMENT_BYTES)),
      windowBytes: this.#number(),
      messagesMax: this.#number() || undefined,
      bytesMax: this.#number() || undefined,
      scope: { pubsubTopics: this.#topics(), contentTopics: this.#topics() },
      clockMs: this.#number(),
      gaps: this.#gaps(),
    };
  }

  #gaps(): Interval[] {
    const count = this.#number(LIMITS.helloGaps);
    const gaps: Interval[] = [];
    let endNs = 0n;
    for (let at = 0; at < count; at++) {
      const pause = this.#time();
      const length = this.#time();
      if (length === 0n || (at > 0 && pause === 0n)) {
        throw new LacunaError('WIRE_FIELD_INVALID', 'a gap that is empty or belongs to the one before');
      }
      const sinceNs = endNs + pause;
      endNs = sinceNs + length;
      if (endNs > TIMESTAMP_MAX) throw new LacunaError('WIRE_OVERFLOW', 'a gap ends beyond 2^63-1');
      gaps.push({ sinceNs, untilNs: endNs });
    }
    return gaps;
  }

  #refuse(): RefuseFrame {
    const reason = REFUSAL_REASONS[this.#number()] ?? 'internal';
    return { kind: 'refuse', reason, retryAfterMs: this.#number(WORD_MAX) };
  }

  #offer(): OfferFrame {
    const last = this.#flags(LAST) !== 0;
    const count = this.#number(LIMITS.nativeOfferIds);
    // An id takes 33 bytes at least: a count that cannot be true is refused before memory is taken for it.
    if (count * (HASH_BYTES + 1) > this.left) {
      throw new LacunaError('WIRE_TRUNCATED', `${count} ids announced`);
    }
    const ids = new SyncIdList(count);
    const { words } = ids;
    for (let row = 0; row < count; row++) {
      const at = ids.pushEmpty();
      const before = at - ID_WORDS;
      this.leb64();
      let { high, low } = this;
      if (row > 0) {
        low = words[before + 1]! - low;
        high = words[before]! - high;
        if (low < 0) {
          low += TWO_32;
          high -= 1;
        }
      }
      if (high < 0 || high > TIME_HIGH_MAX) {
        throw new LacunaError('WIRE_OVERFLOW', 'a time is below 0 or beyond 2^63-1');
      }
      words[at] = high;
      words[at + 1] = low;
      if (this.left < HASH_BYTES) throw new LacunaError('WIRE_TRUNCATED', 'a hash is cut short');
      readHashWords(this.bytes, this.at, words, at + 2);
      this.at += HASH_BYTES;
      if (row > 0 && compareIds(words, before, words, at) <= 0) {
        throw new LacunaError('WIRE_FIELD_INVALID', 'ids that do not descend');
      }
    }
    return { kind: 'offer', ids, last };
  }

  #want(): WantFrame {
    const page = this.#number();
    const place = this.#number(2 * LIMITS.nativeOfferIds + 1);
    const bits = this.#bytes(WANT_BITS_BYTES);
    return { kind: 'want', page, first: place >>> 1, bits, final: (place & 1) === 1 };
  }

  #batch(): BatchFrame {
    if (this.end > LIMITS.nativeBatchBytesMax) {
      throw new LacunaError('WIRE_LIMIT', `a batch of ${this.end} bytes`);
    }
    const wants = this.#number();
    const messages: Uint8Array[] = [];
    while (this.left > 0) {
      const message = this.#bytes(LIMITS.transferFrameBytes);
      // Half a megabyte of empty messages would be half a million objects.
      if (message.length === 0) throw new LacunaError('WIRE_FIELD_INVALID', 'a message of no bytes');
      if (messages.length === LIMITS.nativeWantedIds) {
        throw new LacunaError('WIRE_LIMIT', 'more messages than may be asked for');
      }
      messages.push(message);
    }
    return { kind: 'batch', wants, messages };
  }

  #over(): OverFrame {
    const state = this.#flags(INCOMPLETE) === 0 ? 'agreed' : 'incomplete';
    return { kind: 'over', state, have: this.#number() };
  }

  #result(): ResultFrame {
    return {
      kind: 'result',
      capped: this.#flags(CAPPED) !== 0,
      received: this.#number(),
      known: this.#number(),
      refused: this.#number(),
      missing: this.#number(),
    };
  }

  #topics(): string[] {
    const topics: string[] = [];
    for (let left = this.#number(LIMITS.payloadTopics); left > 0; left--) {
      topics.push(topicFromBytes(this.#bytes(LIMITS.messageTopicBytes)));
    }
    return topics;
  }

  #time(): bigint {
    this.leb64();
    if (this.high > TIME_HIGH_MAX) throw new LacunaError('WIRE_OVERFLOW', 'a time is beyond 2^63-1');
    return (BigInt(this.high) << 32n) | BigInt(this.low);
  }

  #flags(known: number): number {
    const flags = this.byte();
    if ((flags & ~known) !== 0) throw new LacunaError('WIRE_TYPE', `flags ${flags}`);
    return flags;
  }

  #bytes(max: number): Uint8Array {
    return this.take(this.#number(max));
  }

  #number(max = NUMBER_MAX): number {
    return this.length(LEB_BYTES, max);
  }
}

function unencodable(what: string): LacunaError {
  return new LacunaError('WIRE_UNENCODABLE', what);
}
