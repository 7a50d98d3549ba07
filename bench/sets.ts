/**
 * Pairs of sets to reconcile, by name: scattered losses, a gap after downtime, a cold start, a burst under one
 * timestamp, a gap in the middle, a mix, and equal sets. Seeded, so that every run of every implementation meets
 * the same ids. No id is an object on the way: a million of them takes a fraction of a second.
 */
import { compareIds, HASH_WORDS, ID_WORDS, SyncIdList } from '../src/core/sync-id.ts';

export interface SetPair {
  /** What the initiator holds, ascending. */
  readonly a: SyncIdList;
  /** What the responder holds, ascending. */
  readonly b: SyncIdList;
  readonly onlyA: SyncIdList;
  readonly onlyB: SyncIdList;
  /** The time that the ids are drawn from: all lie in `[lowerNs, upperNs)`. */
  readonly lowerNs: bigint;
  readonly upperNs: bigint;
  /** Whether the initiator has reason to believe that the two are equal. */
  readonly probablyEqual: boolean;
}

type Sides = Pick<SetPair, 'a' | 'b'>;
/** On which side the row of this rank is. */
type Where = (rank: number) => typeof BOTH | typeof ONLY_A | typeof ONLY_B;

const BOTH = 0;
const ONLY_A = 1;
const ONLY_B = 2;

/** The first moment of all sets; times are drawn as offsets from it, which a double holds exactly. */
const BASE_NS = 1_700_000_000_000_000_000n;
const BASE_HIGH = Number(BASE_NS >> 32n);
const BASE_LOW = Number(BASE_NS & 0xffff_ffffn);
const TWO_32 = 0x1_0000_0000;

const MILLION = 1_000_000;
const DAY_NS = 86_400e9;
const SPAN_NS = 60 * DAY_NS;
const YEAR_NS = 365 * DAY_NS;
/** Ids that a side with a gap holds in it all the same. */
const IN_GAP = 50;

const DIFFERENCES = [0, 10, 100, 1_000, 10_000];
const SIZES = ['10k', '100k', '1m'];

const MAKERS: Readonly<Record<string, () => Sides>> = {
  ...Object.fromEntries(
    SIZES.flatMap((size) =>
      DIFFERENCES.map((count) => [`w1-${size}-${count}`, () => scattered(sizeOf(size), count)] as const),
    ),
  ),
  'w2-1pct': () => downtime(0.01),
  'w2-10pct': () => downtime(0.1),
  'w3-initiator-empty': () => coldStart('a'),
  'w3-responder-empty': () => coldStart('b'),
  'w4-alone': () => burst(0),
  'w4-among': () => burst(100_000),
  w5: middleGap,
  w6: mixed,
  'insync-known': () => scattered(MILLION, 0),
  'insync-unknown': () => scattered(MILLION, 0),
};

/** The cases of a full run. Beside them there is `w1-SIZE-DIFFERENCES` of any size, for the growth with n. */
export const CASES: readonly string[] = Object.keys(MAKERS);

const SCATTERED = /^w1-(\d+[km]?)-(\d+)$/;

export function isCase(name: string): boolean {
  return Object.hasOwn(MAKERS, name) || SCATTERED.test(name);
}

export function makeSets(name: string): SetPair {
  const { a, b } = makerOf(name)();
  const [onlyA, onlyB] = differences(a, b);
  const upperNs = BASE_NS + BigInt(name === 'w5' ? YEAR_NS : SPAN_NS);
  return { a, b, onlyA, onlyB, lowerNs: BASE_NS, upperNs, probablyEqual: name === 'insync-known' };
}

function makerOf(name: string): () => Sides {
  if (Object.hasOwn(MAKERS, name)) return MAKERS[name]!;
  const [, size, count] = SCATTERED.exec(name) ?? [];
  if (size === undefined || count === undefined) throw new RangeError(`no case ${name}`);
  return () => scattered(sizeOf(size), Number(count));
}

function sizeOf(text: string): number {
  const unit = text.endsWith('m') ? MILLION : text.endsWith('k') ? 1_000 : 1;
  return Number.parseInt(text, 10) * unit;
}

/** W1: so many shared ids, and half of the differences on either side, anywhere. */
function scattered(shared: number, count: number): Sides {
  const seed = 1;
  const all = universe(shared + count, seed, uniform(SPAN_NS));
  return divide(all, alternating(pick(all.count, count, seed + 77)));
}

/** W2: the initiator lacks the newest part, but for a few ids that only it holds. */
function downtime(part: number): Sides {
  const seed = 2;
  const all = universe(MILLION + IN_GAP, seed, uniform(SPAN_NS));
  const start = all.count - Math.round(MILLION * part) - IN_GAP;
  const held = new Set(pick(all.count - start, IN_GAP, seed + 9));
  return divide(all, (rank) => (rank < start ? BOTH : held.has(rank - start) ? ONLY_A : ONLY_B));
}

/** W3: one side holds nothing. */
function coldStart(empty: 'a' | 'b'): Sides {
  const all = universe(100_000, 3, uniform(SPAN_NS));
  return divide(all, () => (empty === 'a' ? ONLY_B : ONLY_A));
}

/** W4: 20,000 ids under one timestamp, with the differences among them, and so many others around. */
function burst(around: number): Sides {
  const seed = 4;
  const size = 20_000;
  const moment = 30 * DAY_NS;
  // Not the product with the span in one: it rounds to another nanosecond now and then.
  const elsewhere: TimeOf = (chance) => Math.floor(chance.fraction() * 60 * DAY_NS);
  const all = universe(size + around, seed, (chance, index) =>
    index < size ? moment : elsewhere(chance, index),
  );
  const ranks = ranksWhere(all, (time) => time === moment);
  return divide(all, alternating(pick(ranks.length, 100, seed + 5).map((place) => ranks[place]!)));
}

/** W5: a year in whole microseconds, of which the initiator lacks two months in the middle, but for a few ids. */
function middleGap(): Sides {
  const seed = 5;
  const all = universe(
    MILLION + IN_GAP,
    seed,
    (chance) => Math.floor((chance.fraction() * YEAR_NS) / 1000) * 1000,
  );
  const gap = ranksWhere(all, (time) => time >= 150 * DAY_NS && time < 210 * DAY_NS);
  const held = new Set(pick(gap.length, IN_GAP, seed + 9).map((place) => gap[place]!));
  const first = gap[0]!;
  const end = first + gap.length;
  return divide(all, (rank) => (rank < first || rank >= end ? BOTH : held.has(rank) ? ONLY_A : ONLY_B));
}

/** W6: the newest hundredth is lacking as in W2, and 40 differences are scattered over the rest. */
function mixed(): Sides {
  const seed = 6;
  const all = universe(MILLION + IN_GAP, seed, uniform(SPAN_NS));
  const start = all.count - Math.round(MILLION * 0.01) - IN_GAP;
  const held = new Set(pick(all.count - start, IN_GAP, seed + 9));
  const before = alternating(pick(start, 40, seed + 10));
  return divide(all, (rank) => (rank < start ? before(rank) : held.has(rank - start) ? ONLY_A : ONLY_B));
}

function uniform(spanNs: number): TimeOf {
  return (chance) => Math.floor(chance.fraction() * spanNs);
}

/** These ranks differ, by turns on either side. */
function alternating(ranks: readonly number[]): Where {
  const sides = new Map(ranks.map((rank, turn) => [rank, turn % 2 === 0 ? ONLY_A : ONLY_B] as const));
  return (rank) => sides.get(rank) ?? BOTH;
}

/** So many different numbers below a limit, in the order drawn. */
function pick(below: number, count: number, seed: number): number[] {
  const chance = new Chance(seed);
  const drawn = new Set<number>();
  while (drawn.size < count) drawn.add(Math.floor(chance.fraction() * below));
  return [...drawn];
}

/** The generator sfc32: the order of its draws is what makes the sets the same everywhere. */
class Chance {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number) {
    this.#a = (0x9e3779b9 ^ seed) | 0;
    this.#b = (0x243f6a88 + seed) | 0;
    this.#c = (0xb7e15162 ^ (seed << 7)) | 0;
    for (let draw = 0; draw < 20; draw++) this.word();
  }

  word(): number {
    const drawn = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + drawn) | 0;
    return drawn >>> 0;
  }

  /** From 0 to below 1, in steps of 2^-53. */
  fraction(): number {
    const high = this.word();
    return (high * 2 ** 21 + (this.word() >>> 11)) / 2 ** 53;
  }
}

type TimeOf = (chance: Chance, index: number) => number;

interface Universe {
  readonly count: number;
  /** Offsets from the base, as drawn. */
  readonly times: Float64Array;
  /** Eight words a hash, as drawn. */
  readonly hashes: Uint32Array;
  /** Which draw stands at which rank. */
  readonly order: Uint32Array;
}

function universe(count: number, seed: number, timeOf: TimeOf): Universe {
  const hashes = new Uint32Array(count * HASH_WORDS);
  const hashChance = new Chance(seed);
  for (let word = 0; word < hashes.length; word++) hashes[word] = swapped(hashChance.word());
  const times = new Float64Array(count);
  const timeChance = new Chance(seed ^ 0x5bd1e995);
  for (let index = 0; index < count; index++) times[index] = timeOf(timeChance, index);
  return { count, times, hashes, order: ordered(times, hashes) };
}

/** A draw becomes bytes from its lowest to its highest; a row reads them the other way round. */
function swapped(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

const DIGIT_BITS = 16;
const DIGITS = 4;

/** Ranks by time, sixteen bits after sixteen bits, which is many times quicker than comparing; then by hash. */
function ordered(times: Float64Array, hashes: Uint32Array): Uint32Array {
  let order = Uint32Array.from({ length: times.length }, (_, index) => index);
  let next = new Uint32Array(times.length);
  for (let digit = 0; digit < DIGITS; digit++) {
    const scale = 2 ** (digit * DIGIT_BITS);
    const places = new Uint32Array(2 ** DIGIT_BITS + 1);
    for (const time of times) places[digitOf(time, scale) + 1]!++;
    for (let value = 1; value < places.length; value++) places[value]! += places[value - 1]!;
    for (const index of order) next[places[digitOf(times[index]!, scale)]!++] = index;
    [order, next] = [next, order];
  }
  for (let from = 0; from < order.length; ) {
    let to = from + 1;
    while (to < order.length && times[order[to]!] === times[order[from]!]) to += 1;
    if (to - from > 1) order.subarray(from, to).sort((left, right) => compareHashes(hashes, left, right));
    from = to;
  }
  return order;
}

function digitOf(time: number, scale: number): number {
  return Math.floor(time / scale) & 0xffff;
}

function compareHashes(hashes: Uint32Array, left: number, right: number): number {
  for (let word = 0; word < HASH_WORDS; word++) {
    const difference = hashes[left * HASH_WORDS + word]! - hashes[right * HASH_WORDS + word]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

function ranksWhere(all: Universe, holds: (time: number) => boolean): number[] {
  const ranks: number[] = [];
  for (let rank = 0; rank < all.count; rank++) if (holds(all.times[all.order[rank]!]!)) ranks.push(rank);
  return ranks;
}

function divide(all: Universe, where: Where): Sides {
  const counts = [0, 0, 0];
  for (let rank = 0; rank < all.count; rank++) counts[where(rank)]! += 1;
  const a = new SyncIdList(counts[BOTH]! + counts[ONLY_A]!);
  const b = new SyncIdList(counts[BOTH]! + counts[ONLY_B]!);
  for (let rank = 0; rank < all.count; rank++) {
    const side = where(rank);
    if (side !== ONLY_B) writeRow(all, rank, a);
    if (side !== ONLY_A) writeRow(all, rank, b);
  }
  return { a, b };
}

function writeRow(all: Universe, rank: number, list: SyncIdList): void {
  const index = all.order[rank]!;
  const time = all.times[index]!;
  const at = list.pushEmpty();
  const { words } = list;
  const high = Math.floor(time / TWO_32);
  const low = BASE_LOW + (time - high * TWO_32);
  words[at] = BASE_HIGH + high + (low >= TWO_32 ? 1 : 0);
  words[at + 1] = low;
  for (let word = 0; word < HASH_WORDS; word++) {
    words[at + 2 + word] = all.hashes[index * HASH_WORDS + word]!;
  }
}

/** What only `a` and what only `b` holds, of two ascending lists. */
export function differences(a: SyncIdList, b: SyncIdList): [onlyA: SyncIdList, onlyB: SyncIdList] {
  const onlyA = new SyncIdList();
  const onlyB = new SyncIdList();
  let rowA = 0;
  let rowB = 0;
  while (rowA < a.count && rowB < b.count) {
    const order = compareIds(a.words, rowA * ID_WORDS, b.words, rowB * ID_WORDS);
    if (order < 0) onlyA.push(a.words, rowA * ID_WORDS);
    else if (order > 0) onlyB.push(b.words, rowB * ID_WORDS);
    if (order <= 0) rowA += 1;
    if (order >= 0) rowB += 1;
  }
  onlyA.pushRows(a.words, rowA * ID_WORDS, a.count - rowA);
  onlyB.pushRows(b.words, rowB * ID_WORDS, b.count - rowB);
  return [onlyA, onlyB];
}
