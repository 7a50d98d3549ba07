/** The pieces that several vector formats have in common: topics, ids, payloads, and running one case. */
import { z } from 'zod';
import type { Claim, RangesPayload } from '../../src/core/range.ts';
import {
  HASH_WORDS,
  hashOf,
  ID_WORDS,
  readHashWords,
  SyncIdList,
  timeOf,
  writeHashWords,
} from '../../src/core/sync-id.ts';
import { topicBytes, topicFromBytes } from '../../src/core/topic.ts';
import { LacunaError } from '../../src/errors.ts';

export const hexString = z.string().regex(/^([0-9a-f]{2})*$/);
export const decimal = z.string().regex(/^-?\d+$/);
export const topicJson = z.union([z.string(), z.object({ hex: hexString })]);
const idJson = z.object({ time: decimal, hash: hexString });

export const rangesJson = z.object({
  pubsubTopics: z.array(topicJson),
  contentTopics: z.array(topicJson),
  ranges: z.array(
    z.object({
      lower: idJson,
      upper: idJson,
      type: z.enum(['skip', 'fingerprint', 'itemset']),
      fingerprint: hexString.optional(),
      elements: z.array(idJson).optional(),
      reconciled: z.boolean().optional(),
    }),
  ),
});
export type RangesJson = z.infer<typeof rangesJson>;

export const decodedRangesJson = z.union([
  z.object({ ok: rangesJson }),
  z.object({ err: z.string() }),
  z.object({ defect: z.string() }),
]);

export function fromHex(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, 'hex'));
}

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

export function topicFromJson(topic: z.infer<typeof topicJson>): string {
  return typeof topic === 'string' ? topic : topicFromBytes(fromHex(topic.hex));
}

export function topicToJson(topic: string): z.infer<typeof topicJson> {
  return topic.isWellFormed() ? topic : { hex: toHex(topicBytes(topic) ?? new Uint8Array()) };
}

/** Ten words, without any check of the time: vectors hold times that no id may have. */
export function wordsFromJson(id: z.infer<typeof idJson>): Uint32Array {
  const words = new Uint32Array(ID_WORDS);
  const time = BigInt.asUintN(64, BigInt(id.time));
  words[0] = Number(time >> 32n);
  words[1] = Number(time & 0xffff_ffffn);
  readHashWords(fromHex(id.hash), 0, words, 2);
  return words;
}

export function payloadFromJson(json: RangesJson): RangesPayload {
  return {
    pubsubTopics: json.pubsubTopics.map(topicFromJson),
    contentTopics: json.contentTopics.map(topicFromJson),
    claims: json.ranges.map((range): Claim => {
      const bounds = { lower: wordsFromJson(range.lower), upper: wordsFromJson(range.upper) };
      if (range.type === 'skip') return { kind: 'skip', ...bounds };
      if (range.type === 'fingerprint') {
        const fingerprint = new Uint32Array(HASH_WORDS);
        readHashWords(fromHex(range.fingerprint ?? ''), 0, fingerprint, 0);
        return { kind: 'fingerprint', ...bounds, fingerprint };
      }
      const items = SyncIdList.of(...(range.elements ?? []).map(wordsFromJson));
      return { kind: 'items', ...bounds, items, reconciled: range.reconciled ?? false };
    }),
  };
}

export function payloadToJson(payload: RangesPayload): RangesJson {
  return {
    pubsubTopics: payload.pubsubTopics.map(topicToJson),
    contentTopics: payload.contentTopics.map(topicToJson),
    ranges: payload.claims.map((claim) => {
      const bounds = { lower: idToJson(claim.lower), upper: idToJson(claim.upper) };
      if (claim.kind === 'skip') return { ...bounds, type: 'skip' };
      if (claim.kind === 'fingerprint') {
        const bytes = new Uint8Array(HASH_WORDS * 4);
        writeHashWords(claim.fingerprint, 0, bytes, 0);
        return { ...bounds, type: 'fingerprint', fingerprint: toHex(bytes) };
      }
      const elements = Array.from({ length: claim.items.count }, (_, row) => idToJson(claim.items.at(row)));
      return { ...bounds, type: 'itemset', elements, reconciled: claim.reconciled };
    }),
  };
}

function idToJson(id: Uint32Array): z.infer<typeof idJson> {
  return { time: timeOf(id).toString(), hash: toHex(hashOf(id)) };
}

/** One checked case; `fault` says what is wrong, or is undefined when it passed. */
export interface CaseResult {
  readonly name: string;
  readonly fault: string | undefined;
}

/** Runs a case: it passes unless it returns a fault or throws. */
export function runCase(name: string, check: () => string | undefined): CaseResult {
  try {
    return { name, fault: check() };
  } catch (error) {
    return { name, fault: error instanceof Error ? `${error.name}: ${error.message}` : String(error) };
  }
}

/** The value, or the code of the error it ended in; any other error is passed on. */
export function attempt<T>(run: () => T): { value: T } | { code: string } {
  try {
    return { value: run() };
  } catch (error) {
    if (error instanceof LacunaError) return { code: error.code };
    throw error;
  }
}

/** Compares as JSON, whatever the order of keys. */
export function sameJson(a: unknown, b: unknown): boolean {
  return JSON.stringify(sorted(a)) === JSON.stringify(sorted(b));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, entry]) => entry !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, entry]) => [key, sorted(entry)]),
  );
}
