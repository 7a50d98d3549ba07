/** Store queries as frames: ids given back, undecodable ones refused, and limits that are told with a status. */
import { describe, expect, it } from 'vitest';
import { hashOf, SyncIdList } from '../../../src/core/sync-id.ts';
import { LIMITS } from '../../../src/limits.ts';
import { Budgets } from '../../../src/sync/budgets.ts';
import { LimitCounts } from '../../../src/sync/limit-counts.ts';
import { StoreResponder } from '../../../src/sync/store-query/responder.ts';
import { Strikes } from '../../../src/sync/strikes.ts';
import { Traffic } from '../../../src/sync/traffic.ts';
import { decodeMessageAndTopic } from '../../../src/wire/waku-message.ts';
import {
  decodeStoreQueryResponse,
  encodeStoreQueryRequest,
  encodeStoreQueryResponse,
  type StoreQueryRequest,
  type StoreQueryResponse,
} from '../../../src/wire/waku-store-query.ts';
import { MemoryArchive } from '../../memory-archive.ts';
import { samples } from '../../sample-messages.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { requestFor, serviceOf } from './asking.ts';

class Desk {
  readonly clock = new VirtualClock();
  readonly strikes = new Strikes(this.clock);
  readonly counts = new LimitCounts();
  readonly traffic = new Traffic();
  readonly messages = samples(150);
  readonly archive = new MemoryArchive(this.messages);
  readonly responder: StoreResponder;

  constructor() {
    const { clock, strikes, counts } = this;
    this.responder = new StoreResponder({
      service: serviceOf(this.archive),
      budgets: new Budgets({ clock, strikes, counts, isKnown: (peer) => peer === 'known' }),
      strikes,
      counts,
      traffic: this.traffic.of('store'),
    });
  }

  async frame(peer: string, frame: Uint8Array): Promise<StoreQueryResponse> {
    let answer = new Uint8Array(0);
    await this.responder.respond(peer, frame, async (bytes) => {
      answer = Uint8Array.from(bytes);
    });
    return decodeStoreQueryResponse(answer);
  }

  async ask(peer: string, given: Partial<StoreQueryRequest> = {}): Promise<StoreQueryResponse> {
    return await this.frame(peer, encodeStoreQueryRequest(requestFor(given)));
  }
}

/** Fields beside those of the encoder, or none: a request id, and whatever comes behind it. */
function bytesOf(...parts: (string | number[])[]): Uint8Array {
  return Buffer.concat(
    parts.map((part) => (typeof part === 'string' ? Buffer.from(part) : Uint8Array.from(part))),
  );
}

describe('an answer', () => {
  it('holds the bytes that the encoder of messages would write, and gives the id back', async () => {
    const desk = new Desk();
    const requestId = 'æ 17 \udc80';
    const answer = await desk.ask('peer', { requestId, paginationLimit: 100 });
    const page = desk.messages.slice(0, 100);
    const messages = page.map(({ id, encoded }) => ({
      messageHash: hashOf(id),
      message: decodeMessageAndTopic(encoded),
    }));
    const paginationCursor = hashOf(page[99]!.id);
    const expected = { requestId, statusCode: 200, statusDesc: 'OK', messages, paginationCursor };
    expect(encodeStoreQueryResponse(answer)).toEqual(encodeStoreQueryResponse(expected));
    const hashes = await desk.ask('peer', { includeData: false });
    expect(hashes.messages).toHaveLength(20);
    expect(hashes.messages.every(({ message }) => message === undefined)).toBe(true);
  });

  it('counts its messages by topic', async () => {
    const desk = new Desk();
    await desk.ask('peer');
    const bytes = desk.messages.slice(0, 20).reduce((sum, { encoded }) => sum + encoded.length, 0);
    expect(desk.traffic.rows()).toContainEqual({
      protocol: 'store',
      direction: 'out',
      topicClass: 'other',
      bytes,
    });
  });

  it('of a request that contradicts itself has its id and a reason, and is no strike', async () => {
    const desk = new Desk();
    const answer = await desk.ask('peer', { timeStartNs: 5n, timeEndNs: 5n });
    expect([answer.requestId, answer.statusCode, answer.messages]).toEqual(['request', 400, []]);
    expect(answer.statusDesc).toMatch(/^BAD_REQUEST: ./);
    expect(desk.strikes.strikesOf('peer')).toBe(0);
  });
});

describe('bytes that are no request', () => {
  const id = bytesOf([0x0a, 2], 'id');
  it.each<[string, Uint8Array, string]>([
    ['nothing', new Uint8Array(0), ''],
    ['no request id', Uint8Array.of(0x10, 1), ''],
    ['a cursor of 31 bytes', bytesOf([...id, 0x9a, 3, 31], '#'.repeat(31)), 'id'],
    ['a hash of 33 bytes', bytesOf([...id, 0xa2, 1, 33], '#'.repeat(33)), 'id'],
    ['a cut field', bytesOf([...id, 0x52, 9], 'short'), 'id'],
    ['a group', bytesOf([...id, 0x0c]), 'id'],
    ['a varint without end', bytesOf([...id, 0x10], Array(11).fill(0xff)), 'id'],
    ['a topic beyond any', bytesOf([...id, 0x52, 0x81, 0x10], 'x'.repeat(2_049)), 'id'],
    ['a request id beyond any', bytesOf([0x0a, 0x81, 0x10], 'x'.repeat(2_049)), ''],
  ])('(%s) are a bad request', async (_, frame, requestId) => {
    const desk = new Desk();
    const answer = await desk.frame('peer', frame);
    expect([answer.statusCode, answer.requestId, answer.messages]).toEqual([400, requestId, []]);
    expect(desk.archive.pagesAsked).toBe(0);
  });

  it('are light strikes, and in the end a ban', async () => {
    const desk = new Desk();
    let banned = '';
    desk.strikes.onBan = (peer) => {
      banned = peer;
    };
    const frame = bytesOf([...id, 0x0c]);
    await desk.frame('peer', frame);
    expect(desk.strikes.strikesOf('peer')).toBe(1);
    for (let more = 1; more < LIMITS.strikesBeforeBan; more++) await desk.frame('peer', frame);
    expect(banned).toBe('peer');
  });
});

describe('who asks too much', () => {
  it('is told so, politely, until time has passed; the known are not', async () => {
    const desk = new Desk();
    const statuses: number[] = [];
    for (let at = 0; at <= LIMITS.peerQueriesPerMinute; at++) {
      // Not faster than all together may.
      if (at % LIMITS.queriesPerSecond === 0) await desk.clock.advance(1_000);
      statuses.push((await desk.ask('peer', { includeData: false })).statusCode);
    }
    const refused = statuses.filter((status) => status === 429).length;
    // Over those seconds some of the budget has come back.
    expect(refused).toBe(0);
    let busy = await desk.ask('peer');
    for (let more = 0; more < 200 && busy.statusCode === 200; more++) {
      if (more % 50 === 0) await desk.clock.advance(300);
      busy = await desk.ask('peer', { requestId: 'mine' });
    }
    expect([busy.statusCode, busy.requestId, busy.messages]).toEqual([429, 'mine', []]);
    expect(desk.counts.all['peer-queries']).toBe(1);
    expect((await desk.ask('another')).statusCode).toBe(200);
    expect((await desk.ask('known')).statusCode).toBe(200);
    await desk.clock.advance(1_000);
    expect((await desk.ask('peer')).statusCode).toBe(200);
    expect(desk.strikes.strikesOf('peer')).toBe(0);
  });

  it('may be many together; known peers are answered all the same', async () => {
    const desk = new Desk();
    const statuses: number[] = [];
    for (let at = 0; at <= LIMITS.queriesPerSecond; at++) {
      statuses.push((await desk.ask(`peer ${at}`)).statusCode);
    }
    expect(statuses.filter((status) => status === 429)).toHaveLength(1);
    expect([statuses.at(-1), desk.counts.all['queries']]).toEqual([429, 1]);
    expect((await desk.ask('known')).statusCode).toBe(200);
    await desk.clock.advance(1_000);
    expect((await desk.ask('late')).statusCode).toBe(200);
  });

  it('that is dear counts as many, and is looked for no further when too much was', async () => {
    const desk = new Desk();
    const [end, looked] = [hashOf(desk.messages[0]!.id), 100 * LIMITS.storeQueryEntries];
    let pages = 0;
    desk.archive.page = async () => {
      pages += 1;
      return { ids: new SyncIdList(), cursor: end, looked };
    };
    expect((await desk.ask('peer')).statusCode).toBe(200);
    expect(pages).toBe(LIMITS.storeQueryPagesLooked);
    const rest = await Promise.all(Array.from({ length: 4 }, () => desk.ask('peer')));
    expect(rest.map(({ statusCode }) => statusCode)).toEqual([429, 429, 429, 429]);
    // Each of them had looked once more when the others had used up the rest.
    expect(pages).toBeLessThanOrEqual(LIMITS.peerQueriesPerMinute / 100 + 4);
    expect((await desk.ask('another')).statusCode).toBe(200);
    expect((await desk.ask('known')).statusCode).toBe(200);
    expect((await desk.ask('known')).statusCode).toBe(200);
    await desk.clock.advance(60_000);
    expect((await desk.ask('peer')).statusCode).toBe(200);
  });

  it('dearly is looked for no further where many are, each with a budget of its own; cheap ones are answered', async () => {
    const desk = new Desk();
    const cheap = desk.archive.page.bind(desk.archive);
    const [end, looked] = [hashOf(desk.messages[0]!.id), 100 * LIMITS.storeQueryEntries];
    desk.archive.page = async (query) =>
      query.scope.pubsubTopics.includes('rare')
        ? { ids: new SyncIdList(), cursor: end, looked }
        : await cheap(query);
    const statuses: number[] = [];
    for (let peer = 0; peer < 20; peer++)
      statuses.push((await desk.ask(`peer ${peer}`, { pubsubTopic: 'rare' })).statusCode);
    const served = statuses.filter((status) => status === 200).length;
    const each = LIMITS.storeQueryPagesLooked * 100;
    expect(Math.abs(served - LIMITS.dearQueriesPerMinute / each)).toBeLessThanOrEqual(1);
    expect(new Set(statuses.slice(served))).toEqual(new Set([429]));
    expect((await desk.ask('another')).statusCode).toBe(200);
    expect((await desk.ask('known', { pubsubTopic: 'rare' })).statusCode).toBe(200);
    await desk.clock.advance(60_000);
    expect((await desk.ask('peer 19', { pubsubTopic: 'rare' })).statusCode).toBe(200);
  });

  it('waits for no place: so many are answered at a time, of each and of all', async () => {
    const desk = new Desk();
    let open: () => void = () => undefined;
    desk.archive.gate = new Promise((resolve) => {
      open = resolve;
    });
    const perPeer = LIMITS.storeQueriesAtOncePerPeer;
    const peers = LIMITS.storeQueriesAtOnce / perPeer;
    const held = Array.from({ length: peers }, (_, peer) =>
      Array.from({ length: perPeer }, () => desk.ask(`peer ${peer}`)),
    ).flat();
    expect((await desk.ask('peer 0')).statusCode).toBe(429);
    expect((await desk.ask('stranger')).statusCode).toBe(429);
    open();
    const answers = await Promise.all(held);
    expect(answers.map(({ statusCode }) => statusCode)).toEqual(Array(held.length).fill(200));
    expect((await desk.ask('stranger')).statusCode).toBe(200);
  });

  it('keeps its place until the answer was taken, and gives it back when that fails', async () => {
    const desk = new Desk();
    const frame = encodeStoreQueryRequest(requestFor());
    const fails: (() => void)[] = [];
    const held = Array.from({ length: LIMITS.storeQueriesAtOncePerPeer }, () =>
      desk.responder.respond(
        'peer',
        frame,
        () => new Promise((_, reject) => fails.push(() => reject(new Error()))),
      ),
    );
    const settled = Promise.allSettled(held);
    await expect.poll(() => fails.length).toBe(held.length);
    expect((await desk.ask('peer')).statusCode).toBe(429);
    for (const fail of fails) fail();
    await settled;
    expect((await desk.ask('peer')).statusCode).toBe(200);
  });
});
