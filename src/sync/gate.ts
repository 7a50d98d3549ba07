/**
 * Who may be connected: by name, by behaviour, and by how many places are left. A peer is denied, or else banned for a
 * while, or else let in: in private mode the known ones alone, and of strangers no more than there are places.
 */
import { LIMITS } from '../limits.ts';
import type { LimitCounts } from './limit-counts.ts';

export interface GateInit {
  /** Peer ids: those that always find a place, and those that are never let in. Who is in both is not let in. */
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  /** Peer ids of the addresses that the operator wrote down; they find a place too. */
  readonly configured: readonly string[];
  /** Strangers are neither let in nor dialled. */
  readonly isPrivate: boolean;
  /** Places; the known find one beyond them. */
  readonly connectionsMax: number;
  readonly isBanned: (peer: string) => boolean;
  readonly counts: LimitCounts;
}

export class Gate {
  readonly #init: GateInit;
  readonly #allowed: ReadonlySet<string>;
  readonly #denied: ReadonlySet<string>;
  readonly #known: ReadonlySet<string>;
  /** Connections of each peer that has any. */
  readonly #places = new Map<string, number>();
  #taken = 0;

  constructor(init: GateInit) {
    this.#init = init;
    this.#allowed = new Set(init.allow);
    this.#denied = new Set(init.deny);
    this.#known = new Set([...init.allow, ...init.configured]);
  }

  /** The most that can be connected: one more would be refused whoever it is. Those that this node dials come on top. */
  get placesMax(): number {
    return this.#init.connectionsMax + this.#known.size * LIMITS.connectionsPerPeer;
  }

  get connections(): number {
    return this.#taken;
  }

  /** Whether the operator named it, by its id or by an address. */
  isKnown(peer: string): boolean {
    return this.#known.has(peer);
  }

  /** Whether it may be connected at all. A ban holds for known peers too: it ends by itself. */
  admits(peer: string): boolean {
    if (this.#denied.has(peer) || this.#init.isBanned(peer)) return false;
    return !this.#init.isPrivate || this.#known.has(peer);
  }

  /** Whether it is told of other peers, and asked for them. */
  sharesPeersWith(peer: string): boolean {
    return this.admits(peer) && (!this.#init.isPrivate || this.#allowed.has(peer));
  }

  /** Takes a place for a connection that this peer made; false when there is none for it. */
  enter(peer: string): boolean {
    if (!this.admits(peer)) return false;
    const ofPeer = this.#places.get(peer) ?? 0;
    const isFull = this.#taken >= this.#init.connectionsMax && !this.#known.has(peer);
    if (isFull || ofPeer >= LIMITS.connectionsPerPeer) {
      this.#init.counts.hit('connections');
      return false;
    }
    this.#take(peer);
    return true;
  }

  /** Takes one for a connection that this node made: it wants it, and is not kept from it by the number of others. */
  enterDialled(peer: string): boolean {
    if (!this.admits(peer)) return false;
    this.#take(peer);
    return true;
  }

  /** Gives back a place that was taken. */
  leave(peer: string): void {
    const ofPeer = (this.#places.get(peer) ?? 0) - 1;
    this.#taken -= 1;
    if (ofPeer > 0) this.#places.set(peer, ofPeer);
    else this.#places.delete(peer);
  }

  #take(peer: string): void {
    this.#taken += 1;
    this.#places.set(peer, (this.#places.get(peer) ?? 0) + 1);
  }
}
