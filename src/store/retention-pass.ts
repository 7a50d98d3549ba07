/**
 * One pass of retention: what is too old goes first, then what is not the latest, then what topics have too much of,
 * and last what the whole store has too much of, always the oldest first. A pass is done in slices: after each, its
 * messages are off the disk and no reader holds the tables that they lay in.
 */
import { keptSince, type RetentionPolicy } from '../core/retention.ts';
import { boundAt, compareIds, timeOf } from '../core/sync-id.ts';
import { LIMITS } from '../limits.ts';
import type { Database } from './database.ts';
import type { KeyRange } from './keys.ts';
import { messageRange } from './keys.ts';
import type { PruneSink } from './prune-sink.ts';
import {
  type Candidate,
  END,
  listOf,
  type MessageSource,
  messagesByContentTopic,
  messagesIn,
  type Source,
  START,
} from './prune-sources.ts';
import type { Reclaimer } from './reclaimer.ts';
import type { LatestRule, RetentionWatch, Sweep, Usage } from './retention-watch.ts';
import type { StoreIndex } from './store-index.ts';
import type { TopicKey } from './topic-counts.ts';

export interface PassInit {
  readonly policy: RetentionPolicy;
  readonly watch: RetentionWatch;
  readonly database: Database;
  readonly index: StoreIndex;
  readonly messages: MessageSource;
  readonly reclaimer: Reclaimer;
  readonly sink: PruneSink;
  readonly nowNs: bigint;
  readonly isDry: boolean;
  /** Of the capped topics, as the sink leaves them. */
  readonly usages: readonly Usage[];
  /** What has been let in and may not be written yet, as it is at the moment. */
  readonly incoming: { readonly messages: number; readonly bytes: number };
  /** Rejects when the pass is to end. */
  readonly pause: () => Promise<void>;
}

/** Messages to be removed, and the part of their source that is left to be looked at. */
interface Slice {
  readonly chosen: readonly Candidate[];
  readonly bytes: number;
  readonly rest: KeyRange | undefined;
}

/** What becomes of a candidate: it goes, another one goes in its stead, none goes, or no more are needed. */
type Choice = Candidate | undefined | 'enough';

export class RetentionPass {
  readonly #init: PassInit;

  constructor(init: PassInit) {
    this.#init = init;
  }

  /** @throws LacunaError STORE_DAMAGED, STORE_FAULT, STORE_CLOSED; SESSION_ABORTED when it was ended. */
  async run(): Promise<void> {
    const { policy, watch, isDry, reclaimer, sink } = this.#init;
    for (const sweep of watch.sweeps) await this.#expire(sweep);
    for (const latest of watch.latest) await this.#keepLatest(latest);
    for (const usage of this.#init.usages) await this.#holdTopic(usage);
    if (policy.all.messages !== undefined) await this.#holdCapacity(policy.all.messages);
    if (policy.all.bytes !== undefined) await this.#holdSize(policy.all.bytes);
    if (!isDry && reclaimer.isDue(sink.count)) await reclaimer.reclaim();
  }

  async #expire(sweep: Sweep): Promise<void> {
    const { watch, nowNs, isDry, index } = this.#init;
    const { rule, list, sweptTo } = sweep;
    const upper = boundAt(keptSince(rule, nowNs));
    const known = watch.isNeeded ? sweptTo : START;
    // What was pruned before is still in the way until it was compacted: begin where there is something.
    const first = index.tree.count === 0 ? END : index.tree.select(0);
    const lower = compareIds(known, 0, first, 0) < 0 ? first : known;
    if (compareIds(lower, 0, upper, 0) >= 0) return;
    const choose = (candidate: Candidate): Choice => (this.#decides(rule, candidate) ? candidate : undefined);
    const source = this.#sourceOf(list, lower, upper);
    if (isDry) return await this.#remove(source, choose, false);
    // Before the work: what is added below while it is done has to be looked at by the next pass.
    watch.swept(sweep, upper);
    try {
      await this.#remove(source, choose, false);
    } catch (error) {
      watch.sweepFrom(sweep, lower);
      throw error;
    }
  }

  async #keepLatest(latest: LatestRule): Promise<void> {
    const { noted } = latest;
    if (this.#init.isDry) return await this.#removeOlder(latest, undefined);
    latest.noted = new Map();
    try {
      await this.#removeOlder(latest, noted);
    } catch (error) {
      latest.noted = undefined;
      throw error;
    }
  }

  /** Of the content topics that are known to have newer messages, or of all. */
  async #removeOlder(
    { rule, list }: LatestRule,
    noted: ReadonlyMap<string, TopicKey> | undefined,
  ): Promise<void> {
    const topics = list.kind === 'content' ? [list.topic] : [...(noted?.values() ?? [])];
    const sources =
      list.kind === 'content' || noted !== undefined
        ? topics.map((topic) => listOf('content', topic, START, END))
        : [messagesByContentTopic()];
    if (noted?.size === 0) return;
    for (const source of sources) {
      let newest: Candidate | undefined;
      await this.#remove(
        source,
        (candidate) => {
          if (list.kind === 'pubsub' && candidate.pubsub.name !== list.topic.name) return undefined;
          if (!this.#decides(rule, candidate)) return undefined;
          const older = newest?.content.name === candidate.content.name ? newest : undefined;
          newest = candidate;
          return older;
        },
        false,
      );
    }
  }

  async #holdTopic(usage: Usage): Promise<void> {
    const { messages = Number.POSITIVE_INFINITY, bytes = Number.POSITIVE_INFINITY } = usage.rule;
    if (!usage.isKnown) await this.#sumUp(usage);
    let overMessages = usage.messages - messages;
    let overBytes = usage.bytes - bytes;
    if (overMessages <= 0 && overBytes <= 0) return;
    await this.#remove(
      this.#sourceOf(usage.list, START, END),
      (candidate) => {
        if (overMessages <= 0 && overBytes <= 0) return 'enough';
        overMessages -= 1;
        overBytes -= candidate.bytes;
        return candidate;
      },
      false,
    );
  }

  /** Adds up the list of a topic as it is now; what comes and goes meanwhile is counted beside it. */
  async #sumUp(usage: Usage): Promise<void> {
    const { database, index, isDry, sink } = this.#init;
    usage.messages = 0;
    usage.bytes = 0;
    usage.isKnown = true;
    const before = index.tree.snapshot();
    const source = this.#sourceOf(usage.list, START, END);
    try {
      for await (const chunk of database.entries(source.range)) {
        await this.#init.pause();
        for (const [key, value] of chunk) {
          const candidate = source.read(key, value);
          if (candidate === undefined || !before.has(candidate.id)) continue;
          if (isDry && sink.isGone(candidate.id)) continue;
          usage.messages += 1;
          usage.bytes += candidate.bytes;
        }
      }
    } catch (error) {
      usage.isKnown = false;
      throw error;
    }
  }

  async #holdCapacity(most: number): Promise<void> {
    const { sink, incoming } = this.#init;
    const count = sink.count + incoming.messages;
    if (count > most) await this.#removeOldest(count - Math.floor(most * (1 - LIMITS.retentionSpare)));
  }

  /**
   * Files count that are there only until LevelDB has compacted them, or as readers hold them: what is pruned for is
   * the size of the tables in use, which pruning does make smaller.
   */
  async #holdSize(most: number): Promise<void> {
    const { database, reclaimer, sink, isDry, incoming } = this.#init;
    const { goal, near } = marksOf(most);
    if ((await database.bytesOnDisk()) + incoming.bytes <= near) return;
    if (!isDry) await database.flush();
    let bytes = await database.bytesOf(EVERYTHING);
    if (isDry) {
      const each = bytes / Math.max(1, sink.count + sink.removed);
      const over = sink.count * each - goal;
      if (over > 0) await this.#removeOldest(Math.ceil(over / each));
      return;
    }
    while (bytes > goal && sink.count > 0) {
      const { removed, count } = sink;
      const over = Math.ceil((bytes - goal) / (bytes / count));
      // What went is seen when it was compacted, which is worth it for a part of the store and not for one message.
      await this.#removeOldest(Math.min(LIMITS.retentionSlice, Math.max(over, Math.ceil(count / STEPS))));
      if (sink.removed === removed) break;
      if (reclaimer.isWorthIt(sink.count)) await reclaimer.reclaim();
      bytes = await database.bytesOf(EVERYTHING);
    }
    await database.flush();
  }

  async #removeOldest(messages: number): Promise<void> {
    const { index } = this.#init;
    if (index.tree.count === 0) return;
    let left = messages;
    await this.#remove(
      this.#sourceOf(undefined, index.tree.select(0), END),
      (candidate) => {
        if (left <= 0) return 'enough';
        left -= 1;
        return candidate;
      },
      true,
    );
  }

  #decides(rule: object, { pubsub, content }: Candidate): boolean {
    return this.#init.watch.rules.ruleOf(pubsub.name, content.name) === rule;
  }

  #sourceOf(list: Sweep['list'], lower: Uint32Array, upper: Uint32Array): Source {
    if (list === undefined) return messagesIn(this.#init.messages, lower, upper);
    return listOf(list.kind, list.topic, lower, upper);
  }

  /** Walks a source and removes what is chosen, slice by slice. */
  async #remove(source: Source, choose: (candidate: Candidate) => Choice, passes: boolean): Promise<void> {
    let range: KeyRange | undefined = source.range;
    while (range !== undefined) range = await this.#removeSlice({ ...source, range }, choose, passes);
  }

  /** Returns the range that is left. */
  async #removeSlice(
    source: Source,
    choose: (candidate: Candidate) => Choice,
    passes: boolean,
  ): Promise<KeyRange | undefined> {
    const { sink, reclaimer, isDry } = this.#init;
    const { chosen, bytes, rest } = await this.#gather(source, choose);
    let [first] = chosen;
    let last = first;
    for (const candidate of chosen) {
      await sink.take(candidate, passes);
      if (compareIds(candidate.id, 0, first!.id, 0) < 0) first = candidate;
      if (compareIds(candidate.id, 0, last!.id, 0) > 0) last = candidate;
    }
    await sink.flush();
    if (!isDry && first !== undefined && last !== undefined) {
      const range = messageRange(first.id, boundAt(timeOf(last.id) + 1n));
      const isDense = source.isInOrder && rest !== undefined;
      await reclaimer.removed({ range, messages: chosen.length, bytes }, isDense);
    }
    return rest;
  }

  /**
   * What is to go, as far as one slice. The walk is over before anything is removed: what an open iterator still sees,
   * LevelDB 1.20 keeps beside its removal, and may later forget the removal alone (google/leveldb #320; measured: one
   * entry of 35,000 messages came back).
   */
  async #gather({ range, read }: Source, choose: (candidate: Candidate) => Choice): Promise<Slice> {
    const { database, sink, pause } = this.#init;
    const chosen: Candidate[] = [];
    let bytes = 0;
    for await (const chunk of database.entries(range)) {
      await pause();
      for (const [key, value] of chunk) {
        const candidate = read(key, value);
        if (candidate === undefined || sink.isGone(candidate.id)) continue;
        const choice = choose(candidate);
        if (choice === undefined) continue;
        if (choice === 'enough') return { chosen, bytes, rest: undefined };
        chosen.push(choice);
        bytes += choice.bytes;
        if (chosen.length < LIMITS.retentionSlice && bytes < LIMITS.retentionSliceBytes) continue;
        return { chosen, bytes, rest: { gte: new Uint8Array([...key, 0]), lt: range.lt } };
      }
    }
    return { chosen, bytes, rest: undefined };
  }
}

/**
 * Of a cap of bytes: what is pruned down to, from where on a pass is worth it, and from where on appends wait. What is
 * left above is for the tables that LevelDB makes before it gives up those that they replace: under load up to a dozen
 * of its write buffers are merged into others at once (measured: 92 MB), and never more than there is, beside its log:
 * of a small cap somewhat more than half (measured at 48 MB with three other processes on two cores: 42 MB at the most;
 * with half of it, 49).
 */
export function marksOf(most: number): {
  readonly goal: number;
  readonly near: number;
  readonly full: number;
} {
  const full = most - Math.min(4 * LIMITS.compactionBytes, (most * 9) / 16);
  const least = Math.min(LIMITS.retentionSpareBytes, full / 3);
  const spare = Math.max(least, full * LIMITS.retentionSpare);
  return { goal: full - spare / 2, near: full - spare / 4, full };
}

/** The least that a cap of bytes removes at a time, as a part of all messages. */
const STEPS = 40;

/** All keys: they begin with the number of the format. */
const EVERYTHING: KeyRange = { gte: new Uint8Array(1), lt: Uint8Array.of(0xff) };
