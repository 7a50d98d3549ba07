/**
 * An audit of three Lacunas with a million messages each in 30 days, of which a hundred are missing at one of them; and
 * what it takes to list the same hashes by store queries.
 */
import { fileURLToPath } from 'node:url';
import { LIMITS } from '../src/limits.ts';
import {
  encodeStoreQueryRequest,
  encodeStoreQueryResponse,
  type StoreQueryRequest,
} from '../src/wire/waku-store-query.ts';
import type { AuditCommands, Audited } from './audit-cell.ts';
import { type Cell, inWorkspace } from './cells.ts';
import { median } from './measure.ts';
import { Report } from './report.ts';
import { step } from './sync-nodes.ts';
import { copyStore, fill } from './sync-stores.ts';
import type { Workload } from './workload.ts';

const PROGRAM = fileURLToPath(new URL('./audit-cell.ts', import.meta.url));
const NODES = 3;
const MESSAGES = 1_000_000;
const DIFFERENCES = 100;
const HOUR_NS = 3_600_000_000_000n;
const SAMPLES = 5;
const CASE = 'three-1m';

const COMMON: Workload = {
  messages: MESSAGES - DIFFERENCES,
  payloadBytes: 200,
  // On a full hour, so that the hours are 720.
  sinceNs: 472_223n * HOUR_NS,
  spanNs: 720n * HOUR_NS,
  seed: 'audit',
};
/** Each of these is at two of the three nodes. */
const EXTRA: Workload = { ...COMMON, messages: DIFFERENCES, seed: 'audit-differences' };

export async function benchAudit(json: boolean): Promise<void> {
  const report = new Report('audit', json);
  await inWorkspace(async (space) => {
    const original = space.path('original');
    await step('filling', () => fill(space, { folder: original, workload: COMMON }));
    const cells: Cell<AuditCommands>[] = [];
    const addresses: string[] = [];
    for (let at = 0; at < NODES; at++) {
      const folder = space.path(`node-${at}`);
      await copyStore(original, folder);
      const cell = space.start<AuditCommands>(PROGRAM, `node ${at}`);
      cells.push(cell);
      addresses.push(await cell.ask('open', { folder, extra: EXTRA, skip: at, every: NODES }));
    }
    const [auditor] = cells;
    const order = {
      addresses: addresses.slice(1),
      sinceNs: COMMON.sinceNs,
      untilNs: COMMON.sinceNs + COMMON.spanNs,
      bucketNs: HOUR_NS,
    };
    const audits: Audited[] = [];
    await step('audits', async () => {
      while (audits.length < SAMPLES) audits.push(check(await auditor!.ask('audit', order)));
    });
    const [first, ...later] = audits;
    report.add(CASE, 'bytes', Math.max(...audits.map(({ bytes }) => bytes)), 'B', '≤ 60,000');
    report.add(CASE, 'firstSeconds', first!.seconds, 's', '≤ 2');
    report.add(CASE, 'laterSeconds', median(later.map(({ seconds }) => seconds)), 's');
    report.add(CASE, 'laterCpuMs', median(later.map(({ cpuMs }) => cpuMs)), 'ms');
    report.add(CASE, 'rows', first!.rows, 'count');
    report.add(CASE, 'jsonBytes', first!.jsonBytes, 'B');
    await Promise.all(cells.map((cell) => cell.ask('stop', undefined)));
  });
  addListing(report);
  report.print();
}

/** The audit found what was planted, or its figures mean nothing. */
function check(audited: Audited): Audited {
  const lacking = audited.missing.reduce((sum, missing) => sum + missing, 0);
  if (lacking !== DIFFERENCES || audited.total !== MESSAGES) {
    throw new Error(`${lacking} of ${DIFFERENCES} were found missing, ${audited.total} messages exist`);
  }
  return audited;
}

/** Calculated: pages of hashes as they lie on the wire, and the pace at which they may be asked for. */
function addListing(report: Report): void {
  const hash = new Uint8Array(32);
  const requestId = '0'.repeat(32);
  const question: StoreQueryRequest = {
    requestId,
    includeData: false,
    pubsubTopic: undefined,
    contentTopics: [],
    timeStartNs: COMMON.sinceNs,
    timeEndNs: COMMON.sinceNs + COMMON.spanNs,
    messageHashes: [],
    paginationCursor: hash,
    paginationForward: false,
    paginationLimit: LIMITS.queryPageSize,
  };
  const page = Array.from({ length: LIMITS.queryPageSize }, () => ({
    messageHash: hash,
    message: undefined,
  }));
  const answer = { requestId, statusCode: 200, statusDesc: '', messages: page, paginationCursor: hash };
  const pages = (NODES - 1) * (MESSAGES / LIMITS.queryPageSize);
  const pageBytes = encodeStoreQueryRequest(question).length + encodeStoreQueryResponse(answer).length;
  report.add('listing-1m', 'bytes (calculated)', pages * pageBytes, 'B');
  // Peers are asked beside each other, each at its own pace.
  const seconds = pages / (NODES - 1) / LIMITS.queryRequestsPerSecond;
  report.add('listing-1m', 'seconds at least (calculated)', seconds, 's');
}
