/** Lacuna and a stock nwaku, each in either role: every difference is found and moved, on nwaku's own terms. */
import { afterEach, describe, expect, it } from 'vitest';
import type { WakuMessage } from '../../src/core/message.ts';
import { ago, digestOf, exported, lineOf, makeMessage, makeMessages, text } from './message-lines.ts';
import { stopPlainHosts } from './plain-host.ts';
import {
  endAll,
  errorCode,
  type JsonObject,
  lacuna,
  lacunaJson,
  type RunningNode,
  sessionOf,
  startNode,
  temporaryFolder,
} from './process.ts';
import { StockNwakuPeer, type StockPeerInit } from './stock-nwaku-peer.ts';

afterEach(async () => {
  await endAll();
  await stopPlainHosts();
});

interface Parts {
  readonly both: readonly WakuMessage[];
  readonly here: readonly WakuMessage[];
  readonly there: readonly WakuMessage[];
}

/** 900 messages of the last fifty minutes, of which each side lacks some. */
function spread(): Parts {
  return parted(makeMessages(900, ago(60_000), 3_000_000_000n));
}

/** Bursts: 40 moments with 60 messages each, more than stock nwaku tells apart under one time. */
function bursts(): Parts {
  const moments = Array.from({ length: 40 }, (_, index) => ago(90_000 + index * 45_000));
  const messages = moments.flatMap((timestamp) =>
    Array.from({ length: 60 }, (_, seed) => makeMessage({ timestamp, seed })),
  );
  return parted(messages);
}

/** One moment with more messages than fit into one item set of a stock node. */
function denseMoment(): Parts {
  const timestamp = ago(600_000);
  return parted(Array.from({ length: 450 }, (_, seed) => makeMessage({ timestamp, seed })));
}

function parted(messages: readonly WakuMessage[]): Parts {
  return {
    both: messages.filter((_, index) => index % 7 > 1),
    here: messages.filter((_, index) => index % 7 === 0),
    there: messages.filter((_, index) => index % 7 === 1),
  };
}

async function meet(
  parts: Parts,
  init: StockPeerInit = {},
  args: readonly string[] = [],
): Promise<{ node: RunningNode; stock: StockNwakuPeer }> {
  const data = await temporaryFolder();
  const own = [...parts.both, ...parts.here].map(lineOf);
  const { json } = await lacunaJson(['import', '-', '--data', data], { input: text(own) });
  expect(json).toMatchObject({ stored: own.length });
  const stock = await StockNwakuPeer.start(init);
  stock.add(...parts.both, ...parts.there);
  return { node: await startNode(data, ['--cluster-id', '16', ...args]), stock };
}

/** Both hold everything, byte for byte. */
async function expectWhole(
  node: RunningNode,
  stock: StockNwakuPeer,
  messages: readonly WakuMessage[],
): Promise<void> {
  const whole = digestOf(exported(messages.map(lineOf)));
  expect(digestOf(exported(stock.lines))).toEqual(whole);
  node.process.kill('SIGTERM');
  expect((await node.process.ended).code).toBe(0);
  expect(digestOf((await lacuna(['export', '--data', node.data])).stdout)).toEqual(whole);
}

function all({ both, here, there }: Parts): WakuMessage[] {
  return [...both, ...here, ...there];
}

async function until(reached: () => boolean, ms = 20_000): Promise<void> {
  for (const deadline = Date.now() + ms; !reached(); ) {
    if (Date.now() > deadline) throw new Error(`not reached within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

const SETS: readonly [string, () => Parts][] = [
  ['spread over the hour', spread],
  ['in bursts under one timestamp', bursts],
  ['all but a few under one and the same timestamp', denseMoment],
];

describe('Lacuna visits a stock nwaku', () => {
  it.each(SETS)('and both are whole afterwards: %s', async (_, make) => {
    const parts = make();
    const { node, stock } = await meet(parts);
    const session = await sessionOf(node, stock.address);
    expect(session).toMatchObject({
      peer: stock.peerId,
      dialect: 'waku',
      need: parts.there.length,
      received: parts.there.length,
      have: parts.here.length,
      missing: 0,
      refused: 0,
      verified: true,
    });
    await expectWhole(node, stock, all(parts));
  });

  it('over mplex, where it speaks nothing else', async () => {
    const parts = spread();
    const { node, stock } = await meet(parts, { muxer: 'mplex' });
    const session = await sessionOf(node, stock.address);
    expect(session).toMatchObject({ received: parts.there.length, missing: 0, verified: true });
    await expectWhole(node, stock, all(parts));
  });

  it('again and again: its transfer stream serves every session and is never waited for', async () => {
    const parts = spread();
    const { node, stock } = await meet(parts);
    await sessionOf(node, stock.address);
    const more = makeMessages(30, ago(30_000), 100_000_000n, { seed: 'more' });
    stock.add(...more.slice(0, 20));
    const second = await sessionOf(node, stock.address);
    expect(second).toMatchObject({ received: 20, missing: 0, verified: true });
    stock.add(...more.slice(20));
    const third = await sessionOf(node, stock.address);
    expect(third).toMatchObject({ received: 10, missing: 0, verified: true });
    expect(Number(third['durationMs'])).toBeLessThan(9_000);
    expect(stock.transfersOpened).toBe(1);
    await expectWhole(node, stock, [...all(parts), ...more]);
  });

  it('within the last hour only, where nothing else is asked for', async () => {
    const old = makeMessages(20, ago(3 * 3_600_000), 1_000_000_000n);
    const recent = makeMessages(20, ago(60_000), 1_000_000_000n);
    const { node, stock } = await meet({ both: [], here: [...old, ...recent], there: [] });
    expect(await sessionOf(node, stock.address)).toMatchObject({ sent: recent.length, verified: true });
    expect(digestOf(exported(stock.lines))).toEqual(digestOf(exported(recent.map(lineOf))));
  });

  it('and tells of a window that it does not serve that nothing was verified', async () => {
    const { node, stock } = await meet({
      both: [],
      here: makeMessages(5, ago(9_000_000), 1_000n),
      there: [],
    });
    const session = await sessionOf(node, stock.address, { since: '5h', until: '2h' });
    expect(session).toMatchObject({ verified: false });
  });

  it('and keeps back a message whose frame would end its stream, but nothing else', async () => {
    const messages = makeMessages(40, ago(60_000), 1_000_000_000n);
    const large = makeMessage({ timestamp: ago(120_000), payloadBytes: 150 * 1_024 - 20 });
    const { node, stock } = await meet({ both: [], here: [...messages, large], there: [] });
    const session = await sessionOf(node, stock.address);
    expect(session).toMatchObject({
      sent: messages.length,
      verified: false,
      refusals: { TRANSFER_TOO_LARGE: expect.any(Number) },
    });
    expect(digestOf(exported(stock.lines))).toEqual(digestOf(exported(messages.map(lineOf))));
  });

  it('about its topics only', async () => {
    const mine = makeMessages(30, ago(60_000), 1_000_000_000n, { contentTopic: '/mine' });
    const other = makeMessages(30, ago(60_000), 1_000_000_000n, { contentTopic: '/other' });
    const parts = {
      both: [],
      here: [...mine.slice(0, 15), ...other.slice(0, 15)],
      there: [...mine.slice(15), ...other.slice(15)],
    };
    const { node, stock } = await meet(parts, { contentTopics: ['/mine'] });
    expect(await sessionOf(node, stock.address)).toMatchObject({ received: 15, sent: 15, verified: true });
    expect(stock.lines).toHaveLength(45);
  });
});

describe('a stock nwaku visits Lacuna', () => {
  it.each(SETS)('and both are whole afterwards: %s', async (_, make) => {
    const parts = make();
    const { node, stock } = await meet(parts);
    const wanted = all(parts).length;
    // Its own policy may need another interval where bursts hide from it.
    await stock.synchronise(node.address);
    await until(() => stock.lines.length === wanted);
    const session = await ended(node);
    expect(session).toMatchObject({ role: 'responder', peer: stock.peerId, missing: 0, refused: 0 });
    await expectWhole(node, stock, all(parts));
  });

  it('over mplex', async () => {
    const parts = spread();
    const { node, stock } = await meet(parts, { muxer: 'mplex' });
    await stock.synchronise(node.address);
    await until(() => stock.lines.length === all(parts).length);
    expect(await ended(node)).toMatchObject({ missing: 0, received: parts.there.length });
    await expectWhole(node, stock, all(parts));
  });

  it('with large messages, more than any buffer holds, over yamux and mplex', async () => {
    for (const muxer of ['yamux', 'mplex'] as const) {
      const there = makeMessages(200, ago(60_000), 1_000_000_000n, { payloadBytes: 120_000 });
      const parts = { both: [], here: [], there };
      const { node, stock } = await meet(parts, { muxer });
      await stock.synchronise(node.address);
      const session = await ended(node);
      expect([muxer, session]).toMatchObject([muxer, { received: there.length, refused: 0, missing: 0 }]);
      await expectWhole(node, stock, there);
    }
  });

  it('every five minutes: one stream for all that it sends', async () => {
    const parts = spread();
    const { node, stock } = await meet(parts);
    await stock.synchronise(node.address);
    await ended(node);
    const more = makeMessages(20, ago(30_000), 100_000_000n, { seed: 'more' });
    stock.add(...more);
    await stock.synchronise(node.address);
    await node.process.event(({ event, received }) => event === 'session' && received === more.length);
    expect(stock.transfersOpened).toBe(1);
    await expectWhole(node, stock, [...all(parts), ...more]);
  });
});

async function ended(node: RunningNode): Promise<JsonObject> {
  const session = await node.process.event(({ event, role }) => event === 'session' && role === 'responder');
  expect(errorCode(session)).toBeUndefined();
  return session;
}
