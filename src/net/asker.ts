/**
 * A host that asks and serves nobody: for commands that want something of a peer and have no store. It tells its cluster,
 * as nwaku keeps no connection to who does not.
 */
import type { PrivateKey } from '@libp2p/interface';
import { LIMITS } from '../limits.ts';
import type { Clock, PeerLink } from '../ports.ts';
import { Gate } from '../sync/gate.ts';
import { LimitCounts } from '../sync/limit-counts.ts';
import { Traffic } from '../sync/traffic.ts';
import { Host } from './host.ts';
import {
  ClusterCheck,
  type ClusterSettings,
  metadataOf,
  namedCluster,
  serveMetadata,
} from './waku-metadata.ts';

export interface AskerInit {
  readonly privateKey: PrivateKey;
  readonly cluster: ClusterSettings;
  readonly version: string;
  readonly clock: Clock;
}

export class Asker {
  readonly #host: Host;
  readonly #cluster: ClusterCheck;

  private constructor(host: Host, cluster: ClusterSettings) {
    this.#host = host;
    this.#cluster = new ClusterCheck(host, metadataOf(cluster), namedCluster(cluster) !== undefined);
  }

  static async start({ privateKey, cluster, version, clock }: AskerInit): Promise<Asker> {
    const gate = new Gate({
      allow: [],
      deny: [],
      configured: [],
      isPrivate: false,
      connectionsMax: LIMITS.connections,
      isBanned: () => false,
      counts: new LimitCounts(),
    });
    const host = await Host.create({
      privateKey,
      listen: [],
      version,
      clock,
      gate,
      admitsStream: () => true,
      traffic: new Traffic(),
      mdns: false,
    });
    await serveMetadata(host, cluster);
    await host.start();
    return new Asker(host, cluster);
  }

  /** @throws LacunaError PEER_ADDRESS_INVALID, PEER_UNREACHABLE, PEER_IDENTITY, PEER_CLUSTER. */
  async link(address: string, stop: AbortSignal): Promise<PeerLink> {
    const connection = await this.#host.connect(address, stop);
    await this.#cluster.admit(connection);
    return await this.#host.link(connection);
  }

  async stop(): Promise<void> {
    await this.#host.stop();
  }
}
