/**
 * What one side says of one range of ids. A payload is a list of claims whose ranges follow each other: the
 * upper bound of one is the lower bound of the next.
 */
import type { SyncIdList } from './sync-id.ts';

interface Bounds {
  /** A row of ten words, inclusive. */
  readonly lower: Uint32Array;
  /** A row of ten words, exclusive. */
  readonly upper: Uint32Array;
}

/** Nothing is left to do in this range. */
export interface SkipClaim extends Bounds {
  readonly kind: 'skip';
}

/** "The XOR of the hashes I hold here is this" (eight words). */
export interface FingerprintClaim extends Bounds {
  readonly kind: 'fingerprint';
  readonly fingerprint: Uint32Array;
}

/** "I hold exactly these here." `reconciled`: do not tell me yours, I have compared or hold none. */
export interface ItemsClaim extends Bounds {
  readonly kind: 'items';
  readonly items: SyncIdList;
  readonly reconciled: boolean;
}

export type Claim = SkipClaim | FingerprintClaim | ItemsClaim;

/** A reconciliation payload: the topics its sender covers (empty: all), and its claims. */
export interface RangesPayload {
  readonly pubsubTopics: readonly string[];
  readonly contentTopics: readonly string[];
  readonly claims: readonly Claim[];
}

export const EMPTY_PAYLOAD: RangesPayload = { pubsubTopics: [], contentTopics: [], claims: [] };

/** A payload without claims, or with nothing but skips, ends a reconciliation. */
export function isFinal(claims: readonly Claim[]): boolean {
  return claims.every((claim) => claim.kind === 'skip');
}

/** Joins neighbouring skips; nothing but skips becomes an empty list. */
export function mergeSkips(claims: readonly Claim[]): Claim[] {
  if (isFinal(claims)) return [];
  const merged: Claim[] = [];
  for (const claim of claims) {
    const last = merged.at(-1);
    if (claim.kind === 'skip' && last?.kind === 'skip') {
      merged[merged.length - 1] = { kind: 'skip', lower: last.lower, upper: claim.upper };
    } else {
      merged.push(claim);
    }
  }
  return merged;
}
