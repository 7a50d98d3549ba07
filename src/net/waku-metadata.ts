/**
 * Serves and asks `/vac/waku/metadata/1.0.0`. A node that names its cluster has nothing to do with peers of
 * another one (64/WAKU2-NETWORK): they are told apart here and disconnected.
 */
import type { Connection } from '@libp2p/interface';
import { LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import { decodeMetadata, encodeMetadata, type WakuMetadata } from '../wire/waku-metadata.ts';
import type { Host } from './host.ts';
import { METADATA } from './protocols.ts';

/** A node that named its cluster says so, whatever the question; one that named none is of the cluster of who asks. */
export async function serveMetadata(host: Host, settings: ClusterSettings): Promise<void> {
  const own = metadataOf(settings);
  const isNamed = namedCluster(settings) !== undefined;
  await host.serve(METADATA, LIMITS.metadataFrameBytes, async (_connection, channel) => {
    try {
      const question = await channel.read(LIMITS.metadataMs);
      if (question !== undefined) {
        const clusterId = (isNamed ? undefined : clusterOf(question)) ?? own.clusterId;
        await channel.write([encodeMetadata({ ...own, clusterId })]);
      }
      await channel.close();
    } catch (error) {
      channel.abort(new Error(toLacunaError(error).code));
    }
  });
}

/** What cannot be read names none. */
function clusterOf(question: Uint8Array): number | undefined {
  try {
    return decodeMetadata(question).clusterId;
  } catch {
    return undefined;
  }
}

export class ClusterCheck {
  readonly #host: Host;
  readonly #own: WakuMetadata;
  readonly #enforced: boolean;
  readonly #admitted = new WeakMap<Connection, Promise<void>>();

  /** `enforced` is false where the operator named no cluster: then any peer will do. */
  constructor(host: Host, own: WakuMetadata, enforced: boolean) {
    this.#host = host;
    this.#own = own;
    this.#enforced = enforced;
  }

  /**
   * Resolves when the peer may take part. Asked once for each connection.
   *
   * @throws LacunaError PEER_CLUSTER; the connection is closed then.
   */
  async admit(connection: Connection): Promise<void> {
    if (!this.#enforced) return;
    const asked = this.#admitted.get(connection) ?? this.#ask(connection);
    this.#admitted.set(connection, asked);
    await asked;
  }

  async #ask(connection: Connection): Promise<void> {
    const theirs = await this.#metadataOf(connection);
    if (theirs?.clusterId === undefined || theirs.clusterId === this.#own.clusterId) return;
    await connection.close().catch(() => undefined);
    throw new LacunaError(
      'PEER_CLUSTER',
      `the peer serves cluster ${theirs.clusterId}, this node serves ${this.#own.clusterId}`,
    );
  }

  /** undefined when the peer does not speak the protocol, or says nothing that can be read. */
  async #metadataOf(connection: Connection): Promise<WakuMetadata | undefined> {
    try {
      const channel = await this.#host.open(connection, METADATA, LIMITS.metadataFrameBytes);
      await channel.write([encodeMetadata(this.#own)]);
      const answer = await channel.read(LIMITS.metadataMs);
      await channel.close();
      return answer === undefined ? undefined : decodeMetadata(answer);
    } catch {
      return undefined;
    }
  }
}

/** What an operator says of the network that a node belongs to. */
export interface ClusterSettings {
  readonly clusterId?: number | undefined;
  readonly pubsubTopic: readonly string[];
}

const STATIC_SHARD = /^\/waku\/2\/rs\/(\d{1,5})\/(\d{1,5})$/;
const THE_WAKU_NETWORK = 1;

/** The cluster that the operator named, in so many words or by static sharding topics. */
export function namedCluster({ clusterId, pubsubTopic }: ClusterSettings): number | undefined {
  if (clusterId !== undefined) return clusterId;
  for (const topic of pubsubTopic) {
    const match = STATIC_SHARD.exec(topic);
    if (match !== null) return Number(match[1]);
  }
  return undefined;
}

export function metadataOf(settings: ClusterSettings): WakuMetadata {
  const shards = settings.pubsubTopic.flatMap((topic) => {
    const match = STATIC_SHARD.exec(topic);
    return match === null ? [] : [Number(match[2])];
  });
  return { clusterId: namedCluster(settings) ?? THE_WAKU_NETWORK, shards };
}
