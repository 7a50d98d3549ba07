/**
 * The bytes of reconciliation on the wire against the engine's own figures, over the sets of the reconcile bench: the
 * case `wire` of the sync bench. Two nodes without a disk or a network say everything that two nodes say: hellos,
 * payloads and settlement, each frame with its length.
 */
import { DigestTree } from '../src/core/digest-tree.ts';
import { EVERYTHING } from '../src/core/scope.ts';
import type { SyncIdList } from '../src/core/sync-id.ts';
import { LacunaError } from '../src/errors.ts';
import type { FrameChannel, MessageStore, PeerLink, Records } from '../src/ports.ts';
import { Budgets } from '../src/sync/budgets.ts';
import { Ingest } from '../src/sync/ingest.ts';
import { LimitCounts } from '../src/sync/limit-counts.ts';
import { Agreements } from '../src/sync/native/agreements.ts';
import { NativeSynchroniser } from '../src/sync/native/synchroniser.ts';
import { Pace } from '../src/sync/pace.ts';
import { ScopeIndexes } from '../src/sync/scope-indexes.ts';
import type { SessionPlan, SessionResult } from '../src/sync/session.ts';
import { SessionRunner } from '../src/sync/session-runner.ts';
import { SessionTable } from '../src/sync/session-table.ts';
import { Strikes } from '../src/sync/strikes.ts';
import { Traffic } from '../src/sync/traffic.ts';
import { silentLogger, systemClock, systemRandom, systemSha256 } from '../src/system.ts';
import { NATIVE, runSession } from './baselines/contender.ts';
import { median } from './measure.ts';
import type { Report } from './report.ts';
import { makeSets, type SetPair } from './sets.ts';

const CASES = ['w1-1m-100', 'w1-1m-1000', 'w2-1pct', 'w2-10pct', 'w4-among', 'w5', 'w6'];
const SAMPLES = 5;
const MESSAGES_MAX = 100;

export async function benchWire(report: Report): Promise<void> {
  for (const name of CASES) {
    const pair = makeSets(name);
    const engine = engineBytes(pair);
    const sessions = await sessionsOf(pair);
    const payloads = median(sessions.map(({ result }) => reconciliationOf(result) - HELLO_BYTES));
    const all = median(sessions.map(({ result }) => result.bytesSent + result.bytesReceived));
    const found = sessions.every(
      ({ result }) => result.have + result.need === pair.onlyA.count + pair.onlyB.count,
    );
    if (!found) throw new Error(`${name}: not all differences were found`);
    report.add(`wire-${name}`, 'engineBytes', engine, 'B');
    report.add(`wire-${name}`, 'bytes', payloads, 'B');
    report.add(`wire-${name}`, 'ratioToEngine', payloads / engine, '', '≤ 1.1');
    report.add(`wire-${name}`, 'bytesWithHellosAndSettlement', all, 'B');
  }
}

/** What the hellos say beside the salts, which are counted as the engine's figures count them. */
const SALT_BYTES = 16;
const HELLO_BYTES = 2 * (hello() - SALT_BYTES);

/** A hello over all of time, without topics and caps, with its length. */
function hello(): number {
  const kindAndFlags = 3;
  const window = 18;
  const credit = 4;
  const capsAndTopics = 4;
  return 1 + kindAndFlags + window + SALT_BYTES + credit + capsAndTopics;
}

function reconciliationOf({ reconciliationBytesSent, reconciliationBytesReceived }: SessionResult): number {
  return reconciliationBytesSent + reconciliationBytesReceived;
}

function engineBytes(pair: SetPair): number {
  const a = NATIVE.initiator(pair.a, pair);
  const b = NATIVE.responder(pair.b, pair);
  const runs = Array.from({ length: SAMPLES }, () => runSession(a(), b(), NATIVE.prefixed, MESSAGES_MAX));
  return median(runs.map(({ bytes }) => bytes));
}

async function sessionsOf(pair: SetPair): Promise<{ result: SessionResult }[]> {
  // The responder opens the reconciliation, and it is the first set that opens in the engine's figures.
  const responder = nodeOf(pair.a);
  const initiator = nodeOf(pair.b);
  const plan: SessionPlan = {
    scope: EVERYTHING,
    sinceNs: pair.lowerNs,
    untilNs: pair.upperNs,
    direction: 'both',
    dryRun: true,
  };
  const sessions: { result: SessionResult }[] = [];
  for (let sample = 0; sample < SAMPLES; sample++) {
    const [here, there] = channels();
    const served = responder.serve(linkTo('initiator', there), there);
    sessions.push({ result: await initiator.synchronise(linkTo('responder', here), plan) });
    await served;
  }
  return sessions;
}

function nodeOf(ids: SyncIdList): NativeSynchroniser {
  const tree = DigestTree.from(ids);
  const store: MessageStore = {
    writable: true,
    has: (id) => tree.has(id),
    knows: (id) => tree.has(id),
    horizonNs: () => 0n,
    kept: (scope, window) => [{ ...window, scope }],
    index: async () => tree.snapshot(),
    append: async () => ({ stored: 0, duplicate: 0 }),
    read: nothing,
    readMany: nothing,
  };
  const records: Records = {
    get: async () => undefined,
    put: async () => undefined,
    delete: async () => undefined,
    list: nothing,
  };
  const clock = systemClock;
  const log = silentLogger;
  const strikes = new Strikes(clock);
  const sessions = new SessionTable(clock);
  const budgets = new Budgets({ clock, strikes, counts: new LimitCounts(), isKnown: () => true });
  return new NativeSynchroniser({
    scopes: new ScopeIndexes({ store, budgets, sessions, clock }),
    runner: new SessionRunner({ sessions, strikes, store, clock, log }),
    store,
    ingest: new Ingest(store, clock, systemSha256),
    strikes,
    agreements: new Agreements({ records, sha256: systemSha256, clock, log }),
    clock,
    random: systemRandom,
    scope: EVERYTHING,
    gapsWithin: () => [],
    budgets,
    traffic: new Traffic().of('native'),
    upload: new Pace(clock),
    download: new Pace(clock),
  });
}

async function* nothing(): AsyncGenerator<never> {}

function linkTo(peer: string, channel: FrameChannel): PeerLink {
  const isNot = async (): Promise<FrameChannel> => {
    throw new LacunaError('PEER_PROTOCOL', 'the native protocol alone');
  };
  return {
    peer,
    isLacuna: true,
    openSync: async () => channel,
    openReconciliation: isNot,
    openTransfer: isNot,
    openStoreQuery: isNot,
    reconciles: true,
  };
}

/** Two ends of a stream of frames in memory. */
function channels(): [FrameChannel, FrameChannel] {
  const a = new Queue();
  const b = new Queue();
  return [endOf(a, b), endOf(b, a)];
}

class Queue {
  #frames: Uint8Array[] = [];
  #isClosed = false;
  #wake: () => void = () => undefined;

  push(frames: readonly Uint8Array[]): void {
    this.#frames.push(...frames);
    this.#wake();
  }

  close(): void {
    this.#isClosed = true;
    this.#wake();
  }

  async take(count: number): Promise<Uint8Array[] | undefined> {
    while (this.#frames.length === 0) {
      if (this.#isClosed) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#frames.splice(0, count);
  }
}

function endOf(inbox: Queue, outbox: Queue): FrameChannel {
  return {
    read: async () => (await inbox.take(1))?.[0],
    readMany: async () => await inbox.take(Number.POSITIVE_INFINITY),
    write: async (frames) => outbox.push(frames),
    close: async () => outbox.close(),
    abort: () => outbox.close(),
  };
}
