/** From short ids back to ids: those decoded from symbols, by their time; those of a list, by hashing one's own. */
import { kernel } from '../kernel.ts';
import type { RangeIndex } from '../range-index.ts';
import type { SipKey } from '../siphash.ts';
import { SHORT_ID_WORDS, SLOT_BITS, SLOT_MASK, shortIdLow } from '../symbols.ts';
import { compareIds, ID_WORDS, type SyncIdList, setTime, TIMESTAMP_MAX, timeOf } from '../sync-id.ts';

/** A range of ids, `[lower, upper)`. */
export interface Range {
  readonly lower: Uint32Array;
  readonly upper: Uint32Array;
}

const SLOT_WIDTH_BITS = BigInt(SLOT_BITS);
/** Slots repeat after 2^24 of them: 208 days. */
const CYCLE_BITS = BigInt(SLOT_BITS + 24);

/**
 * Looks up the ids of the short ids, two words each, in ascending ranges. Ids that are held go to `found`; the
 * short ids of the others are returned.
 */
export function findShortIds(
  index: RangeIndex,
  ranges: readonly Range[],
  shortIds: Uint32Array,
  found: SyncIdList,
): Uint32Array {
  const wanted = new Map<number, WantedSlot>();
  for (let at = 0; at < shortIds.length; at += SHORT_ID_WORDS) {
    const low = shortIds[at + 1]!;
    const slot = wanted.get(low & SLOT_MASK) ?? { highs: new Map<number, number[]>() };
    wanted.set(low & SLOT_MASK, slot);
    const places = slot.highs.get(shortIds[at]!) ?? [];
    slot.highs.set(shortIds[at]!, places);
    places.push(at);
  }
  const isFound = new Uint8Array(shortIds.length / SHORT_ID_WORDS);
  for (const [slot, { highs }] of wanted) {
    forEachTimeOf(slot, index, ranges, (ids) => {
      for (let row = 0; row < ids.count; row++) {
        const places = highs.get(ids.words[row * ID_WORDS + 2]!);
        if (places === undefined) continue;
        const low = shortIdLow(ids.words, row * ID_WORDS);
        const at = places.find((place) => shortIds[place + 1] === low);
        if (at === undefined || isFound[at / SHORT_ID_WORDS] === 1) continue;
        isFound[at / SHORT_ID_WORDS] = 1;
        found.push(ids.words, row * ID_WORDS);
      }
    });
  }
  return shortIds.filter((_, word) => isFound[word >>> 1] === 0);
}

interface WantedSlot {
  /** By the first word, where in the short ids it stands. */
  readonly highs: Map<number, number[]>;
}

/** Gives the ids of every time that falls into the slot, range by range. */
function forEachTimeOf(
  slot: number,
  index: RangeIndex,
  ranges: readonly Range[],
  visit: (ids: SyncIdList) => void,
): void {
  if (index.count === 0 || ranges.length === 0) return;
  // No further than the ranges and what is held: of every slot, each cycle between is looked at.
  const firstNs = later(timeOf(index.select(0)), timeOf(ranges[0]!.lower));
  const lastNs = earlier(timeOf(index.select(index.count - 1)), timeOf(ranges.at(-1)!.upper));
  const lower = new Uint32Array(ID_WORDS);
  const upper = new Uint32Array(ID_WORDS);
  for (let cycle = firstNs >> CYCLE_BITS; cycle <= lastNs >> CYCLE_BITS; cycle++) {
    const startNs = (cycle << CYCLE_BITS) + (BigInt(slot) << SLOT_WIDTH_BITS);
    setTime(lower, 0, startNs);
    const endNs = startNs + (1n << SLOT_WIDTH_BITS);
    // The last slot of all ends with time itself, behind the ids of the last moment.
    if (endNs > TIMESTAMP_MAX) upper.fill(0xffff_ffff);
    else setTime(upper, 0, endNs);
    for (let at = firstRangeAbove(ranges, lower); at < ranges.length; at++) {
      const range = ranges[at]!;
      if (compareIds(range.lower, 0, upper, 0) >= 0) break;
      const from = compareIds(range.lower, 0, lower, 0) > 0 ? range.lower : lower;
      const to = compareIds(range.upper, 0, upper, 0) < 0 ? range.upper : upper;
      visit(index.ids(from, to));
    }
  }
}

function later(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function earlier(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

/** The first of the ranges that ends above the bound. */
function firstRangeAbove(ranges: readonly Range[], bound: Uint32Array): number {
  let low = 0;
  let high = ranges.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareIds(ranges[middle]!.upper, 0, bound, 0) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The 64-bit keyed hash of each id, two words each. */
export function hashedIds(ids: SyncIdList, key: SipKey): Uint32Array {
  const hashed = new Uint32Array(ids.count * 2);
  kernel.keyedHashes(ids.words, 0, ids.count, key, hashed);
  return hashed;
}

/**
 * Compares one's own ids with the list of the other side: ids that it does not name go to `have`. Returns a bit
 * for each of its ids that is not here.
 */
export function compareWithList(
  own: SyncIdList,
  key: SipKey,
  theirs: Uint32Array,
  have: SyncIdList,
): Uint8Array {
  const table = new HashedIdTable(theirs);
  const wanted = new Uint8Array(Math.ceil(theirs.length / 16)).fill(0xff);
  const spare = (wanted.length * 8 - theirs.length / 2) % 8;
  if (wanted.length > 0) wanted[wanted.length - 1] = 0xff >>> spare;
  const hashed = hashedIds(own, key);
  for (let row = 0; row < own.count; row++) {
    const found = table.clear(hashed[row * 2]!, hashed[row * 2 + 1]!, wanted);
    if (!found) have.push(own.words, row * ID_WORDS);
  }
  return wanted;
}

/** The ids whose bits are set. */
export function pickIds(ids: SyncIdList, wanted: Uint8Array, into: SyncIdList): void {
  for (let row = 0; row < ids.count; row++) {
    if (((wanted[row >>> 3] ?? 0) & (1 << (row & 7))) !== 0) into.push(ids.words, row * ID_WORDS);
  }
}

export function countBits(bits: Uint8Array): number {
  let count = 0;
  for (const byte of bits) for (let rest = byte; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}

/** An open-addressed table over hashed ids; what is looked up is hashed under a key, so it spreads evenly. */
class HashedIdTable {
  readonly #ids: Uint32Array;
  readonly #places: Uint32Array;
  readonly #mask: number;

  constructor(ids: Uint32Array) {
    this.#ids = ids;
    const size = 2 ** Math.ceil(Math.log2(ids.length + 2));
    this.#mask = size - 1;
    this.#places = new Uint32Array(size);
    for (let place = 0; place < ids.length / 2; place++) {
      // A list comes from the other side, which may have chosen ids that fall on one place.
      let at = spread(ids[place * 2]!, ids[place * 2 + 1]!) & this.#mask;
      let steps = 0;
      while (this.#places[at] !== 0 && steps < PROBES_MAX) {
        at = (at + 1) & this.#mask;
        steps += 1;
      }
      if (steps < PROBES_MAX) this.#places[at] = place + 1;
    }
  }

  /** Whether the id is listed; if so, its bit is cleared. */
  clear(low: number, high: number, bits: Uint8Array): boolean {
    let at = spread(low, high) & this.#mask;
    let found = false;
    for (let steps = 0; steps < PROBES_MAX && this.#places[at] !== 0; steps++) {
      const place = this.#places[at]! - 1;
      if (this.#ids[place * 2] === low && this.#ids[place * 2 + 1] === high) {
        bits[place >>> 3] = bits[place >>> 3]! & ~(1 << (place & 7));
        found = true;
      }
      at = (at + 1) & this.#mask;
    }
    return found;
  }
}

/** Half-full tables of hashes have runs of some dozens; longer ones were made on purpose. */
const PROBES_MAX = 256;

function spread(low: number, high: number): number {
  return (low ^ Math.imul(high, 0x9e37_79b1)) >>> 0;
}
