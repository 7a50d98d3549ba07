/**
 * What this side gives: ids that the other lacks become offers, page by page and the newest first; what the other
 * wants of them becomes batches, within the credit that it gave and the pace of this node.
 */
import { compareIds, ID_WORDS, SyncIdList } from '../../core/sync-id.ts';
import { LacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { MessageStore } from '../../ports.ts';
import type { WantFrame } from '../../wire/native-frame.ts';
import { encodeNativeFrame } from '../../wire/native-frames.ts';
import type { Pace } from '../pace.ts';
import type { Outlet } from './outlet.ts';

export interface SupplyInit {
  readonly store: MessageStore;
  readonly outlet: Outlet;
  readonly pace: Pace;
  readonly signal: AbortSignal;
  /** What the other side lets be unacknowledged, and the most that it takes in all. */
  readonly windowBytes: number;
  readonly messagesMax: number | undefined;
  readonly bytesMax: number | undefined;
  /** Told of messages that are about to be sent, and of their bytes; what it throws ends the session. */
  readonly onSending: (messages: readonly Uint8Array[], bytes: number) => void;
  /** Told of messages that were handed to the transport. */
  readonly onSent: (messages: number) => void;
  /** Told when something was acknowledged or asked for no more. */
  readonly onChange: () => void;
  readonly onFailure: (error: unknown) => void;
}

/** Ids that were offered together, the newest first, while the other side may still ask for them. */
interface OfferedPage {
  readonly ids: SyncIdList;
  readonly isWanted: Uint8Array;
}

/** Ids in ascending order, of which the last are offered next. */
interface Run {
  readonly ids: SyncIdList;
  left: number;
}

export class Supply {
  readonly #init: SupplyInit;
  #runs: Run[] = [];
  #isFinished = false;
  #isLastOffered = false;
  #offered = 0;
  /** The other side takes no more; and something was left out for it. */
  #isFull = false;
  #isCapped = false;
  #asked = 0;
  /** The next message would be over a cap: none is sent any more. */
  #isOverCap = false;
  readonly #pages = new Map<number, OfferedPage>();
  #nextPage = 0;
  #openIds = 0;
  /** What was asked for, each in ascending order. */
  readonly #wants: SyncIdList[] = [];
  #wantsDone = 0;
  #producing = false;
  #sentMessages = 0;
  #sentBytes = 0;
  /** Bytes of batches that are not acknowledged, the oldest first; and how many batches were. */
  readonly #unacknowledged: number[] = [];
  #unacknowledgedBytes = 0;
  #acknowledged = 0;
  #creditWaiter: (() => void) | undefined;
  #sending: Promise<void> = Promise.resolve();

  constructor(init: SupplyInit) {
    this.#init = init;
  }

  get isCapped(): boolean {
    return this.#isCapped;
  }

  /** Ids that it holds. */
  get held(): number {
    return this.#openIds + this.#pending;
  }

  /** Whether the other side owes an acknowledgement. */
  get awaitsAcknowledgement(): boolean {
    return this.#unacknowledged.length > 0;
  }

  /** Everything was offered, and what was asked for has been sent and acknowledged. */
  get isDone(): boolean {
    if (!this.#isFinished || (this.#offered > 0 && !this.#isLastOffered)) return false;
    return this.#pages.size === 0 && !this.#producing && this.#unacknowledged.length === 0;
  }

  /** Offers these too. They were offered by no earlier call. */
  add(ids: SyncIdList): void {
    if (ids.count === 0) return;
    if (this.#isFull) {
      this.#isCapped = true;
      return;
    }
    const ascending = ids.toAscending();
    this.#runs.push({ ids: ascending, left: ascending.count });
    this.#offer();
  }

  /** Nothing more will be added. */
  finish(): void {
    this.#isFinished = true;
    this.#offer();
  }

  /** @throws LacunaError WIRE_FIELD_INVALID when it was not offered, or is asked for again. */
  want({ page: number, first, bits, final }: WantFrame): void {
    const page = this.#pages.get(number);
    if (page === undefined) throw invalid(`page ${number} is not on offer`);
    if (bits.length === 0 && !final) throw invalid('a wish for nothing');
    const wanted = new SyncIdList();
    // From the oldest on, as they lie in the store.
    for (let bit = bits.length * 8 - 1; bit >= 0; bit--) {
      if ((bits[bit >>> 3]! & (1 << (bit & 7))) === 0) continue;
      const row = first + bit;
      if (row >= page.ids.count) throw invalid(`page ${number} has ${page.ids.count} ids`);
      if (page.isWanted[row] === 1) throw invalid('a message is asked for twice');
      page.isWanted[row] = 1;
      wanted.push(page.ids.words, row * ID_WORDS);
    }
    if (final) {
      this.#pages.delete(number);
      this.#openIds -= page.ids.count;
      this.#offer();
    }
    if (wanted.count > 0) {
      this.#asked += wanted.count;
      this.#wants.push(wanted);
      this.#produce();
    }
    if (this.#asked >= (this.#init.messagesMax ?? Number.POSITIVE_INFINITY)) this.#offerNoMore();
    this.#init.onChange();
  }

  /** @throws LacunaError WIRE_FIELD_INVALID when there were not so many batches. */
  acknowledge(batches: number): void {
    const fresh = batches - this.#acknowledged;
    if (fresh <= 0 || fresh > this.#unacknowledged.length)
      throw invalid('batches acknowledged that were not sent');
    for (const bytes of this.#unacknowledged.splice(0, fresh)) this.#unacknowledgedBytes -= bytes;
    this.#acknowledged = batches;
    this.#creditWaiter?.();
    this.#init.onChange();
  }

  get #pending(): number {
    let pending = 0;
    for (const { left } of this.#runs) pending += left;
    return pending;
  }

  #offer(): void {
    let pending = this.#pending;
    while (pending > 0 && this.#openIds < LIMITS.nativeOffersOpen) {
      const ids = this.#takeNewest(Math.min(pending, LIMITS.nativeOfferIds));
      pending -= ids.count;
      this.#post(ids, this.#isFinished && pending === 0);
    }
    const isOwed = this.#isFinished && pending === 0 && this.#offered > 0 && !this.#isLastOffered;
    if (isOwed) this.#post(new SyncIdList(), true);
  }

  #post(ids: SyncIdList, last: boolean): void {
    this.#isLastOffered ||= last;
    this.#offered += ids.count;
    this.#init.outlet.post({ kind: 'offer', ids, last });
    if (ids.count > 0) {
      this.#pages.set(this.#nextPage, { ids, isWanted: new Uint8Array(ids.count) });
      this.#openIds += ids.count;
    }
    // An empty page is numbered like any other.
    this.#nextPage += 1;
  }

  /** The newest of what is not offered yet, in descending order. */
  #takeNewest(count: number): SyncIdList {
    const taken = new SyncIdList(count);
    while (taken.count < count) {
      let newest: Run | undefined;
      for (const run of this.#runs) {
        if (newest === undefined || isNewer(run, newest)) newest = run;
      }
      if (newest === undefined) break;
      newest.left -= 1;
      taken.push(newest.ids.words, newest.left * ID_WORDS);
      if (newest.left === 0) this.#runs = this.#runs.filter((run) => run !== newest);
    }
    return taken;
  }

  #produce(): void {
    if (this.#producing) return;
    this.#producing = true;
    this.#sendWanted()
      .catch(this.#init.onFailure)
      .finally(() => {
        this.#producing = false;
        // Something may have been asked for while the last batch was on its way.
        if (this.#wants.length > 0 && !this.#init.signal.aborted) this.#produce();
        this.#init.onChange();
      });
  }

  async #sendWanted(): Promise<void> {
    const batch = new Batch();
    for (let ids = this.#wants.shift(); ids !== undefined; ids = this.#wants.shift()) {
      if (!this.#isOverCap) await this.#gather(ids, batch);
      this.#wantsDone += 1;
    }
    await this.#send(batch);
    await this.#sending;
  }

  async #gather(ids: SyncIdList, batch: Batch): Promise<void> {
    for await (const messages of this.#init.store.readMany(ids)) {
      for (const message of messages) {
        if (this.#isOver(message.length)) return this.#cap();
        if (batch.isFullWith(message)) await this.#send(batch);
        batch.push(message);
        this.#sentMessages += 1;
        this.#sentBytes += message.length;
      }
    }
  }

  #isOver(bytes: number): boolean {
    const { messagesMax = Number.POSITIVE_INFINITY, bytesMax = Number.POSITIVE_INFINITY } = this.#init;
    return this.#sentMessages >= messagesMax || this.#sentBytes + bytes > bytesMax;
  }

  /** What is left is not sent. */
  #cap(): void {
    this.#isOverCap = true;
    this.#isCapped = true;
    this.#offerNoMore();
  }

  #offerNoMore(): void {
    this.#isFull = true;
    if (this.#runs.length > 0) this.#isCapped = true;
    this.#runs = [];
    this.#offer();
  }

  /** One batch waits for credit and pace while the next one is read. */
  async #send(batch: Batch): Promise<void> {
    const { messages, bytes } = batch.take();
    const frame = encodeNativeFrame({ kind: 'batch', wants: this.#wantsDone, messages });
    await this.#sending;
    this.#sending = this.#dispatch(frame, messages, bytes);
    // Its failure is heard of when it is waited for.
    this.#sending.catch(() => undefined);
  }

  async #dispatch(frame: Uint8Array, messages: readonly Uint8Array[], bytes: number): Promise<void> {
    const { outlet, pace, signal, windowBytes, onSending, onSent } = this.#init;
    while (this.#unacknowledgedBytes > 0 && this.#unacknowledgedBytes + bytes > windowBytes) {
      await this.#credit();
    }
    await pace.pass(messages, bytes, signal);
    signal.throwIfAborted();
    onSending(messages, bytes);
    this.#unacknowledged.push(bytes);
    this.#unacknowledgedBytes += bytes;
    await outlet.bulk(frame);
    onSent(messages.length);
  }

  #credit(): Promise<void> {
    const { signal } = this.#init;
    return new Promise((resolve, reject) => {
      const onAbort = (): void => reject(signal.reason);
      signal.addEventListener('abort', onAbort, { once: true });
      this.#creditWaiter = () => {
        this.#creditWaiter = undefined;
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
    });
  }
}

/** Messages that are sent together, up to `nativeBatchBytes` unless one alone is larger. */
class Batch {
  #messages: Uint8Array[] = [];
  #bytes = 0;

  isFullWith(message: Uint8Array): boolean {
    return this.#bytes > 0 && this.#bytes + message.length > LIMITS.nativeBatchBytes;
  }

  push(message: Uint8Array): void {
    this.#messages.push(message);
    this.#bytes += message.length;
  }

  take(): { messages: Uint8Array[]; bytes: number } {
    const taken = { messages: this.#messages, bytes: this.#bytes };
    this.#messages = [];
    this.#bytes = 0;
    return taken;
  }
}

function isNewer(a: Run, b: Run): boolean {
  return compareIds(a.ids.words, (a.left - 1) * ID_WORDS, b.ids.words, (b.left - 1) * ID_WORDS) > 0;
}

function invalid(problem: string): LacunaError {
  return new LacunaError('WIRE_FIELD_INVALID', problem);
}
