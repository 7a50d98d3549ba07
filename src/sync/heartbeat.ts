/**
 * How a node knows that it may have missed something: it writes down now and then that it is alive, and watches
 * whether it was held, had no peer, or could not write. Each such time becomes a gap on the ledger.
 */
import type { Interval } from '../core/interval.ts';
import type { Scope } from '../core/scope.ts';
import { toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, Logger, Records } from '../ports.ts';
import { nsFromMs } from '../time.ts';
import { type GapCause, scopeWithout } from './gap.ts';
import type { Ledger } from './ledger.ts';
import { decodePulse, encodePulse } from './ledger-record.ts';

export interface HeartbeatInit {
  readonly records: Records;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Logger;
  /** What the node covers. */
  readonly scope: Scope;
  /** Nothing older is kept. */
  readonly horizonNs: () => bigint;
  readonly peersConnected: () => number;
  readonly isWritable: () => boolean;
  /** How many times the recent past was looked at. */
  readonly rounds: () => number;
  /** The node was held for a while, as by a machine that slept. */
  readonly onHeld: () => void;
  readonly onWritable: (isWritable: boolean) => void;
}

const PULSE = 'pulse';

/** A state that makes messages be missed while it lasts: when it began, on both clocks, if it is there. */
interface Trouble {
  since: { readonly wallMs: number; readonly monotonicMs: number } | undefined;
  isGap: boolean;
}

export class Heartbeat {
  readonly #init: HeartbeatInit;
  readonly #stop = new AbortController();
  readonly #alone: Trouble = { since: undefined, isGap: false };
  readonly #faulted: Trouble = { since: undefined, isGap: false };
  /** When it looked last, on both clocks: that of the world may be set, the other may stand still with the machine. */
  #lastMs: number;
  #lastMonotonicMs: number;
  #writtenMs = Number.NEGATIVE_INFINITY;
  #running: Promise<void> = Promise.resolve();

  constructor(init: HeartbeatInit) {
    this.#init = init;
    this.#lastMs = init.clock.nowMs();
    this.#lastMonotonicMs = init.clock.monotonicMs();
  }

  /** Puts on the ledger what was missed since the node ran last; returns how many rounds it had made. */
  async begin(): Promise<number> {
    const { records, ledger, clock, scope, horizonNs } = this.#init;
    const bytes = await records.get(PULSE);
    const last = bytes === undefined ? undefined : decodePulse(bytes);
    const nowMs = clock.nowMs();
    this.#lastMs = nowMs;
    this.#lastMonotonicMs = clock.monotonicMs();
    ledger.narrow(scope);
    const everything = { ...around(0, nowMs), sinceNs: horizonNs() };
    if (last === undefined) ledger.add('first-start', scope, everything);
    else {
      const newTopics = scopeWithout(scope, last.scope);
      if (newTopics !== undefined) ledger.add('new-topics', newTopics, everything);
      // Alive in the future: the clock was set back, and how long the node did not run is not known.
      const isSetBack = last.aliveMs - nowMs > LIMITS.heldMs;
      ledger.add('downtime', scope, isSetBack ? everything : around(last.aliveMs, nowMs));
    }
    await this.#write();
    return last?.rounds ?? 0;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** The last word: until now, the node was alive. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.look();
    await this.#write();
  }

  async #run(): Promise<void> {
    const { clock } = this.#init;
    for (;;) {
      try {
        await clock.sleep(LIMITS.pulseMs, this.#stop.signal);
      } catch {
        return;
      }
      await this.#beat();
    }
  }

  async #beat(): Promise<void> {
    const { clock, ledger, scope, horizonNs } = this.#init;
    this.look();
    ledger.expire(scope, horizonNs());
    if (Math.abs(clock.nowMs() - this.#writtenMs) >= LIMITS.heartbeatMs) await this.#write();
  }

  /** Notes what has happened until now; before anybody is told where this store may lack messages. */
  look(): void {
    this.#lookForHold();
    const { peersConnected, isWritable, onWritable } = this.#init;
    const wasFaulted = this.#faulted.since !== undefined;
    this.#follow(this.#alone, 'no-peer', peersConnected() === 0, LIMITS.alonePatienceMs);
    this.#follow(this.#faulted, 'store-fault', !isWritable(), 0);
    const isFaulted = this.#faulted.since !== undefined;
    if (wasFaulted !== isFaulted) onWritable(!isFaulted);
  }

  #lookForHold(): void {
    const { clock, ledger, scope, onHeld, log } = this.#init;
    const nowMs = clock.nowMs();
    const aheadMs = nowMs - this.#lastMs;
    const passedMs = clock.monotonicMs() - this.#lastMonotonicMs;
    this.#lastMs = nowMs;
    this.#lastMonotonicMs = clock.monotonicMs();
    if (aheadMs < -LIMITS.heldMs) log.warn({ backMs: -aheadMs }, 'the clock was set back');
    const heldMs = Math.max(aheadMs, passedMs) - LIMITS.pulseMs;
    if (heldMs <= LIMITS.heldMs) return;
    log.warn({ heldMs }, 'the node was held, or its clock was set: what was missed is looked for');
    ledger.add('downtime', scope, around(nowMs - Math.max(aheadMs, passedMs), nowMs));
    onHeld();
  }

  /** A trouble that lasts is a gap that grows; when it is over, messages of its last moments may still be missing. */
  #follow(trouble: Trouble, cause: GapCause, isThere: boolean, patienceMs: number): void {
    const { clock, ledger, scope } = this.#init;
    const [nowMs, monotonicMs] = [clock.nowMs(), clock.monotonicMs()];
    if (isThere) trouble.since ??= { wallMs: nowMs, monotonicMs };
    if (trouble.since === undefined) return;
    const lastedMs = monotonicMs - trouble.since.monotonicMs;
    // Whatever was done to the clock of the world meanwhile.
    const sinceMs = Math.min(trouble.since.wallMs, nowMs - lastedMs);
    if (isThere) {
      trouble.isGap ||= Math.max(lastedMs, nowMs - sinceMs) >= patienceMs;
      if (trouble.isGap) ledger.add(cause, scope, { ...around(sinceMs, nowMs), untilNs: nsFromMs(nowMs) });
    } else {
      if (trouble.isGap) ledger.add(cause, scope, around(sinceMs, nowMs));
      trouble.since = undefined;
      trouble.isGap = false;
    }
  }

  /** What was missed must be written down before the node says that it is alive. */
  async #write(): Promise<void> {
    const { records, ledger, clock, scope, rounds, log } = this.#init;
    const aliveMs = clock.nowMs();
    if (!(await ledger.save())) return;
    try {
      await records.put(PULSE, encodePulse({ aliveMs, scope, rounds: rounds() }));
      this.#writtenMs = aliveMs;
    } catch (error) {
      // The gap that a kill would leave then begins at what is on the disk: earlier, and never later.
      log.debug({ code: toLacunaError(error).code }, 'the heartbeat could not be written');
    }
  }
}

/** From the one time to the other, and a little on both sides: clocks of publishers differ. */
function around(sinceMs: number, untilMs: number): Interval {
  return {
    sinceNs: nsFromMs(Math.max(0, sinceMs - LIMITS.clockToleranceMs)),
    untilNs: nsFromMs(untilMs + LIMITS.clockToleranceMs),
  };
}
