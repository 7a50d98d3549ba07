/** Intervals of time against an oracle that knows every moment of them one by one. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Interval, intersection, isEmpty, joined, overlaps, without } from '../../src/core/interval.ts';

const MOMENTS = 24;
const moment = fc.nat(MOMENTS).map(BigInt);
/** Some of them are empty, and some end before they begin. */
const interval = fc.record({ sinceNs: moment, untilNs: moment });
const intervals = fc.array(interval, { maxLength: 8 });

/** Every moment of these as one bit. */
function momentsOf(...all: readonly Interval[]): number {
  let bits = 0;
  for (const { sinceNs, untilNs } of all) {
    for (let at = sinceNs; at < untilNs; at++) bits |= 1 << Number(at);
  }
  return bits;
}

function neighbours(parts: readonly Interval[]): (readonly [Interval, Interval])[] {
  return parts.slice(1).map((part, at) => [parts[at]!, part]);
}

describe('intervals', () => {
  it('have in common the moments of both', () => {
    fc.assert(
      fc.property(interval, interval, (a, b) => {
        const common = intersection(a, b);
        const expected = momentsOf(a) & momentsOf(b);
        expect(common === undefined ? 0 : momentsOf(common)).toBe(expected);
        expect([common !== undefined, overlaps(a, b), overlaps(b, a)]).toEqual(Array(3).fill(expected !== 0));
      }),
    );
  });

  it('are empty when they have no moment', () => {
    fc.assert(fc.property(interval, (one) => isEmpty(one) === (momentsOf(one) === 0)));
  });

  it('without others have the moments that are left, in parts from the newest on', () => {
    fc.assert(
      fc.property(interval, intervals, (whole, others) => {
        const left = without(whole, others);
        expect(momentsOf(...left)).toBe(momentsOf(whole) & ~momentsOf(...others));
        for (const part of left) expect(isEmpty(part)).toBe(false);
        for (const [newer, older] of neighbours(left)) expect(older.untilNs < newer.sinceNs).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('joined have the same moments, and none touches another, from the oldest on', () => {
    fc.assert(
      fc.property(intervals, (all) => {
        const whole = joined(all);
        expect(momentsOf(...whole)).toBe(momentsOf(...all));
        for (const part of whole) expect(isEmpty(part)).toBe(false);
        for (const [older, newer] of neighbours(whole)) expect(older.untilNs < newer.sinceNs).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('are nothing but times, whatever they were made from, and leave that as it was', () => {
    const named = (sinceNs: bigint, untilNs: bigint) => Object.freeze({ sinceNs, untilNs, name: 'gap' });
    const all = Object.freeze([named(5n, 9n), named(0n, 3n), named(3n, 4n)]);
    const joint = [
      { sinceNs: 0n, untilNs: 4n },
      { sinceNs: 5n, untilNs: 9n },
    ];
    expect(joined(all)).toEqual(joint);
    expect(without(named(0n, 9n), [named(4n, 5n)])).toEqual(joint.toReversed());
    expect(without(named(0n, 9n), [])).toEqual([{ sinceNs: 0n, untilNs: 9n }]);
    expect(intersection(all[0]!, named(7n, 20n))).toEqual({ sinceNs: 7n, untilNs: 9n });
  });
});
