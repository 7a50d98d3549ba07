/**
 * The ledger of gaps: when this store may have missed something, and what of that has been compared with whom. It
 * outlives the process: what is on it stays until a session has closed it, however old it is.
 */
import { type Interval, intersection, isEmpty, joined, overlaps, without } from '../core/interval.ts';
import { EVERYTHING, intersectScopes, type Scope, sameScope, scopeCovers } from '../core/scope.ts';
import { type ErrorCode, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, Logger, Records } from '../ports.ts';
import { nsFromMs } from '../time.ts';
import {
  type ClosedGap,
  type Gap,
  type GapCause,
  scopeWithout,
  unitedScopes,
  type Verification,
} from './gap.ts';
import {
  decodeClosed,
  decodeGap,
  decodeMeetings,
  decodeVerifications,
  encodeClosed,
  encodeGap,
  encodeMeetings,
  encodeVerifications,
} from './ledger-record.ts';

export interface LedgerInit {
  readonly records: Records;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onOpened?: (gap: Gap) => void;
  readonly onClosed?: (gap: ClosedGap) => void;
}

/** A session that compared an interval: this store holds all that the peer holds of it. */
export interface Comparison extends Interval {
  readonly scope: Scope;
  readonly peer: string;
  /** Where the peer may lack messages itself, so that to hold all that it holds says little. */
  readonly peerGaps: readonly Interval[];
}

const GAP_PREFIX = 'gap/';
const CLOSED = 'ledger/closed';
const VERIFIED = 'ledger/verified';
const MET = 'ledger/met';

export class Ledger {
  readonly #init: LedgerInit;
  readonly #gaps = new Map<number, Gap>();
  #closed: ClosedGap[] = [];
  /** Disjoint within a scope, the newest first. */
  #verified: Verification[] = [];
  /** Up to when the store was compared with each peer; the one that was met last is the last. */
  #met = new Map<string, bigint>();
  #nextId = 1;
  /** Gaps whose record is not what it should be; and of each gap the widest that may be on the disk. */
  readonly #unsaved = new Set<number>();
  readonly #onDisk = new Map<number, Gap>();
  #listsAreSaved = true;
  #saving: Promise<boolean> | undefined;

  private constructor(init: LedgerInit) {
    this.#init = init;
  }

  static async load(init: LedgerInit): Promise<Ledger> {
    const ledger = new Ledger(init);
    let isAnyLost = false;
    for await (const [name, value] of init.records.list(GAP_PREFIX)) {
      const id = Number(name.slice(GAP_PREFIX.length));
      const gap = decodeGap(value);
      ledger.#nextId = Math.max(ledger.#nextId, id + 1 || 0);
      if (gap?.id === id) {
        ledger.#gaps.set(id, gap);
        ledger.#onDisk.set(id, gap);
      } else {
        isAnyLost = true;
        ledger.#unsaved.add(id);
      }
    }
    const { records, clock } = init;
    const [closed, verified, met] = await Promise.all(
      [CLOSED, VERIFIED, MET].map((name) => records.get(name)),
    );
    if (closed !== undefined) ledger.#closed = decodeClosed(closed);
    if (verified !== undefined) ledger.#verified = decodeVerifications(verified);
    if (met !== undefined) ledger.#met = new Map(decodeMeetings(met).reverse());
    for (const { id } of ledger.#closed) ledger.#nextId = Math.max(ledger.#nextId, id + 1);
    // A gap that cannot be read may have been anywhere.
    const always = { sinceNs: 0n, untilNs: nsFromMs(clock.nowMs() + LIMITS.clockToleranceMs) };
    if (isAnyLost) ledger.add('first-start', EVERYTHING, always);
    return ledger;
  }

  /** Open gaps, the newest first. */
  open(): readonly Gap[] {
    return [...this.#gaps.values()].sort((a, b) => (a.untilNs > b.untilNs ? -1 : 1));
  }

  /** The gaps that were closed last, the last one first. */
  closed(): readonly ClosedGap[] {
    return this.#closed;
  }

  verifications(): readonly Verification[] {
    return this.#verified;
  }

  /** Up to when this scope was compared with anybody; undefined when it never was. */
  verifiedUntilNs(scope: Scope): bigint | undefined {
    return this.#verified.find((verified) => scopeCovers(verified.scope, scope))?.untilNs;
  }

  /** Up to when this store was compared with the peer, round after round; undefined when it never was. */
  metUntilNs(peer: string): bigint | undefined {
    return this.#met.get(peer);
  }

  /** The two were compared up to this time, from where they had been before. */
  met(peer: string, untilNs: bigint): void {
    const before = this.#met.get(peer) ?? untilNs;
    this.#met.delete(peer);
    this.#met.set(peer, before > untilNs ? before : untilNs);
    for (const longest of this.#met.keys()) {
      if (this.#met.size <= LIMITS.verificationsRemembered) break;
      this.#met.delete(longest);
    }
    this.#listsAreSaved = false;
  }

  /** Where this store may lack messages of a window, the oldest first; as few intervals as a hello takes. */
  gapsWithin(scope: Scope, window: Interval): Interval[] {
    const cuts: Interval[] = [];
    for (const gap of this.#gaps.values()) {
      const cut = areApart(gap.scope, scope) ? undefined : intersection(gap, window);
      if (cut !== undefined) cuts.push(cut);
    }
    const intervals = joined(cuts);
    while (intervals.length > LIMITS.helloGaps) joinNearest(intervals);
    return intervals;
  }

  /** What of a window is in no gap of the scope. */
  outsideGaps(scope: Scope, window: Interval): Interval[] {
    return without(
      window,
      [...this.#gaps.values()].filter((gap) => scopeCovers(gap.scope, scope)),
    );
  }

  /** Puts a gap on the ledger; one of the same cause that it touches grows instead. */
  add(cause: GapCause, scope: Scope, { sinceNs, untilNs }: Interval): void {
    if (isEmpty({ sinceNs, untilNs })) return;
    for (const gap of this.#gaps.values()) {
      if (gap.cause !== cause || !sameScope(gap.scope, scope)) continue;
      if (sinceNs > gap.untilNs || untilNs < gap.sinceNs) continue;
      const grown = joined([gap, { sinceNs, untilNs }])[0]!;
      const isWider = grown.sinceNs !== gap.sinceNs || grown.untilNs !== gap.untilNs;
      // Who was compared before has not seen what goes missing now.
      if (isWider || gap.witnesses.length > 0) {
        this.#put({ ...gap, ...grown, witnesses: [] });
      }
      return;
    }
    const gap: Gap = {
      id: this.#nextId++,
      sinceNs,
      untilNs,
      scope,
      cause,
      openedMs: this.#init.clock.nowMs(),
      attempts: 0,
      lastPeer: undefined,
      lastAttemptMs: undefined,
      lastCode: undefined,
      witnesses: [],
    };
    this.#put(gap);
    this.#init.onOpened?.(gap);
    this.#bound();
  }

  /** A session with this peer was run over the window, and failed with the code if there is one. */
  attempted(peer: string, scope: Scope, window: Interval, code: ErrorCode | undefined): void {
    const lastAttemptMs = this.#init.clock.nowMs();
    for (const gap of this.#gaps.values()) {
      if (areApart(gap.scope, scope) || !overlaps(gap, window)) continue;
      this.#put({ ...gap, attempts: gap.attempts + 1, lastPeer: peer, lastAttemptMs, lastCode: code });
    }
  }

  /** Closes what the comparison covers, and notes the peer as a witness where it has a gap itself. */
  compared(comparison: Comparison): void {
    const { scope, peer, peerGaps } = comparison;
    this.#noteVerified(comparison);
    const vouched = without(comparison, peerGaps);
    const unsure = joined(peerGaps.flatMap((part) => intersection(part, comparison) ?? []));
    for (const id of [...this.#gaps.keys()]) {
      // With too many gaps, this one may have become a part of another, or another a part of it.
      const gap = this.#gaps.get(id);
      if (gap === undefined) continue;
      const common = intersectScopes(gap.scope, scope);
      const otherTopics = scopeWithout(gap.scope, scope);
      // Where it cannot be said in topics what of the gap was compared, none of it counts.
      if (common === undefined || (otherTopics !== undefined && sameScope(otherTopics, gap.scope))) continue;
      const within = (parts: readonly Interval[]): Interval[] =>
        parts.flatMap((part) => intersection(gap, part) ?? []);
      this.#cut(gap, { common, otherTopics, closed: within(vouched), doubtful: within(unsure), peer });
    }
  }

  /** Closes a gap that every peer within reach was compared with, though none of them was there. */
  acceptWitnesses(id: number): void {
    const gap = this.#gaps.get(id);
    if (gap === undefined || gap.witnesses.length === 0) return;
    this.#remove(gap);
    this.#close(gap, gap.witnesses);
  }

  /** The node covers these topics and no others: what may lack of others is no gap any more. */
  narrow(scope: Scope): void {
    for (const gap of [...this.#gaps.values()]) {
      const common = intersectScopes(gap.scope, scope);
      if (common !== undefined && sameScope(common, gap.scope)) continue;
      this.#remove(gap);
      if (common === undefined) this.#close(gap, []);
      else this.#put({ ...gap, scope: common });
    }
  }

  /** Nothing before this time is kept: what may lack there is no gap any more. */
  expire(scope: Scope, horizonNs: bigint): void {
    for (const gap of [...this.#gaps.values()]) {
      // One that reaches beyond that time stays whole: it would change every second otherwise.
      if (gap.untilNs > horizonNs || !scopeCovers(scope, gap.scope)) continue;
      this.#remove(gap);
      this.#close(gap, []);
    }
  }

  /** Whether what is on the ledger by now is on the disk; if not, it is logged why, and is to be tried again. */
  async save(): Promise<boolean> {
    while (this.#unsaved.size > 0 || !this.#listsAreSaved) {
      this.#saving ??= this.#saveOnce().finally(() => {
        this.#saving = undefined;
      });
      if (!(await this.#saving)) return false;
    }
    return true;
  }

  /**
   * In an order in which no crash between any two records leaves out a time that was on the ledger: first every gap at
   * its widest, as it is and as it was; then with whom what was compared; and only then what has become less.
   */
  async #saveOnce(): Promise<boolean> {
    const { records, log } = this.#init;
    const ids = [...this.#unsaved];
    const gaps = ids.flatMap((id) => this.#gaps.get(id) ?? []);
    const gone = ids.filter((id) => !this.#gaps.has(id));
    const areListsDue = !this.#listsAreSaved;
    this.#unsaved.clear();
    this.#listsAreSaved = true;
    try {
      const put = (gap: Gap): Promise<void> => records.put(nameOf(gap.id), encodeGap(gap));
      const widest = gaps.map((gap) => hullOf(gap, this.#onDisk.get(gap.id) ?? gap));
      for (const gap of widest) this.#onDisk.set(gap.id, gap);
      await Promise.all(widest.map(put));
      if (areListsDue) await this.#saveLists();
      await Promise.all(gaps.filter((gap) => !widest.includes(gap)).map(put));
      await Promise.all(gone.map((id) => records.delete(nameOf(id))));
      for (const gap of gaps) this.#onDisk.set(gap.id, gap);
      for (const id of gone) this.#onDisk.delete(id);
      return true;
    } catch (error) {
      for (const id of ids) this.#unsaved.add(id);
      this.#listsAreSaved &&= !areListsDue;
      log.debug({ code: toLacunaError(error).code }, 'the ledger of gaps could not be written yet');
      return false;
    }
  }

  async #saveLists(): Promise<void> {
    const { records } = this.#init;
    await Promise.all([
      records.put(CLOSED, encodeClosed(this.#closed)),
      records.put(VERIFIED, encodeVerifications(this.#verified)),
      records.put(MET, encodeMeetings([...this.#met].reverse())),
    ]);
  }

  /** What remains of a gap after parts of it were closed, or compared with a peer that has a gap there itself. */
  #cut(gap: Gap, { common, otherTopics, closed, doubtful, peer }: Cut): void {
    const isWitness = gap.witnesses.includes(peer);
    if (closed.length === 0 && (doubtful.length === 0 || isWitness)) return;
    const witnesses = isWitness ? gap.witnesses : [...gap.witnesses, peer].slice(-LIMITS.gapWitnesses);
    const parts: Gap[] = without(gap, [...closed, ...doubtful]).map((part) => ({ ...gap, ...part }));
    for (const part of doubtful) parts.push({ ...gap, ...part, scope: common, witnesses });
    if (otherTopics !== undefined) {
      for (const part of joined([...closed, ...doubtful]))
        parts.push({ ...gap, ...part, scope: otherTopics });
    }
    parts.sort((a, b) => (a.untilNs > b.untilNs ? -1 : 1));
    this.#remove(gap);
    for (const [at, part] of parts.entries()) this.#put({ ...part, id: at === 0 ? gap.id : this.#nextId++ });
    for (const part of joined(closed)) this.#close({ ...gap, ...part, scope: common }, [peer]);
    this.#bound();
  }

  #put(gap: Gap): void {
    this.#gaps.set(gap.id, gap);
    this.#unsaved.add(gap.id);
  }

  #remove(gap: Gap): void {
    this.#gaps.delete(gap.id);
    this.#unsaved.add(gap.id);
  }

  #close(gap: Gap, verifiedWith: readonly string[]): void {
    const closed = { ...gap, closedMs: this.#init.clock.nowMs(), verifiedWith };
    this.#closed = [closed, ...this.#closed].slice(0, LIMITS.gapsRemembered);
    this.#listsAreSaved = false;
    this.#init.onClosed?.(closed);
  }

  /** The newest look at a time is the one that counts. */
  #noteVerified({ scope, peer, ...window }: Comparison): void {
    const verifiedMs = this.#init.clock.nowMs();
    // Whatever the window was: nobody knows what is still to come.
    const past = intersection(window, { sinceNs: 0n, untilNs: nsFromMs(verifiedMs) });
    if (past === undefined) return;
    const verified: Verification = { ...past, scope, peer, verifiedMs };
    const older = this.#verified.flatMap((before) => {
      if (!overlaps(before, verified) || !scopeCovers(scope, before.scope)) return [before];
      return without(before, [verified]).map((part) => ({ ...before, ...part }));
    });
    this.#verified = [verified, ...older]
      .sort((a, b) => (a.untilNs > b.untilNs ? -1 : 1))
      .slice(0, LIMITS.verificationsRemembered);
    this.#listsAreSaved = false;
  }

  /** Too many gaps become fewer and wider: nothing is left out that may be missing. */
  #bound(): void {
    while (this.#gaps.size > LIMITS.gaps) {
      const ascending = [...this.open()].reverse();
      const first = ascending[0]!;
      const next = ascending.find((gap) => gap !== first && sameScope(gap.scope, first.scope));
      const into = next ?? ascending[1]!;
      this.#remove(first);
      this.#put({ ...hullOf(into, first), witnesses: [] });
    }
  }
}

/** What of a gap was compared with a peer: its topics and the others, parts that are closed, and doubtful ones. */
interface Cut {
  readonly common: Scope;
  readonly otherTopics: Scope | undefined;
  readonly closed: readonly Interval[];
  readonly doubtful: readonly Interval[];
  readonly peer: string;
}

/** The gap, widened by what the other one covers; the gap itself, when that is nothing more. */
function hullOf(gap: Gap, other: Pick<Gap, 'sinceNs' | 'untilNs' | 'scope'>): Gap {
  const sinceNs = gap.sinceNs < other.sinceNs ? gap.sinceNs : other.sinceNs;
  const untilNs = gap.untilNs > other.untilNs ? gap.untilNs : other.untilNs;
  const isWide = sinceNs === gap.sinceNs && untilNs === gap.untilNs && scopeCovers(gap.scope, other.scope);
  return isWide ? gap : { ...gap, sinceNs, untilNs, scope: unitedScopes(gap.scope, other.scope) };
}

function areApart(a: Scope, b: Scope): boolean {
  return intersectScopes(a, b) === undefined;
}

function nameOf(id: number): string {
  return `${GAP_PREFIX}${String(id).padStart(12, '0')}`;
}

/** Makes one of the two intervals that are closest to each other. */
function joinNearest(ascending: Interval[]): void {
  let at = 1;
  const distance = (index: number): bigint => ascending[index]!.sinceNs - ascending[index - 1]!.untilNs;
  for (let index = 2; index < ascending.length; index++) if (distance(index) < distance(at)) at = index;
  const [before, after] = ascending.splice(at - 1, 2) as [Interval, Interval];
  ascending.splice(at - 1, 0, { sinceNs: before.sinceNs, untilNs: after.untilNs });
}
