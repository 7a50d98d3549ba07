/**
 * The payloads of a reconciliation between two Lacunas as bytes (spec/native-reconciliation.md 3). Every payload
 * can be read without knowing the one it answers; the decoder is bounded by what the bytes can hold.
 */
import type {
  Answer,
  Check,
  Cut,
  NativePayload,
  Opening,
  Sketch,
  SketchAnswer,
} from '../core/native/payload.ts';
import { SYMBOL_WORDS } from '../core/symbols.ts';
import { compareIds, HASH_BYTES, hashOf, ID_WORDS, readHashWords, setTime, timeOf } from '../core/sync-id.ts';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { ByteReader, ByteWriter } from './bytes.ts';

/** The first byte of a payload tells what it holds. */
const OPENING = 0x01;
const STRICT = 0x02;
const CHECK = 0x04;
const AGREED = 0x08;
const ANSWERS = 0x10;
const LISTS = 0x20;
const SKETCH_ANSWERS = 0x40;
const SKETCHES = 0x80;

/** An answer's low bits are its kind; the others, for kinds that hold nothing more, how often it is repeated. */
const ANSWER_KINDS = ['equal', 'sketched', 'ask', 'none', 'cut', 'list', 'all'] as const;
const KIND_BITS = 3;
const KIND_MASK = 0x07;
const REPEATS_MAX = 32;
const REPEATED: ReadonlySet<string> = new Set(['equal', 'sketched', 'ask', 'none']);

const SKETCH_ANSWER_KINDS = ['decoded', 'more', 'undecoded'] as const;

/** The head of a bound: how many low bits of its time are left out, and two flags. */
const SHIFT_MASK = 0x3f;
const HAS_HASH = 0x40;
const IS_ABSOLUTE = 0x80;
/** A shift of all 63 bits: the end of time. */
const END_OF_TIME = 0x3f;

const CHECK_WORDS = 4;
const WORD_BYTES = 4;
/** Counts up to 2^35. */
const COUNT_BYTES = 5;
const COUNT_MAX = 2 ** 35 - 1;

export function encodeNativePayload(payload: NativePayload): Uint8Array {
  const writer = new PayloadWriter();
  const { opening, answers, lists, wanted, sketchAnswers, extensions, sketches, check, agreed } = payload;
  let flags = 0;
  if (opening !== undefined) flags |= OPENING | (opening.strict ? STRICT : 0);
  if (check !== undefined) flags |= CHECK;
  if (agreed) flags |= AGREED;
  if (answers.length > 0) flags |= ANSWERS;
  if (lists.length + wanted.length > 0) flags |= LISTS;
  if (sketchAnswers.length > 0) flags |= SKETCH_ANSWERS;
  if (extensions.length + sketches.length > 0) flags |= SKETCHES;
  writer.byte(flags);
  if (opening !== undefined) writer.opening(opening);
  if (check !== undefined) writer.check(check);
  if (answers.length > 0) writer.answers(answers);
  if ((flags & LISTS) !== 0) writer.lists(lists, wanted);
  if (sketchAnswers.length > 0) writer.sketchAnswers(sketchAnswers);
  if ((flags & SKETCHES) !== 0) writer.sketches(extensions, sketches);
  if (wanted.length + sketchAnswers.length > 0) writer.leb(payload.found);
  return writer.finish();
}

/** @throws LacunaError WIRE_TRUNCATED, WIRE_VARINT, WIRE_OVERFLOW, WIRE_TYPE, WIRE_LIMIT, WIRE_FIELD_INVALID */
export function decodeNativePayload(bytes: Uint8Array): NativePayload {
  const reader = new PayloadReader(bytes);
  const flags = reader.byte();
  const opening = (flags & OPENING) === 0 ? undefined : reader.opening((flags & STRICT) !== 0);
  const check = (flags & CHECK) === 0 ? undefined : reader.check();
  const answers = (flags & ANSWERS) === 0 ? [] : reader.answers();
  const { lists, wanted } = (flags & LISTS) === 0 ? { lists: [], wanted: [] } : reader.lists();
  const sketchAnswers = (flags & SKETCH_ANSWERS) === 0 ? [] : reader.sketchAnswers();
  const none = { extensions: [], sketches: [] };
  const { extensions, sketches } = (flags & SKETCHES) === 0 ? none : reader.sketches();
  const found = wanted.length + sketchAnswers.length > 0 ? reader.length(COUNT_BYTES, COUNT_MAX) : 0;
  reader.expectEnd();
  return {
    opening,
    answers,
    lists,
    wanted,
    sketchAnswers,
    extensions,
    sketches,
    found,
    check,
    agreed: (flags & AGREED) !== 0,
  };
}

class PayloadWriter extends ByteWriter {
  /** Bounds are written as what they add to the one before. */
  #previous = 0n;

  opening({ lower, upper, cut }: Opening): void {
    this.#bound(lower);
    this.#bound(upper);
    this.#previous = timeOf(lower);
    this.#cut(cut);
  }

  check({ lower, upper, plain, keyed }: Check): void {
    this.#bound(lower);
    this.#bound(upper);
    this.#words(plain);
    this.#words(keyed);
  }

  answers(answers: readonly Answer[]): void {
    this.leb(answers.length);
    for (let at = 0; at < answers.length; ) at += this.#answer(answers, at);
  }

  lists(lists: readonly Uint32Array[], wanted: readonly Uint8Array[]): void {
    this.leb(lists.length);
    for (const ids of lists) this.#pairs(ids);
    this.leb(wanted.length);
    for (const bits of wanted) {
      this.leb(bits.length);
      this.raw(bits);
    }
  }

  sketchAnswers(answers: readonly SketchAnswer[]): void {
    this.leb(answers.length);
    for (const answer of answers) {
      this.byte(SKETCH_ANSWER_KINDS.indexOf(answer.kind));
      if (answer.kind === 'decoded') this.#pairs(answer.wanted);
      else if (answer.kind === 'more') this.leb(answer.symbols);
      else this.answers(answer.answers);
    }
  }

  sketches(extensions: readonly Uint32Array[], sketches: readonly Sketch[]): void {
    this.leb(extensions.length);
    for (const symbols of extensions) this.#symbols(symbols);
    this.leb(sketches.length);
    for (const { ranges, symbols } of sketches) {
      this.leb(ranges);
      this.#symbols(symbols);
    }
  }

  /** Writes one answer, or a run of equal ones; returns how many. */
  #answer(answers: readonly Answer[], at: number): number {
    const answer = answers[at]!;
    const kind = ANSWER_KINDS.indexOf(answer.kind);
    let run = 1;
    if (REPEATED.has(answer.kind)) {
      while (run < REPEATS_MAX && answers[at + run]?.kind === answer.kind) run += 1;
    }
    this.byte(kind | ((run - 1) << KIND_BITS));
    if (answer.kind === 'cut') this.#cut(answer.cut);
    else if (answer.kind === 'list') this.#pairs(answer.ids);
    else if (answer.kind === 'all') this.leb(answer.count);
    return run;
  }

  #cut({ keyed, bounds, counts, fingerprints }: Cut): void {
    this.leb(counts.length * 2 + (keyed ? 1 : 0));
    const total = counts.reduce((sum, count) => sum + count, 0);
    this.leb(total);
    const average = Math.floor(total / counts.length);
    for (const bound of bounds) this.#bound(bound);
    // The last count is what the others leave.
    for (const count of counts.slice(0, -1)) this.leb(zigzag(count - average));
    this.#words(fingerprints);
  }

  #bound(bound: Uint32Array): void {
    if (isEndOfTime(bound)) {
      this.byte(END_OF_TIME);
      return;
    }
    const time = timeOf(bound);
    const hash = shortHash(bound);
    const isAbsolute = time < this.#previous;
    const shift = Math.min(trailingZeros(bound), END_OF_TIME - 1);
    this.byte(shift | (hash.length > 0 ? HAS_HASH : 0) | (isAbsolute ? IS_ABSOLUTE : 0));
    const base = isAbsolute ? 0n : this.#previous >> BigInt(shift);
    const delta = (time >> BigInt(shift)) - base;
    this.leb64(Number(delta >> 32n), Number(delta & 0xffff_ffffn));
    if (hash.length > 0) {
      this.byte(hash.length);
      this.raw(hash);
    }
    this.#previous = time;
  }

  #pairs(words: Uint32Array): void {
    this.leb(words.length / 2);
    this.#words(words);
  }

  #symbols(symbols: Uint32Array): void {
    this.leb(symbols.length / SYMBOL_WORDS);
    this.#words(symbols);
  }

  #words(words: Uint32Array): void {
    const start = this.skip(words.length * WORD_BYTES);
    const view = new DataView(this.buffer.buffer, this.buffer.byteOffset);
    for (let word = 0; word < words.length; word++)
      view.setUint32(start + word * WORD_BYTES, words[word]!, true);
  }
}

class PayloadReader extends ByteReader {
  #previous = 0n;
  #parts = 0;
  #answers = 0;

  expectEnd(): void {
    if (this.left > 0) throw new LacunaError('WIRE_FIELD_INVALID', `${this.left} bytes after the payload`);
  }

  opening(strict: boolean): Opening {
    const lower = this.#bound();
    const upper = this.#bound();
    if (compareIds(lower, 0, upper, 0) > 0) {
      throw new LacunaError('WIRE_FIELD_INVALID', 'a window that ends before it begins');
    }
    this.#previous = timeOf(lower);
    return { lower, upper, strict, cut: this.#cut() };
  }

  check(): Check {
    const lower = this.#bound();
    const upper = this.#bound();
    return { lower, upper, plain: this.#words(CHECK_WORDS), keyed: this.#words(CHECK_WORDS) };
  }

  answers(): Answer[] {
    // One byte may stand for 32 answers, and there are several lists of them: all together are limited.
    const count = this.length(COUNT_BYTES, LIMITS.nativeParts - this.#answers);
    this.#answers += count;
    const answers: Answer[] = [];
    while (answers.length < count) {
      const head = this.byte();
      const kind = ANSWER_KINDS[head & KIND_MASK];
      const run = (head >>> KIND_BITS) + 1;
      const fits = answers.length + run <= count && (run === 1 || REPEATED.has(kind ?? ''));
      if (kind === undefined || !fits) throw new LacunaError('WIRE_TYPE', `an answer of type ${head}`);
      const answer = this.#answer(kind);
      for (let repeat = 0; repeat < run; repeat++) answers.push(answer);
    }
    return answers;
  }

  lists(): { lists: Uint32Array[]; wanted: Uint8Array[] } {
    const lists: Uint32Array[] = [];
    for (let left = this.length(COUNT_BYTES, LIMITS.nativeParts); left > 0; left--) lists.push(this.#pairs());
    const wanted: Uint8Array[] = [];
    for (let left = this.length(COUNT_BYTES, LIMITS.nativeParts); left > 0; left--) {
      wanted.push(this.take(this.length(COUNT_BYTES, this.left)).slice());
    }
    return { lists, wanted };
  }

  sketchAnswers(): SketchAnswer[] {
    const answers: SketchAnswer[] = [];
    for (let left = this.length(COUNT_BYTES, LIMITS.nativeParts); left > 0; left--) {
      const kind = SKETCH_ANSWER_KINDS[this.byte()];
      if (kind === 'decoded') answers.push({ kind, wanted: this.#pairs() });
      else if (kind === 'more') answers.push({ kind, symbols: this.length(COUNT_BYTES, COUNT_MAX) });
      else if (kind === 'undecoded') answers.push({ kind, answers: this.answers() });
      else throw new LacunaError('WIRE_TYPE', 'an answer to a sketch of unknown type');
    }
    return answers;
  }

  sketches(): { extensions: Uint32Array[]; sketches: Sketch[] } {
    const extensions: Uint32Array[] = [];
    for (let left = this.length(COUNT_BYTES, LIMITS.nativeParts); left > 0; left--) {
      extensions.push(this.#symbols());
    }
    const sketches: Sketch[] = [];
    for (let left = this.length(COUNT_BYTES, LIMITS.nativeParts); left > 0; left--) {
      const ranges = this.length(COUNT_BYTES, LIMITS.nativeParts);
      if (ranges === 0) throw new LacunaError('WIRE_FIELD_INVALID', 'a sketch of nothing');
      sketches.push({ ranges, symbols: this.#symbols() });
    }
    return { extensions, sketches };
  }

  #answer(kind: Answer['kind']): Answer {
    if (kind === 'cut') return { kind, cut: this.#cut() };
    if (kind === 'list') return { kind, ids: this.#pairs() };
    if (kind === 'all') return { kind, count: this.length(COUNT_BYTES, COUNT_MAX) };
    return { kind };
  }

  #cut(): Cut {
    const head = this.length(COUNT_BYTES, LIMITS.nativeParts * 2);
    const parts = head >>> 1;
    this.#parts += parts;
    if (parts === 0 || this.#parts > LIMITS.nativeParts) {
      throw new LacunaError('WIRE_LIMIT', `${parts} parts of a range`);
    }
    const total = this.length(COUNT_BYTES, COUNT_MAX);
    const average = Math.floor(total / parts);
    const bounds: Uint32Array[] = [];
    while (bounds.length < parts - 1) bounds.push(this.#bound());
    const counts: number[] = [];
    let rest = total;
    while (counts.length < parts - 1) {
      const count = average + unzigzag(this.length(COUNT_BYTES + 1, 2 * COUNT_MAX));
      rest -= count;
      if (count < 0 || rest < 0) throw new LacunaError('WIRE_FIELD_INVALID', 'counts that do not add up');
      counts.push(count);
    }
    counts.push(rest);
    return { keyed: (head & 1) === 1, bounds, counts, fingerprints: this.#words(parts) };
  }

  #bound(): Uint32Array {
    const head = this.byte();
    const bound = new Uint32Array(ID_WORDS);
    const shift = head & SHIFT_MASK;
    if (shift === END_OF_TIME) {
      if (head !== END_OF_TIME) throw new LacunaError('WIRE_TYPE', 'a bound beyond the end of time');
      bound.fill(0xffff_ffff);
      bound[0] = 0x7fff_ffff;
      return bound;
    }
    this.leb64();
    const delta = (BigInt(this.high) << 32n) | BigInt(this.low);
    const base = (head & IS_ABSOLUTE) === 0 ? this.#previous >> BigInt(shift) : 0n;
    const time = (base + delta) << BigInt(shift);
    if (time >> 63n !== 0n) throw new LacunaError('WIRE_OVERFLOW', 'a bound beyond 2^63-1 ns');
    setTime(bound, 0, time);
    if ((head & HAS_HASH) !== 0) {
      const length = this.byte();
      if (length === 0 || length > HASH_BYTES) {
        throw new LacunaError('WIRE_FIELD_INVALID', `a hash of ${length} bytes`);
      }
      const hash = new Uint8Array(HASH_BYTES);
      hash.set(this.take(length));
      readHashWords(hash, 0, bound, 2);
    }
    this.#previous = time;
    return bound;
  }

  #pairs(): Uint32Array {
    return this.#words(this.length(COUNT_BYTES, Math.floor(this.left / 8)) * 2);
  }

  #symbols(): Uint32Array {
    return this.#words(this.length(COUNT_BYTES, Math.floor(this.left / 12)) * SYMBOL_WORDS);
  }

  #words(count: number): Uint32Array {
    const bytes = this.take(count * WORD_BYTES);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const words = new Uint32Array(count);
    for (let word = 0; word < count; word++) words[word] = view.getUint32(word * WORD_BYTES, true);
    return words;
  }
}

function isEndOfTime(bound: Uint32Array): boolean {
  return bound[0] === 0x7fff_ffff && bound.every((word, at) => at === 0 || word === 0xffff_ffff);
}

/** The bytes of the hash without the zeros at its end. */
function shortHash(bound: Uint32Array): Uint8Array {
  const hash = hashOf(bound);
  let length = hash.length;
  while (length > 0 && hash[length - 1] === 0) length -= 1;
  return hash.subarray(0, length);
}

/** Zero bits at the end of the time; of no time at all, none. */
function trailingZeros(bound: Uint32Array): number {
  const high = bound[0]!;
  const low = bound[1]!;
  if (low !== 0) return 31 - Math.clz32(low & -low);
  return high === 0 ? 0 : 63 - Math.clz32(high & -high);
}

function zigzag(value: number): number {
  return value < 0 ? -2 * value - 1 : 2 * value;
}

function unzigzag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}
