/** Store queries over real sockets: answers, limits, and every way to ask badly, which ends in a status or a reset. */
import type { Connection, Stream } from '@libp2p/interface';
import { afterEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import type { Host } from '../../src/net/host.ts';
import { STORE_QUERY } from '../../src/net/protocols.ts';
import { serveStoreQueries } from '../../src/net/waku-store.ts';
import { Budgets } from '../../src/sync/budgets.ts';
import { LimitCounts } from '../../src/sync/limit-counts.ts';
import { StoreResponder } from '../../src/sync/store-query/responder.ts';
import { Strikes } from '../../src/sync/strikes.ts';
import { Traffic } from '../../src/sync/traffic.ts';
import { systemClock } from '../../src/system.ts';
import {
  decodeStoreQueryResponse,
  encodeStoreQueryRequest,
  type StoreQueryRequest,
  type StoreQueryResponse,
} from '../../src/wire/waku-store-query.ts';
import {
  dial,
  FrameReader,
  frameOf,
  type PlainHostInit,
  send,
  startPlainHost,
  stopPlainHosts,
} from '../e2e/plain-host.ts';
import { MemoryArchive } from '../memory-archive.ts';
import { RecordingLogger } from '../recording-logger.ts';
import { samples } from '../sample-messages.ts';
import { requestFor, serviceOf } from '../sync/store-query/asking.ts';
import { makeGate, startHost, stopHosts } from './lacuna-host.ts';

afterEach(async () => {
  await stopPlainHosts();
  await stopHosts();
});

interface Server {
  readonly host: Host;
  readonly archive: MemoryArchive;
  readonly strikes: Strikes;
}

/** A host that serves some messages, impatient unless told otherwise. */
async function startServer({
  messages = samples(45),
  idleMs = 30_000,
  answerMs = 30_000,
  isPrivate = false,
} = {}): Promise<Server> {
  const strikes = new Strikes(systemClock);
  const counts = new LimitCounts();
  const traffic = new Traffic();
  const budgets = new Budgets({ clock: systemClock, strikes, counts, isKnown: () => false });
  const host = await startHost({
    listen: ['/ip4/127.0.0.1/tcp/0', '/ip4/127.0.0.1/tcp/0/ws'],
    gate: makeGate({ isPrivate, isBanned: (peer) => strikes.isBanned(peer) }),
    admitsStream: (peer) => budgets.admitsStream(peer),
    traffic,
  });
  const archive = new MemoryArchive(messages);
  const service = serviceOf(archive);
  const responder = new StoreResponder({
    service,
    budgets,
    strikes,
    counts,
    traffic: traffic.of(STORE_QUERY),
  });
  await serveStoreQueries(host, { responder, strikes, log: new RecordingLogger(), idleMs, answerMs });
  return { host, archive, strikes };
}

async function clientOf({ host }: Server, init: PlainHostInit = {}): Promise<Connection> {
  return await dial(await startPlainHost(init), host.addresses.find((address) => !address.includes('/ws'))!);
}

async function open(connection: Connection): Promise<Stream> {
  return await connection.newStream(STORE_QUERY, {
    signal: AbortSignal.timeout(5_000),
    maxOutboundStreams: 1_000,
  });
}

/** What comes back of these bytes until the other side has closed: frames, or 'reset'. Fails when nothing does. */
async function exchange(stream: Stream, bytes: Uint8Array, closes = true): Promise<Uint8Array[] | 'reset'> {
  const reader = new FrameReader(stream);
  const reset = new Promise<'reset'>((resolve) => {
    stream.addEventListener('close', ({ error }) => (error === undefined ? undefined : resolve('reset')));
  });
  const read = async (): Promise<Uint8Array[]> => {
    const frames: Uint8Array[] = [];
    for (let frame = await reader.read(8_000); frame !== undefined; frame = await reader.read(8_000))
      frames.push(frame);
    return frames;
  };
  await send(stream, bytes);
  if (closes) await stream.close().catch(() => undefined);
  const frames = await read();
  if (frames.length > 0) return frames;
  return await Promise.race([
    reset,
    new Promise<Uint8Array[]>((resolve) => setTimeout(resolve, 200, frames)),
  ]);
}

async function ask(
  connection: Connection,
  given: Partial<StoreQueryRequest> = {},
): Promise<StoreQueryResponse> {
  const frames = await exchange(await open(connection), frameOf(encodeStoreQueryRequest(requestFor(given))));
  if (frames === 'reset' || frames.length !== 1) throw new Error(`one frame expected: ${frames.length}`);
  return decodeStoreQueryResponse(frames[0]!);
}

describe('a client', () => {
  it.each(['yamux', 'mplex'] as const)(
    'pages through the history over %s, a stream a page',
    async (muxer) => {
      const server = await startServer({ messages: samples(300) });
      const connection = await clientOf(server, { muxer });
      let cursor: Uint8Array | undefined;
      let read = 0;
      let pages = 0;
      do {
        const answer = await ask(connection, { paginationCursor: cursor, paginationLimit: 10 });
        expect(answer.statusCode).toBe(200);
        read += answer.messages.length;
        pages += 1;
        cursor = answer.paginationCursor;
      } while (cursor !== undefined);
      expect([read, pages]).toEqual([300, 30]);
    },
  );

  it('is told of the protocol by identify', async () => {
    const server = await startServer();
    const host = await startPlainHost();
    const connection = await dial(host, server.host.addresses[0]!);
    await expect
      .poll(async () => (await host.peerStore.get(connection.remotePeer)).protocols)
      .toContain(STORE_QUERY);
  });

  it('is answered though it never closes its side', async () => {
    const connection = await clientOf(await startServer());
    const frames = await exchange(
      await open(connection),
      frameOf(encodeStoreQueryRequest(requestFor())),
      false,
    );
    expect(frames).toHaveLength(1);
  });

  it('gets a page of three megabytes, over a muxer without flow control too', async () => {
    const server = await startServer({ messages: samples(30, { payloadBytes: 140_000 }) });
    for (const muxer of ['yamux', 'mplex'] as const) {
      const answer = await ask(await clientOf(server, { muxer }), { paginationLimit: 100 });
      expect(answer.messages).toHaveLength(22);
    }
  });

  it('may open streams ahead; one that is not used for long is reset, and the next one is answered', async () => {
    const connection = await clientOf(await startServer({ idleMs: 300 }));
    const idle = await open(connection);
    const ended = new Promise((resolve) => idle.addEventListener('close', resolve, { once: true }));
    expect((await ask(connection)).statusCode).toBe(200);
    await ended;
    expect((await ask(connection)).statusCode).toBe(200);
  });

  it('is not let in where the node is private', async () => {
    const server = await startServer({ isPrivate: true });
    const asked = clientOf(server).then((connection) => ask(connection));
    expect(
      await asked.then(
        () => 'answered',
        () => 'refused',
      ),
    ).toBe('refused');
  });
});

describe('a bad one', () => {
  const request = frameOf(encodeStoreQueryRequest(requestFor()));

  it.each<[string, Uint8Array, number | 'reset' | 'nothing']>([
    ['bytes that are no request', frameOf(Uint8Array.of(0x0a, 2, 0x69, 0x64, 0x0c)), 400],
    ['an empty frame', Uint8Array.of(0), 400],
    [
      'a contradiction',
      frameOf(encodeStoreQueryRequest(requestFor({ timeStartNs: 2n, timeEndNs: 1n }))),
      400,
    ],
    ['half a request', request.subarray(0, 5), 'reset'],
    ['a frame beyond the limit', Uint8Array.of(0xff, 0xff, 0xff, 0x7f, 1, 2, 3), 'reset'],
    ['a length without end', new Uint8Array(12).fill(0xff), 'reset'],
    ['nothing at all', new Uint8Array(0), 'nothing'],
    ['two requests at once', Buffer.concat([request, request]), 200],
  ])('that sends %s is told so, or reset', async (_, bytes, expected) => {
    const server = await startServer();
    const frames = await exchange(await open(await clientOf(server)), bytes);
    if (frames === 'reset') expect('reset').toBe(expected);
    else if (frames.length === 0) expect('nothing').toBe(expected);
    else expect(frames.map((frame) => decodeStoreQueryResponse(frame).statusCode)).toEqual([expected]);
    // Others are served as before.
    expect((await ask(await clientOf(server))).statusCode).toBe(200);
  });

  it('that falls silent within its request is cut off', async () => {
    const connection = await clientOf(await startServer({ idleMs: 300 }));
    expect(await exchange(await open(connection), request.subarray(0, 5), false)).toBe('reset');
  });

  it('that does not take its answer is cut off, and gives its place back', async () => {
    const server = await startServer({ messages: samples(30, { payloadBytes: 140_000 }), answerMs: 500 });
    const connection = await clientOf(server);
    const ends = await Promise.all(
      Array.from({ length: LIMITS.storeQueriesAtOncePerPeer }, async () => {
        const stream = await open(connection);
        // Before anything has come: what was paused is not read, and the window is soon used up.
        stream.pause();
        const ended = new Promise<boolean>((resolve) =>
          stream.addEventListener('close', () => resolve(true), { once: true }),
        );
        await send(stream, frameOf(encodeStoreQueryRequest(requestFor({ paginationLimit: 100 }))));
        return await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 8_000, false))]);
      }),
    );
    expect(ends).toEqual(ends.map(() => true));
    expect((await ask(connection)).statusCode).toBe(200);
  });

  it('that opens streams by the hundred has each answered or reset, and others are served meanwhile', async () => {
    const server = await startServer();
    const host = await startPlainHost();
    const connection = await dial(host, server.host.addresses[0]!);
    const another = await clientOf(server);
    const flood = Promise.allSettled(
      Array.from({ length: 150 }, async () => exchange(await open(connection), request)),
    );
    expect((await ask(another)).statusCode).toBe(200);
    const ends = (await flood).map((end) => (end.status === 'fulfilled' ? end.value : 'reset'));
    const answers = ends.filter((end) => end !== 'reset').flat();
    for (const answer of answers) expect([200, 429]).toContain(decodeStoreQueryResponse(answer).statusCode);
    expect(answers.length).toBeLessThan(150);
    expect(server.strikes.strikesOf(host.peerId.toString())).toBeGreaterThan(0);
    expect((await ask(another)).statusCode).toBe(200);
  });
});
