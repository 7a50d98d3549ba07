/**
 * Records beside the messages: what is put is there, also after a reopen and after a new database, and whatever a
 * disk makes of its bytes, no record is served that was not put.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import type { Records } from '../../src/ports.ts';
import { verifyStore } from '../../src/store/integrity.ts';
import { ALL_RECORDS } from '../../src/store/keys.ts';
import type { LevelMessageStore } from '../../src/store/message-store.ts';
import { endedIn } from '../ended-in.ts';
import { MemoryRecords } from '../memory-store.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { samples } from '../sample-messages.ts';
import { temporaryFolder, withFolder } from '../temporary-folder.ts';
import { faultyDatabase } from './fault-injection.ts';
import { abandon, hurriedClock, openStore } from './open-store.ts';

async function keepsTheContract(records: Records): Promise<void> {
  expect(await records.get('peer/a')).toBeUndefined();
  expect(await listed(records, '')).toEqual([]);
  const value = Uint8Array.of(1, 2, 3);
  const putting = records.put('peer/a', value);
  value.fill(0);
  await putting;
  await records.put('peer/ä', new Uint8Array());
  await records.put('peer/\u{1f600}', Uint8Array.of(6));
  await records.put('peer/\uffee', Uint8Array.of(5));
  await records.put('peerless', Uint8Array.of(7));
  await records.put('ledger', new Uint8Array(LIMITS.recordBytes).fill(9));
  expect(await records.get('peer/a')).toEqual(Uint8Array.of(1, 2, 3));
  expect(await records.get('peer/ä')).toEqual(new Uint8Array());
  expect((await records.get('ledger'))?.every((byte) => byte === 9)).toBe(true);
  expect(await records.get('peer/')).toBeUndefined();

  await records.put('peer/a', Uint8Array.of(4));
  expect(await records.get('peer/a')).toEqual(Uint8Array.of(4));
  expect(await listed(records, 'peer/')).toEqual([
    ['peer/a', '04'],
    ['peer/ä', ''],
    ['peer/\uffee', '05'],
    ['peer/\u{1f600}', '06'],
  ]);
  expect((await listed(records, '')).map(([name]) => name)).toEqual([
    'ledger',
    'peer/a',
    'peer/ä',
    'peer/\uffee',
    'peer/\u{1f600}',
    'peerless',
  ]);
  for await (const _ of records.list('')) break;

  await records.delete('peer/a');
  await records.delete('never there');
  expect(await records.get('peer/a')).toBeUndefined();
  expect((await listed(records, 'peer')).map(([name]) => name)).not.toContain('peer/a');
}

describe('the contract of records', () => {
  it('is kept by the store on LevelDB', async () => {
    const store = await openStore(await temporaryFolder());
    await keepsTheContract(store.records);
    await store.close();
  });

  it('is kept by those without a disk', async () => {
    await keepsTheContract(new MemoryRecords());
  });

  it('gives the same answers on both after any history', async () => {
    const name = fc.constantFrom('a', 'ab', 'b', 'b/1', 'b/2', 'ü', '\u{10ffff}');
    const step = fc.record({ name, value: fc.option(fc.uint8Array({ maxLength: 9 })), reopen: fc.nat(9) });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        await withFolder(async (folder) => {
          const memory = new MemoryRecords();
          let store = await openStore(folder);
          for (const { name, value, reopen } of steps) {
            for (const records of [memory, store.records])
              await (value === null ? records.delete(name) : records.put(name, value));
            if (reopen > 0) continue;
            await abandon(store);
            store = await openStore(folder);
          }
          for (const prefix of ['', 'a', 'b', 'b/', 'ü', 'x'])
            expect(await listed(store.records, prefix)).toEqual(await listed(memory, prefix));
          for (const name of ['a', 'b', 'b/2'])
            expect(await store.records.get(name)).toEqual(await memory.get(name));
          await store.close();
        });
      }),
      { numRuns: 30 },
    );
  });
});

describe('a record', () => {
  it('is there after a kill, a new database and a new index, and is no damage', async () => {
    const folder = await temporaryFolder();
    const first = await openStore(folder);
    const messages = samples(300);
    await first.append(messages);
    for (let turn = 0; turn < 50; turn++) await first.records.put('peer/a', Uint8Array.of(turn));
    await first.records.put('peer/b', Uint8Array.of(1));
    await abandon(first);
    const store = await openStore(folder);
    const expected = [
      ['peer/a', '31'],
      ['peer/b', '01'],
    ];
    expect(await listed(store.records, '')).toEqual(expected);
    await store.rebuild();
    expect(await listed(store.records, '')).toEqual(expected);
    await store.rebuildIndex('a test asks for it');
    expect(await verifyStore(store, false)).toEqual({ checked: 300, damaged: 0, repaired: 0 });
    expect(await verifyStore(store, true)).toEqual({ checked: 300, damaged: 0, repaired: 0 });
    expect(await listed(store.records, '')).toEqual(expected);
    expect(store.count).toBe(300);
    await store.close();
  });

  it('may be all that a store holds', async () => {
    const folder = await temporaryFolder();
    const first = await openStore(folder);
    await first.records.put('a', Uint8Array.of(1));
    await first.close();
    const log = new RecordingLogger();
    const store = await openStore(folder, { log });
    expect([store.count, ...(await listed(store.records, ''))]).toEqual([0, ['a', '01']]);
    expect([...log.codes('warn'), ...log.codes('error')]).toEqual([]);
    await store.close();
  });

  it('shares batches with messages that are written at the same time', async () => {
    const { open, watched } = faultyDatabase();
    const store = await openStore(await temporaryFolder(), { openDatabase: open });
    const messages = samples(50);
    await Promise.all([
      ...messages.map((message) => store.append([message])),
      ...messages.map((_, at) => store.records.put(`${at}`, Uint8Array.of(at))),
      store.records.put('same', Uint8Array.of(1)),
      store.records.put('same', Uint8Array.of(2)),
    ]);
    expect(watched.writes).toBeLessThanOrEqual(2);
    expect([store.count, (await listed(store.records, '')).length]).toEqual([50, 51]);
    expect(await store.records.get('same')).toEqual(Uint8Array.of(2));
    await store.close();
  });

  it('that was damaged is not there, and others are', async () => {
    const log = new RecordingLogger();
    const store = await openStore(await temporaryFolder(), { log });
    for (const name of ['a', 'b', 'c', 'd'])
      await store.records.put(name, Uint8Array.of(1, 2, 3, 4, name.charCodeAt(0)));
    await damage(store);
    expect((await listed(store.records, '')).map(([name]) => name)).toEqual(['d']);
    expect(await store.records.get('a')).toBeUndefined();
    expect(log.codes('warn')).toEqual(new Array(4).fill('STORE_DAMAGED'));
    expect(await verifyStore(store, false)).toEqual({ checked: 0, damaged: 0, repaired: 0 });
    await store.records.put('a', Uint8Array.of(1));
    expect(await store.records.get('a')).toEqual(Uint8Array.of(1));
    await store.close();
  });

  it('is refused while the store has a fault, and taken afterwards; what was put before is still read', async () => {
    let isBroken = true;
    const { open } = faultyDatabase({ fails: (write) => isBroken && write > 1, reopenFails: () => isBroken });
    const store = await openStore(await temporaryFolder(), { openDatabase: open, clock: hurriedClock });
    await store.records.put('a', Uint8Array.of(1));
    expect(await endedIn(store.records.put('a', Uint8Array.of(2)))).toBe('STORE_FAULT');
    expect(await endedIn(store.records.put('b', Uint8Array.of(2)))).toBe('STORE_FAULT');
    expect(await endedIn(store.records.delete('a'))).toBe('STORE_FAULT');
    expect(await listed(store.records, '')).toEqual([['a', '01']]);
    isBroken = false;
    while (!store.writable) await new Promise((resolve) => setTimeout(resolve, 1));
    await store.records.put('b', Uint8Array.of(3));
    expect(await listed(store.records, '')).toEqual([
      ['a', '01'],
      ['b', '03'],
    ]);
    await store.close();
    expect(await endedIn(store.records.put('a', Uint8Array.of(2)))).toBe('STORE_CLOSED');
    expect(await endedIn(store.records.get('a'))).toBe('STORE_CLOSED');
  });

  it('has a name and a size within bounds', async () => {
    const store = await openStore(await temporaryFolder());
    const { records } = store;
    const longest = 'ü'.repeat(LIMITS.recordNameBytes / 2);
    await records.put(longest, new Uint8Array(1));
    expect((await listed(records, longest)).length).toBe(1);
    for (const name of ['', `${longest}a`, '\ud800']) {
      expect(await endedIn(records.put(name, new Uint8Array(1)))).toBe('INTERNAL');
      expect(await endedIn(records.get(name))).toBe('INTERNAL');
    }
    expect(await endedIn(records.put('a', new Uint8Array(LIMITS.recordBytes + 1)))).toBe('INTERNAL');
    await store.close();
  });
});

/** A byte of the value changed, a byte of the check, and one record in the place of another; one is left whole. */
async function damage(store: LevelMessageStore): Promise<void> {
  const entries: [Uint8Array, Uint8Array][] = [];
  for await (const chunk of store.database.entries(ALL_RECORDS)) entries.push(...chunk);
  const [a, b, c, d] = entries;
  a![1][0] = 0;
  b![1][b![1].length - 1]! ^= 1;
  await store.database.write((batch) => {
    batch.put(...a!);
    batch.put(...b!);
    batch.put(c![0], d![1]);
  });
}

async function listed(records: Records, prefix: string): Promise<[name: string, hex: string][]> {
  const found: [string, string][] = [];
  for await (const [name, value] of records.list(prefix))
    found.push([name, Buffer.from(value).toString('hex')]);
  return found;
}
