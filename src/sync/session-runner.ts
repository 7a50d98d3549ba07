/**
 * The life of a session, whatever it speaks: a place in the table, a time by which it is over, and its report at the
 * end, also when it failed.
 */
import { timeOf } from '../core/sync-id.ts';
import { type ErrorCode, LacunaError, toLacunaError } from '../errors.ts';
import type { Clock, Logger, MessageStore } from '../ports.ts';
import { formatTimeNs } from '../time.ts';
import { hexHash } from './ingest.ts';
import { MissingBook } from './missing-book.ts';
import type { RunningSession, SessionResult } from './session.ts';
import type { SessionTable } from './session-table.ts';
import type { Strikes } from './strikes.ts';
import { isMalformed, STRIKE_MALFORMED } from './strikes.ts';

export interface RunnerInit {
  readonly sessions: SessionTable;
  readonly strikes: Strikes;
  readonly store: Pick<MessageStore, 'knows'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called with the result of every session that ended, and its error if it failed. */
  readonly onSession?: (result: SessionResult, error: LacunaError | undefined) => void;
}

export interface RunOptions {
  readonly stop?: AbortSignal | undefined;
  /** It may be ended for another one when it is silent: it was not this node that asked for it. */
  readonly yields: boolean;
  /** How long it may take in all. */
  readonly timeMs: number;
}

export class SessionRunner {
  readonly #init: RunnerInit;
  /** What peers named and did not bring. */
  readonly missing: MissingBook;

  constructor(init: RunnerInit) {
    this.#init = init;
    this.missing = new MissingBook(init.store, init.clock);
  }

  /**
   * Runs `work` as this session. Its result is told to `onSession` however it ended.
   *
   * @throws LacunaError SESSION_BUSY, SESSION_BUDGET, SESSION_ABORTED, and what `work` throws.
   */
  async run(
    session: RunningSession,
    { stop, yields, timeMs }: RunOptions,
    work: (signal: AbortSignal) => Promise<void>,
  ): Promise<SessionResult> {
    const { sessions, strikes, clock } = this.#init;
    const deadline = new Deadline(clock, timeMs, stop);
    try {
      if (strikes.isBanned(session.peer)) throw new LacunaError('PEER_BANNED', 'the peer is banned');
      sessions.add(session);
      if (yields) {
        session.displace = () => deadline.abort(new LacunaError('SESSION_BUSY', 'others need the place'));
      }
      await work(deadline.signal);
      return this.#ended(session, undefined);
    } catch (error) {
      throw this.#failed(session, error, deadline.signal);
    } finally {
      deadline.end();
      sessions.end(session);
    }
  }

  #ended(session: RunningSession, error: LacunaError | undefined): SessionResult {
    const result = session.result();
    const { log, onSession } = this.#init;
    const { missingHashes, sinceNs, untilNs, peerGaps, ...fields } = result;
    const line = {
      ...fields,
      since: String(sinceNs),
      until: String(untilNs),
      peerGaps: peerGaps.length,
      code: error?.code,
      error: error?.message,
    };
    if (error === undefined) log.info(line, 'session ended');
    else log.warn(line, 'session failed');
    this.#tellMissing(result);
    onSession?.(result, error);
    return result;
  }

  /** One line for each message that the result names, and one for how many more there are. */
  #tellMissing({ peer, missing, missingHashes, received }: SessionResult): void {
    const { log } = this.#init;
    // What came may be what another peer had not brought.
    if (received > 0) this.missing.settle();
    for (let row = 0; row < missingHashes.count; row++) {
      const id = missingHashes.at(row);
      const asked = this.missing.note(id, peer);
      if (asked === undefined) continue;
      const messageHash = hexHash(id);
      log.warn({ peer, messageHash, timestamp: formatTimeNs(timeOf(id)), asked }, 'message still missing');
    }
    const unnamed = missing - missingHashes.count;
    if (missingHashes.count > 0 && unnamed > 0) log.warn({ peer, messages: unnamed }, 'more still missing');
  }

  #failed(session: RunningSession, thrown: unknown, deadline: AbortSignal): LacunaError {
    const error = deadline.aborted
      ? toLacunaError(deadline.reason, 'SESSION_ABORTED')
      : toLacunaError(thrown, 'PEER_CLOSED');
    if (isMalformed(error.code) || UNENDING.has(error.code)) {
      this.#init.strikes.strike(session.peer, STRIKE_MALFORMED);
    }
    this.#ended(session, error);
    return error;
  }
}

/** What only a peer does that does not mean to come to an end. */
const UNENDING: ReadonlySet<ErrorCode> = new Set(['SESSION_ROUNDS', 'TRANSFER_OVER_CREDIT']);

/** A signal that fires when the session's time is up or the node stops; `end` lets go of both. */
class Deadline {
  readonly signal: AbortSignal;
  readonly #late = new AbortController();
  readonly #done = new AbortController();

  constructor(clock: Clock, timeMs: number, stop: AbortSignal | undefined) {
    this.signal = stop === undefined ? this.#late.signal : AbortSignal.any([stop, this.#late.signal]);
    clock.sleep(timeMs, this.#done.signal).then(
      () => this.abort(new LacunaError('SESSION_BUDGET', 'the session is over its time')),
      () => undefined,
    );
  }

  abort(reason: LacunaError): void {
    this.#late.abort(reason);
  }

  end(): void {
    this.#done.abort();
  }
}

/** The promise, or the signal's reason as soon as it fires. */
export async function within<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  // Whatever comes first: nobody may be left to hear of the promise's failure.
  promise.catch(() => undefined);
  signal.throwIfAborted();
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort);
  }
}

/** Whether it comes to a good end within this time. */
export async function inTime(doing: Promise<unknown>, clock: Clock, ms: number): Promise<boolean> {
  const over = new AbortController();
  const isDone = doing.then(
    () => true,
    () => false,
  );
  const isLate = clock.sleep(ms, over.signal).then(() => false);
  isLate.catch(() => undefined);
  const result = await Promise.race([isDone, isLate]);
  over.abort();
  return result;
}
