/** The result of an audit as the command and HTTP show it. What is not known is null, and never zero. */
import type { Interval } from '../core/interval.ts';
import { timeOf } from '../core/sync-id.ts';
import type { LacunaError } from '../errors.ts';
import { hexHash } from '../sync/ingest.ts';
import { formatTimeNs } from '../time.ts';
import type { AuditedNode, AuditResult, ListedMessage } from './audit.ts';
import type { ComparisonRow } from './comparison.ts';
import type { AuditEntry } from './history.ts';

export function auditJson(result: AuditResult): Record<string, unknown> {
  const { nodes, rows, existing, messages, repair } = result;
  const peers = nodes.map(({ peer }) => peer);
  return {
    startedAt: new Date(result.startedMs).toISOString(),
    durationMs: result.durationMs,
    ...intervalJson(result),
    bucketMs: Number(result.bucketNs / 1_000_000n),
    agree: result.agree,
    differs: result.differs,
    total: existing,
    nodes: nodes.map(nodeJson),
    rows: rows.map((row) => rowJson(row, peers)),
    ...(messages === undefined
      ? {}
      : { messages: messages.map(messageJson), listedAll: result.isListedWhole }),
    ...(repair === undefined
      ? {}
      : {
          repair: {
            ...repair,
            failures: repair.failures.map(({ peer, error }) => ({ peer, ...errorJson(error) })),
          },
        }),
  };
}

export function entryJson({ atMs, sinceNs, untilNs, ...entry }: AuditEntry): Record<string, unknown> {
  const { durationMs, existing, agree, nodes } = entry;
  return {
    at: new Date(atMs).toISOString(),
    ...intervalJson({ sinceNs, untilNs }),
    durationMs,
    total: existing,
    agree,
    nodes,
  };
}

function rowJson(row: ComparisonRow, peers: readonly string[]): Record<string, unknown> {
  const byPeer = (figures: readonly (number | undefined)[]): Record<string, number | null> =>
    Object.fromEntries(peers.map((peer, at) => [peer, figures[at] ?? null]));
  return {
    ...intervalJson(row),
    existing: row.existing,
    counts: byPeer(row.counts),
    missing: byPeer(row.missing),
    late: byPeer(row.late),
  };
}

function nodeJson({ error, dialect, address, covered, gaps, ...node }: AuditedNode): Record<string, unknown> {
  const { peer, messages, missing, late, unknownRows, phantoms, bytes, durationMs } = node;
  const isKnown = covered.length > 0;
  return {
    peer,
    address: address ?? null,
    dialect: dialect ?? null,
    error: error === undefined ? null : errorJson(error),
    covered: covered.map(intervalJson),
    gaps: gaps.map(intervalJson),
    messages: isKnown ? messages : null,
    missing: isKnown ? missing : null,
    late: isKnown ? late : null,
    unknownRows,
    phantoms,
    bytes,
    durationMs,
  };
}

function messageJson({ id, topics, has, lacks, late, unknown }: ListedMessage): Record<string, unknown> {
  return {
    hash: hexHash(id),
    time: formatTimeNs(timeOf(id)),
    pubsubTopic: topics?.pubsubTopic ?? null,
    contentTopic: topics?.contentTopic ?? null,
    has,
    lacks,
    late,
    unknown,
  };
}

function intervalJson({ sinceNs, untilNs }: Interval): { since: string; until: string } {
  return { since: formatTimeNs(sinceNs), until: formatTimeNs(untilNs) };
}

function errorJson({ code, message }: LacunaError): { code: string; message: string } {
  return { code, message };
}
