/** The negentropy baseline against its specification: bytes derived by hand, and BigInt as the oracle of sums. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  NegentropyInitiator,
  NegentropyResponder,
  NegentropySet,
  readVarint,
  writeVarint,
} from '../../bench/baselines/negentropy.ts';
import { hashOf, ID_WORDS, makeId, SyncIdList } from '../../src/core/sync-id.ts';
import { ByteReader, ByteWriter } from '../../src/wire/bytes.ts';
import { Chance, makePair, pairParameters, textOf } from '../core/random-sets.ts';
import { codeOf } from '../error-code.ts';

const EMPTY = new SyncIdList();

describe('a varint', () => {
  const cases: [high: number, low: number, hex: string][] = [
    [0, 0, '00'],
    [0, 0x7f, '7f'],
    [0, 0x80, '8100'],
    [0, 0x3fff, 'ff7f'],
    [0, 0x4000, '818000'],
    [0, 0xffff_ffff, '8fffffff7f'],
    [1, 0, '9080808000'],
    [0x7fff_ffff, 0xffff_ffff, 'ffffffffffffffff7f'],
    [0x8000_0000, 0, '81808080808080808000'],
    [0xffff_ffff, 0xffff_ffff, '81ffffffffffffffff7f'],
  ];

  it.each(cases)('of the words %i and %i is its digits, highest first', (high, low, hex) => {
    const writer = new ByteWriter();
    writeVarint(writer, high, low);
    expect(hexOf(writer.finish())).toBe(hex);
    expect(readVarint(new ByteReader(writer.finish()))).toEqual({ high, low });
  });

  it('beyond 64 bits, or cut short, is refused', () => {
    expect(codeOf(() => readVarint(new ByteReader(bytesOf('82808080808080808000'))))).toBe('WIRE_VARINT');
    expect(codeOf(() => readVarint(new ByteReader(bytesOf('8180'))))).toBe('WIRE_TRUNCATED');
  });
});

describe('a first message', () => {
  it('of an empty set lists nothing up to infinity', () => {
    expect(opening(EMPTY)).toBe('6100000200');
  });

  it('of two ids lists them in order', () => {
    const early = makeId(7n, new Uint8Array(32).fill(0xaa));
    const late = makeId(8n, new Uint8Array(32).fill(0x11));
    const message = opening(SyncIdList.of(early, late));
    expect(message).toBe(`610000${'02'}02${'aa'.repeat(32)}${'11'.repeat(32)}`);
  });

  it('of 32 ids has 16 fingerprints, whose bounds are times since the bound before plus one', () => {
    const ids = SyncIdList.of(...Array.from({ length: 32 }, (_, index) => idOf(BigInt(index), index)));
    const prints = fingerprintsOf(ids, 2);
    // Buckets of two ids end at times 2, 4, 6 …: each 2 after the one before.
    const ranges = prints.map((print, bucket) => `${bucket < 15 ? '0300' : '0000'}01${print}`);
    expect(opening(ids)).toBe(`61${ranges.join('')}`);
  });

  it('parts ids of one time by the first byte of the hash that differs', () => {
    // 2^63-1 + 1 = 2^63, in ten digits; after it the time stays, which is 0 + 1.
    const ids = SyncIdList.of(
      ...Array.from({ length: 32 }, (_, index) => idOf(2n ** 63n - 1n, index * 8, 0xee)),
    );
    const prints = fingerprintsOf(ids, 2);
    const ranges = prints.map((print, bucket) => {
      const time = bucket === 0 ? '81808080808080808000' : '01';
      const second = ((bucket + 1) * 16).toString(16).padStart(2, '0');
      return bucket < 15 ? `${time}02ee${second}01${print}` : `000001${print}`;
    });
    expect(opening(ids)).toBe(`61${ranges.join('')}`);
  });
});

describe('a fingerprint', () => {
  it('is of the sum modulo 2^256 and the count', () => {
    const chance = new Chance(1);
    const ids = SyncIdList.of(...Array.from({ length: 300 }, (_, index) => chance.id(BigInt(index))));
    const set = new NegentropySet(ids);
    for (const [from, to] of [
      [0, 0],
      [0, 1],
      [3, 130],
      [0, 300],
    ] as const) {
      expect(hexOf(set.fingerprint(from, to))).toBe(oracle(ids.slice(from, to)));
    }
  });

  it('carries over the top of 256 bits', () => {
    const ids = SyncIdList.of(
      makeId(1n, new Uint8Array(32).fill(0xff)),
      makeId(
        2n,
        Uint8Array.from({ length: 32 }, (_, index) => (index === 0 ? 2 : 0)),
      ),
    );
    // 2^256 - 1 + 2 is 1.
    const one = Uint8Array.from({ length: 33 }, (_, index) => (index === 0 ? 1 : index === 32 ? 2 : 0));
    const expected = createHash('sha256').update(one).digest('hex').slice(0, 32);
    expect(hexOf(new NegentropySet(ids).fingerprint(0, 2))).toBe(expected);
  });
});

describe('an answer', () => {
  it('to equal sets is the version alone, and ends the session', () => {
    const chance = new Chance(2);
    const ids = SyncIdList.of(...Array.from({ length: 100 }, (_, index) => chance.id(BigInt(index))));
    const initiator = new NegentropyInitiator(new NegentropySet(ids));
    const answer = new NegentropyResponder(new NegentropySet(ids)).answer(initiator.open());
    expect(hexOf(answer)).toBe('61');
    expect(initiator.answer(answer)).toBeUndefined();
    expect([initiator.have.count, initiator.need.count]).toEqual([0, 0]);
  });

  it('passes over what is equal before what differs, in one range', () => {
    const shared = Array.from({ length: 32 }, (_, index) => idOf(BigInt(index), index));
    const theirs = SyncIdList.of(...shared.slice(0, 4), ...shared.slice(5));
    const initiator = new NegentropyInitiator(new NegentropySet(SyncIdList.of(...shared)));
    const answer = new NegentropyResponder(new NegentropySet(theirs)).answer(initiator.open());
    // Equal up to time 4; from there to 6 only the id of time 5 is held.
    const listed = hexOf(hashOf(shared[5]!));
    expect(hexOf(answer)).toBe(`61${'050000'}${'030002'}01${listed}`);
    expect(initiator.answer(answer)).toBeUndefined();
    expect(textOf(initiator.have)).toBe(textOf(SyncIdList.of(shared[4]!)));
  });

  it('refuses what is no message', () => {
    const responder = new NegentropyResponder(new NegentropySet(EMPTY));
    expect(codeOf(() => responder.answer(bytesOf('60')))).toBe('WIRE_TYPE');
    expect(codeOf(() => responder.answer(bytesOf('61000003')))).toBe('WIRE_TYPE');
    expect(codeOf(() => responder.answer(bytesOf('61000001aabb')))).toBe('WIRE_TRUNCATED');
    expect(codeOf(() => responder.answer(bytesOf('610021')))).toBe('WIRE_FIELD_INVALID');
    expect(codeOf(() => responder.answer(bytesOf('6181ffffffffffffffff7f00000300')))).toBe('WIRE_OVERFLOW');
  });
});

describe('a session', () => {
  it('ends with exactly what the initiator has and needs', () => {
    fc.assert(
      fc.property(pairParameters(5_000), (parameters) => {
        const { a, b, onlyA, onlyB } = makePair(parameters);
        const initiator = new NegentropyInitiator(new NegentropySet(a));
        const responder = new NegentropyResponder(new NegentropySet(b));
        let message: Uint8Array | undefined = initiator.open();
        for (let round = 0; message !== undefined; round++) {
          expect(round).toBeLessThan(10);
          message = initiator.answer(responder.answer(message));
        }
        expect(textOf(initiator.have.toAscending())).toBe(textOf(onlyA));
        expect(hashesOf(initiator.need)).toEqual(hashesOf(onlyB));
      }),
      { numRuns: 300 },
    );
  });
});

function opening(ids: SyncIdList): string {
  return hexOf(new NegentropyInitiator(new NegentropySet(ids)).open());
}

/** An id whose hash begins with these bytes, if any, and this one. */
function idOf(timestampNs: bigint, byte: number, ...before: number[]): Uint32Array {
  const hash = new Uint8Array(32).fill(0x55);
  hash.set([...before, byte]);
  return makeId(timestampNs, hash);
}

function fingerprintsOf(ids: SyncIdList, size: number): string[] {
  return Array.from({ length: ids.count / size }, (_, part) =>
    oracle(ids.slice(part * size, (part + 1) * size)),
  );
}

/** By the words of the specification, for fewer than 2^14 ids. */
function oracle(ids: SyncIdList): string {
  let sum = 0n;
  for (let row = 0; row < ids.count; row++) {
    sum += BigInt(`0x${hexOf(hashOf(ids.words, row * ID_WORDS).reverse())}`);
  }
  const digits = (sum % 2n ** 256n).toString(16).padStart(64, '0');
  const count = ids.count < 128 ? [ids.count] : [(ids.count >> 7) | 0x80, ids.count & 0x7f];
  const input = Uint8Array.of(...bytesOf(digits).reverse(), ...count);
  return createHash('sha256').update(input).digest('hex').slice(0, 32);
}

function hashesOf(ids: SyncIdList): string[] {
  return Array.from({ length: ids.count }, (_, row) => hexOf(hashOf(ids.words, row * ID_WORDS))).sort();
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, 'hex'));
}
