/** The result of a session as commands, events and HTTP show it. */
import { formatTimeNs } from '../time.ts';
import { hexHash } from './ingest.ts';
import type { SessionResult } from './session.ts';

export function sessionJson(result: SessionResult): Record<string, unknown> {
  const { sinceNs, untilNs, missingHashes, peer, dialect, role, ...figures } = result;
  return {
    peer,
    dialect,
    role,
    since: formatTimeNs(sinceNs),
    until: formatTimeNs(untilNs),
    ...figures,
    missingHashes: Array.from({ length: missingHashes.count }, (_, row) => hexHash(missingHashes.at(row))),
  };
}
