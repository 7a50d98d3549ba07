/** Lines out of bytes: the same ones whatever the chunks, and one bad line never spoils its neighbours. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { splitLines } from '../../src/wire/lines.ts';
import { formatMessageLine, parseMessageLine } from '../../src/wire/message-line.ts';
import { codeOf } from '../error-code.ts';
import { messageOf, stored } from '../sample-messages.ts';

async function linesOf(chunks: Iterable<Uint8Array>, limit = 1_000): Promise<(string | undefined)[]> {
  async function* source(): AsyncGenerator<Uint8Array> {
    yield* chunks;
  }
  const lines: (string | undefined)[] = [];
  for await (const batch of splitLines(source(), limit)) lines.push(...batch);
  return lines;
}

function* cut(bytes: Uint8Array, lengths: readonly number[]): Generator<Uint8Array> {
  let at = 0;
  for (const length of lengths) {
    yield bytes.subarray(at, at + length);
    at = Math.min(bytes.length, at + length);
  }
  yield bytes.subarray(at);
}

/** What a reader of the whole text would say. */
function expected(text: string, limit: number): (string | undefined)[] {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines.map((line) => (Buffer.byteLength(line) > limit ? undefined : line.replace(/\r$/, '')));
}

describe('lines', () => {
  it('are the same whatever the chunks', async () => {
    const piece = fc.oneof(
      fc.constantFrom('\n', '\r\n', '\r', '', 'é', '€', '💧', 'a line of some length'),
      fc.string({ unit: 'binary', maxLength: 12 }),
    );
    const texts = fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join(''));
    await fc.assert(
      fc.asyncProperty(
        texts,
        fc.array(fc.nat(9), { maxLength: 80 }),
        fc.integer({ min: 1, max: 40 }),
        async (text, lengths, limit) => {
          expect(await linesOf(cut(Buffer.from(text), lengths), limit)).toEqual(expected(text, limit));
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it('are the same byte for byte', async () => {
    const text = 'first\r\n\n{"a":"é💧"}\nlast';
    const lines = ['first', '', '{"a":"é💧"}', 'last'];
    expect(await linesOf([Buffer.from(text)])).toEqual(lines);
    expect(await linesOf([...Buffer.from(text)].map((byte) => Uint8Array.of(byte)))).toEqual(lines);
  });

  it('end with the file, with a line end or without', async () => {
    expect(await linesOf([])).toEqual([]);
    expect(await linesOf([new Uint8Array(0)])).toEqual([]);
    expect(await linesOf([Buffer.from('a\nb')])).toEqual(['a', 'b']);
    expect(await linesOf([Buffer.from('a\nb\n')])).toEqual(['a', 'b']);
    expect(await linesOf([Buffer.from('a\r'), Buffer.from('\nb\r\n')])).toEqual(['a', 'b']);
  });

  it('that are too long leave a gap, and the next is whole', async () => {
    const long = Buffer.alloc(25, 'x');
    const text = Buffer.concat([Buffer.from('one\n'), long, Buffer.from('\ntwo\n'), long]);
    for (const size of [1, 3, 7, 24, 25, 26, 100]) {
      const lengths = Array.from({ length: Math.ceil(text.length / size) }, () => size);
      expect(await linesOf(cut(text, lengths), 24)).toEqual(['one', undefined, 'two', undefined]);
      expect(await linesOf(cut(text, lengths), 25)).toEqual(['one', `${long}`, 'two', `${long}`]);
    }
  });

  it('that are not UTF-8 do not become another message', async () => {
    const message = messageOf({ contentTopic: '/caf\u00e9' });
    const line = Buffer.from(formatMessageLine(message, stored([message])[0]!.id));
    const at = line.indexOf(Buffer.from('é'));
    const broken = Buffer.from(line);
    broken[at] = 0xff;
    const [first, second] = await linesOf([broken, Buffer.from('\n'), line]);
    expect(codeOf(() => parseMessageLine(first!))).toBe('LINE_INVALID_JSON');
    expect(parseMessageLine(second!).message.contentTopic).toBe('/café');
  });
});
