/** The metrics of a node: what it says of itself, what happened, and labels that no peer can blow up. */
import { describe, expect, it } from 'vitest';
import { LacunaError } from '../../src/errors.ts';
import { NodeMetrics } from '../../src/http/metrics.ts';
import { LIMITS } from '../../src/limits.ts';
import { NOW_MS, samples } from '../sample-messages.ts';
import {
  auditEntry,
  clock,
  closedGap,
  gap,
  knownPeer,
  MINUTE_MS,
  PlainNode,
  sessionResult,
  verification,
} from './plain-node.ts';
import { samplesOf } from './prometheus-text.ts';

function metricsOf(node: PlainNode): NodeMetrics {
  return new NodeMetrics(node, '/', clock.nowMs);
}

/** `name{label="value"}` → value, of the metrics with this name. */
async function values(metrics: NodeMetrics, name: string): Promise<Record<string, number>> {
  const all = samplesOf(await metrics.text()).filter((sample) => sample.name === `lacuna_${name}`);
  return Object.fromEntries(all.map(({ labels, value }) => [Object.values(labels).join(' '), value]));
}

describe('metrics', () => {
  it('say at every scrape how the store is', async () => {
    const node = new PlainNode(12);
    const metrics = metricsOf(node);
    expect(await values(metrics, 'store_messages')).toEqual({ '': 12 });
    expect(await values(metrics, 'store_bytes')).toEqual({ '': 1_000 });
    expect(await values(metrics, 'store_predicted_bytes')).toEqual({ '': 3_000 });
    expect(await values(metrics, 'store_writable')).toEqual({ '': 1 });
    expect((await values(metrics, 'disk_free_bytes'))['']).toBeGreaterThan(0);
    node.store.writable = false;
    node.store.quarantined = 2;
    node.store.lost = 3;
    node.state = 'stopping';
    expect(await values(metrics, 'store_writable')).toEqual({ '': 0 });
    expect(await values(metrics, 'store_quarantined')).toEqual({ '': 2 });
    expect(await values(metrics, 'store_lost')).toEqual({ '': 3 });
    expect(await values(metrics, 'node_serving')).toEqual({ '': 0 });
  });

  it('say what the largest pubsub topics have, and no more of them than a few', async () => {
    const node = new PlainNode();
    const metrics = metricsOf(node);
    expect(await values(metrics, 'store_topic_messages')).toEqual({});
    const all = Array.from({ length: LIMITS.metricTopics + 5 }, (_, at) => ({
      bucket: at === 0 ? 'long'.repeat(1_000) : `topic-${at}`,
      messages: 100 - at,
      bytes: 1_000 - at,
    }));
    const counter = {
      bytes: 77,
      count: async () => undefined,
      largestTopics: async (most: number) => all.slice(0, most),
    };
    node.store.counter = counter;
    expect(await values(metrics, 'store_message_bytes')).toEqual({ '': 77 });
    const [messages, bytes] = [
      await values(metrics, 'store_topic_messages'),
      await values(metrics, 'store_topic_bytes'),
    ];
    expect(Object.keys(messages)).toHaveLength(LIMITS.metricTopics);
    expect(messages).toMatchObject({ ['long'.repeat(50)]: 100, 'topic-1': 99 });
    expect(bytes).toMatchObject({ 'topic-1': 999 });
    node.store.counter = { ...counter, largestTopics: async () => [] };
    expect(await values(metrics, 'store_topic_bytes')).toEqual({});
  });

  it('count what was handed to the writer, and what it did not take', async () => {
    const node = new PlainNode();
    const metrics = metricsOf(node);
    const messages = samples(7);
    await node.ingest.append(messages);
    await node.ingest.append(messages.slice(2));
    node.memory.writable = false;
    await expect(node.ingest.append(samples(9))).rejects.toMatchObject({ code: 'STORE_FAULT' });
    for (let scrape = 0; scrape < 2; scrape++) {
      expect(await values(metrics, 'ingested_messages_total')).toEqual({ stored: 7, duplicate: 5 });
      expect(await values(metrics, 'ingest_failed_messages_total')).toEqual({ STORE_FAULT: 9 });
    }
  });

  it('count sessions by what they ended in', async () => {
    const node = new PlainNode();
    const metrics = metricsOf(node);
    const ended = (given: Parameters<typeof sessionResult>[0], error?: LacunaError): void =>
      node.events.emit({ event: 'session', result: sessionResult(given), error });
    ended({ verified: true, complete: true, missing: 0 });
    ended({ verified: true, complete: true, missing: 0 });
    ended({ complete: true, role: 'responder', dialect: 'waku' });
    ended({});
    ended({ verified: true }, new LacunaError('PEER_TIMEOUT', 'for the test'));
    expect(await values(metrics, 'sessions_total')).toEqual({
      'native initiator verified': 2,
      'waku responder complete': 1,
      'native initiator partial': 1,
      'native initiator failed': 1,
    });
    expect(await values(metrics, 'sessions_failed_total')).toEqual({ PEER_TIMEOUT: 1 });
    expect(await values(metrics, 'session_duration_seconds_count')).toEqual({
      'native initiator': 4,
      'waku responder': 1,
    });
    expect(await values(metrics, 'session_duration_seconds_sum')).toMatchObject({ 'waku responder': 0.25 });
    expect(await values(metrics, 'messages_received_total')).toEqual({ '': 50 });
    expect(await values(metrics, 'messages_sent_total')).toEqual({ '': 5 });
    ended({ takes: false, received: 0, sent: 0, refusals: {} });
    expect(await values(metrics, 'messages_missing_total')).toEqual({ '': 6 });
    expect(await values(metrics, 'messages_refused_total')).toEqual({ MESSAGE_EPHEMERAL: 10 });
  });

  it('say how many gaps there are, and how long they have been', async () => {
    const node = new PlainNode();
    const metrics = metricsOf(node);
    expect(await values(metrics, 'gap_oldest_seconds')).toEqual({ '': 0 });
    node.open.push(gap, { ...gap, openedMs: NOW_MS - 2 * MINUTE_MS });
    expect(await values(metrics, 'gaps_open')).toEqual({ '': 2 });
    expect(await values(metrics, 'gap_oldest_seconds')).toEqual({ '': 240 });
    expect(await values(metrics, 'gap_seconds')).toEqual({ '': 2 * 130 * 60 });
    node.events.emit({ event: 'gap-opened', gap });
    node.events.emit({ event: 'gap-closed', gap: closedGap });
    expect(await values(metrics, 'gaps_opened_total')).toEqual({ downtime: 1 });
    expect(await values(metrics, 'gaps_closed_total')).toEqual({ downtime: 1 });
  });

  it('say when each scope was verified last; no clock makes that lie ahead', async () => {
    const node = new PlainNode();
    const metrics = metricsOf(node);
    expect(await values(metrics, 'last_verification_age_seconds')).toEqual({});
    const scope = { pubsubTopics: ['/a'], contentTopics: ['/b'] };
    node.verifications.push({ ...verification, verifiedMs: NOW_MS - 20 * MINUTE_MS }, verification, {
      ...verification,
      scope,
      verifiedMs: NOW_MS + MINUTE_MS,
    });
    expect(await values(metrics, 'last_verification_age_seconds')).toEqual({ all: 300, '/a,/b': 0 });
    node.verifications.pop();
    expect(await values(metrics, 'last_verification_age_seconds')).toEqual({ all: 300 });
  });

  it('tell a few scopes apart, the latest, and write any topic so that it is read', async () => {
    const node = new PlainNode();
    const metrics = metricsOf(node);
    for (let each = 0; each < 3 * LIMITS.metricScopes; each++) {
      const scope = { pubsubTopics: [`/t"\n\\${each} ${'x'.repeat(5_000)}`], contentTopics: [] };
      node.verifications.push({ ...verification, scope, verifiedMs: NOW_MS - each * MINUTE_MS });
    }
    const found = samplesOf(await metrics.text()).filter(
      ({ name }) => name === 'lacuna_last_verification_age_seconds',
    );
    expect(found).toHaveLength(LIMITS.metricScopes);
    expect(Math.max(...found.map(({ value }) => value))).toBe((LIMITS.metricScopes - 1) * 60);
    for (const { labels } of found)
      expect(labels['scope']!.length).toBeLessThan(LIMITS.metricScopeLength + 10);
  });

  it('sort peers into states, and say whose clock differs most', async () => {
    const node = new PlainNode();
    const metrics = metricsOf(node);
    expect(await values(metrics, 'clock_skew_seconds')).toEqual({ '': 0 });
    const away = { ...knownPeer, connected: false, skewMs: undefined };
    node.known.push(
      knownPeer,
      { ...away, retryAtMs: NOW_MS + 1 },
      { ...away, retryAtMs: NOW_MS - 1 },
      { ...away, skewMs: 900 },
    );
    expect(await values(metrics, 'peers')).toEqual({ connected: 1, 'backing-off': 1, known: 2 });
    expect(await values(metrics, 'clock_skew_seconds')).toEqual({ '': -1.5 });
  });

  it('pass on what the node counts itself, at every scrape the sum', async () => {
    const node = new PlainNode();
    const metrics = metricsOf(node);
    node.streams.push(
      { protocol: 'native', direction: 'in', topicClass: 'default', bytes: 10 },
      { protocol: 'native', direction: 'out', topicClass: 'default', bytes: 20 },
    );
    node.limits['sessions'] = 3;
    for (let scrape = 0; scrape < 2; scrape++) {
      expect(await values(metrics, 'bytes_total')).toEqual({
        'native in default': 10,
        'native out default': 20,
      });
      expect(await values(metrics, 'limits_hit_total')).toEqual({ sessions: 3 });
    }
  });

  it('say what the last audit of each node found, and nothing of one that was not reached', async () => {
    const node = new PlainNode();
    const metrics = metricsOf(node);
    expect(await values(metrics, 'audit_missing')).toEqual({});
    const found = (ageMs: number, nodes: Record<string, number | undefined>): void => {
      const rows = Object.entries(nodes).map(([peer, missing]) => ({
        ...auditEntry.nodes[0]!,
        peer,
        missing: missing ?? 0,
        code: missing === undefined ? ('PEER_UNREACHABLE' as const) : null,
      }));
      node.audits.push({ ...auditEntry, atMs: NOW_MS - ageMs, nodes: rows });
    };
    found(LIMITS.auditShownMs + 1, { gone: 9 });
    found(10 * MINUTE_MS, { a: 3, b: 4, c: 5 });
    found(MINUTE_MS, { a: 0, c: undefined });
    expect(await values(metrics, 'audit_missing')).toEqual({ a: 0, b: 4 });
    expect(await values(metrics, 'audit_late')).toEqual({ a: 1, b: 1 });
    expect(await values(metrics, 'audit_node_up')).toEqual({ a: 1, b: 1, c: 0 });
    expect(await values(metrics, 'audit_last_run_seconds')).toEqual({ a: 60, b: 600, c: 60 });
  });

  it('count faults and what retention removes', async () => {
    const node = new PlainNode();
    const metrics = metricsOf(node);
    node.events.emit({ event: 'fault', error: new LacunaError('STORE_FAULT', 'for the test') });
    node.events.emit({ event: 'pruned', removed: 3, bytes: 300 });
    node.events.emit({ event: 'pruned', removed: 4, bytes: 400 });
    expect(await values(metrics, 'store_faults_total')).toEqual({ STORE_FAULT: 1 });
    expect(await values(metrics, 'pruned_messages_total')).toEqual({ '': 7 });
    expect(await values(metrics, 'pruned_bytes_total')).toEqual({ '': 700 });
  });

  it('notice when the event loop is held', async () => {
    const metrics = metricsOf(new PlainNode());
    const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
    await metrics.text();
    await pause(100);
    for (const untilMs = performance.now() + 300; performance.now() < untilMs; );
    await pause(100);
    const held = await values(metrics, 'event_loop_delay_seconds');
    expect(held['1']).toBeGreaterThan(0.2);
    expect(held['0.5']).toBeLessThan(0.2);
    await pause(200);
    expect((await values(metrics, 'event_loop_delay_seconds'))['1']).toBeLessThan(0.2);
  });

  it('of the process are there once, however many nodes run in it', async () => {
    const all = [metricsOf(new PlainNode()), metricsOf(new PlainNode())];
    for (const metrics of all) {
      const names = samplesOf(await metrics.text()).map(({ name }) => name);
      expect(names.filter((name) => name === 'process_resident_memory_bytes')).toHaveLength(1);
    }
  });
});
