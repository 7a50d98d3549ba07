/**
 * The receiving half of transfers: every frame of a peer is decoded, hashed, and matched to a session with that
 * peer; what fits goes through the one door, what does not is refused with a code and counts against the peer.
 */
import { DigestTree } from '../../core/digest-tree.ts';
import { type ErrorCode, LacunaError, toLacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { FrameChannel, Logger, MessageStore, StoredMessage } from '../../ports.ts';
import { lebLength } from '../../wire/bytes.ts';
import { decodeMessageAndTopic } from '../../wire/waku-message.ts';
import type { Budgets } from '../budgets.ts';
import type { Ingest } from '../ingest.ts';
import type { Pace } from '../pace.ts';
import type { SessionTable } from '../session-table.ts';
import { isMalformed, STRIKE_MALFORMED, type Strikes } from '../strikes.ts';
import type { ProtocolTraffic } from '../traffic.ts';
import { WakuSession } from './session.ts';

/**
 * Refusals that are our own choice, or happen to an honest peer: a file that it imported may hold times that lie
 * ahead, and its clock may be ahead of ours. No strike.
 */
const BLAMELESS: ReadonlySet<ErrorCode> = new Set(['TRANSFER_NOT_WANTED', 'MESSAGE_TIMESTAMP_FUTURE']);

/** Unasked frames that a peer may send on one stream before the stream is reset. */
const UNASKED_FRAMES_MAX = 100;

export interface TransferReceiverInit {
  readonly ingest: Ingest;
  readonly store: MessageStore;
  readonly sessions: SessionTable;
  readonly strikes: Strikes;
  readonly budgets: Budgets;
  /** What this node takes, over all sessions. */
  readonly download: Pace;
  readonly traffic: ProtocolTraffic;
  readonly log: Logger;
  /** Ends what waits for the pace. */
  readonly stop: AbortSignal;
}

export class TransferReceiver {
  readonly #init: TransferReceiverInit;

  constructor(init: TransferReceiverInit) {
    this.#init = init;
  }

  /** Takes what a peer sends until it closes the stream, breaks the protocol, or falls silent. */
  async receive(peer: string, channel: FrameChannel): Promise<void> {
    const { sessions, strikes, log } = this.#init;
    const touched = new Set<WakuSession>();
    let unasked = 0;
    try {
      // A stock nwaku keeps its stream open from session to session: silence alone is no fault.
      for (;;) {
        const frames = await channel.readMany(LIMITS.sessionMs);
        if (frames === undefined) break;
        const open = new Set(sessions.openWith(peer, WakuSession));
        for (const session of open) {
          if (!touched.has(session)) session.transferOpened();
          touched.add(session);
        }
        // A stream that outlives its sessions must not hold on to them.
        for (const session of touched) {
          if (open.has(session)) continue;
          session.transferClosed();
          touched.delete(session);
        }
        unasked += await this.#takeAll(peer, frames);
        if (unasked > UNASKED_FRAMES_MAX) {
          throw new LacunaError('TRANSFER_NO_SESSION', 'the peer keeps sending messages without a session');
        }
      }
      await channel.close();
    } catch (error) {
      const { code, message } = toLacunaError(error, 'PEER_CLOSED');
      channel.abort(new Error(code));
      if (isMalformed(code)) strikes.strike(peer, STRIKE_MALFORMED);
      log.debug({ peer, code, error: message }, 'a transfer stream ended early');
    } finally {
      for (const session of touched) session.transferClosed();
    }
  }

  /** In portions that pass at the pace of this node: what is not read holds the sender. Returns as `#take`. */
  async #takeAll(peer: string, frames: readonly Uint8Array[]): Promise<number> {
    const { download, traffic, stop } = this.#init;
    traffic.messagesReceived(frames);
    let unasked = 0;
    for (let at = 0; at < frames.length; ) {
      let end = at;
      let bytes = 0;
      while (end < frames.length && bytes < LIMITS.sendChunkBytes) bytes += frames[end++]!.length;
      const portion = frames.slice(at, end);
      unasked += await this.#take(peer, portion);
      await download.pass(portion, bytes, stop);
      at = end;
    }
    return unasked;
  }

  /** Returns how many frames came without any session. */
  async #take(peer: string, frames: readonly Uint8Array[]): Promise<number> {
    const { strikes, budgets } = this.#init;
    const sessions = this.#init.sessions.openWith(peer, WakuSession);
    if (sessions.length === 0) {
      strikes.strike(peer, frames.length);
      return frames.length;
    }
    const newest = sessions[0]!;
    const admitted: { stored: StoredMessage; session: WakuSession }[] = [];
    for (const frame of frames) {
      newest.transferBytesReceived += frame.length + lebLength(frame.length);
      const verdict = this.#examine(frame, sessions);
      if (typeof verdict !== 'string') admitted.push(verdict);
      else this.#refuse(peer, newest, verdict);
      if (strikes.isBanned(peer)) break;
    }
    // Who opens a session may push what nobody has heard of yet; what this node went to fetch, it has asked for.
    const unasked = admitted.filter(
      ({ stored, session }) => session.role === 'responder' && !session.awaits(stored.id),
    );
    const unaskedBytes = unasked.reduce((sum, { stored }) => sum + stored.encoded.length, 0);
    budgets.takeUnasked(peer, unasked.length, unaskedBytes);
    await this.#append(peer, admitted);
    if (strikes.isBanned(peer)) throw new LacunaError('PEER_BANNED', 'the peer is banned');
    return 0;
  }

  #examine(
    frame: Uint8Array,
    sessions: readonly WakuSession[],
  ): { stored: StoredMessage; session: WakuSession } | ErrorCode {
    let refusal: ErrorCode = 'TRANSFER_NO_SESSION';
    try {
      const message = decodeMessageAndTopic(frame);
      for (const session of sessions) {
        const reason = session.refusalOf(message);
        if (reason !== undefined) {
          refusal = reason;
          continue;
        }
        const admission = this.#init.ingest.examine(message, LIMITS.messageFutureMs);
        return 'stored' in admission ? { stored: admission.stored, session } : admission.refused;
      }
    } catch (error) {
      return toLacunaError(error).code;
    }
    return refusal;
  }

  async #append(
    peer: string,
    admitted: readonly { stored: StoredMessage; session: WakuSession }[],
  ): Promise<void> {
    if (admitted.length === 0) return;
    // Asked before the write: afterwards all of them are known. Of two that are the same, the first is new.
    const seen = new DigestTree();
    const fresh = admitted.map(({ stored }) => seen.insert(stored.id, 0) && !this.#init.store.has(stored.id));
    const roles = [...new Set(admitted.map(({ session }) => session.role))];
    await Promise.all(
      roles.map((role) => {
        const messages = admitted.filter(({ session }) => session.role === role).map(({ stored }) => stored);
        return this.#init.ingest.append(messages, { path: 'session', dialect: 'waku', role, peer });
      }),
    );
    for (const [index, { stored, session }] of admitted.entries()) session.arrived(stored.id, fresh[index]!);
  }

  #refuse(peer: string, session: WakuSession, code: ErrorCode): void {
    session.refuse(code);
    if (!BLAMELESS.has(code)) this.#init.strikes.strike(peer, isMalformed(code) ? STRIKE_MALFORMED : 1);
  }
}
