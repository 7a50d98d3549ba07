/**
 * Two stores over real sockets: a node that serves and a `sync` that visits it. What both hold afterwards is told
 * by their exports, byte for byte.
 */
import { join } from 'node:path';
import { ClassicLevel } from 'classic-level';
import { afterEach, describe, expect, it } from 'vitest';
import { CHAT_TOPICS, chatLines, digestOf, exported, keyOf, text } from './message-lines.ts';
import {
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

const lines = chatLines();
/** Two halves that share 800 messages. */
const first = lines.slice(0, 2_000);
const second = lines.slice(1_200);

const SESSION_KEYS = [
  'peer',
  'dialect',
  'since',
  'until',
  'rounds',
  'bytesSent',
  'bytesReceived',
  'have',
  'need',
  'received',
  'sent',
  'refused',
  'missing',
  'verified',
  'durationMs',
];

interface Pair {
  readonly node: RunningNode;
  readonly nodeData: string;
  readonly data: string;
}

/** A running node with the first lines, and a folder with the others. */
async function pair(served: readonly string[], own: readonly string[]): Promise<Pair> {
  const [nodeData, data] = [await temporaryFolder(), await temporaryFolder()];
  await Promise.all([fill(nodeData, served), fill(data, own)]);
  return { node: await startNode(nodeData, ['--http', 'off']), nodeData, data };
}

async function fill(data: string, content: readonly string[]): Promise<void> {
  const { code, json } = await lacunaJson(['import', '-', '--data', data], { input: text(content) });
  expect({ code, ...json }).toMatchObject({ code: 0, read: content.length, refused: 0 });
}

async function stop({ process }: RunningNode): Promise<Ended> {
  process.kill('SIGTERM');
  return await process.ended;
}

async function exportOf(data: string, ...args: string[]): Promise<string> {
  const { code, stdout } = await lacuna(['export', '--data', data, ...args]);
  expect(code).toBe(0);
  return stdout;
}

async function sync(
  data: string,
  peer: string,
  ...args: string[]
): Promise<{ code: unknown; json: JsonObject }> {
  return await lacunaJson(['sync', '--data', data, ...args, peer]);
}

const DIALECTS = ['native', 'waku'] as const;

describe.each(DIALECTS)('two stores with a part of a month each, in the %s dialect,', (dialect) => {
  const spoken = ['--dialect', dialect];

  it('are the same, and whole, after one sync', async () => {
    const { node, nodeData, data } = await pair(first, second);

    const { code, json } = await sync(data, node.address, ...spoken);
    expect(code).toBe(0);
    expect(Object.keys(json)).toEqual(expect.arrayContaining(SESSION_KEYS));
    expect(json).toMatchObject({
      peer: node.peerId,
      dialect,
      have: lines.length - first.length,
      need: lines.length - second.length,
      received: lines.length - second.length,
      sent: lines.length - first.length,
      refused: 0,
      missing: 0,
      verified: true,
    });

    const again = await sync(data, node.address, ...spoken);
    expect(again).toMatchObject({
      code: 0,
      json: { have: 0, need: 0, received: 0, sent: 0, verified: true },
    });
    const dry = await sync(data, node.address, ...spoken, '--dry-run');
    expect(dry).toMatchObject({ code: 0, json: { have: 0, need: 0 } });

    const ended = await stop(node);
    expect(ended.code).toBe(0);
    const [here, there] = await Promise.all([exportOf(data), exportOf(nodeData)]);
    expect(digestOf(here)).toEqual(digestOf(exported(lines)));
    expect(digestOf(there)).toEqual(digestOf(here));

    const [hashes, verified] = await Promise.all([
      exportOf(data, '--hashes'),
      lacunaJson(['verify', '--data', nodeData]),
    ]);
    const counted = await lacunaJson(['count', '--data', nodeData, '--by', 'content-topic']);
    expect(hashes).toBe(
      text(
        here
          .trimEnd()
          .split('\n')
          .map((line) => keyOf(line).hash),
      ),
    );
    expect(verified).toEqual({ code: 0, json: { checked: lines.length, damaged: 0, repaired: 0 } });
    expect(counted.json).toMatchObject({
      rows: [
        { bucket: CHAT_TOPICS.chat, messages: 666, bytes: expect.any(Number) },
        { bucket: CHAT_TOPICS.presence, messages: 2_664, bytes: expect.any(Number) },
      ],
      total: lines.length,
    });
  });

  it('are told apart by a dry run, which moves nothing and ends with 3', async () => {
    const { node, nodeData, data } = await pair(first, second);
    const { code, json } = await sync(data, node.address, ...spoken, '--dry-run');
    expect(code).toBe(3);
    expect(json).toMatchObject({ have: 1_330, need: 1_200, received: 0, sent: 0 });
    expect(Object.keys(json)).toEqual(expect.arrayContaining(SESSION_KEYS));
    await stop(node);
    expect(digestOf(await exportOf(data))).toEqual(digestOf(exported(second)));
    expect(digestOf(await exportOf(nodeData))).toEqual(digestOf(exported(first)));
  });

  it('exchange in one direction only, where one is asked for', async () => {
    const { node, nodeData, data } = await pair(first, second);
    const pulled = await sync(data, node.address, ...spoken, '--direction', 'pull');
    expect(pulled).toMatchObject({ code: 0, json: { received: 1_200, sent: 0, missing: 0 } });
    expect(digestOf(await exportOf(data))).toEqual(digestOf(exported(lines)));
    const pushed = await sync(data, node.address, ...spoken, '--direction', 'push');
    expect(pushed).toMatchObject({ code: 0, json: { received: 0, sent: 1_330 } });
    await stop(node);
    expect(digestOf(await exportOf(nodeData))).toEqual(digestOf(exported(lines)));
  });

  it('push without taking anything, even what the peer offers', async () => {
    const { node, nodeData, data } = await pair(first, second);
    const pushed = await sync(data, node.address, ...spoken, '--direction', 'push');
    expect(pushed).toMatchObject({ code: 0, json: { received: 0, sent: 1_330 } });
    await stop(node);
    expect(digestOf(await exportOf(data))).toEqual(digestOf(exported(second)));
    expect(digestOf(await exportOf(nodeData))).toEqual(digestOf(exported(lines)));
  });
});

describe('a sync of a part', () => {
  it.each(DIALECTS)('touches the named topics only, in the %s dialect', async (dialect) => {
    const { node, nodeData, data } = await pair(first, second);
    const { code, json } = await sync(
      data,
      node.address,
      '--dialect',
      dialect,
      '--content-topic',
      CHAT_TOPICS.chat,
    );
    expect(code).toBe(0);
    const chat = (line: string): boolean => line.includes(`"${CHAT_TOPICS.chat}"`);
    expect(json).toMatchObject({
      verified: true,
      missing: 0,
      received: first.filter(chat).length - overlap(chat),
    });
    await stop(node);
    expect(digestOf(await exportOf(data))).toEqual(digestOf(exported([...second, ...first.filter(chat)])));
    expect(digestOf(await exportOf(nodeData))).toEqual(
      digestOf(exported([...first, ...second.filter(chat)])),
    );
  });

  it('takes several topics, each with its own flag, before and after the peers', async () => {
    const { node, nodeData, data } = await pair(first, second);
    const topics = Object.values(CHAT_TOPICS).flatMap((topic) => ['--content-topic', topic]);
    const ended = await lacuna(['sync', '--json', '--data', data, ...topics, node.address]);
    expect(ended.code).toBe(0);
    await stop(node);
    expect(digestOf(await exportOf(data))).toEqual(digestOf(exported(lines)));
    expect(digestOf(await exportOf(nodeData, ...topics))).toEqual(digestOf(exported(lines)));
  });

  it.each(DIALECTS)(
    'touches the named window only, its end not included, in the %s dialect',
    async (dialect) => {
      const { node, nodeData, data } = await pair(first, second);
      const times = lines.map((line) => keyOf(line).timestamp).sort((a, b) => (a < b ? -1 : 1));
      const [since, until] = [times[900]!, times[2_100]!];
      const inside = (line: string): boolean => {
        const { timestamp } = keyOf(line);
        return timestamp >= since && timestamp < until;
      };
      const { code, json } = await sync(
        data,
        node.address,
        ...['--dialect', dialect, '--since', String(since), '--until', String(until)],
      );
      expect(code).toBe(0);
      expect(json).toMatchObject({ verified: true, missing: 0 });
      await stop(node);
      expect(digestOf(await exportOf(data))).toEqual(
        digestOf(exported([...second, ...first.filter(inside)])),
      );
      expect(digestOf(await exportOf(nodeData))).toEqual(
        digestOf(exported([...first, ...second.filter(inside)])),
      );
    },
  );

  it('of a topic that the peer does not cover says so', async () => {
    const data = await temporaryFolder();
    const node = await startNode(await temporaryFolder(), [
      '--http',
      'off',
      '--content-topic',
      CHAT_TOPICS.chat,
    ]);
    await fill(data, second);
    const { code, json } = await sync(data, node.address, '--content-topic', CHAT_TOPICS.presence);
    expect(code).toBe(1);
    expect(errorCode(json)).toBe('SESSION_SCOPE');
  });
});

describe('sync with peers that cannot be visited', () => {
  it('names the code, ends with 1, and goes on with the next peer', async () => {
    const { node, data } = await pair(first, second);
    const gone = await startNode(await temporaryFolder(), ['--http', 'off']);
    await stop(gone);
    const ended = await lacuna(['sync', '--json', '--data', data, gone.address, node.address]);
    expect(ended.code).toBe(1);
    const [failed, done] = ended.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as JsonObject);
    expect(errorCode(failed!)).toBe('PEER_UNREACHABLE');
    expect(failureCode(ended)).toBe('PEER_UNREACHABLE');
    expect(done).toMatchObject({ peer: node.peerId, verified: true });
  });

  it('tells a wrong peer id from an address where nobody listens', async () => {
    const { node, data } = await pair([], second);
    const other = await startNode(await temporaryFolder(), ['--http', 'off']);
    const wrong = node.address.replace(node.peerId, other.peerId);
    const { code, json } = await sync(data, wrong);
    expect(code).toBe(1);
    expect(errorCode(json)).toBe('PEER_IDENTITY');
  });
});

describe('wrong usage ends with 2', () => {
  const address = '/ip4/127.0.0.1/tcp/1/p2p/12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo';
  it.each([
    ['an unknown command', ['synchronise']],
    ['no peer', ['sync']],
    ['a peer that is no multiaddr', ['sync', 'localhost:60000']],
    ['a peer without an id', ['sync', '/ip4/127.0.0.1/tcp/60000']],
    ['an unknown option', ['sync', '--fast', address]],
    ['an unknown direction', ['sync', '--direction', 'sideways', address]],
    ['a dialect that is not spoken', ['sync', '--dialect', 'gossip', address]],
    ['a time that is none', ['export', '--since', 'yesterday']],
    ['an empty window', ['sync', '--since', '1h', '--until', '2h', address]],
    ['an empty window to count', ['count', '--since', '1h', '--until', '2h']],
    ['an empty window to export', ['export', '--since', '1h', '--until', '1h']],
    ['no file', ['import']],
  ])('%s', async (_, args) => {
    const data = await temporaryFolder();
    const ended = await lacuna([...args, '--data', data]);
    expect(ended.code).toBe(2);
    expect(ended.stdout).toBe('');
  });
});

function overlap(fits: (line: string) => boolean): number {
  return first.filter((line) => fits(line) && second.includes(line)).length;
}

describe('a damaged store', () => {
  it('is found by verify, which ends with 3, repaired, and healed by a peer', async () => {
    const { node, data } = await pair(lines, lines);
    await damage(data, 2);

    const found = await lacunaJson(['verify', '--data', data]);
    expect(found).toEqual({ code: 3, json: { checked: lines.length, damaged: 2, repaired: 0 } });
    const repaired = await lacunaJson(['verify', '--data', data, '--repair']);
    expect(repaired.code).toBe(0);
    expect(repaired.json['repaired']).toBe(repaired.json['damaged']);
    const healed = await sync(data, node.address);
    expect(healed).toMatchObject({ code: 0, json: { received: 2, verified: true } });
    expect(digestOf(await exportOf(data))).toEqual(digestOf(exported(lines)));
    expect((await lacunaJson(['verify', '--data', data])).code).toBe(0);
  });

  it('is never served: export and peers get what hashes to its identity, and the rest comes back', async () => {
    const { node, nodeData, data } = await pair(lines, []);
    await stop(node);
    await damage(nodeData, 3);
    const damaged = await startNode(nodeData, ['--http', 'off']);
    const { json } = await sync(data, damaged.address);
    expect(json).toMatchObject({ received: lines.length - 3 });
    await stop(damaged);
    const whole = new Set(lines);
    for (const line of (await exportOf(data)).trimEnd().split('\n')) expect(whole.has(line)).toBe(true);
  });
});

/** Flips one bit in some stored messages, as a disk may. */
async function damage(data: string, messages: number): Promise<void> {
  const level = new ClassicLevel<Uint8Array, Uint8Array>(join(data, 'store'), {
    keyEncoding: 'view',
    valueEncoding: 'view',
    createIfMissing: false,
  });
  const range = { gte: Uint8Array.of(1, MESSAGE_KEY), lt: Uint8Array.of(1, MESSAGE_KEY + 1) };
  const victims = (await level.iterator(range).all()).slice(500, 500 + messages);
  expect(victims).toHaveLength(messages);
  for (const [key, value] of victims) {
    value[value.length >> 1]! ^= 4;
    await level.put(key, value);
  }
  await level.close();
}

const MESSAGE_KEY = 'm'.charCodeAt(0);
