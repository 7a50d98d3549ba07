/** Lists of peers: they come back as they were, damaged bytes give a list or a code, and spec/peers.md says how. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { toHex } from '../../scripts/vectors/shared.ts';
import { ERROR_CODES } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { encodeFrames } from '../../src/wire/frame.ts';
import { canBeTold, decodePeerList, encodePeerList } from '../../src/wire/peer-list.ts';
import { codeOf } from '../error-code.ts';
import { mutationsOf } from './mutations.ts';

const graphic = fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code));
const address = fc.string({ unit: graphic, minLength: 1, maxLength: LIMITS.peerAddressBytes });
const addresses = fc.array(address, { maxLength: LIMITS.peerListAddresses });
const longest = '/'.padEnd(LIMITS.peerAddressBytes, 'x');
const read = (...bytes: number[]) => decodePeerList(Uint8Array.from(bytes));

describe('a list of peers', () => {
  it('comes back as it was', () => {
    fc.assert(
      fc.property(addresses, (told) => {
        expect(decodePeerList(encodePeerList(told))).toEqual(told);
      }),
    );
  });

  it('of the most and longest addresses fits its frame, and nothing more does', () => {
    const most = Array<string>(LIMITS.peerListAddresses).fill(longest);
    expect(encodePeerList(most)).toHaveLength(LIMITS.peerListFrameBytes);
    expect(codeOf(() => encodePeerList([...most, '/x']))).toBe('WIRE_UNENCODABLE');
    expect(codeOf(() => encodePeerList([`${longest}x`]))).toBe('WIRE_UNENCODABLE');
  });

  it.each(['', ' ', '/ip4/1.2.3.4\n', '/dns/ä', 'a b'])('does not hold %j', (text) => {
    expect(canBeTold(text)).toBe(false);
    expect(codeOf(() => encodePeerList([text]))).toBe('WIRE_UNENCODABLE');
  });

  it('that breaks the grammar is refused', () => {
    expect(codeOf(() => read())).toBe('WIRE_TRUNCATED');
    expect(codeOf(() => read(1))).toBe('WIRE_TRUNCATED');
    expect(codeOf(() => read(1, 2, 0x2f))).toBe('WIRE_TRUNCATED');
    expect(codeOf(() => read(1, 0))).toBe('WIRE_FIELD_INVALID');
    expect(codeOf(() => read(1, 1, 0x20))).toBe('WIRE_FIELD_INVALID');
    expect(codeOf(() => read(1, 1, 0x7f))).toBe('WIRE_FIELD_INVALID');
    expect(codeOf(() => read(0, 0))).toBe('WIRE_FIELD_INVALID');
    expect(codeOf(() => read(LIMITS.peerListAddresses + 1))).toBe('WIRE_LIMIT');
    expect(codeOf(() => read(1, 0x81, 0x02))).toBe('WIRE_LIMIT');
    expect(codeOf(() => read(0x80, 0x80, 0x80, 0x80, 0x80, 0x01))).toBe('WIRE_VARINT');
    expect(read(0)).toEqual([]);
  });

  it('damaged in any one place gives a list within the limits, or a code', () => {
    const sample = encodePeerList(['/ip4/192.0.2.7/tcp/60000/p2p/12D3Koo', '/dns4/a/tcp/1/p2p/x', longest]);
    for (const damaged of mutationsOf(sample)) {
      const code = codeOf(() => {
        for (const told of decodePeerList(damaged)) expect(canBeTold(told)).toBe(true);
      });
      if (code !== undefined) expect(code).toMatch(/^WIRE_/);
    }
  });
});

describe('spec/peers.md', () => {
  const page = readFileSync(new URL('../../spec/peers.md', import.meta.url), 'utf8');

  it('gives every limit its number', () => {
    const rows = [...page.matchAll(/^\| `(\w+)` \| (\d[\d ]*) \|$/gm)];
    const told = Object.fromEntries(rows.map(([, name, text]) => [name, Number(text!.replaceAll(' ', ''))]));
    const { peerListAddresses, peerAddressBytes, peerListFrameBytes, peerListMs } = LIMITS;
    expect(told).toEqual({ peerListAddresses, peerAddressBytes, peerListFrameBytes, peerListMs });
  });

  it('names only codes that exist', () => {
    const named = [...page.matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map(([, code]) => code!);
    expect(named.length).toBeGreaterThan(5);
    expect(named.filter((code) => !(code in ERROR_CODES))).toEqual([]);
  });

  it('shows its answer as it is', () => {
    const [, shown] = /One address, `([^`]+)`/.exec(page)!;
    const [, hex] = /```\n([0-9a-f\n]+)```\n$/.exec(page)!;
    expect(hex!.replaceAll('\n', '')).toBe(toHex(encodeFrames([encodePeerList([shown!])])));
  });
});
