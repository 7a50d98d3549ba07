/**
 * The libp2p host: TCP, noise, yamux (and mplex for those who know nothing else), identify and ping, with every
 * limit set, and a gate that keeps banned peers out. Gives connected peers as links.
 */
import { noise } from '@chainsafe/libp2p-noise';
import { yamux } from '@chainsafe/libp2p-yamux';
import { identify } from '@libp2p/identify';
import type { Connection, Libp2p, PrivateKey, Stream } from '@libp2p/interface';
import { mplex } from '@libp2p/mplex';
import { peerIdFromString } from '@libp2p/peer-id';
import { ping } from '@libp2p/ping';
import { tcp } from '@libp2p/tcp';
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr';
import { LevelDatastore } from 'datastore-level';
import { createLibp2p } from 'libp2p';
import { LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, FrameChannel, PeerLink } from '../ports.ts';
import { ByteBudget } from './byte-budget.ts';
import { Handshakes } from './handshakes.ts';
import { heldMuxer } from './held-muxer.ts';
import { RECONCILIATION, SYNC, TRANSFER } from './protocols.ts';
import { StreamChannel } from './stream-channel.ts';

const AGENT = 'lacuna';
const DIAL_ATTEMPT_MS = 6_000;
/** A busy peer takes its time; taken for a stock node, it would be asked for its last hour only. */
const IDENTIFY_MS = 6_000;
const PING_INTERVAL_MS = 15_000;
/** A peer that computes for some seconds is not dead. */
const PING_TIMEOUT_MS = 20_000;
const SOCKET_IDLE_MS = 120_000;

export interface HostInit {
  readonly privateKey: PrivateKey;
  /** Where peers and their addresses are remembered. */
  readonly peerStoreDirectory: string;
  readonly listen: readonly string[];
  readonly version: string;
  readonly clock: Clock;
  readonly isBanned: (peer: string) => boolean;
}

export type StreamTaker = (connection: Connection, channel: FrameChannel) => Promise<void>;

export class Host {
  readonly libp2p: Libp2p;
  readonly #datastore: LevelDatastore;
  readonly #clock: Clock;
  readonly #listen: readonly string[];
  /** What peers call themselves does not change while they are connected; libp2p keeps it on the disk. */
  readonly #agents = new WeakMap<Connection, string>();
  readonly #budget = new ByteBudget(LIMITS.streamsHeldBytes);

  private constructor(libp2p: Libp2p, datastore: LevelDatastore, init: HostInit) {
    this.libp2p = libp2p;
    this.#datastore = datastore;
    this.#clock = init.clock;
    this.#listen = init.listen;
  }

  static async create(init: HostInit): Promise<Host> {
    const datastore = new LevelDatastore(init.peerStoreDirectory);
    await datastore.open();
    const streamOptions = {
      // A window within the read buffer: a paused stream then holds its sender instead of being reset.
      maxStreamWindowSize: LIMITS.streamWindowBytes,
      maxReadBufferLength: LIMITS.streamReadBufferBytes,
    };
    const streamLimits = {
      maxInboundStreams: LIMITS.streamsPerConnection,
      maxOutboundStreams: LIMITS.streamsPerConnection,
    };
    const handshakes = new Handshakes();
    const libp2p = await createLibp2p({
      start: false,
      privateKey: init.privateKey,
      datastore,
      nodeInfo: { name: AGENT, version: init.version, userAgent: `${AGENT}/${init.version}` },
      addresses: { listen: [...init.listen] },
      transports: [
        tcp({
          inboundSocketInactivityTimeout: SOCKET_IDLE_MS,
          outboundSocketInactivityTimeout: SOCKET_IDLE_MS,
          maxConnections: LIMITS.connections,
        }),
      ],
      connectionEncrypters: [noise()],
      streamMuxers: [
        () => heldMuxer(yamux({ ...streamLimits, streamOptions })(), true),
        () => heldMuxer(mplex()(), false),
      ],
      services: { identify: identify(), ping: ping() },
      connectionManager: {
        maxConnections: LIMITS.connections,
        inboundConnectionThreshold: LIMITS.connectionsPerSecondPerHost,
        maxIncomingPendingConnections: LIMITS.connectionsPending,
        inboundUpgradeTimeout: LIMITS.handshakeMs,
        dialTimeout: LIMITS.dialMs,
        addressDialTimeout: DIAL_ATTEMPT_MS,
      },
      connectionMonitor: { pingInterval: PING_INTERVAL_MS, pingTimeout: { minTimeout: PING_TIMEOUT_MS } },
      connectionGater: {
        // Operators federate over private networks too.
        denyDialMultiaddr: () => false,
        denyDialPeer: (peer) => init.isBanned(peer.toString()),
        denyInboundConnection: (connection) => !handshakes.begin(connection),
        denyInboundEncryptedConnection: (peer) => init.isBanned(peer.toString()),
        denyInboundUpgradedConnection: (_peer, connection) => {
          handshakes.end(connection);
          return false;
        },
      },
    });
    return new Host(libp2p, datastore, init);
  }

  get peerId(): string {
    return this.libp2p.peerId.toString();
  }

  /** Where this node listens, each address with its peer id. */
  get addresses(): string[] {
    return this.libp2p.getMultiaddrs().map(String);
  }

  /** Registers a protocol; a taker that throws resets its stream and nothing more. */
  async serve(protocol: string, frameBytesMax: number, take: StreamTaker): Promise<void> {
    await this.libp2p.handle(
      protocol,
      async (stream, connection) => {
        await take(connection, new StreamChannel(stream, frameBytesMax, this.#budget));
      },
      {
        maxInboundStreams: LIMITS.streamsPerProtocol,
        maxOutboundStreams: LIMITS.streamsPerProtocol,
        runOnLimitedConnection: false,
      },
    );
  }

  /** @throws LacunaError CONFIG_INVALID when an address cannot be listened on. */
  async start(): Promise<void> {
    try {
      await this.libp2p.start();
    } catch (error) {
      const listen = this.#listen.join(', ');
      throw new LacunaError('CONFIG_INVALID', `listen ${listen}: ${toLacunaError(error).message}`, {
        cause: error,
      });
    }
  }

  async stop(): Promise<void> {
    await this.libp2p.stop();
    await this.#datastore.close();
  }

  /** At once: who is banned is owed no orderly end. */
  disconnect(peer: string): void {
    for (const connection of this.libp2p.getConnections()) {
      if (connection.remotePeer.toString() === peer) connection.abort(new Error('PEER_BANNED'));
    }
  }

  /**
   * Connects to a peer by its address.
   *
   * @throws LacunaError PEER_ADDRESS_INVALID, PEER_UNREACHABLE, PEER_IDENTITY.
   */
  async connect(address: string, stop?: AbortSignal): Promise<Connection> {
    const parsed = parsePeerAddress(address);
    const timeout = AbortSignal.timeout(LIMITS.dialMs);
    try {
      return await this.libp2p.dial(parsed, {
        signal: stop === undefined ? timeout : AbortSignal.any([stop, timeout]),
      });
    } catch (error) {
      throw dialError(error, address);
    }
  }

  /** The peer at the end of a connection; what it is need not be asked where it has shown it. */
  async link(connection: Connection, speaksNative = false): Promise<PeerLink> {
    return {
      peer: connection.remotePeer.toString(),
      isLacuna: speaksNative || (await this.#agentOf(connection)).startsWith(`${AGENT}/`),
      openSync: () => this.open(connection, SYNC, LIMITS.nativeFrameBytes),
      openReconciliation: () => this.open(connection, RECONCILIATION, LIMITS.reconciliationFrameBytes),
      openTransfer: () => this.open(connection, TRANSFER, LIMITS.transferFrameBytes),
    };
  }

  /** @throws LacunaError PEER_PROTOCOL, PEER_CLOSED. */
  async open(connection: Connection, protocol: string, frameBytesMax: number): Promise<FrameChannel> {
    const signal = AbortSignal.timeout(LIMITS.dialMs);
    let stream: Stream;
    try {
      stream = await connection.newStream(protocol, {
        signal,
        maxOutboundStreams: LIMITS.streamsPerProtocol,
      });
    } catch (error) {
      const name = error instanceof Error ? error.name : '';
      const unsupported = name === 'UnsupportedProtocolError';
      const text = unsupported ? `the peer does not speak ${protocol}` : 'the peer opens no stream';
      throw new LacunaError(unsupported ? 'PEER_PROTOCOL' : 'PEER_CLOSED', text, { cause: error });
    }
    return new StreamChannel(stream, frameBytesMax, this.#budget);
  }

  /** What the peer calls itself, as identify tells soon after connecting; '' when it does not. */
  async #agentOf(connection: Connection): Promise<string> {
    const known = this.#agents.get(connection);
    if (known !== undefined) return known;
    const until = this.#clock.monotonicMs() + IDENTIFY_MS;
    do {
      const agent = await this.#knownAgent(connection);
      if (agent !== undefined) {
        this.#agents.set(connection, agent);
        return agent;
      }
      await this.#clock.sleep(20);
    } while (this.#clock.monotonicMs() < until && connection.status === 'open');
    return '';
  }

  async #knownAgent(connection: Connection): Promise<string | undefined> {
    try {
      const peer = await this.libp2p.peerStore.get(connection.remotePeer);
      const agent = peer.metadata.get('AgentVersion');
      return agent === undefined ? undefined : new TextDecoder().decode(agent);
    } catch {
      return undefined;
    }
  }
}

/** @throws LacunaError PEER_ADDRESS_INVALID. */
export function parsePeerAddress(address: string): Multiaddr {
  try {
    const parsed = multiaddr(address);
    const last = parsed.getComponents().at(-1);
    if (last?.name === 'p2p' && last.value !== undefined) {
      peerIdFromString(last.value);
      return parsed;
    }
  } catch {
    // Reported below like an address without a peer id.
  }
  throw new LacunaError('PEER_ADDRESS_INVALID', `'${address}' is not a multiaddr with /p2p/<peer id>`);
}

/** libp2p says the same of many failures; what an operator needs is told apart by name and text. */
function dialError(error: unknown, address: string): LacunaError {
  const { message } = toLacunaError(error);
  const names = errorNames(error);
  if (names.includes('UnexpectedPeerError') || OTHER_IDENTITY.test(message)) {
    return new LacunaError('PEER_IDENTITY', `another node answers at ${address}`, { cause: error });
  }
  return new LacunaError('PEER_UNREACHABLE', `${address}: ${message}`, { cause: error });
}

/** libp2p wraps what noise found into an error of its own and keeps the text only. */
const OTHER_IDENTITY = /does not match expected remote identity key|expected peer|wrong peer/i;

function errorNames(error: unknown): string[] {
  if (!(error instanceof Error)) return [];
  const inner = error instanceof AggregateError ? error.errors.flatMap(errorNames) : [];
  return [error.name, ...inner, ...errorNames(error.cause)];
}
