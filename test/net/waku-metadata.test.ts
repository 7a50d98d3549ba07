/** Who serves which cluster: asked once a connection, and only by a node that named its own. */
import { afterEach, describe, expect, it } from 'vitest';
import { LacunaError } from '../../src/errors.ts';
import { METADATA } from '../../src/net/protocols.ts';
import { ClusterCheck, serveMetadata } from '../../src/net/waku-metadata.ts';
import { decodeMetadata, encodeMetadata } from '../../src/wire/waku-metadata.ts';
import { addressOf, FrameReader, frameOf, send, startPlainHost, stopPlainHosts } from '../e2e/plain-host.ts';
import { startHost, stopHosts } from './lacuna-host.ts';

afterEach(async () => {
  await stopHosts();
  await stopPlainHosts();
});

const SETTINGS = { pubsubTopic: ['/waku/2/rs/16/32', '/waku/2/rs/16/64'] };
const OWN = { clusterId: 16, shards: [32, 64] };

/** A peer that answers with these bytes, and counts how often it was asked; `undefined` closes without a word. */
async function peerAnswering(
  answer: Uint8Array | undefined,
): Promise<{ address: string; asked: () => number }> {
  const host = await startPlainHost();
  let asked = 0;
  await host.handle(METADATA, async (stream) => {
    asked += 1;
    const question = await new FrameReader(stream).read();
    expect(decodeMetadata(Uint8Array.from(question!))).toEqual(OWN);
    if (answer !== undefined) await send(stream, frameOf(answer));
    await stream.close();
  });
  return { address: addressOf(host), asked: () => asked };
}

describe('the metadata protocol', () => {
  it('is answered with cluster and shards, whatever the question', async () => {
    const host = await startHost();
    await serveMetadata(host, SETTINGS);
    const peer = await startHost();
    for (const question of [
      encodeMetadata({ clusterId: 1, shards: [] }),
      new Uint8Array(0),
      Uint8Array.of(255),
    ]) {
      const channel = await peer.open(await peer.connect(host.addresses[0]!), METADATA, 1_024);
      await channel.write([question]);
      expect(decodeMetadata((await channel.read(5_000))!)).toEqual(OWN);
      expect(await channel.read(5_000)).toBeUndefined();
    }
  });
});

describe('a node that named its cluster', () => {
  it('admits its like, and asks once a connection', async () => {
    const host = await startHost();
    const peer = await peerAnswering(encodeMetadata({ clusterId: 16, shards: [1] }));
    const check = new ClusterCheck(host, OWN, true);
    const connection = await host.connect(peer.address);
    await Promise.all([check.admit(connection), check.admit(connection)]);
    await check.admit(connection);
    expect(peer.asked()).toBe(1);
    expect(connection.status).toBe('open');
  });

  it('turns away a peer of another one, for all of its streams, and hangs up', async () => {
    const host = await startHost();
    const peer = await peerAnswering(encodeMetadata({ clusterId: 17, shards: [] }));
    const check = new ClusterCheck(host, OWN, true);
    const connection = await host.connect(peer.address);
    const verdicts = await Promise.allSettled([check.admit(connection), check.admit(connection)]);
    for (const verdict of verdicts) {
      expect(verdict).toMatchObject({ status: 'rejected', reason: { code: 'PEER_CLUSTER' } });
      expect(verdict.status === 'rejected' && verdict.reason).toBeInstanceOf(LacunaError);
    }
    expect(connection.status).not.toBe('open');
  });

  it.each([
    ['says nothing', undefined],
    ['names no cluster', new Uint8Array(0)],
    ['says what cannot be read', Uint8Array.of(0x08)],
  ])('admits a peer that %s', async (_, answer) => {
    const host = await startHost();
    const peer = await peerAnswering(answer);
    const connection = await host.connect(peer.address);
    await new ClusterCheck(host, OWN, true).admit(connection);
    expect([peer.asked(), connection.status]).toEqual([1, 'open']);
  });

  it('admits a peer without the protocol', async () => {
    const host = await startHost();
    const connection = await host.connect(addressOf(await startPlainHost()));
    await new ClusterCheck(host, OWN, true).admit(connection);
    expect(connection.status).toBe('open');
  });
});

describe('a node that named none', () => {
  it('is of the cluster of who asks, and of the Waku Network where that one names none', async () => {
    const host = await startHost();
    await serveMetadata(host, { pubsubTopic: [] });
    const peer = await startHost();
    for (const [question, clusterId] of [
      [encodeMetadata({ clusterId: 16, shards: [3] }), 16],
      [encodeMetadata({ clusterId: 0, shards: [] }), 0],
      [new Uint8Array(0), 1],
      [Uint8Array.of(255), 1],
    ] as const) {
      const channel = await peer.open(await peer.connect(host.addresses[0]!), METADATA, 1_024);
      await channel.write([question]);
      expect(decodeMetadata((await channel.read(5_000))!)).toEqual({ clusterId, shards: [] });
    }
    const check = new ClusterCheck(peer, OWN, true);
    const connection = await peer.connect(host.addresses[0]!);
    await check.admit(connection);
    expect(connection.status).toBe('open');
  });

  it('asks nobody', async () => {
    const host = await startHost();
    const peer = await peerAnswering(encodeMetadata({ clusterId: 17, shards: [] }));
    await new ClusterCheck(host, OWN, false).admit(await host.connect(peer.address));
    expect(peer.asked()).toBe(0);
  });
});
