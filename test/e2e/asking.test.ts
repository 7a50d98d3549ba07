/** Lacuna asks a store node that is not one: by hand, for a session, and as the peer of a running node. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Libp2p, Stream } from '@libp2p/interface';
import { afterEach, describe, expect, it } from 'vitest';
import type { WakuMessage } from '../../src/core/message.ts';
import type { FrameChannel } from '../../src/ports.ts';
import { systemClock } from '../../src/system.ts';
import { NaiveStore, type NaiveStoreInit, refusal } from '../sync/query/naive-store.ts';
import {
  ago,
  exported,
  hashOf,
  lineOf,
  makeMessage,
  makeMessages,
  PUBSUB_TOPIC,
  text,
} from './message-lines.ts';
import { addressOf, FrameReader, frameOf, send, startPlainHost, stopPlainHosts } from './plain-host.ts';
import {
  endAll,
  failureCode,
  LacunaProcess,
  lacuna,
  lacunaJson,
  startNode,
  temporaryFolder,
} from './process.ts';

const PROGRAM = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const STORE_QUERY = '/vac/waku/store-query/3.0.0';

afterEach(async () => {
  await endAll();
  await stopPlainHosts();
});

/** A stream as a channel, without any code of ours in between. */
function channelOf(stream: Stream): FrameChannel {
  const reader = new FrameReader(stream);
  return {
    read: (timeoutMs) => reader.read(timeoutMs),
    readMany: async () => undefined,
    write: async (frames) => {
      for (const frame of frames) await send(stream, frameOf(frame));
    },
    close: () => stream.close(),
    abort: (reason) => stream.abort(reason),
  };
}

async function storeNode(messages: readonly WakuMessage[], init: NaiveStoreInit = {}) {
  const node = new NaiveStore(messages, systemClock, { endIncluded: true, ...init });
  const host: Libp2p = await startPlainHost();
  await host.handle(STORE_QUERY, (stream) => node.serve(channelOf(stream)), { maxInboundStreams: 32 });
  return { node, address: addressOf(host) };
}

/** Where commands keep what they need while they run. */
async function leftovers(): Promise<string[]> {
  return (await readdir(tmpdir())).filter((name) => name.startsWith('lacuna-query-'));
}

describe('query', () => {
  const messages = makeMessages(250, ago(30_000), 3_000_000_000n);
  const lines = messages.map(lineOf);
  const ordered = exported(lines);

  it('prints what the peer has as message lines, either way, and by hash, and leaves nothing behind', async () => {
    const { address } = await storeNode(messages);
    const data = await temporaryFolder();
    const before = await leftovers();
    const ascending = await lacuna(['query', address, '--data', data, '--ascending', '--page-size', '90']);
    expect([ascending.code, ascending.stdout]).toEqual([0, ordered]);
    expect(ascending.stderr).toMatch(/^250 messages in 3 requests/);
    const back = await lacuna(['query', address, '--data', data, '--hashes', '--pubsub-topic', PUBSUB_TOPIC]);
    const hashes = messages.map(hashOf).reverse();
    expect(back.stdout).toBe(text(hashes));
    const some = ['--hash', hashes[7]!, '--hash', hashes[9]!, '--hash', `0x${'ab'.repeat(32)}`];
    const found = await lacuna(['query', address, '--data', data, '--json', ...some]);
    expect(found.stdout.trim().split('\n').sort()).toEqual([lines.at(-8), lines.at(-10)].sort());
    expect(JSON.parse(found.stderr.trim().split('\n').at(-1)!)).toMatchObject({
      event: 'summary',
      messages: 2,
      requests: 1,
    });
    expect(await readdir(data)).toEqual([]);
    expect(await leftovers()).toEqual(before);
  });

  it('says what it is refused, and what it does not understand', async () => {
    const { address } = await storeNode([], { odd: () => refusal(400, 'not this') });
    const refused = await lacuna(['query', address]);
    expect([refused.code, failureCode(refused)]).toEqual([1, 'QUERY_REFUSED']);
    for (const wrong of [
      ['--hash', '0x12'],
      ['--page-size', '101'],
      ['--since', '1h', '--until', '2h'],
    ]) {
      expect((await lacuna(['query', address, ...wrong])).code).toBe(2);
    }
    const mute = addressOf(await startPlainHost());
    expect(failureCode(await lacuna(['query', mute]))).toBe('PEER_PROTOCOL');
  });

  it('ends when it is told to, and when nobody reads on', async () => {
    const { address } = await storeNode(messages, { pageMax: 5 });
    const before = await leftovers();
    const running = new LacunaProcess(['query', address]);
    await running.until(() => (running.events.length >= 10 ? true : undefined));
    running.kill('SIGINT');
    const ended = await running.ended;
    expect([ended.code, failureCode(ended)]).toEqual([1, 'SESSION_ABORTED']);
    expect(ended.stderr).toMatch(/^\d+ messages in \d+ requests/);
    const piped = spawn('sh', ['-c', `"${process.execPath}" "${PROGRAM}" query "${address}" | head -1`]);
    const [code] = (await once(piped, 'close')) as [number];
    expect(code).toBe(0);
    expect(await leftovers()).toEqual(before);
  });
});

describe('a store node that does not reconcile', () => {
  it('is synchronised with by asking it: of a command, and of a running node', async () => {
    const recent = makeMessages(120, ago(60_000), 60_000_000_000n);
    const old = makeMessage({ timestamp: ago(40 * 24 * 3_600_000) });
    const { address, node } = await storeNode([old, ...recent]);
    const data = await temporaryFolder();
    const { code, json } = await lacunaJson(['sync', address, '--data', data]);
    expect([code, json['dialect']]).toEqual([0, 'query']);
    expect(json).toMatchObject({ need: 121, received: 121, missing: 0, complete: true, verified: true });
    const kept = await lacuna(['export', '--data', data]);
    expect(kept.stdout).toBe(exported([old, ...recent].map(lineOf)));
    const pushed = await lacuna(['sync', address, '--data', data, '--direction', 'push']);
    expect([pushed.code, failureCode(pushed)]).toEqual([1, 'QUERY_PULL_ONLY']);

    const asked = node.requests.length;
    const second = await temporaryFolder();
    const running = await startNode(second, ['--peer', address]);
    const session = await running.process.event(
      ({ event, complete }) => event === 'session' && complete === true,
    );
    expect(session).toMatchObject({ dialect: 'query', received: 121 });
    expect(node.requests.length).toBeGreaterThan(asked);
  });
});

describe('a Lacuna that is asked as any store is', () => {
  const messages = makeMessages(330, ago(2 * 3_600_000), 20_000_000_000n);
  const lines = messages.map(lineOf);
  // Of one moment, so that a page ends between them.
  const together = Array.from({ length: 150 }, (_, nth) =>
    lineOf(makeMessage({ timestamp: ago(26 * 3_600_000), seed: `together ${nth}` })),
  );

  it('gives a session all that it has, and a reader what was asked for', async () => {
    const data = await temporaryFolder();
    await lacunaJson(['import', '-', '--data', data], { input: text([...lines, ...together]) });
    const { address } = await startNode(data);
    const own = await temporaryFolder();
    await lacunaJson(['import', '-', '--data', own], { input: text(lines.slice(0, 300)) });

    const args = ['sync', address, '--data', own, '--dialect', 'query'];
    const first = await lacunaJson(args);
    expect(first).toMatchObject({
      code: 0,
      json: { dialect: 'query', need: 180, received: 180, missing: 0, complete: true, verified: true },
    });
    const here = await lacuna(['export', '--data', own]);
    expect(here.stdout).toBe(exported([...lines, ...together]));
    const again = await lacunaJson(args);
    expect(again).toMatchObject({ code: 0, json: { need: 0, received: 0, complete: true, verified: true } });

    // It named no cluster, and so it is of that of any topic.
    const read = await lacuna(['query', address, '--ascending', '--pubsub-topic', PUBSUB_TOPIC]);
    expect([read.code, read.stdout]).toEqual([0, exported([...lines, ...together])]);
  });
});
