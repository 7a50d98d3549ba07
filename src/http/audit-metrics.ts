/**
 * What the audits of a series say, node by node. Each node is told by the last audit that looked at it, so that one
 * over other nodes clears no alarm; nodes are named by whoever asks for audits, and by no peer.
 */
import type { Gauge } from 'prom-client';
import type { AuditEntry } from '../audit/history.ts';
import { LIMITS } from '../limits.ts';
import type { MetricMaker } from './metric-maker.ts';

const MS_PER_SECOND = 1e3;

export class AuditMetrics {
  readonly #missing: Gauge<'node'>;
  readonly #late: Gauge<'node'>;
  readonly #up: Gauge<'node'>;
  readonly #age: Gauge<'node'>;

  constructor(make: MetricMaker) {
    this.#missing = make.gauge(
      'audit_missing',
      'Messages that a node lacks, by the last audit of it.',
      'node',
    );
    this.#late = make.gauge('audit_late', 'The same, of messages that may be on their way.', 'node');
    this.#up = make.gauge('audit_node_up', '1 where the last audit could look at the node.', 'node');
    this.#age = make.gauge(
      'audit_last_run_seconds',
      'Time since the last audit that was to look at the node.',
      'node',
    );
  }

  /** `entries`: the oldest first. Of a node that could not be looked at, nothing is said to be missing or not. */
  take(entries: readonly AuditEntry[], nowMs: number): void {
    for (const gauge of [this.#missing, this.#late, this.#up, this.#age]) gauge.reset();
    const told = new Set<string>();
    for (const { atMs, nodes } of [...entries].reverse()) {
      if (nowMs - atMs > LIMITS.auditShownMs) break;
      for (const { peer: node, missing, late, code } of nodes) {
        if (told.has(node) || told.size >= LIMITS.auditNodes) continue;
        told.add(node);
        this.#age.set({ node }, Math.max(0, nowMs - atMs) / MS_PER_SECOND);
        this.#up.set({ node }, code === null ? 1 : 0);
        if (code !== null) continue;
        this.#missing.set({ node }, missing);
        this.#late.set({ node }, late);
      }
    }
  }
}
