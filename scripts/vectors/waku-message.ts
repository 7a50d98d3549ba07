/** Vectors of WakuMessageAndTopic: the bytes nwaku writes, and what it makes of bytes it did not write. */
import { z } from 'zod';
import { messageHash, type WakuMessage } from '../../src/core/message.ts';
import { decodeMessageAndTopic, encodeMessage, encodeMessageAndTopic } from '../../src/wire/waku-message.ts';
import { sha256 } from './message-hash.ts';
import type { CaseResult } from './shared.ts';
import {
  attempt,
  decimal,
  fromHex,
  hexString,
  runCase,
  sameJson,
  toHex,
  topicFromJson,
  topicJson,
  topicToJson,
} from './shared.ts';

export const messageJson = z.object({
  payload: hexString,
  contentTopic: topicJson,
  meta: hexString,
  version: z.number(),
  timestamp: decimal,
  ephemeral: z.boolean(),
  proof: hexString,
});

const decodedJson = z.union([
  z.object({ ok: z.object({ pubsub: topicJson, message: messageJson, hash: hexString }) }),
  z.object({ err: z.string() }),
  z.object({ defect: z.string() }),
]);

export const wakuMessageFile = z.object({
  vectors: z.array(
    z.object({
      name: z.string(),
      pubsub: topicJson,
      message: messageJson,
      encoded: hexString,
      messageEncoded: hexString,
      decoded: decodedJson,
    }),
  ),
  decodeOnly: z.array(z.object({ name: z.string(), buffer: hexString, decoded: decodedJson })),
});

export function checkWakuMessage(file: z.infer<typeof wakuMessageFile>): CaseResult[] {
  return [
    ...file.vectors.flatMap((vector) => [
      runCase(`encode ${vector.name}`, () => {
        const message = messageFromJson(vector.pubsub, vector.message);
        if (message.meta.length > 64) return undefined;
        if (toHex(encodeMessageAndTopic(message)) !== vector.encoded) return 'the frame differs';
        return toHex(encodeMessage(message)) === vector.messageEncoded ? undefined : 'the message differs';
      }),
      decodeCase(`decode ${vector.name}`, vector.encoded, vector.decoded),
    ]),
    ...file.decodeOnly.map((vector) => decodeCase(vector.name, vector.buffer, vector.decoded)),
  ];
}

function decodeCase(name: string, buffer: string, expected: z.infer<typeof decodedJson>): CaseResult {
  return runCase(name, () => {
    const decoded = attempt(() => decodeMessageAndTopic(fromHex(buffer)));
    if ('code' in decoded)
      return 'ok' in expected ? `refused with ${decoded.code}, nwaku reads it` : undefined;
    if (!('ok' in expected)) return 'read, where nwaku fails';
    const message = decoded.value;
    const json = {
      pubsub: topicToJson(message.pubsubTopic),
      message: messageToJson(message),
      hash: toHex(messageHash(message, sha256)),
    };
    return sameJson(json, expected.ok) ? undefined : `read otherwise: ${JSON.stringify(json).slice(0, 300)}`;
  });
}

export function messageFromJson(
  pubsub: z.infer<typeof topicJson>,
  json: z.infer<typeof messageJson>,
): WakuMessage {
  return {
    pubsubTopic: topicFromJson(pubsub),
    contentTopic: topicFromJson(json.contentTopic),
    payload: fromHex(json.payload),
    meta: fromHex(json.meta),
    version: json.version,
    timestamp: BigInt(json.timestamp),
    ephemeral: json.ephemeral,
    rateLimitProof: fromHex(json.proof),
  };
}

export function messageToJson(message: WakuMessage): z.infer<typeof messageJson> {
  return {
    payload: toHex(message.payload),
    contentTopic: topicToJson(message.contentTopic),
    meta: toHex(message.meta),
    version: message.version,
    timestamp: message.timestamp.toString(),
    ephemeral: message.ephemeral,
    proof: toHex(message.rateLimitProof),
  };
}
