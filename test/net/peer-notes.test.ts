/** What libp2p notes of peers: kept in memory within a bound, those used last, and always the note of this node itself. */
import { generateKeyPair } from '@libp2p/crypto/keys';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import fc from 'fast-check';
import { Key } from 'interface-datastore';
import { afterEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { PeerNotes } from '../../src/net/peer-notes.ts';
import { startHost, stopHosts } from './lacuna-host.ts';

const OWN = peerIdFromPrivateKey(await generateKeyPair('Ed25519'));
const OWN_KEY = new Key(`/peers/${OWN.toCID().toString()}`);

function keyOf(peer: number): Key {
  return new Key(`/peers/peer${peer}`);
}

describe('notes of peers', () => {
  it('are as a map of them, while they fit', () => {
    const operation = fc.tuple(fc.constantFrom('put', 'get', 'delete'), fc.nat(5), fc.nat(1_000));
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const notes = new PeerNotes(OWN);
        const model = new Map<string, number>();
        for (const [kind, peer, length] of operations) {
          const [key, name] = [keyOf(peer), keyOf(peer).toString()];
          if (kind === 'put') {
            notes.put(key, new Uint8Array(length));
            model.set(name, length);
          } else if (kind === 'delete') {
            notes.delete(key);
            model.delete(name);
          } else if (model.has(name)) expect(notes.get(key).length).toBe(model.get(name));
          else expect(() => notes.get(key)).toThrow(expect.objectContaining({ name: 'NotFoundError' }));
          expect(notes.has(key)).toBe(model.has(name));
        }
        const all = new Map([...notes._all()].map(({ key, value }) => [key.toString(), value.length]));
        expect(all).toEqual(model);
        expect(new Set([...notes._allKeys()].map(String))).toEqual(new Set(model.keys()));
        for (const name of model.keys()) notes.delete(new Key(name));
        expect(notes.bytes).toBe(0);
      }),
    );
  });

  it('of any number of peers take no more than they may; those used last stay, and the own one', async () => {
    const notes = new PeerNotes(OWN);
    notes.put(OWN_KEY, Uint8Array.of(1));
    notes.put(keyOf(0), Uint8Array.of(2));
    const note = new Uint8Array(10_000);
    const peers = Math.ceil((3 * LIMITS.peerNotesBytes) / note.length);
    for (let peer = 1; peer <= peers; peer++) {
      notes.put(keyOf(peer), note);
      expect(notes.bytes).toBeLessThanOrEqual(LIMITS.peerNotesBytes);
      expect(notes.get(keyOf(0))).toEqual(Uint8Array.of(2));
    }
    expect(notes.get(OWN_KEY)).toEqual(Uint8Array.of(1));
    expect([notes.has(keyOf(1)), notes.has(keyOf(peers))]).toEqual([false, true]);
    expect(notes.bytes).toBeGreaterThan(LIMITS.peerNotesBytes / 2);
  });

  it('that grow too large are forgotten, but not the own one', () => {
    const notes = new PeerNotes(OWN);
    const large = new Uint8Array(LIMITS.peerNoteBytes + 1);
    notes.put(keyOf(1), new Uint8Array(LIMITS.peerNoteBytes));
    expect(notes.has(keyOf(1))).toBe(true);
    notes.put(keyOf(1), large);
    expect([notes.has(keyOf(1)), notes.bytes]).toEqual([false, 0]);
    notes.put(OWN_KEY, large);
    expect(notes.has(OWN_KEY)).toBe(true);
  });
});

describe('a host', () => {
  afterEach(stopHosts);

  it('keeps its own note under the name that is never let go of', async () => {
    const host = await startHost();
    const { protocols } = await host.libp2p.peerStore.get(host.libp2p.peerId);
    expect(protocols).toContain('/ipfs/id/1.0.0');
    const notes = new PeerNotes(host.libp2p.peerId);
    const key = new Key(`/peers/${host.libp2p.peerId.toCID().toString()}`);
    notes.put(key, new Uint8Array(LIMITS.peerNoteBytes + 1));
    expect(notes.has(key)).toBe(true);
  });
});
