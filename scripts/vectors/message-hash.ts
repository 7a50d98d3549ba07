/** Vectors of the deterministic message hash: topics, payload, meta, timestamp → hash. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { messageHash } from '../../src/core/message.ts';
import type { CaseResult } from './shared.ts';
import { decimal, fromHex, hexString, runCase, toHex, topicFromJson, topicJson } from './shared.ts';

export const messageHashFile = z.object({
  vectors: z
    .array(
      z.object({
        pubsubTopic: topicJson,
        contentTopic: topicJson,
        payload: hexString,
        meta: hexString.nullable(),
        timestamp: decimal,
        version: z.number(),
        ephemeral: z.boolean(),
        hash: hexString,
        note: z.string().optional(),
      }),
    )
    .min(1),
});

export const sha256 = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();

export function checkMessageHash(file: z.infer<typeof messageHashFile>): CaseResult[] {
  return file.vectors.map((vector, index) =>
    runCase(vector.note ?? `#${index}`, () => {
      const message = {
        pubsubTopic: topicFromJson(vector.pubsubTopic),
        contentTopic: topicFromJson(vector.contentTopic),
        payload: fromHex(vector.payload),
        meta: fromHex(vector.meta ?? ''),
        timestamp: BigInt(vector.timestamp),
        version: vector.version,
        ephemeral: vector.ephemeral,
        rateLimitProof: new Uint8Array(),
      };
      const hash = toHex(messageHash(message, sha256));
      return hash === vector.hash ? undefined : `hash ${hash}, expected ${vector.hash}`;
    }),
  );
}
