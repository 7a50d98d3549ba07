/** Hosts of ours in the test's process, on ports of the system's choice; `stopHosts` ends them. */
import { generateKeyPair } from '@libp2p/crypto/keys';
import { Host, type HostInit } from '../../src/net/host.ts';
import { Gate, type GateInit } from '../../src/sync/gate.ts';
import { LimitCounts } from '../../src/sync/limit-counts.ts';
import { Traffic } from '../../src/sync/traffic.ts';
import { systemClock } from '../../src/system.ts';

const running: Host[] = [];

export async function createHost(init: Partial<HostInit> = {}): Promise<Host> {
  const host = await Host.create({
    privateKey: await generateKeyPair('Ed25519'),
    listen: ['/ip4/127.0.0.1/tcp/0'],
    version: '0.0.0',
    clock: systemClock,
    gate: makeGate(),
    admitsStream: () => true,
    traffic: new Traffic(),
    mdns: false,
    ...init,
  });
  running.push(host);
  return host;
}

/** A gate that is open to everybody, but for what is said. */
export function makeGate(init: Partial<GateInit> = {}): Gate {
  return new Gate({
    allow: [],
    deny: [],
    configured: [],
    isPrivate: false,
    connectionsMax: 300,
    isBanned: () => false,
    counts: new LimitCounts(),
    ...init,
  });
}

export async function startHost(init: Partial<HostInit> = {}): Promise<Host> {
  const host = await createHost(init);
  await host.start();
  return host;
}

export async function stopHosts(): Promise<void> {
  for (const host of running.splice(0)) await host.stop();
}
