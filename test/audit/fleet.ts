/** A fleet in memory with one auditor, and what an audit of it said in the terms of a test. */

import type { AuditPlan, AuditResult } from '../../src/audit/audit.ts';
import { Auditor } from '../../src/audit/auditor.ts';
import { EVERYTHING } from '../../src/core/scope.ts';
import { hashOf } from '../../src/core/sync-id.ts';
import { LacunaError } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import type { PeerLink } from '../../src/ports.ts';
import { Ingest } from '../../src/sync/ingest.ts';
import { MissingBook } from '../../src/sync/missing-book.ts';
import { RequestPace } from '../../src/sync/query/request-pace.ts';
import { StoreClient } from '../../src/sync/query/store-client.ts';
import { systemSha256 } from '../../src/system.ts';
import { NOW_NS } from '../sample-messages.ts';
import { Party } from '../sync/party.ts';
import type { VirtualClock } from '../sync/virtual-clock.ts';
import type { PlainStoreNode } from './plain-store-node.ts';

export const HOUR_NS = 3_600_000_000_000n;

export const PLAN: AuditPlan = {
  addresses: [],
  scope: EVERYTHING,
  sinceNs: 0n,
  untilNs: NOW_NS,
  bucketNs: HOUR_NS,
  lateMs: LIMITS.auditLateMs,
  list: true,
  repair: false,
  push: false,
  watch: false,
};

export class AuditFleet {
  readonly auditor: Auditor;
  readonly own: Party;
  readonly missing: MissingBook;
  /** What happens when the auditor turns to a node. */
  onConnect: (address: string) => Promise<unknown> = async () => undefined;
  readonly #others = new Map<string, PeerLink>();
  readonly #clock: VirtualClock;

  constructor(clock: VirtualClock, own: Party, others: readonly (Party | PlainStoreNode)[]) {
    this.#clock = clock;
    this.own = own;
    this.missing = new MissingBook(own.store, clock);
    for (const other of others) {
      this.#others.set(other.name, other instanceof Party ? own.linkTo(other) : other.link);
    }
    const pace = new RequestPace(clock);
    const random = { below: (below: number) => Math.floor(below / 2) };
    this.auditor = new Auditor({
      ownPeer: own.name,
      store: own.store,
      ingest: new Ingest(own.store, clock, systemSha256),
      records: own.records,
      missing: this.missing,
      clock,
      log: own.log,
      connect: async (address) => {
        await this.onConnect(address);
        const link = this.#others.get(address);
        if (link === undefined) throw new LacunaError('PEER_UNREACHABLE', 'it is down');
        return link;
      },
      peerOf: (address) => address,
      synchronise: (link, plan, dialect, stop) =>
        (dialect === 'native' ? own.native : own.synchroniser).synchronise(link, plan, stop),
      clientOf: (link) => new StoreClient({ link, clock, random, pace, sha256: systemSha256 }),
      stop: new AbortController().signal,
    });
  }

  async audit(addresses: readonly string[], plan: Partial<AuditPlan> = {}): Promise<AuditResult> {
    return await this.#clock.run(this.auditor.run({ ...PLAN, addresses, ...plan }));
  }
}

/** Node → hashes that the result says that it lacks, is late with, or may or may not have. */
export function saidOf(
  result: AuditResult,
  kind: 'lacks' | 'late' | 'unknown' | 'has',
): Record<string, string[]> {
  const said: Record<string, string[]> = {};
  for (const message of result.messages ?? []) {
    const hash = Buffer.from(hashOf(message.id)).toString('hex');
    for (const node of message[kind]) said[node] = [...(said[node] ?? []), hash].sort();
  }
  return said;
}

export function nodeOf({ nodes }: AuditResult, peer: string): AuditResult['nodes'][number] {
  return nodes.find((node) => node.peer === peer)!;
}

/** Row by row, what a node has or lacks. */
export function columnOf(
  { rows, nodes }: AuditResult,
  peer: string,
  figure: 'counts' | 'missing' | 'late',
): (number | undefined)[] {
  const at = nodes.findIndex((node) => node.peer === peer);
  return rows.map((row) => row[figure][at]);
}
