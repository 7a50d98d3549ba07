/**
 * Opening a store: who may, what is refused with which code, and that whatever is missing or cut short of LevelDB's
 * own files, the messages come back or the store says that it cannot give them. Never is it silently empty.
 */
import { execFile } from 'node:child_process';
import { cp, mkdir, readdir, readFile, rename, rm, rmdir, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { ErrorCode } from '../../src/errors.ts';
import type { StoredMessage } from '../../src/ports.ts';
import { verifyStore } from '../../src/store/integrity.ts';
import { endedIn } from '../ended-in.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { hexOf, samples } from '../sample-messages.ts';
import { temporaryFolder } from '../temporary-folder.ts';
import { abandon, openStore, servedHashes } from './open-store.ts';

const run = promisify(execFile);
const OPEN_PROBE = fileURLToPath(new URL('open-probe.ts', import.meta.url));

describe('the lock', () => {
  it('keeps a second opening out, in this process and in another one', async () => {
    const folder = await temporaryFolder();
    const store = await openStore(folder);
    await store.append(samples(10));
    expect(await endedIn(openStore(folder))).toBe('STORE_LOCKED');
    const { stdout } = await run(process.execPath, ['--import', 'tsx', OPEN_PROBE, folder]);
    expect(stdout.trim()).toBe('STORE_LOCKED');
    // What was kept out has changed nothing.
    expect(await store.append(samples(20))).toEqual({ stored: 20, duplicate: 0 });
    await store.close();
    const again = await openStore(folder);
    expect(again.count).toBe(30);
    await again.close();
  });

  it('is let go of when opening fails', async () => {
    const folder = await filled(samples(10));
    const sidecar = await readFile(join(folder, 'STORE'));
    await writeFile(join(folder, 'STORE'), '{');
    expect(await endedIn(openStore(folder))).toBe('STORE_DAMAGED');
    await writeFile(join(folder, 'STORE'), sidecar);
    const store = await openStore(folder);
    await store.close();
  });
});

describe('the sidecar', () => {
  it('tells that there is no store', async () => {
    const folder = await temporaryFolder();
    expect(await endedIn(openStore(folder, { create: false }))).toBe('STORE_MISSING');
    expect(await endedIn(openStore(join(folder, 'deeper', 'still'), { create: false }))).toBe(
      'STORE_MISSING',
    );
    expect(await readdir(folder)).toEqual([]);
  });

  it('makes the folders of a new store', async () => {
    const folder = await temporaryFolder();
    const store = await openStore(join(folder, 'deeper', 'still'));
    await store.close();
  });

  it.each<[string, (sidecar: Record<string, unknown>) => unknown, ErrorCode]>([
    ['of a later format', (sidecar) => ({ ...sidecar, format: 2 }), 'STORE_FORMAT'],
    ['of an earlier format', (sidecar) => ({ ...sidecar, format: 0 }), 'STORE_FORMAT'],
    ['without a format', ({ format, ...rest }) => rest, 'STORE_DAMAGED'],
    ['with a count below nothing', (sidecar) => ({ ...sidecar, count: -1 }), 'STORE_DAMAGED'],
    ['that is a list', () => [], 'STORE_DAMAGED'],
    ['that is empty', () => '', 'STORE_DAMAGED'],
    ['that is not JSON', () => '{"format":1,', 'STORE_DAMAGED'],
  ])('%s is refused, and nothing is changed', async (_, change, code) => {
    const messages = samples(10);
    const folder = await filled(messages);
    const path = join(folder, 'STORE');
    const original = await readFile(path, 'utf8');
    const changed = change(JSON.parse(original) as Record<string, unknown>);
    await writeFile(path, typeof changed === 'string' ? changed : JSON.stringify(changed));
    expect(await endedIn(openStore(folder))).toBe(code);
    await writeFile(path, original);
    await expectAll(folder, messages);
  });

  it('is written anew where it is gone', async () => {
    const messages = samples(10);
    const folder = await filled(messages);
    await rm(join(folder, 'STORE'));
    expect(await endedIn(openStore(folder, { create: false }))).toBe('STORE_MISSING');
    await expectAll(folder, messages);
  });
});

describe("LevelDB's own files", () => {
  /** A store with two tables and a log, so that each kind of file holds messages that the others do not. */
  const MESSAGES = samples(60, { payloadBytes: 200 });

  it.each<[string, (database: string) => Promise<unknown>]>([
    ['CURRENT is deleted', (database) => rm(join(database, 'CURRENT'))],
    ['CURRENT is emptied', (database) => truncate(join(database, 'CURRENT'))],
    [
      'CURRENT names a file that is not there',
      (database) => writeFile(join(database, 'CURRENT'), 'MANIFEST-999999\n'),
    ],
    ['CURRENT is nonsense', (database) => writeFile(join(database, 'CURRENT'), Buffer.alloc(64, 255))],
    ['the MANIFEST is deleted', async (database) => rm(await one(database, /^MANIFEST/))],
    ['the MANIFEST is emptied', async (database) => truncate(await one(database, /^MANIFEST/))],
    [
      'the MANIFEST is nonsense',
      async (database) => writeFile(await one(database, /^MANIFEST/), Buffer.alloc(500, 7)),
    ],
    [
      'CURRENT and the MANIFEST are deleted',
      async (database) => {
        await rm(await one(database, /^MANIFEST/));
        await rm(join(database, 'CURRENT'));
      },
    ],
  ])('all messages come back when %s', async (_, damage) => {
    const folder = await filled(MESSAGES);
    await damage(join(folder, 'store'));
    await expectAll(folder, MESSAGES);
    await expectAll(folder, MESSAGES);
  });

  it('all messages come back however short the MANIFEST is cut, also after a kill', async () => {
    // Large enough for LevelDB to write several tables in one life: a list cut short then reads like an older one.
    const messages = samples(140, { payloadBytes: 140 * 1024 });
    const folder = await temporaryFolder();
    const store = await openStore(folder);
    for (let from = 0; from < messages.length; from += 20)
      await store.append(messages.slice(from, from + 20));
    await store.close();
    const original = `${folder}/original`;
    await cp(join(folder, 'store'), join(original, 'store'), { recursive: true });
    await cp(join(folder, 'STORE'), join(original, 'STORE'));
    const manifest = await one(join(original, 'store'), /^MANIFEST/);
    const { size } = await stat(manifest);
    // Several lists of tables, one within the other.
    expect(size).toBeGreaterThan(250);
    for (const share of [0.05, 0.2, 0.4, 0.6, 0.8, 0.99]) {
      const copy = `${folder}/copy`;
      await cp(original, copy, { recursive: true });
      await truncate(await one(join(copy, 'store'), /^MANIFEST/), Math.floor(size * share));
      const damaged = await openStore(copy);
      expect([share, damaged.count, damaged.lost]).toEqual([share, messages.length, 0]);
      await abandon(damaged);
      await rm(copy, { recursive: true });
    }
  });

  it('a folder that was emptied is refused, as is one that is gone', async () => {
    const folder = await filled(MESSAGES);
    const database = join(folder, 'store');
    for (const name of await readdir(database)) await rm(join(database, name));
    expect(await endedIn(openStore(folder))).toBe('STORE_DAMAGED');
    expect(await endedIn(openStore(folder))).toBe('STORE_DAMAGED');
    await rm(database, { recursive: true });
    expect(await endedIn(openStore(folder))).toBe('STORE_DAMAGED');
    expect(await endedIn(openStore(folder, { create: false }))).toBe('STORE_DAMAGED');
  });

  it('tables that are gone are not passed over: what is left is served, and what is lost is told until it is accepted', async () => {
    const folder = await filled(MESSAGES);
    for (const name of await readdir(join(folder, 'store'))) {
      if (name.endsWith('.ldb')) await rm(join(folder, 'store', name));
    }
    for (let opening = 0; opening < 2; opening++) {
      const log = new RecordingLogger();
      const store = await openStore(folder, { log });
      expect(store.count).toBeLessThan(MESSAGES.length);
      expect(store.lost).toBe(MESSAGES.length - store.count);
      expect(log.codes('error')).toEqual(['STORE_DAMAGED']);
      expect((await verifyStore(store, false)).damaged).toBeGreaterThanOrEqual(store.lost);
      await store.close();
    }
    const store = await openStore(folder);
    const report = await verifyStore(store, true);
    expect(report.repaired).toBe(report.damaged);
    expect(await verifyStore(store, false)).toMatchObject({ damaged: 0 });
    await store.close();
    const log = new RecordingLogger();
    const accepted = await openStore(folder, { log });
    expect([accepted.lost, log.codes('error')]).toEqual([0, []]);
    const kept = accepted.count;
    expect(await accepted.append(MESSAGES)).toEqual({ stored: MESSAGES.length - kept, duplicate: kept });
    await accepted.close();
  });

  it('a disk that does not do what it is asked is no damage: nothing is repaired, and nothing is lost', async () => {
    const folder = await filled(MESSAGES);
    const database = join(folder, 'store');
    const before = (await readdir(database)).sort();
    // The next file that LevelDB makes cannot be made: as on a full disk, where its repair would drop the log.
    const obstacles = Array.from({ length: 20 }, (_, index) =>
      join(database, `MANIFEST-${String(index + 1).padStart(6, '0')}`),
    );
    const made: string[] = [];
    for (const path of obstacles)
      if ((await mkdir(path, { recursive: false }).catch(() => 'there')) === undefined) made.push(path);
    expect(await endedIn(openStore(folder))).toBe('IO');
    expect(await endedIn(openStore(folder, { create: false }))).toBe('IO');
    for (const path of made) await rmdir(path);
    const after = await readdir(database);
    expect(before.filter((name) => !after.includes(name))).toEqual([]);
    expect(after).not.toContain('lost');
    await expectAll(folder, MESSAGES);
  });

  it('no room for a repair is no damage either: it is put off, and nothing is lost', async () => {
    // More than the limit of a file in a log that a repair would have to write anew.
    const messages = samples(40, { payloadBytes: 64 * 1024 });
    const folder = await temporaryFolder();
    const store = await openStore(folder);
    await store.append(messages);
    await store.close();
    const current = join(folder, 'store', 'CURRENT');
    await rename(current, `${current}.aside`);
    const probe = ['--import', 'tsx', OPEN_PROBE, folder].map((arg) => `'${arg}'`).join(' ');
    const limited = `ulimit -f 512; exec '${process.execPath}' ${probe}`;
    const { stdout } = await run('bash', ['-c', limited]);
    expect(stdout.trim()).toBe('IO');
    await rm(`${current}.aside`);
    await expectAll(folder, messages);
  });

  it('a swap of files that a crash interrupted between its two renames is undone', async () => {
    const folder = await filled(MESSAGES);
    await rename(join(folder, 'store'), join(folder, 'store.damaged'));
    await mkdir(join(folder, 'store.new'));
    await writeFile(join(folder, 'store.new', '000003.log'), 'half done');
    await expectAll(folder, MESSAGES);
  });
});

describe('a crash while the store is made', () => {
  it('leaves something that can be opened', async () => {
    // LevelDB was created, the sidecar was not: the store was never given out.
    const folder = await filled([]);
    await rm(join(folder, 'STORE'));
    await expectAll(folder, []);
    // A folder and nothing in it.
    const bare = await temporaryFolder();
    await mkdir(join(bare, 'store'));
    await expectAll(bare, []);
  });
});

/** A closed store with these messages in a table, and the last ten of them in the log. */
async function filled(messages: readonly StoredMessage[]): Promise<string> {
  const folder = await temporaryFolder();
  const first = await openStore(folder);
  await first.append(messages.slice(0, -10));
  await first.close();
  const second = await openStore(folder);
  await second.append(messages.slice(-10));
  await second.close();
  return folder;
}

async function expectAll(folder: string, messages: readonly StoredMessage[]): Promise<void> {
  const log = new RecordingLogger();
  const store = await openStore(folder, { log });
  expect(await servedHashes(store)).toEqual(messages.map(hexOf));
  expect(await verifyStore(store, false)).toEqual({ checked: messages.length, damaged: 0, repaired: 0 });
  expect(log.codes('error')).toEqual([]);
  await store.close();
}

async function one(folder: string, pattern: RegExp): Promise<string> {
  const [name] = (await readdir(folder)).filter((file) => pattern.test(file)).slice(-1);
  return join(folder, name!);
}
