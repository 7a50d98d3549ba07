/** Frames: whatever pieces the bytes come in, the same frames come out; what is too large never gets memory. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { ByteWriter } from '../../src/wire/bytes.ts';
import { encodeFrames, FrameDecoder } from '../../src/wire/frame.ts';
import { codeOf } from '../error-code.ts';

const LIMIT = 400;
const frames = fc.array(
  fc.oneof(
    fc.uint8Array({ maxLength: 5 }),
    fc.uint8Array({ maxLength: LIMIT }),
    fc.constant(new Uint8Array(LIMIT)),
  ),
  { maxLength: 8 },
);

function prefixOf(length: bigint): Uint8Array {
  const writer = new ByteWriter();
  writer.leb64(Number(length >> 32n), Number(length & 0xffff_ffffn));
  return writer.finish();
}

function decodeAll(decoder: FrameDecoder, pieces: Iterable<Uint8Array>): number[][] {
  return [...pieces].flatMap((piece) => [...decoder.push(piece)].map((frame) => [...frame]));
}

describe('frames', () => {
  it('come out the same whatever pieces they come in', () => {
    fc.assert(
      fc.property(frames, fc.array(fc.nat(60), { maxLength: 30 }), (sent, lengths) => {
        const bytes = encodeFrames(sent);
        const pieces: Uint8Array[] = [];
        let at = 0;
        for (const length of lengths) {
          pieces.push(bytes.subarray(at, at + length));
          at = Math.min(bytes.length, at + length);
        }
        pieces.push(bytes.subarray(at));
        const decoder = new FrameDecoder(LIMIT);
        expect(decodeAll(decoder, pieces)).toEqual(sent.map((frame) => [...frame]));
        expect(decoder.atBoundary).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('come out the same byte by byte', () => {
    fc.assert(
      fc.property(frames, (sent) => {
        const pieces = [...encodeFrames(sent)].map((byte) => Uint8Array.of(byte));
        expect(decodeAll(new FrameDecoder(LIMIT), pieces)).toEqual(sent.map((frame) => [...frame]));
      }),
      { numRuns: 50 },
    );
  });

  it('are each a prefix and the bytes', () => {
    const long = new Uint8Array(300).fill(7);
    const bytes = encodeFrames([Uint8Array.of(1, 2), new Uint8Array(0), long]);
    expect([...bytes]).toEqual([2, 1, 2, 0, 0xac, 0x02, ...long]);
  });

  it('are copies: what the transport does with its buffer later does not matter', () => {
    const bytes = encodeFrames([Uint8Array.of(1, 2, 3)]);
    const [frame] = new FrameDecoder(LIMIT).push(bytes);
    bytes.fill(0);
    expect([...frame!]).toEqual([1, 2, 3]);
  });

  it('are known to be unfinished', () => {
    const decoder = new FrameDecoder(LIMIT);
    expect(decoder.atBoundary).toBe(true);
    for (const [piece, boundary] of [
      [[0x85], false],
      [[0x00], false],
      [[1, 2, 3, 4], false],
      [[5], true],
    ] as const) {
      decodeAll(decoder, [Uint8Array.from(piece)]);
      expect(decoder.atBoundary).toBe(boundary);
    }
  });
});

describe('a prefix', () => {
  it('may announce the limit, and not one byte more', () => {
    for (const limit of [0, 1, 127, 128, LIMIT, LIMITS.transferFrameBytes]) {
      const frame = new Uint8Array(limit);
      expect(decodeAll(new FrameDecoder(limit), [encodeFrames([frame])])).toEqual([[...frame]]);
      const refused = new FrameDecoder(limit);
      expect(codeOf(() => decodeAll(refused, [prefixOf(BigInt(limit) + 1n)]))).toBe('WIRE_FRAME_TOO_LARGE');
    }
  });

  it.each([2n ** 31n - 1n, 2n ** 31n, 2n ** 32n, 2n ** 35n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n])(
    'of %s is refused before any memory is taken for it',
    (length) => {
      const before = process.memoryUsage().arrayBuffers;
      for (const pieces of [[prefixOf(length)], [...prefixOf(length)].map((byte) => Uint8Array.of(byte))]) {
        const decoder = new FrameDecoder(LIMITS.reconciliationFrameBytes);
        expect(['WIRE_FRAME_TOO_LARGE', 'WIRE_LENGTH_PREFIX']).toContain(
          codeOf(() => decodeAll(decoder, pieces)),
        );
      }
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1024 * 1024);
    },
  );

  it('without an end is refused at its last allowed byte', () => {
    const decoder = new FrameDecoder(LIMIT);
    const byte = Uint8Array.of(0x80);
    for (let length = 1; length < LIMITS.framePrefixBytes; length++) {
      expect(codeOf(() => decodeAll(decoder, [byte]))).toBeUndefined();
    }
    expect(codeOf(() => decodeAll(decoder, [byte]))).toBe('WIRE_LENGTH_PREFIX');
  });

  it('that is longer than it needs to be is read all the same', () => {
    expect(decodeAll(new FrameDecoder(LIMIT), [Uint8Array.of(0x82, 0x80, 0x80, 0x80, 0x00, 5, 6)])).toEqual([
      [5, 6],
    ]);
  });
});
