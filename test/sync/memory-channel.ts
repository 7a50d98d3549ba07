/** Two ends of a channel in memory: it does what a stream does, without bytes, and in virtual time. */
import { LacunaError } from '../../src/errors.ts';
import type { Clock, FrameChannel } from '../../src/ports.ts';

export class MemoryChannel implements FrameChannel {
  /** Every frame that was written at this end. */
  readonly written: Uint8Array[] = [];
  /** One of the ends has reset it. */
  isReset = false;
  isClosed = false;
  readonly #clock: Clock;
  #inbox: Uint8Array[] = [];
  #other: MemoryChannel = this;
  #wake: () => void = () => undefined;

  static pair(clock: Clock): [MemoryChannel, MemoryChannel] {
    const [a, b] = [new MemoryChannel(clock), new MemoryChannel(clock)];
    a.#other = b;
    b.#other = a;
    return [a, b];
  }

  private constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Frames that have come and were not read. */
  get unread(): readonly Uint8Array[] {
    return this.#inbox;
  }

  async read(timeoutMs: number): Promise<Uint8Array | undefined> {
    await this.#arrival(timeoutMs);
    return this.#inbox.shift();
  }

  async readMany(timeoutMs: number): Promise<Uint8Array[] | undefined> {
    await this.#arrival(timeoutMs);
    return this.#inbox.length === 0 ? undefined : this.#inbox.splice(0);
  }

  async write(frames: readonly Uint8Array[]): Promise<void> {
    if (this.isReset || this.isClosed) throw new LacunaError('PEER_CLOSED', 'the channel takes no more');
    this.written.push(...frames);
    this.#other.#inbox.push(...frames);
    this.#other.#wake();
  }

  async close(): Promise<void> {
    this.isClosed = true;
    this.#other.#wake();
  }

  abort(_reason: Error): void {
    for (const end of [this, this.#other]) {
      end.isReset = true;
      end.#inbox = [];
      end.#wake();
    }
  }

  async #arrival(timeoutMs: number): Promise<void> {
    while (this.#inbox.length === 0) {
      if (this.isReset) throw new LacunaError('PEER_CLOSED', 'the channel was reset');
      if (this.#other.isClosed) return;
      const woken = new AbortController();
      this.#wake = () => woken.abort();
      const late = await this.#clock.sleep(timeoutMs, woken.signal).then(
        () => true,
        () => false,
      );
      if (late) throw new LacunaError('PEER_TIMEOUT', 'nothing has come');
    }
  }
}
