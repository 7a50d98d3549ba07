/**
 * The tallies made anew from the entries under the topics, which tell time, topics and length of each message: a fifth
 * of what reading the messages would cost. The entries of both kinds have to agree, and to be those of the messages.
 */
import type { DigestTree } from '../core/digest-tree.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, Logger } from '../ports.ts';
import type { Batch, Database } from './database.ts';
import { ALL_HOURS, ALL_TOPIC_COUNTS, ALL_TOPICS, readTopicEntry } from './keys.ts';
import { Tallies, TallyChanges, type TallyLimits } from './tallies.ts';
import { topicKeyOf } from './topic-counts.ts';

export interface TallyBuild extends TallyLimits {
  readonly database: Database;
  readonly clock: Clock;
  readonly log: Logger;
  /** The ids of the messages. */
  readonly tree: DigestTree;
}

const WRITTEN_TOGETHER = 4_096;

/**
 * Puts the tallies in the place of those on the disk, of which the header says meanwhile that they are not to be read.
 * Where the entries are not what they should be, nothing is known: counts that are wrong would be worse than none.
 */
export async function buildTallies(build: TallyBuild, signal: AbortSignal | undefined): Promise<Tallies> {
  const { database, tree, log } = build;
  for (const range of [ALL_HOURS, ...Object.values(ALL_TOPIC_COUNTS)]) await database.clear(range);
  const tallies = new Tallies(build);
  const bytes = await sumUp(build, 'pubsub', tallies, signal);
  const bytesAgain = await sumUp(build, 'content', undefined, signal);
  if (bytes === undefined || bytes !== bytesAgain || !tallies.addUpTo(tree.count)) {
    tallies.forget();
    log.warn(
      { code: 'STORE_DAMAGED' },
      'entries of messages are missing or astray: nothing is counted by them',
    );
    return tallies;
  }
  let puts: ((batch: Batch) => void)[] = [];
  for (const put of tallies.all()) {
    puts.push(put);
    if (puts.length < WRITTEN_TOGETHER) continue;
    const some = puts;
    puts = [];
    await database.write((batch) => {
      for (const each of some) each(batch);
    });
  }
  await database.write((batch) => {
    for (const each of puts) each(batch);
  });
  return tallies;
}

/** Adds the entries of a kind to the tallies; returns the bytes of all, undefined where they are not those of the messages. */
async function sumUp(
  { database, clock, log, tree }: TallyBuild,
  kind: 'pubsub' | 'content',
  tallies: Tallies | undefined,
  signal: AbortSignal | undefined,
): Promise<number | undefined> {
  let messages = 0;
  let bytes = 0;
  let toldMs = clock.monotonicMs();
  for await (const chunk of database.entries(ALL_TOPICS[kind])) {
    signal?.throwIfAborted();
    const changes = new TallyChanges();
    for (const [key, value] of chunk) {
      const entry = readTopicEntry(key, value);
      if (entry === undefined || !tree.has(entry.id)) continue;
      messages += 1;
      bytes += entry.bytes;
      if (tallies === undefined) continue;
      changes.add(entry.id, topicKeyOf(entry.topic).name, topicKeyOf(entry.otherTopic).name, 1, entry.bytes);
    }
    tallies?.adopt(changes, tallies.after(changes));
    if (clock.monotonicMs() - toldMs < LIMITS.indexProgressMs) continue;
    toldMs = clock.monotonicMs();
    log.info({ count: messages, of: tree.count }, 'messages are being counted');
  }
  return messages === tree.count ? bytes : undefined;
}
