/** `GET /store/v3/messages`: nwaku's parameters and answers, from the service that serves peers too. */
import { describe, expect, it } from 'vitest';
import { timeOf } from '../../src/core/sync-id.ts';
import { LacunaError } from '../../src/errors.ts';
import { nodeRoutes } from '../../src/http/routes.ts';
import { LIMITS } from '../../src/limits.ts';
import type { StoredMessage } from '../../src/ports.ts';
import { formatMessageLine, parseMessageLine } from '../../src/wire/message-line.ts';
import { decodeMessageAndTopic } from '../../src/wire/waku-message.ts';
import { MemoryArchive } from '../memory-archive.ts';
import {
  CHAT,
  hexOf,
  messageOf,
  NOTES,
  NOW_NS,
  SHARD_0,
  SHARD_1,
  sampleMessages,
  stored,
} from '../sample-messages.ts';
import { ask, askText, serve } from './asking.ts';
import { PlainNode } from './plain-node.ts';
import { samplesOf } from './prometheus-text.ts';

const full = messageOf({
  meta: Uint8Array.of(1, 2),
  rateLimitProof: Uint8Array.of(3),
  version: 2,
  timestamp: NOW_NS - 987_654_321n,
});
const topics = { pubsubTopics: [SHARD_0, SHARD_1], contentTopics: [CHAT, NOTES] };
const messages = new MemoryArchive(stored([...sampleMessages(150, topics), full])).messages;

async function start(): Promise<{ url: string; node: PlainNode }> {
  const node = new PlainNode();
  node.archive.messages = [...messages];
  return { url: await serve(nodeRoutes(node, '/')), node };
}

/** The answer, its messages as lines of the store would be. */
async function get(
  url: string,
  parameters: Record<string, string>,
): Promise<{ status: number | undefined; json: Record<string, unknown>; hashes: string[] }> {
  const { status, json } = await ask(url, `/store/v3/messages?${new URLSearchParams(parameters)}`);
  const list = json['messages'] as { messageHash: string }[];
  return { status, json, hashes: list.map(({ messageHash }) => messageHash.slice(2)) };
}

const hexes = (list: readonly StoredMessage[]): string[] => list.map(hexOf);

describe('the history over HTTP', () => {
  it('has the keys of nwaku, and messages as lines that can be imported', async () => {
    const { url } = await start();
    const path = `/store/v3/messages?includeData=true&hashes=0x${hexOf(messages.find(({ id }) => timeOf(id) === full.timestamp)!)}`;
    const { status, text, headers } = await askText(url, path);
    expect([status, headers['content-type']]).toEqual([200, 'application/json']);
    const json = JSON.parse(text) as Record<string, unknown>;
    expect(Object.keys(json)).toEqual(['requestId', 'statusCode', 'statusDesc', 'messages']);
    expect([json['statusCode'], json['statusDesc']]).toEqual([200, 'OK']);
    // The time is a number with all of its digits.
    const line = text.slice(text.indexOf('[') + 1, text.lastIndexOf(']')).trim();
    expect(line).toContain(`"timestamp":${full.timestamp},`);
    expect(parseMessageLine(line).message).toMatchObject({ timestamp: full.timestamp, version: 2 });
    const [message] = stored([full]);
    expect(line).toBe(formatMessageLine(decodeMessageAndTopic(message!.encoded), message!.id));
  });

  it('takes as many hashes as a peer may ask for', async () => {
    const { url } = await start();
    const known = hexes(messages).slice(0, 3);
    const others = Array.from({ length: LIMITS.storeQueryHashesAsked - 3 }, (_, at) =>
      at.toString(16).padStart(64, '0'),
    );
    const hashes = [...others, ...known].map((hash) => `0x${hash}`);
    const found = await get(url, { hashes: hashes.join(',') });
    expect([found.status, found.hashes.sort()]).toEqual([200, [...known].sort()]);
    expect((await get(url, { hashes: [...hashes, hashes[0]].join(',') })).status).toBe(400);
  });

  it('tells hashes alone unless it is asked for data', async () => {
    const { url } = await start();
    const { json } = await get(url, { pageSize: '1' });
    expect(json['messages']).toEqual([{ messageHash: `0x${hexOf(messages[0]!)}` }]);
    expect(json['paginationCursor']).toBe(`0x${hexOf(messages[0]!)}`);
  });

  it('goes from the oldest on, or from the newest back, with the cursor of the page before', async () => {
    const { url } = await start();
    for (const ascending of ['true', 'false']) {
      const read: string[] = [];
      let cursor = '';
      do {
        const { hashes, json } = await get(url, { includeData: 'true', ascending, cursor, pageSize: '60' });
        if (ascending === 'true') read.push(...hashes);
        else read.unshift(...hashes);
        cursor = (json['paginationCursor'] as string | undefined) ?? '';
      } while (cursor !== '');
      expect(read).toEqual(hexes(messages));
    }
    expect((await get(url, {})).hashes).toEqual(hexes(messages.slice(0, 20)));
    expect((await get(url, { pageSize: '1000' })).hashes).toHaveLength(100);
  });

  it('filters by topics and time; a value that is empty, or a time of 0, is none', async () => {
    const { url } = await start();
    const [since, until] = [timeOf(messages[40]!.id), timeOf(messages[120]!.id)];
    const { hashes } = await get(url, {
      pubsubTopic: SHARD_1,
      contentTopics: `${NOTES},/another`,
      startTime: String(since),
      endTime: String(until),
      pageSize: '100',
      cursor: '',
    });
    const due = messages.slice(40, 120).filter((m) => m.pubsubTopic === SHARD_1 && m.contentTopic === NOTES);
    expect(hashes).toEqual(hexes(due));
    expect((await get(url, { startTime: '0', endTime: '', pubsubTopic: '' })).hashes).toHaveLength(20);
  });

  it('looks up hashes with and without 0x', async () => {
    const { url } = await start();
    const hashes = `${hexOf(messages[9]!)},0x${hexOf(messages[4]!).toUpperCase()}`;
    expect((await get(url, { hashes })).hashes).toEqual([hexOf(messages[4]!), hexOf(messages[9]!)]);
  });

  it.each<[string, Record<string, string>]>([
    ['a word for a time', { startTime: 'yesterday' }],
    ['a negative time', { startTime: '-5' }],
    ['a start after the end', { startTime: '5', endTime: '4' }],
    ['a flag that is none', { includeData: 'yes' }],
    ['a size that is none', { pageSize: '2.5' }],
    ['a negative size', { pageSize: '-1' }],
    ['half a hash', { hashes: '0x12' }],
    ['an empty hash', { hashes: `${'0'.repeat(64)},` }],
    ['a cursor of zeros', { cursor: '0'.repeat(64) }],
    ['an unknown cursor', { cursor: '1'.repeat(64) }],
    ['hashes with topics', { hashes: '1'.repeat(64), contentTopics: CHAT }],
    ['an empty content topic', { contentTopics: `${CHAT},,` }],
    ['a parameter that there is not', { peerAddress: 'x' }],
  ])('refuses %s', async (_, parameters) => {
    const { url } = await start();
    const { status, json } = await get(url, parameters);
    expect([status, json['statusCode'], json['messages']]).toEqual([400, 400, []]);
    expect(json['statusDesc']).toMatch(/^BAD_REQUEST: ./);
  });

  it('refuses a parameter that is given twice', async () => {
    const { url } = await start();
    expect((await ask(url, '/store/v3/messages?pageSize=1&pageSize=2')).status).toBe(400);
  });

  it('is unavailable while the store cannot be read', async () => {
    const { url, node } = await start();
    node.archive.fault = new LacunaError('STORE_FAULT', 'for the test');
    const { status, json } = await get(url, {});
    expect([status, json['statusCode']]).toEqual([503, 503]);
  });

  it('is answered to so many at a time', async () => {
    const { url, node } = await start();
    let open: () => void = () => undefined;
    node.archive.gate = new Promise((resolve) => {
      open = resolve;
    });
    const held = Array.from({ length: LIMITS.httpQueries }, () => get(url, {}));
    const statuses: (number | undefined)[] = [];
    while (!statuses.includes(429)) {
      const one = get(url, {}).then(({ status }) => statuses.push(status));
      await Promise.race([one, new Promise((resolve) => setTimeout(resolve, 50))]);
    }
    open();
    const answers = await Promise.all(held);
    expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThanOrEqual(
      LIMITS.httpQueries - 1,
    );
    expect((await get(url, {})).status).toBe(200);
  });

  it('is counted in the metrics', async () => {
    const { url } = await start();
    await get(url, {});
    await get(url, { startTime: '-1' });
    const { text } = await askText(url, '/metrics');
    const queries = samplesOf(text).filter(({ name }) => name === 'lacuna_store_queries_total');
    expect(queries).toEqual([
      { name: 'lacuna_store_queries_total', labels: { asker: 'http', status: '200' }, value: 1 },
      { name: 'lacuna_store_queries_total', labels: { asker: 'http', status: '400' }, value: 1 },
    ]);
    const read = samplesOf(text).find(({ name }) => name === 'lacuna_store_query_messages_total');
    expect(read?.value).toBe(20);
  });
});
