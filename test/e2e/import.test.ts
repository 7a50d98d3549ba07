/** `import` and what comes out again: complete, in order, each message once, and nothing that may not be stored. */
import { appendFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  ago,
  CHAT_FILE,
  chatLines,
  digestOf,
  exported,
  hashOf,
  lineOf,
  makeMessage,
  makeMessages,
  text,
} from './message-lines.ts';
import { ask, endAll, failureCode, lacuna, lacunaJson, startNode, temporaryFolder } from './process.ts';

afterEach(endAll);

const lines = chatLines();

describe('import', () => {
  it('takes every message once, however often it is given', async () => {
    const data = await temporaryFolder();
    const first = await lacunaJson(['import', CHAT_FILE, '--data', data]);
    expect(first).toEqual({
      code: 0,
      json: { read: lines.length, stored: lines.length, duplicate: 0, refused: 0, refusals: {} },
    });
    const again = await lacunaJson(['import', '-', '--data', data], { input: text([...lines].reverse()) });
    expect(again).toEqual({
      code: 0,
      json: { read: lines.length, stored: 0, duplicate: lines.length, refused: 0, refusals: {} },
    });
    const { stdout } = await lacuna(['export', '--data', data]);
    expect(digestOf(stdout)).toEqual(digestOf(exported(lines)));
    const counted = await lacunaJson(['count', '--data', data]);
    expect(counted).toMatchObject({ code: 0, json: { total: lines.length } });
  });

  it('counts a message given twice in one file as stored and as duplicate', async () => {
    const data = await temporaryFolder();
    const [one, two] = lines as [string, string];
    const { json } = await lacunaJson(['import', '-', '--data', data], { input: text([one, two, one, one]) });
    expect(json).toMatchObject({ read: 4, stored: 2, duplicate: 2, refused: 0 });
  });

  it('refuses what may not be stored, each line with its code, and stores the rest', async () => {
    const data = await temporaryFolder();
    const good = makeMessage({ timestamp: ago(60_000), seed: 'good' });
    const bad: [string, string][] = [
      ['LINE_INVALID_JSON', '{"messageHash":'],
      ['LINE_INVALID_FIELD', '{"message":{"contentTopic":"/t","timestamp":1},"pubsubTopic":"/p"}'],
      ['LINE_TOO_LONG', `{"x":"${'y'.repeat(330_000)}"}`],
      ['MESSAGE_EPHEMERAL', lineOf(makeMessage({ timestamp: ago(1_000), ephemeral: true }))],
      ['MESSAGE_TOO_LARGE', lineOf(makeMessage({ timestamp: ago(1_000), payloadBytes: 150 * 1_024 + 1 }))],
      ['MESSAGE_META_TOO_LONG', lineOf(makeMessage({ timestamp: ago(1_000), meta: new Uint8Array(65) }))],
      ['MESSAGE_TIMESTAMP_INVALID', lineOf(makeMessage({ timestamp: 0n }))],
      ['MESSAGE_TIMESTAMP_FUTURE', lineOf(makeMessage({ timestamp: ago(-48 * 3_600_000) }))],
      [
        'MESSAGE_TOPIC_INVALID',
        lineOf(makeMessage({ timestamp: ago(1_000), contentTopic: 'x'.repeat(1_100) })),
      ],
      ['MESSAGE_HASH_MISMATCH', lineOf(good).replace(hashOf(good), `0x${'5'.repeat(64)}`)],
    ];
    const input = text([...bad.map(([, line]) => line), '', lineOf(good), '   ']);
    const { code, json } = await lacunaJson(['import', '-', '--data', data], { input });
    expect(code).toBe(0);
    expect(json).toEqual({
      read: bad.length + 1,
      stored: 1,
      duplicate: 0,
      refused: bad.length,
      refusals: Object.fromEntries(bad.map(([refusal]) => [refusal, 1])),
    });
    const { stdout } = await lacuna(['export', '--data', data]);
    expect(digestOf(stdout)).toEqual(digestOf(text([lineOf(good)])));
  });

  it('keeps timestamps beyond 2^53 to the last digit, as numbers and as strings, and every optional field', async () => {
    const data = await temporaryFolder();
    const messages = [
      makeMessage({ timestamp: 1_442_504_880_048_014_721n, meta: Uint8Array.of(1, 2, 3) }),
      makeMessage({ timestamp: 9_007_199_254_740_993n }),
      makeMessage({ timestamp: 1n, payloadBytes: 0 }),
    ];
    const given = messages.map(lineOf);
    const quoted = given.map((line) => line.replace(/"timestamp":(\d+)/, '"timestamp":"$1"'));
    const bare = `{"pubsubTopic":"/p","message":{"timestamp":5,"contentTopic":"/c","payload":""}}`;
    const input = text([...quoted, bare]);
    const { json } = await lacunaJson(['import', '-', '--data', data], { input });
    expect(json).toMatchObject({ stored: 4, refused: 0 });
    const { stdout } = await lacuna(['export', '--data', data]);
    const out = stdout.trimEnd().split('\n');
    expect(out.filter((line) => !line.includes('"/p"'))).toEqual(exported(given).trimEnd().split('\n'));
  });

  it('says what it cannot open, and ends with 1', async () => {
    const data = await temporaryFolder();
    const ended = await lacuna(['import', join(data, 'none.ndjson'), '--data', data]);
    expect([ended.code, failureCode(ended)]).toEqual([1, 'IO']);
    const missing = await lacuna(['export', '--data', join(data, 'none')]);
    expect([missing.code, failureCode(missing)]).toEqual([1, 'STORE_MISSING']);
  });

  it('takes a last line without an end, and \\r\\n', async () => {
    const data = await temporaryFolder();
    const file = join(data, 'lines.ndjson');
    await writeFile(file, lines.slice(0, 10).join('\r\n'));
    const { json } = await lacunaJson(['import', file, '--data', join(data, 'store')]);
    expect(json).toMatchObject({ read: 10, stored: 10 });
    await appendFile(file, `\n${lines[10]}`);
    const more = await lacunaJson(['import', file, '--data', join(data, 'store')]);
    expect(more.json).toMatchObject({ read: 11, stored: 1, duplicate: 10 });
  });
});

describe('import while a node has the folder open', () => {
  it('goes through the node, which has the messages from then on', async () => {
    const data = await temporaryFolder();
    const node = await startNode(data);
    const messages = makeMessages(500, ago(60_000), 1_000_000n, { payloadBytes: 3_000 }).map(lineOf);
    const bad = lineOf(makeMessage({ timestamp: ago(1_000), ephemeral: true }));
    const { code, json } = await lacunaJson(['import', '-', '--data', data], {
      input: text([...messages, bad, messages[0]!]),
    });
    expect(code).toBe(0);
    expect(json).toEqual({
      read: 502,
      stored: 500,
      duplicate: 1,
      refused: 1,
      refusals: { MESSAGE_EPHEMERAL: 1 },
    });
    const { json: status } = await ask(node, '/api/v1/status');
    expect(status).toMatchObject({ messages: 500, writable: true });
    node.process.kill('SIGTERM');
    expect((await node.process.ended).code).toBe(0);
    const { stdout } = await lacuna(['export', '--data', data]);
    expect(digestOf(stdout)).toEqual(digestOf(exported(messages)));
  });

  it('is turned away where the node has no HTTP interface', async () => {
    const data = await temporaryFolder();
    await startNode(data, ['--http', 'off']);
    const ended = await lacuna(['import', CHAT_FILE, '--data', data]);
    expect([ended.code, failureCode(ended)]).toEqual([1, 'STORE_LOCKED']);
  });

  it('never reaches the node of another folder that took over a killed one’s port', async () => {
    const [data, otherData] = [await temporaryFolder(), await temporaryFolder()];
    const killed = await startNode(data);
    killed.process.kill('SIGKILL');
    await killed.process.ended;
    const other = await startNode(otherData, ['--http', new URL(killed.http).host]);
    const { code, json } = await lacunaJson(['import', '-', '--data', data], {
      input: text(lines.slice(0, 9)),
    });
    expect({ code, ...json }).toMatchObject({ code: 0, stored: 9 });
    expect((await ask(other, '/api/v1/status')).json).toMatchObject({ messages: 0 });
    expect((await lacunaJson(['count', '--data', data])).json).toMatchObject({ total: 9 });
  });
});
