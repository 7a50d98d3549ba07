/** Sessions between Lacunas and stock nodes over random pairs of sets, through real bytes, and what they found. */
import fc from 'fast-check';
import { expect } from 'vitest';
import { lacunaParty } from '../../bench/baselines/lacuna-party.ts';
import {
  type Dialogue,
  type Party,
  runDialogue,
  StockNwaku,
  stockParty,
} from '../../bench/baselines/stock-nwaku.ts';
import { DigestTree } from '../../src/core/digest-tree.ts';
import type { RangeIndex } from '../../src/core/range-index.ts';
import { type ReconcilePolicy, WAKU_POLICY } from '../../src/core/reconcile.ts';
import { HASH_WORDS, hasZeroHash, ID_WORDS, type SyncIdList, successor } from '../../src/core/sync-id.ts';
import { LIMITS } from '../../src/limits.ts';
import { decodeRanges, encodeRanges } from '../../src/wire/waku-ranges.ts';
import { Chance, type Pair, textOf } from './random-sets.ts';

/** How a side of a session is set up, in a few small values. */
export interface PolicyParameters {
  readonly echo: ReconcilePolicy['echo'];
  readonly echoItems: number;
  readonly jitter: boolean;
  readonly sizes: readonly [listItems: number, partItems: number];
}

/** The real sizes, and small ones that make small sets take many rounds. */
export const policyParameters: fc.Arbitrary<PolicyParameters> = fc.record({
  echo: fc.constantFrom('everything', 'needed'),
  echoItems: fc.constantFrom(WAKU_POLICY.echoItems, 3),
  jitter: fc.boolean(),
  sizes: fc.constantFrom([WAKU_POLICY.listItems, WAKU_POLICY.partItems], [4, 30], [1, 5], [0, 1]),
});

export function policyOf(
  { echo, echoItems, jitter, sizes }: PolicyParameters,
  seed: number,
): ReconcilePolicy {
  const chance = new Chance(seed ^ 0x5eed);
  const policy = { ...WAKU_POLICY, echo, echoItems, listItems: sizes[0], partItems: sizes[1] };
  return jitter ? { ...policy, random: (below) => chance.below(below) } : policy;
}

export function lacuna(ids: SyncIdList, pair: Pair, policy: ReconcilePolicy, probablyEqual = false): Party {
  const tree = DigestTree.from(ids);
  return lacunaParty(() => tree, policy, pair, undefined, probablyEqual);
}

/** The window of a stock node includes its upper time, at which no id of a pair lies. */
export function stock(ids: SyncIdList, pair: Pair): Party {
  return stockParty(new StockNwaku(ids), pair.lowerNs, pair.upperNs);
}

export function run(a: Party, b: Party): Dialogue {
  return runDialogue(a, b, encodeRanges, decodeRanges, LIMITS.sessionRounds);
}

export function expectExactly(found: SyncIdList, differences: SyncIdList): void {
  expect(found.count).toBe(differences.count);
  expect(textOf(found.toAscending())).toBe(textOf(differences));
}

export function expectAtLeast(found: SyncIdList, differences: SyncIdList): void {
  expect(countWithin(differences, found.toAscending())).toBe(differences.count);
}

/** How many of the ids are in an ascending list. */
export function countWithin(ids: SyncIdList, ascending: SyncIdList): number {
  const tree = DigestTree.from(ascending);
  let within = 0;
  for (let row = 0; row < ids.count; row++) if (tree.has(ids.at(row))) within += 1;
  return within;
}

export function fingerprintOf(index: RangeIndex, lower: Uint32Array, upper: Uint32Array): Uint32Array {
  const fingerprint = new Uint32Array(HASH_WORDS);
  index.digest(lower, hasZeroHash(upper) ? upper : successor(upper), fingerprint);
  return fingerprint;
}

export function rowsOf(list: SyncIdList): Uint32Array[] {
  return Array.from({ length: list.count }, (_, row) =>
    list.words.slice(row * ID_WORDS, (row + 1) * ID_WORDS),
  );
}
