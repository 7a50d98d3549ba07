/** What one peer may cause: each budget fills, tells when to come again, empties with time, and is nobody else's. */
import { describe, expect, it } from 'vitest';
import { LacunaError } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { Budgets } from '../../src/sync/budgets.ts';
import { LimitCounts } from '../../src/sync/limit-counts.ts';
import { Strikes } from '../../src/sync/strikes.ts';
import { VirtualClock } from './virtual-clock.ts';

const HOUR_MS = 3_600_000;
const MIB = 1_024 * 1_024;

function made() {
  const clock = new VirtualClock();
  const strikes = new Strikes(clock);
  const counts = new LimitCounts();
  const budgets = new Budgets({ clock, strikes, counts, isKnown: (peer) => peer === 'friend' });
  return { clock, strikes, counts, budgets };
}

/** After how long it may come again; undefined when it was not refused. */
function refused(work: () => void): number | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    expect(error).toMatchObject({ code: 'SESSION_BUSY' });
    return error instanceof LacunaError ? error.retryAfterMs : undefined;
  }
}

describe('streams', () => {
  it('are so many a second; one more costs a strike, and in the end a ban', async () => {
    const { clock, strikes, counts, budgets } = made();
    for (let stream = 0; stream < LIMITS.peerRequestsPerSecond; stream++)
      expect(budgets.admitsStream('peer')).toBe(true);
    expect(budgets.admitsStream('peer')).toBe(false);
    expect(budgets.admitsStream('another')).toBe(true);
    expect(strikes.strikesOf('peer')).toBe(1);
    await clock.advance(1_000 / LIMITS.peerRequestsPerSecond);
    expect([budgets.admitsStream('peer'), budgets.admitsStream('peer')]).toEqual([true, false]);
    for (let offence = 2; offence < LIMITS.strikesBeforeBan; offence++) budgets.admitsStream('peer');
    expect(strikes.isBanned('peer')).toBe(true);
    expect(counts.all['peer-requests']).toBe(LIMITS.strikesBeforeBan);
  });

  it('of a known peer are held to the same number', () => {
    const { budgets } = made();
    for (let stream = 0; stream < LIMITS.peerRequestsPerSecond; stream++) budgets.admitsStream('friend');
    expect(budgets.admitsStream('friend')).toBe(false);
  });

  it('at the highest steady rate are never refused', async () => {
    const { clock, budgets } = made();
    for (let second = 0; second < 60; second++) {
      for (let stream = 0; stream < LIMITS.peerRequestsPerSecond; stream++)
        expect(budgets.admitsStream('peer')).toBe(true);
      await clock.advance(1_000);
    }
  });
});

describe('sessions', () => {
  it('are so many a minute, and who comes again after the time it was told is let in', async () => {
    const { clock, counts, budgets } = made();
    for (let session = 0; session < LIMITS.peerSessionsPerMinute; session++) budgets.openSession('peer');
    const waitMs = refused(() => budgets.openSession('peer'))!;
    expect(waitMs).toBe(Math.ceil(60_000 / LIMITS.peerSessionsPerMinute));
    expect(counts.all['peer-sessions']).toBe(1);
    await clock.advance(waitMs - 1);
    expect(refused(() => budgets.openSession('peer'))).toBe(1);
    await clock.advance(1);
    expect(refused(() => budgets.openSession('peer'))).toBeUndefined();
    expect(refused(() => budgets.openSession('another'))).toBeUndefined();
  });

  it('of a known peer are not counted', () => {
    const { budgets } = made();
    for (let session = 0; session < 2 * LIMITS.peerSessionsPerMinute; session++)
      budgets.openSession('friend');
  });
});

describe('bytes that are served', () => {
  it('are so many an hour; then neither are more sent, nor a session opened, until an eighth is free', async () => {
    const { clock, counts, budgets } = made();
    const step = LIMITS.peerServedBytesPerHour / 64;
    for (let served = 0; served < 64; served++) budgets.serve('peer', step);
    const waitMs = refused(() => budgets.serve('peer', MIB))!;
    expect(waitMs).toBe(HOUR_MS / 8);
    expect(refused(() => budgets.openSession('peer'))).toBe(waitMs);
    expect(counts.all['peer-bytes']).toBe(2);
    await clock.advance(waitMs - 1_000);
    const restMs = refused(() => budgets.openSession('peer'))!;
    expect(Math.abs(restMs - 1_000)).toBeLessThanOrEqual(1);
    await clock.advance(restMs);
    expect(refused(() => budgets.openSession('peer'))).toBeUndefined();
    expect(refused(() => budgets.serve('peer', LIMITS.peerServedBytesPerHour / 8))).toBeUndefined();
  });

  it('let a new peer fetch thirty days of a busy network', () => {
    const { budgets } = made();
    const messages = 30 * 24 * 3_600 * 10;
    expect(refused(() => budgets.serve('peer', messages * 2_000))).toBeUndefined();
  });

  it('to a known peer have no end', () => {
    const { budgets } = made();
    for (let hour = 0; hour < 5; hour++) budgets.serve('friend', LIMITS.peerServedBytesPerHour);
  });
});

describe('messages that nobody asked for', () => {
  it('are so many an hour, in number and in bytes', async () => {
    const { clock, counts, budgets } = made();
    const half = LIMITS.peerUnaskedMessagesPerHour / 2;
    budgets.takeUnasked('many', half, 1);
    budgets.takeUnasked('many', half, 1);
    expect(refused(() => budgets.takeUnasked('many', half, 1))).toBe(HOUR_MS / 2);
    budgets.takeUnasked('large', 1, LIMITS.peerUnaskedBytesPerHour);
    expect(refused(() => budgets.takeUnasked('large', 1, LIMITS.peerUnaskedBytesPerHour / 4))).toBe(
      HOUR_MS / 4,
    );
    expect(counts.all).toMatchObject({ 'peer-messages': 1, 'peer-bytes': 1 });
    await clock.advance(HOUR_MS / 2);
    budgets.takeUnasked('many', half, 1);
    budgets.takeUnasked('friend', 10 * half, 1);
  });
});

describe('peers', () => {
  it('are remembered in a bounded number, those that came last', () => {
    const { budgets } = made();
    const fill = (peer: string): void => {
      for (let stream = 0; stream < LIMITS.peerRequestsPerSecond; stream++) budgets.admitsStream(peer);
    };
    fill('early');
    fill('faithful');
    for (let peer = 0; peer < LIMITS.peersRemembered - 2; peer++) budgets.admitsStream(`peer ${peer}`);
    expect(budgets.size).toBe(LIMITS.peersRemembered);
    expect(budgets.admitsStream('faithful')).toBe(false);
    budgets.admitsStream('one more');
    expect(budgets.size).toBe(LIMITS.peersRemembered);
    expect(budgets.admitsStream('faithful')).toBe(false);
    expect(budgets.admitsStream('early')).toBe(true);
  });
});
