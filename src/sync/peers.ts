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
  /** Whether peers are asked that are known for nothing but their having dialled in. */
  readonly asksInbound: boolean;
  /** Told when a peer can be asked that could not be before. */
  readonly onNews: () => void;
}

export interface ReadyPeer {
  readonly peer: string;
  /** Where to ask it. */
  readonly address: string;
  /** What it is known to speak. */
  readonly dialect: Dialect | undefined;
  /** Whether it was configured. */
  readonly isOwn: boolean;
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
  /** On the monotonic clock: it is left alone until then; and until then as it has asked for itself. */
  retryAtMs: number;
  askedUntilMs: number;
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
  'SESSION_WINDOW',
]);
/** Answers of a peer that is there, and has nothing of a part of what this node covers: it may have of another part. */
const ABSENT: ReadonlySet<ErrorCode> = new Set(['SESSION_WINDOW', 'SESSION_SCOPE']);
/** Failings of this node itself. */
const OUR_OWN: ReadonlySet<ErrorCode> = new Set([
  'SESSION_BUSY',
  'SESSION_ABORTED',
  'STORE_FAULT',
  'STORE_BUSY',
  'STORE_CLOSED',
]);

export class PeerDirectory {
  readonly #init: PeerDirectoryInit;
  readonly #entries = new Map<string, Entry>();

  constructor(init: PeerDirectoryInit) {
    this.#init = init;
  }

  has(peer: string): boolean {
    return this.#entries.has(peer);
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
    entry.retryAtMs = entry.askedUntilMs;
    this.#init.onNews();
  }

  disconnected(peer: string): void {
    const entry = this.#entries.get(peer);
    if (entry !== undefined) entry.connected = false;
  }

  /** The peers that may be asked now. */
  ready(): ReadyPeer[] {
    const { clock, asksInbound } = this.#init;
    const nowMs = clock.monotonicMs();
    const ready = [...this.#entries.values()].filter(
      ({ isBusy, retryAtMs, source }) =>
        !isBusy && retryAtMs <= nowMs && (asksInbound || source !== 'inbound'),
    );
    return ready.map(({ peer, addresses, failures, dialect, source }) => ({
      peer,
      address: addresses[failures % addresses.length]!,
      dialect,
      isOwn: source === 'static',
    }));
  }

  /** A session with it begins: one at a time. */
  begin(peer: string): void {
    const entry = this.#entries.get(peer);
    if (entry !== undefined) entry.isBusy = true;
  }

  /** The session that this node had asked for is over; it was `isPart` of what this node covers, or all of it. */
  end(peer: string, error: LacunaError | undefined, isPart = false): void {
    const entry = this.#entries.get(peer);
    if (entry === undefined) return;
    entry.isBusy = false;
    entry.lastCode = error?.code;
    const nowMs = this.#init.clock.monotonicMs();
    const isAbsent = isPart && error !== undefined && ABSENT.has(error.code);
    if (error === undefined || isAbsent) entry.failures = 0;
    if (error === undefined) {
      entry.retryAtMs = 0;
      return;
    }
    const { random } = this.#init;
    if (error.retryAfterMs !== undefined) {
      // Never sooner than it asks for, and not all at the same moment.
      entry.askedUntilMs = nowMs + error.retryAfterMs * (1 + random.below(250) / 1_000);
      entry.retryAtMs = entry.askedUntilMs;
      return;
    }
    const isBlameless = isAbsent || OUR_OWN.has(error.code);
    if (!isBlameless) entry.failures += 1;
    const pauseMs = isBlameless ? shortPauseMs(error.code) : this.#pauseMs(entry, error.code);
    entry.retryAtMs = nowMs + pauseMs * (0.9 + random.below(200) / 1_000);
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
    return [...this.#entries.values()].map(({ isBusy: _, askedUntilMs: __, retryAtMs, ...entry }) => ({
      ...entry,
      retryAtMs: retryAtMs > clock.monotonicMs() ? Math.round(retryAtMs + offsetMs) : undefined,
    }));
  }

  /** After a failure. */
  #pauseMs({ failures }: Entry, code: ErrorCode): number {
    const longestMs = Math.min(LIMITS.backOffMaxMs, Math.max(LIMITS.retryMs, 4 * this.#init.intervalMs));
    if (LASTING.has(code)) return longestMs;
    return Math.min(longestMs, LIMITS.retryMs * 2 ** (failures - 1));
  }

  /** With too many, who was only heard of goes first, of those who fails most, and of those who was no use longest. */
  #makeRoom(source: PeerSource): boolean {
    if (this.#entries.size < LIMITS.peersKnown) return true;
    let worst: Entry | undefined;
    for (const entry of this.#entries.values()) {
      if (entry.isBusy || entry.connected || entry.source === 'static') continue;
      if (SURENESS.indexOf(entry.source) > SURENESS.indexOf(source)) continue;
      if (worst === undefined || isWorse(entry, worst)) worst = entry;
    }
    if (worst === undefined) return source === 'static';
    this.#entries.delete(worst.peer);
    return true;
  }
}

/** Where nobody failed but this node: a store at fault is opened again within its own time. */
function shortPauseMs(code: ErrorCode): number {
  return code.startsWith('STORE_') ? LIMITS.reopenDelayMaxMs : LIMITS.retryMs;
}

function isWorse(one: Entry, other: Entry): boolean {
  const sureness = SURENESS.indexOf(one.source) - SURENESS.indexOf(other.source);
  if (sureness !== 0) return sureness < 0;
  if (one.failures !== other.failures) return one.failures > other.failures;
  return (one.lastVerifiedMs ?? 0) < (other.lastVerifiedMs ?? 0);
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
    askedUntilMs: 0,
    skewMs: undefined,
  };
}

function peerOf(address: string): string {
  return address.slice(address.lastIndexOf('/p2p/') + '/p2p/'.length);
}
