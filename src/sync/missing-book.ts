/**
 * Messages that peers named and did not bring, and who was asked for each, and those that an audit found elsewhere: what
 * an operator wants to know of a message that stays away. It lasts as long as the process; a message that arrives is let go of.
 */
import { ID_WORDS, timeOf } from '../core/sync-id.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, MessageStore } from '../ports.ts';
import { hexHash } from './ingest.ts';

/** A message that peers have, and that is not here. */
export interface MissingMessage {
  /** ns since 1970. */
  readonly timestamp: bigint;
  /** When a peer first named it, or an audit found it. */
  readonly sinceMs: number;
  /** Who was asked for it; the one that was asked last is the last; of many, the last ones. */
  readonly askedPeers: readonly string[];
}

interface Absentee {
  readonly id: Uint32Array;
  readonly sinceMs: number;
  readonly asked: readonly string[];
}

export class MissingBook {
  readonly #store: Pick<MessageStore, 'knows'>;
  readonly #clock: Clock;
  /** The one that was named last is the last. */
  readonly #absentees = new Map<string, Absentee>();

  constructor(store: Pick<MessageStore, 'knows'>, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  get size(): number {
    return this.#absentees.size;
  }

  /**
   * This peer was asked for the message, which did not come. Gives all that were asked for it, this one at the end;
   * undefined when the message has come by another way.
   */
  note(id: Uint32Array, peer: string): readonly string[] | undefined {
    const hash = hexHash(id);
    const before = this.#absentees.get(hash);
    this.#absentees.delete(hash);
    if (this.#store.knows(id)) return undefined;
    const others = before?.asked.filter((other) => other !== peer) ?? [];
    const asked = [...others, peer].slice(-LIMITS.missingPeers);
    this.#keep(hash, id, before?.sinceMs ?? this.#clock.nowMs(), asked);
    for (const oldest of this.#absentees.keys()) {
      if (this.#absentees.size <= LIMITS.missingRemembered) break;
      this.#absentees.delete(oldest);
    }
    return asked;
  }

  /** An audit found that others have it; nobody was asked for it. It takes the place of none that is known of. */
  notice(id: Uint32Array): void {
    const hash = hexHash(id);
    const isFull = this.#absentees.size >= LIMITS.missingRemembered;
    if (isFull || this.#absentees.has(hash) || this.#store.knows(id)) return;
    this.#keep(hash, id, this.#clock.nowMs(), []);
  }

  /** What is known of the message of this `0x…` hash, as long as it is not here. */
  find(messageHash: string): MissingMessage | undefined {
    const absentee = this.#absentees.get(messageHash);
    if (absentee === undefined || this.#store.knows(absentee.id)) return undefined;
    const { id, sinceMs, asked } = absentee;
    return { timestamp: timeOf(id), sinceMs, askedPeers: asked };
  }

  /** Lets go of those that are here by now. */
  settle(): void {
    for (const [hash, { id }] of this.#absentees) if (this.#store.knows(id)) this.#absentees.delete(hash);
  }

  #keep(hash: string, id: Uint32Array, sinceMs: number, asked: readonly string[]): void {
    // The row is a view of a list that grows.
    this.#absentees.set(hash, { id: id.slice(0, ID_WORDS), sinceMs, asked });
  }
}
