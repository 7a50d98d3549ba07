/** What can be read of a damaged database, copied into a new one: every whole message with new entries, and the records. */
import { asBuffer, MessageView } from '../wire/waku-message.ts';
import type { MessagePutter } from './changes.ts';
import type { Database } from './database.ts';
import {
  ALL_FORGOTTEN,
  ALL_MESSAGES,
  ALL_QUARANTINED,
  ALL_RECORDS,
  type ArrivalStamp,
  arrivalOfHash,
  hashKey,
  idOfKey,
} from './keys.ts';
import type { StoreEntry } from './message-reader.ts';

export async function copyReadable(
  damaged: Database,
  fresh: Database,
  putter: MessagePutter,
  isWhole: (entry: StoreEntry) => boolean,
): Promise<void> {
  const view = new MessageView();
  for await (const chunk of damaged.readable(ALL_MESSAGES)) {
    const whole = chunk
      .map(([key, encoded]) => ({ id: idOfKey(key), encoded: asBuffer(encoded) }))
      .filter((entry) => isWhole(entry));
    const arrivals = await arrivalsOf(damaged, whole);
    await fresh.write((batch) => {
      for (const [at, entry] of whole.entries())
        putter.putInto(batch, { ...entry, ...view.read(entry.encoded).topics() }, arrivals[at]);
    });
  }
  for (const range of [ALL_QUARANTINED, ALL_RECORDS, ALL_FORGOTTEN]) {
    for await (const chunk of damaged.readable(range)) {
      await fresh.write((batch) => {
        for (const [key, value] of chunk) batch.put(key, value);
      });
    }
  }
}

/** When and how the messages came, as far as that can be read. */
async function arrivalsOf(
  database: Database,
  entries: readonly StoreEntry[],
): Promise<readonly (ArrivalStamp | undefined)[]> {
  try {
    const values = await database.getMany(entries.map(({ id }) => hashKey(id)));
    return values.map((value) => (value === undefined ? undefined : arrivalOfHash(value)));
  } catch {
    return [];
  }
}
