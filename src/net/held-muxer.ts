/**
 * A muxer that holds the connection under it, and with it the peer, while one of its streams has too much that was not
 * taken. It is needed twice. mplex has no flow control at all: a transfer faster than the disk would overflow the
 * stream's buffer and be reset. yamux has, but opens its windows for what arrives, not for what is read, until a reader
 * pauses the stream; and there is no reader before libp2p has noted the protocol.
 */
import type { MessageStream, Stream, StreamMuxer, StreamMuxerFactory } from '@libp2p/interface';
import { LIMITS } from '../limits.ts';

const LOOK_MS = 5;

/** `pauses` tells whether a paused stream of this muxer holds its sender by itself. */
export function heldMuxer(inner: StreamMuxerFactory, pauses: boolean): StreamMuxerFactory {
  return {
    protocol: inner.protocol,
    createStreamMuxer(connection) {
      const muxer = inner.createStreamMuxer(connection);
      holdWhileFull(connection, muxer, pauses);
      return muxer;
    },
  };
}

function holdWhileFull(connection: MessageStream, muxer: StreamMuxer, pauses: boolean): void {
  let timer: NodeJS.Timeout | undefined;
  const overflows = ({ readBufferLength, readStatus }: Stream): boolean =>
    readBufferLength > LIMITS.streamUntakenBytes && !(pauses && readStatus === 'paused');
  const isFull = (): boolean => muxer.streams.some(overflows);
  const release = (): void => {
    clearInterval(timer);
    timer = undefined;
  };
  const look = (): void => {
    if (isFull()) return;
    release();
    // Delivers what was held, which may call `hold` below; a closed connection cannot be resumed.
    attempt(() => connection.resume());
  };
  const hold = (): void => {
    if (timer !== undefined || !isFull()) return;
    // Not at once: a pause within the delivery that a resume makes would be lost (it opens the socket last).
    timer = setInterval(look, LOOK_MS);
    queueMicrotask(() => {
      if (timer !== undefined) attempt(() => connection.pause());
    });
  };
  // After the muxer's own listener: the streams have got their data then.
  connection.addEventListener('message', hold);
  connection.addEventListener('close', release, { once: true });
}

function attempt(change: () => void): void {
  try {
    change();
  } catch {
    // It is closing: there is nothing to hold.
  }
}
