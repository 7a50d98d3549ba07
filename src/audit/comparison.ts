/**
 * The arithmetic of an audit: from what each node has more and less than the own store, who lacks what. Pure. What
 * exists is what any node has; a node lacks what exists, lies in the time that is known of it, and is not there. Where
 * nothing is known of a node it has neither something nor nothing.
 */
import { type Interval, isEmpty } from '../core/interval.ts';
import type { RangeIndex } from '../core/range-index.ts';
import { boundAt, compareIds, ID_WORDS, type SyncIdList, timeOf } from '../core/sync-id.ts';
import { LacunaError } from '../errors.ts';

/** What is known of a node besides this one. */
export interface NodeView {
  /** The time of which it is known what the node has. */
  readonly covered: readonly Interval[];
  /** Here and not there, and there and not here: ascending, none twice, and within what is covered. */
  readonly lacks: SyncIdList;
  readonly extra: SyncIdList;
}

/** Whether a message is at a node. */
export const HAS = 0;
export const LACKS = 1;
/** It is missing, and so new that it may be on its way. */
export const LATE = 2;
export const UNKNOWN = 3;
/** It was here, and retention has removed it. */
export const PRUNED = 4;

export interface ComparisonInit {
  /** The ids of the own store, and the time that it keeps. */
  readonly index: RangeIndex;
  readonly ownCovered: readonly Interval[];
  /** Whether a message that is not in the own store was removed from it on purpose. */
  readonly isPruned: (id: Uint32Array) => boolean;
  readonly nodes: readonly NodeView[];
  readonly window: Interval;
  readonly bucketNs: bigint;
  /** From this time on, what is missing is late. */
  readonly lateSinceNs: bigint;
  readonly rowsMax: number;
  /**
   * Told of each message that is not at every node, in ascending order; `states` holds one of the above for each node,
   * the own one first. Both are good during the call.
   */
  readonly onDifference?: (id: Uint32Array, states: Uint8Array) => void;
}

/** One bucket `[sinceNs, untilNs)` in which something exists. Figures of nodes are in their order, the own one first. */
export interface ComparisonRow extends Interval {
  /** Messages that exist, as far as is known. */
  readonly existing: number;
  /** undefined where something exists in the bucket at a time that is not known of the node. */
  readonly counts: readonly (number | undefined)[];
  /** Of the part that is known; undefined where nothing is. */
  readonly missing: readonly (number | undefined)[];
  readonly late: readonly (number | undefined)[];
}

/** A node over the whole window. */
export interface NodeTotals {
  /** Messages that it has in the time that is known of it. */
  readonly messages: number;
  readonly missing: number;
  readonly late: number;
  /** Rows of which not all is known. */
  readonly unknownRows: number;
}

export interface Comparison {
  readonly existing: number;
  readonly rows: readonly ComparisonRow[];
  readonly totals: readonly NodeTotals[];
}

/** @throws LacunaError USAGE for more rows than allowed. */
export function compareNodes(init: ComparisonInit): Comparison {
  return new Comparing(init).run();
}

class Comparing {
  readonly #init: ComparisonInit;
  readonly #differences: Differences;
  readonly #covered: readonly (readonly Interval[])[];
  readonly #states: Uint8Array;
  readonly #totals: { messages: number; missing: number; late: number; unknownRows: number }[];

  constructor(init: ComparisonInit) {
    this.#init = init;
    const { nodes, window, ownCovered } = init;
    this.#differences = new Differences(nodes, window);
    this.#covered = [ownCovered, ...nodes.map(({ covered }) => covered)];
    this.#states = new Uint8Array(this.#covered.length);
    this.#totals = this.#covered.map(() => ({ messages: 0, missing: 0, late: 0, unknownRows: 0 }));
  }

  run(): Comparison {
    const { index, window, bucketNs, rowsMax } = this.#init;
    const rows: ComparisonRow[] = [];
    let existing = 0;
    let rank = index.rank(boundAt(window.sinceNs));
    const end = index.rank(boundAt(window.untilNs));
    for (;;) {
      const next = earliest(
        rank < end ? timeOf(index.select(rank)) : undefined,
        this.#differences.current === undefined ? undefined : timeOf(this.#differences.current),
      );
      if (next === undefined) break;
      if (rows.length >= rowsMax) {
        throw new LacunaError('USAGE', `more than ${rowsMax} rows: take a larger bucket or a smaller window`);
      }
      // Buckets lie where they lie whatever is asked for, so that the rows of two audits can be held together.
      const startNs = next - (next % bucketNs);
      const endNs = startNs + bucketNs;
      const bucket = {
        sinceNs: startNs < window.sinceNs ? window.sinceNs : startNs,
        untilNs: endNs > window.untilNs ? window.untilNs : endNs,
      };
      const row = this.#row(bucket, index.rank(boundAt(bucket.untilNs)) - rank);
      rank = index.rank(boundAt(bucket.untilNs));
      rows.push(row);
      existing += row.existing;
    }
    return { existing, rows, totals: this.#totals };
  }

  #row(bucket: Interval, own: number): ComparisonRow {
    const found = this.#covered.map(() => ({ differs: 0, missing: 0, late: 0, unknown: 0 }));
    let existing = own;
    const upper = boundAt(bucket.untilNs);
    for (;;) {
      const id = this.#differences.current;
      if (id === undefined || compareIds(id, 0, upper, 0) >= 0) break;
      const isOwn = !this.#differences.isExtra;
      if (!isOwn) existing += 1;
      this.#judge(id, isOwn, found);
      this.#init.onDifference?.(id, this.#states);
      this.#differences.advance();
    }
    const counts = this.#covered.map((covered, node) => {
      const totals = this.#totals[node]!;
      const within = covers(covered, bucket) ? own : this.#ownWithin(covered, bucket);
      // A node that keeps nothing older than its oldest message is known of in the bucket of that message.
      const isKnown = within === own && found[node]!.unknown === 0 && partsWithin(covered, bucket).length > 0;
      const count = within + found[node]!.differs;
      totals.messages += count;
      if (!isKnown) totals.unknownRows += 1;
      return isKnown ? count : undefined;
    });
    const shown = (kind: 'missing' | 'late') =>
      this.#covered.map((covered, node) => {
        this.#totals[node]![kind] += found[node]![kind];
        return partsWithin(covered, bucket).length === 0 ? undefined : found[node]![kind];
      });
    return { ...bucket, existing, counts, missing: shown('missing'), late: shown('late') };
  }

  /** Where the message is; counts how that differs from the own store. */
  #judge(
    id: Uint32Array,
    isOwn: boolean,
    found: readonly { differs: number; missing: number; late: number; unknown: number }[],
  ): void {
    const timeNs = timeOf(id);
    const isLate = timeNs >= this.#init.lateSinceNs;
    for (let node = 0; node < this.#states.length; node++) {
      const figures = found[node]!;
      const isThere = node === 0 ? isOwn : this.#differences.isNamed(node - 1) !== isOwn;
      if (!isKnownAt(this.#covered[node]!, timeNs)) this.#states[node] = UNKNOWN;
      else if (isThere) this.#states[node] = HAS;
      else if (node === 0 && this.#init.isPruned(id)) this.#states[node] = PRUNED;
      else this.#states[node] = isLate ? LATE : LACKS;
      const state = this.#states[node]!;
      if (state === LACKS) figures.missing += 1;
      if (state === LATE) figures.late += 1;
      if (state === UNKNOWN) figures.unknown += 1;
      // Against the own store: one more, or one less.
      if (node > 0 && state !== UNKNOWN && isThere !== isOwn) figures.differs += isThere ? 1 : -1;
    }
  }

  #ownWithin(covered: readonly Interval[], bucket: Interval): number {
    const { index } = this.#init;
    return partsWithin(covered, bucket).reduce(
      (sum, { sinceNs, untilNs }) => sum + index.rank(boundAt(untilNs)) - index.rank(boundAt(sinceNs)),
      0,
    );
  }
}

/** All ids that some node names, one after the other in ascending order, and who names each. */
class Differences {
  readonly #lists: readonly { readonly lacks: SyncIdList; readonly extra: SyncIdList }[];
  readonly #lackRows: Uint32Array;
  readonly #extraRows: Uint32Array;
  readonly #named: Uint8Array;
  readonly #upper: Uint32Array;
  /** undefined at the end. */
  current: Uint32Array | undefined;
  /** Some node has it, and the own store has not. */
  isExtra = false;

  constructor(nodes: readonly NodeView[], { sinceNs, untilNs }: Interval) {
    this.#lists = nodes;
    this.#upper = boundAt(untilNs);
    const lower = boundAt(sinceNs);
    this.#lackRows = Uint32Array.from(nodes, ({ lacks }) => rowAt(lacks, lower));
    this.#extraRows = Uint32Array.from(nodes, ({ extra }) => rowAt(extra, lower));
    this.#named = new Uint8Array(nodes.length);
    this.advance();
  }

  /** Whether this node lacks it, if the own store has it; has it, if the own store has not. */
  isNamed(node: number): boolean {
    return this.#named[node] === 1;
  }

  advance(): void {
    let first: Uint32Array | undefined;
    for (const [node, { lacks, extra }] of this.#lists.entries()) {
      first = lower(first, lacks, this.#lackRows[node]!);
      first = lower(first, extra, this.#extraRows[node]!);
    }
    this.current = first !== undefined && compareIds(first, 0, this.#upper, 0) < 0 ? first : undefined;
    if (this.current === undefined) return;
    this.isExtra = false;
    for (const [node, { lacks, extra }] of this.#lists.entries()) {
      const isLacked = this.#take(lacks, this.#lackRows, node);
      const isExtra = this.#take(extra, this.#extraRows, node);
      this.isExtra ||= isExtra;
      this.#named[node] = isLacked || isExtra ? 1 : 0;
    }
  }

  #take(ids: SyncIdList, rows: Uint32Array, node: number): boolean {
    const row = rows[node]!;
    const isFirst = row < ids.count && compareIds(ids.words, row * ID_WORDS, this.current!, 0) === 0;
    if (isFirst) rows[node] = row + 1;
    return isFirst;
  }
}

function lower(first: Uint32Array | undefined, ids: SyncIdList, row: number): Uint32Array | undefined {
  if (row >= ids.count) return first;
  return first === undefined || compareIds(ids.words, row * ID_WORDS, first, 0) < 0 ? ids.at(row) : first;
}

/** The first row that is not below the bound. */
function rowAt(ids: SyncIdList, bound: Uint32Array): number {
  let low = 0;
  let high = ids.count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareIds(ids.words, middle * ID_WORDS, bound, 0) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function earliest(a: bigint | undefined, b: bigint | undefined): bigint | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return a < b ? a : b;
}

function isKnownAt(covered: readonly Interval[], timeNs: bigint): boolean {
  return covered.some(({ sinceNs, untilNs }) => timeNs >= sinceNs && timeNs < untilNs);
}

function covers(covered: readonly Interval[], bucket: Interval): boolean {
  return covered.some(({ sinceNs, untilNs }) => sinceNs <= bucket.sinceNs && bucket.untilNs <= untilNs);
}

function partsWithin(covered: readonly Interval[], bucket: Interval): Interval[] {
  return covered
    .map(({ sinceNs, untilNs }) => ({
      sinceNs: sinceNs > bucket.sinceNs ? sinceNs : bucket.sinceNs,
      untilNs: untilNs < bucket.untilNs ? untilNs : bucket.untilNs,
    }))
    .filter((part) => !isEmpty(part));
}
