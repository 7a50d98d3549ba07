/** Counts what peers do against the protocol; who does it too often is banned for a while. */
import type { ErrorCode } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock } from '../ports.ts';

interface Record {
  strikes: number;
  bannedUntilMs: number;
}

export class Strikes {
  readonly #clock: Clock;
  readonly #records = new Map<string, Record>();
  /** Called when a peer becomes banned. */
  onBan: (peer: string) => void = () => undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  strike(peer: string, weight = 1): void {
    const record = this.#records.get(peer) ?? { strikes: 0, bannedUntilMs: 0 };
    record.strikes += weight;
    this.#remember(peer, record);
    if (record.strikes < LIMITS.strikesBeforeBan) return;
    record.strikes = 0;
    record.bannedUntilMs = this.#clock.monotonicMs() + LIMITS.banMs;
    this.onBan(peer);
  }

  strikesOf(peer: string): number {
    return this.#records.get(peer)?.strikes ?? 0;
  }

  isBanned(peer: string): boolean {
    return (this.#records.get(peer)?.bannedUntilMs ?? 0) > this.#clock.monotonicMs();
  }

  /** The peer that has been quiet for longest makes room for a new one. */
  #remember(peer: string, record: Record): void {
    this.#records.delete(peer);
    this.#records.set(peer, record);
    if (this.#records.size <= LIMITS.peersRemembered) return;
    for (const [oldest] of this.#records) {
      this.#records.delete(oldest);
      return;
    }
  }
}

/** What bytes that no honest peer sends weigh. */
export const STRIKE_MALFORMED = 20;

/** A payload over our limits may be an honest peer's with a larger store; any other broken bytes may not. */
export function isMalformed(code: ErrorCode): boolean {
  return code.startsWith('WIRE_') && code !== 'WIRE_LIMIT';
}
