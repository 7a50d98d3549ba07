/**
 * One side of a reconciliation between two Lacunas: takes a payload of the other side, gives the answer to it, and
 * tells which ids the other side lacks. Pure: no I/O, no clock, no promise. See spec/native-reconciliation.md.
 *
 * Ranges that differ are settled each in its own way, all in the same payload: where one side holds few ids, it
 * lists them; where differences sit together, the range is cut further; all others share one sketch. What the
 * sketch leaves, and what fingerprints of 32 bits overlook, is noticed by a digest of 128 bits over what both sides
 * believe to have in common, and is found by a second comparison without sketches.
 */

import { equalCuts } from '../cuts.ts';
import { DigestTree } from '../digest-tree.ts';
import type { KeyedSums } from '../keyed-sums.ts';
import type { RangeIndex } from '../range-index.ts';
import { compareIds, SyncIdList } from '../sync-id.ts';
import { countOf, Digests, sameWords } from './digests.ts';
import { type Judged, type Settled, settle, type Verdict, verdictOf } from './judging.ts';
import type { Answer, Check, Cut, NativePayload, Opening, Sketch, SketchAnswer } from './payload.ts';
import { NATIVE_POLICY, type NativePolicy } from './policy.ts';
import { misfit, overBudget } from './refusals.ts';
import { Remainder } from './remainder.ts';
import { compareWithList, countBits, findShortIds, hashedIds, pickIds, type Range } from './short-ids.ts';
import { type SentSketch, Sketches } from './sketches.ts';

export interface NativeInit {
  /** Does not change while the reconciliation runs: a snapshot. */
  readonly index: RangeIndex;
  /** The window; for the responder, what it is willing to compare. */
  readonly lower: Uint32Array;
  readonly upper: Uint32Array;
  /** Sums under the key that both sides made of their salts. */
  readonly keyed: KeyedSums;
  readonly policy?: NativePolicy;
  /** Hash every id for the check, however many there are. */
  readonly audit?: boolean;
  /** Gives 0 to `below` - 1: where a large window is looked at more closely. Without it, nowhere. */
  readonly random?: (below: number) => number;
}

export interface NativeStep {
  /** undefined: nothing is left to say. */
  readonly reply: NativePayload | undefined;
  /** Ids here that the other side turned out to lack, by this step. */
  readonly have: SyncIdList;
}

export type NativeState =
  | 'running'
  /** A digest over the whole window agreed. */
  | 'agreed'
  /** All was said, and it is the other side that compares the last digest. */
  | 'ended'
  /** The limits were reached: what was found is right, but there may be more. */
  | 'incomplete';

/** A range of ours as the other side cut it up. */
interface ReceivedCut {
  readonly range: Range;
  readonly cut: Cut;
}

/** The answer, as it is put together while a payload is read. */
class Draft {
  opening: Opening | undefined;
  answers: Answer[] = [];
  lists: Uint32Array[] = [];
  wanted: Uint8Array[] = [];
  sketchAnswers: SketchAnswer[] = [];
  extensions: Uint32Array[] = [];
  sketches: Sketch[] = [];
  found = 0;
  check: Check | undefined;
  agreed = false;
}

export class NativeReconciler {
  readonly #whole: RangeIndex;
  readonly #policy: NativePolicy;
  readonly #keyed: KeyedSums;
  readonly #window: Range;
  readonly #digests: Digests;
  readonly #sketches: Sketches;
  readonly #random: ((below: number) => number) | undefined;
  /** Ids are hashed one by one for every fingerprint: the whole is small, or what is plain was not enough. */
  #auditing: boolean;
  /** What is compared: the whole, or in a strict comparison what neither side is known to lack. */
  #index: RangeIndex;
  #strict = false;
  #payloads = 0;
  #comparisons = 0;
  #state: NativeState = 'running';
  /** All that the other side is known to lack. */
  readonly #have = new SyncIdList();
  #need = 0;
  #listedIds = 0;
  #askedIds = 0;
  #truncated = false;

  // What the other side has yet to answer, in the order of asking.
  #asked: Range[] = [];
  #listed: SyncIdList[] = [];
  #askedLists: Range[] = [];

  #draft = new Draft();
  #found = new SyncIdList();

  constructor({ index, lower, upper, keyed, policy, audit, random }: NativeInit) {
    this.#whole = index;
    this.#index = index;
    this.#window = { lower, upper };
    this.#keyed = keyed;
    this.#policy = policy ?? NATIVE_POLICY;
    this.#digests = new Digests(this.#window, keyed, this.#policy);
    this.#sketches = new Sketches(this.#policy);
    this.#random = random;
    this.#auditing = (audit ?? false) || countOf(this.#index, { lower, upper }) <= this.#policy.keyedIds;
  }

  get state(): NativeState {
    return this.#state;
  }

  /** Ids that the other side has and this one lacks: as many as it said, or named, by now. */
  get needCount(): number {
    return this.#need;
  }

  get haveCount(): number {
    return this.#have.count;
  }

  /** The first payload of the initiator: as many parts as is worthwhile to begin with. */
  open(parts: number = this.#policy.openingParts): NativePayload {
    this.#begin(parts);
    this.#draft.check = this.#check();
    return this.#draft;
  }

  /**
   * Reads a payload and gives the answer to it.
   *
   * @throws LacunaError WIRE_FIELD_INVALID when it does not answer what was asked, SESSION_BUDGET when it asks for
   *   more than the policy allows.
   */
  step(payload: NativePayload): NativeStep {
    this.#payloads += 1;
    // One more than either side goes on asking for: the last of all may be a check.
    if (this.#payloads > this.#policy.payloadsMax + 1) throw overBudget('more payloads than allowed');
    const hadCheck = this.#draft.check !== undefined;
    this.#draft = new Draft();
    this.#found = new SyncIdList();
    this.#state = 'running';
    if (payload.agreed && !hadCheck) throw misfit('agreement with nothing');
    if (payload.agreed) this.#state = 'agreed';
    else if (payload.opening !== undefined) this.#accept(payload.opening, payload.check);
    else this.#read(payload);
    this.#keep();
    if (this.#state === 'running') this.#conclude(payload);
    const reply = this.#saysAnything() ? this.#draft : undefined;
    return { reply, have: this.#found };
  }

  /** When nothing is left to ask, a digest tells whether nothing is left to find. */
  #conclude(payload: NativePayload): void {
    const outOfPayloads = this.#payloads >= this.#policy.payloadsMax;
    if (this.#isAsking()) {
      if (outOfPayloads) this.#state = 'incomplete';
    } else if (payload.check === undefined || payload.opening !== undefined) {
      this.#end();
    } else if (this.#agrees(payload.check)) {
      if (this.#satisfies(payload.check)) this.#state = this.#truncated ? 'incomplete' : 'agreed';
      else this.#end();
    } else if (outOfPayloads || this.#truncated || this.#comparisons >= this.#policy.comparisonsMax) {
      this.#state = 'incomplete';
    } else {
      this.#restrict();
      this.#begin(this.#policy.openingParts);
    }
  }

  #end(): void {
    this.#state = 'ended';
    this.#draft.check = this.#check();
  }

  // ── beginning ────────────────────────────────────────────────────────────────────────────────────────────────

  #begin(parts: number): void {
    this.#comparisons += 1;
    const cut = this.#cut(this.#window, parts);
    this.#draft.opening = { ...this.#window, strict: this.#strict, cut };
  }

  #accept({ lower, upper, strict, cut }: Opening, check: Check | undefined): void {
    if (!sameWords(lower, this.#window.lower) || !sameWords(upper, this.#window.upper))
      throw misfit('another window');
    // What was found already would be found again.
    if (!strict && this.#comparisons > 0) throw misfit('the first comparison for a second time');
    this.#forgetAsked();
    this.#comparisons += 1;
    if (this.#comparisons > this.#policy.comparisonsMax) throw overBudget('too many comparisons');
    if (strict) {
      this.#restrict();
      this.#auditing ||= cut.keyed;
    }
    const agrees = check !== undefined && this.#agrees(check) && this.#satisfies(check);
    this.#judge([{ range: { lower, upper }, cut }]);
    // Parts may tell apart what the whole does not: sets that were made to have the same XOR, and are cut by them.
    if (agrees && this.#draft.answers.every(({ kind }) => kind === 'equal')) {
      this.#state = 'agreed';
      this.#draft.answers = [];
      this.#draft.agreed = true;
    }
  }

  /** From now on only what neither side is known to lack is compared, and by lists. */
  #restrict(): void {
    this.#strict = true;
    this.#index = new Remainder(this.#whole, DigestTree.from(this.#have));
  }

  // ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

  #read(payload: NativePayload): void {
    const asked = this.#asked;
    const listed = this.#listed;
    const askedLists = this.#askedLists;
    const { sent, stuck } = this.#sketches.take();
    this.#forgetAsked();
    this.#need += payload.found;
    expectAnswers(payload.wanted.length, listed.length);
    for (const [at, bits] of payload.wanted.entries()) pickIds(listed[at]!, bits, this.#found);
    expectAnswers(payload.lists.length, askedLists.length);
    for (const [at, ids] of payload.lists.entries()) this.#toList(askedLists[at]!, ids);

    // In the order in which the other side asked: what became of sketches first, then of parts.
    const cuts: ReceivedCut[] = [];
    expectAnswers(payload.sketchAnswers.length, sent.length);
    for (const [at, answer] of payload.sketchAnswers.entries()) this.#toSketchAnswer(answer, sent[at]!, cuts);
    const inSketches: Range[] = [];
    this.#toAnswers(payload.answers, asked, cuts, inSketches);
    expectAnswers(payload.extensions.length, stuck.length);
    for (const [at, symbols] of payload.extensions.entries()) {
      const before = this.#found.count;
      const answer = this.#sketches.extend(this.#index, stuck[at]!, symbols, this.#found);
      this.#answerSketch(answer, stuck[at]!.ranges, this.#found.count - before);
    }
    let next = 0;
    for (const { ranges: count, symbols } of payload.sketches) {
      const ranges = inSketches.slice(next, next + count);
      const before = this.#found.count;
      const answer = this.#sketches.receive(this.#index, ranges, symbols, this.#found);
      this.#answerSketch(answer, ranges, this.#found.count - before);
      next += count;
    }
    expectAnswers(next, inSketches.length);
    this.#judge(cuts);
  }

  #toAnswers(
    answers: readonly Answer[],
    asked: readonly Range[],
    cuts: ReceivedCut[],
    inSketches: Range[] | undefined,
  ): void {
    expectAnswers(answers.length, asked.length);
    for (const [at, answer] of answers.entries()) {
      const range = asked[at]!;
      if (answer.kind === 'cut') cuts.push({ range, cut: answer.cut });
      else if (answer.kind === 'list') this.#toList(range, answer.ids);
      else if (answer.kind === 'ask') this.#draft.lists.push(this.#listing(range));
      else if (answer.kind === 'none') this.#findAll(range);
      else if (answer.kind === 'all') this.#need += answer.count;
      else if (answer.kind === 'sketched') {
        if (inSketches === undefined) throw misfit('a sketch within a sketch');
        inSketches.push(range);
      }
    }
  }

  /** The other side lacks all ids of the range, or as many of the first as there is room for; returns how many. */
  #findAll(range: Range): number {
    const { lower } = range;
    let { upper } = range;
    const room = Math.max(0, this.#policy.foundIdsMax - this.#have.count - this.#found.count);
    if (countOf(this.#index, range) > room) {
      this.#truncated = true;
      upper = this.#index.select(this.#index.rank(lower) + room);
    }
    const ids = this.#index.ids(lower, upper);
    this.#found.pushRows(ids.words, 0, ids.count);
    return ids.count;
  }

  #toList({ lower, upper }: Range, theirs: Uint32Array): void {
    const own = this.#index.ids(lower, upper);
    const before = this.#found.count;
    const wanted = compareWithList(own, this.#keyed.key, theirs, this.#found);
    this.#draft.found += this.#found.count - before;
    this.#need += countBits(wanted);
    this.#draft.wanted.push(wanted);
  }

  #listing({ lower, upper }: Range): Uint32Array {
    this.#listedIds += countOf(this.#index, { lower, upper });
    if (this.#listedIds > this.#policy.listedIdsMax) throw overBudget('more ids to be listed than allowed');
    const ids = this.#index.ids(lower, upper);
    this.#listed.push(ids);
    return hashedIds(ids, this.#keyed.key);
  }

  // ── sketches ─────────────────────────────────────────────────────────────────────────────────────────────────

  #answerSketch(answer: SketchAnswer | undefined, ranges: readonly Range[], found: number): void {
    if (answer === undefined) {
      this.#giveUp(ranges);
      return;
    }
    if (answer.kind === 'decoded') {
      this.#draft.found += found;
      this.#need += answer.wanted.length / 2;
    }
    this.#draft.sketchAnswers.push(answer);
  }

  /** Answers the ranges of a sketch as if there had been none. */
  #giveUp(ranges: readonly Range[]): void {
    const answers = ranges.map((range): Answer => {
      const here = countOf(this.#index, range);
      if (here === 0) return { kind: 'none' };
      if (here <= this.#policy.listIds) return this.#listAnswer(range);
      return this.#cutAnswer(range, this.#policy.cutParts);
    });
    this.#draft.sketchAnswers.push({ kind: 'undecoded', answers });
  }

  #toSketchAnswer(answer: SketchAnswer, sketch: SentSketch, cuts: ReceivedCut[]): void {
    if (answer.kind === 'decoded') {
      if (answer.wanted.length / 2 > sketch.symbols) throw misfit('more ids than symbols');
      findShortIds(this.#index, sketch.ranges, answer.wanted, this.#found);
    } else if (answer.kind === 'more') {
      this.#draft.extensions.push(this.#sketches.more(this.#index, sketch, answer.symbols));
    } else {
      this.#toAnswers(answer.answers, sketch.ranges, cuts, undefined);
    }
  }

  // ── judging ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Compares parts of the other side with what is here, and answers them in their order. */
  #judge(cuts: readonly ReceivedCut[]): void {
    const parts: Judged[] = [];
    for (const { range, cut } of cuts) {
      if (cut.keyed) this.#digests.spend(this.#index, range);
      let { lower } = range;
      for (const [at, count] of cut.counts.entries()) {
        const upper = cut.bounds[at] ?? range.upper;
        if (compareIds(lower, 0, upper, 0) > 0 || compareIds(upper, 0, range.upper, 0) > 0) {
          throw misfit('a part beyond its range');
        }
        parts.push(this.#judgePart({ lower, upper }, count, cut.fingerprints[at]!, cut.keyed));
        lower = upper;
      }
    }
    const scattered = parts.filter(({ verdict }) => verdict === 'scattered');
    const circumstances = {
      compared: parts.length,
      listable: this.#policy.listedIdsMax / 2 - Math.max(this.#listedIds, this.#askedIds),
      mayRefine: this.#payloads === 1,
    };
    const settlement = settle(scattered, circumstances, this.#policy);
    this.#draft.sketches.push(...this.#sketches.send(this.#index, scattered, settlement.sketches));
    for (const part of parts) {
      const verdict = part.verdict === 'scattered' ? settlement.of(part) : part.verdict;
      this.#draft.answers.push(this.#answer(part, verdict));
    }
  }

  #judgePart(range: Range, there: number, fingerprint: number, keyed: boolean): Judged {
    const { count: here, sum } = this.#digests.of(this.#index, range, keyed);
    const isEqual = here === there && (here === 0 || sum[0] === fingerprint);
    const verdict = isEqual ? 'equal' : verdictOf(here, there, this.#policy, this.#strict);
    return { ...range, verdict, here, there };
  }

  #answer(range: Judged, verdict: Exclude<Verdict, 'scattered'> | Settled): Answer {
    if (typeof verdict === 'number') return this.#cutAnswer(range, verdict);
    if (verdict === 'cut') return this.#cutAnswer(range, this.#policy.cutParts);
    if (verdict === 'list') return this.#listAnswer(range);
    if (verdict === 'ask') return this.#askAnswer(range);
    if (verdict === 'none') this.#need += range.there;
    if (verdict === 'all') return { kind: 'all', count: this.#findAll(range) };
    return { kind: verdict };
  }

  #cutAnswer(range: Range, parts: number): Answer {
    if (this.#asked.length + parts > this.#policy.partsMax) return this.#leaveOut();
    return { kind: 'cut', cut: this.#cut(range, parts) };
  }

  /** Half of what may be listed is for what the other side asks for. */
  #listAnswer(range: Range): Answer {
    const listed = this.#listedIds + countOf(this.#index, range);
    if (listed > this.#policy.listedIdsMax / 2) return this.#leaveOut();
    return { kind: 'list', ids: this.#listing(range) };
  }

  #askAnswer(range: Judged): Answer {
    if (this.#askedIds + range.there > this.#policy.listedIdsMax / 2) return this.#leaveOut();
    this.#askedIds += range.there;
    this.#askedLists.push(range);
    return { kind: 'ask' };
  }

  /** Past the limits nothing more is asked for: what is left out is found by another reconciliation. */
  #leaveOut(): Answer {
    this.#truncated = true;
    return { kind: 'equal' };
  }

  // ── fingerprints ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Cuts a range into parts of about equal counts, which then wait for their answers. */
  #cut({ lower, upper }: Range, parts: number): Cut {
    const from = this.#index.rank(lower);
    const to = this.#index.rank(upper);
    const wanted = Math.max(1, Math.min(parts, Math.ceil((to - from) / this.#policy.partIdsMin)));
    const keyed = this.#auditing || to - from <= this.#policy.keyedSpotIds;
    const bounds = equalCuts(this.#index, from, to, wanted);
    const counts: number[] = [];
    const fingerprints = new Uint32Array(bounds.length + 1);
    let start = lower;
    for (const [at, bound] of [...bounds, upper].entries()) {
      const { count, sum } = this.#digests.of(this.#index, { lower: start, upper: bound }, keyed);
      counts.push(count);
      fingerprints[at] = sum[0]!;
      this.#asked.push({ lower: start, upper: bound });
      start = bound;
    }
    return { keyed, bounds, counts, fingerprints };
  }

  /** The digest over what both sides have, as far as is known; over every id where there are few. */
  #check(): Check {
    const spot = this.#auditing ? this.#window : this.#digests.spot(this.#whole, this.#random);
    return this.#digests.check(this.#whole, this.#have, spot);
  }

  #agrees(check: Check): boolean {
    const { lower, upper } = this.#window;
    const isWithin = compareIds(lower, 0, check.lower, 0) <= 0 && compareIds(check.upper, 0, upper, 0) <= 0;
    if (!isWithin || compareIds(check.lower, 0, check.upper, 0) > 0)
      throw misfit('a check beyond the window');
    this.#digests.spend(this.#whole, check);
    const own = this.#digests.check(this.#whole, this.#have, check);
    const isPlain = sameWords(own.plain, check.plain);
    // What only the hashes of ids can tell apart is looked for by them.
    if (isPlain && !sameWords(own.keyed, check.keyed)) this.#auditing = true;
    return isPlain && sameWords(own.keyed, check.keyed);
  }

  /** Whether so much was hashed id by id for the check as this side wants. */
  #satisfies({ lower, upper }: Check): boolean {
    return !this.#auditing || (sameWords(lower, this.#window.lower) && sameWords(upper, this.#window.upper));
  }

  // ── the answer ───────────────────────────────────────────────────────────────────────────────────────────────

  #keep(): void {
    this.#have.pushRows(this.#found.words, 0, this.#found.count);
  }

  #isAsking(): boolean {
    const lists = this.#listed.length + this.#askedLists.length;
    return this.#asked.length + lists + this.#sketches.waiting > 0;
  }

  #saysAnything(): boolean {
    const { opening, answers, lists, wanted, sketchAnswers, extensions, sketches, check, agreed } =
      this.#draft;
    const parts = [answers, lists, wanted, sketchAnswers, extensions, sketches];
    return agreed || opening !== undefined || check !== undefined || parts.some((part) => part.length > 0);
  }

  #forgetAsked(): void {
    this.#asked = [];
    this.#listed = [];
    this.#askedLists = [];
    this.#sketches.take();
  }
}

function expectAnswers(given: number, expected: number): void {
  if (given !== expected) throw misfit(`${given} answers to ${expected} questions`);
}
