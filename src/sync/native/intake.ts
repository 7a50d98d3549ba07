/**
 * What was brought and is good: stored through the one door, and acknowledged, batch after batch, when it is on the
 * disk. What is not acknowledged holds the sender.
 */
import { LacunaError, toLacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { AppendResult, Arrival, Clock, StoredMessage } from '../../ports.ts';
import type { Ingest } from '../ingest.ts';
import type { Pace } from '../pace.ts';
import type { Outlet } from './outlet.ts';

export interface IntakeInit {
  readonly ingest: Ingest;
  readonly clock: Clock;
  readonly outlet: Outlet;
  readonly pace: Pace;
  /** How what is taken comes. */
  readonly arrival: Arrival;
  readonly signal: AbortSignal;
  /** What this side lets be unacknowledged. */
  readonly windowBytes: number;
  /** Told of each batch when it is on the disk, before it is acknowledged. */
  readonly onStored: (messages: readonly StoredMessage[], result: AppendResult) => void;
  readonly onAcknowledged: () => void;
  readonly onFailure: (error: unknown) => void;
}

export class Intake {
  readonly #init: IntakeInit;
  #unstoredBytes = 0;
  #batches = 0;
  #acknowledged = 0;
  #settling: Promise<void> = Promise.resolve();
  #pause: Promise<void> | undefined;

  constructor(init: IntakeInit) {
    this.#init = init;
  }

  /** Whether all that came is on the disk. */
  get isIdle(): boolean {
    return this.#batches === this.#acknowledged;
  }

  /** Resolves when what has come is on the disk, or is known not to be. */
  async settled(): Promise<void> {
    await this.#settling;
  }

  /** A batch of so many bytes has come. @throws LacunaError TRANSFER_OVER_CREDIT when more is on its way than may be. */
  receive(bytes: number): void {
    this.#unstoredBytes += bytes;
    if (this.#unstoredBytes > this.#init.windowBytes + LIMITS.nativeBatchBytesMax) {
      throw new LacunaError('TRANSFER_OVER_CREDIT', 'more was sent than there was credit for');
    }
  }

  /** The messages of that batch that were admitted. */
  store(messages: readonly StoredMessage[], bytes: number): void {
    this.#batches += 1;
    // All are handed to the store at once, so that they share its writes; they are acknowledged in their order.
    const appending = this.#append(messages);
    appending.catch(() => undefined);
    this.#settling = this.#settling
      .then(() => this.#settle(appending, messages, bytes))
      .catch(this.#init.onFailure);
  }

  async #settle(
    appending: Promise<AppendResult>,
    messages: readonly StoredMessage[],
    bytes: number,
  ): Promise<void> {
    const { pace, signal, outlet, onStored, onAcknowledged } = this.#init;
    onStored(messages, await appending);
    const encoded = messages.map((message) => message.encoded);
    await pace.pass(encoded, bytes, signal);
    this.#unstoredBytes -= bytes;
    this.#acknowledged += 1;
    outlet.acknowledge(this.#acknowledged);
    onAcknowledged();
  }

  /** A full queue of the store holds the sender by the acknowledgements that do not come. */
  async #append(messages: readonly StoredMessage[]): Promise<AppendResult> {
    const { ingest, clock, signal, arrival } = this.#init;
    for (;;) {
      signal.throwIfAborted();
      try {
        return await ingest.append(messages, arrival);
      } catch (error) {
        if (toLacunaError(error).code !== 'STORE_BUSY') throw error;
      }
      // All batches that found no room wait together.
      this.#pause ??= clock.sleep(LIMITS.nativeBusyMs, signal).finally(() => {
        this.#pause = undefined;
      });
      await this.#pause;
    }
  }
}
