/**
 * A libp2p node that is not Lacuna: TCP, noise and a muxer, no limits of ours, no code of ours between it and the
 * wire. What it says is up to the test.
 */
import { noise } from '@chainsafe/libp2p-noise';
import { yamux } from '@chainsafe/libp2p-yamux';
import { identify } from '@libp2p/identify';
import type { Connection, Libp2p, Stream, StreamMuxerFactory } from '@libp2p/interface';
import { mplex } from '@libp2p/mplex';
import { tcp } from '@libp2p/tcp';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';

/** A peer reads what a bulk transfer brings without holding it back. */
const READ_BUFFER_BYTES = 256 * 1_024 * 1_024;

export interface PlainHostInit {
  readonly agent?: string;
  readonly muxer?: 'yamux' | 'mplex';
  /** Where its connections come from; hosts are told apart by it. */
  readonly localAddress?: string;
  /** Sent where the first frame of the muxer should stand. */
  readonly muxerGarbage?: Uint8Array;
}

const running = new Set<Libp2p>();

export async function startPlainHost(init: PlainHostInit = {}): Promise<Libp2p> {
  const chosen =
    init.muxer === 'mplex' ? mplex() : yamux({ streamOptions: { maxReadBufferLength: READ_BUFFER_BYTES } });
  const muxer = init.muxerGarbage === undefined ? chosen : after(init.muxerGarbage, chosen());
  const host = await createLibp2p({
    nodeInfo: { userAgent: init.agent ?? 'nwaku/v0.38.0', name: 'nwaku', version: 'v0.38.0' },
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp({ dialOpts: dialsFrom(init.localAddress ?? '127.0.0.1') })],
    connectionEncrypters: [noise()],
    streamMuxers: [muxer],
    services: { identify: identify() },
    connectionManager: { inboundConnectionThreshold: 1_000, maxIncomingPendingConnections: 1_000 },
    connectionGater: { denyDialMultiaddr: () => false },
  });
  running.add(host);
  return host;
}

/** The muxer, but these bytes go out before anything of its own. */
function after(garbage: Uint8Array, inner: StreamMuxerFactory): () => StreamMuxerFactory {
  return () => ({
    protocol: inner.protocol,
    createStreamMuxer(connection) {
      const muxer = inner.createStreamMuxer(connection);
      connection.send(garbage);
      return muxer;
    },
  });
}

/** An option of a socket that the types of the transport leave out. */
function dialsFrom(localAddress: string): object {
  return { localAddress };
}

export function addressOf(host: Libp2p): string {
  return String(host.getMultiaddrs()[0]);
}

export async function dial(host: Libp2p, address: string): Promise<Connection> {
  return await host.dial(multiaddr(address), { signal: AbortSignal.timeout(10_000) });
}

/** Stops every host of this file. */
export async function stopPlainHosts(): Promise<void> {
  const hosts = [...running];
  running.clear();
  await Promise.all(hosts.map((host) => host.stop()));
}

/** A length prefix and the bytes it announces. */
export function frameOf(bytes: Uint8Array): Uint8Array {
  const prefix: number[] = [];
  let rest = bytes.length;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) prefix.push((rest % 128) | 0x80);
  return Buffer.concat([Uint8Array.from([...prefix, rest]), bytes]);
}

/** Reads length-prefixed frames of any size from a stream; undefined at its end, whether closed or reset. */
export class FrameReader {
  #held = Buffer.alloc(0);
  #parts: Buffer[] = [];
  #ended = false;
  #wake: () => void = () => undefined;

  constructor(stream: Stream) {
    stream.addEventListener('message', ({ data }) => {
      this.#parts.push(Buffer.from(data.subarray()));
      this.#wake();
    });
    const end = (): void => {
      this.#ended = true;
      this.#wake();
    };
    stream.addEventListener('remoteCloseWrite', end);
    stream.addEventListener('close', end);
  }

  async read(timeoutMs = 30_000): Promise<Uint8Array | undefined> {
    for (const deadline = Date.now() + timeoutMs; ; ) {
      this.#held = Buffer.concat([this.#held, ...this.#parts.splice(0)]);
      const frame = this.#take();
      if (frame !== undefined) return frame;
      if (this.#ended) return undefined;
      const leftMs = deadline - Date.now();
      if (leftMs <= 0) throw new Error(`no frame for ${timeoutMs} ms`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  #take(): Uint8Array | undefined {
    let length = 0;
    for (let at = 0; at < this.#held.length; at++) {
      const byte = this.#held[at]!;
      length += (byte & 0x7f) * 2 ** (7 * at);
      if (byte >= 0x80) continue;
      if (this.#held.length < at + 1 + length) return undefined;
      const frame = this.#held.subarray(at + 1, at + 1 + length);
      this.#held = this.#held.subarray(at + 1 + length);
      return frame;
    }
    return undefined;
  }
}

/** Sends and waits for room; false when the stream takes no more. */
export async function send(stream: Stream, bytes: Uint8Array): Promise<boolean> {
  try {
    if (stream.send(bytes)) return true;
  } catch {
    return false;
  }
  return await new Promise((resolve) => {
    const done = (): void => {
      stream.removeEventListener('drain', done);
      stream.removeEventListener('close', done);
      resolve(stream.writeStatus === 'writable');
    };
    stream.addEventListener('drain', done);
    stream.addEventListener('close', done);
    if (!stream.writableNeedsDrain) done();
  });
}
