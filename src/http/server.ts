/**
 * The node's HTTP interface, for this machine: health, status, ingest, and sessions on demand. It listens on a
 * loopback address only and takes no request that a web page could have made.
 */
import { isUtf8 } from 'node:buffer';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type ErrorCode, LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Logger } from '../ports.ts';

/** What a route is given, and what it answers: a status and a JSON value. */
export interface Request {
  readonly body: string;
}

export interface Answer {
  readonly status: number;
  readonly json: unknown;
}

export type Route = (request: Request) => Promise<Answer>;

/** `METHOD /path` → route. */
export type Routes = Readonly<Record<string, Route>>;

const STATUS: Readonly<Partial<Record<ErrorCode, number>>> = {
  USAGE: 400,
  LINE_INVALID_JSON: 400,
  LINE_INVALID_FIELD: 400,
  PEER_ADDRESS_INVALID: 400,
  HTTP_FORBIDDEN: 403,
  HTTP_NOT_FOUND: 404,
  HTTP_METHOD: 405,
  HTTP_BODY_TOO_LARGE: 413,
  SESSION_BUSY: 429,
  STORE_BUSY: 503,
  STORE_FAULT: 503,
  STORE_CLOSED: 503,
  PEER_UNREACHABLE: 502,
  PEER_TIMEOUT: 504,
};

const LOOPBACK = new Set(['127.0.0.1', '::1', 'localhost']);

export class HttpServer {
  readonly #server: Server;
  readonly #routes: Routes;
  readonly #log: Logger;

  constructor(routes: Routes, log: Logger) {
    this.#routes = routes;
    this.#log = log;
    this.#server = createServer((request, response) => {
      void this.#handle(request, response);
    });
    this.#server.maxConnections = LIMITS.httpConnections;
    this.#server.requestTimeout = LIMITS.httpRequestMs;
    this.#server.headersTimeout = LIMITS.httpRequestMs;
  }

  /** Returns the address as a URL. @throws LacunaError CONFIG_INVALID. */
  async listen(hostAndPort: string): Promise<string> {
    const { host, port } = parseHostAndPort(hostAndPort);
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) =>
        reject(new LacunaError('CONFIG_INVALID', `http ${hostAndPort}: ${error.message}`, { cause: error })),
      );
      this.#server.listen(port, host, resolve);
    });
    const address = this.#server.address() as AddressInfo;
    return `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`;
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const { status, json } = await this.#answer(request);
      send(response, status, json);
    } catch (error) {
      const { code, message, remedy } = toLacunaError(error);
      if (code === 'INTERNAL') this.#log.error({ code, error: message, url: request.url }, 'request failed');
      send(response, STATUS[code] ?? 500, { error: { code, message, remedy } });
      // What is left of a refused body is not read.
      request.destroy();
    }
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    refuseForeign(request);
    const path = pathOf(request.url ?? '/');
    const route = this.#routes[`${request.method} ${path}`];
    if (route === undefined) {
      const known = Object.keys(this.#routes).some((key) => key.endsWith(` ${path}`));
      throw new LacunaError(known ? 'HTTP_METHOD' : 'HTTP_NOT_FOUND', `${request.method} ${path}`);
    }
    return await route({ body: await readBody(request) });
  }
}

/**
 * A page in a browser can reach a loopback port, under its own origin or, by rebinding its name, under none. The
 * one carries an Origin header, the other a Host that is not a loopback name.
 */
function refuseForeign(request: IncomingMessage): void {
  const host = (request.headers.host ?? '').replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
  if (!LOOPBACK.has(host) || request.headers.origin !== undefined) {
    throw new LacunaError('HTTP_FORBIDDEN', 'the request does not come from this machine');
  }
}

/** A target such as `//` is no URL; it is then no path of ours either. */
function pathOf(target: string): string {
  return URL.canParse(target, 'http://localhost') ? new URL(target, 'http://localhost').pathname : target;
}

async function readBody(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > LIMITS.httpBodyBytes) {
      throw new LacunaError('HTTP_BODY_TOO_LARGE', `the body is over ${LIMITS.httpBodyBytes} bytes`);
    }
    parts.push(part);
  }
  const body = Buffer.concat(parts);
  // Decoding would replace what is not UTF-8, and a message would be stored as another one.
  if (!isUtf8(body)) throw new LacunaError('LINE_INVALID_JSON', 'the body is not UTF-8');
  return body.toString('utf8');
}

function send(response: ServerResponse, status: number, json: unknown): void {
  const body = `${JSON.stringify(json)}\n`;
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
  });
  response.end(body);
}

function parseHostAndPort(text: string): { host: string; port: number } {
  const match = /^(.+):(\d{1,5})$/.exec(text);
  const host = match?.[1]?.replace(/^\[|\]$/g, '') ?? '';
  const port = Number(match?.[2]);
  if (match === null || port > 65_535)
    throw new LacunaError('CONFIG_INVALID', `http: '${text}' is not HOST:PORT or off`);
  if (!LOOPBACK.has(host)) {
    throw new LacunaError(
      'CONFIG_INVALID',
      `http: ${host} is not a loopback address, and there is no access control yet`,
    );
  }
  return { host, port };
}
