/**
 * SipHash-2-4 with outputs of 64 and 128 bits (Aumasson and Bernstein 2012, and the authors' reference for the
 * longer one) over message hashes, in 32-bit halves: the plain twin of what the WASM kernel computes.
 *
 * The input is the 32 bytes of the hash as the eight words of a row, each fed least significant byte first: on
 * every machine the same, and no byte is moved.
 */
import { ID_WORDS } from './sync-id.ts';

/** 128 bits: the low and high word of k0, then of k1. */
export type SipKey = Uint32Array;

const HASH_OFFSET = 2;
/** The length of the input, in the top byte of the last block. */
const LENGTH_BLOCK = 32 << 24;

/** Four words: the 128-bit output, or in the first two the 64-bit one. Reused from call to call. */
const output = new Uint32Array(4);

/** Adds the 128-bit hashes of rows to `sum`, as two sums modulo 2^64 in four words, low before high. */
export function addKeyedHashes(
  words: Uint32Array,
  row: number,
  count: number,
  key: SipKey,
  sum: Uint32Array,
): void {
  for (let at = row * ID_WORDS; at < (row + count) * ID_WORDS; at += ID_WORDS) {
    siphash(words, at + HASH_OFFSET, key, true);
    add64(sum, 0, output[0]!, output[1]!);
    add64(sum, 2, output[2]!, output[3]!);
  }
}

/** Writes the 64-bit hash of each row into `ids`, two words a row, low before high. */
export function keyedHashes(
  words: Uint32Array,
  row: number,
  count: number,
  key: SipKey,
  ids: Uint32Array,
): void {
  for (let index = 0; index < count; index++) {
    siphash(words, (row + index) * ID_WORDS + HASH_OFFSET, key, false);
    ids[index * 2] = output[0]!;
    ids[index * 2 + 1] = output[1]!;
  }
}

function add64(sum: Uint32Array, at: number, low: number, high: number): void {
  const added = sum[at]! + low;
  sum[at] = added;
  sum[at + 1] = sum[at + 1]! + high + (added > 0xffff_ffff ? 1 : 0);
}

/** The state of one hash, v0 to v3 in halves. */
let v0l = 0;
let v0h = 0;
let v1l = 0;
let v1h = 0;
let v2l = 0;
let v2h = 0;
let v3l = 0;
let v3h = 0;

function siphash(words: Uint32Array, at: number, key: SipKey, long: boolean): void {
  v0l = key[0]! ^ 0x70736575;
  v0h = key[1]! ^ 0x736f6d65;
  v1l = key[2]! ^ 0x6e646f6d ^ (long ? 0xee : 0);
  v1h = key[3]! ^ 0x646f7261;
  v2l = key[0]! ^ 0x6e657261;
  v2h = key[1]! ^ 0x6c796765;
  v3l = key[2]! ^ 0x79746573;
  v3h = key[3]! ^ 0x74656462;
  for (let word = 0; word < 8; word += 2) block(words[at + word]!, words[at + word + 1]!);
  block(0, LENGTH_BLOCK);
  v2l ^= long ? 0xee : 0xff;
  for (let round = 0; round < 4; round++) sipRound();
  output[0] = v0l ^ v1l ^ v2l ^ v3l;
  output[1] = v0h ^ v1h ^ v2h ^ v3h;
  if (!long) return;
  v1l ^= 0xdd;
  for (let round = 0; round < 4; round++) sipRound();
  output[2] = v0l ^ v1l ^ v2l ^ v3l;
  output[3] = v0h ^ v1h ^ v2h ^ v3h;
}

function block(low: number, high: number): void {
  v3l ^= low;
  v3h ^= high;
  sipRound();
  sipRound();
  v0l ^= low;
  v0h ^= high;
}

/** One SipRound; the carry of a 64-bit sum is where the low half came out smaller than what went in. */
function sipRound(): void {
  let low = (v0l + v1l) | 0;
  v0h = (v0h + v1h + (low >>> 0 < v0l >>> 0 ? 1 : 0)) | 0;
  v0l = low;
  let swap = (v1l << 13) | (v1h >>> 19);
  v1h = ((v1h << 13) | (v1l >>> 19)) ^ v0h;
  v1l = swap ^ v0l;
  swap = v0l;
  v0l = v0h;
  v0h = swap;
  low = (v2l + v3l) | 0;
  v2h = (v2h + v3h + (low >>> 0 < v2l >>> 0 ? 1 : 0)) | 0;
  v2l = low;
  swap = (v3l << 16) | (v3h >>> 16);
  v3h = ((v3h << 16) | (v3l >>> 16)) ^ v2h;
  v3l = swap ^ v2l;
  low = (v0l + v3l) | 0;
  v0h = (v0h + v3h + (low >>> 0 < v0l >>> 0 ? 1 : 0)) | 0;
  v0l = low;
  swap = (v3l << 21) | (v3h >>> 11);
  v3h = ((v3h << 21) | (v3l >>> 11)) ^ v0h;
  v3l = swap ^ v0l;
  low = (v2l + v1l) | 0;
  v2h = (v2h + v1h + (low >>> 0 < v2l >>> 0 ? 1 : 0)) | 0;
  v2l = low;
  swap = (v1l << 17) | (v1h >>> 15);
  v1h = ((v1h << 17) | (v1l >>> 15)) ^ v2h;
  v1l = swap ^ v2l;
  swap = v2l;
  v2l = v2h;
  v2h = swap;
}
