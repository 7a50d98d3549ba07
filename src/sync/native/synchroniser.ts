/**
 * Sessions between two Lacunas from hello to settlement, as initiator and as responder. Knows no network: peers come
 * as links and channels.
 */
import type { Interval } from '../../core/interval.ts';
import { type Scope, sameScope } from '../../core/scope.ts';
import { type ErrorCode, LacunaError, toLacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { Clock, FrameChannel, MessageStore, PeerLink, Random } from '../../ports.ts';
import { lebLength } from '../../wire/bytes.ts';
import type { HelloFrame } from '../../wire/native-frame.ts';
import { decodeNativeFrame, encodeNativeFrame } from '../../wire/native-frames.ts';
import type { Budgets } from '../budgets.ts';
import type { Ingest } from '../ingest.ts';
import type { Pace } from '../pace.ts';
import type { ScopeIndexes } from '../scope-indexes.ts';
import type { SessionPlan, SessionResult } from '../session.ts';
import { inTime, type SessionRunner, within } from '../session-runner.ts';
import { STRIKE_MALFORMED, type Strikes } from '../strikes.ts';
import type { ProtocolTraffic } from '../traffic.ts';
import type { Agreement, Agreements } from './agreements.ts';
import { Claims } from './claims.ts';
import { Conversation } from './conversation.ts';
import { type GapsWithin, helloOf, type OwnState, replyTo, type Terms, termsOf } from './greeting.ts';
import { Outlet } from './outlet.ts';
import { errorOf, PeerRefusal, refusalOf } from './refusal.ts';
import { NativeSession } from './session.ts';

export interface NativeSynchroniserInit {
  readonly runner: SessionRunner;
  readonly scopes: ScopeIndexes;
  readonly store: MessageStore;
  readonly ingest: Ingest;
  readonly strikes: Strikes;
  readonly agreements: Agreements;
  readonly budgets: Budgets;
  readonly traffic: ProtocolTraffic;
  readonly clock: Clock;
  readonly random: Random;
  /** The topics this node covers. */
  readonly scope: Scope;
  /** Where this node may lack messages. */
  readonly gapsWithin: GapsWithin;
  /** What this node sends and takes, over all sessions. */
  readonly upload: Pace;
  readonly download: Pace;
}

/** Said to those who ask at a time when it cannot be, and nothing but that. */
const POLITE: ReadonlySet<ErrorCode> = new Set([
  'SESSION_BUSY',
  'SESSION_SCOPE',
  'SESSION_WINDOW',
  'SESSION_BUDGET',
  'SESSION_ABORTED',
  'PEER_BANNED',
  'PEER_TIMEOUT',
  'STORE_FAULT',
  'STORE_CLOSED',
  'STORE_DAMAGED',
]);

export class NativeSynchroniser {
  readonly #init: NativeSynchroniserInit;
  /** What all sessions of this node are asking for. */
  readonly #claims = new Claims();

  constructor(init: NativeSynchroniserInit) {
    this.#init = init;
  }

  /**
   * Runs one session as initiator. A failed one throws after what was acknowledged was kept.
   *
   * @throws LacunaError PEER_PROTOCOL before anything else, when the peer does not speak the dialect; SESSION_…, WIRE_…,
   *   PEER_…, STORE_…
   */
  async synchronise(link: PeerLink, plan: SessionPlan, stop?: AbortSignal): Promise<SessionResult> {
    const { runner, clock, random, agreements } = this.#init;
    // Before it counts as a session: another dialect may be spoken instead.
    const channel = await opened(link, stop);
    const session = new NativeSession(link.peer, 'initiator', plan, clock);
    let isTaken = false;
    try {
      const options = { stop, yields: false, timeMs: LIMITS.nativeSessionMs };
      return await runner.run(session, options, async (signal) => {
        isTaken = true;
        await this.#guarded(session, channel, signal, async (outlet) => {
          const agreement = await agreements.with(link.peer);
          const hello = helloOf(plan, this.#ownState(agreement), random);
          session.reconciliationBytesSent += outlet.post(hello);
          const reply = await readHello(channel, session, signal);
          return termsOf(hello, reply, true, agreement, agreements);
        });
      });
    } catch (error) {
      if (!isTaken) channel.abort(new Error(toLacunaError(error).code));
      throw error;
    }
  }

  /** Answers a peer that opened a session. Never throws: how it ended is told by the runner. */
  async serve(link: PeerLink, channel: FrameChannel, stop?: AbortSignal): Promise<void> {
    const { runner, store, clock, random, scope, agreements } = this.#init;
    const plan: SessionPlan = { scope, sinceNs: 0n, untilNs: 0n, direction: 'both', dryRun: false };
    const session = new NativeSession(link.peer, 'responder', plan, clock);
    let isTaken = false;
    try {
      const options = { stop, yields: true, timeMs: LIMITS.nativeSessionMs };
      await runner.run(session, options, async (signal) => {
        isTaken = true;
        await this.#guarded(session, channel, signal, async (outlet) => {
          const hello = await readHello(channel, session, signal);
          const agreement = hello.agreement === undefined ? undefined : await agreements.with(link.peer);
          const untilNs = BigInt(Math.ceil(clock.nowMs() + LIMITS.importFutureMs)) * 1_000_000n;
          const own = {
            ...this.#ownState(agreement),
            scope,
            untilNs,
            kept: (asked: Scope, window: Interval) => store.kept(asked, window),
            takes: store.writable,
          };
          const reply = replyTo(hello, own, random);
          session.reconciliationBytesSent += outlet.post(reply);
          return termsOf(hello, reply, false, agreement, agreements);
        });
      });
    } catch (error) {
      // Turned away before it began: there was no place for it.
      if (!isTaken) await this.turnAway(channel, toLacunaError(error));
    }
  }

  #ownState(agreement: Agreement | undefined): OwnState {
    const { clock, gapsWithin } = this.#init;
    return { clockMs: Math.max(0, Math.round(clock.nowMs())), agreement, gapsWithin };
  }

  /** Greets, runs the conversation, and tells the other side why if it ends early. */
  async #guarded(
    session: NativeSession,
    channel: FrameChannel,
    deadline: AbortSignal,
    greet: (outlet: Outlet) => Promise<Terms>,
  ): Promise<void> {
    const broken = new AbortController();
    const signal = AbortSignal.any([deadline, broken.signal]);
    const outlet = new Outlet(channel, this.#init.clock, (error) => broken.abort(error));
    try {
      const terms = await within(greet(outlet), signal);
      await this.#converse(session, channel, outlet, terms, broken, signal);
    } catch (error) {
      const cause = toLacunaError(signal.aborted ? signal.reason : error);
      // Between two Lacunas the limits are those of the protocol: no honest peer is over them.
      if (cause.code === 'WIRE_LIMIT') this.#init.strikes.strike(session.peer, STRIKE_MALFORMED);
      await this.turnAway(channel, cause);
      throw cause;
    } finally {
      broken.abort();
    }
  }

  /** Ends the stream; whom nothing is to be blamed for is told why, unless it does not even read. */
  async turnAway(channel: FrameChannel, error: LacunaError): Promise<void> {
    const isPolite = error instanceof PeerRefusal || POLITE.has(error.code);
    const isSaid = isPolite && (await inTime(sayWhy(channel, error), this.#init.clock, LIMITS.nativeLeaveMs));
    if (!isSaid) channel.abort(new Error(error.code));
  }

  async #converse(
    session: NativeSession,
    channel: FrameChannel,
    outlet: Outlet,
    terms: Terms,
    broken: AbortController,
    signal: AbortSignal,
  ): Promise<void> {
    const { agreements, scopes, upload, download, clock, ...own } = this.#init;
    const { scope, sinceNs, untilNs, keyed } = terms;
    const { listing } = session.plan;
    const takes = terms.takes && listing === undefined;
    const peerSkewMs = terms.theirClockMs - clock.nowMs();
    Object.assign(session, { scope, sinceNs, untilNs, takes, peerGaps: terms.theirGaps, peerSkewMs });
    if (listing !== undefined && !sameScope(scope, session.plan.scope)) {
      throw new LacunaError('SESSION_SCOPE', 'the peer covers only some of the topics that are compared');
    }
    if (listing !== undefined && !terms.takes) {
      throw new LacunaError('WIRE_FIELD_INVALID', 'a peer that offers nothing does not say what it has');
    }
    const index = listing?.index ?? (await scopes.of(session, terms, signal));
    const conversation = new Conversation({
      ...own,
      clock,
      session,
      channel,
      outlet,
      terms,
      index,
      claims: this.#claims,
      upload,
      download,
      broken,
      signal,
    });
    await conversation.run();
    if (session.result().verified) await agreements.keep(session.peer, keyed);
  }
}

/** @throws LacunaError PEER_PROTOCOL, PEER_CLOSED; SESSION_ABORTED when it is stopped meanwhile. */
async function opened(link: PeerLink, stop: AbortSignal | undefined): Promise<FrameChannel> {
  const opening = link.openSync();
  if (stop === undefined) return await opening;
  try {
    return await within(opening, stop);
  } catch (error) {
    // It may still come, and must not stay open then.
    opening.then((channel) => channel.abort(new Error('SESSION_ABORTED'))).catch(() => undefined);
    throw toLacunaError(error, 'SESSION_ABORTED');
  }
}

/** @throws LacunaError what the peer says instead, WIRE_…, PEER_… */
async function readHello(
  channel: FrameChannel,
  session: NativeSession,
  signal: AbortSignal,
): Promise<HelloFrame> {
  const bytes = await within(channel.read(LIMITS.sessionReadMs), signal);
  if (bytes === undefined) throw new LacunaError('PEER_CLOSED', 'the peer closed the session');
  const length = bytes.length + lebLength(bytes.length);
  session.bytesReceived += length;
  session.reconciliationBytesReceived += length;
  const frame = decodeNativeFrame(bytes);
  if (frame.kind === 'refuse') throw errorOf(frame);
  if (frame.kind !== 'hello') throw new LacunaError('WIRE_FIELD_INVALID', 'a session begins with a hello');
  session.touch();
  return frame;
}

async function sayWhy(channel: FrameChannel, error: LacunaError): Promise<void> {
  if (!(error instanceof PeerRefusal)) await channel.write([encodeNativeFrame(refusalOf(error))]);
  await channel.close();
}
