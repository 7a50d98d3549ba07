/**
 * A node that runs on this data folder, reached over its HTTP interface. It leaves its address in `http.json`; its
 * token, if it asks for one, whoever runs the command must know.
 */
import { once } from 'node:events';
import { readFile, rm } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { isErrorCode, LacunaError } from '../errors.ts';
import { loadToken, type TokenSettings } from '../http/access.ts';
import { LIMITS } from '../limits.ts';
import type { AppendResult, StoredMessage } from '../ports.ts';
import { writeDurably } from '../store/durable-file.ts';
import { LineWriter } from '../wire/message-line.ts';
import { asBuffer, MessageView } from '../wire/waku-message.ts';

const FILE_NAME = 'http.json';
const PROBE_MS = 1_000;
const UTF8_BYTES_MAX = 3;

const appendResult = z.object({ stored: z.number(), duplicate: z.number() });
const failure = z.object({ error: z.object({ code: z.string(), message: z.string() }) });

const announcement = z.object({ url: z.url(), peerId: z.string() });

export async function announceHttp(directory: string, url: string, peerId: string): Promise<void> {
  await writeDurably(join(directory, FILE_NAME), `${JSON.stringify({ url, peerId })}\n`);
}

export async function withdrawHttp(directory: string): Promise<void> {
  await rm(join(directory, FILE_NAME), { force: true });
}

export interface RunningNode {
  readonly url: string;
  /** Imports messages; resolves when they are on the disk there. */
  ingest(messages: readonly StoredMessage[]): Promise<AppendResult>;
  post(path: string, body: unknown): Promise<unknown>;
  get(path: string): Promise<unknown>;
}

export interface RunningNodeSettings extends TokenSettings {
  readonly data: string;
}

/**
 * undefined when no node runs on this folder, or it has no HTTP interface.
 *
 * @throws LacunaError CONFIG_INVALID for a token that is none.
 */
export async function runningNode(settings: RunningNodeSettings): Promise<RunningNode | undefined> {
  const announced = await announcedIn(settings.data);
  if (announced === undefined || !(await answers(announced))) return undefined;
  const { url } = announced;
  const token = await loadToken(settings);
  const request = (method: string, path: string, body?: string): Promise<unknown> =>
    ask({ url, token, method, path, body });
  return {
    url,
    async ingest(messages) {
      const result = { stored: 0, duplicate: 0 };
      for (const body of bodies(messages)) {
        const answer = appendResult.parse(await request('POST', '/store/v1/messages?via=import', body));
        result.stored += answer.stored;
        result.duplicate += answer.duplicate;
      }
      return result;
    },
    post: (path, body) => request('POST', path, JSON.stringify(body)),
    get: (path) => request('GET', path),
  };
}

async function announcedIn(directory: string): Promise<z.infer<typeof announcement> | undefined> {
  try {
    return announcement.parse(JSON.parse(await readFile(join(directory, FILE_NAME), 'utf8')));
  } catch {
    return undefined;
  }
}

/**
 * A file that a killed node left behind names a port that nobody, or a node of another folder, listens on: who is
 * there is asked without the token.
 */
async function answers({ url, peerId }: z.infer<typeof announcement>): Promise<boolean> {
  try {
    const response = await fetch(`${url}/healthz`, { signal: AbortSignal.timeout(PROBE_MS) });
    return z.object({ peerId: z.literal(peerId) }).safeParse(await response.json()).success;
  } catch {
    return false;
  }
}

/** JSON arrays of message lines, each well under the limit of a body. */
function* bodies(messages: readonly StoredMessage[]): Generator<string> {
  let lines: string[] = [];
  let length = 0;
  const writer = new LineWriter();
  const view = new MessageView();
  for (const { id, encoded } of messages) {
    writer.message(view.read(asBuffer(encoded)), id);
    const line = writer.take().toString('utf8');
    if (length + line.length * UTF8_BYTES_MAX > LIMITS.httpBodyBytes && lines.length > 0) {
      yield `[${lines.join(',')}]`;
      lines = [];
      length = 0;
    }
    lines.push(line);
    length += line.length * UTF8_BYTES_MAX + 1;
  }
  if (lines.length > 0) yield `[${lines.join(',')}]`;
}

interface Ask {
  readonly url: string;
  readonly token: string | undefined;
  readonly method: string;
  readonly path: string;
  readonly body: string | undefined;
}

async function ask({ url, token, method, path, body = '' }: Ask): Promise<unknown> {
  const headers: Record<string, string | number> = { 'content-length': Buffer.byteLength(body) };
  if (token !== undefined) headers['authorization'] = `Bearer ${token}`;
  let answer: { status: number; json: unknown };
  try {
    answer = await exchange(new URL(path, url), method, headers, body);
  } catch (error) {
    throw new LacunaError('STORE_CLOSED', `the node at ${url} does not answer`, { cause: error });
  }
  if (answer.status === 200) return answer.json;
  const parsed = failure.safeParse(answer.json);
  if (!parsed.success) {
    throw new LacunaError('INTERNAL', `the node answered with HTTP status ${answer.status}`);
  }
  const { code, message } = parsed.data.error;
  throw new LacunaError(isErrorCode(code) ? code : 'INTERNAL', message);
}

/** Waits as long as it takes: `fetch` gives up on an answer after five minutes, and a session may need hours. */
async function exchange(
  url: URL,
  method: string,
  headers: Record<string, string | number>,
  body: string,
): Promise<{ status: number; json: unknown }> {
  const sent = httpRequest(url, { method, headers });
  sent.end(body);
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  return { status: response.statusCode ?? 0, json: JSON.parse(await text(response)) };
}
