/**
 * The node's HTTP server: who may ask, what a request may hold, and how answers go out. What is answered stands in
 * `routes.ts`. Every request ends in an answer or a coded error, within the limits of its route.
 */
import { isUtf8 } from 'node:buffer';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type ErrorCode, LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Logger } from '../ports.ts';
import { Access } from './access.ts';
import { EventStreams, type Subscribe } from './event-streams.ts';

/** What a route is given. */
export interface Request {
  readonly query: URLSearchParams;
  readonly body: string;
  /** Fires when whoever asked is gone. */
  readonly gone: AbortSignal;
}

/** What it answers: a JSON value, a text of another type, or events until one side ends it. */
export type Answer =
  | { readonly status: number; readonly json: unknown }
  | { readonly status: number; readonly text: string; readonly type: string }
  | { readonly events: Subscribe };

export interface Route {
  readonly answer: (request: Request) => Promise<Answer>;
  /** How long a body may be; without this, there may be none. */
  readonly bodyBytes?: number;
  /** Answered without a token, where one is asked for: it tells a supervisor how the node is, and nobody anything else. */
  readonly isProbe?: boolean;
}

/** `METHOD /path` → route. */
export type Routes = Readonly<Record<string, Route>>;

const STATUS: Readonly<Partial<Record<ErrorCode, number>>> = {
  USAGE: 400,
  LINE_INVALID_JSON: 400,
  LINE_INVALID_FIELD: 400,
  QUERY_INVALID: 400,
  QUERY_CURSOR: 400,
  PEER_ADDRESS_INVALID: 400,
  HTTP_UNAUTHORIZED: 401,
  HTTP_FORBIDDEN: 403,
  HTTP_NOT_FOUND: 404,
  MESSAGE_UNKNOWN: 404,
  HTTP_METHOD: 405,
  HTTP_BODY_TOO_LARGE: 413,
  HTTP_BUSY: 429,
  SESSION_BUSY: 429,
  STORE_BUSY: 503,
  STORE_FAULT: 503,
  STORE_CLOSED: 503,
  PEER_UNREACHABLE: 502,
  PEER_TIMEOUT: 504,
};

export class HttpServer {
  readonly #server: Server;
  readonly #routes: ReadonlyMap<string, Route>;
  readonly #paths: ReadonlySet<string>;
  readonly #access: Access;
  readonly #streams: EventStreams;
  readonly #log: Logger;

  constructor(routes: Routes, log: Logger, token?: string) {
    this.#routes = new Map(Object.entries(routes));
    this.#paths = new Set([...this.#routes.keys()].map((key) => key.slice(key.indexOf(' ') + 1)));
    this.#access = new Access(token);
    this.#streams = new EventStreams(log);
    this.#log = log;
    this.#server = createServer({ maxHeaderSize: LIMITS.httpHeaderBytes }, (request, response) => {
      void this.#handle(request, response);
    });
    this.#server.maxConnections = LIMITS.httpConnections;
    this.#server.requestTimeout = LIMITS.httpRequestMs;
    this.#server.headersTimeout = LIMITS.httpRequestMs;
  }

  /** Returns the URL under which this machine reaches it. @throws LacunaError CONFIG_INVALID. */
  async listen(hostAndPort: string): Promise<string> {
    const { host, port } = this.#access.placeOf(hostAndPort);
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) =>
        reject(new LacunaError('CONFIG_INVALID', `http ${hostAndPort}: ${error.message}`, { cause: error })),
      );
      this.#server.listen(port, host, resolve);
    });
    return urlOf(this.#server.address() as AddressInfo);
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const answer = await this.#answer(request, response);
      if ('events' in answer) this.#streams.open(response, answer.events);
      else if ('text' in answer) send(response, answer.status, answer.type, answer.text);
      else sendJson(response, answer.status, answer.json);
    } catch (error) {
      const { code, message, remedy, retryAfterMs = LIMITS.retryMs } = toLacunaError(error);
      const status = STATUS[code] ?? 500;
      if (code === 'INTERNAL') this.#log.error({ code, error: message, url: request.url }, 'request failed');
      if (code === 'HTTP_UNAUTHORIZED') response.setHeader('www-authenticate', 'Bearer');
      if (status === 429 || status === 503)
        response.setHeader('retry-after', String(Math.ceil(retryAfterMs / 1_000)));
      sendJson(response, status, { error: { code, message, remedy } });
      // What is left of a refused body is not read.
      request.destroy();
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<Answer> {
    const { path, query } = targetOf(request.url ?? '/');
    const route = this.#routes.get(`${request.method} ${path}`);
    // Who may not ask is not told what there is, and nothing that it sends is read.
    this.#access.admit(request.headers, route?.isProbe === true);
    if (route === undefined) {
      const code = this.#paths.has(path) ? 'HTTP_METHOD' : 'HTTP_NOT_FOUND';
      throw new LacunaError(code, `${request.method} ${path}`);
    }
    const body = await readBody(request, route.bodyBytes ?? 0);
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    return await route.answer({ query, body, gone: gone.signal });
  }
}

/** A target such as `//` is no URL; it is then no path of ours either. */
function targetOf(target: string): { path: string; query: URLSearchParams } {
  if (!URL.canParse(target, 'http://localhost')) return { path: target, query: new URLSearchParams() };
  const { pathname, searchParams } = new URL(target, 'http://localhost');
  return { path: pathname, query: searchParams };
}

async function readBody(request: IncomingMessage, bytesMax: number): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > bytesMax) {
      throw new LacunaError('HTTP_BODY_TOO_LARGE', `the body is over ${bytesMax} bytes`);
    }
    parts.push(part);
  }
  const body = Buffer.concat(parts);
  // Decoding would replace what is not UTF-8, and a message would be stored as another one.
  if (!isUtf8(body)) throw new LacunaError('LINE_INVALID_JSON', 'the body is not UTF-8');
  return body.toString('utf8');
}

function sendJson(response: ServerResponse, status: number, json: unknown): void {
  send(response, status, 'application/json', `${JSON.stringify(json)}\n`);
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  });
  response.end(body);
}

/** Who listens on all interfaces is reached on the loopback one. */
function urlOf({ address, family, port }: AddressInfo): string {
  if (address === '0.0.0.0') return `http://127.0.0.1:${port}`;
  if (address === '::') return `http://[::1]:${port}`;
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
}
