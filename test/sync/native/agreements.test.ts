/** What two parties remember of each other, on the wire and over restarts; and what becomes of it when it is wrong. */
import { describe, expect, it } from 'vitest';
import { LacunaError } from '../../../src/errors.ts';
import { LIMITS } from '../../../src/limits.ts';
import type { StoredMessage } from '../../../src/ports.ts';
import { MemoryRecords } from '../../memory-store.ts';
import { samples } from '../../sample-messages.ts';
import { HOUR, Party } from '../party.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { tappedSession } from './wiretap.ts';

const messages = samples(3_000, { payloadBytes: 8 });
const MINUTE_MS = 60_000;

interface Opened {
  /** Parts that the session opened with. */
  readonly parts: number;
  readonly verified: boolean;
  /** Reconciliation, both ways. */
  readonly bytes: number;
  /** The key of an earlier session was named, and taken. */
  readonly named: boolean;
  readonly taken: boolean;
}

async function session(from: Party, to: Party): Promise<Opened> {
  const { tap, result } = await tappedSession(from, to, { ...HOUR });
  const [hello, reply] = tap.written('hello');
  return {
    parts: tap.written('payload')[0]!.payload.opening!.cut.counts.length,
    verified: result.verified,
    bytes: result.reconciliationBytesSent + result.reconciliationBytesReceived,
    named: hello!.agreement !== undefined,
    taken: reply!.agreement !== undefined,
  };
}

const ANEW = { parts: 24, verified: true, taken: false };
const REMEMBERED = { parts: 1, verified: true, named: true, taken: true };

function twoEqual(clock: VirtualClock, held: readonly StoredMessage[] = messages): [Party, Party] {
  return [new Party('a', clock, { messages: held }), new Party('b', clock, { messages: held })];
}

/** The same store and records, in a new process. */
function restarted({ name, clock, records, store }: Party): Party {
  return new Party(name, clock, { records, messages: store.messages });
}

describe('after a verified session', () => {
  it('the next one opens with one part', async () => {
    const clock = new VirtualClock();
    const [a, b] = twoEqual(clock);
    const first = await session(a, b);
    expect(first).toMatchObject({ ...ANEW, named: false });
    const second = await session(a, b);
    expect(second).toMatchObject(REMEMBERED);
    expect(first.bytes - second.bytes).toBeGreaterThan(100);
    expect(second.bytes).toBeLessThan(300);
    // Whoever opens it.
    expect(await session(b, a)).toMatchObject(REMEMBERED);
  });

  it('in which messages were moved, too', async () => {
    const clock = new VirtualClock();
    const a = new Party('a', clock, { messages: messages.slice(0, 2_000) });
    const b = new Party('b', clock, { messages: messages.slice(1_000) });
    expect(await session(a, b)).toMatchObject(ANEW);
    expect(await session(a, b)).toMatchObject(REMEMBERED);
  });

  it('what is new since is found', async () => {
    const clock = new VirtualClock();
    const [a, b] = twoEqual(clock, messages.slice(0, 2_900));
    await session(a, b);
    await a.store.append(messages.slice(2_900, 2_950));
    await b.store.append(messages.slice(2_950));
    expect(await session(a, b)).toMatchObject(REMEMBERED);
    expect(a.holdings).toEqual(b.holdings);
    expect(a.store.count).toBe(3_000);
  });

  it('it survives a restart of either, and of both', async () => {
    for (const who of ['a', 'b', 'both'] as const) {
      const clock = new VirtualClock();
      let [a, b] = twoEqual(clock);
      await session(a, b);
      await clock.runOut();
      if (who !== 'b') a = restarted(a);
      if (who !== 'a') b = restarted(b);
      expect(await session(a, b)).toMatchObject(REMEMBERED);
    }
  });

  it('the day it was last confirmed survives a restart, however often that was', async () => {
    const clock = new VirtualClock();
    let [a, b] = twoEqual(clock);
    for (let time = 0; time < 12; time++) {
      await session(a, b);
      await clock.advance(10 * MINUTE_MS);
    }
    // They agreed ten minutes ago.
    [a, b] = [restarted(a), restarted(b)];
    expect(await session(a, b)).toMatchObject(REMEMBERED);
  });

  it('others are as unknown as before', async () => {
    const clock = new VirtualClock();
    const [a, b] = twoEqual(clock);
    const c = new Party('c', clock, { messages });
    await session(a, b);
    expect(await session(a, c)).toMatchObject({ ...ANEW, named: false });
    expect(await session(a, b)).toMatchObject(REMEMBERED);
  });
});

describe('no agreement comes', () => {
  it('of a session that was not verified', async () => {
    const clock = new VirtualClock();
    const [a, b] = twoEqual(clock, messages.slice(0, 1_000));
    await a.store.append(messages.slice(1_000, 1_001));
    await tappedSession(a, b, { direction: 'pull' });
    expect(a.ended.at(-1)!.result.verified).toBe(false);
    const next = await session(a, b);
    expect(next).toMatchObject({ ...ANEW, named: false });
  });
});

describe('an agreement', () => {
  it('that one side has forgotten is made anew', async () => {
    for (const who of ['a', 'b'] as const) {
      const clock = new VirtualClock();
      let [a, b] = twoEqual(clock);
      await session(a, b);
      if (who === 'a') a = new Party('a', clock, { messages });
      else b = new Party('b', clock, { messages });
      expect(await session(a, b)).toMatchObject({ ...ANEW, named: who === 'b' });
      expect(await session(a, b)).toMatchObject(REMEMBERED);
      expect([a.strikes.strikesOf('b'), b.strikes.strikesOf('a')]).toEqual([0, 0]);
    }
  });

  it('of long ago keeps its key, and opens with many parts', async () => {
    const clock = new VirtualClock();
    const [a, b] = twoEqual(clock);
    await session(a, b);
    await clock.advance(LIMITS.agreementMs);
    expect(await session(a, b)).toMatchObject({ parts: 24, named: true, taken: true, verified: true });
    await clock.advance(LIMITS.agreementMs - 1);
    expect(await session(a, b)).toMatchObject(REMEMBERED);
  });

  it('is made anew when its key is too old, however often it was confirmed', async () => {
    for (const restarts of [false, true]) {
      const clock = new VirtualClock();
      let [a, b] = twoEqual(clock, messages.slice(0, 500));
      const stepMs = 40 * MINUTE_MS;
      await session(a, b);
      for (let ageMs = stepMs; ageMs < LIMITS.agreementKeyMs; ageMs += stepMs) {
        await clock.advance(stepMs);
        if (restarts) [a, b] = [restarted(a), restarted(b)];
        expect(await session(a, b)).toMatchObject({ named: true, taken: true, verified: true });
      }
      await clock.advance(stepMs);
      expect(await session(a, b)).toMatchObject({ ...ANEW, named: false });
      expect(await session(a, b)).toMatchObject(REMEMBERED);
    }
  });

  it('whose record is wrong costs bytes and nothing else', async () => {
    const clock = new VirtualClock();
    const wrong: ((record: Uint8Array) => Uint8Array)[] = [
      (record) => record.map((byte, at) => (at === 3 ? byte ^ 1 : byte)),
      (record) => record.slice(0, -1),
      () => new Uint8Array(0),
      (record) => new Uint8Array(record.length).fill(0xff),
      (record) => new Uint8Array(record.length),
      (record) => new Uint8Array(record.length + 1),
    ];
    for (const who of ['a', 'b'] as const) {
      for (const change of wrong) {
        let [a, b] = twoEqual(clock, messages.slice(0, 1_000));
        await session(a, b);
        const { records } = who === 'a' ? a : b;
        for await (const [name, value] of records.list('')) await records.put(name, change(value));
        [a, b] = [restarted(a), restarted(b)];
        expect(await session(a, b)).toMatchObject({ taken: false, verified: true });
        expect(await session(a, b)).toMatchObject(REMEMBERED);
        expect([a.strikes.strikesOf('b'), b.strikes.strikesOf('a')]).toEqual([0, 0]);
      }
    }
  });

  it('whose record cannot be written is kept in memory', async () => {
    class Unwritable extends MemoryRecords {
      override async put(): Promise<void> {
        throw new LacunaError('STORE_FAULT', 'told to fail');
      }
    }
    const clock = new VirtualClock();
    const a = new Party('a', clock, { messages, records: new Unwritable() });
    const b = new Party('b', clock, { messages });
    expect(await session(a, b)).toMatchObject(ANEW);
    expect(await session(a, b)).toMatchObject(REMEMBERED);
  });

  it('whose record cannot be read is made anew', async () => {
    class Unreadable extends MemoryRecords {
      override async get(): Promise<Uint8Array | undefined> {
        throw new LacunaError('STORE_DAMAGED', 'told to fail');
      }
    }
    const clock = new VirtualClock();
    const a = new Party('a', clock, { messages, records: new Unreadable() });
    const b = new Party('b', clock, { messages });
    expect(await session(a, b)).toMatchObject(ANEW);
  });

  it('is remembered for as many peers as are held, and for others from their records', async () => {
    const clock = new VirtualClock();
    const few = messages.slice(0, 300);
    const a = new Party('a', clock, { messages: few });
    const peers = Array.from(
      { length: LIMITS.agreementsHeld + 2 },
      (_, at) => new Party(`b${at}`, clock, { messages: few }),
    );
    for (const peer of peers) await session(a, peer);
    for (const peer of peers) expect(await session(a, peer)).toMatchObject(REMEMBERED);
  });
});
