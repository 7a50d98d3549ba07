/** Peers that name messages by the hundred thousand and have none: what that costs a running node is bounded. */
import { describe, expect, it } from 'vitest';
import { ago, makeMessages } from '../e2e/message-lines.ts';
import { addressOf, FrameReader, frameOf, send, startPlainHost } from '../e2e/plain-host.ts';
import { errorCode, sessionOf } from '../e2e/process.ts';
import { RECONCILIATION } from '../e2e/stock-nwaku-peer.ts';
import { attack, inventedItems, openStream, sessionWith } from './hostile-peer.ts';
import { nodeUnderAttack } from './node-under-attack.ts';

/** A payload may hold 800,000 ids of 40 bytes, and is worked on in a few copies. */
const MEMORY_MIB_MAX = 600;
const scene = nodeUnderAttack(makeMessages(500, ago(60_000), 5_000_000_000n), MEMORY_MIB_MAX);
const most = frameOf(inventedItems(600_000));

describe('invented ids', () => {
  it('by the million are refused', async () => {
    const peer = await attack(scene.node);
    await send(await openStream(peer, RECONCILIATION), frameOf(inventedItems(1_000_000)));
    expect((await sessionWith(scene.node, peer.peerId)).code).toMatch(/^WIRE_(LIMIT|FRAME_TOO_LARGE)$/);
  });

  it('as many as a payload may hold are outlived, from several peers at once and one after the other', async () => {
    for (let round = 0; round < 2; round++) {
      const peers = await Promise.all(Array.from({ length: 3 }, () => attack(scene.node)));
      for (const peer of peers) {
        const stream = await openStream(peer, RECONCILIATION);
        await send(stream, most);
        await stream.close().catch(() => undefined);
      }
      for (const peer of peers) {
        const ended = await sessionWith(scene.node, peer.peerId, undefined, 40_000);
        expect(ended).toMatchObject({ received: 0, sent: 0 });
      }
      expect(await scene.servesHonestPeer()).toBe(true);
      for (const peer of peers) await peer.host.stop();
    }
  });

  it('in answer to a session are outlived too', async () => {
    const host = await startPlainHost();
    await host.handle(RECONCILIATION, async (stream) => {
      const reader = new FrameReader(stream);
      await reader.read();
      await send(stream, most);
      await reader.read();
      stream.abort(new Error('gone'));
    });
    const session = await sessionOf(scene.node, addressOf(host));
    expect(errorCode(session)).toMatch(/^(PEER|SESSION|WIRE)_/);
  });
});
