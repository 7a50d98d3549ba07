/** Serves `/vac/waku/reconciliation/1.0.0`: each inbound stream is one session. */

import { toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Logger } from '../ports.ts';
import type { Synchroniser } from '../sync/synchroniser.ts';
import type { Host } from './host.ts';
import { RECONCILIATION } from './protocols.ts';
import type { ClusterCheck } from './waku-metadata.ts';

export async function serveReconciliation(
  host: Host,
  synchroniser: Synchroniser,
  cluster: ClusterCheck,
  stop: AbortSignal,
  log: Logger,
): Promise<void> {
  await host.serve(RECONCILIATION, LIMITS.reconciliationFrameBytes, async (connection, channel) => {
    try {
      await cluster.admit(connection);
    } catch (error) {
      const { code, message } = toLacunaError(error);
      log.warn({ peer: connection.remotePeer.toString(), code, error: message }, 'a peer was turned away');
      throw error;
    }
    await synchroniser.serve(await host.link(connection), channel, stop);
  });
}
