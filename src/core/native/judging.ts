/**
 * What becomes of a part that the other side told of: how it is answered by itself, and how all parts with scattered
 * differences are settled together. Decides from counts alone; what it takes is done by the reconciler.
 */
import { estimate, symbolsFor } from './estimate.ts';
import type { NativePolicy } from './policy.ts';
import type { Range } from './short-ids.ts';

export type Verdict = 'equal' | 'scattered' | 'cut' | 'list' | 'ask' | 'none' | 'all';

/** A part of the other side, compared with what is here. */
export interface Judged extends Range {
  readonly verdict: Verdict;
  readonly here: number;
  readonly there: number;
}

/** What becomes of one part with scattered differences; a number is of finer parts. */
export type Settled = 'sketched' | 'cut' | 'list' | 'ask' | number;

export interface Settlement {
  readonly of: (part: Judged) => Settled;
  /** The sketches to send, if any. */
  readonly sketches: { readonly count: number; readonly symbolsEach: number };
}

/** Differences that sit together make counts drift apart further than those that fall at random. */
const DRIFT_MIN = 24;
const DRIFT_DEVIATIONS = 4;

/** What a part that differs is answered with, by how many ids there are on either side. */
export function verdictOf(here: number, there: number, policy: NativePolicy, strict: boolean): Verdict {
  if (there === 0) return 'all';
  if (here === 0) return 'none';
  const drift = Math.abs(here - there);
  const fewer = Math.min(here, there);
  const { listIds, oneSidedFactor, oneSidedIds } = policy;
  if (fewer <= listIds || (fewer <= oneSidedIds && fewer * oneSidedFactor <= drift)) {
    return here <= there ? 'list' : 'ask';
  }
  const isScattered = drift < DRIFT_MIN || drift <= DRIFT_DEVIATIONS * Math.sqrt(Math.max(here, there));
  return isScattered && !strict ? 'scattered' : 'cut';
}

/** What is known when parts are settled together. */
export interface Circumstances {
  /** Parts that were compared, equal ones and others. */
  readonly compared: number;
  /** Ids that may still be listed. */
  readonly listable: number;
  /** Whether finer parts may be asked for before a sketch is sized. */
  readonly mayRefine: boolean;
}

/** By sketches, by finer parts first where there are very many differences, or by lists where those weigh less. */
export function settle(
  scattered: readonly Judged[],
  { compared, listable, mayRefine }: Circumstances,
  policy: NativePolicy,
): Settlement {
  const none = { count: 0, symbolsEach: 0 };
  if (scattered.length === 0) return { of: () => 'sketched', sketches: none };
  const { refineAbove, refineParts, symbolBytes, listedIdBytes, sketchSymbols } = policy;
  const drifts = scattered.map(({ here, there }) => there - here);
  const { expected } = estimate({ drifts, compared });
  const symbols = symbolsFor({ drifts, compared });
  let fewerIds = 0;
  for (const { here, there } of scattered) fewerIds += Math.min(here, there);
  const listBytes = fewerIds * (listedIdBytes + 1 / 8);
  // Half of what a sketch decodes to is then asked for, by short ids.
  if (symbols * symbolBytes + (expected * listedIdBytes) / 2 > listBytes) {
    if (fewerIds > listable) return { of: () => 'cut', sketches: none };
    return { of: ({ here, there }) => (here <= there ? 'list' : 'ask'), sketches: none };
  }
  const finer = Math.ceil(refineParts / scattered.length);
  if (mayRefine && expected > refineAbove && finer >= policy.refinePartsMin) {
    return { of: () => finer, sketches: none };
  }
  const count = Math.min(scattered.length, Math.ceil(symbols / sketchSymbols));
  if (count * sketchSymbols < symbols) return { of: () => 'cut', sketches: none };
  // A sketch's share of the differences varies by its root: a little more for each than the average.
  const mean = symbols / count;
  const symbolsEach = count === 1 ? symbols : Math.ceil(mean + 3 * Math.sqrt(mean));
  return { of: () => 'sketched', sketches: { count, symbolsEach } };
}
