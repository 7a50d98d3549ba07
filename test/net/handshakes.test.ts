/** Handshakes are counted by host: one that has too many under way waits, and nobody else does. */
import { type MultiaddrConnection, TypedEventEmitter } from '@libp2p/interface';
import { multiaddr } from '@multiformats/multiaddr';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/limits.ts';
import { Handshakes } from '../../src/net/handshakes.ts';

class FakeConnection extends TypedEventEmitter<{ close: Event }> {
  readonly remoteAddr;

  constructor(host: string, port: number) {
    super();
    this.remoteAddr = multiaddr(`/ip4/${host}/tcp/${port}`);
  }

  get connection(): MultiaddrConnection {
    return this as unknown as MultiaddrConnection;
  }
}

describe('handshakes', () => {
  it('of one host are limited; those of others are not, and places come free', () => {
    const handshakes = new Handshakes();
    const many = Array.from(
      { length: LIMITS.connectionsPendingPerHost },
      (_, port) => new FakeConnection('10.0.0.1', port),
    );
    for (const { connection } of many) expect(handshakes.begin(connection)).toBe(true);
    expect(handshakes.begin(new FakeConnection('10.0.0.1', 1_000).connection)).toBe(false);
    expect(handshakes.begin(new FakeConnection('10.0.0.2', 1).connection)).toBe(true);

    handshakes.end(many[0]!.connection);
    expect(handshakes.begin(new FakeConnection('10.0.0.1', 1_001).connection)).toBe(true);
    expect(handshakes.begin(new FakeConnection('10.0.0.1', 1_002).connection)).toBe(false);
    many[1]!.dispatchEvent(new Event('close'));
    expect(handshakes.begin(new FakeConnection('10.0.0.1', 1_003).connection)).toBe(true);
  });

  it('end once: a connection that is upgraded and then closes frees one place', () => {
    const handshakes = new Handshakes();
    const first = new FakeConnection('10.0.0.1', 1);
    expect(handshakes.begin(first.connection)).toBe(true);
    handshakes.end(first.connection);
    for (let port = 0; port < LIMITS.connectionsPendingPerHost; port++) {
      expect(handshakes.begin(new FakeConnection('10.0.0.1', 100 + port).connection)).toBe(true);
    }
    first.dispatchEvent(new Event('close'));
    expect(handshakes.begin(new FakeConnection('10.0.0.1', 2).connection)).toBe(false);
  });
});
