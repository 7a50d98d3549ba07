/**
 * Sessions between Lacunas in their own dialect, through the commands and between running nodes: which dialect is
 * spoken with whom, several peers at once, caps, rates, and what it costs to find that nothing has changed.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { configSchema } from '../../src/config.ts';
import { LacunaError } from '../../src/errors.ts';
import { LacunaNode } from '../../src/node.ts';
import { LevelMessageStore } from '../../src/store/message-store.ts';
import { Ingest } from '../../src/sync/ingest.ts';
import type { SessionResult } from '../../src/sync/session.ts';
import { silentLogger, systemClock, systemSha256 } from '../../src/system.ts';
import { parseMessageLine } from '../../src/wire/message-line.ts';
import { ago, digestOf, exported, lineOf, makeMessage, makeMessages, text } from './message-lines.ts';
import { stopPlainHosts } from './plain-host.ts';
import {
  type Ended,
  endAll,
  errorCode,
  failureCode,
  type JsonObject,
  lacuna,
  lacunaJson,
  memoryOf,
  type RunningNode,
  sessionOf,
  startNode,
  temporaryFolder,
} from './process.ts';
import { StockNwakuPeer } from './stock-nwaku-peer.ts';

const visitors: LacunaNode[] = [];
afterEach(async () => {
  await Promise.all(visitors.splice(0).map((visitor) => visitor.stop()));
  await endAll();
  await stopPlainHosts();
});

/** 3,000 messages of the last fifty minutes. */
const lines = makeMessages(3_000, ago(60_000), 1_000_000_000n, { payloadBytes: 200 }).map(lineOf);

/** A folder with these messages; filled here, as a process for each takes longer than many a session. */
async function filled(content: readonly string[]): Promise<string> {
  const directory = await temporaryFolder();
  const own = { clock: systemClock, log: silentLogger, sha256: systemSha256 };
  const store = await LevelMessageStore.open({ directory, create: true, ...own });
  const ingest = new Ingest(store, systemClock, systemSha256);
  const stored = content.map((line) => {
    const { message, hash } = parseMessageLine(line);
    const admission = ingest.examine(message, 0, hash);
    if ('refused' in admission) throw new Error(admission.refused);
    return admission.stored;
  });
  expect(await ingest.append(stored)).toMatchObject({ stored: content.length });
  await store.close();
  return directory;
}

async function nodeWith(content: readonly string[], ...args: string[]): Promise<RunningNode> {
  return await startNode(await filled(content), args);
}

async function stop({ process }: RunningNode): Promise<Ended> {
  process.kill('SIGTERM');
  return await process.ended;
}

async function expectHeld(data: string, content: readonly string[]): Promise<void> {
  const { stdout } = await lacuna(['export', '--data', data]);
  expect(digestOf(stdout)).toEqual(digestOf(exported(content)));
}

/** A `sync` with one peer. */
async function sync(
  data: string,
  peer: string,
  ...args: string[]
): Promise<{ code: unknown; json: JsonObject }> {
  return await lacunaJson(['sync', '--data', data, ...args, peer]);
}

/** A `sync` with several peers: its end, and a line of JSON for each, in the order in which they ended. */
async function syncAll(
  data: string,
  peers: readonly string[],
  ...args: string[]
): Promise<{ ended: Ended; sessions: JsonObject[] }> {
  const ended = await lacuna(['sync', '--json', '--data', data, ...args, ...peers]);
  const sessions = ended.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as JsonObject);
  return { ended, sessions };
}

function sumOf(sessions: readonly JsonObject[], field: string): number {
  return sessions.reduce((sum, session) => sum + Number(session[field] ?? 0), 0);
}

describe('the dialect', () => {
  it('of two Lacunas is their own, unless the old one is asked for, and both move the same', async () => {
    const node = await nodeWith(lines.slice(0, 2_000));
    for (const [args, dialect, sent] of [
      [['--direction', 'pull'], 'native', 0],
      [['--direction', 'pull', '--dialect', 'native'], 'native', 0],
      [['--dialect', 'waku'], 'waku', 500],
    ] as const) {
      const data = await filled(lines.slice(1_500, 2_500));
      const session = await sync(data, node.address, ...args);
      expect(session).toMatchObject({
        code: 0,
        json: { dialect, need: 1_500, received: 1_500, have: 500, sent, missing: 0 },
      });
      await expectHeld(data, lines.slice(0, 2_500));
    }
    const served = await node.process.until(() => {
      const sessions = node.process.events.filter(({ event }) => event === 'session');
      return sessions.length >= 3 ? sessions : undefined;
    });
    // The old one may verify in a session of its own.
    const dialects = served.map(({ dialect }) => dialect);
    expect(dialects.slice(0, 3)).toEqual(['native', 'native', 'waku']);
    expect(dialects.lastIndexOf('native')).toBe(1);
    for (const { role } of served) expect(role).toBe('responder');
  });

  it('of a running node is the one that is asked for, too', async () => {
    const [node, peer] = [await nodeWith(lines.slice(0, 900)), await nodeWith(lines.slice(600, 1_500))];
    const waku = await sessionOf(node, peer.address, { dialect: 'waku', dryRun: true });
    expect(waku).toMatchObject({ dialect: 'waku', have: 600, need: 600, received: 0 });
    const dry = await sync(node.data, peer.address, '--dialect', 'waku', '--dry-run');
    expect(dry).toMatchObject({ code: 3, json: { dialect: 'waku', have: 600, need: 600 } });
    const native = await sync(node.data, peer.address);
    expect(native).toMatchObject({
      code: 0,
      json: { dialect: 'native', sent: 600, received: 600, verified: true },
    });
    expect(await sessionOf(node, peer.address, { dialect: 'waku' })).toMatchObject({
      dialect: 'waku',
      have: 0,
      need: 0,
      verified: true,
    });
  });

  it('of a stock nwaku is the old one; the other is refused before anything else', async () => {
    const own = makeMessages(40, ago(60_000), 1_000_000_000n);
    const theirs = makeMessages(30, ago(60_000), 1_100_000_000n, { seed: 'theirs' });
    const stock = await StockNwakuPeer.start();
    stock.add(...theirs);
    const data = await filled(own.map(lineOf));
    const cluster = ['--cluster-id', '16'];

    const forced = await sync(data, stock.address, '--dialect', 'native', ...cluster);
    expect([forced.code, errorCode(forced.json)]).toEqual([1, 'PEER_PROTOCOL']);
    expect(stock.sessionsEnded).toBe(0);

    const session = await sync(data, stock.address, ...cluster);
    expect(session).toMatchObject({
      code: 0,
      json: { dialect: 'waku', received: theirs.length, sent: own.length, missing: 0, verified: true },
    });
    await expectHeld(data, [...own, ...theirs].map(lineOf));
  });

  it('of a Lacuna that does not offer the new one is the old one', async () => {
    const theirs = makeMessages(30, ago(60_000), 1_000_000_000n);
    const early = await StockNwakuPeer.start({ agent: 'lacuna/0.1.0' });
    early.add(...theirs);
    const data = await temporaryFolder();
    const cluster = ['--cluster-id', '16', '--since', '1h', '--until', '30s'];
    const session = await sync(data, early.address, ...cluster);
    expect(session).toMatchObject({
      code: 0,
      json: { dialect: 'waku', received: theirs.length, missing: 0 },
    });
    const forced = await sync(data, early.address, '--dialect', 'native', ...cluster);
    expect([forced.code, errorCode(forced.json)]).toEqual([1, 'PEER_PROTOCOL']);
  });
});

describe('a sync with three nodes at once', () => {
  /** The second thousand is nowhere else, the others in two places or three. */
  const parts = [lines.slice(0, 1_400), lines.slice(600, 2_500), lines.slice(1_900)];
  const own = lines.slice(500, 700);

  it('gets everything once, gives to each what it lacks, and tells of each', async () => {
    const peers = await Promise.all(parts.map((part) => nodeWith(part)));
    const data = await filled(own);
    const addresses = peers.map(({ address }) => address);

    const { ended, sessions } = await syncAll(data, addresses);
    expect(ended.code).toBe(0);
    expect(sessions.map(({ peer }) => peer).sort()).toEqual(peers.map(({ peerId }) => peerId).sort());
    expect(sumOf(sessions, 'received')).toBe(lines.length - own.length);
    for (const session of sessions) {
      expect(session).toMatchObject({ dialect: 'native', missing: 0, refused: 0, complete: true });
      expect(session['received']).toBeGreaterThan(0);
    }
    await expectHeld(data, lines);

    const again = await syncAll(data, addresses);
    expect(again.ended.code).toBe(0);
    expect(sumOf(again.sessions, 'received')).toBe(0);
    for (const session of again.sessions) expect(session).toMatchObject({ verified: true });
    await stop(peers[1]!);
    await expectHeld(peers[1]!.data, lines);
  });

  it('shares a gap that all of them could fill, through a running node too', async () => {
    // More than what one session asks for at once, 4 MiB: what one has been asked for is not asked of another.
    const gap = makeMessages(3_000, ago(60_000), 1_000_000n, { payloadBytes: 5_000 }).map(lineOf);
    const rate = ['--upload-rate', '4MB'];
    const peers = await Promise.all([0, 1, 2].map(() => nodeWith(gap, ...rate)));
    const node = await nodeWith([]);
    const { ended, sessions } = await syncAll(
      node.data,
      peers.map(({ address }) => address),
    );
    expect(ended.code).toBe(0);
    expect(sumOf(sessions, 'received')).toBe(gap.length);
    // A message came by one of them only, and none of them was idle.
    const sent = await Promise.all(
      peers.map(async ({ process }) => {
        const session = await process.event(({ event }) => event === 'session');
        return Number(session['sent']);
      }),
    );
    expect(sent.reduce((sum, count) => sum + count, 0)).toBe(gap.length);
    for (const count of sent) expect(count).toBeGreaterThan(gap.length / 20);
    for (const session of sessions) expect(session).toMatchObject({ missing: 0, verified: true });
  });

  it('of which one is down ends with 1, and with what the others have', async () => {
    const [first, second, third] = await Promise.all(parts.map((part) => nodeWith(part)));
    await stop(second!);
    const data = await filled(own);
    const addresses = [first!, second!, third!].map(({ address }) => address);
    const { ended, sessions } = await syncAll(data, addresses);
    expect(ended.code).toBe(1);
    expect(failureCode(ended)).toBe('PEER_UNREACHABLE');
    expect(sessions).toHaveLength(3);
    expect(sessions.map(errorCode).filter(Boolean)).toEqual(['PEER_UNREACHABLE']);
    const failed = sessions.find((session) => errorCode(session) !== undefined);
    expect(failed).toMatchObject({ peer: second!.address });
    for (const { peerId } of [first!, third!]) {
      expect(sessions.find(({ peer }) => peer === peerId)).toMatchObject({ missing: 0, complete: true });
    }
    await expectHeld(data, [...own, ...parts[0]!, ...parts[2]!]);
  });
});

describe('a cap', () => {
  it('on messages, or on bytes, ends a transfer without failing it; the next one goes on', async () => {
    const large = makeMessages(400, ago(60_000), 1_000_000_000n, { payloadBytes: 10_000 }).map(lineOf);
    const node = await nodeWith(large);
    const data = await temporaryFolder();

    const byCount = await sync(data, node.address, '--max-messages', '70');
    expect(byCount).toMatchObject({
      code: 0,
      json: { need: 400, received: 70, capped: true, verified: false, complete: false },
    });

    const byBytes = await sync(data, node.address, '--max-bytes', '1MB');
    expect(byBytes).toMatchObject({ code: 0, json: { need: 330, capped: true, verified: false } });
    const bytesEach = 10_000;
    expect(byBytes.json['received']).toBeGreaterThan(60);
    expect(Number(byBytes.json['received']) * bytesEach).toBeLessThanOrEqual(1_000_000);

    const rest = await sync(data, node.address, '--max-messages', '400', '--max-bytes', '10MB');
    expect(rest).toMatchObject({
      code: 0,
      json: { received: 330 - Number(byBytes.json['received']), missing: 0, capped: false, verified: true },
    });
    await expectHeld(data, large);
  });

  it('that is no number, or 0, is wrong usage', async () => {
    const address = '/ip4/127.0.0.1/tcp/1/p2p/12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo';
    const data = await temporaryFolder();
    for (const [option, value] of [
      ['--max-messages', '0'],
      ['--max-messages', 'many'],
      ['--max-bytes', '0'],
      ['--max-bytes', '10 apples'],
    ] as const) {
      const ended = await lacuna(['sync', '--data', data, option, value, address]);
      expect([ended.code, failureCode(ended)]).toEqual([2, 'USAGE']);
    }
  });

  it('on the rate of a node holds what it sends, and what it takes', async () => {
    const many = makeMessages(1_000, ago(60_000), 1_000_000_000n, { payloadBytes: 5_000 }).map(lineOf);
    const free = await nodeWith(many);
    const unhindered = await sync(await temporaryFolder(), free.address);
    const slow = await nodeWith(many, '--upload-rate', '2MB');
    const held = await sync(await temporaryFolder(), slow.address);
    const taker = await startNode(await temporaryFolder(), ['--download-rate', '2MB']);
    const taken = await sync(taker.data, free.address);
    for (const session of [unhindered, held, taken]) {
      expect(session).toMatchObject({ code: 0, json: { received: many.length, verified: true } });
    }
    // 5 MB at 2 MB a second take 2.5 s; a tenth of a second and the last batch may pass at once.
    expect(held.json['durationMs']).toBeGreaterThan(2_000);
    expect(taken.json['durationMs']).toBeGreaterThan(2_000);
    expect(unhindered.json['durationMs']).toBeLessThan(Number(held.json['durationMs']));
  });
});

describe('two nodes that are equal', () => {
  it('say so in two payloads and under 300 bytes, after a restart too, until something changes', async () => {
    let [node, peer] = await Promise.all([nodeWith(lines.slice(0, 2_000)), nodeWith(lines.slice(1_000))]);
    expect(await sessionOf(node, peer.address)).toMatchObject({
      received: 1_000,
      sent: 1_000,
      verified: true,
    });
    expectShort(await sessionOf(node, peer.address));
    expectShort(await sessionOf(peer, node.address));

    for (const { process } of [node, peer]) process.kill('SIGTERM');
    await Promise.all([node.process.ended, peer.process.ended]);
    [node, peer] = await Promise.all([startNode(node.data), startNode(peer.data)]);
    expectShort(await sessionOf(node, peer.address));

    const late = makeMessages(3, ago(30_000), 1_000_000n, { seed: 'late' }).map(lineOf);
    await lacunaJson(['import', '-', '--data', peer.data], { input: text(late) });
    expect(await sessionOf(node, peer.address)).toMatchObject({ received: 3, sent: 0, verified: true });
    expectShort(await sessionOf(node, peer.address));
  });
});

function expectShort(session: JsonObject): void {
  expect(session).toMatchObject({ dialect: 'native', rounds: 2, have: 0, need: 0, verified: true });
  expect(Number(session['bytesSent']) + Number(session['bytesReceived'])).toBeLessThan(300);
}

describe('a node that a dozen visit at once', () => {
  it('serves all of them, or asks them to come back', async () => {
    const served = makeMessages(2_500, ago(60_000), 1_000_000_000n, { payloadBytes: 1_000 }).map(lineOf);
    const node = await nodeWith(served, '--upload-rate', '20MB');
    const guests = await Promise.all(Array.from({ length: 12 }, (_, seed) => visitor(seed)));
    const first = await Promise.all(guests.map((guest) => visit(guest, node)));
    for (const result of first) {
      expect(result).toMatchObject({ dialect: 'native', sent: 1, missing: 0, complete: true });
      expect(result.received).toBeGreaterThanOrEqual(served.length);
    }
    // By now the node has what each of them brought.
    const second = await Promise.all(guests.map((guest) => visit(guest, node)));
    for (const result of second) expect(result).toMatchObject({ sent: 0, missing: 0, verified: true });
    for (const guest of guests) expect(guest.store.count).toBe(served.length + guests.length);
    const memory = memoryOf(node.process.pid);
    if (memory !== undefined) expect(memory.peak).toBeLessThan(400);
  });
});

/** A Lacuna in this process, with one message of its own. */
async function visitor(seed: number): Promise<LacunaNode> {
  const data = await filled([lineOf(makeMessage({ timestamp: ago(40_000), seed }))]);
  const config = configSchema.parse({ data, listen: [] });
  const guest = await LacunaNode.open({ config, log: silentLogger });
  visitors.push(guest);
  await guest.start();
  return guest;
}

/** A session, once the node has a place for it. */
async function visit(guest: LacunaNode, node: RunningNode): Promise<SessionResult> {
  for (let attempts = 0; attempts < 5; attempts++) {
    try {
      return await guest.sync(node.address);
    } catch (error) {
      if (!(error instanceof LacunaError) || error.code !== 'PEER_BUSY') throw error;
      expect(error.retryAfterMs).toBeGreaterThan(0);
      await new Promise((resolve) => setTimeout(resolve, error.retryAfterMs));
    }
  }
  throw new Error('turned away five times');
}
