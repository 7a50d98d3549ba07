/**
 * What the sessions of a node are asking for, all together: what one has asked its peer for is not asked of another,
 * unless that one fails to bring it. So sessions with several peers share a gap, each at its own speed.
 */

/** A session that asks for messages. */
export interface Claimant {
  /** Whether it has asked for the id in this row, and it has not come. */
  holds(words: Uint32Array, offset: number): boolean;
  /** What others held has come, or will not: what was put off may be decided now. */
  reconsider(): void;
}

export class Claims {
  readonly #claimants = new Set<Claimant>();
  #version = 0;

  /** Changes whenever a claim was given up or fulfilled. */
  get version(): number {
    return this.#version;
  }

  join(claimant: Claimant): void {
    this.#claimants.add(claimant);
  }

  leave(claimant: Claimant): void {
    if (this.#claimants.delete(claimant)) this.changed(claimant);
  }

  /** Whether a session waits for this id. */
  isHeld(words: Uint32Array, offset: number): boolean {
    for (const claimant of this.#claimants) if (claimant.holds(words, offset)) return true;
    return false;
  }

  /** Tells the others that claims of this one have ended. */
  changed(self: Claimant): void {
    this.#version += 1;
    for (const claimant of this.#claimants) if (claimant !== self) claimant.reconsider();
  }
}
