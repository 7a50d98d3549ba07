/**
 * The entries under several topics of one kind in the order of their ids, from either end: the lists of the topics,
 * each read a little ahead, and a heap of what comes next in each.
 */
import { compareIds, ID_BYTES, ID_WORDS, readIdBytes, successor } from '../core/sync-id.ts';
import type { Database, Entry, Walk } from './database.ts';
import { type TopicKind, topicRange } from './keys.ts';
import type { TopicKey } from './topic-counts.ts';

/** Ids in `[lower, upper)`, the oldest or the newest first. */
export interface Span {
  readonly lower: Uint32Array;
  readonly upper: Uint32Array;
  readonly ascending: boolean;
}

/** What is left of a span behind an id. */
export function spanBehind(span: Span, id: Uint32Array): Span {
  const { lower, upper, ascending } = span;
  if (!ascending) return compareIds(id, 0, upper, 0) < 0 ? { ...span, upper: id.slice() } : span;
  const next = successor(id);
  return compareIds(next, 0, lower, 0) > 0 ? { ...span, lower: next } : span;
}

const ROWS_MAX = 1_000;
/** Lists that are begun at the same time: LevelDB reads on few threads, which others need too. */
const BEGUN_TOGETHER = 8;

export class TopicWalk {
  readonly #ascending: boolean;
  readonly #lists: TopicList[];
  /** Those that have entries left; none comes before its parent, which is at half its place. */
  readonly #heap: TopicList[] = [];
  /** The list of the entry that the walk stands at, which is at the top of the heap until the walk goes on. */
  #current: TopicList | undefined;

  /** `rows` is how many entries are likely to be wanted. */
  constructor(
    database: Database,
    kind: TopicKind,
    topics: Iterable<TopicKey>,
    { lower, upper, ascending }: Span,
    rows: number,
  ) {
    this.#ascending = ascending;
    const keys = [...topics];
    const each = Math.min(ROWS_MAX, Math.ceil(rows / keys.length) + 1);
    this.#lists = keys.map(
      ({ bytes }) =>
        new TopicList(() => database.walk(topicRange(kind, bytes, lower, upper), !ascending), each),
    );
  }

  /** Has to be awaited first. */
  async begin(): Promise<void> {
    for (let from = 0; from < this.#lists.length; from += BEGUN_TOGETHER) {
      const some = this.#lists.slice(from, from + BEGUN_TOGETHER);
      await Promise.all(some.map((list) => list.read()));
    }
    this.#heap.push(...this.#lists.filter((list) => !list.isAtEnd));
    for (let place = this.#heap.length >> 1; place >= 0; place--) this.#sink(place);
  }

  /** Goes to the next entry; false where there is none. */
  next(): boolean | Promise<boolean> {
    const list = this.#current;
    if (list === undefined) return this.#stand();
    list.at += 1;
    if (!list.isAtEnd) {
      this.#sink(0);
      return this.#stand();
    }
    return this.#readOn(list);
  }

  /** The id of the entry that the walk stands at; good until it goes on. */
  get id(): Uint32Array {
    return this.#current!.id;
  }

  get value(): Uint8Array {
    return this.#current!.value;
  }

  async close(): Promise<void> {
    await Promise.all(this.#lists.map((list) => list.close()));
  }

  async #readOn(list: TopicList): Promise<boolean> {
    await list.read();
    if (list.isAtEnd) return this.#drop();
    this.#sink(0);
    return this.#stand();
  }

  #drop(): boolean {
    const last = this.#heap.pop()!;
    if (this.#heap.length > 0) {
      this.#heap[0] = last;
      this.#sink(0);
    }
    return this.#stand();
  }

  #stand(): boolean {
    this.#current = this.#heap[0];
    return this.#current !== undefined;
  }

  #sink(from: number): void {
    let place = from;
    for (;;) {
      const left = 2 * place + 1;
      if (left >= this.#heap.length) return;
      const child = left + 1 < this.#heap.length && this.#isBefore(left + 1, left) ? left + 1 : left;
      if (!this.#isBefore(child, place)) return;
      const moved = this.#heap[place]!;
      this.#heap[place] = this.#heap[child]!;
      this.#heap[child] = moved;
      place = child;
    }
  }

  #isBefore(a: number, b: number): boolean {
    const order = compareIds(this.#heap[a]!.id, 0, this.#heap[b]!.id, 0);
    return this.#ascending ? order < 0 : order > 0;
  }
}

/** The list of one topic, some entries at a time. */
class TopicList {
  at = 0;
  /** Of the entry at `at`. */
  readonly #id = new Uint32Array(ID_WORDS);
  #idAt = -1;
  readonly #begin: () => Walk;
  #walk: Walk | undefined;
  #entries: readonly Entry[] = [];
  #rows: number;

  constructor(begin: () => Walk, rows: number) {
    this.#begin = begin;
    this.#rows = rows;
  }

  /** All that was read is used; after a further read, that there is nothing left. */
  get isAtEnd(): boolean {
    return this.at >= this.#entries.length;
  }

  get id(): Uint32Array {
    if (this.#idAt !== this.at) {
      const [key] = this.#entries[this.at]!;
      readIdBytes(key, key.length - ID_BYTES, this.#id, 0);
      this.#idAt = this.at;
    }
    return this.#id;
  }

  get value(): Uint8Array {
    return this.#entries[this.at]![1];
  }

  async read(): Promise<void> {
    this.#walk ??= this.#begin();
    this.#entries = await this.#walk.next(this.#rows);
    this.at = 0;
    this.#idAt = -1;
    this.#rows = Math.min(ROWS_MAX, this.#rows * 2);
  }

  async close(): Promise<void> {
    await this.#walk?.close();
  }
}
