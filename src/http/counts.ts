/** How many messages there are, by time or topic: what `GET /api/v1/counts` answers and the `count` command prints. */
import { z } from 'zod';
import { TIMESTAMP_MAX } from '../core/sync-id.ts';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { CountOrder } from '../ports.ts';
import { HOUR_NS, hourText, parseTimeNs } from '../time.ts';
import type { MessageView } from '../wire/waku-message.ts';
import { readQuery } from './query.ts';
import type { CountedStore } from './served-node.ts';

export const BUCKETS = ['hour', 'day', 'pubsub-topic', 'content-topic'] as const;
export type Bucket = (typeof BUCKETS)[number];

export const countsSchema = z.object({
  rows: z.array(z.object({ bucket: z.string(), messages: z.number(), bytes: z.number() })),
  total: z.number(),
  bytes: z.number(),
});
export type Counts = z.infer<typeof countsSchema>;

/**
 * By the index, or where that cannot tell by going through the messages of the window, each checked. Bytes are those
 * of messages as they lie in the store and travel to peers.
 *
 * @throws LacunaError USAGE for more than `rowsMax` buckets; SESSION_ABORTED; STORE_DAMAGED, STORE_CLOSED.
 */
export async function countMessages(store: CountedStore, options: CountOrder): Promise<Counts> {
  const counted = await store.counter?.count(options);
  if (counted !== undefined) return { ...counted, rows: [...counted.rows] };
  return await countByScan(store, options);
}

async function countByScan(store: CountedStore, options: CountOrder): Promise<Counts> {
  const { sinceNs, untilNs, by, rowsMax, onProgress, stop } = options;
  const rows = new Map<string, Counts['rows'][number]>();
  const expected = store.countBetween(sinceNs, untilNs);
  const counts = { total: 0, bytes: 0 };
  const visit = (_id: Uint32Array, view: MessageView): void => {
    const bucket = by === undefined ? 'all' : bucketOf(view, by);
    const row = rows.get(bucket) ?? { bucket, messages: 0, bytes: 0 };
    row.messages += 1;
    row.bytes += view.bytes.length;
    counts.total += 1;
    counts.bytes += view.bytes.length;
    rows.set(bucket, row);
  };
  let done = 0;
  for await (const visited of store.scan(sinceNs, untilNs, visit)) {
    if (stop?.aborted === true) throw new LacunaError('SESSION_ABORTED', 'nobody waits for the count');
    if (rows.size > rowsMax) throw new LacunaError('USAGE', `more than ${rowsMax} rows: narrow the window`);
    done += visited;
    onProgress?.(done, expected);
  }
  return { rows: [...rows.values()].sort((a, b) => (a.bucket < b.bucket ? -1 : 1)), ...counts };
}

function bucketOf(view: MessageView, by: Bucket): string {
  if (by === 'pubsub-topic') return view.topics().pubsubTopic;
  if (by === 'content-topic') return view.topics().contentTopic;
  const text = hourText(Number(view.timestamp / HOUR_NS));
  return by === 'day' ? text.slice(0, 10) : text;
}

const countQuery = z.strictObject({
  by: z.enum(BUCKETS).optional(),
  since: z.string().optional(),
  until: z.string().optional(),
});

/** Counting may go through many messages: few do it at the same time. */
export class CountService {
  readonly #store: CountedStore;
  readonly #nowMs: () => number;
  #running = 0;

  constructor(store: CountedStore, nowMs: () => number) {
    this.#store = store;
    this.#nowMs = nowMs;
  }

  /** @throws LacunaError USAGE, HTTP_BUSY, SESSION_ABORTED, STORE_…. */
  async answer(query: URLSearchParams, gone: AbortSignal): Promise<Counts> {
    const { by, since, until } = readQuery(countQuery, query);
    const sinceNs = since === undefined ? 0n : parseTimeNs(since, this.#nowMs());
    const untilNs = until === undefined ? TIMESTAMP_MAX : parseTimeNs(until, this.#nowMs());
    if (sinceNs >= untilNs) throw new LacunaError('USAGE', 'the window is empty: since is not before until');
    if (this.#running >= LIMITS.httpCounts)
      throw new LacunaError('HTTP_BUSY', `${this.#running} counts are running`);
    this.#running += 1;
    try {
      const options = { sinceNs, untilNs, by, rowsMax: LIMITS.httpCountRows, stop: gone };
      return await countMessages(this.#store, options);
    } finally {
      this.#running -= 1;
    }
  }
}
