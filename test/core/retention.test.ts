/** Retention policies: what operators may write, what is kept by them, and which windows are worth comparing. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { overlaps } from '../../src/core/interval.ts';
import { DecidingRules, horizonOf, keptSince, parseRetention, windowsOf } from '../../src/core/retention.ts';
import { inScope, type Scope, scopeCovers } from '../../src/core/scope.ts';
import { parseBytes } from '../../src/quantity.ts';
import { parseDurationMs } from '../../src/time.ts';

const read = { durationMs: parseDurationMs, bytes: parseBytes };
const parse = (...texts: string[]) => parseRetention(texts, read);
const DAY_NS = 86_400_000_000_000n;
const NOW_NS = 1_000n * DAY_NS;
const EVERYTHING: Scope = { pubsubTopics: [], contentTopics: [] };

describe('a policy', () => {
  it('is read as operators write it', () => {
    expect(parse('time:30d').all.age).toBe(30n * DAY_NS);
    expect(parse('time:172800').all.age).toBe(2n * DAY_NS);
    expect(parse('capacity:1000000').all.messages).toBe(1_000_000);
    expect(parse('size:50GB').all.bytes).toBe(50e9);
    expect(parse('time:2d;size:10GB').all).toEqual(parse('size:10GB', ' time:2d ').all);
    const { topics } = parse(
      'content:/app/1/a=b/proto=time:7d;capacity:5',
      'pubsub:/waku/2/rs/16/128=latest',
    );
    expect(topics).toEqual([
      {
        kind: 'content',
        topic: '/app/1/a=b/proto',
        age: 7n * DAY_NS,
        isLatest: false,
        messages: 5,
        bytes: undefined,
      },
      {
        kind: 'pubsub',
        topic: '/waku/2/rs/16/128',
        age: 'for ever',
        isLatest: true,
        messages: undefined,
        bytes: undefined,
      },
    ]);
    expect(parse('content:/x=latest;time:1d').topics[0]).toMatchObject({ age: DAY_NS, isLatest: true });
  });

  it('that keeps everything is the same as none', () => {
    expect(parse().text).toBe('');
    expect(parse('none').text).toBe('');
    expect(parse('none', 'content:/x=none').text).toBe('');
  });

  it('has one text for all ways to write it', () => {
    expect(parse('size:10GB;time:2d').text).toBe(parse('time:2d', 'size:10GB').text);
    expect(parse('time:2d').text).not.toBe(parse('time:3d').text);
    expect(parse('content:/x=time:2d').text).not.toBe(parse('pubsub:/x=time:2d').text);
  });

  it.each([
    ['', 'none, time:30d'],
    ['forever', 'none, time:30d'],
    ['time', 'time:30d'],
    ['none:3', 'time:30d'],
    ['time:0', 'no duration'],
    ['time:-5d', 'no duration'],
    ['time:soon', 'no duration'],
    ['capacity:0', 'no number of messages'],
    ['capacity:1.5', 'no number of messages'],
    ['size:0', 'no size'],
    ['size:1MB', 'at least'],
    ['size:much', 'no size'],
    ['latest', 'for topics only'],
    ['none;time:2d', 'beside another'],
    ['time:2d;time:3d', 'a second time'],
    ['time:2d;content:/x=time:3d', 'names no topic'],
    ['topic:/x=time:3d', 'names no topic'],
    ['content:=time:3d', 'names no topic'],
    ['=time:3d', 'names no topic'],
  ])('%j is refused with a cure', (text, cure) => {
    expect(() => parse(text)).toThrow(cure);
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
  });

  it('contradicts itself over several texts too', () => {
    expect(() => parse('none', 'time:2d')).toThrow('beside another');
    expect(() => parse('content:/x=time:2d', 'content:/x=time:2d')).toThrow('a second time');
    expect(() => parse('time:2d', 'content:/x=time:3d')).not.toThrow();
  });
});

describe('windows', () => {
  const windows = (texts: string[], scope = EVERYTHING, floorNs = 0n) =>
    windowsOf(parse(...texts), scope, { sinceNs: 0n, untilNs: NOW_NS }, NOW_NS, floorNs);
  const content = (...contentTopics: string[]): Scope => ({ pubsubTopics: [], contentTopics });

  it('are of the scope as far as most is kept, and of single topics further back', () => {
    expect(windows(['time:2d', 'content:X=none', 'content:Y=time:30d'])).toEqual([
      { scope: EVERYTHING, sinceNs: NOW_NS - 2n * DAY_NS, untilNs: NOW_NS },
      { scope: content('X', 'Y'), sinceNs: NOW_NS - 30n * DAY_NS, untilNs: NOW_NS - 2n * DAY_NS },
      { scope: content('X'), sinceNs: 0n, untilNs: NOW_NS - 30n * DAY_NS },
    ]);
  });

  it('are one where nothing is said of ages', () => {
    const whole = [{ scope: EVERYTHING, sinceNs: 0n, untilNs: NOW_NS }];
    expect(windows([])).toEqual(whole);
    expect(windows(['capacity:5', 'content:X=capacity:5'])).toEqual(whole);
  });

  it('end where caps have pruned', () => {
    expect(windows(['time:9d', 'content:X=none'], EVERYTHING, NOW_NS - DAY_NS)).toEqual([
      { scope: EVERYTHING, sinceNs: NOW_NS - DAY_NS, untilNs: NOW_NS },
    ]);
    expect(windows([], EVERYTHING, NOW_NS + 1n)).toEqual([]);
  });

  it('leave out topics that are named and not kept', () => {
    const scope = content('X', 'Y');
    expect(windows(['content:X=time:1d'], scope)).toEqual([
      { scope, sinceNs: NOW_NS - DAY_NS, untilNs: NOW_NS },
      { scope: content('Y'), sinceNs: 0n, untilNs: NOW_NS - DAY_NS },
    ]);
    expect(windows(['time:1d', 'content:X=none'], content('X'))).toEqual([
      { scope: content('X'), sinceNs: 0n, untilNs: NOW_NS },
    ]);
  });

  it('hold every message that is kept, and as few others as positive lists allow', () => {
    const topics = ['A', 'B', 'C'];
    const age = fc.constantFrom('time:1d', 'time:3d', 'time:7d', 'none', 'latest', 'capacity:9');
    const list = fc.uniqueArray(fc.constantFrom(...topics), { maxLength: 3 });
    const policy = fc.record({
      all: fc.option(fc.constantFrom('time:2d', 'time:5d', 'none', 'capacity:9'), { nil: undefined }),
      content: fc.dictionary(fc.constantFrom(...topics), age, { maxKeys: 3 }),
      pubsub: fc.dictionary(fc.constantFrom(...topics), age, { maxKeys: 2 }),
    });
    const hours = fc.integer({ min: 0, max: 240 });
    fc.assert(
      fc.property(
        policy,
        list,
        list,
        hours,
        hours,
        hours,
        (said, pubsubTopics, contentTopics, from, to, floor) => {
          const rules = parse(
            ...(said.all === undefined ? [] : [said.all]),
            ...Object.entries(said.content).map(([topic, text]) => `content:${topic}=${text}`),
            ...Object.entries(said.pubsub).map(([topic, text]) => `pubsub:${topic}=${text}`),
          );
          const at = (ago: number): bigint => NOW_NS - (BigInt(ago) * DAY_NS) / 24n;
          const scope = { pubsubTopics, contentTopics };
          const asked = { sinceNs: at(Math.max(from, to)), untilNs: at(Math.min(from, to)) };
          const found = windowsOf(rules, scope, asked, NOW_NS, at(floor));
          const deciding = new DecidingRules(rules);
          for (const { sinceNs, untilNs } of found) expect(sinceNs < untilNs).toBe(true);
          for (const [place, window] of found.entries()) {
            for (const next of found.slice(place + 1)) {
              expect(next.untilNs <= window.untilNs).toBe(true);
              if (!overlaps(window, next)) continue;
              expect(scopeCovers(window.scope, next.scope) || scopeCovers(next.scope, window.scope)).toBe(
                false,
              );
            }
          }
          // A topic beside all that are named stands for every other one.
          for (const pubsub of [...topics, 'P']) {
            for (const contentTopic of [...topics, 'Q']) {
              for (let ago = 0; ago <= 240; ago += 7) {
                const timeNs = at(ago) + 1n;
                const isAsked =
                  inScope(scope, pubsub, contentTopic) &&
                  timeNs >= asked.sinceNs &&
                  timeNs < asked.untilNs &&
                  timeNs >= at(floor);
                const isKept = timeNs >= keptSince(deciding.ruleOf(pubsub, contentTopic), NOW_NS);
                const within = found.filter(
                  (window) =>
                    timeNs >= window.sinceNs &&
                    timeNs < window.untilNs &&
                    inScope(window.scope, pubsub, contentTopic),
                ).length;
                if (!isAsked) expect(within).toBe(0);
                else if (isKept) expect(within).toBeGreaterThan(0);
                if (isKept && isAsked) {
                  expect(horizonOf(rules, scope, NOW_NS) <= timeNs).toBe(true);
                  if (Object.keys(said.pubsub).length === 0) expect(within).toBe(1);
                }
                // What is compared and not kept is what pruning remembers by its id.
                if (within > 0 && !isKept) {
                  expect(timeNs >= deciding.comparedSince(pubsub, contentTopic, NOW_NS)).toBe(true);
                  if (Object.keys(said.pubsub).length === 0)
                    expect(contentTopics).not.toContain(contentTopic);
                }
              }
            }
          }
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('the horizon', () => {
  it('is that of what is kept longest of all that a scope can hold', () => {
    const policy = parse('time:2d', 'content:X=none', 'content:Y=time:30d', 'pubsub:P=time:1d');
    const horizon = (pubsubTopics: string[], contentTopics: string[]): bigint =>
      horizonOf(policy, { pubsubTopics, contentTopics }, NOW_NS);
    expect(horizon([], [])).toBe(0n);
    expect(horizon([], ['Y'])).toBe(NOW_NS - 30n * DAY_NS);
    expect(horizon([], ['Z'])).toBe(NOW_NS - 2n * DAY_NS);
    expect(horizon([], ['Y', 'Z'])).toBe(NOW_NS - 30n * DAY_NS);
    expect(horizon(['P'], ['Z'])).toBe(NOW_NS - DAY_NS);
    expect(horizon(['P'], [])).toBe(0n);
    expect(horizonOf(parse(), EVERYTHING, NOW_NS)).toBe(0n);
    expect(horizonOf(parse('time:2000d'), EVERYTHING, NOW_NS)).toBe(0n);
  });
});
