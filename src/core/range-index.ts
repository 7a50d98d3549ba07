/**
 * The ordered set of SyncIds as reconciliation sees it. Bounds are rows of ten words; ranges are half-open,
 * `[lower, upper)`.
 */
import type { KeyedSums } from './keyed-sums.ts';
import type { SyncIdList } from './sync-id.ts';

export interface RangeIndex {
  readonly count: number;
  has(id: Uint32Array): boolean;
  /** How many ids are smaller than the bound. */
  rank(bound: Uint32Array): number;
  /** The id of this rank, as a copy. Ranks run from 0 to count - 1. */
  select(rank: number): Uint32Array;
  /** Writes the XOR of the hashes in the range into `fingerprint` (eight words); returns how many there are. */
  digest(lower: Uint32Array, upper: Uint32Array, fingerprint: Uint32Array): number;
  /** XORs the first coded symbols of the ids in the range into `symbols`, as many as it has room for. */
  addSymbols(lower: Uint32Array, upper: Uint32Array, symbols: Uint32Array): void;
  /** Adds the keyed hashes of the ids in the range to `sum` (four words). */
  addKeyed(lower: Uint32Array, upper: Uint32Array, keyed: KeyedSums, sum: Uint32Array): void;
  /** The ids of the range, ascending. */
  ids(lower: Uint32Array, upper: Uint32Array): SyncIdList;
}
