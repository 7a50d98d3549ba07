/**
 * The memory of this process over a stretch of time. The kernel's own high-water mark misses nothing, and counts from
 * the process's birth; the parts (anonymous pages, and those of mapped files such as LevelDB's tables, which the
 * kernel takes back when it likes) are sampled, where the system tells them.
 */
import { readFileSync } from 'node:fs';

export interface MemoryFigures {
  /** When the stretch began. */
  readonly beforeMb: number;
  /** Since the process began. */
  readonly peakMb: number;
  /** Within the stretch. */
  readonly stretchPeakMb: number;
  /** Undefined where the system does not tell. */
  readonly beforeAnonymousMb: number | undefined;
  readonly peakAnonymousMb: number | undefined;
  readonly peakFileMb: number | undefined;
}

interface Sample {
  readonly mb: number;
  readonly peakMb: number;
  readonly anonymousMb: number | undefined;
  readonly fileMb: number | undefined;
}

const SAMPLE_MS = 50;

export class MemoryWatch {
  readonly #first = sample();
  #mb = this.#first.mb;
  #anonymousMb = this.#first.anonymousMb;
  #fileMb = this.#first.fileMb;
  readonly #timer = setInterval(() => this.#look(), SAMPLE_MS);

  end(): MemoryFigures {
    clearInterval(this.#timer);
    const { peakMb } = this.#look();
    // A mark that has risen rose within the stretch.
    const stretchPeakMb = peakMb > this.#first.peakMb ? peakMb : this.#mb;
    return {
      beforeMb: this.#first.mb,
      peakMb,
      stretchPeakMb,
      beforeAnonymousMb: this.#first.anonymousMb,
      peakAnonymousMb: this.#anonymousMb,
      peakFileMb: this.#fileMb,
    };
  }

  #look(): Sample {
    const now = sample();
    this.#mb = Math.max(this.#mb, now.mb);
    this.#anonymousMb = larger(this.#anonymousMb, now.anonymousMb);
    this.#fileMb = larger(this.#fileMb, now.fileMb);
    return now;
  }
}

function larger(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? undefined : Math.max(a, b);
}

function sample(): Sample {
  const status = processStatus();
  const mbOf = (name: string): number | undefined => {
    const match = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status);
    return match === null ? undefined : (Number(match[1]) * 1_024) / 1e6;
  };
  return {
    mb: mbOf('VmRSS') ?? process.memoryUsage.rss() / 1e6,
    peakMb: mbOf('VmHWM') ?? (process.resourceUsage().maxRSS * 1_024) / 1e6,
    anonymousMb: mbOf('RssAnon'),
    fileMb: mbOf('RssFile'),
  };
}

function processStatus(): string {
  try {
    return readFileSync('/proc/self/status', 'utf8');
  } catch {
    return '';
  }
}
