/**
 * Everything that a session sends, through one door: frames that keep the other side going before messages, and
 * acknowledgements as one number however many have gathered.
 */
import { LIMITS } from '../../limits.ts';
import type { Clock, FrameChannel } from '../../ports.ts';
import { lebLength } from '../../wire/bytes.ts';
import type { NativeFrame } from '../../wire/native-frame.ts';
import { encodeNativeFrame } from '../../wire/native-frames.ts';

interface Bulk {
  readonly bytes: Uint8Array;
  readonly resolve: () => void;
}

export class Outlet {
  /** Bytes handed to the channel, prefixes included. */
  sentBytes = 0;
  readonly #channel: FrameChannel;
  readonly #clock: Clock;
  readonly #onFailure: (error: unknown) => void;
  #waiting: Uint8Array[] = [];
  #bulk: Bulk[] = [];
  #acks: number | undefined;
  #pumping: Promise<void> | undefined;
  #sentMs: number;

  constructor(channel: FrameChannel, clock: Clock, onFailure: (error: unknown) => void) {
    this.#channel = channel;
    this.#clock = clock;
    this.#onFailure = onFailure;
    this.#sentMs = clock.monotonicMs();
  }

  /** Sends soon. Returns how many bytes it takes on the wire. */
  post(frame: NativeFrame): number {
    const bytes = encodeNativeFrame(frame);
    this.#waiting.push(bytes);
    this.#pump();
    return bytes.length + lebLength(bytes.length);
  }

  acknowledge(batches: number): void {
    this.#acks = batches;
    this.#pump();
  }

  /** Resolves when the frame was handed to the channel, behind everything that does not wait for it. */
  bulk(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      this.#bulk.push({ bytes, resolve });
      this.#pump();
    });
  }

  /** Resolves when all was handed to the channel. */
  async flush(): Promise<void> {
    await this.#pumping;
  }

  /** Says now and then that this side is still there, until the signal fires. */
  async keepAlive(signal: AbortSignal): Promise<void> {
    try {
      for (;;) {
        const idleMs = this.#clock.monotonicMs() - this.#sentMs;
        if (idleMs >= LIMITS.nativeAliveMs && this.#pumping === undefined) this.post({ kind: 'alive' });
        await this.#clock.sleep(Math.max(1, LIMITS.nativeAliveMs - idleMs), signal);
      }
    } catch {
      // The session is over.
    }
  }

  #pump(): void {
    this.#pumping ??= this.#run();
  }

  async #run(): Promise<void> {
    try {
      // What is posted in one go is written in one go.
      await Promise.resolve();
      while (this.#waiting.length + this.#bulk.length > 0 || this.#acks !== undefined) {
        const frames = this.#take();
        this.#sentMs = this.#clock.monotonicMs();
        for (const { length } of frames) this.sentBytes += length + lebLength(length);
        if (frames.length > 0) await this.#channel.write(frames);
        const bulk = this.#bulk[0];
        if (this.#waiting.length > 0 || bulk === undefined) continue;
        this.#bulk.shift();
        this.sentBytes += bulk.bytes.length + lebLength(bulk.bytes.length);
        await this.#channel.write([bulk.bytes]);
        bulk.resolve();
      }
    } catch (error) {
      this.#onFailure(error);
    } finally {
      // In the same turn as the look at what waits: nothing can be posted in between.
      this.#pumping = undefined;
    }
  }

  #take(): Uint8Array[] {
    const frames = this.#waiting;
    this.#waiting = [];
    if (this.#acks !== undefined) frames.push(encodeNativeFrame({ kind: 'ack', batches: this.#acks }));
    this.#acks = undefined;
    return frames;
  }
}
