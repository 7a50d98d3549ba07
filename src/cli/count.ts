/** `count`: how many messages, exactly, and how many bytes; in all or by time or topic. */
import { type Command, Option } from 'commander';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { LevelMessageStore } from '../store/message-store.ts';
import type { MessageView } from '../wire/waku-message.ts';
import {
  type CommonOptions,
  contextOf,
  type WindowOptions,
  windowOf,
  withCommonOptions,
  withStore,
  withWindowOptions,
} from './context.ts';
import { bytes, count, print, printJson, table } from './output.ts';
import { Progress } from './progress.ts';

const BUCKETS = ['hour', 'day', 'pubsub-topic', 'content-topic'] as const;
type Bucket = (typeof BUCKETS)[number];

interface CountOptions extends CommonOptions, WindowOptions {
  readonly by?: Bucket;
}

interface Row {
  readonly bucket: string;
  messages: number;
  /** Bytes of the messages as they lie in the store and travel to peers. */
  bytes: number;
}

export function addCountCommand(program: Command): void {
  const command = program
    .command('count')
    .description('count messages, exactly')
    .addOption(new Option('--by <bucket>', 'count by this').choices(BUCKETS));
  withWindowOptions(withCommonOptions(command)).action(runCount);
}

async function runCount(options: CountOptions): Promise<void> {
  const context = await contextOf(options);
  const { sinceNs, untilNs } = windowOf(options);
  const rows = await withStore(context, false, (store) =>
    countRows(store, sinceNs, untilNs, options.by, new Progress('counting', context.json)),
  );
  const total = rows.reduce((sum, row) => sum + row.messages, 0);
  const totalBytes = rows.reduce((sum, row) => sum + row.bytes, 0);
  if (context.json) {
    printJson({ rows, total, bytes: totalBytes });
    return;
  }
  if (options.by !== undefined && rows.length > 0) {
    print(
      table(
        [options.by, 'messages', 'bytes'],
        rows.map((row) => [row.bucket, row.messages, row.bytes]),
      ),
    );
  }
  print(`${count(total)} messages, ${bytes(totalBytes)}`);
}

async function countRows(
  store: LevelMessageStore,
  sinceNs: bigint,
  untilNs: bigint,
  by: Bucket | undefined,
  progress: Progress,
): Promise<Row[]> {
  const rows = new Map<string, Row>();
  const expected = store.countBetween(sinceNs, untilNs);
  let done = 0;
  const visit = (_id: Uint32Array, view: MessageView): void => {
    const bucket = by === undefined ? 'all' : bucketOf(view, by);
    const row = rows.get(bucket) ?? { bucket, messages: 0, bytes: 0 };
    row.messages += 1;
    row.bytes += view.bytes.length;
    rows.set(bucket, row);
  };
  for await (const visited of store.scan(sinceNs, untilNs, visit)) {
    if (rows.size > LIMITS.countBuckets) {
      throw new LacunaError('USAGE', `more than ${LIMITS.countBuckets} buckets: narrow the window`);
    }
    done += visited;
    progress.update(done, expected === 0 ? 1 : done / expected);
  }
  progress.end();
  return [...rows.values()].sort((a, b) => (a.bucket < b.bucket ? -1 : 1));
}

function bucketOf(view: MessageView, by: Bucket): string {
  if (by === 'pubsub-topic') return view.topics().pubsubTopic;
  if (by === 'content-topic') return view.topics().contentTopic;
  const iso = new Date(Number(view.timestamp / 1_000_000n)).toISOString();
  return by === 'day' ? iso.slice(0, 10) : `${iso.slice(0, 13)}:00:00Z`;
}
