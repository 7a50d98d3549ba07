/**
 * Where candidates go that are not kept: out of the store, in batches of a bounded size, or, when it is only asked
 * what would go, into a set.
 */
import type { DigestTree } from '../core/digest-tree.ts';
import type { DecidingRules } from '../core/retention.ts';
import { timeOf } from '../core/sync-id.ts';
import { LIMITS } from '../limits.ts';
import { Prune, type PrunedMessage, type StoreChange } from './changes.ts';
import type { Candidate } from './prune-sources.ts';

export interface PruneResult {
  readonly removed: number;
  /** Of the encoded messages. */
  readonly bytes: number;
}

export interface PruneSink extends PruneResult {
  /** Messages that are left, and bytes that have gone; both after what was flushed. */
  readonly count: number;
  /** Whether the message is here no more. */
  isGone(id: Uint32Array): boolean;
  /** `passes`: with the message goes everything that is older, whatever its topics. */
  take(candidate: Candidate, passes: boolean): Promise<void>;
  /** Resolves when all that was taken is on the disk. */
  flush(): Promise<void>;
}

export class Pruning implements PruneSink {
  removed = 0;
  bytes = 0;
  readonly #tree: () => DigestTree;
  readonly #rules: DecidingRules;
  readonly #nowNs: bigint;
  readonly #write: (change: StoreChange) => Promise<void>;
  #batch: PrunedMessage[] = [];
  #passes = false;
  #underWay: Promise<void> = Promise.resolve();

  constructor(
    tree: () => DigestTree,
    rules: DecidingRules,
    nowNs: bigint,
    write: (change: StoreChange) => Promise<void>,
  ) {
    this.#tree = tree;
    this.#rules = rules;
    this.#nowNs = nowNs;
    this.#write = write;
  }

  get count(): number {
    return this.#tree().count;
  }

  isGone(id: Uint32Array): boolean {
    return !this.#tree().has(id);
  }

  async take(candidate: Candidate, passes: boolean): Promise<void> {
    const { id, pubsub, content } = candidate;
    const isForgotten =
      !passes && timeOf(id) >= this.#rules.comparedSince(pubsub.name, content.name, this.#nowNs);
    this.#batch.push({ ...candidate, isForgotten });
    this.#passes = passes;
    if (this.#batch.length === LIMITS.writeGroupMessages) await this.#send();
  }

  async flush(): Promise<void> {
    if (this.#batch.length > 0) await this.#send();
    await this.#underWay;
  }

  /** One batch is written at a time, while the next one is gathered. */
  async #send(): Promise<void> {
    const prune = new Prune(this.#batch, this.#passes);
    this.#batch = [];
    await this.#underWay;
    this.#underWay = this.#write(prune).then(() => {
      this.removed += prune.gone.length;
      for (const { bytes } of prune.gone) this.bytes += bytes;
    });
    // Kept from counting as unhandled; it is awaited before the next one, and at the end.
    this.#underWay.catch(() => undefined);
  }
}

export class DryPruning implements PruneSink {
  removed = 0;
  bytes = 0;
  readonly #tree: DigestTree;
  /** One bit for each id that is gone, by its rank. */
  readonly #gone: Uint8Array;
  readonly #onTaken: (candidate: Candidate) => void;

  /** `tree` is a snapshot. */
  constructor(tree: DigestTree, onTaken: (candidate: Candidate) => void) {
    this.#tree = tree;
    this.#gone = new Uint8Array(Math.ceil(tree.count / 8));
    this.#onTaken = onTaken;
  }

  get count(): number {
    return this.#tree.count - this.removed;
  }

  isGone(id: Uint32Array): boolean {
    if (!this.#tree.has(id)) return true;
    const rank = this.#tree.rank(id);
    return ((this.#gone[rank >> 3]! >> (rank & 7)) & 1) === 1;
  }

  async take(candidate: Candidate): Promise<void> {
    const rank = this.#tree.rank(candidate.id);
    this.#gone[rank >> 3] = this.#gone[rank >> 3]! | (1 << (rank & 7));
    this.removed += 1;
    this.bytes += candidate.bytes;
    this.#onTaken(candidate);
  }

  async flush(): Promise<void> {
    // Nothing is written.
  }
}
