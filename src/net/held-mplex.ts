/**
 * mplex, for peers that know nothing else, with the flow control that it lacks: while one of its streams has too much
 * unread, the connection under it is held, and with it the peer. Without that, a transfer faster than the disk would
 * overflow the stream's buffer and be reset.
 */
import type {
  ComponentLogger,
  MessageStream,
  Stream,
  StreamMuxer,
  StreamMuxerFactory,
} from '@libp2p/interface';
import { mplex } from '@libp2p/mplex';

/** Holds the sender back where pausing the stream does not. */
export interface SenderHold {
  hold(): void;
  release(): void;
}

export class HeldMplex {
  readonly #connections = new Map<StreamMuxer, HeldConnection>();

  /** For libp2p's list of muxers. */
  factory(): (components: { logger: ComponentLogger }) => StreamMuxerFactory {
    return () => {
      const inner = mplex()();
      return {
        protocol: inner.protocol,
        createStreamMuxer: (connection) => {
          const muxer = inner.createStreamMuxer(connection);
          this.#connections.set(muxer, new HeldConnection(connection));
          connection.addEventListener('close', () => this.#connections.delete(muxer), { once: true });
          return muxer;
        },
      };
    };
  }

  /** undefined for a stream of another muxer. */
  holdOf(stream: Stream): SenderHold | undefined {
    for (const [muxer, connection] of this.#connections) {
      if (!muxer.streams.includes(stream)) continue;
      return { hold: () => connection.hold(stream), release: () => connection.release(stream) };
    }
    return undefined;
  }
}

class HeldConnection {
  readonly #connection: MessageStream;
  readonly #holders = new Set<Stream>();
  #paused = false;
  #resuming = false;

  constructor(connection: MessageStream) {
    this.#connection = connection;
  }

  hold(stream: Stream): void {
    this.#holders.add(stream);
    this.#pause();
  }

  release(stream: Stream): void {
    if (!this.#holders.delete(stream) || this.#holders.size > 0 || !this.#paused) return;
    this.#paused = false;
    this.#resuming = true;
    attempt(() => this.#connection.resume());
    this.#resuming = false;
    if (this.#holders.size > 0) this.#pause();
  }

  /** `resume` delivers first and tells the transport last: a pause in between would be lost, so it waits. */
  #pause(): void {
    if (this.#resuming || this.#paused) return;
    this.#paused = attempt(() => this.#connection.pause());
  }
}

/** A connection that is closing can be neither paused nor resumed, and need not be. */
function attempt(change: () => void): boolean {
  try {
    change();
    return true;
  } catch {
    return false;
  }
}
