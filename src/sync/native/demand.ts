/**
 * What this side takes: of the ids that the other offers, those that are not here and that no other session waits for
 * are asked for, a little ahead of what arrives; what arrives is hashed, matched to what was asked for, and handed on
 * to be stored and acknowledged.
 */
import { inScope, type Scope } from '../../core/scope.ts';
import { boundAt, compareIds, ID_WORDS, SyncIdList } from '../../core/sync-id.ts';
import { type ErrorCode, LacunaError, toLacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { MessageStore, StoredMessage } from '../../ports.ts';
import type { BatchFrame, OfferFrame } from '../../wire/native-frame.ts';
import { MISSING_NAMED } from '../session.ts';
import { Arrivals } from './arrivals.ts';
import type { Claimant, Claims } from './claims.ts';
import { Intake, type IntakeInit } from './intake.ts';
import { OfferedPage } from './offered-page.ts';

export interface DemandInit extends Omit<IntakeInit, 'onStored' | 'onAcknowledged'> {
  readonly store: MessageStore;
  readonly claims: Claims;
  readonly scope: Scope;
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
  /** The most that this side takes in all. */
  readonly messagesMax: number | undefined;
  readonly bytesMax: number | undefined;
  /** Where all ids that are offered are put down; nothing is asked for then. */
  readonly listed: SyncIdList | undefined;
  /** Told of what was brought, before it is looked at. */
  readonly onDelivered: (messages: readonly Uint8Array[]) => void;
  readonly onArrived: (stored: number, known: number) => void;
  readonly onRefused: (code: ErrorCode) => void;
  /** Told of messages that were offered and asked for, and are not sent. */
  readonly onAbsent: (messages: number) => void;
  readonly onChange: () => void;
}

/** Some rows of a page that were asked for in one go. */
interface Want {
  readonly page: OfferedPage;
  readonly first: number;
  readonly bits: Uint8Array;
}

export class Demand implements Claimant {
  readonly #init: DemandInit;
  readonly #lower: Uint32Array;
  readonly #upper: Uint32Array;
  /** Pages of which something is undecided or on its way, the newest ids first. */
  #pages: OfferedPage[] = [];
  #offers = 0;
  #offered = 0;
  #expected = Number.POSITIVE_INFINITY;
  #openIds = 0;
  #isLast = false;
  /** The page at which undecided ids are looked for; those before it were put off. */
  #at = 0;
  #seenVersion = -1;
  /** Wants that are not answered wholly, the oldest first, and how many were. */
  readonly #wants: Want[] = [];
  #wantsDone = 0;
  #wantedIds = 0;
  /** How many were asked for in all. */
  #asked = 0;
  readonly #arrivals = new Arrivals();
  readonly #intake: Intake;
  /** As much was taken as may be; and something was left out for it. */
  #isFull = false;
  #isCapped = false;
  #refusedUnknown = 0;
  /** Some of what was asked for and not brought. */
  readonly #absent = new SyncIdList(MISSING_NAMED);
  #isAdvancing = false;
  #isWaiting = false;
  /** What other sessions wait for is asked for too. */
  #takesOver = false;

  constructor(init: DemandInit) {
    this.#init = init;
    this.#lower = boundAt(init.sinceNs);
    this.#upper = boundAt(init.untilNs);
    this.#intake = new Intake({
      ...init,
      onStored: (messages, { stored, duplicate }) => {
        init.onArrived(stored, duplicate);
        for (const { id } of messages) this.#pages.find((page) => page.settle(id));
      },
      onAcknowledged: () => {
        this.#forgetSettled();
        init.claims.changed(this);
        this.advance();
        init.onChange();
      },
    });
  }

  get isCapped(): boolean {
    return this.#isCapped;
  }

  get held(): number {
    return this.#openIds;
  }

  /** Whether it is the other side's turn: it owes messages, or offers, and nothing is put off here. */
  get awaitsOther(): boolean {
    return this.#wantedIds > 0 || (!this.#isLast && this.#pages.length === 0);
  }

  /** All that was offered is decided, and what was asked for is on the disk or will not come. */
  get isDone(): boolean {
    return this.#isLast && this.#pages.length === 0 && this.#intake.isIdle;
  }

  /** Resolves when what has come is on the disk, or is known not to be. */
  async stored(): Promise<void> {
    await this.#intake.settled();
  }

  /** Some of the ids that were asked for and are not here. */
  missing(): SyncIdList {
    const missing = this.#absent.slice(0, this.#absent.count);
    for (const page of this.#pages) pushSome(missing, page.outstanding());
    return missing;
  }

  /**
   * So many will be offered in all: the other side has found no more. Of none, not even an empty offer is made.
   *
   * @throws LacunaError WIRE_FIELD_INVALID when there were more already.
   */
  expect(ids: number): void {
    this.#expected = ids;
    if (this.#offered > ids) throw invalid('more was offered than was found');
    if (ids === 0) this.#isLast = true;
  }

  /** @throws LacunaError WIRE_FIELD_INVALID for ids that are not of this session; TRANSFER_OVER_CREDIT. */
  offer({ ids, last }: OfferFrame): void {
    if (this.#isLast) throw invalid('an offer after the last one');
    if (ids.count === 0 && !last) throw invalid('an offer of nothing');
    this.#offered += ids.count;
    if (this.#offered > this.#expected) throw invalid('more is offered than was found');
    this.#openIds += ids.count;
    // One page more: who is below the limit may offer a whole one.
    if (this.#openIds > LIMITS.nativeOffersOpen + LIMITS.nativeOfferIds) {
      throw new LacunaError('TRANSFER_OVER_CREDIT', 'more is offered at a time than may be');
    }
    if (ids.count > 0) {
      const isWithin =
        compareIds(ids.words, 0, this.#upper, 0) < 0 &&
        compareIds(ids.words, (ids.count - 1) * ID_WORDS, this.#lower, 0) >= 0;
      if (!isWithin) throw invalid('an offer from beyond the window');
      this.#pages.push(new OfferedPage(this.#offers, ids));
    }
    this.#offers += 1;
    this.#isLast = last;
    this.advance();
    this.#init.onChange();
  }

  /** @throws LacunaError WIRE_FIELD_INVALID; TRANSFER_OVER_CREDIT when it is more than may be on its way. */
  deliver({ wants, messages }: BatchFrame): void {
    if (messages.length === 0 && wants === this.#wantsDone) throw invalid('a batch of nothing');
    const bytes = messages.reduce((sum, { length }) => sum + length, 0);
    this.#init.onDelivered(messages);
    this.#intake.receive(bytes);
    const admitted: StoredMessage[] = [];
    for (const message of messages) {
      const stored = this.#admit(message);
      if (stored !== undefined) admitted.push(stored);
    }
    this.#completeWants(wants);
    this.#arrivals.add(messages.length, bytes, this.#init.clock.monotonicMs(), this.#wantedIds > 0);
    if (this.#arrivals.bytes >= (this.#init.bytesMax ?? Number.POSITIVE_INFINITY)) this.#isFull = true;
    this.#intake.store(admitted, bytes);
    this.advance();
    this.#init.onChange();
  }

  /** Asks for more, if there is room for it on the way. */
  advance(): void {
    if (this.#isAdvancing) return;
    this.#isAdvancing = true;
    let budget = this.#budget();
    while (budget > 0 && this.#hasUndecided()) budget -= this.#decide(this.#pages[this.#at]!, budget);
    this.#forgetSettled();
    this.#isAdvancing = false;
    if (this.#wantedIds === 0 && this.#pages.some((page) => !page.isDecided)) void this.#waitForOthers();
  }

  holds(words: Uint32Array, offset: number): boolean {
    return this.#pages.some((page) => page.waitsFor(words, offset));
  }

  reconsider(): void {
    if (this.#init.signal.aborted) return;
    this.advance();
    this.#init.onChange();
  }

  // ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** How many more ids to ask for, in portions that are worth a frame. */
  #budget(): number {
    const { windowBytes, messagesMax = Number.POSITIVE_INFINITY } = this.#init;
    if (this.#asked >= messagesMax) this.#isFull = true;
    // All that is undecided is declined at once.
    if (this.#isFull) return Number.POSITIVE_INFINITY;
    const most = this.#arrivals.ahead(windowBytes);
    const room = most - this.#wantedIds;
    return room < most / 4 ? 0 : Math.min(room, messagesMax - this.#asked);
  }

  /** Moves on to a page with undecided ids; begins anew where something was put off that may be decided by now. */
  #hasUndecided(): boolean {
    const { version } = this.#init.claims;
    for (;;) {
      while (this.#at < this.#pages.length && this.#pages[this.#at]!.isLookedThrough) this.#at += 1;
      if (this.#at < this.#pages.length) return true;
      if (this.#seenVersion === version) return false;
      this.#seenVersion = version;
      this.#forgetSettled();
      this.#at = 0;
      for (const page of this.#pages) page.lookAgain();
    }
  }

  /** Asks for ids of a page, at most so many; returns how many. */
  #decide(page: OfferedPage, countMax: number): number {
    const { store, claims, outlet, listed } = this.#init;
    const from = page.next;
    const bits = new Uint8Array(Math.ceil((page.count - from) / 8));
    let wanted = 0;
    let end = from;
    for (let row = from; row < page.count && wanted < countMax; row++) {
      page.next = row + 1;
      if (!page.isOpen(row)) continue;
      if (listed !== undefined) {
        page.decline(row);
        this.#list(listed, page.words, row * ID_WORDS);
      } else if (store.knows(page.id(row))) {
        page.decline(row);
        this.#init.onArrived(0, 1);
      } else if (this.#isFull) {
        page.decline(row);
        this.#isCapped = true;
      } else if (this.#takesOver || !claims.isHeld(page.words, row * ID_WORDS)) {
        page.want(row);
        const bit = row - from;
        bits[bit >>> 3] = bits[bit >>> 3]! | (1 << (bit & 7));
        wanted += 1;
        end = row + 1;
      }
    }
    const final = page.isDecided && !page.isFinal;
    if (wanted === 0 && !final) return 0;
    const needed = bits.subarray(0, Math.ceil((end - from) / 8));
    outlet.post({ kind: 'want', page: page.number, first: from, bits: needed, final });
    page.isFinal ||= final;
    if (final) this.#openIds -= page.count;
    if (wanted > 0) {
      this.#arrivals.begin(this.#init.clock.monotonicMs());
      this.#wants.push({ page, first: from, bits: needed });
      this.#wantedIds += wanted;
      this.#asked += wanted;
    }
    return wanted;
  }

  #list(listed: SyncIdList, words: Uint32Array, offset: number): void {
    if (listed.count >= LIMITS.listedIds) {
      throw new LacunaError('SESSION_BUDGET', 'more ids differ than one session tells of');
    }
    listed.push(words, offset);
  }

  /** Others were asked for all that is left: what they do not bring in time is asked for here too. */
  async #waitForOthers(): Promise<void> {
    if (this.#isWaiting) return;
    const { clock, signal } = this.#init;
    this.#isWaiting = true;
    try {
      await clock.sleep(LIMITS.nativePatienceMs, signal);
    } catch {
      return;
    } finally {
      this.#isWaiting = false;
    }
    if (this.#wantedIds > 0) return;
    this.#takesOver = true;
    for (const page of this.#pages) page.lookAgain();
    this.#at = 0;
    this.advance();
    this.#takesOver = false;
    this.#init.onChange();
  }

  #forgetSettled(): void {
    this.#pages = this.#pages.filter((page) => !page.isSettled);
    const at = this.#pages.findIndex((page) => !page.isLookedThrough);
    this.#at = at < 0 ? this.#pages.length : at;
  }

  // ── taking ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** The message as it is to be stored; undefined when it is refused. */
  #admit(bytes: Uint8Array): StoredMessage | undefined {
    try {
      const admission = this.#init.ingest.examineFrame(bytes, LIMITS.messageFutureMs);
      if ('refused' in admission) {
        // Its hash was not even computed: the want that it answers stays open until it is answered wholly.
        this.#refusedUnknown += 1;
        this.#init.onRefused(admission.refused);
        return undefined;
      }
      const { stored } = admission;
      const page = this.#pages.find((candidate) => candidate.arrive(stored.id));
      if (page === undefined) {
        this.#init.onRefused('TRANSFER_NOT_ASKED');
        return undefined;
      }
      this.#wantedIds -= 1;
      if (inScope(this.#init.scope, stored.pubsubTopic, stored.contentTopic)) return stored;
      page.refuse(stored.id);
      pushSome(this.#absent, SyncIdList.of(stored.id));
      this.#init.onRefused('TRANSFER_OUT_OF_SCOPE');
    } catch (error) {
      this.#init.onRefused(toLacunaError(error).code);
    }
    return undefined;
  }

  /** What was asked for by these and has not come will not come. */
  #completeWants(wants: number): void {
    const completed = wants - this.#wantsDone;
    if (completed < 0 || completed > this.#wants.length) throw invalid('wants answered that were not asked');
    let count = 0;
    // A message that was refused before its hash was known is not absent.
    const refused = this.#refusedUnknown;
    for (const { page, first, bits } of this.#wants.splice(0, completed)) {
      const absent = page.complete(first, bits);
      count += absent.count;
      pushSome(this.#absent, absent);
    }
    this.#wantsDone = wants;
    this.#wantedIds -= count;
    if (count === 0) return;
    // A cap on bytes is kept by who sends: what is over it does not come.
    this.#refusedUnknown = Math.max(0, refused - count);
    if (this.#init.bytesMax === undefined) this.#init.onAbsent(Math.max(0, count - refused));
    else {
      this.#isFull = true;
      this.#isCapped = true;
    }
  }
}

/** As many as a result names. */
function pushSome(some: SyncIdList, ids: SyncIdList): void {
  some.pushRows(ids.words, 0, Math.min(MISSING_NAMED - some.count, ids.count));
}

function invalid(problem: string): LacunaError {
  return new LacunaError('WIRE_FIELD_INVALID', problem);
}
