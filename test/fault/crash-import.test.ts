/**
 * An import that is killed again and again, at a dozen different moments: the store opens each time, is whole, and
 * holds all that was reported as done; in the end it holds the input, and nothing else.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { digestOf, exported, keyOf, lineOf, makeMessages, text } from '../e2e/message-lines.ts';
import { endAll, failureCode, LacunaProcess, lacuna, lacunaJson, temporaryFolder } from '../e2e/process.ts';

afterEach(endAll);

const CHUNKS = 24;
const FIRST_NS = 1_700_000_000_000_000_000n;
const lines = makeMessages(20_000, FIRST_NS, 250_000_000n, { payloadBytes: 300 }).map(lineOf);
const hashes = lines.map((line) => keyOf(line).hash);
const chunks = Array.from({ length: CHUNKS }, (_, index) =>
  text(lines.slice((index * lines.length) / CHUNKS, ((index + 1) * lines.length) / CHUNKS)),
);

/**
 * When to kill: after so many chunks were taken from us, and then some ms. The first ones come while the folder is
 * made and opened, before anything is read.
 */
const MOMENTS: readonly (readonly [chunks: number, ms: number])[] = [
  [0, 120],
  [0, 250],
  [1, 0],
  [3, 20],
  [5, 5],
  [8, 0],
  [10, 40],
  [13, 10],
  [16, 0],
  [19, 30],
  [23, 15],
  [24, 0],
];

/** Imports that take more chunks than this are given them one by one. */
const PACED_FROM = 12;
const PACE_MS = 40;

/** Feeds an import and kills it; returns how many lines it had reported as being on the disk. */
async function killedImport(data: string, chunksTaken: number, ms: number): Promise<number> {
  const process = new LacunaProcess(['import', '-', '--json', '--data', data]);
  for (const chunk of chunks.slice(0, chunksTaken)) {
    expect(await process.write(chunk)).toBe(true);
    // Progress is told four times a second: a fast machine would else be done before it has told any.
    if (chunksTaken > PACED_FROM) await pause(PACE_MS);
  }
  await pause(ms);
  process.kill('SIGKILL');
  const { signal, stdout } = await process.ended;
  expect([signal, stdout]).toEqual(['SIGKILL', '']);
  const done = process.logs.filter(({ event }) => event === 'progress').map((line) => Number(line['done']));
  return Math.max(0, ...done);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The hashes that the store holds, after it was opened and found whole. */
async function heldAfterKill(data: string): Promise<Set<string>> {
  const verified = await lacuna(['verify', '--json', '--data', data]);
  // Killed before there was a store: then nothing was reported either.
  if (failureCode(verified) === 'STORE_MISSING') return new Set();
  expect(verified.code).toBe(0);
  expect(JSON.parse(verified.stdout)).toMatchObject({ damaged: 0 });
  const { code, stdout } = await lacuna(['export', '--hashes', '--data', data]);
  expect(code).toBe(0);
  const held = stdout.split('\n').slice(0, -1);
  expect((JSON.parse(verified.stdout) as { checked: number }).checked).toBe(held.length);
  return new Set(held);
}

describe('an import that is killed', () => {
  it('at a dozen moments loses nothing that it reported, and ends complete', async () => {
    const data = await temporaryFolder();
    const known = new Set(hashes);
    let reportedMost = 0;
    let before = 0;
    for (const [chunksTaken, ms] of MOMENTS) {
      const reported = await killedImport(data, chunksTaken, ms);
      reportedMost = Math.max(reportedMost, reported);
      const held = await heldAfterKill(data);
      const at = `after chunk ${chunksTaken}, ${ms} ms`;
      expect(held.size, at).toBeGreaterThanOrEqual(before);
      expect(
        hashes.slice(0, reportedMost).every((hash) => held.has(hash)),
        at,
      ).toBe(true);
      expect(
        [...held].every((hash) => known.has(hash)),
        at,
      ).toBe(true);
      before = held.size;
    }
    // The kills were spread over the work, not before and behind it.
    expect(reportedMost).toBeGreaterThan(lines.length / 4);
    const { code, json } = await lacunaJson(['import', '-', '--data', data], { input: text(lines) });
    expect(code).toBe(0);
    expect(json).toMatchObject({ read: lines.length, refused: 0 });
    expect(Number(json['stored']) + Number(json['duplicate'])).toBe(lines.length);
    const { stdout } = await lacuna(['export', '--data', data]);
    expect(digestOf(stdout)).toEqual(digestOf(exported(lines)));
    expect(await lacunaJson(['verify', '--data', data])).toMatchObject({
      code: 0,
      json: { checked: lines.length, damaged: 0 },
    });
  });
});
