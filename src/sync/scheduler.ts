/**
 * When to synchronise what with whom. Gaps come first, the newest of them first, and are shared by several peers when
 * that takes long; then the recent past at every interval, with a peer chosen by chance; and of all that is older ever
 * more, ever more rarely. A peer that fails makes room for another.
 */
import { type Interval, intersection } from '../core/interval.ts';
import { intersectScopes, type Scope, sameScope } from '../core/scope.ts';
import { LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, Logger, Random } from '../ports.ts';
import { nsFromMs } from '../time.ts';
import type { Gap } from './gap.ts';
import type { Ledger } from './ledger.ts';
import type { PeerDirectory } from './peers.ts';
import type { Dialect, SessionResult } from './session.ts';

/** What a session is to cover. */
export interface ScopedWindow extends Interval {
  readonly scope: Scope;
}

export interface SchedulerInit {
  readonly peers: PeerDirectory;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** What the node covers. */
  readonly scope: Scope;
  readonly intervalMs: number;
  /** How far back the recent past reaches, and how far before now it ends. */
  readonly rangeMs: number;
  readonly jitterMs: number;
  /** The parts of a window of which something is kept, the newest first. */
  readonly keptOf: (window: ScopedWindow) => readonly ScopedWindow[];
  /** One session with the peer at an address; throws a coded error. */
  readonly synchronise: (address: string, window: ScopedWindow, stop: AbortSignal) => Promise<SessionResult>;
}

interface Job {
  readonly peer: string;
  readonly address: string;
  readonly dialect: Dialect | undefined;
  readonly window: ScopedWindow;
  /** The gaps that it is for; none, when it looks at the recent past. */
  readonly gaps: readonly Gap[];
  readonly startedMs: number;
}

interface Attempts {
  count: number;
  /** On the monotonic clock: not before then. */
  nextMs: number;
}

type ReadyPeer = ReturnType<PeerDirectory['ready']>[number];

export class Scheduler {
  readonly #init: SchedulerInit;
  readonly #stop = new AbortController();
  readonly #jobs = new Map<string, Job>();
  readonly #ending = new Set<Promise<void>>();
  /** For each gap and peer, how often they were brought together in vain. */
  readonly #attempts = new Map<string, Attempts>();
  #rounds = 0;
  /** On the monotonic clock: when the recent past is looked at next. */
  #recentMs = 0;
  #waiting: AbortController | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(init: SchedulerInit) {
    this.#init = init;
  }

  /** How many times the recent past was looked at, over all runs of the node. */
  get rounds(): number {
    return this.#rounds;
  }

  /** `rounds` is how many there were before. */
  start(rounds = 0): void {
    this.#rounds = rounds;
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new LacunaError('SESSION_ABORTED', 'the node stops'));
    this.#waiting?.abort();
    await this.#running;
    await Promise.all(this.#ending);
  }

  /** Something changed that may be a reason to begin a session. */
  wake(): void {
    this.#waiting?.abort();
  }

  /** The recent past is looked at as soon as a peer is ready. */
  soon(): void {
    this.#recentMs = this.#init.clock.monotonicMs();
    this.wake();
  }

  async #run(): Promise<void> {
    const { clock } = this.#init;
    while (!this.#stop.signal.aborted) {
      for (let job = this.#next(); job !== undefined; job = this.#next()) this.#begin(job);
      this.#waiting = new AbortController();
      const untilRecentMs = Math.max(0, this.#recentMs - clock.monotonicMs());
      const pauseMs = untilRecentMs === 0 ? LIMITS.pulseMs : Math.min(LIMITS.pulseMs, untilRecentMs);
      await clock.sleep(pauseMs, this.#waiting.signal).catch(() => undefined);
    }
  }

  #next(): Job | undefined {
    if (this.#stop.signal.aborted || this.#jobs.size >= LIMITS.scheduledSessions) return undefined;
    const ready = this.#init.peers.ready();
    const gaps = this.#init.ledger.open();
    for (const gap of gaps) {
      const job = this.#gapJob(gap, gaps, ready);
      if (job !== undefined) return job;
    }
    return this.#recentJob(ready);
  }

  #begin(job: Job): void {
    const { peers } = this.#init;
    peers.begin(job.peer);
    this.#jobs.set(job.peer, job);
    const ending = this.#session(job).finally(() => {
      this.#jobs.delete(job.peer);
      this.#ending.delete(ending);
      this.wake();
    });
    this.#ending.add(ending);
  }

  async #session(job: Job): Promise<void> {
    const { synchronise, peers, ledger, log } = this.#init;
    let failure: LacunaError | undefined;
    try {
      await synchronise(job.address, job.window, this.#stop.signal);
    } catch (error) {
      failure = toLacunaError(error);
    }
    if (this.#stop.signal.aborted) return;
    peers.end(job.peer, failure);
    if (job.gaps.length > 0) {
      ledger.attempted(job.peer, job.window.scope, job.window, failure?.code);
      this.#countAttempts(job);
    } else if (failure !== undefined) {
      // Another peer is asked instead, at once if there is one.
      this.#recentMs = 0;
    }
    if (failure === undefined) return;
    const { code, message } = failure;
    log.warn(
      { peer: job.peer, code, error: message, gaps: job.gaps.map(({ id }) => id) },
      'synchronising failed',
    );
  }

  // ── gaps ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #gapJob(gap: Gap, all: readonly Gap[], ready: readonly ReadyPeer[]): Job | undefined {
    const window = this.#windowFor(gap);
    if (window === undefined) return undefined;
    const nowMs = this.#init.clock.monotonicMs();
    const atWork = [...this.#jobs.values()].filter(({ gaps }) => gaps.some(({ id }) => id === gap.id));
    let candidates = ready.filter(({ peer }) => !gap.witnesses.includes(peer) && this.#mayTry(gap, peer));
    if (atWork.length > 0) {
      // Shared only between Lacunas, which ask for nothing twice, and only where one alone takes its time.
      const isLong = atWork.every(({ startedMs }) => nowMs - startedMs >= LIMITS.gapShareMs);
      if (!isLong || atWork.length >= LIMITS.gapPeers) return undefined;
      if (atWork.some(({ dialect }) => dialect !== 'native')) return undefined;
      candidates = candidates.filter(({ dialect }) => dialect === 'native');
    }
    const chosen = this.#chosen(candidates);
    if (chosen === undefined) {
      if (atWork.length === 0) this.#settleForWitnesses(gap);
      return undefined;
    }
    return this.#jobFor(chosen, this.#widened(window, all), all);
  }

  /** What of the gap can be compared by now, and is kept; the newest part of it, where scopes differ. */
  #windowFor(gap: Gap): ScopedWindow | undefined {
    const { scope, keptOf } = this.#init;
    const past = intersection(gap, { sinceNs: 0n, untilNs: this.#endNs() });
    const covered = intersectScopes(scope, gap.scope);
    if (past === undefined || covered === undefined) return undefined;
    return keptOf({ ...past, scope: covered })[0];
  }

  /** One session closes gaps that lie close together. */
  #widened(window: ScopedWindow, gaps: readonly Gap[]): ScopedWindow {
    let { sinceNs } = window;
    const nearNs = nsFromMs(this.#init.rangeMs);
    for (const gap of gaps) {
      if (gap.untilNs > window.untilNs || !sameScope(gap.scope, window.scope)) continue;
      const part = this.#windowFor(gap);
      if (part === undefined || !sameScope(part.scope, window.scope)) continue;
      if (sinceNs - part.untilNs > nearNs) break;
      if (part.sinceNs < sinceNs) sinceNs = part.sinceNs;
    }
    return { ...window, sinceNs };
  }

  /** Nobody was there who could know better: what all peers within reach have is what there is. */
  #settleForWitnesses(gap: Gap): void {
    if (gap.witnesses.length === 0) return;
    const others = this.#init.peers.list().filter(({ peer }) => !gap.witnesses.includes(peer));
    if (others.every(({ failures }) => failures > 0)) this.#init.ledger.acceptWitnesses(gap.id);
  }

  #mayTry(gap: Gap, peer: string): boolean {
    const attempts = this.#attempts.get(`${gap.id} ${peer}`);
    return attempts === undefined || attempts.nextMs <= this.#init.clock.monotonicMs();
  }

  #countAttempts({ gaps, peer }: Job): void {
    const { ledger, clock, random } = this.#init;
    const open = new Map(ledger.open().map((gap) => [gap.id, gap]));
    for (const key of this.#attempts.keys()) {
      if (!open.has(Number(key.slice(0, key.indexOf(' '))))) this.#attempts.delete(key);
    }
    for (const before of gaps) {
      const gap = open.get(before.id);
      if (gap === undefined) continue;
      // A part of it was closed: what remains begins anew, soon.
      const isSame = gap.sinceNs === before.sinceNs && gap.untilNs === before.untilNs;
      const key = `${gap.id} ${peer}`;
      const count = isSame ? (this.#attempts.get(key)?.count ?? 0) + 1 : 1;
      const pauseMs = Math.min(LIMITS.gapRetryMaxMs, LIMITS.gapRetryMs * 2 ** (count - 1));
      const nextMs = clock.monotonicMs() + pauseMs * (0.9 + random.below(200) / 1_000);
      this.#attempts.set(key, { count, nextMs });
    }
  }

  // ── the recent past, and all that is older ───────────────────────────────────────────────────────────────────

  #recentJob(ready: readonly ReadyPeer[]): Job | undefined {
    const { clock, random, intervalMs } = this.#init;
    const nowMs = clock.monotonicMs();
    if (nowMs < this.#recentMs) return undefined;
    const chosen = this.#chosen(ready);
    if (chosen === undefined) return undefined;
    this.#rounds += 1;
    this.#recentMs = nowMs + intervalMs * (0.9 + random.below(200) / 1_000);
    const window = this.#recentWindow();
    return window === undefined ? undefined : this.#jobFor(chosen, window, []);
  }

  /**
   * Every second round reaches back twice as far, every fourth four times, and so on: what is older is compared ever
   * more rarely, and everything again and again. A round begins no later than where the last comparison ended, so that
   * nothing is passed over when peers were away for longer than the range.
   */
  #recentWindow(): ScopedWindow | undefined {
    const { scope, ledger, random, rangeMs, keptOf } = this.#init;
    const untilNs = this.#endNs();
    const doublings = 31 - Math.clz32(this.#rounds & -this.#rounds);
    const reachNs = nsFromMs(rangeMs * 2 ** doublings);
    let sinceNs = doublings >= LIMITS.historyDoublings || reachNs > untilNs ? 0n : untilNs - reachNs;
    const comparedNs = ledger.verifiedUntilNs(scope);
    if (comparedNs !== undefined && comparedNs < sinceNs) sinceNs = comparedNs;
    if (sinceNs >= untilNs) return undefined;
    // Further back, where fewer topics are kept, each part has its turn.
    const parts = keptOf({ scope, sinceNs, untilNs });
    return parts[doublings === 0 ? 0 : random.below(Math.max(1, parts.length))];
  }

  #jobFor(chosen: ReadyPeer, window: ScopedWindow, gaps: readonly Gap[]): Job {
    const within = gaps.filter((gap) => intersection(gap, window) !== undefined);
    return { ...chosen, window, gaps: within, startedMs: this.#init.clock.monotonicMs() };
  }

  #chosen(peers: readonly ReadyPeer[]): ReadyPeer | undefined {
    return peers[this.#init.random.below(Math.max(1, peers.length))];
  }

  /** What is newer is still on its way by relay. */
  #endNs(): bigint {
    const { clock, jitterMs } = this.#init;
    return nsFromMs(Math.max(0, clock.nowMs() - jitterMs));
  }
}
