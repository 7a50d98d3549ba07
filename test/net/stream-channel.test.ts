/** Streams as channels of frames: pieces, ends, waits, and a reader that is slower than its sender. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type ErrorCode, LacunaError } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { ByteBudget } from '../../src/net/byte-budget.ts';
import { StreamChannel } from '../../src/net/stream-channel.ts';
import { encodeFrames } from '../../src/wire/frame.ts';
import { FakeStream } from './fake-stream.ts';

const FRAME_BYTES_MAX = 4 * 1_024 * 1_024;
const SOON_MS = 200;

function channelOf(fake: FakeStream, budget?: ByteBudget): StreamChannel {
  return new StreamChannel(fake.stream, FRAME_BYTES_MAX, budget);
}

function frame(length: number, fill = 7): Uint8Array {
  return new Uint8Array(length).fill(fill);
}

/** The code the promise rejects with. */
async function codeOf(promise: Promise<unknown>): Promise<ErrorCode | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    if (error instanceof LacunaError) return error.code;
    throw error;
  }
}

describe('reading', () => {
  it('gives frames whole and in order, however they are cut', async () => {
    const frames = [frame(0), frame(1, 1), frame(300, 2), frame(70_000, 3), frame(5, 4)];
    const bytes = encodeFrames(frames);
    for (const piece of [1, 2, 7, 1_000, bytes.length]) {
      const fake = new FakeStream();
      const channel = channelOf(fake);
      for (let at = 0; at < bytes.length; at += piece) fake.arrive(bytes.subarray(at, at + piece));
      fake.end();
      for (const expected of frames) expect(await channel.read(SOON_MS)).toEqual(expected);
      expect(await channel.read(SOON_MS)).toBeUndefined();
      expect(await channel.readMany(SOON_MS)).toBeUndefined();
    }
  });

  it('waits for a frame, and gives all that are there', async () => {
    const fake = new FakeStream();
    const channel = channelOf(fake);
    const reading = channel.readMany(5_000);
    fake.arrive(encodeFrames([frame(1), frame(2), frame(3)]));
    expect((await reading)?.map(({ length }) => length)).toEqual([1, 2, 3]);
  });

  it('ends a wait in time: for nothing, and for a frame that comes a byte at a time', async () => {
    const fake = new FakeStream();
    const channel = channelOf(fake);
    expect(await codeOf(channel.read(SOON_MS))).toBe('PEER_TIMEOUT');
    fake.arrive(Uint8Array.of(0xff, 0x7f));
    const startedMs = performance.now();
    const dribble = setInterval(() => fake.arrive(Uint8Array.of(1)), 20);
    expect(await codeOf(channel.read(SOON_MS))).toBe('PEER_TIMEOUT');
    clearInterval(dribble);
    expect(performance.now() - startedMs).toBeLessThan(SOON_MS + 1_000);
  });

  it('lets a large frame take longer while it comes at a fair rate', async () => {
    const fake = new FakeStream();
    const channel = channelOf(fake);
    const bytes = encodeFrames([frame(40 * LIMITS.streamBytesPerMsMin * 30)]);
    const reading = channel.read(100);
    for (let at = 0; at < bytes.length; at += LIMITS.streamBytesPerMsMin * 30) {
      fake.arrive(bytes.subarray(at, at + LIMITS.streamBytesPerMsMin * 30));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect((await reading)?.length).toBe(40 * LIMITS.streamBytesPerMsMin * 30);
  });

  it.each([
    ['a prefix without end', new Uint8Array(20).fill(0x80), 'WIRE_LENGTH_PREFIX'],
    ['a prefix of 2^31', Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x08), 'WIRE_FRAME_TOO_LARGE'],
    [
      'a prefix beyond the limit of this channel',
      Uint8Array.of(0x81, 0x80, 0x80, 0x02),
      'WIRE_FRAME_TOO_LARGE',
    ],
  ])('ends the stream at %s, after the frames before it', async (_, bytes, code) => {
    const fake = new FakeStream();
    const channel = channelOf(fake);
    fake.arrive(Uint8Array.from([...encodeFrames([frame(3), frame(4)]), ...bytes]));
    expect(fake.status).toBe('aborted');
    expect((await channel.read(SOON_MS))?.length).toBe(3);
    expect((await channel.read(SOON_MS))?.length).toBe(4);
    expect(await codeOf(channel.read(SOON_MS))).toBe(code);
    expect(await codeOf(channel.readMany(SOON_MS))).toBe(code);
  });

  it('tells an end between frames from one within a frame, and from a reset', async () => {
    const within = new FakeStream();
    const half = channelOf(within);
    within.arrive(Uint8Array.of(10, 1, 2, 3));
    within.end();
    expect(await codeOf(half.read(SOON_MS))).toBe('WIRE_TRUNCATED');

    const fake = new FakeStream();
    const channel = channelOf(fake);
    fake.arrive(encodeFrames([frame(9)]));
    fake.reset();
    expect((await channel.read(SOON_MS))?.length).toBe(9);
    expect(await codeOf(channel.read(SOON_MS))).toBe('PEER_CLOSED');

    const before = new FakeStream();
    before.reset();
    before.readableEnded = true;
    expect(await codeOf(channelOf(before).read(SOON_MS))).toBe('PEER_CLOSED');

    const closed = new FakeStream();
    const quiet = channelOf(closed);
    closed.finish();
    expect(await quiet.read(SOON_MS)).toBeUndefined();
  });

  it('gives what comes behind an end that was told before the channel was made', async () => {
    const fake = new FakeStream();
    fake.readableEnded = true;
    fake.readBufferLength = 4;
    const channel = channelOf(fake);
    const reading = channel.read(SOON_MS);
    fake.readBufferLength = 0;
    fake.arrive(encodeFrames([frame(3)]));
    expect((await reading)?.length).toBe(3);
    expect(await channel.read(SOON_MS)).toBeUndefined();
    const empty = new FakeStream();
    empty.readableEnded = true;
    expect(await channelOf(empty).read(SOON_MS)).toBeUndefined();
  });
});

describe('a reader slower than its sender', () => {
  it('pauses the stream, and resumes it when half is read', async () => {
    const fake = new FakeStream();
    const channel = channelOf(fake);
    const one = encodeFrames([frame(100_000)]);
    for (let count = 0; count < 30; count++) fake.arrive(one);
    expect(fake.readStatus).toBe('paused');
    for (let count = 0; count < 30; count++) expect((await channel.read(SOON_MS))?.length).toBe(100_000);
    expect(fake.readStatus).toBe('readable');
    expect(fake.pauses).toBeGreaterThan(1);
  });

  it('does not unpack a flood of empty frames before they are read', async () => {
    const fake = new FakeStream();
    const channel = channelOf(fake);
    fake.arrive(new Uint8Array(3_000_000));
    let frames = 0;
    let most = 0;
    fake.end();
    for (;;) {
      const some = await channel.readMany(SOON_MS);
      if (some === undefined) break;
      frames += some.length;
      most = Math.max(most, some.length);
    }
    expect(frames).toBe(3_000_000);
    expect(most).toBeLessThan(20_000);
  });

  it('is given what it did not read yet when the peer ends, and when the stream fails', async () => {
    for (const finish of ['end', 'reset'] as const) {
      const fake = new FakeStream();
      const channel = channelOf(fake);
      fake.arrive(encodeFrames(Array.from({ length: 50 }, () => frame(100_000))));
      fake[finish]();
      for (let count = 0; count < 50; count++) expect((await channel.read(SOON_MS))?.length).toBe(100_000);
      if (finish === 'end') expect(await channel.read(SOON_MS)).toBeUndefined();
      else expect(await codeOf(channel.read(SOON_MS))).toBe('PEER_CLOSED');
    }
  });

  it('shares what may be held with all other streams, and gives it back', async () => {
    const budget = new ByteBudget(1_000_000);
    const [first, second, third] = [new FakeStream(), new FakeStream(), new FakeStream()];
    const reader = channelOf(first, budget);
    const part = encodeFrames([frame(3_000_000)]).subarray(0, LIMITS.streamFreeBytes + 900_000);
    first.arrive(part);
    expect(first.status).toBe('open');
    const refused = channelOf(second, budget);
    second.arrive(part);
    expect(second.status).toBe('aborted');
    expect(await codeOf(refused.read(SOON_MS))).toBe('SESSION_BUSY');
    // Small frames go on all the while.
    const small = new FakeStream();
    const modest = channelOf(small, budget);
    small.arrive(encodeFrames([frame(10_000)]));
    expect((await modest.read(SOON_MS))?.length).toBe(10_000);

    first.reset();
    expect(await codeOf(reader.read(SOON_MS))).toBe('PEER_CLOSED');
    channelOf(third, budget);
    third.arrive(part);
    expect(third.status).toBe('open');
  });

  it('gives its share back as frames are read', async () => {
    const budget = new ByteBudget(1_000_000);
    const fake = new FakeStream();
    const channel = channelOf(fake, budget);
    for (let count = 0; count < 20; count++) {
      fake.arrive(encodeFrames([frame(900_000)]));
      expect((await channel.read(SOON_MS))?.length).toBe(900_000);
    }
    expect(fake.status).toBe('open');
  });
});

describe('writing', () => {
  it('waits for room each time there is none', async () => {
    const fake = new FakeStream();
    const channel = channelOf(fake);
    fake.takesMore = false;
    for (let count = 1; count <= 3; count++) {
      let done = false;
      const writing = channel.write([frame(1_000)]).then(() => {
        done = true;
      });
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect([fake.sent.length, done]).toEqual([count, false]);
      fake.drain();
      await writing;
    }
  });

  it('gathers small frames into large writes, and cuts large ones', async () => {
    const fake = new FakeStream();
    await channelOf(fake).write([...Array.from({ length: 100 }, () => frame(10)), frame(600_000)]);
    expect(fake.sent.length).toBe(Math.ceil((100 * 11 + 600_003) / LIMITS.sendChunkBytes));
  });

  it('fails with a code when the stream is closed, or closes while it waits', async () => {
    const fake = new FakeStream();
    const channel = channelOf(fake);
    fake.takesMore = false;
    const writing = codeOf(channel.write([frame(1)]));
    await new Promise((resolve) => setTimeout(resolve, 10));
    fake.reset();
    expect(await writing).toBe('PEER_CLOSED');
    expect(await codeOf(channel.write([frame(1)]))).toBe('PEER_CLOSED');
  });
});

describe('closing', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('does not wait for ever for a peer that never closes its side', async () => {
    const fake = new FakeStream();
    await channelOf(fake).close();
    await vi.advanceTimersByTimeAsync(LIMITS.streamLingerMs - 1);
    expect(fake.status).toBe('open');
    await vi.advanceTimersByTimeAsync(2);
    expect(fake.status).toBe('aborted');
  });

  it('leaves alone a stream that the peer has closed', async () => {
    const fake = new FakeStream();
    await channelOf(fake).close();
    fake.finish();
    await vi.advanceTimersByTimeAsync(LIMITS.streamLingerMs * 2);
    expect(fake.status).toBe('closed');
    expect(vi.getTimerCount()).toBe(0);
  });
});
