/** A node that is all said and nothing done: what it shows over HTTP is what the test puts in. */

import type { AuditEntry } from '../../src/audit/history.ts';
import { EVERYTHING } from '../../src/core/scope.ts';
import { SyncIdList } from '../../src/core/sync-id.ts';
import { LacunaError } from '../../src/errors.ts';
import type { ServedNode, ServedStore } from '../../src/http/served-node.ts';
import type { MessageCounter, MessageFacts } from '../../src/ports.ts';
import { type NodeEvent, NodeEvents } from '../../src/sync/events.ts';
import type { ClosedGap, Gap, Verification } from '../../src/sync/gap.ts';
import { Ingest } from '../../src/sync/ingest.ts';
import type { KnownPeer } from '../../src/sync/known-peer.ts';
import type { RunningSession, SessionResult } from '../../src/sync/session.ts';
import { StoreService } from '../../src/sync/store-query/service.ts';
import type { TrafficRow } from '../../src/sync/traffic.ts';
import { silentLogger, systemSha256 } from '../../src/system.ts';
import { MessageView } from '../../src/wire/waku-message.ts';
import { MemoryArchive } from '../memory-archive.ts';
import { MemoryStore } from '../memory-store.ts';
import { NOW_MS, NOW_NS, SHARD_0, samples } from '../sample-messages.ts';

export const clock = { nowMs: () => NOW_MS, monotonicMs: () => 0, sleep: () => Promise.resolve() };
export const MINUTE_MS = 60_000;
const MINUTE_NS = 60_000_000_000n;

export const gap: Gap = {
  id: 7,
  sinceNs: NOW_NS - 134n * MINUTE_NS,
  untilNs: NOW_NS - 4n * MINUTE_NS,
  scope: { pubsubTopics: [SHARD_0], contentTopics: [] },
  cause: 'downtime',
  openedMs: NOW_MS - 4 * MINUTE_MS,
  attempts: 2,
  lastPeer: 'peer-a',
  lastAttemptMs: NOW_MS - MINUTE_MS,
  lastCode: 'PEER_TIMEOUT',
  witnesses: [],
};
export const closedGap: ClosedGap = { ...gap, id: 3, closedMs: NOW_MS, verifiedWith: ['peer-b'] };
export const verification: Verification = {
  sinceNs: 0n,
  untilNs: NOW_NS,
  scope: { pubsubTopics: [], contentTopics: [] },
  peer: 'peer-b',
  verifiedMs: NOW_MS - 5 * MINUTE_MS,
};
export const knownPeer: KnownPeer = {
  peer: 'peer-a',
  addresses: ['/ip4/127.0.0.1/tcp/1/p2p/peer-a'],
  source: 'static',
  connected: true,
  dialect: 'native',
  lastSessionMs: NOW_MS - MINUTE_MS,
  lastVerifiedMs: undefined,
  failures: 0,
  lastCode: undefined,
  retryAtMs: undefined,
  skewMs: -1_500,
};

export const auditEntry: AuditEntry = {
  atMs: NOW_MS - MINUTE_MS,
  durationMs: 900,
  sinceNs: 0n,
  untilNs: NOW_NS,
  existing: 100,
  agree: false,
  nodes: [{ peer: 'node-a', address: null, missing: 3, late: 1, unknownRows: 0, code: null, bytes: 0 }],
};

export function sessionResult(given: Partial<SessionResult> = {}): SessionResult {
  return {
    peer: 'peer-a',
    dialect: 'native',
    role: 'initiator',
    sinceNs: 0n,
    untilNs: NOW_NS,
    rounds: 3,
    bytesSent: 1_000,
    bytesReceived: 2_000,
    reconciliationBytesSent: 100,
    reconciliationBytesReceived: 200,
    have: 1,
    need: 12,
    received: 10,
    sent: 1,
    refused: 2,
    refusals: { MESSAGE_EPHEMERAL: 2 },
    missing: 2,
    missingHashes: new SyncIdList(),
    verified: false,
    complete: false,
    capped: false,
    durationMs: 250,
    takes: true,
    scope: { pubsubTopics: [], contentTopics: [] },
    peerGaps: [],
    peerSkewMs: undefined,
    ...given,
  };
}

export function runningSession(given: Partial<SessionResult> = {}): RunningSession {
  return {
    peer: 'peer-a',
    endedMs: undefined,
    idleMs: 0,
    held: 0,
    indexed: 0,
    idsLeft: () => 0,
    displace: undefined,
    isOpen: () => true,
    end: () => undefined,
    result: () => sessionResult(given),
  };
}

/** Holds some messages, one a second up to now. */
export class PlainNode implements ServedNode {
  readonly peerId = '12D3KooWplain';
  readonly addresses: string[] = [];
  state: ServedNode['state'] = 'serving';
  connections = 1;
  missing: NonNullable<ServedNode['missing']> = { find: () => undefined };
  readonly events = new NodeEvents();
  readonly running: RunningSession[] = [];
  readonly open: Gap[] = [];
  readonly closed: ClosedGap[] = [];
  readonly verifications: Verification[] = [];
  readonly known: KnownPeer[] = [];
  readonly limits: Record<string, number> = {};
  readonly streams: TrafficRow[] = [];
  readonly store: PlainStore;
  /** Where what is ingested goes. */
  readonly memory = new MemoryStore();
  readonly ingest = new Ingest(this.memory, clock, systemSha256);
  /** What it tells of its history. */
  readonly archive: MemoryArchive;
  readonly storeQueries: StoreService;

  constructor(messages = 0) {
    this.store = new PlainStore(messages);
    this.archive = new MemoryArchive(samples(messages, { stepNs: 1_000_000_000n }));
    const { archive } = this;
    this.storeQueries = new StoreService({ archive, sha256: systemSha256, clock, log: silentLogger });
  }

  get sessions(): ServedNode['sessions'] {
    return { running: this.running.length, list: () => this.running };
  }

  get ledger(): ServedNode['ledger'] {
    return { open: () => this.open, closed: () => this.closed, verifications: () => this.verifications };
  }

  get peers(): ServedNode['peers'] {
    return { list: () => this.known };
  }

  readonly scope = EVERYTHING;
  readonly audits: AuditEntry[] = [];

  get auditor(): ServedNode['auditor'] {
    return {
      run: async () => {
        throw new LacunaError('SESSION_BUSY', 'two audits run');
      },
      history: { entries: async () => this.audits },
    };
  }

  traffic(): readonly TrafficRow[] {
    return this.streams;
  }

  limitsHit(): Readonly<Record<string, number>> {
    return this.limits;
  }

  async syncAll(addresses: readonly string[]): Promise<{ address: string; error: LacunaError }[]> {
    return addresses.map((address) => ({ address, error: new LacunaError('PEER_UNREACHABLE', 'nobody') }));
  }
}

export class PlainStore implements ServedStore {
  writable = true;
  fault: LacunaError | undefined;
  quarantined = 0;
  lost = 0;
  readonly passes: boolean[] = [];
  /** What is known of any message. */
  known: MessageFacts | undefined;
  counter: MessageCounter | undefined;
  /** A scan waits for it before each message. */
  gate: Promise<void> = Promise.resolve();
  scanning = 0;
  visited = 0;
  readonly #messages: ReturnType<typeof samples>;

  constructor(messages: number) {
    this.#messages = samples(messages, { stepNs: 1_000_000_000n });
  }

  get count(): number {
    return this.#messages.length;
  }

  get retention(): ServedStore['retention'] {
    return {
      pass: async (dryRun) => {
        this.passes.push(dryRun);
        return { removed: 5, bytes: 500 };
      },
      prediction: () => ({ bytesNow: 1_000, bytesInMonth: 3_000, messagesInMonth: 30 }),
    };
  }

  async facts(): Promise<MessageFacts | undefined> {
    this.scanning += 1;
    await this.gate;
    this.scanning -= 1;
    return this.known;
  }

  countBetween(): number {
    return this.count;
  }

  async *scan(
    _sinceNs: bigint,
    _untilNs: bigint,
    visit: (id: Uint32Array, view: MessageView) => void,
  ): AsyncGenerator<number> {
    const view = new MessageView();
    this.scanning += 1;
    try {
      for (const { id, encoded } of this.#messages) {
        await this.gate;
        visit(id, view.read(Buffer.from(encoded)));
        this.visited += 1;
        yield 1;
      }
    } finally {
      this.scanning -= 1;
    }
  }
}

/** Has the node tell something of everything that there is to tell. */
export async function tellEverything(node: PlainNode): Promise<void> {
  node.open.push(gap);
  node.closed.push(closedGap);
  node.verifications.push(verification);
  node.known.push(knownPeer);
  node.limits['sessions'] = 1;
  node.streams.push({ protocol: 'native', direction: 'in', topicClass: 'default', bytes: 1 });
  // Whatever the clock is that it is looked at by, this one is new.
  node.audits.push({ ...auditEntry, atMs: Date.now() });
  node.memory.writable = false;
  await node.ingest.append(samples(1)).catch(() => undefined);
  const fault = new LacunaError('STORE_FAULT', 'for the test');
  const events: NodeEvent[] = [
    { event: 'session', result: sessionResult(), error: undefined },
    { event: 'session', result: sessionResult(), error: fault },
    { event: 'gap-opened', gap },
    { event: 'gap-closed', gap: closedGap },
    { event: 'fault', error: fault },
    { event: 'recovered' },
    { event: 'pruned', removed: 1, bytes: 1 },
    { event: 'skew', peer: 'peer-a', skewMs: 20_000 },
  ];
  for (const event of events) node.events.emit(event);
}
