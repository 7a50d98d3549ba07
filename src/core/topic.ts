/**
 * Topics as text and as bytes, without loss. A topic is UTF-8 by the specification, but a running nwaku
 * takes any bytes, so such messages exist and must hash to the same identity here. A byte that is not part
 * of valid UTF-8 is held as the lone surrogate U+DC80..U+DCFF (as in PEP 383), which no valid text contains.
 */
const encoder = new TextEncoder();
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Topics repeat from message to message: the last few are remembered. */
const encodedTopics = new Map<string, Uint8Array>();
const ENCODED_TOPICS_MAX = 256;

/** The bytes of a topic, or undefined when the text holds a surrogate that stands for no byte. Do not change them. */
export function topicBytes(topic: string): Uint8Array | undefined {
  const known = encodedTopics.get(topic);
  if (known !== undefined) return known;
  const bytes = topic.isWellFormed() ? encoder.encode(topic) : escapedBytes(topic);
  if (bytes === undefined) return undefined;
  if (encodedTopics.size >= ENCODED_TOPICS_MAX) encodedTopics.clear();
  encodedTopics.set(topic, bytes);
  return bytes;
}

export function topicFromBytes(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    return escapedText(bytes);
  }
}

function escapedBytes(topic: string): Uint8Array | undefined {
  const bytes: number[] = [];
  for (const character of topic) {
    const point = character.codePointAt(0)!;
    if (point >= 0xd800 && point <= 0xdfff) {
      if (point < 0xdc80 || point > 0xdcff) return undefined;
      bytes.push(point - 0xdc00);
    } else {
      bytes.push(...encoder.encode(character));
    }
  }
  return Uint8Array.from(bytes);
}

/** Takes the longest valid character at each place, and escapes the byte where there is none. */
function escapedText(bytes: Uint8Array): string {
  let text = '';
  let at = 0;
  while (at < bytes.length) {
    const width = validWidth(bytes, at);
    if (width === 0) {
      text += String.fromCharCode(0xdc00 + bytes[at]!);
      at += 1;
    } else {
      text += strict.decode(bytes.subarray(at, at + width));
      at += width;
    }
  }
  return text;
}

function validWidth(bytes: Uint8Array, at: number): number {
  for (let width = 1; width <= 4 && at + width <= bytes.length; width++) {
    try {
      strict.decode(bytes.subarray(at, at + width));
      return width;
    } catch {
      // Not a whole character yet, or never one.
    }
  }
  return 0;
}
