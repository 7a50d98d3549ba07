/**
 * Seeded random ids, and pairs of sets that differ in a known way. Property tests draw a seed and a few
 * parameters from fast-check and everything else from here: a set of thousands costs a millisecond, and a
 * failure is still told by a handful of numbers.
 */
import fc from 'fast-check';
import { boundAt, HASH_WORDS, ID_WORDS, SyncIdList, setTime } from '../../src/core/sync-id.ts';

/** 2026-08-20, in ns: as long on the wire as the times of real messages. */
export const START_NS = 1_787_184_000_000_000_000n;
const HOUR_NS = 3_600_000_000_000;

/** A small generator of good enough numbers (mulberry32). */
export class Chance {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  word(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  below(below: number): number {
    return Math.floor((this.word() / 0x1_0000_0000) * below);
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }

  /** An id of this time with a hash that no other id will have. */
  id(timestampNs: bigint): Uint32Array {
    const id = boundAt(timestampNs);
    for (let word = ID_WORDS - HASH_WORDS; word < ID_WORDS; word++) id[word] = this.word();
    return id;
  }
}

/** How the ids lie in time. */
export const SHAPES = [
  'spread',
  'clustered',
  'one timestamp',
  'dense',
  'whole minutes',
  'burst in spread',
] as const;
export type Shape = (typeof SHAPES)[number];

/** How the sides differ: each id alone by chance, or one run of ids in time order. */
export const DIFFERENCES = ['scattered', 'one run', 'newest'] as const;

export interface PairParameters {
  readonly seed: number;
  readonly size: number;
  readonly shape: Shape;
  /** Of all ids, how many only one side holds, in thousandths. */
  readonly differing: number;
  readonly difference: (typeof DIFFERENCES)[number];
  /** Which side lacks them: both by turns, or one of them. */
  readonly lacking: 'both' | 'a' | 'b';
}

export interface Pair {
  readonly a: SyncIdList;
  readonly b: SyncIdList;
  readonly onlyA: SyncIdList;
  readonly onlyB: SyncIdList;
  /** All ids lie in `[lowerNs, upperNs)`. */
  readonly lowerNs: bigint;
  readonly upperNs: bigint;
}

/** Most sets are small, where the edges are; a few are large, where ranges split again and again. */
export function pairParameters(sizeMax: number): fc.Arbitrary<PairParameters> {
  return fc.record({
    seed: fc.nat(),
    size: fc.oneof(
      { weight: 6, arbitrary: fc.nat(40) },
      { weight: 6, arbitrary: fc.nat(Math.min(400, sizeMax)) },
      { weight: 2, arbitrary: fc.noBias(fc.nat(sizeMax)) },
    ),
    shape: fc.constantFrom(...SHAPES),
    differing: fc.oneof(fc.constantFrom(0, 1, 10, 1000), fc.nat(1000)),
    difference: fc.constantFrom(...DIFFERENCES),
    lacking: fc.constantFrom('both', 'a', 'b'),
  });
}

export function makePair(parameters: PairParameters): Pair {
  const { size, differing, difference } = parameters;
  const chance = new Chance(parameters.seed);
  const all = SyncIdList.of(
    ...timesOf(parameters.shape, size, chance).map((time) => chance.id(time)),
  ).toAscending();
  const run = Math.round((size * differing) / 1000);
  const runStart = difference === 'newest' ? size - run : chance.below(size - run + 1);
  const pair = { a: new SyncIdList(), b: new SyncIdList(), onlyA: new SyncIdList(), onlyB: new SyncIdList() };
  for (let row = 0; row < all.count; row++) {
    const differs =
      difference === 'scattered' ? chance.below(1000) < differing : row >= runStart && row < runStart + run;
    const lacking = parameters.lacking === 'both' ? chance.pick(['a', 'b']) : parameters.lacking;
    const lists = !differs ? [pair.a, pair.b] : lacking === 'a' ? [pair.b, pair.onlyB] : [pair.a, pair.onlyA];
    for (const list of lists) list.push(all.words, row * ID_WORDS);
  }
  return { ...pair, ...windowAround(all, chance) };
}

/** The whole hour and more; or no wider than the ids need, down to a single nanosecond. */
function windowAround(all: SyncIdList, chance: Chance): { lowerNs: bigint; upperNs: bigint } {
  const wide = { lowerNs: START_NS, upperNs: START_NS + BigInt(2 * HOUR_NS) };
  if (all.count === 0 || chance.below(3) > 0) return wide;
  return { lowerNs: momentNs(all.at(0)), upperNs: momentNs(all.at(all.count - 1)) + 1n };
}

function momentNs(id: Uint32Array): bigint {
  return (BigInt(id[0]!) << 32n) | BigInt(id[1]!);
}

function timesOf(shape: Shape, size: number, chance: Chance): bigint[] {
  const moment = chance.below(HOUR_NS);
  const clusters = Array.from({ length: 1 + chance.below(5) }, () => chance.below(HOUR_NS));
  const width = 1 + chance.below(40);
  const offset = (row: number): number => {
    if (shape === 'spread') return chance.below(HOUR_NS);
    if (shape === 'clustered') return chance.pick(clusters) + chance.below(1000);
    if (shape === 'one timestamp') return moment;
    if (shape === 'dense') return moment + chance.below(width);
    if (shape === 'whole minutes') return chance.below(60) * 60_000_000_000;
    return row % 3 === 0 ? chance.below(HOUR_NS) : moment;
  };
  return Array.from({ length: size }, (_, row) => START_NS + BigInt(offset(row)));
}

/** Ids that lie close together: few times, and hashes that share all but their last bytes. */
export function closeId(chance: Chance): Uint32Array {
  const id = new Uint32Array(ID_WORDS);
  setTime(id, 0, START_NS + BigInt(chance.pick([0, 0, 0, 1, 2, 60_000_000_000]) * chance.below(50)));
  const shared = chance.below(HASH_WORDS);
  for (let word = 2; word < ID_WORDS; word++) {
    id[word] = word - 2 < shared ? 0xabab_abab : chance.pick([0, 1, 0x8000_0000, 0xffff_ffff, chance.word()]);
  }
  // A hash of zeros is a bound, and no message has it.
  id[ID_WORDS - 1] = id[ID_WORDS - 1]! | 1;
  return id;
}

/** All ids of a list as text: a hundred times quicker to compare than the elements of two arrays. */
export function textOf(list: SyncIdList): string {
  return Buffer.from(list.words.buffer, list.words.byteOffset, list.count * ID_WORDS * 4).toString('hex');
}
