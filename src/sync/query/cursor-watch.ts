/** Sees to it that a walk over pages comes to an end, whatever cursors it is given. */
import { LacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';

export class CursorWatch {
  #pages = 0;
  #emptyPages = 0;
  /**
   * A cursor that was met before, and the page after which a later one takes its place: at powers of two, so that one
   * cursor in memory finds a loop of any length (R. P. Brent, 1980).
   */
  #kept: Uint8Array | undefined;
  #nextKeptAt = 1;

  /** A page has come, with so many messages, and this cursor behind it. @throws LacunaError QUERY_UNENDING. */
  note(cursor: Uint8Array, count: number): void {
    this.#pages += 1;
    this.#emptyPages = count === 0 ? this.#emptyPages + 1 : 0;
    if (this.#emptyPages > LIMITS.queryEmptyPages || this.#pages >= LIMITS.queryPages) {
      throw new LacunaError('QUERY_UNENDING', `a cursor behind ${this.#pages} pages, and no end`);
    }
    if (this.#kept !== undefined && sameBytes(this.#kept, cursor)) {
      throw new LacunaError('QUERY_UNENDING', `page ${this.#pages} ends where an earlier one has ended`);
    }
    if (this.#pages < this.#nextKeptAt) return;
    this.#kept = cursor.slice();
    this.#nextKeptAt *= 2;
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((byte, index) => byte === b[index]);
}
