/**
 * The one door into the store: whatever brings a message (a file, a peer, HTTP), it is checked, hashed and
 * handed to the writer here, and acknowledged when it is on the disk.
 */
import { messageFault, messageHash, shapeOf, type WakuMessage } from '../core/message.ts';
import { hashOf, makeId, makeIdOf } from '../core/sync-id.ts';
import { type ErrorCode, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { AppendResult, Arrival, Clock, MessageStore, Sha256, StoredMessage } from '../ports.ts';
import { asBuffer, encodeMessageAndTopic, MessageView } from '../wire/waku-message.ts';

export type Admission =
  | { readonly stored: StoredMessage }
  | { readonly refused: ErrorCode; readonly hash: Uint8Array | undefined };

/** Decides whether a message may come in; needs no store. */
export class Examiner {
  readonly #clock: Clock;
  readonly #sha256: Sha256;
  /** Reused for every frame. */
  readonly #view = new MessageView();

  constructor(clock: Clock, sha256: Sha256) {
    this.#clock = clock;
    this.#sha256 = sha256;
  }

  /**
   * Checks a message and computes its identity. `expectedHash` is the identity it came under, if any;
   * `futureMs` is how far ahead of our clock its timestamp may be.
   */
  examine(message: WakuMessage, futureMs: number, expectedHash?: Uint8Array): Admission {
    const fault = messageFault(shapeOf(message, LIMITS), LIMITS, this.#clock.nowMs(), futureMs);
    if (fault !== undefined) return { refused: fault, hash: expectedHash };
    const hash = messageHash(message, this.#sha256);
    if (expectedHash !== undefined && !sameBytes(hash, expectedHash)) {
      return { refused: 'MESSAGE_HASH_MISMATCH', hash };
    }
    const { pubsubTopic, contentTopic } = message;
    const id = makeId(message.timestamp, hash);
    return { stored: { id, encoded: encodeMessageAndTopic(message), pubsubTopic, contentTopic } };
  }

  /**
   * The same of a message as it was sent. Its bytes are stored as they are where nothing is in them but the message,
   * and then they are a view of the frame, not a copy.
   *
   * @throws LacunaError WIRE_… for bytes that are no message.
   */
  examineFrame(frame: Uint8Array, futureMs: number): Admission {
    const view = this.#view.read(asBuffer(frame));
    const fault = messageFault(view, LIMITS, this.#clock.nowMs(), futureMs);
    if (fault !== undefined) return { refused: fault, hash: undefined };
    const id = makeIdOf(view.timeHigh, view.timeLow, view.hash(this.#sha256));
    const encoded = view.isMinimal ? frame : encodeMessageAndTopic(view.toMessage());
    return { stored: { id, encoded, ...view.topics() } };
  }
}

/** What became of the messages that were handed to the store. */
export interface IngestCounts {
  stored: number;
  duplicate: number;
  readonly failed: Partial<Record<ErrorCode, number>>;
}

export class Ingest extends Examiner {
  readonly counts: Readonly<IngestCounts>;
  readonly #counts: IngestCounts = { stored: 0, duplicate: 0, failed: {} };
  readonly #store: MessageStore;

  constructor(store: MessageStore, clock: Clock, sha256: Sha256) {
    super(clock, sha256);
    this.#store = store;
    this.counts = this.#counts;
  }

  /** Resolves when the messages are on the disk. Throws what the store throws. */
  async append(messages: readonly StoredMessage[], arrival?: Arrival): Promise<AppendResult> {
    const counts = this.#counts;
    try {
      const result = await this.#store.append(messages, arrival);
      counts.stored += result.stored;
      counts.duplicate += result.duplicate;
      return result;
    } catch (error) {
      const { code } = toLacunaError(error);
      counts.failed[code] = (counts.failed[code] ?? 0) + messages.length;
      throw error;
    }
  }
}

/** The identity of a message as people write it. */
export function hexHash(id: Uint32Array): string {
  return `0x${Buffer.from(hashOf(id)).toString('hex')}`;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
