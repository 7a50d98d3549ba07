/**
 * What one peer may cause here: streams, sessions, queries, messages that nobody asked for, and bytes that are served to it. Each
 * is a bucket that empties at a steady rate; who finds it full is told when to come again, where its protocol has words
 * for that. A peer that goes on opening streams collects strikes.
 */
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock } from '../ports.ts';
import type { LimitCounts, LimitName } from './limit-counts.ts';
import type { Strikes } from './strikes.ts';

const SECOND_MS = 1_000;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** Who has used up its bytes is served again when this part of them is free: with less, each try would end at once. */
const WORTH_A_SESSION = 1 / 8;

export interface BudgetsInit {
  readonly clock: Clock;
  readonly strikes: Strikes;
  readonly counts: LimitCounts;
  /** Peers of the operator's own choice: they are held to nothing but the number of streams. */
  readonly isKnown: (peer: string) => boolean;
}

export class Budgets {
  readonly #init: BudgetsInit;
  /** The peer that has been quiet for longest first. */
  readonly #accounts = new Map<string, Account>();
  /** What strangers may ask the store for, all of them together. */
  readonly #queries = new Bucket(LIMITS.queriesPerSecond, SECOND_MS);
  /** What is read for the scopes of their sessions. */
  readonly #scopes = new Bucket(LIMITS.scopeEntriesPerMinute, MINUTE_MS);
  /** What their dear questions have cost, counted in cheap ones. */
  readonly #dear = new Bucket(LIMITS.dearQueriesPerMinute, MINUTE_MS);

  constructor(init: BudgetsInit) {
    this.#init = init;
  }

  /** How many peers it remembers. */
  get size(): number {
    return this.#accounts.size;
  }

  /** Whether it is held to nothing but the number of streams. */
  isFree(peer: string): boolean {
    return this.#init.isKnown(peer);
  }

  /** A stream of any protocol is opened by the peer; false, and a strike, when it opens too many. */
  admitsStream(peer: string): boolean {
    const { strikes, counts } = this.#init;
    if (this.#accountOf(peer).streams.take(1, this.#nowMs())) return true;
    counts.hit('peer-requests');
    strikes.strike(peer);
    return false;
  }

  /** A session is opened by the peer. @throws LacunaError SESSION_BUSY, with the time after which it may come again. */
  openSession(peer: string): void {
    if (this.#init.isKnown(peer)) return;
    const { sessions, served } = this.#accountOf(peer);
    const nowMs = this.#nowMs();
    const worthwhile = served.max * WORTH_A_SESSION;
    if (!served.has(worthwhile, nowMs)) throw this.#busy('peer-bytes', served.waitMs(worthwhile, nowMs));
    if (!sessions.take(1, nowMs)) throw this.#busy('peer-sessions', sessions.waitMs(1, nowMs));
  }

  /**
   * The peer asks the store for a page. Known peers count among all who ask, and are not turned away.
   *
   * @throws LacunaError SESSION_BUSY, as `openSession`.
   */
  openQuery(peer: string): void {
    const nowMs = this.#nowMs();
    if (!this.#init.isKnown(peer)) {
      if (!this.#queries.has(1, nowMs)) throw this.#busy('queries', this.#queries.waitMs(1, nowMs));
      const { queries } = this.#accountOf(peer);
      if (!queries.take(1, nowMs)) throw this.#busy('peer-queries', queries.waitMs(1, nowMs));
    }
    this.#queries.take(1, nowMs);
  }

  /** A question of the peer has made the store look at so many entries: a dear one counts as many cheap ones. */
  spendOnQuery(peer: string, entries: number): void {
    if (this.#init.isKnown(peer)) return;
    const nowMs = this.#nowMs();
    const questions = Math.floor(entries / LIMITS.storeQueryEntries);
    this.#dear.spend(questions, nowMs);
    this.#accountOf(peer).queries.spend(questions, nowMs);
  }

  /** It is to be looked further for the same question. @throws LacunaError SESSION_BUSY, as `openSession`. */
  continueQuery(peer: string): void {
    if (this.#init.isKnown(peer)) return;
    const { queries } = this.#accountOf(peer);
    const nowMs = this.#nowMs();
    if (!queries.has(0, nowMs)) throw this.#busy('peer-queries', queries.waitMs(0, nowMs));
    // As many strangers as there may be have one purse for it, or each new identity would bring a full one.
    if (!this.#dear.has(0, nowMs)) throw this.#busy('queries', this.#dear.waitMs(0, nowMs));
  }

  /**
   * The ids of a scope are to be put together for the peer.
   *
   * @throws LacunaError SESSION_BUSY, as `openSession`.
   */
  openScope(peer: string): void {
    const { scopes } = this.#accountOf(peer);
    const nowMs = this.#nowMs();
    if (!scopes.has(0, nowMs)) throw this.#busy('peer-scopes', scopes.waitMs(0, nowMs));
    if (!this.#scopes.has(0, nowMs)) throw this.#busy('scopes', this.#scopes.waitMs(0, nowMs));
  }

  /** So many entries were read for that: how many they will be is not known before. */
  spendOnScope(peer: string, entries: number): void {
    const nowMs = this.#nowMs();
    this.#scopes.spend(entries, nowMs);
    this.#accountOf(peer).scopes.spend(entries, nowMs);
  }

  /** So many bytes of messages are about to be sent to it. @throws LacunaError SESSION_BUSY, as `openSession`. */
  serve(peer: string, bytes: number): void {
    if (this.#init.isKnown(peer)) return;
    const { served } = this.#accountOf(peer);
    const nowMs = this.#nowMs();
    if (served.take(bytes, nowMs)) return;
    throw this.#busy('peer-bytes', served.waitMs(served.max * WORTH_A_SESSION, nowMs));
  }

  /** It brings messages that it was not asked for. @throws LacunaError SESSION_BUSY, as `openSession`. */
  takeUnasked(peer: string, messages: number, bytes: number): void {
    if (messages === 0 || this.#init.isKnown(peer)) return;
    const account = this.#accountOf(peer);
    const nowMs = this.#nowMs();
    if (!account.messages.take(messages, nowMs)) {
      throw this.#busy('peer-messages', account.messages.waitMs(messages, nowMs));
    }
    if (!account.bytes.take(bytes, nowMs)) throw this.#busy('peer-bytes', account.bytes.waitMs(bytes, nowMs));
  }

  #busy(name: LimitName, retryAfterMs: number): LacunaError {
    this.#init.counts.hit(name);
    return new LacunaError('SESSION_BUSY', `the peer has used up what it may cause here: ${name}`, {
      retryAfterMs,
    });
  }

  #nowMs(): number {
    return this.#init.clock.monotonicMs();
  }

  #accountOf(peer: string): Account {
    const account = this.#accounts.get(peer) ?? new Account();
    this.#accounts.delete(peer);
    this.#accounts.set(peer, account);
    if (this.#accounts.size > LIMITS.peersRemembered) {
      for (const [quietest] of this.#accounts) {
        this.#accounts.delete(quietest);
        break;
      }
    }
    return account;
  }
}

class Account {
  readonly streams = new Bucket(LIMITS.peerRequestsPerSecond, SECOND_MS);
  readonly sessions = new Bucket(LIMITS.peerSessionsPerMinute, MINUTE_MS);
  readonly queries = new Bucket(LIMITS.peerQueriesPerMinute, MINUTE_MS);
  readonly scopes = new Bucket(LIMITS.peerScopeEntriesPerMinute, MINUTE_MS);
  readonly messages = new Bucket(LIMITS.peerUnaskedMessagesPerHour, HOUR_MS);
  readonly bytes = new Bucket(LIMITS.peerUnaskedBytesPerHour, HOUR_MS);
  readonly served = new Bucket(LIMITS.peerServedBytesPerHour, HOUR_MS);
}

/** Holds so much, and empties in so long. */
class Bucket {
  readonly max: number;
  readonly #windowMs: number;
  #level = 0;
  #atMs = 0;

  constructor(max: number, windowMs: number) {
    this.max = max;
    this.#windowMs = windowMs;
  }

  /** False when there is no room for it, and then nothing has changed. */
  take(amount: number, nowMs: number): boolean {
    if (!this.has(amount, nowMs)) return false;
    this.#level += amount;
    return true;
  }

  /** For what is known only when it was done: it may be more than there was room for. */
  spend(amount: number, nowMs: number): void {
    this.has(0, nowMs);
    this.#level += amount;
  }

  has(amount: number, nowMs: number): boolean {
    this.#level = Math.max(0, this.#level - ((nowMs - this.#atMs) * this.max) / this.#windowMs);
    this.#atMs = nowMs;
    return this.#level + amount <= this.max;
  }

  /** When there will be room for it: a whole number, 1 or more. */
  waitMs(amount: number, nowMs: number): number {
    if (this.has(amount, nowMs)) return 1;
    return Math.max(1, Math.ceil(((this.#level + amount - this.max) * this.#windowMs) / this.max));
  }
}
