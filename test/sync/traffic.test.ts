/** What has moved is counted once, by protocol, direction and class of topic; what is left of the bytes is overhead. */
import { describe, expect, it } from 'vitest';
import { Traffic } from '../../src/sync/traffic.ts';
import { SHARD_0, SHARD_1, samples } from '../sample-messages.ts';
import { HOUR, Party } from './party.ts';
import { VirtualClock } from './virtual-clock.ts';

const encoded = (topic: string): Uint8Array[] =>
  samples(10, { pubsubTopics: [topic] }).map((message) => message.encoded);
const weight = (messages: readonly Uint8Array[]): number =>
  messages.reduce((sum, { length }) => sum + length, 0);
const [ofZero, ofOne] = [encoded(SHARD_0), encoded(SHARD_1)];

describe('traffic', () => {
  it('is told by protocol, direction and class; nothing is told of what has not moved', () => {
    const traffic = new Traffic([SHARD_0], [SHARD_1]);
    expect(traffic.rows()).toEqual([]);
    const sync = traffic.of('sync');
    sync.sent(10_000);
    sync.messagesSent([...ofZero, ...ofOne]);
    sync.messagesSent(encoded('/another'));
    traffic.of('sync').received(77);
    traffic.of('metadata').received(5);
    const messages = weight([...ofZero, ...ofOne, ...encoded('/another')]);
    expect(traffic.rows()).toEqual([
      { protocol: 'sync', direction: 'in', topicClass: 'overhead', bytes: 77 },
      { protocol: 'sync', direction: 'out', topicClass: 'overhead', bytes: 10_000 - messages },
      { protocol: 'sync', direction: 'out', topicClass: SHARD_0, bytes: weight(ofZero) },
      { protocol: 'sync', direction: 'out', topicClass: SHARD_1, bytes: weight(ofOne) },
      { protocol: 'sync', direction: 'out', topicClass: 'other', bytes: weight(encoded('/another')) },
      { protocol: 'metadata', direction: 'in', topicClass: 'overhead', bytes: 5 },
    ]);
  });

  it.each([
    ['one topic is covered', [SHARD_0], [], SHARD_0],
    ['one is covered and has a rate', [SHARD_0], [SHARD_0], SHARD_0],
    ['none is named', [], [], 'other'],
  ])('looks into no message where %s', (_, covered, named, topicClass) => {
    const traffic = new Traffic(covered, named);
    traffic.of('sync').messagesReceived([Uint8Array.of(1, 2, 3)]);
    expect(traffic.rows()).toEqual([{ protocol: 'sync', direction: 'in', topicClass, bytes: 3 }]);
  });

  it('tells a topic with a rate from all others where all are covered', () => {
    const traffic = new Traffic([], [SHARD_1]);
    traffic.of('sync').messagesReceived([...ofZero, ...ofOne, Uint8Array.of(1, 2, 3)]);
    expect(traffic.rows()).toEqual([
      { protocol: 'sync', direction: 'in', topicClass: 'other', bytes: weight(ofZero) + 3 },
      { protocol: 'sync', direction: 'in', topicClass: SHARD_1, bytes: weight(ofOne) },
    ]);
  });

  it('has as many classes as were named, whatever peers send', () => {
    const traffic = new Traffic([SHARD_0, SHARD_1]);
    for (let made = 0; made < 100; made++) traffic.of('sync').messagesReceived(encoded(`/made/${made}`));
    expect(traffic.rows().map(({ topicClass }) => topicClass)).toEqual(['other']);
  });
});

describe('a session', () => {
  it.each(['native', 'waku'] as const)(
    'of the %s dialect is counted on both sides alike',
    async (dialect) => {
      const clock = new VirtualClock();
      const topics = [SHARD_0, SHARD_1];
      const pool = samples(300, { pubsubTopics: topics });
      const a = new Party('a', clock, { topics, messages: pool.slice(0, 100) });
      const b = new Party('b', clock, { topics, messages: pool.slice(100) });
      const speaker = dialect === 'native' ? a.native : a.synchroniser;
      expect(await clock.run(speaker.synchronise(a.linkTo(b), HOUR))).toMatchObject({ verified: true });
      const sorted = (traffic: Traffic, direction: 'in' | 'out') =>
        traffic
          .rows()
          .filter((row) => row.direction === direction)
          .map(({ protocol, topicClass, bytes }) => `${protocol} ${topicClass} ${bytes}`)
          .sort();
      expect(sorted(a.traffic, 'in')).toEqual(sorted(b.traffic, 'out'));
      expect(sorted(a.traffic, 'out')).toEqual(sorted(b.traffic, 'in'));
      const total = (traffic: Traffic): number => traffic.rows().reduce((sum, { bytes }) => sum + bytes, 0);
      expect(total(a.traffic)).toBe(pool.reduce((sum, message) => sum + message.encoded.length, 0));
    },
  );
});
