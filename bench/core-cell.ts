/** The process of one case of the core bench: `core-cell.ts CASE` writes a line of JSON for each figure. */
import '../src/platform.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import { DigestTree } from '../src/core/digest-tree.ts';
import { kernel, plainKernel } from '../src/core/kernel.ts';
import { KEYED_SUM_WORDS, KeyedSums } from '../src/core/keyed-sums.ts';
import { SYMBOL_WORDS } from '../src/core/symbols.ts';
import { HASH_WORDS, ID_WORDS, type SyncIdList } from '../src/core/sync-id.ts';
import type { CoreFigure } from './core.ts';
import { median } from './measure.ts';
import { makeSets } from './sets.ts';

const RUNS = 7;
const QUERIES = 20_000;
const MILLION = 1_000_000;

const CASES: Readonly<Record<string, () => void | Promise<void>>> = {
  build,
  append,
  insert,
  range,
  keyed,
  memory,
};

const ids = makeSets('w1-1m-0').a;
await CASES[process.argv[2] ?? '']!();

/** From ids in order: leaves filled whole, symbols of leaves and blocks computed. */
function build(): void {
  say(
    'milliseconds',
    milliseconds(RUNS, () => DigestTree.from(ids)),
    'ms',
    '<= 500',
  );
  // What the machine can do at most with the same rows: copy them once.
  const copyMs = milliseconds(RUNS, () => ids.words.slice());
  say('copyMilliseconds', copyMs, 'ms');
}

/** One by one, in order, as messages arrive. */
function append(): void {
  const ms = milliseconds(RUNS, () => insertAll(ids, undefined));
  say('idsPerSecond', (ids.count / ms) * 1_000, '1/s', '>= 2 M');
}

/** One by one, in an order of chance. */
function insert(): void {
  const order = shuffled(ids.count);
  const ms = milliseconds(3, () => insertAll(ids, order));
  say('idsPerSecond', (ids.count / ms) * 1_000, '1/s', '>= 0.4 M');
}

/** Of two random bounds among a million ids, inserted at random so that leaves are as full as they get then. */
function range(): void {
  const tree = insertAll(ids, shuffled(ids.count));
  const bounds = Array.from({ length: 2_048 }, (_, at) => ids.at(pseudoRandom(at, ids.count)).slice());
  const fingerprint = new Uint32Array(HASH_WORDS);
  const digest = microseconds(bounds, (lower, upper) => {
    tree.digest(lower, upper, fingerprint);
  });
  say('digestMicroseconds', digest, 'us', '<= 8');
  for (const symbols of [64, 256]) {
    const room = new Uint32Array(symbols * SYMBOL_WORDS);
    const time = microseconds(bounds, (lower, upper) => tree.addSymbols(lower, upper, room));
    say(`symbols${symbols}Microseconds`, time, 'us', symbols === 64 ? '<= 120' : '');
  }
  say(
    'rankMicroseconds',
    microseconds(bounds, (bound) => void tree.rank(bound)),
    'us',
  );
}

/** Every id of a million hashed under a key; then the same again, when all leaves are remembered. */
function keyed(): void {
  const tree = DigestTree.from(ids);
  const [lower, upper] = [ids.at(0), ids.at(ids.count - 1)];
  const sum = new Uint32Array(KEYED_SUM_WORDS);
  const remembered = new KeyedSums(Uint32Array.of(1, 2, 3, 4));
  let session = 0;
  const fresh = (): void =>
    tree.addKeyed(lower, upper, new KeyedSums(Uint32Array.of(session++, 2, 3, 4)), sum);
  say('firstMilliseconds', milliseconds(RUNS, fresh), 'ms');
  say(
    'againMilliseconds',
    milliseconds(RUNS, () => tree.addKeyed(lower, upper, remembered, sum)),
    'ms',
  );
  const plain = milliseconds(3, () =>
    plainKernel.addKeyedHashes(ids.words, 0, ids.count, remembered.key, sum),
  );
  say(`ratioOf${kernel.name === 'wasm' ? 'Wasm' : 'Plain'}ToPlain`, plain / milliseconds(3, fresh), 'x');
}

/** All leaves in memory, with their symbols, after inserts in order and in an order of chance. */
async function memory(): Promise<void> {
  say('orderedBytesPerId', await bytesPerId(undefined), 'B', '<= 100');
  say('randomBytesPerId', await bytesPerId(shuffled(ids.count)), 'B', '<= 100');
}

/** The tree before must be gone when the next one begins: each is held by a call of its own. */
async function bytesPerId(order: Uint32Array | undefined): Promise<number> {
  await collected();
  const before = process.memoryUsage();
  const tree = insertAll(ids, order);
  await collected();
  const after = process.memoryUsage();
  return (after.arrayBuffers + after.heapUsed - before.arrayBuffers - before.heapUsed) / tree.count;
}

/** Twice, with a pause: buffers are given back in the background. */
async function collected(): Promise<void> {
  for (let round = 0; round < 2; round++) {
    (globalThis as { gc?: () => void }).gc?.();
    await sleep(100);
  }
}

function insertAll({ words, count }: SyncIdList, order: Uint32Array | undefined): DigestTree {
  const tree = new DigestTree();
  for (let row = 0; row < count; row++) tree.insert(words, (order?.[row] ?? row) * ID_WORDS);
  return tree;
}

function milliseconds(runs: number, work: () => unknown): number {
  const times: number[] = [];
  for (let run = 0; run <= runs; run++) {
    const start = performance.now();
    work();
    times.push(performance.now() - start);
  }
  // The first is a warm-up.
  return median(times.slice(1));
}

function microseconds(
  bounds: readonly Uint32Array[],
  work: (lower: Uint32Array, upper: Uint32Array) => void,
): number {
  const times: number[] = [];
  for (let query = 0; query < QUERIES; query++) {
    const a = bounds[pseudoRandom(query, bounds.length)]!;
    const b = bounds[pseudoRandom(query + MILLION, bounds.length)]!;
    const [lower, upper] = a[0]! < b[0]! ? [a, b] : [b, a];
    const start = performance.now();
    work(lower, upper);
    times.push((performance.now() - start) * 1_000);
  }
  return median(times.slice(QUERIES / 10));
}

function shuffled(count: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, row) => row);
  for (let row = count - 1; row > 0; row--) {
    const other = pseudoRandom(row, row + 1);
    const held = order[row]!;
    order[row] = order[other]!;
    order[other] = held;
  }
  return order;
}

function pseudoRandom(seed: number, below: number): number {
  let mixed = Math.imul(seed + 1, 0x9e37_79b1);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x85eb_ca6b);
  mixed ^= mixed >>> 13;
  return Math.floor(((mixed >>> 0) / 2 ** 32) * below);
}

function say(metric: string, value: number, unit: string, target = ''): void {
  const figure: CoreFigure = { metric, value, unit, ...(target === '' ? {} : { target }) };
  console.log(JSON.stringify(figure));
}
