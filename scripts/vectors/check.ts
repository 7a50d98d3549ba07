/** Tells the format of a vector file from its content and checks each of its cases. */
import type { z } from 'zod';
import { checkMessageHash, messageHashFile } from './message-hash.ts';
import { checkNativeFrames, nativeFramesFile } from './native-frames.ts';
import { checkNativePayloads, nativePayloadsFile } from './native-payloads.ts';
import { checkNativeSession, nativeSessionFile } from './native-session.ts';
import { checkMalformed, checkRanges, malformedFile, rangesFile } from './ranges.ts';
import type { CaseResult } from './shared.ts';
import { checkStoreQuery, storeQueryFile } from './store-query.ts';
import { checkTranscript, transcriptFile } from './transcript.ts';
import { checkIndex, indexFile } from './transcripts-index.ts';
import { checkWakuMessage, wakuMessageFile } from './waku-message.ts';

/** @throws Error when the file is of no known format. */
export function checkVectors(content: unknown, file: string): CaseResult[] {
  for (const check of FORMATS) {
    const results = check(content, file);
    if (results !== undefined) return results;
  }
  throw new Error('not a vector file of a known format');
}

type Check = (content: unknown, file: string) => CaseResult[] | undefined;

function format<T>(schema: z.ZodType<T>, check: (content: T, file: string) => CaseResult[]): Check {
  return (content, file) => {
    const parsed = schema.safeParse(content);
    return parsed.success ? check(parsed.data, file) : undefined;
  };
}

const FORMATS: readonly Check[] = [
  format(wakuMessageFile, checkWakuMessage),
  format(storeQueryFile, checkStoreQuery),
  format(messageHashFile, checkMessageHash),
  format(rangesFile, checkRanges),
  format(malformedFile, checkMalformed),
  format(transcriptFile, checkTranscript),
  format(indexFile, checkIndex),
  format(nativePayloadsFile, checkNativePayloads),
  format(nativeFramesFile, checkNativeFrames),
  format(nativeSessionFile, checkNativeSession),
];
