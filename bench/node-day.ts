/**
 * Case `day` of the node bench: a day of three nodes on a virtual clock, without network or disk. What only time brings
 * out is counted: timers that pile up, sessions that are too many, messages that are not everywhere in time.
 */
import { Fleet } from '../test/sim/fleet.ts';
import { hashes } from '../test/sync/party.ts';
import type { NodeCase } from './node.ts';

const NODES = 3;
const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const HOURS = 24;
const INTERVAL_MS = 5 * MINUTE_MS;
const PUBLISH_MS = 30 * SECOND_MS;
/** Publishers' clocks are off by up to 20 s, and what is younger than 20 s is not compared. */
const COMPARABLE_MS = 40 * SECOND_MS;
const INTERVAL_SPREAD = 1.1;

export async function benchDay({ report }: NodeCase): Promise<void> {
  const fleet = new Fleet({ seed: 1, size: NODES, intervalMs: INTERVAL_MS, rangeMs: HOUR_MS });
  await fleet.start(...fleet.nodes);
  const startMs = performance.now();
  /** When each message that is not everywhere was published. */
  const open = new Map<string, number>();
  const agesMs: number[] = [];
  const timers: number[] = [];
  const heapMb: number[] = [];
  for (let atMs = PUBLISH_MS; atMs <= HOURS * HOUR_MS; atMs += PUBLISH_MS) {
    await fleet.clock.advance(PUBLISH_MS);
    const getters = fleet.nodes.filter(() => fleet.chance.below(10) > 0);
    fleet.publish(getters.length > 0 ? getters : [fleet.nodes[0]!]);
    open.set(fleet.published.at(-1)!, atMs);
    if (atMs % MINUTE_MS !== 0) continue;
    const held = fleet.nodes.map((node) => new Set(hashes(node.store.messages.slice(-400))));
    for (const [hash, publishedMs] of open) {
      if (!held.every((all) => all.has(hash))) continue;
      open.delete(hash);
      agesMs.push(atMs - publishedMs);
    }
    if (atMs % HOUR_MS !== 0) continue;
    timers.push(fleet.clock.sleepers);
    globalThis.gc?.();
    heapMb.push(process.memoryUsage().heapUsed / 1e6);
  }
  const add = (metric: string, value: number, unit: string, target?: string): void =>
    report.add('day', metric, value, unit, target);
  const asked = fleet.nodes.map((node) => node.asked / ((HOURS * HOUR_MS) / INTERVAL_MS));
  const boundMs = COMPARABLE_MS + INTERVAL_MS * INTERVAL_SPREAD + MINUTE_MS;
  // Those that are not everywhere by now count with the age that they have.
  agesMs.push(...[...open.values()].map((publishedMs) => HOURS * HOUR_MS - publishedMs));
  add('seconds', (performance.now() - startMs) / 1e3, 's');
  add('messages', fleet.published.length, '');
  add('ageMax', Math.max(...agesMs) / 1e3, 's');
  add('overOneInterval', agesMs.filter((ms) => ms > boundMs).length, 'messages', '0');
  add(
    'overTwoIntervals',
    agesMs.filter((ms) => ms > boundMs + INTERVAL_MS * INTERVAL_SPREAD).length,
    '',
    '0',
  );
  add('sessionsPerInterval', Math.max(...asked), 'the busiest node', '1');
  add('timersFirstHour', timers[0]!, '');
  add('timersLastHour', timers.at(-1)!, '', 'as in the first');
  add('timersMax', Math.max(...timers), '');
  add('heapFirstHour', heapMb[0]!, 'MB');
  add('heapLastHour', heapMb.at(-1)!, 'MB');
  add(
    'gapsInTheEnd',
    fleet.nodes.reduce((sum, { upkeep }) => sum + upkeep.ledger.open().length, 0),
    '',
    '0',
  );
  await fleet.clock.advance(INTERVAL_MS * 2 * INTERVAL_SPREAD + COMPARABLE_MS);
  const faults = fleet.faults();
  for (const fault of faults) process.stderr.write(`day: ${fault}\n`);
  add('faultsInTheEnd', faults.length, '', '0');
  await fleet.end();
}
