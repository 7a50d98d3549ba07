/**
 * Messages by id: whatever list of ids is asked for, whatever of it is absent or damaged, the answer is that of a
 * list which is searched from end to end; and no more is read than is asked for, nor much ahead of who uses it.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SyncIdList } from '../../src/core/sync-id.ts';
import { LIMITS } from '../../src/limits.ts';
import type { StoredMessage } from '../../src/ports.ts';
import type { Database } from '../../src/store/database.ts';
import { messageKey } from '../../src/store/keys.ts';
import type { LevelMessageStore } from '../../src/store/message-store.ts';
import { Chance } from '../core/random-sets.ts';
import { endedIn } from '../ended-in.ts';
import { hexOf, NOW_NS, samples } from '../sample-messages.ts';
import { temporaryFolder, withFolder } from '../temporary-folder.ts';
import { openStore } from './open-store.ts';

describe('any list of ids', () => {
  it('gives what is there and whole, in the order of the list', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.constantFrom(0, 1, 5, 150, 900), async (seed, count) => {
        await withFolder((folder) => readsLikeAList(folder, new Chance(seed), count));
      }),
      { numRuns: 40 },
    );
  });

  it('may hold messages of all sizes in turn', async () => {
    const store = await openStore(await temporaryFolder());
    const messages = [
      ...samples(150, { seed: 1, untilNs: NOW_NS - 3_000_000_000n }),
      ...samples(40, { seed: 2, untilNs: NOW_NS - 2_000_000_000n, payloadBytes: LIMITS.messagePayloadBytes }),
      ...samples(150, { seed: 3, untilNs: NOW_NS - 1_000_000_000n }),
    ];
    await store.append(messages);
    expect(await readIds(store, messages)).toEqual(messages.map(hexOf));
    await store.close();
  });
});

describe('reading', () => {
  it('keeps little in memory, however large the messages are', async () => {
    const store = await openStore(await temporaryFolder());
    const messages = samples(60, { payloadBytes: LIMITS.messagePayloadBytes });
    await store.append(messages);
    const asked = watchLookUps(store.database);
    let used = 0;
    for await (const some of store.readMany(idsOf(messages))) {
      used += some.length;
      const ahead = (sum(asked) - used) * LIMITS.messagePayloadBytes;
      expect(ahead).toBeLessThan(LIMITS.readBatchBytes + 2 * LIMITS.messagePayloadBytes);
    }
    expect([used, sum(asked)]).toEqual([60, 60]);
    await store.close();
  });

  it('of small messages takes few look-ups', async () => {
    const store = await openStore(await temporaryFolder());
    const messages = samples(1_024);
    await store.append(messages);
    const asked = watchLookUps(store.database);
    await drain(store.readMany(idsOf(messages)));
    expect(sum(asked)).toBe(1_024);
    expect(asked.length).toBeLessThanOrEqual(2 + 1_024 / LIMITS.readBatchMessages);
    await store.close();
  });

  it('of nothing reads nothing', async () => {
    const store = await openStore(await temporaryFolder());
    const asked = watchLookUps(store.database);
    expect(await readIds(store, [])).toEqual([]);
    expect(asked).toEqual([]);
    await store.close();
  });

  it('that is given up, or forgotten, does not keep the store open', async () => {
    for (const give of ['up', 'forget']) {
      const folder = await temporaryFolder();
      const store = await openStore(folder);
      const messages = samples(1_000);
      await store.append(messages);
      const reading = store.readMany(idsOf(messages));
      expect((await reading.next()).value?.length).toBeGreaterThan(0);
      if (give === 'up') await reading.return(undefined);
      for await (const _ of store.read(idsOf(messages))) break;
      await store.close();
      const again = await openStore(folder);
      expect(again.count).toBe(1_000);
      await again.close();
    }
  });

  it('ends with the code of a closed store when it is closed meanwhile', async () => {
    const store = await openStore(await temporaryFolder());
    const messages = samples(1_000);
    await store.append(messages);
    const reading = store.readMany(idsOf(messages));
    await reading.next();
    await store.close();
    expect(await endedIn(drain(reading))).toBe('STORE_CLOSED');
  });

  it('fails once where a read ahead fails that nobody waits for', async () => {
    const store = await openStore(await temporaryFolder());
    const messages = samples(1_000);
    await store.append(messages);
    const getMany = store.database.getMany.bind(store.database);
    let calls = 0;
    store.database.getMany = async (keys) => {
      calls += 1;
      if (calls > 1) throw new Error('injected');
      return await getMany(keys);
    };
    for await (const _ of store.readMany(idsOf(messages))) break;
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(calls).toBe(2);
    await store.close();
  });
});

/** Some messages are damaged, some are gone, some were never there; ids are asked for in any order, and twice. */
async function readsLikeAList(folder: string, chance: Chance, count: number): Promise<void> {
  const store = await openStore(folder);
  const messages = samples(count, { seed: chance.word(), payloadBytes: chance.pick([1, 40, 3_000]) });
  await store.append(messages);
  const bad = new Set<string>();
  await store.database.write((batch) => {
    for (const message of messages) {
      const fate = chance.below(40);
      if (fate > 1) continue;
      bad.add(hexOf(message));
      const { id, encoded } = message;
      if (fate === 0) batch.del(messageKey(id));
      else
        batch.put(
          messageKey(id),
          encoded.map((byte) => byte ^ 1),
        );
    }
  });
  for (let turn = 0; turn < 3; turn++) {
    const asked = someOf(messages, samples(20, { seed: chance.word() }), chance);
    const expected = asked.filter(({ id }) => store.has(id)).map(hexOf);
    expect(await readIds(store, asked)).toEqual(expected.filter((hash) => !bad.has(hash)));
  }
  await store.close();
}

/** A run of the messages, a part of them, or all in any order; with some that the store has not. */
function someOf(
  messages: readonly StoredMessage[],
  others: readonly StoredMessage[],
  chance: Chance,
): StoredMessage[] {
  const shape = chance.below(4);
  const from = chance.below(messages.length + 1);
  const run = messages.slice(from, from + chance.below(messages.length + 1));
  if (shape === 0) return run;
  const kept = run.filter(() => chance.below(shape === 1 ? 8 : 2) > 0);
  if (shape === 3) return [...kept, ...others, ...kept].sort(() => chance.below(3) - 1);
  return [...kept, ...others].sort((a, b) => Buffer.compare(messageKey(a.id), messageKey(b.id)));
}

/** What is read, one by one and many at a time, which must be the same. */
async function readIds(store: LevelMessageStore, asked: readonly StoredMessage[]): Promise<string[]> {
  const nameOf = new Map(asked.map((message) => [textOf(message.encoded), hexOf(message)]));
  const single: string[] = [];
  for await (const encoded of store.read(idsOf(asked))) single.push(textOf(encoded));
  const many: string[] = [];
  for await (const some of store.readMany(idsOf(asked))) {
    expect(some.length).toBeGreaterThan(0);
    many.push(...some.map(textOf));
  }
  expect(many.length).toBe(single.length);
  expect(many.every((text, at) => text === single[at])).toBe(true);
  return many.map((text) => nameOf.get(text) ?? 'unknown');
}

/** How many keys are looked up at once, from now on. */
function watchLookUps(database: Database): number[] {
  const asked: number[] = [];
  const getMany = database.getMany.bind(database);
  database.getMany = (keys) => {
    asked.push(keys.length);
    return getMany(keys);
  };
  return asked;
}

function idsOf(messages: readonly StoredMessage[]): SyncIdList {
  return SyncIdList.of(...messages.map(({ id }) => id));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('latin1');
}

async function drain(source: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of source);
}
