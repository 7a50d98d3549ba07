/** Messages of a given size, quickly made, and stores that take their time or have their moods. */
import { LacunaError } from '../../../src/errors.ts';
import type { AppendResult, Clock, StoredMessage } from '../../../src/ports.ts';
import { MemoryStore } from '../../memory-store.ts';
import { messageOf, NOW_NS, stored } from '../../sample-messages.ts';

/** Different messages, oldest first, a millisecond apart, each with a payload of so many bytes. */
export function sized(count: number, payloadBytes: number, seed = 1): StoredMessage[] {
  const messages = Array.from({ length: count }, (_, index) => {
    const payload = new Uint8Array(payloadBytes);
    const view = new DataView(payload.buffer);
    view.setUint32(0, index);
    view.setUint32(4, seed);
    return messageOf({ payload, timestamp: NOW_NS - BigInt(count - index) * 1_000_000n });
  });
  return stored(messages);
}

/** A store that does something else before it appends. */
export class MoodyStore extends MemoryStore {
  /** The messages in the order in which they came. */
  readonly arrived: StoredMessage[] = [];
  readonly #mood: (messages: readonly StoredMessage[]) => Promise<void>;

  constructor(
    messages: readonly StoredMessage[],
    mood: (messages: readonly StoredMessage[]) => Promise<void>,
  ) {
    super(messages);
    this.#mood = mood;
  }

  override async append(messages: readonly StoredMessage[]): Promise<AppendResult> {
    await this.#mood(messages);
    this.arrived.push(...messages);
    return await super.append(messages);
  }

  /** Takes so long for each append, one after the other. */
  static slow(clock: Clock, appendMs: number, messages: readonly StoredMessage[] = []): MoodyStore {
    let last: Promise<void> = Promise.resolve();
    return new MoodyStore(messages, () => {
      last = last.then(() => clock.sleep(appendMs));
      return last;
    });
  }

  /** Has no room until that time. */
  static busyUntil(clock: Clock, untilMs: number, messages: readonly StoredMessage[] = []): MoodyStore {
    return new MoodyStore(messages, async () => {
      if (clock.monotonicMs() < untilMs) throw new LacunaError('STORE_BUSY', 'told to be full');
    });
  }

  /** Takes so many messages, and then no more. */
  static failingAfter(count: number, messages: readonly StoredMessage[] = []): MoodyStore {
    let taken = 0;
    return new MoodyStore(messages, async (more) => {
      taken += more.length;
      if (taken > count) throw new LacunaError('STORE_FAULT', 'told to fail');
    });
  }
}
