/**
 * What two Lacunas say to each other in a session (spec/native-sync.md), frame by frame. `native-frames.ts` makes bytes
 * of them.
 */
import type { Interval } from '../core/interval.ts';
import type { NativePayload } from '../core/native/payload.ts';
import type { Scope } from '../core/scope.ts';
import type { SyncIdList } from '../core/sync-id.ts';

/** The first frame of each side: what it can do, what it wants to compare, and how much it will take. */
export interface HelloFrame {
  readonly kind: 'hello';
  /** A set of bits, up to 2^31-1; those without a meaning here are kept. */
  readonly features: number;
  /** Whether this side is ready to send messages, and to take some. */
  readonly gives: boolean;
  readonly takes: boolean;
  /** The check is to be over the hash of every id. */
  readonly audit: boolean;
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
  /** 16 bytes: this side's part of the session's key. */
  readonly salt: Uint8Array;
  /** 8 bytes that name the key under which both were equal last; the answer repeats them, or has none. */
  readonly agreement: Uint8Array | undefined;
  /** Bytes of messages that may be on their way to this side without an acknowledgement. */
  readonly windowBytes: number;
  /** The most that this side takes in the whole session. */
  readonly messagesMax: number | undefined;
  readonly bytesMax: number | undefined;
  readonly scope: Scope;
  /** What this side's clock says, ms since 1970. */
  readonly clockMs: number;
  /** Where in the window this side may lack messages, and knows it: ascending, disjoint, none empty. */
  readonly gaps: readonly Interval[];
}

/** There will be no session, or no more of it. */
export interface RefuseFrame {
  readonly kind: 'refuse';
  readonly reason: RefusalReason;
  readonly retryAfterMs: number;
}

/** One step of the reconciliation. */
export interface PayloadFrame {
  readonly kind: 'payload';
  readonly payload: NativePayload;
}

/** Ids whose messages may be had; pages are counted from 0 on, as they are sent. */
export interface OfferFrame {
  readonly kind: 'offer';
  /** Strictly descending: the newest first. */
  readonly ids: SyncIdList;
  readonly last: boolean;
}

/** Which ids of an offered page are wanted, from the id at `first` on. */
export interface WantFrame {
  readonly kind: 'want';
  readonly page: number;
  readonly first: number;
  /** A bit an id, bit 0 of byte 0 first. */
  readonly bits: Uint8Array;
  /** Nothing more of this page will be wanted. */
  readonly final: boolean;
}

export interface BatchFrame {
  readonly kind: 'batch';
  /** Wants that are wholly answered, up to and with this batch. */
  readonly wants: number;
  /** WakuMessageAndTopic each, as stored. */
  readonly messages: readonly Uint8Array[];
}

/** So many batches, from the first one on, are on the disk or refused. */
export interface AckFrame {
  readonly kind: 'ack';
  readonly batches: number;
}

/** The reconciliation is over on this side. */
export interface OverFrame {
  readonly kind: 'over';
  readonly state: 'agreed' | 'incomplete';
  /** Ids that this side found the other to lack. */
  readonly have: number;
}

/** What this side has by the end. */
export interface ResultFrame {
  readonly kind: 'result';
  /** A cap ended the transfer, on either way. */
  readonly capped: boolean;
  /** Messages stored; offered and here by another way; refused; and found at the other side and still not here. */
  readonly received: number;
  readonly known: number;
  readonly refused: number;
  readonly missing: number;
}

/** Nothing to say, and still there. */
export interface AliveFrame {
  readonly kind: 'alive';
}

export type NativeFrame =
  | HelloFrame
  | RefuseFrame
  | PayloadFrame
  | OfferFrame
  | WantFrame
  | BatchFrame
  | AckFrame
  | OverFrame
  | ResultFrame
  | AliveFrame;

/** On the wire a reason is its place here; one that is not known is read as the first. */
export const REFUSAL_REASONS = [
  'internal',
  'busy',
  'scope',
  'window',
  'fault',
  'banned',
  'protocol',
  'budget',
  'stopping',
  'timeout',
] as const;
export type RefusalReason = (typeof REFUSAL_REASONS)[number];
