/**
 * What retention knows between two passes, so that a pass looks only at what may have changed: how far the ages of
 * each rule were swept, how many messages and bytes the capped topics have, and which content topics have newer
 * messages where only the latest is kept. It is told of every message that comes and goes.
 */
import { DecidingRules, type RetentionPolicy, type Rule, type TopicRule } from '../core/retention.ts';
import { boundAt, compareIds } from '../core/sync-id.ts';
import { LIMITS } from '../limits.ts';
import type { StoredMessage } from '../ports.ts';
import type { ChangeWatcher, PrunedMessage } from './changes.ts';
import type { Candidate } from './prune-sources.ts';
import type { TopicKey } from './topic-counts.ts';

/** The messages that an age decides over: all, or those in the list of a topic. */
export interface Sweep {
  readonly rule: Rule;
  /** Undefined for all messages. */
  readonly list: TopicList | undefined;
  /** Of those below this, none is left that is too old at this moment or was at an earlier one. */
  sweptTo: Uint32Array;
}

export interface TopicList {
  readonly kind: TopicRule['kind'];
  readonly topic: TopicKey;
}

/** Of a topic with a cap. */
export interface Usage {
  readonly rule: TopicRule;
  readonly list: TopicList;
  messages: number;
  bytes: number;
  /** False until its list was summed up. */
  isKnown: boolean;
}

/** A rule that keeps only the newest message of each content topic. */
export interface LatestRule {
  readonly rule: Rule;
  readonly list: TopicList;
  /** Content topics with newer messages; undefined where it may be any of them. */
  noted: Map<string, TopicKey> | undefined;
}

export class RetentionWatch implements ChangeWatcher {
  readonly rules: DecidingRules;
  readonly sweeps: readonly Sweep[];
  readonly usages: readonly Usage[];
  readonly latest: readonly LatestRule[];
  readonly #keyOf: (topic: string) => TopicKey;
  readonly #onDue: () => void;
  /** The usages, by kind and name of their topics. */
  readonly #usageOf: Readonly<Record<TopicRule['kind'], ReadonlyMap<string, Usage>>>;
  /** No sweep has come further: what is newer, as nearly everything is, concerns none. */
  #sweptMost = boundAt(0n);

  /** Whether there is anything to be told of: rules for topics. Otherwise what is too old is simply what comes first. */
  readonly isNeeded: boolean;

  /** `onDue` is called when a message came to a topic of which only the latest is kept, or that is over its cap. */
  constructor(policy: RetentionPolicy, keyOf: (topic: string) => TopicKey, onDue: () => void) {
    this.#keyOf = keyOf;
    this.#onDue = onDue;
    this.isNeeded = policy.topics.length > 0;
    this.rules = new DecidingRules(policy, (topic) => keyOf(topic).name);
    const listed = policy.topics.map((rule) => ({
      rule: rule as TopicRule,
      list: { kind: rule.kind, topic: keyOf(rule.topic) },
    }));
    const all = { rule: policy.all, list: undefined };
    this.sweeps = [all, ...listed]
      .filter(({ rule }) => typeof rule.age === 'bigint')
      .map((sweep) => ({ ...sweep, sweptTo: boundAt(0n) }));
    this.usages = listed
      .filter(({ rule }) => rule.messages !== undefined || rule.bytes !== undefined)
      .map((capped) => ({ ...capped, messages: 0, bytes: 0, isKnown: false }));
    this.latest = listed
      .filter(({ rule }) => rule.isLatest)
      .map((latest) => ({ ...latest, noted: undefined }));
    const named = (kind: TopicRule['kind']): ReadonlyMap<string, Usage> =>
      new Map(
        this.usages
          .filter(({ list }) => list.kind === kind)
          .map((usage) => [usage.list.topic.name, usage] as const),
      );
    this.#usageOf = { pubsub: named('pubsub'), content: named('content') };
  }

  /** From now on, what comes below this has to be looked at again. */
  swept(sweep: Sweep, to: Uint32Array): void {
    sweep.sweptTo = to;
    if (compareIds(this.#sweptMost, 0, to, 0) < 0) this.#sweptMost = to;
  }

  /** The sweep has to begin here again, or earlier. */
  sweepFrom(sweep: Sweep, id: Uint32Array): void {
    if (compareIds(id, 0, sweep.sweptTo, 0) < 0) sweep.sweptTo = id.slice();
  }

  added({ id, pubsubTopic, contentTopic, encoded }: StoredMessage): void {
    if (compareIds(id, 0, this.#sweptMost, 0) < 0) {
      for (const sweep of this.sweeps) this.sweepFrom(sweep, id);
    }
    const pubsub = this.#keyOf(pubsubTopic);
    const content = this.#keyOf(contentTopic);
    for (const usage of [this.#usageOf.pubsub.get(pubsub.name), this.#usageOf.content.get(content.name)]) {
      if (usage === undefined) continue;
      usage.messages += 1;
      usage.bytes += encoded.length;
      if (isOver(usage)) this.#onDue();
    }
    const deciding = this.rules.ruleOf(pubsub.name, content.name);
    if (!deciding.isLatest) return;
    for (const latest of this.latest) {
      if (latest.rule !== deciding) continue;
      latest.noted?.set(content.name, content);
      if ((latest.noted?.size ?? 0) > LIMITS.retentionTopicsNoted) latest.noted = undefined;
    }
    this.#onDue();
  }

  pruned({ pubsub, content, bytes }: PrunedMessage): void {
    for (const usage of [this.#usageOf.pubsub.get(pubsub.name), this.#usageOf.content.get(content.name)]) {
      if (usage !== undefined) spend(usage, bytes);
    }
  }

  /** The same for usages that are only thought of. */
  take({ pubsub, content, bytes }: Candidate, usages: readonly Usage[]): void {
    for (const usage of usages) {
      const { kind, topic } = usage.list;
      if (usage.isKnown && topic.name === (kind === 'pubsub' ? pubsub : content).name) spend(usage, bytes);
    }
  }

  lost(): void {
    for (const usage of this.usages) usage.isKnown = false;
  }

  /** Anything may have come or gone. */
  forget(): void {
    this.lost();
    for (const sweep of this.sweeps) sweep.sweptTo = boundAt(0n);
    for (const latest of this.latest) latest.noted = undefined;
  }
}

/** By so much that it is worth a pass of its own. */
function isOver({ rule, messages, bytes, isKnown }: Usage): boolean {
  const most = 1 + LIMITS.retentionSpare;
  const { messages: messagesMax = Number.POSITIVE_INFINITY, bytes: bytesMax = Number.POSITIVE_INFINITY } =
    rule;
  return isKnown && (messages > messagesMax * most || bytes > bytesMax * most);
}

function spend(usage: Usage, bytes: number): void {
  usage.messages -= 1;
  usage.bytes -= bytes;
}
