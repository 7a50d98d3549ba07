/** The counts of pubsub topics, and the scopes that are everything because of them. */
import { describe, expect, it } from 'vitest';
import { boundAt, TIMESTAMP_MAX } from '../../src/core/sync-id.ts';
import { verifyStore } from '../../src/store/integrity.ts';
import { topicIndexKey } from '../../src/store/keys.ts';
import type { LevelMessageStore } from '../../src/store/message-store.ts';
import { CHAT, NOTES, NOW_NS, SHARD_0, SHARD_1, samples } from '../sample-messages.ts';
import { temporaryFolder } from '../temporary-folder.ts';
import { abandon, openStore } from './open-store.ts';

const TOPICS = [SHARD_0, SHARD_1, '/three', '/four'];
const MESSAGES = samples(400, { pubsubTopics: TOPICS, contentTopics: [CHAT, NOTES] });
const LAST_MS = NOW_NS - 1_000_000n;

/** Asked for a narrow window, the whole index has more than what was asked for, and a list has just that. */
async function isWhole(store: LevelMessageStore, pubsubTopics: string[], contentTopics: string[] = []) {
  const index = await store.index({ pubsubTopics, contentTopics }, LAST_MS, NOW_NS);
  if (index.count !== store.count) expect(index.count).toBeLessThanOrEqual(1);
  return index.count === store.count;
}

async function countOf(store: LevelMessageStore, pubsubTopics: string[]): Promise<number> {
  const index = await store.index({ pubsubTopics, contentTopics: [] }, 0n, TIMESTAMP_MAX);
  return index.ids(boundAt(0n), boundAt(TIMESTAMP_MAX)).count;
}

describe('a scope of pubsub topics', () => {
  it('is everything when no other topic has messages, now and after a restart', async () => {
    const folder = await temporaryFolder();
    let store = await openStore(folder);
    expect(await isWhole(store, [SHARD_0])).toBe(true);
    await store.append(MESSAGES);
    for (let opening = 0; opening < 2; opening++) {
      expect(await isWhole(store, TOPICS)).toBe(true);
      expect(await isWhole(store, ['/unknown', ...TOPICS, ...TOPICS])).toBe(true);
      expect(await isWhole(store, TOPICS.slice(1))).toBe(false);
      expect(await isWhole(store, [...TOPICS, '/unknown'].slice(1))).toBe(false);
      // A content topic says nothing of other content topics.
      expect(await isWhole(store, TOPICS, [CHAT])).toBe(false);
      expect(await countOf(store, ['/unknown'])).toBe(0);
      expect(await countOf(store, [SHARD_0])).toBe(
        MESSAGES.filter(({ pubsubTopic }) => pubsubTopic === SHARD_0).length,
      );
      await abandon(store);
      store = await openStore(folder);
    }
    await store.append(samples(1, { seed: 9, pubsubTopics: ['/five'] }));
    expect(await isWhole(store, TOPICS)).toBe(false);
    expect(await isWhole(store, [...TOPICS, '/five'])).toBe(true);
    await store.close();
  });

  it('is everything again when the last message of another topic was set aside', async () => {
    const store = await openStore(await temporaryFolder());
    await store.append(MESSAGES);
    const fours = MESSAGES.filter(({ pubsubTopic }) => pubsubTopic === '/four');
    await Promise.all(fours.slice(1).map(({ id, encoded }) => store.quarantine(id, encoded)));
    expect(await isWhole(store, TOPICS.slice(0, 3))).toBe(false);
    await store.quarantine(fours[0]!.id, fours[0]!.encoded);
    expect(await isWhole(store, TOPICS.slice(0, 3))).toBe(true);
    expect(store.storeIndex.topics.names()).toHaveLength(3);
    await store.append(fours);
    expect(await isWhole(store, TOPICS.slice(0, 3))).toBe(false);
    expect(await isWhole(store, TOPICS)).toBe(true);
    await store.close();
  });

  it('is put together from lists when nobody knows which topic lost a message, until they are counted anew', async () => {
    const folder = await temporaryFolder();
    const store = await openStore(folder);
    await store.append(MESSAGES);
    const victim = MESSAGES[7]!;
    const topic = store.putter.topicKey(victim.pubsubTopic);
    await store.database.write((batch) => batch.del(topicIndexKey('pubsub', topic.bytes, victim.id)));
    await store.quarantine(victim.id, victim.encoded);
    expect(await isWhole(store, TOPICS)).toBe(false);
    expect(await countOf(store, TOPICS)).toBe(399);
    await store.close();
    const again = await openStore(folder);
    expect(await isWhole(again, TOPICS)).toBe(true);
    // The entry of the message under its content topic was not found with it.
    expect(await verifyStore(again, true)).toEqual({ checked: 399, damaged: 1, repaired: 1 });
    expect(await isWhole(again, TOPICS)).toBe(true);
    await again.append(MESSAGES);
    expect(await verifyStore(again, false)).toEqual({ checked: 400, damaged: 0, repaired: 0 });
    await again.close();
  });

  it('costs a bounded memory when there are more topics than the limit', async () => {
    const folder = await temporaryFolder();
    const index = { topicsMax: 3 };
    const store = await openStore(folder, { index });
    const [threes, fours] = [true, false].map((isThree) =>
      MESSAGES.filter(({ pubsubTopic }) => (pubsubTopic !== '/four') === isThree),
    );
    await store.append(threes!);
    expect(await isWhole(store, TOPICS.slice(0, 3))).toBe(true);
    await store.append(fours!);
    expect(store.storeIndex.topics.names()).toEqual([]);
    await store.append(samples(5, { seed: 3, untilNs: LAST_MS }));
    for (const some of [TOPICS, TOPICS.slice(0, 3)]) expect(await isWhole(store, some)).toBe(false);
    expect(await countOf(store, TOPICS)).toBe(405);
    expect(await countOf(store, ['/unknown'])).toBe(0);
    expect(await verifyStore(store, false)).toEqual({ checked: 405, damaged: 0, repaired: 0 });
    await store.rebuildIndex('to count again');
    expect(await isWhole(store, TOPICS)).toBe(false);
    await store.close();
    // With a higher limit, a rebuild counts them.
    const again = await openStore(folder);
    expect(await isWhole(again, TOPICS)).toBe(false);
    await again.rebuildIndex('to count again');
    expect(await isWhole(again, TOPICS)).toBe(true);
    await again.close();
  });
});
