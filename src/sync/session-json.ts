/** The result of a session as commands, events and HTTP show it. */
import type { LacunaError } from '../errors.ts';
import { formatTimeNs } from '../time.ts';
import { hexHash } from './ingest.ts';
import type { SessionResult } from './session.ts';

export function sessionJson(result: SessionResult): Record<string, unknown> {
  const { sinceNs, untilNs, missingHashes, peerGaps, peer, dialect, role, ...figures } = result;
  return {
    peer,
    dialect,
    role,
    since: formatTimeNs(sinceNs),
    until: formatTimeNs(untilNs),
    ...figures,
    peerGaps: peerGaps.map((gap) => ({ since: formatTimeNs(gap.sinceNs), until: formatTimeNs(gap.untilNs) })),
    missingHashes: Array.from({ length: missingHashes.count }, (_, row) => hexHash(missingHashes.at(row))),
  };
}

/** How a session with one of several peers ended. */
export function outcomeJson(outcome: {
  readonly address: string;
  readonly result?: SessionResult;
  readonly error?: LacunaError;
}): Record<string, unknown> {
  const { address, result, error } = outcome;
  if (result !== undefined) return { address, ...sessionJson(result) };
  return { address, peer: address, error: { code: error?.code, message: error?.message } };
}
