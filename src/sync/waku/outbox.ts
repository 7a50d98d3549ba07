/** The sending half of a session's transfers: ids in, messages out on one stream, in writes of a good size. */
import type { SyncIdList } from '../../core/sync-id.ts';
import { LIMITS } from '../../limits.ts';
import type { FrameChannel, MessageStore, PeerLink } from '../../ports.ts';
import { lebLength } from '../../wire/bytes.ts';
import type { Budgets } from '../budgets.ts';
import type { Pace } from '../pace.ts';
import type { ProtocolTraffic } from '../traffic.ts';
import type { WakuSession } from './session.ts';

export interface OutboxInit {
  readonly store: MessageStore;
  /** What this node sends, over all sessions. */
  readonly upload: Pace;
  readonly budgets: Budgets;
  readonly traffic: ProtocolTraffic;
}

export class Outbox {
  readonly #init: OutboxInit;
  readonly #session: WakuSession;
  readonly #link: PeerLink;
  readonly #frameBytesMax: number;
  #queue: SyncIdList[] = [];
  #channel: FrameChannel | undefined;
  #working: Promise<void> | undefined;
  #failure: unknown;
  readonly #stop = new AbortController();

  constructor(session: WakuSession, link: PeerLink, init: OutboxInit) {
    this.#init = init;
    this.#session = session;
    this.#link = link;
    this.#frameBytesMax = link.isLacuna ? LIMITS.transferFrameBytes : LIMITS.nwakuTransferFrameBytes;
  }

  /** Begins to send these at once, while the reconciliation goes on. */
  send(ids: SyncIdList): void {
    if (ids.count === 0) return;
    this.#queue.push(ids);
    this.#working ??= this.#work().catch((error: unknown) => {
      this.#failure = error;
    });
  }

  /**
   * Resolves when all was handed to the transport, the stream is closed, and the peer has closed its side: a Lacuna
   * does so when all of it is stored, a stock peer when it has read it. Another pass would else find what is still on
   * its way missing, and send it again. Throws what broke the stream.
   */
  async finish(): Promise<void> {
    await this.#working;
    if (this.#failure !== undefined) throw this.#failure;
    const channel = this.#channel;
    this.#channel = undefined;
    if (channel === undefined) return;
    await channel.close();
    // A peer that does not close is none the worse for it: the next pass tells what has arrived.
    const patienceMs = this.#link.isLacuna ? LIMITS.transferIdleMs : LIMITS.unnamedIdleMs;
    await channel.read(patienceMs).catch(() => undefined);
  }

  abort(reason: Error): void {
    this.#stop.abort(reason);
    this.#queue = [];
    this.#channel?.abort(reason);
  }

  /** Ends only when nothing is queued after the last write: ids may come while it waits. */
  async #work(): Promise<void> {
    while (this.#queue.length > 0) await this.#sendQueued();
    this.#working = undefined;
  }

  async #sendQueued(): Promise<void> {
    let frames: Uint8Array[] = [];
    let bytes = 0;
    for (let ids = this.#queue.shift(); ids !== undefined; ids = this.#queue.shift()) {
      for await (const frame of this.#init.store.read(ids)) {
        if (frame.length > this.#frameBytesMax) {
          // A longer frame would end the peer's stream and lose what follows.
          this.#session.refuse('TRANSFER_TOO_LARGE');
          continue;
        }
        frames.push(frame);
        bytes += frame.length;
        if (bytes < LIMITS.sendChunkBytes) continue;
        await this.#write(frames);
        frames = [];
        bytes = 0;
      }
    }
    if (frames.length > 0) await this.#write(frames);
  }

  async #write(frames: readonly Uint8Array[]): Promise<void> {
    const { upload, budgets, traffic } = this.#init;
    const { signal } = this.#stop;
    const bytes = frames.reduce((sum, { length }) => sum + length, 0);
    await upload.pass(frames, bytes, signal);
    budgets.serve(this.#session.peer, bytes);
    this.#channel ??= await this.#link.openTransfer();
    // A stream that opens when all is over would else stay open.
    if (signal.aborted) this.#channel.abort(signal.reason);
    traffic.messagesSent(frames);
    await this.#channel.write(frames);
    this.#session.sent += frames.length;
    this.#session.touch();
    for (const frame of frames) this.#session.transferBytesSent += frame.length + lebLength(frame.length);
  }
}
