/**
 * Case `steady` of the node bench: three nodes that know each other, messages that each of them misses some of, and
 * what it costs them to become equal again and again.
 */
import { inWorkspace } from './cells.ts';
import { median } from './measure.ts';
import type { NodeCase } from './node.ts';
import { NodeWatch, percentile, type Usage } from './node-gauges.ts';
import { BenchNode, freePorts, initialise, pause, withNodes } from './node-process.ts';
import { Metronome, messageLine, Publisher } from './node-publish.ts';
import { Slots } from './node-slots.ts';

const NODES = 3;
const PER_SECOND = 15;
const PAYLOAD_BYTES = 4_096;
/** The share of messages that a node does not get. */
const MISSED = 0.1;
const INTERVAL_MS = 10_000;
/** The default of --sync-jitter: what is younger is not compared. */
const JITTER_MS = 20_000;
/** How much later than the interval a round may begin, by chance. */
const INTERVAL_SPREAD = 1.1;
const LOOK_MS = 1_000;
/** A second is known when it is over, and seen to be whole when it is looked for. */
const RESOLUTION_MS = 1_000 + LOOK_MS;
const SAMPLE_MS = 1_000;
const AT_A_TIME = 8;
/** Sockets are made, code is compiled: not what is measured. */
const WARM_MS = 10_000;
const CONVERGE_MS = 90_000;

export async function benchSteady({ report, minutes = 10 }: NodeCase): Promise<void> {
  await inWorkspace((space) =>
    withNodes(async (nodes) => {
      const folders = Array.from({ length: NODES }, (_, at) => space.path(`node-${at}`));
      const ids = await Promise.all(folders.map(initialise));
      const ports = await freePorts(NODES);
      const addresses = ids.map((id, at) => `/ip4/127.0.0.1/tcp/${ports[at]}/p2p/${id}`);
      for (const [at, data] of folders.entries()) {
        const peers = addresses.filter((_, other) => other !== at);
        const args = ['--sync-interval', `${INTERVAL_MS}ms`];
        nodes.push(await BenchNode.start({ name: `node ${at}`, data, port: ports[at]!, peers, args }));
      }
      const run = new SteadyRun(nodes);
      await run.run(minutes * 60_000);
      run.tell(report, minutes);
    }),
  );
}

class SteadyRun {
  readonly #nodes: readonly BenchNode[];
  readonly #slots: Slots;
  readonly #publishers: readonly Publisher[];
  readonly #refusals: string[] = [];
  readonly #latencies: number[] = [];
  readonly #under = new Set<Promise<void>>();
  #usages: Usage[] = [];
  #messages = 0;
  #startMs = 0;
  #endMs = 0;

  constructor(nodes: readonly BenchNode[]) {
    this.#nodes = nodes;
    this.#slots = new Slots(nodes);
    this.#publishers = nodes.map((node) => new Publisher(node, AT_A_TIME));
  }

  async run(forMs: number): Promise<void> {
    const looking = new AbortController();
    const looks = this.#nodes.map((_, at) => this.#look(at, looking.signal));
    const beat = new Metronome(PER_SECOND, (dueMs, timeMs) => this.#publish(dueMs, timeMs));
    await pause(WARM_MS);
    const watches = await Promise.all(this.#nodes.map((node) => NodeWatch.begin(node, SAMPLE_MS)));
    this.#startMs = performance.now();
    for (const deadline = this.#startMs + forMs; performance.now() < deadline; ) {
      await pause(Math.min(10_000, Math.max(0, deadline - performance.now())));
      process.stderr.write(
        `steady: ${this.#messages} messages, the oldest second that is not everywhere is ` +
          `${(this.#slots.oldestOpenMs() / 1e3).toFixed(0)} s old\n`,
      );
    }
    this.#endMs = performance.now();
    this.#usages = await Promise.all(watches.map((watch) => watch.end()));
    beat.stop();
    await Promise.all(this.#under);
    for (const deadline = performance.now() + CONVERGE_MS; performance.now() < deadline; ) {
      await pause(LOOK_MS);
      if (this.#slots.isWhole) break;
    }
    looking.abort();
    await Promise.all(looks);
    for (const publisher of this.#publishers) publisher.end();
  }

  tell(report: NodeCase['report'], minutes: number): void {
    const add = (metric: string, value: number, unit: string, target?: string): void =>
      report.add('steady', metric, value, unit, target);
    add('minutes', minutes, 'min');
    add('messages', this.#messages, '');
    add('refused', this.#refusals.length, '', '0');
    for (const refusal of new Set(this.#refusals)) process.stderr.write(`steady: refused: ${refusal}\n`);
    add('ingestP50', percentile(this.#latencies, 50), 'ms');
    add('ingestP99', percentile(this.#latencies, 99), 'ms');
    for (const [at, usage] of this.#usages.entries()) this.#tellUsage(add, `node${at}`, usage);
    this.#tellConvergence(add);
    const sessions = this.#nodes.flatMap((node) => node.sessions());
    const own = sessions.filter(({ fields }) => fields['role'] === 'initiator');
    add('sessions', own.length, '');
    const settledMs = this.#endMs - (this.#endMs - this.#startMs) / 2;
    const settled = own.filter(({ atMs }) => atMs >= settledMs && atMs < this.#endMs);
    const intervals = (this.#endMs - settledMs) / INTERVAL_MS;
    add('sessionsPerInterval', settled.length / intervals / NODES, 'a node, last half', '1');
    add('sessionsFailed', sessions.filter(({ fields }) => fields['error'] !== undefined).length, '', '0');
    add('sessionMedian', median(own.map(({ fields }) => Number(fields['durationMs']))), 'ms');
    add('sessionMax', Math.max(...own.map(({ fields }) => Number(fields['durationMs']))), 'ms');
  }

  #tellUsage(
    add: Add,
    name: string,
    { cpuPercent, starvedPercent, rssMb, anonymousMb, delay, ...usage }: Usage,
  ): void {
    add(`${name}Cpu`, cpuPercent, '% of a core');
    add(`${name}Starved`, starvedPercent, '% of the time');
    add(`${name}RssStart`, rssMb[0]!, 'MB');
    add(`${name}RssMin`, Math.min(...rssMb), 'MB');
    add(`${name}RssMedian`, median(rssMb), 'MB');
    add(`${name}RssMax`, Math.max(...rssMb), 'MB');
    add(`${name}RssEnd`, rssMb.at(-1)!, 'MB');
    add(`${name}RssSlope`, usage.mbPerHour, 'MB/h, last half');
    add(`${name}AnonymousMedian`, median(anonymousMb), 'MB');
    add(`${name}AnonymousSlope`, usage.anonymousMbPerHour, 'MB/h, last half');
    add(`${name}DelayP99`, delay.p99, 'ms', '< 50');
    add(`${name}DelayMax`, delay.max, 'ms');
  }

  #tellConvergence(add: Add): void {
    const durations = this.#nodes
      .flatMap((node) => node.sessions())
      .map(({ fields }) => Number(fields['durationMs']));
    const sessionMs = percentile(durations, 99);
    const oneMs = JITTER_MS + INTERVAL_MS * INTERVAL_SPREAD + sessionMs + RESOLUTION_MS;
    const twoMs = oneMs + INTERVAL_MS * INTERVAL_SPREAD;
    add('bound', oneMs / 1e3, 's');
    const all = this.#slots.convergence();
    for (const { missedBy, messages, agesMs, lost } of all) {
      if (messages === 0) continue;
      const name = `missedBy${missedBy}`;
      add(name, messages, 'messages');
      add(`${name}AgeP50`, percentile(agesMs, 50) / 1e3, 's');
      add(`${name}AgeP99`, percentile(agesMs, 99) / 1e3, 's');
      add(`${name}AgeMax`, Math.max(0, ...agesMs) / 1e3, 's');
      add(`${name}OverOne`, agesMs.filter((ms) => ms > oneMs).length + lost, 'messages', '0');
      add(`${name}OverTwo`, agesMs.filter((ms) => ms > twoMs).length + lost, 'messages', '0');
      add(`${name}Lost`, lost, 'messages', '0');
    }
  }

  #publish(dueMs: number, timeMs: number): void {
    const getters = this.#chosen();
    const missedBy = NODES - getters.length;
    const line = messageLine(PAYLOAD_BYTES, this.#slots.topicOf(timeMs, missedBy), timeMs);
    this.#messages += 1;
    this.#slots.began(timeMs, missedBy);
    const done = Promise.all(
      getters.map(async (publisher) => {
        const { sentMs, answeredMs, refused } = await publisher.publish(line, dueMs);
        this.#latencies.push(answeredMs - sentMs);
        return refused;
      }),
    ).then(
      (all) => this.#answered(timeMs, missedBy, all),
      (error: unknown) => this.#answered(timeMs, missedBy, [String(error)]),
    );
    const under = done.finally(() => this.#under.delete(under));
    this.#under.add(under);
  }

  #answered(timeMs: number, missedBy: number, all: readonly (string | undefined)[]): void {
    const refusals = all.filter((refused) => refused !== undefined);
    this.#refusals.push(...refusals);
    this.#slots.acknowledged(timeMs, missedBy, refusals.length < all.length);
  }

  /** Each node by itself, but not none. */
  #chosen(): readonly Publisher[] {
    for (;;) {
      const chosen = this.#publishers.filter(() => Math.random() >= MISSED);
      if (chosen.length > 0) return chosen;
    }
  }

  async #look(at: number, stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      await Promise.all([this.#slots.look(at), pause(LOOK_MS)]);
    }
  }
}

type Add = (metric: string, value: number, unit: string, target?: string) => void;
