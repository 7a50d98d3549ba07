/**
 * Sessions in the `query` dialect, with peers that can only be asked: the hashes of the window are listed slice by slice,
 * the newest first, held against what this store has, and what is missing is fetched by its hash. Every finished slice
 * counts: a session that breaks is gone on with where it was.
 */
import { without } from '../../core/interval.ts';
import { inScope } from '../../core/scope.ts';
import { boundAt, timeOf } from '../../core/sync-id.ts';
import { type ErrorCode, LacunaError, toLacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { MessageStore, PeerLink, StoredMessage } from '../../ports.ts';
import { nsFromMs } from '../../time.ts';
import type { Ingest } from '../ingest.ts';
import type { Comparison } from '../ledger.ts';
import type { Pace } from '../pace.ts';
import type { SessionPlan, SessionResult } from '../session.ts';
import type { SessionRunner } from '../session-runner.ts';
import type { Strikes } from '../strikes.ts';
import type { ProtocolTraffic } from '../traffic.ts';
import { QuerySession } from './session.ts';
import { keyOf, nextLengthNs, SliceComparison, sliceBelow } from './slice.ts';
import { StoreClient, type StoreClientInit } from './store-client.ts';

export interface QuerySynchroniserInit extends Omit<StoreClientInit, 'link'> {
  readonly runner: SessionRunner;
  readonly store: MessageStore;
  readonly ingest: Ingest;
  readonly strikes: Strikes;
  /** What this node takes, over all sessions. */
  readonly download: Pace;
  readonly traffic: ProtocolTraffic;
  /** Told of every part of a window that a session, which is still under way, has compared and filled. */
  readonly onCompared: (comparison: Comparison) => void;
}

/** What of a slice the peer has listed and this store lacks. */
interface Lacking {
  /** The keys of all of them, over all tries. */
  readonly known: Set<string>;
  /** Those that were not asked for yet. */
  batch: Uint8Array[];
}

/** The peer is right to have it, and this store may not have it: nothing is owed. */
const UNSTORABLE: ReadonlySet<ErrorCode> = new Set([
  'MESSAGE_TOO_LARGE',
  'MESSAGE_META_TOO_LONG',
  'MESSAGE_PROOF_TOO_LONG',
  'MESSAGE_TOPIC_INVALID',
  'MESSAGE_TIMESTAMP_INVALID',
  'MESSAGE_VERSION_INVALID',
  'MESSAGE_EPHEMERAL',
  'TRANSFER_OUT_OF_WINDOW',
  'TRANSFER_OUT_OF_SCOPE',
]);

export class QuerySynchroniser {
  readonly #init: QuerySynchroniserInit;

  constructor(init: QuerySynchroniserInit) {
    this.#init = init;
  }

  /**
   * Runs one session, which only takes. A failed one throws after what moved so far was kept.
   *
   * @throws LacunaError QUERY_PULL_ONLY for a plan to push; QUERY_…, SESSION_…, WIRE_…, PEER_…, STORE_…
   */
  async synchronise(link: PeerLink, plan: SessionPlan, stop?: AbortSignal): Promise<SessionResult> {
    const { runner, store, clock } = this.#init;
    if (plan.direction === 'push' || plan.listing !== undefined) {
      throw new LacunaError('QUERY_PULL_ONLY', 'a store query brings messages, and takes none');
    }
    const client = new StoreClient({ ...this.#init, link });
    const session = new QuerySession(link.peer, plan, store.horizonNs(plan.scope), client.tally, clock);
    return await runner.run(session, { stop, yields: false, timeMs: LIMITS.querySessionMs }, (signal) =>
      new Pull(this.#init, client, session, signal).run(),
    );
  }
}

/** The work of one session. */
class Pull {
  readonly #init: QuerySynchroniserInit;
  readonly #client: StoreClient;
  readonly #session: QuerySession;
  readonly #signal: AbortSignal;

  constructor(init: QuerySynchroniserInit, client: StoreClient, session: QuerySession, signal: AbortSignal) {
    this.#init = init;
    this.#client = client;
    this.#session = session;
    this.#signal = signal;
  }

  async run(): Promise<void> {
    const { store, onCompared } = this.#init;
    const session = this.#session;
    const { scope, sinceNs, peer } = session;
    let lengthNs = nsFromMs(LIMITS.querySliceMs);
    /** Where the oldest slice begins in which the peer had anything: from there on it keeps what there is. */
    let reachNs = session.untilNs;
    let untilNs = session.untilNs;
    /** Up to here, all is told to the ledger that can be. */
    let untoldNs = untilNs;
    while (untilNs > sinceNs) {
      const index = await store.index(scope, sinceNs, untilNs);
      const slice = sliceBelow(index, { sinceNs, untilNs }, lengthNs);
      const missingBefore = session.missing;
      const listed = await this.#compare(slice);
      if (session.capped) return;
      if (listed > 0) reachNs = slice.sinceNs;
      if (session.missing > missingBefore) untoldNs = slice.sinceNs;
      else if (listed > 0 && session.takes) {
        onCompared({ scope, peer, sinceNs: slice.sinceNs, untilNs: untoldNs, peerGaps: [] });
        untoldNs = slice.sinceNs;
      }
      untilNs = slice.sinceNs;
      lengthNs = nextLengthNs(lengthNs, listed);
    }
    const vouched = { sinceNs: reachNs, untilNs: session.untilNs };
    if (!(await this.#reachesBeyond(sinceNs))) session.peerGaps = without(session, [vouched]);
    session.isListed = true;
  }

  /** Whether the peer has anything that is older: then what it has not listed since, it has not. */
  async #reachesBeyond(timeNs: bigint): Promise<boolean> {
    const older = { includeData: false, pageSize: 1, stop: this.#signal };
    for await (const _page of this.#client.pages(this.#session.scope, 0n, timeNs, older)) return true;
    return false;
  }

  /** Lists a slice and fetches what of it is not here; returns how many the peer has listed. */
  async #compare(slice: { sinceNs: bigint; untilNs: bigint }): Promise<number> {
    const lacking: Lacking = { known: new Set(), batch: [] };
    try {
      return await this.#list(slice, lacking);
    } catch (error) {
      // The message behind a cursor may have been pruned meanwhile: then the slice is listed once more.
      if (toLacunaError(error).code !== 'QUERY_REFUSED') throw error;
      return await this.#list(slice, lacking);
    }
  }

  async #list(slice: { sinceNs: bigint; untilNs: bigint }, lacking: Lacking): Promise<number> {
    const session = this.#session;
    const { scope } = session;
    const { sinceNs, untilNs } = slice;
    const index = await this.#init.store.index(scope, sinceNs, untilNs);
    const own = index.ids(boundAt(sinceNs), boundAt(untilNs));
    const comparison = new SliceComparison(own);
    let listed = 0;
    const pages = this.#client.pages(scope, sinceNs, untilNs, { includeData: false, stop: this.#signal });
    for await (const { hashes } of pages) {
      listed += hashes.length;
      for (const hash of hashes) {
        const key = keyOf(hash);
        if (comparison.list(key) || lacking.known.has(key)) continue;
        lacking.known.add(key);
        session.need += 1;
        if (session.takes) await this.#want(hash, lacking, sinceNs);
        if (session.capped) return listed;
      }
      session.held = own.count + lacking.known.size;
      if (session.held > LIMITS.sessionItems || session.idsLeft() < 0) {
        throw new LacunaError('SESSION_BUDGET', 'the peer lists more of one slice than is held at once');
      }
      session.touch();
    }
    await this.#fetch(lacking, sinceNs);
    session.have += comparison.unlisted;
    session.held = 0;
    session.touch();
    return listed;
  }

  async #want(hash: Uint8Array, lacking: Lacking, sliceNs: bigint): Promise<void> {
    const session = this.#session;
    if (lacking.batch.length >= session.messagesLeft) await this.#fetch(lacking, sliceNs);
    if (session.messagesLeft === 0) {
      session.capped = true;
      return;
    }
    lacking.batch.push(hash);
    if (lacking.batch.length >= LIMITS.queryLookUpHashes) await this.#fetch(lacking, sliceNs);
  }

  /** Fetches what is to be asked for. What of it does not come is missing. */
  async #fetch(lacking: Lacking, sliceNs: bigint): Promise<void> {
    const { batch } = lacking;
    lacking.batch = [];
    if (batch.length === 0) return;
    const session = this.#session;
    const { tally } = this.#client;
    const before = { ...tally, dropped: { ...tally.dropped } };
    const absent = new Map(batch.map((hash) => [keyOf(hash), hash]));
    try {
      const found = this.#client.lookUp(batch, { includeData: true, stop: this.#signal });
      for await (const { hashes, messages } of found) {
        for (const hash of hashes) absent.delete(keyOf(hash));
        await this.#take(messages);
      }
    } finally {
      session.fetchBytesSent += tally.bytesSent - before.bytesSent;
      session.fetchBytesReceived += tally.bytesReceived - before.bytesReceived;
      this.#strike(before.dropped);
    }
    for (const hash of absent.values()) session.lacks(hash, sliceNs);
  }

  async #take(messages: readonly StoredMessage[]): Promise<void> {
    const { ingest, store, download, traffic } = this.#init;
    const session = this.#session;
    const encoded = messages.map((message) => message.encoded);
    traffic.messagesReceived(encoded);
    const admitted: StoredMessage[] = [];
    for (const message of messages) {
      const verdict =
        this.#refusalOf(message) ?? ingest.examineFrame(message.encoded, LIMITS.messageFutureMs);
      const refused =
        typeof verdict === 'string' ? verdict : 'refused' in verdict ? verdict.refused : undefined;
      if (refused !== undefined) {
        session.refuse(refused);
        if (UNSTORABLE.has(refused)) session.need -= 1;
      } else if (store.knows(message.id)) session.known += 1;
      else if (typeof verdict === 'object' && 'stored' in verdict) admitted.push(verdict.stored);
    }
    const { stored, duplicate } = await ingest.append(admitted, {
      path: 'session',
      dialect: 'query',
      role: 'initiator',
      peer: session.peer,
    });
    session.received += stored;
    session.known += duplicate;
    const bytes = encoded.reduce((sum, { length }) => sum + length, 0);
    session.messageBytes += bytes;
    session.touch();
    await download.pass(encoded, bytes, this.#signal);
  }

  #refusalOf({ id, pubsubTopic, contentTopic }: StoredMessage): ErrorCode | undefined {
    const { sinceNs, untilNs, scope } = this.#session;
    const timeNs = timeOf(id);
    if (timeNs < sinceNs || timeNs >= untilNs) return 'TRANSFER_OUT_OF_WINDOW';
    return inScope(scope, pubsubTopic, contentTopic) ? undefined : 'TRANSFER_OUT_OF_SCOPE';
  }

  /** What comes under the hash of another message, no honest peer sends. */
  #strike(before: Partial<Record<ErrorCode, number>>): void {
    const { strikes } = this.#init;
    for (const [code, times] of Object.entries(this.#client.tally.dropped)) {
      const more = times - (before[code as ErrorCode] ?? 0);
      if (code === 'MESSAGE_HASH_MISMATCH' && more > 0) strikes.strike(this.#session.peer, more);
    }
    if (strikes.isBanned(this.#session.peer)) throw new LacunaError('PEER_BANNED', 'the peer is banned');
  }
}
