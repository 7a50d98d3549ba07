/** What one session counts, how long it waits, and what it names as missing. */
import { describe, expect, it } from 'vitest';
import { SyncIdList } from '../../../src/core/sync-id.ts';
import { LIMITS } from '../../../src/limits.ts';
import type { StoredMessage } from '../../../src/ports.ts';
import type { SessionPlan } from '../../../src/sync/session.ts';
import { sessionJson } from '../../../src/sync/session-json.ts';
import { WakuSession } from '../../../src/sync/waku/session.ts';
import { textOf } from '../../core/random-sets.ts';
import { MemoryStore } from '../../memory-store.ts';
import { hexOf, samples } from '../../sample-messages.ts';
import { HOUR } from '../party.ts';
import { VirtualClock } from '../virtual-clock.ts';

const messages = samples(40);
const idsOf = (some: readonly StoredMessage[]): SyncIdList => SyncIdList.of(...some.map(({ id }) => id));

function begin(plan: Partial<SessionPlan> = {}, held: readonly StoredMessage[] = []) {
  const clock = new VirtualClock();
  const store = new MemoryStore(held);
  return { clock, store, session: new WakuSession('peer', 'initiator', { ...HOUR, ...plan }, store, clock) };
}

/** Begins to wait, and tells when the wait was over. */
function settling(session: WakuSession, clock: VirtualClock, stop = new AbortController().signal) {
  const wait = { endedAtMs: undefined as number | undefined };
  void session.settle(stop).then(() => {
    wait.endedAtMs = clock.monotonicMs();
  });
  return wait;
}

describe('the wait for what a peer owes', () => {
  it('is none when it owes nothing', async () => {
    for (const plan of [{}, { direction: 'push' }, { dryRun: true }] as const) {
      const { clock, session } = begin(plan);
      if (!session.takes) session.needs(idsOf(messages));
      const wait = settling(session, clock);
      await clock.advance(0);
      expect(wait.endedAtMs).toBe(0);
    }
  });

  it('ends when the last named message is here, whenever that is', async () => {
    const { clock, session } = begin();
    session.needs(idsOf(messages.slice(0, 3)));
    const wait = settling(session, clock);
    for (const { id } of messages.slice(0, 3)) {
      await clock.advance(LIMITS.transferIdleMs - 1);
      expect(wait.endedAtMs).toBeUndefined();
      session.arrived(id, true);
    }
    await clock.advance(0);
    expect(wait.endedAtMs).toBe(3 * (LIMITS.transferIdleMs - 1));
  });

  it('ends after a silence when something does not come', async () => {
    const { clock, session } = begin();
    session.needs(idsOf(messages.slice(0, 3)));
    const wait = settling(session, clock);
    await clock.advance(700);
    session.arrived(messages[0]!.id, true);
    await clock.advance(10 * LIMITS.transferIdleMs);
    expect(wait.endedAtMs).toBe(700 + LIMITS.transferIdleMs);
    expect(session.result()).toMatchObject({ need: 3, received: 1, missing: 2 });
  });

  it('is shorter after the peer has closed its stream', async () => {
    const { clock, session } = begin();
    session.needs(idsOf(messages.slice(0, 3)));
    const wait = settling(session, clock);
    session.transferOpened();
    await clock.advance(100);
    session.transferClosed();
    await clock.advance(LIMITS.transferIdleMs);
    expect(wait.endedAtMs).toBe(100 + LIMITS.unnamedIdleMs);
  });

  it('is short for what was not named, and over with its stream', async () => {
    const silent = begin();
    silent.session.unnamed = true;
    const first = settling(silent.session, silent.clock);
    await silent.clock.advance(LIMITS.transferIdleMs);
    expect(first.endedAtMs).toBe(LIMITS.unnamedIdleMs);

    const closing = begin();
    closing.session.unnamed = true;
    const second = settling(closing.session, closing.clock);
    closing.session.transferOpened();
    await closing.clock.advance(50);
    closing.session.transferClosed();
    await closing.clock.advance(0);
    expect(second.endedAtMs).toBe(50);
  });

  it('ends when the session is stopped', async () => {
    const { clock, session } = begin();
    session.needs(idsOf(messages));
    const stop = new AbortController();
    const wait = settling(session, clock, stop.signal);
    await clock.advance(10);
    stop.abort();
    await clock.advance(0);
    expect(wait.endedAtMs).toBe(10);
  });
});

describe('the counts', () => {
  it('take each id once, and none that is held', () => {
    const { session } = begin({}, messages.slice(0, 10));
    session.needs(idsOf(messages.slice(0, 30)));
    session.needs(idsOf(messages.slice(20, 40)));
    expect(session.need).toBe(30);
    session.arrived(messages[20]!.id, true);
    session.arrived(messages[20]!.id, false);
    expect(session.result()).toMatchObject({ need: 30, received: 1, missing: 29 });
  });

  it('offer each id once in a pass', () => {
    const { session } = begin({}, messages);
    expect(session.lacks(idsOf(messages.slice(0, 5))).count).toBe(5);
    expect(session.lacks(idsOf(messages.slice(3, 8))).count).toBe(3);
    session.nextPass();
    expect(session.lacks(idsOf(messages.slice(6, 10))).count).toBe(4);
    expect(session.lacks(idsOf(messages.slice(6, 10))).count).toBe(0);
    expect(session.have).toBe(10);
  });

  it('do not call missing what has come by another way', () => {
    const { session, store } = begin();
    session.needs(idsOf(messages.slice(0, 4)));
    void store.append(messages.slice(0, 3));
    expect(session.result()).toMatchObject({ need: 4, missing: 1 });
    expect(textOf(session.missing())).toBe(textOf(idsOf(messages.slice(3, 4))));
  });

  it('hold no more ids than are left', () => {
    const { session } = begin();
    session.idsLeft = () => 12 - session.held;
    session.needs(idsOf(messages.slice(0, 8)));
    session.lacks(idsOf(messages.slice(8, 30)));
    expect([session.need, session.have, session.held]).toEqual([8, 4, 12]);
    session.end();
    expect(session.held).toBe(0);
  });

  it('tell each refusal with its code', () => {
    const { session } = begin();
    session.refuse('TRANSFER_OUT_OF_SCOPE');
    session.refuse('MESSAGE_EPHEMERAL', 2);
    session.refuse('TRANSFER_OUT_OF_SCOPE');
    expect(session.result()).toMatchObject({
      refused: 4,
      refusals: { TRANSFER_OUT_OF_SCOPE: 2, MESSAGE_EPHEMERAL: 2 },
    });
  });
});

describe('a result as it is shown', () => {
  it('names times as text and some of the missing hashes', async () => {
    const { session, clock } = begin();
    session.needs(idsOf(messages));
    await clock.advance(1_500);
    const shown = sessionJson(session.result());
    expect(shown).toMatchObject({ peer: 'peer', dialect: 'waku', role: 'initiator', missing: 40 });
    expect(shown).toMatchObject({ durationMs: 1_500, verified: false });
    expect(shown['missingHashes']).toEqual(messages.slice(0, 20).map((message) => `0x${hexOf(message)}`));
    expect(new Date(String(shown['since'])).getTime()).toBe(Number(HOUR.sinceNs / 1_000_000n));
    expect(JSON.parse(JSON.stringify(shown))).toEqual(shown);
  });
});
