/** What happens to a fleet in a while of trouble: everything that can, by chance, and then it is over. */
import type { Fleet } from './fleet.ts';

const MINUTE_MS = 60_000;

/** Troubles of a minute or some, one after the other, for so long; messages are published all the while. */
export async function trouble(fleet: Fleet, forMs: number): Promise<void> {
  const { chance, clock, nodes } = fleet;
  const untilMs = clock.monotonicMs() + forMs;
  while (clock.monotonicMs() < untilMs) {
    await befall(fleet);
    const steps = 1 + chance.below(8);
    for (let step = 0; step < steps; step++) {
      if (chance.below(2) === 0) fleet.publish();
      await clock.advance((1 + chance.below(3_000)) * 20);
      if (chance.below(6) === 0) fleet.breakLinks();
    }
    // Rarely are all of them gone, and never for long.
    if (nodes.every(({ state }) => state !== 'running')) await fleet.start(...nodes);
  }
}

async function befall(fleet: Fleet): Promise<void> {
  const { chance, nodes, clock } = fleet;
  const node = chance.pick(nodes);
  const troubles: readonly (() => Promise<void> | void)[] = [
    () => fleet.crash(node),
    () => fleet.stop(node),
    () => fleet.sleep(node),
    () => fleet.wake(node),
    () => fleet.start(node),
    () => fleet.start(...nodes),
    () => fleet.part(),
    () => fleet.join(),
    () => burst(fleet),
    async () => {
      fleet.sleep(node);
      await clock.advance(chance.below(30) * MINUTE_MS);
      fleet.wake(node);
    },
    async () => {
      fleet.crash(node);
      await clock.advance(chance.below(3) * 1_000);
      await fleet.start(node);
    },
  ];
  await chance.pick(troubles)();
}

function burst(fleet: Fleet): void {
  const to = fleet.someRunning();
  for (let message = fleet.chance.below(40); message > 0; message--) fleet.publish(to);
}
