/** Addresses of peers: multiaddrs that end in a peer id. */
import { BlockList, isIP } from 'node:net';
import { peerIdFromString } from '@libp2p/peer-id';
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';

/** @throws LacunaError PEER_ADDRESS_INVALID. */
export function parsePeerAddress(address: string): Multiaddr {
  try {
    const parsed = multiaddr(address);
    const last = parsed.getComponents().at(-1);
    if (last?.name === 'p2p' && last.value !== undefined) {
      peerIdFromString(last.value);
      return parsed;
    }
  } catch {
    // Reported below like an address without a peer id.
  }
  throw new LacunaError('PEER_ADDRESS_INVALID', `'${address}' is not a multiaddr with /p2p/<peer id>`);
}

/** Nodes dial each other over TCP. At WebSockets they listen for clients; not every engine can dial one. */
export function isDialled(address: Multiaddr): boolean {
  return !address.getComponents().some(({ name }) => name === 'ws' || name === 'wss');
}

/** The peer id at the end of an address, as text. @throws LacunaError PEER_ADDRESS_INVALID. */
export function peerOfAddress(address: string): string {
  return peerIdFromString(parsePeerAddress(address).getComponents().at(-1)!.value!).toString();
}

/** Where a connection goes: an IP address or a name. */
export function hostOfAddress(address: Multiaddr): string {
  const [host] = address.getComponents();
  return host?.value ?? '';
}

/**
 * Where a peer that came in may be reached, of the addresses that it says to listen at: those at the host that it came
 * from. Of any other one nobody knows that it is not somebody else's.
 */
export function reachableAddresses(
  peer: string,
  cameFrom: Multiaddr,
  listensAt: readonly Multiaddr[],
): string[] {
  const host = hostOfAddress(cameFrom);
  const own = listensAt.filter((address) => hostOfAddress(address) === host && isDialled(address));
  return own.slice(0, LIMITS.peerOwnAddresses).map((address) => withPeer(address, peer));
}

/**
 * Of addresses that a peer told, those that are worth trying: well-formed, not of this node, each once, and not of a
 * network that lies behind the one by which the peer itself is reached.
 */
export function usableAddresses(told: readonly string[], ownPeer: string, reachedBy: Multiaddr): string[] {
  const isUsable = (address: string): boolean => {
    try {
      const parsed = parsePeerAddress(address);
      return peerOfAddress(address) !== ownPeer && isDialled(parsed) && reachOf(parsed) >= reachOf(reachedBy);
    } catch {
      return false;
    }
  };
  return [...new Set(told)].filter(isUsable);
}

/** From how far away an address leads anywhere: 0 on its own machine, 1 in a private network, 2 from everywhere. */
function reachOf(address: Multiaddr): 0 | 1 | 2 {
  const host = hostOfAddress(address);
  const family = isIP(host) === 6 ? 'ipv6' : 'ipv4';
  if (isIP(host) === 0) return 2;
  if (LOOPBACK.check(host, family)) return 0;
  return PRIVATE.check(host, family) ? 1 : 2;
}

const LOOPBACK = blockList('127.0.0.0/8', '0.0.0.0/8', '::/127');
const PRIVATE = blockList(
  '10.0.0.0/8',
  '100.64.0.0/10',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.168.0.0/16',
  'fc00::/7',
  'fe80::/10',
);

function blockList(...subnets: readonly string[]): BlockList {
  const list = new BlockList();
  for (const subnet of subnets) {
    const [network, prefix] = subnet.split('/');
    list.addSubnet(network!, Number(prefix), isIP(network!) === 6 ? 'ipv6' : 'ipv4');
  }
  return list;
}

/** The address with the peer id at its end. */
export function withPeer(address: Multiaddr, peer: string): string {
  const last = address.getComponents().at(-1);
  return last?.name === 'p2p' ? address.toString() : `${address.toString()}/p2p/${peer}`;
}
