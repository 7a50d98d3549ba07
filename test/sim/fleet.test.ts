/**
 * Whole nodes over virtual hours: whatever happens to a fleet, when it is over all stores are equal, nothing that was
 * acknowledged is lost, and every ledger is empty; and nobody has worn out anybody on the way.
 */
import { describe, expect, it } from 'vitest';
import { Chance } from '../core/random-sets.ts';
import { Fleet } from './fleet.ts';
import { trouble } from './troubles.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const INTERVAL_MS = 2 * MINUTE_MS;
/** Intervals after which a fleet is whole again, at the latest. */
const WHOLE_AFTER = 5;
const SEEDS = 40;

/** One seed of its own: `FLEET_SEED=17 npx vitest run test/sim/fleet.test.ts`. */
const only = process.env['FLEET_SEED'];

async function live(seed: number): Promise<string[]> {
  const chance = new Chance(seed);
  Error.stackTraceLimit = 0;
  const size = 3 + chance.below(2) + chance.below(3);
  const fleet = new Fleet({ seed, size, intervalMs: INTERVAL_MS, rangeMs: HOUR_MS, skewMs: 20_000 });
  await fleet.start(...fleet.nodes.slice(chance.below(2)));
  await trouble(fleet, (10 + chance.below(60)) * MINUTE_MS);
  await fleet.heal();
  const intervals = await fleet.intervalsToBeWhole(INTERVAL_MS, WHOLE_AFTER);
  const faults = intervals === undefined ? fleet.faults() : [];
  const hours = fleet.clock.monotonicMs() / HOUR_MS;
  const most = (HOUR_MS / INTERVAL_MS) * 3 * hours + 80;
  for (const { name, asked } of fleet.nodes) {
    if (asked > most) faults.push(`${name} has asked for ${asked} sessions in ${hours} hours`);
  }
  if (process.env['FLEET_TELL'])
    console.log(
      seed,
      size,
      intervals,
      fleet.published.length,
      hours.toFixed(1),
      fleet.nodes.map((n) => (n.asked / hours).toFixed(0)).join(),
    );
  await fleet.end();
  return faults.map((fault) => `FLEET_SEED=${seed} npx vitest run test/sim/fleet.test.ts: ${fault}`);
}

describe('a fleet in trouble', () => {
  it('is whole soon after it', async () => {
    const seeds = only === undefined ? Array.from({ length: SEEDS }, (_, seed) => seed) : [Number(only)];
    const faults: string[] = [];
    for (const seed of seeds) faults.push(...(await live(seed)));
    expect(faults).toEqual([]);
  });
});
