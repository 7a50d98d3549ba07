/**
 * Peers that are silent, or nearly so: everything that waits for them ends by itself, and nobody else waits. All of
 * them at once, as the waiting is what takes the time.
 */
import { createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { ago, makeMessages } from '../e2e/message-lines.ts';
import { addressOf, FrameReader, frameOf, send, startPlainHost } from '../e2e/plain-host.ts';
import { type JsonObject, lacuna, sessionOf, startNode, temporaryFolder } from '../e2e/process.ts';
import { RECONCILIATION, TRANSFER } from '../e2e/stock-nwaku-peer.ts';
import {
  attack,
  differing,
  inventedItems,
  openStream,
  sessionWith,
  wantsEverything,
} from './hostile-peer.ts';
import { nodeUnderAttack } from './node-under-attack.ts';

const scene = nodeUnderAttack([
  ...makeMessages(200, ago(60_000), 5_000_000_000n),
  // More than a stream takes that nobody reads.
  ...makeMessages(60, ago(60_000), 7_000_000_001n, { payloadBytes: 100_000 }),
]);

const SLACK_MS = 8_000;

interface Waited {
  readonly code: string | undefined;
  readonly ms: number;
  readonly session: JsonObject;
}

async function waited(session: Promise<JsonObject>): Promise<Waited> {
  const startedMs = performance.now();
  const ended = await session;
  const error = ended['error'] as { code: string } | undefined;
  return { code: error?.code, ms: performance.now() - startedMs, session: ended };
}

/** Accepts a session and says nothing. */
async function silentResponder(): Promise<Waited> {
  const host = await startPlainHost();
  await host.handle(RECONCILIATION, async (stream) => {
    stream.addEventListener('message', () => undefined);
  });
  return await waited(sessionOf(scene.node, addressOf(host)));
}

/** Opens a session and says nothing. */
async function silentInitiator(): Promise<Waited> {
  const peer = await attack(scene.node);
  await openStream(peer, RECONCILIATION);
  return await waited(sessionWith(scene.node, peer.peerId, undefined, 60_000));
}

/** Announces a frame and sends one byte of it every second. */
async function dribblingInitiator(): Promise<Waited> {
  const peer = await attack(scene.node);
  const stream = await openStream(peer, RECONCILIATION);
  await send(stream, Uint8Array.of(0xff, 0x7f));
  const timer = setInterval(() => void send(stream, Uint8Array.of(1)), 1_000);
  try {
    return await waited(sessionWith(scene.node, peer.peerId, undefined, 60_000));
  } finally {
    clearInterval(timer);
  }
}

/** Wants everything, and reads nothing of it. */
async function unreadingInitiator(): Promise<Waited> {
  const peer = await attack(scene.node);
  await peer.host.handle(TRANSFER, async (stream) => {
    stream.pause();
  });
  const stream = await openStream(peer, RECONCILIATION);
  await send(stream, frameOf(wantsEverything()));
  return await waited(sessionWith(scene.node, peer.peerId, undefined, 60_000));
}

/** Names messages that it does not have. */
async function inventingResponder(): Promise<Waited> {
  const host = await startPlainHost();
  await host.handle(RECONCILIATION, async (stream) => {
    const reader = new FrameReader(stream);
    for (let round = 0; (await reader.read()) !== undefined; round++) {
      await send(stream, frameOf(round === 0 ? inventedItems(1_000) : differing(round)));
    }
  });
  return await waited(sessionOf(scene.node, addressOf(host)));
}

/** Takes a connection and is no peer. */
async function muteSocket(): Promise<Waited> {
  const server = createServer(() => undefined).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  const peerId = '12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo';
  try {
    return await waited(sessionOf(scene.node, `/ip4/127.0.0.1/tcp/${port}/p2p/${peerId}`));
  } finally {
    server.close();
  }
}

describe('a node among peers that keep it waiting', () => {
  it('waits for each no longer than its time, and serves others meanwhile', async () => {
    const all = Promise.all([
      silentResponder(),
      silentInitiator(),
      dribblingInitiator(),
      unreadingInitiator(),
      inventingResponder(),
      muteSocket(),
    ]);
    let ended = false;
    const watching = all.finally(() => {
      ended = true;
    });
    watching.catch(() => undefined);
    while (!ended) {
      expect(await scene.servesHonestPeer()).toBe(true);
      await Promise.race([watching, new Promise((resolve) => setTimeout(resolve, 2_000))]);
    }
    const [silent, silentHere, dribbling, unreading, inventing, mute] = await watching;
    for (const { code, ms } of [silent, silentHere, dribbling, unreading]) {
      expect(code).toBe('PEER_TIMEOUT');
      expect(ms).toBeLessThan(LIMITS.sessionReadMs + SLACK_MS);
    }
    expect(mute.code).toBe('PEER_UNREACHABLE');
    expect(mute.ms).toBeLessThan(LIMITS.dialMs + SLACK_MS);
    expect(inventing.ms).toBeLessThan(LIMITS.sessionPasses * (LIMITS.transferIdleMs + SLACK_MS));
    expect(inventing.code ?? inventing.session['missing']).toSatisfy(
      (verdict) => verdict === 1_000 || verdict === 'SESSION_ROUNDS',
    );
  });

  it('ends on SIGTERM within 10 s, though a peer keeps a session open', async () => {
    const data = await temporaryFolder();
    const node = await startNode(data);
    const peer = await attack(node);
    const stream = await openStream(peer, RECONCILIATION);
    await send(stream, frameOf(differing(1)));
    const host = await startPlainHost();
    await host.handle(RECONCILIATION, async (silent) => {
      silent.addEventListener('message', () => undefined);
    });
    const session = sessionOf(node, addressOf(host)).catch(() => undefined);
    await expect.poll(() => host.getConnections().length).toBe(1);
    const startedMs = performance.now();
    node.process.kill('SIGTERM');
    expect((await node.process.ended).code).toBe(0);
    expect(performance.now() - startedMs).toBeLessThan(10_000);
    await session;
    expect((await lacuna(['verify', '--data', data])).code).toBe(0);
  });
});
