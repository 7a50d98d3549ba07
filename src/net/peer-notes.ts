/**
 * What libp2p notes of peers: addresses, protocols, what they call themselves. It reads and writes its note of a peer for
 * every stream, so they are kept in memory; and it never forgets one by itself, so they are kept within a bound, those
 * that were used last. Nothing here outlives the process: whom to dial is for the directory of peers to say.
 */
import { NotFoundError, type PeerId } from '@libp2p/interface';
import { BaseDatastore } from 'datastore-core';
import { Key } from 'interface-datastore';
import { LIMITS } from '../limits.ts';

const NOTE_OVERHEAD_BYTES = 200;

export class PeerNotes extends BaseDatastore {
  /** The one that has not been used for longest first. */
  readonly #notes = new Map<string, Uint8Array>();
  readonly #own: string;
  #bytes = 0;

  /** The note of `own` is never let go of: libp2p takes from it what it tells others. */
  constructor(own: PeerId) {
    super();
    this.#own = own.toCID().toString();
  }

  /** What all notes take, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  override put(key: Key, note: Uint8Array): Key {
    const name = key.toString();
    this.#remove(name);
    // A peer that tells other addresses each time it comes: what it told so far is forgotten.
    if (note.length > LIMITS.peerNoteBytes && !this.#isOwn(name)) return key;
    this.#notes.set(name, note);
    this.#bytes += sizeOf(name, note);
    for (const oldest of this.#notes.keys()) {
      if (this.#bytes <= LIMITS.peerNotesBytes) break;
      if (oldest !== name && !this.#isOwn(oldest)) this.#remove(oldest);
    }
    return key;
  }

  override get(key: Key): Uint8Array {
    const name = key.toString();
    const note = this.#notes.get(name);
    if (note === undefined) throw new NotFoundError();
    this.#notes.delete(name);
    this.#notes.set(name, note);
    return note;
  }

  override has(key: Key): boolean {
    return this.#notes.has(key.toString());
  }

  override delete(key: Key): void {
    this.#remove(key.toString());
  }

  override *_all(): Generator<{ key: Key; value: Uint8Array }> {
    for (const [name, value] of [...this.#notes]) yield { key: new Key(name), value };
  }

  override *_allKeys(): Generator<Key> {
    for (const name of [...this.#notes.keys()]) yield new Key(name);
  }

  #remove(name: string): void {
    const note = this.#notes.get(name);
    if (note === undefined) return;
    this.#notes.delete(name);
    this.#bytes -= sizeOf(name, note);
  }

  #isOwn(name: string): boolean {
    return name.endsWith(this.#own);
  }
}

/** Two bytes for each character of the name, and what a note takes besides. */
function sizeOf(name: string, note: Uint8Array): number {
  return note.length + 2 * name.length + NOTE_OVERHEAD_BYTES;
}
