/**
 * Topics as text and as bytes, without loss. A topic is UTF-8 by the specification, but a running nwaku
 * takes any bytes, so such messages exist and must hash to the same identity here. A byte that is not part
 * of valid UTF-8 is held as the lone surrogate U+DC80..U+DCFF (as in PEP 383), which no valid text contains.
 */
import { LIMITS } from '../limits.ts';

const encoder = new TextEncoder();
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Topics repeat from message to message: the last few are remembered, unless they are too long to be stored. */
const encodedTopics = new Map<string, Uint8Array>();
const ENCODED_TOPICS_MAX = 256;

/** The bytes of a topic, or undefined when the text holds a surrogate that stands for no byte. Do not change them. */
export function topicBytes(topic: string): Uint8Array | undefined {
  const known = encodedTopics.get(topic);
  if (known !== undefined) return known;
  const bytes = topic.isWellFormed() ? encoder.encode(topic) : escapedBytes(topic);
  if (bytes === undefined) return undefined;
  if (bytes.length > LIMITS.messageTopicBytes) return bytes;
  if (encodedTopics.size >= ENCODED_TOPICS_MAX) encodedTopics.clear();
  encodedTopics.set(topic, bytes);
  return bytes;
}

/** The topic in these bytes, or in a part of them; any bytes have one. */
export function topicFromBytes(bytes: Uint8Array, start = 0, end = bytes.length): string {
  const length = end - start;
  const slot = (length * 31 + (bytes[start] ?? 0) + (bytes[end - 1] ?? 0) * 7) % DECODED_TOPICS;
  const known = decodedTopics[slot];
  if (known !== undefined && known.bytes.length === length && sameBytes(known.bytes, bytes, start)) {
    return known.topic;
  }
  const own = bytes.slice(start, end);
  const topic = decode(own);
  if (length <= DECODED_TOPIC_BYTES) decodedTopics[slot] = { bytes: own, topic };
  return topic;
}

/** The last topics seen, each in the slot that its length and ends give: comparing is cheaper than decoding. */
const decodedTopics: ({ bytes: Uint8Array; topic: string } | undefined)[] = [];
const DECODED_TOPICS = 64;
const DECODED_TOPIC_BYTES = 128;

function sameBytes(known: Uint8Array, bytes: Uint8Array, start: number): boolean {
  for (let index = 0; index < known.length; index++) if (known[index] !== bytes[start + index]) return false;
  return true;
}

function decode(bytes: Uint8Array): string {
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

/** Takes the valid character at each place, and escapes the byte where there is none. One pass, no exceptions. */
function escapedText(bytes: Uint8Array): string {
  let text = '';
  let at = 0;
  while (at < bytes.length) {
    const width = validWidth(bytes, at);
    text += width === 0 ? String.fromCharCode(0xdc00 + bytes[at]!) : characterAt(bytes, at, width);
    at += Math.max(1, width);
  }
  return text;
}

/** Bytes of the character that begins here, or 0 when none does: the table of well-formed UTF-8 (Unicode 3-7). */
function validWidth(bytes: Uint8Array, at: number): number {
  const lead = bytes[at]!;
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const width = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (at + width > bytes.length) return 0;
  // The second byte rules out overlong forms, surrogates, and what lies beyond U+10FFFF.
  const second = bytes[at + 1]!;
  if (second < (lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80)) return 0;
  if (second > (lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf)) return 0;
  for (let place = at + 2; place < at + width; place++) {
    if ((bytes[place]! & 0xc0) !== 0x80) return 0;
  }
  return width;
}

function characterAt(bytes: Uint8Array, at: number, width: number): string {
  if (width === 1) return String.fromCharCode(bytes[at]!);
  let point = bytes[at]! & (0x7f >> width);
  for (let place = at + 1; place < at + width; place++) point = (point << 6) | (bytes[place]! & 0x3f);
  return String.fromCodePoint(point);
}
