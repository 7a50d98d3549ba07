/**
 * Messages that peers have and do not bring: each is named in the log with its hash, its time and the peers that were
 * asked for it, so many of a session and no more, and is let go of when it has come.
 */
import { describe, expect, it } from 'vitest';
import { SyncIdList, timeOf } from '../../src/core/sync-id.ts';
import { LIMITS } from '../../src/limits.ts';
import type { StoredMessage } from '../../src/ports.ts';
import { MissingBook } from '../../src/sync/missing-book.ts';
import { MISSING_NAMED } from '../../src/sync/session.ts';
import { SessionRunner } from '../../src/sync/session-runner.ts';
import { formatTimeNs } from '../../src/time.ts';
import { MemoryStore } from '../memory-store.ts';
import { hexOf, samples } from '../sample-messages.ts';
import { tappedSession, Wiretap } from './native/wiretap.ts';
import { HOUR, hashes, Party } from './party.ts';
import { VirtualClock } from './virtual-clock.ts';

const pool = samples(60);
const newest = pool.at(-1)!;

/** It has them all in its index, and cannot read these: of a damaged disk, or one who withholds them. */
class WithholdingStore extends MemoryStore {
  readonly #withheld: ReadonlySet<string>;

  constructor(messages: readonly StoredMessage[], withheld: readonly StoredMessage[]) {
    super(messages);
    this.#withheld = new Set(withheld.map(({ encoded }) => Buffer.from(encoded).toString('hex')));
  }

  override async *readMany(ids: SyncIdList): AsyncGenerator<readonly Uint8Array[]> {
    for await (const messages of super.readMany(ids)) {
      const given = messages.filter((message) => !this.#withheld.has(Buffer.from(message).toString('hex')));
      if (given.length > 0) yield given;
    }
  }
}

function fleet(withheld: readonly StoredMessage[]) {
  const clock = new VirtualClock();
  const victim = new Party('victim', clock, { messages: pool.slice(0, 10) });
  const [first, second] = ['first', 'second'].map(
    (name) => new Party(name, clock, { store: new WithholdingStore(pool, withheld) }),
  );
  const honest = new Party('honest', clock, { messages: pool });
  return { victim, first: first!, second: second!, honest };
}

type Meet = (victim: Party, peer: Party) => Promise<unknown>;
const DIALECTS: readonly [string, Meet][] = [
  ['native', (victim, peer) => tappedSession(victim, peer, HOUR, new Wiretap())],
  ['waku', (victim, peer) => victim.synchronise(peer)],
];

/** What was logged since the last call of messages that are missing, and of how many more there are. */
function told({ log }: Party) {
  const fields = log.lines.splice(0).map((line) => line.fields);
  return {
    named: fields.filter((line) => 'messageHash' in line),
    more: fields.filter((line) => 'messages' in line),
    sessions: fields.filter((line) => 'durationMs' in line).length,
  };
}

describe.each(DIALECTS)('a message that does not come, in the %s dialect,', (_, meet) => {
  it('is named with its time and all that were asked for it, until it is here', async () => {
    const { victim, first, second, honest } = fleet([newest]);
    const line = { messageHash: `0x${hexOf(newest)}`, timestamp: formatTimeNs(timeOf(newest.id)) };
    await meet(victim, first);
    expect(told(victim)).toEqual({
      named: [{ peer: 'first', ...line, asked: ['first'] }],
      more: [],
      sessions: 1,
    });
    await meet(victim, second);
    await meet(victim, first);
    expect(told(victim).named).toEqual([
      { peer: 'second', ...line, asked: ['first', 'second'] },
      { peer: 'first', ...line, asked: ['second', 'first'] },
    ]);
    await meet(victim, honest);
    expect(hashes(victim.store.messages)).toEqual(hashes(pool));
    await meet(victim, second);
    expect(told(victim)).toEqual({ named: [], more: [], sessions: 2 });
  });

  it('is one of a few that are named; the others are counted', async () => {
    const { victim, first } = fleet(pool.slice(10));
    await meet(victim, first);
    const { named, more, sessions } = told(victim);
    expect(new Set(named.map(({ messageHash }) => messageHash)).size).toBe(MISSING_NAMED);
    expect(more).toEqual([{ peer: 'first', messages: 50 - MISSING_NAMED }]);
    expect(sessions).toBe(1);
  });
});

describe('a message that a session lacks at its end', () => {
  it('and that has come by another way meanwhile is not named', async () => {
    const { victim: party } = fleet([]);
    const { clock, log, store, sessions, strikes } = party;
    const runner = new SessionRunner({ sessions, strikes, store, clock, log });
    const session = party.openSession('peer');
    sessions.end(session);
    const missingHashes = SyncIdList.of(pool[0]!.id, newest.id);
    const result = { ...session.result(), missing: 2, missingHashes };
    // As a session that was told of both, one of which is in the store by now.
    const over = Object.assign(party.openSession('peer'), { result: () => result });
    await clock.run(runner.run(over, { yields: false, timeMs: 1_000 }, () => Promise.resolve()));
    expect(told(party).named.map(({ messageHash }) => messageHash)).toEqual([`0x${hexOf(newest)}`]);
  });
});

describe('the book of missing messages', () => {
  it('holds so many messages, and so many peers of each: the latest', () => {
    const book = new MissingBook(new MemoryStore(), new VirtualClock());
    const many = samples(LIMITS.missingRemembered + 1);
    for (const { id } of many) book.note(id, 'before');
    expect(book.size).toBe(LIMITS.missingRemembered);
    expect(book.note(many[0]!.id, 'now')).toEqual(['now']);
    expect(book.note(many[2]!.id, 'now')).toEqual(['before', 'now']);
    const peers = Array.from({ length: LIMITS.missingPeers + 3 }, (_, at) => `peer ${at}`);
    for (const peer of peers) book.note(newest.id, peer);
    expect(book.note(newest.id, peers.at(-1)!)).toEqual(peers.slice(3));
    expect(book.size).toBe(LIMITS.missingRemembered);
  });

  it('takes note of what an audit found, as long as there is room for it', async () => {
    const store = new MemoryStore(pool.slice(0, 1));
    const clock = new VirtualClock();
    const book = new MissingBook(store, clock);
    const sinceMs = clock.nowMs();
    book.notice(pool[0]!.id);
    book.notice(newest.id);
    const found = { timestamp: timeOf(newest.id), sinceMs, askedPeers: [] };
    expect([book.size, book.find(`0x${hexOf(newest)}`)]).toEqual([1, found]);
    await clock.advance(1_000);
    expect(book.note(newest.id, 'peer')).toEqual(['peer']);
    book.notice(newest.id);
    expect(book.find(`0x${hexOf(newest)}`)).toEqual({ ...found, askedPeers: ['peer'] });
    for (const { id } of samples(LIMITS.missingRemembered + 1)) book.notice(id);
    expect(book.size).toBe(LIMITS.missingRemembered);
    expect(book.find(`0x${hexOf(newest)}`)).toBeDefined();
  });

  it('lets go of what has come', async () => {
    const store = new MemoryStore();
    const clock = new VirtualClock();
    const book = new MissingBook(store, clock);
    const sinceMs = clock.nowMs();
    for (const { id } of pool) book.note(id, 'peer');
    await clock.advance(1_000);
    book.note(newest.id, 'another');
    const absent = { timestamp: timeOf(newest.id), sinceMs, askedPeers: ['peer', 'another'] };
    expect(book.find(`0x${hexOf(newest)}`)).toEqual(absent);
    await store.append(pool.slice(0, 20));
    book.settle();
    expect(book.size).toBe(40);
    await store.append([newest]);
    expect(book.find(`0x${hexOf(newest)}`)).toBeUndefined();
    expect(book.note(newest.id, 'another')).toBeUndefined();
    expect(book.size).toBe(39);
  });
});
