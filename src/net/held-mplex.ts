/**
 * mplex, for peers that know nothing else, with the flow control that it lacks: while one of its streams holds too much
 * that was not read, the connection under it is held, and with it the peer. Without that, a transfer faster than the
 * disk would overflow the stream's buffer and be reset.
 */
import type { MessageStream, StreamMuxer, StreamMuxerFactory } from '@libp2p/interface';
import { mplex } from '@libp2p/mplex';
import { LIMITS } from '../limits.ts';

const LOOK_MS = 5;

/** For libp2p's list of muxers. */
export function heldMplex(): StreamMuxerFactory {
  const inner = mplex()();
  return {
    protocol: inner.protocol,
    createStreamMuxer(connection) {
      const muxer = inner.createStreamMuxer(connection);
      holdWhileFull(connection, muxer);
      return muxer;
    },
  };
}

function holdWhileFull(connection: MessageStream, muxer: StreamMuxer): void {
  let timer: NodeJS.Timeout | undefined;
  const isFull = (): boolean =>
    muxer.streams.some(({ readBufferLength }) => readBufferLength > LIMITS.mplexUnreadBytes);
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
