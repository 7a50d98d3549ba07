/**
 * What two Lacunas say to each other while they compare their sets (spec/native-reconciliation.md). Each payload
 * answers everything that the payload before it asked, in the same order, so that no range is ever named twice.
 */

/** A range cut into parts, as its sender sees them: one count and fingerprint for each. */
export interface Cut {
  /** Whether each id was hashed under the session's key; else the XOR of the hashes was. */
  readonly keyed: boolean;
  /** Where one part ends and the next begins, ascending: one less than there are parts. */
  readonly bounds: readonly Uint32Array[];
  readonly counts: readonly number[];
  /** 32 bits of each part. */
  readonly fingerprints: Uint32Array;
}

/** Says of one part of the other side what it is here. */
export type Answer =
  | { readonly kind: 'equal' }
  /** Differs, and lies in one of the sketches of this payload, in order. */
  | { readonly kind: 'sketched' }
  /** Differs; here is how this side sees it, in narrower parts. */
  | { readonly kind: 'cut'; readonly cut: Cut }
  /** Differs; these are the ids of this side, hashed under the key, two words each. */
  | { readonly kind: 'list'; readonly ids: Uint32Array }
  /** Differs; the other side has fewer ids there and is to list them. */
  | { readonly kind: 'ask' }
  /** Nothing is held here: send all. */
  | { readonly kind: 'none' }
  /** The other side holds nothing there: it will be sent this many. */
  | { readonly kind: 'all'; readonly count: number };

/** The first symbols of the ids in as many of the 'sketched' ranges as it says, taken together. */
export interface Sketch {
  readonly ranges: number;
  readonly symbols: Uint32Array;
}

export type SketchAnswer =
  /** Decoded: these short ids, two words each, are wanted. */
  | { readonly kind: 'decoded'; readonly wanted: Uint32Array }
  /** Not decoded: this many symbols in all may do. */
  | { readonly kind: 'more'; readonly symbols: number }
  /** Not decoded, and no more tried: an answer for each of its ranges, as if no sketch had been sent. */
  | { readonly kind: 'undecoded'; readonly answers: readonly Answer[] };

/** A comparison of the whole window begins, at first or anew. */
export interface Opening {
  readonly lower: Uint32Array;
  readonly upper: Uint32Array;
  /**
   * A full-length digest said that something is still undiscovered: only ids that neither side knows the other to
   * lack are compared now, and by lists alone.
   */
  readonly strict: boolean;
  readonly cut: Cut;
}

/**
 * A digest over the ids that a side believes both to have. `plain` is over the whole window: the XOR of all hashes,
 * hashed under the key. `keyed` is a sum over a part of it, each id hashed under the key: over all where that is
 * cheap enough, else over a part that nobody could foresee.
 */
export interface Check {
  readonly lower: Uint32Array;
  readonly upper: Uint32Array;
  /** Four words each. */
  readonly plain: Uint32Array;
  readonly keyed: Uint32Array;
}

export interface NativePayload {
  readonly opening: Opening | undefined;
  /** One for each part of the payload before it. */
  readonly answers: readonly Answer[];
  /** One for each 'ask' of the payload before it: hashed ids, two words each. */
  readonly lists: readonly Uint32Array[];
  /** One for each list of the payload before it: a bit for each id that is wanted. */
  readonly wanted: readonly Uint8Array[];
  /** One for each sketch, or extension of one, of the payload before it. */
  readonly sketchAnswers: readonly SketchAnswer[];
  /** One for each 'more' of the payload before it: the symbols that follow those already sent. */
  readonly extensions: readonly Uint32Array[];
  readonly sketches: readonly Sketch[];
  /** Ids that the lists and sketches of the payload before it turned out to lack: so many will be sent. */
  readonly found: number;
  readonly check: Check | undefined;
  /** The check of the payload before this one agreed: nothing else is to be said. */
  readonly agreed: boolean;
}
