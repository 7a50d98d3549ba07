/** Metadata: cluster and shards, written in both forms that peers know, read from whichever is there. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { decodeMetadata, encodeMetadata } from '../../src/wire/waku-metadata.ts';
import { codeOf } from '../error-code.ts';
import { mutationsOf } from './mutations.ts';

const word = fc.oneof(fc.nat(1023), fc.nat(0xffff_ffff), fc.constantFrom(0, 0xffff_ffff));
const metadata = fc.record({
  clusterId: fc.option(word, { nil: undefined }),
  shards: fc.array(word, { maxLength: 60 }),
});

const read = (...bytes: number[]) => decodeMetadata(Uint8Array.from(bytes));

describe('metadata', () => {
  it('comes back as it was', () => {
    fc.assert(
      fc.property(metadata, (sent) => {
        expect(decodeMetadata(encodeMetadata(sent))).toEqual(sent);
      }),
    );
  });

  it('is written with its shards one by one, and packed', () => {
    const bytes = encodeMetadata({ clusterId: 16, shards: [32, 300] });
    expect([...bytes]).toEqual([0x08, 16, 0x10, 32, 0x10, 0xac, 0x02, 0x1a, 3, 32, 0xac, 0x02]);
    expect([...encodeMetadata({ clusterId: undefined, shards: [] })]).toEqual([]);
  });

  it('is read from either form, the packed one first', () => {
    expect(read(0x08, 1, 0x10, 5, 0x10, 6)).toEqual({ clusterId: 1, shards: [5, 6] });
    expect(read(0x08, 1, 0x12, 2, 5, 6)).toEqual({ clusterId: 1, shards: [5, 6] });
    expect(read(0x1a, 2, 5, 6)).toEqual({ clusterId: undefined, shards: [5, 6] });
    expect(read(0x10, 9, 0x1a, 2, 5, 6)).toEqual({ clusterId: undefined, shards: [5, 6] });
    expect(read()).toEqual({ clusterId: undefined, shards: [] });
  });

  it('of all 1024 shards of a cluster does not fit its frame, and of a hundred does', () => {
    const of = (count: number) =>
      encodeMetadata({ clusterId: 1, shards: Array.from({ length: count }, (_, at) => at) });
    expect(of(100).length).toBeLessThan(LIMITS.metadataFrameBytes);
    expect(of(1024).length).toBeGreaterThan(LIMITS.metadataFrameBytes);
  });

  it('with numbers beyond 32 bits, or too many of them, is refused', () => {
    const wide = [0x80, 0x80, 0x80, 0x80, 0x10];
    for (const bytes of [
      [0x08, ...wide],
      [0x10, ...wide],
      [0x1a, 5, ...wide],
    ]) {
      expect(codeOf(() => read(...bytes))).toBe('WIRE_VARINT');
    }
    expect(codeOf(() => read(...Array<number[]>(1025).fill([0x10, 1]).flat()))).toBe('WIRE_LIMIT');
  });

  it('damaged in any one place gives a value or a code', () => {
    for (const damaged of mutationsOf(encodeMetadata({ clusterId: 16, shards: [0, 32, 300, 70_000] }))) {
      const code = codeOf(() => decodeMetadata(damaged));
      if (code !== undefined) expect(code).toMatch(/^WIRE_/);
    }
  });
});
