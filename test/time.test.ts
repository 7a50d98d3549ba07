/** Times as people write them: every form is exact, and what is no time is refused instead of guessed. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatTimeNs, nsFromMs, parseDurationMs, parseTimeNs } from '../src/time.ts';
import { codeOf } from './error-code.ts';
import { NOW_MS, NOW_NS } from './sample-messages.ts';

function parse(text: string): bigint {
  return parseTimeNs(text, NOW_MS);
}

describe('a duration', () => {
  it.each([
    ['0', 0],
    ['90', 90_000],
    ['250ms', 250],
    ['90s', 90_000],
    ['5m', 300_000],
    ['24h', 86_400_000],
    ['30d', 2_592_000_000],
    ['2w', 1_209_600_000],
    ['1.5h', 5_400_000],
  ])('%s', (text, ms) => {
    expect(parseDurationMs(text)).toBe(ms);
  });

  it.each(['', ' ', '5 m', '-5m', '+5m', '5M', '5y', 'm', '.5h', '5.', '1e3s', '5m30s', '5m ', '0x5'])(
    '%j is none',
    (text) => {
      expect(parseDurationMs(text)).toBeUndefined();
    },
  );
});

describe('a time', () => {
  it('is now, or a while before', () => {
    expect(parse('now')).toBe(NOW_NS);
    expect(parse('24h')).toBe(NOW_NS - 86_400_000_000_000n);
    expect(parse('1.5s')).toBe(NOW_NS - 1_500_000_000n);
    expect(parse('0s')).toBe(NOW_NS);
    expect(parseTimeNs('now', 1.4)).toBe(1_000_000n);
  });

  it('is ns since 1970, with every digit', () => {
    expect(parse('0')).toBe(0n);
    expect(parse('1442504880048014721')).toBe(1_442_504_880_048_014_721n);
  });

  it('is RFC 3339, to the nanosecond and of any zone', () => {
    const whole = BigInt(Date.UTC(2015, 8, 17, 15, 48, 0)) * 1_000_000n;
    expect(parse('2015-09-17T15:48:00Z')).toBe(whole);
    expect(parse('2015-09-17t15:48:00z')).toBe(whole);
    expect(parse('2015-09-17 15:48:00Z')).toBe(whole);
    expect(parse('2015-09-17T17:48:00+02:00')).toBe(whole);
    expect(parse('2015-09-17T10:18:00-05:30')).toBe(whole);
    expect(parse('2015-09-17T15:48:00.1Z')).toBe(whole + 100_000_000n);
    expect(parse('2015-09-17T15:48:00.048014721Z')).toBe(whole + 48_014_721n);
    expect(parse('2015-09-17')).toBe(BigInt(Date.UTC(2015, 8, 17)) * 1_000_000n);
    expect(parse('2016-02-29')).toBe(BigInt(Date.UTC(2016, 1, 29)) * 1_000_000n);
  });

  it.each([
    '',
    ' ',
    'soon',
    'Now',
    '-5',
    '-5m',
    '1.5',
    '2015-9-17',
    '2015-13-01',
    '2015-00-01',
    '2015-02-29',
    '2015-02-30T00:00:00Z',
    '2015-09-31',
    '2015-09-32',
    '2015-09-17T25:00:00Z',
    '2015-09-17T15:60:00Z',
    '2015-09-17T15:48:00',
    '2015-09-17T15:48Z',
    '2015-09-17T15:48:00.Z',
    '2015-09-17T15:48:00.1234567890Z',
    '2015-09-17T15:48:00+2',
    '2015-09-17T15:48:00Z\n',
    '17.09.2015',
    `${'9'.repeat(400)}s`,
  ])('is refused when it is none: %j', (text) => {
    expect(codeOf(() => parse(text))).toBe('USAGE');
  });

  it('is of 1970 at least, and of what the wire can say at most', () => {
    for (const early of ['1969-12-31', '1960-01-01T00:00:00.5Z', '3000w']) expect(parse(early)).toBe(0n);
    expect(parse('9223372036854775807')).toBe(2n ** 63n - 1n);
    for (const late of ['9223372036854775808', '9'.repeat(40), '2300-01-01']) {
      expect(codeOf(() => parse(late))).toBe('USAGE');
    }
  });

  it('is written with as many digits as it has', () => {
    expect(formatTimeNs(0n)).toBe('1970-01-01T00:00:00Z');
    expect(formatTimeNs(1n)).toBe('1970-01-01T00:00:00.000000001Z');
    expect(formatTimeNs(1_500_000_000n)).toBe('1970-01-01T00:00:01.5Z');
    expect(formatTimeNs(1_442_504_880_048_014_720n)).toBe('2015-09-17T15:48:00.04801472Z');
    expect(formatTimeNs(2n ** 63n - 1n)).toBe('2262-04-11T23:47:16.854775807Z');
  });

  it('is read back as it was written', () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 2n ** 63n - 1n), (ns) => {
        expect(parse(formatTimeNs(ns))).toBe(ns);
        expect(parse(String(ns))).toBe(ns);
      }),
      { numRuns: 1_000 },
    );
  });

  it('or a refusal comes of any text', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9TZ:.+ -]{1,30}$/)), (text) => {
        expect([undefined, 'USAGE']).toContain(codeOf(() => parse(text)));
      }),
    );
  });

  it('comes from the ms of a clock', () => {
    expect(nsFromMs(NOW_MS)).toBe(NOW_NS);
    expect(nsFromMs(1.6)).toBe(2_000_000n);
  });
});
