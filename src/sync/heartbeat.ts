/**
 * How a node knows that it may have missed something: it writes down now and then that it is alive, and watches
 * whether it was held, had no peer, or could not write. Each such time becomes a gap on the ledger.
 */
import type { Interval } from '../core/interval.ts';
import { type Scope, scopeCovers } from '../core/scope.ts';
import { toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, Logger, Records } from '../ports.ts';
import { nsFromMs } from '../time.ts';
import type { GapCause } from './gap.ts';
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

/** A state that makes messages be missed while it lasts. */
interface Trouble {
  sinceMs: number | undefined;
  isGap: boolean;
}

export class Heartbeat {
  readonly #init: HeartbeatInit;
  readonly #stop = new AbortController();
  readonly #alone: Trouble = { sinceMs: undefined, isGap: false };
  readonly #faulted: Trouble = { sinceMs: undefined, isGap: false };
  #lastMs: number;
  #writtenMs = Number.NEGATIVE_INFINITY;
  #running: Promise<void> = Promise.resolve();

  constructor(init: HeartbeatInit) {
    this.#init = init;
    this.#lastMs = init.clock.nowMs();
  }

  /** Puts on the ledger what was missed since the node ran last; returns how many rounds it had made. */
  async begin(): Promise<number> {
    const { records, ledger, clock, scope, horizonNs } = this.#init;
    const bytes = await records.get(PULSE);
    const last = bytes === undefined ? undefined : decodePulse(bytes);
    const nowMs = clock.nowMs();
    this.#lastMs = nowMs;
    ledger.narrow(scope);
    const everything = { ...around(0, nowMs), sinceNs: horizonNs() };
    if (last === undefined) ledger.add('first-start', scope, everything);
    else {
      if (!scopeCovers(last.scope, scope)) ledger.add('new-topics', scope, everything);
      if (last.aliveMs < nowMs) ledger.add('downtime', scope, around(last.aliveMs, nowMs));
    }
    // What was missed must be written down before the node says that it is alive.
    await ledger.save();
    await this.#write(nowMs);
    return last?.rounds ?? 0;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** The last word: until now, the node was alive. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    this.#look();
    await this.#init.ledger.save();
    await this.#write(this.#init.clock.nowMs());
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
    const { clock, ledger, scope, horizonNs, onHeld, log } = this.#init;
    const nowMs = clock.nowMs();
    const heldMs = nowMs - this.#lastMs - LIMITS.pulseMs;
    if (heldMs > LIMITS.heldMs) {
      log.warn({ heldMs }, 'the node was held, or its clock was set: what was missed is looked for');
      ledger.add('downtime', scope, around(this.#lastMs, nowMs));
      onHeld();
    } else if (heldMs < -LIMITS.heldMs) {
      log.warn({ backMs: -heldMs }, 'the clock was set back');
    }
    this.#lastMs = nowMs;
    this.#look();
    ledger.expire(scope, horizonNs());
    if (Math.abs(nowMs - this.#writtenMs) < LIMITS.heartbeatMs) return;
    await ledger.save();
    await this.#write(nowMs);
  }

  #look(): void {
    const { peersConnected, isWritable, onWritable } = this.#init;
    const wasFaulted = this.#faulted.sinceMs !== undefined;
    this.#follow(this.#alone, 'no-peer', peersConnected() === 0, LIMITS.alonePatienceMs);
    this.#follow(this.#faulted, 'store-fault', !isWritable(), 0);
    const isFaulted = this.#faulted.sinceMs !== undefined;
    if (wasFaulted !== isFaulted) onWritable(!isFaulted);
  }

  /** A trouble that lasts is a gap that grows; when it is over, messages of its last moments may still be missing. */
  #follow(trouble: Trouble, cause: GapCause, isThere: boolean, patienceMs: number): void {
    const { clock, ledger, scope } = this.#init;
    const nowMs = clock.nowMs();
    if (isThere) {
      trouble.sinceMs ??= nowMs;
      trouble.isGap ||= nowMs - trouble.sinceMs >= patienceMs;
      if (trouble.isGap)
        ledger.add(cause, scope, { ...around(trouble.sinceMs, nowMs), untilNs: nsFromMs(nowMs) });
    } else if (trouble.sinceMs !== undefined) {
      if (trouble.isGap) ledger.add(cause, scope, around(trouble.sinceMs, nowMs));
      trouble.sinceMs = undefined;
      trouble.isGap = false;
    }
  }

  async #write(aliveMs: number): Promise<void> {
    const { records, scope, rounds, log } = this.#init;
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
