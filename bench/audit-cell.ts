/** One node of the audit bench in a process of its own: one of the fleet, or the one that audits it. */
import '../src/platform.ts';
import { setImmediate as turn } from 'node:timers/promises';
import type { AuditPlan } from '../src/audit/audit.ts';
import { auditJson } from '../src/audit/audit-json.ts';
import { configSchema } from '../src/config.ts';
import { LacunaNode } from '../src/node.ts';
import { silentLogger } from '../src/system.ts';
import { serveCommands } from './cells.ts';
import { messagesOf, storedMessage, type Workload } from './workload.ts';

export interface OpenOrder {
  readonly folder: string;
  /** Messages that it is given besides those in the folder: all but one of so many, beginning at `skip`. */
  readonly extra: Workload;
  readonly skip: number;
  readonly every: number;
}

export interface AuditOrder {
  readonly addresses: readonly string[];
  readonly sinceNs: bigint;
  readonly untilNs: bigint;
  readonly bucketNs: bigint;
}

export interface Audited {
  readonly seconds: number;
  readonly cpuMs: number;
  readonly bytes: number;
  readonly rows: number;
  readonly total: number;
  readonly missing: readonly number[];
  readonly jsonBytes: number;
}

let node: LacunaNode | undefined;

const commands = {
  async open({ folder, extra, skip, every }: OpenOrder): Promise<string> {
    const config = configSchema.parse({
      data: folder,
      listen: ['/ip4/127.0.0.1/tcp/0'],
      http: 'off',
      logLevel: 'silent',
      learnPeers: false,
    });
    node = await LacunaNode.open({ config, log: silentLogger, create: true });
    const given = [...messagesOf(extra)].filter((_, at) => at % every !== skip);
    await node.store.append(given.map(storedMessage));
    await node.start();
    return node.addresses[0]!;
  },

  async audit({ addresses, sinceNs, untilNs, bucketNs }: AuditOrder): Promise<Audited> {
    const plan: AuditPlan = {
      addresses,
      scope: node!.scope,
      sinceNs,
      untilNs,
      bucketNs,
      lateMs: 0,
      list: false,
      repair: false,
      push: false,
      watch: false,
    };
    await turn();
    const cpu = process.cpuUsage();
    const startMs = performance.now();
    const result = await node!.auditor.run(plan);
    const seconds = (performance.now() - startMs) / 1e3;
    const { user, system } = process.cpuUsage(cpu);
    for (const { error } of result.nodes) if (error !== undefined) throw error;
    return {
      seconds,
      cpuMs: (user + system) / 1e3,
      bytes: result.nodes.reduce((sum, one) => sum + one.bytes, 0),
      rows: result.rows.length,
      total: result.existing,
      missing: result.nodes.map(({ missing }) => missing),
      jsonBytes: JSON.stringify(auditJson(result)).length,
    };
  },

  async stop(_: undefined): Promise<void> {
    await node?.stop();
  },
};

export type AuditCommands = typeof commands;

serveCommands(commands);
