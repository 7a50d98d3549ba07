/**
 * Where to cut a range: between two ids, so that the parts hold about equal counts, whatever their times. Every
 * dialect cuts by count; a burst under one timestamp is cut like anything else.
 */
import type { RangeIndex } from './range-index.ts';
import { ID_WORDS } from './sync-id.ts';

/** How far a cut may move from where counts are equal, to a place with a shorter bound. */
const LEEWAY_RANKS = 8;

/**
 * Up to `parts` - 1 bounds that cut the ids of the ranks `[from, to)`, ascending, with at least one id between neighbours
 * and at both ends. Each lies within a few ranks of where counts are equal, at the place where the times around it
 * leave room for the roundest bound: 3 bytes on the wire where a full time takes 7.
 */
export function equalCuts(index: RangeIndex, from: number, to: number, parts: number): Uint32Array[] {
  const cuts: Uint32Array[] = [];
  const part = (to - from) / parts;
  const leeway = Math.min(LEEWAY_RANKS, Math.floor(part / 4));
  let previous = from;
  for (let cut = 1; cut < parts; cut++) {
    const target = Math.round(from + cut * part);
    const lowest = Math.max(previous + 1, target - leeway);
    const highest = Math.min(to - 1, target + leeway);
    if (lowest > highest) continue;
    const rank = roundest(index, lowest, highest);
    cuts.push(boundBetween(index.select(rank - 1), index.select(rank)));
    previous = rank;
  }
  return cuts;
}

/** The rank in `[lowest, highest]` whose bound will be the shortest. */
function roundest(index: RangeIndex, lowest: number, highest: number): number {
  let best = lowest;
  let bestBit = -1;
  let below = index.select(lowest - 1);
  for (let rank = lowest; rank <= highest; rank++) {
    const above = index.select(rank);
    const bit = highestDifferingBit(below, above);
    if (bit > bestBit) {
      best = rank;
      bestBit = bit;
    }
    below = above;
  }
  return best;
}

/** The highest bit in which the times differ; -1 for equal times. */
function highestDifferingBit(a: Uint32Array, b: Uint32Array): number {
  const high = (a[0]! ^ b[0]!) >>> 0;
  if (high !== 0) return 63 - Math.clz32(high);
  const low = (a[1]! ^ b[1]!) >>> 0;
  return low === 0 ? -1 : 31 - Math.clz32(low);
}

/**
 * A bound above `below` and not above `above`, two neighbouring ids: the time of `above` with all bits below the
 * highest differing one cleared; for equal times, the time and the first bytes of the hash.
 */
export function boundBetween(below: Uint32Array, above: Uint32Array): Uint32Array {
  const bound = new Uint32Array(ID_WORDS);
  bound[0] = above[0]!;
  bound[1] = above[1]!;
  const bit = highestDifferingBit(below, above);
  if (bit >= 32) {
    bound[0] = clearBelow(bound[0], bit - 32);
    bound[1] = 0;
  } else if (bit >= 0) {
    bound[1] = clearBelow(bound[1], bit);
  } else {
    copyShortest(below, above, bound);
  }
  return bound;
}

function clearBelow(word: number, bit: number): number {
  return bit === 0 ? word : ((word >>> bit) << bit) >>> 0;
}

/** Copies the hash of `above` up to and with the first byte that differs from `below`. */
function copyShortest(below: Uint32Array, above: Uint32Array, bound: Uint32Array): void {
  for (let word = 2; word < ID_WORDS; word++) {
    const differing = (below[word]! ^ above[word]!) >>> 0;
    if (differing === 0) {
      bound[word] = above[word]!;
      continue;
    }
    const kept = (Math.floor(Math.clz32(differing) / 8) + 1) * 8;
    bound[word] = kept === 32 ? above[word]! : ((above[word]! >>> (32 - kept)) << (32 - kept)) >>> 0;
    return;
  }
}
