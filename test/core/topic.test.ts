/** Topics as text and bytes: nothing is lost either way, whatever the bytes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { topicBytes, topicFromBytes } from '../../src/core/topic.ts';

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Bytes that are often nearly UTF-8: leads, continuations, and whole characters, cut and joined at will. */
const roughBytes = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 3 }),
      fc
        .constantFrom(0x80, 0xbf, 0xc0, 0xc2, 0xdf, 0xe0, 0xed, 0xef, 0xf0, 0xf4, 0xf5, 0xff)
        .map((byte) => [byte]),
      fc.string({ unit: 'binary', maxLength: 2 }).map((text) => new TextEncoder().encode(text)),
      fc.constantFrom([0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe0, 0x9f, 0xbf], [0xef, 0xbb, 0xbf]),
    ),
    { maxLength: 30 },
  )
  .map((pieces) => Uint8Array.from(pieces.flatMap((piece) => [...piece])));

/** What Python's surrogateescape gives, told in the plainest way: try the longest character at each place. */
function naiveText(bytes: Uint8Array): string {
  let text = '';
  let at = 0;
  while (at < bytes.length) {
    const width = [1, 2, 3, 4].find((length) => at + length <= bytes.length && isText(bytes, at, length));
    text +=
      width === undefined
        ? String.fromCharCode(0xdc00 + bytes[at]!)
        : strict.decode(bytes.subarray(at, at + width));
    at += width ?? 1;
  }
  return text;
}

function isText(bytes: Uint8Array, at: number, length: number): boolean {
  try {
    return strict.decode(bytes.subarray(at, at + length)) !== '';
  } catch {
    return false;
  }
}

describe('a topic', () => {
  it('comes back from any bytes', () => {
    fc.assert(
      fc.property(fc.oneof(roughBytes, fc.uint8Array({ maxLength: 80 })), (bytes) => {
        expect(topicBytes(topicFromBytes(bytes))).toEqual(bytes);
      }),
      { numRuns: 1000 },
    );
  });

  it('is read character by character where it is not UTF-8', () => {
    fc.assert(
      fc.property(roughBytes, (bytes) => {
        expect(topicFromBytes(bytes)).toBe(naiveText(bytes));
      }),
      { numRuns: 500 },
    );
  });

  it('comes back from any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const bytes = topicBytes(text);
        expect(bytes).toEqual(new TextEncoder().encode(text));
        expect(topicFromBytes(bytes!)).toBe(text);
      }),
    );
  });

  it('keeps a byte order mark, which is part of it', () => {
    expect(topicFromBytes(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61))).toBe('\ufeffa');
  });

  it('has no bytes when a surrogate stands for none', () => {
    for (const text of ['\ud800', '\udfff', '\udc7f', '\udd00', 'a\udbff'])
      expect(topicBytes(text)).toBeUndefined();
    expect(topicBytes('\udc80\udcff')).toEqual(Uint8Array.of(0x80, 0xff));
  });

  it('stays right when many have been seen, and when the same one is asked again', () => {
    for (let round = 0; round < 2; round++) {
      for (let topic = 0; topic < 600; topic++) {
        const text = `/app/1/${topic}/proto`;
        expect(topicBytes(text)).toEqual(new TextEncoder().encode(text));
      }
    }
  });

  it('does not depend on what becomes of the bytes, nor on another topic of the same length and ends', () => {
    const bytes = new TextEncoder().encode('/a/1/x/proto');
    expect(topicFromBytes(bytes)).toBe('/a/1/x/proto');
    bytes[5] = 'y'.charCodeAt(0);
    expect(topicFromBytes(bytes)).toBe('/a/1/y/proto');
    expect(topicFromBytes(new TextEncoder().encode('/a/1/x/proto'))).toBe('/a/1/x/proto');
  });

  // A transfer frame or payload may hold megabytes where a topic belongs: reading them must stay linear and quick.
  it('is read in one pass however long and broken', { timeout: 10_000 }, () => {
    const bytes = new Uint8Array(1024 * 1024).fill(0xe2);
    expect(topicFromBytes(bytes)).toHaveLength(bytes.length);
  });
});
