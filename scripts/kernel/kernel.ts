/**
 * The kernel in AssemblyScript: coded symbols and SipHash-2-4 over rows of ids. What is computed, and why, is told
 * by its twins src/core/symbols.ts and src/core/siphash.ts, which it equals bit for bit; src/core/kernel.ts lays
 * out its memory. `npm run kernel` compiles it into src/core/kernel-wasm.ts.
 */
// biome-ignore-all lint/correctness/noPrecisionLoss: there are integers of 64 bits here.

const ROW_BYTES: usize = 40;
const HASH_BYTES_AT: usize = 8;
const SYMBOL_BYTES: u32 = 12;

/**
 * XORs the first `limit` symbols of rows into `symbols`, four ids side by side. A lane that is past the last symbol
 * stays at a spare one behind it, as do lanes without a row, so that nothing branches on the ids. Of the four words
 * of a vector the last is zero, and leaves the symbol behind as it is. Rows are read up to a multiple of four.
 */
export function addSymbols(rows: usize, count: u32, symbols: usize, limit: u32): void {
  const end = f64x2.splat(<f64>limit);
  for (let row: u32 = 0; row < count; row += 4) {
    addFour(rows + <usize>row * ROW_BYTES, count - row, symbols, end);
  }
}

function addFour(rows: usize, count: u32, symbols: usize, end: v128): void {
  // The first four words of each row are its time (high, low) and the first two of its hash.
  const row0 = v128.load(rows);
  const row1 = v128.load(rows + ROW_BYTES);
  const row2 = v128.load(rows + 2 * ROW_BYTES);
  const row3 = v128.load(rows + 3 * ROW_BYTES);
  const times01 = v128.shuffle<u32>(row0, row1, 0, 4, 1, 5);
  const times23 = v128.shuffle<u32>(row2, row3, 0, 4, 1, 5);
  const hashes01 = v128.shuffle<u32>(row0, row1, 2, 6, 3, 7);
  const hashes23 = v128.shuffle<u32>(row2, row3, 2, 6, 3, 7);
  const slot = v128.or(
    i32x4.shl(v128.shuffle<u64>(times01, times23, 0, 2), 2),
    i32x4.shr_u(v128.shuffle<u64>(times01, times23, 1, 3), 30),
  );
  const high = v128.shuffle<u64>(hashes01, hashes23, 0, 2);
  const low = v128.bitselect(v128.shuffle<u64>(hashes01, hashes23, 1, 3), slot, i32x4.splat(0xff00_0000));

  const check = v128.xor(
    mix(v128.xor(high, mix(v128.xor(low, i32x4.splat(0x6c61_6375))))),
    i32x4.mul(low, i32x4.splat(0x9e37_79b1)),
  );
  let state = mix(v128.xor(check, i32x4.mul(high, i32x4.splat(0x85eb_ca77))));

  const ids01 = v128.shuffle<u32>(high, low, 0, 4, 1, 5);
  const ids23 = v128.shuffle<u32>(high, low, 2, 6, 3, 7);
  const checks01 = v128.shuffle<u32>(check, i32x4.splat(0), 0, 4, 1, 5);
  const checks23 = v128.shuffle<u32>(check, i32x4.splat(0), 2, 6, 3, 7);
  const symbol0 = v128.shuffle<u64>(ids01, checks01, 0, 2);
  const symbol1 = v128.shuffle<u64>(ids01, checks01, 1, 3);
  const symbol2 = v128.shuffle<u64>(ids23, checks23, 0, 2);
  const symbol3 = v128.shuffle<u64>(ids23, checks23, 1, 3);

  const last = f64x2.extract_lane(end, 0);
  let index01 = f64x2(0, count > 1 ? 0 : last);
  let index23 = f64x2(count > 2 ? 0 : last, count > 3 ? 0 : last);
  do {
    // A whole number that is added to 2^52 is in the lowest bits of the sum.
    const places01 = f64x2.add(index01, f64x2.splat(4_503_599_627_370_496));
    const places23 = f64x2.add(index23, f64x2.splat(4_503_599_627_370_496));
    toggle(symbols + i32x4.extract_lane(places01, 0) * SYMBOL_BYTES, symbol0);
    toggle(symbols + i32x4.extract_lane(places01, 2) * SYMBOL_BYTES, symbol1);
    toggle(symbols + i32x4.extract_lane(places23, 0) * SYMBOL_BYTES, symbol2);
    toggle(symbols + i32x4.extract_lane(places23, 2) * SYMBOL_BYTES, symbol3);
    state = i32x4.add(state, i32x4.splat(0x9e37_79b9));
    const random = mix(state);
    // What comes to more than `end` was exact or far beyond it, and is cut to it.
    index01 = f64x2.pmin(f64x2.add(index01, gap(index01, random)), end);
    index23 = f64x2.pmin(f64x2.add(index23, gap(index23, v128.shuffle<u64>(random, random, 1, 1))), end);
  } while (v128.any_true(v128.or(f64x2.lt(index01, end), f64x2.lt(index23, end))));
}

function toggle(at: usize, symbol: v128): void {
  v128.store(at, v128.xor(v128.load(at), symbol));
}

/** The gaps of two indexes, at the random points of the lower two lanes. */
function gap(index: v128, random: v128): v128 {
  const root = f64x2.sqrt(f64x2.add(f64x2.convert_low_i32x4_u(random), f64x2.splat(1)));
  const factor = f64x2.sub(f64x2.div(f64x2.splat(65_536), root), f64x2.splat(1));
  return f64x2.pmax(f64x2.ceil(f64x2.mul(f64x2.add(index, f64x2.splat(1.5)), factor)), f64x2.splat(1));
}

function mix(value: v128): v128 {
  let mixed = v128.xor(value, i32x4.shr_u(value, 16));
  mixed = i32x4.mul(mixed, i32x4.splat(0x85eb_ca6b));
  mixed = v128.xor(mixed, i32x4.shr_u(mixed, 13));
  mixed = i32x4.mul(mixed, i32x4.splat(0xc2b2_ae35));
  return v128.xor(mixed, i32x4.shr_u(mixed, 16));
}

/** Adds the 128-bit hashes of rows to `sum`. */
export function addKeyedHashes(rows: usize, count: u32, key: usize, sum: usize): void {
  siphash(rows, count, key, sum, 2);
}

/** Writes the 64-bit hash of each row into `ids`. */
export function keyedHashes(rows: usize, count: u32, key: usize, ids: usize): void {
  siphash(rows, count, key, ids, 1);
}

/** The four blocks of a hash, and the one of its length. */
const BLOCKS: u32 = 5;
const LENGTH_BLOCK: u64 = 32 << 56;

/**
 * One id at a time in 64-bit registers, which a processor overlaps well: 23 ns an id. Vectors, whose lanes nothing
 * rotates in one step, took 28 ns with two ids and 18 ns with four, all rounds written out; two ids in registers
 * took 19 ns, or 15 ns with all rounds written out, in ten times the code.
 */
function siphash(rows: usize, count: u32, key: usize, out: usize, halves: u32): void {
  const long = halves === 2;
  const k0 = load<u64>(key);
  const k1 = load<u64>(key, 8);
  for (let row: u32 = 0; row < count; row++) {
    let at = rows + <usize>row * ROW_BYTES + HASH_BYTES_AT;
    let v0 = k0 ^ 0x736f_6d65_7073_6575;
    let v1 = k1 ^ 0x646f_7261_6e64_6f6d ^ (long ? 0xee : 0);
    let v2 = k0 ^ 0x6c79_6765_6e65_7261;
    let v3 = k1 ^ 0x7465_6462_7974_6573;
    for (let stage: u32 = 0; stage < BLOCKS + halves; stage++) {
      let block: u64 = 0;
      let rounds = 4;
      if (stage < BLOCKS) {
        rounds = 2;
        block = stage < BLOCKS - 1 ? load<u64>(at) : LENGTH_BLOCK;
        at += 8;
      } else if (stage === BLOCKS) {
        v2 ^= long ? 0xee : 0xff;
      } else {
        store<u64>(out, load<u64>(out) + (v0 ^ v1 ^ v2 ^ v3));
        v1 ^= 0xdd;
      }
      v3 ^= block;
      for (; rounds > 0; rounds--) {
        v0 += v1;
        v1 = rotl(v1, 13) ^ v0;
        v0 = rotl(v0, 32);
        v2 += v3;
        v3 = rotl(v3, 16) ^ v2;
        v0 += v3;
        v3 = rotl(v3, 21) ^ v0;
        v2 += v1;
        v1 = rotl(v1, 17) ^ v2;
        v2 = rotl(v2, 32);
      }
      v0 ^= block;
    }
    const hash = v0 ^ v1 ^ v2 ^ v3;
    if (long) store<u64>(out, load<u64>(out, 8) + hash, 8);
    else store<u64>(out + ((<usize>row) << 3), hash);
  }
}
