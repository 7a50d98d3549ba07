/**
 * One step of a reconciliation: an index and the claims of the other side give a reply, the ids the other side
 * lacks (have) and those this side lacks (need). Pure: no I/O, no clock, no promise.
 *
 * The rules, for a wire whose summaries are XOR fingerprints and whose bounds are moments (a time with the
 * smallest hash):
 * - A range is split by count, never by time, at moments between two different timestamps.
 * - Every reply to a differing range is narrower than the range or lists it whole, so a session always ends.
 *   Ids under one timestamp cannot be separated by such bounds and are listed together.
 * - Items are listed only for a range that was itself shown to differ.
 */
import { LacunaError } from '../errors.ts';
import type { Claim, ItemsClaim } from './range.ts';
import { mergeSkips } from './range.ts';
import type { RangeIndex } from './range-index.ts';
import {
  boundAt,
  compareIds,
  compareTimes,
  HASH_WORDS,
  hasZeroHash,
  ID_WORDS,
  nextMoment,
  SyncIdList,
  successor,
} from './sync-id.ts';

export interface ReconcilePolicy {
  /** A differing range of at most this many own ids is listed. */
  readonly listItems: number;
  /** The most parts that an opening fingerprints: a gap shows in one of them, and only that one is cut further. */
  readonly openingParts: number;
  /** Ranges of more ids than twice this are split into parts of about this many. */
  readonly partItems: number;
  /**
   * A narrower range is listed instead of fingerprinted: a stock nwaku cuts time in eight, and drops what is
   * under 8 ns wide.
   */
  readonly fingerprintSpanNs: number;
  /**
   * What an answer to an item set tells: `everything` this side holds there, so that the other side learns what
   * it will get; or only what it takes to be sent the ids `needed` here, which costs a fraction of the bytes.
   */
  readonly echo: 'everything' | 'needed';
  /**
   * Where nothing is held here, ask the other side to name what it holds. Without it the other side just sends,
   * which is enough for a session that moves messages, but leaves one that only compares without the count.
   */
  readonly nameAll: boolean;
  /** Under `echo: everything`, an answer lists at most this many ids of one range; past it, as `needed`. */
  readonly echoItems: number;
  /** A reply lists at most this many ids and holds about this many ranges; what does not fit is left for later. */
  readonly replyItems: number;
  readonly replyRanges: number;
  /** Gives 0 to `below` - 1. Moves each cut by chance, so that no publisher can arrange messages around it. */
  readonly random?: (below: number) => number;
}

/**
 * Against a stock nwaku, ranges of 1100 to 1600 ids cost the fewest bytes: it cuts a differing range in eight
 * time slices and lists each slice of 100 ids or fewer whole. Measured in either role: 4 to 14 times fewer bytes
 * than two stock nodes exchange for scattered differences, and no more for a gap (bench/RESULTS.md).
 */
export const WAKU_POLICY: ReconcilePolicy = {
  listItems: 16,
  openingParts: 32,
  partItems: 1300,
  fingerprintSpanNs: 8,
  echo: 'everything',
  nameAll: false,
  echoItems: 200_000,
  replyItems: 400_000,
  replyRanges: 80_000,
};

export interface StepResult {
  readonly reply: readonly Claim[];
  /** Ids here and not there. */
  readonly have: SyncIdList;
  /** Ids there and not here. */
  readonly need: SyncIdList;
  /** The other side may send ids of these ranges without having named them. */
  readonly unnamed: boolean;
  /** Ranges that differ were passed over, as the reply was full. */
  readonly incomplete: boolean;
}

/** The first payload of a session over `[lower, upper)`: the least that says all when the sides are probably equal. */
export function openingClaims(
  index: RangeIndex,
  lower: Uint32Array,
  upper: Uint32Array,
  policy: ReconcilePolicy,
  probablyEqual: boolean,
): Claim[] {
  const reply = new Reply(index, policy);
  const count = index.rank(upper) - index.rank(lower);
  if (probablyEqual || count <= 2 * policy.partItems) {
    reply.halves(lower, upper);
  } else {
    reply.split(lower, upper, Math.min(policy.openingParts, Math.ceil(count / policy.partItems)));
  }
  return reply.finish();
}

/**
 * The first claims of an initiator as they are to be read. A stock nwaku fingerprints its window with the upper
 * time included, but sends a bound without it: where the plain reading does not explain the fingerprint, the
 * last range is taken to end with that nanosecond, so that ids at the very end are not missed.
 */
export function acceptOpening(index: RangeIndex, claims: readonly Claim[]): readonly Claim[] {
  const last = claims.at(-1);
  if (last?.kind !== 'fingerprint') return claims;
  const digest = new Uint32Array(HASH_WORDS);
  index.digest(last.lower, last.upper, digest);
  if (sameWords(digest, last.fingerprint)) return claims;
  return [...claims.slice(0, -1), { ...last, upper: nextMoment(last.upper) }];
}

/**
 * Answers the claims of the other side.
 *
 * @throws LacunaError SESSION_BUDGET when nothing of what differs fits into a reply: more ids than
 *   `policy.replyItems` under one timestamp.
 */
export function reconcileStep(
  index: RangeIndex,
  claims: readonly Claim[],
  policy: ReconcilePolicy,
): StepResult {
  const reply = new Reply(index, policy);
  let reached: Uint32Array | undefined;
  for (const claim of claims) {
    // The hash of a lower bound is not on the wire: ranges cut within one timestamp come in overlapping, and
    // would be answered over and over. Each is taken to begin where the one before it ended.
    const overlaps = reached !== undefined && compareIds(claim.lower, 0, reached, 0) < 0;
    const lower = overlaps ? reached! : claim.lower;
    if (overlaps && compareIds(lower, 0, claim.upper, 0) >= 0) continue;
    reached = exclusive(claim.upper);
    if (claim.kind === 'skip') reply.skip(lower, claim.upper);
    else if (claim.kind === 'fingerprint') reply.toFingerprint(lower, claim.upper, claim.fingerprint);
    else reply.toItems({ ...claim, lower });
  }
  const { have, need, unnamed, incomplete } = reply;
  const merged = mergeSkips(reply.claims);
  // Nothing but skips would tell the other side that the two are equal.
  if (incomplete && merged.length === 0) {
    throw new LacunaError(
      'SESSION_BUDGET',
      `a range of more than ${policy.replyItems} ids cannot be divided`,
    );
  }
  return { reply: merged, have, need, unnamed, incomplete };
}

class Reply {
  readonly claims: Claim[] = [];
  readonly have = new SyncIdList();
  readonly need = new SyncIdList();
  unnamed = false;
  incomplete = false;
  readonly #index: RangeIndex;
  readonly #policy: ReconcilePolicy;
  readonly #digest = new Uint32Array(HASH_WORDS);
  #listed = 0;

  constructor(index: RangeIndex, policy: ReconcilePolicy) {
    this.#index = index;
    this.#policy = policy;
  }

  /** The claims with neighbouring skips joined. Throws when nothing of what differs fitted in. */
  finish(): Claim[] {
    const merged = mergeSkips(this.claims);
    // Nothing but skips would tell the other side that the two are equal.
    if (this.incomplete && merged.length === 0) {
      throw new LacunaError(
        'SESSION_BUDGET',
        `a range of over ${this.#policy.replyItems} ids cannot be divided`,
      );
    }
    return merged;
  }

  skip(lower: Uint32Array, upper: Uint32Array): void {
    this.claims.push({ kind: 'skip', lower, upper });
  }

  /** The fingerprint of a range; or its items, where the other side could do nothing with a fingerprint. */
  fingerprint(lower: Uint32Array, upper: Uint32Array): void {
    if (spanNs(lower, upper) < this.#policy.fingerprintSpanNs) {
      this.#listOwn(lower, upper);
      return;
    }
    const fingerprint = new Uint32Array(HASH_WORDS);
    this.#index.digest(lower, exclusive(upper), fingerprint);
    this.#claim({ kind: 'fingerprint', lower, upper, fingerprint });
  }

  toFingerprint(lower: Uint32Array, upper: Uint32Array, theirs: Uint32Array): void {
    const count = this.#index.digest(lower, exclusive(upper), this.#digest);
    if (sameWords(this.#digest, theirs)) {
      this.skip(lower, upper);
    } else if (count <= this.#policy.listItems) {
      this.#listOwn(lower, upper);
    } else if (theirs.every((word) => word === 0)) {
      // Nothing is held there, as a rule: the other side says so of two parts as well as of a hundred.
      this.split(lower, upper, 2);
    } else if (count > 2 * this.#policy.partItems) {
      this.split(lower, upper, Math.ceil(count / this.#policy.partItems));
    } else {
      // Parts of sqrt(n): the fingerprints of all parts and the items of the differing one weigh the same.
      this.split(lower, upper, Math.ceil(Math.sqrt(count)));
    }
  }

  toItems(claim: ItemsClaim): void {
    const { lower, upper } = claim;
    const ours = this.#index.ids(lower, exclusive(upper));
    const theirs = within(claim.items.toAscending(), lower, exclusive(upper));
    const before = this.need.count;
    const haveBefore = this.have.count;
    difference(ours, theirs, this.have, this.need);
    const needed = this.need.slice(before, this.need.count);
    if (claim.reconciled || (needed.count === 0 && this.have.count === haveBefore)) {
      this.skip(lower, upper);
    } else if (this.#policy.echo === 'everything' && ours.count <= this.#policy.echoItems) {
      this.#list(lower, upper, ours, true);
    } else {
      this.#askFor(lower, upper, needed);
    }
  }

  /**
   * The range as one fingerprint; where chance is lent, as two, cut at a random item: ids that a publisher chose to
   * XOR to zero are seen as soon as a cut falls among them.
   */
  halves(lower: Uint32Array, upper: Uint32Array): void {
    const from = this.#index.rank(lower);
    const to = this.#index.rank(exclusive(upper));
    const { random } = this.#policy;
    const bound =
      random === undefined || to - from < 2
        ? undefined
        : this.#cutNear(from + 1 + random(to - from - 1), lower, from, to);
    if (bound !== undefined) this.fingerprint(lower, bound);
    this.fingerprint(bound ?? lower, upper);
  }

  /** Fingerprints of about equal counts, cut at moments where the timestamp changes. */
  split(lower: Uint32Array, upper: Uint32Array, parts: number): void {
    const from = this.#index.rank(lower);
    const to = this.#index.rank(exclusive(upper));
    const part = (to - from) / parts;
    let start = lower;
    let startRank = from;
    for (let cut = 1; cut < parts; cut++) {
      const target = Math.round(from + cut * part + this.#jitter(part));
      if (target <= startRank || target >= to) continue;
      const bound = this.#cutNear(target, start, startRank, to);
      if (bound === undefined) continue;
      this.fingerprint(start, bound);
      start = bound;
      startRank = this.#index.rank(bound);
    }
    if (start === lower) this.#listMoments(lower, upper, from, to);
    else this.fingerprint(start, upper);
  }

  /** A quarter of a part at most, either way. */
  #jitter(part: number): number {
    const span = Math.floor(part / 2);
    return this.#policy.random === undefined || span < 2 ? 0 : this.#policy.random(span) - span / 2;
  }

  /** The moment nearest to the rank with ids on both sides of it within (startRank, to), if there is one. */
  #cutNear(rank: number, start: Uint32Array, startRank: number, to: number): Uint32Array | undefined {
    const moment = momentOf(this.#index.select(rank));
    // Ids of one timestamp stay together: cut below them, or else at the next timestamp that is held.
    if (compareIds(moment, 0, start, 0) > 0 && this.#index.rank(moment) > startRank) return moment;
    const next = this.#index.rank(nextMoment(moment));
    return next < to ? momentOf(this.#index.select(next)) : undefined;
  }

  /** No cut was found: nearly all ids share one timestamp. Narrow the range to the timestamps held, listed whole. */
  #listMoments(lower: Uint32Array, upper: Uint32Array, from: number, to: number): void {
    const first = momentOf(this.#index.select(from));
    const end = nextMoment(this.#index.select(to - 1));
    const start = compareIds(first, 0, lower, 0) > 0 ? first : lower;
    const stop = compareIds(end, 0, upper, 0) < 0 ? end : upper;
    if (start !== lower) this.#listOwn(lower, start);
    this.#listOwn(start, stop);
    if (stop !== upper) this.#listOwn(stop, upper);
  }

  /** Lists what is held at the timestamps of the needed ids, so that the other side sees they are missing. */
  #askFor(lower: Uint32Array, upper: Uint32Array, needed: SyncIdList): void {
    let start = lower;
    for (let row = 0; row < needed.count; row++) {
      const moment = momentOf(needed.at(row));
      if (row > 0 && compareTimes(needed.at(row - 1), 0, moment, 0) === 0) continue;
      const from = compareIds(moment, 0, start, 0) > 0 ? moment : start;
      const next = nextMoment(moment);
      const to = compareIds(next, 0, upper, 0) < 0 ? next : upper;
      if (compareIds(from, 0, start, 0) > 0) this.skip(start, from);
      this.#list(from, to, this.#index.ids(from, exclusive(to)), true);
      start = to;
    }
    if (compareIds(start, 0, upper, 0) < 0) this.skip(start, upper);
  }

  #listOwn(lower: Uint32Array, upper: Uint32Array): void {
    const items = this.#index.ids(lower, exclusive(upper));
    // With nothing here, the other side may send all it has without naming it first.
    const reconciled = items.count === 0 && !this.#policy.nameAll;
    this.unnamed ||= reconciled;
    this.#list(lower, upper, items, reconciled);
  }

  #list(lower: Uint32Array, upper: Uint32Array, items: SyncIdList, reconciled: boolean): void {
    if (this.#listed + items.count > this.#policy.replyItems) {
      this.#leave(lower, upper);
      return;
    }
    this.#listed += items.count;
    this.#claim({ kind: 'items', lower, upper, items, reconciled });
  }

  #claim(claim: Claim): void {
    if (this.claims.length >= this.#policy.replyRanges) this.#leave(claim.lower, claim.upper);
    else this.claims.push(claim);
  }

  /** What does not fit into this reply is passed over; another session finds it again. */
  #leave(lower: Uint32Array, upper: Uint32Array): void {
    this.incomplete = true;
    const last = this.claims.at(-1);
    if (last?.kind === 'skip')
      this.claims[this.claims.length - 1] = { kind: 'skip', lower: last.lower, upper };
    else this.skip(lower, upper);
  }
}

/**
 * nwaku looks a range up with its upper bound included. Bounds are moments, which no id equals, so that this
 * differs from a half-open range only for a bound with a hash, which only a malformed or foreign split has.
 */
function exclusive(upper: Uint32Array): Uint32Array {
  return hasZeroHash(upper) ? upper : successor(upper);
}

function momentOf(id: Uint32Array): Uint32Array {
  const moment = boundAt(0n);
  moment[0] = id[0]!;
  moment[1] = id[1]!;
  return moment;
}

function spanNs(lower: Uint32Array, upper: Uint32Array): number {
  return (upper[0]! - lower[0]!) * 2 ** 32 + (upper[1]! - lower[1]!);
}

function sameWords(a: Uint32Array, b: Uint32Array): boolean {
  for (let word = 0; word < HASH_WORDS; word++) if (a[word] !== b[word]) return false;
  return true;
}

/** The part of an ascending list that lies in `[lower, upper)`: a claim says nothing about ids outside it. */
function within(ids: SyncIdList, lower: Uint32Array, upper: Uint32Array): SyncIdList {
  let from = 0;
  let to = ids.count;
  while (from < to && compareIds(ids.words, from * ID_WORDS, lower, 0) < 0) from += 1;
  while (to > from && compareIds(ids.words, (to - 1) * ID_WORDS, upper, 0) >= 0) to -= 1;
  return from === 0 && to === ids.count ? ids : ids.slice(from, to);
}

/** Merges two ascending lists: what only `ours` holds goes to `have`, what only `theirs` holds to `need`. */
function difference(ours: SyncIdList, theirs: SyncIdList, have: SyncIdList, need: SyncIdList): void {
  let our = 0;
  let their = 0;
  while (our < ours.count && their < theirs.count) {
    const order = compareIds(ours.words, our * ID_WORDS, theirs.words, their * ID_WORDS);
    if (order < 0) have.push(ours.words, our * ID_WORDS);
    else if (order > 0) need.push(theirs.words, their * ID_WORDS);
    if (order <= 0) our += 1;
    if (order >= 0) their += 1;
  }
  have.pushRows(ours.words, our * ID_WORDS, ours.count - our);
  need.pushRows(theirs.words, their * ID_WORDS, theirs.count - their);
}
