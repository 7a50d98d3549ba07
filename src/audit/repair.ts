/** Mends what an audit has found: this store first takes what others have, then gives to others what they lack. */
import { hashOf, ID_WORDS, type SyncIdList, TIMESTAMP_MAX, timeOf } from '../core/sync-id.ts';
import { toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, PeerLink, StoredMessage } from '../ports.ts';
import type { Ingest } from '../sync/ingest.ts';
import type { StoreClient } from '../sync/query/store-client.ts';
import type { SessionPlan, SessionResult } from '../sync/session.ts';
import type { AuditedNode, RepairResult } from './audit.ts';
import type { NodeView } from './comparison.ts';

/** A node that was looked at, and can be talked to. */
export interface RepairPartner {
  readonly node: AuditedNode;
  readonly view: NodeView;
  readonly link: PeerLink;
  readonly client: Pick<StoreClient, 'lookUp' | 'peer'>;
}

export interface RepairInit {
  readonly partners: readonly RepairPartner[];
  readonly scope: SessionPlan['scope'];
  readonly push: boolean;
  readonly ingest: Pick<Ingest, 'examineFrame' | 'append'>;
  readonly synchronise: (
    link: PeerLink,
    plan: SessionPlan,
    dialect: 'native' | 'waku',
    stop: AbortSignal,
  ) => Promise<SessionResult>;
  readonly clock: Clock;
  readonly stop: AbortSignal;
  readonly onDone: () => void;
}

export async function repair(
  init: RepairInit,
  missingBefore: RepairResult['missingBefore'],
): Promise<RepairResult> {
  const total = { received: 0, sent: 0, refused: 0, failures: [] as RepairResult['failures'][number][] };
  const attempt = async (
    partner: RepairPartner,
    work: () => Promise<Pick<RepairResult, 'received' | 'sent' | 'refused'>>,
  ): Promise<void> => {
    try {
      const { received, sent, refused } = await work();
      total.received += received;
      total.sent += sent;
      total.refused += refused;
    } catch (error) {
      init.stop.throwIfAborted();
      total.failures.push({ peer: partner.node.peer, error: toLacunaError(error) });
    }
    init.onDone();
  };
  // One after the other: what one has brought is not asked of the next.
  for (const partner of init.partners) {
    if (partner.view.extra.count > 0) await attempt(partner, () => pullFrom(init, partner));
  }
  for (const partner of init.push ? init.partners : []) {
    if (partner.node.missing + partner.node.late > 0) await attempt(partner, () => pushTo(init, partner));
  }
  return { ...total, missingBefore };
}

async function pullFrom(init: RepairInit, { node, view, link, client }: RepairPartner) {
  if (node.dialect !== 'native') return await fetchAll(init, client, view.extra);
  return await init.synchronise(link, planOf(init, view.extra, 'pull'), 'native', init.stop);
}

/** A window just as wide as what is to move, so that nothing else is looked at. */
function planOf({ scope }: RepairInit, ids: SyncIdList, direction: 'pull' | 'push'): SessionPlan {
  const sinceNs = ids.count === 0 ? 0n : timeOf(ids.words);
  const untilNs = ids.count === 0 ? TIMESTAMP_MAX : timeOf(ids.words, (ids.count - 1) * ID_WORDS) + 1n;
  return { scope, sinceNs, untilNs, direction, dryRun: false };
}

/** What is stored is examined like everything that comes from a peer. */
async function fetchAll(
  { ingest, stop }: RepairInit,
  client: RepairPartner['client'],
  ids: SyncIdList,
): Promise<{ received: number; sent: number; refused: number }> {
  const moved = { received: 0, sent: 0, refused: 0 };
  const hashes = Array.from({ length: ids.count }, (_, row) => hashOf(ids.at(row)));
  const arrival = { path: 'session', dialect: 'query', role: 'initiator', peer: client.peer } as const;
  for await (const { messages } of client.lookUp(hashes, { includeData: true, stop })) {
    const admitted: StoredMessage[] = [];
    for (const { encoded } of messages) {
      const admission = ingest.examineFrame(encoded, LIMITS.messageFutureMs);
      if ('refused' in admission) moved.refused += 1;
      else admitted.push(admission.stored);
    }
    moved.received += (await ingest.append(admitted, arrival)).stored;
  }
  return moved;
}

/**
 * All that is here by now and not there. A stock node takes messages of its last hour and no others; of those that it
 * is offered by the Waku wire.
 */
async function pushTo(init: RepairInit, { node, link }: RepairPartner): Promise<SessionResult> {
  const { clock, scope, stop } = init;
  const [first] = node.covered;
  const last = node.covered.at(-1);
  const plan: SessionPlan = {
    scope,
    sinceNs: first?.sinceNs ?? 0n,
    untilNs: last?.untilNs ?? TIMESTAMP_MAX,
    direction: 'push',
    dryRun: false,
  };
  if (node.dialect === 'native') return await init.synchronise(link, plan, 'native', stop);
  const untilMs = clock.nowMs() - LIMITS.sessionJitterMs;
  const hourNs = BigInt(Math.floor(untilMs - LIMITS.stockSyncRangeMs)) * 1_000_000n;
  const untilNs = BigInt(Math.floor(untilMs)) * 1_000_000n;
  const window = { sinceNs: hourNs > plan.sinceNs ? hourNs : plan.sinceNs, untilNs };
  return await init.synchronise(link, { ...plan, ...window }, 'waku', stop);
}
