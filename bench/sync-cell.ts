/**
 * One node of the sync bench in a process of its own, serving or asking as its parent commands: opened on a data
 * folder, listening on loopback, with what it spends measured where it is spent.
 */
import '../src/platform.ts';
import { configSchema } from '../src/config.ts';
import { toLacunaError } from '../src/errors.ts';
import type { SessionResult, SyncOptions } from '../src/index.ts';
import { LacunaNode, type SyncOutcome as NodeOutcome } from '../src/node.ts';
import type { AppendResult } from '../src/ports.ts';
import { silentLogger, systemClock } from '../src/system.ts';
import { serveCommands } from './cells.ts';
import { type MemoryFigures, MemoryWatch } from './memory.ts';

export interface OpenOrder {
  readonly folder: string;
  /** Bytes a second that the node sends messages at, at most. */
  readonly uploadRate?: number | undefined;
}

export interface Opened {
  readonly address: string;
}

export interface SyncOrder {
  readonly addresses: readonly string[];
  readonly options: Pick<SyncOptions, 'direction' | 'sinceNs' | 'untilNs' | 'dryRun'>;
}

/** A result as it passes from process to process. */
export type SessionFigures = Omit<SessionResult, 'missingHashes'>;

export interface SourceOutcome {
  readonly address: string;
  readonly result: SessionFigures | undefined;
  readonly error: string | undefined;
}

export interface SyncOutcome {
  readonly sources: readonly SourceOutcome[];
  readonly wallMs: number;
  readonly cpuMs: number;
}

export interface Spent {
  readonly cpuMs: number;
  /** Undefined when it was not watched. */
  readonly memory: MemoryFigures | undefined;
  /** What came to the store, and how much of it was there already. */
  readonly stored: number;
  readonly duplicate: number;
}

interface Stretch {
  readonly cpu: NodeJS.CpuUsage;
  readonly watch: MemoryWatch | undefined;
  readonly stored: number;
  readonly duplicate: number;
}

let node: LacunaNode | undefined;
let stretch: Stretch | undefined;
/** Every append waits this long first. */
let appendDelayMs = 0;
let stored = 0;
let duplicate = 0;

const commands = {
  async open({ folder, uploadRate }: OpenOrder): Promise<Opened> {
    const config = configSchema.parse({
      data: folder,
      listen: ['/ip4/127.0.0.1/tcp/0'],
      http: 'off',
      logLevel: 'silent',
      uploadRate,
    });
    node = await LacunaNode.open({ config, log: silentLogger, create: true });
    watchAppends(node);
    await node.start();
    return { address: node.addresses[0]! };
  },

  async slow({ ms }: { readonly ms: number }): Promise<void> {
    appendDelayMs = ms;
  },

  /** Begins a measured stretch; watching memory costs a little CPU time, which some cases cannot spare. */
  async begin({ memory }: { readonly memory: boolean }): Promise<void> {
    const watch = memory ? new MemoryWatch() : undefined;
    stretch = { cpu: process.cpuUsage(), watch, stored, duplicate };
  },

  async end(_: undefined): Promise<Spent> {
    const { cpu, watch, ...before } = stretch!;
    return {
      cpuMs: cpuMsSince(cpu),
      memory: watch?.end(),
      stored: stored - before.stored,
      duplicate: duplicate - before.duplicate,
    };
  },

  async sync({ addresses, options }: SyncOrder): Promise<SyncOutcome> {
    const cpu = process.cpuUsage();
    const startMs = performance.now();
    const outcomes = await node!.syncAll(addresses, options);
    const wallMs = performance.now() - startMs;
    return { sources: outcomes.map(sourceOf), wallMs, cpuMs: cpuMsSince(cpu) };
  },

  /**
   * Connects and no more: a session of an empty window is turned down when its peer is met. Where it is turned down
   * before, the connection is made by the first session.
   */
  async connect({ address }: { readonly address: string }): Promise<void> {
    try {
      await node!.sync(address, { sinceNs: 1n, untilNs: 1n });
    } catch (error) {
      if (toLacunaError(error).code !== 'USAGE') throw error;
    }
  },

  async stop(_: undefined): Promise<void> {
    await node?.stop();
  },
};

export type NodeCommands = typeof commands;

serveCommands(commands);

function sourceOf({ address, result, error }: NodeOutcome): SourceOutcome {
  const told = error === undefined ? undefined : `${error.code}: ${error.message}`;
  if (result === undefined) return { address, result, error: told };
  const { missingHashes: _, ...figures } = result;
  return { address, result: figures, error: told };
}

function watchAppends({ store }: LacunaNode): void {
  const append = store.append.bind(store);
  store.append = async (messages): Promise<AppendResult> => {
    if (appendDelayMs > 0) await systemClock.sleep(appendDelayMs);
    const result = await append(messages);
    stored += result.stored;
    duplicate += result.duplicate;
    return result;
  };
}

function cpuMsSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e3;
}
