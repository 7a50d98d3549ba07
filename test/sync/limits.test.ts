/** Who is kept out: strikes and bans, and the places for sessions. */
import { describe, expect, it } from 'vitest';
import { ERROR_CODES, type ErrorCode } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { SessionTable } from '../../src/sync/session-table.ts';
import { isMalformed, STRIKE_MALFORMED, Strikes } from '../../src/sync/strikes.ts';
import { WakuSession } from '../../src/sync/waku/session.ts';
import { codeOf } from '../error-code.ts';
import { MemoryStore } from '../memory-store.ts';
import { HOUR } from './party.ts';
import { VirtualClock } from './virtual-clock.ts';

describe('strikes', () => {
  it('ban a peer when they are many, and tell so once', () => {
    const strikes = new Strikes(new VirtualClock());
    const banned: string[] = [];
    strikes.onBan = (peer) => banned.push(peer);
    strikes.strike('peer', LIMITS.strikesBeforeBan - 1);
    expect([strikes.isBanned('peer'), strikes.strikesOf('peer')]).toEqual([
      false,
      LIMITS.strikesBeforeBan - 1,
    ]);
    strikes.strike('peer');
    expect([strikes.isBanned('peer'), strikes.isBanned('another')]).toEqual([true, false]);
    expect(banned).toEqual(['peer']);
  });

  it('are forgotten with the ban, and the ban ends', async () => {
    const clock = new VirtualClock();
    const strikes = new Strikes(clock);
    strikes.strike('peer', LIMITS.strikesBeforeBan);
    expect(strikes.strikesOf('peer')).toBe(0);
    await clock.advance(LIMITS.banMs - 1);
    expect(strikes.isBanned('peer')).toBe(true);
    await clock.advance(1);
    expect(strikes.isBanned('peer')).toBe(false);
    strikes.strike('peer', LIMITS.strikesBeforeBan);
    expect(strikes.isBanned('peer')).toBe(true);
  });

  it('are remembered of so many peers, the latest', () => {
    const strikes = new Strikes(new VirtualClock());
    for (let peer = 0; peer < LIMITS.peersRemembered; peer++) strikes.strike(`peer ${peer}`);
    strikes.strike('peer 0');
    strikes.strike('one more');
    expect(strikes.strikesOf('peer 0')).toBe(2);
    expect(strikes.strikesOf('peer 1')).toBe(0);
    expect(strikes.strikesOf('peer 2')).toBe(1);
    expect(strikes.strikesOf('one more')).toBe(1);
  });

  it('weigh more for bytes that no honest peer sends', () => {
    const malformed = (Object.keys(ERROR_CODES) as ErrorCode[]).filter(isMalformed);
    expect(malformed).toEqual(expect.arrayContaining(['WIRE_TRUNCATED', 'WIRE_VARINT', 'WIRE_TYPE']));
    expect(malformed.every((code) => code.startsWith('WIRE_') && code !== 'WIRE_LIMIT')).toBe(true);
    expect(STRIKE_MALFORMED).toBeGreaterThan(1);
    expect(STRIKE_MALFORMED).toBeLessThan(LIMITS.strikesBeforeBan);
  });
});

function table() {
  const clock = new VirtualClock();
  const sessions = new SessionTable(clock);
  const store = new MemoryStore();
  const open = (peer: string): WakuSession => {
    const session = new WakuSession(peer, 'responder', HOUR, store, clock);
    sessions.add(session);
    return session;
  };
  /** Takes every place there is. */
  const fill = (): WakuSession[] =>
    Array.from({ length: LIMITS.sessions }, (_, at) =>
      open(`peer ${Math.floor(at / LIMITS.sessionsPerPeer)}`),
    );
  return { clock, sessions, open, fill };
}

describe('the places for sessions', () => {
  it('are so many for one peer', () => {
    const { sessions, open } = table();
    const [first] = Array.from({ length: LIMITS.sessionsPerPeer }, () => open('peer'));
    expect(codeOf(() => open('peer'))).toBe('SESSION_BUSY');
    expect(codeOf(() => open('another'))).toBeUndefined();
    sessions.end(first!);
    expect(codeOf(() => open('peer'))).toBeUndefined();
    expect(codeOf(() => open('peer'))).toBe('SESSION_BUSY');
  });

  it('are so many in all', () => {
    const { sessions, open, fill } = table();
    const all = fill();
    expect(sessions.running).toBe(LIMITS.sessions);
    expect(codeOf(() => open('late'))).toBe('SESSION_BUSY');
    sessions.end(all[7]!);
    expect(sessions.running).toBe(LIMITS.sessions - 1);
    expect(codeOf(() => open('late'))).toBeUndefined();
  });

  it('are given up by who has been silent for longest, if that is long', async () => {
    const { clock, sessions, open, fill } = table();
    const all = fill();
    const displaced: number[] = [];
    for (const [at, session] of all.entries()) if (at > 0) session.displace = () => displaced.push(at);
    await clock.advance(LIMITS.sessionYieldMs - 1);
    for (const [at, session] of all.entries()) if (at > 5) session.touch();
    all[1]!.touch();
    expect(codeOf(() => open('late'))).toBe('SESSION_BUSY');
    await clock.advance(1);
    expect(codeOf(() => open('late'))).toBeUndefined();
    // The first may not be displaced, the second has just moved.
    expect(displaced).toHaveLength(1);
    expect([2, 3, 4, 5]).toContain(displaced[0]);
    expect(sessions.running).toBe(LIMITS.sessions);
  });

  it('are known for a while after the end, the newest first', async () => {
    const { clock, sessions, open } = table();
    const first = open('peer');
    const second = open('peer');
    open('another');
    expect(sessions.openWith('peer', WakuSession)).toEqual([second, first]);
    sessions.end(first);
    await clock.advance(LIMITS.sessionGraceMs - 1);
    expect(sessions.openWith('peer', WakuSession)).toEqual([second, first]);
    await clock.advance(1);
    expect(sessions.openWith('peer', WakuSession)).toEqual([second]);
    expect(sessions.openWith('nobody', WakuSession)).toEqual([]);
  });
});
