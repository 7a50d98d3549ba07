/**
 * One reconciliation in the `waku` dialect: payloads back and forth on one stream until one side has nothing left
 * to say (spec/waku-sync.md). It fills in the session and hands what the peer lacks to `have`; moving messages is
 * not its business.
 */
import type { RangesPayload } from '../../core/range.ts';
import { isFinal } from '../../core/range.ts';
import type { RangeIndex } from '../../core/range-index.ts';
import { acceptOpening, openingClaims, type ReconcilePolicy, reconcileStep } from '../../core/reconcile.ts';
import { intersectScopes, type Scope } from '../../core/scope.ts';
import { boundAt, nextMoment, type SyncIdList } from '../../core/sync-id.ts';
import { LacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { FrameChannel } from '../../ports.ts';
import { lebLength } from '../../wire/bytes.ts';
import { decodeRanges, encodeRanges } from '../../wire/waku-ranges.ts';
import type { WakuSession } from './session.ts';

export interface DialogueContext {
  readonly session: WakuSession;
  readonly channel: FrameChannel;
  /** The ids that the session compares, as it says by now what that is. */
  readonly indexOf: () => Promise<RangeIndex>;
  readonly policy: ReconcilePolicy;
  /** The topics this node covers; they are what its payloads name. */
  readonly ownScope: Scope;
  /** A stock peer means the upper time of its first range to be included; a Lacuna means what it says. */
  readonly upperIncluded: boolean;
  /** Called with ids that the peer lacks, as soon as they are known. */
  readonly have: (ids: SyncIdList) => void;
}

export interface DialogueOutcome {
  /** The peer's very first answer agreed with every fingerprint we sent, or we agreed with all of its. */
  readonly equal: boolean;
  /** The peer took part with ranges of its own: it does serve this window. */
  readonly engaged: boolean;
}

/**
 * Opens with our claims and answers until the end. Closes the channel.
 *
 * @throws LacunaError SESSION_SCOPE, SESSION_ROUNDS, SESSION_BUDGET, WIRE_…, PEER_…
 */
export async function initiate(context: DialogueContext, probablyEqual: boolean): Promise<DialogueOutcome> {
  const { session, indexOf, ownScope, policy } = context;
  let index = await indexOf();
  const lower = boundAt(session.sinceNs);
  const upper = boundAt(session.untilNs);
  const claims = openingClaims(index, lower, upper, policy, probablyEqual);
  await send(context, { ...ownScope, claims });
  const first = await receive(context);
  if (first.empty && !coversAll(ownScope))
    throw new LacunaError('SESSION_SCOPE', 'the peer covers other topics');
  if (isFinal(first.payload.claims)) {
    return { equal: claims.every((claim) => claim.kind === 'fingerprint'), engaged: false };
  }
  // Only what both cover is compared; a peer with fewer topics would else differ for ever.
  const common = intersectScopes(ownScope, first.payload);
  if (common === undefined) throw new LacunaError('SESSION_SCOPE', 'the peer covers other topics');
  if (!sameScope(common, session.scope)) {
    session.scope = common;
    index = await indexOf();
  }
  await converse(context, index, first.payload);
  return { equal: false, engaged: true };
}

/** Answers a peer that opened a reconciliation. Closes the channel. Throws as `initiate` does. */
export async function respond(context: DialogueContext): Promise<DialogueOutcome> {
  const { session, channel, indexOf, ownScope, upperIncluded } = context;
  const { payload } = await receive(context);
  const first = payload.claims[0];
  const last = payload.claims.at(-1);
  if (first === undefined || last === undefined || isFinal(payload.claims))
    return { equal: false, engaged: false };
  const scope = intersectScopes(ownScope, payload);
  if (scope === undefined) {
    await channel.write([new Uint8Array(0)]);
    session.reconciliationBytesSent += 1;
    throw new LacunaError('SESSION_SCOPE', 'the peer covers other topics');
  }
  session.scope = scope;
  session.cover(first.lower, upperIncluded ? nextMoment(last.upper) : last.upper);
  const index = await indexOf();
  const claims = upperIncluded ? acceptOpening(index, payload.claims) : payload.claims;
  const agreed = await converse(context, index, { ...payload, claims });
  return { equal: agreed && claims.every(({ kind }) => kind !== 'items'), engaged: !agreed };
}

/** Answers until the end; returns true when the first answer said that nothing differs. */
async function converse(
  context: DialogueContext,
  index: RangeIndex,
  opening: RangesPayload,
): Promise<boolean> {
  const { session, ownScope, policy } = context;
  let incoming = opening;
  for (let round = 0; round < LIMITS.sessionRounds; round++) {
    if (isFinal(incoming.claims)) return false;
    const step = reconcileStep(index, incoming.claims, policy);
    session.unnamed ||= step.unnamed;
    session.needs(step.need);
    context.have(session.lacks(step.have));
    await send(context, { ...ownScope, claims: step.reply });
    if (isFinal(step.reply)) return round === 0 && step.have.count + step.need.count === 0;
    incoming = (await receive(context)).payload;
  }
  throw new LacunaError('SESSION_ROUNDS', `no end after ${LIMITS.sessionRounds} rounds`);
}

async function send({ session, channel }: DialogueContext, payload: RangesPayload): Promise<void> {
  const bytes = encodeRanges(payload);
  session.reconciliationBytesSent += bytes.length + lebLength(bytes.length);
  session.rounds += 1;
  checkBudget(session);
  await channel.write([bytes]);
}

async function receive({
  session,
  channel,
}: DialogueContext): Promise<{ payload: RangesPayload; empty: boolean }> {
  const bytes = await channel.read(LIMITS.sessionReadMs);
  if (bytes === undefined) throw new LacunaError('PEER_CLOSED', 'the peer closed the reconciliation');
  session.reconciliationBytesReceived += bytes.length + lebLength(bytes.length);
  session.rounds += 1;
  session.touch();
  checkBudget(session);
  return { payload: decodeRanges(bytes), empty: bytes.length === 0 };
}

function checkBudget(session: WakuSession): void {
  if (session.reconciliationBytesSent + session.reconciliationBytesReceived > LIMITS.sessionBytes) {
    throw new LacunaError('SESSION_BUDGET', 'the reconciliation is over its budget of bytes');
  }
}

function coversAll(scope: Scope): boolean {
  return scope.pubsubTopics.length === 0 && scope.contentTopics.length === 0;
}

function sameScope(a: Scope, b: Scope): boolean {
  return sameTopics(a.pubsubTopics, b.pubsubTopics) && sameTopics(a.contentTopics, b.contentTopics);
}

function sameTopics(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((topic) => b.includes(topic));
}
