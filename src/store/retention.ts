/**
 * Retention: keeps the store at what its policy says. Passes go on in the background and sooner when a cap is near;
 * at the cap, messages that are to be appended wait for the room that a pass makes. What was pruned stays known as
 * far as a session could fetch it again.
 */
import type { Interval } from '../core/interval.ts';
import {
  horizonOf,
  type KeptWindow,
  keepsEverything,
  type RetentionPolicy,
  windowsOf,
} from '../core/retention.ts';
import { EVERYTHING, type Scope } from '../core/scope.ts';
import { boundAt, compareIds, timeOf } from '../core/sync-id.ts';
import { LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, Logger, StoredMessage } from '../ports.ts';
import { nsFromMs } from '../time.ts';
import { Release, type StoreChange } from './changes.ts';
import type { Database, Operation } from './database.ts';
import { ALL_FORGOTTEN, forgottenKey } from './keys.ts';
import { DryPruning, type PruneResult, Pruning } from './prune-sink.ts';
import { type MessageSource, START } from './prune-sources.ts';
import type { PrunedBook } from './pruned-book.ts';
import { Reclaimer } from './reclaimer.ts';
import { RetentionClock } from './retention-clock.ts';
import { marksOf, RetentionPass } from './retention-pass.ts';
import { RetentionWatch } from './retention-watch.ts';
import type { StoreIndex } from './store-index.ts';

/** What retention needs of the store. */
export interface RetentionInit {
  readonly policy: RetentionPolicy;
  readonly clock: Clock;
  readonly log: Logger;
  readonly database: Database;
  readonly index: StoreIndex;
  readonly book: PrunedBook;
  readonly messages: MessageSource;
  readonly submit: (change: StoreChange) => Promise<number>;
  readonly amend: (operations: readonly Operation[]) => Promise<void>;
  readonly isWritable: () => boolean;
  /** Told of what each pass has removed. */
  readonly onPruned: (removed: number, bytes: number) => void;
}

/** The store in a month, at the rate of the last week. */
export interface Prediction {
  /** On the disk. */
  readonly bytesNow: number;
  readonly bytesInMonth: number;
  readonly messagesInMonth: number;
}

const DAY_MS = 86_400_000;
const WEEK_MS = 7 * DAY_MS;
const MONTH_MS = 30 * DAY_MS;
/** What entries and index take up beside a message, until the disk was looked at. */
const BESIDE_MESSAGE_BYTES = 250;

export class Retention {
  readonly watch: RetentionWatch;
  readonly policy: RetentionPolicy;
  readonly #init: RetentionInit;
  readonly #isIdle: boolean;
  readonly #time: RetentionClock;
  readonly #reclaimer: Reclaimer;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #passing: Promise<void> | undefined;
  /** Ends the pause between two passes. */
  #pause = new AbortController();
  #isStarted = false;
  #isSoon = false;
  /** Everything older is gone, whatever its topics. */
  #gone: Uint32Array = START;
  /** Bytes on the disk when it was looked at last, and what was appended since. */
  #measured = 0;
  #appended = 0;
  /** What has been let in and may not be written yet. */
  readonly #underWay = { messages: 0, bytes: 0 };

  constructor(init: RetentionInit) {
    this.#init = init;
    this.policy = init.policy;
    this.#isIdle = keepsEverything(init.policy);
    this.#time = new RetentionClock(init.clock, init.log, () => this.#newestMs());
    this.watch = new RetentionWatch(
      init.policy,
      (topic) => init.messages.topicKey(topic),
      () => this.#soon(),
    );
    this.#reclaimer = new Reclaimer(init.database, () => this.#breathe());
  }

  /** Prunes from now on at every interval, until `stop`. */
  start(): void {
    this.#isStarted = true;
    if (!this.#stop.signal.aborted) this.#running ??= this.#run();
  }

  /** Resolves when no pass is under way any more; one that is ends within a batch. */
  async stop(): Promise<void> {
    this.#stop.abort();
    this.#pause.abort();
    await this.#running;
    await this.#passing;
  }

  /**
   * Prunes now, by the clock as it is, or only says what would go. Passes never overlap.
   *
   * @throws LacunaError STORE_DAMAGED, STORE_FAULT, STORE_BUSY, STORE_CLOSED.
   */
  async pass(isDry: boolean): Promise<PruneResult> {
    return await this.#inTurn(async () => {
      if (!isDry) this.#time.believe();
      return await this.#pass(isDry, nsFromMs(this.#init.clock.nowMs()));
    });
  }

  async #inTurn(begin: () => Promise<PruneResult>): Promise<PruneResult> {
    while (this.#passing !== undefined) await this.#passing;
    const work = begin();
    this.#passing = work
      .then(
        () => undefined,
        () => undefined,
      )
      .finally(() => {
        this.#passing = undefined;
      });
    return await work;
  }

  /** Whether a message that is not here was pruned, so that it is not to be fetched again. */
  knows(id: Uint32Array): boolean {
    return compareIds(id, 0, this.#gone, 0) < 0 || this.#init.book.knows(id);
  }

  /** Nothing of the scope is kept that is older; ns since 1970, 0 where everything is. */
  horizonNs(scope: Scope): bigint {
    const byAge = this.#isIdle ? 0n : horizonOf(this.policy, scope, this.#nowNs());
    const byCaps = this.#passedNs();
    return byAge > byCaps ? byAge : byCaps;
  }

  /** The parts of an interval that are kept and worth comparing with a peer, the newest first. */
  windows(scope: Scope, sinceNs: bigint, untilNs: bigint): KeptWindow[] {
    const interval: Interval = { sinceNs, untilNs };
    return windowsOf(this.policy, scope, interval, this.#nowNs(), this.#passedNs());
  }

  /** What the last week says of a month from now; rules for single topics are left out of it. */
  prediction(): Prediction {
    const { tree } = this.#init.index;
    const { age, messages = Number.POSITIVE_INFINITY, bytes = Number.POSITIVE_INFINITY } = this.policy.all;
    const bytesNow = this.#bytesNow;
    const { count } = tree;
    if (count === 0) return { bytesNow, bytesInMonth: bytesNow, messagesInMonth: 0 };
    const nowNs = this.#nowNs();
    const keptMs = typeof age === 'bigint' ? Number(age / 1_000_000n) : Number.POSITIVE_INFINITY;
    const heldMs = Number((nowNs - timeOf(tree.select(0))) / 1_000_000n);
    const seenMs = Math.min(WEEK_MS, Math.max(3_600_000, heldMs));
    const sinceWeek = tree.rank(boundAt(nowNs)) - tree.rank(boundAt(nowNs - nsFromMs(seenMs)));
    const added = (sinceWeek / seenMs) * Math.min(MONTH_MS, keptMs);
    const stays = keptMs < MONTH_MS ? 0 : this.#keptFor(keptMs - MONTH_MS);
    const each = bytesNow / count;
    const inMonth = Math.min(stays + added, messages, each === 0 ? Number.POSITIVE_INFINITY : bytes / each);
    const messagesInMonth = Math.round(inMonth);
    return { bytesNow, bytesInMonth: Math.round(messagesInMonth * each), messagesInMonth };
  }

  /** Looks at the disk. Nothing is pruned before `start`, `pass` or `admit`. */
  async load(): Promise<void> {
    await this.#measure();
    this.#remember();
  }

  /**
   * Lets messages in, at the cap when there is room for them; undefined where there is no need to wait. What is let
   * in has to be told of by `admitted` when it is written, or was refused.
   */
  admit(messages: readonly StoredMessage[]): Promise<void> | undefined {
    if (this.policy.all.messages === undefined && this.policy.all.bytes === undefined) {
      return this.#letIn(messages);
    }
    if (this.#isFull) return this.#makeRoom(messages);
    if (this.#isNearlyFull) void this.#attempt();
    return this.#letIn(messages);
  }

  admitted(messages: readonly StoredMessage[]): void {
    const bytes = weightOf(messages);
    this.#underWay.messages -= messages.length;
    this.#underWay.bytes -= bytes;
    this.#appended += bytes;
  }

  #letIn(messages: readonly StoredMessage[]): undefined {
    this.#underWay.messages += messages.length;
    this.#underWay.bytes += weightOf(messages);
    return undefined;
  }

  /** A store that takes no writes refuses them itself; so does one that is being closed. */
  async #makeRoom(messages: readonly StoredMessage[]): Promise<void> {
    while (this.#isFull && this.#init.isWritable() && !this.#stop.signal.aborted) {
      await this.#attempt();
      // Readers may hold what was pruned, or what takes up the room is no message: that is not to be waited for.
      if (this.#isFull && this.#init.index.tree.count === 0) break;
      if (this.#isFull) await this.#rest(LIMITS.retentionSoonMs, this.#stop.signal);
    }
    this.#letIn(messages);
  }

  get #bytesNow(): number {
    return this.#measured + this.#appended + this.#underWay.bytes;
  }

  get #isFull(): boolean {
    const { messages, bytes } = this.policy.all;
    if (messages !== undefined && this.#init.index.tree.count + this.#underWay.messages > messages)
      return true;
    return bytes !== undefined && this.#bytesNow > marksOf(bytes).full;
  }

  get #isNearlyFull(): boolean {
    const { bytes } = this.policy.all;
    return bytes !== undefined && this.#bytesNow > marksOf(bytes).near;
  }

  #passedNs(): bigint {
    return timeOf(this.#init.book.passed);
  }

  #nowNs(): bigint {
    return nsFromMs(this.#isIdle ? this.#init.clock.nowMs() : this.#time.nowMs());
  }

  #newestMs(): number | undefined {
    const { tree } = this.#init.index;
    try {
      return tree.count === 0 ? undefined : Number(timeOf(tree.select(tree.count - 1)) / 1_000_000n);
    } catch {
      // It cannot be read at the moment: nothing is known that agrees with the clock.
      return undefined;
    }
  }

  /** Messages that are not older than this. */
  #keptFor(ms: number): number {
    const { tree } = this.#init.index;
    if (ms === Number.POSITIVE_INFINITY) return tree.count;
    return tree.count - tree.rank(boundAt(this.#nowNs() - nsFromMs(ms)));
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await this.#attempt();
      this.#pause = new AbortController();
      if (this.#isSoon) await this.#rest(LIMITS.retentionSoonMs, this.#stop.signal);
      else await this.#rest(LIMITS.retentionPassMs, this.#pause.signal);
    }
  }

  /** There will be something to prune: gathers what else comes in a moment. */
  #soon(): void {
    this.#isSoon = true;
    this.#pause.abort();
  }

  async #rest(ms: number, signal: AbortSignal): Promise<void> {
    if (this.#stop.signal.aborted) return;
    // That it was ended early is all that a rejection says.
    await this.#init.clock.sleep(ms, signal).catch(() => undefined);
  }

  /** A pass whose failure is told in the log, and tried again later. */
  async #attempt(): Promise<void> {
    if (this.#passing !== undefined) return await this.#passing;
    try {
      if (!this.#isIdle) this.#time.tell();
      await this.#inTurn(() => this.#pass(false, this.#nowNs()));
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      const { code, message } = toLacunaError(error);
      this.#init.log.warn({ code, error: message }, 'retention could not prune: it will try again');
      await this.#rest(LIMITS.retentionRetryMs, this.#stop.signal);
    }
  }

  async #pass(isDry: boolean, nowNs: bigint): Promise<PruneResult> {
    const { index, book } = this.#init;
    // To look after a store once without a policy, as many commands do, does not undo the one of its node.
    const isPolicy = this.#isStarted || !this.#isIdle;
    if (!isDry && isPolicy && !book.isCurrent) await this.#takeOver();
    const usages = isDry ? this.watch.usages.map((usage) => ({ ...usage })) : this.watch.usages;
    const sink = isDry
      ? new DryPruning(index.tree.snapshot(), (candidate) => this.watch.take(candidate, usages))
      : new Pruning(
          () => index.tree,
          this.watch.rules,
          nowNs,
          (change) => this.#write(change),
        );
    if (!isDry) this.#isSoon = false;
    const pass = new RetentionPass({
      ...this.#init,
      watch: this.watch,
      reclaimer: this.#reclaimer,
      pause: () => this.#breathe(),
      sink,
      nowNs,
      isDry,
      usages,
      incoming: isDry ? { messages: 0, bytes: 0 } : this.#underWay,
    });
    try {
      await pass.run();
      if (!isDry) await this.#release();
    } finally {
      if (!isDry) await this.#measure();
      if (!isDry && sink.removed > 0) this.#tell(sink);
    }
    this.#remember();
    return { removed: sink.removed, bytes: sink.bytes };
  }

  #tell({ removed, bytes }: PruneResult): void {
    this.#init.log.info({ removed, bytes }, 'pruned');
    this.#init.onPruned(removed, bytes);
  }

  async #write(change: StoreChange): Promise<void> {
    await this.#breathe();
    for (;;) {
      try {
        await this.#init.submit(change);
        return;
      } catch (error) {
        if (toLacunaError(error).code !== 'STORE_BUSY') throw error;
        await this.#rest(LIMITS.nativeBusyMs, this.#stop.signal);
        await this.#breathe();
      }
    }
  }

  /** What another policy has pruned may be fetched again. */
  async #takeOver(): Promise<void> {
    await this.#releaseWhile(() => true);
    await this.#init.amend(this.#init.book.takeOver());
    this.#init.book.tookOver();
  }

  /** Ids that are older than anything that is kept need not be known one by one; nor can more be than the limit. */
  async #release(): Promise<void> {
    const { book } = this.#init;
    if (book.forgotten === 0) return;
    const passed = forgottenKey(boundAt(this.horizonNs(EVERYTHING)));
    await this.#releaseWhile(
      (key) => book.forgotten > LIMITS.forgottenIds || Buffer.compare(key, passed) < 0,
    );
  }

  /** Forgets ids, the oldest first, as long as it is due; looked at again after every batch. */
  async #releaseWhile(isDue: (key: Uint8Array) => boolean): Promise<void> {
    for await (const keys of this.#init.database.keys(ALL_FORGOTTEN)) {
      const due = keys.filter(isDue);
      if (due.length > 0) await this.#write(new Release(due));
      if (due.length < keys.length) return;
    }
  }

  /** Lets others have their turn between two chunks. @throws LacunaError STORE_CLOSED when it was stopped. */
  async #breathe(): Promise<void> {
    if (this.#stop.signal.aborted) throw new LacunaError('STORE_CLOSED', 'retention was stopped');
  }

  async #measure(): Promise<void> {
    const before = this.#appended;
    this.#measured = await this.#init.database.bytesOnDisk();
    this.#appended -= before;
  }

  #remember(): void {
    this.#gone = boundAt(this.#isIdle ? 0n : this.horizonNs(EVERYTHING));
  }
}

/** Bytes that messages will take up on the disk, about. */
function weightOf(messages: readonly StoredMessage[]): number {
  let bytes = messages.length * BESIDE_MESSAGE_BYTES;
  for (const { encoded } of messages) bytes += encoded.length;
  return bytes;
}
