/** The table of error codes: none that nothing ends in, none without advice, and every thrown thing has one. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import {
  ERROR_CODES,
  type ErrorCode,
  isErrorCode,
  LacunaError,
  systemCode,
  toLacunaError,
} from '../src/errors.ts';

const SRC = fileURLToPath(new URL('../src', import.meta.url));
const codes = Object.keys(ERROR_CODES) as ErrorCode[];

function sources(): string {
  return readdirSync(SRC, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts') && path !== 'errors.ts')
    .map((path) => readFileSync(join(SRC, path), 'utf8'))
    .join('\n')
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/\/\/.*$/gm, '');
}

describe('every error code', () => {
  it('is used', () => {
    const text = sources();
    // INTERNAL is what a thrown thing without a code becomes.
    expect(codes.filter((code) => code !== 'INTERNAL' && !text.includes(`'${code}'`))).toEqual([]);
  });

  it('says what to do', () => {
    expect(codes.filter((code) => !/^[A-Z`].{9,}\.$/.test(ERROR_CODES[code]))).toEqual([]);
    for (const code of codes) expect(new LacunaError(code, 'x').remedy).toBe(ERROR_CODES[code]);
  });

  it('is of capitals, and known by its name', () => {
    expect(codes.filter((code) => !/^[A-Z]+(_[A-Z]+)*$/.test(code))).toEqual([]);
    expect(codes.every(isErrorCode)).toBe(true);
    expect(['', 'usage', 'toString', 'constructor', '__proto__'].some(isErrorCode)).toBe(false);
  });
});

describe('what is thrown', () => {
  it('keeps its code, or gets one and stays the cause', () => {
    const own = new LacunaError('IO', 'x');
    expect(toLacunaError(own, 'USAGE')).toBe(own);
    const foreign = new TypeError('x');
    expect(toLacunaError(foreign)).toMatchObject({ code: 'INTERNAL', cause: foreign });
    expect(toLacunaError(foreign, 'IO').code).toBe('IO');
    for (const thrown of [undefined, null, 'text', 5, {}])
      expect(toLacunaError(thrown).code).toBe('INTERNAL');
  });

  it('may have a code of the system', () => {
    expect(systemCode(Object.assign(new Error('x'), { code: 'ENOENT' }))).toBe('ENOENT');
    for (const thrown of [undefined, null, 'ENOENT', {}, { code: 5 }])
      expect(systemCode(thrown)).toBeUndefined();
  });
});
