/** The ids of a scope: the whole index where that is the same, else put together from the lists of its topics. */
import { DigestTree } from '../core/digest-tree.ts';
import type { RangeIndex } from '../core/range-index.ts';
import { isEverything, type Scope } from '../core/scope.ts';
import { boundAt, SyncIdList } from '../core/sync-id.ts';
import type { OnRead } from '../ports.ts';
import type { MessagePutter } from './changes.ts';
import type { Database } from './database.ts';
import { idOfKey, otherTopicOf, type TopicKind, topicRange } from './keys.ts';
import type { StoreIndex } from './store-index.ts';
import { type TopicKey, topicKeyOf } from './topic-counts.ts';

export interface ScopeSource {
  readonly database: Database;
  readonly index: StoreIndex;
  readonly putter: MessagePutter;
}

/** An index that no later write changes. A topic that nobody has sent anything to is an empty set. */
export async function idsOfScope(
  source: ScopeSource,
  scope: Scope,
  sinceNs: bigint,
  untilNs: bigint,
  onRead?: OnRead,
): Promise<RangeIndex> {
  const { index } = source;
  if (isEverything(scope)) return index.tree.snapshot();
  const keysOf = (topics: readonly string[]): Map<string, TopicKey> =>
    new Map(topics.map((topic) => source.putter.topicKey(topic)).map((key) => [key.name, key]));
  const pubsub = keysOf(scope.pubsubTopics);
  const content = keysOf(scope.contentTopics);
  const counted = pubsub.size === 0 ? undefined : index.topics.sumOf(pubsub.keys());
  if (counted === 0) return new DigestTree();
  if (counted === index.tree.count && content.size === 0) return index.tree.snapshot();
  const ids = new SyncIdList();
  const [kind, topics]: [TopicKind, Map<string, TopicKey>] =
    pubsub.size > 0 ? ['pubsub', pubsub] : ['content', content];
  const wanted = pubsub.size > 0 && content.size > 0 ? content : undefined;
  for (const { bytes } of topics.values()) {
    const range = topicRange(kind, bytes, boundAt(sinceNs), boundAt(untilNs));
    for await (const entries of source.database.entries(range)) {
      for (const [key, value] of entries) {
        if (wanted !== undefined && !wanted.has(topicKeyOf(otherTopicOf(value)).name)) continue;
        const id = idOfKey(key);
        // An entry may be there before its message is acknowledged, or without one.
        if (index.tree.has(id)) ids.push(id, 0);
      }
      await onRead?.(entries.length);
    }
  }
  return DigestTree.from(ids);
}
