/** The kernel and its plain twin: the same bits, and the module that its source gives. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { compileKernel, KERNEL_FILE } from '../../scripts/kernel/compile.ts';
import { kernel, plainKernel, wasmKernel } from '../../src/core/kernel.ts';
import { SLOT_BITS, SLOT_MASK, SYMBOL_WORDS, toggle } from '../../src/core/symbols.ts';
import { ID_WORDS } from '../../src/core/sync-id.ts';
import { Chance } from './random-sets.ts';

const wasm = wasmKernel()!;

const EDGES = [0, 1, 0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, 0xff00_0000, 0xffff_ffff];

/** Mostly random words, and in some rows those at the edges. */
function randomRows(chance: Chance, rows: number): Uint32Array {
  const words = Uint32Array.from({ length: rows * ID_WORDS }, () => chance.word());
  for (let row = 0; row < rows; row++) {
    if (chance.below(8) > 0) continue;
    for (let word = 0; word < ID_WORDS; word++) words[row * ID_WORDS + word] = chance.pick(EDGES);
  }
  return words;
}

function randomWords(chance: Chance, length: number): Uint32Array {
  return Uint32Array.from({ length }, () => chance.word());
}

/** Quicker than to compare element by element. */
function expectSame(a: Uint32Array, b: Uint32Array): void {
  expect(a.length).toBe(b.length);
  expect(Buffer.from(a.buffer).equals(Buffer.from(b.buffer))).toBe(true);
}

const rows = fc.oneof(fc.nat(20), fc.nat(600), fc.noBias(fc.nat(5000)));
const count = fc.oneof(fc.nat(20), fc.nat(600), fc.noBias(fc.nat(5000)));

describe('the kernel', () => {
  it('is in WebAssembly here', () => {
    expect(wasm.name).toBe('wasm');
    expect(kernel.name).toBe('wasm');
    expect(plainKernel.name).toBe('plain');
  });

  it('adds the symbols that its twin adds', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(5), rows, count, (seed, row, size, symbols) => {
        const chance = new Chance(seed);
        const words = randomRows(chance, row + size);
        const expected = randomWords(chance, symbols * SYMBOL_WORDS);
        const actual = expected.slice();
        plainKernel.addSymbols(words, row, size, expected);
        wasm.addSymbols(words, row, size, actual);
        expectSame(actual, expected);
      }),
      { numRuns: 200 },
    );
  });

  it('adds the hashes that its twin adds', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(5), rows, (seed, row, size) => {
        const chance = new Chance(seed);
        const words = randomRows(chance, row + size);
        const key = randomWords(chance, 4);
        const expected = randomWords(chance, 4);
        const actual = expected.slice();
        plainKernel.addKeyedHashes(words, row, size, key, expected);
        wasm.addKeyedHashes(words, row, size, key, actual);
        expectSame(actual, expected);
      }),
    );
  });

  it('writes the hashes that its twin writes', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(5), rows, (seed, row, size) => {
        const chance = new Chance(seed);
        const words = randomRows(chance, row + size);
        const key = randomWords(chance, 4);
        const expected = randomWords(chance, size * 2 + 3);
        const actual = expected.slice();
        plainKernel.keyedHashes(words, row, size, key, expected);
        wasm.keyedHashes(words, row, size, key, actual);
        expectSame(actual, expected);
      }),
    );
  });

  it('does so at the edges of its memory, and past them', () => {
    const chance = new Chance(1);
    const words = randomRows(chance, 4099);
    for (const size of [1, 7, 8, 9, 1023, 1024, 1025, 2048, 4099]) {
      for (const symbols of [0, 1, 2, 3, 2047, 2048, 2049, 16_383, 16_384, 16_385, 40_000]) {
        const expected = randomWords(chance, symbols * SYMBOL_WORDS);
        const actual = expected.slice();
        plainKernel.addSymbols(words, 0, size, expected);
        wasm.addSymbols(words, 0, size, actual);
        expectSame(actual, expected);
      }
    }
  });

  it('does so with the shortest and the longest gap there can be', () => {
    // The first random points of these short ids are 2^32 - 1, which is no gap at all, and 0.
    const shortIds = [
      [1, 4, 123_173_233],
      [98_303, 23, 124_513_018],
    ] as const;
    for (const [gap, high, low] of shortIds) {
      const alone = new Uint32Array(98_304 * SYMBOL_WORDS);
      toggle(alone, high, low);
      const next = alone.findIndex((word, at) => at >= SYMBOL_WORDS && word === high);
      expect(next).toBe(gap * SYMBOL_WORDS);
      const id = [(low & SLOT_MASK) >>> 2, low << SLOT_BITS, high, low, 0, 0, 0, 0, 0, 0];
      // Nine times the same, which leaves it once.
      const words = Uint32Array.from({ length: 9 * ID_WORDS }, (_, at) => id[at % ID_WORDS]!);
      const actual = new Uint32Array(2048 * SYMBOL_WORDS);
      wasm.addSymbols(words, 0, 9, actual);
      expectSame(actual, alone.slice(0, actual.length));
    }
  });

  it('leaves what else is in the arrays as it is', () => {
    const words = randomRows(new Chance(2), 40);
    const before = words.slice();
    const [plainSum, wasmSum] = [new Uint32Array(8).fill(5), new Uint32Array(8).fill(5)];
    const key = Uint32Array.of(1, 2, 3, 4);
    plainKernel.addKeyedHashes(words, 0, 40, key, plainSum);
    wasm.addKeyedHashes(words, 0, 40, key, wasmSum);
    wasm.addSymbols(words, 0, 40, new Uint32Array(30));
    expectSame(wasmSum, plainSum);
    expectSame(words, before);
    expectSame(key, Uint32Array.of(1, 2, 3, 4));
  });
});

describe('where WebAssembly is not to be had', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  it('there is no kernel in it', () => {
    vi.stubGlobal('WebAssembly', undefined);
    expect(wasmKernel()).toBeUndefined();
  });

  it('nor where it is forbidden', () => {
    const Module = (): never => {
      throw new Error('refused by the policy of the page');
    };
    vi.stubGlobal('WebAssembly', { Module, Instance: Module });
    expect(wasmKernel()).toBeUndefined();
  });

  it('the plain one is taken', async () => {
    vi.stubGlobal('WebAssembly', undefined);
    vi.resetModules();
    const again = await import('../../src/core/kernel.ts');
    expect(again.kernel).toBe(again.plainKernel);
  });
});

describe('the module that is checked in', () => {
  it('is what its source gives (npm run kernel)', () => {
    expect(readFileSync(KERNEL_FILE, 'utf8').replaceAll('\r\n', '\n')).toBe(compileKernel());
  });
});
