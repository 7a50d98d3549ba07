/** What the HTTP interface of a running node answers. */
import { z } from 'zod';
import { type ErrorCode, LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { LacunaNode } from '../node.ts';
import type { StoredMessage } from '../ports.ts';
import { outcomeJson } from '../sync/session-json.ts';
import { VERSION } from '../version.ts';
import { messageFromJson, parseJson } from '../wire/message-line.ts';
import type { Answer, Routes } from './server.ts';
import { syncOptionsOf, syncRequest } from './sync-request.ts';

export function nodeRoutes(node: LacunaNode): Routes {
  return {
    'GET /healthz': async () => ({ status: 200, json: { alive: true } }),
    'GET /readyz': async () => readiness(node),
    'GET /api/v1/status': async () => ({ status: 200, json: statusOf(node) }),
    'POST /store/v1/messages': async ({ body }) => ingest(node, body),
    'POST /api/v1/sync': async ({ body }) => synchronise(node, body),
  };
}

function readiness(node: LacunaNode): Answer {
  const { fault } = node.store;
  if (fault === undefined) return { status: 200, json: { ready: true } };
  return { status: 503, json: { ready: false, error: { code: fault.code, message: fault.message } } };
}

function statusOf(node: LacunaNode): object {
  return {
    version: VERSION,
    peerId: node.peerId,
    addresses: node.addresses,
    messages: node.store.count,
    writable: node.store.writable,
    quarantined: node.store.quarantined,
    connections: node.connections,
    sessionsRunning: node.sessions.running,
  };
}

/** Takes one message line or an array of them; answers when what was stored is on the disk. */
async function ingest(node: LacunaNode, body: string): Promise<Answer> {
  const json = parseJson(body);
  const lines: readonly unknown[] = Array.isArray(json) ? json : [json];
  const admitted: StoredMessage[] = [];
  const refusals: Partial<Record<ErrorCode, number>> = {};
  for (const line of lines) {
    const code = admit(node, line, admitted);
    if (code !== undefined) refusals[code] = (refusals[code] ?? 0) + 1;
  }
  const { stored, duplicate } = await node.ingest.append(admitted);
  return { status: 200, json: { stored, duplicate, refused: lines.length - admitted.length, refusals } };
}

function admit(node: LacunaNode, line: unknown, admitted: StoredMessage[]): ErrorCode | undefined {
  try {
    const { message, hash } = messageFromJson(line);
    const admission = node.ingest.examine(message, LIMITS.importFutureMs, hash);
    if ('refused' in admission) return admission.refused;
    admitted.push(admission.stored);
    return undefined;
  } catch (error) {
    return toLacunaError(error).code;
  }
}

async function synchronise(node: LacunaNode, body: string): Promise<Answer> {
  const parsed = syncRequest.safeParse(parseJson(body));
  if (!parsed.success) throw new LacunaError('USAGE', z.prettifyError(parsed.error));
  const { peers, ...request } = parsed.data;
  const outcomes = await node.syncAll(peers, syncOptionsOf(request, Date.now()));
  return { status: 200, json: { sessions: outcomes.map(outcomeJson) } };
}
