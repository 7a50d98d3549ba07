/** Ids that the other side offered together, the newest first, and what has become of each. */
import { compareIds, ID_WORDS, SyncIdList } from '../../core/sync-id.ts';

const OPEN = 0;
const WANTED = 1;
/** It has come and is being written. */
const ARRIVED = 2;
const SETTLED = 3;
/** It was asked for, and was not sent or not taken. */
const ABSENT = 4;

export class OfferedPage {
  readonly number: number;
  readonly count: number;
  /** The ids, row after row in descending order. */
  readonly words: Uint32Array;
  /** The row at which undecided ids are looked for. */
  next = 0;
  /** The other side was told that nothing more will be asked for. */
  isFinal = false;
  readonly #states: Uint8Array;
  /** Rows that are undecided, and rows that were asked for or are being written. */
  #open: number;
  #onTheWay = 0;

  constructor(number: number, ids: SyncIdList) {
    this.number = number;
    this.count = ids.count;
    this.words = ids.words;
    this.#states = new Uint8Array(ids.count);
    this.#open = ids.count;
  }

  get isLookedThrough(): boolean {
    return this.next >= this.count;
  }

  get isDecided(): boolean {
    return this.#open === 0;
  }

  /** Nothing is left to decide or to wait for. */
  get isSettled(): boolean {
    return this.isFinal && this.#open === 0 && this.#onTheWay === 0;
  }

  id(row: number): Uint32Array {
    return this.words.subarray(row * ID_WORDS, (row + 1) * ID_WORDS);
  }

  isOpen(row: number): boolean {
    return this.#states[row] === OPEN;
  }

  decline(row: number): void {
    this.#states[row] = SETTLED;
    this.#open -= 1;
  }

  want(row: number): void {
    this.#states[row] = WANTED;
    this.#open -= 1;
    this.#onTheWay += 1;
  }

  /** Looks again at what was put off. */
  lookAgain(): void {
    const first = this.#states.indexOf(OPEN);
    this.next = first < 0 ? this.count : first;
  }

  /** Whether the id was asked for and is not on the disk yet. */
  waitsFor(words: Uint32Array, offset: number): boolean {
    const row = this.#find(words, offset);
    return row >= 0 && (this.#states[row] === WANTED || this.#states[row] === ARRIVED);
  }

  /** The message has come; false when it was not asked for here, or has come before. */
  arrive(id: Uint32Array): boolean {
    return this.#change(id, WANTED, ARRIVED);
  }

  /** It is on the disk; false when it did not come by this page. */
  settle(id: Uint32Array): boolean {
    const isSettled = this.#change(id, ARRIVED, SETTLED);
    if (isSettled) this.#onTheWay -= 1;
    return isSettled;
  }

  /** It has come, and is not taken. */
  refuse(id: Uint32Array): void {
    if (this.#change(id, ARRIVED, ABSENT)) this.#onTheWay -= 1;
  }

  /** What these bits asked for was answered wholly: gives what has not come, and waits for it no more. */
  complete(first: number, bits: Uint8Array): SyncIdList {
    const absent = new SyncIdList();
    for (let row = first; row < Math.min(this.count, first + bits.length * 8); row++) {
      const bit = row - first;
      const wasAsked = (bits[bit >>> 3]! & (1 << (bit & 7))) !== 0;
      if (!wasAsked || this.#states[row] !== WANTED) continue;
      this.#states[row] = ABSENT;
      absent.push(this.words, row * ID_WORDS);
    }
    this.#onTheWay -= absent.count;
    return absent;
  }

  /** The ids that were asked for and are not here. */
  outstanding(): SyncIdList {
    const outstanding = new SyncIdList();
    for (let row = 0; row < this.count; row++) {
      if (this.#states[row] === WANTED) outstanding.push(this.words, row * ID_WORDS);
    }
    return outstanding;
  }

  #change(id: Uint32Array, from: number, to: number): boolean {
    const row = this.#find(id, 0);
    if (row < 0 || this.#states[row] !== from) return false;
    this.#states[row] = to;
    return true;
  }

  /** The row of the id, or -1. */
  #find(words: Uint32Array, offset: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareIds(this.words, middle * ID_WORDS, words, offset) > 0) low = middle + 1;
      else high = middle;
    }
    return low < this.count && compareIds(this.words, low * ID_WORDS, words, offset) === 0 ? low : -1;
  }
}
