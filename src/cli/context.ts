/** What every command starts from: the common options, the configuration, and the store of the data folder. */
import { type Command, Option } from 'commander';
import { type Config, loadConfig } from '../config.ts';
import { TIMESTAMP_MAX } from '../core/sync-id.ts';
import { LacunaError } from '../errors.ts';
import type { Logger } from '../ports.ts';
import { LevelMessageStore } from '../store/message-store.ts';
import { type LogLevel, systemClock, systemLogger, systemSha256 } from '../system.ts';
import { parseTimeNs } from '../time.ts';

export interface CommonOptions {
  readonly json?: boolean;
  readonly config?: string;
  readonly data?: string;
  readonly logLevel?: LogLevel;
}

export interface WindowOptions {
  readonly since?: string;
  readonly until?: string;
}

export interface TopicOptions {
  readonly pubsubTopic?: string[];
  readonly contentTopic?: string[];
}

export function withCommonOptions(command: Command): Command {
  return command
    .option('--data <dir>', 'data folder (default ./lacuna-data; LACUNA_DATA)')
    .option('--config <file>', 'configuration file, YAML')
    .option('--json', 'print JSON on stdout for scripts')
    .option('--http-token-file <file>', 'holds the token of the HTTP interface, where the node asks for one')
    .addOption(
      new Option('--log-level <level>', 'how much to log on stderr').choices([
        'debug',
        'info',
        'warn',
        'error',
        'silent',
      ]),
    );
}

export function withWindowOptions(command: Command): Command {
  return command
    .option('--since <time>', 'from this time on: RFC 3339, a duration back (24h, 30d), now, or ns')
    .option('--until <time>', 'up to this time, itself not included');
}

export function withTopicOptions(command: Command): Command {
  return command
    .option('--pubsub-topic <topic>', 'only this pubsub topic; may be given more than once', each)
    .option('--content-topic <topic>', 'only this content topic; may be given more than once', each);
}

/** Gathers the values of an option given more than once. One flag takes one value: what follows is an argument. */
export function each(value: string, before: string[] | undefined): string[] {
  return [...(before ?? []), value];
}

export interface Context {
  readonly config: Config;
  readonly log: Logger;
  readonly json: boolean;
}

/** `quietLevel` is the log level where the operator named none. */
export async function contextOf(options: CommonOptions, quietLevel: LogLevel = 'warn'): Promise<Context> {
  const config = await loadConfig({
    flags: { logLevel: undefined, ...options } as Record<string, unknown>,
    environment: process.env,
    defaults: { logLevel: quietLevel },
    file: options.config ?? process.env['LACUNA_CONFIG'],
  });
  return { config, log: systemLogger(config.logLevel), json: options.json ?? false };
}

export async function openStore(context: Context, create: boolean): Promise<LevelMessageStore> {
  return await LevelMessageStore.open({
    directory: context.config.data,
    create,
    clock: systemClock,
    log: context.log,
    sha256: systemSha256,
    retention: context.config.retention,
  });
}

/** Opens the store, and closes it however the work ends. */
export async function withStore<T>(
  context: Context,
  create: boolean,
  work: (store: LevelMessageStore) => Promise<T>,
): Promise<T> {
  const store = await openStore(context, create);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

/**
 * The window of the options; all of time where they say nothing.
 *
 * @throws LacunaError USAGE for what is no time, and for a window without any.
 */
export function windowOf(options: WindowOptions): { sinceNs: bigint; untilNs: bigint } {
  const now = systemClock.nowMs();
  const sinceNs = options.since === undefined ? 0n : parseTimeNs(options.since, now);
  const untilNs = options.until === undefined ? TIMESTAMP_MAX : parseTimeNs(options.until, now);
  if (sinceNs >= untilNs)
    throw new LacunaError('USAGE', 'the window is empty: --since is not before --until');
  return { sinceNs, untilNs };
}
