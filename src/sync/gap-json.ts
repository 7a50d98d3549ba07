/** The ledger of gaps as commands, events and HTTP show it. */
import { formatTimeNs, nsFromMs } from '../time.ts';
import type { ClosedGap, Gap, Verification } from './gap.ts';

/** What of a ledger is shown. */
export interface LedgerView {
  open(): readonly Gap[];
  closed(): readonly ClosedGap[];
  verifications(): readonly Verification[];
}

export function ledgerJson(ledger: LedgerView): Record<string, unknown> {
  return {
    rows: ledger.open().map(gapJson),
    verified: ledger.verifications().map(verificationJson),
    closed: ledger.closed().map(closedGapJson),
  };
}

export function gapJson(gap: Gap): Record<string, unknown> {
  return {
    id: gap.id,
    since: formatTimeNs(gap.sinceNs),
    until: formatTimeNs(gap.untilNs),
    scope: gap.scope,
    cause: gap.cause,
    openedAt: momentOf(gap.openedMs),
    attempts: gap.attempts,
    lastPeer: gap.lastPeer ?? null,
    lastAttemptAt: momentOf(gap.lastAttemptMs),
    lastCode: gap.lastCode ?? null,
  };
}

export function closedGapJson(gap: ClosedGap): Record<string, unknown> {
  return { ...gapJson(gap), closedAt: momentOf(gap.closedMs), verifiedWith: gap.verifiedWith };
}

function verificationJson(verification: Verification): Record<string, unknown> {
  const { sinceNs, untilNs, scope, peer, verifiedMs } = verification;
  return {
    since: formatTimeNs(sinceNs),
    until: formatTimeNs(untilNs),
    scope,
    peer,
    verifiedAt: momentOf(verifiedMs),
  };
}

/** RFC 3339, or null for what has not been. */
export function momentOf(ms: number | undefined): string | null {
  return ms === undefined ? null : formatTimeNs(nsFromMs(ms));
}
