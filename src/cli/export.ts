/** `export`: the messages of a window as lines on stdout, ordered by (timestamp, hash), each checked on the way out. */
import type { Command } from 'commander';
import { pipe } from 'it-pipe';
import { inScope, isEverything, type Scope } from '../core/scope.ts';
import { hashOf } from '../core/sync-id.ts';
import type { StoreEntry } from '../store/message-store.ts';
import { hexHash } from '../sync/ingest.ts';
import { LineWriter } from '../wire/message-line.ts';
import { MessageView } from '../wire/waku-message.ts';
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
  const write = options.hashes === true ? writeHash : writeMessage;
  await withStore(context, false, (store) =>
    pipe(store.entries(sinceNs, untilNs), (entries) => formatted(entries, scope, write), toStdout),
  );
}

/** Entries as lines, one run of bytes for each chunk of entries. */
export async function* formatted(
  chunks: AsyncIterable<StoreEntry[]>,
  scope: Scope,
  write: (lines: LineWriter, entry: StoreEntry, view: MessageView) => void,
): AsyncGenerator<Uint8Array> {
  const lines = new LineWriter();
  const view = new MessageView();
  const everything = isEverything(scope);
  for await (const chunk of chunks) {
    for (const entry of chunk) {
      view.read(entry.encoded);
      if (everything || covers(scope, view)) write(lines, entry, view);
    }
    if (lines.length > 0) yield lines.take();
  }
}

export function writeMessage(lines: LineWriter, { id }: StoreEntry, view: MessageView): void {
  lines.message(view, hashOf(id));
}

function writeHash(lines: LineWriter, { id }: StoreEntry): void {
  lines.text(`${hexHash(id)}\n`);
}

function covers(scope: Scope, view: MessageView): boolean {
  const { pubsubTopic, contentTopic } = view.topics();
  return inScope(scope, pubsubTopic, contentTopic);
}
