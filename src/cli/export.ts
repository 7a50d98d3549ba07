/** `export`: the messages of a window as lines on stdout, ordered by (timestamp, hash), each checked on the way out. */
import type { Command } from 'commander';
import { pipe } from 'it-pipe';
import { inScope, type Scope } from '../core/scope.ts';
import { hashOf } from '../core/sync-id.ts';
import type { StoreEntry } from '../store/message-store.ts';
import { hexHash } from '../sync/ingest.ts';
import { formatMessageLine } from '../wire/message-line.ts';
import {
  type CommonOptions,
  contextOf,
  type TopicOptions,
  type WindowOptions,
  windowOf,
  withCommonOptions,
  withStore,
  withTopicOptions,
  withWindowOptions,
} from './context.ts';
import { toStdout } from './output.ts';

interface ExportOptions extends CommonOptions, WindowOptions, TopicOptions {
  readonly hashes?: boolean;
}

export function addExportCommand(program: Command): void {
  const command = program
    .command('export')
    .description('print messages as lines (NDJSON), ordered by time and hash')
    .option('--hashes', 'print message hashes only, one a line');
  withTopicOptions(withWindowOptions(withCommonOptions(command))).action(runExport);
}

async function runExport(options: ExportOptions): Promise<void> {
  const context = await contextOf(options);
  const { sinceNs, untilNs } = windowOf(options);
  const scope: Scope = { pubsubTopics: options.pubsubTopic ?? [], contentTopics: options.contentTopic ?? [] };
  const format = options.hashes === true ? hashLine : messageLine;
  await withStore(context, false, (store) =>
    pipe(store.entries(sinceNs, untilNs), (entries) => formatted(entries, scope, format), toStdout),
  );
}

async function* formatted(
  chunks: AsyncIterable<StoreEntry[]>,
  scope: Scope,
  format: (entry: StoreEntry) => string,
): AsyncGenerator<string> {
  for await (const chunk of chunks) {
    let text = '';
    for (const entry of chunk) {
      if (inScope(scope, entry.message.pubsubTopic, entry.message.contentTopic)) text += format(entry);
    }
    if (text !== '') yield text;
  }
}

function messageLine({ id, message }: StoreEntry): string {
  return `${formatMessageLine(message, hashOf(id))}\n`;
}

function hashLine({ id }: StoreEntry): string {
  return `${hexHash(id)}\n`;
}
