/** Where peers are heard of: from peers that tell, honest ones and liars, from those that come in, and by mDNS. */
import { multiaddr } from '@multiformats/multiaddr';
import { afterEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { peerOfAddress, reachableAddresses, usableAddresses } from '../../src/net/addresses.ts';
import type { Host } from '../../src/net/host.ts';
import { PeerLearner, servePeers } from '../../src/net/peers.ts';
import { PEERS } from '../../src/net/protocols.ts';
import type { PeerSource } from '../../src/sync/known-peer.ts';
import { STRIKE_MALFORMED, Strikes } from '../../src/sync/strikes.ts';
import { encodePeerList } from '../../src/wire/peer-list.ts';
import { addressOf, frameOf, send, startPlainHost, stopPlainHosts } from '../e2e/plain-host.ts';
import { endedIn } from '../ended-in.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { VirtualClock } from '../sync/virtual-clock.ts';
import { createHost, startHost, stopHosts } from './lacuna-host.ts';

afterEach(async () => {
  await stopHosts();
  await stopPlainHosts();
});

const ID = '12D3KooWRawPbxPtP1eZaJpumGnyWX2DcUyd3RQnydr3eAto4Az7';
const PUBLIC = `/ip4/192.0.2.7/tcp/60000/p2p/${ID}`;
const LOOPBACK = `/ip4/127.0.0.1/tcp/60000/p2p/${ID}`;
const PRIVATE = `/ip4/10.1.2.3/tcp/60000/p2p/${ID}`;

async function ask(here: Host, address: string): Promise<string[]> {
  return await here.askPeers(await here.connect(address));
}

/** A peer that answers with these bytes, whatever they are; undefined resets. */
async function answering(bytes: Uint8Array | undefined): Promise<string> {
  const host = await startPlainHost();
  await host.handle(PEERS, async (stream) => {
    if (bytes === undefined) return stream.abort(new Error('no'));
    await send(stream, bytes);
    await stream.close();
  });
  return addressOf(host);
}

describe('a peer that is asked', () => {
  it('tells of those it knows, and not of the one that asks', async () => {
    const [here, there] = [await startHost(), await startHost()];
    const own = `/ip4/127.0.0.1/tcp/1/p2p/${here.peerId}`;
    await servePeers(
      there,
      () => [PUBLIC, own, LOOPBACK, 'not to be told'],
      () => true,
    );
    expect(await ask(here, there.addresses[0]!)).toEqual([PUBLIC, LOOPBACK]);
  });

  it('tells of none, and of no more than the limit', async () => {
    const [here, there] = [await startHost(), await startHost()];
    let known: string[] = [];
    await servePeers(
      there,
      () => known,
      () => true,
    );
    expect(await ask(here, there.addresses[0]!)).toEqual([]);
    known = Array.from({ length: 100 }, (_, port) => `/ip4/192.0.2.7/tcp/${port + 1}/p2p/${ID}`);
    expect(await ask(here, there.addresses[0]!)).toEqual(known.slice(0, LIMITS.peerListAddresses));
  });

  it('resets the streams of those it does not talk to, and of those that say something', async () => {
    const [here, there] = [await startHost(), await startHost()];
    let asked = 0;
    await servePeers(
      there,
      () => {
        asked += 1;
        return [PUBLIC];
      },
      (peer) => peer !== here.peerId,
    );
    expect(await endedIn(ask(here, there.addresses[0]!))).toBe('PEER_CLOSED');
    const other = await startHost();
    for (const words of [Uint8Array.of(1), new Uint8Array(0)]) {
      const channel = await other.open(await other.connect(there.addresses[0]!), PEERS, 10_000);
      await channel.write([words]);
      expect(await endedIn(channel.read(5_000))).toBe('PEER_CLOSED');
    }
    expect(asked).toBe(0);
    expect(await ask(other, there.addresses[0]!)).toEqual([PUBLIC]);
  });

  it('and does not speak the protocol says so', async () => {
    const [here, there] = [await startHost(), await startHost()];
    expect(await endedIn(ask(here, there.addresses[0]!))).toBe('PEER_PROTOCOL');
  });
});

describe('a liar', () => {
  const list = (...addresses: string[]): Uint8Array => frameOf(encodePeerList(addresses));

  it('is believed nothing but what could be true', async () => {
    const here = await startHost();
    const told = [
      '/ip4/192.0.2.7/tcp/60000',
      `/ip4/300.0.2.7/tcp/1/p2p/${ID}`,
      '/ip4/192.0.2.7/tcp/1/p2p/nobody',
      `/ip4/192.0.2.7/tcp/1/p2p/${here.peerId}`,
      'http://192.0.2.7',
      PUBLIC,
      PUBLIC,
    ];
    expect(await ask(here, await answering(list(...told)))).toEqual([PUBLIC]);
  });

  it.each([
    ['too many', frameOf(Uint8Array.of(33)), 'WIRE_LIMIT'],
    ['half a list', frameOf(Uint8Array.of(2, 1, 0x2f)), 'WIRE_TRUNCATED'],
    ['half a frame', Uint8Array.of(10, 1, 1), 'WIRE_TRUNCATED'],
    ['control characters', frameOf(Uint8Array.of(1, 2, 0x2f, 0x0a)), 'WIRE_FIELD_INVALID'],
    ['a frame beyond the limit', Uint8Array.of(0xff, 0xff, 0x7f), 'WIRE_FRAME_TOO_LARGE'],
    ['nothing', new Uint8Array(0), 'PEER_CLOSED'],
  ] as const)('that says %s is found out', async (_, bytes, code) => {
    const here = await startHost();
    expect(await endedIn(ask(here, await answering(bytes)))).toBe(code);
  });

  it('that breaks its answer collects strikes; it is asked again no sooner than others', async () => {
    const here = await startHost();
    const clock = new VirtualClock();
    const strikes = new Strikes(clock);
    const learnt: string[] = [];
    const learner = new PeerLearner({
      host: here,
      strikes,
      clock,
      log: new RecordingLogger(),
      mayShare: (peer) => peer !== 'stranger',
      onLearnt: (address) => learnt.push(address),
      stop: new AbortController().signal,
    });
    const liar = await answering(frameOf(Uint8Array.of(2, 1, 0x2f)));
    const peer = peerOfAddress(liar);
    await learner.learnFrom(liar, peer);
    await learner.learnFrom(liar, peer);
    expect(strikes.strikesOf(peer)).toBe(STRIKE_MALFORMED);
    await clock.advance(LIMITS.peersAskedMs);
    await learner.learnFrom(liar, peer);
    expect(strikes.strikesOf(peer)).toBe(2 * STRIKE_MALFORMED);
    const honest = await answering(list(PUBLIC));
    await learner.learnFrom(honest, 'stranger');
    expect(learnt).toEqual([]);
    await learner.learnFrom(honest, peerOfAddress(honest));
    expect(learnt).toEqual([PUBLIC]);
  });

  it('that resets is no trouble', async () => {
    const here = await startHost();
    expect(await endedIn(ask(here, await answering(undefined)))).toBe('PEER_CLOSED');
  });
});

describe('addresses that were told', () => {
  const from = (address: string): string[] =>
    usableAddresses([LOOPBACK, PRIVATE, PUBLIC], 'own', multiaddr(address));

  it('are of no narrower network than that of the teller', () => {
    expect(from('/ip4/127.0.0.1/tcp/1')).toEqual([LOOPBACK, PRIVATE, PUBLIC]);
    expect(from('/ip4/192.168.1.1/tcp/1')).toEqual([PRIVATE, PUBLIC]);
    expect(from('/ip4/203.0.113.1/tcp/1')).toEqual([PUBLIC]);
    expect(from('/ip6/2001:db8::1/tcp/1')).toEqual([PUBLIC]);
    expect(from('/dns4/example.org/tcp/1')).toEqual([PUBLIC]);
  });

  it('are known for what they are in every notation', () => {
    const narrow = [
      '/ip6/::1',
      '/ip6/::ffff:127.0.0.1',
      '/ip4/0.0.0.0',
      '/ip6/::',
      '/ip6/fe80::1',
      '/ip6/fd00::1',
    ];
    const told = narrow.map((host) => `${host}/tcp/1/p2p/${ID}`);
    expect(usableAddresses(told, 'own', multiaddr('/ip4/203.0.113.1/tcp/1'))).toEqual([]);
  });
});

describe('a Lacuna that comes in', () => {
  it('is heard of where it listens; a stock node is not, nor one that this host has dialled', async () => {
    const here = await startHost();
    const heard: [string, PeerSource][] = [];
    here.onPeer = (address, source) => heard.push([address, source]);
    const other = await startHost();
    const stock = await startPlainHost();
    await stock.dial(multiaddr(here.addresses[0]!));
    await here.connect((await startHost()).addresses[0]!);
    await other.connect(here.addresses[0]!);
    await expect.poll(() => heard).toEqual([[other.addresses[0]!, 'inbound']]);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(heard).toHaveLength(1);
  });

  it('is believed no address but at the host that it came from, and no more than so many', () => {
    const listens = ['/ip4/192.0.2.9/tcp/1', '/ip4/192.0.2.7/tcp/2', '/dns4/victim.example/tcp/443'];
    const cameFrom = multiaddr('/ip4/192.0.2.7/tcp/54321');
    expect(reachableAddresses(ID, cameFrom, listens.map(multiaddr))).toEqual([
      `/ip4/192.0.2.7/tcp/2/p2p/${ID}`,
    ]);
    const many = Array.from({ length: 50 }, (_, port) => multiaddr(`/ip4/192.0.2.7/tcp/${port + 1}`));
    expect(reachableAddresses(ID, cameFrom, many)).toHaveLength(LIMITS.peerOwnAddresses);
  });
});

describe('mDNS', () => {
  it('lets two Lacunas on one network hear of each other', async () => {
    const heard: [string, PeerSource][] = [];
    const here = await createHost({ mdns: true });
    here.onPeer = (address, source) => heard.push([address, source]);
    await here.start();
    const other = await startHost({ mdns: true });
    await expect.poll(() => heard, { timeout: 25_000 }).toContainEqual([other.addresses[0]!, 'mdns']);
    expect(heard.filter(([address]) => address.includes(here.peerId))).toEqual([]);
  });
});
