/** Sessions with peers that can only be asked: after one, a store holds what it held and what the peer has of the window. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { messageHash, type WakuMessage } from '../../../src/core/message.ts';
import { inScope, type Scope } from '../../../src/core/scope.ts';
import { LIMITS } from '../../../src/limits.ts';
import { hexHash } from '../../../src/sync/ingest.ts';
import type { SessionPlan } from '../../../src/sync/session.ts';
import { systemSha256 } from '../../../src/system.ts';
import { endedIn } from '../../ended-in.ts';
import {
  CHAT,
  messageOf,
  NOTES,
  NOW_NS,
  SHARD_0,
  SHARD_1,
  sampleMessages,
  stored,
} from '../../sample-messages.ts';
import { HOUR, hashes, Party } from '../party.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { NaiveStore, type NaiveStoreInit, refusal } from './naive-store.ts';

const HOUR_NS = 3_600_000_000_000n;

function meeting(local: readonly WakuMessage[], theirs: readonly WakuMessage[], init: NaiveStoreInit = {}) {
  const clock = new VirtualClock();
  const party = new Party('here', clock, { messages: stored(local) });
  const node = new NaiveStore(theirs, clock, init);
  const pull = (plan: Partial<SessionPlan> = {}) =>
    clock.run(party.query.synchronise(node.link(), { ...HOUR, ...plan }));
  return { clock, party, node, pull };
}

const within = (messages: readonly WakuMessage[], { scope, sinceNs, untilNs }: SessionPlan): WakuMessage[] =>
  messages.filter(
    ({ timestamp, pubsubTopic, contentTopic }) =>
      timestamp >= sinceNs && timestamp < untilNs && inScope(scope, pubsubTopic, contentTopic),
  );

describe('a pull', () => {
  it('leaves the store with what it had and what the peer has of the window, and says so', async () => {
    const pool = sampleMessages(260, {
      pubsubTopics: [SHARD_0, SHARD_1],
      contentTopics: [CHAT, NOTES],
      stepNs: HOUR_NS / 40n,
    });
    // Some share a moment, and some moments are where slices end.
    const dense = pool.map((message, at) =>
      at % 4 === 0 ? { ...message, timestamp: NOW_NS - HOUR_NS * BigInt(at % 7) } : message,
    );
    const share = fc.array(fc.constantFrom('here', 'there', 'both', 'nowhere'), {
      minLength: 260,
      maxLength: 260,
    });
    const time = fc.integer({ min: -300, max: 5 }).map((step) => NOW_NS + (HOUR_NS / 40n) * BigInt(step));
    await fc.assert(
      fc.asyncProperty(
        share,
        fc.subarray([SHARD_0, SHARD_1]),
        fc.subarray([CHAT, NOTES]),
        fc.tuple(time, time),
        fc.record({
          endIncluded: fc.boolean(),
          pageMax: fc.integer({ min: 3, max: 100 }),
          isFlaky: fc.boolean(),
        }),
        async (where, pubsubTopics, contentTopics, [a, b], { isFlaky, ...init }) => {
          const local = dense.filter((_, at) => where[at] === 'here' || where[at] === 'both');
          const theirs = dense.filter((_, at) => where[at] === 'there' || where[at] === 'both');
          const scope: Scope = { pubsubTopics, contentTopics };
          const plan = { ...HOUR, scope, sinceNs: a < b ? a : b, untilNs: a < b ? b : a };
          const { party, node, pull } = meeting(local, theirs, {
            ...init,
            odd: (_, nth, honest) =>
              isFlaky && nth % 3 === 0 ? (nth % 2 === 0 ? undefined : refusal(429)) : honest(),
          });
          const result = await pull(plan);
          const listed = within(theirs, plan);
          const lacked = listed.filter((message) => !local.includes(message));
          expect(party.holdings).toEqual(hashes(stored([...local, ...lacked])));
          const have = within(local, plan).filter((message) => !theirs.includes(message)).length;
          expect(result).toMatchObject({
            dialect: 'query',
            have,
            need: lacked.length,
            received: lacked.length,
            sent: 0,
            missing: 0,
            complete: true,
            verified: have === 0,
            capped: false,
          });
          expect(result.bytesReceived).toBe(party.ended.at(-1)!.result.bytesReceived);
          expect(result.rounds).toBe(node.requests.length);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('fetches nothing twice, and nothing that is here', async () => {
    const pool = sampleMessages(300);
    const { node, pull } = meeting(pool.slice(0, 200), pool);
    await pull();
    const asked = node.requests.flatMap(({ messageHashes }) => messageHashes);
    expect(asked).toHaveLength(100);
    expect(Math.max(...node.requests.map(({ messageHashes }) => messageHashes.length))).toBe(50);
    const before = node.requests.length;
    const again = await pull();
    expect(again).toMatchObject({ need: 0, received: 0, verified: true });
    expect(node.requests.slice(before).some(({ messageHashes }) => messageHashes.length > 0)).toBe(false);
  });

  it('counts and fetches once what is listed more than once', async () => {
    const pool = sampleMessages(130);
    const { node, pull } = meeting(pool.slice(0, 30), pool, {
      odd: (request, _, honest) => {
        const { messages, ...rest } = honest();
        return {
          ...rest,
          messages: request.messageHashes.length > 0 ? messages : [...messages, ...messages],
        };
      },
    });
    expect(await pull()).toMatchObject({ need: 100, received: 100, have: 0, missing: 0, verified: true });
    expect(node.requests.flatMap(({ messageHashes }) => messageHashes)).toHaveLength(100);
  });

  it('in a dry run only lists', async () => {
    const pool = sampleMessages(100);
    const { party, pull } = meeting(pool.slice(0, 60), pool.slice(40));
    const result = await pull({ dryRun: true });
    expect(result).toMatchObject({
      need: 40,
      missing: 40,
      have: 40,
      received: 0,
      complete: false,
      takes: false,
    });
    expect(party.store.count).toBe(60);
    expect(party.compared).toEqual([]);
  });

  it('takes no more than it may', async () => {
    const pool = sampleMessages(300);
    const few = meeting([], pool);
    expect(await few.pull({ messagesMax: 70 })).toMatchObject({
      received: 70,
      capped: true,
      complete: false,
    });
    const all = meeting([], pool);
    expect(await all.pull({ messagesMax: 300 })).toMatchObject({
      received: 300,
      capped: false,
      complete: true,
    });
    const bytes = meeting([], pool);
    const result = await bytes.pull({ bytesMax: 1_000 });
    expect(result).toMatchObject({ received: LIMITS.queryLookUpHashes, capped: true });
  });

  it('is all that there is: to push is refused', async () => {
    const { party, node } = meeting([], []);
    expect(await endedIn(party.query.synchronise(node.link(), { ...HOUR, direction: 'push' }))).toBe(
      'QUERY_PULL_ONLY',
    );
    expect(node.requests).toEqual([]);
  });

  it('is chosen where the peer says that it does not reconcile, or where it is asked for', async () => {
    const pool = sampleMessages(5);
    const { clock, party, node } = meeting([], pool);
    expect((await clock.run(party.both.synchronise(node.link(), HOUR))).dialect).toBe('query');
    const able = node.link({ reconciles: true, isLacuna: true });
    expect((await clock.run(party.both.synchronise(able, HOUR, 'query'))).dialect).toBe('query');
    expect(await endedIn(party.both.synchronise(able, HOUR))).toBe('PEER_PROTOCOL');
  });
});

describe('a session that breaks', () => {
  it('has told of what it had finished, the newest first, and is gone on with where it was', async () => {
    // Eight days, with something in every hour.
    const pool = sampleMessages(8 * 24 * 20, { stepNs: HOUR_NS / 20n });
    const plan = { sinceNs: NOW_NS - 200n * HOUR_NS };
    let isUp = true;
    const { party, node, pull } = meeting([], pool, {
      odd: (_, nth, honest) => (isUp && nth < 40 ? honest() : undefined),
    });
    expect(await endedIn(pull(plan))).toBe('PEER_CLOSED');
    const finished = party.compared;
    expect(finished.length).toBeGreaterThan(2);
    for (const [at, part] of finished.entries()) {
      expect(part.untilNs).toBe(at === 0 ? HOUR.untilNs : finished[at - 1]!.sinceNs);
    }
    const reached = finished.at(-1)!.sinceNs;
    const fetched = party.store.count;
    expect(fetched).toBeGreaterThanOrEqual(pool.filter(({ timestamp }) => timestamp >= reached).length);
    expect(party.ended.at(-1)).toMatchObject({
      error: { code: 'PEER_CLOSED' },
      result: { complete: false, received: fetched },
    });
    isUp = false;
    const rest = new NaiveStore(pool, party.clock);
    const result = await party.clock.run(
      party.query.synchronise(rest.link(), { ...HOUR, ...plan, untilNs: reached }),
    );
    expect(result.need).toBeLessThanOrEqual(pool.length - fetched);
    expect(party.store.count).toBe(pool.length);
    expect(node.requests.length).toBeGreaterThan(40);
  });

  it('says nothing of a slice in which something is missing', async () => {
    const pool = sampleMessages(50, { stepNs: HOUR_NS / 10n });
    const lost = messageHash(pool[45]!, systemSha256);
    const { party, pull } = meeting([], pool, {
      odd: (_, __, honest) => {
        const { messages, ...rest } = honest();
        const isData = messages.some(({ message }) => message !== undefined);
        return {
          ...rest,
          messages: isData
            ? messages.filter(({ messageHash: hash }) => !Buffer.from(lost).equals(hash))
            : messages,
        };
      },
    });
    const result = await pull({ sinceNs: NOW_NS - 6n * HOUR_NS });
    expect(result).toMatchObject({ need: 50, received: 49, missing: 1, complete: false, verified: false });
    expect(hexHash(result.missingHashes.at(0)).slice(2)).toBe(Buffer.from(lost).toString('hex'));
    expect(
      party.compared.every(
        ({ sinceNs, untilNs }) => pool[45]!.timestamp < sinceNs || pool[45]!.timestamp >= untilNs,
      ),
    ).toBe(true);
    expect(party.compared.length).toBeGreaterThan(0);
  });

  it('because a cursor was pruned, lists its slice once more', async () => {
    const pool = sampleMessages(250);
    let isPruned = false;
    const { party, node, pull } = meeting([], pool, {
      odd: (request, _, honest) => {
        if (request.paginationCursor !== undefined && !isPruned) {
          isPruned = true;
          // The oldest of the page before, which the cursor names, is among them.
          node.prune(160);
        }
        return honest();
      },
    });
    expect(await pull()).toMatchObject({ need: 100, received: 100, complete: true, missing: 0, have: 10 });
    expect(party.holdings).toEqual(hashes(stored(pool.slice(150))));
  });

  it('because a peer refuses again and again, is over', async () => {
    const { node, pull } = meeting([], sampleMessages(250), {
      odd: ({ paginationCursor }, _, honest) => (paginationCursor === undefined ? honest() : refusal(300)),
    });
    expect(await endedIn(pull())).toBe('QUERY_REFUSED');
    expect(node.requests.length).toBeLessThan(12);
  });
});

describe('a peer that keeps less than the window', () => {
  const pool = sampleMessages(60, { stepNs: HOUR_NS / 10n });
  const plan = { sinceNs: NOW_NS - 100n * HOUR_NS };

  it('vouches for no time in which it has nothing, nor anything before', async () => {
    const { peerGaps } = await meeting([], pool).pull(plan);
    expect(peerGaps).toHaveLength(1);
    expect(peerGaps[0]!.sinceNs).toBe(plan.sinceNs);
    expect(peerGaps[0]!.untilNs).toBeLessThanOrEqual(pool[0]!.timestamp);
    expect(peerGaps[0]!.untilNs).toBeGreaterThan(pool[0]!.timestamp - 20n * HOUR_NS);
    const nothing = await meeting(pool, []).pull(plan);
    expect(nothing.peerGaps).toEqual([{ sinceNs: plan.sinceNs, untilNs: HOUR.untilNs }]);
  });

  it('does where it has something that is older', async () => {
    const older = messageOf({ timestamp: NOW_NS - 1_000n * HOUR_NS });
    expect((await meeting([], [...pool, older]).pull(plan)).peerGaps).toEqual([]);
  });
});

describe('what a peer brings', () => {
  it('under another hash is missing, and counts against it', async () => {
    const pool = sampleMessages(40);
    const { party, pull } = meeting([], pool, {
      odd: (_, __, honest) => {
        const { messages, ...rest } = honest();
        const swapped = messages.map((entry, at) => ({ ...entry, message: messages[at ^ 1]?.message }));
        return { ...rest, messages: swapped };
      },
    });
    const result = await pull();
    expect(result).toMatchObject({
      need: 40,
      received: 0,
      missing: 40,
      refusals: { MESSAGE_HASH_MISMATCH: 40 },
    });
    expect(party.strikes.strikesOf('store')).toBe(40);
    expect(party.store.count).toBe(0);
  });

  it('and may not be stored, is refused and not owed', async () => {
    const pool = sampleMessages(20);
    const ephemeral = messageOf({ ephemeral: true });
    const future = messageOf({ timestamp: NOW_NS + 500_000_000_000n });
    const { party, pull } = meeting([], [...pool, ephemeral, future]);
    const result = await pull({ untilNs: NOW_NS + HOUR_NS });
    expect(result).toMatchObject({
      need: 21,
      received: 20,
      missing: 1,
      refused: 2,
      refusals: { MESSAGE_EPHEMERAL: 1, MESSAGE_TIMESTAMP_FUTURE: 1 },
    });
    expect(party.strikes.strikesOf('store')).toBe(0);
  });

  it('of what was pruned here is not stored again', async () => {
    const pool = sampleMessages(20);
    const { party, pull } = meeting([], pool);
    const pruned = stored(pool)[7]!;
    party.store.knows = (id) => party.store.has(id) || String(id) === String(pruned.id);
    expect(await pull()).toMatchObject({ need: 20, received: 19, missing: 0, complete: true });
    party.store.keptSinceNs = pool[10]!.timestamp;
    expect(await pull()).toMatchObject({ sinceNs: pool[10]!.timestamp, need: 0 });
  });
});
