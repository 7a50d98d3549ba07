/**
 * Work over whole leaves: coded symbols and keyed hashes of many rows at once. It is done in WebAssembly, where
 * a hash takes a fourteenth of the time (23 ns an id for 315; it has words of 64 bits) and symbols half of it (32 ns
 * for 68 at 256 symbols, 47 for 102 at 4096; four ids go side by side), or, where there is none, by the plain
 * functions that it equals bit for bit.
 *
 * The kernel is a module of two KiB with a memory of its own, into which rows are copied; it imports nothing.
 */
import { KERNEL_WASM } from './kernel-wasm.ts';
import { addKeyedHashes, keyedHashes, type SipKey } from './siphash.ts';
import { addSymbols, SYMBOL_WORDS } from './symbols.ts';
import { ID_WORDS } from './sync-id.ts';

/** `words` holds `count` rows from `row` on. */
export interface Kernel {
  readonly name: 'wasm' | 'plain';
  /** XORs the first symbols of rows into `symbols`, as many as it has room for. */
  addSymbols(words: Uint32Array, row: number, count: number, symbols: Uint32Array): void;
  /** Adds the 128-bit hashes of rows to `sum`, as two sums modulo 2^64 in four words, low before high. */
  addKeyedHashes(words: Uint32Array, row: number, count: number, key: SipKey, sum: Uint32Array): void;
  /** Writes the 64-bit hash of each row into `ids`, two words a row, low before high. */
  keyedHashes(words: Uint32Array, row: number, count: number, key: SipKey, ids: Uint32Array): void;
}

export const plainKernel: Kernel = { name: 'plain', addSymbols, addKeyedHashes, keyedHashes };

/** What the kernel exports: addresses are in bytes. */
interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer };
  addSymbols(rows: number, count: number, symbols: number, limit: number): void;
  addKeyedHashes(rows: number, count: number, key: number, sum: number): void;
  keyedHashes(rows: number, count: number, key: number, ids: number): void;
}

/** As much of the API as is needed, which no library that is compiled against declares. */
interface WebAssemblyApi {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: Exports };
}

/** The memory, in words: a key and a sum, then rows at a time and their hashes, then symbols. */
const KEY = 0;
const SUM = 4;
const SUM_WORDS = 4;
const ROWS = SUM + SUM_WORDS;
const ROWS_MAX = 1024;
/** Rows are taken by fours; what is in the last three is without effect. */
const IDS = ROWS + (ROWS_MAX + 3) * ID_WORDS;
const SYMBOLS = IDS + ROWS_MAX * 2;
const SYMBOLS_MAX = 16_384;
const WORD_BYTES = 4;

/** With fewer rows, or with fewer for their symbols, to copy symbols costs more than is won. */
const ROWS_MIN = 8;
const SYMBOLS_PER_ROW = 256;

/** Undefined where WebAssembly is missing, or forbidden, or too old to know vectors. */
export function wasmKernel(): Kernel | undefined {
  const exports = instantiate();
  if (exports === undefined) return undefined;
  const memory = new Uint32Array(exports.memory.buffer);

  /** Copies rows in, as many at a time as there is room for. */
  function inPieces(
    words: Uint32Array,
    row: number,
    count: number,
    work: (piece: number, done: number) => void,
  ): void {
    for (let done = 0; done < count; done += ROWS_MAX) {
      const piece = Math.min(count - done, ROWS_MAX);
      memory.set(words.subarray((row + done) * ID_WORDS, (row + done + piece) * ID_WORDS), ROWS);
      work(piece, done);
    }
  }

  return {
    name: 'wasm',
    addSymbols(words, row, count, symbols) {
      const limit = symbols.length / SYMBOL_WORDS;
      if (limit > SYMBOLS_MAX || count < ROWS_MIN || count * SYMBOLS_PER_ROW < limit) {
        addSymbols(words, row, count, symbols);
        return;
      }
      memory.set(symbols, SYMBOLS);
      inPieces(words, row, count, (piece) =>
        exports.addSymbols(ROWS * WORD_BYTES, piece, SYMBOLS * WORD_BYTES, limit),
      );
      symbols.set(memory.subarray(SYMBOLS, SYMBOLS + symbols.length));
    },
    addKeyedHashes(words, row, count, key, sum) {
      memory.set(key, KEY);
      memory.set(sum.subarray(0, SUM_WORDS), SUM);
      inPieces(words, row, count, (piece) =>
        exports.addKeyedHashes(ROWS * WORD_BYTES, piece, KEY * WORD_BYTES, SUM * WORD_BYTES),
      );
      sum.set(memory.subarray(SUM, SUM + SUM_WORDS));
    },
    keyedHashes(words, row, count, key, ids) {
      memory.set(key, KEY);
      inPieces(words, row, count, (piece, done) => {
        exports.keyedHashes(ROWS * WORD_BYTES, piece, KEY * WORD_BYTES, IDS * WORD_BYTES);
        ids.set(memory.subarray(IDS, IDS + piece * 2), done * 2);
      });
    },
  };
}

function instantiate(): Exports | undefined {
  const { WebAssembly } = globalThis as { WebAssembly?: WebAssemblyApi };
  if (WebAssembly === undefined) return undefined;
  try {
    const bytes = Uint8Array.from(atob(KERNEL_WASM), (character) => character.charCodeAt(0));
    return new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports;
  } catch {
    return undefined;
  }
}

export const kernel: Kernel = wasmKernel() ?? plainKernel;
