/** The index of the transcripts: each line must agree with the file it names, where that file lies beside it. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { CaseResult } from './shared.ts';
import { runCase } from './shared.ts';
import { transcriptFile } from './transcript.ts';

export const indexFile = z.object({
  transcripts: z.array(
    z.object({
      file: z.string().regex(/^[\w.-]+$/),
      payloads: z.number(),
      aSend: z.number(),
      aRecv: z.number(),
      bSend: z.number(),
      bRecv: z.number(),
      trueOnlyA: z.number(),
      trueOnlyB: z.number(),
    }),
  ),
});

export function checkIndex(index: z.infer<typeof indexFile>, file: string): CaseResult[] {
  return index.transcripts.map((entry) =>
    runCase(entry.file, () => {
      const path = join(dirname(file), entry.file);
      if (!existsSync(path)) return 'the file is missing';
      const transcript = transcriptFile.parse(JSON.parse(readFileSync(path, 'utf8')));
      const counts = {
        payloads: transcript.steps.filter((step) => 'payload' in step).length,
        aSend: transcript.initiator.hashToSend.length,
        aRecv: transcript.initiator.hashToRecv.length,
        bSend: transcript.responder.hashToSend.length,
        bRecv: transcript.responder.hashToRecv.length,
        trueOnlyA: transcript.trueOnlyA,
        trueOnlyB: transcript.trueOnlyB,
      };
      for (const [key, value] of Object.entries(counts)) {
        if (entry[key as keyof typeof counts] !== value) return `${key} is ${value} in the transcript`;
      }
      return undefined;
    }),
  );
}
