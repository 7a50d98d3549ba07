/**
 * A libp2p stream as a channel of frames. It does what the stream itself does not: it pauses the sender when too
 * much is unread, it waits for a drain that really comes, it ends every wait after its time, and it keeps every
 * error of the peer's bytes from leaving an event listener (where it would end the process).
 */
import type { Stream } from '@libp2p/interface';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { FrameChannel } from '../ports.ts';
import type { ProtocolTraffic } from '../sync/traffic.ts';
import { lebLength } from '../wire/bytes.ts';
import { encodeFrames, FrameDecoder } from '../wire/frame.ts';
import { ByteBudget } from './byte-budget.ts';

const CLOSE_MS = 5_000;
/** A frame that waits costs this much besides its bytes: a flood of empty ones must fill the buffer too. */
const FRAME_OVERHEAD_BYTES = 128;

export class StreamChannel implements FrameChannel {
  readonly #stream: Stream;
  readonly #budget: ByteBudget;
  readonly #traffic: ProtocolTraffic | undefined;
  readonly #decoder: FrameDecoder;
  readonly #frames: Uint8Array[] = [];
  /** What has arrived and is not decoded yet, the piece in work first. */
  #pieces: Uint8Array[] = [];
  #decoding: Iterator<Uint8Array> | undefined;
  #unreadBytes = 0;
  #receivedBytes = 0;
  #takenBytes = 0;
  /** What of the budget this stream has. */
  #share = 0;
  #paused = false;
  #resuming = false;
  /** Nothing more will arrive; and nothing more is to be read. */
  #arrived = false;
  #ended = false;
  #failure: LacunaError | undefined;
  #wake: (() => void) | undefined;

  constructor(
    stream: Stream,
    frameBytesMax: number,
    budget = new ByteBudget(LIMITS.streamsHeldBytes),
    traffic?: ProtocolTraffic,
  ) {
    this.#stream = stream;
    this.#budget = budget;
    this.#traffic = traffic;
    this.#decoder = new FrameDecoder(frameBytesMax);
    // `end` comes when all has been delivered; `remoteCloseWrite` and `close` come while data is still held back. But
    // of a muxer's last message the end may be told before its bytes are.
    stream.addEventListener('end', () => queueMicrotask(() => this.#noMore()));
    stream.addEventListener('close', (event) => {
      this.#hold(0);
      if (event.error !== undefined) this.#fail(new LacunaError('PEER_CLOSED', event.error.message));
      else if (stream.readBufferLength === 0) this.#noMore();
    });
    // Last: data that waited for a listener is delivered from here on.
    stream.addEventListener('message', (event) => this.#onData(event.data));
    if (stream.status === 'aborted' || stream.status === 'reset') {
      this.#fail(new LacunaError('PEER_CLOSED', 'the stream was reset before it was taken'));
    }
    if (this.#isDrained()) this.#noMore();
  }

  async read(timeoutMs: number): Promise<Uint8Array | undefined> {
    await this.#waitForFrame(timeoutMs);
    const frame = this.#frames.shift();
    if (frame !== undefined) this.#relieve([frame]);
    return frame;
  }

  async readMany(timeoutMs: number): Promise<Uint8Array[] | undefined> {
    await this.#waitForFrame(timeoutMs);
    if (this.#frames.length === 0) return undefined;
    const frames = this.#frames.splice(0);
    this.#relieve(frames);
    return frames;
  }

  async write(frames: readonly Uint8Array[]): Promise<void> {
    const bytes = encodeFrames(frames);
    for (let at = 0; at < bytes.length; at += LIMITS.sendChunkBytes) {
      if (this.#failure !== undefined) throw this.#failure;
      const chunk = bytes.subarray(at, at + LIMITS.sendChunkBytes);
      let more: boolean;
      try {
        more = this.#stream.send(chunk);
        this.#traffic?.sent(chunk.length);
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
    this.#linger();
  }

  /** A peer that never closes its side must not keep the stream for ever: only so many may be open. */
  #linger(): void {
    if (this.#isOver()) return;
    const abort = (): void => this.#stream.abort(new Error('the peer does not close its side'));
    const timer = setTimeout(abort, LIMITS.streamLingerMs).unref();
    this.#stream.addEventListener('close', () => clearTimeout(timer), { once: true });
  }

  #isOver(): boolean {
    return this.#stream.status !== 'open' && this.#stream.status !== 'closing';
  }

  abort(reason: Error): void {
    this.#stream.abort(reason);
  }

  #onData(data: Uint8Array | { [Symbol.iterator](): Iterator<Uint8Array> }): void {
    if (this.#failure !== undefined) return;
    for (const piece of data instanceof Uint8Array ? [data] : data) {
      this.#receivedBytes += piece.length;
      this.#traffic?.received(piece.length);
      this.#pieces.push(piece);
    }
    if (!this.#hold(this.#receivedBytes - this.#takenBytes)) {
      this.#refuse(new LacunaError('SESSION_BUSY', 'too much has arrived on all streams that was not taken'));
      return;
    }
    this.#decode();
    if (this.#pieces.length > 0) this.#pause();
    if (this.#isDrained()) this.#noMore();
  }

  /**
   * Makes frames of what has arrived, until enough is unread: some megabytes of empty frames would take a hundred
   * times their bytes.
   */
  #decode(): void {
    try {
      while (this.#pieces.length > 0 && this.#unreadBytes <= LIMITS.streamUnreadBytes) {
        this.#decoding ??= this.#decoder.push(this.#pieces[0]!)[Symbol.iterator]();
        const { done, value } = this.#decoding.next();
        if (done === true) {
          this.#pieces.shift();
          this.#decoding = undefined;
        } else {
          this.#frames.push(value);
          this.#unreadBytes += weightOf(value);
        }
      }
    } catch (error) {
      this.#refuse(error instanceof LacunaError ? error : new LacunaError('INTERNAL', String(error)));
      return;
    }
    if (this.#arrived && this.#pieces.length === 0) this.#end();
    this.#wake?.();
  }

  /** Ends the stream; what arrived whole before is still given. */
  #refuse(error: LacunaError): void {
    this.#pieces = [];
    this.#fail(error);
    this.#stream.abort(new Error(error.code));
  }

  /** Tells the budget how much is held; false when it is too much. A stream that is over holds nothing for long. */
  #hold(bytes: number): boolean {
    const share = this.#isOver() ? 0 : Math.max(0, bytes - LIMITS.streamFreeBytes);
    if (share !== this.#share && !this.#budget.change(this.#share, share)) return false;
    this.#share = share;
    return true;
  }

  /**
   * `end` comes once, and may have come before this channel was made: a peer that answers and closes at once does so
   * within the negotiation of the protocol, and what came along with that is pushed back behind the `end`.
   */
  #isDrained(): boolean {
    return this.#stream.readableEnded && this.#stream.readBufferLength === 0;
  }

  /** After a read: lets the peer send again. `resume` delivers what it held at once, which may be too much again. */
  #relieve(frames: readonly Uint8Array[]): void {
    for (const frame of frames) {
      this.#unreadBytes -= weightOf(frame);
      this.#takenBytes += lebLength(frame.length) + frame.length;
    }
    this.#hold(this.#receivedBytes - this.#takenBytes);
    if (this.#pieces.length > 0) this.#decode();
    if (!this.#paused || this.#pieces.length > 0 || this.#unreadBytes > LIMITS.streamUnreadBytes / 2) return;
    this.#paused = false;
    if (this.#is('paused')) {
      this.#resuming = true;
      this.#stream.resume();
      this.#resuming = false;
    }
    if (this.#paused) this.#pause();
  }

  /** `resume` delivers first and opens the window last: a pause said in between would be lost, so it waits. */
  #pause(): void {
    this.#paused = true;
    if (!this.#resuming && this.#is('readable')) this.#stream.pause();
  }

  #is(status: Stream['readStatus']): boolean {
    return this.#stream.readStatus === status;
  }

  #fail(error: LacunaError): void {
    this.#failure ??= error;
    this.#wake?.();
  }

  #noMore(): void {
    this.#arrived = true;
    if (this.#pieces.length === 0) this.#end();
  }

  #end(): void {
    if (!this.#decoder.atBoundary)
      this.#failure ??= new LacunaError('WIRE_TRUNCATED', 'the stream ends within a frame');
    this.#ended = true;
    this.#wake?.();
  }

  /** Resolves when a frame is there or the peer has closed; frames that arrived before a failure are still given. */
  async #waitForFrame(timeoutMs: number): Promise<void> {
    const startMs = performance.now();
    const startBytes = this.#receivedBytes;
    while (this.#frames.length === 0) {
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#ended) return;
      // Pieces of a frame win time by their size only: a byte now and then must not hold a session.
      const earnedMs = (this.#receivedBytes - startBytes) / LIMITS.streamBytesPerMsMin;
      await this.#woken(startMs + timeoutMs + earnedMs - performance.now());
    }
  }

  #woken(leftMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => {
          this.#wake = undefined;
          reject(new LacunaError('PEER_TIMEOUT', 'the peer was silent, or too slow, for too long'));
        },
        Math.max(0, leftMs),
      );
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

function weightOf(frame: Uint8Array): number {
  return frame.length + FRAME_OVERHEAD_BYTES;
}
