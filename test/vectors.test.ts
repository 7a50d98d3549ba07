/** Every golden vector of spec/vectors: bytes, hashes and whole sessions as a running nwaku made them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { checkVectors } from '../scripts/vectors/check.ts';

const folder = fileURLToPath(new URL('../spec/vectors', import.meta.url));
const files = readdirSync(folder).filter((name) => name.endsWith('.json'));

describe('the golden vectors', () => {
  it('are all there', () => {
    const kinds = [
      'malformed',
      'message-hash',
      'native-frames',
      'native-session',
      'native-payloads',
      'ranges',
      'store-query',
      'transcripts-index',
      'waku-message',
    ];
    expect(files).toEqual(expect.arrayContaining(kinds.map((kind) => `${kind}.json`)));
    expect(files.filter((name) => name.startsWith('transcript-'))).toHaveLength(26);
  });

  it.each(files)('of %s pass', (name) => {
    const path = join(folder, name);
    const results = checkVectors(JSON.parse(readFileSync(path, 'utf8')), path);
    expect(results.length).toBeGreaterThan(0);
    expect(results.filter(({ fault }) => fault !== undefined)).toEqual([]);
  });

  it('are not mistaken for one another: a file of no known format is refused', () => {
    expect(() => checkVectors({}, 'none.json')).toThrow();
    expect(() => checkVectors({ vectors: [] }, 'none.json')).toThrow();
  });
});
