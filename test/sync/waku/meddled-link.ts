/**
 * A link between two parties with somebody in between: who sees every stream that either opens, and may lose or change
 * what goes through it.
 */

import type { FrameChannel, PeerLink } from '../../../src/ports.ts';
import { MemoryChannel } from '../memory-channel.ts';
import type { Party } from '../party.ts';
import { WAKU_ONLY } from '../party.ts';

/** What becomes of a frame on its way: itself, another one, or nothing. */
export type Meddling = (frame: Uint8Array) => Uint8Array | undefined;

export interface LinkInit {
  readonly isLacuna?: boolean;
  /** Called for each stream, with the ends of who opened it and of who serves it; may return what meddles with it. */
  readonly onReconciliation?: (
    opener: MemoryChannel,
    server: MemoryChannel,
    from: string,
  ) => Meddling | undefined;
  readonly onTransfer?: (opener: MemoryChannel, server: MemoryChannel, from: string) => Meddling | undefined;
}

/** What is still served anywhere; a test that ends waits for it. */
const serving = new Set<Promise<void>>();

export function meddledLink(from: Party, to: Party, init: LinkInit = {}): PeerLink {
  const open = (
    onOpen: LinkInit['onTransfer'],
    serve: (channel: FrameChannel) => Promise<void>,
  ): FrameChannel => {
    const [opener, server] = MemoryChannel.pair(from.clock);
    const meddling = onOpen?.(opener, server, from.name);
    const served = serve(server).finally(() => serving.delete(served));
    serving.add(served);
    return meddling === undefined ? opener : meddled(opener, meddling);
  };
  return {
    peer: to.name,
    isLacuna: init.isLacuna ?? true,
    ...WAKU_ONLY,
    openReconciliation: async () =>
      open(init.onReconciliation, (channel) => to.synchroniser.serve(meddledLink(to, from, init), channel)),
    openTransfer: async () => open(init.onTransfer, (channel) => to.receiver.receive(from.name, channel)),
  };
}

/** Resolves when nobody serves anybody any more. */
export async function allServed(clock: Party['clock']): Promise<void> {
  while (serving.size > 0) await clock.run(Promise.all(serving));
}

/** What is written at this end goes through other hands. */
function meddled(channel: MemoryChannel, meddling: Meddling): FrameChannel {
  return {
    read: (timeoutMs) => channel.read(timeoutMs),
    readMany: (timeoutMs) => channel.readMany(timeoutMs),
    write: (frames) => channel.write(frames.flatMap((frame) => meddling(frame) ?? [])),
    close: () => channel.close(),
    abort: (reason) => channel.abort(reason),
  };
}
