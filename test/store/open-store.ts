/** Opens real stores in real folders, and reads everything that one serves. */

import type { WakuMessage } from '../../src/core/message.ts';
import { parseRetention, type RetentionPolicy } from '../../src/core/retention.ts';
import { boundAt, hashOf, TIMESTAMP_MAX } from '../../src/core/sync-id.ts';
import type { Clock } from '../../src/ports.ts';
import { parseBytes } from '../../src/quantity.ts';
import { LevelMessageStore, type StoreOptions } from '../../src/store/message-store.ts';
import { systemClock, systemSha256 } from '../../src/system.ts';
import { parseDurationMs } from '../../src/time.ts';
import { RecordingLogger } from '../recording-logger.ts';

export interface OpenInit {
  readonly create?: boolean;
  readonly clock?: Clock;
  readonly log?: RecordingLogger;
  readonly openDatabase?: StoreOptions['openDatabase'];
  readonly index?: StoreOptions['index'];
  readonly archive?: StoreOptions['archive'];
  /** Policies as operators write them. */
  readonly retention?: readonly string[];
  readonly onPruned?: StoreOptions['onPruned'];
}

export function policyOf(...texts: readonly string[]): RetentionPolicy {
  return parseRetention(texts, { durationMs: parseDurationMs, bytes: parseBytes });
}

export async function openStore(directory: string, init: OpenInit = {}): Promise<LevelMessageStore> {
  return await LevelMessageStore.open({
    directory,
    create: init.create ?? true,
    clock: init.clock ?? systemClock,
    log: init.log ?? new RecordingLogger(),
    sha256: systemSha256,
    ...(init.openDatabase === undefined ? {} : { openDatabase: init.openDatabase }),
    ...(init.retention === undefined ? {} : { retention: policyOf(...init.retention) }),
    ...(init.onPruned === undefined ? {} : { onPruned: init.onPruned }),
    ...(init.index === undefined ? {} : { index: init.index }),
    ...(init.archive === undefined ? {} : { archive: init.archive }),
  });
}

/** The clock of the machine, except that a pause takes no more than a millisecond: what waits to try again does it soon. */
export const hurriedClock: Clock = {
  ...systemClock,
  sleep: (ms, signal) => systemClock.sleep(Math.min(ms, 1), signal),
};

/** Leaves the store as a killed process leaves it: nothing is written out, the count is not remembered. */
export async function abandon(store: LevelMessageStore): Promise<void> {
  await store.database.close();
}

export interface Served {
  readonly hash: string;
  readonly message: WakuMessage;
}

/** Everything an export would print, in its order. */
export async function served(
  store: LevelMessageStore,
  sinceNs = 0n,
  untilNs = TIMESTAMP_MAX,
): Promise<Served[]> {
  const found: Served[] = [];
  const visits = store.scan(sinceNs, untilNs, (id, view) => {
    const message = view.toMessage();
    found.push({ hash: Buffer.from(hashOf(id)).toString('hex'), message });
  });
  for await (const _ of visits);
  return found;
}

export async function servedHashes(store: LevelMessageStore): Promise<string[]> {
  return (await served(store)).map(({ hash }) => hash);
}

/** Everything that the index holds, in its order. */
export async function indexedHashes(store: LevelMessageStore): Promise<string[]> {
  const index = await store.index({ pubsubTopics: [], contentTopics: [] }, 0n, TIMESTAMP_MAX);
  const ids = index.ids(boundAt(0n), boundAt(TIMESTAMP_MAX));
  return Array.from({ length: ids.count }, (_, row) => Buffer.from(hashOf(ids.at(row))).toString('hex'));
}
