/**
 * Ids of scopes for sessions: what a stranger asks for is put together one at a time, with rests, within what strangers
 * may cost and hold; what this node wants itself, or with those whom the operator named, waits for nobody.
 */
import { describe, expect, it } from 'vitest';
import { DigestTree } from '../../src/core/digest-tree.ts';
import { EVERYTHING, type Scope } from '../../src/core/scope.ts';
import { makeIdOf, SyncIdList } from '../../src/core/sync-id.ts';
import { LIMITS } from '../../src/limits.ts';
import type { OnRead } from '../../src/ports.ts';
import { Budgets } from '../../src/sync/budgets.ts';
import { LimitCounts } from '../../src/sync/limit-counts.ts';
import { NativeSession } from '../../src/sync/native/session.ts';
import { ScopeIndexes } from '../../src/sync/scope-indexes.ts';
import type { Role, SessionPlan } from '../../src/sync/session.ts';
import { SessionTable } from '../../src/sync/session-table.ts';
import { Strikes } from '../../src/sync/strikes.ts';
import { VirtualClock } from './virtual-clock.ts';

const TOPIC: Scope = { pubsubTopics: ['topic'], contentTopics: [] };
const WINDOW = { sinceNs: 0n, untilNs: 1n << 62n };
const PLAN: SessionPlan = { ...WINDOW, scope: TOPIC, direction: 'both', dryRun: false };
/** Entries of one chunk, how many of them a topic has, and how long one takes to read. */
const CHUNK = 1_000;
const CHUNK_MS = 4;

function someIds(count: number): DigestTree {
  const ids = Array.from({ length: count }, (_, at) => makeIdOf(0, at + 1, new Uint8Array(32).fill(at)));
  return DigestTree.from(SyncIdList.of(...ids));
}

/** A store whose lists are as long as a test says, and that tells who reads in them. */
class Desk {
  readonly clock = new VirtualClock();
  readonly counts = new LimitCounts();
  readonly sessions = new SessionTable(this.clock, this.counts);
  readonly budgets: Budgets;
  readonly scopes: ScopeIndexes;
  readonly ids = someIds(500);
  chunks = 10;
  reading = 0;
  mostReading = 0;
  read = 0;

  constructor() {
    const { clock, counts, sessions } = this;
    const strikes = new Strikes(clock);
    this.budgets = new Budgets({ clock, strikes, counts, isKnown: (peer) => peer === 'friend' });
    this.scopes = new ScopeIndexes({ budgets: this.budgets, sessions, clock, store: { index: this.#index } });
  }

  session(peer: string, role: Role = 'responder'): NativeSession {
    const session = new NativeSession(peer, role, PLAN, this.clock);
    this.sessions.add(session);
    return session;
  }

  async ask(
    session: NativeSession,
    scope = TOPIC,
    signal = new AbortController().signal,
  ): Promise<number | string> {
    try {
      return (await this.scopes.of(session, { ...WINDOW, scope }, signal)).count;
    } catch (error) {
      return (error as { code?: string }).code ?? String(error);
    }
  }

  /** As a peer that comes, compares and leaves. */
  async visit(peer: string): Promise<number | string> {
    const session = this.session(peer);
    try {
      return await this.clock.run(this.ask(session));
    } finally {
      this.sessions.end(session);
    }
  }

  readonly #index = async (
    scope: Scope,
    _sinceNs: bigint,
    _untilNs: bigint,
    onRead?: OnRead,
  ): Promise<DigestTree> => {
    if (scope === EVERYTHING) return this.ids;
    this.reading += 1;
    this.mostReading = Math.max(this.mostReading, this.reading);
    try {
      for (let chunk = 0; chunk < this.chunks; chunk++) {
        await this.clock.sleep(CHUNK_MS);
        this.read += CHUNK;
        await onRead?.(CHUNK);
      }
    } finally {
      this.reading -= 1;
    }
    return this.ids;
  };
}

describe('the ids of a scope', () => {
  it('are put together for one stranger after the other, with as much rest as work', async () => {
    const desk = new Desk();
    const peers = ['a', 'b', 'c'].map((peer) => desk.session(peer));
    const all = Promise.all(peers.map((session) => desk.ask(session)));
    expect(await desk.clock.run(all)).toEqual([500, 500, 500]);
    expect(desk.mostReading).toBe(1);
    expect(desk.clock.monotonicMs()).toBe(3 * 2 * desk.chunks * CHUNK_MS);
    expect(peers.map(({ indexed }) => indexed)).toEqual([500, 500, 500]);
    expect(desk.sessions.idsIndexed).toBe(1_500);
    for (const session of peers) desk.sessions.end(session);
    expect(desk.sessions.idsIndexed).toBe(0);
  });

  it('are there at once for sessions of this node and with those that it knows, whatever strangers do', async () => {
    const desk = new Desk();
    desk.budgets.spendOnScope('stranger', 10 * LIMITS.scopeEntriesPerMinute);
    const sessions = [desk.session('friend'), desk.session('friend'), desk.session('stranger', 'initiator')];
    const all = Promise.all(sessions.map((session) => desk.ask(session)));
    expect(await desk.clock.run(all)).toEqual([500, 500, 500]);
    expect([desk.mostReading, desk.clock.monotonicMs()]).toEqual([3, desk.chunks * CHUNK_MS]);
    expect(desk.sessions.idsIndexed).toBe(0);
  });

  it('cost nobody anything where they are all that there are', async () => {
    const desk = new Desk();
    desk.budgets.spendOnScope('stranger', 10 * LIMITS.scopeEntriesPerMinute);
    const session = desk.session('stranger');
    expect(await desk.ask(session, EVERYTHING)).toBe(500);
    expect([session.indexed, desk.clock.monotonicMs()]).toEqual([0, 0]);
  });

  it('are not put together for a stranger that has used up what it may cost, until time has passed', async () => {
    const desk = new Desk();
    desk.chunks = LIMITS.peerScopeEntriesPerMinute / CHUNK / 4;
    let visits = 0;
    while ((await desk.visit('stranger')) === 500) visits += 1;
    expect(visits).toBeGreaterThanOrEqual(4);
    expect(desk.counts.all['peer-scopes']).toBe(1);
    const { read } = desk;
    expect(await desk.visit('stranger')).toBe('SESSION_BUSY');
    expect(desk.read).toBe(read);
    expect(await desk.visit('another')).toBe(500);
    await desk.clock.advance(60_000);
    expect(await desk.visit('stranger')).toBe(500);
  });

  it('are not put together for strangers that have used up what all of them may cost', async () => {
    const desk = new Desk();
    desk.chunks = LIMITS.peerScopeEntriesPerMinute / CHUNK;
    const answers: (number | string)[] = [];
    for (let peer = 0; peer < 20; peer++) answers.push(await desk.visit(`peer ${peer}`));
    expect(answers.at(-1)).toBe('SESSION_BUSY');
    expect(desk.counts.all['peer-scopes']).toBe(0);
    const minutes = desk.clock.monotonicMs() / 60_000;
    // Each may go beyond what is left by what it reads itself.
    const most = LIMITS.scopeEntriesPerMinute * (1 + minutes) + LIMITS.peerScopeEntriesPerMinute;
    expect(desk.read).toBeLessThanOrEqual(most);
    expect(await desk.visit('friend')).toBe(500);
    await desk.clock.advance(60_000);
    expect(await desk.visit('another')).toBe(500);
  });

  it('are held in bounds: a further stranger comes in when sessions have ended', async () => {
    const desk = new Desk();
    const large = desk.session('large');
    large.indexed = LIMITS.sessionsIndexed;
    expect(await desk.visit('stranger')).toBe('SESSION_BUSY');
    expect(desk.read).toBe(0);
    expect(await desk.visit('friend')).toBe(500);
    desk.sessions.end(large);
    expect(await desk.visit('stranger')).toBe(500);
  });

  it('are read no further when the session is over, and others have their turn', async () => {
    const desk = new Desk();
    const [leaving, staying] = [desk.session('leaving'), desk.session('staying')];
    const left = new AbortController();
    const first = desk.ask(leaving, TOPIC, left.signal);
    const second = desk.ask(staying);
    await desk.clock.advance(CHUNK_MS);
    left.abort(Object.assign(new Error('left'), { code: 'PEER_CLOSED' }));
    expect(await first).toBe('PEER_CLOSED');
    expect(await desk.clock.run(second)).toBe(500);
    expect(desk.read).toBe((desk.chunks + 1) * CHUNK);
    expect([leaving.indexed, staying.indexed]).toEqual([0, 500]);
  });

  it('are not read for a session of this node that was stopped', async () => {
    const desk = new Desk();
    const stop = new AbortController();
    const asked = desk.ask(desk.session('friend'), TOPIC, stop.signal);
    await desk.clock.advance(CHUNK_MS);
    stop.abort(Object.assign(new Error('stopped'), { code: 'SESSION_ABORTED' }));
    expect(await asked).toBe('SESSION_ABORTED');
    await desk.clock.advance(1_000);
    expect(desk.read).toBeLessThanOrEqual(2 * CHUNK);
  });
});
