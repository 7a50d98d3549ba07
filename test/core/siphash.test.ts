/** SipHash-2-4 over rows: the authors' vectors, and sums modulo 2^64. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addKeyedHashes, keyedHashes } from '../../src/core/siphash.ts';
import { ID_WORDS } from '../../src/core/sync-id.ts';
import { Chance } from './random-sets.ts';

const MODULUS = 1n << 64n;

function randomWords(chance: Chance, length: number): Uint32Array {
  return Uint32Array.from({ length }, () => chance.word());
}

function bytesOf(words: Uint32Array): string {
  const bytes = Buffer.alloc(words.length * 4);
  for (const [index, word] of words.entries()) bytes.writeUInt32LE(word, index * 4);
  return bytes.toString('hex');
}

/** Words of little-endian bytes 00, 01, 02 and so on. */
function countingWords(length: number): number[] {
  return Array.from({ length }, (_, word) => 0x0302_0100 + word * 0x0404_0404);
}

function longOf(words: Uint32Array, row: number, key: Uint32Array): Uint32Array {
  const sum = new Uint32Array(4);
  addKeyedHashes(words, row, 1, key, sum);
  return sum;
}

function halvesOf(sum: Uint32Array): bigint[] {
  return [0, 2].map((at) => BigInt(sum[at]!) | (BigInt(sum[at + 1]!) << 32n));
}

describe('the published vectors', () => {
  const key = Uint32Array.from(countingWords(4));
  // The time of a row is not part of the input.
  const words = Uint32Array.from([0xdead_beef, 0xfeed_f00d, ...countingWords(8)]);

  it('of 64 bits are met', () => {
    const ids = new Uint32Array(2);
    keyedHashes(words, 0, 1, key, ids);
    expect(bytesOf(ids)).toBe('ce7cf2722f512771');
  });

  it('of 128 bits are met', () => {
    expect(bytesOf(longOf(words, 0, key))).toBe('7c3956ca5eeafc3e363e9d556546eb68');
  });
});

describe('a sum of hashes', () => {
  it('is that of the hashes, modulo 2^64 in each half', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(60), (seed, rows) => {
        const chance = new Chance(seed);
        const words = randomWords(chance, rows * ID_WORDS);
        const key = randomWords(chance, 4);
        const sum = randomWords(chance, 4);
        const expected = halvesOf(sum);
        for (let row = 0; row < rows; row++) {
          for (const [half, value] of halvesOf(longOf(words, row, key)).entries()) {
            expected[half] = (expected[half]! + value) % MODULUS;
          }
        }
        addKeyedHashes(words, 0, rows, key, sum);
        expect(halvesOf(sum)).toEqual(expected);
      }),
    );
  });

  it('carries from the low half into the high one, and out of it', () => {
    const words = Uint32Array.from(countingWords(ID_WORDS));
    const key = new Uint32Array(4);
    const hash = halvesOf(longOf(words, 0, key));
    const edges = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
    for (const low of edges) {
      for (const high of edges) {
        const sum = Uint32Array.of(low, high, high, low);
        const expected = halvesOf(sum).map((value, half) => (value + hash[half]!) % MODULUS);
        addKeyedHashes(words, 0, 1, key, sum);
        expect(halvesOf(sum)).toEqual(expected);
      }
    }
  });

  it('does not depend on the order, nor on how it is cut', () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 60 }), fc.nat(60), (seed, rows, cut) => {
        const chance = new Chance(seed);
        const words = randomWords(chance, rows * ID_WORDS);
        const key = randomWords(chance, 4);
        const whole = new Uint32Array(4);
        addKeyedHashes(words, 0, rows, key, whole);
        const parts = new Uint32Array(4);
        const first = Math.min(cut, rows);
        addKeyedHashes(words, first, rows - first, key, parts);
        addKeyedHashes(words, 0, first, key, parts);
        expect(parts).toEqual(whole);
        const reversed = new Uint32Array(4);
        for (let row = rows - 1; row >= 0; row--) addKeyedHashes(words, row, 1, key, reversed);
        expect(reversed).toEqual(whole);
      }),
    );
  });
});

describe('short hashes', () => {
  it('are those of the rows, wherever they lie', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(20), fc.nat(20), (seed, row, count) => {
        const chance = new Chance(seed);
        const words = randomWords(chance, (row + count) * ID_WORDS);
        const key = randomWords(chance, 4);
        const ids = new Uint32Array(count * 2 + 1);
        keyedHashes(words, row, count, key, ids);
        for (let index = 0; index < count; index++) {
          const alone = new Uint32Array(2);
          keyedHashes(words.slice((row + index) * ID_WORDS), 0, 1, key, alone);
          expect(ids.slice(index * 2, index * 2 + 2)).toEqual(alone);
        }
        expect(ids.at(-1)).toBe(0);
      }),
    );
  });

  it('change with the key and with the hash, and not with the time', () => {
    const chance = new Chance(1);
    const words = randomWords(chance, ID_WORDS);
    const key = randomWords(chance, 4);
    const hashOf = (row: Uint32Array, under: Uint32Array): string => {
      const ids = new Uint32Array(2);
      keyedHashes(row, 0, 1, under, ids);
      return bytesOf(ids) + bytesOf(longOf(row, 0, under));
    };
    const changed = (from: Uint32Array, word: number, bit: number): Uint32Array =>
      from.map((value, index) => (index === word ? value ^ (1 << bit) : value));
    const hash = hashOf(words, key);
    for (let bit = 0; bit < 32; bit++) {
      for (let word = 0; word < 4; word++) expect(hashOf(words, changed(key, word, bit))).not.toBe(hash);
      for (let word = 0; word < ID_WORDS; word++) {
        expect(hashOf(changed(words, word, bit), key) === hash).toBe(word < 2);
      }
    }
  });
});
