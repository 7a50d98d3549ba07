/**
 * Inbound handshakes under way, by host: libp2p counts them all together, so that one host with silent sockets
 * could keep every other peer out.
 */
import type { MultiaddrConnection } from '@libp2p/interface';
import { LIMITS } from '../limits.ts';
import { hostOfAddress } from './addresses.ts';

export class Handshakes {
  readonly #underWay = new Map<string, Set<MultiaddrConnection>>();

  /** Returns false when this host has too many already. It ends by itself when the connection closes. */
  begin(connection: MultiaddrConnection): boolean {
    const host = hostOfAddress(connection.remoteAddr);
    const ofHost = this.#underWay.get(host) ?? new Set();
    if (ofHost.size >= LIMITS.connectionsPendingPerHost) return false;
    this.#underWay.set(host, ofHost.add(connection));
    connection.addEventListener('close', () => this.end(connection), { once: true });
    return true;
  }

  end(connection: MultiaddrConnection): void {
    const host = hostOfAddress(connection.remoteAddr);
    const ofHost = this.#underWay.get(host);
    ofHost?.delete(connection);
    if (ofHost?.size === 0) this.#underWay.delete(host);
  }
}
