/** Splits bytes into lines, with a bound on the length of a line: a file without line ends must not fill memory. */
import { isUtf8 } from 'node:buffer';

/** A line as text, or undefined in place of one that is too long. Lines come in batches, one for each chunk. */
export async function* splitLines(
  source: AsyncIterable<Uint8Array>,
  lineBytesMax: number,
): AsyncGenerator<(string | undefined)[]> {
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  for await (const chunk of source) {
    const lines: (string | undefined)[] = [];
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      held.push(chunk.subarray(start, end));
      lines.push(joined(held, heldBytes + end - start, lineBytesMax));
      held = [];
      heldBytes = 0;
      start = end + 1;
    }
    heldBytes += chunk.length - start;
    // Of a line that is too long already, only its length is kept.
    if (heldBytes > lineBytesMax) held = [];
    else if (start < chunk.length) held.push(chunk.subarray(start));
    if (lines.length > 0) yield lines;
  }
  if (heldBytes > 0) yield [joined(held, heldBytes, lineBytesMax)];
}

function joined(parts: readonly Uint8Array[], length: number, lineBytesMax: number): string | undefined {
  if (length > lineBytesMax) return undefined;
  const first = parts[0];
  const whole =
    parts.length === 1 && first !== undefined
      ? Buffer.from(first.buffer, first.byteOffset, first.length)
      : Buffer.concat(parts);
  // Decoding would replace what is not UTF-8, and a message would be stored as another one.
  if (!isUtf8(whole)) return '(not UTF-8)';
  const text = whole.toString('utf8');
  return text.endsWith('\r') ? text.slice(0, -1) : text;
}
