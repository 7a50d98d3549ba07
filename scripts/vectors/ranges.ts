/**
 * Vectors of reconciliation payloads. A case passes when we write the bytes that nwaku writes and read what it
 * reads; where it fails, or dies, or cannot read its own bytes, we must refuse with a code.
 */
import { z } from 'zod';
import { decodeRanges, encodeRanges } from '../../src/wire/waku-ranges.ts';
import type { CaseResult } from './shared.ts';
import {
  attempt,
  decodedRangesJson,
  fromHex,
  hexString,
  payloadFromJson,
  payloadToJson,
  rangesJson,
  runCase,
  sameJson,
  toHex,
} from './shared.ts';

export const rangesFile = z.object({
  vectors: z
    .array(z.object({ name: z.string(), input: rangesJson, encoded: hexString, decoded: decodedRangesJson }))
    .min(1),
});

export const malformedFile = z.object({
  vectors: z.array(z.object({ name: z.string(), buffer: hexString, decoded: decodedRangesJson })).min(1),
});

export function checkRanges(file: z.infer<typeof rangesFile>): CaseResult[] {
  return file.vectors.flatMap((vector) => [
    runCase(`encode ${vector.name}`, () => {
      const encoded = attempt(() => toHex(encodeRanges(payloadFromJson(vector.input))));
      if ('code' in encoded) return encodable(vector.input) ? `refused with ${encoded.code}` : undefined;
      return encoded.value === vector.encoded ? undefined : `wrote ${encoded.value.slice(0, 80)}…`;
    }),
    decodeCase(`decode ${vector.name}`, vector.encoded, vector.decoded),
  ]);
}

export function checkMalformed(file: z.infer<typeof malformedFile>): CaseResult[] {
  return file.vectors.map((vector) => decodeCase(vector.name, vector.buffer, vector.decoded));
}

function decodeCase(name: string, buffer: string, expected: z.infer<typeof decodedRangesJson>): CaseResult {
  return runCase(name, () => {
    const decoded = attempt(() => payloadToJson(decodeRanges(fromHex(buffer))));
    if ('code' in decoded) {
      if (!('ok' in expected)) return undefined;
      return readsNonsense(buffer) ? undefined : `refused with ${decoded.code}, nwaku reads it`;
    }
    if (!('ok' in expected)) return 'read, where nwaku fails';
    return sameJson(decoded.value, expected.ok)
      ? undefined
      : `read otherwise: ${JSON.stringify(decoded.value)}`;
  });
}

/**
 * Where nwaku reads a varint of ten bytes it takes the value for 0 and reads the same bytes again as the next
 * field: whatever comes out was never meant. Such a varint shows as nine continuation bytes in a row.
 */
function readsNonsense(buffer: string): boolean {
  return fromHex(buffer).reduce((run, byte) => (run >= 9 ? run : byte >= 0x80 ? run + 1 : 0), 0) >= 9;
}

/** The wire has no negative time and no descending bound; every other input must be written. */
function encodable(input: z.infer<typeof rangesJson>): boolean {
  const times = input.ranges.flatMap((range) => [range.lower.time, range.upper.time]).map(BigInt);
  const ascending = times.every((time, index) => index === 0 || time >= times[index - 1]!);
  return ascending && times.every((time) => time >= 0n);
}
