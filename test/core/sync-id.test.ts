/** SyncIds as rows of words: their order, their bounds, their bytes, and lists of them. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  boundAt,
  compareIds,
  compareTimes,
  hashOf,
  hasZeroHash,
  ID_BYTES,
  ID_WORDS,
  makeId,
  nextMoment,
  readIdBytes,
  SyncIdList,
  successor,
  TIMESTAMP_MAX,
  timeOf,
  writeIdBytes,
} from '../../src/core/sync-id.ts';
import { Chance, closeId, textOf } from './random-sets.ts';

const time = fc.oneof(
  fc.bigInt({ min: 0n, max: TIMESTAMP_MAX }),
  fc.constantFrom(0n, 1n, 0xffff_ffffn, 0x1_0000_0000n, 2n ** 56n, TIMESTAMP_MAX - 1n, TIMESTAMP_MAX),
);
const hash = fc.oneof(
  fc.uint8Array({ minLength: 32, maxLength: 32 }),
  fc.tuple(fc.constantFrom(0, 0x7f, 0x80, 0xff), fc.nat(31)).map(([byte, place]) => {
    const bytes = new Uint8Array(32);
    bytes[place] = byte;
    return bytes;
  }),
);
const id = fc.tuple(time, hash).map(([timestampNs, bytes]) => makeId(timestampNs, bytes));

function bytesOf(row: Uint32Array): Buffer {
  const bytes = Buffer.alloc(ID_BYTES);
  writeIdBytes(row, 0, bytes, 0);
  return bytes;
}

describe('an id', () => {
  it('gives back its time and its hash', () => {
    fc.assert(
      fc.property(time, hash, (timestampNs, bytes) => {
        const made = makeId(timestampNs, bytes);
        expect(timeOf(made)).toBe(timestampNs);
        expect(hashOf(made)).toEqual(bytes);
        expect(hasZeroHash(made)).toBe(bytes.every((byte) => byte === 0));
      }),
    );
  });

  it('clamps a time that no stored message has', () => {
    expect(timeOf(boundAt(-1n))).toBe(0n);
    expect(timeOf(boundAt(TIMESTAMP_MAX + 1n))).toBe(TIMESTAMP_MAX);
  });

  it('is ordered as its bytes are', () => {
    fc.assert(
      fc.property(id, id, (a, b) => {
        expect(Math.sign(compareIds(a, 0, b, 0))).toBe(Math.sign(bytesOf(a).compare(bytesOf(b))));
        expect(compareIds(a, 0, a.slice(), 0)).toBe(0);
      }),
    );
  });

  it('is ordered by time before all else', () => {
    fc.assert(
      fc.property(id, id, (a, b) => {
        const times = timeOf(a) < timeOf(b) ? -1 : timeOf(a) > timeOf(b) ? 1 : 0;
        expect(Math.sign(compareTimes(a, 0, b, 0))).toBe(times);
        if (times !== 0) expect(Math.sign(compareIds(a, 0, b, 0))).toBe(times);
      }),
    );
  });

  it('is read back from its bytes, at any place', () => {
    fc.assert(
      fc.property(id, fc.nat(7), (row, shift) => {
        const bytes = new Uint8Array(ID_BYTES + 8);
        writeIdBytes(row, 0, bytes, shift);
        const words = new Uint32Array(ID_WORDS * 2);
        readIdBytes(bytes, shift, words, ID_WORDS);
        expect(words.subarray(ID_WORDS)).toEqual(row);
        expect(timeOf(words, ID_WORDS)).toBe(timeOf(row));
        expect(hashOf(words, ID_WORDS)).toEqual(hashOf(row));
      }),
    );
  });

  it('has a successor that is one more, and nothing lies between', () => {
    fc.assert(
      fc.property(id, (row) => {
        const value = BigInt(`0x${bytesOf(row).toString('hex')}`);
        expect(BigInt(`0x${bytesOf(successor(row)).toString('hex')}`)).toBe(value + 1n);
      }),
    );
    // A hash of nothing but ones carries into the time.
    const last = makeId(0xffff_ffffn, new Uint8Array(32).fill(0xff));
    expect(successor(last)).toEqual(boundAt(0x1_0000_0000n));
  });
});

describe('the bound of a moment', () => {
  it('lies at or below every id of that time, and the next one above them all', () => {
    fc.assert(
      fc.property(id, (row) => {
        const moment = boundAt(timeOf(row));
        const next = nextMoment(row);
        expect(compareIds(moment, 0, row, 0)).toBeLessThanOrEqual(0);
        expect(compareIds(next, 0, row, 0)).toBeGreaterThanOrEqual(0);
        if (timeOf(row) < TIMESTAMP_MAX) {
          expect(timeOf(next)).toBe(timeOf(row) + 1n);
          expect(hasZeroHash(next)).toBe(true);
        }
      }),
    );
  });

  it('stays at the end of time, above every id', () => {
    const end = nextMoment(boundAt(TIMESTAMP_MAX));
    expect(timeOf(end)).toBe(TIMESTAMP_MAX);
    expect(hashOf(end)).toEqual(new Uint8Array(32).fill(0xff));
    expect(nextMoment(end)).toEqual(end);
  });
});

describe('a list', () => {
  function naive(list: SyncIdList): string[] {
    return Array.from({ length: list.count }, (_, row) => bytesOf(list.at(row)).toString('hex'));
  }

  it('keeps what was pushed, by whichever way', () => {
    fc.assert(
      fc.property(fc.array(id, { maxLength: 60 }), (rows) => {
        const list = SyncIdList.of(...rows);
        const copy = new SyncIdList();
        copy.pushRows(list.words, 0, list.count);
        const filled = new SyncIdList();
        for (const row of rows) {
          const at = filled.pushEmpty();
          filled.words.set(row, at);
        }
        const expected = rows.map((row) => bytesOf(row).toString('hex'));
        for (const each of [list, copy, filled]) expect(naive(each)).toEqual(expected);
      }),
    );
  });

  it('gives slices that are copies', () => {
    const chance = new Chance(1);
    const list = SyncIdList.of(...Array.from({ length: 20 }, () => closeId(chance)));
    const before = naive(list);
    const slice = list.slice(5, 12);
    expect(naive(slice)).toEqual(before.slice(5, 12));
    slice.at(0).fill(0);
    slice.push(closeId(chance), 0);
    expect(naive(list)).toEqual(before);
  });

  it('sorts as a naive sort does, without duplicates', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(300), fc.nat(40), (seed, size, repeats) => {
        const chance = new Chance(seed);
        const rows = Array.from({ length: size }, () => closeId(chance));
        for (let repeat = 0; size > 0 && repeat < repeats; repeat++) rows.push(chance.pick(rows).slice());
        const list = SyncIdList.of(...rows);
        const before = naive(list);
        const sorted = list.toAscending();
        expect(naive(sorted)).toEqual([...new Set(before)].sort());
        expect(naive(list)).toEqual(before);
        expect(sorted.isStrictlyAscending()).toBe(true);
        expect(list.isStrictlyAscending()).toBe(
          before.every((hex, row) => row === 0 || before[row - 1]! < hex),
        );
        expect(sorted.toAscending()).toBe(sorted);
        expect(textOf(sorted)).toHaveLength(sorted.count * ID_BYTES * 2);
      }),
    );
  });
});
