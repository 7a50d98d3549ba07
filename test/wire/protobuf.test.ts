/** The protobuf wire format: any message of fields is read as written, and what nwaku refuses is refused. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteWriter } from '../../src/wire/bytes.ts';
import {
  bytesFieldLength,
  LENGTH_DELIMITED,
  readFields,
  unzigzag,
  VARINT,
  writeBytesField,
  writeVarintField,
  zigzag,
} from '../../src/wire/protobuf.ts';
import { codeOf } from '../error-code.ts';

const number = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.constantFrom(15, 16, 2047, 2048, 2 ** 29 - 1));
const word = fc.oneof(fc.nat(0xffff_ffff), fc.constantFrom(0, 0x7f, 0x80, 0xffff_ffff));
const field = fc.oneof(
  fc.record({ number, high: word, low: word }),
  fc.record({ number, bytes: fc.uint8Array({ maxLength: 200 }) }),
);

/** Number and wire type of each field, and what a length-delimited one holds. */
function read(...bytes: number[]): (number | number[])[][] {
  const fields: (number | number[])[][] = [];
  readFields(Uint8Array.from(bytes), (field) => {
    const { number, wireType } = field;
    fields.push(wireType === LENGTH_DELIMITED ? [number, wireType, [...field.bytes]] : [number, wireType]);
  });
  return fields;
}

describe('fields', () => {
  it('are read as they were written, in their order', () => {
    fc.assert(
      fc.property(fc.array(field, { maxLength: 20 }), (written) => {
        const writer = new ByteWriter();
        for (const each of written) {
          if ('bytes' in each) {
            const before = writer.length;
            writeBytesField(writer, each.number, each.bytes);
            expect(writer.length - before).toBe(bytesFieldLength(each.number, each.bytes.length));
          } else writeVarintField(writer, each.number, each.high, each.low);
        }
        const seen: object[] = [];
        readFields(writer.finish(), ({ number, wireType, high, low, bytes }) => {
          seen.push(wireType === VARINT ? { number, high, low } : { number, bytes: Uint8Array.from(bytes) });
        });
        expect(seen).toEqual(written);
      }),
    );
  });

  it('of fixed width are stepped over', () => {
    expect(read(0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x15, 1, 2, 3, 4, 0x1a, 1, 7)).toEqual([
      [1, 1],
      [2, 5],
      [3, LENGTH_DELIMITED, [7]],
    ]);
  });

  it('of groups and unknown wire types are refused', () => {
    for (const wireType of [3, 4, 6, 7]) expect(codeOf(() => read(8 + wireType, 0, 0))).toBe('WIRE_TYPE');
  });

  it('cut short are refused', () => {
    for (const bytes of [[0x0a], [0x0a, 2, 1], [0x08], [0x08, 0x80], [0x09, 1, 2], [0x15, 1], [0x80]]) {
      expect(codeOf(() => read(...bytes))).toBe('WIRE_TRUNCATED');
    }
  });

  it('with varints longer than they need to be, or than 64 bits, are refused', () => {
    expect(codeOf(() => read(0x88, 0x00, 1))).toBe('WIRE_VARINT');
    expect(codeOf(() => read(0x08, 0x81, 0x00))).toBe('WIRE_VARINT');
    expect(codeOf(() => read(0x0a, 0x80, 0x00))).toBe('WIRE_VARINT');
    expect(codeOf(() => read(0x08, ...Array<number>(9).fill(0xff), 2))).toBe('WIRE_VARINT');
    expect(codeOf(() => read(0x08, 0x00))).toBeUndefined();
  });

  it('of absurd length are refused without memory', () => {
    expect(codeOf(() => read(0x0a, ...Array<number>(8).fill(0xff), 0x7f))).toBe('WIRE_TRUNCATED');
  });
});

describe('zigzag', () => {
  it('is undone, and small numbers of either sign stay small', () => {
    const edges = [0n, -1n, 1n, 2n ** 62n, -(2n ** 62n), 2n ** 63n - 1n, -(2n ** 63n)];
    const signed = fc.oneof(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.constantFrom(...edges));
    fc.assert(
      fc.property(signed, (value) => {
        const raw = zigzag(value);
        expect(raw).toBe(value < 0n ? -2n * value - 1n : 2n * value);
        expect(unzigzag(Number(raw >> 32n), Number(raw & 0xffff_ffffn))).toBe(value);
      }),
    );
  });
});
