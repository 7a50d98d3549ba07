/** Every implementation of the reconcile bench is driven over a few of its sets and found to be what it claims. */
import { describe, expect, it } from 'vitest';
import {
  type Contender,
  NATIVE,
  NEGENTROPY,
  runSession,
  STOCK,
  verdictOf,
  WAKU,
  WAKU_RESPONDER,
} from '../../bench/baselines/contender.ts';
import { IMPLEMENTATIONS, unknownNames } from '../../bench/reconcile.ts';
import { makeSets } from '../../bench/sets.ts';
import { SyncIdList } from '../../src/core/sync-id.ts';

describe('an implementation', () => {
  const exact = ['w1-500-7', 'w1-10k-0', 'w1-10k-100', 'w3-initiator-empty', 'w3-responder-empty'].flatMap(
    (name) =>
      [NATIVE, STOCK, WAKU, WAKU_RESPONDER, NEGENTROPY].map((implementation) => ({ name, implementation })),
  );

  it.each(exact)('finds exactly what differs in $name: $implementation.name', ({ name, implementation }) => {
    const { finished, missed, wrong } = outcome(name, implementation);
    expect({ finished, missed, wrong }).toEqual({ finished: true, missed: 0, wrong: 0 });
  });

  it.each([
    [NATIVE, 0],
    [STOCK, 100],
    [WAKU, 0],
    [WAKU_RESPONDER, 0],
    [NEGENTROPY, 0],
  ] as const)('meets a burst under one timestamp: $name', (implementation, missed) => {
    expect(outcome('w4-alone', implementation)).toMatchObject({ finished: true, missed, wrong: 0 });
  });

  it('weighs what was published of it', () => {
    // Equal sets: one fingerprint and an end on the wire of Waku, 16 fingerprints and an end in negentropy.
    expect(outcome('w1-10k-0', STOCK)).toMatchObject({ bytes: 55, messages: 2 });
    expect(outcome('w1-10k-0', NEGENTROPY)).toMatchObject({ bytes: 398, messages: 2 });
  });

  it.each([
    ['w1-1m-100', 4_500, 3],
    ['w1-100k-1000', 34_000, 3],
    ['w2-1pct', 3_800, 8],
    ['w4-alone', 4_500, 3],
    ['w4-among', 4_500, 3],
    ['w6', 3_800, 8],
    ['insync-known', 70, 2],
    ['insync-unknown', 300, 2],
  ])('of our own keeps to what it promises in %s: %i bytes, %i messages', (name, bytes, messages) => {
    const found = outcome(name, NATIVE);
    expect(found).toMatchObject({ finished: true, missed: 0, wrong: 0 });
    expect(found.bytes).toBeLessThanOrEqual(bytes);
    expect(found.messages).toBeLessThanOrEqual(messages);
  });

  it('is entered under its own name', () => {
    expect(Object.entries(IMPLEMENTATIONS).filter(([name, { name: own }]) => name !== own)).toEqual([]);
  });
});

describe('a session', () => {
  const talker: Contender = {
    open: () => new Uint8Array(3),
    answer: () => new Uint8Array(200),
    found: () => new SyncIdList(),
  };
  const listener: Contender = { ...talker, answer: () => undefined };

  it('that does not end is stopped', () => {
    expect(runSession(talker, talker, false, 50)).toMatchObject({ finished: false, messages: 50 });
  });

  it('counts length prefixes where there are any', () => {
    expect(runSession(talker, listener, false, 50)).toMatchObject({ finished: true, bytes: 3, messages: 1 });
    expect(runSession(listener, talker, true, 50)).toMatchObject({ bytes: 3 + 1 + 200 + 2, messages: 2 });
  });

  it('is blamed for what it missed and for what it made up', () => {
    const pair = makeSets('w1-500-7');
    const named: Contender = { ...listener, found: () => pair.a.slice(0, pair.a.count) };
    expect(verdictOf(pair, named, listener)).toEqual({ missed: 3, wrong: 500 });
    expect(verdictOf(pair, listener, listener)).toEqual({ missed: 7, wrong: 0 });
  });
});

describe('a selection', () => {
  const all = { json: false, cases: undefined, implementations: undefined };

  it('of unknown names is answered with those that there are', () => {
    expect(unknownNames(all)).toBeUndefined();
    expect(unknownNames({ ...all, cases: ['w1-1m-100'], implementations: ['stock'] })).toBeUndefined();
    expect(unknownNames({ ...all, cases: ['w6', 'w9'] })).toMatch(/no case w9: there are w1-10k-0/);
    expect(unknownNames({ ...all, implementations: ['iroh'] })).toMatch(/no implementation iroh: .*stock/);
  });
});

function outcome(name: string, { initiator, responder, prefixed }: typeof STOCK) {
  const pair = makeSets(name);
  const a = initiator(pair.a, pair)();
  const b = responder(pair.b, pair)();
  return { ...runSession(a, b, prefixed, 100), ...verdictOf(pair, a, b) };
}
