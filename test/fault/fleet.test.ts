/**
 * Five real nodes that are stopped, killed, paused and cut off at random while messages are published to some of them:
 * when all are back, every store holds the same messages, all that any node had acknowledged are among them, and no
 * ledger has a gap. `FLEET_MINUTES=10 FLEET_SEED=7 npx vitest run test/fault/fleet.test.ts` runs it for longer, or
 * again.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { endAll, lacuna } from '../e2e/process.ts';
import { type Member, TroubledFleet } from './troubled-fleet.ts';

afterEach(endAll);

const MINUTES = Number(process.env['FLEET_MINUTES'] ?? 2);
const SEED = Number(process.env['FLEET_SEED'] ?? Math.floor(Date.now() / 1_000));
const PUBLISH_MS = 200;
/** A paused peer is noticed when its sessions end, after 30 s. */
const HEALED_MS = 120_000;

it(
  `a fleet of five in trouble for ${MINUTES} minutes loses nothing and heals (seed ${SEED})`,
  async () => {
    const fleet = await TroubledFleet.start({
      nodes: 5,
      seed: SEED,
      args: ['--sync-interval', '2s', '--sync-jitter', '1s', '--log-level', 'error'],
    });
    const endMs = Date.now() + MINUTES * 60_000;
    const recoveries: { member: Member; atMs: number }[] = [];
    let nextTroubleMs = Date.now() + 3_000;
    while (Date.now() < endMs) {
      await fleet.publish();
      if (Date.now() >= nextTroubleMs) {
        const member = await fleet.strike();
        if (member !== undefined) recoveries.push({ member, atMs: Date.now() + 3_000 + fleet.below(22_000) });
        nextTroubleMs = Date.now() + 2_000 + fleet.below(5_000);
      }
      for (const due of recoveries.filter(({ atMs }) => atMs <= Date.now())) {
        await fleet.heal(due.member);
        recoveries.splice(recoveries.indexOf(due), 1);
      }
      await delay(PUBLISH_MS);
    }
    await fleet.healAll();
    const expected = fleet.acknowledged.size;
    const isWhole = (state: { messages: number; gaps: unknown[] }): boolean =>
      state.messages >= expected && state.gaps.length === 0;
    let states = await fleet.states();
    for (const deadline = Date.now() + HEALED_MS; Date.now() < deadline; ) {
      if (states.every(isWhole) && new Set(states.map(({ messages }) => messages)).size === 1) break;
      await delay(500);
      states = await fleet.states();
    }
    expect(states.map(({ gaps }) => gaps)).toEqual(states.map(() => []));
    await fleet.stop();
    const exports = await Promise.all(
      fleet.members.map(async ({ data }) => (await lacuna(['export', '--hashes', '--data', data])).stdout),
    );
    const held = new Set(exports[0]!.trimEnd().split('\n'));
    expect([...fleet.acknowledged].filter((hash) => !held.has(hash))).toEqual([]);
    expect(exports.map((text) => text === exports[0])).toEqual(exports.map(() => true));
    // Everything that can happen to a node has happened.
    for (const times of Object.values(fleet.told)) expect(times).toBeGreaterThan(0);
  },
  MINUTES * 60_000 + HEALED_MS + 120_000,
);
