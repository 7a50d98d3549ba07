/**
 * Retention without cleverness: a list of messages from which policies take, one after the other, what they do not
 * keep. The tests of the real one compare with it.
 */
import type { KeptWindow, RetentionPolicy, Rule, TopicRule } from '../../src/core/retention.ts';
import { inScope } from '../../src/core/scope.ts';
import { compareIds, timeOf } from '../../src/core/sync-id.ts';
import { LIMITS } from '../../src/limits.ts';
import type { StoredMessage } from '../../src/ports.ts';

/** What is left, the oldest first; the size of the store on the disk is left out. */
export function keptOf(
  policy: RetentionPolicy,
  messages: readonly StoredMessage[],
  nowNs: bigint,
): StoredMessage[] {
  const deciding = (message: StoredMessage): Rule =>
    policy.topics.find((rule) => rule.kind === 'content' && decides(rule) && names(rule, message)) ??
    policy.topics.find((rule) => rule.kind === 'pubsub' && decides(rule) && names(rule, message)) ??
    policy.all;
  let kept = [...messages].sort((a, b) => compareIds(a.id, 0, b.id, 0));
  kept = kept.filter((message) => {
    const { age } = deciding(message);
    return typeof age !== 'bigint' || timeOf(message.id) >= nowNs - age;
  });
  kept = kept.filter((message, at) => {
    const rule = deciding(message);
    const isNewer = (other: StoredMessage): boolean =>
      other.contentTopic === message.contentTopic && deciding(other) === rule;
    return !rule.isLatest || !kept.slice(at + 1).some(isNewer);
  });
  for (const rule of policy.topics) {
    const within = (): StoredMessage[] => kept.filter((message) => names(rule, message));
    const isOver = (): boolean =>
      within().length > (rule.messages ?? Number.POSITIVE_INFINITY) ||
      within().reduce((sum, { encoded }) => sum + encoded.length, 0) >
        (rule.bytes ?? Number.POSITIVE_INFINITY);
    while (isOver()) {
      const [oldest] = within();
      kept = kept.filter((message) => message !== oldest);
    }
  }
  const most = policy.all.messages ?? Number.POSITIVE_INFINITY;
  if (kept.length > most) kept = kept.slice(kept.length - Math.floor(most * (1 - LIMITS.retentionSpare)));
  return kept;
}

/** Whether one of the windows would compare the message. */
export function isWithin(
  windows: readonly KeptWindow[],
  { id, pubsubTopic, contentTopic }: StoredMessage,
): boolean {
  const timeNs = timeOf(id);
  return windows.some(
    ({ scope, sinceNs, untilNs }) =>
      timeNs >= sinceNs && timeNs < untilNs && inScope(scope, pubsubTopic, contentTopic),
  );
}

function names({ kind, topic }: TopicRule, { contentTopic, pubsubTopic }: StoredMessage): boolean {
  return topic === (kind === 'content' ? contentTopic : pubsubTopic);
}

function decides({ age }: Rule): boolean {
  return age !== undefined;
}
