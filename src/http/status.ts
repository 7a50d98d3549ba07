/** How a node is: in short for a supervisor, and at length for its operator. */
import type { ErrorCode } from '../errors.ts';
import { momentOf } from '../sync/gap-json.ts';
import type { KnownPeer } from '../sync/known-peer.ts';
import { VERSION } from '../version.ts';
import { freeBytes } from './disk-space.ts';
import { failureOf } from './event-json.ts';
import { EventLoopDelay } from './event-loop-delay.ts';
import type { ServedNode } from './served-node.ts';
import type { Answer } from './server.ts';

/** Whether it serves, and if not, why not, as codes. */
export function readiness(node: ServedNode): Answer {
  const { fault, writable } = node.store;
  const reasons: ErrorCode[] = [];
  if (node.state === 'starting') reasons.push('NODE_STARTING');
  if (node.state === 'stopping') reasons.push('NODE_STOPPING');
  if (fault !== undefined) reasons.push(fault.code);
  else if (!writable) reasons.push('STORE_CLOSED');
  const isReady = reasons.length === 0;
  return { status: isReady ? 200 : 503, json: { ready: isReady, ...(isReady ? {} : { reasons }) } };
}

export class StatusView {
  readonly #node: ServedNode;
  readonly #data: string;
  readonly #nowMs: () => number;
  readonly #startedMs: number;
  readonly #startedMonotonicMs = performance.now();
  readonly #delay = new EventLoopDelay();

  constructor(node: ServedNode, data: string, nowMs: () => number) {
    this.#node = node;
    this.#data = data;
    this.#nowMs = nowMs;
    this.#startedMs = nowMs();
  }

  async json(): Promise<object> {
    const { store, ledger, peers, sessions, connections, peerId, addresses, state } = this.#node;
    const { bytesNow, bytesInMonth } = store.retention.prediction();
    return {
      version: VERSION,
      peerId,
      addresses,
      state,
      startedAt: momentOf(this.#startedMs),
      uptimeSeconds: Math.floor((performance.now() - this.#startedMonotonicMs) / 1_000),
      messages: store.count,
      bytes: bytesNow,
      predictedBytes: bytesInMonth,
      diskFreeBytes: (await freeBytes(this.#data)) ?? null,
      writable: store.writable,
      fault: failureOf(store.fault).error ?? null,
      quarantined: store.quarantined,
      lost: store.lost,
      gaps: ledger.open().length,
      lastVerifiedAt: momentOf(lastVerifiedMs(this.#node)),
      peersKnown: peers.list().length,
      connections,
      sessionsRunning: sessions.running,
      eventLoopDelayMs: Math.round(this.#delay.take().p99 * 10) / 10,
      now: momentOf(this.#nowMs()),
    };
  }
}

function lastVerifiedMs({ ledger }: ServedNode): number | undefined {
  let last: number | undefined;
  for (const { verifiedMs } of ledger.verifications()) last = Math.max(last ?? 0, verifiedMs);
  return last;
}

export function peersJson(peers: readonly KnownPeer[]): object {
  const rows = peers.map(({ lastSessionMs, lastVerifiedMs, retryAtMs, ...peer }) => ({
    ...peer,
    dialect: peer.dialect ?? null,
    lastCode: peer.lastCode ?? null,
    skewMs: peer.skewMs ?? null,
    lastSessionAt: momentOf(lastSessionMs),
    lastVerifiedAt: momentOf(lastVerifiedMs),
    retryAt: momentOf(retryAtMs),
  }));
  return { rows };
}
