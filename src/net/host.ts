/**
 * The libp2p host: TCP (and WebSockets, for clients that have nothing else), noise, yamux (and mplex, likewise),
 * identify and ping, with every limit set, and a gate that keeps banned peers out. Gives connected peers as links.
 */
import { yamux } from '@chainsafe/libp2p-yamux';
import { identify } from '@libp2p/identify';
import type {
  Connection,
  IdentifyResult,
  Libp2p,
  MultiaddrConnection,
  PeerDiscovery,
  PeerId,
  PeerInfo,
  PrivateKey,
  Stream,
  StreamMuxerFactory,
} from '@libp2p/interface';
import { mdns } from '@libp2p/mdns';
import { mplex } from '@libp2p/mplex';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import { ping } from '@libp2p/ping';
import { tcp } from '@libp2p/tcp';
import { createLibp2p } from 'libp2p';
import { LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, FrameChannel, PeerLink } from '../ports.ts';
import type { Gate } from '../sync/gate.ts';
import type { PeerSource } from '../sync/known-peer.ts';
import type { Traffic } from '../sync/traffic.ts';
import { decodePeerList } from '../wire/peer-list.ts';
import {
  hostOfAddress,
  isDialled,
  parsePeerAddress,
  reachableAddresses,
  usableAddresses,
  withPeer,
} from './addresses.ts';
import { ByteBudget } from './byte-budget.ts';
import { dialError } from './dial-error.ts';
import { guardedMuxer, PeersByConnection } from './guarded-muxer.ts';
import { Handshakes } from './handshakes.ts';
import { heldMuxer } from './held-muxer.ts';
import { PeerNotes } from './peer-notes.ts';
import { PEERS, RECONCILIATION, STORE_QUERY, SYNC, TRANSFER } from './protocols.ts';
import { StreamChannel } from './stream-channel.ts';
import { boundedWebSockets } from './web-sockets.ts';

const AGENT = 'lacuna';
const DIAL_ATTEMPT_MS = 6_000;
/** A busy peer takes its time; taken for a stock node, it would be asked for its last hour only. */
const IDENTIFY_MS = 6_000;
const PING_INTERVAL_MS = 15_000;
/** A peer that computes for some seconds is not dead. */
const PING_TIMEOUT_MS = 20_000;
const SOCKET_IDLE_MS = 120_000;
/** Lacunas find each other on a local network, and nothing else finds them. */
const MDNS_SERVICE = '_lacuna._udp.local';

export interface HostInit {
  readonly privateKey: PrivateKey;
  readonly listen: readonly string[];
  readonly version: string;
  readonly clock: Clock;
  /** Who may be connected. */
  readonly gate: Gate;
  /** Asked for every stream that a peer opens; one that is not admitted is reset. */
  readonly admitsStream: (peer: string) => boolean;
  /** Counts the bytes of all streams. */
  readonly traffic: Traffic;
  /** Find Lacunas on the local network, and be found. */
  readonly mdns: boolean;
}

export type StreamTaker = (connection: Connection, channel: FrameChannel) => Promise<void>;

export class Host {
  readonly libp2p: Libp2p;
  /** Told of every Lacuna that is heard of, as often as that happens: a multiaddr with a peer id. */
  onPeer: (address: string, source: PeerSource) => void = () => undefined;
  /** The first connection with a peer has opened; the last one has closed. */
  onConnect: (peer: string) => void = () => undefined;
  onDisconnect: (peer: string) => void = () => undefined;
  readonly #clock: Clock;
  readonly #listen: readonly string[];
  readonly #traffic: Traffic;
  /** What peers call themselves does not change while they are connected; libp2p decodes it each time. */
  readonly #agents = new WeakMap<Connection, string>();
  readonly #budget = new ByteBudget(LIMITS.streamsHeldBytes);

  private constructor(libp2p: Libp2p, discovery: PeerDiscovery | undefined, init: HostInit) {
    this.libp2p = libp2p;
    this.#clock = init.clock;
    this.#listen = init.listen;
    this.#traffic = init.traffic;
    this.#listenTo(discovery);
  }

  static async create(init: HostInit): Promise<Host> {
    const streamOptions = {
      // A window within the read buffer: a paused stream then holds its sender instead of being reset.
      maxStreamWindowSize: LIMITS.streamWindowBytes,
      maxReadBufferLength: LIMITS.streamReadBufferBytes,
    };
    const streamLimits = {
      // The guard of the muxer holds the other side to its number, and has to see what is beyond it.
      maxInboundStreams: 2 * LIMITS.streamsPerConnection,
      maxOutboundStreams: LIMITS.streamsPerConnection,
    };
    const { gate } = init;
    const socketsMax = gate.placesMax + LIMITS.connectionsPending;
    const handshakes = new Handshakes();
    const peers = new PeersByConnection();
    let discovery: PeerDiscovery | undefined;
    const findsPeers = mdns({ serviceTag: MDNS_SERVICE });
    const muxer = (inner: StreamMuxerFactory, pauses: boolean): StreamMuxerFactory => {
      const guarded = guardedMuxer(inner, (connection) => init.admitsStream(peers.peerOf(connection) ?? ''));
      return heldMuxer(guarded, pauses);
    };
    const libp2p = await createLibp2p({
      start: false,
      privateKey: init.privateKey,
      datastore: new PeerNotes(peerIdFromPrivateKey(init.privateKey)),
      nodeInfo: { name: AGENT, version: init.version, userAgent: `${AGENT}/${init.version}` },
      addresses: { listen: [...init.listen] },
      transports: [
        tcp({
          inboundSocketInactivityTimeout: SOCKET_IDLE_MS,
          outboundSocketInactivityTimeout: SOCKET_IDLE_MS,
          maxConnections: socketsMax,
        }),
        boundedWebSockets(socketsMax),
      ],
      connectionEncrypters: [peers.noise()],
      streamMuxers: [
        () => muxer(yamux({ ...streamLimits, streamOptions })(), true),
        () => muxer(mplex({ disconnectThreshold: LIMITS.mplexEventsPerSecond })(), false),
      ],
      services: { identify: identify(), ping: ping() },
      peerDiscovery: init.mdns
        ? [
            (components) => {
              discovery = findsPeers(components);
              return discovery;
            },
          ]
        : [],
      connectionManager: {
        // The gate counts: libp2p would refuse a peer before it knows who it is, and close others in its favour.
        maxConnections: Number.MAX_SAFE_INTEGER,
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
        denyDialPeer: (peer) => !gate.admits(peer.toString()),
        denyInboundConnection: (connection) => !handshakes.begin(connection),
        denyInboundEncryptedConnection: (peer, connection) =>
          !holdsPlace(gate, gate.enter(peer.toString()), peer, connection),
        denyOutboundEncryptedConnection: (peer, connection) =>
          !holdsPlace(gate, gate.enterDialled(peer.toString()), peer, connection),
        denyInboundUpgradedConnection: (_peer, connection) => {
          handshakes.end(connection);
          return false;
        },
      },
    });
    return new Host(libp2p, discovery, init);
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
        await take(connection, this.#channel(stream, protocol, frameBytesMax));
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
  }

  /** Peers with a connection. */
  connectedPeers(): string[] {
    return this.libp2p.getPeers().map(String);
  }

  /** The IP addresses that a peer is connected from, each once. */
  hostsOf(peer: string): string[] {
    const connections = this.libp2p.getConnections().filter(({ remotePeer }) => String(remotePeer) === peer);
    return [...new Set(connections.map(({ remoteAddr }) => hostOfAddress(remoteAddr)))];
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
    const isLacuna = speaksNative || (await this.#agentOf(connection)).startsWith(`${AGENT}/`);
    return {
      peer: connection.remotePeer.toString(),
      isLacuna,
      reconciles: isLacuna || (await this.#mayReconcile(connection)),
      openSync: () => this.open(connection, SYNC, LIMITS.nativeFrameBytes),
      openReconciliation: () => this.open(connection, RECONCILIATION, LIMITS.reconciliationFrameBytes),
      openTransfer: () => this.open(connection, TRANSFER, LIMITS.transferFrameBytes),
      openStoreQuery: () => this.open(connection, STORE_QUERY, LIMITS.storeQueryResponseBytes),
    };
  }

  /**
   * Asks a peer for others (spec/peers.md): at most `peerListAddresses`, each a multiaddr with a peer id. That somebody
   * is there, nobody has seen.
   *
   * @throws LacunaError PEER_PROTOCOL, PEER_CLOSED, PEER_TIMEOUT; WIRE_… when the answer is none.
   */
  async askPeers(connection: Connection): Promise<string[]> {
    const channel = await this.open(connection, PEERS, LIMITS.peerListFrameBytes);
    try {
      await channel.close();
      const answer = await channel.read(LIMITS.peerListMs);
      if (answer === undefined) throw new LacunaError('PEER_CLOSED', 'the peer tells of nobody');
      return usableAddresses(decodePeerList(answer), this.peerId, connection.remoteAddr);
    } catch (error) {
      const { code } = toLacunaError(error);
      channel.abort(new Error(code));
      throw error;
    }
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
    return this.#channel(stream, protocol, frameBytesMax);
  }

  #channel(stream: Stream, protocol: string, frameBytesMax: number): StreamChannel {
    return new StreamChannel(stream, frameBytesMax, this.#budget, this.#traffic.of(protocol));
  }

  #listenTo(discovery: PeerDiscovery | undefined): void {
    const { libp2p } = this;
    libp2p.addEventListener('peer:connect', ({ detail }) => this.onConnect(detail.toString()));
    libp2p.addEventListener('peer:disconnect', ({ detail }) => this.onDisconnect(detail.toString()));
    libp2p.addEventListener('peer:identify', ({ detail }) => this.#identified(detail));
    // Of `peer:discovery` libp2p makes an event for every peer that it has come to know, by whatever way.
    discovery?.addEventListener('peer', ({ detail }) => this.#discovered(detail));
  }

  #identified({ peerId, agentVersion, listenAddrs, connection }: IdentifyResult): void {
    if (connection.direction !== 'inbound' || agentVersion?.startsWith(`${AGENT}/`) !== true) return;
    for (const address of reachableAddresses(peerId.toString(), connection.remoteAddr, listenAddrs)) {
      this.onPeer(address, 'inbound');
    }
  }

  #discovered({ id, multiaddrs }: PeerInfo): void {
    if (id.equals(this.libp2p.peerId)) return;
    for (const address of multiaddrs.filter(isDialled).slice(0, LIMITS.peerOwnAddresses)) {
      this.onPeer(withPeer(address, id.toString()), 'mdns');
    }
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

  /** What it has told of itself says so, or does not say it: a peer is identified by now, if it ever is. */
  async #mayReconcile(connection: Connection): Promise<boolean> {
    try {
      const { protocols } = await this.libp2p.peerStore.get(connection.remotePeer);
      return protocols.includes(RECONCILIATION) || !protocols.includes(STORE_QUERY);
    } catch {
      return true;
    }
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

/** Gives the place back when the connection closes; false when there was none for it, or when it has closed already. */
function holdsPlace(gate: Gate, isTaken: boolean, peer: PeerId, connection: MultiaddrConnection): boolean {
  if (!isTaken) return false;
  const leave = (): void => gate.leave(peer.toString());
  if (connection.status === 'open') {
    connection.addEventListener('close', leave, { once: true });
    return true;
  }
  leave();
  return false;
}
