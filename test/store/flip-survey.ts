/**
 * A program of its own, as LevelDB ends the process where a table's keys are out of order: turns over one byte of a
 * small store's table, place by place, and prints for each what became of the store. Called with the folder of the
 * intact store, the file, the first place, and the distance between places.
 */
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import '../../src/platform.ts';
import { hashOf, SyncIdList, TIMESTAMP_MAX } from '../../src/core/sync-id.ts';
import { toLacunaError } from '../../src/errors.ts';
import type { StoredMessage } from '../../src/ports.ts';
import { verifyStore } from '../../src/store/integrity.ts';
import type { LevelMessageStore } from '../../src/store/message-store.ts';
import { hexOf, SHARD_0, SHARD_1, samples } from '../sample-messages.ts';
import { openStore } from './open-store.ts';

export const SURVEYED = 25;

export function surveyed(): StoredMessage[] {
  return samples(SURVEYED, { payloadBytes: 60, pubsubTopics: [SHARD_0, SHARD_1] });
}

export interface Finding {
  readonly at: number;
  /** The code of what opening, reading or verifying ended in, if it did not work. */
  readonly openCode?: string | undefined;
  readonly readCode?: string | undefined;
  readonly verifyCode?: string | undefined;
  /** Messages served, and served with other bytes than were stored. */
  readonly served: number;
  readonly wrong: number;
  readonly damaged: number;
  /** Messages that reading set aside, and said so: what is set aside before `verify` comes is no damage any more. */
  readonly quarantined: number;
  /** After a repair and storing all messages again: how many are served, and damage still found. */
  readonly healed: number;
  readonly healedOfScope: number;
  readonly damagedAfter: number;
}

type Draft = { -readonly [Key in keyof Finding]: Finding[Key] };

const SCOPE = { pubsubTopics: [SHARD_0, SHARD_1], contentTopics: [] };

async function examine(folder: string, at: number): Promise<Finding> {
  const finding: Draft = {
    at,
    served: 0,
    wrong: 0,
    damaged: 0,
    quarantined: 0,
    healed: 0,
    healedOfScope: 0,
    damagedAfter: 0,
  };
  const messages = surveyed();
  let store: LevelMessageStore;
  try {
    store = await openStore(folder);
  } catch (error) {
    return { ...finding, openCode: toLacunaError(error).code };
  }
  try {
    await examineOpen(store, messages, finding);
    return finding;
  } finally {
    await store.close();
  }
}

async function examineOpen(
  store: LevelMessageStore,
  messages: readonly StoredMessage[],
  finding: Draft,
): Promise<void> {
  finding.readCode = await codeOf(countServed(store, messages, finding));
  finding.verifyCode = await codeOf(
    verifyStore(store, false).then(({ damaged }) => {
      finding.damaged = damaged;
    }),
  );
  finding.quarantined = store.quarantined;
  await verifyStore(store, true);
  await store.append(messages);
  finding.healed = await readable(store, messages);
  finding.healedOfScope = (await store.index(SCOPE, 0n, TIMESTAMP_MAX)).count;
  finding.damagedAfter = (await verifyStore(store, false)).damaged;
}

async function codeOf(promise: Promise<unknown>): Promise<string | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    return toLacunaError(error).code;
  }
}

async function countServed(
  store: LevelMessageStore,
  messages: readonly StoredMessage[],
  finding: Draft,
): Promise<void> {
  const expected = new Map(messages.map((message) => [hexOf(message), hex(message.encoded)]));
  for await (const _ of store.scan(0n, TIMESTAMP_MAX, (id, view) => {
    finding.served += 1;
    if (expected.get(hex(hashOf(id))) !== hex(view.bytes)) finding.wrong += 1;
  }));
  const all = new Set(expected.values());
  for await (const encoded of store.read(SyncIdList.of(...messages.map(({ id }) => id)))) {
    if (!all.has(hex(encoded))) finding.wrong += 1;
  }
  for (const { id, encoded } of await store.readByHash(messages.map(({ id }) => hashOf(id)))) {
    if (expected.get(hex(hashOf(id))) !== hex(encoded)) finding.wrong += 1;
  }
}

async function readable(store: LevelMessageStore, messages: readonly StoredMessage[]): Promise<number> {
  let count = 0;
  for await (const _ of store.read(SyncIdList.of(...messages.map(({ id }) => id)))) count += 1;
  return count;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

async function survey(original: string, file: string, first: number, distance: number): Promise<void> {
  const bytes = await readFile(join(original, 'store', file));
  const copy = `${original}-flipped`;
  for (let at = first; at < bytes.length; at += distance) {
    await rm(copy, { recursive: true, force: true });
    await cp(original, copy, { recursive: true });
    const flipped = Buffer.from(bytes);
    flipped[at] = flipped[at]! ^ 0xff;
    await writeFile(join(copy, 'store', file), flipped);
    process.stdout.write(`${JSON.stringify({ begins: at })}\n`);
    try {
      process.stdout.write(`${JSON.stringify(await examine(copy, at))}\n`);
    } catch (error) {
      process.stdout.write(`${JSON.stringify({ at, failed: toLacunaError(error).code })}\n`);
    }
  }
}

const [folder, file, first, distance] = process.argv.slice(2);
if (process.argv[1]?.includes('flip-survey')) await survey(folder!, file!, Number(first), Number(distance));
