/**
 * The proof that the store is whole: every message hashes to its identity, every message has its three entries,
 * there is no entry without its message, and the index of ids holds the ids of the messages and no others. With
 * `repair`, damaged messages are set aside (a peer has them), missing entries are written, stray ones removed, and
 * an index that differs is built anew.
 */
import { HASH_BYTES, ID_BYTES } from '../core/sync-id.ts';
import { LacunaError, toLacunaError } from '../errors.ts';
import { asBuffer, MessageView } from '../wire/waku-message.ts';
import type { Operation } from './database.ts';
import { countIndexDifferences } from './index-integrity.ts';
import {
  ALL_HASHES,
  ALL_MESSAGES,
  ALL_TOPICS,
  idOfKey,
  type KeyRange,
  MESSAGE_KEY_BYTES,
  messageKey,
  quarantineKey,
  timeOfHash,
} from './keys.ts';
import type { LevelMessageStore } from './message-store.ts';
import { Tallies, TallyChanges } from './tallies.ts';

export interface IntegrityReport {
  /** Messages looked at. */
  checked: number;
  /** Messages that do not hash to their identity, entries missing or astray, and ids by which the index differs. */
  damaged: number;
  repaired: number;
}

/**
 * Reads the whole store, in bounded memory. `onProgress` is told how many messages were looked at.
 *
 * @throws LacunaError STORE_DAMAGED where LevelDB cannot read its own files, unless they are to be repaired.
 */
export async function verifyStore(
  store: LevelMessageStore,
  repair: boolean,
  onProgress: (checked: number) => void = () => undefined,
): Promise<IntegrityReport> {
  const { lost } = store;
  const report = await verifyOrRebuild(store, repair, onProgress);
  const lostMore = report.isRebuilt ? store.lost : lost;
  if (repair) await store.acceptLoss();
  const { checked, damaged, repaired } = report;
  return { checked, damaged: damaged + lostMore, repaired: repaired + (repair ? lostMore : 0) };
}

async function verifyOrRebuild(
  store: LevelMessageStore,
  repair: boolean,
  onProgress: (checked: number) => void,
): Promise<IntegrityReport & { isRebuilt: boolean }> {
  const attempt = () => verifyEverything(store, repair, onProgress);
  try {
    return { ...(await attempt()), isRebuilt: false };
  } catch (error) {
    const isMending = store.storeIndex.isDistrusted;
    if (!repair || (!isMending && toLacunaError(error).code !== 'STORE_DAMAGED')) throw error;
    // What was to be set aside met a damaged leaf; that much mends itself.
    if (isMending) await store.rebuildIndex('it is damaged');
    else await store.rebuild();
    const { checked, damaged, repaired } = await attempt();
    return { checked, damaged: damaged + 1, repaired: repaired + 1, isRebuilt: !isMending };
  }
}

async function verifyEverything(
  store: LevelMessageStore,
  repair: boolean,
  onProgress: (checked: number) => void,
): Promise<IntegrityReport> {
  const report: IntegrityReport = { checked: 0, damaged: 0, repaired: 0 };
  const tallies = await verifyEntries(store, repair, report, onProgress);
  // Last: what the index is built anew from is then in order.
  const { differences, isCounted } = await countIndexDifferences(store.database, store.storeIndex, tallies);
  report.damaged += differences;
  if (repair && (differences > 0 || !isCounted)) {
    if (differences > 0 || tallies?.pubsub.areKnown === true)
      await store.rebuildIndex('it differs from the messages');
    report.repaired += differences;
  }
  return report;
}

/** Returns what the messages come to by hour and topic, where all of them are whole. */
async function verifyEntries(
  store: LevelMessageStore,
  repair: boolean,
  report: IntegrityReport,
  onProgress: (checked: number) => void,
): Promise<Tallies | undefined> {
  const view = new MessageView();
  let tallies: Tallies | undefined = new Tallies();
  let missing = 0;
  let kept = 0;
  for await (const chunk of store.database.entries(ALL_MESSAGES)) {
    const operations: Operation[] = [];
    const setAside: Promise<void>[] = [];
    const emptied: Operation[] = [];
    const counted = new TallyChanges();
    for (const [key, encoded] of chunk) {
      const entry = { id: idOfKey(key), encoded: asBuffer(encoded) };
      report.checked += 1;
      // A key of another length is not the key of its id.
      const isKey = key.length === MESSAGE_KEY_BYTES;
      if (isKey && store.isWhole(entry)) {
        kept += 1;
        const stored = { ...entry, ...view.read(entry.encoded).topics() };
        const pubsub = store.putter.topicKey(stored.pubsubTopic).name;
        const content = store.putter.topicKey(stored.contentTopic).name;
        counted.add(stored.id, pubsub, content, 1, stored.encoded.length);
        // The message too: in a damaged table an entry may be passed by in order and not be found by its key.
        operations.push(...store.operationsFor(stored));
        continue;
      }
      report.damaged += 1;
      if (!repair) {
        tallies = undefined;
        if (isKey) kept += 1;
        continue;
      }
      if (isKey) setAside.push(store.quarantine(entry.id, encoded));
      // What the index does not know of is set aside here.
      emptied.push({ type: 'del', key }, { type: 'put', key: quarantineKey(entry.id), value: encoded });
      report.repaired += 1;
    }
    tallies?.adopt(counted, tallies.after(counted));
    await Promise.all(setAside);
    await store.amend(emptied);
    missing += await checkEntries(store, operations, repair, report);
    onProgress(report.checked);
  }
  let walked = 0;
  for (const [range, idOfEntry] of ENTRIES)
    walked += await removeStrays(store, range, idOfEntry, repair, report);
  // Entries that are found by their key and passed over in order: only new tables make them whole.
  const hidden = Math.max(0, kept * ENTRIES.length - walked - missing);
  if (hidden > 0 && repair)
    throw new LacunaError('STORE_DAMAGED', `${hidden} index entries are out of order`);
  report.damaged += hidden;
  return tallies;
}

/** Compares what should be there with what is found by its key; returns how many index entries are still missing. */
async function checkEntries(
  store: LevelMessageStore,
  expected: Operation[],
  repair: boolean,
  report: IntegrityReport,
): Promise<number> {
  const found = await store.database.getMany(expected.map(({ key }) => key));
  const wrong = expected.filter((operation, index) => !sameValue(operation, found[index]));
  report.damaged += wrong.length;
  if (!repair) return wrong.filter(({ key }) => key[1] !== ALL_MESSAGES.gte[1]).length;
  await store.amend(wrong);
  report.repaired += wrong.length;
  return 0;
}

/** Finds index entries whose message is not there; returns how many have theirs. */
async function removeStrays(
  store: LevelMessageStore,
  range: KeyRange,
  idOfEntry: IdOfEntry,
  repair: boolean,
  report: IntegrityReport,
): Promise<number> {
  let kept = 0;
  for await (const chunk of store.database.entries(range)) {
    const strays: Operation[] = [];
    const keys = chunk.map(([key, value]) => {
      const id = idOfEntry(key, value);
      return id === undefined ? NO_MESSAGE : messageKey(id);
    });
    const messages = await store.database.getMany(keys);
    for (const [at, [key]] of chunk.entries()) {
      if (messages[at] === undefined) strays.push({ type: 'del', key });
    }
    kept += chunk.length - strays.length;
    report.damaged += strays.length;
    if (!repair) continue;
    await store.amend(strays);
    report.repaired += strays.length;
  }
  return kept;
}

type IdOfEntry = (key: Uint8Array, value: Uint8Array) => Uint32Array | undefined;

/** A key under which nothing is ever written. */
const NO_MESSAGE = new Uint8Array(1);

const ENTRIES: readonly (readonly [KeyRange, IdOfEntry])[] = [
  [ALL_HASHES, idOfHashEntry],
  [ALL_TOPICS.pubsub, idOfKey],
  [ALL_TOPICS.content, idOfKey],
];

/** The hash is in the key, the time in the value. */
function idOfHashEntry(key: Uint8Array, value: Uint8Array): Uint32Array | undefined {
  const time = timeOfHash(value);
  if (time === undefined) return undefined;
  const bytes = new Uint8Array(ID_BYTES);
  bytes.set(time);
  bytes.set(key.subarray(key.length - HASH_BYTES), time.length);
  return idOfKey(bytes);
}

function sameValue(operation: Operation, found: Uint8Array | undefined): boolean {
  if (operation.type !== 'put' || found === undefined) return false;
  // When and how a message came, the message does not tell.
  const value = operation.key[1] === ALL_HASHES.gte[1] ? timeOfHash(found) : found;
  return (
    operation.value.length === value?.length && operation.value.every((byte, index) => byte === value[index])
  );
}
