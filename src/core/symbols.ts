/**
 * Coded symbols: a rateless invertible Bloom lookup table (Yang, Gilad, Alizadeh: "Practical Rateless Set
 * Reconciliation", SIGCOMM 2024) over short ids. Symbol 0 covers every id, symbol i one id in about 1 + i/2.
 * Symbols of disjoint sets add up by XOR, so that a leaf keeps those of its ids, and the symbols of two sides
 * leave, XORed, those of the ids that only one of them has.
 *
 * A symbol is three words: the XOR of short ids (two words) and of their checks (one). There is no count: an id
 * that stands alone is known by its check, and whose it is by looking it up.
 *
 * A short id carries, beside 40 bits of the hash, 24 bits of the time in steps of 2^30 ns (1.07 s), which is how
 * an id that was decoded is found in the ordered index, without a table of all ids. Publishers can make two
 * messages of the same short id with some work; such a pair hides in symbols and is found by the fingerprints.
 */
import { ID_WORDS } from './sync-id.ts';

export const SYMBOL_WORDS = 3;
export const SHORT_ID_WORDS = 2;
/** Timestamps are cut into steps of 2^30 ns. */
export const SLOT_BITS = 30;
export const SLOT_MASK = 0xff_ffff;

const HASH_OFFSET = 2;
const FIRST_BYTE = 0xff00_0000;

/** The second word of a row's short id; the first is the first word of its hash. */
export function shortIdLow(words: Uint32Array, at: number): number {
  const slot = ((words[at]! << 2) | (words[at + 1]! >>> SLOT_BITS)) & SLOT_MASK;
  return ((words[at + HASH_OFFSET + 1]! & FIRST_BYTE) | slot) >>> 0;
}

export function shortIdHigh(words: Uint32Array, at: number): number {
  return words[at + HASH_OFFSET]!;
}

/** XORs the first symbols of rows into `symbols`, as many as it has room for. */
export function addSymbols(words: Uint32Array, row: number, count: number, symbols: Uint32Array): void {
  const end = (row + count) * ID_WORDS;
  for (let at = row * ID_WORDS; at < end; at += ID_WORDS) {
    toggle(symbols, shortIdHigh(words, at), shortIdLow(words, at));
  }
}

/** XORs the symbols of one short id into `symbols`: adds it, or takes it out. */
export function toggle(symbols: Uint32Array, high: number, low: number): void {
  const check = checkOf(high, low);
  let state = seedOf(high, check);
  let index = 0;
  while (index * SYMBOL_WORDS < symbols.length) {
    const at = index * SYMBOL_WORDS;
    symbols[at] = symbols[at]! ^ high;
    symbols[at + 1] = symbols[at + 1]! ^ low;
    symbols[at + 2] = symbols[at + 2]! ^ check;
    state = (state + 0x9e37_79b9) | 0;
    index += gap(index, mix(state));
  }
}

/** The same for two arrays at once, the first no longer than the second; either may be missing. */
export function toggleBoth(
  few: Uint32Array | undefined,
  many: Uint32Array | undefined,
  high: number,
  low: number,
): void {
  if (few === undefined || many === undefined) {
    const some = few ?? many;
    if (some !== undefined) toggle(some, high, low);
    return;
  }
  const check = checkOf(high, low);
  let state = seedOf(high, check);
  let index = 0;
  while (index * SYMBOL_WORDS < many.length) {
    const at = index * SYMBOL_WORDS;
    if (at < few.length) {
      few[at] = few[at]! ^ high;
      few[at + 1] = few[at + 1]! ^ low;
      few[at + 2] = few[at + 2]! ^ check;
    }
    many[at] = many[at]! ^ high;
    many[at + 1] = many[at + 1]! ^ low;
    many[at + 2] = many[at + 2]! ^ check;
    state = (state + 0x9e37_79b9) | 0;
    index += gap(index, mix(state));
  }
}

/** XORs `other` into `symbols`, as far as both go. */
export function xorSymbols(symbols: Uint32Array, other: Uint32Array): void {
  const length = Math.min(symbols.length, other.length);
  for (let word = 0; word < length; word++) symbols[word] = symbols[word]! ^ other[word]!;
}

/**
 * Takes short ids out of `symbols` until none are left; returns them, two words each, or undefined when some stay
 * entangled and more symbols are needed. Changes `symbols`. More ids than symbols are never returned, nor taken out,
 * whatever the symbols are: with some 16 symbols an id, that bounds the work.
 */
export function peel(symbols: Uint32Array): Uint32Array | undefined {
  const count = symbols.length / SYMBOL_WORDS;
  const found = new Uint32Array(count * SHORT_ID_WORDS);
  // Symbols to look at: at first all, from the last and sparsest on; then those that an id was taken out of.
  const queue: number[] = Array.from({ length: count }, (_, index) => index);
  let ids = 0;
  for (let index = queue.pop(); index !== undefined; index = queue.pop()) {
    const at = index * SYMBOL_WORDS;
    const high = symbols[at]!;
    const low = symbols[at + 1]!;
    const check = symbols[at + 2]!;
    if ((high | low | check) === 0 || checkOf(high, low) !== check) continue;
    if (ids === count) return undefined;
    found[ids * SHORT_ID_WORDS] = high;
    found[ids * SHORT_ID_WORDS + 1] = low;
    ids += 1;
    takeOut(symbols, high, low, check, queue);
  }
  for (let word = 0; word < symbols.length; word++) if (symbols[word] !== 0) return undefined;
  return withoutPairs(found, ids);
}

/**
 * Several ids can pass for one that is not there: by chance hardly ever, but a publisher can choose messages so.
 * That one is then taken out, and later once more: what was found twice was never in.
 */
function withoutPairs(found: Uint32Array<ArrayBuffer>, ids: number): Uint32Array {
  new BigUint64Array(found.buffer, 0, ids).sort();
  let kept = 0;
  for (let at = 0; at < ids * SHORT_ID_WORDS; at += SHORT_ID_WORDS) {
    const high = found[at]!;
    const low = found[at + 1]!;
    const next = at + SHORT_ID_WORDS;
    if (next < ids * SHORT_ID_WORDS && high === found[next] && low === found[next + 1]) {
      at = next;
      continue;
    }
    found[kept] = high;
    found[kept + 1] = low;
    kept += SHORT_ID_WORDS;
  }
  return found.subarray(0, kept);
}

function takeOut(symbols: Uint32Array, high: number, low: number, check: number, queue: number[]): void {
  let state = seedOf(high, check);
  let index = 0;
  while (index * SYMBOL_WORDS < symbols.length) {
    const at = index * SYMBOL_WORDS;
    symbols[at] = symbols[at]! ^ high;
    symbols[at + 1] = symbols[at + 1]! ^ low;
    symbols[at + 2] = symbols[at + 2]! ^ check;
    queue.push(index);
    state = (state + 0x9e37_79b9) | 0;
    index += gap(index, mix(state));
  }
}

/**
 * How far the next symbol of an id lies: the inverse of the distribution that holds an id in symbol i with a
 * probability of 1/(1 + i/2), at a random point of 32 bits.
 */
function gap(index: number, random: number): number {
  return Math.max(1, Math.ceil((index + 1.5) * (65_536 / Math.sqrt((random >>> 0) + 1) - 1)));
}

function checkOf(high: number, low: number): number {
  return (mix(high ^ mix(low ^ 0x6c61_6375)) ^ Math.imul(low, 0x9e37_79b1)) >>> 0;
}

function seedOf(high: number, check: number): number {
  return mix(check ^ Math.imul(high, 0x85eb_ca77)) | 0;
}

/** The finaliser of MurmurHash3. */
function mix(value: number): number {
  let mixed = value ^ (value >>> 16);
  mixed = Math.imul(mixed, 0x85eb_ca6b);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0xc2b2_ae35);
  return mixed ^ (mixed >>> 16);
}
