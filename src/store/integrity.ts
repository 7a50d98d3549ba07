/**
 * The proof that the store is whole: every message hashes to its identity, every message has its three index
 * entries, and there is no index entry without its message. With `repair`, damaged messages are set aside (a peer
 * has them), missing entries are written and stray ones removed.
 */
import { HASH_BYTES, ID_BYTES } from '../core/sync-id.ts';
import { LacunaError, toLacunaError } from '../errors.ts';
import { asBuffer, MessageView } from '../wire/waku-message.ts';
import type { Operation } from './database.ts';
import { ALL_HASHES, ALL_MESSAGES, ALL_TOPICS, idOfKey, type KeyRange } from './keys.ts';
import type { LevelMessageStore } from './message-store.ts';

export interface IntegrityReport {
  /** Messages looked at. */
  checked: number;
  /** Messages that do not hash to their identity, and index entries missing or astray. */
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
  if (repair) await store.acceptLoss();
  return { ...report, damaged: report.damaged + lost, repaired: report.repaired + (repair ? lost : 0) };
}

async function verifyOrRebuild(
  store: LevelMessageStore,
  repair: boolean,
  onProgress: (checked: number) => void,
): Promise<IntegrityReport> {
  try {
    return await verifyEntries(store, repair, onProgress);
  } catch (error) {
    if (!repair || toLacunaError(error).code !== 'STORE_DAMAGED') throw error;
  }
  await store.rebuild();
  const { checked, damaged, repaired } = await verifyEntries(store, repair, onProgress);
  return { checked, damaged: damaged + 1, repaired: repaired + 1 };
}

async function verifyEntries(
  store: LevelMessageStore,
  repair: boolean,
  onProgress: (checked: number) => void,
): Promise<IntegrityReport> {
  const report: IntegrityReport = { checked: 0, damaged: 0, repaired: 0 };
  const view = new MessageView();
  let missing = 0;
  for await (const chunk of store.database.entries(ALL_MESSAGES)) {
    const operations: Operation[] = [];
    const setAside: Promise<void>[] = [];
    const emptied: Operation[] = [];
    for (const [key, encoded] of chunk) {
      const entry = { id: idOfKey(key), encoded: asBuffer(encoded) };
      report.checked += 1;
      if (!store.isWhole(entry)) {
        report.damaged += 1;
        if (!repair) continue;
        setAside.push(store.quarantine(entry.id, encoded));
        // A key of another length is not the key of its id.
        emptied.push({ type: 'del', key });
        report.repaired += 1;
      } else {
        // The message too: in a damaged table an entry may be passed by in order and not be found by its key.
        operations.push(...store.operationsFor({ ...entry, ...view.read(entry.encoded).topics() }));
      }
    }
    await Promise.all(setAside);
    await store.amend(emptied);
    missing += await checkEntries(store, operations, repair, report);
    onProgress(report.checked);
  }
  let walked = 0;
  for (const [range, idOfEntry] of INDEXES)
    walked += await removeStrays(store, range, idOfEntry, repair, report);
  // Entries that are found by their key and passed over in order: only new tables make them whole.
  const hidden = Math.max(0, store.count * INDEXES.length - walked - missing);
  if (hidden > 0 && repair)
    throw new LacunaError('STORE_DAMAGED', `${hidden} index entries are out of order`);
  return { ...report, damaged: report.damaged + hidden };
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
    for (const [key, value] of chunk) {
      const id = idOfEntry(key, value);
      // The ids in memory were read from the messages themselves.
      if (id === undefined || !store.has(id)) strays.push({ type: 'del', key });
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

const INDEXES: readonly (readonly [KeyRange, IdOfEntry])[] = [
  [ALL_HASHES, idOfHashEntry],
  [ALL_TOPICS.pubsub, idOfKey],
  [ALL_TOPICS.content, idOfKey],
];

/** The hash is in the key, the time in the value. */
function idOfHashEntry(key: Uint8Array, value: Uint8Array): Uint32Array | undefined {
  if (value.length !== 8) return undefined;
  const bytes = new Uint8Array(ID_BYTES);
  bytes.set(value);
  bytes.set(key.subarray(key.length - HASH_BYTES), value.length);
  return idOfKey(bytes);
}

function sameValue(operation: Operation, found: Uint8Array | undefined): boolean {
  if (operation.type !== 'put' || found === undefined) return false;
  return (
    operation.value.length === found.length && operation.value.every((byte, index) => byte === found[index])
  );
}
