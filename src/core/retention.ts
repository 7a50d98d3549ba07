/**
 * What is kept, and for how long: policies as operators write them, whose age decides for a message, since when a
 * scope is kept, and the windows of an interval that are worth comparing with a peer.
 */
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Interval } from './interval.ts';
import type { Scope } from './scope.ts';

export type TopicKind = 'content' | 'pubsub';

/** What is said of all messages, or of those of one topic. */
export interface Rule {
  /** So long, in ns, a message is kept; undefined leaves that to a less specific rule. */
  readonly age: bigint | 'for ever' | undefined;
  /** Of each content topic only the newest message is kept. */
  readonly isLatest: boolean;
  /** The most messages. */
  readonly messages: number | undefined;
  /** The most bytes: of the folder of the store where the rule is for all, of encoded messages for a topic. */
  readonly bytes: number | undefined;
}

export interface TopicRule extends Rule {
  readonly kind: TopicKind;
  readonly topic: string;
}

export interface RetentionPolicy {
  /** The policy as one text: policies that say the same have the same. */
  readonly text: string;
  readonly all: Rule;
  readonly topics: readonly TopicRule[];
}

/** How amounts are read; undefined for a text that is none. */
export interface AmountReaders {
  readonly durationMs: (text: string) => number | undefined;
  readonly bytes: (text: string) => number | undefined;
}

/** A part of an interval, and what of it is kept. */
export interface KeptWindow extends Interval {
  readonly scope: Scope;
}

/** What a rule says that names nothing. */
const SILENT: Rule = { age: undefined, isLatest: false, messages: undefined, bytes: undefined };

export const KEEP_EVERYTHING: RetentionPolicy = { text: '', all: SILENT, topics: [] };

const NS_PER_MS = 1_000_000;
const SELECTOR = /^(content|pubsub):(.+)$/s;
const FORMS = 'none, time:30d, capacity:1000000, size:50GB, or latest for a topic';

/**
 * Each text is one policy, or several with `;` between them, with `content:TOPIC=` or `pubsub:TOPIC=` before them
 * where they are for one topic.
 *
 * @throws LacunaError CONFIG_INVALID with the policy and what to write instead.
 */
export function parseRetention(texts: readonly string[], read: AmountReaders): RetentionPolicy {
  const said = new Map<string, Map<string, string>>();
  for (const text of texts) {
    const split = text.lastIndexOf('=');
    const selector = text.slice(0, Math.max(0, split)).trim();
    if (split >= 0 && !SELECTOR.test(selector)) {
      throw invalid(text, 'names no topic: write content:TOPIC=POLICY or pubsub:TOPIC=POLICY');
    }
    const policies = said.get(selector) ?? new Map<string, string>();
    said.set(selector, policies);
    if (said.size > LIMITS.retentionRules) {
      throw invalid(text, `is one topic too many: there may be ${LIMITS.retentionRules - 1}`);
    }
    for (const part of text.slice(split + 1).split(';')) addPolicy(part.trim(), text, policies);
    if (selector === '' && policies.has('latest')) {
      throw invalid(text, 'is for topics only: write content:TOPIC=latest or pubsub:TOPIC=latest');
    }
  }
  const rules = [...said].map(([selector, policies]) => ({
    selector,
    rule: ruleOf(policies, selector, read),
  }));
  const policy: RetentionPolicy = {
    text: [...said]
      .map(([selector, policies]) => canonical(selector, policies))
      .sort()
      .join('\n'),
    all: rules.find(({ selector }) => selector === '')?.rule ?? SILENT,
    topics: rules.flatMap(({ selector, rule }) => {
      const [, kind, topic] = SELECTOR.exec(selector) ?? [];
      return topic === undefined ? [] : [{ ...rule, kind: kind as TopicKind, topic }];
    }),
  };
  return keepsEverything(policy) ? { ...policy, text: '' } : policy;
}

/** Whether there is anything to remove, ever. */
export function keepsEverything({ all, topics }: RetentionPolicy): boolean {
  return [all, ...topics].every((rule) => {
    const { age, isLatest, messages, bytes } = rule;
    return typeof age !== 'bigint' && !isLatest && messages === undefined && bytes === undefined;
  });
}

/** Since when messages of a rule are kept, in ns since 1970. */
export function keptSince({ age }: Rule, nowNs: bigint): bigint {
  return typeof age === 'bigint' && age < nowNs ? nowNs - age : 0n;
}

/** Which rule decides over the age of a message. Topics are known by the names that `nameOf` gives them. */
export class DecidingRules {
  readonly all: Rule;
  readonly #content = new Map<string, TopicRule>();
  readonly #pubsub = new Map<string, TopicRule>();

  constructor({ all, topics }: RetentionPolicy, nameOf: (topic: string) => string = (topic) => topic) {
    this.all = all;
    for (const rule of topics) {
      if (!decides(rule)) continue;
      (rule.kind === 'content' ? this.#content : this.#pubsub).set(nameOf(rule.topic), rule);
    }
  }

  ruleOf(pubsub: string, content: string): Rule {
    return this.#content.get(content) ?? this.#pubsub.get(pubsub) ?? this.all;
  }

  /**
   * From when on sessions compare messages of these topics: windows cannot leave out a topic that is kept for less
   * long than the others, so that what it has pruned is asked for where they are still kept.
   */
  comparedSince(pubsub: string, content: string, nowNs: bigint): bigint {
    let since = keptSince(this.all, nowNs);
    for (const rule of [this.#pubsub.get(pubsub), this.#content.get(content)]) {
      if (rule !== undefined) since = least(since, keptSince(rule, nowNs));
    }
    return since;
  }
}

/** Nothing of the scope is kept that is older, as far as ages go; ns since 1970, 0 where something is kept for ever. */
export function horizonOf(policy: RetentionPolicy, scope: Scope, nowNs: bigint): bigint {
  const parts = partsOf(policy, scope);
  return [...parts.rules(), ...parts.rest].map((rule) => keptSince(rule, nowNs)).reduce(least);
}

/**
 * The parts of an interval that are kept, those first that end last. As far back as most is kept they are of the
 * scope itself, further back of the topics alone that are kept for longer. Parts may share messages, as a content
 * topic and a pubsub topic do, but none holds all of another. `floorNs` is what nothing is kept before.
 */
export function windowsOf(
  policy: RetentionPolicy,
  scope: Scope,
  { sinceNs, untilNs }: Interval,
  nowNs: bigint,
  floorNs: bigint,
): KeptWindow[] {
  const parts = partsOf(policy, scope);
  const start = sinceNs > floorNs ? sinceNs : floorNs;
  const horizons = [...parts.rules(), ...parts.rest].map((rule) => keptSince(rule, nowNs));
  const cuts = [...new Set([start, ...horizons])].filter((cut) => cut >= start && cut < untilNs);
  const windows: KeptWindow[] = [];
  let upper = untilNs;
  for (const lower of cuts.sort((a, b) => (a > b ? -1 : 1))) {
    for (const kept of parts.keptAt(lower, nowNs)) {
      const last = windows.findLastIndex(({ scope: earlier }) => isSameScope(earlier, kept));
      const newer = windows[last];
      if (newer?.sinceNs === upper) windows[last] = { ...newer, sinceNs: lower };
      else windows.push({ scope: kept, sinceNs: lower, untilNs: upper });
    }
    upper = lower;
  }
  return windows;
}

interface Parts {
  /** What decides over messages that no topic rule names; empty where the scope has none of them. */
  readonly rest: readonly Rule[];
  rules(): readonly TopicRule[];
  /** What is kept of the messages just after a moment. */
  keptAt(momentNs: bigint, nowNs: bigint): Scope[];
}

/** A scope by the rules that decide over its messages. */
function partsOf({ all, topics }: RetentionPolicy, scope: Scope): Parts {
  const { pubsubTopics, contentTopics } = scope;
  const among = (kind: TopicKind, asked: readonly string[]): TopicRule[] =>
    topics.filter(
      (rule) => rule.kind === kind && decides(rule) && (asked.length === 0 || asked.includes(rule.topic)),
    );
  const content = among('content', contentTopics);
  const freeContent = contentTopics.filter((topic) => !content.some((rule) => rule.topic === topic));
  const hasFreeContent = contentTopics.length === 0 || freeContent.length > 0;
  const pubsub = hasFreeContent ? among('pubsub', pubsubTopics) : [];
  const freePubsub = pubsubTopics.filter((topic) => !pubsub.some((rule) => rule.topic === topic));
  const rest = hasFreeContent && (pubsubTopics.length === 0 || freePubsub.length > 0) ? [all] : [];
  // Where each pubsub topic has a rule, all of them together decide over what no content topic does.
  const beside = rest.length > 0 ? rest : pubsub;
  return {
    rest,
    rules: () => [...content, ...pubsub],
    keptAt(momentNs, nowNs) {
      const isKept = (rule: Rule): boolean => keptSince(rule, nowNs) <= momentNs;
      const keptContent = content.filter(isKept).map(({ topic }) => topic);
      if (beside.length > 0 && beside.every(isKept)) {
        // What is not kept can be left out where the scope names its topics one by one; there are others, so that
        // no list becomes empty.
        const isLost = (rules: readonly TopicRule[], topic: string): boolean =>
          rules.some((rule) => rule.topic === topic && !isKept(rule));
        const named = contentTopics.filter((topic) => !isLost(content, topic));
        const shards = pubsubTopics.filter((topic) => !isLost(pubsub, topic));
        return [{ pubsubTopics: keptContent.length > 0 ? pubsubTopics : shards, contentTopics: named }];
      }
      const keptPubsub = pubsub.filter(isKept).map(({ topic }) => topic);
      return [
        ...(keptContent.length > 0 ? [{ pubsubTopics, contentTopics: keptContent }] : []),
        ...(keptPubsub.length > 0 ? [{ pubsubTopics: keptPubsub, contentTopics: freeContent }] : []),
      ];
    },
  };
}

function decides({ age }: Rule): boolean {
  return age !== undefined;
}

function addPolicy(part: string, text: string, policies: Map<string, string>): void {
  const split = part.indexOf(':');
  const kind = split < 0 ? part : part.slice(0, split);
  const amount = split < 0 ? '' : part.slice(split + 1).trim();
  const takesAmount = AMOUNTS.has(kind);
  if (!takesAmount && kind !== 'none' && kind !== 'latest')
    throw invalid(text, `is no policy: write ${FORMS}`);
  if (takesAmount !== split >= 0) throw invalid(text, `is incomplete: write ${FORMS}`);
  if (policies.has(kind))
    throw invalid(text, `says ${kind} a second time for the same messages: leave one out`);
  policies.set(kind, amount);
  if (policies.has('none') && policies.size > 1) {
    throw invalid(text, 'says none beside another policy for the same messages: leave one out');
  }
}

const AMOUNTS: ReadonlySet<string> = new Set(['time', 'capacity', 'size']);

function ruleOf(policies: ReadonlyMap<string, string>, selector: string, read: AmountReaders): Rule {
  const amountOf = (
    kind: string,
    parse: (text: string) => number | undefined,
    least: number,
    cure: string,
  ): number | undefined => {
    const text = policies.get(kind);
    if (text === undefined) return undefined;
    const amount = parse(text);
    if (amount === undefined || !(amount >= least) || !Number.isSafeInteger(amount)) {
      throw invalid(`${kind}:${text}`, cure);
    }
    return amount;
  };
  const ms = amountOf('time', read.durationMs, 1, 'is no duration: write time:30d, time:12h, or seconds');
  const whole = (text: string): number | undefined => (/^\d+$/.test(text) ? Number(text) : undefined);
  const bytesMin = selector === '' ? LIMITS.retentionSizeMin : 1;
  const sizeCure = `is no size: write size:50GB, of the whole store at least ${LIMITS.retentionSizeMin} bytes`;
  // What is said to be the latest is no matter of age, unless an age is said too.
  const isForEver = policies.has('none') || policies.has('latest');
  return {
    age: ms !== undefined ? BigInt(ms) * BigInt(NS_PER_MS) : isForEver ? 'for ever' : undefined,
    isLatest: policies.has('latest'),
    messages: amountOf('capacity', whole, 1, 'is no number of messages: write capacity:1000000'),
    bytes: amountOf('size', read.bytes, bytesMin, sizeCure),
  };
}

function canonical(selector: string, policies: ReadonlyMap<string, string>): string {
  const parts = [...policies].map(([kind, amount]) => (amount === '' ? kind : `${kind}:${amount}`));
  return `${selector}=${parts.sort().join(';')}`;
}

function invalid(policy: string, cure: string): LacunaError {
  return new LacunaError('CONFIG_INVALID', `'${policy}' ${cure}`);
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

function isSameScope(a: Scope, b: Scope): boolean {
  const same = (left: readonly string[], right: readonly string[]): boolean =>
    left.length === right.length && left.every((topic, at) => topic === right[at]);
  return same(a.pubsubTopics, b.pubsubTopics) && same(a.contentTopics, b.contentTopics);
}
