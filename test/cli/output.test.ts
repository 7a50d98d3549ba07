/** What commands print for people: tables that line up, numbers with their thousands, sizes in units. */
import { describe, expect, it } from 'vitest';
import { bytes, count, duration, exitCodeOf, table } from '../../src/cli/output.ts';
import { LacunaError } from '../../src/errors.ts';

describe('a table', () => {
  it('has words to the left and numbers to the right', () => {
    const text = table(
      ['topic', 'messages'],
      [
        ['/a', 5],
        ['/a/longer/one', 1_234_567],
      ],
    );
    expect(text.split('\n')).toEqual([
      'topic           messages',
      '/a                     5',
      '/a/longer/one  1,234,567',
    ]);
  });

  it('has a column of both to the left, and nothing behind the last word', () => {
    const text = table(
      ['n', 'note'],
      [
        [1, 'fine'],
        ['none', ''],
      ],
    );
    expect(text.split('\n')).toEqual(['n     note', '1     fine', 'none']);
  });

  it('without rows is its headings', () => {
    expect(table(['a', 'bc'], [])).toBe('a  bc');
  });
});

describe('a count', () => {
  it.each([
    [0, '0'],
    [999, '999'],
    [1_000, '1,000'],
    [12_345_678, '12,345,678'],
  ])('of %d', (value, text) => {
    expect(count(value)).toBe(text);
  });
});

describe('a duration', () => {
  it.each([
    [0, '0 ms'],
    [999, '999 ms'],
    [1_500, '1 s'],
    [60_000, '1 min'],
    [8_040_000, '2 h 14 min'],
    [86_400_000 + 59_000, '1 d'],
    [800 * 86_400_000, '2 y 70 d'],
  ])('of %d ms', (value, text) => {
    expect(duration(value)).toBe(text);
  });
});

describe('a size', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1_000, '1.0 kB'],
    [1_550, '1.6 kB'],
    [9_900, '9.9 kB'],
    [12_345, '12 kB'],
    [999_000, '999 kB'],
    [1_000_000, '1.0 MB'],
    [34_000_000, '34 MB'],
    [5_200_000_000, '5.2 GB'],
    [7_000_000_000_000, '7.0 TB'],
    [7_000_000_000_000_000, '7000 TB'],
  ])('of %d', (value, text) => {
    expect(bytes(value)).toBe(text);
  });
});

describe('the exit code', () => {
  it('tells a wrong command from a failed one', () => {
    expect(exitCodeOf(new LacunaError('USAGE', 'x'))).toBe(2);
    expect(exitCodeOf(new LacunaError('PEER_ADDRESS_INVALID', 'x'))).toBe(2);
    expect(exitCodeOf(new LacunaError('STORE_LOCKED', 'x'))).toBe(1);
    expect(exitCodeOf(new TypeError('x'))).toBe(1);
  });
});
