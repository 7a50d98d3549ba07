/** What a node takes of the messages that a peer sends it, and what it refuses. */
import { describe, expect, it } from 'vitest';
import type { WakuMessage } from '../../../src/core/message.ts';
import type { ErrorCode } from '../../../src/errors.ts';
import { LIMITS } from '../../../src/limits.ts';
import type { SessionPlan } from '../../../src/sync/session.ts';
import { STRIKE_MALFORMED } from '../../../src/sync/strikes.ts';
import { encodeMessageAndTopic } from '../../../src/wire/waku-message.ts';
import { endedIn } from '../../ended-in.ts';
import { CHAT, messageOf, NOTES, NOW_NS, SHARD_1, sampleMessages } from '../../sample-messages.ts';
import { MemoryChannel } from '../memory-channel.ts';
import { HOUR, Party } from '../party.ts';
import { VirtualClock } from '../virtual-clock.ts';

const party = (): Party => new Party('here', new VirtualClock());
const frames = (count: number, seed = 1): Uint8Array[] =>
  sampleMessages(count, { seed }).map(encodeMessageAndTopic);
const frameOf = (init: Partial<WakuMessage>): Uint8Array => encodeMessageAndTopic(messageOf(init));
const FUTURE_NS = NOW_NS + BigInt(LIMITS.messageFutureMs) * 1_000_000n;

describe('messages without a session', () => {
  it('are refused and counted one by one', async () => {
    const here = party();
    here.openSession('another');
    await here.take('peer', frames(7));
    expect(here.store.count).toBe(0);
    expect(here.strikes.strikesOf('peer')).toBe(7);
  });

  it('end the stream when there are many', async () => {
    const here = party();
    expect((await here.take('peer', frames(100))).isReset).toBe(false);
    const [inner, outer] = MemoryChannel.pair(here.clock);
    const receiving = here.receiver.receive('other', inner);
    for (const frame of frames(60)) await outer.write([frame]);
    await here.clock.advance(1);
    expect(outer.isReset).toBe(false);
    await outer.write(frames(41));
    await here.clock.run(receiving);
    expect(outer.isReset).toBe(true);
    expect(here.strikes.strikesOf('other')).toBe(101);
    expect(here.log.codes('debug')).toEqual(['TRANSFER_NO_SESSION']);
  });
});

describe('messages of a session', () => {
  it('are stored and counted', async () => {
    const here = party();
    const session = here.openSession('peer');
    await here.take('peer', frames(30));
    expect(here.store.count).toBe(30);
    expect(session.result()).toMatchObject({ received: 30, need: 30, refused: 0 });
    expect(session.transferBytesReceived).toBe(frames(30).reduce((sum, { length }) => sum + length + 1, 0));
    expect(here.strikes.strikesOf('peer')).toBe(0);
  });

  it('count once, however often they come', async () => {
    const here = party();
    const session = here.openSession('peer');
    const [first, ...rest] = frames(10);
    await here.take('peer', [first!, first!, ...rest, first!]);
    await here.take('peer', frames(10));
    expect(here.store.count).toBe(10);
    expect(session.result()).toMatchObject({ received: 10, need: 10 });
    expect(here.strikes.strikesOf('peer')).toBe(0);
  });

  it('belong to the newest session that they fit', async () => {
    const here = party();
    const notes = here.openSession('peer', { scope: { pubsubTopics: [], contentTopics: [NOTES] } });
    const chat = here.openSession('peer', { scope: { pubsubTopics: [], contentTopics: [CHAT] } });
    await here.take('peer', [frameOf({ contentTopic: NOTES }), frameOf({ contentTopic: CHAT })]);
    expect([notes.received, chat.received]).toEqual([1, 1]);
    expect([notes.result().refused, chat.result().refused]).toEqual([0, 0]);
  });

  it('are taken for a while after its end', async () => {
    const here = party();
    const session = here.openSession('peer');
    here.sessions.end(session);
    await here.clock.advance(LIMITS.sessionGraceMs - 1);
    await here.take('peer', frames(5));
    expect([here.store.count, here.strikes.strikesOf('peer')]).toEqual([5, 0]);
    await here.clock.advance(1);
    await here.take('peer', frames(4, 2));
    expect([here.store.count, here.strikes.strikesOf('peer')]).toEqual([5, 4]);
  });

  it('may come on a stream that outlives its session', async () => {
    const here = party();
    const [inner, outer] = MemoryChannel.pair(here.clock);
    const receiving = here.receiver.receive('peer', inner);
    for (const seed of [1, 2]) {
      const session = here.openSession('peer');
      await outer.write(frames(3, seed));
      await here.clock.advance(LIMITS.transferIdleMs);
      expect(session.received).toBe(3);
      here.sessions.end(session);
      await here.clock.advance(2 * LIMITS.sessionGraceMs);
    }
    await outer.close();
    await here.clock.run(receiving);
    expect([inner.isClosed, inner.isReset]).toEqual([true, false]);
  });
});

describe('a message that does not fit', () => {
  const cases: [string, ErrorCode, number, Uint8Array, Partial<SessionPlan>?][] = [
    [
      'its content topic',
      'TRANSFER_OUT_OF_SCOPE',
      1,
      frameOf({ contentTopic: NOTES }),
      { scope: { pubsubTopics: [], contentTopics: [CHAT] } },
    ],
    [
      'its shard',
      'TRANSFER_OUT_OF_SCOPE',
      1,
      frameOf({ contentTopic: NOTES }),
      { scope: { pubsubTopics: [SHARD_1], contentTopics: [] } },
    ],
    ['being too old', 'TRANSFER_OUT_OF_WINDOW', 1, frameOf({ timestamp: HOUR.sinceNs - 1n })],
    ['being too new', 'TRANSFER_OUT_OF_WINDOW', 1, frameOf({ timestamp: HOUR.untilNs + 1n })],
    ['being ephemeral', 'MESSAGE_EPHEMERAL', 1, frameOf({ ephemeral: true })],
    [
      'coming from the future',
      'MESSAGE_TIMESTAMP_FUTURE',
      0,
      frameOf({ timestamp: FUTURE_NS + 1n }),
      { untilNs: FUTURE_NS * 2n },
    ],
    [
      'its size',
      'MESSAGE_TOO_LARGE',
      1,
      frameOf({ payload: new Uint8Array(LIMITS.messagePayloadBytes + 1) }),
    ],
    [
      'having meta',
      'WIRE_FIELD_INVALID',
      STRIKE_MALFORMED,
      frameOf({ meta: new Uint8Array(LIMITS.messageMetaBytes + 1) }),
    ],
    ['being half', 'WIRE_TRUNCATED', STRIKE_MALFORMED, frameOf({}).subarray(0, 20)],
    ['a dry run', 'TRANSFER_NOT_WANTED', 0, frameOf({}), { dryRun: true }],
    ['a push', 'TRANSFER_NOT_WANTED', 0, frameOf({}), { direction: 'push' }],
  ];

  it.each(cases)(
    'is refused for %s, and what follows is taken',
    async (_, code, strikes, frame, plan = {}) => {
      const here = party();
      const session = here.openSession('peer', plan);
      const fitting = frameOf({ pubsubTopic: SHARD_1, payload: Uint8Array.of(9) });
      const end = await here.take('peer', [frame, fitting]);
      const all = code === 'TRANSFER_NOT_WANTED';
      expect(session.result()).toMatchObject({ refusals: { [code]: all ? 2 : 1 }, refused: all ? 2 : 1 });
      expect(here.store.count).toBe(all ? 0 : 1);
      expect(here.strikes.strikesOf('peer')).toBe(strikes);
      expect(end.isReset).toBe(false);
    },
  );

  it('lies past the ends of the window, not at them', async () => {
    const here = party();
    const session = here.openSession('peer');
    await here.take('peer', [frameOf({ timestamp: HOUR.sinceNs }), frameOf({ timestamp: HOUR.untilNs })]);
    expect(session.result()).toMatchObject({ received: 2, refused: 0 });
  });

  it('is sent too often: the peer is banned, and no more is taken', async () => {
    const here = party();
    const session = here.openSession('peer');
    const malformed = Array.from({ length: 30 }, () => Uint8Array.of(0xff, 0xff));
    const end = await here.take('peer', [...frames(3), ...malformed, ...frames(5, 2)]);
    expect(here.strikes.isBanned('peer')).toBe(true);
    expect(session.result().refused).toBe(LIMITS.strikesBeforeBan / STRIKE_MALFORMED);
    expect(here.store.count).toBe(3);
    expect(end.isReset).toBe(true);
  });
});

describe('a stream', () => {
  it('is reset when the store cannot write, and is no fault of the peer', async () => {
    const here = party();
    const session = here.openSession('peer');
    here.store.writable = false;
    const end = await here.take('peer', frames(3));
    expect(end.isReset).toBe(true);
    expect(here.log.codes('debug')).toEqual(['STORE_FAULT']);
    expect([session.received, here.strikes.strikesOf('peer')]).toEqual([0, 0]);
  });

  it('ends when nothing has come for as long as a session may last', async () => {
    const here = party();
    const [inner, outer] = MemoryChannel.pair(here.clock);
    await here.clock.run(here.receiver.receive('peer', inner));
    expect(here.clock.monotonicMs()).toBe(LIMITS.sessionMs);
    expect(await endedIn(outer.write(frames(1)))).toBe('PEER_CLOSED');
    expect(here.strikes.strikesOf('peer')).toBe(0);
  });
});
