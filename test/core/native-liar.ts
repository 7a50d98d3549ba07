/**
 * The other side of a reconciliation, played by chance: it answers all that it is asked, in the right number and
 * order and within the ranges, so that a dialogue gets deep; and every answer is made up.
 */
import type { DigestTree } from '../../src/core/digest-tree.ts';
import type { Answer, Cut, NativePayload, Sketch, SketchAnswer } from '../../src/core/native/payload.ts';
import { addSymbols, SYMBOL_WORDS, shortIdHigh, shortIdLow } from '../../src/core/symbols.ts';
import { compareIds, ID_WORDS } from '../../src/core/sync-id.ts';
import type { Window } from './native-dialogue.ts';
import type { Chance } from './random-sets.ts';

type Writable<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer U)[] ? U[] : T[K] };
export type Draft = Writable<NativePayload>;

/** A sketch: what it covers, and its symbols in all. */
interface Sketched {
  readonly ranges: readonly Window[];
  readonly symbols: number;
}

export class Liar {
  readonly #window: Window;
  readonly #held: DigestTree;
  readonly #chance: Chance;
  // What the other side has yet to answer: parts, sketches, and what more of its own symbols was asked for.
  #parts: Window[] = [];
  #sent: Sketched[] = [];
  #waiting: Sketched[] = [];

  constructor(window: Window, held: DigestTree, chance: Chance) {
    this.#window = window;
    this.#held = held;
    this.#chance = chance;
  }

  open(strict = false): Draft {
    this.#parts = [];
    this.#sent = [];
    this.#waiting = [];
    return { ...this.#nothing(), opening: { ...this.#window, strict, cut: this.#cut(this.#window) } };
  }

  answer(payload: NativePayload): Draft {
    const chance = this.#chance;
    if (chance.below(12) === 0) return this.open(chance.below(3) > 0);
    const draft = this.#nothing();
    const parts: Window[] = [];
    const lists = payload.lists.map((ids) => ids.length);
    const inSketches: Window[] = [];
    let asks = 0;
    const read = (answers: readonly Answer[], ranges: readonly Window[]): void => {
      for (const [at, answer] of answers.entries()) {
        const range = ranges[at] ?? this.#window;
        if (answer.kind === 'cut') parts.push(...partsOf(range, answer.cut));
        else if (answer.kind === 'ask') asks += 1;
        else if (answer.kind === 'list') lists.push(answer.ids.length);
        else if (answer.kind === 'sketched') inSketches.push(range);
      }
    };

    const sent = this.#sent;
    this.#sent = [];
    for (const [at, answer] of payload.sketchAnswers.entries()) {
      const { ranges, symbols } = sent[at]!;
      if (answer.kind === 'undecoded') read(answer.answers, ranges);
      if (answer.kind !== 'more') continue;
      draft.extensions.push(this.#symbols(answer.symbols - symbols));
      this.#sent.push({ ranges, symbols: answer.symbols });
    }
    if (payload.opening !== undefined) parts.push(...partsOf(this.#window, payload.opening.cut));
    else read(payload.answers, this.#parts);
    this.#parts = [];

    // Sketches of the other side are answered first, those that it extended before others; then its parts.
    const received = payload.extensions.map((_, at) => this.#waiting[at]!);
    for (const { ranges, symbols } of payload.sketches) {
      received.push({ ranges: inSketches.splice(0, ranges), symbols: symbols.length / SYMBOL_WORDS });
    }
    this.#waiting = [];
    for (const sketch of received) draft.sketchAnswers.push(this.#sketchAnswer(sketch));
    const sketched: Window[] = [];
    for (const part of parts) {
      const answer = this.#answer(part);
      if (answer.kind === 'sketched') sketched.push(part);
      draft.answers.push(answer);
    }
    while (sketched.length > 0) {
      draft.sketches.push(this.#sketch(sketched.splice(0, 1 + chance.below(sketched.length))));
    }
    for (let left = asks; left > 0; left--) draft.lists.push(this.#hashedIds(20));
    for (const length of lists) {
      draft.wanted.push(Uint8Array.from({ length: Math.ceil(length / 16) }, () => chance.word() & 0xff));
    }
    if (chance.below(5) === 0) draft.check = this.#check();
    return draft;
  }

  #nothing(): Draft {
    return {
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
  }

  #check(): NonNullable<Draft['check']> {
    const words = (): Uint32Array => Uint32Array.from({ length: 4 }, () => this.#chance.word());
    return { lower: this.#window.lower, upper: this.#window.upper, plain: words(), keyed: words() };
  }

  #answer(part: Window): Answer {
    const chance = this.#chance;
    const kind = chance.pick([
      'equal',
      'sketched',
      'cut',
      'cut',
      'cut',
      'list',
      'ask',
      'none',
      'all',
    ] as const);
    if (kind === 'cut') return { kind, cut: this.#cut(part) };
    if (kind === 'list') return { kind, ids: this.#hashedIds(30) };
    if (kind === 'all') return { kind, count: chance.pick([0, 1, chance.below(1000), 2 ** 35 - 1]) };
    return { kind };
  }

  #cut({ lower, upper }: Window): Cut {
    const chance = this.#chance;
    const bounds: Uint32Array[] = [];
    for (let left = chance.below(6); left > 0; left--) {
      const bound = this.#held.count > 0 ? this.#held.select(chance.below(this.#held.count)) : lower;
      if (compareIds(bound, 0, lower, 0) >= 0 && compareIds(bound, 0, upper, 0) <= 0) bounds.push(bound);
    }
    bounds.sort((x, y) => compareIds(x, 0, y, 0));
    const cut = {
      keyed: chance.below(2) === 0,
      bounds,
      counts: Array.from({ length: bounds.length + 1 }, () =>
        chance.pick([0, 1, 17, chance.below(50), chance.below(2000), 1_000_000_000]),
      ),
      fingerprints: Uint32Array.from({ length: bounds.length + 1 }, () => chance.word()),
    };
    this.#parts.push(...partsOf({ lower, upper }, cut));
    return cut;
  }

  #hashedIds(most: number): Uint32Array {
    return Uint32Array.from({ length: 2 * this.#chance.below(most) }, () => this.#chance.word());
  }

  /** Nothing but zeros, which is to say that the two are equal; noise; or the symbols of what is held. */
  #symbols(count: number): Uint32Array {
    const chance = this.#chance;
    const symbols = new Uint32Array(count * SYMBOL_WORDS);
    const kind = chance.below(3);
    if (kind === 0) for (let word = 0; word < symbols.length; word++) symbols[word] = chance.word();
    if (kind === 1 && this.#held.count > 0) {
      for (let left = chance.below(20); left > 0; left--) {
        addSymbols(this.#held.select(chance.below(this.#held.count)), 0, 1, symbols);
      }
    }
    return symbols;
  }

  #sketch(ranges: readonly Window[]): Sketch {
    const symbols = this.#chance.pick([0, 1, 5, 40, 400]);
    this.#sent.push({ ranges, symbols });
    return { ranges: ranges.length, symbols: this.#symbols(symbols) };
  }

  #sketchAnswer({ ranges, symbols: sent }: Sketched): SketchAnswer {
    const chance = this.#chance;
    const kind = chance.pick(['decoded', 'more', 'undecoded'] as const);
    if (kind === 'more') {
      const symbols = sent + chance.pick([1, 50, sent + 1]);
      this.#waiting.push({ ranges, symbols });
      return { kind, symbols };
    }
    if (kind === 'decoded') return { kind, wanted: this.#shortIds(chance.below(sent + 1)) };
    const kinds = ['none', 'ask', 'equal', 'cut', 'list'] as const;
    const answers = ranges.map((range): Answer => {
      const answer = chance.pick(kinds);
      if (answer === 'cut') return { kind: answer, cut: this.#cut(range) };
      if (answer === 'list') return { kind: answer, ids: this.#hashedIds(30) };
      return { kind: answer };
    });
    return { kind, answers };
  }

  /** Short ids of what is held, some of them again and again, and others. */
  #shortIds(count: number): Uint32Array {
    const chance = this.#chance;
    const ids = new Uint32Array(count * 2);
    for (let at = 0; at < ids.length; at += 2) {
      const id =
        this.#held.count === 0 || chance.below(4) === 0
          ? Uint32Array.from({ length: ID_WORDS }, () => chance.word())
          : this.#held.select(chance.below(chance.below(2) === 0 ? this.#held.count : 1));
      ids[at] = shortIdHigh(id, 0);
      ids[at + 1] = shortIdLow(id, 0);
    }
    return ids;
  }
}

function partsOf({ lower, upper }: Window, { bounds }: Cut): Window[] {
  return [...bounds, upper].map((bound, at) => ({ lower: bounds[at - 1] ?? lower, upper: bound }));
}
