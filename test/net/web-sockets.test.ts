/** Listening on WebSockets: sockets that say nothing, too little or too much are not kept, and keep nobody. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { multiaddr } from '@multiformats/multiaddr';
import { afterEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { isDialled } from '../../src/net/addresses.ts';
import type { Host } from '../../src/net/host.ts';
import { endedIn } from '../ended-in.ts';
import { startHost, stopHosts } from './lacuna-host.ts';

afterEach(stopHosts);

async function socketTo(host: Host): Promise<Socket> {
  const [, port] = /\/tcp\/(\d+)\/ws\//.exec(host.addresses[0]!)!;
  const socket = connect(Number(port), '127.0.0.1');
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  return socket;
}

async function upgraded(host: Host): Promise<Socket> {
  const socket = await socketTo(host);
  const key = 'dGhlIHNhbXBsZSBub25jZQ==';
  socket.write(
    `GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n\r\n`,
  );
  const [answer] = (await once(socket, 'data')) as [Buffer];
  expect(answer.toString()).toContain('101 Switching Protocols');
  return socket;
}

describe('a WebSocket listener', () => {
  const listen = ['/ip4/127.0.0.1/tcp/0/ws'];

  it('cuts off sockets that are silent, or that do not come to the point', async () => {
    const host = await startHost({ listen });
    const [silent, slow] = [await socketTo(host), await socketTo(host)];
    slow.write('GET / HTTP/1.1\r\nHost: x\r\n');
    const startMs = performance.now();
    for (const socket of [silent, slow]) socket.resume();
    await Promise.all([once(silent, 'close'), once(slow, 'close')]);
    expect(performance.now() - startMs).toBeLessThan(LIMITS.handshakeMs + 4_000);
  });

  it('closes at once, whoever is silent', async () => {
    const host = await startHost({ listen });
    const sockets = [await socketTo(host), await socketTo(host), await upgraded(host)];
    const startMs = performance.now();
    await stopHosts();
    expect(performance.now() - startMs).toBeLessThan(3_000);
    for (const socket of sockets) socket.destroy();
  });

  it('takes no message beyond its limit', async () => {
    const host = await startHost({ listen });
    const socket = await upgraded(host);
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(LIMITS.webSocketMessageBytes + 1));
    // A binary message, masked, of which nothing but the length has to arrive.
    socket.write(Buffer.concat([Uint8Array.of(0x82, 0xff), length, Uint8Array.of(0, 0, 0, 0)]));
    socket.resume();
    await once(socket, 'close');
  });

  it.each([
    ['a reserved bit', [0xf2, 0x80, 0, 0, 0, 0]],
    ['no mask', [0x82, 0x01, 7]],
    ['an unknown kind', [0x8b, 0x80, 0, 0, 0, 0]],
    ['a closing with half a code', [0x88, 0x81, 0, 0, 0, 0, 1]],
  ])('ends a socket that sends %s, and nothing else', async (_, bytes) => {
    const host = await startHost({ listen });
    const socket = await upgraded(host);
    socket.resume();
    socket.write(Uint8Array.from(bytes));
    await once(socket, 'close');
    (await upgraded(host)).destroy();
  });

  it('leaves no socket behind of who is not let in', async () => {
    const host = await startHost({ listen });
    const socket = await upgraded(host);
    socket.resume();
    // A handshake that is none, in a message of its own.
    socket.write(Uint8Array.of(0x82, 0x84, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff));
    const startMs = performance.now();
    await once(socket, 'close');
    expect(performance.now() - startMs).toBeLessThan(2 * LIMITS.handshakeMs + 2_000);
  });

  it('is dialled by no node: the address leads nowhere, and nobody is told of it', async () => {
    const [here, there] = [await startHost(), await startHost({ listen })];
    expect(await endedIn(here.connect(there.addresses[0]!))).toBe('PEER_UNREACHABLE');
    expect(isDialled(multiaddr(there.addresses[0]!))).toBe(false);
    expect(isDialled(multiaddr(here.addresses[0]!))).toBe(true);
  });
});
