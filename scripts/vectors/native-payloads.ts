/** Vectors of the payloads between two Lacunas: the same bytes are read and written. */
import { z } from 'zod';
import { decodeNativePayload, encodeNativePayload } from '../../src/wire/native-payload.ts';
import { type CaseResult, fromHex, hexString, runCase, toHex } from './shared.ts';

export const nativePayloadsFile = z.object({
  nativePayloads: z.array(z.object({ name: z.string(), description: z.string(), hex: hexString })).min(1),
});

export function checkNativePayloads(file: z.infer<typeof nativePayloadsFile>): CaseResult[] {
  return file.nativePayloads.map(({ name, hex }) =>
    runCase(name, () => {
      const written = toHex(encodeNativePayload(decodeNativePayload(fromHex(hex))));
      return written === hex ? undefined : `wrote ${written.slice(0, 80)}`;
    }),
  );
}
