/**
 * Messages that peers named and did not bring, and who was asked for each: what an operator wants to know of a message
 * that stays away. It lasts as long as the process; a message that arrives is let go of.
 */
import { ID_WORDS } from '../core/sync-id.ts';
import { LIMITS } from '../limits.ts';
import type { MessageStore } from '../ports.ts';
import { hexHash } from './ingest.ts';

interface Absentee {
  readonly id: Uint32Array;
  /** The one that was asked last is the last; of many, the last ones. */
  readonly asked: readonly string[];
}

export class MissingBook {
  readonly #store: Pick<MessageStore, 'knows'>;
  /** The one that was named last is the last. */
  readonly #absentees = new Map<string, Absentee>();

  constructor(store: Pick<MessageStore, 'knows'>) {
    this.#store = store;
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
    const before = this.#absentees.get(hash)?.asked ?? [];
    this.#absentees.delete(hash);
    if (this.#store.knows(id)) return undefined;
    const asked = [...before.filter((other) => other !== peer), peer].slice(-LIMITS.missingPeers);
    // The row is a view of a list that grows.
    this.#absentees.set(hash, { id: id.slice(0, ID_WORDS), asked });
    for (const oldest of this.#absentees.keys()) {
      if (this.#absentees.size <= LIMITS.missingRemembered) break;
      this.#absentees.delete(oldest);
    }
    return asked;
  }

  /** Lets go of those that are here by now. */
  settle(): void {
    for (const [hash, { id }] of this.#absentees) if (this.#store.knows(id)) this.#absentees.delete(hash);
  }
}
