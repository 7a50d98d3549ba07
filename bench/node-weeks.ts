/**
 * Case `two-weeks` of the node bench: a node comes back that slept for two weeks, with a peer that was awake. How fast
 * it gets what it missed, in which order, and how both answer meanwhile.
 */
import { inWorkspace } from './cells.ts';
import { median } from './measure.ts';
import type { NodeCase } from './node.ts';
import { NodeWatch, percentile, type Usage } from './node-gauges.ts';
import { BenchNode, pause, withNodes } from './node-process.ts';
import { lastAliveAt, nsOfMs } from './node-stores.ts';
import { assertDisk, copyStore, fill } from './sync-stores.ts';

const DAY_MS = 24 * 3_600_000;
const DAYS = 14;
const MISSED = 1_200_000;
const COMMON = 100_000;
const PAYLOAD_BYTES = 200;
/** Comparable when the node starts, however long the stores take to fill. */
const COMPARABLE_MS = 60_000;
const QUERY_MS = 200;
const LOOK_MS = 500;
/** Of each day, minutes that stand for it, evenly spread: a count of all would cost what is measured. */
const PROBES = 6;
const PROBE_MS = 60_000;
const FILL_LIMIT_MS = 600_000;
const CLOSE_LIMIT_MS = 120_000;
const DISK_BYTES = 4e9;
const STATUS = '/api/v1/status';
const COUNTS = '/api/v1/counts?since=1h';

interface Probe {
  readonly day: number;
  readonly window: string;
  expected: number;
  /** Undefined until it was seen whole. */
  wholeMs: number | undefined;
}

export async function benchTwoWeeks({ report }: NodeCase): Promise<void> {
  await assertDisk(DISK_BYTES);
  await inWorkspace(async (space) => {
    const [awake, asleep] = [space.path('awake'), space.path('asleep')];
    const untilMs = Date.now() - COMPARABLE_MS;
    const sinceMs = untilMs - DAYS * DAY_MS;
    const each = { payloadBytes: PAYLOAD_BYTES, seed: 'two-weeks' };
    const common = { sinceNs: nsOfMs(sinceMs - DAY_MS), spanNs: nsOfMs(DAY_MS) };
    await fill(space, { folder: asleep, workload: { ...each, ...common, messages: COMMON } });
    await copyStore(asleep, awake);
    const missed = { sinceNs: nsOfMs(sinceMs), spanNs: nsOfMs(DAYS * DAY_MS) };
    process.stderr.write('two-weeks: filling the store of the peer …\n');
    await fill(space, { folder: awake, workload: { ...each, ...missed, messages: MISSED } });
    await lastAliveAt(asleep, sinceMs);
    await lastAliveAt(awake, Date.now());
    await withNodes(async (nodes) => {
      const peer = await BenchNode.start({ name: 'the peer', data: awake });
      nodes.push(peer);
      const probes = probesOf(untilMs);
      for (const probe of probes) probe.expected = await countOf(peer, probe);
      const node = await BenchNode.start({ name: 'the node', data: asleep, peers: [peer.address] });
      nodes.push(node);
      const run = new Awakening(node, peer, probes);
      await run.run();
      run.tell(report);
    });
  });
}

class Awakening {
  readonly #node: BenchNode;
  readonly #peer: BenchNode;
  readonly #probes: readonly Probe[];
  readonly #startMs = performance.now();
  readonly #stop = new AbortController();
  /** By what was asked of whom, in ms. */
  readonly #answers = new Map<string, number[]>();
  #failed = 0;
  #usages: readonly Usage[] = [];
  #filledMs = Number.NaN;
  #closedMs = Number.NaN;

  constructor(node: BenchNode, peer: BenchNode, probes: readonly Probe[]) {
    this.#node = node;
    this.#peer = peer;
    this.#probes = probes;
  }

  async run(): Promise<void> {
    const watches = await Promise.all([this.#node, this.#peer].map((node) => NodeWatch.begin(node, 100)));
    const others = [
      this.#query('statusNode', this.#node, STATUS),
      this.#query('statusPeer', this.#peer, STATUS),
      this.#query('countsNode', this.#node, COUNTS),
      this.#query('countsPeer', this.#peer, COUNTS),
      this.#look(),
    ];
    try {
      this.#filledMs = await this.#until(FILL_LIMIT_MS, 'to be filled', () => this.#isFull());
      this.#usages = await Promise.all(watches.map((watch) => watch.end()));
      this.#closedMs = await this.#until(CLOSE_LIMIT_MS, 'to close its gap', () => this.#hasNoGap());
    } finally {
      this.#stop.abort();
      await Promise.all(others);
    }
  }

  tell(report: NodeCase['report']): void {
    const add = (metric: string, value: number, unit: string, target?: string): void =>
      report.add('two-weeks', metric, value, unit, target);
    const fillMs = this.#filledMs - this.#startMs;
    const sessions = this.#node.sessions();
    add('seconds', fillMs / 1e3, 's');
    add('messagesPerSecond', MISSED / (fillMs / 1e3), 'messages/s', '>= 20,000');
    for (const day of [0, 1, 6, DAYS - 1]) {
      const at = this.#probes.filter((probe) => probe.day === day).map(({ wholeMs = Number.NaN }) => wholeMs);
      const share = (ms: number): number => ((ms - this.#startMs) / fillMs) * 100;
      add(`day${day + 1}BackBegun`, share(Math.min(...at)), '% of the time');
      add(`day${day + 1}BackWhole`, share(Math.max(...at)), '% of the time');
    }
    add('inOrder', this.#inOrder() * 100, '% of probes', '100');
    for (const [name, ms] of this.#answers) {
      add(`${name}P50`, percentile(ms, 50), 'ms');
      add(`${name}P99`, percentile(ms, 99), 'ms');
      add(`${name}Max`, Math.max(...ms), 'ms');
    }
    add('queriesFailed', this.#failed, '', '0');
    for (const [name, { peakMb, anonymousMb, cpuPercent, starvedPercent, delay }] of this.#named()) {
      add(`${name}PeakRss`, peakMb, 'MB');
      add(`${name}PeakAnonymous`, Math.max(...anonymousMb), 'MB');
      add(`${name}MedianAnonymous`, median(anonymousMb), 'MB');
      add(`${name}Cpu`, cpuPercent, '% of a core');
      add(`${name}Starved`, starvedPercent, '% of the time');
      add(`${name}DelayP99`, delay.p99, 'ms');
      add(`${name}DelayMax`, delay.max, 'ms');
    }
    add('sessions', sessions.length, '');
    add('sessionsFailed', sessions.filter(({ fields }) => fields['error'] !== undefined).length, '', '0');
    add('gapClosedAfter', (this.#closedMs - this.#filledMs) / 1e3, 's');
  }

  #named(): (readonly [string, Usage])[] {
    return this.#usages.map((usage, at) => [at === 0 ? 'node' : 'peer', usage] as const);
  }

  /** The share of probes that were whole no later than the one before them in time. */
  #inOrder(): number {
    const pairs = this.#probes.slice(1).map((older, at) => [this.#probes[at]!, older] as const);
    const good = pairs.filter(([newer, older]) => (newer.wholeMs ?? 0) <= (older.wholeMs ?? 0));
    return good.length / pairs.length;
  }

  async #isFull(): Promise<boolean> {
    const { messages } = await this.#node.get<{ messages: number }>(STATUS);
    return messages >= COMMON + MISSED;
  }

  async #hasNoGap(): Promise<boolean> {
    const { rows } = await this.#node.get<{ rows: unknown[] }>('/api/v1/gaps');
    return rows.length === 0;
  }

  async #until(limitMs: number, what: string, isSo: () => Promise<boolean>): Promise<number> {
    for (const deadline = performance.now() + limitMs; performance.now() < deadline; await pause(100)) {
      if (await isSo()) return performance.now();
    }
    const gaps = await this.#node.getText('/api/v1/gaps');
    const status = await this.#node.getText(STATUS);
    throw new Error(`the node does not come ${what}\n${status}${gaps}${this.#node.log}`);
  }

  /** Asks one thing after the other, as an operator's screen would; a node turns away who asks for many counts. */
  async #query(what: string, node: BenchNode, path: string): Promise<void> {
    while (!this.#stop.signal.aborted && Number.isNaN(this.#filledMs)) {
      await Promise.all([this.#timed(what, node, path), pause(QUERY_MS)]);
    }
  }

  async #timed(key: string, node: BenchNode, path: string): Promise<void> {
    const startMs = performance.now();
    try {
      await node.getText(path);
    } catch (error) {
      if (this.#failed === 0) process.stderr.write(`two-weeks: ${String(error)}\n`);
      this.#failed += 1;
      return;
    }
    const before = this.#answers.get(key) ?? [];
    this.#answers.set(key, before);
    before.push(performance.now() - startMs);
  }

  /** Asks the node which probes it holds, the newest first, and no more than a few that it does not. */
  async #look(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      for (const probe of this.#probes.filter(({ wholeMs }) => wholeMs === undefined)) {
        if (this.#stop.signal.aborted) return;
        try {
          if ((await countOf(this.#node, probe)) >= probe.expected) probe.wholeMs = performance.now();
        } catch {
          // Other counts were running; it is looked at again.
        }
      }
      await pause(LOOK_MS);
    }
  }
}

/** The newest first. */
function probesOf(untilMs: number): Probe[] {
  const probes: Probe[] = [];
  for (let at = 0; at < DAYS * PROBES; at++) {
    const endMs = untilMs - (at * DAY_MS) / PROBES - PROBE_MS;
    const window = `since=${nsOfMs(endMs - PROBE_MS)}&until=${nsOfMs(endMs)}`;
    probes.push({ day: Math.floor(at / PROBES), window, expected: 0, wholeMs: undefined });
  }
  return probes;
}

async function countOf(node: BenchNode, { window }: Probe): Promise<number> {
  const { total } = await node.get<{ total: number }>(`/api/v1/counts?${window}`);
  return total;
}
