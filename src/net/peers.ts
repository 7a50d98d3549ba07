/** `/lacuna/peers/1.0.0`: tells a peer where other Lacunas are, and asks it the same now and then (spec/peers.md). */
import { LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, Logger } from '../ports.ts';
import { isMalformed, STRIKE_MALFORMED, type Strikes } from '../sync/strikes.ts';
import { canBeTold, encodePeerList } from '../wire/peer-list.ts';
import type { Host } from './host.ts';
import { PEERS } from './protocols.ts';

/**
 * `known` gives the addresses of peers that this node has had a good session with lately; `admits` says who is told of
 * them.
 */
export async function servePeers(
  host: Host,
  known: () => readonly string[],
  admits: (peer: string) => boolean,
): Promise<void> {
  // Who asks has nothing to say: a frame of any size is too large.
  await host.serve(PEERS, 0, async (connection, channel) => {
    const peer = connection.remotePeer.toString();
    try {
      if (!admits(peer)) throw new LacunaError('PEER_REFUSED', 'the peer is told of nobody');
      if ((await channel.read(LIMITS.peerListMs)) !== undefined) {
        throw new LacunaError('WIRE_FIELD_INVALID', 'who asks for peers says nothing');
      }
      const told = known().filter((address) => canBeTold(address) && !address.endsWith(`/p2p/${peer}`));
      await channel.write([encodePeerList(told.slice(0, LIMITS.peerListAddresses))]);
      await channel.close();
    } catch (error) {
      channel.abort(new Error(toLacunaError(error).code));
    }
  });
}

export interface PeerLearnerInit {
  readonly host: Host;
  readonly strikes: Strikes;
  readonly clock: Clock;
  readonly log: Logger;
  /** Who is asked. */
  readonly mayShare: (peer: string) => boolean;
  readonly onLearnt: (address: string) => void;
  readonly stop: AbortSignal;
}

/** Asks peers for others, each no more often than `peersAskedMs`. */
export class PeerLearner {
  readonly #init: PeerLearnerInit;
  readonly #askedMs = new Map<string, number>();

  constructor(init: PeerLearnerInit) {
    this.#init = init;
  }

  /** Never rejects: a peer that tells nothing is no worse for that. */
  async learnFrom(address: string, peer: string): Promise<void> {
    const { host, strikes, clock, log, mayShare, onLearnt, stop } = this.#init;
    const nowMs = clock.monotonicMs();
    const askedMs = this.#askedMs.get(peer);
    if (!mayShare(peer) || (askedMs !== undefined && nowMs - askedMs < LIMITS.peersAskedMs)) return;
    if (this.#askedMs.size >= LIMITS.peersKnown) this.#askedMs.clear();
    this.#askedMs.set(peer, nowMs);
    try {
      const connection = await host.connect(address, stop);
      for (const learnt of await host.askPeers(connection)) onLearnt(learnt);
    } catch (error) {
      const { code } = toLacunaError(error);
      if (isMalformed(code)) strikes.strike(peer, STRIKE_MALFORMED);
      log.debug({ peer, code }, 'a peer does not tell of others');
    }
  }
}
