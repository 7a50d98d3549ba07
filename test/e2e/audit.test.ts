/** `audit` as it is installed: nodes in processes of their own with faults planted, on a data folder and over HTTP. */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { samplesOf } from '../http/prometheus-text.ts';
import { ago, keyOf, lineOf, makeMessages, text } from './message-lines.ts';
import {
  ask,
  endAll,
  failureCode,
  type JsonObject,
  LacunaProcess,
  lacuna,
  lacunaJson,
  type RunningNode,
  startNode,
  temporaryFolder,
} from './process.ts';

afterEach(endAll);

/** A peer id that no node has. */
const UNMET = '12D3KooWHnL7SVLjFuFwKAiGrCDLrzNRG2xAQZNy2Gtqq15hf1q7';
const STEP_NS = 60_000_000_000n;
const lines = makeMessages(300, ago(3_600_000), STEP_NS).map(lineOf);

function hashOf(place: number): string {
  return keyOf(lines[place]!).hash;
}

async function filled(without: readonly number[]): Promise<string> {
  const data = await temporaryFolder();
  const input = text(lines.filter((_, place) => !without.includes(place)));
  await lacunaJson(['import', '-', '--data', data], { input });
  return data;
}

/** A peer that serves, and begins nothing itself. */
async function peerWithout(without: readonly number[]): Promise<RunningNode> {
  return await startNode(await filled(without), ['--no-learn-peers']);
}

function missingOf(report: JsonObject): Record<string, unknown> {
  const nodes = report['nodes'] as JsonObject[];
  return Object.fromEntries(nodes.map(({ peer, missing }) => [String(peer), missing]));
}

describe('audit', () => {
  it('on a data folder: names what is missing, repairs it, and says so by its exit code', async () => {
    const [b, c] = [await peerWithout([7, 8, 299]), await peerWithout([0, 7])];
    const data = await filled([100]);
    const peers = [b.address, c.address];
    const down = c.address.replace(/tcp\/\d+/, 'tcp/1').replace(c.peerId, b.peerId);

    const found = await lacunaJson(['audit', ...peers, '--data', data, '--list']);
    expect(found.code).toBe(3);
    const own = String((found.json['nodes'] as JsonObject[])[0]!['peer']);
    expect(found.json).toMatchObject({ agree: false, total: 300 });
    expect(missingOf(found.json)).toEqual({ [own]: 1, [b.peerId]: 3, [c.peerId]: 2 });
    const messages = found.json['messages'] as JsonObject[];
    expect(messages.map(({ hash, lacks }) => [hash, (lacks as string[]).length])).toEqual([
      [hashOf(0), 1],
      [hashOf(7), 2],
      [hashOf(8), 1],
      [hashOf(100), 1],
      [hashOf(299), 1],
    ]);
    // Those of what is not here are learnt from a Lacuna that has it.
    for (const { hash, pubsubTopic, contentTopic } of messages) {
      const line = JSON.parse(lines.find((one) => keyOf(one).hash === hash)!);
      expect([pubsubTopic, contentTopic]).toEqual([line.pubsubTopic, line.message.contentTopic]);
    }
    const rows = found.json['rows'] as { counts: Record<string, number>; missing: Record<string, number> }[];
    for (const [peer, missing] of Object.entries(missingOf(found.json))) {
      const sum = (of: 'counts' | 'missing'): number =>
        rows.reduce((total, row) => total + row[of][peer]!, 0);
      expect([sum('missing'), sum('counts')]).toEqual([missing, 300 - Number(missing)]);
    }

    const repaired = await lacunaJson(['audit', ...peers, '--data', data, '--repair', '--push']);
    expect(repaired).toMatchObject({ code: 0, json: { agree: true, repair: { received: 1, sent: 5 } } });
    const table = await lacuna(['audit', ...peers, '--data', data]);
    expect([table.code, table.stdout.split('\n').filter((line) => line.includes('digests'))]).toEqual([
      0,
      [expect.stringContaining('300'), expect.stringContaining('300')],
    ]);
    const unknown = await lacuna(['audit', c.address, down, '--data', data, '--csv', '--bucket', '30d']);
    expect([unknown.code, failureCode(unknown)]).toEqual([1, 'PEER_UNREACHABLE']);
    const [heading, ...cells] = unknown.stdout.trim().split('\n');
    expect(heading).toBe('since,until,node,count,missing,late');
    // A figure that is not known is no figure.
    expect(cells.filter((row) => row.includes(b.peerId)).every((row) => row.endsWith(',,,'))).toBe(true);
    expect((await lacuna(['audit', '--data', data])).code).toBe(2);
  });

  it('through a running node: the same, and of a series the history and the metrics', async () => {
    const b = await peerWithout([1, 2]);
    const node = await startNode(await filled([3]), ['--no-learn-peers']);
    const own = node.peerId;
    const found = await lacunaJson(['audit', b.address, '--data', node.data, '--since', '30d']);
    expect(found.code).toBe(3);
    expect(missingOf(found.json)).toEqual({ [own]: 1, [b.peerId]: 2 });
    expect((await ask(node, '/api/v1/audits')).json).toEqual({ rows: [] });

    const args = ['audit', b.address, '--data', node.data, '--watch', '--interval', '1s', '--json'];
    const watch = new LacunaProcess(args);
    await watch.until(() => (watch.events.length >= 2 ? true : undefined));
    watch.kill('SIGTERM');
    expect((await watch.ended).code).toBe(3);
    const { json } = await lacunaJson(['audit', '--history', '--data', node.data]);
    const rows = json['rows'] as JsonObject[];
    expect(rows.length).toBeGreaterThanOrEqual(2);
    expect(rows[0]).toMatchObject({ agree: false, total: 300 });
    const metrics = samplesOf(await (await fetch(`${node.http}/metrics`)).text());
    const values = (name: string): Record<string, number> =>
      Object.fromEntries(
        metrics.filter((one) => one.name === name).map((one) => [one.labels['node'], one.value]),
      );
    expect(values('lacuna_audit_missing')).toEqual({ [own]: 1, [b.peerId]: 2 });
    expect(values('lacuna_audit_node_up')).toEqual({ [own]: 1, [b.peerId]: 1 });

    // Interrupted, it has found no agreement.
    let dials = 0;
    const silent = createServer(() => {
      dials += 1;
    }).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const mute = b.address.replace(/tcp\/\d+/, `tcp/${port}`).replace(b.peerId, UNMET);
    const interrupted = new LacunaProcess(['audit', mute, '--data', node.data]);
    await expect.poll(() => dials, { timeout: 10_000 }).toBeGreaterThan(0);
    interrupted.kill('SIGINT');
    const stopped = await interrupted.ended;
    silent.close();
    expect([stopped.code, failureCode(stopped)]).toEqual([1, 'SESSION_ABORTED']);
    // What it found is to be explained.
    const absent = await lacunaJson(['explain', hashOf(3), '--data', node.data]);
    expect(absent).toMatchObject({ code: 0, json: { state: 'missing', missing: { askedPeers: [] } } });

    const refused = async (body: unknown): Promise<unknown> =>
      (await ask(node, '/api/v1/audit', body)).status;
    expect(await refused({ peers: [] })).toBe(400);
    expect(await refused({ peers: ['nobody'] })).toBe(400);
    expect(await refused({ peers: [b.address], bucket: '0s' })).toBe(400);
    expect(await refused({ peers: [b.address], bucket: '1ms' })).toBe(200);
    expect(await refused({ peers: [b.address], push: true })).toBe(400);
    expect(await refused({ peers: [b.address], since: 'now', until: '1h' })).toBe(400);
  });
});
