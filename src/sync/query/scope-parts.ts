/** A scope in the terms of store queries: a request names one pubsub topic or none, and few content topics. */
import type { Scope } from '../../core/scope.ts';
import { LacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';

/** The topics of one request. */
export interface ScopePart {
  readonly pubsubTopic: string | undefined;
  readonly contentTopics: readonly string[];
}

/** Parts that cover the scope, and have no message in common. @throws LacunaError QUERY_TOPICS. */
export function partsOf({ pubsubTopics, contentTopics }: Scope): ScopePart[] {
  const content = [...new Set(contentTopics)];
  const chunks: string[][] = content.length === 0 ? [[]] : [];
  for (let at = 0; at < content.length; at += LIMITS.queryContentTopics) {
    chunks.push(content.slice(at, at + LIMITS.queryContentTopics));
  }
  const pubsub: (string | undefined)[] = pubsubTopics.length === 0 ? [undefined] : [...new Set(pubsubTopics)];
  const count = pubsub.length * chunks.length;
  if (count > LIMITS.queryParts) {
    throw new LacunaError('QUERY_TOPICS', `these topics take ${count} requests a page`);
  }
  return pubsub.flatMap((pubsubTopic) => chunks.map((chunk) => ({ pubsubTopic, contentTopics: chunk })));
}
