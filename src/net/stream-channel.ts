/**
 * A libp2p stream as a channel of frames. It does what the stream itself does not: it pauses the sender when too
 * much is unread, it waits for a drain that really comes, it ends every wait after its time, and it keeps every
 * error of the peer's bytes from leaving an event listener (where it would end the process).
 */
import type { Stream } from '@libp2p/interface';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { FrameChannel } from '../ports.ts';
import { encodeFrames, FrameDecoder } from '../wire/frame.ts';
import type { SenderHold } from './held-mplex.ts';

const CLOSE_MS = 5_000;

export class StreamChannel implements FrameChannel {
  readonly #stream: Stream;
  readonly #hold: SenderHold | undefined;
  readonly #decoder: FrameDecoder;
  readonly #frames: Uint8Array[] = [];
  #unreadBytes = 0;
  #paused = false;
  #resuming = false;
  #ended = false;
  #failure: LacunaError | undefined;
  #wake: (() => void) | undefined;

  /** `hold` is for streams whose muxer has no flow control. */
  constructor(stream: Stream, frameBytesMax: number, hold?: SenderHold) {
    this.#stream = stream;
    this.#hold = hold;
    this.#decoder = new FrameDecoder(frameBytesMax);
    // `end` comes when all has been delivered; `remoteCloseWrite` and `close` come while data is still held back.
    stream.addEventListener('end', () => this.#end());
    stream.addEventListener('close', (event) => {
      this.#hold?.release();
      if (event.error !== undefined) this.#fail(new LacunaError('PEER_CLOSED', event.error.message));
      else if (stream.readBufferLength === 0) this.#end();
    });
    // Last: data that waited for a listener is delivered from here on.
    stream.addEventListener('message', (event) => this.#onData(event.data));
    if (stream.readableEnded) this.#end();
  }

  async read(timeoutMs: number): Promise<Uint8Array | undefined> {
    await this.#waitForFrame(timeoutMs);
    const frame = this.#frames.shift();
    this.#relieve(frame?.length ?? 0);
    return frame;
  }

  async readMany(timeoutMs: number): Promise<Uint8Array[] | undefined> {
    await this.#waitForFrame(timeoutMs);
    if (this.#frames.length === 0) return undefined;
    const frames = this.#frames.splice(0);
    this.#relieve(this.#unreadBytes);
    return frames;
  }

  async write(frames: readonly Uint8Array[]): Promise<void> {
    const bytes = encodeFrames(frames);
    for (let at = 0; at < bytes.length; at += LIMITS.sendChunkBytes) {
      if (this.#failure !== undefined) throw this.#failure;
      let more: boolean;
      try {
        more = this.#stream.send(bytes.subarray(at, at + LIMITS.sendChunkBytes));
      } catch (error) {
        throw new LacunaError('PEER_CLOSED', 'the stream takes no more', { cause: error });
      }
      if (!more) await this.#drained();
    }
  }

  async close(): Promise<void> {
    if (this.#stream.writeStatus !== 'writable') return;
    try {
      await this.#stream.close({ signal: AbortSignal.timeout(CLOSE_MS) });
    } catch (error) {
      this.#stream.abort(new Error('the stream does not close'));
      throw new LacunaError('PEER_CLOSED', 'the stream does not close', { cause: error });
    }
  }

  abort(reason: Error): void {
    this.#stream.abort(reason);
  }

  #onData(data: Uint8Array | { [Symbol.iterator](): Iterator<Uint8Array> }): void {
    if (this.#failure !== undefined) return;
    try {
      for (const part of data instanceof Uint8Array ? [data] : data) {
        for (const frame of this.#decoder.push(part)) {
          this.#frames.push(frame);
          this.#unreadBytes += frame.length;
        }
      }
    } catch (error) {
      const failure = error instanceof LacunaError ? error : new LacunaError('INTERNAL', String(error));
      this.#fail(failure);
      this.#stream.abort(new Error(failure.code));
      return;
    }
    if (this.#unreadBytes > LIMITS.streamUnreadBytes) this.#pause();
    this.#wake?.();
  }

  /** After a read: lets the peer send again. `resume` delivers what it held at once, which may be too much again. */
  #relieve(bytes: number): void {
    this.#unreadBytes -= bytes;
    if (!this.#paused || this.#unreadBytes > LIMITS.streamUnreadBytes / 2) return;
    this.#paused = false;
    if (this.#is('paused')) {
      this.#resuming = true;
      this.#stream.resume();
      this.#resuming = false;
    }
    if (this.#paused) this.#pause();
    else this.#hold?.release();
  }

  /** `resume` delivers first and opens the window last: a pause said in between would be lost, so it waits. */
  #pause(): void {
    this.#paused = true;
    if (this.#resuming || !this.#is('readable')) return;
    this.#stream.pause();
    this.#hold?.hold();
  }

  #is(status: Stream['readStatus']): boolean {
    return this.#stream.readStatus === status;
  }

  #fail(error: LacunaError): void {
    this.#failure ??= error;
    this.#wake?.();
  }

  #end(): void {
    if (!this.#decoder.atBoundary)
      this.#failure ??= new LacunaError('WIRE_TRUNCATED', 'the stream ends within a frame');
    this.#ended = true;
    this.#wake?.();
  }

  /** Resolves when a frame is there or the peer has closed; frames that arrived before a failure are still given. */
  async #waitForFrame(timeoutMs: number): Promise<void> {
    while (this.#frames.length === 0) {
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return;
      await this.#woken(timeoutMs);
    }
  }

  #woken(timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#wake = undefined;
        reject(new LacunaError('PEER_TIMEOUT', `the peer was silent for ${timeoutMs} ms`));
      }, timeoutMs);
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = undefined;
        resolve();
      };
    });
  }

  /** `stream.onDrain()` answers only once in a stream's life; the event comes every time. */
  #drained(): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (error?: LacunaError): void => {
        clearTimeout(timer);
        this.#stream.removeEventListener('drain', onDrain);
        this.#stream.removeEventListener('close', onClose);
        if (error === undefined) resolve();
        else reject(error);
      };
      const onDrain = (): void => done();
      const onClose = (): void => done(new LacunaError('PEER_CLOSED', 'the stream closed while sending'));
      const timer = setTimeout(
        () => done(new LacunaError('PEER_TIMEOUT', 'the peer takes no data')),
        LIMITS.sessionReadMs,
      );
      this.#stream.addEventListener('drain', onDrain);
      this.#stream.addEventListener('close', onClose);
      if (!this.#stream.writableNeedsDrain) done();
    });
  }
}
