/**
 * Too much of everything: streams, sockets, connections, announced bytes, empty frames. What a peer can make a
 * running node hold is bounded, and an honest peer is served while it goes on.
 */
import { connect, type Socket } from 'node:net';
import type { Stream } from '@libp2p/interface';
import { afterEach, describe, expect, it } from 'vitest';
import { ago, makeMessages } from '../e2e/message-lines.ts';
import { FrameReader, frameOf, send } from '../e2e/plain-host.ts';
import { ask } from '../e2e/process.ts';
import { METADATA, RECONCILIATION, TRANSFER } from '../e2e/stock-nwaku-peer.ts';
import { attack, differing, endOf, openStream } from './hostile-peer.ts';
import { nodeUnderAttack } from './node-under-attack.ts';

/** 64 MiB of what has not arrived whole, in the transport's buffers and ours, until the engine tidies up. */
const MEMORY_MIB_MAX = 450;
const scene = nodeUnderAttack(
  makeMessages(500, ago(60_000), 5_000_000_000n, { payloadBytes: 500 }),
  MEMORY_MIB_MAX,
);
/** What the protocol limit of a stream lets a frame announce: 32 MiB less a byte. */
const LARGEST_ANNOUNCED = Uint8Array.of(0xff, 0xff, 0xff, 0x0f);

const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

/** Opened from another address of this machine: a host may be refused for what it does, not its neighbour. */
async function silentSockets(count: number, localAddress: string): Promise<Socket[]> {
  const [, , host, , port] = scene.node.address.split('/');
  const opened = Array.from({ length: count }, () =>
    connect({ host: host!, port: Number(port), localAddress }),
  );
  sockets.push(...opened);
  await Promise.all(
    opened.map(
      (socket) =>
        new Promise<void>((resolve) => {
          socket.on('error', () => resolve());
          socket.once('connect', () => resolve());
        }),
    ),
  );
  return opened;
}

describe('a flood', () => {
  it('of 300 silent sockets keeps no honest peer out, and they are closed in time', async () => {
    const opened = await silentSockets(300, '127.0.0.2');
    for (let times = 0; times < 3; times++) expect(await newPeerIsServed()).toBe(true);
    await expect.poll(() => opened.filter(({ closed }) => !closed).length, { timeout: 12_000 }).toBe(0);
  });

  it('of connections from one peer after the other leaves room for others', async () => {
    const peers = await Promise.all(
      Array.from({ length: 30 }, () => attack(scene.node).catch(() => undefined)),
    );
    expect(peers.filter(Boolean).length).toBeGreaterThan(0);
    expect(await scene.servesHonestPeer()).toBe(true);
    const { json } = await ask(scene.node, '/api/v1/status');
    expect(Number(json['connections'])).toBeLessThanOrEqual(32);
  });

  it.each([RECONCILIATION, TRANSFER, METADATA])(
    'of streams of %s: all beyond the limit are reset',
    async (protocol) => {
      const peer = await attack(scene.node);
      const opened = await Promise.all(
        Array.from({ length: 50 }, () => openStream(peer, protocol).catch(() => undefined)),
      );
      expect(await scene.servesHonestPeer()).toBe(true);
      const isOpen = (stream: Stream | undefined): boolean => stream?.status === 'open';
      await expect.poll(() => opened.filter(isOpen).length).toBeLessThanOrEqual(8);
    },
  );

  it('of announced bytes costs nothing: 20 peers, eight streams each, 32 MiB a stream', async () => {
    const peers = await Promise.all(Array.from({ length: 20 }, () => attack(scene.node)));
    for (const peer of peers) {
      const streams = await Promise.all(Array.from({ length: 8 }, () => openStream(peer, RECONCILIATION)));
      for (const stream of streams) await send(stream, LARGEST_ANNOUNCED);
    }
    // All places are taken by sessions that say nothing: the one that was silent for longest makes room.
    await expect.poll(served, { timeout: 8_000, interval: 250 }).toBe(true);
  });

  it('of bytes of frames that never end is cut off', async () => {
    const peers = await Promise.all(Array.from({ length: 6 }, () => attack(scene.node)));
    const piece = new Uint8Array(256 * 1_024);
    const flooding = peers.flatMap((peer) =>
      Array.from({ length: 6 }, async () => {
        const stream = await openStream(peer, RECONCILIATION);
        await send(stream, LARGEST_ANNOUNCED);
        // 720 MiB in all, and none of the frames complete.
        for (let sent = 0; sent < 20 * 1_024 * 1_024; sent += piece.length) {
          if (!(await send(stream, piece))) return 'cut off';
        }
        return 'sent';
      }),
    );
    expect(await Promise.all(flooding)).toContain('cut off');
    await expect.poll(served, { timeout: 8_000, interval: 250 }).toBe(true);
  });

  it('of empty frames is held back, or ends the stream', async () => {
    for (const protocol of [RECONCILIATION, TRANSFER]) {
      const peer = await attack(scene.node);
      const stream = await openStream(peer, protocol);
      const zeros = new Uint8Array(256 * 1_024);
      // The first one ends the session; what follows is read by nobody.
      const flooding = (async () => {
        for (let sent = 0; sent < 30 * 1_024 * 1_024; sent += zeros.length) {
          if (!(await send(stream, zeros))) return;
        }
      })();
      await Promise.race([flooding, new Promise((resolve) => setTimeout(resolve, 4_000))]);
      expect(await scene.servesHonestPeer()).toBe(true);
      stream.abort(new Error('enough'));
      await flooding;
    }
  });

  it('of sessions from one peer is served in turn, and never more than a few at once', async () => {
    const peer = await attack(scene.node);
    for (let batch = 0; batch < 10; batch++) {
      const streams = await Promise.all(Array.from({ length: 4 }, () => openStream(peer, RECONCILIATION)));
      for (const stream of streams) {
        await send(stream, frameOf(differing(batch)));
        await stream.close();
      }
      await Promise.all(streams.map((stream) => endOf(stream)));
    }
    expect(await scene.servesHonestPeer()).toBe(true);
  });
});

/** False where the honest peer is turned away. */
async function served(): Promise<boolean> {
  return await scene.servesHonestPeer().catch(() => false);
}

/** A peer that has no connection yet gets one, and an answer. */
async function newPeerIsServed(): Promise<boolean> {
  const peer = await attack(scene.node);
  const stream = await peer.connection.newStream(RECONCILIATION);
  const reader = new FrameReader(stream);
  await send(stream, frameOf(differing(9)));
  return (await reader.read(5_000)) !== undefined;
}
