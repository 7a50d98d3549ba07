/**
 * Streams by the ten thousand, from one peer and from one after the other, while an honest peer fetches a store: it gets
 * everything, the flood is cut off and its author banned, and the memory of the node stays bounded.
 */
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { configSchema } from '../../src/config.ts';
import { LIMITS } from '../../src/limits.ts';
import { LacunaNode } from '../../src/node.ts';
import { silentLogger } from '../../src/system.ts';
import { ago, makeMessages } from '../e2e/message-lines.ts';
import { memoryOf, temporaryFolder } from '../e2e/process.ts';
import { type Attack, attack, logged, openStream } from './hostile-peer.ts';
import { nodeUnderAttack } from './node-under-attack.ts';

const MESSAGES = 5_000;
const STREAMS = 50_000;
const MEMORY_MIB_MAX = 450;
const SYNC = '/lacuna/sync/1.0.0';

const scene = nodeUnderAttack(
  makeMessages(MESSAGES, ago(60_000), 5_000_000_000n, { payloadBytes: 500 }),
  MEMORY_MIB_MAX,
);
const fetching: LacunaNode[] = [];
afterEach(async () => {
  await Promise.all(fetching.splice(0).map((node) => node.stop()));
});

const FRAME_BYTES = 12;
const WINDOW_UPDATE = 1;
const OPEN = 1;
const RESET = 8;

/** Frames of yamux that open so many streams, as the side that dialled; each may be reset at once. */
function opening(streams: number, resets: boolean): Uint8Array {
  const each = resets ? 2 : 1;
  const bytes = Buffer.alloc(streams * each * FRAME_BYTES);
  for (let stream = 0; stream < streams; stream++) {
    for (let frame = 0; frame < each; frame++) {
      const at = (stream * each + frame) * FRAME_BYTES;
      bytes[at + 1] = WINDOW_UPDATE;
      bytes.writeUInt16BE(frame === 0 ? OPEN : RESET, at + 2);
      bytes.writeUInt32BE(2 * stream + 1, at + 4);
    }
  }
  return bytes;
}

/** Everything from the node into a new store; how long it took, in ms. */
async function fetchAll(): Promise<number> {
  const config = configSchema.parse({
    data: await temporaryFolder(),
    listen: [],
    clusterId: 16,
    http: 'off',
  });
  const honest = await LacunaNode.open({ config, log: silentLogger, create: true });
  fetching.push(honest);
  await honest.start();
  const startMs = performance.now();
  const result = await honest.sync(scene.node.address);
  expect(result).toMatchObject({ received: MESSAGES, verified: true });
  return performance.now() - startMs;
}

/** Floods with these bytes as ever new peers, until it is told to end; how many there were. */
async function floodAs(garbage: Uint8Array, isOver: () => boolean): Promise<number> {
  let peers = 0;
  while (!isOver()) {
    const one = await attack(scene.node, { muxerGarbage: garbage }).catch(() => undefined);
    peers += 1;
    await sleep(20);
    await one?.host.stop();
  }
  return peers;
}

describe('a flood of streams', () => {
  it.each([
    ['left open', false],
    ['reset at once', true],
  ])('that are %s costs their author the connection', async (_, resets) => {
    const startMs = performance.now();
    const one: Attack = await attack(scene.node, { muxerGarbage: opening(STREAMS, resets) });
    await expect.poll(() => one.connection.status, { timeout: 10_000, interval: 5 }).not.toBe('open');
    const tookMs = performance.now() - startMs;
    const line = await logged(scene.node, one.peerId, 'PEER_BANNED');
    // Where it came from stands in the same line, for who keeps addresses out by the log.
    expect(line['hosts']).toEqual([expect.stringMatching(/^127\.0\./)]);
    process.stderr.write(`${STREAMS} streams in ${Math.round(tookMs)} ms: banned\n`);
    // It is not let in again.
    const again = await one.host.dial(one.connection.remoteAddr).catch(() => undefined);
    await expect.poll(() => again === undefined || again.status !== 'open', { timeout: 5_000 }).toBe(true);
  });

  it('from one peer after the other does not keep an honest peer from a whole store', async () => {
    const aloneMs = await fetchAll();
    let isOver = false;
    const flooding = floodAs(opening(STREAMS, true), () => isOver);
    const floodedMs = await fetchAll().finally(() => {
      isOver = true;
    });
    const peers = await flooding;
    const perSecond = (peers * STREAMS) / (floodedMs / 1_000);
    process.stderr.write(
      `alone ${Math.round(aloneMs)} ms, flooded ${Math.round(floodedMs)} ms by ${peers} peers, ${Math.round(perSecond)} streams/s\n`,
    );
    expect(peers).toBeGreaterThan(1);
    expect(memoryOf(scene.node.process.pid)!.peak).toBeLessThan(MEMORY_MIB_MAX);
  });
});

describe('a peer that opens sessions as fast as it can', () => {
  it('is turned away, then out; a session that runs is none the worse for it', async () => {
    const one = await attack(scene.node);
    let opened = 0;
    let isOver = false;
    const startMs = performance.now();
    const flooding = (async () => {
      while (!isOver && one.connection.status === 'open') {
        const streams = await Promise.all(
          Array.from({ length: 32 }, () => openStream(one, SYNC).catch(() => undefined)),
        );
        opened += streams.length;
        for (const stream of streams) stream?.abort(new Error('next'));
        // A muxer that has been told to go refuses at once: without a turn nobody would hear of the end.
        await turn();
      }
      return performance.now() - startMs;
    })();
    try {
      await fetchAll();
      await expect.poll(() => one.connection.status, { timeout: 20_000 }).not.toBe('open');
    } finally {
      isOver = true;
    }
    const tookMs = await flooding;
    process.stderr.write(`${opened} sessions in ${Math.round(tookMs)} ms: banned\n`);
    expect(opened).toBeGreaterThan(LIMITS.peerRequestsPerSecond);
    await logged(scene.node, one.peerId, 'PEER_BANNED');
  });
});
