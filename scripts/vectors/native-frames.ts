/**
 * Vectors of the frames between two Lacunas. A frame passes when its bytes are read as it says and written again
 * alike; one of `decodeOnly` when it is read so; a malformed one when it is refused with the code named.
 */
import { z } from 'zod';
import { hashOf, SyncIdList, timeOf } from '../../src/core/sync-id.ts';
import { type NativeFrame, REFUSAL_REASONS } from '../../src/wire/native-frame.ts';
import { decodeNativeFrame, encodeNativeFrame } from '../../src/wire/native-frames.ts';
import { decodeNativePayload, encodeNativePayload } from '../../src/wire/native-payload.ts';
import {
  attempt,
  type CaseResult,
  decimal,
  fromHex,
  hexString,
  runCase,
  sameJson,
  toHex,
  topicFromJson,
  topicJson,
  topicToJson,
  wordsFromJson,
} from './shared.ts';

const frameJson = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('hello'),
    features: z.number(),
    gives: z.boolean(),
    takes: z.boolean(),
    audit: z.boolean(),
    sinceNs: decimal,
    untilNs: decimal,
    salt: hexString,
    agreement: hexString.nullable(),
    windowBytes: z.number(),
    messagesMax: z.number().nullable(),
    bytesMax: z.number().nullable(),
    pubsubTopics: z.array(topicJson),
    contentTopics: z.array(topicJson),
    clockMs: z.number(),
    gaps: z.array(z.object({ sinceNs: decimal, untilNs: decimal })),
  }),
  z.object({ kind: z.literal('refuse'), reason: z.enum(REFUSAL_REASONS), retryAfterMs: z.number() }),
  // What a payload says is held by native-payloads.json.
  z.object({ kind: z.literal('payload'), payload: hexString }),
  z.object({
    kind: z.literal('offer'),
    last: z.boolean(),
    ids: z.array(z.object({ time: decimal, hash: hexString })),
  }),
  z.object({
    kind: z.literal('want'),
    page: z.number(),
    first: z.number(),
    bits: hexString,
    final: z.boolean(),
  }),
  z.object({ kind: z.literal('batch'), wants: z.number(), messages: z.array(hexString) }),
  z.object({ kind: z.literal('ack'), batches: z.number() }),
  z.object({ kind: z.literal('over'), state: z.enum(['agreed', 'incomplete']), have: z.number() }),
  z.object({
    kind: z.literal('result'),
    capped: z.boolean(),
    received: z.number(),
    known: z.number(),
    refused: z.number(),
    missing: z.number(),
  }),
  z.object({ kind: z.literal('alive') }),
]);
type FrameJson = z.infer<typeof frameJson>;

const vector = z.object({ name: z.string(), description: z.string(), hex: hexString, frame: frameJson });

export const nativeFramesFile = z.object({
  nativeFrames: z.array(vector).min(1),
  decodeOnly: z.array(vector),
  malformed: z.array(z.object({ name: z.string(), hex: hexString, code: z.string() })),
});

export function checkNativeFrames(file: z.infer<typeof nativeFramesFile>): CaseResult[] {
  return [
    ...file.nativeFrames.map(({ name, hex, frame }) =>
      runCase(`encode ${name}`, () => {
        const written = toHex(encodeNativeFrame(frameFromJson(frame)));
        return written === hex ? undefined : `wrote ${written.slice(0, 80)}`;
      }),
    ),
    ...[...file.nativeFrames, ...file.decodeOnly].map(({ name, hex, frame }) =>
      runCase(`decode ${name}`, () => {
        const read = frameToJson(decodeNativeFrame(fromHex(hex)));
        return sameJson(read, frame) ? undefined : `read otherwise: ${JSON.stringify(read).slice(0, 300)}`;
      }),
    ),
    ...file.malformed.map(({ name, hex, code }) =>
      runCase(`refuse ${name}`, () => {
        const read = attempt(() => decodeNativeFrame(fromHex(hex)));
        if ('value' in read) return 'read, where it is to be refused';
        return read.code === code ? undefined : `refused with ${read.code}`;
      }),
    ),
  ];
}

function frameFromJson(json: FrameJson): NativeFrame {
  switch (json.kind) {
    case 'hello': {
      const { pubsubTopics, contentTopics, ...hello } = json;
      return {
        ...hello,
        sinceNs: BigInt(json.sinceNs),
        untilNs: BigInt(json.untilNs),
        salt: fromHex(json.salt),
        agreement: json.agreement === null ? undefined : fromHex(json.agreement),
        messagesMax: json.messagesMax ?? undefined,
        bytesMax: json.bytesMax ?? undefined,
        scope: {
          pubsubTopics: pubsubTopics.map(topicFromJson),
          contentTopics: contentTopics.map(topicFromJson),
        },
        gaps: json.gaps.map(({ sinceNs, untilNs }) => ({
          sinceNs: BigInt(sinceNs),
          untilNs: BigInt(untilNs),
        })),
      };
    }
    case 'payload':
      return { kind: 'payload', payload: decodeNativePayload(fromHex(json.payload)) };
    case 'offer':
      return { ...json, ids: SyncIdList.of(...json.ids.map(wordsFromJson)) };
    case 'want':
      return { ...json, bits: fromHex(json.bits) };
    case 'batch':
      return { ...json, messages: json.messages.map(fromHex) };
    default:
      return json;
  }
}

function frameToJson(frame: NativeFrame): FrameJson {
  switch (frame.kind) {
    case 'hello': {
      const { scope, ...hello } = frame;
      return {
        ...hello,
        sinceNs: frame.sinceNs.toString(),
        untilNs: frame.untilNs.toString(),
        salt: toHex(frame.salt),
        agreement: frame.agreement === undefined ? null : toHex(frame.agreement),
        messagesMax: frame.messagesMax ?? null,
        bytesMax: frame.bytesMax ?? null,
        pubsubTopics: scope.pubsubTopics.map(topicToJson),
        contentTopics: scope.contentTopics.map(topicToJson),
        gaps: frame.gaps.map(({ sinceNs, untilNs }) => ({
          sinceNs: sinceNs.toString(),
          untilNs: untilNs.toString(),
        })),
      };
    }
    case 'payload':
      return { kind: 'payload', payload: toHex(encodeNativePayload(frame.payload)) };
    case 'offer': {
      const ids = Array.from({ length: frame.ids.count }, (_, row) => frame.ids.at(row));
      return { ...frame, ids: ids.map((id) => ({ time: timeOf(id).toString(), hash: toHex(hashOf(id)) })) };
    }
    case 'want':
      return { ...frame, bits: toHex(frame.bits) };
    case 'batch':
      return { ...frame, messages: frame.messages.map(toHex) };
    default:
      return frame;
  }
}
