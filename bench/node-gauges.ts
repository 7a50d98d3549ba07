/** What a node process takes, looked at from outside: CPU and memory as the kernel counts them, delay as it tells. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { BenchNode } from './node-process.ts';

export interface Usage {
  /** Of one core. */
  readonly cpuPercent: number;
  /** Of the time, how long its main thread could have run and others had the cores: how busy the machine was. */
  readonly starvedPercent: number;
  readonly rssMb: readonly number[];
  /** Without pages of mapped files, which the kernel takes back when it likes. */
  readonly anonymousMb: readonly number[];
  /** How resident memory grew over the last half, by least squares. */
  readonly mbPerHour: number;
  readonly anonymousMbPerHour: number;
  /** The kernel's own mark, since the process began. */
  readonly peakMb: number;
  readonly delay: Delay;
}

/** Of the event loop, in ms, since the scrape before. */
export interface Delay {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

interface Memory {
  readonly rssMb: number;
  readonly anonymousMb: number;
  readonly peakMb: number;
}

/** Watches one node until it is told to end. A scrape begins what is measured of the event loop anew. */
export class NodeWatch {
  readonly #node: BenchNode;
  readonly #startMs = performance.now();
  readonly #cpuSeconds: number;
  readonly #starvedSeconds: number;
  readonly #samples: (Memory & { readonly atMs: number })[] = [];
  readonly #timer: NodeJS.Timeout;

  private constructor(node: BenchNode, sampleMs: number) {
    this.#node = node;
    this.#cpuSeconds = cpuSecondsOf(node.pid);
    this.#starvedSeconds = starvedSecondsOf(node.pid);
    this.#look();
    this.#timer = setInterval(() => this.#look(), sampleMs);
  }

  static async begin(node: BenchNode, sampleMs: number): Promise<NodeWatch> {
    await delayOf(node);
    return new NodeWatch(node, sampleMs);
  }

  async end(): Promise<Usage> {
    clearInterval(this.#timer);
    this.#look();
    const seconds = (performance.now() - this.#startMs) / 1e3;
    const cpuSeconds = cpuSecondsOf(this.#node.pid) - this.#cpuSeconds;
    const starvedSeconds = starvedSecondsOf(this.#node.pid) - this.#starvedSeconds;
    const samples = this.#samples;
    const late = samples.slice(samples.length >> 1);
    const at = late.map(({ atMs }) => atMs / 3.6e6);
    const rssMb = samples.map((sample) => sample.rssMb);
    const anonymousMb = samples.map((sample) => sample.anonymousMb);
    const slopeOf = (values: readonly number[]): number => slope(at, values.slice(-late.length));
    return {
      cpuPercent: (cpuSeconds / seconds) * 100,
      starvedPercent: (starvedSeconds / seconds) * 100,
      rssMb,
      anonymousMb,
      mbPerHour: slopeOf(rssMb),
      anonymousMbPerHour: slopeOf(anonymousMb),
      peakMb: samples.at(-1)!.peakMb,
      delay: await delayOf(this.#node),
    };
  }

  #look(): void {
    this.#samples.push({ atMs: performance.now(), ...memoryOf(this.#node.pid) });
  }
}

/** What the node says of its event loop at `GET /metrics`. */
export async function delayOf(node: BenchNode): Promise<Delay> {
  const text = await node.getText('/metrics');
  const msAt = (quantile: string): number => {
    const match = new RegExp(`^lacuna_event_loop_delay_seconds\\{quantile="${quantile}"\\} (\\S+)`, 'm').exec(
      text,
    );
    if (match === null) throw new Error(`${node.name} tells no delay of its event loop`);
    return Number(match[1]) * 1e3;
  };
  return { p50: msAt('0.5'), p99: msAt('0.99'), max: msAt('1') };
}

/** The value below which so many percent of the values are. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))] ?? Number.NaN;
}

const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** User and system time. */
function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name of the program stands in brackets and may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** How long the main thread has waited for a core. */
function starvedSecondsOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ')[1]) / 1e9;
}

function memoryOf(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const mbOf = (name: string): number =>
    (Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1_024) / 1e6;
  return { rssMb: mbOf('VmRSS'), anonymousMb: mbOf('RssAnon'), peakMb: mbOf('VmHWM') };
}

function slope(at: readonly number[], values: readonly number[]): number {
  const middleAt = at.reduce((sum, value) => sum + value, 0) / at.length;
  const middle = values.reduce((sum, value) => sum + value, 0) / values.length;
  let products = 0;
  let squares = 0;
  for (const [index, time] of at.entries()) {
    products += (time - middleAt) * (values[index]! - middle);
    squares += (time - middleAt) ** 2;
  }
  return squares === 0 ? 0 : products / squares;
}
