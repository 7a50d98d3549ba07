/**
 * The directory of peers: whom this node has heard of, by whom, and how it went with them. Says who may be asked now:
 * a peer that fails is left alone ever longer, one that asks for time is given it, and one that shows itself again is
 * tried at once.
 */
import type { ErrorCode, LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, Random } from '../ports.ts';
import type { KnownPeer, PeerSource } from './known-peer.ts';
import type { Dialect, SessionResult } from './session.ts';

export interface PeerDirectoryInit {
  /** This node itself, which is no peer. */
  readonly ownPeer: string;
  readonly clock: Clock;
  readonly random: Random;
  /** The usual pause between sessions. */
  readonly intervalMs: number;
  /** Told when a peer can be asked that could not be before. */
  readonly onNews: () => void;
}

interface Entry {
  readonly peer: string;
  addresses: string[];
  source: PeerSource;
  connected: boolean;
  isBusy: boolean;
  dialect: Dialect | undefined;
  lastSessionMs: number | undefined;
  lastVerifiedMs: number | undefined;
  failures: number;
  lastCode: ErrorCode | undefined;
  /** On the monotonic clock: it is left alone until then. */
  retryAtMs: number;
  skewMs: number | undefined;
}

const ADDRESSES_MAX = 4;
/** Where a peer was heard of from several sides, the surest counts; who was configured is never forgotten. */
const SURENESS: readonly PeerSource[] = ['learnt', 'inbound', 'mdns', 'bootstrap', 'static'];
/** It will be the same for a while: nothing is gained by asking soon. */
const LASTING: ReadonlySet<ErrorCode> = new Set([
  'PEER_PROTOCOL',
  'PEER_CLUSTER',
  'PEER_IDENTITY',
  'PEER_REFUSED',
  'PEER_BANNED',
  'SESSION_SCOPE',
]);
/** No failing of the peer. */
const BLAMELESS: ReadonlySet<ErrorCode> = new Set(['SESSION_WINDOW', 'SESSION_BUSY', 'SESSION_ABORTED']);

export class PeerDirectory {
  readonly #init: PeerDirectoryInit;
  readonly #entries = new Map<string, Entry>();

  constructor(init: PeerDirectoryInit) {
    this.#init = init;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Whether at least one peer is known and did not fail when it was asked last. */
  get hasReachable(): boolean {
    return [...this.#entries.values()].some(({ failures }) => failures === 0);
  }

  /** Takes note of an address that ends in /p2p/<peer id>. */
  add(address: string, source: PeerSource): void {
    const peer = peerOf(address);
    if (peer === '' || peer === this.#init.ownPeer) return;
    const known = this.#entries.get(peer);
    if (known === undefined) {
      if (!this.#makeRoom(source)) return;
      this.#entries.set(peer, newEntry(peer, address, source));
      this.#init.onNews();
      return;
    }
    if (SURENESS.indexOf(source) > SURENESS.indexOf(known.source)) known.source = source;
    // A configured address is not pushed out by what others say.
    if (known.source === 'static' && source !== 'static') return;
    const others = known.addresses.filter((other) => other !== address);
    known.addresses = [address, ...others].slice(0, ADDRESSES_MAX);
  }

  /** It is connected: whatever failed before, it is there now. */
  connected(peer: string): void {
    const entry = this.#entries.get(peer);
    if (entry === undefined || entry.connected) return;
    entry.connected = true;
    if (entry.failures === 0 || entry.isBusy) return;
    entry.failures = 0;
    entry.retryAtMs = 0;
    this.#init.onNews();
  }

  disconnected(peer: string): void {
    const entry = this.#entries.get(peer);
    if (entry !== undefined) entry.connected = false;
  }

  /** The peers that may be asked now, the address to ask each at, and what it is known to speak. */
  ready(): { readonly peer: string; readonly address: string; readonly dialect: Dialect | undefined }[] {
    const nowMs = this.#init.clock.monotonicMs();
    const ready = [...this.#entries.values()].filter(
      ({ isBusy, retryAtMs }) => !isBusy && retryAtMs <= nowMs,
    );
    return ready.map(({ peer, addresses, failures, dialect }) => ({
      peer,
      address: addresses[failures % addresses.length]!,
      dialect,
    }));
  }

  /** A session with it begins: one at a time. */
  begin(peer: string): void {
    const entry = this.#entries.get(peer);
    if (entry !== undefined) entry.isBusy = true;
  }

  /** The session that this node had asked for is over. */
  end(peer: string, error: LacunaError | undefined): void {
    const entry = this.#entries.get(peer);
    if (entry === undefined) return;
    entry.isBusy = false;
    entry.lastCode = error?.code;
    if (error === undefined) {
      entry.failures = 0;
      entry.retryAtMs = 0;
      return;
    }
    const isBlameless = BLAMELESS.has(error.code);
    if (!isBlameless && error.retryAfterMs === undefined) entry.failures += 1;
    entry.retryAtMs = this.#init.clock.monotonicMs() + this.#pauseMs(entry, error, isBlameless);
  }

  /** How a session with it went, whoever asked for it. */
  note({ peer, dialect, verified, peerSkewMs }: SessionResult): void {
    const entry = this.#entries.get(peer);
    if (entry === undefined) return;
    const nowMs = this.#init.clock.nowMs();
    entry.dialect = dialect;
    entry.lastSessionMs = nowMs;
    if (verified) entry.lastVerifiedMs = nowMs;
    if (peerSkewMs !== undefined) entry.skewMs = Math.round(peerSkewMs);
  }

  /** Addresses of Lacunas that were verified lately, the last one first. */
  goodAddresses(countMax: number): string[] {
    const good = [...this.#entries.values()].filter(
      ({ dialect, lastVerifiedMs, failures }) =>
        dialect === 'native' && lastVerifiedMs !== undefined && failures === 0,
    );
    good.sort((a, b) => b.lastVerifiedMs! - a.lastVerifiedMs!);
    return good.flatMap(({ addresses }) => addresses.slice(0, 1)).slice(0, countMax);
  }

  list(): readonly KnownPeer[] {
    const { clock } = this.#init;
    const offsetMs = clock.nowMs() - clock.monotonicMs();
    return [...this.#entries.values()].map(({ isBusy: _, retryAtMs, ...entry }) => ({
      ...entry,
      retryAtMs: retryAtMs > clock.monotonicMs() ? Math.round(retryAtMs + offsetMs) : undefined,
    }));
  }

  #pauseMs({ failures }: Entry, { code, retryAfterMs }: LacunaError, isBlameless: boolean): number {
    const { random, intervalMs } = this.#init;
    const spread = 0.9 + random.below(200) / 1_000;
    // Never sooner than it asks for, and not all at the same moment.
    if (retryAfterMs !== undefined) return retryAfterMs * (1 + random.below(250) / 1_000);
    const longestMs = Math.min(LIMITS.backOffMaxMs, Math.max(LIMITS.retryMs, 4 * intervalMs));
    if (LASTING.has(code)) return longestMs * spread;
    if (isBlameless) return 0;
    return Math.min(longestMs, LIMITS.retryMs * 2 ** (failures - 1)) * spread;
  }

  /** With too many, who was only heard of goes first, and of those who fails most. */
  #makeRoom(source: PeerSource): boolean {
    if (this.#entries.size < LIMITS.peersKnown) return true;
    let worst: Entry | undefined;
    for (const entry of this.#entries.values()) {
      if (entry.isBusy || entry.connected || SURENESS.indexOf(entry.source) > SURENESS.indexOf(source))
        continue;
      if (entry.source === 'static') continue;
      if (worst === undefined || entry.failures > worst.failures) worst = entry;
    }
    if (worst === undefined) return source === 'static';
    this.#entries.delete(worst.peer);
    return true;
  }
}

function newEntry(peer: string, address: string, source: PeerSource): Entry {
  return {
    peer,
    addresses: [address],
    source,
    connected: false,
    isBusy: false,
    dialect: undefined,
    lastSessionMs: undefined,
    lastVerifiedMs: undefined,
    failures: 0,
    lastCode: undefined,
    retryAtMs: 0,
    skewMs: undefined,
  };
}

function peerOf(address: string): string {
  return address.slice(address.lastIndexOf('/p2p/') + '/p2p/'.length);
}
