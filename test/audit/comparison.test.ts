/** The arithmetic of an audit against a plain count over sets: random fleets, windows, buckets and coverages. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compareNodes,
  HAS,
  LACKS,
  LATE,
  type NodeView,
  PRUNED,
  UNKNOWN,
} from '../../src/audit/comparison.ts';
import { DigestTree } from '../../src/core/digest-tree.ts';
import type { Interval } from '../../src/core/interval.ts';
import { makeId, SyncIdList, timeOf } from '../../src/core/sync-id.ts';
import { codeOf } from '../error-code.ts';

/** Few times, so that many ids share one, and lie on the bounds of buckets, windows and coverages. */
const TIMES = 24;
const IDS_OF_A_TIME = 3;
const POOL = TIMES * IDS_OF_A_TIME;

interface Fleet {
  /** For each node, the own one first: which ids of the pool it has, and the time that is known of it. */
  readonly nodes: readonly { readonly has: readonly boolean[]; readonly covered: readonly Interval[] }[];
  readonly pruned: readonly boolean[];
  readonly window: Interval;
  readonly bucketNs: bigint;
  readonly lateSinceNs: bigint;
}

const time = fc.integer({ min: 0, max: TIMES }).map(BigInt);
const interval = fc
  .tuple(time, time)
  .map(([a, b]) => (a < b ? { sinceNs: a, untilNs: b } : { sinceNs: b, untilNs: a }));
const all: Interval = { sinceNs: 0n, untilNs: 1_000n };
const coverage = fc.oneof(fc.constant([all]), fc.constant([]), fc.array(interval, { maxLength: 1 }));
const holding = fc.array(fc.boolean(), { minLength: POOL, maxLength: POOL });
const fleet: fc.Arbitrary<Fleet> = fc.record({
  nodes: fc.array(fc.record({ has: holding, covered: coverage }), { minLength: 1, maxLength: 5 }),
  pruned: holding,
  window: interval,
  bucketNs: fc.integer({ min: 1, max: 9 }).map(BigInt),
  lateSinceNs: time,
});

function idOf(place: number): Uint32Array {
  // Ascending like its place: the time first, then the hash.
  return makeId(
    BigInt(Math.floor(place / IDS_OF_A_TIME)),
    new Uint8Array(32).fill(1 + (place % IDS_OF_A_TIME)),
  );
}

function placeOf(id: Uint32Array): number {
  return Number(timeOf(id)) * IDS_OF_A_TIME + (id[2]! & 0xff) - 1;
}

function listOf(places: readonly number[]): SyncIdList {
  return SyncIdList.of(...places.map(idOf));
}

const places = Array.from({ length: POOL }, (_, place) => place);

/** A node as an audit comes to know it. */
function viewOf({ nodes }: Fleet, node: number): NodeView {
  const own = nodes[0]!.has;
  const { has, covered } = nodes[node]!;
  const known = places.filter((place) => isWithin(covered, timeOf(idOf(place))));
  return {
    covered,
    lacks: listOf(known.filter((place) => own[place] && !has[place])),
    extra: listOf(known.filter((place) => !own[place] && has[place])),
  };
}

function isWithin(covered: readonly Interval[], at: bigint): boolean {
  return covered.some(({ sinceNs, untilNs }) => sinceNs <= at && at < untilNs);
}

/** The state of each message that exists, at each node, message by message. */
function statesOf({ nodes, pruned, window, lateSinceNs }: Fleet): Map<number, number[]> {
  const states = new Map<number, number[]>();
  for (const place of places) {
    const at = timeOf(idOf(place));
    const known = nodes.map(({ covered }) => isWithin(covered, at));
    // What the own store has is taken for existing, as it is here.
    const exists = nodes.some(({ has }, node) => has[place] && (known[node] || node === 0));
    if (!exists || at < window.sinceNs || at >= window.untilNs) continue;
    states.set(
      place,
      nodes.map(({ has }, node) => {
        if (!known[node]) return UNKNOWN;
        if (has[place]) return HAS;
        if (node === 0 && pruned[place]) return PRUNED;
        return at >= lateSinceNs ? LATE : LACKS;
      }),
    );
  }
  return states;
}

function compare(given: Fleet, rowsMax = 1_000) {
  const { nodes, pruned, ...rest } = given;
  const named = new Map<number, number[]>();
  const result = compareNodes({
    ...rest,
    index: DigestTree.from(listOf(places.filter((place) => nodes[0]!.has[place]))),
    ownCovered: nodes[0]!.covered,
    isPruned: (id) => pruned[placeOf(id)]!,
    nodes: nodes.slice(1).map((_, at) => viewOf(given, at + 1)),
    rowsMax,
    onDifference: (id, states) => named.set(placeOf(id), [...states]),
  });
  return { result, named };
}

describe('the comparison of a fleet', () => {
  it('says of every message and node what a look at each of them says', () => {
    fc.assert(
      fc.property(fleet, (given) => {
        const expected = statesOf(given);
        const { named } = compare(given);
        for (const [place, states] of expected) {
          const differs = states.some((state) => state === LACKS || state === LATE || state === PRUNED);
          if (differs) expect(named.get(place)).toEqual(states);
          else expect(named.get(place)?.every((state) => state === HAS || state === UNKNOWN)).not.toBe(false);
        }
        for (const place of named.keys()) expect(expected.has(place)).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  it('counts each bucket and node as a look at each message does', () => {
    fc.assert(
      fc.property(fleet, (given) => {
        const states = [...statesOf(given)];
        const { result } = compare(given);
        const { window, bucketNs, nodes } = given;
        expect(result.existing).toBe(states.length);
        let existing = 0;
        for (const row of result.rows) {
          const start = row.sinceNs - (row.sinceNs % bucketNs);
          expect([
            row.sinceNs === window.sinceNs || row.sinceNs === start,
            row.sinceNs < row.untilNs,
          ]).toEqual([true, true]);
          expect(row.untilNs === window.untilNs || row.untilNs === start + bucketNs).toBe(true);
          const within = states.filter(([place]) => isWithin([row], timeOf(idOf(place))));
          existing += within.length;
          expect(row.existing).toBe(within.length);
          expect(within.length).toBeGreaterThan(0);
          for (const [node, { covered }] of nodes.entries()) {
            const count = (state: number): number => within.filter(([, at]) => at[node] === state).length;
            const isTouched = covered.some(
              (one) => one.sinceNs < one.untilNs && one.sinceNs < row.untilNs && row.sinceNs < one.untilNs,
            );
            const isKnown = isTouched && count(UNKNOWN) === 0;
            expect(row.counts[node]).toBe(isKnown ? count(HAS) : undefined);
            expect(row.missing[node]).toBe(isTouched ? count(LACKS) : undefined);
            expect(row.late[node]).toBe(isTouched ? count(LATE) : undefined);
          }
        }
        // Every message is in one row, and in no other.
        expect(existing).toBe(states.length);
        for (const [node, totals] of result.totals.entries()) {
          const count = (state: number): number => states.filter(([, at]) => at[node] === state).length;
          expect(totals).toEqual({
            messages: count(HAS),
            missing: count(LACKS),
            late: count(LATE),
            unknownRows: result.rows.filter(({ counts }) => counts[node] === undefined).length,
          });
        }
      }),
      { numRuns: 150 },
    );
  });

  it('makes no more rows than it may', () => {
    const has = places.map(() => true);
    const given: Fleet = {
      nodes: [{ has, covered: [all] }],
      pruned: has,
      window: all,
      bucketNs: 1n,
      lateSinceNs: 1_000n,
    };
    expect(compare(given, TIMES).result.rows).toHaveLength(TIMES);
    expect(codeOf(() => compare(given, TIMES - 1))).toBe('USAGE');
  });
});
