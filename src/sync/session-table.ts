/** Which sessions are open with whom: within limits, and for a while after they ended. */
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock } from '../ports.ts';
import { LimitCounts } from './limit-counts.ts';
import type { RunningSession } from './session.ts';

export class SessionTable {
  readonly #clock: Clock;
  readonly #counts: LimitCounts;
  readonly #sessions = new Map<string, Set<RunningSession>>();

  constructor(clock: Clock, counts = new LimitCounts()) {
    this.#clock = clock;
    this.#counts = counts;
  }

  /** Sessions that have not ended: how many, and which. */
  get running(): number {
    let running = 0;
    for (const sessions of this.#sessions.values()) {
      for (const session of sessions) if (session.endedMs === undefined) running += 1;
    }
    return running;
  }

  /** Ids of indexes that were put together for sessions that run. */
  get idsIndexed(): number {
    return this.list().reduce((ids, { indexed }) => ids + indexed, 0);
  }

  list(): RunningSession[] {
    const all = [...this.#sessions.values()].flatMap((sessions) => [...sessions]);
    return all.filter(({ endedMs }) => endedMs === undefined);
  }

  /**
   * Where all places are taken, the session that has been silent for longest makes room, if it was for long enough.
   *
   * @throws LacunaError SESSION_BUSY.
   */
  add(session: RunningSession): void {
    this.#forgetEnded();
    if (this.running >= LIMITS.sessions) this.#displaceIdlest();
    const ofPeer = this.#sessions.get(session.peer) ?? new Set();
    const running = [...ofPeer].filter(({ endedMs }) => endedMs === undefined).length;
    const isPeers = running >= LIMITS.sessionsPerPeer;
    if (isPeers || this.running >= LIMITS.sessions) {
      this.#counts.hit(isPeers ? 'peer-sessions' : 'sessions');
      throw new LacunaError(
        'SESSION_BUSY',
        `${this.running} sessions are running, ${running} with this peer`,
      );
    }
    this.#sessions.set(session.peer, ofPeer.add(session));
    session.idsLeft = () => LIMITS.sessionsItems - this.#idsHeld();
  }

  end(session: RunningSession): void {
    session.end();
  }

  /** The sessions of a kind with a peer that still take messages, the newest first. */
  openWith<S extends RunningSession>(peer: string, kind: new (...init: never[]) => S): S[] {
    const now = this.#clock.monotonicMs();
    const isOpen = (session: RunningSession): session is S => session instanceof kind && session.isOpen(now);
    return [...(this.#sessions.get(peer) ?? [])].filter(isOpen).reverse();
  }

  #idsHeld(): number {
    let held = 0;
    for (const sessions of this.#sessions.values()) {
      for (const session of sessions) held += session.held;
    }
    return held;
  }

  #displaceIdlest(): void {
    let idlest: RunningSession | undefined;
    for (const sessions of this.#sessions.values()) {
      for (const session of sessions) {
        if (session.endedMs !== undefined || session.displace === undefined) continue;
        if (session.idleMs >= (idlest?.idleMs ?? LIMITS.sessionYieldMs)) idlest = session;
      }
    }
    if (idlest === undefined) return;
    idlest.displace?.();
    this.end(idlest);
  }

  #forgetEnded(): void {
    const now = this.#clock.monotonicMs();
    for (const [peer, sessions] of this.#sessions) {
      for (const session of sessions) if (!session.isOpen(now)) sessions.delete(session);
      if (sessions.size === 0) this.#sessions.delete(peer);
    }
  }
}
