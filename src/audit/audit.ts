/** What an audit is asked for, and what it finds. */
import type { Interval } from '../core/interval.ts';
import type { Scope } from '../core/scope.ts';
import type { LacunaError } from '../errors.ts';
import type { ComparisonRow, NodeTotals } from './comparison.ts';
import type { Topics } from './topic-book.ts';

export interface AuditPlan {
  /** Multiaddrs of the nodes besides this one. */
  readonly addresses: readonly string[];
  readonly scope: Scope;
  /** The window `[sinceNs, untilNs)`; from the beginning, and up to now, where it is left out. */
  readonly sinceNs: bigint | undefined;
  readonly untilNs: bigint | undefined;
  readonly bucketNs: bigint;
  /** What is missing and younger than this is late. */
  readonly lateMs: number;
  /** Name the messages that are not everywhere. */
  readonly list: boolean;
  /** Fetch what this store lacks; bring others what they lack. */
  readonly repair: boolean;
  readonly push: boolean;
  /** One of a series: the history remembers it. */
  readonly watch: boolean;
  readonly onProgress?: ((progress: AuditProgress) => void) | undefined;
  readonly stop?: AbortSignal | undefined;
}

export interface AuditProgress {
  readonly stage: 'comparing' | 'repairing' | 'comparing again';
  /** Nodes that are done with, and all of them. */
  readonly done: number;
  readonly nodes: number;
}

/** How a node was looked at: it is this one; by range digests; by listing its hashes. */
export type AuditDialect = 'own' | 'native' | 'query';

export interface AuditedNode extends NodeTotals {
  /** Its peer id. */
  readonly peer: string;
  /** undefined of this node. */
  readonly address: string | undefined;
  /** undefined where it was not reached. */
  readonly dialect: AuditDialect | undefined;
  /** Why nothing is known of it, or not all. */
  readonly error: LacunaError | undefined;
  /** The time of which it is known what it has. */
  readonly covered: readonly Interval[];
  /** Where it says that it may lack messages. */
  readonly gaps: readonly Interval[];
  /** Hashes that it lists and has no message for. */
  readonly phantoms: number;
  /** All that was said, both ways. */
  readonly bytes: number;
  readonly durationMs: number;
}

/** A message that is not at every node; peer ids. */
export interface ListedMessage {
  readonly id: Uint32Array;
  /** undefined where no node told. */
  readonly topics: Topics | undefined;
  readonly has: readonly string[];
  readonly lacks: readonly string[];
  readonly late: readonly string[];
  readonly unknown: readonly string[];
}

export interface RepairResult {
  readonly received: number;
  readonly sent: number;
  readonly refused: number;
  /** Nodes that could not be pulled from or pushed to. */
  readonly failures: readonly { readonly peer: string; readonly error: LacunaError }[];
  /** How many each node lacked before, by peer id. */
  readonly missingBefore: Readonly<Record<string, number>>;
}

export interface AuditResult extends Interval {
  readonly startedMs: number;
  readonly durationMs: number;
  readonly bucketNs: bigint;
  /** This node first. */
  readonly nodes: readonly AuditedNode[];
  /** Figures of nodes are in the order of `nodes`. */
  readonly rows: readonly ComparisonRow[];
  /** Messages that exist. */
  readonly existing: number;
  /** A node lacks something, late ones aside. */
  readonly differs: boolean;
  /** Nothing differs, and something is known of every node. */
  readonly agree: boolean;
  /** Where they were asked for, in ascending order; `isListedWhole` when these are all. */
  readonly messages: readonly ListedMessage[] | undefined;
  readonly isListedWhole: boolean;
  readonly repair: RepairResult | undefined;
}
