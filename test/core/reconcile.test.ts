/**
 * Reconciliation over random pairs of sets, through real bytes: with itself it must find exactly the differences,
 * with a stock nwaku in either role at least all of them; and it must end against sets that change.
 */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lacunaParty } from '../../bench/baselines/lacuna-party.ts';
import { type Party, StockNwaku, stockParty } from '../../bench/baselines/stock-nwaku.ts';
import { fromHex } from '../../scripts/vectors/shared.ts';
import { DigestTree } from '../../src/core/digest-tree.ts';
import type { RangeIndex } from '../../src/core/range-index.ts';
import { type ReconcilePolicy, WAKU_POLICY } from '../../src/core/reconcile.ts';
import { makeId, SyncIdList } from '../../src/core/sync-id.ts';
import {
  countWithin,
  expectAtLeast,
  expectExactly,
  lacuna,
  policyOf,
  policyParameters,
  run,
  stock,
} from './dialogues.ts';
import { Chance, makePair, pairParameters, START_NS } from './random-sets.ts';

describe('two Lacunas', () => {
  it('find exactly what differs, each side its own', () => {
    fc.assert(
      fc.property(
        pairParameters(5000),
        policyParameters,
        policyParameters,
        fc.boolean(),
        (parameters, ofA, ofB, probablyEqual) => {
          const pair = makePair(parameters);
          const a = lacuna(pair.a, pair, policyOf(ofA, parameters.seed), probablyEqual);
          const dialogue = run(a, lacuna(pair.b, pair, policyOf(ofB, parameters.seed + 1)));
          expectExactly(dialogue.sendA, pair.onlyA);
          expectExactly(dialogue.sendB, pair.onlyB);
          // What a side is told that it lacks is true, though it is not always told all of it.
          expect(countWithin(dialogue.receiveA, pair.onlyB)).toBe(dialogue.receiveA.count);
          expect(countWithin(dialogue.receiveB, pair.onlyA)).toBe(dialogue.receiveB.count);
        },
      ),
      { numRuns: 2500 },
    );
  });

  it('say little when they agree: one fingerprint, one byte', () => {
    const pair = makePair({
      seed: 1,
      size: 5000,
      shape: 'spread',
      differing: 0,
      difference: 'scattered',
      lacking: 'a',
    });
    const dialogue = run(lacuna(pair.a, pair, WAKU_POLICY, true), lacuna(pair.b, pair, WAKU_POLICY));
    expect(dialogue.steps.map((step) => step.bytes.length <= 70)).toEqual([true, true]);
    expect(dialogue.steps[1]!.bytes).toEqual(Uint8Array.of(0));
  });

  it('find what differs in the real cadence of a chat, where many share a minute', () => {
    const ids = chatIds();
    expect(ids).toHaveLength(3330);
    const chance = new Chance(31);
    const lists = {
      a: new SyncIdList(),
      b: new SyncIdList(),
      onlyA: new SyncIdList(),
      onlyB: new SyncIdList(),
    };
    for (const id of ids) {
      const side = chance.below(20);
      if (side !== 0) lists.a.push(id, 0);
      if (side !== 1) lists.b.push(id, 0);
      if (side === 1) lists.onlyA.push(id, 0);
      if (side === 0) lists.onlyB.push(id, 0);
    }
    const window = { lowerNs: 1_442_000_000_000_000_000n, upperNs: 1_449_000_000_000_000_000n };
    const party = (list: SyncIdList): Party => {
      const tree = DigestTree.from(list);
      return lacunaParty(() => tree, WAKU_POLICY, window);
    };
    const dialogue = run(party(lists.a), party(lists.b));
    expectExactly(dialogue.sendA, lists.onlyA.toAscending());
    expectExactly(dialogue.sendB, lists.onlyB.toAscending());
  });

  it('compare what lies in the window, and nothing outside it', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(300), policyParameters, (seed, size, parameters) => {
        const chance = new Chance(seed);
        const lowerNs = START_NS + 1000n;
        const upperNs = lowerNs + BigInt(1 + chance.below(60));
        const lists = {
          a: new SyncIdList(),
          b: new SyncIdList(),
          inA: new SyncIdList(),
          inB: new SyncIdList(),
        };
        const atEnd = { a: new SyncIdList(), b: new SyncIdList() };
        for (let row = 0; row < size; row++) {
          const timeNs = lowerNs - 20n + BigInt(chance.below(100));
          const side = chance.pick(['a', 'b', 'ab']);
          const id = chance.id(timeNs);
          const inside = timeNs >= lowerNs && timeNs < upperNs;
          if (side !== 'b') lists.a.push(id, 0);
          if (side !== 'a') lists.b.push(id, 0);
          if (side === 'a' && inside) lists.inA.push(id, 0);
          if (side === 'b' && inside) lists.inB.push(id, 0);
          if (side === 'a' && timeNs === upperNs) atEnd.a.push(id, 0);
          if (side === 'b' && timeNs === upperNs) atEnd.b.push(id, 0);
        }
        const policy = policyOf(parameters, seed);
        const treeA = DigestTree.from(lists.a);
        const treeB = DigestTree.from(lists.b);
        const window = { lowerNs, upperNs };
        const dialogue = run(
          lacunaParty(() => treeA, policy, window),
          lacunaParty(() => treeB, policy, window),
        );
        expectAtLeast(dialogue.sendA, lists.inA);
        expectAtLeast(dialogue.sendB, lists.inB);
        // Only the nanosecond of the upper bound itself may be compared too, as a stock initiator means it.
        expect(countWithin(dialogue.sendA, atEnd.a)).toBe(dialogue.sendA.count - lists.inA.count);
        expect(countWithin(dialogue.sendB, atEnd.b)).toBe(dialogue.sendB.count - lists.inB.count);
      }),
      { numRuns: 200 },
    );
  });

  it('come to an end while both sets change under them', () => {
    fc.assert(
      fc.property(pairParameters(2000), policyParameters, policyParameters, (parameters, ofA, ofB) => {
        const pair = makePair(parameters);
        const chance = new Chance(parameters.seed);
        const ever = DigestTree.from(pair.a);
        const changing = (ids: SyncIdList, policy: ReconcilePolicy): Party => {
          const tree = DigestTree.from(ids);
          const indexOf = (): RangeIndex => {
            for (let change = chance.below(30); change > 0; change--) {
              const known = tree.count > 0 ? tree.select(chance.below(tree.count)) : chance.id(START_NS);
              const near = chance.id((BigInt(known[0]!) << 32n) | BigInt(known[1]!));
              if (chance.below(3) === 0) tree.remove(known);
              else if (tree.insert(near)) ever.insert(near);
            }
            return tree.snapshot();
          };
          return lacunaParty(indexOf, policy, pair);
        };
        for (let row = 0; row < pair.b.count; row++) ever.insert(pair.b.at(row));
        const dialogue = run(
          changing(pair.a, policyOf(ofA, parameters.seed)),
          changing(pair.b, policyOf(ofB, parameters.seed)),
        );
        for (const found of [dialogue.sendA, dialogue.sendB]) {
          for (let row = 0; row < found.count; row++) expect(ever.has(found.at(row))).toBe(true);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('Lacuna and a stock nwaku', () => {
  it('find all that differs when Lacuna begins', () => {
    fc.assert(
      fc.property(pairParameters(5000), policyParameters, fc.boolean(), (parameters, ofA, probablyEqual) => {
        const pair = makePair(parameters);
        const policy = policyOf(ofA, parameters.seed);
        const dialogue = run(lacuna(pair.a, pair, policy, probablyEqual), stock(pair.b, pair));
        expectAtLeast(dialogue.sendA, pair.onlyA);
        expectAtLeast(dialogue.sendB, pair.onlyB);
      }),
      { numRuns: 1000 },
    );
  });

  it('find all that differs when the stock node begins', () => {
    fc.assert(
      fc.property(pairParameters(5000), policyParameters, (parameters, ofB) => {
        const pair = makePair(parameters);
        const dialogue = run(stock(pair.a, pair), lacuna(pair.b, pair, policyOf(ofB, parameters.seed)));
        expectAtLeast(dialogue.sendA, pair.onlyA);
        expectAtLeast(dialogue.sendB, pair.onlyB);
      }),
      { numRuns: 1000 },
    );
  });
});

describe('the upper time of a stock initiator', () => {
  // Its fingerprint includes that nanosecond, its bound on the wire does not.
  it('loses nothing that the initiator holds there, nor anything below it', () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(300), fc.nat(12), policyParameters, (seed, size, spanNs, parameters) => {
        const chance = new Chance(seed);
        const pair = { lowerNs: START_NS, upperNs: START_NS + BigInt(spanNs) };
        const lists = {
          a: new SyncIdList(),
          b: new SyncIdList(),
          onlyA: new SyncIdList(),
          onlyB: new SyncIdList(),
        };
        for (let row = 0; row < size; row++) {
          const timeNs = START_NS + BigInt(chance.pick([spanNs, chance.below(spanNs + 1)]));
          const side = chance.pick(['a', 'b', 'ab', 'ab']);
          const id = chance.id(timeNs);
          if (side !== 'b') lists.a.push(id, 0);
          if (side !== 'a') lists.b.push(id, 0);
          if (side === 'a') lists.onlyA.push(id, 0);
          if (side === 'b' && timeNs < pair.upperNs) lists.onlyB.push(id, 0);
        }
        const initiator = stockParty(new StockNwaku(lists.a.toAscending()), pair.lowerNs, pair.upperNs);
        const tree = DigestTree.from(lists.b);
        const dialogue = run(
          initiator,
          lacunaParty(() => tree, policyOf(parameters, seed), pair),
        );
        expectAtLeast(dialogue.sendA, lists.onlyA);
        expectAtLeast(dialogue.sendB, lists.onlyB);
      }),
      { numRuns: 300 },
    );
  });
});

/** The times and hashes of the chat fixture. Times are beyond what a JSON number holds, and are read as text. */
function chatIds(): Uint32Array[] {
  const lines = readFileSync(new URL('../fixtures/chat-cadence.ndjson', import.meta.url), 'utf8')
    .trim()
    .split('\n');
  return lines.map((line) => {
    const [, hash, time] = /"messageHash":"0x(\w+)".*"timestamp":(\d+)/.exec(line)!;
    return makeId(BigInt(time!), fromHex(hash!));
  });
}
