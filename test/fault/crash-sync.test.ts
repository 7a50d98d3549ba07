/**
 * Nodes that are killed in the middle of a session on the Waku wire, the one that receives and the one that sends, in either role: what
 * was counted as stored is there afterwards, the survivor ends its session with a code, and the next one heals.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { ago, digestOf, exported, lineOf, makeMessages, text } from '../e2e/message-lines.ts';
import {
  ask,
  endAll,
  errorCode,
  type JsonObject,
  lacuna,
  lacunaJson,
  type RunningNode,
  sessionOf,
  startNode,
  temporaryFolder,
} from '../e2e/process.ts';

afterEach(endAll);

const lines = makeMessages(14_000, ago(60_000), 200_000_000n, { payloadBytes: 2_500 }).map(lineOf);
const whole = digestOf(exported(lines));
const KILLS = 6;
/** Two Lacunas would speak their own dialect: test/fault/crash-native.test.ts. */
const WAKU = { dialect: 'waku' };
/** How long a survivor may need to notice and end its session. */
const NOTICED_MS = 15_000;

async function filled(): Promise<string> {
  const data = await temporaryFolder();
  const { json } = await lacunaJson(['import', '-', '--data', data], { input: text(lines) });
  expect(json).toMatchObject({ stored: lines.length });
  return data;
}

/** How many messages the node counts as stored: they are on its disk. */
async function stored(node: RunningNode): Promise<number> {
  return Number((await ask(node, '/api/v1/status')).json['messages']);
}

/** Waits until the receiver has more than it had, and a little longer; tells how many it has then. */
async function receivedMore(receiver: RunningNode, round: number): Promise<number> {
  const before = await stored(receiver);
  for (const deadline = Date.now() + 20_000; before < lines.length; ) {
    if ((await stored(receiver)) > before) break;
    if (Date.now() > deadline) throw new Error(`no more than ${before} messages after 20 s`);
    await new Promise((resolve) => setTimeout(resolve, 4));
  }
  await new Promise((resolve) => setTimeout(resolve, (round * 7) % 20));
  return await stored(receiver);
}

async function kill(node: RunningNode): Promise<void> {
  node.process.kill('SIGKILL');
  expect((await node.process.ended).signal).toBe('SIGKILL');
}

/** A session between the two that nobody waits for yet; every other time it is the sender who opens it. */
function begun(round: number, sender: RunningNode, receiver: RunningNode): Promise<JsonObject | undefined> {
  const session =
    round % 2 === 0 ? sessionOf(receiver, sender.address, WAKU) : sessionOf(sender, receiver.address, WAKU);
  // The process that was asked may be the one that is killed.
  return session.catch(() => undefined);
}

async function expectHealed(sender: RunningNode, receiver: RunningNode): Promise<void> {
  expect(await sessionOf(receiver, sender.address, WAKU)).toMatchObject({
    dialect: 'waku',
    missing: 0,
    verified: true,
  });
  for (const { process, data } of [sender, receiver]) {
    process.kill('SIGTERM');
    expect((await process.ended).code).toBe(0);
    expect(await lacunaJson(['verify', '--data', data])).toMatchObject({ code: 0, json: { damaged: 0 } });
    expect(digestOf((await lacuna(['export', '--data', data])).stdout)).toEqual(whole);
  }
}

describe('a session in which', () => {
  it('the receiver is killed, six times over, loses nothing and heals', async () => {
    const sender = await startNode(await filled());
    const data = await temporaryFolder();
    let receiver = await startNode(data);
    let midway = 0;
    for (let round = 0; round < KILLS; round++) {
      const session = begun(round, sender, receiver);
      const counted = await receivedMore(receiver, round);
      await kill(receiver);
      await session;
      expect((await lacunaJson(['verify', '--data', data])).json).toMatchObject({ damaged: 0 });
      receiver = await startNode(data);
      expect(await stored(receiver)).toBeGreaterThanOrEqual(counted);
      if (counted < lines.length) midway += 1;
    }
    expect(midway).toBeGreaterThanOrEqual(KILLS - 2);
    await expectHealed(sender, receiver);
  });

  it('the sender is killed, six times over, ends with a code in time and heals', async () => {
    const data = await filled();
    let sender = await startNode(data);
    const receiver = await startNode(await temporaryFolder());
    let midway = 0;
    for (let round = 0; round < KILLS; round++) {
      const { peerId } = sender;
      const sessionsBefore = sessionsOf(receiver, peerId).length;
      const session = begun(round, sender, receiver);
      const counted = await receivedMore(receiver, round);
      await kill(sender);
      if (counted < lines.length) midway += 1;
      const startedMs = Date.now();
      await session;
      const ended = await receiver.process.until(
        () => sessionsOf(receiver, peerId)[sessionsBefore],
        NOTICED_MS,
      );
      expect(Date.now() - startedMs).toBeLessThan(NOTICED_MS);
      if (counted < lines.length && ended['verified'] !== true) {
        expect(errorCode(ended) ?? 'ended').toMatch(/^(PEER_CLOSED|PEER_UNREACHABLE|WIRE_TRUNCATED|ended)$/);
      }
      expect(await stored(receiver)).toBeGreaterThanOrEqual(counted);
      sender = await startNode(data);
      expect(sender.peerId).toBe(peerId);
    }
    expect(midway).toBeGreaterThanOrEqual(KILLS - 2);
    await expectHealed(sender, receiver);
  });
});

function sessionsOf(node: RunningNode, peerId: string): JsonObject[] {
  return node.process.events.filter(({ event, peer }) => event === 'session' && peer === peerId);
}
