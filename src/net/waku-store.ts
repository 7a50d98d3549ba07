/**
 * Serves `/vac/waku/store-query/3.0.0`: one request a stream, one answer, and this side closes. Clients open streams
 * ahead of their use, so an idle one may stay for a while.
 */
import { toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { FrameChannel, Logger } from '../ports.ts';
import type { StoreResponder } from '../sync/store-query/responder.ts';
import { isMalformed, type Strikes } from '../sync/strikes.ts';
import type { Host } from './host.ts';
import { STORE_QUERY } from './protocols.ts';

export interface StoreQueryServer {
  readonly responder: StoreResponder;
  readonly strikes: Strikes;
  readonly log: Logger;
  /** How long a stream may wait for its request, and how long an answer may take. */
  readonly idleMs?: number;
  readonly answerMs?: number;
}

export async function serveStoreQueries(host: Host, server: StoreQueryServer): Promise<void> {
  const { responder, strikes, log } = server;
  const { idleMs = LIMITS.storeQueryIdleMs, answerMs = LIMITS.storeQueryMs } = server;
  await host.serve(STORE_QUERY, LIMITS.storeQueryRequestBytes, async (connection, channel) => {
    const peer = connection.remotePeer.toString();
    try {
      const request = await channel.read(idleMs);
      // A stream that was opened ahead and not needed.
      if (request === undefined) return await channel.close();
      await within(answerMs, channel, () =>
        responder.respond(peer, request, async (answer) => {
          await channel.write([answer]);
          await channel.close();
        }),
      );
    } catch (error) {
      const { code } = toLacunaError(error);
      if (isMalformed(code)) strikes.strike(peer);
      log.debug({ peer, code }, 'a store query was not answered');
      channel.abort(new Error(code));
    }
  });
}

/** A client that takes its answer a little at a time would hold the answer, and a place, for as long as it likes. */
async function within(ms: number, channel: FrameChannel, work: () => Promise<void>): Promise<void> {
  const timer = setTimeout(() => channel.abort(new Error('PEER_TIMEOUT')), ms);
  try {
    await work();
  } finally {
    clearTimeout(timer);
  }
}
