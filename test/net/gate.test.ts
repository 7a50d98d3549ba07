/** The gate before real hosts: private ones, full ones, denied and banned peers, and peers that open streams for ever. */
import type { Connection } from '@libp2p/interface';
import { afterEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import type { Host } from '../../src/net/host.ts';
import { METADATA } from '../../src/net/protocols.ts';
import { serveMetadata } from '../../src/net/waku-metadata.ts';
import { LimitCounts } from '../../src/sync/limit-counts.ts';
import { Strikes } from '../../src/sync/strikes.ts';
import { endedIn } from '../ended-in.ts';
import { VirtualClock } from '../sync/virtual-clock.ts';
import { createHost, makeGate, startHost, stopHosts } from './lacuna-host.ts';

afterEach(stopHosts);

/** Connects, and says whether the other side still lets it after a moment. */
async function isLetIn(from: Host, to: Host): Promise<boolean> {
  let connection: Connection;
  try {
    connection = await from.connect(to.addresses[0]!);
  } catch {
    return false;
  }
  // Who is refused for its name learns of it after its own half of the handshake.
  for (let look = 0; look < 20 && connection.status === 'open'; look++) {
    if (to.connectedPeers().includes(from.peerId)) return true;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return connection.status === 'open' && to.connectedPeers().includes(from.peerId);
}

describe('a host that is full of strangers', () => {
  it('still lets in a peer that the operator knows, and no stranger', async () => {
    const counts = new LimitCounts();
    const friend = await startHost();
    const gate = makeGate({ connectionsMax: 3, configured: [friend.peerId], counts });
    const here = await startHost({ gate });
    const strangers = await Promise.all(Array.from({ length: 4 }, () => startHost()));
    for (const stranger of strangers.slice(0, 3)) expect(await isLetIn(stranger, here)).toBe(true);
    expect(await isLetIn(strangers[3]!, here)).toBe(false);
    expect(counts.all['connections']).toBe(1);
    expect(await isLetIn(friend, here)).toBe(true);
    // Nobody was closed in its favour.
    expect(new Set(here.connectedPeers())).toEqual(
      new Set([friend, ...strangers.slice(0, 3)].map(({ peerId }) => peerId)),
    );
    await strangers[0]!.stop();
    await expect.poll(() => gate.connections).toBe(3);
    await strangers[1]!.stop();
    await expect.poll(() => gate.connections).toBe(2);
    expect(await isLetIn(strangers[3]!, here)).toBe(true);
  });

  it('counts every connection once, and none for ever', async () => {
    const gate = makeGate();
    const here = await startHost({ gate });
    const [first, second] = [await startHost(), await startHost()];
    for (let time = 0; time < 5; time++) {
      const connections = [await first.connect(here.addresses[0]!), await here.connect(second.addresses[0]!)];
      await expect.poll(() => gate.connections).toBe(2);
      for (const connection of connections) connection.abort(new Error('enough'));
      await expect.poll(() => gate.connections).toBe(0);
    }
  });

  it('gives one peer so many places', async () => {
    const here = await startHost();
    const other = await startHost();
    const one = here.libp2p.getMultiaddrs()[0]!;
    for (let count = 0; count < LIMITS.connectionsPerPeer; count++)
      await other.libp2p.dial(one, { force: true });
    await expect.poll(() => here.libp2p.getConnections().length).toBe(LIMITS.connectionsPerPeer);
    await other.libp2p.dial(one, { force: true }).catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(here.libp2p.getConnections()).toHaveLength(LIMITS.connectionsPerPeer);
  });
});

describe('a private host', () => {
  it('lets in and dials those that it knows, and nobody else', async () => {
    const [friend, partner, stranger] = [await startHost(), await startHost(), await startHost()];
    const gate = makeGate({ isPrivate: true, allow: [friend.peerId], configured: [partner.peerId] });
    const here = await startHost({ gate });
    expect(await isLetIn(friend, here)).toBe(true);
    expect(await isLetIn(stranger, here)).toBe(false);
    expect((await here.connect(partner.addresses[0]!)).status).toBe('open');
    expect(await endedIn(here.connect(stranger.addresses[0]!))).toBe('PEER_UNREACHABLE');
  });
});

describe('a denied peer', () => {
  it('is neither let in nor dialled, though it is allowed too', async () => {
    const foe = await startHost();
    const here = await startHost({ gate: makeGate({ allow: [foe.peerId], deny: [foe.peerId] }) });
    expect(await isLetIn(foe, here)).toBe(false);
    expect(await endedIn(here.connect(foe.addresses[0]!))).toBe('PEER_UNREACHABLE');
  });
});

describe('a banned peer', () => {
  it('is let in again when the ban is over', async () => {
    const clock = new VirtualClock();
    const strikes = new Strikes(clock);
    const here = await startHost({ gate: makeGate({ isBanned: (peer) => strikes.isBanned(peer) }) });
    const brawler = await startHost();
    expect(await isLetIn(brawler, here)).toBe(true);
    expect(here.hostsOf(brawler.peerId)).toEqual(['127.0.0.1']);
    strikes.onBan = (peer) => here.disconnect(peer);
    strikes.strike(brawler.peerId, LIMITS.strikesBeforeBan);
    await expect.poll(() => here.connectedPeers()).toEqual([]);
    await expect.poll(() => brawler.connectedPeers()).toEqual([]);
    expect(await isLetIn(brawler, here)).toBe(false);
    await clock.advance(LIMITS.banMs);
    expect(await isLetIn(brawler, here)).toBe(true);
  });
});

const PING = '/ipfs/ping/1.0.0';

describe('a stream that is not admitted', () => {
  it('is reset before anybody is asked for it; the connection stays, and others are served', async () => {
    const asked: string[] = [];
    let admits = true;
    const here = await createHost({
      admitsStream: (peer) => {
        asked.push(peer);
        return admits;
      },
    });
    await serveMetadata(here, { clusterId: 1, pubsubTopic: [] });
    await here.start();
    const other = await startHost();
    const connection = await other.connect(here.addresses[0]!);
    const question = async (): Promise<boolean> => {
      try {
        const channel = await other.open(connection, METADATA, 1_024);
        await channel.write([new Uint8Array(0)]);
        return (await channel.read(5_000)) !== undefined;
      } catch {
        return false;
      }
    };
    expect(await question()).toBe(true);
    expect(new Set(asked)).toEqual(new Set([other.peerId]));
    admits = false;
    expect(await question()).toBe(false);
    admits = true;
    expect(await question()).toBe(true);
    expect(connection.status).toBe('open');
  });

  it('is reset though it comes before libp2p has made the connection', async () => {
    const here = await startHost({ admitsStream: () => false });
    const others = await Promise.all(Array.from({ length: 20 }, () => startHost()));
    const taken = others.map(async (other) => {
      const connection = await other.connect(here.addresses[0]!);
      await expect(other.open(connection, PING, 1_024)).rejects.toMatchObject({ code: 'PEER_CLOSED' });
    });
    await Promise.all(taken);
  });
});

describe('a host', () => {
  it('tells of the first connection with a peer, and of the end of the last', async () => {
    const [here, other] = [await startHost(), await startHost()];
    const events: string[] = [];
    here.onConnect = (peer) => events.push(`+${peer}`);
    here.onDisconnect = (peer) => events.push(`-${peer}`);
    const one = here.libp2p.getMultiaddrs()[0]!;
    const first = await other.libp2p.dial(one);
    const second = await other.libp2p.dial(one, { force: true });
    await expect.poll(() => here.libp2p.getConnections().length).toBe(2);
    expect(here.connectedPeers()).toEqual([other.peerId]);
    first.abort(new Error('one'));
    await expect.poll(() => here.libp2p.getConnections().length).toBe(1);
    expect(events).toEqual([`+${other.peerId}`]);
    second.abort(new Error('two'));
    await expect.poll(() => events).toEqual([`+${other.peerId}`, `-${other.peerId}`]);
  });
});
