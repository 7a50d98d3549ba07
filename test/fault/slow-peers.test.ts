/**
 * Peers that are silent, or nearly so: everything that waits for them ends by itself, and nobody else waits. All of
 * them at once, as the waiting is what takes the time.
 */
import { createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import type { WakuMessage } from '../../src/core/message.ts';
import { compareIds, makeId, SyncIdList } from '../../src/core/sync-id.ts';
import { LIMITS } from '../../src/limits.ts';
import { ago, hashOf, makeMessages } from '../e2e/message-lines.ts';
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
import { inventedIds, liarAt, liarThat, NOTHING_SAID } from './native-liar.ts';
import { nodeUnderAttack } from './node-under-attack.ts';

const messages = [
  ...makeMessages(200, ago(60_000), 5_000_000_000n),
  // More than a stream takes that nobody reads.
  ...makeMessages(60, ago(60_000), 7_000_000_001n, { payloadBytes: 100_000 }),
];
const scene = nodeUnderAttack(messages);

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

/** Says hello to a Lacuna that visits, and nothing more. */
async function greetingResponder(): Promise<Waited> {
  const { address } = await liarThat(async () => undefined);
  return await waited(sessionOf(scene.node, address, { dialect: 'native' }));
}

/** Says hello, and then only that it is still there. */
async function livelyInitiator(): Promise<Waited> {
  const { peer, liar } = await liarAt(scene.node);
  const timer = setInterval(() => void liar.say({ kind: 'alive' }), LIMITS.nativeAliveMs / 2);
  try {
    return await waited(sessionWith(scene.node, peer.peerId, undefined, 60_000));
  } finally {
    clearInterval(timer);
  }
}

/** Offers messages, is asked for them, and says only that it is still there. */
async function promisingInitiator(): Promise<Waited> {
  const { peer, liar } = await liarAt(scene.node);
  await liar.say({ kind: 'offer', ids: inventedIds(100), last: false });
  expect(await liar.until('want')).toBeDefined();
  const timer = setInterval(() => void liar.say({ kind: 'alive' }), LIMITS.nativeAliveMs / 2);
  try {
    return await waited(sessionWith(scene.node, peer.peerId, undefined, 60_000));
  } finally {
    clearInterval(timer);
  }
}

/** Wants everything in the dialect of the Lacunas, and reads nothing of it. */
async function unreadingLiar(): Promise<Waited> {
  const { peer, liar } = await liarAt(scene.node);
  const asked = await liar.until('payload');
  const parts = asked!.payload.opening!.cut.counts.length;
  const answers = Array.from({ length: parts }, () => ({ kind: 'none' }) as const);
  await liar.say({ kind: 'payload', payload: { ...NOTHING_SAID, answers } });
  const offer = await liar.until('offer');
  const bits = new Uint8Array(Math.ceil(offer!.ids.count / 8)).fill(0xff);
  bits[bits.length - 1] = 0xff >> (bits.length * 8 - offer!.ids.count);
  liar.stream.pause();
  await liar.say({ kind: 'want', page: 0, first: 0, bits, final: true });
  return await waited(sessionWith(scene.node, peer.peerId, undefined, 80_000));
}

/**
 * Offers what an honest peer has, is asked for it, and goes on with offers of what nobody has. Waits for the session
 * with the honest peer, of which the same is not asked meanwhile.
 */
async function hoardingInitiator(): Promise<Waited> {
  const node = await startNode(await temporaryFolder(), ['--cluster-id', '16']);
  const { liar } = await liarAt(node);
  const ids = SyncIdList.of(...messages.slice(0, 10).map(idOf).sort(compareDown));
  await liar.say({ kind: 'offer', ids, last: false });
  expect(await liar.until('want')).toBeDefined();
  let offered = 0;
  const timer = setInterval(() => {
    offered += 1;
    void liar.say({ kind: 'offer', ids: inventedIds(1, ago(3_600_000 + offered)), last: false });
  }, 2_000);
  const tooLate = new Promise<JsonObject>((resolve) =>
    setTimeout(() => resolve({ verified: false }), LIMITS.sessionReadMs + 2 * SLACK_MS),
  );
  try {
    const honest = sessionOf(node, scene.node.address, { dialect: 'native' }).catch(() => ({}));
    return await waited(Promise.race([honest, tooLate]));
  } finally {
    clearInterval(timer);
    node.process.kill('SIGTERM');
    await node.process.ended;
  }
}

function idOf(message: WakuMessage): Uint32Array {
  return makeId(message.timestamp, Buffer.from(hashOf(message).slice(2), 'hex'));
}

function compareDown(a: Uint32Array, b: Uint32Array): number {
  return compareIds(b, 0, a, 0);
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
      greetingResponder(),
      livelyInitiator(),
      promisingInitiator(),
      unreadingLiar(),
      hoardingInitiator(),
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
    const [silent, silentHere, dribbling, unreading, inventing, mute, ...native] = await watching;
    const [greeting, lively, promising, unreadingNative, hoarding] = native;
    const timedOut = {
      ...{ silent, silentHere, dribbling, unreading },
      ...{ greeting, lively, promising, unreadingNative },
    };
    for (const [name, { code, ms }] of Object.entries(timedOut)) {
      expect.soft([name, code]).toEqual([name, 'PEER_TIMEOUT']);
      expect.soft(ms, name).toBeLessThan(LIMITS.sessionReadMs + SLACK_MS);
    }
    for (const { session } of [lively, promising, unreadingNative]) {
      expect(session).toMatchObject({ dialect: 'native', verified: false });
    }
    // What one has promised and does not bring is asked of another.
    expect.soft(hoarding.session).toMatchObject({ received: messages.length, missing: 0, verified: true });
    expect.soft(hoarding.ms).toBeLessThan(LIMITS.sessionReadMs + SLACK_MS);
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
