/** Serves the protocols in which a peer may open a session: each inbound stream is one. */
import { toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Logger } from '../ports.ts';
import type { ServedDialect } from '../sync/session.ts';
import type { Synchroniser } from '../sync/synchroniser.ts';
import type { Host } from './host.ts';
import { RECONCILIATION, SYNC } from './protocols.ts';
import type { ClusterCheck } from './waku-metadata.ts';

const PROTOCOLS: readonly (readonly [protocol: string, dialect: ServedDialect, frameBytesMax: number])[] = [
  [SYNC, 'native', LIMITS.nativeFrameBytes],
  [RECONCILIATION, 'waku', LIMITS.reconciliationFrameBytes],
];

export async function serveSessions(
  host: Host,
  synchroniser: Synchroniser,
  cluster: ClusterCheck,
  stop: AbortSignal,
  log: Logger,
): Promise<void> {
  for (const [protocol, dialect, frameBytesMax] of PROTOCOLS) {
    await host.serve(protocol, frameBytesMax, async (connection, channel) => {
      try {
        await cluster.admit(connection);
      } catch (error) {
        const { code, message } = toLacunaError(error);
        log.warn({ peer: connection.remotePeer.toString(), code, error: message }, 'a peer was turned away');
        throw error;
      }
      const link = await host.link(connection, dialect === 'native');
      await synchroniser.serve(dialect, link, channel, stop);
    });
  }
}
