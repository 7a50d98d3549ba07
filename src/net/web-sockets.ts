/**
 * The WebSocket transport, with the limits that it lacks: sockets that say nothing would stay for ever, keep their
 * listener from closing, and be counted by nobody; and one message could be of a hundred megabytes.
 */
import type { Server } from 'node:net';
import type { Listener, Transport } from '@libp2p/interface';
import { webSockets } from '@libp2p/websockets';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';

const LOOK_MS = 1_000;

type Components = Parameters<ReturnType<typeof webSockets>>[0];

/** The two servers behind a listener: its sockets, and what they become once they have asked for a WebSocket. */
interface Servers {
  readonly server: Server;
  readonly wsServer: { readonly options: { maxPayload?: number } };
}

/** Takes `connectionsMax` sockets. Where the engine has no WebSocket of its own (Node 20), it only listens. */
export function boundedWebSockets(connectionsMax: number): (components: Components) => Transport {
  const make = webSockets({
    http: {
      headersTimeout: LIMITS.handshakeMs,
      requestTimeout: LIMITS.handshakeMs,
      connectionsCheckingInterval: LOOK_MS,
    },
    maxBufferedAmount: LIMITS.streamWindowBytes,
  });
  return (components) => {
    const transport = make(components);
    const { createListener, dialFilter } = transport;
    transport.createListener = (options) => bounded(createListener.call(transport, options), connectionsMax);
    transport.dialFilter = (addresses) =>
      'WebSocket' in globalThis ? dialFilter.call(transport, addresses) : [];
    return transport;
  };
}

function bounded(listener: Listener, connectionsMax: number): Listener {
  if (!hasServers(listener)) throw new LacunaError('INTERNAL', 'the WebSocket listener is another one');
  listener.server.maxConnections = connectionsMax;
  // Until it is a WebSocket, which lifts the time-out, a socket that is silent is nobody's.
  listener.server.on('connection', (socket) => {
    socket.setTimeout(LIMITS.handshakeMs, () => socket.destroy());
  });
  listener.wsServer.options.maxPayload = LIMITS.webSocketMessageBytes;
  return listener;
}

function hasServers(listener: Listener | (Listener & Servers)): listener is Listener & Servers {
  return 'server' in listener && 'wsServer' in listener;
}
