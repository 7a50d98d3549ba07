/** `gaps`: the ledger. Where messages may be missing, and what was verified with whom. */
import type { Command } from 'commander';
import { z } from 'zod';
import type { Scope } from '../core/scope.ts';
import { isEverything } from '../core/scope.ts';
import type { Records } from '../ports.ts';
import { GAP_CAUSES, type GapCause } from '../sync/gap.ts';
import { ledgerJson } from '../sync/gap-json.ts';
import { Ledger } from '../sync/ledger.ts';
import { systemClock } from '../system.ts';
import { type CommonOptions, type Context, contextOf, withCommonOptions, withStore } from './context.ts';
import { count, duration, print, printJson, shortPeer, table } from './output.ts';
import { runningNode } from './running-node.ts';

/** Verifications and closed gaps that a person is shown, the newest of each. */
const ROWS_SHOWN = 10;

/** Why messages may be missing, in words. */
export const CAUSES: Readonly<Record<GapCause, string>> = {
  'first-start': 'the store was new',
  'new-topics': 'topics were added',
  downtime: 'the node did not run',
  'no-peer': 'no peer was connected',
  'store-fault': 'the store took no writes',
  session: 'a session ended too early',
};

const scopeSchema = z.object({ pubsubTopics: z.array(z.string()), contentTopics: z.array(z.string()) });
const gapSchema = z.looseObject({
  since: z.string(),
  until: z.string(),
  scope: scopeSchema,
  cause: z.enum(GAP_CAUSES),
  attempts: z.number(),
  lastPeer: z.string().nullable(),
  lastCode: z.string().nullable(),
});
const closedSchema = gapSchema.extend({ closedAt: z.string(), verifiedWith: z.array(z.string()) });
const verificationSchema = z.looseObject({
  since: z.string(),
  until: z.string(),
  scope: scopeSchema,
  peer: z.string(),
  verifiedAt: z.string(),
});
const ledgerSchema = z.object({
  rows: z.array(gapSchema),
  verified: z.array(verificationSchema),
  closed: z.array(closedSchema),
});
type LedgerJson = z.infer<typeof ledgerSchema>;

export function addGapsCommand(program: Command): void {
  withCommonOptions(
    program
      .command('gaps')
      .description('show where messages may be missing, and what was verified with whom'),
  ).action(runGaps);
}

async function runGaps(options: CommonOptions): Promise<void> {
  const context = await contextOf(options);
  const ledger = ledgerSchema.parse(await ledgerOf(context));
  if (context.json) printJson(ledger);
  else print(describe(ledger));
}

/** Of the running node, or of the data folder where none runs. */
async function ledgerOf(context: Context): Promise<unknown> {
  const node = await runningNode(context.config);
  if (node !== undefined) return await node.get('/api/v1/gaps');
  return await withStore(context, false, async (store) => ledgerJson(await loadLedger(store, context)));
}

/** The ledger as it lies beside the messages. */
export async function loadLedger({ records }: { records: Records }, { log }: Context): Promise<Ledger> {
  return await Ledger.load({ records, clock: systemClock, log });
}

function describe({ rows, verified, closed }: LedgerJson): string {
  const sections = [rows.length === 0 ? 'no open gaps' : `open gaps\n${gapTable(rows)}`];
  if (verified.length > 0) sections.push(`verified${ofAll(verified)}\n${verifiedTable(newest(verified))}`);
  if (closed.length > 0) sections.push(`closed${ofAll(closed)}\n${closedTable(newest(closed))}`);
  return sections.join('\n\n');
}

function ofAll(rows: readonly unknown[]): string {
  return rows.length > ROWS_SHOWN ? ` (the last ${ROWS_SHOWN} of ${count(rows.length)})` : '';
}

function newest<T>(rows: readonly T[]): readonly T[] {
  return rows.slice(0, ROWS_SHOWN);
}

function gapTable(rows: LedgerJson['rows']): string {
  return table(
    ['since', 'length', 'why', 'attempts', 'last peer', 'ended in', 'topics'],
    rows.map((row) => [
      row.since,
      lengthOf(row),
      CAUSES[row.cause],
      row.attempts,
      row.lastPeer === null ? '-' : shortPeer(row.lastPeer),
      row.lastCode ?? '-',
      topicsOf(row.scope),
    ]),
  );
}

function verifiedTable(rows: readonly LedgerJson['verified'][number][]): string {
  return table(
    ['since', 'length', 'with', 'when', 'topics'],
    rows.map((row) => [row.since, lengthOf(row), shortPeer(row.peer), row.verifiedAt, topicsOf(row.scope)]),
  );
}

function closedTable(rows: readonly LedgerJson['closed'][number][]): string {
  return table(
    ['since', 'length', 'why', 'closed', 'verified with'],
    rows.map((row) => [
      row.since,
      lengthOf(row),
      CAUSES[row.cause],
      row.closedAt,
      row.verifiedWith.map(shortPeer).join(', ') || 'nobody: older than what is kept',
    ]),
  );
}

function lengthOf({ since, until }: { since: string; until: string }): string {
  return lengthInWords(Date.parse(since), Date.parse(until));
}

/** What begins in 1970 begins before there was anything to miss: 57 years would tell nobody anything. */
export function lengthInWords(sinceMs: number, untilMs: number): string {
  return sinceMs === 0 ? 'all time before' : duration(untilMs - sinceMs);
}

function topicsOf(scope: Scope): string {
  return isEverything(scope) ? 'all' : [...scope.pubsubTopics, ...scope.contentTopics].join(', ');
}
