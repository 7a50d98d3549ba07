/**
 * The records of the index, and those of others, as bytes. Every value ends in a check over its bytes and its key: LevelDB does not check
 * what it reads, and the XOR of a leaf says nothing of its times. A check finds what a disk does by accident; what
 * a leaf holds is compared with its count, order and XOR besides.
 */
import {
  HASH_BYTES,
  HASH_WORDS,
  ID_BYTES,
  ID_WORDS,
  readHashWords,
  readIdBytes,
  writeHashWords,
  writeIdBytes,
} from '../core/sync-id.ts';
import type { Known, Tally } from './tally.ts';

export const INDEX_VERSION = 1;
const CHECK_BYTES = 4;

export interface IndexHeader {
  /** False while the index is being built. */
  readonly isWhole: boolean;
  /** What messages are counted by. */
  readonly known: Known;
  readonly nextPage: number;
  readonly nextBlock: number;
  readonly count: number;
}

/** Of a leaf, what is known without its rows. */
export interface DirectoryEntry {
  readonly page: number;
  readonly lower: Uint32Array;
  readonly count: number;
  readonly patches: number;
  readonly block: number;
  readonly xor: Uint32Array;
}

/** The symbols of a block are good for exactly this count and XOR. */
export interface BlockSums {
  readonly number: number;
  readonly count: number;
  readonly xor: Uint32Array;
}

const HEADER_BYTES = 20;
/** A store of before there were counts of hours has this one alone, and its counts have no bytes. */
const PUBSUB_COUNTED = 1;
const WHOLE = 2;
const HOURS_COUNTED = 4;
const CONTENT_COUNTED = 8;

export function encodeHeader({ isWhole, known, nextPage, nextBlock, count }: IndexHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + CHECK_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, INDEX_VERSION);
  const counted =
    (known.pubsub ? PUBSUB_COUNTED : 0) |
    (known.hours ? HOURS_COUNTED : 0) |
    (known.content ? CONTENT_COUNTED : 0);
  view.setUint16(2, counted | (isWhole ? WHOLE : 0));
  view.setUint32(4, nextPage);
  view.setUint32(8, nextBlock);
  view.setBigUint64(12, BigInt(count));
  return sealed(bytes, 0, 0);
}

export function decodeHeader(bytes: Uint8Array): IndexHeader | undefined {
  if (bytes.length !== HEADER_BYTES + CHECK_BYTES || !isSealed(bytes, 0, 0)) return undefined;
  const view = viewOf(bytes);
  if (view.getUint16(0) !== INDEX_VERSION) return undefined;
  const flags = view.getUint16(2);
  return {
    isWhole: (flags & WHOLE) !== 0,
    known: {
      hours: (flags & HOURS_COUNTED) !== 0,
      pubsub: (flags & PUBSUB_COUNTED) !== 0,
      content: (flags & CONTENT_COUNTED) !== 0,
    },
    nextPage: view.getUint32(4),
    nextBlock: view.getUint32(8),
    count: Number(view.getBigUint64(12)),
  };
}

const ENTRY_BYTES = ID_BYTES + 12 + HASH_BYTES;

/** `lower` and `xor` are read at their offsets: they stand in the columns of a block. */
export function encodeEntry(
  page: number,
  lowers: Uint32Array,
  lowerAt: number,
  count: number,
  patches: number,
  block: number,
  xors: Uint32Array,
  xorAt: number,
): Uint8Array {
  const bytes = new Uint8Array(ENTRY_BYTES + CHECK_BYTES);
  const view = new DataView(bytes.buffer);
  writeIdBytes(lowers, lowerAt, bytes, 0);
  view.setUint32(ID_BYTES, count);
  view.setUint32(ID_BYTES + 4, patches);
  view.setUint32(ID_BYTES + 8, block);
  writeHashWords(xors, xorAt, bytes, ID_BYTES + 12);
  return sealed(bytes, page, 0);
}

export function decodeEntry(page: number, bytes: Uint8Array): DirectoryEntry | undefined {
  if (bytes.length !== ENTRY_BYTES + CHECK_BYTES || !isSealed(bytes, page, 0)) return undefined;
  const view = viewOf(bytes);
  const lower = new Uint32Array(ID_WORDS);
  const xor = new Uint32Array(HASH_WORDS);
  readIdBytes(bytes, 0, lower, 0);
  readHashWords(bytes, ID_BYTES + 12, xor, 0);
  return {
    page,
    lower,
    count: view.getUint32(ID_BYTES),
    patches: view.getUint32(ID_BYTES + 4),
    block: view.getUint32(ID_BYTES + 8),
    xor,
  };
}

/** Rows of a page, or of a patch of it. */
export function encodeRows(words: Uint32Array, count: number, page: number, patch: number): Uint8Array {
  const bytes = new Uint8Array(count * ID_BYTES + CHECK_BYTES);
  for (let row = 0; row < count; row++) writeIdBytes(words, row * ID_WORDS, bytes, row * ID_BYTES);
  return sealed(bytes, page, patch);
}

/**
 * Puts the rows into `words`, as far as they have room there; returns how many there are. Where they do not fit their
 * check it returns undefined, and what `words` holds means nothing.
 */
export function decodeRows(
  bytes: Uint8Array,
  page: number,
  patch: number,
  words: Uint32Array,
): number | undefined {
  const count = (bytes.length - CHECK_BYTES) / ID_BYTES;
  if (!Number.isInteger(count) || count < 0 || count * ID_WORDS > words.length) return undefined;
  // Checked while they are read, each word once: a look-up by hash reads dozens of pages.
  const view = viewOf(bytes);
  const end = count * ID_BYTES;
  let hash = checkBegun(end, page, patch);
  for (let at = 0, place = 0; at < end; at += 4, place++) {
    const word = view.getInt32(at);
    words[place] = word;
    hash = step(hash, word);
  }
  return view.getUint32(end) === checkEnded(hash) ? count : undefined;
}

const SYMBOLS_AT = 4 + HASH_BYTES;

export function encodeSymbols({ number, count, xor }: BlockSums, symbols: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(SYMBOLS_AT + symbols.length * 4 + CHECK_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, count);
  writeHashWords(xor, 0, bytes, 4);
  for (let word = 0; word < symbols.length; word++) view.setUint32(SYMBOLS_AT + word * 4, symbols[word]!);
  return sealed(bytes, number, 0);
}

/** Puts the symbols into `symbols`; returns false when they are not those of the block as it is now. */
export function decodeSymbols(
  bytes: Uint8Array,
  { number, count, xor }: BlockSums,
  symbols: Uint32Array,
): boolean {
  if (bytes.length !== SYMBOLS_AT + symbols.length * 4 + CHECK_BYTES) return false;
  const view = viewOf(bytes);
  if (view.getUint32(0) !== count) return false;
  for (let word = 0; word < HASH_WORDS; word++) if (view.getUint32(4 + word * 4) !== xor[word]) return false;
  if (!isSealed(bytes, number, 0)) return false;
  for (let word = 0; word < symbols.length; word++) symbols[word] = view.getUint32(SYMBOLS_AT + word * 4);
  return true;
}

export function encodeTopicCount(topic: Uint8Array, tally: Tally): Uint8Array {
  return encodeTally(tally, viewOf(topic).getUint32(0), viewOf(topic).getUint32(4));
}

export function decodeTopicCount(topic: Uint8Array, bytes: Uint8Array): Tally | undefined {
  if (topic.length < 8) return undefined;
  return decodeTally(bytes, viewOf(topic).getUint32(0), viewOf(topic).getUint32(4));
}

export function encodeHourCount(hour: number, tally: Tally): Uint8Array {
  return encodeTally(tally, hour, 0);
}

export function decodeHourCount(hour: number, bytes: Uint8Array): Tally | undefined {
  return decodeTally(bytes, hour, 0);
}

const TALLY_BYTES = 16;
const WORD = 2 ** 32;

/** Messages and bytes, each in eight bytes: they stay below 2^53. */
function encodeTally({ messages, bytes }: Tally, first: number, second: number): Uint8Array {
  const encoded = new Uint8Array(TALLY_BYTES + CHECK_BYTES);
  const view = viewOf(encoded);
  view.setUint32(0, messages / WORD);
  view.setUint32(4, messages >>> 0);
  view.setUint32(8, bytes / WORD);
  view.setUint32(12, bytes >>> 0);
  return sealed(encoded, first, second);
}

function decodeTally(encoded: Uint8Array, first: number, second: number): Tally | undefined {
  if (encoded.length !== TALLY_BYTES + CHECK_BYTES || !isSealed(encoded, first, second)) return undefined;
  const view = viewOf(encoded);
  return {
    messages: view.getUint32(0) * WORD + view.getUint32(4),
    bytes: view.getUint32(8) * WORD + view.getUint32(12),
  };
}

/** A record of any length, with a check over its key and its bytes. */
export function encodeRecord(key: Uint8Array, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(value.length + CHECK_BYTES);
  bytes.set(value);
  viewOf(bytes).setUint32(value.length, recordCheck(key, value));
  return bytes;
}

export function decodeRecord(key: Uint8Array, bytes: Uint8Array): Uint8Array | undefined {
  const end = bytes.length - CHECK_BYTES;
  if (end < 0) return undefined;
  const value = bytes.subarray(0, end);
  // A copy: what the database gives is a Buffer, whose methods are not quite those of an array.
  return viewOf(bytes).getUint32(end) === recordCheck(key, value) ? new Uint8Array(value) : undefined;
}

function recordCheck(key: Uint8Array, value: Uint8Array): number {
  return checkOf(value, value.length, checkOf(key, key.length, 0, 0), 0);
}

function sealed(bytes: Uint8Array, first: number, second: number): Uint8Array {
  const end = bytes.length - CHECK_BYTES;
  viewOf(bytes).setUint32(end, checkOf(bytes, end, first, second));
  return bytes;
}

function isSealed(bytes: Uint8Array, first: number, second: number): boolean {
  const end = bytes.length - CHECK_BYTES;
  return viewOf(bytes).getUint32(end) === checkOf(bytes, end, first, second);
}

/**
 * MurmurHash3 over big-endian words: each step can be undone, so that no change of one word goes unseen. Beyond the
 * end of the array stand zeros; where more follows the bytes to be checked, they have to be whole words.
 */
function checkOf(bytes: Uint8Array, end: number, first: number, second: number): number {
  let hash = checkBegun(end, first, second);
  for (let at = 0; at < end; at += 4) {
    const word = (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
    hash = step(hash, word);
  }
  return checkEnded(hash);
}

function checkBegun(end: number, first: number, second: number): number {
  return step(step(end, first), second);
}

function checkEnded(hash: number): number {
  let mixed = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

function step(hash: number, word: number): number {
  let mixed = Math.imul(word, 0xcc9e_2d51);
  mixed = Math.imul((mixed << 15) | (mixed >>> 17), 0x1b87_3593);
  const turned = hash ^ mixed;
  return (Math.imul((turned << 13) | (turned >>> 19), 5) + 0xe654_6b64) | 0;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
