/** Which sessions are open with whom: within limits, and for a while after they ended. */
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock } from '../ports.ts';
import type { Session } from './session.ts';

export class SessionTable {
  readonly #clock: Clock;
  readonly #sessions = new Map<string, Set<Session>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Sessions that have not ended. */
  get running(): number {
    let running = 0;
    for (const sessions of this.#sessions.values()) {
      for (const session of sessions) if (session.endedMs === undefined) running += 1;
    }
    return running;
  }

  /** @throws LacunaError SESSION_BUSY. */
  add(session: Session): void {
    this.#forgetEnded();
    const ofPeer = this.#sessions.get(session.peer) ?? new Set();
    const running = [...ofPeer].filter(({ endedMs }) => endedMs === undefined).length;
    if (running >= LIMITS.sessionsPerPeer || this.running >= LIMITS.sessions) {
      throw new LacunaError(
        'SESSION_BUSY',
        `${this.running} sessions are running, ${running} with this peer`,
      );
    }
    this.#sessions.set(session.peer, ofPeer.add(session));
  }

  end(session: Session): void {
    session.endedMs = this.#clock.monotonicMs();
  }

  /** The sessions of a peer that still take messages, the newest first. */
  openWith(peer: string): Session[] {
    const now = this.#clock.monotonicMs();
    return [...(this.#sessions.get(peer) ?? [])].filter((session) => session.isOpen(now)).reverse();
  }

  #forgetEnded(): void {
    const now = this.#clock.monotonicMs();
    for (const [peer, sessions] of this.#sessions) {
      for (const session of sessions) if (!session.isOpen(now)) sessions.delete(session);
      if (sessions.size === 0) this.#sessions.delete(peer);
    }
  }
}
