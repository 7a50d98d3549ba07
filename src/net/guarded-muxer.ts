/**
 * Streams are counted where they begin: before a protocol is negotiated, before anything is read. One that is not
 * admitted is reset at once, so that a peer which opens them by the thousand costs little more than it pays itself.
 */
import { noise } from '@chainsafe/libp2p-noise';
import type {
  ConnectionEncrypter,
  MessageStream,
  SecuredConnection,
  Stream,
  StreamMuxer,
  StreamMuxerFactory,
} from '@libp2p/interface';
import { LIMITS } from '../limits.ts';

type NoiseFactory = ReturnType<typeof noise>;

/** Whose each encrypted connection is: a muxer is made for a connection that has no name. */
export class PeersByConnection {
  readonly #peers = new WeakMap<MessageStream, string>();

  peerOf(connection: MessageStream): string | undefined {
    return this.#peers.get(connection);
  }

  /** Noise, which learns in its handshake who the other side is. */
  noise(): (components: Parameters<NoiseFactory>[0]) => ConnectionEncrypter {
    return (components) => {
      const inner = noise()(components);
      return {
        protocol: inner.protocol,
        secureInbound: async (connection, options) =>
          this.#remember(await inner.secureInbound(connection, options)),
        secureOutbound: async (connection, options) =>
          this.#remember(await inner.secureOutbound(connection, options)),
      };
    };
  }

  #remember<T>(secured: SecuredConnection<T>): SecuredConnection<T> {
    this.#peers.set(secured.connection, secured.remotePeer.toString());
    return secured;
  }
}

/**
 * `admits` is asked for every stream that the other side opens. Of those that are admitted, so many may be open: a limit
 * of the muxer's own would reset what is beyond it, and not say so to anybody who counts.
 */
export function guardedMuxer(
  inner: StreamMuxerFactory,
  admits: (connection: MessageStream) => boolean,
): StreamMuxerFactory {
  return {
    protocol: inner.protocol,
    createStreamMuxer(connection) {
      const guard = ({ detail: stream }: CustomEvent<Stream>): void => {
        if (!admits(connection) || inboundOf(muxer) > LIMITS.streamsPerConnection) {
          stream.abort(new Error('SESSION_BUSY'));
        }
      };
      const muxer = inner.createStreamMuxer(connection);
      // A muxer keeps early streams for whoever listens first, and that has to be libp2p; the guard is there when it
      // gives them away.
      const listen = muxer.addEventListener.bind(muxer);
      muxer.addEventListener = ((...args: Parameters<typeof listen>): void => {
        listen(...args);
        if (args[0] !== 'stream') return;
        muxer.addEventListener = listen;
        listen('stream', guard);
      }) as typeof listen;
      return muxer;
    },
  };
}

function inboundOf({ streams }: StreamMuxer): number {
  return streams.reduce((count, { direction }) => count + (direction === 'inbound' ? 1 : 0), 0);
}
