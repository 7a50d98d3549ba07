/** The stores that the node bench starts with: what they hold, and when their nodes say that they ran last. */
import { EVERYTHING } from '../src/core/scope.ts';
import { LevelMessageStore } from '../src/store/message-store.ts';
import { encodePulse } from '../src/sync/ledger-record.ts';
import { silentLogger, systemClock, systemSha256 } from '../src/system.ts';

/** As a node with this store would have left it that was killed at this time. */
export async function lastAliveAt(data: string, aliveMs: number): Promise<void> {
  const store = await LevelMessageStore.open({
    directory: data,
    create: true,
    clock: systemClock,
    log: silentLogger,
    sha256: systemSha256,
  });
  await store.records.put('pulse', encodePulse({ aliveMs, scope: EVERYTHING, rounds: 1 }));
  await store.close();
}

export function nsOfMs(ms: number): bigint {
  return BigInt(Math.floor(ms)) * 1_000_000n;
}
