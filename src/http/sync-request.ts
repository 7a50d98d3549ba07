/** What `POST /api/v1/sync` takes, and what the `sync` command sends there or does itself. */
import { z } from 'zod';
import type { SyncOptions } from '../node.ts';
import { parseTimeNs } from '../time.ts';

export const syncRequest = z.strictObject({
  peers: z.array(z.string()).min(1).max(100),
  since: z.string().optional(),
  until: z.string().optional(),
  pubsubTopics: z.array(z.string()).optional(),
  contentTopics: z.array(z.string()).optional(),
  direction: z.enum(['pull', 'push', 'both']).optional(),
  dialect: z.enum(['auto', 'native', 'waku', 'query']).optional(),
  dryRun: z.boolean().optional(),
  audit: z.boolean().optional(),
  messagesMax: z.number().int().positive().optional(),
  bytesMax: z.number().int().positive().optional(),
});

export type SyncRequest = z.infer<typeof syncRequest>;

/** @throws LacunaError USAGE for a time that is none. */
export function syncOptionsOf(request: Omit<SyncRequest, 'peers'>, nowMs: number): SyncOptions {
  const { since, until, pubsubTopics, contentTopics, ...rest } = request;
  const namesTopics = pubsubTopics !== undefined || contentTopics !== undefined;
  return definedOf({
    ...rest,
    sinceNs: since === undefined ? undefined : parseTimeNs(since, nowMs),
    untilNs: until === undefined ? undefined : parseTimeNs(until, nowMs),
    scope: namesTopics ? { pubsubTopics: pubsubTopics ?? [], contentTopics: contentTopics ?? [] } : undefined,
  });
}

/** What was given, without what was left out. */
export function definedOf<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const given = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
