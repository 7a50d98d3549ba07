/**
 * Sessions between two Lacunas in which one of them is killed, at twenty places of a transfer: the one that receives and
 * the one that sends, each as the one who asked and as the one who was asked. What was counted as stored is there
 * afterwards, the survivor ends its session with a code, and each session begins where the one before it ended.
 */
import { cp } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { encodeMessageAndTopic } from '../../src/wire/waku-message.ts';
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

const messages = makeMessages(6_000, ago(60_000), 200_000_000n, { payloadBytes: 2_500 });
const lines = messages.map(lineOf);
const whole = digestOf(exported(lines));
/** 15 MB take four seconds, in which there is time for five kills. */
const UPLOAD_RATE = '4MB';
/** A kill comes when so many messages are stored, and a little later. */
const PLACES = [1, 1_300, 2_600, 3_900, 5_200];
/** How long a survivor may need to notice and end its session. */
const NOTICED_MS = 10_000;
const BATCH_BYTES = 256 * 1_024;
const MESSAGE_BYTES = encodeMessageAndTopic(messages[0]!).length;
const BATCH_MESSAGES = Math.ceil(BATCH_BYTES / MESSAGE_BYTES);
/** What a message costs beside itself: its length, its id in an offer, its bit in a wish. */
const OVERHEAD_BYTES = 48;

type Part = 'sender' | 'receiver';
type Nodes = Record<Part, RunningNode>;

let model = '';
beforeAll(async () => {
  model = await temporaryFolder();
  const { json } = await lacunaJson(['import', '-', '--data', model], { input: text(lines) });
  expect(json).toMatchObject({ stored: lines.length });
});
afterAll(endAll);

const nodes: RunningNode[] = [];
afterEach(async () => {
  for (const { process } of nodes.splice(0)) {
    process.kill('SIGKILL');
    await process.ended;
  }
});

async function start(part: Part, data: string): Promise<RunningNode> {
  const node = await startNode(data, part === 'sender' ? ['--upload-rate', UPLOAD_RATE] : []);
  nodes.push(node);
  return node;
}

async function begin(): Promise<Nodes> {
  const [full, empty] = [await temporaryFolder(), await temporaryFolder()];
  await cp(model, full, { recursive: true });
  return { sender: await start('sender', full), receiver: await start('receiver', empty) };
}

/** How many messages the node counts as stored: they are on its disk. */
async function stored(node: RunningNode): Promise<number> {
  return Number((await ask(node, '/api/v1/status')).json['messages']);
}

/** Waits until the receiver has so many, and a little longer; tells how many it has then. */
async function reached(receiver: RunningNode, place: number, laterMs: number): Promise<number> {
  for (const deadline = Date.now() + 20_000; (await stored(receiver)) < place; ) {
    if (Date.now() > deadline) throw new Error(`fewer than ${place} messages after 20 s`);
    await pause(4);
  }
  await pause(laterMs);
  return await stored(receiver);
}

async function kill(node: RunningNode): Promise<void> {
  node.process.kill('SIGKILL');
  expect((await node.process.ended).signal).toBe('SIGKILL');
}

function sessionsOf(node: RunningNode, { peerId }: RunningNode): JsonObject[] {
  return node.process.events.filter(({ event, peer }) => event === 'session' && peer === peerId);
}

/** Of what the receiver lacked at the beginning, a session moves nothing twice; a batch may be lost on the way. */
function expectNothingTwice(session: JsonObject, missing: number): void {
  const { need, have, received, sent, bytesSent, bytesReceived } = session as Record<string, number>;
  expect(need! + have!).toBeLessThanOrEqual(missing);
  expect(received!).toBeLessThanOrEqual(missing);
  expect(sent!).toBeLessThanOrEqual(missing + BATCH_MESSAGES);
  const bytesMax = missing * (MESSAGE_BYTES + OVERHEAD_BYTES) + BATCH_BYTES;
  expect(bytesSent! + bytesReceived!).toBeLessThan(bytesMax);
}

const CASES: readonly [victim: Part, initiator: Part][] = [
  ['receiver', 'receiver'],
  ['receiver', 'sender'],
  ['sender', 'sender'],
  ['sender', 'receiver'],
];

describe('a session between two Lacunas', () => {
  it.each(CASES)('loses nothing when the %s is killed five times, as the %s had asked', async (...parts) => {
    const [victim, initiator] = parts;
    const survivor = victim === 'sender' ? 'receiver' : 'sender';
    const responder = initiator === 'sender' ? 'receiver' : 'sender';
    const pair = await begin();
    let midway = 0;
    for (const [at, place] of PLACES.entries()) {
      const before = await stored(pair.receiver);
      const seen = sessionsOf(pair[survivor], pair[victim]).length;
      // The process that was asked may be the one that is killed.
      const asked = sessionOf(pair[initiator], pair[responder].address).catch(() => undefined);
      const counted = await reached(pair.receiver, Math.max(place, before + 1), (at * 13) % 40);
      await kill(pair[victim]);
      const { process } = pair[survivor];
      const ended = await process.until(() => sessionsOf(pair[survivor], pair[victim])[seen], NOTICED_MS);
      await asked;
      expect(ended).toMatchObject({
        dialect: 'native',
        role: survivor === initiator ? 'initiator' : 'responder',
      });
      if (counted < lines.length) {
        midway += 1;
        expect(errorCode(ended)).toBe('PEER_CLOSED');
        expect(ended).toMatchObject({ verified: false, complete: survivor === 'sender' });
      }
      expectNothingTwice(ended, lines.length - before);
      if (victim === 'receiver') {
        const { json } = await lacunaJson(['verify', '--data', pair.receiver.data]);
        expect(json).toMatchObject({ damaged: 0 });
      }
      pair[victim] = await start(victim, pair[victim].data);
      const after = await stored(pair.receiver);
      expect(after).toBeGreaterThanOrEqual(counted);
      // What was on its way to the disk when the session ended is stored, though the session does not count it.
      if (victim === 'sender') expect(Number(ended['received'])).toBeLessThanOrEqual(after - before);
      else expect(Number(ended['sent'])).toBeGreaterThanOrEqual(after - before);
    }
    expect(midway).toBeGreaterThanOrEqual(PLACES.length - 1);
    await expectHealed(pair, initiator, responder);
  });
});

async function expectHealed(pair: Nodes, initiator: Part, responder: Part): Promise<void> {
  const missing = lines.length - (await stored(pair.receiver));
  // A session before it may have brought all, and have been verified too.
  const seen = sessionsOf(pair[responder], pair[initiator]).length;
  const asking = await sessionOf(pair[initiator], pair[responder].address);
  const answering = await pair[responder].process.until(() =>
    sessionsOf(pair[responder], pair[initiator])
      .slice(seen)
      .find(({ verified }) => verified === true),
  );
  const ofReceiver = initiator === 'receiver' ? asking : answering;
  const ofSender = initiator === 'sender' ? asking : answering;
  expect(ofReceiver).toMatchObject({
    need: missing,
    received: missing,
    missing: 0,
    refused: 0,
    verified: true,
  });
  expect(ofSender).toMatchObject({ have: missing, sent: missing, missing: 0, verified: true });
  for (const session of [ofReceiver, ofSender]) expectNothingTwice(session, missing);
  for (const { process } of [pair.sender, pair.receiver]) {
    process.kill('SIGTERM');
    expect((await process.ended).code).toBe(0);
  }
  const { data } = pair.receiver;
  expect(await lacunaJson(['verify', '--data', data])).toMatchObject({ code: 0, json: { damaged: 0 } });
  expect(digestOf((await lacuna(['export', '--data', data])).stdout)).toEqual(whole);
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
