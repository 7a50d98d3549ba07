/**
 * The index of a store: the tree of ids, its pages on the disk and the tallies of messages, which change together or
 * not at all. A batch is prepared on a snapshot; when it is on the disk, the snapshot is the index. When it failed,
 * the snapshot is forgotten, and the directory tells whether it reached the disk all the same.
 */
import { DigestTree } from '../core/digest-tree.ts';
import { ID_WORDS, readIdBytes, SyncIdList } from '../core/sync-id.ts';
import { type LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, Logger } from '../ports.ts';
import type { Batch, Database } from './database.ts';
import { firstUnused, readDirectory } from './directory.ts';
import { IndexPages, type WrittenPages } from './index-pages.ts';
import { ALL_INDEX, ALL_MESSAGES, MESSAGE_KEY_BYTES, symbolsKey } from './keys.ts';
import { encodeSymbols } from './page-codec.ts';
import type { PrunedBook, PrunedChanges } from './pruned-book.ts';
import { Tallies, TallyChanges, type TallyLimits } from './tallies.ts';
import { type Known, NOTHING_KNOWN } from './tally.ts';
import { buildTallies } from './tally-build.ts';
import type { TopicCounts } from './topic-counts.ts';

/** For tests, which reach smaller limits with fewer messages. */
export interface IndexLimits extends TallyLimits {
  readonly cacheBytes?: number;
  readonly rebuildIds?: number;
}

export interface IndexInit extends IndexLimits {
  readonly database: Database;
  readonly clock: Clock;
  readonly log: Logger;
  readonly pruned: PrunedBook;
  /** Told when the index turns out to be damaged. */
  readonly onDamage: (error: LacunaError) => void;
}

/** What a batch makes of the index. */
export class IndexChange {
  readonly tree: DigestTree;
  readonly tallies = new TallyChanges();
  readonly pruned: PrunedChanges;
  written: WrittenPages | undefined;
  known: Known = NOTHING_KNOWN;

  constructor(tree: DigestTree, pruned: PrunedChanges) {
    this.tree = tree;
    this.pruned = pruned;
  }
}

const BLOCKS_PER_BATCH = 32;

export class StoreIndex {
  readonly #init: IndexInit;
  #pages: IndexPages;
  #tree: DigestTree;
  #tallies: Tallies;
  /** Why the index is to be built anew, whatever the disk says. */
  #distrust: string | undefined;

  constructor(init: IndexInit) {
    this.#init = init;
    this.#pages = this.#newPages();
    this.#tree = new DigestTree(this.#pages);
    this.#tallies = new Tallies(init);
  }

  get tree(): DigestTree {
    return this.#tree;
  }

  /** How many messages and bytes there are, by hour and topic. */
  get tallies(): Tallies {
    return this.#tallies;
  }

  /** The tallies of pubsub topics. */
  get topics(): TopicCounts {
    return this.#tallies.pubsub;
  }

  /** Whether the index is to be built anew, or is being so. */
  get isDistrusted(): boolean {
    return this.#distrust !== undefined;
  }

  /** The next loading builds the index anew. */
  distrust(reason: string): void {
    this.#distrust ??= reason;
  }

  begin(): IndexChange {
    return new IndexChange(this.#tree.snapshot(), this.#init.pruned.begin());
  }

  stage(change: IndexChange, batch: Batch): void {
    const before = this.#tree.count;
    change.written = this.#pages.stage(change.tree, batch);
    change.known = this.#tallies.stage(change.tallies, batch);
    this.#init.pruned.stage(change.pruned, batch);
    const isSame = change.written.leaves.length === 0 && change.tree.count === before;
    if (!isSame) this.#pages.stageHeader(change.tree, change.known, batch);
  }

  /** What was staged is on the disk. */
  adopt(change: IndexChange): void {
    this.#tree = change.tree;
    if (change.written !== undefined) this.#pages.adopt(change.written);
    this.#tallies.adopt(change.tallies, change.known);
    this.#init.pruned.adopt(change.pruned);
  }

  /**
   * Reads the directory, and nothing of the ids; where that does not do, builds the index anew from the messages.
   *
   * @throws LacunaError STORE_DAMAGED where the messages cannot be read.
   */
  async load(signal?: AbortSignal): Promise<void> {
    await this.#init.pruned.load(this.#init.database);
    const reason = this.#distrust ?? (await this.#loadPages());
    if (reason === undefined) {
      if (this.#tallies.hours === undefined) await this.#countAnew(signal);
      return;
    }
    this.distrust(reason);
    await this.#rebuild(reason, signal);
    this.#distrust = undefined;
  }

  /** Writes symbols that would have to be made again. Nothing is lost without them but time. */
  async saveSymbols(): Promise<void> {
    const unsaved = this.#pages.unsavedOf(this.#tree);
    for (let from = 0; from < unsaved.length; from += BLOCKS_PER_BATCH) {
      await this.#init.database.write((batch) => {
        for (const block of unsaved.slice(from, from + BLOCKS_PER_BATCH)) {
          batch.put(symbolsKey(block.number), encodeSymbols(block, this.#tree.symbolsOfBlock(block)));
        }
      });
    }
  }

  /** Returns why the index has to be built anew, if so. */
  async #loadPages(): Promise<string | undefined> {
    const { database } = this.#init;
    try {
      const directory = await readDirectory(database);
      if (directory === undefined) return await this.#beginEmpty();
      const tree = this.#pages.treeOf(directory, this.#tree);
      this.#pages.proveNewest(tree);
      const tallies = new Tallies(this.#init);
      const addsUp = await tallies.load(database, directory.header.known, tree.count);
      if (!addsUp) return 'the counts of messages do not add up';
      this.#tree = tree;
      this.#tallies = tallies;
      return undefined;
    } catch (error) {
      const { code, message } = toLacunaError(error);
      if (code !== 'STORE_DAMAGED') throw error;
      return message;
    }
  }

  /** A store without messages needs no index: the first messages bring it. */
  async #beginEmpty(): Promise<string | undefined> {
    for (const range of [ALL_MESSAGES, ...ALL_INDEX]) {
      if (await this.#init.database.holds(range)) return 'there is no whole index';
    }
    this.#reset();
    return undefined;
  }

  #reset(): void {
    this.#pages.retire();
    this.#pages = this.#newPages();
    this.#tree = new DigestTree(this.#pages);
    this.#tallies = new Tallies(this.#init);
  }

  #newPages(): IndexPages {
    const { database, cacheBytes = LIMITS.indexCacheBytes, onDamage } = this.#init;
    const pages: IndexPages = new IndexPages(database, cacheBytes, (error) => {
      // What has been replaced is not to be mended.
      if (pages === this.#pages) onDamage(error);
    });
    return pages;
  }

  /**
   * Builds the index from the keys of the messages, in bounded memory. The header says from the first write to the
   * last but one that the index is not whole: a rebuild that is interrupted begins again.
   */
  async #rebuild(reason: string, signal: AbortSignal | undefined): Promise<void> {
    const { database, clock, log } = this.#init;
    const startedMs = clock.monotonicMs();
    log.warn({ code: 'INDEX_REBUILT', reason }, 'the index is built anew from the messages');
    this.#pages.retire();
    const pages = this.#newPages();
    const empty = pages.emptyTree(await firstUnused(database));
    await database.write((batch) => pages.stageHeader(empty, NOTHING_KNOWN, batch, false));
    for (const range of ALL_INDEX.slice(1)) await database.clear(range);
    const tree = await this.#rebuildTree(pages, empty, signal);
    const tallies = await buildTallies({ ...this.#init, tree }, signal);
    await database.write((batch) => pages.stageHeader(tree, tallies.known, batch));
    this.#pages = pages;
    this.#tree = tree;
    this.#tallies = tallies;
    log.info({ count: tree.count, ms: Math.round(clock.monotonicMs() - startedMs) }, 'the index is whole');
  }

  /** Where it was not known any more what messages come to, or the store is of a version that did not count them. */
  async #countAnew(signal: AbortSignal | undefined): Promise<void> {
    const { database, clock, log } = this.#init;
    const startedMs = clock.monotonicMs();
    log.info({ count: this.#tree.count }, 'the messages are counted by hour and topic, which is done once');
    const tallies = await buildTallies({ ...this.#init, tree: this.#tree }, signal);
    await database.write((batch) => this.#pages.stageHeader(this.#tree, tallies.known, batch));
    this.#tallies = tallies;
    log.info({ ms: Math.round(clock.monotonicMs() - startedMs) }, 'the messages are counted');
  }

  async #rebuildTree(
    pages: IndexPages,
    empty: DigestTree,
    signal: AbortSignal | undefined,
  ): Promise<DigestTree> {
    const { database, clock, log, rebuildIds = LIMITS.indexRebuildIds } = this.#init;
    let tree = empty;
    let toldMs = clock.monotonicMs();
    let ids = new SyncIdList(rebuildIds);
    const write = async (): Promise<void> => {
      const staged = tree.snapshot();
      staged.appendRows(ids.words, ids.count);
      let written: WrittenPages | undefined;
      await database.write((batch) => {
        written = pages.stage(staged, batch);
        pages.stageHeader(staged, NOTHING_KNOWN, batch, false);
      });
      if (written !== undefined) pages.adopt(written);
      // The symbols of all blocks of a large store would fill the memory; those of the newest are needed soon.
      for (const block of staged.blocks.slice(0, -1)) block.symbols = undefined;
      tree = staged;
      ids = new SyncIdList(rebuildIds);
    };
    for await (const keys of database.keys(ALL_MESSAGES)) {
      signal?.throwIfAborted();
      for (const key of keys) {
        if (key.length !== MESSAGE_KEY_BYTES) continue;
        const at = ids.pushEmpty();
        readIdBytes(key, key.length - ID_WORDS * 4, ids.words, at);
        if (ids.count === rebuildIds) await write();
      }
      if (clock.monotonicMs() - toldMs < LIMITS.indexProgressMs) continue;
      toldMs = clock.monotonicMs();
      log.info({ count: tree.count }, 'the index is being built');
    }
    if (ids.count > 0) await write();
    return tree;
  }
}
