/**
 * The ledger of gaps: when this store may have missed something, and what of that has been compared with whom. It
 * outlives the process: what is on it stays until a session has closed it, however old it is.
 */
import { type Interval, intersection, joined, overlaps, without } from '../core/interval.ts';
import { intersectScopes, type Scope, sameScope, scopeCovers } from '../core/scope.ts';
import { type ErrorCode, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, Logger, Records } from '../ports.ts';
import { type ClosedGap, type Gap, type GapCause, scopeWithout, type Verification } from './gap.ts';
import {
  decodeClosed,
  decodeGap,
  decodeVerifications,
  encodeClosed,
  encodeGap,
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

export class Ledger {
  readonly #init: LedgerInit;
  readonly #gaps = new Map<number, Gap>();
  #closed: ClosedGap[] = [];
  /** Disjoint within a scope, the newest first. */
  #verified: Verification[] = [];
  #nextId = 1;
  /** Gaps whose record is not what it should be. */
  readonly #unsaved = new Set<number>();
  #listsAreSaved = true;
  #saving: Promise<void> | undefined;

  private constructor(init: LedgerInit) {
    this.#init = init;
  }

  static async load(init: LedgerInit): Promise<Ledger> {
    const ledger = new Ledger(init);
    for await (const [name, value] of init.records.list(GAP_PREFIX)) {
      const gap = decodeGap(value);
      if (gap === undefined || nameOf(gap.id) !== name) continue;
      ledger.#gaps.set(gap.id, gap);
      ledger.#nextId = Math.max(ledger.#nextId, gap.id + 1);
    }
    const closed = await init.records.get(CLOSED);
    if (closed !== undefined) ledger.#closed = decodeClosed(closed);
    const verified = await init.records.get(VERIFIED);
    if (verified !== undefined) ledger.#verified = decodeVerifications(verified);
    for (const { id } of ledger.#closed) ledger.#nextId = Math.max(ledger.#nextId, id + 1);
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

  /** Puts a gap on the ledger; one of the same cause that it touches grows instead. Returns its id. */
  add(cause: GapCause, scope: Scope, { sinceNs, untilNs }: Interval): number {
    for (const gap of this.#gaps.values()) {
      if (gap.cause !== cause || !sameScope(gap.scope, scope)) continue;
      if (sinceNs > gap.untilNs || untilNs < gap.sinceNs) continue;
      const grown = joined([gap, { sinceNs, untilNs }])[0]!;
      if (grown.sinceNs !== gap.sinceNs || grown.untilNs !== gap.untilNs) {
        this.#put({ ...gap, ...grown, witnesses: [] });
      }
      return gap.id;
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
    return gap.id;
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
    for (const gap of [...this.#gaps.values()]) {
      if (!overlaps(gap, comparison)) continue;
      const otherTopics = scopeWithout(gap.scope, scope);
      if (otherTopics !== undefined && sameScope(otherTopics, gap.scope)) continue;
      const cuts = vouched.flatMap((part) => intersection(gap, part) ?? []);
      const doubtful = peerGaps.flatMap((part) => {
        const common = intersection(part, comparison);
        return common === undefined ? [] : (intersection(gap, common) ?? []);
      });
      this.#cut(gap, otherTopics, cuts, doubtful, peer);
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
      if (gap.sinceNs >= horizonNs || !scopeCovers(scope, gap.scope)) continue;
      this.#remove(gap);
      if (gap.untilNs > horizonNs) this.#put({ ...gap, sinceNs: horizonNs });
      this.#close(gap.untilNs > horizonNs ? { ...gap, untilNs: horizonNs } : gap, []);
    }
  }

  /** Resolves when what is on the ledger by now is on the disk; or logs why it is not, to be tried again. */
  async save(): Promise<void> {
    this.#saving ??= this.#saveAll().finally(() => {
      this.#saving = undefined;
    });
    await this.#saving;
  }

  async #saveAll(): Promise<void> {
    const { records, log } = this.#init;
    try {
      while (this.#unsaved.size > 0 || !this.#listsAreSaved) {
        const ids = [...this.#unsaved];
        this.#unsaved.clear();
        const areListsDue = !this.#listsAreSaved;
        this.#listsAreSaved = true;
        try {
          // First what is new: a gap that is cut must not be gone before its parts are there.
          await Promise.all(
            ids.flatMap((id) => {
              const gap = this.#gaps.get(id);
              return gap === undefined ? [] : [records.put(nameOf(id), encodeGap(gap))];
            }),
          );
          await Promise.all(ids.filter((id) => !this.#gaps.has(id)).map((id) => records.delete(nameOf(id))));
          if (areListsDue) {
            await records.put(CLOSED, encodeClosed(this.#closed));
            await records.put(VERIFIED, encodeVerifications(this.#verified));
          }
        } catch (error) {
          for (const id of ids) this.#unsaved.add(id);
          this.#listsAreSaved &&= !areListsDue;
          throw error;
        }
      }
    } catch (error) {
      log.debug({ code: toLacunaError(error).code }, 'the ledger of gaps could not be written yet');
    }
  }

  /** What remains of a gap after parts of it were closed, or compared with a peer that has a gap there itself. */
  #cut(
    gap: Gap,
    otherTopics: Scope | undefined,
    closed: readonly Interval[],
    doubtful: readonly Interval[],
    peer: string,
  ): void {
    if (closed.length === 0 && doubtful.length === 0) return;
    const isWitness = gap.witnesses.includes(peer);
    if (closed.length === 0 && otherTopics === undefined && isWitness) return;
    const parts: Gap[] = [];
    const witnesses = isWitness ? gap.witnesses : [...gap.witnesses, peer];
    for (const part of doubtful) parts.push({ ...gap, ...part, witnesses });
    for (const part of without(gap, [...closed, ...doubtful])) parts.push({ ...gap, ...part });
    if (otherTopics !== undefined) {
      for (const part of closed) parts.push({ ...gap, ...part, scope: otherTopics });
    }
    parts.sort((a, b) => (a.untilNs > b.untilNs ? -1 : 1));
    this.#remove(gap);
    for (const [at, part] of parts.entries()) this.#put({ ...part, id: at === 0 ? gap.id : this.#nextId++ });
    for (const part of joined(closed)) this.#close({ ...gap, ...part }, [peer]);
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
  #noteVerified({ sinceNs, untilNs, scope, peer }: Comparison): void {
    const verified: Verification = { sinceNs, untilNs, scope, peer, verifiedMs: this.#init.clock.nowMs() };
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
      const scope = next === undefined ? { pubsubTopics: [], contentTopics: [] } : first.scope;
      const whole = {
        sinceNs: first.sinceNs < into.sinceNs ? first.sinceNs : into.sinceNs,
        untilNs: first.untilNs > into.untilNs ? first.untilNs : into.untilNs,
      };
      this.#remove(first);
      this.#put({ ...into, ...whole, scope, witnesses: [] });
    }
  }
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
