/** Reconciliations between two Lacunas through really encoded bytes, bounded in messages, and what must hold of them. */
import fc from 'fast-check';
import { expect } from 'vitest';
import { DigestTree } from '../../src/core/digest-tree.ts';
import { KeyedSums } from '../../src/core/keyed-sums.ts';
import type { NativePayload } from '../../src/core/native/payload.ts';
import { NATIVE_POLICY, type NativePolicy } from '../../src/core/native/policy.ts';
import { NativeReconciler, type NativeState } from '../../src/core/native/reconciler.ts';
import type { RangeIndex } from '../../src/core/range-index.ts';
import { shortIdHigh, shortIdLow } from '../../src/core/symbols.ts';
import { boundAt, compareIds, ID_WORDS, SyncIdList } from '../../src/core/sync-id.ts';
import { decodeNativePayload, encodeNativePayload } from '../../src/wire/native-payload.ts';
import { Chance } from './random-sets.ts';

/** A payload that says nothing, to be filled in. */
export const EMPTY: NativePayload = {
  opening: undefined,
  answers: [],
  lists: [],
  wanted: [],
  sketchAnswers: [],
  extensions: [],
  found: 0,
  sketches: [],
  check: undefined,
  agreed: false,
};

/** No honest dialogue is this long; one that is has gone round in circles. */
export const MESSAGES_MAX = 40;
const LOOPING = 200;

export interface Window {
  readonly lower: Uint32Array;
  readonly upper: Uint32Array;
}

export interface SideOptions {
  readonly policy?: Partial<NativePolicy>;
  readonly audit?: boolean;
  readonly random?: (below: number) => number;
}

export interface Found {
  readonly have: SyncIdList;
  readonly need: number;
  readonly state: NativeState;
}

export interface NativeOutcome {
  readonly messages: number;
  readonly payloads: readonly Uint8Array[];
  readonly a: Found;
  readonly b: Found;
}

/** A key that both sides have from their salts. */
export function keyOf(seed: number): Uint32Array {
  const chance = new Chance(seed ^ 0x6b6579);
  return Uint32Array.from({ length: 4 }, () => chance.word());
}

export function side(
  index: RangeIndex,
  window: Window,
  key: Uint32Array,
  options: SideOptions = {},
): NativeReconciler {
  const { policy, audit, random } = options;
  return new NativeReconciler({
    index,
    ...window,
    keyed: new KeyedSums(key),
    policy: { ...NATIVE_POLICY, ...policy },
    ...(audit === undefined ? {} : { audit }),
    ...(random === undefined ? {} : { random }),
  });
}

export function windowOf({ lowerNs, upperNs }: { lowerNs: bigint; upperNs: bigint }): Window {
  return { lower: boundAt(lowerNs), upper: boundAt(upperNs) };
}

/** Runs two sides until neither has anything to say; `between` is called after each message. */
export function runNative(
  a: NativeReconciler,
  b: NativeReconciler,
  between: () => void = () => undefined,
): NativeOutcome {
  const found = { a: new SyncIdList(), b: new SyncIdList() };
  const payloads: Uint8Array[] = [];
  let reply: NativePayload | undefined = a.open();
  while (reply !== undefined) {
    const bytes = encodeNativePayload(reply);
    payloads.push(bytes);
    between();
    if (payloads.length > LOOPING) throw new Error(`still talking after ${LOOPING} messages`);
    const reader = payloads.length % 2 === 1 ? b : a;
    const step = reader.step(decodeNativePayload(bytes));
    (reader === a ? found.a : found.b).pushRows(step.have.words, 0, step.have.count);
    // Whoever reached its limits hangs up.
    reply = reader.state === 'incomplete' ? undefined : step.reply;
  }
  return {
    messages: payloads.length,
    payloads,
    a: { have: found.a, need: a.needCount, state: a.state },
    b: { have: found.b, need: b.needCount, state: b.state },
  };
}

export function reconcileLists(
  a: SyncIdList,
  b: SyncIdList,
  window: Window,
  seed: number,
  ofA: SideOptions = {},
  ofB: SideOptions = ofA,
): NativeOutcome {
  const key = keyOf(seed);
  return runNative(side(DigestTree.from(a), window, key, ofA), side(DigestTree.from(b), window, key, ofB));
}

/** The two sides came to an end, and one of them saw the digests agree. */
export function expectAgreement({ a, b, messages }: NativeOutcome): void {
  const states = [a.state, b.state];
  if (!states.includes('agreed') || !states.every((state) => state === 'agreed' || state === 'ended')) {
    expect.fail(`ended ${states.join(' and ')} after ${messages} messages`);
  }
  expect(messages).toBeLessThanOrEqual(MESSAGES_MAX);
}

/** Each side found what only it holds, once, and nothing else; and knows how many ids it lacks itself. */
export function expectExact(outcome: NativeOutcome, onlyA: SyncIdList, onlyB: SyncIdList): void {
  expectAgreement(outcome);
  expectSame(outcome.a.have, onlyA);
  expectSame(outcome.b.have, onlyB);
  if (outcome.a.need !== onlyB.count || outcome.b.need !== onlyA.count) {
    expect.fail(`${outcome.a.need} of ${onlyB.count} and ${outcome.b.need} of ${onlyA.count} needed`);
  }
}

/** The same ids, each once; `expected` ascends. */
export function expectSame(found: SyncIdList, expected: SyncIdList): void {
  if (found.count !== expected.count) expect.fail(`${found.count} ids found of ${expected.count}`);
  const ascending = found.toAscending();
  if (ascending.count !== found.count) expect.fail('an id was found twice');
  for (let at = 0; at < expected.count * ID_WORDS; at++) {
    if (ascending.words[at] !== expected.words[at]) expect.fail(`another id was found at word ${at}`);
  }
}

/** What is in the first list and not in the second. */
export function less(a: SyncIdList, b: SyncIdList): SyncIdList {
  const other = DigestTree.from(b);
  const left = new SyncIdList();
  for (let row = 0; row < a.count; row++) if (!other.has(a.at(row))) left.push(a.words, row * ID_WORDS);
  return left.toAscending();
}

export function within(ids: SyncIdList, { lower, upper }: Window): SyncIdList {
  const inside = new SyncIdList();
  for (let row = 0; row < ids.count; row++) {
    const at = row * ID_WORDS;
    if (compareIds(ids.words, at, lower, 0) >= 0 && compareIds(ids.words, at, upper, 0) < 0) {
      inside.push(ids.words, at);
    }
  }
  return inside.toAscending();
}

/**
 * The same where short ids collide: all that differs is found, once, by the side that holds it. An id of both sides
 * may be taken for one that shares its short id, and is then named without need.
 */
export function expectAllFound(outcome: NativeOutcome, a: SyncIdList, b: SyncIdList): void {
  expectAgreement(outcome);
  const sharers = sharedShortIds(a, b);
  expectCovers(outcome.a.have, less(a, b), a, sharers);
  expectCovers(outcome.b.have, less(b, a), b, sharers);
}

function expectCovers(
  found: SyncIdList,
  differing: SyncIdList,
  held: SyncIdList,
  sharers: ReadonlySet<string>,
): void {
  expect(found.toAscending().count).toBe(found.count);
  expect(less(found, held).count).toBe(0);
  expect(less(differing, found).count).toBe(0);
  const spare = less(found, differing);
  for (let row = 0; row < spare.count; row++) expect(sharers).toContain(shortText(spare, row));
}

/** The short ids that more than one id of the two sets has. */
function sharedShortIds(a: SyncIdList, b: SyncIdList): ReadonlySet<string> {
  const all = DigestTree.from(a);
  for (let row = 0; row < b.count; row++) all.insert(b.words, row * ID_WORDS);
  const ids = all.ids(new Uint32Array(ID_WORDS), new Uint32Array(ID_WORDS).fill(0xffff_ffff));
  const seen = new Set<string>();
  const shared = new Set<string>();
  for (let row = 0; row < ids.count; row++) {
    const text = shortText(ids, row);
    if (seen.has(text)) shared.add(text);
    seen.add(text);
  }
  return shared;
}

function shortText(ids: SyncIdList, row: number): string {
  return `${shortIdHigh(ids.words, row * ID_WORDS)} ${shortIdLow(ids.words, row * ID_WORDS)}`;
}

/** The real figures, and such as make small sets take every path. */
export const nativePolicies: fc.Arbitrary<Partial<NativePolicy>> = fc.oneof(
  { weight: 3, arbitrary: fc.constant({}) },
  {
    weight: 7,
    arbitrary: fc
      .tuple(otherFigures(), fc.constantFrom([16, 8], [1, 1], [4, 1], [4, 4]))
      // More ids than are listed must make two parts at least: else a range would be cut into itself.
      .map(([figures, [listIds, partIdsMin]]) => ({
        ...figures,
        listIds: listIds!,
        partIdsMin: partIdsMin!,
      })),
  },
);

function otherFigures(): fc.Arbitrary<Partial<NativePolicy>> {
  return fc.record(
    {
      openingParts: fc.constantFrom(1, 2, 24, 100),
      cutParts: fc.constantFrom(2, 16),
      oneSidedIds: fc.constantFrom(0, 128),
      refineAbove: fc.constantFrom(0, 10),
      refineParts: fc.constantFrom(8, 256),
      // A sketch far too small for what differs: extended, or given up.
      sketchSymbols: fc.constantFrom(4, 40, 3_800),
      sketchExtensions: fc.constantFrom(0, 1, 2),
      // With ids that weigh so much, sketches are sent where lists would be cheaper; and the other way round.
      listedIdBytes: fc.constantFrom(0, 8, 1_000),
      keyedIds: fc.constantFrom(0, 20, 200_000),
      keyedSpotIds: fc.constantFrom(0, 5, 50, 40_000),
    },
    { requiredKeys: [] },
  );
}
