/** `export`: the messages of a window as lines on stdout, ordered by (timestamp, hash), each checked on the way out. */
import type { Command } from 'commander';
import { pipe } from 'it-pipe';
import { inScope, isEverything, type Scope } from '../core/scope.ts';
import type { LevelMessageStore } from '../store/message-store.ts';
import { hexHash } from '../sync/ingest.ts';
import { LineWriter } from '../wire/message-line.ts';
import type { MessageView } from '../wire/waku-message.ts';
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
  await withStore(context, false, (store) => pipe(exported(store, sinceNs, untilNs, scope, write), toStdout));
}

export type WriteEntry = (lines: LineWriter, id: Uint32Array, view: MessageView) => void;

/** The messages of a window as lines, in runs of bytes of some hundred messages. */
export async function* exported(
  store: LevelMessageStore,
  sinceNs: bigint,
  untilNs: bigint,
  scope: Scope,
  write: WriteEntry,
): AsyncGenerator<Uint8Array> {
  const lines = new LineWriter();
  const everything = isEverything(scope);
  const visit = (id: Uint32Array, view: MessageView): void => {
    if (everything || covers(scope, view)) write(lines, id, view);
  };
  for await (const _visited of store.scan(sinceNs, untilNs, visit)) {
    if (lines.length > 0) yield lines.take();
  }
}

export const writeMessage: WriteEntry = (lines, id, view) => lines.message(view, id);

const writeHash: WriteEntry = (lines, id) => lines.text(`${hexHash(id)}\n`);

function covers(scope: Scope, view: MessageView): boolean {
  const { pubsubTopic, contentTopic } = view.topics();
  return inScope(scope, pubsubTopic, contentTopic);
}
