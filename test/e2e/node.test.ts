/** `start`: a node over its life. Its folder, its identity, its lock, its end, and its sessions at every interval. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { ago, digestOf, exported, lineOf, makeMessages, text } from './message-lines.ts';
import {
  ask,
  type Ended,
  endAll,
  errorCode,
  failureCode,
  type JsonObject,
  lacuna,
  lacunaJson,
  type RunningNode,
  startNode,
  temporaryFolder,
} from './process.ts';

afterEach(endAll);

const recent = makeMessages(300, ago(120_000), 5_000_000_000n).map(lineOf);

async function stop(
  { process }: RunningNode,
  signal: NodeJS.Signals = 'SIGTERM',
): Promise<Ended & { ms: number }> {
  const startedMs = Date.now();
  process.kill(signal);
  return { ...(await process.ended), ms: Date.now() - startedMs };
}

/** How much time a session covered. */
function lengthMs({ since, until }: JsonObject): number {
  return Date.parse(String(until)) - Date.parse(String(since));
}

async function exportOf(data: string): Promise<string> {
  return (await lacuna(['export', '--data', data])).stdout;
}

describe('a node', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('ends on %s with code 0, long before 10 s', async (signal) => {
    const node = await startNode(await temporaryFolder());
    expect(node.process.events[0]).toMatchObject({
      event: 'listening',
      peerId: node.peerId,
      addresses: [expect.stringMatching(/^\/ip4\/127\.0\.0\.1\/tcp\/\d+\/p2p\/12D3KooW/)],
      http: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
    });
    const ended = await stop(node, signal);
    expect(ended.code).toBe(0);
    expect(ended.ms).toBeLessThan(10_000);
  });

  it('ends at once on a second signal, with code 1 and its store whole', async () => {
    const data = await temporaryFolder();
    await lacunaJson(['import', '-', '--data', data], { input: text(recent) });
    const node = await startNode(data);
    node.process.kill('SIGTERM');
    node.process.kill('SIGINT');
    expect(await node.process.ended).toMatchObject({ code: 1, signal: undefined });
    expect(node.process.events.map(({ event }) => event)).not.toContain('stopped');
    // As a supervisor starts it again.
    const again = await startNode(data);
    expect(again.peerId).toBe(node.peerId);
    expect((await stop(again)).code).toBe(0);
    expect((await lacuna(['verify', '--data', data])).code).toBe(0);
  });

  it('keeps its identity over restarts, in a key that its owner alone may read', async () => {
    const data = await temporaryFolder();
    const { json } = await lacunaJson(['init', '--data', data]);
    const node = await startNode(data);
    expect(node.peerId).toBe(json['peerId']);
    expect((await stat(join(data, 'identity.key'))).mode & 0o777).toBe(0o600);
    await stop(node);
    const again = await startNode(data);
    expect(again.peerId).toBe(node.peerId);
    again.process.kill('SIGKILL');
    await again.process.ended;
    const { json: id } = await lacunaJson(['id', '--data', data]);
    expect(id['peerId']).toBe(node.peerId);
  });

  it('has its folder to itself, until it is gone', async () => {
    const data = await temporaryFolder();
    const node = await startNode(data);
    const attempts = await Promise.all([
      lacuna(['start', '--data', data, '--listen', '/ip4/127.0.0.1/tcp/0', '--http', 'off']),
      lacuna(['export', '--data', data]),
      lacuna(['verify', '--data', data]),
    ]);
    for (const ended of attempts) expect([ended.code, failureCode(ended)]).toEqual([1, 'STORE_LOCKED']);
    // A killed node leaves its lock file behind, but no lock.
    node.process.kill('SIGKILL');
    await node.process.ended;
    expect((await lacuna(['verify', '--data', data])).code).toBe(0);
  });

  it('says what keeps it from starting, and ends with 1', async () => {
    const node = await startNode(await temporaryFolder());
    const taken = node.address.replace(/\/p2p\/.*/, '');
    const [port, http] = await Promise.all([
      lacuna(['start', '--data', await temporaryFolder(), '--listen', taken, '--http', 'off']),
      lacuna([
        ...['start', '--data', await temporaryFolder(), '--listen', '/ip4/127.0.0.1/tcp/0'],
        ...['--http', new URL(node.http).host],
      ]),
    ]);
    expect([port.code, failureCode(port)]).toEqual([1, 'CONFIG_INVALID']);
    expect([http.code, failureCode(http)]).toEqual([1, 'CONFIG_INVALID']);
  });

  it('answers over HTTP, on the loopback interface only', async () => {
    const node = await startNode(await temporaryFolder());
    expect(await ask(node, '/healthz')).toMatchObject({ status: 200 });
    expect(await ask(node, '/readyz')).toMatchObject({ status: 200, json: { ready: true } });
    expect(await ask(node, '/nothing')).toMatchObject({
      status: 404,
      json: { error: { code: 'HTTP_NOT_FOUND' } },
    });
    const { json } = await lacunaJson(['status', '--data', node.data]);
    expect(json).toMatchObject({ running: true, peerId: node.peerId, messages: 0 });
    const open = await lacuna(['start', '--data', await temporaryFolder(), '--http', '0.0.0.0:0']);
    expect([open.code, failureCode(open)]).toEqual([1, 'CONFIG_INVALID']);
  });
});

describe('a node with a peer', () => {
  const often = ['--http', 'off', '--sync-interval', '1s'];

  it('synchronises at every interval, and heals after the peer was down', async () => {
    const [peerData, data] = [await temporaryFolder(), await temporaryFolder()];
    const [before, between, after] = [recent.slice(0, 90), recent.slice(90, 190), recent.slice(190)];
    await lacunaJson(['import', '-', '--data', peerData], { input: text(before) });
    const peer = await startNode(peerData);
    const node = await startNode(data, [...often, '--peer', peer.address]);
    await session(node, ({ received, verified }) => received === before.length && verified === true);

    await lacunaJson(['import', '-', '--data', peerData], { input: text(between) });
    await session(node, ({ received }) => received === between.length);

    peer.process.kill('SIGKILL');
    await peer.process.ended;
    await node.process.until(() => node.process.logs.find(({ code }) => code === 'PEER_UNREACHABLE'));
    await lacunaJson(['import', '-', '--data', peerData], { input: text(after) });
    const address = peer.address.replace(/\/p2p\/.*/, '');
    const back = await startNode(peerData, ['--listen', address]);
    expect(back.address).toBe(peer.address);
    await session(node, ({ received }) => received === after.length);

    expect((await stop(node)).code).toBe(0);
    expect((await stop(back)).code).toBe(0);
    expect(digestOf(await exportOf(data))).toEqual(digestOf(exported(recent)));
    expect(digestOf(await exportOf(peerData))).toEqual(digestOf(exported(recent)));
  });

  it('compares the range it was told, up to its jitter before now', async () => {
    const [peerData, data] = [await temporaryFolder(), await temporaryFolder()];
    const old = makeMessages(5, ago(7_200_000), 1_000_000n).map(lineOf);
    const fresh = makeMessages(5, ago(60_000), 1_000_000n).map(lineOf);
    const newest = makeMessages(5, ago(2_000), 1_000_000n).map(lineOf);
    await lacunaJson(['import', '-', '--data', peerData], { input: text([...old, ...fresh, ...newest]) });
    const peer = await startNode(peerData);
    const node = await startNode(data, ['--http', 'off', '--peer', peer.address]);
    // The store is new: all of its past is a gap, but for what is still on its way.
    const past = [...old, ...fresh];
    await session(node, ({ received }) => received === past.length);
    const hour = await session(node, (event) => Math.abs(lengthMs(event) - 3_600_000) < 60_000);
    expect(Date.now() - Date.parse(String(hour['until']))).toBeGreaterThan(19_000);
    await stop(node);
    expect(digestOf(await exportOf(data))).toEqual(digestOf(exported(past)));
    const wide = ['--sync-range', '3h', '--sync-jitter', '0s'];
    const again = await startNode(data, ['--http', 'off', '--peer', peer.address, ...wide]);
    await session(again, ({ received }) => received === newest.length);
    // Every second round reaches back twice as far.
    await session(again, (event) => lengthMs(event) >= 3 * 3_600_000 - 60_000);
  });

  it('runs a session on demand, through its HTTP interface and through the command', async () => {
    const [peerData, data] = [await temporaryFolder(), await temporaryFolder()];
    await lacunaJson(['import', '-', '--data', peerData], { input: text(recent) });
    const peer = await startNode(peerData);
    const node = await startNode(data);
    const dry = await lacunaJson(['sync', '--dry-run', '--data', data, peer.address]);
    expect(dry).toMatchObject({ code: 3, json: { peer: peer.peerId, need: recent.length, received: 0 } });
    const { json } = await ask(node, '/api/v1/sync', { peers: [peer.address, '/ip4/127.0.0.1/tcp/1'] });
    const [done, refused] = json['sessions'] as JsonObject[];
    expect(done).toMatchObject({ received: recent.length, verified: true });
    expect(errorCode(refused!)).toBe('PEER_ADDRESS_INVALID');
    expect(await ask(node, '/api/v1/sync', { peers: [] })).toMatchObject({
      status: 400,
      json: { error: { code: 'USAGE' } },
    });
  });

  it('ends within 10 s in the middle of a session', async () => {
    const [peerData, data] = [await temporaryFolder(), await temporaryFolder()];
    const many = makeMessages(4_000, ago(60_000), 1_000_000n, { payloadBytes: 4_000 }).map(lineOf);
    await lacunaJson(['import', '-', '--data', peerData], { input: text(many) });
    const peer = await startNode(peerData, ['--http', 'off']);
    const node = await startNode(data, [...often, '--peer', peer.address]);
    await new Promise((resolve) => setTimeout(resolve, 150));
    const [ended, peerEnded] = await Promise.all([stop(node), stop(peer)]);
    expect([ended.code, peerEnded.code]).toEqual([0, 0]);
    expect(ended.ms).toBeLessThan(10_000);
    expect(peerEnded.ms).toBeLessThan(10_000);
    expect((await lacuna(['verify', '--data', data])).code).toBe(0);
  });
});

/** A session of the node, as initiator, that ended without error and fits. */
async function session(node: RunningNode, fits: (session: JsonObject) => boolean): Promise<JsonObject> {
  return await node.process.event(
    (event) => event['event'] === 'session' && errorCode(event) === undefined && fits(event),
  );
}
