/** Peers that lie to the native engine: whatever they send, a call ends in a step or a code, and dialogues end. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DigestTree } from '../../src/core/digest-tree.ts';
import type { KeyedSums } from '../../src/core/keyed-sums.ts';
import type { Answer, Cut, NativePayload, SketchAnswer } from '../../src/core/native/payload.ts';
import { NATIVE_POLICY, type NativePolicy } from '../../src/core/native/policy.ts';
import type { NativeReconciler } from '../../src/core/native/reconciler.ts';
import type { RangeIndex } from '../../src/core/range-index.ts';
import { SLOT_MASK, SYMBOL_WORDS, shortIdLow } from '../../src/core/symbols.ts';
import { boundAt, compareIds, ID_WORDS, SyncIdList } from '../../src/core/sync-id.ts';
import { decodeNativePayload, encodeNativePayload } from '../../src/wire/native-payload.ts';
import { codeOf } from '../error-code.ts';
import { EMPTY, keyOf, nativePolicies, side, type Window } from './native-dialogue.ts';
import { type Draft, Liar } from './native-liar.ts';
import { Chance, makePair, type Pair, pairParameters, START_NS } from './random-sets.ts';

/** What a call may end in, other than a step. */
const CODES = /^(WIRE_\w+|SESSION_BUDGET)$/;

/** Hands payloads to one side, and holds everything that must be true of it whatever they are. */
class Watched {
  readonly reconciler: NativeReconciler;
  readonly #held: DigestTree;
  readonly #window: Window;
  readonly #named = new DigestTree();
  steps = 0;

  constructor(held: DigestTree, window: Window, key: Uint32Array, policy: Partial<NativePolicy>) {
    this.reconciler = side(held, window, key, { policy });
    this.#held = held;
    this.#window = window;
  }

  /** The answer to the bytes; undefined when there is none, or when this side hangs up. */
  read(bytes: Uint8Array): NativePayload | undefined {
    let reply: NativePayload | undefined;
    const code = codeOf(() => {
      const payload = decodeNativePayload(bytes);
      this.steps += 1;
      const step = this.reconciler.step(payload);
      this.#check(step.have);
      reply = step.reply;
    });
    if (code !== undefined) {
      expect(code).toMatch(CODES);
      return undefined;
    }
    if (reply === undefined) return undefined;
    // What is answered can be sent and read.
    expectNoLoss(reply);
    return this.reconciler.state === 'incomplete' ? undefined : reply;
  }

  /** No id is named that is not held in the window, and none twice. */
  #check(have: SyncIdList): void {
    const { lower, upper } = this.#window;
    for (let row = 0; row < have.count; row++) {
      const at = row * ID_WORDS;
      if (!this.#held.has(have.at(row))) expect.fail('an id was named that is not held');
      const inside = compareIds(have.words, at, lower, 0) >= 0 && compareIds(have.words, at, upper, 0) < 0;
      if (!inside) expect.fail('an id outside the window was named');
      if (!this.#named.insert(have.words, at)) expect.fail('an id was named twice');
    }
  }
}

function expectNoLoss(payload: NativePayload): void {
  const bytes = encodeNativePayload(payload);
  expect(encodeNativePayload(decodeNativePayload(bytes))).toEqual(bytes);
}

/** The window lies within the ids: some lie before and behind it, and must never be named. */
function innerWindow(pair: Pair, chance: Chance): Window {
  const ids = pair.a.count > 0 ? pair.a : pair.b;
  if (ids.count < 4 || chance.below(2) === 0) {
    return { lower: boundAt(pair.lowerNs), upper: boundAt(pair.upperNs) };
  }
  const from = chance.below(ids.count >>> 1);
  const to = from + chance.below(ids.count - from);
  return { lower: ids.at(from).slice(), upper: ids.at(to).slice() };
}

describe('a peer that makes everything up', () => {
  it('gets an answer or a code, and comes to an end', () => {
    const lengths: number[] = [];
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(pairParameters(600), nativePolicies, fc.boolean(), (parameters, policy, begins) => {
        const pair = makePair(parameters);
        const chance = new Chance(parameters.seed);
        const window = innerWindow(pair, chance);
        const held = DigestTree.from(pair.a);
        const watched = new Watched(held, window, keyOf(parameters.seed), policy);
        // It knows all that we hold, and is the more convincing for it.
        const liar = new Liar(window, chance.below(2) === 0 ? held : DigestTree.from(pair.b), chance);
        let bytes = encodeNativePayload(
          begins ? liar.open(chance.below(4) === 0) : liar.answer(watched.reconciler.open()),
        );
        for (;;) {
          const reply = watched.read(bytes);
          if (reply === undefined) break;
          if (watched.steps > NATIVE_POLICY.payloadsMax + 1) expect.fail('an endless dialogue');
          for (const answer of [...reply.answers, ...reply.sketchAnswers]) {
            seen.set(answer.kind, (seen.get(answer.kind) ?? 0) + 1);
          }
          bytes = encodeNativePayload(liar.answer(reply));
        }
        lengths.push(watched.steps);
      }),
      { numRuns: 1_500 },
    );
    // The dialogues get deep, and into every kind of answer.
    expect(lengths.filter((steps) => steps >= 4).length).toBeGreaterThan(200);
    expect([...seen.keys()].sort()).toEqual(
      [...ANSWERS, 'decoded', 'more', 'undecoded'].sort((x, y) => (x < y ? -1 : 1)),
    );
  });

  it('that never has enough is left after so many payloads', () => {
    const pair = makePair({ ...PLAIN, seed: 1, size: 400 });
    const window = windowOf(pair);
    const nothing = encodeNativePayload(EMPTY);
    const wrong = encodeNativePayload({ ...EMPTY, check: checkOf(window, new Chance(1)) });
    for (const bytes of [nothing, wrong]) {
      const watched = new Watched(DigestTree.from(pair.a), window, keyOf(1), {});
      while (watched.read(bytes) !== undefined) {
        if (watched.steps > NATIVE_POLICY.payloadsMax + 1) expect.fail('an endless dialogue');
      }
    }
  });
});

describe('payloads of a running dialogue, changed on their way', () => {
  it('get an answer or a code, and the dialogue comes to an end', () => {
    fc.assert(
      fc.property(
        pairParameters(600),
        nativePolicies,
        fc.integer({ min: 1, max: 8 }),
        (parameters, policy, rate) => {
          const pair = makePair(parameters);
          const chance = new Chance(parameters.seed ^ 0xfa15e);
          const window = innerWindow(pair, chance);
          const key = keyOf(parameters.seed);
          const sides = [
            new Watched(DigestTree.from(pair.a), window, key, policy),
            new Watched(DigestTree.from(pair.b), window, key, policy),
          ] as const;
          let reply: NativePayload | undefined = sides[0].reconciler.open();
          for (let message = 0; reply !== undefined; message++) {
            if (message > 2 * NATIVE_POLICY.payloadsMax + 2) expect.fail('an endless dialogue');
            let sent: Uint8Array | undefined;
            if (chance.below(rate) === 0) sent = encoded(mutated(reply, pair, chance));
            sent ??= encodeNativePayload(reply);
            if (chance.below(20) === 0) sent = withChangedByte(sent, chance);
            // A payload that is repeated answers nothing that was asked.
            if (chance.below(30) === 0) sides[1 - (message % 2)]!.read(sent);
            reply = sides[1 - (message % 2)]!.read(sent);
          }
        },
      ),
      { numRuns: 5_000 },
    );
  });

  it('may be anything at all', () => {
    const pair = makePair({ ...PLAIN, seed: 2, size: 300 });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, opened) => {
        const watched = new Watched(DigestTree.from(pair.a), windowOf(pair), keyOf(2), {});
        if (opened) watched.reconciler.open();
        watched.read(bytes);
      }),
      { numRuns: 3_000 },
    );
  });
});

describe('an opening', () => {
  it('of another window is refused', () => {
    const pair = makePair({ ...PLAIN, seed: 3, size: 100 });
    const window = windowOf(pair);
    const other = { lower: window.lower, upper: boundAt(pair.upperNs + 1n) };
    const tree = DigestTree.from(pair.b);
    expect(codeOf(() => side(tree, window, keyOf(3)).step(side(tree, other, keyOf(3)).open()))).toBe(
      'WIRE_FIELD_INVALID',
    );
  });

  it('that is repeated does not have ids named twice', () => {
    for (const strict of [false, true]) {
      const pair = makePair({ ...PLAIN, seed: 4, size: 100, differing: 1000 });
      const window = windowOf(pair);
      const watched = new Watched(DigestTree.from(pair.a), window, keyOf(4), {});
      const opening = side(DigestTree.from(new SyncIdList()), window, keyOf(4)).open();
      watched.read(encodeNativePayload(opening));
      expect(watched.reconciler.haveCount).toBe(pair.a.count);
      const again = { ...opening, opening: { ...opening.opening!, strict }, check: undefined };
      watched.read(encodeNativePayload(again));
      expect(watched.reconciler.haveCount).toBe(pair.a.count);
    }
  });

  it('again and again runs into a limit', () => {
    const pair = makePair({ ...PLAIN, seed: 5, size: 100 });
    const window = windowOf(pair);
    const reconciler = side(DigestTree.from(pair.a), window, keyOf(5));
    const { opening } = side(DigestTree.from(pair.b), window, keyOf(5)).open();
    const strict = { ...EMPTY, opening: { ...opening!, strict: true } };
    const codes = Array.from({ length: 10 }, () => codeOf(() => reconciler.step(strict)));
    expect(codes.at(-1)).toBe('SESSION_BUDGET');
  });
});

describe('a check', () => {
  it('beyond the window, or of an end before its beginning, is refused', () => {
    const pair = makePair({ ...PLAIN, seed: 6, size: 200 });
    const window = windowOf(pair);
    const check = checkOf(window, new Chance(6));
    const beyond = boundAt(pair.upperNs + 1n);
    const before = boundAt(pair.lowerNs - 1n);
    for (const wrong of [
      { ...check, upper: beyond },
      { ...check, lower: before },
      { ...check, lower: window.upper, upper: window.lower },
    ]) {
      const reconciler = side(DigestTree.from(pair.a), window, keyOf(6));
      expect(codeOf(() => reconciler.step({ ...EMPTY, check: wrong }))).toBe('WIRE_FIELD_INVALID');
    }
  });
});

describe('what the other side may ask for', () => {
  it('is no more symbols than a sketch may have', () => {
    const { watched, reply } = opened(7, 3_000);
    const parts = reply.opening!.cut.counts.length;
    const symbols = new Uint32Array((NATIVE_POLICY.symbolsMax + 1) * SYMBOL_WORDS);
    const answers = Array.from({ length: parts }, (): Answer => ({ kind: 'sketched' }));
    const payload = { ...EMPTY, answers, sketches: [{ ranges: parts, symbols }] };
    expect(codeOf(() => watched.reconciler.step(payload))).toMatch(CODES);
  });

  it('is no more lists than so many ids', () => {
    const { watched, reply } = opened(8, 3_000, { listedIdsMax: 2_000 });
    const answers = reply.opening!.cut.counts.map((): Answer => ({ kind: 'ask' }));
    expect(codeOf(() => watched.reconciler.step({ ...EMPTY, answers }))).toBe('SESSION_BUDGET');
  });

  it('is no more ids to be hashed under its key than so many', () => {
    const { reply, window } = opened(9, 3_000);
    const policy = { keyedIdsMax: 10_000, comparisonsMax: 10 };
    const { watched } = opened(9, 3_000, policy);
    // Each time, all is to be hashed for the check and for the parts.
    const payload = {
      ...EMPTY,
      opening: { ...reply.opening!, strict: true },
      check: checkOf(window, new Chance(9)),
    };
    const codes = Array.from({ length: 4 }, () => codeOf(() => watched.reconciler.step(payload)));
    expect(codes).toEqual([undefined, 'SESSION_BUDGET', 'SESSION_BUDGET', 'SESSION_BUDGET']);
  });

  it('is no more parts than so many, wherever they come from', () => {
    const { watched, reply } = opened(10, 6_000, { partsMax: 100, openingParts: 90, sketchExtensions: 0 });
    const answers = reply.opening!.cut.counts.map((): Answer => ({ kind: 'sketched' }));
    const noise = new Chance(10);
    const symbols = Uint32Array.from({ length: 30 * SYMBOL_WORDS }, () => noise.word());
    const payload = { ...EMPTY, answers, sketches: [{ ranges: answers.length, symbols }] };
    // A sketch that does not decode is answered by cuts of all that it covered.
    const next = watched.read(encodeNativePayload(payload))!;
    expect(next.sketchAnswers[0]!.kind).toBe('undecoded');
    expect(partsIn(next)).toBeLessThanOrEqual(100);
  });

  it('is decided by lists of any ids, a hundred thousand of them that are alike', () => {
    for (const spread of [true, false]) {
      const { watched, reply } = opened(11, 2_000);
      const noise = new Chance(11);
      // Without a spread all of them fall on the same place of a table.
      const ids = new Uint32Array(200_000);
      for (let at = 0; at < ids.length; at += 2) {
        ids[at] = spread ? noise.word() : 0;
        ids[at + 1] = spread ? noise.word() : 0;
      }
      const [first, ...others] = reply.opening!.cut.counts;
      expect(first).toBeGreaterThan(0);
      const answers: Answer[] = [{ kind: 'list', ids }, ...others.map((): Answer => ({ kind: 'equal' }))];
      const next = watched.read(encodeNativePayload({ ...EMPTY, answers }));
      expect(next?.wanted[0]).toHaveLength(12_500);
      expect(watched.reconciler.haveCount).toBe(first);
    }
  });

  it('is looked up once for a slot of time, however many short ids fall into it', () => {
    const size = 20_000;
    const pair = makePair({ ...PLAIN, shape: 'one timestamp', seed: 13, size, differing: 5 });
    const window = windowOf(pair);
    const counting = new CountingIndex(DigestTree.from(pair.b));
    const reconciler = side(counting, window, keyOf(13));
    const { reply } = reconciler.step(side(DigestTree.from(pair.a), window, keyOf(13)).open());
    const count = reply!.sketches[0]!.symbols.length / SYMBOL_WORDS;
    const noise = new Chance(13);
    const slot = shortIdLow(pair.b.words, 0) & SLOT_MASK;
    // As many short ids as the sketch has symbols, all of the one slot in which everything lies.
    const wanted = Uint32Array.from({ length: count * 2 }, (_, word) =>
      word % 2 === 0 ? noise.word() : ((noise.word() & ~SLOT_MASK) | slot) >>> 0,
    );
    counting.rows = 0;
    reconciler.step({ ...EMPTY, sketchAnswers: [{ kind: 'decoded', wanted }] });
    expect(count).toBeGreaterThan(100);
    expect(counting.rows).toBeLessThanOrEqual(size);
  });

  it('is not what it wanted by short ids that nobody asked about', () => {
    const pair = makePair({ ...PLAIN, seed: 12, size: 8_000, differing: 5 });
    const window = windowOf(pair);
    const watched = new Watched(DigestTree.from(pair.b), window, keyOf(12), {});
    const reply = watched.read(encodeNativePayload(side(DigestTree.from(pair.a), window, keyOf(12)).open()))!;
    expect(reply.sketches.length).toBe(1);
    const count = reply.sketches[0]!.symbols.length / SYMBOL_WORDS;
    const noise = new Chance(12);
    const short = (ids: number): Uint32Array => Uint32Array.from({ length: ids * 2 }, () => noise.word());
    const payload = (ids: number): NativePayload => ({
      ...EMPTY,
      sketchAnswers: [{ kind: 'decoded', wanted: short(ids) }],
    });
    expect(codeOf(() => watched.reconciler.step(payload(count + 1)))).toBe('WIRE_FIELD_INVALID');
    const other = new Watched(DigestTree.from(pair.b), window, keyOf(12), {});
    other.read(encodeNativePayload(side(DigestTree.from(pair.a), window, keyOf(12)).open()));
    other.read(encodeNativePayload(payload(count)));
    expect(other.reconciler.haveCount).toBe(0);
  });
});

describe('a peer that says that all agrees', () => {
  it('is believed, and told nothing more', () => {
    const { watched } = opened(14, 300);
    expect(watched.read(encodeNativePayload({ ...EMPTY, agreed: true }))).toBeUndefined();
    expect([watched.reconciler.state, watched.reconciler.haveCount]).toEqual(['agreed', 0]);
  });
});

/** Counts the rows that are read. */
class CountingIndex implements RangeIndex {
  rows = 0;
  readonly #tree: DigestTree;

  constructor(tree: DigestTree) {
    this.#tree = tree;
  }

  get count(): number {
    return this.#tree.count;
  }

  has(id: Uint32Array): boolean {
    return this.#tree.has(id);
  }

  rank(bound: Uint32Array): number {
    return this.#tree.rank(bound);
  }

  select(rank: number): Uint32Array {
    return this.#tree.select(rank);
  }

  digest(lower: Uint32Array, upper: Uint32Array, fingerprint: Uint32Array): number {
    return this.#tree.digest(lower, upper, fingerprint);
  }

  addSymbols(lower: Uint32Array, upper: Uint32Array, symbols: Uint32Array): void {
    this.#tree.addSymbols(lower, upper, symbols);
  }

  addKeyed(lower: Uint32Array, upper: Uint32Array, keyed: KeyedSums, sum: Uint32Array): void {
    this.#tree.addKeyed(lower, upper, keyed, sum);
  }

  ids(lower: Uint32Array, upper: Uint32Array): SyncIdList {
    const ids = this.#tree.ids(lower, upper);
    this.rows += ids.count;
    return ids;
  }
}

const ANSWERS = ['equal', 'sketched', 'cut', 'list', 'ask', 'none', 'all'] as const;

const PLAIN = { shape: 'spread', differing: 100, difference: 'scattered', lacking: 'both' } as const;

function windowOf({ lowerNs, upperNs }: Pair): Window {
  return { lower: boundAt(lowerNs), upper: boundAt(upperNs) };
}

function checkOf({ lower, upper }: Window, chance: Chance): NonNullable<NativePayload['check']> {
  const words = (): Uint32Array => Uint32Array.from({ length: 4 }, () => chance.word());
  return { lower, upper, plain: words(), keyed: words() };
}

/** A side that has opened, and what it said. */
function opened(
  seed: number,
  size: number,
  policy: Partial<NativePolicy> = {},
): { watched: Watched; reply: NativePayload; window: Window } {
  const pair = makePair({ ...PLAIN, seed, size });
  const window = windowOf(pair);
  const watched = new Watched(DigestTree.from(pair.a), window, keyOf(seed), policy);
  return { watched, reply: watched.reconciler.open(), window };
}

function partsIn({ opening, answers, sketchAnswers }: NativePayload): number {
  const all = [...answers, ...sketchAnswers.flatMap((a) => (a.kind === 'undecoded' ? a.answers : []))];
  const cuts = all.flatMap((answer) => (answer.kind === 'cut' ? [answer.cut] : []));
  return [opening?.cut, ...cuts].reduce((sum, cut) => sum + (cut?.counts.length ?? 0), 0);
}

/** The bytes of a payload, if it can be written at all. */
function encoded(payload: NativePayload): Uint8Array | undefined {
  try {
    return encodeNativePayload(payload);
  } catch {
    return undefined;
  }
}

function withChangedByte(bytes: Uint8Array, chance: Chance): Uint8Array {
  if (bytes.length === 0) return bytes;
  const changed = bytes.slice(0, chance.below(4) === 0 ? chance.below(bytes.length) + 1 : bytes.length);
  changed[chance.below(changed.length)] = chance.word();
  return changed;
}

/** One thing or a few about the payload are not as they were. */
function mutated(payload: NativePayload, pair: Pair, chance: Chance): NativePayload {
  const draft: Draft = {
    ...payload,
    answers: payload.answers.slice(),
    lists: payload.lists.slice(),
    wanted: payload.wanted.slice(),
    sketchAnswers: payload.sketchAnswers.slice(),
    extensions: payload.extensions.slice(),
    sketches: payload.sketches.slice(),
  };
  for (let left = 1 + chance.below(3); left > 0; left--) chance.pick(MUTATIONS)(draft, pair, chance);
  return draft;
}

type Mutation = (draft: Draft, pair: Pair, chance: Chance) => void;

const MUTATIONS: readonly Mutation[] = [
  (draft, _, chance) => shaken(draft.answers, chance),
  (draft, _, chance) => shaken(draft.lists, chance),
  (draft, _, chance) => shaken(draft.wanted, chance),
  (draft, _, chance) => shaken(draft.sketchAnswers, chance),
  (draft, _, chance) => shaken(draft.extensions, chance),
  (draft, _, chance) => shaken(draft.sketches, chance),
  (draft, pair, chance) => replaced(draft.answers, chance, () => madeUpAnswer(pair, chance)),
  (draft, pair, chance) => {
    const at = chance.below(draft.answers.length + 1);
    const answer = draft.answers[at];
    if (answer?.kind === 'cut') draft.answers[at] = { kind: 'cut', cut: bent(answer.cut, pair, chance) };
  },
  (draft, pair, chance) => {
    if (draft.opening === undefined) return;
    draft.opening = { ...draft.opening, cut: bent(draft.opening.cut, pair, chance) };
  },
  (draft, pair, chance) => {
    if (draft.opening === undefined) return;
    const [lower, upper] = [someBound(pair, chance), someBound(pair, chance)];
    draft.opening = chance.below(2) === 0 ? { ...draft.opening, lower, upper } : { ...draft.opening, upper };
  },
  (draft, pair, chance) => {
    const lower = boundAt(pair.lowerNs);
    const upper = boundAt(pair.upperNs);
    draft.opening = { lower, upper, strict: chance.below(2) === 0, cut: madeUpCut(pair, chance) };
  },
  (draft, _, chance) => {
    if (draft.opening !== undefined) draft.opening = { ...draft.opening, strict: chance.below(2) === 0 };
  },
  (draft) => {
    draft.opening = undefined;
  },
  (draft, pair, chance) => {
    draft.check = checkOf({ lower: someBound(pair, chance), upper: someBound(pair, chance) }, chance);
  },
  (draft) => {
    draft.check = undefined;
  },
  (draft) => {
    draft.agreed = true;
  },
  (draft, _, chance) => replaced(draft.sketches, chance, (was) => ({ ...was, symbols: noise(chance) })),
  (draft, _, chance) =>
    replaced(draft.sketches, chance, (was) => ({ ...was, ranges: chance.pick([1, was.ranges + 1, 99_999]) })),
  (draft, _, chance) => replaced(draft.extensions, chance, () => noise(chance)),
  (draft, pair, chance) => replaced(draft.sketchAnswers, chance, () => madeUpSketchAnswer(pair, chance)),
  (draft, _, chance) =>
    replaced(draft.wanted, chance, () => Uint8Array.from({ length: chance.below(9) }, () => 255)),
  (draft, _, chance) =>
    replaced(draft.lists, chance, () =>
      Uint32Array.from({ length: chance.below(40) * 2 }, () => chance.word()),
    ),
];

/** Drops, repeats or swaps. */
function shaken<T>(list: T[], chance: Chance): void {
  const at = chance.below(list.length + 1);
  const kind = chance.below(4);
  if (kind === 0) list.splice(at, 1);
  else if (kind === 1 && list[at] !== undefined) list.splice(at, 0, list[at]);
  else if (kind === 2) list.length = chance.below(list.length + 1);
  else list.reverse();
}

function replaced<T>(list: T[], chance: Chance, by: (was: T) => T): void {
  const at = chance.below(list.length + 1);
  if (list[at] !== undefined) list[at] = by(list[at]);
}

function noise(chance: Chance): Uint32Array {
  const symbols = chance.pick([0, 1, 20, 300, 20_000]);
  return Uint32Array.from({ length: symbols * SYMBOL_WORDS }, () => chance.word());
}

function madeUpAnswer(pair: Pair, chance: Chance): Answer {
  const kind = chance.pick(ANSWERS);
  if (kind === 'cut') return { kind, cut: madeUpCut(pair, chance) };
  if (kind === 'all') return { kind, count: chance.pick([0, 2 ** 35 - 1]) };
  if (kind !== 'list') return { kind };
  return { kind, ids: Uint32Array.from({ length: chance.below(100) * 2 }, () => chance.word()) };
}

function madeUpSketchAnswer(pair: Pair, chance: Chance): SketchAnswer {
  const kind = chance.pick(['decoded', 'more', 'undecoded'] as const);
  if (kind === 'more') return { kind, symbols: chance.pick([0, 1, 100, 16_384, 2 ** 35 - 1]) };
  const ids = Uint32Array.from({ length: chance.below(60) * 2 }, () => chance.word());
  if (kind === 'decoded') return { kind, wanted: ids };
  return { kind, answers: Array.from({ length: chance.below(30) }, () => madeUpAnswer(pair, chance)) };
}

function madeUpCut(pair: Pair, chance: Chance): Cut {
  const counts = Array.from({ length: 1 + chance.below(30) }, () => chance.pick([0, 1, 50, 1_000_000_000]));
  const bounds = counts.slice(1).map(() => someBound(pair, chance));
  if (chance.below(2) === 0) bounds.sort((x, y) => compareIds(x, 0, y, 0));
  const fingerprints = Uint32Array.from(counts, () => chance.word());
  return { keyed: chance.below(2) === 0, bounds, counts, fingerprints };
}

/** Counts that are huge or nothing, bounds out of order, other fingerprints, the other kind of them. */
function bent(cut: Cut, pair: Pair, chance: Chance): Cut {
  const at = chance.below(cut.counts.length);
  const kind = chance.below(5);
  if (kind === 0) return { ...cut, counts: cut.counts.with(at, chance.pick([0, 1, 1_000_000_000])) };
  if (kind === 1) return { ...cut, bounds: cut.bounds.toReversed() };
  if (kind === 2) return { ...cut, bounds: cut.bounds.map(() => someBound(pair, chance)) };
  if (kind === 3) return { ...cut, keyed: !cut.keyed };
  return { ...cut, fingerprints: cut.fingerprints.map(() => chance.word()) };
}

function someBound(pair: Pair, chance: Chance): Uint32Array {
  const list = chance.pick([pair.a, pair.b]);
  if (list.count > 0 && chance.below(3) > 0) return list.at(chance.below(list.count)).slice();
  return boundAt(chance.pick([0n, START_NS, pair.upperNs, 2n ** 63n - 1n]));
}
