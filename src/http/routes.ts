/** What the HTTP interface of a running node answers. */
import { z } from 'zod';
import { auditJson, entryJson } from '../audit/audit-json.ts';
import { type ErrorCode, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { StoredMessage } from '../ports.ts';
import { ledgerJson } from '../sync/gap-json.ts';
import { outcomeJson } from '../sync/session-json.ts';
import { messageFromJson, parseJson } from '../wire/message-line.ts';
import { auditPlanOf, auditRequest } from './audit-request.ts';
import { CountService } from './counts.ts';
import { eventFeed } from './event-json.ts';
import { ExplainService } from './explain.ts';
import { NodeMetrics } from './metrics.ts';
import { readBody, readQuery } from './query.ts';
import { RecentSessions } from './recent-sessions.ts';
import type { ServedNode } from './served-node.ts';
import type { Answer, Routes } from './server.ts';
import { peersJson, readiness, StatusView } from './status.ts';
import { StoreMessages } from './store-messages.ts';
import { syncOptionsOf, syncRequest } from './sync-request.ts';

/** `data` is the folder of the node, whose disk is looked at. */
export function nodeRoutes(node: ServedNode, data: string, nowMs: () => number = Date.now): Routes {
  const status = new StatusView(node, data, nowMs);
  const metrics = new NodeMetrics(node, data, nowMs);
  const recent = new RecentSessions(node.events, nowMs);
  const counts = new CountService(node.store, nowMs);
  const messages = new StoreMessages(node.storeQueries);
  const explanations = new ExplainService(node);
  const events = eventFeed(node.events, nowMs());
  return {
    'GET /healthz': { answer: async () => json({ alive: true, peerId: node.peerId }), isProbe: true },
    'GET /readyz': { answer: async () => readiness(node), isProbe: true },
    'GET /metrics': {
      answer: async () => ({ status: 200, text: await metrics.text(), type: metrics.contentType }),
    },
    'GET /api/v1/status': { answer: async () => json(await status.json()) },
    'GET /api/v1/gaps': { answer: async () => json(ledgerJson(node.ledger)) },
    'GET /api/v1/sessions': { answer: async () => json(recent.json(node.sessions.list())) },
    'GET /api/v1/peers': { answer: async () => json(peersJson(node.peers.list())) },
    'GET /api/v1/counts': { answer: async ({ query, gone }) => json(await counts.answer(query, gone)) },
    'GET /api/v1/explain': {
      answer: async ({ query, gone }) => json(await explanations.answer(query, gone)),
    },
    'GET /api/v1/events': { answer: async () => ({ events }) },
    'GET /store/v3/messages': { answer: async ({ query }) => await messages.answer(query) },
    'POST /store/v1/messages': {
      answer: async ({ body, query }) => json(await ingest(node, body, query)),
      bodyBytes: LIMITS.httpBodyBytes,
    },
    'POST /api/v1/sync': {
      answer: async ({ body }) => json(await synchronise(node, body, nowMs())),
      bodyBytes: LIMITS.httpCommandBytes,
    },
    'POST /api/v1/audit': {
      answer: async ({ body, gone }) => json(await audit(node, body, nowMs(), gone)),
      bodyBytes: LIMITS.httpCommandBytes,
    },
    'GET /api/v1/audits': {
      answer: async () => json({ rows: (await node.auditor.history.entries()).map(entryJson) }),
    },
    'POST /api/v1/prune': {
      answer: async ({ body }) => json(await prune(node, body)),
      bodyBytes: LIMITS.httpCommandBytes,
    },
  };
}

function json(value: unknown): Answer {
  return { status: 200, json: value };
}

/** The `import` command works through the running node, and says so. */
const ingestQuery = z.strictObject({ via: z.enum(['http', 'import']).default('http') });

/** Takes one message line or an array of them; answers when what was stored is on the disk. */
async function ingest(node: ServedNode, body: string, query: URLSearchParams): Promise<object> {
  const { via } = readQuery(ingestQuery, query);
  const given = parseJson(body);
  const lines: readonly unknown[] = Array.isArray(given) ? given : [given];
  const admitted: StoredMessage[] = [];
  const refusals: Partial<Record<ErrorCode, number>> = {};
  for (const line of lines) {
    const code = admit(node, line, admitted);
    if (code !== undefined) refusals[code] = (refusals[code] ?? 0) + 1;
  }
  const { stored, duplicate } = await node.ingest.append(admitted, { path: via });
  return { stored, duplicate, refused: lines.length - admitted.length, refusals };
}

function admit(node: ServedNode, line: unknown, admitted: StoredMessage[]): ErrorCode | undefined {
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

async function synchronise(node: ServedNode, body: string, nowMs: number): Promise<object> {
  const { peers, ...request } = readBody(syncRequest, body);
  const outcomes = await node.syncAll(peers, syncOptionsOf(request, nowMs));
  return { sessions: outcomes.map(outcomeJson) };
}

/** Nobody waits for the result of one who is gone. */
async function audit(node: ServedNode, body: string, nowMs: number, stop: AbortSignal): Promise<object> {
  const plan = auditPlanOf(readBody(auditRequest, body), node.scope, nowMs);
  return auditJson(await node.auditor.run({ ...plan, stop }));
}

const pruneRequest = z.strictObject({ dryRun: z.boolean().default(false) });

async function prune(node: ServedNode, body: string): Promise<object> {
  const { dryRun } = readBody(pruneRequest, body);
  const { removed, bytes } = await node.store.retention.pass(dryRun);
  return { removed, bytes };
}
