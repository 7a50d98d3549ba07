/** Serves `/vac/waku/reconciliation/1.0.0`: each inbound stream is one session. */
import { LIMITS } from '../limits.ts';
import type { Synchroniser } from '../sync/synchroniser.ts';
import type { Host } from './host.ts';
import { RECONCILIATION } from './protocols.ts';
import type { ClusterCheck } from './waku-metadata.ts';

export async function serveReconciliation(
  host: Host,
  synchroniser: Synchroniser,
  cluster: ClusterCheck,
  stop: AbortSignal,
): Promise<void> {
  await host.serve(RECONCILIATION, LIMITS.reconciliationFrameBytes, async (connection, channel) => {
    await cluster.admit(connection);
    await synchroniser.serve(await host.link(connection), channel, stop);
  });
}
