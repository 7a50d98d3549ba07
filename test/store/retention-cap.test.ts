/**
 * The caps of the whole store under load: messages that come as fast as they can wait for room, the folder never
 * outgrows its cap, and the disk gets back what was pruned.
 */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EVERYTHING } from '../../src/core/scope.ts';
import { LIMITS } from '../../src/limits.ts';
import type { StoredMessage } from '../../src/ports.ts';
import { verifyStore } from '../../src/store/integrity.ts';
import type { LevelMessageStore } from '../../src/store/message-store.ts';
import { CHAT, messageOf, NOTES, NOW_NS, stored } from '../sample-messages.ts';
import { temporaryFolder } from '../temporary-folder.ts';
import { openStore, servedHashes } from './open-store.ts';

const MB = 1_000_000;

/** Messages of random bytes, which LevelDB cannot make smaller, the oldest first. */
function* incompressible(batches: number, size: number, payloadBytes: number): Generator<StoredMessage[]> {
  const count = batches * size;
  for (let batch = 0; batch < batches; batch++) {
    yield stored(
      Array.from({ length: size }, (_, at) =>
        messageOf({
          timestamp: NOW_NS - BigInt(count - batch * size - at) * 1_000_000n,
          contentTopic: at % 2 === 0 ? CHAT : NOTES,
          payload: crypto.getRandomValues(new Uint8Array(payloadBytes)),
        }),
      ),
    );
  }
}

/** Several writers at once, as fast as the store takes it. */
async function pour(store: LevelMessageStore, batches: Iterator<StoredMessage[]>): Promise<void> {
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      for (let next = batches.next(); next.done !== true; next = batches.next()) {
        await store.append(next.value);
        // LevelDB's threads and the timers of the test have their turn too.
        await new Promise((resolve) => setImmediate(resolve));
      }
    }),
  );
}

async function bytesIn(folder: string): Promise<number> {
  let bytes = 0;
  for (const name of await readdir(folder)) {
    bytes += await stat(join(folder, name)).then(
      ({ size }) => size,
      () => 0,
    );
  }
  return bytes;
}

describe('a cap of bytes', () => {
  it.each([
    [10_000, 100, 150],
    [300, 1_000, 200],
  ])(
    'holds for messages of %i bytes that come as fast as they can',
    async (payloadBytes, size, batches) => {
      const folder = await temporaryFolder();
      const cap = 48 * MB;
      const store = await openStore(folder, { retention: [`size:${cap}`] });
      // As a running node does.
      store.retention.start();
      let most = 0;
      let isOver = false;
      const watching = (async () => {
        while (!isOver) {
          most = Math.max(most, await bytesIn(join(folder, 'store')));
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      })();
      await pour(store, incompressible(batches, size, payloadBytes));
      await store.retention.pass(false);
      isOver = true;
      await watching;
      expect(most).toBeGreaterThan(cap / 2);
      expect(most).toBeLessThanOrEqual(cap);
      expect(await bytesIn(join(folder, 'store'))).toBeLessThanOrEqual(cap);
      // It is a cap, and not a purge: half of the room is for LevelDB to work in, and most of the rest is used.
      expect(store.count * payloadBytes).toBeGreaterThan(cap / 6);
      expect(store.horizonNs(EVERYTHING)).toBeGreaterThan(0n);
      expect(await verifyStore(store, false)).toMatchObject({ damaged: 0 });
      expect(store.lost).toBe(0);
      // What readers held while it was compacted goes at the next pass.
      await store.retention.pass(false);
      await store.close();
      expect(await bytesIn(join(folder, 'store'))).toBeLessThanOrEqual(cap);
    },
    120_000,
  );
});

describe('a cap of messages', () => {
  it('is exceeded by no more than a write group', async () => {
    const store = await openStore(await temporaryFolder(), { retention: ['capacity:5000'] });
    let most = 0;
    const batches = incompressible(60, 500, 50);
    await pour(store, {
      next: () => {
        most = Math.max(most, store.count);
        return batches.next();
      },
    });
    expect(most).toBeGreaterThan(4_000);
    expect(most).toBeLessThanOrEqual(5_000 + LIMITS.writeGroupMessages);
    await store.retention.pass(false);
    expect(store.count).toBeLessThanOrEqual(5_000);
    expect((await servedHashes(store)).length).toBe(store.count);
    await store.close();
  });
});

describe('the disk', () => {
  it('gets back what was pruned by age', async () => {
    const folder = await temporaryFolder();
    let store = await openStore(folder);
    await pour(store, incompressible(20, 1_000, 1_000));
    await store.close();
    const before = await bytesIn(join(folder, 'store'));
    store = await openStore(folder, { retention: ['time:1'] });
    const { removed, bytes } = await store.retention.pass(false);
    expect(removed).toBe(20_000);
    expect(bytes).toBeGreaterThan(20 * MB);
    expect(await bytesIn(join(folder, 'store'))).toBeLessThan(before / 10);
    await store.close();
  });
});
