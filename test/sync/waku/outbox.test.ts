/** The sending half of a session: nothing that is queued is lost, whenever it is queued. */

import { describe, expect, it } from 'vitest';
import { SyncIdList } from '../../../src/core/sync-id.ts';
import { LacunaError } from '../../../src/errors.ts';
import { LIMITS } from '../../../src/limits.ts';
import type { FrameChannel, PeerLink, StoredMessage } from '../../../src/ports.ts';
import { Budgets } from '../../../src/sync/budgets.ts';
import { LimitCounts } from '../../../src/sync/limit-counts.ts';
import { Pace } from '../../../src/sync/pace.ts';
import { Strikes } from '../../../src/sync/strikes.ts';
import { Traffic } from '../../../src/sync/traffic.ts';
import { Outbox, type OutboxInit } from '../../../src/sync/waku/outbox.ts';
import { WakuSession } from '../../../src/sync/waku/session.ts';
import { endedIn } from '../../ended-in.ts';
import { MemoryStore } from '../../memory-store.ts';
import { messageOf, samples, stored } from '../../sample-messages.ts';
import { MemoryChannel } from '../memory-channel.ts';
import { HOUR, WAKU_ONLY } from '../party.ts';
import { VirtualClock } from '../virtual-clock.ts';

const messages = samples(30);
const idsOf = (some: readonly StoredMessage[]): SyncIdList => SyncIdList.of(...some.map(({ id }) => id));
const encoded = (some: readonly StoredMessage[]): Uint8Array[] => some.map((message) => message.encoded);

interface Init {
  readonly held?: readonly StoredMessage[];
  readonly isLacuna?: boolean;
  /** What every write waits for before it is done. */
  readonly beforeWrite?: (written: number) => Promise<void>;
}

/** What an outbox needs besides a session: nothing holds it. */
function unlimited(store: MemoryStore, clock: VirtualClock): OutboxInit {
  const counts = new LimitCounts();
  const strikes = new Strikes(clock);
  const budgets = new Budgets({ clock, strikes, counts, isKnown: () => false });
  return { store, upload: new Pace(clock), budgets, traffic: new Traffic().of('waku') };
}

function sending({ held = messages, isLacuna = false, beforeWrite }: Init = {}) {
  const clock = new VirtualClock();
  const store = new MemoryStore(held);
  const session = new WakuSession('peer', 'initiator', HOUR, store, clock);
  const [here, there] = MemoryChannel.pair(clock);
  const opened: FrameChannel[] = [];
  const channel: FrameChannel = {
    read: (timeoutMs) => here.read(timeoutMs),
    readMany: (timeoutMs) => here.readMany(timeoutMs),
    write: async (frames) => {
      await beforeWrite?.(here.written.length);
      await here.write(frames);
    },
    close: () => here.close(),
    abort: (reason) => here.abort(reason),
  };
  const link: PeerLink = {
    peer: 'peer',
    isLacuna,
    ...WAKU_ONLY,
    openReconciliation: () => Promise.reject(new LacunaError('INTERNAL', 'not of this test')),
    openTransfer: async () => {
      opened.push(channel);
      return channel;
    },
  };
  return { clock, session, here, there, opened, outbox: new Outbox(session, link, unlimited(store, clock)) };
}

describe('an outbox', () => {
  it('sends what it is given in its order, on one stream, and counts it', async () => {
    const { clock, outbox, here, opened, session } = sending();
    outbox.send(idsOf(messages.slice(0, 10)));
    outbox.send(new SyncIdList());
    outbox.send(idsOf(messages.slice(10)));
    await clock.run(outbox.finish());
    expect(here.written).toEqual(encoded(messages));
    expect([opened.length, here.isClosed, session.sent]).toEqual([1, true, 30]);
    const bytes = messages.reduce((sum, message) => sum + message.encoded.length + 1, 0);
    expect(session.transferBytesSent).toBe(bytes);
  });

  it('opens no stream for nothing', async () => {
    const { clock, outbox, opened } = sending({ held: [] });
    outbox.send(new SyncIdList());
    outbox.send(idsOf(messages));
    await clock.run(outbox.finish());
    expect(opened).toEqual([]);
  });

  it('loses nothing that is queued during its last write', async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { clock, outbox, here } = sending({
      beforeWrite: (written) => (written === 0 ? held : Promise.resolve()),
    });
    outbox.send(idsOf(messages.slice(0, 10)));
    await clock.advance(1);
    outbox.send(idsOf(messages.slice(10, 20)));
    await clock.advance(1);
    outbox.send(idsOf(messages.slice(20)));
    release();
    await clock.run(outbox.finish());
    expect(here.written).toEqual(encoded(messages));
  });

  it('loses nothing whenever it is queued', async () => {
    for (let turns = 0; turns < 60; turns++) {
      const { clock, outbox, here, session } = sending();
      outbox.send(idsOf(messages.slice(0, 3)));
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      outbox.send(idsOf(messages.slice(3, 6)));
      await clock.run(outbox.finish());
      expect(here.written).toEqual(encoded(messages.slice(0, 6)));
      expect(session.sent).toBe(6);
    }
  });

  it('gathers small messages into few writes, and large ones into writes of a bounded size', async () => {
    const payload = new Uint8Array(100 * 1024);
    const large = stored(
      Array.from({ length: 6 }, (_, at) =>
        messageOf({ payload: payload.map(() => at), timestamp: HOUR.sinceNs + BigInt(at) }),
      ),
    );
    for (const [held, writes] of [
      [messages, 1],
      [large, 2],
    ] as const) {
      let counted = 0;
      const count = async (): Promise<void> => {
        counted += 1;
      };
      const { clock, outbox, here } = sending({ held, beforeWrite: count });
      outbox.send(idsOf(held));
      await clock.run(outbox.finish());
      expect(here.written).toEqual(encoded(held));
      expect(counted).toBe(writes);
    }
  });

  it('passes over what is too large for a stock node, and sends it to a Lacuna', async () => {
    const largest = stored([messageOf({ payload: new Uint8Array(LIMITS.messagePayloadBytes) })]);
    expect(largest[0]!.encoded.length).toBeGreaterThan(LIMITS.nwakuTransferFrameBytes);
    const held = [...messages.slice(0, 5), ...largest, ...messages.slice(5)];
    const stock = sending({ held });
    stock.outbox.send(idsOf(held));
    await stock.clock.run(stock.outbox.finish());
    expect(stock.here.written).toEqual(encoded(messages));
    expect(stock.session.result()).toMatchObject({ sent: 30, refusals: { TRANSFER_TOO_LARGE: 1 } });

    const lacuna = sending({ held, isLacuna: true });
    lacuna.outbox.send(idsOf(held));
    await lacuna.there.close();
    await lacuna.clock.run(lacuna.outbox.finish());
    expect(lacuna.here.written).toEqual(encoded(held));
    expect(lacuna.session.result()).toMatchObject({ sent: 31, refused: 0 });
  });
});

describe('the end of an outbox', () => {
  it('waits until a Lacuna has stored all of it, but not for ever', async () => {
    const prompt = sending({ isLacuna: true });
    prompt.outbox.send(idsOf(messages));
    const finished = prompt.outbox.finish();
    await prompt.clock.advance(300);
    await prompt.there.close();
    await prompt.clock.run(finished);
    expect(prompt.clock.monotonicMs()).toBe(300);

    const silent = sending({ isLacuna: true });
    silent.outbox.send(idsOf(messages));
    await silent.clock.run(silent.outbox.finish());
    expect(silent.clock.monotonicMs()).toBe(LIMITS.transferIdleMs);
  });

  it('tells what broke the stream', async () => {
    const broken = sending({ beforeWrite: () => Promise.reject(new LacunaError('PEER_TIMEOUT', 'no room')) });
    broken.outbox.send(idsOf(messages));
    await broken.clock.advance(1);
    expect(await endedIn(broken.outbox.finish())).toBe('PEER_TIMEOUT');
    expect(broken.session.sent).toBe(0);
  });

  it('resets the stream when the session is given up', async () => {
    const given = sending({ isLacuna: true });
    given.outbox.send(idsOf(messages));
    await given.clock.advance(1);
    given.outbox.abort(new Error('enough'));
    expect(given.there.isReset).toBe(true);
  });

  it('resets a stream too that opens only after the session was given up', async () => {
    const clock = new VirtualClock();
    const store = new MemoryStore(messages);
    const session = new WakuSession('peer', 'initiator', HOUR, store, clock);
    const [here, there] = MemoryChannel.pair(clock);
    const link: PeerLink = {
      peer: 'peer',
      isLacuna: true,
      ...WAKU_ONLY,
      openReconciliation: () => Promise.reject(new LacunaError('INTERNAL', 'not of this test')),
      openTransfer: () => clock.sleep(1_000).then(() => here),
    };
    const outbox = new Outbox(session, link, unlimited(store, clock));
    outbox.send(idsOf(messages));
    await clock.advance(500);
    outbox.abort(new Error('enough'));
    await clock.runOut();
    expect([there.isReset, here.written, session.sent]).toEqual([true, [], 0]);
  });
});
