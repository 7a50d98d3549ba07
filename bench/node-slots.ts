/**
 * When each message of the steady case was on each node. Content topics tell the second of a message's time and how
 * many nodes missed it, so that one count by topic says which seconds a node holds whole: the messages of a second
 * came at that time at the latest. What was published is all there is, so that equal counts are equal messages.
 */
import type { BenchNode } from './node-process.ts';

/** More seconds than anything is looked for; after them a topic is used again. */
const TOPICS = 600;
const SLOT_MS = 1_000;

interface Slot {
  readonly second: number;
  readonly missedBy: number;
  expected: number;
  /** Messages on their way to nodes that have not answered. */
  pending: number;
  /** On the wall clock, by node: when it was seen to hold all of them. */
  readonly wholeMs: (number | undefined)[];
}

/** How old the oldest message of a second could be when the last node had it. */
export interface Convergence {
  readonly missedBy: number;
  readonly messages: number;
  readonly agesMs: readonly number[];
  /** Of messages that never came. */
  readonly lost: number;
}

export class Slots {
  readonly #nodes: readonly BenchNode[];
  readonly #slots = new Map<string, Slot>();
  readonly #all: Slot[] = [];
  /** By node: those that it does not hold whole, or not for all that is known. */
  readonly #open: Set<Slot>[];

  constructor(nodes: readonly BenchNode[]) {
    this.#nodes = nodes;
    this.#open = nodes.map(() => new Set());
  }

  /** The topic of a message of this time that so many nodes do not get. */
  topicOf(timeMs: number, missedBy: number): string {
    const second = Math.floor(timeMs / SLOT_MS);
    return `/bench/1/missed-by-${missedBy}-${second % TOPICS}/proto`;
  }

  began(timeMs: number, missedBy: number): void {
    const topic = this.topicOf(timeMs, missedBy);
    const second = Math.floor(timeMs / SLOT_MS);
    let slot = this.#slots.get(topic);
    if (slot === undefined || slot.second !== second) {
      if (slot?.wholeMs.includes(undefined)) throw new Error(`a message of ${TOPICS} s ago has not come`);
      slot = { second, missedBy, expected: 0, pending: 0, wholeMs: this.#nodes.map(() => undefined) };
      this.#all.push(slot);
      this.#slots.set(topic, slot);
      for (const open of this.#open) open.add(slot);
    }
    slot.pending += 1;
  }

  /** It is on the disk of the first node at least, or of none. */
  acknowledged(timeMs: number, missedBy: number, isStored: boolean): void {
    const slot = this.#slots.get(this.topicOf(timeMs, missedBy))!;
    slot.pending -= 1;
    if (isStored) slot.expected += 1;
  }

  /** Asks one node which seconds it holds whole. */
  async look(at: number): Promise<void> {
    const nowSecond = Math.floor(Date.now() / SLOT_MS);
    const open = this.#open[at]!;
    const known = [...open].filter(({ second, pending }) => second < nowSecond && pending === 0);
    if (known.length === 0) return;
    const nsOf = (second: number): string => `${second}000000000`;
    const oldest = Math.min(...known.map(({ second }) => second));
    const window = `since=${nsOf(oldest)}&until=${nsOf(nowSecond)}`;
    const { rows } = await this.#nodes[at]!.get<{ rows: { bucket: string; messages: number }[] }>(
      `/api/v1/counts?by=content-topic&${window}`,
    );
    const nowMs = Date.now();
    const counted = new Map(rows.map(({ bucket, messages }) => [bucket, messages]));
    for (const slot of known) {
      const topic = this.topicOf(slot.second * SLOT_MS, slot.missedBy);
      if ((counted.get(topic) ?? 0) < slot.expected) continue;
      slot.wholeMs[at] = nowMs;
      open.delete(slot);
    }
  }

  get isWhole(): boolean {
    return this.#open.every(({ size }) => size === 0);
  }

  /** How old the oldest second is that a node does not hold whole. */
  oldestOpenMs(): number {
    const nowMs = Date.now();
    const seconds = this.#open.flatMap((open) => [...open].map(({ second }) => second * SLOT_MS));
    return Math.max(0, ...seconds.map((ms) => nowMs - ms));
  }

  /** By how many nodes missed the messages: seconds as they were on the last node, one age for each message. */
  convergence(): Convergence[] {
    return [0, 1, 2].map((missedBy) => {
      const slots = this.#all.filter((slot) => slot.missedBy === missedBy);
      const agesMs: number[] = [];
      let lost = 0;
      for (const { second, expected, wholeMs } of slots) {
        const whole = wholeMs.filter((ms) => ms !== undefined);
        if (whole.length < wholeMs.length) lost += expected;
        else for (let one = 0; one < expected; one++) agesMs.push(Math.max(...whole) - second * SLOT_MS);
      }
      return { missedBy, messages: agesMs.length + lost, agesMs, lost };
    });
  }
}
