/** Rows of the index as bytes: read as they were written, and not read at all where anything of them is not so. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LEAF_ROWS } from '../../src/core/leaf.ts';
import { ID_WORDS } from '../../src/core/sync-id.ts';
import { decodeRows, encodeRows } from '../../src/store/page-codec.ts';

const word = fc.oneof(fc.constantFrom(0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff), fc.nat(0xffff_ffff));
const number = fc.nat(0xffff_ffff);
const rows = fc
  .integer({ min: 0, max: 12 })
  .chain((count) => fc.array(word, { minLength: count * ID_WORDS, maxLength: count * ID_WORDS }))
  .map((words) => Uint32Array.from(words));

test('rows are read as they were written, wherever their bytes lie', () => {
  fc.assert(
    fc.property(rows, number, fc.nat(255), fc.nat(7), (words, page, patch, offset) => {
      const count = words.length / ID_WORDS;
      const encoded = encodeRows(words, count, page, patch);
      const placed = new Uint8Array(encoded.length + offset + 3).fill(0xa5);
      placed.set(encoded, offset);
      const bytes = placed.subarray(offset, offset + encoded.length);
      const read = new Uint32Array(words.length + ID_WORDS).fill(7);
      expect(decodeRows(bytes, page, patch, read)).toBe(count);
      expect(read.subarray(0, words.length)).toEqual(words);
      expect(read.subarray(words.length).every((left) => left === 7)).toBe(true);
    }),
  );
});

test('a byte that changed, another page or patch, and rows without room are no rows', () => {
  fc.assert(
    fc.property(rows, number, fc.nat(254), fc.nat(), fc.integer({ min: 1, max: 255 }), (...given) => {
      const [words, page, patch, place, change] = given;
      const count = words.length / ID_WORDS;
      const bytes = encodeRows(words, count, page, patch);
      const room = new Uint32Array(words.length);
      expect(decodeRows(bytes, (page ^ 1) >>> 0, patch, room)).toBeUndefined();
      expect(decodeRows(bytes, page, patch + 1, room)).toBeUndefined();
      if (count > 0) expect(decodeRows(bytes, page, patch, room.subarray(1))).toBeUndefined();
      const at = place % bytes.length;
      bytes[at] = bytes[at]! ^ change;
      expect(decodeRows(bytes, page, patch, room)).toBeUndefined();
    }),
  );
});

test('bytes of any other length are no rows', () => {
  const words = new Uint32Array(LEAF_ROWS * ID_WORDS);
  const bytes = encodeRows(words, 2, 1, 0);
  for (let length = 0; length < bytes.length; length++) {
    expect(decodeRows(bytes.subarray(0, length), 1, 0, words)).toBeUndefined();
  }
});
