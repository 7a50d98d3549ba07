/**
 * Negentropy, protocol version 1, as both sides of a session: written from its published specification
 * (https://github.com/hoytech/negentropy), to be measured against. Sets lie in sorted typed arrays and each
 * fingerprint is a scan, as in the published JavaScript library. Unlike there, times are 64 bits wide, and a scan
 * costs 4 ns an id where theirs costs some 270: its bytes and messages are negentropy's, its time is what a careful
 * implementation reaches in this language. There is no frame limit. It is never what a node runs.
 *
 * The initiator learns what it has and what it needs; the responder keeps nothing between two messages.
 */
import { createHash } from 'node:crypto';
import {
  compareIds,
  compareTimes,
  HASH_BYTES,
  HASH_WORDS,
  ID_WORDS,
  readHashWords,
  SyncIdList,
  writeHashWords,
} from '../../src/core/sync-id.ts';
import { LacunaError } from '../../src/errors.ts';
import { ByteReader, ByteWriter, lebLength64 } from '../../src/wire/bytes.ts';

export const PROTOCOL_VERSION = 0x61;

const SKIP = 0;
const FINGERPRINT = 1;
const ID_LIST = 2;

const FINGERPRINT_BYTES = 16;
const BUCKETS = 16;
/** A range of fewer ids is listed. */
const SPLIT_IDS = 2 * BUCKETS;

const ALL_ONES = 0xffff_ffff;
const TWO_32 = 0x1_0000_0000;
/** So many words of 32 bits add up to less than 2^53. */
const EXACT_ROWS = 2 ** 20;

/** Where a range ends: an id of which only the first bytes of the hash are told, the rest being zero. */
interface Bound {
  readonly id: Uint32Array;
  readonly hashBytes: number;
}

const INFINITY: Bound = {
  id: Uint32Array.from({ length: ID_WORDS }, (_, word) => (word < 2 ? ALL_ONES : 0)),
  hashBytes: 0,
};

const KEY_BYTES = Buffer.alloc(HASH_BYTES);

/** A set as the protocol wants it: the ids ascending, and their hashes as little-endian numbers. */
export class NegentropySet {
  readonly ids: SyncIdList;
  readonly #numbers: Uint32Array;

  constructor(ids: SyncIdList) {
    this.ids = ids.toAscending();
    this.#numbers = new Uint32Array(this.ids.count * HASH_WORDS);
    for (let row = 0; row < this.ids.count; row++) {
      for (let word = 0; word < HASH_WORDS; word++) {
        this.#numbers[row * HASH_WORDS + word] = swapped(this.ids.words[row * ID_WORDS + 2 + word]!);
      }
    }
  }

  /** SHA-256 over the sum of the hashes modulo 2^256 and their count, cut short. */
  fingerprint(from: number, to: number): Uint8Array {
    const sum = new Uint32Array(HASH_WORDS);
    for (let row = from; row < to; row += EXACT_ROWS) this.#addRows(sum, row, Math.min(row + EXACT_ROWS, to));
    const input = new ByteWriter(HASH_BYTES + 10);
    const at = input.skip(HASH_BYTES);
    writeHashWords(sum.map(swapped), 0, input.buffer, at);
    writeVarint(input, 0, to - from);
    return createHash('sha256').update(input.finish()).digest().subarray(0, FINGERPRINT_BYTES);
  }

  /** Eight columns are added up apart as doubles, and carried once: a carry a word would take most of the time. */
  #addRows(sum: Uint32Array, from: number, to: number): void {
    const numbers = this.#numbers;
    let [c0, c1, c2, c3, c4, c5, c6, c7] = [0, 0, 0, 0, 0, 0, 0, 0];
    for (let at = from * HASH_WORDS; at < to * HASH_WORDS; at += HASH_WORDS) {
      c0 += numbers[at]!;
      c1 += numbers[at + 1]!;
      c2 += numbers[at + 2]!;
      c3 += numbers[at + 3]!;
      c4 += numbers[at + 4]!;
      c5 += numbers[at + 5]!;
      c6 += numbers[at + 6]!;
      c7 += numbers[at + 7]!;
    }
    let carry = 0;
    for (const [word, column] of [c0, c1, c2, c3, c4, c5, c6, c7].entries()) {
      const total = sum[word]! + column + carry;
      sum[word] = total;
      carry = Math.floor(total / TWO_32);
    }
  }

  /** The first row from `from` on that is not below the bound. */
  rowAt(bound: Bound, from: number): number {
    let low = from;
    let high = this.ids.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareIds(this.ids.words, middle * ID_WORDS, bound.id, 0) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The shortest bound that parts this row from the one before it. */
  boundBefore(row: number): Bound {
    const { words } = this.ids;
    const at = row * ID_WORDS;
    const id = new Uint32Array(ID_WORDS);
    id[0] = words[at]!;
    id[1] = words[at + 1]!;
    if (compareTimes(words, at - ID_WORDS, words, at) !== 0) return { id, hashBytes: 0 };
    const hash = this.#hash(row);
    const before = this.#hash(row - 1);
    const hashBytes = hash.findIndex((byte, index) => byte !== before[index]) + 1;
    readHashWords(hash.fill(0, hashBytes), 0, id, 2);
    return { id, hashBytes };
  }

  #hash(row: number): Uint8Array {
    const hash = new Uint8Array(HASH_BYTES);
    writeHashWords(this.ids.words, row * ID_WORDS + 2, hash, 0);
    return hash;
  }
}

export class NegentropyInitiator {
  /** Ids here and not there. */
  readonly have = new SyncIdList();
  /** Hashes there and not here; the protocol does not tell their times, which are left zero. */
  readonly need = new SyncIdList();
  readonly #set: NegentropySet;

  constructor(set: NegentropySet) {
    this.#set = set;
  }

  open(): Uint8Array {
    const out = new MessageWriter();
    split(this.#set, 0, this.#set.ids.count, INFINITY, out);
    return out.finish();
  }

  /** undefined: all differences are known. */
  answer(message: Uint8Array): Uint8Array | undefined {
    const out = answerRanges(this.#set, message, (theirs, from, to) => {
      this.#compare(theirs, from, to);
      return false;
    });
    return out.hasRanges ? out.finish() : undefined;
  }

  #compare(theirs: SyncIdList, from: number, to: number): void {
    const rows = new Map<string, number>();
    for (let row = 0; row < theirs.count; row++) rows.set(keyOf(theirs, row), row);
    const { ids } = this.#set;
    for (let row = from; row < to; row++) {
      if (!rows.delete(keyOf(ids, row))) this.have.push(ids.words, row * ID_WORDS);
    }
    for (const row of rows.values()) this.need.push(theirs.words, row * ID_WORDS);
  }
}

export class NegentropyResponder {
  readonly #set: NegentropySet;

  constructor(set: NegentropySet) {
    this.#set = set;
  }

  answer(message: Uint8Array): Uint8Array {
    return answerRanges(this.#set, message, () => true).finish();
  }
}

/** Takes a list of the other side for a range of rows here; true when the answer is to list the rows. */
type ListHandler = (theirs: SyncIdList, from: number, to: number) => boolean;

function answerRanges(set: NegentropySet, message: Uint8Array, onList: ListHandler): MessageWriter {
  const incoming = new MessageReader(message);
  const out = new MessageWriter();
  let from = 0;
  while (incoming.left > 0) {
    const bound = incoming.bound();
    const mode = incoming.varint();
    const to = set.rowAt(bound, from);
    if (mode === SKIP) {
      out.skip(bound);
    } else if (mode === FINGERPRINT) {
      if (sameBytes(incoming.fingerprint(), set.fingerprint(from, to))) out.skip(bound);
      else split(set, from, to, bound, out);
    } else if (mode === ID_LIST) {
      if (onList(incoming.ids(), from, to)) out.list(bound, set.ids, from, to);
      else out.skip(bound);
    } else {
      throw new LacunaError('WIRE_TYPE', `range mode ${mode}`);
    }
    from = to;
  }
  return out;
}

/** Says what is held in a range: by name when it is little, by the fingerprints of equal parts when not. */
function split(set: NegentropySet, from: number, to: number, upper: Bound, out: MessageWriter): void {
  const count = to - from;
  if (count < SPLIT_IDS) {
    out.list(upper, set.ids, from, to);
    return;
  }
  const larger = count % BUCKETS;
  let row = from;
  for (let bucket = 0; bucket < BUCKETS; bucket++) {
    const end = row + Math.floor(count / BUCKETS) + (bucket < larger ? 1 : 0);
    const bound = end === to ? upper : set.boundBefore(end);
    out.fingerprint(bound, set.fingerprint(row, end));
    row = end;
  }
}

class MessageWriter {
  readonly #writer = new ByteWriter(4096);
  readonly #previous = new Uint32Array(2);
  /** The end of ranges to pass over, which are told only when something follows them. */
  #skipped: Bound | undefined;

  constructor() {
    this.#writer.byte(PROTOCOL_VERSION);
  }

  get hasRanges(): boolean {
    return this.#writer.length > 1;
  }

  finish(): Uint8Array {
    return this.#writer.finish();
  }

  skip(bound: Bound): void {
    this.#skipped = bound;
  }

  fingerprint(bound: Bound, fingerprint: Uint8Array): void {
    this.#range(bound, FINGERPRINT);
    this.#writer.raw(fingerprint);
  }

  list(bound: Bound, ids: SyncIdList, from: number, to: number): void {
    this.#range(bound, ID_LIST);
    writeVarint(this.#writer, 0, to - from);
    let at = this.#writer.skip((to - from) * HASH_BYTES);
    for (let row = from; row < to; row++) {
      writeHashWords(ids.words, row * ID_WORDS + 2, this.#writer.buffer, at);
      at += HASH_BYTES;
    }
  }

  #range(bound: Bound, mode: number): void {
    if (this.#skipped !== undefined) {
      this.#bound(this.#skipped);
      writeVarint(this.#writer, 0, SKIP);
      this.#skipped = undefined;
    }
    this.#bound(bound);
    writeVarint(this.#writer, 0, mode);
  }

  /** The time since the bound before, plus one; zero for the end of all time. */
  #bound({ id, hashBytes }: Bound): void {
    if (isInfinity(id)) {
      writeVarint(this.#writer, 0, 0);
    } else {
      const low = id[1]! - this.#previous[1]! + 1;
      const high = id[0]! - this.#previous[0]! + Math.floor(low / TWO_32);
      writeVarint(this.#writer, high, low >>> 0);
      this.#previous.set(id.subarray(0, 2));
    }
    writeVarint(this.#writer, 0, hashBytes);
    const hash = new Uint8Array(HASH_BYTES);
    writeHashWords(id, 2, hash, 0);
    this.#writer.raw(hash.subarray(0, hashBytes));
  }
}

/** Every method throws LacunaError WIRE_TRUNCATED, WIRE_VARINT, WIRE_OVERFLOW, WIRE_FIELD_INVALID or WIRE_TYPE. */
class MessageReader {
  readonly #reader: ByteReader;
  readonly #previous = new Uint32Array(2);

  constructor(message: Uint8Array) {
    this.#reader = new ByteReader(message);
    const version = this.#reader.byte();
    if (version !== PROTOCOL_VERSION) throw new LacunaError('WIRE_TYPE', `protocol version ${version}`);
  }

  get left(): number {
    return this.#reader.left;
  }

  varint(): number {
    const { high, low } = readVarint(this.#reader);
    return high * TWO_32 + low;
  }

  bound(): Bound {
    const time = readVarint(this.#reader);
    const id = new Uint32Array(ID_WORDS);
    if (time.high === 0 && time.low === 0) {
      id.set(INFINITY.id);
    } else {
      const low = this.#previous[1]! + time.low - 1;
      const high = this.#previous[0]! + time.high + Math.floor(low / TWO_32);
      if (high > ALL_ONES) throw new LacunaError('WIRE_OVERFLOW', 'a time is beyond 2^64');
      id[0] = high;
      id[1] = low;
    }
    this.#previous.set(id.subarray(0, 2));
    const hashBytes = this.varint();
    if (hashBytes > HASH_BYTES)
      throw new LacunaError('WIRE_FIELD_INVALID', `a bound hash of ${hashBytes} bytes`);
    const hash = new Uint8Array(HASH_BYTES);
    hash.set(this.#reader.take(hashBytes));
    readHashWords(hash, 0, id, 2);
    return { id, hashBytes };
  }

  fingerprint(): Uint8Array {
    return this.#reader.take(FINGERPRINT_BYTES);
  }

  ids(): SyncIdList {
    const count = this.varint();
    const bytes = this.#reader.take(count * HASH_BYTES);
    const ids = new SyncIdList(count);
    for (let row = 0; row < count; row++)
      readHashWords(bytes, row * HASH_BYTES, ids.words, ids.pushEmpty() + 2);
    return ids;
  }
}

/** Base 128 with the highest digit first, unlike LEB128. */
export function writeVarint(writer: ByteWriter, high: number, low: number): void {
  for (let shift = 7 * (lebLength64(high, low) - 1); shift > 0; shift -= 7) {
    const digit = shift >= 32 ? high >>> (shift - 32) : (low >>> shift) | (high << (32 - shift));
    writer.byte((digit & 0x7f) | 0x80);
  }
  writer.byte(low & 0x7f);
}

/** @throws LacunaError WIRE_VARINT beyond 64 bits. */
export function readVarint(reader: ByteReader): { high: number; low: number } {
  let high = 0;
  let low = 0;
  for (;;) {
    const byte = reader.byte();
    if (high >>> 25 !== 0) throw new LacunaError('WIRE_VARINT', 'a varint is beyond 64 bits');
    high = ((high << 7) | (low >>> 25)) >>> 0;
    low = ((low << 7) | (byte & 0x7f)) >>> 0;
    if (byte < 0x80) return { high, low };
  }
}

function isInfinity(id: Uint32Array): boolean {
  return id[0] === ALL_ONES && id[1] === ALL_ONES;
}

/** A hash as a key: the string of its bytes, which is where the engine hashes and compares fast. */
function keyOf(ids: SyncIdList, row: number): string {
  writeHashWords(ids.words, row * ID_WORDS + 2, KEY_BYTES, 0);
  return KEY_BYTES.toString('latin1');
}

/** The bytes of a word the other way round. */
function swapped(word: number): number {
  return ((word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)) >>> 0;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.every((byte, index) => byte === b[index]);
}
