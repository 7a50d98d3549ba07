/** The ledger as it is written down: JSON in small records of the store. A record that cannot be read is left out. */
import { z } from 'zod';
import { isEmpty } from '../core/interval.ts';
import type { Scope } from '../core/scope.ts';
import { EVERYTHING } from '../core/scope.ts';
import { type ErrorCode, isErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { type ClosedGap, GAP_CAUSES, type Gap, type Verification } from './gap.ts';

const time = z
  .string()
  .regex(/^\d{1,19}$/)
  .transform(BigInt);
const scope = z.object({ pubsubTopics: z.array(z.string()), contentTopics: z.array(z.string()) });
const code = z
  .string()
  .refine(isErrorCode)
  .transform((text): ErrorCode => text as ErrorCode);
/** As many digits as the name of a record has: one beyond what numbers tell apart would be given twice. */
const id = z.number().int().positive().max(999_999_999_999);
const interval = { sinceNs: time, untilNs: time, scope };
const gap = z.object({
  ...interval,
  id,
  cause: z.enum(GAP_CAUSES),
  openedMs: z.number(),
  attempts: z.number(),
  lastPeer: optional(z.string()),
  lastAttemptMs: optional(z.number()),
  lastCode: optional(code),
  witnesses: z.array(z.string()),
});
const closedGap = gap.extend({ closedMs: z.number(), verifiedWith: z.array(z.string()) });
const verification = z.object({ ...interval, peer: z.string(), verifiedMs: z.number() });
const meeting = z.tuple([z.string(), time]);

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export function encodeGap(value: Gap): Uint8Array {
  // More than a record holds: whoever is no witness is asked again, and all topics are no fewer.
  for (const less of [value, { ...value, witnesses: [] }]) {
    const bytes = encode(less);
    if (bytes.length <= LIMITS.recordBytes) return bytes;
  }
  return encode({ ...value, scope: EVERYTHING, witnesses: [] });
}

export function decodeGap(bytes: Uint8Array): Gap | undefined {
  const value = decode(gap, bytes);
  // One that covers no time covered another when it was written.
  return value === undefined || isEmpty(value) ? undefined : value;
}

/** As many as a record holds, from the first on. */
export function encodeClosed(values: readonly ClosedGap[]): Uint8Array {
  return encodeSome(values);
}

export function decodeClosed(bytes: Uint8Array): ClosedGap[] {
  return decode(z.array(closedGap), bytes) ?? [];
}

/** As many as a record holds, from the first on. */
export function encodeVerifications(values: readonly Verification[]): Uint8Array {
  return encodeSome(values);
}

export function decodeVerifications(bytes: Uint8Array): Verification[] {
  return decode(z.array(verification), bytes) ?? [];
}

/** Peers, each with the time up to which this store was compared with it. */
export function encodeMeetings(values: readonly (readonly [string, bigint])[]): Uint8Array {
  return encodeSome(values);
}

export function decodeMeetings(bytes: Uint8Array): (readonly [string, bigint])[] {
  return decode(z.array(meeting), bytes) ?? [];
}

/** What the node writes down now and then while it runs. */
export interface Pulse {
  readonly aliveMs: number;
  /** What it covered. */
  readonly scope: Scope;
  /** How many times it has looked at the recent past. */
  readonly rounds: number;
}

const pulse = z.object({ aliveMs: z.number(), scope, rounds: z.number().int().nonnegative() });

export function encodePulse(value: Pulse): Uint8Array {
  const bytes = encode(value);
  return bytes.length <= LIMITS.recordBytes ? bytes : encode({ ...value, scope: EVERYTHING });
}

export function decodePulse(bytes: Uint8Array): Pulse | undefined {
  return decode(pulse, bytes);
}

function optional<T extends z.ZodType>(type: T) {
  return type.optional().transform((value): z.output<T> | undefined => value);
}

function encode(value: unknown): Uint8Array {
  const asText = (_key: string, part: unknown): unknown => (typeof part === 'bigint' ? String(part) : part);
  return encoder.encode(JSON.stringify(value, asText));
}

function encodeSome(values: readonly unknown[]): Uint8Array {
  let count = values.length;
  for (;;) {
    const bytes = encode(values.slice(0, count));
    if (bytes.length <= LIMITS.recordBytes) return bytes;
    count = Math.floor(Math.min(count - 1, (count * LIMITS.recordBytes) / bytes.length));
  }
}

function decode<T>(type: z.ZodType<T>, bytes: Uint8Array): T | undefined {
  try {
    return type.safeParse(JSON.parse(decoder.decode(bytes))).data;
  } catch {
    return undefined;
  }
}
