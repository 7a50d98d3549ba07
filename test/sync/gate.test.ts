/** Who may be connected, by name, by behaviour and by the number of places. */
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { Gate, type GateInit } from '../../src/sync/gate.ts';
import { LimitCounts } from '../../src/sync/limit-counts.ts';

const counts = new LimitCounts();

function gate(init: Partial<GateInit> = {}): Gate {
  return new Gate({
    allow: [],
    deny: [],
    configured: [],
    isPrivate: false,
    connectionsMax: 3,
    isBanned: () => false,
    counts: new LimitCounts(),
    ...init,
  });
}

describe('a gate', () => {
  it('admits everybody, and not those that are denied or banned', () => {
    const one = gate({ deny: ['foe'], isBanned: (peer) => peer === 'brawler' });
    expect(['anybody', 'foe', 'brawler'].map((peer) => one.admits(peer))).toEqual([true, false, false]);
    expect(['anybody', 'foe', 'brawler'].map((peer) => one.enter(peer))).toEqual([true, false, false]);
    expect(['anybody', 'foe', 'brawler'].map((peer) => one.enterDialled(peer))).toEqual([true, false, false]);
    expect(one.connections).toBe(2);
  });

  it('denies who is on both lists, or is denied and configured', () => {
    const one = gate({ allow: ['both', 'friend'], deny: ['both', 'old'], configured: ['old'] });
    expect(['both', 'old', 'friend'].map((peer) => one.admits(peer))).toEqual([false, false, true]);
  });

  it('holds a ban for a friend too, as long as it lasts', () => {
    const banned = new Set(['friend']);
    const one = gate({ allow: ['friend'], isBanned: (peer) => banned.has(peer) });
    expect(one.enter('friend')).toBe(false);
    banned.clear();
    expect(one.enter('friend')).toBe(true);
  });

  it('in private mode admits the known alone, and tells of peers those of the allow list alone', () => {
    const one = gate({ isPrivate: true, allow: ['friend'], configured: ['partner'], deny: ['foe'] });
    const peers = ['friend', 'partner', 'stranger', 'foe'];
    expect(peers.map((peer) => one.admits(peer))).toEqual([true, true, false, false]);
    expect(peers.map((peer) => one.sharesPeersWith(peer))).toEqual([true, false, false, false]);
    const open = gate({ allow: ['friend'], configured: ['partner'], deny: ['foe'] });
    expect(peers.map((peer) => open.sharesPeersWith(peer))).toEqual([true, true, true, false]);
  });

  it('lets in so many strangers, and the known beyond them', () => {
    const one = gate({ allow: ['friend'], configured: ['partner'], counts });
    expect(['a', 'b', 'c', 'd'].map((peer) => one.enter(peer))).toEqual([true, true, true, false]);
    expect(counts.all['connections']).toBe(1);
    expect(one.enter('friend')).toBe(true);
    expect(one.enter('partner')).toBe(true);
    expect(one.connections).toBe(5);
    // Two of the known took places of their own: a place of a stranger that comes free is still a place too few.
    one.leave('a');
    expect(one.enter('d')).toBe(false);
    one.leave('friend');
    one.leave('partner');
    expect(one.enter('d')).toBe(true);
  });

  it('gives one peer so many places, a known one too, and never counts what this node dials against it', () => {
    const one = gate({ allow: ['friend'], connectionsMax: 1_000 });
    for (const peer of ['friend', 'stranger']) {
      for (let place = 0; place < LIMITS.connectionsPerPeer; place++) expect(one.enter(peer)).toBe(true);
      expect(one.enter(peer)).toBe(false);
      expect(one.enterDialled(peer)).toBe(true);
      one.leave(peer);
      one.leave(peer);
      expect(one.enter(peer)).toBe(true);
    }
  });

  it('dials a stranger though all places are taken', () => {
    const one = gate({ connectionsMax: 1 });
    expect([one.enter('a'), one.enter('b'), one.enterDialled('b')]).toEqual([true, false, true]);
  });

  it('knows how many there can be', () => {
    const one = gate({ allow: ['a', 'b'], configured: ['b', 'c'] });
    expect(one.placesMax).toBe(3 + 3 * LIMITS.connectionsPerPeer);
  });
});
