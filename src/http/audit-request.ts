/** What `POST /api/v1/audit` takes, and what the `audit` command sends there or does itself. */
import { z } from 'zod';
import type { AuditPlan } from '../audit/audit.ts';
import type { Scope } from '../core/scope.ts';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { parseDurationMs, parseTimeNs } from '../time.ts';

export const auditRequest = z.strictObject({
  peers: z.array(z.string()).min(1).max(LIMITS.auditNodes),
  since: z.string().optional(),
  until: z.string().optional(),
  bucket: z.string().default('1h'),
  late: z.string().optional(),
  pubsubTopics: z.array(z.string()).optional(),
  contentTopics: z.array(z.string()).optional(),
  list: z.boolean().default(false),
  repair: z.boolean().default(false),
  push: z.boolean().default(false),
  watch: z.boolean().default(false),
});

export type AuditRequest = z.input<typeof auditRequest>;

/**
 * `scope` is compared where no topics are named.
 *
 * @throws LacunaError USAGE for a time or duration that is none, or what does not go together.
 */
export function auditPlanOf(request: z.output<typeof auditRequest>, scope: Scope, nowMs: number): AuditPlan {
  const { peers, since, until, bucket, late, pubsubTopics, contentTopics, ...flags } = request;
  const namesTopics = pubsubTopics !== undefined || contentTopics !== undefined;
  if (flags.push && !flags.repair) throw new LacunaError('USAGE', 'push goes with repair');
  return {
    ...flags,
    addresses: peers,
    scope: namesTopics ? { pubsubTopics: pubsubTopics ?? [], contentTopics: contentTopics ?? [] } : scope,
    sinceNs: since === undefined ? undefined : parseTimeNs(since, nowMs),
    untilNs: until === undefined ? undefined : parseTimeNs(until, nowMs),
    bucketNs: BigInt(durationOf('bucket', bucket)) * 1_000_000n,
    lateMs: late === undefined ? LIMITS.auditLateMs : durationOf('late', late, 0),
  };
}

/** Whole milliseconds. */
function durationOf(name: string, text: string, leastMs = 1): number {
  const ms = Math.round(parseDurationMs(text) ?? Number.NaN);
  if (Number.isSafeInteger(ms) && ms >= leastMs) return ms;
  throw new LacunaError('USAGE', `${name} ${text}: a duration such as 10m, 1h or 1d is wanted`);
}
