/**
 * What a stream carries between two processes at best: large frames over the same TCP, noise and yamux as those of a
 * node, with a receiver that only counts.
 */
import { once } from 'node:events';
import { mkdir } from 'node:fs/promises';
import type { Stream } from '@libp2p/interface';
import { loadOrCreateIdentity } from '../src/identity.ts';
import { parsePeerAddress } from '../src/net/addresses.ts';
import { Host } from '../src/net/host.ts';
import { Gate } from '../src/sync/gate.ts';
import { LimitCounts } from '../src/sync/limit-counts.ts';
import { Traffic } from '../src/sync/traffic.ts';
import { systemClock } from '../src/system.ts';

const PROTOCOL = '/lacuna/bench-stream/1.0.0';
const FRAME_BYTES = 256 * 1024;

/** A host that lets everybody in. */
export async function openHost(folder: string): Promise<Host> {
  await mkdir(folder, { recursive: true });
  return await Host.create({
    privateKey: await loadOrCreateIdentity(folder),
    listen: ['/ip4/127.0.0.1/tcp/0'],
    version: 'bench',
    clock: systemClock,
    gate: new Gate({
      allow: [],
      deny: [],
      configured: [],
      isPrivate: false,
      connectionsMax: 10,
      isBanned: () => false,
      counts: new LimitCounts(),
    }),
    admitsStream: () => true,
    traffic: new Traffic(),
    mdns: false,
  });
}

/** Takes one stream of so many bytes. */
export class StreamSink {
  readonly #host: Host;
  readonly #expected: number;
  readonly #finished = Promise.withResolvers<void>();
  #bytes = 0;
  #firstMs = 0;
  #lastMs = 0;

  private constructor(host: Host, expected: number) {
    this.#host = host;
    this.#expected = expected;
  }

  static async open(folder: string, bytes: number): Promise<StreamSink> {
    const host = await openHost(folder);
    const sink = new StreamSink(host, bytes);
    await host.libp2p.handle(PROTOCOL, (stream) => sink.#count(stream));
    await host.start();
    return sink;
  }

  get address(): string {
    return this.#host.addresses[0]!;
  }

  /** Seconds from the first byte to the last. */
  async finished(): Promise<number> {
    await this.#finished.promise;
    return (this.#lastMs - this.#firstMs) / 1e3;
  }

  #count(stream: Stream): void {
    stream.addEventListener('close', () => {
      this.#finished.reject(new Error(`the stream ended after ${this.#bytes} bytes`));
    });
    stream.addEventListener('message', ({ data }) => {
      const nowMs = performance.now();
      if (this.#bytes === 0) this.#firstMs = nowMs;
      this.#lastMs = nowMs;
      this.#bytes += data.byteLength;
      if (this.#bytes >= this.#expected) this.#finished.resolve();
    });
  }
}

/** The host stays: what was sent is on its way until the other side has said how much came. */
export async function sendStream(folder: string, address: string, bytes: number): Promise<void> {
  const host = await openHost(folder);
  await host.start();
  const stream = await host.libp2p.dialProtocol(parsePeerAddress(address), PROTOCOL);
  const frame = Buffer.alloc(FRAME_BYTES, 0x5a);
  for (let sent = 0; sent < bytes; sent += FRAME_BYTES) {
    // The event comes every time, unlike the answer of `onDrain`.
    if (!stream.send(frame)) await once(stream, 'drain');
  }
  await stream.close();
}
