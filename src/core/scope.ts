/**
 * The topics that a session covers. An empty list means "every topic", as on the Waku wire; a scope that two
 * peers have no topic of in common is `undefined`, and can never be mistaken for "every topic" (W14).
 */
export interface Scope {
  readonly pubsubTopics: readonly string[];
  readonly contentTopics: readonly string[];
}

export const EVERYTHING: Scope = { pubsubTopics: [], contentTopics: [] };

export function isEverything(scope: Scope): boolean {
  return scope.pubsubTopics.length === 0 && scope.contentTopics.length === 0;
}

export function inScope(scope: Scope, pubsubTopic: string, contentTopic: string): boolean {
  return covers(scope.pubsubTopics, pubsubTopic) && covers(scope.contentTopics, contentTopic);
}

/** What both scopes cover, or undefined when that is nothing. */
export function intersectScopes(a: Scope, b: Scope): Scope | undefined {
  const pubsubTopics = intersect(a.pubsubTopics, b.pubsubTopics);
  const contentTopics = intersect(a.contentTopics, b.contentTopics);
  if (pubsubTopics === undefined || contentTopics === undefined) return undefined;
  return { pubsubTopics, contentTopics };
}

/** Whether everything of the inner scope is also in the outer one. */
export function scopeCovers(outer: Scope, inner: Scope): boolean {
  const holds = (all: readonly string[], some: readonly string[]): boolean =>
    all.length === 0 || (some.length > 0 && some.every((topic) => all.includes(topic)));
  return holds(outer.pubsubTopics, inner.pubsubTopics) && holds(outer.contentTopics, inner.contentTopics);
}

export function sameScope(a: Scope, b: Scope): boolean {
  return scopeCovers(a, b) && scopeCovers(b, a);
}

function covers(topics: readonly string[], topic: string): boolean {
  return topics.length === 0 || topics.includes(topic);
}

function intersect(a: readonly string[], b: readonly string[]): readonly string[] | undefined {
  if (a.length === 0) return b;
  if (b.length === 0) return a;
  const known = new Set(b);
  const common = a.filter((topic) => known.has(topic));
  return common.length > 0 ? common : undefined;
}
