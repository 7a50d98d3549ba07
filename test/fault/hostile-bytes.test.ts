/** Bytes that are no frames, frames that are no payloads: each ends in a code, at a running node, in either role. */
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { ago, makeMessages } from '../e2e/message-lines.ts';
import { addressOf, dial, frameOf, send, startPlainHost } from '../e2e/plain-host.ts';
import { errorCode, sessionOf } from '../e2e/process.ts';
import { METADATA, RECONCILIATION, TRANSFER } from '../e2e/stock-nwaku-peer.ts';
import {
  type Attack,
  attack,
  ENDLESS_PREFIX,
  endOf,
  HALF_FRAME,
  noiseBytes,
  openStream,
  PREFIX_2_31,
  PREFIX_2_63,
  sessionWith,
} from './hostile-peer.ts';
import { nodeUnderAttack } from './node-under-attack.ts';

const scene = nodeUnderAttack(makeMessages(300, ago(60_000), 5_000_000_000n));

interface MalformedVectors {
  readonly vectors: readonly { readonly name: string; readonly buffer: string; readonly decoded: object }[];
}
const malformed = (
  JSON.parse(
    readFileSync(new URL('../../spec/vectors/malformed.json', import.meta.url), 'utf8'),
  ) as MalformedVectors
).vectors.map(({ name, buffer, decoded }) => ({ name, bytes: Buffer.from(buffer, 'hex'), decoded }));
/** nwaku's process dies of these. */
const defects = malformed.filter(({ decoded }) => 'defect' in decoded);
const refused = malformed.filter(({ decoded }) => 'err' in decoded);

/** Name, bytes, what the node says to it, and whether the peer closes its side after them. */
const NO_FRAMES: readonly [string, Uint8Array, RegExp, boolean][] = [
  ['a length prefix without end', ENDLESS_PREFIX, /^WIRE_LENGTH_PREFIX$/, false],
  ['a frame of 2^31 bytes', PREFIX_2_31, /^WIRE_FRAME_TOO_LARGE$/, false],
  ['a frame of 2^63 bytes', PREFIX_2_63, /^WIRE_(FRAME_TOO_LARGE|LENGTH_PREFIX)$/, false],
  ['half a frame, then the end', HALF_FRAME, /^WIRE_TRUNCATED$/, true],
];

/** Sends these bytes on a fresh stream of a peer that was never seen before. */
async function throwAt(protocol: string, bytes: Uint8Array, close: boolean): Promise<Attack> {
  const peer = await attack(scene.node);
  const stream = await openStream(peer, protocol);
  await send(stream, bytes);
  if (close) await stream.close().catch(() => undefined);
  return peer;
}

/** A peer that answers whatever it is asked with these bytes. */
async function answering(bytes: Uint8Array, close: boolean): Promise<string> {
  const host = await startPlainHost();
  await host.handle(RECONCILIATION, async (stream) => {
    stream.addEventListener('message', () => undefined);
    await send(stream, bytes);
    if (close) await stream.close().catch(() => undefined);
  });
  return addressOf(host);
}

describe('no frames', () => {
  it.each(NO_FRAMES)('%s, to open a session', async (_, bytes, code, close) => {
    const { peerId } = await throwAt(RECONCILIATION, bytes, close);
    expect((await sessionWith(scene.node, peerId)).code).toMatch(code);
  });

  it.each(NO_FRAMES)('%s, in answer to a session', async (_, bytes, code, close) => {
    expect(errorCode(await sessionOf(scene.node, await answering(bytes, close)))).toMatch(code);
  });

  it.each(NO_FRAMES)('%s, as a transfer', async (_, bytes, code, close) => {
    const { peerId } = await throwAt(TRANSFER, bytes, close);
    const { process } = scene.node;
    const line = await process.until(() => process.logs.find(({ peer }) => peer === peerId));
    expect(line['code']).toMatch(code);
  });

  it.each(NO_FRAMES)('%s, to ask for metadata', async (_, bytes, __, close) => {
    const peer = await attack(scene.node);
    const stream = await openStream(peer, METADATA);
    await send(stream, bytes);
    if (close) await stream.close();
    expect(await endOf(stream)).toMatch(/^(reset|closed)$/);
  });

  it('noise, on every protocol', async () => {
    for (let seed = 0; seed < 6; seed++) {
      const peer = await attack(scene.node);
      for (const protocol of [RECONCILIATION, TRANSFER, METADATA]) {
        const stream = await openStream(peer, protocol);
        await send(stream, noiseBytes(3_000, seed));
        await stream.close().catch(() => undefined);
      }
      expect((await sessionWith(scene.node, peer.peerId)).code).toMatch(/^(WIRE|PEER)_/);
    }
  });

  it('noise in place of a handshake', async () => {
    const [, , host, , port] = scene.node.address.split('/');
    for (let seed = 0; seed < 10; seed++) {
      const socket = connect({ host: host!, port: Number(port) });
      socket.on('error', () => undefined);
      socket.end(noiseBytes(5_000, seed));
      await new Promise((resolve) => socket.once('close', resolve));
    }
  });

  it.each(['yamux', 'mplex'] as const)('noise in place of %s', async (muxer) => {
    for (let seed = 0; seed < 5; seed++) {
      const host = await startPlainHost({ muxer, muxerGarbage: noiseBytes(70_000, seed) });
      const connection = await dial(host, scene.node.address).catch(() => undefined);
      await connection
        ?.newStream(RECONCILIATION, { signal: AbortSignal.timeout(2_000) })
        .catch(() => undefined);
    }
  });
});

describe('payloads that are none', () => {
  it.each(defects.map(({ name, bytes }) => [name, bytes] as const))(
    '%s, which ends a nwaku',
    async (_, bytes) => {
      const { peerId } = await throwAt(RECONCILIATION, frameOf(bytes), false);
      expect((await sessionWith(scene.node, peerId)).code).toMatch(/^WIRE_/);
      expect(errorCode(await sessionOf(scene.node, await answering(frameOf(bytes), false)))).toMatch(
        /^WIRE_/,
      );
    },
  );

  it('all that a nwaku refuses too: the session ends, with a code or as if nothing were asked', async () => {
    expect(refused.length).toBeGreaterThan(300);
    // A peer is banned after ten of them.
    for (let from = 0; from < refused.length; from += 8) {
      const peer = await attack(scene.node);
      const streams = [];
      for (const { bytes } of refused.slice(from, from + 8)) {
        const stream = await openStream(peer, RECONCILIATION);
        await send(stream, frameOf(bytes));
        await stream.close().catch(() => undefined);
        // Four sessions with one peer are the limit.
        streams.push(endOf(stream));
        if (streams.length === 4) await Promise.all(streams.splice(0));
      }
      await Promise.all(streams);
    }
  });

  it('one after the other: after ten the peer is banned, and others are not', async () => {
    const peer = await attack(scene.node);
    const bytes = frameOf(defects[0]!.bytes);
    for (let times = 0; times < 10; times++) {
      const stream = await openStream(peer, RECONCILIATION);
      await send(stream, bytes);
      await endOf(stream);
    }
    const { process } = scene.node;
    await process.until(() =>
      process.logs.find(({ code, peer: banned }) => code === 'PEER_BANNED' && banned === peer.peerId),
    );
    await expect.poll(() => peer.connection.status).not.toBe('open');
    // The gate closes the connection at the first sight of the peer's key.
    const again = await dial(peer.host, scene.node.address).catch(() => undefined);
    await expect.poll(() => again === undefined || again.status !== 'open').toBe(true);
  });
});
