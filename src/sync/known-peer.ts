/** What this node knows of a peer, as the directory of peers keeps it and operators see it. */
import type { ErrorCode } from '../errors.ts';
import type { Dialect } from './session.ts';

/** Where a peer was heard of: configured, a list to begin with, the local network, another peer, its own dialling in. */
export type PeerSource = 'static' | 'bootstrap' | 'mdns' | 'learnt' | 'inbound';

export interface KnownPeer {
  /** Its peer id, as text. */
  readonly peer: string;
  /** Multiaddrs with the peer id, the one that was heard of last first. */
  readonly addresses: readonly string[];
  readonly source: PeerSource;
  readonly connected: boolean;
  readonly dialect: Dialect | undefined;
  /** When a session with it ended last, and when one was verified last, in ms since 1970. */
  readonly lastSessionMs: number | undefined;
  readonly lastVerifiedMs: number | undefined;
  /** Sessions that failed since one succeeded, and the code of the last one. */
  readonly failures: number;
  readonly lastCode: ErrorCode | undefined;
  /** It is left alone until then, in ms since 1970. */
  readonly retryAtMs: number | undefined;
  /** How far its clock is ahead of this one, as far as it told. */
  readonly skewMs: number | undefined;
}
