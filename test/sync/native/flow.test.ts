/** How messages flow in a native session: their order, their batches, the credit, the caps, the pace, and stores with moods. */
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/limits.ts';
import type { StoredMessage } from '../../../src/ports.ts';
import { endedIn } from '../../ended-in.ts';
import { hexOf, samples } from '../../sample-messages.ts';
import { HOUR, hashes, Party } from '../party.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { MoodyStore, sized } from './made-messages.ts';
import { tappedSession, Wiretap, weightOf } from './wiretap.ts';

const KIB = 1_024;
const MIB = 1_024 * KIB;

interface Outstanding {
  /** The most bytes of messages that were on their way from a party without an acknowledgement. */
  readonly mostBytes: () => number;
}

/** Watches what a party has sent and not seen acknowledged. */
function watchCredit(tap: Wiretap, sender: string): Outstanding {
  const batches: number[] = [];
  let acknowledged = 0;
  let bytes = 0;
  let most = 0;
  tap.onSeen = ({ by, did, frame }) => {
    if (by !== sender) return;
    if (did === 'wrote' && frame.kind === 'batch') {
      batches.push(weightOf(frame.messages));
      bytes += batches.at(-1)!;
      most = Math.max(most, bytes);
    } else if (did === 'read' && frame.kind === 'ack') {
      for (; acknowledged < frame.batches; acknowledged++) bytes -= batches[acknowledged]!;
    }
  };
  return { mostBytes: () => most };
}

const totalBytes = (messages: readonly StoredMessage[]): number =>
  weightOf(messages.map(({ encoded }) => encoded));

describe('messages', () => {
  it('come the newest first', async () => {
    const clock = new VirtualClock();
    const pool = samples(5_000, { payloadBytes: 60 });
    const store = new MoodyStore([], async () => undefined);
    const a = new Party('a', clock, { store });
    const b = new Party('b', clock, { messages: pool });
    const { tap } = await tappedSession(a, b);
    expect(store.arrived).toHaveLength(pool.length);
    const rank = new Map(pool.map((message, at) => [hexOf(message), pool.length - 1 - at]));
    // Portions come from the newest to the oldest, and within a portion any order will do.
    const ranks = store.arrived.map((message) => rank.get(hexOf(message))!);
    for (const [at, of] of ranks.entries()) {
      if (Math.abs(of - at) >= LIMITS.nativeOfferIds) expect.fail(`message ${of} came as number ${at}`);
    }
    const first = ranks.slice(0, LIMITS.nativeFirstWants).sort((x, y) => x - y);
    expect(first).toEqual(Array.from({ length: LIMITS.nativeFirstWants }, (_, at) => at));
    expect(tap.messages('b')).toEqual(hashesInOrder(store.arrived));
  });

  it('flow before the reconciliation is over, where that takes several payloads', async () => {
    const clock = new VirtualClock();
    const pool = samples(12_000, { payloadBytes: 8 });
    // A gap at the end is found at once. Elsewhere both lack as many, which looks like few, so that sketches fail.
    const ours = pool.filter((_, at) => at < 11_000 && at % 10 !== 0);
    const theirs = pool.filter((_, at) => at >= 11_000 || at % 10 !== 5);
    const a = new Party('a', clock, { messages: ours });
    const b = new Party('b', clock, { messages: theirs });
    const { tap, result } = await tappedSession(a, b);
    expect(result).toMatchObject({ verified: true });
    const kinds = tap.seen.filter(({ did }) => did === 'wrote').map(({ frame }) => frame.kind);
    expect(result.rounds).toBeGreaterThanOrEqual(5);
    expect(kinds.indexOf('batch')).toBeGreaterThan(0);
    expect(kinds.indexOf('batch')).toBeLessThan(kinds.lastIndexOf('payload'));
  });

  it('travel in batches of 128 to 256 KiB', async () => {
    const clock = new VirtualClock();
    const pool = sized(12_000, 1_000);
    const a = new Party('a', clock);
    const b = new Party('b', clock, { messages: pool });
    const { tap } = await tappedSession(a, b);
    const batches = tap.written('batch', 'b').map(({ messages }) => weightOf(messages));
    for (const bytes of batches) expect(bytes).toBeLessThanOrEqual(256 * KIB);
    // The first ones are what was asked for while size and rate were being learnt; the last is what was left.
    const small = batches.slice(4, -1).filter((bytes) => bytes < 128 * KIB);
    expect(small).toEqual([]);
    expect(batches.length).toBeGreaterThan(40);
  });

  it('that are small are sent many at a time', async () => {
    const clock = new VirtualClock();
    const pool = sized(20_000, 16);
    const a = new Party('a', clock);
    const b = new Party('b', clock, { messages: pool });
    const { tap } = await tappedSession(a, b);
    const batches = tap.written('batch', 'b').map(({ messages }) => messages.length);
    expect(batches.reduce((sum, count) => sum + count, 0)).toBe(pool.length);
    // At least a quarter of what may be asked for at a time, but for the first and the last.
    expect(batches.length).toBeLessThanOrEqual(2 + Math.ceil(pool.length / (LIMITS.nativeWantedIds / 4)));
  });

  it('of the largest size travel alone or by two, within the limit of a batch', async () => {
    const clock = new VirtualClock();
    const pool = sized(60, LIMITS.messagePayloadBytes);
    const a = new Party('a', clock);
    const b = new Party('b', clock, { messages: pool });
    const tap = new Wiretap();
    const credit = watchCredit(tap, 'b');
    const { result } = await tappedSession(a, b, {}, tap);
    expect(result).toMatchObject({ received: 60, verified: true });
    for (const { messages } of tap.written('batch', 'b')) {
      expect(messages).toHaveLength(1);
      expect(weightOf(messages)).toBeLessThanOrEqual(256 * KIB);
    }
    expect(credit.mostBytes()).toBeLessThanOrEqual(LIMITS.nativeWindowBytes);
  });
});

describe('the credit', () => {
  it('is used and never exceeded, on both ways at once', async () => {
    const clock = new VirtualClock();
    const pool = sized(2_400, 8_000);
    for (const watched of ['a', 'b']) {
      const [ours, theirs] = [pool.slice(0, 1_200), pool.slice(1_200)];
      const a = new Party('a', clock, { store: MoodyStore.slow(clock, 5, ours) });
      const b = new Party('b', clock, { store: MoodyStore.slow(clock, 5, theirs) });
      const tap = new Wiretap();
      const credit = watchCredit(tap, watched);
      const { result } = await tappedSession(a, b, {}, tap);
      expect(result).toMatchObject({ received: 1_200, sent: 1_200, verified: true });
      expect(credit.mostBytes()).toBeLessThanOrEqual(LIMITS.nativeWindowBytes);
      expect(credit.mostBytes()).toBeGreaterThan(LIMITS.nativeWindowBytes / 2);
    }
  });
});

describe('a store', () => {
  const pool = sized(3_000, 4_000);

  it('that takes 20 ms for every append holds the sender, and loses nothing', async () => {
    const clock = new VirtualClock();
    const a = new Party('a', clock, { store: MoodyStore.slow(clock, 20) });
    const b = new Party('b', clock, { messages: pool });
    const tap = new Wiretap();
    const credit = watchCredit(tap, 'b');
    const { result } = await tappedSession(a, b, {}, tap);
    expect(result).toMatchObject({ received: pool.length, missing: 0, verified: true });
    expect(a.holdings).toEqual(hashes(pool));
    expect(credit.mostBytes()).toBeLessThanOrEqual(LIMITS.nativeWindowBytes);
    const appends = tap.written('batch', 'b').length;
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(20 * appends);
    expect(clock.monotonicMs()).toBeLessThan(20 * (appends + 5));
    expect([a.strikes.strikesOf('b'), b.strikes.strikesOf('a')]).toEqual([0, 0]);
  });

  it('that has no room for a while gets everything in the end', async () => {
    const clock = new VirtualClock();
    const busyMs = 12_345;
    const a = new Party('a', clock, { store: MoodyStore.busyUntil(clock, busyMs) });
    const b = new Party('b', clock, { messages: pool });
    const tap = new Wiretap();
    const credit = watchCredit(tap, 'b');
    const { result } = await tappedSession(a, b, {}, tap);
    expect(result).toMatchObject({ received: pool.length, missing: 0, verified: true });
    expect(a.holdings).toEqual(hashes(pool));
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(busyMs);
    expect(clock.monotonicMs()).toBeLessThan(busyMs + 20 * LIMITS.nativeBusyMs);
    expect(credit.mostBytes()).toBeLessThanOrEqual(LIMITS.nativeWindowBytes);
    expect(tap.messages('b')).toHaveLength(pool.length);
  });

  it('that fails in the middle ends the session with its code; the next one moves only the rest', async () => {
    const clock = new VirtualClock();
    const store = MoodyStore.failingAfter(1_500);
    const a = new Party('a', clock, { store });
    const b = new Party('b', clock, { messages: pool });
    const tap = new Wiretap();
    expect(await endedIn(tappedSession(a, b, {}, tap))).toBe('STORE_FAULT');
    expect([a.lastError, b.lastError]).toEqual(['STORE_FAULT', 'PEER_FAULT']);
    expect([a.sessions.running, b.sessions.running]).toEqual([0, 0]);

    // What was acknowledged is there.
    const batches = tap.written('batch', 'b');
    const acknowledged = tap.written('ack', 'a').at(-1)?.batches ?? 0;
    const kept = batches.slice(0, acknowledged).reduce((sum, { messages }) => sum + messages.length, 0);
    expect(kept).toBeGreaterThan(100);
    expect(a.store.count).toBeGreaterThanOrEqual(kept);
    expect(a.store.count).toBeLessThan(pool.length);
    const { result } = a.ended[0]!;
    expect(result).toMatchObject({ verified: false, complete: false, need: pool.length });
    expect(result.missing).toBe(pool.length - result.received);
    expect(result.received).toBeGreaterThanOrEqual(kept);

    const rest = pool.length - a.store.count;
    const again = new Party('a', clock, { messages: store.messages });
    const second = await tappedSession(again, b);
    expect(second.result).toMatchObject({ need: rest, received: rest, verified: true });
    expect(second.tap.messages('b')).toHaveLength(rest);
    expect(again.holdings).toEqual(hashes(pool));
    expect([a.strikes.strikesOf('b'), b.strikes.strikesOf('a')]).toEqual([0, 0]);
  });

  it('that fails from the beginning takes nothing, and the other side is told', async () => {
    const clock = new VirtualClock();
    for (const direction of ['pull', 'both'] as const) {
      const a = new Party('a', clock);
      a.store.writable = false;
      const b = new Party('b', clock, { messages: pool.slice(0, 50) });
      expect(await endedIn(tappedSession(a, b, { direction }))).toBe('STORE_FAULT');
      expect(b.lastError).toBe('PEER_FAULT');
      expect(a.holdings).toEqual([]);
    }
  });

  it('that takes nothing at the moment still gives, to those who open a session', async () => {
    const clock = new VirtualClock();
    const a = new Party('a', clock, { messages: pool.slice(0, 60) });
    const b = new Party('b', clock, { messages: pool.slice(40, 100) });
    b.store.writable = false;
    const { result } = await tappedSession(a, b);
    expect(result).toMatchObject({
      have: 40,
      sent: 0,
      need: 40,
      received: 40,
      complete: true,
      verified: false,
    });
    expect(b.ended).toMatchObject([{ error: undefined, result: { missing: 40, received: 0, sent: 40 } }]);
  });
});

describe('a cap', () => {
  const pool = sized(1_000, 500);

  it('on messages is kept to the message, told to both, and the next session goes on', async () => {
    for (const messagesMax of [1, 15, 16, 17, 100, 999]) {
      const clock = new VirtualClock();
      const a = new Party('a', clock);
      const b = new Party('b', clock, { messages: pool });
      const { tap, result } = await tappedSession(a, b, { messagesMax });
      expect(result).toMatchObject({
        need: 1_000,
        received: messagesMax,
        missing: 1_000 - messagesMax,
        capped: true,
        verified: false,
        complete: false,
      });
      expect(tap.messages('b')).toHaveLength(messagesMax);
      // The newest are what is worth most.
      expect(a.holdings).toEqual(hashes(pool.slice(1_000 - messagesMax)));
      const next = await tappedSession(a, b);
      expect(next.result).toMatchObject({ need: 1_000 - messagesMax, capped: false, verified: true });
      expect(next.tap.messages('b')).toHaveLength(1_000 - messagesMax);
      expect([a.strikes.strikesOf('b'), b.strikes.strikesOf('a')]).toEqual([0, 0]);
    }
  });

  it('on messages is in the report of the other side too', async () => {
    const clock = new VirtualClock();
    const a = new Party('a', clock);
    const b = new Party('b', clock, { messages: pool });
    await tappedSession(a, b, { messagesMax: 100 });
    expect(b.ended).toMatchObject([
      { error: undefined, result: { sent: 100, capped: true, verified: false } },
    ]);
  });

  it('on bytes is never exceeded, told to both, and the next session goes on', async () => {
    const largest = Math.max(...pool.map(({ encoded }) => encoded.length));
    for (const bytesMax of [1, 600, 5_000, 50_000, 300_000]) {
      const clock = new VirtualClock();
      const a = new Party('a', clock);
      const b = new Party('b', clock, { messages: pool });
      const { tap, result } = await tappedSession(a, b, { bytesMax });
      const moved = tap.written('batch', 'b').reduce((sum, { messages }) => sum + weightOf(messages), 0);
      expect(moved).toBeLessThanOrEqual(bytesMax);
      expect(moved).toBeGreaterThan(bytesMax - largest);
      expect(moved).toBe(totalBytes(a.store.messages));
      expect(result).toMatchObject({ capped: true, verified: false, received: a.store.count });
      expect(b.ended).toMatchObject([{ error: undefined, result: { capped: true, verified: false } }]);
      const rest = pool.length - a.store.count;
      const next = await tappedSession(a, b);
      expect(next.result).toMatchObject({ need: rest, received: rest, capped: false, verified: true });
      expect([a.strikes.strikesOf('b'), b.strikes.strikesOf('a')]).toEqual([0, 0]);
    }
  });

  it('that is not reached ends nothing', async () => {
    const clock = new VirtualClock();
    const plans = [{ messagesMax: 1_001 }, { bytesMax: totalBytes(pool) + 1 }];
    for (const plan of plans) {
      const a = new Party('a', clock);
      const b = new Party('b', clock, { messages: pool });
      const { result } = await tappedSession(a, b, plan);
      expect(result).toMatchObject({ received: 1_000, capped: false, verified: true });
      expect(b.ended).toMatchObject([{ result: { capped: false, verified: true } }]);
    }
  });

  it('that is just enough leaves nothing out, and is not said to have ended anything', async () => {
    const clock = new VirtualClock();
    for (const plan of [{ messagesMax: 1_000 }, { bytesMax: totalBytes(pool) }]) {
      const a = new Party('a', clock);
      const b = new Party('b', clock, { messages: pool });
      const { result } = await tappedSession(a, b, plan);
      expect(result).toMatchObject({ received: 1_000, missing: 0, capped: false, verified: true });
    }
  });

  it('bounds what is taken, not what is given', async () => {
    const clock = new VirtualClock();
    const a = new Party('a', clock, { messages: pool.slice(0, 600) });
    const b = new Party('b', clock, { messages: pool.slice(400) });
    const { result } = await tappedSession(a, b, { messagesMax: 50 });
    expect(result).toMatchObject({ need: 400, received: 50, have: 400, sent: 400, capped: true });
    expect(b.holdings).toEqual(hashes(pool));
  });
});

describe('a rate', () => {
  const pool = sized(500, 10_000);
  const bytes = totalBytes(pool);

  /** A batch begins its time when the one before it has had its own; the first few hundred ms are free. */
  function expectTime(ms: number, rate: number): void {
    expect(ms).toBeGreaterThan(((bytes - 2 * LIMITS.nativeBatchBytes) / rate) * 1_000 - 200);
    expect(ms).toBeLessThan((bytes / rate) * 1_000 + 200);
  }

  it('of who sends takes its time', async () => {
    for (const rate of [100_000, 1_000_000, 10_000_000]) {
      const clock = new VirtualClock();
      const a = new Party('a', clock);
      const b = new Party('b', clock, { messages: pool, rate });
      const { result } = await tappedSession(a, b);
      expect(result).toMatchObject({ received: pool.length, verified: true });
      expectTime(clock.monotonicMs(), rate);
    }
  });

  it('of who takes holds who sends, within the credit', async () => {
    const clock = new VirtualClock();
    const rate = 1_000_000;
    const a = new Party('a', clock, { downloadRate: rate });
    const b = new Party('b', clock, { messages: pool });
    const tap = new Wiretap();
    const credit = watchCredit(tap, 'b');
    const { result } = await tappedSession(a, b, {}, tap);
    expect(result).toMatchObject({ received: pool.length, verified: true });
    expectTime(clock.monotonicMs(), rate);
    expect(credit.mostBytes()).toBeLessThanOrEqual(LIMITS.nativeWindowBytes);
    const bytesAt = (ms: number): number =>
      tap.seen
        .filter(({ did, by, atMs }) => did === 'wrote' && by === 'b' && atMs <= ms)
        .reduce((sum, { frame }) => sum + (frame.kind === 'batch' ? weightOf(frame.messages) : 0), 0);
    // At any time no more is on its way than the rate has let through, and the credit.
    for (const ms of [0, 500, 1_000])
      expect(bytesAt(ms)).toBeLessThan(LIMITS.nativeWindowBytes + ms * 1_000 + MIB);
  });

  it('is shared by all who are served at once', async () => {
    const clock = new VirtualClock();
    const rate = 1_000_000;
    const b = new Party('b', clock, { messages: pool, rate });
    const takers = ['x', 'y'].map((name) => new Party(name, clock));
    const tap = new Wiretap();
    const sessions = takers.map((taker) => taker.native.synchronise(tap.link(taker, b), HOUR));
    const results = await clock.run(Promise.all(sessions));
    for (const result of results) expect(result).toMatchObject({ verified: true, received: pool.length });
    expect(clock.monotonicMs()).toBeGreaterThan(
      ((2 * bytes - 4 * LIMITS.nativeBatchBytes) / rate) * 1_000 - 200,
    );
    expect(clock.monotonicMs()).toBeLessThan(((2 * bytes) / rate) * 1_000 + 200);
  });

  it('of the lowest that may be set does not let a session starve', async () => {
    const few = sized(300, 1_000);
    for (const slow of ['sender', 'receiver'] as const) {
      const clock = new VirtualClock();
      const rate = LIMITS.rateBytesMin;
      const a = new Party('a', clock, slow === 'receiver' ? { downloadRate: rate } : {});
      const b = new Party('b', clock, slow === 'sender' ? { rate, messages: few } : { messages: few });
      expect([slow, await endedIn(tappedSession(a, b))]).toEqual([slow, undefined]);
      expect(a.ended).toMatchObject([{ error: undefined, result: { received: 300, verified: true } }]);
    }
  });
});

function hashesInOrder(messages: readonly StoredMessage[]): string[] {
  return messages.map(hexOf);
}
