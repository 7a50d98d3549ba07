/**
 * When to synchronise what with whom. Gaps come first, the newest of them first, and are shared by several peers when
 * that takes long; then the recent past at every interval, with a peer chosen by chance, and with more of them where
 * that one had something new; and of all that is older ever more, ever more rarely. A peer that fails makes room for
 * another.
 */
import { type Interval, intersection } from '../core/interval.ts';
import { intersectScopes, type Scope, sameScope } from '../core/scope.ts';
import { type ErrorCode, LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, Logger, Random } from '../ports.ts';
import { nsFromMs } from '../time.ts';
import type { Gap } from './gap.ts';
import type { KnownPeer } from './known-peer.ts';
import type { Ledger } from './ledger.ts';
import type { PeerDirectory, ReadyPeer } from './peers.ts';
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
  /** Those that this look at the recent past has asked, its peer among them. */
  readonly asked: readonly string[];
  /** How often the range of the recent past was doubled. */
  readonly doublings: number;
  readonly startedMs: number;
  /** The peer was configured. */
  readonly isOwn: boolean;
}

interface Attempts {
  readonly count: number;
  /** On the monotonic clock: not before then. */
  readonly nextMs: number;
  /** The peer has nothing of that time, or of those topics. */
  readonly isAbsent: boolean;
}

/** The peer is there, and has nothing of the gap. */
const ABSENT: ReadonlySet<ErrorCode> = new Set(['SESSION_WINDOW', 'SESSION_SCOPE']);
/** A part of a gap that is too new to be compared is waited for, unless the rest of it is longer than this. */
const WORTH_NS = nsFromMs(2 * LIMITS.clockToleranceMs);

export class Scheduler {
  readonly #init: SchedulerInit;
  readonly #stop = new AbortController();
  readonly #jobs = new Map<string, Job>();
  readonly #ending = new Set<Promise<void>>();
  /** For each gap and peer, how often they were brought together in vain. */
  readonly #attempts = new Map<string, Attempts>();
  #rounds = 0;
  /** Doublings of rounds that failed: what they were to reach, the next one does. */
  #owedDoublings = 0;
  /** Whom the last look at the recent past has asked, where it is to go on with another peer. */
  #following: readonly string[] | undefined;
  /** On the monotonic clock: when the recent past is looked at next, and when it was last. */
  #recentMs = 0;
  #lookedMs = Number.NEGATIVE_INFINITY;
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
    this.#recentMs = this.#init.clock.monotonicMs();
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

  /** The recent past is looked at as soon as a peer is ready; not more than once in a moment, whatever the news are. */
  soon(): void {
    const soonMs = Math.max(this.#init.clock.monotonicMs(), this.#lookedMs + LIMITS.retryMs);
    this.#recentMs = Math.min(this.#recentMs, soonMs);
    this.wake();
  }

  async #run(): Promise<void> {
    const { clock } = this.#init;
    while (!this.#stop.signal.aborted) {
      for (let job = this.#next(); job !== undefined; job = this.#next()) this.#begin(job);
      this.#waiting = new AbortController();
      // Whole milliseconds: what is left of one may be too little for time to pass at all.
      const untilRecentMs = Math.ceil(Math.max(0, this.#recentMs - clock.monotonicMs()));
      const pauseMs = untilRecentMs === 0 ? LIMITS.pulseMs : Math.min(LIMITS.pulseMs, untilRecentMs);
      await clock.sleep(pauseMs, this.#waiting.signal).catch(() => undefined);
    }
  }

  #next(): Job | undefined {
    if (this.#stop.signal.aborted) return undefined;
    const ready = this.#placed(this.#init.peers.ready());
    if (ready === undefined) return undefined;
    // Gaps come first, but what they are many of must not keep the recent past from its turn.
    const isOverdue = this.#init.clock.monotonicMs() >= this.#recentMs + this.#init.intervalMs;
    const overdue = isOverdue ? this.#recentJob(ready) : undefined;
    if (overdue !== undefined) return overdue;
    const gaps = this.#init.ledger.open();
    for (const gap of gaps) {
      const job = this.#gapJob(gap, gaps, ready);
      if (job !== undefined) return job;
    }
    return this.#recentJob(ready);
  }

  /**
   * Those for whom there is a place; undefined where there is none at all. A session that goes on and on keeps its own
   * no longer, or as many peers as there are places could hold up all others for hours; the last places of all are for
   * those whom the operator named.
   */
  #placed(ready: readonly ReadyPeer[]): readonly ReadyPeer[] | undefined {
    const jobs = [...this.#jobs.values()];
    const { scheduledSessions, scheduledSessionsMax } = LIMITS;
    if (jobs.filter((job) => !this.#isLasting(job)).length >= scheduledSessions) return undefined;
    if (jobs.length >= scheduledSessionsMax) return undefined;
    const others = jobs.filter(({ isOwn }) => !isOwn).length;
    return others < scheduledSessionsMax - scheduledSessions ? ready : ready.filter(({ isOwn }) => isOwn);
  }

  #isLasting({ startedMs }: Job): boolean {
    return this.#init.clock.monotonicMs() - startedMs >= LIMITS.lastingSessionMs;
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
    const { synchronise, peers, ledger, clock, log } = this.#init;
    let failure: LacunaError | undefined;
    let result: SessionResult | undefined;
    try {
      result = await synchronise(job.address, job.window, this.#stop.signal);
    } catch (error) {
      failure = toLacunaError(error);
    }
    if (this.#stop.signal.aborted) return;
    const isForGaps = job.gaps.length > 0;
    peers.end(job.peer, failure, isForGaps);
    if (isForGaps) {
      ledger.attempted(job.peer, job.window.scope, job.window, failure?.code);
      // Whether a peer that fails is left alone is for the directory to say: it may come back at any time.
      const isAbsent = failure !== undefined && ABSENT.has(failure.code);
      if (failure === undefined || isAbsent) this.#countAttempts(job, isAbsent);
    } else if (result?.complete === true) {
      ledger.met(job.peer, job.window.untilNs);
      // What one of them lacked, others may lack: within an interval it is to be everywhere.
      const isNews = result.received + result.sent > 0;
      if (isNews && job.asked.length < LIMITS.roundPeers) this.#following = job.asked;
    } else if (failure !== undefined && job.asked.length === 1) {
      // Another peer is asked instead, at once if there is one.
      this.#recentMs = Math.min(this.#recentMs, clock.monotonicMs());
      this.#owedDoublings = Math.max(this.#owedDoublings, job.doublings);
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
      // Not with stock nodes, which would send it all twice, and only where one alone takes its time. What a peer
      // speaks is known when a first session with it has ended: until then it is taken for a Lacuna. Those that go on
      // and on keep nobody from it.
      const isLong = atWork.every(({ startedMs }) => nowMs - startedMs >= LIMITS.gapShareMs);
      const counted = atWork.filter((job) => !this.#isLasting(job));
      if (!isLong || counted.length >= LIMITS.gapPeers) return undefined;
      const isStock = ({ dialect }: Pick<Job, 'dialect'>): boolean => (dialect ?? 'native') !== 'native';
      if (counted.some(isStock)) return undefined;
      candidates = candidates.filter((peer) => !isStock(peer));
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
    if (past.untilNs < gap.untilNs && past.untilNs - past.sinceNs < WORTH_NS) return undefined;
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

  /**
   * Nobody was there who could know better: what all peers within reach have is what there is. Who was met before and
   * is out of reach will be compared from where the two parted; a configured peer that never was is waited for.
   */
  #settleForWitnesses(gap: Gap): void {
    if (gap.witnesses.length === 0) return;
    const { ledger } = this.#init;
    const others = this.#init.peers.list().filter(({ peer }) => !gap.witnesses.includes(peer));
    const isAbsent = (peer: string): boolean => this.#attempts.get(attemptsKey(gap, peer))?.isAbsent ?? false;
    const isAwaited = ({ peer, source }: KnownPeer): boolean =>
      source === 'static' && ledger.metUntilNs(peer) === undefined;
    const isNobodyLeft = others.every(
      (other) => isAbsent(other.peer) || (other.failures > 0 && !isAwaited(other)),
    );
    if (isNobodyLeft) ledger.acceptWitnesses(gap.id);
  }

  #mayTry(gap: Gap, peer: string): boolean {
    const attempts = this.#attempts.get(attemptsKey(gap, peer));
    return attempts === undefined || attempts.nextMs <= this.#init.clock.monotonicMs();
  }

  #countAttempts({ gaps, peer }: Job, isAbsent: boolean): void {
    const { ledger, peers, clock, random } = this.#init;
    const open = new Map(ledger.open().map((gap) => [gap.id, gap]));
    for (const key of this.#attempts.keys()) {
      const cut = key.indexOf(' ');
      if (!open.has(Number(key.slice(0, cut))) || !peers.has(key.slice(cut + 1))) this.#attempts.delete(key);
    }
    for (const before of gaps) {
      const gap = open.get(before.id);
      if (gap === undefined || !peers.has(peer)) continue;
      // A part of it was closed: what remains begins anew, soon.
      const isSame = gap.sinceNs === before.sinceNs && gap.untilNs === before.untilNs;
      const key = attemptsKey(gap, peer);
      const count = isSame ? (this.#attempts.get(key)?.count ?? 0) + 1 : 1;
      const pauseMs = Math.min(LIMITS.gapRetryMaxMs, LIMITS.gapRetryMs * 2 ** (count - 1));
      const nextMs = clock.monotonicMs() + pauseMs * (0.9 + random.below(200) / 1_000);
      this.#attempts.set(key, { count, nextMs, isAbsent });
    }
  }

  // ── the recent past, and all that is older ───────────────────────────────────────────────────────────────────

  #recentJob(ready: readonly ReadyPeer[]): Job | undefined {
    const { clock, random, intervalMs } = this.#init;
    const nowMs = clock.monotonicMs();
    if (nowMs < this.#recentMs) return this.#followingJob(ready);
    const chosen = this.#chosen(ready);
    if (chosen === undefined) return undefined;
    this.#rounds += 1;
    this.#lookedMs = nowMs;
    this.#recentMs = nowMs + intervalMs * (0.9 + random.below(200) / 1_000);
    const doublings = Math.max(this.#owedDoublings, 31 - Math.clz32(this.#rounds & -this.#rounds));
    this.#owedDoublings = 0;
    this.#following = undefined;
    const window = this.#recentWindow(chosen.peer, doublings);
    return window === undefined ? undefined : { ...this.#jobFor(chosen, window, []), doublings };
  }

  /** With whom the last look at the recent past goes on, if anybody is left. */
  #followingJob(ready: readonly ReadyPeer[]): Job | undefined {
    const asked = this.#following;
    this.#following = undefined;
    if (asked === undefined) return undefined;
    const chosen = this.#chosen(ready.filter(({ peer }) => !asked.includes(peer)));
    const window = chosen === undefined ? undefined : this.#recentWindow(chosen.peer, 0);
    if (chosen === undefined || window === undefined) return undefined;
    return { ...this.#jobFor(chosen, window, []), asked: [...asked, chosen.peer] };
  }

  /**
   * Every second round reaches back twice as far, every fourth four times, and so on: what is older is compared ever
   * more rarely, and everything again and again. A round begins no later than where the last comparison with the peer
   * ended, or with any if it was never met, so that nothing is passed over when the two were parted for longer than
   * the range.
   */
  #recentWindow(peer: string, doublings: number): ScopedWindow | undefined {
    const { scope, ledger, random, rangeMs, keptOf } = this.#init;
    const untilNs = this.#endNs();
    const reachNs = nsFromMs(rangeMs * 2 ** doublings);
    let sinceNs = doublings >= LIMITS.historyDoublings || reachNs > untilNs ? 0n : untilNs - reachNs;
    const comparedNs = ledger.metUntilNs(peer) ?? ledger.verifiedUntilNs(scope);
    if (comparedNs !== undefined && comparedNs < sinceNs) sinceNs = comparedNs;
    if (sinceNs >= untilNs) return undefined;
    // Further back, where fewer topics are kept, each part has its turn.
    const parts = keptOf({ scope, sinceNs, untilNs });
    return parts[doublings === 0 ? 0 : random.below(Math.max(1, parts.length))];
  }

  #jobFor(chosen: ReadyPeer, window: ScopedWindow, gaps: readonly Gap[]): Job {
    const within = gaps.filter(
      (gap) =>
        intersection(gap, window) !== undefined && intersectScopes(gap.scope, window.scope) !== undefined,
    );
    const startedMs = this.#init.clock.monotonicMs();
    return { ...chosen, window, gaps: within, asked: [chosen.peer], doublings: 0, startedMs };
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

function attemptsKey({ id }: Gap, peer: string): string {
  return `${id} ${peer}`;
}
