/** The public surface of the library. Nothing else of this package is public. */
import './platform.ts';
import { type ConfigInput, configSchema } from './config.ts';
import { LacunaNode } from './node.ts';
import type { Logger } from './ports.ts';
import { silentLogger } from './system.ts';

/**
 * Opens (and on first use makes) the data folder and gives a node that is not yet listening: `start()` makes it
 * serve and synchronise, `sync(address)` runs one session, `stop()` ends it.
 *
 * @throws LacunaError STORE_LOCKED, STORE_DAMAGED, STORE_FORMAT; ZodError for a setting out of range.
 */
export async function createLacuna(options: ConfigInput & { log?: Logger } = {}): Promise<LacunaNode> {
  const { log, ...settings } = options;
  return await LacunaNode.open({
    config: configSchema.parse(settings),
    log: log ?? silentLogger,
    create: true,
  });
}

export type { AuditPlan, AuditResult } from './audit/audit.ts';
export type { WakuMessage } from './core/message.ts';
export { ERROR_CODES, type ErrorCode, LacunaError } from './errors.ts';
export type { LacunaNode, SyncOptions, SyncOutcome } from './node.ts';
export type { Dialect, Direction, SessionResult } from './sync/session.ts';
