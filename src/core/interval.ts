/** Intervals of message time, and what can be done with them. */

/** `[sinceNs, untilNs)`. */
export interface Interval {
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
}

export function isEmpty({ sinceNs, untilNs }: Interval): boolean {
  return sinceNs >= untilNs;
}

/** Whether the two have a moment in common. */
export function overlaps(a: Interval, b: Interval): boolean {
  return intersection(a, b) !== undefined;
}

/** What both have in common; undefined when that is nothing. */
export function intersection(a: Interval, b: Interval): Interval | undefined {
  const sinceNs = a.sinceNs > b.sinceNs ? a.sinceNs : b.sinceNs;
  const untilNs = a.untilNs < b.untilNs ? a.untilNs : b.untilNs;
  return sinceNs < untilNs ? { sinceNs, untilNs } : undefined;
}

/** What is left of an interval without the others, the newest first. */
export function without(whole: Interval, others: readonly Interval[]): Interval[] {
  let left: Interval[] = [{ sinceNs: whole.sinceNs, untilNs: whole.untilNs }];
  for (const other of others) {
    if (isEmpty(other)) continue;
    left = left.flatMap((part) => {
      if (!overlaps(part, other)) return [part];
      const newer = { sinceNs: other.untilNs, untilNs: part.untilNs };
      const older = { sinceNs: part.sinceNs, untilNs: other.sinceNs };
      return [newer, older];
    });
  }
  return left.filter((part) => !isEmpty(part));
}

/** The same times in as few intervals as that takes, the oldest first. */
export function joined(intervals: readonly Interval[]): Interval[] {
  const ascending = intervals.filter((interval) => !isEmpty(interval));
  ascending.sort((a, b) => (a.sinceNs < b.sinceNs ? -1 : 1));
  const whole: Interval[] = [];
  for (const { sinceNs, untilNs } of ascending) {
    const last = whole.at(-1);
    if (last === undefined || last.untilNs < sinceNs) whole.push({ sinceNs, untilNs });
    else if (last.untilNs < untilNs) whole[whole.length - 1] = { sinceNs: last.sinceNs, untilNs };
  }
  return whole;
}
