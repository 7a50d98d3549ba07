/**
 * The one writer of the store. At most one batch is in flight; what arrives meanwhile forms the next one, so
 * that many small appends share one sync, and do not wait behind those that bring thousands. A change is acknowledged
 * after its batch is on the disk, and only then is it seen in the index. A failed write latches a fault: everything waiting is refused, and nothing is taken
 * until the database was closed, reopened and has taken a write again. So does an index that is found damaged.
 */
import { LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, Logger } from '../ports.ts';

/** One thing to be written whole: a message with its index entries, or a removal with them. */
export interface Change {
  readonly bytes: number;
  /** A removal shares no batch with messages: the bytes that it sets aside are then never those of a newer one. */
  readonly removes?: boolean;
}

/** Where groups of changes go. */
export interface GroupTarget<C> {
  /** Resolves when the group is on the disk, whole; tells of each change whether there was something to write. */
  write(changes: readonly C[]): Promise<readonly boolean[]>;
  /** Makes everything right again after a write failed, whichever way it went; or rejects, to be asked again. */
  recover(signal: AbortSignal): Promise<void>;
}

interface Ticket {
  left: number;
  written: number;
  readonly resolve: (written: number) => void;
  readonly reject: (error: LacunaError) => void;
}

interface Queued<C> {
  readonly change: C;
  readonly ticket: Ticket;
}

export type WriterState = 'ready' | 'faulted' | 'closed';

export class Writer<C extends Change> {
  readonly #target: GroupTarget<C>;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  /** Of appends of a few messages, for which somebody waits, and removals; and of those that come by the thousand. */
  #prompt: Queued<C>[] = [];
  #bulk: Queued<C>[] = [];
  #wasPrompt = false;
  #queuedBytes = 0;
  #state: WriterState = 'ready';
  #running: Promise<void> | undefined;
  #recovering: Promise<void> | undefined;
  #closing = false;
  #fault: LacunaError | undefined;

  constructor(target: GroupTarget<C>, clock: Clock, log: Logger) {
    this.#target = target;
    this.#clock = clock;
    this.#log = log;
  }

  get state(): WriterState {
    return this.#state;
  }

  /** Why nothing is written at the moment, if so. */
  get fault(): LacunaError | undefined {
    return this.#fault;
  }

  /**
   * Resolves with how many of the changes had to be written, when they are on the disk.
   *
   * @throws LacunaError STORE_FAULT, STORE_BUSY, STORE_CLOSED.
   */
  submit(changes: readonly C[]): Promise<number> {
    // A removal stays behind the appends that came before it, and before those that come after it: what is appended
    // in bulk may be written later than that, as if it had come later.
    const isPrompt = changes.length <= LIMITS.writePromptMessages || changes[0]!.removes === true;
    const refusal = this.#refusal(changes.length, isPrompt);
    if (refusal !== undefined) return Promise.reject(refusal);
    if (changes.length === 0) return Promise.resolve(0);
    return new Promise((resolve, reject) => {
      const ticket = { left: changes.length, written: 0, resolve, reject };
      const queue = isPrompt ? this.#prompt : this.#bulk;
      for (const change of changes) {
        queue.push({ change, ticket });
        this.#queuedBytes += change.bytes;
      }
      this.#running ??= this.#run();
    });
  }

  /** Refuses everything until the target has recovered. What is in flight may still be acknowledged. */
  latch(fault: LacunaError): void {
    if (this.#state !== 'ready') return;
    this.#fault = fault;
    this.#state = 'faulted';
    this.#refuseQueued(fault);
    this.#recovering = this.#recover().finally(() => {
      this.#recovering = undefined;
    });
  }

  /** Resolves when nothing is being recovered from any more, or the store is closed. */
  async recovered(): Promise<void> {
    await this.#recovering;
  }

  /** Takes no more, and waits for what is queued. */
  async close(): Promise<void> {
    this.#closing = true;
    if (this.#state === 'ready') await this.#running;
    this.#state = 'closed';
    this.#stop.abort();
    this.#refuseQueued(new LacunaError('STORE_CLOSED', 'the store was closed'));
    await this.#recovering;
  }

  #refusal(changes: number, isPrompt: boolean): LacunaError | undefined {
    if (this.#closing) return new LacunaError('STORE_CLOSED', 'the store is closed');
    if (this.#state === 'faulted') return this.#fault;
    const queued = this.#queued;
    // However much is fetched, there is room for what is published meanwhile.
    const share = isPrompt ? 1 : LIMITS.writeBulkShare;
    const full =
      queued + changes > LIMITS.writeQueueMessages * share ||
      this.#queuedBytes > LIMITS.writeQueueBytes * share;
    // One append may be larger than the whole queue; it is taken when nothing else waits.
    if (full && queued > 0) return new LacunaError('STORE_BUSY', 'the write queue is full');
    return undefined;
  }

  async #run(): Promise<void> {
    // A removal has nothing to wait for: messages do not join it.
    const isSmall = this.#queued < LIMITS.writeGroupMessages;
    await (isSmall && this.#prompt[0]?.change.removes !== true ? gather() : undefined);
    while (this.#queued > 0 && this.#state === 'ready') await this.#writeGroup(this.#takeGroup());
    this.#running = undefined;
  }

  get #queued(): number {
    return this.#prompt.length + this.#bulk.length;
  }

  #takeGroup(): Queued<C>[] {
    // Each in turn, where both wait: neither keeps the other from the disk for longer than one group takes.
    const isPromptTurn = this.#bulk.length === 0 || (this.#prompt.length > 0 && !this.#wasPrompt);
    this.#wasPrompt = isPromptTurn;
    const queue = isPromptTurn ? this.#prompt : this.#bulk;
    // The less of the bulk goes at a time, the sooner it is their turn again who wait for a few messages.
    const share = !isPromptTurn && this.#prompt.length > 0 ? LIMITS.writeYieldingShare : 1;
    const [sizeMax, bytesMax] = [LIMITS.writeGroupMessages * share, LIMITS.writeGroupBytes * share];
    let bytes = 0;
    let size = 0;
    while (size < queue.length && size < sizeMax && bytes < bytesMax) {
      const { change } = queue[size]!;
      if (change.removes !== queue[0]!.change.removes) break;
      bytes += change.bytes;
      size += 1;
    }
    this.#queuedBytes -= bytes;
    return queue.splice(0, size);
  }

  async #writeGroup(group: readonly Queued<C>[]): Promise<void> {
    let written: readonly boolean[];
    try {
      written = await this.#target.write(group.map(({ change }) => change));
    } catch (error) {
      this.#failed(error, group);
      return;
    }
    for (const [index, { ticket }] of group.entries()) {
      if (written[index]) ticket.written += 1;
      ticket.left -= 1;
      if (ticket.left === 0) ticket.resolve(ticket.written);
    }
  }

  #failed(error: unknown, group: readonly Queued<C>[]): void {
    const cause = toLacunaError(error, 'STORE_FAULT');
    const fault = new LacunaError('STORE_FAULT', `a write failed: ${cause.message}`, { cause: error });
    // The index was found damaged before anything was written: it has been latched, and will be mended.
    const isDamage = cause.code === 'STORE_DAMAGED';
    if (this.#state === 'ready') {
      this.#log.error({ code: fault.code, error: cause.message }, 'write failed: reopening the store');
    }
    this.latch(fault);
    for (const { ticket } of group) ticket.reject(isDamage ? cause : fault);
  }

  #refuseQueued(error: LacunaError): void {
    const queued = [...this.#prompt, ...this.#bulk];
    this.#prompt = [];
    this.#bulk = [];
    this.#queuedBytes = 0;
    for (const { ticket } of queued) ticket.reject(error);
  }

  async #recover(): Promise<void> {
    // What is in flight is written or fails; what comes of it is part of what is to be made right.
    await this.#running;
    let delayMs: number = LIMITS.reopenDelayMs;
    while (this.#state === 'faulted') {
      try {
        await this.#clock.sleep(delayMs, this.#stop.signal);
        await this.#target.recover(this.#stop.signal);
        if (this.#state !== 'faulted') return;
        this.#state = 'ready';
        this.#fault = undefined;
        this.#log.info({}, 'the store takes writes again');
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        delayMs = Math.min(delayMs * 2, LIMITS.reopenDelayMaxMs);
        const { message } = toLacunaError(error);
        this.#log.warn(
          { code: 'STORE_FAULT', error: message, retryMs: delayMs },
          'the store does not reopen',
        );
      }
    }
  }
}

/** Gives others the chance to join a small group. */
function gather(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, LIMITS.writeGroupDelayMs));
}
