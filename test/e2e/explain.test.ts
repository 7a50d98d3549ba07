/**
 * What is known of a message, asked of running nodes and of data folders: whichever way it came, by the command and
 * over HTTP alike; and what happens to those that nobody knows.
 */
import { afterEach, expect, it } from 'vitest';
import { ago, hashOf, lineOf, makeMessage, text } from './message-lines.ts';
import {
  ask,
  endAll,
  failureCode,
  lacuna,
  lacunaJson,
  type RunningNode,
  sessionOf,
  startNode,
  temporaryFolder,
} from './process.ts';

afterEach(endAll);

const messages = Array.from({ length: 4 }, (_, at) => messageAt(120_000 + at * 1_000));
const [byFile, byHttp, byNative, byWaku] = messages.map((message) => ({
  hash: hashOf(message),
  line: lineOf(message),
})) as [Known, Known, Known, Known];

function messageAt(agoMs: number) {
  return makeMessage({ timestamp: ago(agoMs) });
}

interface Known {
  readonly hash: string;
  readonly line: string;
}

async function explained(data: string, hash: string) {
  const { json } = await lacunaJson(['explain', hash, '--data', data]);
  return json;
}

async function stop({ process }: RunningNode): Promise<void> {
  process.kill('SIGTERM');
  await process.ended;
}

it('tells when and how each message came, now and after a restart', async () => {
  const begun = Date.now() - 1_000;
  const [data, other, third] = [await temporaryFolder(), await temporaryFolder(), await temporaryFolder()];
  await lacunaJson(['import', '-', '--data', data], { input: text([byFile.line]) });
  await lacunaJson(['import', '-', '--data', other], { input: text([byNative.line]) });
  await lacunaJson(['import', '-', '--data', third], { input: text([byWaku.line]) });
  const [node, peer, stranger] = [await startNode(data), await startNode(other), await startNode(third)];
  const posted = await ask(node, '/store/v1/messages', JSON.parse(byHttp.line));
  expect(posted.json).toMatchObject({ stored: 1 });
  expect(await sessionOf(node, peer.address)).toMatchObject({ dialect: 'native', received: 1 });
  expect(await sessionOf(node, stranger.address, { dialect: 'waku' })).toMatchObject({
    dialect: 'waku',
    received: 1,
  });

  const none = { dialect: null, role: null, peer: null };
  const ways: [Known, object][] = [
    [byFile, { ...none, path: 'import' }],
    [byHttp, { ...none, path: 'http' }],
    [byNative, { path: 'session', dialect: 'native', role: 'initiator', peer: peer.peerId }],
    [byWaku, { path: 'session', dialect: 'waku', role: 'initiator', peer: stranger.peerId }],
  ];
  const before = new Map<string, unknown>();
  for (const [{ hash }, way] of ways) {
    const told = (await ask(node, `/api/v1/explain?hash=${hash}`)).json;
    expect(told).toMatchObject({ messageHash: hash, state: 'stored', arrival: way, missing: null });
    const at = Date.parse((told['arrival'] as { at: string }).at);
    expect(at).toBeGreaterThanOrEqual(begun - 1_000);
    expect(at).toBeLessThanOrEqual(Date.now());
    before.set(hash, told);
  }
  // The peer knows that it was sent what it lacked, and by whom.
  expect((await ask(peer, `/api/v1/explain?hash=${byFile.hash}`)).json).toMatchObject({
    arrival: { path: 'session', dialect: 'native', role: 'responder', peer: node.peerId },
  });
  // What is imported through the running node is imported.
  const late = messageAt(90_000);
  await lacunaJson(['import', '-', '--data', data], { input: text([lineOf(late)]) });
  expect(await explained(data, hashOf(late))).toMatchObject({ arrival: { path: 'import' } });

  await Promise.all([stop(node), stop(peer), stop(stranger)]);
  for (const hash of [byFile.hash, byWaku.hash]) {
    expect(await explained(data, hash)).toEqual(before.get(hash));
  }
  const forPeople = await lacuna(['explain', byNative.hash, '--data', data]);
  expect(forPeople.stdout).toContain(peer.peerId);
});

it('fails for a hash that nothing is known of, and for what is none', async () => {
  const data = await temporaryFolder();
  await lacunaJson(['import', '-', '--data', data], { input: text([byFile.line]) });
  const unknown = await lacuna(['explain', byHttp.hash, '--data', data]);
  expect([unknown.code, failureCode(unknown)]).toEqual([1, 'MESSAGE_UNKNOWN']);
  const none = await lacuna(['explain', '0x12', '--data', data]);
  expect([none.code, failureCode(none)]).toEqual([2, 'USAGE']);
});
