/** What can be checked of spec/store-query.md: its numbers. */
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { LIMITS } from '../../../src/limits.ts';

it('gives every limit it names its number', () => {
  const page = readFileSync(new URL('../../../spec/store-query.md', import.meta.url), 'utf8');
  let checked = 0;
  for (const [, names, numbers] of page.matchAll(/^\| ((?:`\w+`(?:, )?)+) *\| (\d[\d, ]*)\|/gm)) {
    const values = numbers!.split(',').map((number) => Number(number.replaceAll(' ', '')));
    for (const [index, name] of names!.replaceAll('`', '').split(', ').entries()) {
      expect([name, LIMITS[name as keyof typeof LIMITS]]).toEqual([name, values[index]]);
      checked += 1;
    }
  }
  expect(checked).toBe(18);
});
