/**
 * Counts messages by what the index knows of them: whole hours and whole topics from their tallies, at no cost of the
 * store, and the rest from the entries under the topics, at the cost of the window that is asked for.
 */
import { boundAt } from '../core/sync-id.ts';
import { LacunaError } from '../errors.ts';
import type { Counted, CountOrder, CountRow, MessageCounter } from '../ports.ts';
import { HOUR_NS, hourText } from '../time.ts';
import { hourOf } from './hour-counts.ts';
import { readTopicEntry, type TopicKind, topicRange } from './keys.ts';
import type { MessageReader } from './message-reader.ts';
import type { StoreIndex } from './store-index.ts';
import { type Tally, tallyIn } from './tally.ts';
import { topicKeyNamed, topicKeyOf } from './topic-counts.ts';
import { TopicNames, type TopicNamesInit } from './topic-names.ts';

export interface CounterInit extends TopicNamesInit {
  readonly index: StoreIndex;
  readonly reader: MessageReader;
}

/** A message as it is counted: topics are the names of their keys. */
type Visit = (id: Uint32Array, pubsub: string, content: string, bytes: number) => void;

export class StoreCounter implements MessageCounter {
  readonly #init: CounterInit;
  readonly #names: TopicNames;

  constructor(init: CounterInit) {
    this.#init = init;
    this.#names = new TopicNames(init);
  }

  /**
   * Exact, as of a moment while it counts; undefined where the names of topics cannot be told, so that the messages
   * themselves have to be gone through.
   *
   * @throws LacunaError USAGE for more than `rowsMax` rows; SESSION_ABORTED; STORE_DAMAGED, STORE_CLOSED.
   */
  async count(order: CountOrder): Promise<Counted | undefined> {
    const { by } = order;
    if (order.sinceNs >= order.untilNs) return countedOf(new Map());
    if (by === 'pubsub-topic' || by === 'content-topic') {
      return await this.#countTopics(by === 'pubsub-topic' ? 'pubsub' : 'content', order);
    }
    return countedOf(await this.#countTimes(order));
  }

  /** The pubsub topics with the most messages, as far as they are counted. */
  async largestTopics(most: number): Promise<readonly CountRow[]> {
    const tallies = [...this.#init.index.tallies.pubsub.entries()]
      .sort(([, a], [, b]) => b.messages - a.messages)
      .slice(0, most)
      .map(([key, tally]) => ({ key, ...tally }));
    const names = await this.#names.of(
      'pubsub',
      tallies.map(({ key }) => key),
    );
    return tallies.flatMap(({ messages, bytes }, at) => {
      const bucket = names[at];
      return bucket === undefined ? [] : [{ bucket, messages, bytes }];
    });
  }

  /** Bytes of all messages; undefined while they are not counted. */
  get bytes(): number | undefined {
    const { hours } = this.#init.index.tallies;
    if (hours === undefined) return undefined;
    let bytes = 0;
    for (const [, tally] of hours.between(0, Number.POSITIVE_INFINITY)) bytes += tally.bytes;
    return bytes;
  }

  async #countTopics(kind: TopicKind, order: CountOrder): Promise<Counted | undefined> {
    const { sinceNs, untilNs, rowsMax } = order;
    const { tree, tallies } = this.#init.index;
    const isWhole = this.#between(sinceNs, untilNs) === tree.count;
    const counts = new Map<string, Tally>();
    const assertFew = (): void => assertRows(counts, rowsMax);
    if (isWhole && tallies[kind].areKnown) {
      for (const [key, tally] of tallies[kind].entries()) counts.set(key, { ...tally });
      assertFew();
    } else {
      const visit: Visit = (_id, pubsub, content, bytes) =>
        tallyIn(counts, kind === 'pubsub' ? pubsub : content, 1, bytes);
      await this.#walk(order, sinceNs, untilNs, visit, assertFew);
    }
    const keys = [...counts.keys()];
    const names = await this.#names.of(kind, keys);
    const rows = new Map<string, Tally>();
    for (const [at, key] of keys.entries()) {
      const name = names[at];
      if (name === undefined) return undefined;
      rows.set(name, counts.get(key)!);
    }
    return countedOf(rows);
  }

  async #countTimes(order: CountOrder): Promise<Map<string, Tally>> {
    const { sinceNs, untilNs, by, rowsMax } = order;
    const rows = new Map<string, Tally>();
    const add = (hour: number, messages: number, bytes: number): void =>
      tallyIn(rows, labelOf(hour, by), messages, bytes);
    const assertFew = (): void => assertRows(rows, rowsMax);
    // Hours first, without a pause: what is written while the rest is looked at belongs to no hour twice.
    const rest: (readonly [sinceNs: bigint, untilNs: bigint])[] = [];
    const { hours } = this.#init.index.tallies;
    if (hours === undefined) {
      rest.push([sinceNs, untilNs]);
    } else {
      const first = Number((sinceNs + HOUR_NS - 1n) / HOUR_NS);
      const last = Number(untilNs / HOUR_NS);
      const parts: (readonly [bigint, bigint])[] =
        first > last
          ? [[sinceNs, untilNs]]
          : [
              [sinceNs, BigInt(first) * HOUR_NS],
              [BigInt(last) * HOUR_NS, untilNs],
            ];
      for (const [from, to] of parts) {
        const messages = this.#between(from, to);
        if (messages === 0) continue;
        const hour = Number(from / HOUR_NS);
        const tally = hours.of(hour);
        // The window ends within the hour, and the hour has nothing beyond it.
        if (tally.messages === messages) add(hour, tally.messages, tally.bytes);
        else rest.push([from, to]);
      }
      for (const [hour, { messages, bytes }] of hours.between(first, last)) {
        add(hour, messages, bytes);
        assertFew();
      }
    }
    const visit: Visit = (id, _pubsub, _content, bytes) => add(hourOf(id), 1, bytes);
    for (const [from, to] of rest) await this.#walk(order, from, to, visit, assertFew);
    assertFew();
    return rows;
  }

  /** Visits the messages of a window; by the entries of their pubsub topics, where these are known. */
  async #walk(
    order: CountOrder,
    sinceNs: bigint,
    untilNs: bigint,
    visit: Visit,
    check: () => void,
  ): Promise<void> {
    const { index, database } = this.#init;
    if (!index.topics.areKnown) return await this.#scan(order, sinceNs, untilNs, visit, check);
    const [lower, upper] = [boundAt(sinceNs), boundAt(untilNs)];
    const tree = index.tree.snapshot();
    const expected = tree.rank(upper) - tree.rank(lower);
    let done = 0;
    for (const name of index.topics.names()) {
      if (done === expected) break;
      const range = topicRange('pubsub', topicKeyNamed(name).bytes, lower, upper);
      for await (const chunk of database.entries(range)) {
        for (const [key, value] of chunk) {
          const entry = readTopicEntry(key, value);
          // An entry may be there before its message is acknowledged, or without one.
          if (entry === undefined || !tree.has(entry.id)) continue;
          visit(entry.id, name, topicKeyOf(entry.otherTopic).name, entry.bytes);
          done += 1;
        }
        passOn(order, done, expected, check);
      }
    }
  }

  async #scan(
    order: CountOrder,
    sinceNs: bigint,
    untilNs: bigint,
    visit: Visit,
    check: () => void,
  ): Promise<void> {
    const { reader, topicKey } = this.#init;
    const expected = this.#between(sinceNs, untilNs);
    let done = 0;
    const visits = reader.scan(sinceNs, untilNs, (id, view) => {
      const { pubsubTopic, contentTopic } = view.topics();
      visit(id, topicKey(pubsubTopic).name, topicKey(contentTopic).name, view.bytes.length);
    });
    for await (const visited of visits) {
      done += visited;
      passOn(order, done, expected, check);
    }
  }

  #between(sinceNs: bigint, untilNs: bigint): number {
    const { tree } = this.#init.index;
    return tree.rank(boundAt(untilNs)) - tree.rank(boundAt(sinceNs));
  }
}

function passOn({ onProgress, stop }: CountOrder, done: number, expected: number, check: () => void): void {
  if (stop?.aborted === true) throw new LacunaError('SESSION_ABORTED', 'nobody waits for the count');
  check();
  onProgress?.(done, expected);
}

function assertRows(rows: ReadonlyMap<string, Tally>, most: number): void {
  if (rows.size > most) throw new LacunaError('USAGE', `more than ${most} rows: narrow the window`);
}

function labelOf(hour: number, by: CountOrder['by']): string {
  if (by !== 'hour' && by !== 'day') return 'all';
  return by === 'day' ? hourText(hour).slice(0, 10) : hourText(hour);
}

function countedOf(tallies: ReadonlyMap<string, Tally>): Counted {
  const rows = [...tallies].map(([bucket, { messages, bytes }]) => ({ bucket, messages, bytes }));
  rows.sort((a, b) => (a.bucket < b.bucket ? -1 : 1));
  let total = 0;
  let bytes = 0;
  for (const row of rows) {
    total += row.messages;
    bytes += row.bytes;
  }
  return { rows, total, bytes };
}
