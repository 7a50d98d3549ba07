/** The figures by which a reconciliation between two Lacunas decides, and its limits. */
export interface NativePolicy {
  /** Parts of the first payload to a peer of which nothing is known. */
  readonly openingParts: number;
  /** Parts that a differing range is cut into, and the least ids of one. */
  readonly cutParts: number;
  readonly partIdsMin: number;
  /** A range where either side holds at most this many ids is listed; at least `partIdsMin`, or it is cut for ever. */
  readonly listIds: number;
  /** So is one with up to this many, where the other side holds so many times more. */
  readonly oneSidedIds: number;
  readonly oneSidedFactor: number;
  /** With more differences than this expected, finer parts are compared before sketches are sized. */
  readonly refineAbove: number;
  readonly refineParts: number;
  /** Finer by less than this is not worth another payload. */
  readonly refinePartsMin: number;
  /** Symbols of one sketch; larger ones are divided over ranges. */
  readonly sketchSymbols: number;
  readonly sketchExtensions: number;
  /** What did not decode is tried again with so many times the symbols, and so many more. */
  readonly sketchGrowth: number;
  readonly sketchGrowthMin: number;
  /** What a symbol and a listed id weigh on the wire. */
  readonly symbolBytes: number;
  readonly listedIdBytes: number;
  /** Ranges of at most this many ids are fingerprinted id by id under the session's key. */
  readonly keyedIds: number;
  /** Of larger windows, a part of so many ids that nobody can foresee. */
  readonly keyedSpotIds: number;

  // Limits of one reconciliation
  readonly payloadsMax: number;
  readonly comparisonsMax: number;
  readonly symbolsMax: number;
  readonly symbolsComputedMax: number;
  readonly listedIdsMax: number;
  readonly foundIdsMax: number;
  readonly partsMax: number;
  /** Ids that the other side may make us hash under its key. */
  readonly keyedIdsMax: number;
}

/**
 * 24 parts open in under 300 bytes, and tell enough of the number of differences to size a sketch. Lists take over
 * where a sketch would weigh as much.
 */
export const NATIVE_POLICY: NativePolicy = {
  openingParts: 24,
  cutParts: 16,
  partIdsMin: 8,
  listIds: 16,
  oneSidedIds: 128,
  oneSidedFactor: 12,
  refineAbove: 3_000,
  refineParts: 256,
  refinePartsMin: 4,
  sketchSymbols: 3_800,
  sketchExtensions: 2,
  sketchGrowth: 1.6,
  sketchGrowthMin: 32,
  symbolBytes: 12,
  listedIdBytes: 8,
  keyedIds: 200_000,
  keyedSpotIds: 40_000,

  payloadsMax: 40,
  comparisonsMax: 3,
  symbolsMax: 16_384,
  symbolsComputedMax: 4_000_000,
  listedIdsMax: 500_000,
  foundIdsMax: 2_000_000,
  partsMax: 50_000,
  keyedIdsMax: 50_000_000,
};
