/** The HTTP interface over a real node: what it answers, what it refuses, and whom. */
import { describe, expect, it, onTestFinished } from 'vitest';
import { configSchema } from '../../src/config.ts';
import { type ErrorCode, LacunaError } from '../../src/errors.ts';
import type { StreamEvent } from '../../src/http/event-streams.ts';
import { nodeRoutes } from '../../src/http/routes.ts';
import { HttpServer, type Routes } from '../../src/http/server.ts';
import { LIMITS } from '../../src/limits.ts';
import { LacunaNode } from '../../src/node.ts';
import { silentLogger, systemClock } from '../../src/system.ts';
import { VERSION } from '../../src/version.ts';
import { formatMessageLine } from '../../src/wire/message-line.ts';
import { endedIn } from '../ended-in.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { NOW_MS, sampleMessages, stored } from '../sample-messages.ts';
import { temporaryFolder } from '../temporary-folder.ts';
import { ask, askText, begin, type JsonReply, refusal, serve } from './asking.ts';

const MESSAGES = '/store/v1/messages';

async function post(url: string, body: string): Promise<JsonReply> {
  return await ask(url, MESSAGES, { method: 'POST', body });
}

async function running(): Promise<{ node: LacunaNode; url: string }> {
  const config = configSchema.parse({ data: await temporaryFolder(), listen: [], http: '127.0.0.1:0' });
  const clock = { ...systemClock, nowMs: () => NOW_MS };
  const node = await LacunaNode.open({ config, log: silentLogger, clock, create: true });
  onTestFinished(() => node.stop());
  await node.start();
  return { node, url: await serve(nodeRoutes(node, config.data, clock.nowMs)) };
}

function linesOf(count: number): string[] {
  const messages = sampleMessages(count);
  return stored(messages).map(({ id }, index) => formatMessageLine(messages[index]!, id));
}

describe('a node over HTTP', () => {
  it('says how it is', async () => {
    const { node, url } = await running();
    expect(await ask(url, '/healthz')).toEqual({
      status: 200,
      json: { alive: true, peerId: node.peerId },
    });
    expect(await ask(url, '/readyz?now')).toEqual({ status: 200, json: { ready: true } });
    expect(await ask(url, '/api/v1/status')).toMatchObject({
      status: 200,
      json: {
        version: VERSION,
        peerId: node.peerId,
        addresses: [],
        messages: 0,
        writable: true,
        quarantined: 0,
        connections: 0,
        sessionsRunning: 0,
        state: 'serving',
        fault: null,
        lost: 0,
        peersKnown: 0,
        bytes: expect.any(Number),
        predictedBytes: expect.any(Number),
        gaps: expect.any(Number),
        lastVerifiedAt: null,
        startedAt: new Date(NOW_MS).toISOString().replace('.000', ''),
        uptimeSeconds: expect.any(Number),
        eventLoopDelayMs: expect.any(Number),
      },
    });
  });

  it('stores one line, or an array of them, once', async () => {
    const { node, url } = await running();
    const [first, ...others] = linesOf(4);
    const none = { refused: 0, refusals: {} };
    expect(await post(url, first!)).toEqual({ status: 200, json: { stored: 1, duplicate: 0, ...none } });
    expect(await post(url, first!)).toEqual({ status: 200, json: { stored: 0, duplicate: 1, ...none } });
    const all = `[${[first, ...others].join(',\n')}]`;
    expect(await post(url, all)).toEqual({ status: 200, json: { stored: 3, duplicate: 1, ...none } });
    expect(await post(url, '[]')).toEqual({ status: 200, json: { stored: 0, duplicate: 0, ...none } });
    expect(node.store.count).toBe(4);
    const [{ id }] = stored(sampleMessages(4)) as [ReturnType<typeof stored>[number]];
    expect(node.store.has(id)).toBe(true);
  });

  it('takes the good of a mixed array, and counts the bad by code', async () => {
    const { node, url } = await running();
    const [good, other, third] = linesOf(3);
    const body = [
      good,
      other!.replace(/"timestamp":\d+/, '"timestamp":5'),
      third!.replace(/"timestamp":\d+/, '"timestamp":1.5'),
      third!.replace(/"timestamp":\d+/, '"timestamp":0'),
      third!.replace(/"payload":"/, '"payload":"!'),
      '5',
      'null',
    ];
    expect(await post(url, `[${body.join(',')}]`)).toEqual({
      status: 200,
      json: {
        stored: 1,
        duplicate: 0,
        refused: 6,
        refusals: { MESSAGE_HASH_MISMATCH: 1, LINE_INVALID_FIELD: 4, MESSAGE_TIMESTAMP_INVALID: 1 },
      },
    });
    expect(node.store.count).toBe(1);
  });

  it('refuses what is no JSON, and a request for a session that names no peer', async () => {
    const { url } = await running();
    const sync = '/api/v1/sync';
    expect(await refusal(url, MESSAGES, { method: 'POST', body: '{' })).toEqual([400, 'LINE_INVALID_JSON']);
    expect(await refusal(url, MESSAGES, { method: 'POST' })).toEqual([400, 'LINE_INVALID_JSON']);
    for (const body of ['{}', '{"peers":[]}', '{"peers":["/ip4/127.0.0.1"],"more":1}', '[]']) {
      expect(await refusal(url, sync, { method: 'POST', body })).toEqual([400, 'USAGE']);
    }
    const { status, json } = await ask(url, sync, { method: 'POST', body: '{"peers":["nowhere"]}' });
    expect(status).toBe(200);
    expect(json['sessions']).toMatchObject([{ peer: 'nowhere', error: { code: 'PEER_ADDRESS_INVALID' } }]);
  });

  it('refuses a body that is not UTF-8: decoded, it would be another message', async () => {
    const { node, url } = await running();
    const [line] = linesOf(1);
    const body = Buffer.from(
      line!.replace(/"messageHash":"[^"]*",/, '').replace('"pubsubTopic":"', '"pubsubTopic":"*'),
    );
    body[body.indexOf('*')] = 0xff;
    expect(await refusal(url, MESSAGES, { method: 'POST', body })).toEqual([400, 'LINE_INVALID_JSON']);
    expect(node.store.count).toBe(0);
  });

  it('refuses a body over the limit, every time, and goes on', async () => {
    const { node, url } = await running();
    const over = ' '.repeat(LIMITS.httpBodyBytes + 1);
    for (let round = 0; round < 5; round++) {
      expect(await refusal(url, MESSAGES, { method: 'POST', body: over })).toEqual([
        413,
        'HTTP_BODY_TOO_LARGE',
      ]);
    }
    const [line] = linesOf(1);
    expect((await post(url, line!.padEnd(LIMITS.httpBodyBytes))).json).toMatchObject({ stored: 1 });
    expect(node.store.count).toBe(1);
  });
});

describe('the HTTP server', () => {
  const routes: Routes = {
    'GET /here': { answer: async () => ({ status: 200, json: {} }) },
    'GET /probe': { answer: async () => ({ status: 200, json: {} }), isProbe: true },
    'GET /text': { answer: async () => ({ status: 200, text: 'as it is', type: 'text/plain' }) },
    'POST /some': { answer: async ({ body }) => ({ status: 200, json: { body } }), bodyBytes: 10 },
    'GET /asked': {
      answer: async ({ query }) => ({ status: 200, json: Object.fromEntries(query) }),
    },
  };

  it('knows its paths and their methods', async () => {
    const url = await serve(routes);
    for (const path of ['/', '/her', '/here/', '/HERE', '//', '//x:y/there', '/constructor']) {
      expect([path, await refusal(url, path)]).toEqual([path, [404, 'HTTP_NOT_FOUND']]);
    }
    for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS']) {
      expect(await refusal(url, '/here', { method })).toEqual([405, 'HTTP_METHOD']);
    }
    expect((await ask(url, '/here?a=b')).status).toBe(200);
  });

  it('takes nothing that a web page could have sent', async () => {
    const url = await serve(routes);
    const port = new URL(url).port;
    for (const origin of ['http://example.org', 'null', url, '']) {
      expect(await refusal(url, '/here', { headers: { origin } })).toEqual([403, 'HTTP_FORBIDDEN']);
    }
    for (const host of [
      `example.org:${port}`,
      'example.org',
      '127.0.0.1.example.org',
      '127.0.0.2',
      'localhost.',
    ]) {
      expect([host, await refusal(url, '/here', { headers: { host } })]).toEqual([
        host,
        [403, 'HTTP_FORBIDDEN'],
      ]);
    }
    for (const host of [`127.0.0.1:${port}`, 'localhost', `localhost:${port}`, `[::1]:${port}`]) {
      expect((await ask(url, '/here', { headers: { host } })).status).toBe(200);
    }
  });

  it('answers what a route ends in with its status, and tells the log of a defect only', async () => {
    const failing = (error: Error): Routes[string] => {
      return {
        answer: async () => {
          throw error;
        },
      };
    };
    const coded = (code: ErrorCode): Routes[string] => failing(new LacunaError(code, 'as told'));
    const log = new RecordingLogger();
    const url = await serve(
      {
        'GET /fault': coded('STORE_FAULT'),
        'GET /busy': coded('SESSION_BUSY'),
        'GET /damaged': coded('STORE_DAMAGED'),
        'GET /defect': failing(new TypeError('unforeseen')),
      },
      { log },
    );
    expect(await refusal(url, '/fault')).toEqual([503, 'STORE_FAULT']);
    expect((await askText(url, '/fault')).headers['retry-after']).toBe('1');
    expect(await refusal(url, '/busy')).toEqual([429, 'SESSION_BUSY']);
    expect(await refusal(url, '/damaged')).toEqual([500, 'STORE_DAMAGED']);
    expect(log.lines).toEqual([]);
    expect(await refusal(url, '/defect')).toEqual([500, 'INTERNAL']);
    expect(log.codes('error')).toEqual(['INTERNAL']);
  });

  it('gives a route what was asked, and takes from it any type of text', async () => {
    const url = await serve(routes);
    expect((await ask(url, '/asked?a=b%20c&d=')).json).toEqual({ a: 'b c', d: '' });
    const { status, text, headers } = await askText(url, '/text');
    expect([status, text, headers['content-type']]).toEqual([200, 'as it is', 'text/plain']);
  });

  it('takes a body where the route does, and as long as it does', async () => {
    const url = await serve(routes);
    const post = (body: string): Promise<JsonReply> => ask(url, '/some', { method: 'POST', body });
    expect((await post('0123456789')).json).toEqual({ body: '0123456789' });
    expect((await post('')).json).toEqual({ body: '' });
    expect((await post('0123456789+')).status).toBe(413);
    const headers = { 'content-length': '1' };
    expect(await refusal(url, '/here', { body: '0', headers })).toEqual([413, 'HTTP_BODY_TOO_LARGE']);
  });

  it.each([
    '0.0.0.0:0',
    '[::]:0',
    ':::0',
    '192.0.2.1:0',
    'example.org:80',
    '127.0.0.1',
    '127.0.0.1:',
    ':8645',
    '127.0.0.1:65536',
    '127.0.0.1:-1',
    '127.0.0.1:http',
    '127.0.0.1:80 ',
    'everywhere',
    '',
  ])('does not listen on %j', async (place) => {
    const server = new HttpServer(routes, silentLogger);
    expect(await endedIn(server.listen(place))).toBe('CONFIG_INVALID');
  });

  it('does not listen where another does', async () => {
    const { host } = new URL(await serve(routes));
    expect(await endedIn(new HttpServer(routes, silentLogger).listen(host))).toBe('CONFIG_INVALID');
  });
});

describe('a server with a token', () => {
  const token = 'correct horse battery'.replaceAll(' ', '-');
  const routes: Routes = {
    'GET /here': { answer: async () => ({ status: 200, json: {} }) },
    'POST /some': { answer: async () => ({ status: 200, json: {} }), bodyBytes: LIMITS.httpBodyBytes },
    'GET /probe': { answer: async () => ({ status: 200, json: {} }), isProbe: true },
    'GET /events': { answer: async () => ({ events: () => () => undefined }) },
  };
  const bearer = (text: string): { headers: Record<string, string> } => ({
    headers: { authorization: text },
  });

  it('answers whoever sends it, under any name of the host', async () => {
    const url = await serve(routes, { token });
    expect((await ask(url, '/here', bearer(`Bearer ${token}`))).status).toBe(200);
    expect((await ask(url, '/here', bearer(`bearer  ${token}`))).status).toBe(200);
    const named = { headers: { authorization: `Bearer ${token}`, host: 'node.example.org' } };
    expect((await ask(url, '/here', named)).status).toBe(200);
  });

  it('answers nobody else but a probe, and does not tell them what there is', async () => {
    const url = await serve(routes, { token });
    const unauthorized = [401, 'HTTP_UNAUTHORIZED'];
    for (const path of ['/here', '/events', '/nothing', '//']) {
      expect([path, await refusal(url, path)]).toEqual([path, unauthorized]);
    }
    for (const text of ['', token, `Basic ${token}`, 'Bearer', `Bearer ${token}x`, `Bearer ${token} x`]) {
      expect([text, await refusal(url, '/here', bearer(text))]).toEqual([text, unauthorized]);
    }
    expect(await refusal(url, '/here', { ...bearer(`Bearer ${token}`), method: 'PUT' })).toEqual([
      405,
      'HTTP_METHOD',
    ]);
    expect((await askText(url, '/here')).headers['www-authenticate']).toBe('Bearer');
    expect((await ask(url, '/probe')).status).toBe(200);
    expect(await refusal(url, '/probe', { method: 'POST' })).toEqual(unauthorized);
  });

  it('reads nothing of a body that comes without it', async () => {
    const url = await serve(routes, { token });
    const body = ' '.repeat(LIMITS.httpBodyBytes + 1);
    expect(await refusal(url, '/some', { method: 'POST', body })).toEqual([401, 'HTTP_UNAUTHORIZED']);
  });

  it('takes nothing from a web page, token or not', async () => {
    const url = await serve(routes, { token });
    const headers = { authorization: `Bearer ${token}`, origin: url };
    expect(await refusal(url, '/here', { headers })).toEqual([403, 'HTTP_FORBIDDEN']);
  });

  it.each(['0.0.0.0:0', '[::]:0'])('listens on %s, and names an address of this machine', async (place) => {
    const url = await serve(routes, { token, place });
    expect(['127.0.0.1', '[::1]']).toContain(new URL(url).hostname);
    expect((await ask(url, '/here', bearer(`Bearer ${token}`))).status).toBe(200);
  });
});

describe('a stream of events', () => {
  interface Source {
    readonly routes: Routes;
    readonly listeners: Set<(event: StreamEvent) => void>;
    send(data: string): void;
  }

  function source(): Source {
    const listeners = new Set<(event: StreamEvent) => void>();
    const events = (listener: (event: StreamEvent) => void): (() => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    };
    const routes: Routes = { 'GET /events': { answer: async () => ({ events }) } };
    const send = (data: string): void => {
      for (const listener of listeners) listener({ id: '1', event: 'thing', data });
    };
    return { routes, listeners, send };
  }

  it('begins at once, and brings what happens', async () => {
    const { routes, listeners, send } = source();
    const response = await begin(await serve(routes), '/events');
    expect([response.statusCode, response.headers['content-type']]).toEqual([200, 'text/event-stream']);
    let text = '';
    response.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
    await expect.poll(() => text).toContain('\n\n');
    send('{"a":1}');
    await expect.poll(() => text).toContain('id: 1\nevent: thing\ndata: {"a":1}\n\n');
    response.destroy();
    await expect.poll(() => listeners.size).toBe(0);
  });

  it('is one of a few: the next is refused until one ends', async () => {
    const { routes, listeners } = source();
    const url = await serve(routes);
    const open = await Promise.all(
      Array.from({ length: LIMITS.httpEventStreams }, () => begin(url, '/events')),
    );
    expect(await refusal(url, '/events')).toEqual([429, 'HTTP_BUSY']);
    expect(listeners.size).toBe(LIMITS.httpEventStreams);
    open[0]!.destroy();
    await expect.poll(() => listeners.size).toBe(LIMITS.httpEventStreams - 1);
    const again = await begin(url, '/events');
    expect(again.statusCode).toBe(200);
  });

  it('is cut off when its listener does not read, and others go on', async () => {
    const { routes, listeners, send } = source();
    const log = new RecordingLogger();
    const url = await serve(routes, { log });
    const [slow, quick] = await Promise.all([begin(url, '/events'), begin(url, '/events')]);
    let read = 0;
    quick.on('data', (part: Buffer) => {
      read += part.length;
    });
    slow.on('error', () => undefined).pause();
    const data = 'x'.repeat(64 * 1024);
    let sent = 0;
    for (; listeners.size === 2 && sent < 1_000; sent++) {
      send(data);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(listeners.size).toBe(1);
    expect(log.codes('warn')).toEqual(['HTTP_BUSY']);
    // The system holds some of it beside what the server does.
    expect(sent * data.length).toBeLessThan(LIMITS.httpEventBytes + 16 * 1024 * 1024);
    await expect.poll(() => read).toBeGreaterThan(sent * data.length);
  });

  it('ends with the server', async () => {
    const { routes, listeners } = source();
    const server = new HttpServer(routes, silentLogger);
    const response = await begin(await server.listen('127.0.0.1:0'), '/events');
    const closed = new Promise((resolve) => response.on('error', resolve).on('end', resolve).resume());
    await server.close();
    await closed;
    expect(listeners.size).toBe(0);
  });
});
