/**
 * How a session begins: each side says what it covers, what it gives and takes, and what it remembers of the other;
 * what both can do is what the session does.
 */

import { type Interval, intersection } from '../../core/interval.ts';
import type { KeyedSums } from '../../core/keyed-sums.ts';
import type { KeptWindow } from '../../core/retention.ts';
import { intersectScopes, type Scope, sameScope } from '../../core/scope.ts';
import { LacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { Random } from '../../ports.ts';
import type { HelloFrame } from '../../wire/native-frame.ts';
import type { SessionPlan } from '../session.ts';
import type { Agreement, Agreements } from './agreements.ts';

/** Features of the protocol beyond what every implementation has. */
const FEATURE_AUDIT = 1;

/** What a session is, once both have said hello. */
export interface Terms {
  readonly scope: Scope;
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
  /** Whether this side sends messages, and whether it takes some. */
  readonly gives: boolean;
  readonly takes: boolean;
  readonly audit: boolean;
  readonly keyed: KeyedSums;
  /** The two agreed lately: one fingerprint opens. */
  readonly probablyEqual: boolean;
  /** What the other side allows. */
  readonly windowBytes: number;
  readonly messagesMax: number | undefined;
  readonly bytesMax: number | undefined;
  /** Where the other side may lack messages, as it says. */
  readonly theirGaps: readonly Interval[];
  /** What its clock said. */
  readonly theirClockMs: number;
}

const SALT_BYTES = 16;

/** What a side says of itself, whoever asks. */
export interface OwnState {
  /** What its clock says, ms since 1970. */
  readonly clockMs: number;
  readonly agreement: Agreement | undefined;
  /** Where it may lack messages of a window. */
  readonly gapsWithin: GapsWithin;
}

export type GapsWithin = (scope: Scope, window: Interval) => readonly Interval[];

export function helloOf(plan: SessionPlan, own: OwnState, random: Random): HelloFrame {
  const { scope, sinceNs, untilNs, direction, dryRun, audit, listing, messagesMax, bytesMax } = plan;
  return {
    kind: 'hello',
    features: FEATURE_AUDIT,
    gives: direction !== 'pull' && !dryRun,
    // Who lists takes offers, and wants nothing of them.
    takes: direction !== 'push' && (!dryRun || listing !== undefined),
    audit: audit ?? false,
    sinceNs,
    untilNs,
    salt: saltOf(random),
    agreement: own.agreement?.id,
    windowBytes: LIMITS.nativeWindowBytes,
    messagesMax,
    bytesMax,
    scope,
    clockMs: own.clockMs,
    gaps: own.gapsWithin(scope, plan),
  };
}

export interface OwnTerms extends OwnState {
  /** The topics this node covers. */
  readonly scope: Scope;
  /** The parts of a window of which something is kept, those first that end last. */
  readonly kept: (scope: Scope, window: Interval) => readonly KeptWindow[];
  /** Times from here on are none of its business. */
  readonly untilNs: bigint;
  /** Whether messages can be stored at the moment. */
  readonly takes: boolean;
}

/**
 * The answer to a hello.
 *
 * @throws LacunaError SESSION_SCOPE, SESSION_WINDOW when the two have nothing in common.
 */
export function replyTo(hello: HelloFrame, own: OwnTerms, random: Random): HelloFrame {
  const common = intersectScopes(own.scope, hello.scope);
  if (common === undefined) throw new LacunaError('SESSION_SCOPE', 'the peer covers other topics');
  const asked = intersection(hello, { sinceNs: 0n, untilNs: own.untilNs });
  // Where some topics are kept for longer than others, the time further back is another session, of these topics alone:
  // ids name no topics, and what is not kept would be taken again and again.
  const window = asked === undefined ? undefined : own.kept(common, asked)[0];
  if (window === undefined) throw new LacunaError('SESSION_WINDOW', 'the window asked for is empty here');
  const { scope, sinceNs, untilNs } = window;
  const isRemembered = own.agreement !== undefined && sameBytes(own.agreement.id, hello.agreement);
  return {
    kind: 'hello',
    features: FEATURE_AUDIT,
    gives: hello.takes,
    takes: hello.gives && own.takes,
    audit: hello.audit && (hello.features & FEATURE_AUDIT) !== 0,
    sinceNs,
    untilNs,
    salt: saltOf(random),
    agreement: isRemembered ? hello.agreement : undefined,
    windowBytes: LIMITS.nativeWindowBytes,
    messagesMax: undefined,
    bytesMax: undefined,
    scope,
    clockMs: own.clockMs,
    gaps: own.gapsWithin(scope, window),
  };
}

/**
 * What the two hellos make of the session, for the initiator or the responder.
 *
 * @throws LacunaError WIRE_FIELD_INVALID when the answer goes beyond the question.
 */
export function termsOf(
  hello: HelloFrame,
  reply: HelloFrame,
  isInitiator: boolean,
  agreement: Agreement | undefined,
  agreements: Agreements,
): Terms {
  const common = intersectScopes(hello.scope, reply.scope);
  const isWithin =
    reply.sinceNs >= hello.sinceNs && reply.untilNs <= hello.untilNs && reply.sinceNs < reply.untilNs;
  if (!isWithin || common === undefined || !sameScope(common, reply.scope)) {
    throw new LacunaError('WIRE_FIELD_INVALID', 'the answer goes beyond what was asked');
  }
  const [own, other] = isInitiator ? [hello, reply] : [reply, hello];
  const reused = reply.agreement === undefined ? undefined : agreement;
  if (reply.agreement !== undefined && !sameBytes(reply.agreement, reused?.id)) {
    throw new LacunaError('WIRE_FIELD_INVALID', 'an agreement that was never made');
  }
  return {
    scope: reply.scope,
    sinceNs: reply.sinceNs,
    untilNs: reply.untilNs,
    gives: own.gives && other.takes,
    takes: own.takes && other.gives,
    audit: hello.audit && reply.audit,
    keyed: reused?.keyed ?? agreements.keyOf(hello.salt, reply.salt),
    probablyEqual: reused !== undefined && agreements.isFresh(reused),
    windowBytes: other.windowBytes,
    messagesMax: other.messagesMax,
    bytesMax: other.bytesMax,
    theirGaps: other.gaps,
    theirClockMs: other.clockMs,
  };
}

function saltOf(random: Random): Uint8Array {
  return Uint8Array.from({ length: SALT_BYTES }, () => random.below(256));
}

function sameBytes(a: Uint8Array, b: Uint8Array | undefined): boolean {
  return a.length === b?.length && a.every((byte, at) => byte === b[at]);
}
