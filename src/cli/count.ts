/** `count`: how many messages, exactly, and how many bytes; in all or by time or topic. */
import { type Command, Option } from 'commander';
import { BUCKETS, type Bucket, type Counts, countMessages, countsSchema } from '../http/counts.ts';
import { LIMITS } from '../limits.ts';
import {
  type CommonOptions,
  type Context,
  contextOf,
  type WindowOptions,
  windowOf,
  withCommonOptions,
  withStore,
  withWindowOptions,
} from './context.ts';
import { bytes, count, print, printJson, table } from './output.ts';
import { Progress } from './progress.ts';
import { runningNode } from './running-node.ts';

interface CountOptions extends CommonOptions, WindowOptions {
  readonly by?: Bucket;
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
  const counts = await countsOf(context, options);
  if (context.json) {
    printJson(counts);
    return;
  }
  if (options.by !== undefined && counts.rows.length > 0) {
    print(
      table(
        [options.by, 'messages', 'bytes'],
        counts.rows.map((row) => [row.bucket, row.messages, row.bytes]),
      ),
    );
  }
  print(`${count(counts.total)} messages, ${bytes(counts.bytes)}`);
}

/** Of the running node, or of the data folder where none runs. */
async function countsOf(context: Context, options: CountOptions): Promise<Counts> {
  const { sinceNs, untilNs } = windowOf(options);
  const { by } = options;
  const node = await runningNode(context.config);
  if (node !== undefined) {
    const query = new URLSearchParams({ since: String(sinceNs), until: String(untilNs) });
    if (by !== undefined) query.set('by', by);
    return countsSchema.parse(await node.get(`/api/v1/counts?${query}`));
  }
  const progress = new Progress('counting', context.json);
  try {
    return await withStore(context, false, (store) =>
      countMessages(store, {
        sinceNs,
        untilNs,
        by,
        rowsMax: LIMITS.countBuckets,
        onProgress: (done, expected) => progress.update(done, done / Math.max(1, expected)),
      }),
    );
  } finally {
    progress.end();
  }
}
