/** Asks an HTTP server as a program would, and as one would that means harm. */
import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { onTestFinished } from 'vitest';
import { HttpServer, type Routes } from '../../src/http/server.ts';
import type { Logger } from '../../src/ports.ts';
import { silentLogger } from '../../src/system.ts';

export interface Reply {
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

export interface JsonReply {
  readonly status: number | undefined;
  readonly json: Record<string, unknown>;
}

export interface Call {
  readonly method?: string;
  readonly body?: string | Buffer;
  readonly headers?: Record<string, string>;
}

/** Not fetch, which does not let a Host be chosen. */
export async function askText(url: string, path: string, call: Call = {}): Promise<Reply> {
  const response = await begin(url, path, call);
  const parts: Buffer[] = [];
  for await (const part of response as AsyncIterable<Buffer>) parts.push(part);
  const text = Buffer.concat(parts).toString('utf8');
  return { status: response.statusCode, headers: response.headers, text };
}

export async function ask(url: string, path: string, call: Call = {}): Promise<JsonReply> {
  const { status, text } = await askText(url, path, call);
  return { status, json: JSON.parse(text) as Record<string, unknown> };
}

/** The status and code of a refusal. */
export async function refusal(
  url: string,
  path: string,
  call?: Call,
): Promise<[number | undefined, unknown]> {
  const { status, json } = await ask(url, path, call);
  return [status, (json['error'] as Record<string, unknown> | undefined)?.['code']];
}

/** Resolves when the answer begins; whoever asked reads it, or does not. */
export async function begin(url: string, path: string, call: Call = {}): Promise<IncomingMessage> {
  const { hostname, port } = new URL(url);
  const { method = 'GET', body = '', headers = {} } = call;
  const host = hostname.replace(/^\[|\]$/g, '');
  return await new Promise((resolve, reject) => {
    const asked = request({ host, port, path, method, headers, agent: false }, resolve);
    asked.on('error', reject);
    asked.end(body);
  });
}

/** A server of these routes on a port of its own, closed after the test. */
export async function serve(
  routes: Routes,
  options: { log?: Logger; token?: string; place?: string } = {},
): Promise<string> {
  const server = new HttpServer(routes, options.log ?? silentLogger, options.token);
  const url = await server.listen(options.place ?? '127.0.0.1:0');
  onTestFinished(() => server.close());
  return url;
}
