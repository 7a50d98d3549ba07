/**
 * Where the pages that were handed out ended, by the hash of the message there: a reader goes on from it after that
 * message was pruned. Of many the newest are kept; in memory only, as a reader that comes back after a restart can
 * ask by time.
 */
import { hashOf, makeId, timeOf } from '../core/sync-id.ts';

export class ArchiveCursors {
  readonly #countMax: number;
  /** Times in ns by hash, the one that was remembered longest ago first. */
  readonly #times = new Map<string, bigint>();

  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  get size(): number {
    return this.#times.size;
  }

  remember(id: Uint32Array): void {
    const name = nameOf(hashOf(id));
    this.#times.delete(name);
    this.#times.set(name, timeOf(id));
    if (this.#times.size <= this.#countMax) return;
    for (const oldest of this.#times.keys()) {
      this.#times.delete(oldest);
      return;
    }
  }

  /** The id of the message, if it is remembered. */
  find(hash: Uint8Array): Uint32Array | undefined {
    const timeNs = this.#times.get(nameOf(hash));
    return timeNs === undefined ? undefined : makeId(timeNs, hash);
  }
}

function nameOf(hash: Uint8Array): string {
  return Buffer.from(hash.buffer, hash.byteOffset, hash.byteLength).toString('latin1');
}
