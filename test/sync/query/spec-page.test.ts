/** The page of the `query` dialect names every limit with its number, and codes that exist. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ERROR_CODES } from '../../../src/errors.ts';
import { LIMITS } from '../../../src/limits.ts';

const page = readFileSync(new URL('../../../spec/query.md', import.meta.url), 'utf8');

describe('spec/query.md', () => {
  it('gives every limit its number', () => {
    const rows = [...page.matchAll(/^\| `(\w+)` \| (\d[\d ]*) \|$/gm)];
    const told = new Map(rows.map(([, name, number]) => [name!, Number(number!.replaceAll(' ', ''))]));
    for (const [name, number] of told)
      expect([name, LIMITS[name as keyof typeof LIMITS]]).toEqual([name, number]);
    // Those of the client: a limit of the server is named otherwise.
    const due = Object.keys(LIMITS).filter((name) => name.startsWith('query'));
    expect(due.filter((name) => !told.has(name))).toEqual([]);
  });

  it('names only codes that exist, and those that only it knows', () => {
    const named = new Set([...page.matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map(([, code]) => code!));
    expect([...named].filter((code) => !(code in ERROR_CODES))).toEqual([]);
    const due = ['QUERY_REFUSED', 'QUERY_RATE_LIMITED', 'QUERY_UNENDING', 'QUERY_TOPICS', 'QUERY_PULL_ONLY'];
    expect(due.filter((code) => !named.has(code))).toEqual([]);
  });
});
