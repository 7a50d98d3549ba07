/** The primitives against BigInt: LEB128 at every boundary, and readers that never look past their bytes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteReader, ByteWriter, lebLength, lebLength64 } from '../../src/wire/bytes.ts';
import { codeOf } from '../error-code.ts';

const MAX_64 = 2n ** 64n - 1n;

/** Where a varint grows by a byte, where a word ends, and where numbers cease to be exact; and their neighbours. */
const EDGES = [
  ...Array.from({ length: 10 }, (_, index) => 7n * BigInt(index)),
  8n,
  31n,
  32n,
  33n,
  53n,
  63n,
  64n,
]
  .flatMap((power) => [2n ** power - 1n, 2n ** power, 2n ** power + 1n])
  .filter((value) => value <= MAX_64);
const value64 = fc.oneof(fc.bigInt({ min: 0n, max: MAX_64 }), fc.constantFrom(...EDGES));

function lebOf(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return bytes;
}

const words = (value: bigint): [high: number, low: number] => [
  Number(value >> 32n),
  Number(value & 0xffff_ffffn),
];

describe('LEB128', () => {
  it.each(EDGES)('of %s is written and read like BigInt does', (value) => expectLikeBigInt(value));

  it('of any number is written and read like BigInt does', () => {
    fc.assert(fc.property(value64, expectLikeBigInt), { numRuns: 2000 });
  });

  function expectLikeBigInt(value: bigint): void {
    const expected = lebOf(value);
    const [high, low] = words(value);
    const writer = new ByteWriter(0);
    writer.leb64(high, low);
    expect([...writer.finish()]).toEqual(expected);
    expect(lebLength64(high, low)).toBe(expected.length);
    const reader = new ByteReader(writer.finish());
    expect(reader.leb64()).toBe(Number(value));
    expect([reader.high, reader.low, reader.left]).toEqual([high, low, 0]);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) return;
    const number = new ByteWriter(0);
    number.leb(Number(value));
    expect([...number.finish()]).toEqual(expected);
    expect(lebLength(Number(value))).toBe(expected.length);
  }

  it('is read in any length up to the most allowed, though it need not be that long', () => {
    fc.assert(
      fc.property(value64, fc.integer({ min: 1, max: 10 }), (value, bytesMax) => {
        const padded = lebOf(value);
        while (padded.length < bytesMax) {
          padded[padded.length - 1]! |= 0x80;
          padded.push(0);
        }
        const reader = new ByteReader(Uint8Array.from(padded));
        if (padded.length > bytesMax) expect(codeOf(() => reader.leb64(bytesMax))).toBe('WIRE_VARINT');
        else {
          reader.leb64(bytesMax);
          expect([reader.high, reader.low]).toEqual(words(value));
        }
      }),
    );
  });

  it('is refused beyond 64 bits, without an end, and cut short', () => {
    const nines = Array<number>(9).fill(0xff);
    expect(codeOf(() => new ByteReader(Uint8Array.of(...nines, 1)).leb64())).toBeUndefined();
    expect(codeOf(() => new ByteReader(Uint8Array.of(...nines, 2)).leb64())).toBe('WIRE_VARINT');
    expect(codeOf(() => new ByteReader(Uint8Array.of(...nines, 0x81)).leb64())).toBe('WIRE_VARINT');
    expect(codeOf(() => new ByteReader(new Uint8Array(20).fill(0x80)).leb64())).toBe('WIRE_VARINT');
    for (let length = 0; length < 9; length++) {
      expect(codeOf(() => new ByteReader(Uint8Array.of(...nines.slice(0, length))).leb64())).toBe(
        'WIRE_TRUNCATED',
      );
    }
  });
});

describe('a reader', () => {
  it('stays within the part of the bytes it was given', () => {
    const bytes = Uint8Array.of(9, 9, 1, 2, 0x83, 9, 9);
    const reader = new ByteReader(bytes, 2, 5);
    expect(reader.left).toBe(3);
    expect([...reader.take(2)]).toEqual([1, 2]);
    expect(codeOf(() => new ByteReader(bytes, 4, 5).leb64())).toBe('WIRE_TRUNCATED');
    expect(codeOf(() => reader.take(2))).toBe('WIRE_TRUNCATED');
    expect(reader.byte()).toBe(0x83);
    expect(codeOf(() => reader.byte())).toBe('WIRE_TRUNCATED');
    expect(codeOf(() => reader.take(2 ** 60))).toBe('WIRE_TRUNCATED');
    expect(reader.take(0)).toHaveLength(0);
  });

  it('gives views, not copies', () => {
    const bytes = Uint8Array.of(1, 2, 3);
    expect(new ByteReader(bytes).take(3).buffer).toBe(bytes.buffer);
  });

  it('refuses a count over its limit', () => {
    const bytes = Uint8Array.from(lebOf(1000n));
    expect(new ByteReader(bytes).length(9, 1000)).toBe(1000);
    expect(codeOf(() => new ByteReader(bytes).length(9, 999))).toBe('WIRE_LIMIT');
  });
});

describe('a writer', () => {
  it('keeps all that was written, however small it began', () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 40 }).map((bytes) => ({ bytes })),
      fc.integer({ min: 0, max: 255 }).map((byte) => ({ byte })),
      value64.map((value) => ({ value })),
    );
    fc.assert(
      fc.property(fc.nat(20), fc.array(piece, { maxLength: 40 }), (capacity, pieces) => {
        const writer = new ByteWriter(capacity);
        const expected: number[] = [];
        for (const each of pieces) {
          if ('bytes' in each) {
            writer.raw(each.bytes);
            expected.push(...each.bytes);
          } else if ('byte' in each) {
            writer.byte(each.byte);
            expected.push(each.byte);
          } else {
            writer.leb64(...words(each.value));
            expected.push(...lebOf(each.value));
          }
        }
        const at = writer.skip(3);
        writer.buffer.set([1, 2, 3], at);
        expect(writer.length).toBe(expected.length + 3);
        expect([...writer.finish()]).toEqual([...expected, 1, 2, 3]);
      }),
    );
  });

  it('that was given its exact size never grows', () => {
    for (const value of EDGES) {
      const expected = lebOf(value);
      const writer = new ByteWriter(expected.length);
      writer.leb64(...words(value));
      expect(writer.finish().buffer.byteLength).toBe(expected.length);
    }
  });
});
