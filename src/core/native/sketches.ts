/**
 * The sketches of one side of a reconciliation: those it sent and may have to extend, and those it received and has
 * yet to decode. What they find is for the reconciler to keep.
 */
import type { RangeIndex } from '../range-index.ts';
import { peel, SYMBOL_WORDS } from '../symbols.ts';
import { compareIds, type SyncIdList } from '../sync-id.ts';
import type { Settlement } from './judging.ts';
import type { Sketch, SketchAnswer } from './payload.ts';
import type { NativePolicy } from './policy.ts';
import { misfit, overBudget } from './refusals.ts';
import { findShortIds, type Range } from './short-ids.ts';

/** A sketch of ours that the other side works on. */
export interface SentSketch {
  readonly ranges: readonly Range[];
  readonly symbols: number;
  /** How often it was extended. */
  readonly tries: number;
}

/** A sketch of the other side's that waits for more symbols. */
export interface StuckSketch extends SentSketch {
  /** As received so far. */
  readonly theirs: Uint32Array;
}

export class Sketches {
  readonly #policy: NativePolicy;
  #sent: SentSketch[] = [];
  #stuck: StuckSketch[] = [];
  #computed = 0;

  constructor(policy: NativePolicy) {
    this.#policy = policy;
  }

  /** How many the other side has yet to answer. */
  get waiting(): number {
    return this.#sent.length + this.#stuck.length;
  }

  /** What was waiting for the payload that is read now. */
  take(): { sent: readonly SentSketch[]; stuck: readonly StuckSketch[] } {
    const waited = { sent: this.#sent, stuck: this.#stuck };
    this.#sent = [];
    this.#stuck = [];
    return waited;
  }

  /** Sketches over neighbouring ranges, none larger than the symbols that are kept of blocks. */
  send(
    index: RangeIndex,
    scattered: readonly Range[],
    { count, symbolsEach }: Settlement['sketches'],
  ): Sketch[] {
    const sketches: Sketch[] = [];
    for (let group = 0; group < count; group++) {
      const from = Math.floor((group * scattered.length) / count);
      const to = Math.floor(((group + 1) * scattered.length) / count);
      const ranges = scattered.slice(from, to).map(({ lower, upper }) => ({ lower, upper }));
      const symbols = new Uint32Array(symbolsEach * SYMBOL_WORDS);
      this.#add(index, ranges, symbols);
      sketches.push({ ranges: ranges.length, symbols });
      this.#sent.push({ ranges, symbols: symbolsEach, tries: 0 });
    }
    return sketches;
  }

  /** Tries to decode a sketch; ids of ours go to `found`. undefined when it is given up. */
  receive(
    index: RangeIndex,
    ranges: readonly Range[],
    theirs: Uint32Array,
    found: SyncIdList,
  ): SketchAnswer | undefined {
    if (theirs.length > this.#policy.symbolsMax * SYMBOL_WORDS) throw overBudget('more symbols than allowed');
    return this.#decode(index, { ranges, symbols: 0, tries: 0, theirs }, found);
  }

  /** The same with the symbols that were asked for. */
  extend(
    index: RangeIndex,
    stuck: StuckSketch,
    symbols: Uint32Array,
    found: SyncIdList,
  ): SketchAnswer | undefined {
    const { theirs, symbols: asked } = stuck;
    if (theirs.length + symbols.length !== asked * SYMBOL_WORDS) throw misfit('another number of symbols');
    const all = new Uint32Array(asked * SYMBOL_WORDS);
    all.set(theirs);
    all.set(symbols, theirs.length);
    return this.#decode(index, { ...stuck, theirs: all }, found);
  }

  /** The symbols that follow those already sent. */
  more(index: RangeIndex, { ranges, symbols: sent, tries }: SentSketch, wanted: number): Uint32Array {
    const isTooMany = wanted > this.#policy.symbolsMax || wanted <= sent;
    if (isTooMany || tries >= this.#policy.sketchExtensions) throw misfit('symbols that are not to be had');
    const symbols = new Uint32Array(wanted * SYMBOL_WORDS);
    this.#add(index, ranges, symbols);
    this.#sent.push({ ranges, symbols: wanted, tries: tries + 1 });
    return symbols.subarray(sent * SYMBOL_WORDS);
  }

  #decode(index: RangeIndex, sketch: StuckSketch, found: SyncIdList): SketchAnswer | undefined {
    const { ranges, tries, theirs } = sketch;
    const differing = theirs.slice();
    this.#add(index, ranges, differing);
    const decoded = peel(differing);
    if (decoded !== undefined) {
      return { kind: 'decoded', wanted: findShortIds(index, ranges, decoded, found) };
    }
    const { sketchGrowth, sketchGrowthMin, sketchExtensions, symbolsMax } = this.#policy;
    const more = Math.ceil((theirs.length / SYMBOL_WORDS) * sketchGrowth) + sketchGrowthMin;
    if (tries >= sketchExtensions || more > symbolsMax) return undefined;
    this.#stuck.push({ ranges, symbols: more, tries: tries + 1, theirs });
    return { kind: 'more', symbols: more };
  }

  #add(index: RangeIndex, ranges: readonly Range[], symbols: Uint32Array): void {
    this.#computed += symbols.length / SYMBOL_WORDS;
    if (this.#computed > this.#policy.symbolsComputedMax) throw overBudget('more symbols than allowed');
    for (const { lower, upper } of joined(ranges)) index.addSymbols(lower, upper, symbols);
  }
}

/** Ranges with those that touch put together, so that what is kept of whole blocks serves both. */
function joined(ranges: readonly Range[]): Range[] {
  const all: Range[] = [];
  for (const range of ranges) {
    const last = all.at(-1);
    if (last !== undefined && compareIds(last.upper, 0, range.lower, 0) === 0) {
      all[all.length - 1] = { lower: last.lower, upper: range.upper };
    } else {
      all.push(range);
    }
  }
  return all;
}
