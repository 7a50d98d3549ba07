/** An audit as the command shows it: tables for people, rows for a spreadsheet. */
import { z } from 'zod';
import { bytes, count, duration, shortPeer, table } from './output.ts';

const figures = z.record(z.string(), z.number().nullable());
const interval = z.object({ since: z.string(), until: z.string() });
const nodeSchema = z.looseObject({
  peer: z.string(),
  address: z.string().nullable(),
  dialect: z.string().nullable(),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
  covered: z.array(interval),
  messages: z.number().nullable(),
  missing: z.number().nullable(),
  late: z.number().nullable(),
  unknownRows: z.number(),
  bytes: z.number(),
  durationMs: z.number(),
});
const messageSchema = z.looseObject({
  hash: z.string(),
  time: z.string(),
  pubsubTopic: z.string().nullable(),
  contentTopic: z.string().nullable(),
  has: z.array(z.string()),
  lacks: z.array(z.string()),
  late: z.array(z.string()),
  unknown: z.array(z.string()),
});
export const auditReport = z.looseObject({
  startedAt: z.string(),
  durationMs: z.number(),
  ...interval.shape,
  agree: z.boolean(),
  differs: z.boolean(),
  total: z.number(),
  nodes: z.array(nodeSchema),
  rows: z.array(
    z.looseObject({
      ...interval.shape,
      existing: z.number(),
      counts: figures,
      missing: figures,
      late: figures,
    }),
  ),
  messages: z.array(messageSchema).optional(),
  listedAll: z.boolean().optional(),
  repair: z
    .looseObject({
      received: z.number(),
      sent: z.number(),
      refused: z.number(),
      failures: z.array(z.object({ peer: z.string(), code: z.string(), message: z.string() })),
      missingBefore: z.record(z.string(), z.number()),
    })
    .optional(),
});
export type AuditReport = z.infer<typeof auditReport>;

const entrySchema = z.looseObject({
  at: z.string(),
  durationMs: z.number(),
  total: z.number(),
  agree: z.boolean(),
  nodes: z.array(
    z.looseObject({ peer: z.string(), missing: z.number(), late: z.number(), code: z.string().nullable() }),
  ),
});

const ROWS_SHOWN = 200;
const UNKNOWN = '?';

export function describeAudit(report: AuditReport): string {
  const sections = [
    `${sinceOf(report.since)} to ${report.until}: ${count(report.total)} messages exist`,
    nodeTable(report.nodes),
  ];
  const rows = report.rows.filter(({ missing, late }) => hasFigure(missing) || hasFigure(late));
  if (rows.length > 0) sections.push(rowTable(report, rows.slice(0, ROWS_SHOWN)));
  if (rows.length > ROWS_SHOWN)
    sections.push(`and ${count(rows.length - ROWS_SHOWN)} more rows; --json has all`);
  if (report.messages !== undefined && report.messages.length > 0) sections.push(messageTable(report));
  if (report.repair !== undefined) sections.push(repairLine(report.repair));
  sections.push(verdictOf(report));
  return sections.join('\n\n');
}

/** One audit in one line, for a series. */
export function lineOf(report: AuditReport): string {
  return `${report.startedAt}  ${verdictOf(report)}`;
}

export function describeHistory(rows: readonly unknown[]): string {
  if (rows.length === 0) return 'no audit is remembered: those of --watch are';
  const entries = z.array(entrySchema).parse(rows);
  return table(
    ['at', 'took', 'messages', 'missing', 'late', 'not known'],
    entries.map(({ at, durationMs, total, nodes }) => [
      at,
      duration(durationMs),
      total,
      byNode(nodes, ({ missing }) => missing),
      byNode(nodes, ({ late }) => late),
      nodes.flatMap(({ peer, code }) => (code === null ? [] : [`${shortPeer(peer)} ${code}`])).join(', ') ||
        '-',
    ]),
  );
}

/** A row for each bucket and node; then, where messages are named, one for each of them. */
export function csvOf({ rows, nodes, messages }: AuditReport): string {
  const lines = [['since', 'until', 'node', 'count', 'missing', 'late']];
  for (const { since, until, counts, missing, late } of rows) {
    for (const { peer } of nodes) {
      const cells = [counts[peer], missing[peer], late[peer]].map((figure) => String(figure ?? ''));
      lines.push([since, until, peer, ...cells]);
    }
  }
  if (messages !== undefined) {
    lines.push([], ['hash', 'time', 'pubsubTopic', 'contentTopic', 'has', 'lacks', 'late', 'unknown']);
    for (const { hash, time, pubsubTopic, contentTopic, has, lacks, late, unknown } of messages) {
      const peers = [has, lacks, late, unknown].map((list) => list.join(' '));
      lines.push([hash, time, pubsubTopic ?? '', contentTopic ?? '', ...peers]);
    }
  }
  return lines.map((cells) => cells.map(quoted).join(',')).join('\n');
}

/** A topic may hold anything; one that begins like a formula must not be one. */
function quoted(cell: string): string {
  const plain = /^[=+\-@\t\r]/.test(cell) ? `'${cell}` : cell;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

function nodeTable(nodes: AuditReport['nodes']): string {
  return table(
    ['node', 'compared by', 'messages', 'missing', 'late', 'known since', 'cost'],
    nodes.map((node) => [
      shortPeer(node.peer),
      node.error?.code ?? HOW[node.dialect ?? ''] ?? UNKNOWN,
      known(node.messages),
      known(node.missing),
      known(node.late),
      sinceOf(node.covered[0]?.since),
      node.address === null ? '-' : `${bytes(node.bytes)}, ${duration(node.durationMs)}`,
    ]),
  );
}

/** A window that begins in 1970 begins before there was anything. */
function sinceOf(since: string | undefined): string {
  if (since === undefined) return UNKNOWN;
  return Date.parse(since) === 0 ? 'the beginning' : since;
}

const HOW: Readonly<Record<string, string>> = { own: 'this node', native: 'digests', query: 'hashes' };

function rowTable({ nodes }: AuditReport, rows: AuditReport['rows']): string {
  return table(
    ['since', 'exist', ...nodes.map(({ peer }) => shortPeer(peer))],
    rows.map(({ since, existing, counts, missing, late }) => [
      since,
      existing,
      ...nodes.map(({ peer }) => {
        const lacks = [
          missing[peer] ? `-${count(missing[peer])}` : '',
          late[peer] ? `late ${count(late[peer])}` : '',
        ];
        const text = lacks.filter(Boolean).join(', ');
        return `${known(counts[peer] ?? null)}${text === '' ? '' : ` (${text})`}`;
      }),
    ]),
  );
}

function messageTable({ messages = [], listedAll }: AuditReport): string {
  const peers = (list: readonly string[]): string => list.map(shortPeer).join(' ') || '-';
  const rows = messages.map(({ hash, time, contentTopic, has, lacks, late, unknown }) => [
    hash,
    time,
    contentTopic === null ? UNKNOWN : printable(contentTopic),
    peers(has),
    peers(lacks),
    peers(late),
    peers(unknown),
  ]);
  const text = table(['hash', 'time', 'content topic', 'at', 'missing at', 'late at', 'unknown at'], rows);
  return listedAll === false ? `${text}\nand more: narrow the window` : text;
}

/** A topic is of its sender's choosing, and ends up on a terminal. */
function printable(text: string): string {
  return text.replace(/\p{C}/gu, '?');
}

function repairLine(repair: NonNullable<AuditReport['repair']>): string {
  const { received, sent, refused, failures } = repair;
  const moved = `repair: ${count(received)} received, ${count(sent)} sent${refused > 0 ? `, ${count(refused)} refused` : ''}`;
  return [moved, ...failures.map(({ peer, code }) => `  not with ${shortPeer(peer)}: ${code}`)].join('\n');
}

function verdictOf({ nodes, agree, differs, total }: AuditReport): string {
  const lacking = nodes.filter(({ missing }) => (missing ?? 0) > 0);
  const unknown = nodes.filter(({ error }) => error !== null);
  const not =
    unknown.length === 0 ? '' : `; ${unknown.length} of ${nodes.length} nodes could not be looked at`;
  if (agree) return `all ${nodes.length} nodes agree, ${count(total)} messages`;
  if (!differs) return `nothing is known to be missing${not}`;
  const list = lacking
    .map(({ peer, missing }) => `${shortPeer(peer)} lacks ${count(missing ?? 0)}`)
    .join(', ');
  return `${list}${not}`;
}

function byNode<T extends { peer: string }>(nodes: readonly T[], figure: (node: T) => number): string {
  const told = nodes.filter((node) => figure(node) > 0);
  return told.map((node) => `${shortPeer(node.peer)} ${count(figure(node))}`).join(', ') || '-';
}

function hasFigure(byPeer: Readonly<Record<string, number | null>>): boolean {
  return Object.values(byPeer).some((figure) => (figure ?? 0) > 0);
}

function known(figure: number | null): string {
  return figure === null ? UNKNOWN : count(figure);
}
