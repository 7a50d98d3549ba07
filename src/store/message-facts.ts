/** All that the store knows of one message: whether it is here, was set aside or pruned, and when and how it came. */
import { HASH_BYTES } from '../core/sync-id.ts';
import type { MessageFacts } from '../ports.ts';
import { MessageView } from '../wire/waku-message.ts';
import type { Database } from './database.ts';
import {
  ALL_FORGOTTEN,
  ALL_QUARANTINED,
  arrivalOfHash,
  hashKeyOf,
  idOfKey,
  type KeyRange,
  quarantineKey,
  timeOfHash,
} from './keys.ts';
import { idFrom, type MessageReader } from './message-reader.ts';
import type { Origins } from './origins.ts';

export interface FactSource {
  readonly database: Database;
  readonly reader: MessageReader;
  readonly origins: Origins;
}

const MS_PER_SECOND = 1_000;

/** @throws LacunaError STORE_DAMAGED, STORE_CLOSED; what the signal was aborted with. */
export async function factsOf(
  source: FactSource,
  hash: Uint8Array,
  stop: AbortSignal | undefined,
): Promise<MessageFacts | undefined> {
  const { database } = source;
  return (
    (await factsHere(source, hash)) ??
    factsGone(await idWith(database, ALL_QUARANTINED, hash, stop), 'quarantined') ??
    factsGone(await idWith(database, ALL_FORGOTTEN, hash, stop), 'pruned')
  );
}

async function factsHere(
  { database, reader, origins }: FactSource,
  hash: Uint8Array,
): Promise<MessageFacts | undefined> {
  // A message may come again: its hash is then written again, and a look-up could find the older value.
  const value = await database.find(hashKeyOf(hash));
  const time = value === undefined ? undefined : timeOfHash(value);
  if (value === undefined || time === undefined) return undefined;
  const id = idFrom(time, hash);
  // What does not hash to its id is set aside meanwhile, and is not here.
  const [entry] = await reader.readByHash([hash]);
  if (entry === undefined) return undefined;
  const stamp = arrivalOfHash(value);
  return {
    id,
    state: 'stored',
    message: { ...new MessageView().read(entry.encoded).topics(), bytes: entry.encoded.length },
    arrival: stamp && { atMs: stamp.seconds * MS_PER_SECOND, by: origins.of(stamp.origin) },
    hasDamagedCopy: (await database.find(quarantineKey(id))) !== undefined,
  };
}

function factsGone(id: Uint32Array | undefined, state: 'quarantined' | 'pruned'): MessageFacts | undefined {
  if (id === undefined) return undefined;
  return { id, state, message: undefined, arrival: undefined, hasDamagedCopy: state === 'quarantined' };
}

/** The keys begin with the time, which is not known: all are looked at, of which there are few, or as many as retention remembers. */
async function idWith(
  database: Database,
  range: KeyRange,
  hash: Uint8Array,
  stop: AbortSignal | undefined,
): Promise<Uint32Array | undefined> {
  for await (const keys of database.keys(range)) {
    stop?.throwIfAborted();
    const key = keys.find((each) => Buffer.compare(each.subarray(each.length - HASH_BYTES), hash) === 0);
    if (key !== undefined) return idOfKey(key);
  }
  return undefined;
}
