/**
 * The proof that the store is whole: every message hashes to its identity, every message has its three index
 * entries, and there is no index entry without its message. With `repair`, damaged messages are set aside (a peer
 * has them), missing entries are written and stray ones removed.
 */
import { HASH_BYTES, ID_BYTES } from '../core/sync-id.ts';
import { toLacunaError } from '../errors.ts';
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
  for await (const chunk of store.database.entries(ALL_MESSAGES)) {
    const operations: Operation[] = [];
    for (const [key, encoded] of chunk) {
      const entry = { id: idOfKey(key), encoded: asBuffer(encoded) };
      report.checked += 1;
      if (!store.isWhole(entry)) {
        report.damaged += 1;
        if (!repair) continue;
        await store.quarantine(entry.id, encoded);
        report.repaired += 1;
      } else {
        // The message too: in a damaged table an entry may be passed by in order and not be found by its key.
        operations.push(...store.operationsFor({ ...entry, ...view.read(entry.encoded).topics() }));
      }
    }
    await checkEntries(store, operations, repair, report);
    onProgress(report.checked);
  }
  await removeStrays(store, ALL_HASHES, idOfHashEntry, repair, report);
  await removeStrays(store, ALL_TOPICS.pubsub, idOfKey, repair, report);
  await removeStrays(store, ALL_TOPICS.content, idOfKey, repair, report);
  return report;
}

/** Compares what should be there with what is found by its key. */
async function checkEntries(
  store: LevelMessageStore,
  expected: Operation[],
  repair: boolean,
  report: IntegrityReport,
): Promise<void> {
  const found = await store.database.getMany(expected.map(({ key }) => key));
  const wrong = expected.filter((operation, index) => !sameValue(operation, found[index]));
  report.damaged += wrong.length;
  if (!repair) return;
  await store.amend(wrong);
  report.repaired += wrong.length;
}

/** Finds index entries whose message is not there. */
async function removeStrays(
  store: LevelMessageStore,
  range: KeyRange,
  idOfEntry: (key: Uint8Array, value: Uint8Array) => Uint32Array | undefined,
  repair: boolean,
  report: IntegrityReport,
): Promise<void> {
  for await (const chunk of store.database.entries(range)) {
    const strays: Operation[] = [];
    for (const [key, value] of chunk) {
      const id = idOfEntry(key, value);
      // The ids in memory were read from the messages themselves.
      if (id === undefined || !store.has(id)) strays.push({ type: 'del', key });
    }
    report.damaged += strays.length;
    if (!repair) continue;
    await store.amend(strays);
    report.repaired += strays.length;
  }
}

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
