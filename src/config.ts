/**
 * The configuration of a node: schema, defaults, and where a value comes from. A flag beats the environment, the
 * environment beats the file, the file beats the default. The limits that are not for configuring stand in
 * `limits.ts`.
 */
import { readFile } from 'node:fs/promises';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import { parseRetention, type RetentionPolicy } from './core/retention.ts';
import { LacunaError, systemCode, toLacunaError } from './errors.ts';
import { LIMITS } from './limits.ts';
import { parseBytes } from './quantity.ts';
import { parseDurationMs } from './time.ts';

const duration = z.union([z.string(), z.number()]).transform((value, context) => {
  const ms = parseDurationMs(String(value));
  if (ms === undefined)
    context.addIssue({ code: 'custom', message: 'is not a duration such as 90s, 5m, 24h or 30d' });
  return ms ?? 0;
});
const topic = z.string().min(1).max(1_024);
/** What is kept of which messages: one policy, or a list of them. */
const retention = z.union([z.string(), z.array(z.string())]).transform((value, context): RetentionPolicy => {
  const texts = Array.isArray(value) ? value : [value];
  try {
    return parseRetention(texts, { durationMs: parseDurationMs, bytes: parseBytes });
  } catch (error) {
    context.addIssue({ code: 'custom', message: toLacunaError(error).message });
    return z.NEVER;
  }
});
/** Bytes a second, as a number or as text such as 500kB or 20MB; of one pubsub topic with TOPIC= before it. */
const rates = z
  .union([z.string(), z.number(), z.array(z.union([z.string(), z.number()]))])
  .transform((value, context): Rates => {
    let all: number | undefined;
    const topics: Record<string, number> = {};
    for (const entry of Array.isArray(value) ? value : [value]) {
      const text = String(entry);
      const split = text.lastIndexOf('=');
      const bytes = parseBytes(text.slice(split + 1));
      if (bytes === undefined || bytes < LIMITS.rateBytesMin) {
        context.addIssue({
          code: 'custom',
          message: `'${text}' is not a number of bytes such as 500kB or 20MB, at least 32kB, or TOPIC=20MB`,
        });
      } else if (split < 0) all = bytes;
      else topics[text.slice(0, split)] = bytes;
    }
    return { all, topics };
  });

/** The most bytes a second, of all messages and of those of single pubsub topics. */
export interface Rates {
  readonly all: number | undefined;
  readonly topics: Readonly<Record<string, number>>;
}

/** As text in the environment. */
const flag = z.union([
  z.boolean(),
  z.enum(['true', 'false', '1', '0']).transform((text) => text === 'true' || text === '1'),
]);
const wholeNumber = z.union([
  z.number(),
  z.string().regex(/^\d+$/, 'is not a whole number').transform(Number),
]);
const peerIdText = z.string().regex(/^[1-9A-HJ-NP-Za-km-z]{40,64}$/, 'is not a peer id');
/** As digits in the environment; a setting that is there and empty is no cluster 0. */
const clusterId = z
  .union([z.number(), z.string().regex(/^\d+$/).transform(Number)])
  .pipe(z.number().int().min(0).max(65_535));
const multiaddrText = z.string().startsWith('/');

const settings = z.strictObject({
  /** The data folder. */
  data: z.string().min(1).default('./lacuna-data'),
  listen: z.array(multiaddrText).default(['/ip4/0.0.0.0/tcp/60000']),
  /** Peers to synchronise with at every interval. */
  peer: z.array(multiaddrText).default([]),
  /** Peers to begin with, and to learn others from. */
  bootstrap: z.array(multiaddrText).default([]),
  /** Find peers on the local network. */
  mdns: flag.default(false),
  /** Learn of peers from those that are connected, and tell them. */
  learnPeers: flag.default(true),
  /** Peers that are always let in, and those that never are, by peer id. */
  allowPeer: z.array(peerIdText).default([]),
  denyPeer: z.array(peerIdText).default([]),
  /** Serve those of `allowPeer`, `peer` and `bootstrap`, and nobody else. */
  private: flag.default(false),
  connections: wholeNumber.pipe(z.number().int().min(1).max(10_000)).default(LIMITS.connections),
  /** HOST:PORT, or off; beyond the loopback interface only with a token. */
  http: z.string().default('127.0.0.1:8645'),
  /** Asked of every HTTP request as `authorization: Bearer TOKEN`; better in a file than on a command line. */
  httpToken: z.string().min(16).max(1_024).optional(),
  httpTokenFile: z.string().min(1).optional(),
  pubsubTopic: z.array(topic).default([]),
  contentTopic: z.array(topic).default([]),
  /** Unset: taken from the pubsub topics, else 1 and not insisted on. */
  clusterId: clusterId.optional(),
  syncInterval: duration
    .refine((ms) => ms >= LIMITS.syncIntervalMinMs && ms <= LIMITS.syncIntervalMaxMs, 'must be 100ms to 14d')
    .default(300_000),
  syncRange: duration.default(3_600_000),
  /** How far before now a periodic session's window ends. */
  syncJitter: duration.default(20_000),
  /** Bytes of messages a second that are sent, and taken, in all sessions together; unset: no limit. */
  uploadRate: rates.optional(),
  downloadRate: rates.optional(),
  /** What is kept, of all messages and of those of single topics; everything, where nothing is said. */
  retention: retention.prefault([]),
  logLevel: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
});

export const configSchema = settings.refine(
  ({ allowPeer, denyPeer }) => !denyPeer.some((peer) => allowPeer.includes(peer)),
  { path: ['denyPeer'], message: 'names a peer that allowPeer names too' },
);

export type Config = z.output<typeof configSchema>;
export type ConfigInput = z.input<typeof configSchema>;

/** Options that may be given more than once, and as a comma-separated list in the environment. */
const LISTS: ReadonlySet<string> = new Set([
  'listen',
  'peer',
  'bootstrap',
  'allowPeer',
  'denyPeer',
  'pubsubTopic',
  'contentTopic',
  'retention',
  'uploadRate',
  'downloadRate',
]);

export interface ConfigSources {
  readonly flags: Readonly<Record<string, unknown>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly file: string | undefined;
  /** Defaults of one command, where they differ from those of the schema. */
  readonly defaults?: ConfigInput;
}

/** @throws LacunaError CONFIG_INVALID with the setting, its place and the cure. */
export async function loadConfig(sources: ConfigSources): Promise<Config> {
  const file = sources.file === undefined ? {} : await readConfigFile(sources.file);
  const known = Object.keys(configSchema.shape);
  const merged: Record<string, unknown> = { ...sources.defaults, ...file };
  for (const name of known) {
    const variable = environmentName(name);
    const text = sources.environment[variable];
    if (text !== undefined) merged[name] = LISTS.has(name) ? text.split(',').filter(Boolean) : text;
    if (sources.flags[name] !== undefined) merged[name] = sources.flags[name];
  }
  const parsed = configSchema.safeParse(merged);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const name =
    issue?.path.join('.') || (issue?.code === 'unrecognized_keys' ? issue.keys.join(', ') : 'configuration');
  const place = await placeOf(name, sources);
  throw new LacunaError('CONFIG_INVALID', `${name}${place}: ${issue?.message ?? 'invalid'}`);
}

/** `syncInterval` → `LACUNA_SYNC_INTERVAL`. */
export function environmentName(name: string): string {
  return `LACUNA_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

async function readConfigFile(path: string): Promise<Record<string, unknown>> {
  const document = await parseYaml(path);
  const [error] = document.errors;
  if (error !== undefined) throw new LacunaError('CONFIG_INVALID', `${path}: ${error.message}`);
  const content: unknown = document.toJS() ?? {};
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    throw new LacunaError('CONFIG_INVALID', `${path}: must hold settings as 'name: value' lines`);
  }
  return content as Record<string, unknown>;
}

async function parseYaml(path: string): Promise<ReturnType<typeof parseDocument>> {
  try {
    return parseDocument(await readFile(path, 'utf8'));
  } catch (error) {
    const reason = systemCode(error) === 'ENOENT' ? 'there is no such file' : 'cannot be read';
    throw new LacunaError('CONFIG_INVALID', `${path}: ${reason}`, { cause: error });
  }
}

/** Which source the faulty value came from; for a file, its line. */
async function placeOf(name: string, sources: ConfigSources): Promise<string> {
  const key = name.split('.')[0]!;
  if (sources.flags[key] !== undefined) return ' (command line)';
  if (sources.environment[environmentName(key)] !== undefined) return ` (${environmentName(key)})`;
  if (sources.file === undefined) return '';
  const lines = (await readFile(sources.file, 'utf8')).split('\n');
  const line = lines.findIndex((text) => text.trimStart().startsWith(`${key.split(',')[0]}:`));
  return line < 0 ? ` (${sources.file})` : ` (${sources.file}:${line + 1})`;
}
