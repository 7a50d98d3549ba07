/** The HTTP interface over a real node: what it answers, what it refuses, and whom. */
import { request } from 'node:http';
import { describe, expect, it, onTestFinished } from 'vitest';
import { configSchema } from '../../src/config.ts';
import { type ErrorCode, LacunaError } from '../../src/errors.ts';
import { nodeRoutes } from '../../src/http/routes.ts';
import { HttpServer, type Routes } from '../../src/http/server.ts';
import { LIMITS } from '../../src/limits.ts';
import { LacunaNode } from '../../src/node.ts';
import { silentLogger } from '../../src/system.ts';
import { VERSION } from '../../src/version.ts';
import { formatMessageLine } from '../../src/wire/message-line.ts';
import { endedIn } from '../ended-in.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { NOW_MS, sampleMessages, stored } from '../sample-messages.ts';
import { temporaryFolder } from '../temporary-folder.ts';

const MESSAGES = '/store/v1/messages';

interface Reply {
  readonly status: number | undefined;
  readonly json: Record<string, unknown>;
}

interface Call {
  readonly method?: string;
  readonly body?: string | Buffer;
  readonly headers?: Record<string, string>;
}

/** Not fetch, which does not let a Host be chosen. */
async function ask(url: string, path: string, call: Call = {}): Promise<Reply> {
  const { hostname, port } = new URL(url);
  const { method = 'GET', body = '', headers = {} } = call;
  const host = hostname.replace(/^\[|\]$/g, '');
  return await new Promise((resolve, reject) => {
    const asked = request({ host, port, path, method, headers, agent: false }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', reject);
      response.on('end', () => {
        const json = JSON.parse(Buffer.concat(parts).toString('utf8')) as Record<string, unknown>;
        resolve({ status: response.statusCode, json });
      });
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

async function refusal(url: string, path: string, call?: Call): Promise<[number | undefined, unknown]> {
  const { status, json } = await ask(url, path, call);
  return [status, (json['error'] as Record<string, unknown>)['code']];
}

async function post(url: string, body: string): Promise<Reply> {
  return await ask(url, MESSAGES, { method: 'POST', body });
}

async function serve(routes: Routes, log: RecordingLogger = new RecordingLogger()): Promise<string> {
  const server = new HttpServer(routes, log);
  const url = await server.listen('127.0.0.1:0');
  onTestFinished(() => server.close());
  return url;
}

async function running(): Promise<{ node: LacunaNode; url: string }> {
  const config = configSchema.parse({ data: await temporaryFolder(), listen: [], http: '127.0.0.1:0' });
  const clock = {
    nowMs: () => NOW_MS,
    monotonicMs: () => performance.now(),
    sleep: () => Promise.resolve(),
  };
  const node = await LacunaNode.open({ config, log: silentLogger, clock, create: true });
  onTestFinished(() => node.stop());
  return { node, url: await serve(nodeRoutes(node)) };
}

function linesOf(count: number): string[] {
  const messages = sampleMessages(count);
  return stored(messages).map(({ id }, index) => formatMessageLine(messages[index]!, id));
}

describe('a node over HTTP', () => {
  it('says how it is', async () => {
    const { node, url } = await running();
    expect(await ask(url, '/healthz')).toEqual({ status: 200, json: { alive: true } });
    expect(await ask(url, '/readyz?now')).toEqual({ status: 200, json: { ready: true } });
    expect(await ask(url, '/api/v1/status')).toEqual({
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
  const routes: Routes = { 'GET /here': async () => ({ status: 200, json: {} }) };

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
      return async () => {
        throw error;
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
      log,
    );
    expect(await refusal(url, '/fault')).toEqual([503, 'STORE_FAULT']);
    expect(await refusal(url, '/busy')).toEqual([429, 'SESSION_BUSY']);
    expect(await refusal(url, '/damaged')).toEqual([500, 'STORE_DAMAGED']);
    expect(log.lines).toEqual([]);
    expect(await refusal(url, '/defect')).toEqual([500, 'INTERNAL']);
    expect(log.codes('error')).toEqual(['INTERNAL']);
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
