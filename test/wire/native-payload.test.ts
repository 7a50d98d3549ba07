/** The payloads between two Lacunas as bytes: golden ones, random ones there and back, damaged ones, and limits. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../scripts/vectors/shared.ts';
import { DigestTree } from '../../src/core/digest-tree.ts';
import type { Answer, Cut, NativePayload, SketchAnswer } from '../../src/core/native/payload.ts';
import { boundAt, ID_WORDS, TIMESTAMP_MAX } from '../../src/core/sync-id.ts';
import { LIMITS } from '../../src/limits.ts';
import { ByteWriter } from '../../src/wire/bytes.ts';
import { decodeNativePayload, encodeNativePayload } from '../../src/wire/native-payload.ts';
import { EMPTY, keyOf, reconcileLists, side, windowOf } from '../core/native-dialogue.ts';
import { Chance, makePair, START_NS } from '../core/random-sets.ts';
import { codeOf } from '../error-code.ts';
import { mutationsOf } from './mutations.ts';

const END_OF_TIME = new Uint32Array(ID_WORDS).fill(0xffff_ffff);
END_OF_TIME[0] = 0x7fff_ffff;

/** Each in the words of the protocol; the bytes are in spec/vectors, written by hand from its rules. */
const GOLDEN: Readonly<Record<string, NativePayload>> = {
  nothing: EMPTY,
  agreed: { ...EMPTY, agreed: true },
  'opening of everything': {
    ...EMPTY,
    opening: {
      lower: boundAt(0n),
      upper: END_OF_TIME,
      strict: false,
      cut: { keyed: true, bounds: [], counts: [0], fingerprints: Uint32Array.of(0) },
    },
  },
  'strict opening in two parts': {
    ...EMPTY,
    opening: {
      lower: boundAt(4096n),
      upper: boundAt(8192n),
      strict: true,
      cut: {
        keyed: false,
        bounds: [boundAt(6144n)],
        counts: [2, 3],
        fingerprints: Uint32Array.of(0x11223344, 0xaabbccdd),
      },
    },
  },
  check: {
    ...EMPTY,
    check: {
      lower: Uint32Array.of(0, 5, 0xab10_0000, 0, 0, 0, 0, 0, 0, 0),
      upper: boundAt(4n),
      plain: Uint32Array.of(1, 2, 3, 4),
      keyed: Uint32Array.of(5, 6, 7, 8),
    },
  },
  answers: {
    ...EMPTY,
    answers: [
      ...Array.from({ length: 33 }, (): Answer => ({ kind: 'equal' })),
      { kind: 'sketched' },
      { kind: 'ask' },
      { kind: 'none' },
      { kind: 'cut', cut: { keyed: false, bounds: [], counts: [7], fingerprints: Uint32Array.of(1) } },
      { kind: 'list', ids: Uint32Array.of(0x04030201, 0x08070605) },
      { kind: 'all', count: 300 },
    ],
  },
  'lists and wanted': {
    ...EMPTY,
    lists: [new Uint32Array(0)],
    wanted: [Uint8Array.of(0b101), new Uint8Array(0)],
    found: 2,
  },
  'answers to sketches': {
    ...EMPTY,
    sketchAnswers: [
      { kind: 'decoded', wanted: Uint32Array.of(0x05060708, 0x01020304) },
      { kind: 'more', symbols: 40 },
      { kind: 'undecoded', answers: [{ kind: 'none' }] },
    ],
    found: 1,
  },
  sketches: {
    ...EMPTY,
    extensions: [Uint32Array.of(1, 2, 3)],
    sketches: [{ ranges: 2, symbols: Uint32Array.of(10, 11, 12) }],
  },
};

const vectors = (
  JSON.parse(readFileSync(new URL('../../spec/vectors/native-payloads.json', import.meta.url), 'utf8')) as {
    nativePayloads: { name: string; hex: string }[];
  }
).nativePayloads;

describe('golden payloads', () => {
  it('are all there', () => {
    expect(vectors.map(({ name }) => name)).toEqual(Object.keys(GOLDEN));
  });

  it.each(vectors)('$name', ({ name, hex }) => {
    const payload = GOLDEN[name]!;
    expect(toHex(encodeNativePayload(payload))).toBe(hex);
    expect(decodeNativePayload(encodeNativePayload(payload))).toEqual(payload);
  });
});

describe('a payload', () => {
  it('comes back as it was, whatever it holds', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const payload = randomPayload(new Chance(seed));
        const bytes = encodeNativePayload(payload);
        expect(decodeNativePayload(bytes)).toEqual(payload);
      }),
      { numRuns: 3_000 },
    );
  });

  it('of any real dialogue comes back as it was', () => {
    for (let seed = 0; seed < 40; seed++) {
      const pair = makePair({ ...SCATTERED, seed, size: 1_000 + 100 * seed });
      for (const bytes of reconcileLists(pair.a, pair.b, windowOf(pair), seed).payloads) {
        expect(encodeNativePayload(decodeNativePayload(bytes))).toEqual(bytes);
      }
    }
  });

  it('ends in a value or a code when it is damaged', () => {
    const pair = makePair({ ...SCATTERED, seed: 2, size: 1_000 });
    const real = reconcileLists(pair.a, pair.b, windowOf(pair), 2).payloads;
    const random = Array.from({ length: 25 }, (_, seed) =>
      encodeNativePayload(randomPayload(new Chance(seed))),
    );
    const golden = Object.values(GOLDEN).map(encodeNativePayload);
    let read = 0;
    let refused = 0;
    for (const bytes of [...golden, ...real, ...random]) {
      for (const damaged of mutationsOf(bytes)) {
        let payload: NativePayload | undefined;
        const code = codeOf(() => {
          payload = decodeNativePayload(damaged);
        });
        if (payload === undefined) {
          expect(code).toMatch(/^WIRE_/);
          refused += 1;
        } else {
          read += 1;
          // What was read can be written, and means the same again.
          if (read % 64 === 0) expect(decodeNativePayload(encodeNativePayload(payload))).toEqual(payload);
        }
      }
    }
    expect(Math.min(read, refused)).toBeGreaterThan(1_000);
  });

  it('that is cut off anywhere is refused', () => {
    for (const { hex } of vectors) {
      const bytes = Uint8Array.from(Buffer.from(hex, 'hex'));
      for (let length = 0; length < bytes.length; length++) {
        expect(codeOf(() => decodeNativePayload(bytes.subarray(0, length)))).toMatch(/^WIRE_/);
      }
    }
  });

  it('with something behind it is refused', () => {
    for (const payload of Object.values(GOLDEN)) {
      const bytes = Uint8Array.of(...encodeNativePayload(payload), 0);
      expect(codeOf(() => decodeNativePayload(bytes))).toBe('WIRE_FIELD_INVALID');
    }
  });

  it('of any bytes ends in a value or a code', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const code = codeOf(() => decodeNativePayload(bytes));
        if (code !== undefined) expect(code).toMatch(/^WIRE_/);
      }),
      { numRuns: 20_000 },
    );
  });
});

describe('the opening of a large set', () => {
  it('is small: bounds take a few bytes, not those of a time', () => {
    const pair = makePair({ ...SCATTERED, seed: 3, size: 20_000, differing: 0 });
    const bytes = encodeNativePayload(side(DigestTree.from(pair.a), windowOf(pair), keyOf(3)).open());
    expect(bytes.length).toBeLessThan(300);
  });
});

describe('limits of the decoder', () => {
  it('bound the parts of all cuts together', () => {
    const half = LIMITS.nativeParts / 2;
    const payload = (parts: number): Uint8Array =>
      encodeNativePayload({
        ...EMPTY,
        answers: [half, parts].map((count): Answer => ({ kind: 'cut', cut: flatCut(count) })),
      });
    expect(codeOf(() => decodeNativePayload(payload(half)))).toBeUndefined();
    expect(codeOf(() => decodeNativePayload(payload(half + 1)))).toBe('WIRE_LIMIT');
  });

  it('bound the answers of all lists of them together: a byte may stand for 32', () => {
    const answers = (count: number): Answer[] => Array.from({ length: count }, () => ({ kind: 'equal' }));
    const payload = (count: number): Uint8Array =>
      encodeNativePayload({
        ...EMPTY,
        sketchAnswers: [
          { kind: 'undecoded', answers: answers(60_000) },
          { kind: 'undecoded', answers: answers(count) },
        ],
      });
    expect(codeOf(() => decodeNativePayload(payload(40_000)))).toBeUndefined();
    expect(codeOf(() => decodeNativePayload(payload(40_001)))).toBe('WIRE_LIMIT');
  });

  it('refuse a cut of no parts, and a sketch of nothing', () => {
    // A cut whose head says 0 parts; a sketch over 0 ranges.
    expect(codeOf(() => decodeNativePayload(Uint8Array.of(0x10, 1, 4, 0, 0)))).toBe('WIRE_LIMIT');
    expect(codeOf(() => decodeNativePayload(Uint8Array.of(0x80, 0, 1, 0, 0)))).toBe('WIRE_FIELD_INVALID');
  });

  it('believe no length that the bytes do not bear out', () => {
    for (const head of [
      [0x10, 1, 5],
      [0x20],
      [0x20, 1],
      [0x20, 0],
      [0x20, 0, 1],
      [0x40],
      [0x40, 1, 0],
      [0x80],
      [0x80, 1],
      [0x80, 0],
      [0x80, 0, 1, 1],
    ]) {
      for (const length of [1_000, 99_999, 2 ** 34]) {
        const writer = new ByteWriter();
        for (const byte of head) writer.byte(byte);
        writer.leb(length);
        expect(codeOf(() => decodeNativePayload(writer.finish()))).toMatch(/^WIRE_(LIMIT|TRUNCATED)$/);
      }
    }
  });

  it('refuse counts that do not add up, and bounds beyond the end of time', () => {
    // Two parts of 1 id in all, of which the first has 2: 0 + 2.
    const counts = [0x10, 1, 4, 4, 1, 0, 1, 4, 0, 0, 0, 0, 0, 0, 0, 0];
    expect(codeOf(() => decodeNativePayload(Uint8Array.from(counts)))).toBe('WIRE_FIELD_INVALID');
    const beyond = [0x10, 1, 4, 4, 1, 0x3e, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    expect(codeOf(() => decodeNativePayload(Uint8Array.from(beyond)))).toBe('WIRE_OVERFLOW');
    for (const flag of [0x7f, 0xbf]) {
      const flagged = [0x10, 1, 4, 4, 1, flag, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
      expect(codeOf(() => decodeNativePayload(Uint8Array.from(flagged)))).toBe('WIRE_TYPE');
    }
  });
});

const SCATTERED = { shape: 'spread', differing: 20, difference: 'scattered', lacking: 'both' } as const;

function flatCut(parts: number): Cut {
  return {
    keyed: false,
    bounds: Array.from({ length: parts - 1 }, () => boundAt(0n)),
    counts: Array.from({ length: parts }, () => 0),
    fingerprints: new Uint32Array(parts),
  };
}

/** Everything that may be written, in any order and number. */
function randomPayload(chance: Chance): NativePayload {
  const some = <T>(make: () => T): T[] => Array.from({ length: chance.below(3) * chance.below(4) }, make);
  const words = (count: number): Uint32Array => Uint32Array.from({ length: count }, () => chance.word());
  const pairs = (): Uint32Array => words(2 * chance.below(20));
  const symbols = (): Uint32Array => words(3 * chance.below(20));
  const cut = (): Cut => {
    const parts = 1 + chance.below(chance.pick([1, 4, 40]));
    return {
      keyed: chance.below(2) === 0,
      bounds: Array.from({ length: parts - 1 }, () => randomBound(chance)),
      counts: Array.from({ length: parts }, () => chance.below(chance.pick([1, 10, 1_000_000, 800_000_000]))),
      fingerprints: words(parts),
    };
  };
  const answer = (): Answer => {
    const kind = chance.pick(['equal', 'equal', 'sketched', 'cut', 'list', 'ask', 'none', 'all'] as const);
    if (kind === 'cut') return { kind, cut: cut() };
    if (kind === 'list') return { kind, ids: pairs() };
    if (kind === 'all') return { kind, count: chance.below(2 ** 35) };
    return { kind };
  };
  const answers = (): Answer[] => [
    ...some(answer),
    ...Array.from({ length: chance.below(100) }, (): Answer => ({ kind: 'equal' })),
    ...some(answer),
  ];
  const sketchAnswer = (): SketchAnswer => {
    const kind = chance.pick(['decoded', 'more', 'undecoded'] as const);
    if (kind === 'decoded') return { kind, wanted: pairs() };
    if (kind === 'more') return { kind, symbols: chance.below(100_000) };
    return { kind, answers: answers() };
  };
  const lower = randomBound(chance);
  const wanted = some(() => Uint8Array.from({ length: chance.below(9) }, () => chance.word()));
  const sketchAnswers = some(sketchAnswer);
  return {
    opening:
      chance.below(3) > 0
        ? undefined
        : { lower, upper: chance.pick([lower, END_OF_TIME]), strict: chance.below(2) === 0, cut: cut() },
    answers: answers(),
    lists: some(pairs),
    wanted,
    sketchAnswers,
    found: wanted.length + sketchAnswers.length > 0 ? chance.below(2 ** 35) : 0,
    extensions: some(symbols),
    sketches: some(() => ({ ranges: 1 + chance.below(200), symbols: symbols() })),
    check:
      chance.below(3) > 0
        ? undefined
        : { lower: randomBound(chance), upper: randomBound(chance), plain: words(4), keyed: words(4) },
    agreed: chance.below(5) === 0,
  };
}

/** Round times and others, with and without some of a hash; the first and the last of all. */
function randomBound(chance: Chance): Uint32Array {
  const kind = chance.below(6);
  if (kind === 0) return chance.pick([boundAt(0n), boundAt(1n), boundAt(TIMESTAMP_MAX), END_OF_TIME]).slice();
  const bound = kind === 1 ? chance.id(TIMESTAMP_MAX) : boundAt(START_NS + BigInt(chance.word()));
  const shift = chance.below(64);
  const time = ((BigInt(bound[0]!) << 32n) | BigInt(bound[1]!)) >> BigInt(shift);
  bound.set(boundAt(time << BigInt(shift)).subarray(0, 2));
  if (kind > 3) return bound;
  for (let word = 2; word < ID_WORDS; word++) bound[word] = chance.word();
  return bound.fill(0, 2 + chance.below(ID_WORDS - 1));
}
