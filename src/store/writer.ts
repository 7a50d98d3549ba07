/**
 * The one writer of the store. At most one batch is in flight; what arrives meanwhile forms the next one, so
 * that many small appends share one sync. A change is acknowledged after its batch is on the disk, and only then
 * is it seen in the index. A failed write latches a fault: everything waiting is refused, and nothing is taken
 * until the database was closed, reopened and has taken a write again.
 */
import { LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, Logger } from '../ports.ts';
import type { Batch } from './database.ts';
import { PROBE_KEY } from './keys.ts';

/** One thing to be written whole: a message with its index entries, or a removal with them. */
export interface Change {
  readonly bytes: number;
  /** A removal shares no batch with messages: whether one of those is known is then asked before it or after it. */
  readonly removes?: boolean;
  /** False when there is nothing to do, as the message is known. Asked just before writing. */
  wanted(): boolean;
  putInto(batch: Batch): void;
  /** Called when the operations are on the disk. Returns false when the same was written by another change. */
  applied(): boolean;
  /** After a failed write and a reopen, the key that tells whether it reached the disk all the same. */
  verifyKey(): Uint8Array;
}

/** What the writer needs of the database. */
export interface WritableDatabase {
  write(fill: (batch: Batch) => void): Promise<void>;
  reopen(): Promise<void>;
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
}

interface Ticket {
  left: number;
  written: number;
  readonly resolve: (written: number) => void;
  readonly reject: (error: LacunaError) => void;
}

interface Queued {
  readonly change: Change;
  readonly ticket: Ticket;
}

export type WriterState = 'ready' | 'faulted' | 'closed';

export class Writer {
  readonly #database: WritableDatabase;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  #queue: Queued[] = [];
  #queuedBytes = 0;
  #state: WriterState = 'ready';
  #running: Promise<void> | undefined;
  #recovering: Promise<void> | undefined;
  #closing = false;
  #fault: LacunaError | undefined;

  constructor(database: WritableDatabase, clock: Clock, log: Logger) {
    this.#database = database;
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
  submit(changes: readonly Change[]): Promise<number> {
    const refusal = this.#refusal(changes.length);
    if (refusal !== undefined) return Promise.reject(refusal);
    if (changes.length === 0) return Promise.resolve(0);
    return new Promise((resolve, reject) => {
      const ticket = { left: changes.length, written: 0, resolve, reject };
      for (const change of changes) {
        this.#queue.push({ change, ticket });
        this.#queuedBytes += change.bytes;
      }
      this.#running ??= this.#run();
    });
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

  #refusal(changes: number): LacunaError | undefined {
    if (this.#closing) return new LacunaError('STORE_CLOSED', 'the store is closed');
    if (this.#state === 'faulted') return this.#fault;
    const full =
      this.#queue.length + changes > LIMITS.writeQueueMessages || this.#queuedBytes > LIMITS.writeQueueBytes;
    // One append may be larger than the whole queue; it is taken when nothing else waits.
    if (full && this.#queue.length > 0) return new LacunaError('STORE_BUSY', 'the write queue is full');
    return undefined;
  }

  async #run(): Promise<void> {
    if (this.#queue.length < LIMITS.writeGroupMessages) await gather();
    while (this.#queue.length > 0 && this.#state === 'ready') await this.#writeGroup(this.#takeGroup());
    this.#running = undefined;
  }

  #takeGroup(): Queued[] {
    let bytes = 0;
    let size = 0;
    while (size < this.#queue.length && size < LIMITS.writeGroupMessages && bytes < LIMITS.writeGroupBytes) {
      const { change } = this.#queue[size]!;
      if (change.removes !== this.#queue[0]!.change.removes) break;
      bytes += change.bytes;
      size += 1;
    }
    this.#queuedBytes -= bytes;
    return this.#queue.splice(0, size);
  }

  async #writeGroup(group: readonly Queued[]): Promise<void> {
    const wanted = group.filter(({ change }) => change.wanted());
    try {
      if (wanted.length > 0) {
        await this.#database.write((batch) => {
          for (const { change } of wanted) change.putInto(batch);
        });
      }
    } catch (error) {
      this.#latch(error, group, wanted);
      return;
    }
    for (const { change, ticket } of wanted) if (change.applied()) ticket.written += 1;
    for (const { ticket } of group) {
      ticket.left -= 1;
      if (ticket.left === 0) ticket.resolve(ticket.written);
    }
  }

  #latch(error: unknown, group: readonly Queued[], unsure: readonly Queued[]): void {
    const cause = toLacunaError(error, 'STORE_FAULT');
    this.#fault = new LacunaError('STORE_FAULT', `a write failed: ${cause.message}`, { cause: error });
    this.#state = 'faulted';
    this.#log.error({ code: 'STORE_FAULT', error: cause.message }, 'write failed: reopening the store');
    for (const { ticket } of group) ticket.reject(this.#fault);
    this.#refuseQueued(this.#fault);
    this.#recovering = this.#recover(unsure).finally(() => {
      this.#recovering = undefined;
    });
  }

  #refuseQueued(error: LacunaError): void {
    const queued = this.#queue;
    this.#queue = [];
    this.#queuedBytes = 0;
    for (const { ticket } of queued) ticket.reject(error);
  }

  async #recover(unsure: readonly Queued[]): Promise<void> {
    let delayMs: number = LIMITS.reopenDelayMs;
    while (this.#state === 'faulted') {
      try {
        await this.#clock.sleep(delayMs, this.#stop.signal);
        await this.#database.reopen();
        await this.#database.write((batch) => batch.put(PROBE_KEY, new Uint8Array()));
        for (const { change } of unsure) {
          if ((await this.#database.get(change.verifyKey())) !== undefined) change.applied();
        }
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
