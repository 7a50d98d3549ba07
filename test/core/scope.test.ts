/** Scopes: what they cover, and what two of them cover together. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EVERYTHING, inScope, intersectScopes, isEverything } from '../../src/core/scope.ts';

const TOPICS = ['a', 'b', 'c', 'd'];
const topics = fc.subarray(TOPICS);
const scope = fc.record({ pubsubTopics: topics, contentTopics: topics });

describe('a scope', () => {
  it('covers what it names, and everything where it names nothing', () => {
    const narrow = { pubsubTopics: ['p'], contentTopics: ['x', 'y'] };
    expect(inScope(narrow, 'p', 'y')).toBe(true);
    expect(inScope(narrow, 'q', 'y')).toBe(false);
    expect(inScope(narrow, 'p', 'z')).toBe(false);
    expect(inScope({ pubsubTopics: ['p'], contentTopics: [] }, 'p', 'z')).toBe(true);
    expect(inScope(EVERYTHING, 'any', 'thing')).toBe(true);
  });

  it('is everything only when neither list names a topic', () => {
    expect(isEverything(EVERYTHING)).toBe(true);
    expect(isEverything({ pubsubTopics: ['p'], contentTopics: [] })).toBe(false);
    expect(isEverything({ pubsubTopics: [], contentTopics: ['x'] })).toBe(false);
  });

  it('covers together what both cover, and is undefined when that is nothing', () => {
    fc.assert(
      fc.property(scope, scope, (a, b) => {
        const both = intersectScopes(a, b);
        let common = 0;
        for (const pubsub of [...TOPICS, 'other']) {
          for (const content of [...TOPICS, 'other']) {
            const expected = inScope(a, pubsub, content) && inScope(b, pubsub, content);
            expect(both !== undefined && inScope(both, pubsub, content)).toBe(expected);
            if (expected) common += 1;
          }
        }
        expect(both === undefined).toBe(common === 0);
      }),
    );
  });

  it('never becomes everything by having nothing in common', () => {
    const a = { pubsubTopics: ['p'], contentTopics: [] };
    const b = { pubsubTopics: ['q'], contentTopics: [] };
    expect(intersectScopes(a, b)).toBeUndefined();
    expect(
      intersectScopes({ pubsubTopics: [], contentTopics: ['x'] }, { pubsubTopics: [], contentTopics: ['y'] }),
    ).toBe(undefined);
  });

  it('does not widen: everything together with a scope is that scope', () => {
    fc.assert(
      fc.property(scope, (a) => {
        expect(intersectScopes(EVERYTHING, a)).toEqual(a);
        expect(intersectScopes(a, EVERYTHING)).toEqual(a);
      }),
    );
  });
});
