/**
 * `import`: message lines from a file or stdin into the store. Lines are parsed while the batch before them is on
 * its way to the disk; memory is bounded by what is in flight. Importing twice changes nothing.
 */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Command } from 'commander';
import { pipe } from 'it-pipe';
import { type ErrorCode, LacunaError, systemCode, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { AppendResult, StoredMessage } from '../ports.ts';
import { Examiner } from '../sync/ingest.ts';
import { systemClock, systemSha256 } from '../system.ts';
import { splitLines } from '../wire/lines.ts';
import { parseMessageLine } from '../wire/message-line.ts';
import { type CommonOptions, type Context, contextOf, openStore, withCommonOptions } from './context.ts';
import { count, print, printJson, table } from './output.ts';
import { Progress } from './progress.ts';
import { runningNode } from './running-node.ts';

const READ_CHUNK_BYTES = 256 * 1024;
/** Messages and bytes on their way to the disk while the next are parsed: two full groups of the writer. */
const MESSAGES_IN_FLIGHT = 2 * LIMITS.writeGroupMessages;
const BYTES_IN_FLIGHT = 2 * LIMITS.writeGroupBytes;
const REFUSALS_SHOWN = 5;

export interface ImportReport {
  read: number;
  stored: number;
  duplicate: number;
  refused: number;
  refusals: Partial<Record<ErrorCode, number>>;
}

/** Puts messages where they belong and resolves when they are on the disk. */
export type Append = (batch: readonly StoredMessage[]) => Promise<AppendResult>;

export function addImportCommand(program: Command): void {
  withCommonOptions(
    program
      .command('import')
      .description('read message lines (NDJSON, as nwaku REST answers them) into the store')
      .argument('<file>', 'a file, or - for stdin'),
  ).action(runImport);
}

async function runImport(file: string, options: CommonOptions): Promise<void> {
  const context = await contextOf(options);
  const source = await openSource(file);
  const { append, close } = await openTarget(context);
  const progress = new Progress('importing', context.json);
  const report: ImportReport = { read: 0, stored: 0, duplicate: 0, refused: 0, refusals: {} };
  try {
    const examiner = new Examiner(systemClock, systemSha256);
    await importLines(source.bytes(), examiner, append, report, () =>
      progress.update(report.stored + report.duplicate, source.share()),
    );
  } finally {
    progress.end();
    await close();
  }
  if (context.json) printJson(report);
  else printReport(report);
}

/** The whole pipeline: bytes in, messages on the disk; `report` is filled in as it goes. */
export async function importLines(
  source: AsyncIterable<Uint8Array>,
  examiner: Examiner,
  append: Append,
  report: ImportReport,
  onDurable: () => void,
): Promise<void> {
  await pipe(
    source,
    (bytes) => splitLines(bytes, LIMITS.lineBytes),
    (lines) => admitted(lines, examiner, report),
    (batches) => appendAll(batches, append, report, onDurable),
  );
}

/** Parses and checks lines; what is refused is counted. */
async function* admitted(
  lines: AsyncIterable<(string | undefined)[]>,
  examiner: Examiner,
  report: ImportReport,
): AsyncGenerator<StoredMessage[]> {
  let number = 0;
  for await (const chunk of lines) {
    const batch: StoredMessage[] = [];
    for (const line of chunk) {
      number += 1;
      if (line?.trim() === '') continue;
      report.read += 1;
      const result = examine(line, examiner);
      if (typeof result !== 'string') {
        batch.push(result);
        continue;
      }
      report.refused += 1;
      report.refusals[result] = (report.refusals[result] ?? 0) + 1;
      if (report.refused <= REFUSALS_SHOWN) process.stderr.write(`lacuna: line ${number}: ${result}\n`);
    }
    if (batch.length > 0) yield batch;
  }
}

function examine(line: string | undefined, examiner: Examiner): StoredMessage | ErrorCode {
  if (line === undefined) return 'LINE_TOO_LONG';
  try {
    const { message, hash } = parseMessageLine(line);
    const admission = examiner.examine(message, LIMITS.importFutureMs, hash);
    return 'stored' in admission ? admission.stored : admission.refused;
  } catch (error) {
    return toLacunaError(error).code;
  }
}

async function appendAll(
  batches: AsyncIterable<StoredMessage[]>,
  append: Append,
  report: ImportReport,
  onDurable: () => void,
): Promise<void> {
  const inFlight: { done: Promise<void>; messages: number; bytes: number }[] = [];
  let messages = 0;
  let bytes = 0;
  const finishOldest = async (): Promise<void> => {
    const oldest = inFlight.shift()!;
    await oldest.done;
    messages -= oldest.messages;
    bytes -= oldest.bytes;
  };
  for await (const batch of batches) {
    const done = append(batch).then(({ stored, duplicate }) => {
      report.stored += stored;
      report.duplicate += duplicate;
      onDurable();
    });
    // Kept from counting as unhandled; it is awaited in its turn.
    done.catch(() => undefined);
    const size = batch.reduce((sum, { encoded }) => sum + encoded.length, 0);
    inFlight.push({ done, messages: batch.length, bytes: size });
    messages += batch.length;
    bytes += size;
    while (messages > MESSAGES_IN_FLIGHT || bytes > BYTES_IN_FLIGHT) await finishOldest();
  }
  while (inFlight.length > 0) await finishOldest();
}

/** The store of the data folder, or the running node that has it open. */
async function openTarget(context: Context): Promise<{ append: Append; close: () => Promise<void> }> {
  const node = await runningNode(context.config);
  if (node !== undefined) return { append: (batch) => node.ingest(batch), close: async () => undefined };
  const store = await openStore(context, true);
  return { append: (batch) => store.append(batch, { path: 'import' }), close: () => store.close() };
}

interface Source {
  bytes(): AsyncIterable<Uint8Array>;
  /** How much of the source was read, where its size is known. */
  share(): number | undefined;
}

async function openSource(file: string): Promise<Source> {
  if (file === '-') return { bytes: () => process.stdin, share: () => undefined };
  const size = await sizeOf(file);
  const stream = createReadStream(file, { highWaterMark: READ_CHUNK_BYTES });
  return { bytes: () => stream, share: () => (size === 0 ? 1 : stream.bytesRead / size) };
}

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size;
  } catch (error) {
    const reason = systemCode(error) === 'ENOENT' ? 'there is no such file' : 'it cannot be read';
    throw new LacunaError('IO', `${file}: ${reason}`, { cause: error });
  }
}

function printReport(report: ImportReport): void {
  print(
    `${count(report.read)} lines: ${count(report.stored)} stored, ${count(report.duplicate)} known already, ` +
      `${count(report.refused)} refused`,
  );
  const refusals = Object.entries(report.refusals);
  if (refusals.length > 0) print(table(['refused', 'lines'], refusals));
}
