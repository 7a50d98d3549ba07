/** Peers that speak the protocol well and mean ill: sessions without end, invented ids, messages nobody asked for. */
import { createServer, type Server } from 'node:net';
import type { Stream } from '@libp2p/interface';
import { afterEach, describe, expect, it } from 'vitest';
import type { WakuMessage } from '../../src/core/message.ts';
import { type Claim, isFinal } from '../../src/core/range.ts';
import { boundAt } from '../../src/core/sync-id.ts';
import { encodeMessageAndTopic } from '../../src/wire/waku-message.ts';
import { encodeMetadata } from '../../src/wire/waku-metadata.ts';
import { decodeRanges, encodeRanges } from '../../src/wire/waku-ranges.ts';
import {
  ago,
  CONTENT_TOPIC,
  lineOf,
  makeMessage,
  makeMessages,
  PUBSUB_TOPIC,
  text,
} from '../e2e/message-lines.ts';
import { addressOf, dial, FrameReader, frameOf, send, startPlainHost } from '../e2e/plain-host.ts';
import { errorCode, lacunaJson, sessionOf, temporaryFolder } from '../e2e/process.ts';
import { METADATA, RECONCILIATION, TRANSFER } from '../e2e/stock-nwaku-peer.ts';
import {
  type Attack,
  attack,
  differing,
  disagree,
  disagreeFirst,
  endOf,
  logged,
  openStream,
  sessionWith,
} from './hostile-peer.ts';
import { nodeUnderAttack } from './node-under-attack.ts';

const messages = makeMessages(400, ago(60_000), 5_000_000_000n, { payloadBytes: 500 });
const scene = nodeUnderAttack(messages);
const FINAL = Uint8Array.of(0);
const OTHER_CLUSTER = encodeMetadata({ clusterId: 17, shards: [] });

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** The address of a peer that takes sessions and does this with them. */
async function peerThat(take: (stream: Stream) => Promise<void>): Promise<string> {
  const host = await startPlainHost();
  await host.handle(RECONCILIATION, take);
  return addressOf(host);
}

async function codeOfSessionWith(address: string): Promise<string | undefined> {
  return errorCode(await sessionOf(scene.node, address));
}

describe('a node that visits', () => {
  const stranger = '12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo';

  it('nobody, another node than the named one, or no node at all, is told so', async () => {
    const host = await startPlainHost();
    const taken = addressOf(host);
    expect(await codeOfSessionWith(taken.replace(host.peerId.toString(), stranger))).toBe('PEER_IDENTITY');
    await host.stop();
    expect(await codeOfSessionWith(taken)).toBe('PEER_UNREACHABLE');
    const web = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(
      0,
      '127.0.0.1',
    );
    servers.push(web);
    await new Promise((resolve) => web.once('listening', resolve));
    const { port } = web.address() as { port: number };
    expect(await codeOfSessionWith(`/ip4/127.0.0.1/tcp/${port}/p2p/${stranger}`)).toBe('PEER_UNREACHABLE');
  });

  it('a peer with other protocols, or one of another cluster, is told so', async () => {
    const other = await startPlainHost();
    await other.handle('/vac/waku/reconciliation/2.0.0', (stream) => stream.close());
    expect(await codeOfSessionWith(addressOf(other))).toBe('PEER_PROTOCOL');

    const foreign = await startPlainHost();
    let sessions = 0;
    await foreign.handle(RECONCILIATION, async () => {
      sessions += 1;
    });
    await foreign.handle(METADATA, async (stream) => {
      await new FrameReader(stream).read();
      await send(stream, frameOf(OTHER_CLUSTER));
      await stream.close();
    });
    expect(await codeOfSessionWith(addressOf(foreign))).toBe('PEER_CLUSTER');
    expect(sessions).toBe(0);
    await expect.poll(() => foreign.getConnections().length).toBe(0);
  });

  it('a peer that closes, resets or is gone, is told so', async () => {
    expect(await codeOfSessionWith(await peerThat((stream) => stream.close()))).toBe('PEER_CLOSED');
    expect(await codeOfSessionWith(await peerThat(async (stream) => stream.abort(new Error('no'))))).toBe(
      'PEER_CLOSED',
    );
    const host = await startPlainHost();
    await host.handle(RECONCILIATION, async (_, connection) => connection.abort(new Error('gone')));
    expect(await codeOfSessionWith(addressOf(host))).toBe('PEER_CLOSED');
  });

  it('a peer that differs for ever, stops after its rounds', async () => {
    expect(await codeOfSessionWith(await peerThat(disagree))).toBe('SESSION_ROUNDS');
  });

  it('a peer that agrees at once with what it cannot know, moves nothing', async () => {
    const address = await peerThat(async (stream) => {
      await new FrameReader(stream).read();
      await send(stream, frameOf(FINAL));
      await stream.close();
    });
    // XOR over a window that a peer claims to agree with is all that can be asked of it.
    expect(await sessionOf(scene.node, address)).toMatchObject({ received: 0, sent: 0, missing: 0 });
  });

  it('a peer that turns the window upside down, or answers outside it, ends', async () => {
    const claim = (lower: bigint, upper: bigint): Claim => ({
      kind: 'fingerprint',
      lower: boundAt(lower),
      upper: boundAt(upper),
      fingerprint: new Uint32Array(8).fill(7),
    });
    const outside = encodeRanges({
      pubsubTopics: [],
      contentTopics: [],
      claims: [claim(1n, 2n ** 63n - 1n)],
    });
    const address = await peerThat(async (stream) => {
      const reader = new FrameReader(stream);
      while ((await reader.read()) !== undefined && (await send(stream, frameOf(outside))));
    });
    expect(await codeOfSessionWith(address)).toMatch(/^(SESSION|PEER|WIRE)_/);
  });
});

describe('a peer that visits', () => {
  it('and serves another cluster is turned away before any session', async () => {
    const host = await startPlainHost();
    await host.handle(METADATA, async (stream) => {
      await new FrameReader(stream).read();
      await send(stream, frameOf(OTHER_CLUSTER));
      await stream.close();
    });
    const connection = await dial(host, scene.node.address);
    const stream = await connection.newStream(RECONCILIATION);
    stream.addEventListener('message', () => undefined);
    await send(stream, frameOf(differing(1)));
    await logged(scene.node, host.peerId.toString(), 'PEER_CLUSTER');
    await expect.poll(() => connection.status).not.toBe('open');
  });

  it('and says nothing more after its first word, or never closes, keeps nobody else out', async () => {
    const peers = await Promise.all(Array.from({ length: 6 }, () => attack(scene.node)));
    for (const peer of peers) await send(await openStream(peer, RECONCILIATION), frameOf(differing(2)));
    expect(await scene.servesHonestPeer()).toBe(true);
  });

  it('and differs for ever is left after its rounds', async () => {
    const peer = await attack(scene.node);
    expect(await disagreeFirst(peer)).toBeLessThanOrEqual(40);
    expect((await sessionWith(scene.node, peer.peerId)).code).toBe('SESSION_ROUNDS');
  });

  it('and opens more sessions than it may is refused the rest', async () => {
    const peer = await attack(scene.node);
    const streams = await Promise.all(Array.from({ length: 7 }, () => openStream(peer, RECONCILIATION)));
    for (const stream of streams) await send(stream, frameOf(differing(3)));
    const busy = await sessionWith(scene.node, peer.peerId, (session) => errorCode(session) !== undefined);
    expect(busy.code).toBe('SESSION_BUSY');
    expect(await scene.servesHonestPeer()).toBe(true);
  });

  it('and hangs up in the middle is missed by nobody', async () => {
    const peer = await attack(scene.node);
    const stream = await openStream(peer, RECONCILIATION);
    await send(stream, frameOf(differing(4)));
    await peer.host.stop();
    expect((await sessionWith(scene.node, peer.peerId)).code).toMatch(/^(PEER_CLOSED|WIRE_TRUNCATED)$/);
  });
});

describe('messages that nobody asked for', () => {
  const honest = makeMessages(60, ago(90_000), 1_000_000n, { seed: 'unasked' });

  it('are not taken without a session: the stream is reset, and in the end the peer is banned', async () => {
    const peer = await attack(scene.node);
    for (let times = 0; times < 2; times++) {
      const stream = await openStream(peer, TRANSFER);
      for (const message of [...honest, ...honest])
        await send(stream, frameOf(encodeMessageAndTopic(message)));
      await endOf(stream);
      await logged(scene.node, peer.peerId, times === 0 ? 'TRANSFER_NO_SESSION' : 'PEER_BANNED');
    }
    await expect.poll(() => peer.connection.status).not.toBe('open');
  });

  it('and those that may not be stored are refused one by one in the middle of a session', async () => {
    const peer = await attack(scene.node);
    const { stream, reader } = await openWideSession(peer);
    const transfer = await openStream(peer, TRANSFER);
    const now = ago(0);
    const bad: [string, Uint8Array][] = [
      ['WIRE_', new Uint8Array(0)],
      ['WIRE_', Uint8Array.of(0x0a, 0x20, 1, 2, 3)],
      ['WIRE_', Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)],
      ['TRANSFER_OUT_OF_SCOPE', frame({ timestamp: now, contentTopic: '/another/1/topic/proto' })],
      ['TRANSFER_OUT_OF_SCOPE', frame({ timestamp: now, pubsubTopic: '/waku/2/rs/16/33' })],
      ['TRANSFER_OUT_OF_WINDOW', frame({ timestamp: ago(-3 * 3_600_000) })],
      ['MESSAGE_TIMESTAMP_FUTURE', frame({ timestamp: ago(-600_000) })],
      ['MESSAGE_TIMESTAMP_INVALID', frame({ timestamp: 0n })],
      ['MESSAGE_EPHEMERAL', frame({ timestamp: now, ephemeral: true })],
      ['MESSAGE_TOO_LARGE', frame({ timestamp: now, payloadBytes: 150 * 1_024 + 1 })],
    ];
    for (const [, bytes] of bad) await send(transfer, frameOf(bytes));
    await transfer.close();
    await endOf(transfer);
    await send(stream, frameOf(FINAL));
    while ((await reader.read()) !== undefined);

    const { code, refusals, received, refused } = await sessionWith(scene.node, peer.peerId);
    expect({ code, received, refused }).toEqual({ code: undefined, received: 0, refused: bad.length });
    const counted = Object.entries(refusals as Record<string, number>);
    const wire = counted
      .filter(([name]) => name.startsWith('WIRE_'))
      .reduce((sum, [, times]) => sum + times, 0);
    expect(wire).toBe(3);
    expect(Object.fromEntries(counted.filter(([name]) => !name.startsWith('WIRE_')))).toEqual({
      TRANSFER_OUT_OF_SCOPE: 2,
      TRANSFER_OUT_OF_WINDOW: 1,
      MESSAGE_TIMESTAMP_FUTURE: 1,
      MESSAGE_TIMESTAMP_INVALID: 1,
      MESSAGE_EPHEMERAL: 1,
      MESSAGE_TOO_LARGE: 1,
    });
  });

  it('and a frame larger than any message ends the stream', async () => {
    const peer = await attack(scene.node);
    await openWideSession(peer);
    const transfer = await openStream(peer, TRANSFER);
    await send(transfer, frameOf(new Uint8Array(159 * 1_024)));
    await endOf(transfer);
    await logged(scene.node, peer.peerId, 'WIRE_FRAME_TOO_LARGE');
  });

  it('do not come in through a session that the operator wanted to push only', async () => {
    const [own] = makeMessages(1, ago(70_000), 1n, { seed: 'own' });
    const data = await temporaryFolder();
    await lacunaJson(['import', '-', '--data', data], { input: text([lineOf(own!)]) });
    const host = await startPlainHost();
    await host.handle(TRANSFER, async (stream) => {
      stream.addEventListener('message', () => undefined);
    });
    await host.handle(RECONCILIATION, async (stream, connection) => {
      const reader = new FrameReader(stream);
      await reader.read();
      const transfer = await connection.newStream(TRANSFER);
      for (const message of honest) await send(transfer, frameOf(encodeMessageAndTopic(message)));
      await transfer.close();
      await endOf(transfer);
      await send(stream, frameOf(FINAL));
      await stream.close();
    });
    const { json } = await lacunaJson(['sync', '--data', data, '--direction', 'push', addressOf(host)]);
    expect(json).toMatchObject({ received: 0 });
    expect((await lacunaJson(['count', '--data', data])).json).toMatchObject({ total: 1 });
  });
});

function frame(init: Parameters<typeof makeMessage>[0]): Uint8Array {
  const message: WakuMessage = makeMessage({ seed: 'bad', ...init });
  return encodeMessageAndTopic(message);
}

/** A session over all times until an hour from now and one pair of topics, which goes on until a last payload. */
async function openWideSession(peer: Attack): Promise<{ stream: Stream; reader: FrameReader }> {
  const stream = await peer.connection.newStream(RECONCILIATION);
  const reader = new FrameReader(stream);
  const claim: Claim = {
    kind: 'fingerprint',
    lower: boundAt(0n),
    upper: boundAt(ago(-3_600_000)),
    fingerprint: new Uint32Array(8).fill(5),
  };
  const opening = { pubsubTopics: [PUBSUB_TOPIC], contentTopics: [CONTENT_TOPIC], claims: [claim] };
  await send(stream, frameOf(encodeRanges(opening)));
  const answer = await reader.read();
  expect(answer === undefined || isFinal(decodeRanges(Uint8Array.from(answer)).claims)).toBe(false);
  return { stream, reader };
}
