/**
 * Length-prefixed frames (libp2p `readLp`/`writeLp`): an unsigned varint, then that many bytes. The decoder
 * takes bytes in any pieces, refuses a frame by its prefix before anything is allocated for it, and holds
 * nothing but the unfinished frame.
 */
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { ByteWriter } from './bytes.ts';

export class FrameDecoder {
  readonly #frameBytesMax: number;
  #prefix = 0;
  #prefixBytes = 0;
  #frame: Uint8Array | undefined;
  #filled = 0;

  constructor(frameBytesMax: number) {
    this.#frameBytesMax = frameBytesMax;
  }

  /** True when the bytes so far end between two frames. */
  get atBoundary(): boolean {
    return this.#frame === undefined && this.#prefixBytes === 0;
  }

  /**
   * Takes the next bytes and gives the frames that they complete.
   *
   * @throws LacunaError WIRE_FRAME_TOO_LARGE, WIRE_LENGTH_PREFIX.
   */
  *push(bytes: Uint8Array): Generator<Uint8Array> {
    let at = 0;
    while (at < bytes.length) {
      if (this.#frame === undefined) {
        if (!this.#takePrefixByte(bytes[at++]!)) continue;
      }
      const frame = this.#frame!;
      const taken = Math.min(bytes.length - at, frame.length - this.#filled);
      // A frame that lies whole in these bytes is copied once; no view of the transport's buffer is kept.
      frame.set(bytes.subarray(at, at + taken), this.#filled);
      this.#filled += taken;
      at += taken;
      if (this.#filled === frame.length) {
        this.#frame = undefined;
        yield frame;
      }
    }
  }

  /** Returns true when the prefix is complete; an empty frame is complete with it. */
  #takePrefixByte(byte: number): boolean {
    this.#prefix += (byte & 0x7f) * 2 ** (7 * this.#prefixBytes);
    this.#prefixBytes += 1;
    if (this.#prefix > this.#frameBytesMax) {
      throw new LacunaError('WIRE_FRAME_TOO_LARGE', `a frame of ${this.#prefix} bytes or more was announced`);
    }
    if (byte >= 0x80) {
      if (this.#prefixBytes >= LIMITS.framePrefixBytes) {
        throw new LacunaError('WIRE_LENGTH_PREFIX', 'a length prefix does not end');
      }
      return false;
    }
    this.#frame = new Uint8Array(this.#prefix);
    this.#filled = 0;
    this.#prefix = 0;
    this.#prefixBytes = 0;
    return true;
  }
}

/** Frames gathered into one run of bytes, so that many small ones cost one write. */
export function encodeFrames(frames: readonly Uint8Array[]): Uint8Array {
  const writer = new ByteWriter(frames.reduce((sum, frame) => sum + frame.length + 4, 0));
  for (const frame of frames) {
    writer.leb(frame.length);
    writer.raw(frame);
  }
  return writer.finish();
}
