/**
 * The WebSocket transport, with what it lacks: sockets that say nothing would stay for ever, keep their listener from
 * closing, and be counted by nobody; one message could be of a hundred megabytes, and one that is malformed would end
 * the process; and a connection that is reset would leave its socket behind.
 */
import type { IncomingMessage } from 'node:http';
import type { Server, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Listener, Transport } from '@libp2p/interface';
import { webSockets } from '@libp2p/websockets';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';

const LOOK_MS = 1_000;
/** The code of a WebSocket that ended without a word; it is never sent (RFC 6455, 7.4.1). */
const ABNORMAL = 1_006;

type Components = Parameters<ReturnType<typeof webSockets>>[0];

/** A WebSocket of the listener, before libp2p has it. */
interface RawWebSocket {
  on(event: 'error', listener: () => void): void;
  close(code?: number): void;
  terminate(): void;
}

type Upgrade = (
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  done: (webSocket: RawWebSocket, request: IncomingMessage) => void,
) => void;

/** The two servers behind a listener: its sockets, and what they become once they have asked for a WebSocket. */
interface Servers {
  readonly server: Server;
  readonly wsServer: {
    readonly options: { maxPayload?: number; closeTimeout?: number };
    handleUpgrade: Upgrade;
  };
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
  const { server, wsServer } = listener;
  const sockets = new Set<Socket>();
  server.maxConnections = connectionsMax;
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    // Until it is a WebSocket, which lifts the time-out, a socket that is silent is nobody's.
    socket.setTimeout(LIMITS.handshakeMs, () => socket.destroy());
  });
  wsServer.options.maxPayload = LIMITS.webSocketMessageBytes;
  wsServer.options.closeTimeout = LIMITS.handshakeMs;
  const upgrade = wsServer.handleUpgrade.bind(wsServer);
  wsServer.handleUpgrade = (request, socket, head, done) =>
    upgrade(request, socket, head, (webSocket, upgraded) => {
      // An error that nobody listens for ends the process, and a peer's bytes can be one.
      webSocket.on('error', () => webSocket.terminate());
      const end = webSocket.close.bind(webSocket);
      // libp2p resets a connection with a code that `ws` does not take: it throws, and the socket would stay.
      webSocket.close = (code) => (code === ABNORMAL ? webSocket.terminate() : end(code));
      done(webSocket, upgraded);
    });
  const close = listener.close.bind(listener);
  listener.close = async () => {
    const closed = close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  return listener;
}

function hasServers(listener: Listener | (Listener & Servers)): listener is Listener & Servers {
  return 'server' in listener && 'wsServer' in listener;
}
