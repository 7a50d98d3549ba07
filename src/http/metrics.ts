/**
 * What Prometheus is told. What the node knows of itself is looked up at every scrape; what happens is counted as it
 * happens. No label value is of a peer's choosing, but for topics, which are few and cut short.
 */
import { type Counter, collectDefaultMetrics, type Gauge, type Histogram, Registry } from 'prom-client';
import { isEverything, type Scope } from '../core/scope.ts';
import type { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { NodeEvent } from '../sync/events.ts';
import type { Verification } from '../sync/gap.ts';
import type { SessionResult } from '../sync/session.ts';
import type { AnsweredQuery } from '../sync/store-query/service.ts';
import { VERSION } from '../version.ts';
import { AuditMetrics } from './audit-metrics.ts';
import { freeBytes } from './disk-space.ts';
import { EventLoopDelay } from './event-loop-delay.ts';
import { MetricMaker } from './metric-maker.ts';
import type { ServedNode } from './served-node.ts';

const NS_PER_SECOND = 1e9;
const MS_PER_SECOND = 1e3;
const SESSION_SECONDS = [0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 1_800, 7_200];
const QUERY_SECONDS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3];
const SESSION_ROUNDS = [1, 2, 3, 5, 8, 13, 21, 40];

export class NodeMetrics {
  readonly #registry = new Registry();
  readonly #observations: Observations;

  constructor(node: ServedNode, data: string, nowMs: () => number) {
    this.#observations = new Observations(this.#registry, node, data, nowMs);
    const happenings = new Happenings(this.#registry);
    node.events.subscribe((event) => happenings.count(event));
    node.storeQueries.onAnswered((query) => happenings.countQuery(query));
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  async text(): Promise<string> {
    await this.#observations.take();
    return `${await this.#registry.metrics()}\n${await processRegistry().metrics()}`;
  }
}

/** Memory, CPU, file descriptors and garbage collection are the process's: collected once, however many nodes it runs. */
let ofProcess: Registry | undefined;

function processRegistry(): Registry {
  if (ofProcess === undefined) {
    ofProcess = new Registry();
    collectDefaultMetrics({ register: ofProcess });
  }
  return ofProcess;
}

/** What happens, counted since the start of the node. */
class Happenings {
  readonly #sessions: Counter<'dialect' | 'role' | 'result'>;
  readonly #failures: Counter<'code'>;
  readonly #duration: Histogram<'dialect' | 'role'>;
  readonly #rounds: Histogram<'dialect' | 'role'>;
  readonly #received: Counter;
  readonly #sent: Counter;
  readonly #refused: Counter<'code'>;
  readonly #missing: Counter;
  readonly #gapsOpened: Counter<'cause'>;
  readonly #gapsClosed: Counter<'cause'>;
  readonly #faults: Counter<'code'>;
  readonly #prunedMessages: Counter;
  readonly #prunedBytes: Counter;
  readonly #queries: Counter<'asker' | 'status'>;
  readonly #queryDuration: Histogram<'asker'>;
  readonly #queryMessages: Counter<'asker'>;

  constructor(registry: Registry) {
    const make = new MetricMaker(registry);
    this.#sessions = make.counter(
      'sessions_total',
      'Sessions that ended: verified equal; complete on this side; partial; failed.',
      'dialect',
      'role',
      'result',
    );
    this.#failures = make.counter('sessions_failed_total', 'Sessions that failed, by error code.', 'code');
    this.#duration = make.histogram(
      'session_duration_seconds',
      'How long sessions took.',
      SESSION_SECONDS,
      'dialect',
      'role',
    );
    this.#rounds = make.histogram(
      'session_rounds',
      'Payloads of reconciliation that sessions took, both ways.',
      SESSION_ROUNDS,
      'dialect',
      'role',
    );
    this.#received = make.counter('messages_received_total', 'Messages received in sessions and stored.');
    this.#sent = make.counter('messages_sent_total', 'Messages sent in sessions.');
    this.#refused = make.counter(
      'messages_refused_total',
      'Messages of peers that were refused, by code.',
      'code',
    );
    this.#missing = make.counter(
      'messages_missing_total',
      'Messages that a peer was found to have and that did not come, summed over sessions.',
    );
    this.#gapsOpened = make.counter('gaps_opened_total', 'Gaps that were opened, by cause.', 'cause');
    this.#gapsClosed = make.counter('gaps_closed_total', 'Gaps that were closed, by cause.', 'cause');
    this.#faults = make.counter('store_faults_total', 'Times the store stopped taking writes.', 'code');
    this.#prunedMessages = make.counter('pruned_messages_total', 'Messages that retention removed.');
    this.#prunedBytes = make.counter('pruned_bytes_total', 'Bytes of messages that retention removed.');
    this.#queries = make.counter(
      'store_queries_total',
      'Store queries that were answered, by who asked and the status of the answer.',
      'asker',
      'status',
    );
    this.#queryDuration = make.histogram(
      'store_query_duration_seconds',
      'How long the store took to find the answers.',
      QUERY_SECONDS,
      'asker',
    );
    this.#queryMessages = make.counter(
      'store_query_messages_total',
      'Messages, or their hashes, in answers to store queries.',
      'asker',
    );
  }

  countQuery({ asker, status, messages, durationMs }: AnsweredQuery): void {
    this.#queries.inc({ asker, status: String(status) });
    this.#queryDuration.observe({ asker }, durationMs / MS_PER_SECOND);
    this.#queryMessages.inc({ asker }, messages);
  }

  count(event: NodeEvent): void {
    switch (event.event) {
      case 'session':
        this.#session(event.result, event.error);
        break;
      case 'gap-opened':
        this.#gapsOpened.inc({ cause: event.gap.cause });
        break;
      case 'gap-closed':
        this.#gapsClosed.inc({ cause: event.gap.cause });
        break;
      case 'fault':
        this.#faults.inc({ code: event.error.code });
        break;
      case 'pruned':
        this.#prunedMessages.inc(event.removed);
        this.#prunedBytes.inc(event.bytes);
        break;
    }
  }

  #session(session: SessionResult, error: LacunaError | undefined): void {
    const { dialect, role, received, sent, missing, takes, refusals, durationMs, rounds } = session;
    this.#sessions.inc({ dialect, role, result: resultOf(session, error) });
    if (error !== undefined) this.#failures.inc({ code: error.code });
    this.#duration.observe({ dialect, role }, durationMs / MS_PER_SECOND);
    this.#rounds.observe({ dialect, role }, rounds);
    this.#received.inc(received);
    this.#sent.inc(sent);
    // Who only compares has asked for nothing.
    if (takes) this.#missing.inc(missing);
    for (const [code, times] of Object.entries(refusals)) this.#refused.inc({ code }, times);
  }
}

function resultOf({ verified, complete }: SessionResult, error: LacunaError | undefined): string {
  if (error !== undefined) return 'failed';
  if (verified) return 'verified';
  return complete ? 'complete' : 'partial';
}

/** What the node says of itself when it is asked. */
class Observations {
  readonly #node: ServedNode;
  readonly #data: string;
  readonly #nowMs: () => number;
  readonly #delay = new EventLoopDelay();
  readonly #build: Gauge<'version' | 'peer'>;
  readonly #ready: Gauge;
  readonly #messages: Gauge;
  readonly #bytes: Gauge;
  readonly #messageBytes: Gauge;
  readonly #topicMessages: Gauge<'pubsub_topic'>;
  readonly #topicBytes: Gauge<'pubsub_topic'>;
  readonly #bytesInMonth: Gauge;
  readonly #messagesInMonth: Gauge;
  readonly #diskFree: Gauge;
  readonly #writable: Gauge;
  readonly #quarantined: Gauge;
  readonly #lost: Gauge;
  readonly #ingested: Counter<'result'>;
  readonly #ingestFailed: Counter<'code'>;
  readonly #sessionsRunning: Gauge;
  readonly #gaps: Gauge;
  readonly #gapOldest: Gauge;
  readonly #gapSeconds: Gauge;
  readonly #verificationAge: Gauge<'scope'>;
  readonly #connections: Gauge;
  readonly #peers: Gauge<'state'>;
  readonly #skew: Gauge;
  readonly #traffic: Counter<'protocol' | 'direction' | 'topic_class'>;
  readonly #limits: Counter<'limit'>;
  readonly #loopDelay: Gauge<'quantile'>;
  readonly #audits: AuditMetrics;

  constructor(registry: Registry, node: ServedNode, data: string, nowMs: () => number) {
    const make = new MetricMaker(registry);
    this.#node = node;
    this.#data = data;
    this.#nowMs = nowMs;
    this.#build = make.gauge('build_info', 'Always 1; the version, and who the node is.', 'version', 'peer');
    this.#ready = make.gauge('node_serving', '1 while the node listens and is not stopping.');
    this.#messages = make.gauge('store_messages', 'Messages in the store.');
    this.#bytes = make.gauge('store_bytes', 'What the store takes on the disk.');
    this.#messageBytes = make.gauge(
      'store_message_bytes',
      'Bytes of all messages, as they are sent to peers.',
    );
    this.#topicMessages = make.gauge(
      'store_topic_messages',
      'Messages of the pubsub topics that have the most.',
      'pubsub_topic',
    );
    this.#topicBytes = make.gauge(
      'store_topic_bytes',
      'Bytes of the messages of these pubsub topics.',
      'pubsub_topic',
    );
    this.#bytesInMonth = make.gauge(
      'store_predicted_bytes',
      'What it will take in a month, as it grows now.',
    );
    this.#messagesInMonth = make.gauge('store_predicted_messages', 'Messages that it will hold in a month.');
    this.#diskFree = make.gauge('disk_free_bytes', 'What the disk of the data folder still takes.');
    this.#writable = make.gauge('store_writable', '1 while the store takes writes.');
    this.#quarantined = make.gauge('store_quarantined', 'Messages set aside as damaged since the start.');
    this.#lost = make.gauge('store_lost', 'Messages that were here once and are not any more.');
    this.#ingested = make.counter(
      'ingested_messages_total',
      'Messages handed to the writer, from peers and over HTTP: stored, or here already.',
      'result',
    );
    this.#ingestFailed = make.counter(
      'ingest_failed_messages_total',
      'Messages that the writer did not take, by code.',
      'code',
    );
    this.#sessionsRunning = make.gauge('sessions_running', 'Sessions that run.');
    this.#gaps = make.gauge('gaps_open', 'Gaps on the ledger.');
    this.#gapOldest = make.gauge('gap_oldest_seconds', 'For how long the oldest gap has been on the ledger.');
    this.#gapSeconds = make.gauge('gap_seconds', 'Message time that open gaps cover, summed.');
    this.#verificationAge = make.gauge(
      'last_verification_age_seconds',
      'Time since this store was last found to hold all that a peer holds, by the topics compared.',
      'scope',
    );
    this.#connections = make.gauge('connections', 'Connections with peers.');
    this.#peers = make.gauge('peers', 'Peers that the node knows.', 'state');
    this.#skew = make.gauge(
      'clock_skew_seconds',
      'How far the clock of the peer that differs most is from this one; positive: it is ahead.',
    );
    this.#traffic = make.counter(
      'bytes_total',
      'Bytes of streams with peers.',
      'protocol',
      'direction',
      'topic_class',
    );
    this.#limits = make.counter('limits_hit_total', 'Times a limit turned something away.', 'limit');
    this.#loopDelay = make.gauge(
      'event_loop_delay_seconds',
      'How long the event loop kept things waiting since the scrape before; quantile 1 is the longest.',
      'quantile',
    );
    this.#audits = new AuditMetrics(make);
    this.#build.set({ version: VERSION, peer: node.peerId }, 1);
  }

  async take(): Promise<void> {
    this.#ready.set(this.#node.state === 'serving' ? 1 : 0);
    this.#sessionsRunning.set(this.#node.sessions.running);
    this.#store();
    await this.#topics();
    this.#ledger();
    this.#network();
    const { p50, p99, max } = this.#delay.take();
    this.#loopDelay.set({ quantile: '0.5' }, p50 / MS_PER_SECOND);
    this.#loopDelay.set({ quantile: '0.99' }, p99 / MS_PER_SECOND);
    this.#loopDelay.set({ quantile: '1' }, max / MS_PER_SECOND);
    this.#audits.take(await this.#node.auditor.history.entries(), this.#nowMs());
    this.#diskFree.set((await freeBytes(this.#data)) ?? Number.NaN);
  }

  #store(): void {
    const { store, ingest } = this.#node;
    const { bytesNow, bytesInMonth, messagesInMonth } = store.retention.prediction();
    this.#messages.set(store.count);
    this.#bytes.set(bytesNow);
    this.#bytesInMonth.set(bytesInMonth);
    this.#messagesInMonth.set(messagesInMonth);
    this.#writable.set(store.writable ? 1 : 0);
    this.#quarantined.set(store.quarantined);
    this.#lost.set(store.lost);
    const { stored, duplicate, failed } = ingest.counts;
    this.#ingested.reset();
    this.#ingested.inc({ result: 'stored' }, stored);
    this.#ingested.inc({ result: 'duplicate' }, duplicate);
    this.#ingestFailed.reset();
    for (const [code, messages] of Object.entries(failed)) this.#ingestFailed.inc({ code }, messages);
  }

  /** From tallies: what it costs does not grow with the store. While nothing is counted, nothing is told. */
  async #topics(): Promise<void> {
    const { counter } = this.#node.store;
    this.#messageBytes.set(counter?.bytes ?? Number.NaN);
    // Before what is old is taken back: two scrapes at a time must not find each other's rows gone.
    const rows = (await counter?.largestTopics(LIMITS.metricTopics)) ?? [];
    this.#topicMessages.reset();
    this.#topicBytes.reset();
    for (const { bucket, messages, bytes } of rows) {
      const pubsub_topic = bucket.slice(0, LIMITS.metricScopeLength);
      this.#topicMessages.inc({ pubsub_topic }, messages);
      this.#topicBytes.inc({ pubsub_topic }, bytes);
    }
  }

  #ledger(): void {
    const { ledger } = this.#node;
    const gaps = ledger.open();
    const openedMs = gaps.reduce((oldest, gap) => Math.min(oldest, gap.openedMs), Number.POSITIVE_INFINITY);
    const lengthNs = gaps.reduce((sum, { sinceNs, untilNs }) => sum + untilNs - sinceNs, 0n);
    this.#gaps.set(gaps.length);
    this.#gapOldest.set(gaps.length === 0 ? 0 : this.#ageOf(openedMs));
    this.#gapSeconds.set(Number(lengthNs) / NS_PER_SECOND);
    this.#verificationAge.reset();
    for (const [scope, verifiedMs] of lastByScope(ledger.verifications())) {
      this.#verificationAge.set({ scope }, this.#ageOf(verifiedMs));
    }
  }

  #network(): void {
    const { connections, peers } = this.#node;
    const states = { connected: 0, 'backing-off': 0, known: 0 };
    let skewMs = 0;
    for (const peer of peers.list()) {
      const isResting = (peer.retryAtMs ?? 0) > this.#nowMs();
      states[peer.connected ? 'connected' : isResting ? 'backing-off' : 'known'] += 1;
      if (Math.abs(peer.skewMs ?? 0) > Math.abs(skewMs)) skewMs = peer.skewMs ?? 0;
    }
    this.#connections.set(connections);
    for (const [state, count] of Object.entries(states)) this.#peers.set({ state }, count);
    this.#skew.set(skewMs / MS_PER_SECOND);
    this.#traffic.reset();
    for (const { protocol, direction, topicClass, bytes } of this.#node.traffic()) {
      this.#traffic.inc({ protocol, direction, topic_class: topicClass }, bytes);
    }
    this.#limits.reset();
    for (const [limit, times] of Object.entries(this.#node.limitsHit())) this.#limits.inc({ limit }, times);
  }

  /** Seconds; a clock that was set back makes nothing younger than now. */
  #ageOf(ms: number): number {
    return Math.max(0, this.#nowMs() - ms) / MS_PER_SECOND;
  }
}

/** When each scope was verified last, those of the latest first, and no more of them than a metric may tell apart. */
function lastByScope(verifications: readonly Verification[]): [scope: string, verifiedMs: number][] {
  const last = new Map<string, number>();
  for (const { scope, verifiedMs } of verifications) {
    const label = scopeLabel(scope);
    last.set(label, Math.max(last.get(label) ?? 0, verifiedMs));
  }
  return [...last].sort(([, a], [, b]) => b - a).slice(0, LIMITS.metricScopes);
}

function scopeLabel(scope: Scope): string {
  if (isEverything(scope)) return 'all';
  return [...scope.pubsubTopics, ...scope.contentTopics].join(',').slice(0, LIMITS.metricScopeLength);
}
