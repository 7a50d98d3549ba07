/**
 * What two peers remember of each other: the key under which they last found their stores equal. With it the next
 * session opens with one fingerprint, and sums over leaves that have not changed since are still known. Kept over
 * restarts; a side that has forgotten simply makes a new key.
 */
import { KeyedSums } from '../../core/keyed-sums.ts';
import type { SipKey } from '../../core/siphash.ts';
import { toLacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { Clock, Logger, Records, Sha256 } from '../../ports.ts';

export interface Agreement {
  readonly keyed: KeyedSums;
  /** Names the key without telling it, 8 bytes. */
  readonly id: Uint8Array;
  /** When the key was made, and when the two were last equal, on the clock of the world. */
  readonly madeMs: number;
  readonly agreedMs: number;
  /** What the record of it says of the latter. */
  readonly recordedMs: number;
}

export interface AgreementsInit {
  readonly records: Records;
  readonly sha256: Sha256;
  readonly clock: Clock;
  readonly log: Logger;
}

const KEY_BYTES = 16;
const ID_BYTES = 8;
/** Two times in ms follow the key. */
const RECORD_BYTES = KEY_BYTES + 16;
const KEY_LABEL = new TextEncoder().encode('/lacuna/sync/1.0.0 key');
const ID_LABEL = new TextEncoder().encode('/lacuna/sync/1.0.0 agreement');

export class Agreements {
  readonly #init: AgreementsInit;
  /** The peers met last, with the sums that are known under their keys. */
  readonly #held = new Map<string, Agreement>();

  constructor(init: AgreementsInit) {
    this.#init = init;
  }

  /** The last agreement with this peer, if its key may still be used. */
  async with(peer: string): Promise<Agreement | undefined> {
    const agreement = this.#held.get(peer) ?? (await this.#recorded(peer));
    if (agreement === undefined) return undefined;
    const ageMs = this.#init.clock.nowMs() - agreement.madeMs;
    if (ageMs < 0 || ageMs >= LIMITS.agreementKeyMs) return undefined;
    this.#hold(peer, agreement);
    return agreement;
  }

  /** Whether the two were equal so lately that they probably still are. */
  isFresh({ agreedMs }: Agreement): boolean {
    const ageMs = this.#init.clock.nowMs() - agreedMs;
    return ageMs >= 0 && ageMs < LIMITS.agreementMs;
  }

  /** The key of a session, from the salts of both sides. */
  keyOf(initiatorSalt: Uint8Array, responderSalt: Uint8Array): KeyedSums {
    const digest = this.#init.sha256(joined(KEY_LABEL, initiatorSalt, responderSalt));
    return new KeyedSums(wordsOf(digest));
  }

  /** Remembers that the two are equal now. A record that cannot be written costs some bytes of the next session. */
  async keep(peer: string, keyed: KeyedSums): Promise<void> {
    const { records, clock, log } = this.#init;
    const nowMs = clock.nowMs();
    const before = this.#held.get(peer);
    const madeMs = before?.keyed === keyed ? before.madeMs : nowMs;
    const isRecorded = before?.keyed === keyed && nowMs - before.recordedMs < LIMITS.agreementMs / 2;
    // What is on the disk need not be exact to the second.
    const recordedMs = isRecorded ? before.recordedMs : nowMs;
    this.#hold(peer, { keyed, id: this.#idOf(keyed.key), madeMs, agreedMs: nowMs, recordedMs });
    if (isRecorded) return;
    const record = new Uint8Array(RECORD_BYTES);
    record.set(bytesOf(keyed.key));
    const times = new DataView(record.buffer);
    times.setFloat64(KEY_BYTES, madeMs);
    times.setFloat64(KEY_BYTES + 8, nowMs);
    try {
      await records.put(nameOf(peer), record);
    } catch (error) {
      log.debug({ peer, code: toLacunaError(error).code }, 'an agreement could not be written down');
    }
  }

  async #recorded(peer: string): Promise<Agreement | undefined> {
    const record = await this.#read(peer);
    if (record?.length !== RECORD_BYTES) return undefined;
    const key = wordsOf(record);
    const times = new DataView(record.buffer, record.byteOffset, record.byteLength);
    const madeMs = times.getFloat64(KEY_BYTES);
    const agreedMs = times.getFloat64(KEY_BYTES + 8);
    return { keyed: new KeyedSums(key), id: this.#idOf(key), madeMs, agreedMs, recordedMs: agreedMs };
  }

  /** A record that cannot be read is as good as none. */
  async #read(peer: string): Promise<Uint8Array | undefined> {
    const { records, log } = this.#init;
    try {
      return await records.get(nameOf(peer));
    } catch (error) {
      log.debug({ peer, code: toLacunaError(error).code }, 'an agreement could not be read');
      return undefined;
    }
  }

  #idOf(key: SipKey): Uint8Array {
    return this.#init.sha256(joined(ID_LABEL, bytesOf(key))).slice(0, ID_BYTES);
  }

  #hold(peer: string, agreement: Agreement): void {
    this.#held.delete(peer);
    this.#held.set(peer, agreement);
    if (this.#held.size <= LIMITS.agreementsHeld) return;
    const [oldest] = this.#held.keys();
    if (oldest !== undefined) this.#held.delete(oldest);
  }
}

function nameOf(peer: string): string {
  return `agreement/${peer}`;
}

/** The first 16 bytes as four words, least significant byte first. */
function wordsOf(bytes: Uint8Array): SipKey {
  const view = new DataView(bytes.buffer, bytes.byteOffset, KEY_BYTES);
  return Uint32Array.from({ length: 4 }, (_, word) => view.getUint32(word * 4, true));
}

function bytesOf(key: SipKey): Uint8Array {
  const bytes = new Uint8Array(KEY_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [word, value] of key.entries()) view.setUint32(word * 4, value, true);
  return bytes;
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
