/**
 * A stock nwaku, as far as it stores and synchronises: its reconciliation policy (bench/baselines), and its habits
 * on the wire as they were observed (spec/waku-sync.md). It opens a transfer stream at the first hash it has to
 * send, writes one frame a message, never closes it and uses it again in the next session; it ends a transfer
 * stream at a frame of over 150 KiB; it takes messages from anybody; it keeps an index of its last hour only.
 */
import type { Connection, Libp2p, Stream } from '@libp2p/interface';
import { type StockElement, StockNwaku } from '../../bench/baselines/stock-nwaku.ts';
import type { WakuMessage } from '../../src/core/message.ts';
import { type Claim, isFinal, type RangesPayload } from '../../src/core/range.ts';
import { hashOf as idHash, makeId, type SyncIdList, timeOf } from '../../src/core/sync-id.ts';
import { decodeMessageAndTopic, encodeMessageAndTopic } from '../../src/wire/waku-message.ts';
import { decodeMetadata, encodeMetadata } from '../../src/wire/waku-metadata.ts';
import { decodeRanges, encodeRanges } from '../../src/wire/waku-ranges.ts';
import { ago, hashOf, lineOf } from './message-lines.ts';
import {
  addressOf,
  dial,
  FrameReader,
  frameOf,
  type PlainHostInit,
  send,
  startPlainHost,
} from './plain-host.ts';

export const RECONCILIATION = '/vac/waku/reconciliation/1.0.0';
export const TRANSFER = '/vac/waku/transfer/1.0.0';
export const METADATA = '/vac/waku/metadata/1.0.0';

const RANGE_MS = 3_600_000;
const JITTER_MS = 20_000;
const TRANSFER_FRAME_BYTES = 153_600;

export interface StockPeerInit extends PlainHostInit {
  readonly clusterId?: number;
  readonly pubsubTopics?: readonly string[];
  readonly contentTopics?: readonly string[];
}

interface Kept {
  readonly message: WakuMessage;
  readonly element: StockElement;
}

export class StockNwakuPeer {
  readonly #host: Libp2p;
  readonly #init: StockPeerInit;
  readonly #messages = new Map<string, Kept>();
  readonly #transfers = new Map<string, Stream>();
  /** Transfer streams opened since the start, and sessions ended as either side. */
  transfersOpened = 0;
  sessionsEnded = 0;
  framesSent = 0;

  private constructor(host: Libp2p, init: StockPeerInit) {
    this.#host = host;
    this.#init = init;
  }

  static async start(init: StockPeerInit = {}): Promise<StockNwakuPeer> {
    const host = await startPlainHost(init);
    const peer = new StockNwakuPeer(host, init);
    await host.handle(METADATA, (stream) => peer.#answerMetadata(stream));
    await host.handle(RECONCILIATION, (stream, connection) => peer.#respond(stream, connection));
    await host.handle(TRANSFER, (stream) => peer.#receive(stream));
    return peer;
  }

  get address(): string {
    return addressOf(this.#host);
  }

  get peerId(): string {
    return this.#host.peerId.toString();
  }

  /** What it holds, as message lines. */
  get lines(): string[] {
    return [...this.#messages.values()].map(({ message }) => lineOf(message));
  }

  get connections(): number {
    return this.#host.getConnections().length;
  }

  add(...messages: readonly WakuMessage[]): void {
    for (const message of messages) {
      const hash = hashOf(message);
      const id = makeId(message.timestamp, Buffer.from(hash.slice(2), 'hex'));
      const { pubsubTopic, contentTopic } = message;
      this.#messages.set(hash, { message, element: { id, pubsubTopic, contentTopic } });
    }
  }

  /** Opens a session as it does every five minutes; resolves when the reconciliation is over. */
  async synchronise(address: string): Promise<void> {
    const connection = await dial(this.#host, address);
    await this.#checkCluster(connection);
    const stream = await connection.newStream(RECONCILIATION);
    const policy = this.#policy();
    const untilNs = ago(JITTER_MS);
    await send(
      stream,
      frameOf(encodeRanges(policy.initiate(untilNs - BigInt(RANGE_MS) * 1_000_000n, untilNs))),
    );
    await this.#converse(stream, connection, policy);
  }

  async #respond(stream: Stream, connection: Connection): Promise<void> {
    await this.#converse(stream, connection, this.#policy());
  }

  /** Reads and answers until a payload with nothing but skips was received or sent; then closes its side. */
  async #converse(stream: Stream, connection: Connection, policy: StockNwaku): Promise<void> {
    const reader = new FrameReader(stream);
    const toSend: SyncIdList[] = [];
    for (;;) {
      const frame = await reader.read();
      if (frame === undefined) break;
      const payload = decodeRanges(frame);
      if (isFinal(payload.claims)) break;
      const answer = policy.process(this.#withoutOldRanges(payload));
      toSend.push(answer.send);
      await send(
        stream,
        frameOf(answer.payload === undefined ? new Uint8Array(0) : encodeRanges(answer.payload)),
      );
      void this.#transfer(connection, answer.send);
      if (answer.payload === undefined || isFinal(answer.payload.claims)) break;
    }
    await stream.close().catch(() => undefined);
    this.sessionsEnded += 1;
  }

  /** Leading ranges that lie wholly before its own window are passed over. */
  #withoutOldRanges(payload: RangesPayload): RangesPayload {
    const oldest = ago(RANGE_MS + JITTER_MS);
    const firstKept = payload.claims.findIndex(({ upper }) => timeOf(upper) >= oldest);
    const claims = payload.claims.map((claim, index): Claim => {
      const old = firstKept < 0 || index < firstKept;
      return old ? { kind: 'skip', lower: claim.lower, upper: claim.upper } : claim;
    });
    return { ...payload, claims };
  }

  /** One frame a message, on a stream that stays open. A message whose write fails is lost to this session. */
  async #transfer(connection: Connection, ids: SyncIdList): Promise<void> {
    for (let row = 0; row < ids.count; row++) {
      const kept = this.#messages.get(`0x${Buffer.from(idHash(ids.at(row))).toString('hex')}`);
      if (kept === undefined) continue;
      const stream = await this.#transferStream(connection);
      if (stream === undefined) continue;
      if (await send(stream, frameOf(encodeMessageAndTopic(kept.message)))) this.framesSent += 1;
    }
  }

  async #transferStream(connection: Connection): Promise<Stream | undefined> {
    const peer = connection.remotePeer.toString();
    const known = this.#transfers.get(peer);
    if (known?.writeStatus === 'writable') return known;
    try {
      const stream = await connection.newStream(TRANSFER);
      // Two may have been opened side by side; the first one is kept.
      const other = this.#transfers.get(peer);
      if (other?.writeStatus === 'writable') {
        await stream.close();
        return other;
      }
      this.transfersOpened += 1;
      this.#transfers.set(peer, stream);
      return stream;
    } catch {
      return undefined;
    }
  }

  async #receive(stream: Stream): Promise<void> {
    const reader = new FrameReader(stream);
    for (;;) {
      const frame = await reader.read(3_600_000);
      if (frame === undefined) break;
      if (frame.length > TRANSFER_FRAME_BYTES) break;
      try {
        const message = decodeMessageAndTopic(Uint8Array.from(frame));
        if (!message.ephemeral) this.add(message);
      } catch {
        // Garbage is skipped, and the stream stays open.
      }
    }
    await stream.close().catch(() => undefined);
  }

  async #answerMetadata(stream: Stream): Promise<void> {
    await new FrameReader(stream).read();
    await send(stream, frameOf(this.#metadata()));
    await stream.close().catch(() => undefined);
  }

  /** As on join: who does not answer, or serves another cluster, is disconnected. */
  async #checkCluster(connection: Connection): Promise<void> {
    const stream = await connection.newStream(METADATA);
    await send(stream, frameOf(this.#metadata()));
    const answer = await new FrameReader(stream).read();
    await stream.close().catch(() => undefined);
    const clusterId = answer === undefined ? undefined : decodeMetadata(answer).clusterId;
    if (clusterId === (this.#init.clusterId ?? 16)) return;
    await connection.close();
    throw new Error(`cluster ${clusterId}`);
  }

  #metadata(): Uint8Array {
    return encodeMetadata({ clusterId: this.#init.clusterId ?? 16, shards: [32, 64] });
  }

  /** Its index holds what is not older than its window. */
  #policy(): StockNwaku {
    const oldest = ago(RANGE_MS + JITTER_MS);
    const elements = [...this.#messages.values()].map(({ element }) => element);
    const indexed = elements.filter(({ id }) => timeOf(id) >= oldest);
    return new StockNwaku(indexed, this.#init.pubsubTopics, this.#init.contentTopics);
  }
}
