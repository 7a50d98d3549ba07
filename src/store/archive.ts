/**
 * The history of the store in pages. Without topics a page is cut out of the index of ids; with topics it is
 * gathered from their lists, from where the page before ended. An entry under a content topic names its pubsub topic
 * and the other way round, so that either list alone answers a question for both: where one has little that fits,
 * the other one is tried, and a page costs at most some twice what the better one does.
 */
import {
  boundAt,
  HASH_BYTES,
  hashOf,
  ID_WORDS,
  makeId,
  nextMoment,
  SyncIdList,
  TIMESTAMP_MAX,
} from '../core/sync-id.ts';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Archive, ArchivePage, ArchiveQuery } from '../ports.ts';
import { ArchiveCursors } from './archive-cursors.ts';
import { type Span, spanBehind, TopicWalk } from './archive-walk.ts';
import { hashKeyOf, otherTopicOf, type TopicKind, timeOfHash } from './keys.ts';
import type { MessageReader } from './message-reader.ts';
import type { ScopeSource } from './scope-ids.ts';
import { type TopicKey, topicKeyOf } from './topic-counts.ts';

/** For tests, which reach smaller limits with fewer messages. */
export interface ArchiveLimits {
  /** Entries that a page looks at. */
  readonly entries?: number;
  /** Entries that it looks at on one side before it tries the other. */
  readonly patience?: number;
  readonly cursors?: number;
}

export interface ArchiveInit extends ArchiveLimits {
  readonly source: ScopeSource;
  readonly reader: MessageReader;
  /** @throws LacunaError STORE_CLOSED */
  readonly assertOpen: () => void;
}

type Topics = ReadonlyMap<string, TopicKey>;

/** The lists of the topics of one kind, and which of their entries are wanted. */
interface Side {
  readonly kind: TopicKind;
  readonly topics: Topics;
  /** The names of the other topics; all of them when undefined. */
  readonly others: Topics | undefined;
}

/** A page while it is gathered. */
interface Gathering {
  /** In the order of the walk. */
  readonly ids: SyncIdList;
  readonly countMax: number;
  looked: number;
  /** Everything up to this id was looked at. */
  reached: Uint32Array | undefined;
  /** There is something behind the last of the ids; or may be, where too much was passed by. */
  end: 'nothing left' | 'more' | 'given up';
}

const FIRST_PATIENCE = 256;
/** Where one entry in so many is wanted, the other side is not likely to be better. */
const WORTHWHILE_SHARE = 8;
/** What beginning at another place in a list takes, in entries looked at. */
const BEGIN_ENTRIES = 16;
/** The patience doubles so many times. */
const DOUBLINGS = 5;
const LOOK_UPS_SIDE_BY_SIDE = 4;

export class StoreArchive implements Archive {
  readonly #init: ArchiveInit;
  readonly #cursors: ArchiveCursors;

  constructor(init: ArchiveInit) {
    this.#init = init;
    this.#cursors = new ArchiveCursors(init.cursors ?? LIMITS.archiveCursors);
  }

  /**
   * A page of 1 to `storeQueryMessages` ids. Of a question that passes by very many messages of other topics it may
   * be short, and even empty, with a cursor to go on from.
   *
   * @throws LacunaError QUERY_CURSOR, STORE_DAMAGED, STORE_FAULT, STORE_CLOSED.
   */
  async page(query: ArchiveQuery): Promise<ArchivePage> {
    this.#init.assertOpen();
    const position = query.cursor === undefined ? undefined : await this.#positionOf(query.cursor);
    const whole: Span = {
      lower: boundAt(query.sinceNs),
      upper: endAt(query.untilNs),
      ascending: query.ascending,
    };
    const span = position === undefined ? whole : spanBehind(whole, position);
    const gathering: Gathering = {
      ids: new SyncIdList(),
      countMax: Math.max(1, Math.min(Math.trunc(query.countMax) || 1, LIMITS.storeQueryMessages)),
      looked: 0,
      reached: undefined,
      end: 'nothing left',
    };
    const sides = this.#sidesOf(query);
    if (sides === 'all') this.#cut(span, gathering);
    else await this.#gather(sides, span, gathering);
    const { ids, looked, reached, end } = gathering;
    const last = ids.count === 0 ? position : ids.at(ids.count - 1);
    // With or without a cursor: a reader makes its own from the last message that it has, and may come again.
    if (last !== undefined) this.#cursors.remember(last);
    if (end === 'given up') this.#cursors.remember(reached!);
    const cursor = end === 'nothing left' ? undefined : hashOf(end === 'more' ? last! : reached!);
    if (!query.ascending) reverse(ids);
    return { ids, cursor, looked };
  }

  /**
   * Each hash is answered once, where it is named first.
   *
   * @throws LacunaError STORE_DAMAGED, STORE_FAULT, STORE_CLOSED.
   */
  async find(hashes: readonly Uint8Array[]): Promise<SyncIdList> {
    this.#init.assertOpen();
    const found = new SyncIdList();
    const distinct = distinctOf(hashes);
    const step = LIMITS.readBatchMessages * LOOK_UPS_SIDE_BY_SIDE;
    for (let from = 0; from < distinct.length; from += step) {
      const some = distinct.slice(from, from + step);
      const size = Math.ceil(some.length / LOOK_UPS_SIDE_BY_SIDE);
      const parts = Array.from({ length: LOOK_UPS_SIDE_BY_SIDE }, (_, at) =>
        this.#indexedOf(some.slice(at * size, (at + 1) * size)),
      );
      for (const ids of await Promise.all(parts)) for (const id of ids) found.push(id, 0);
    }
    return found;
  }

  readMany(ids: SyncIdList): AsyncIterable<readonly Uint8Array[]> {
    return this.#init.reader.readMany(ids, LOOK_UPS_SIDE_BY_SIDE);
  }

  /** Rows of the index are read while the look-ups of others are out. */
  async #indexedOf(hashes: readonly Uint8Array[]): Promise<Uint32Array[]> {
    return (await this.#idsOf(hashes)).filter((id) => this.#init.source.index.tree.has(id));
  }

  /** The messages of these hashes as far as the store has entries for them. */
  async #idsOf(hashes: readonly Uint8Array[]): Promise<Uint32Array[]> {
    if (hashes.length === 0) return [];
    const values = await this.#init.source.database.getMany(hashes.map(hashKeyOf));
    const ids: Uint32Array[] = [];
    for (const [at, value] of values.entries()) {
      const time = value === undefined ? undefined : timeOfHash(value);
      if (time !== undefined) ids.push(makeId(nsOf(time), hashes[at]!));
    }
    return ids;
  }

  /** A hash says of a message when it was sent: whatever is found of it is right, even when the message is gone. */
  async #positionOf(cursor: Uint8Array): Promise<Uint32Array> {
    const known =
      cursor.length === HASH_BYTES
        ? ((await this.#idsOf([cursor]))[0] ?? this.#cursors.find(cursor))
        : undefined;
    if (known === undefined) throw new LacunaError('QUERY_CURSOR', 'the cursor names no message known here');
    return known;
  }

  /** Where the messages of a scope are listed; none where there cannot be any. */
  #sidesOf({ scope }: ArchiveQuery): readonly Side[] | 'all' {
    const { index, putter } = this.#init.source;
    const keysOf = (topics: readonly string[]): Topics =>
      new Map(topics.map((topic) => putter.topicKey(topic)).map((key) => [key.name, key]));
    const pubsub = keysOf(scope.pubsubTopics);
    const content = keysOf(scope.contentTopics);
    const counted = pubsub.size === 0 ? index.tree.count : index.topics.sumOf(pubsub.keys());
    if (counted === 0) return [];
    if (content.size === 0) {
      return counted === index.tree.count ? 'all' : [{ kind: 'pubsub', topics: pubsub, others: undefined }];
    }
    if (pubsub.size === 0) return [{ kind: 'content', topics: content, others: undefined }];
    const byContent: Side = { kind: 'content', topics: content, others: pubsub };
    const byPubsub: Side = { kind: 'pubsub', topics: pubsub, others: content };
    // To begin many lists takes longer than to see whether a few do.
    const { patience = FIRST_PATIENCE } = this.#init;
    const isCrowd = content.size * BEGIN_ENTRIES > pubsub.size * BEGIN_ENTRIES + patience;
    return isCrowd ? [byPubsub, byContent] : [byContent, byPubsub];
  }

  /** The page straight out of the index. */
  #cut({ lower, upper, ascending }: Span, gathering: Gathering): void {
    const { tree } = this.#init.source.index;
    const first = tree.rank(lower);
    const all = tree.rank(upper) - first;
    const count = Math.min(gathering.countMax, all);
    if (count <= 0) return;
    if (count < all) gathering.end = 'more';
    const from = ascending || count === all ? lower : tree.select(first + all - count);
    const to = !ascending || count === all ? upper : tree.select(first + count);
    const { words } = tree.ids(from, to);
    gathering.ids.pushRows(words, 0, count);
    if (!ascending) reverse(gathering.ids);
  }

  /** Walks the lists of one side and then of the other, each on from where the one before came to. */
  async #gather(sides: readonly Side[], span: Span, gathering: Gathering): Promise<void> {
    const { patience = FIRST_PATIENCE } = this.#init;
    for (let turn = 0; sides.length > 0; turn++) {
      const side = sides[turn % sides.length]!;
      const allowed =
        sides.length === 1 ? Number.POSITIVE_INFINITY : patience * 2 ** Math.min(turn, DOUBLINGS);
      const { reached } = gathering;
      const rest = reached === undefined ? span : spanBehind(span, reached);
      if (await this.#walk(side, rest, gathering, allowed)) return;
    }
  }

  /** Returns false where the other side may be the better one. */
  async #walk(side: Side, span: Span, gathering: Gathering, patience: number): Promise<boolean> {
    const { database, index } = this.#init.source;
    const { entries = LIMITS.archiveEntries } = this.#init;
    const { ids, countMax } = gathering;
    const { topics, others } = side;
    const walk = new TopicWalk(database, side.kind, topics.values(), span, countMax - ids.count + 1);
    gathering.looked += topics.size * BEGIN_ENTRIES;
    let looked = 0;
    let wanted = 0;
    try {
      await walk.begin();
      for (;;) {
        const next = walk.next();
        if (!(typeof next === 'boolean' ? next : await next)) return true;
        const { id } = walk;
        // An entry may be there before its message is acknowledged, or without one.
        if ((others === undefined || others.has(nameOfOther(walk.value))) && index.tree.has(id)) {
          if (ids.count === countMax) {
            gathering.end = 'more';
            return true;
          }
          ids.push(id, 0);
          wanted += 1;
        }
        gathering.reached ??= new Uint32Array(ID_WORDS);
        gathering.reached.set(id);
        looked += 1;
        gathering.looked += 1;
        if (gathering.looked >= entries) {
          gathering.end = 'given up';
          return true;
        }
        if (looked > patience + wanted * WORTHWHILE_SHARE) return false;
      }
    } finally {
      await walk.close();
    }
  }
}

function nameOfOther(value: Uint8Array): string {
  return topicKeyOf(otherTopicOf(value)).name;
}

/** The end of a window; that of all time lies behind the last moment, which is one of its own. */
function endAt(untilNs: bigint): Uint32Array {
  const bound = boundAt(untilNs);
  return untilNs > TIMESTAMP_MAX ? nextMoment(bound) : bound;
}

function nsOf(time: Uint8Array): bigint {
  return new DataView(time.buffer, time.byteOffset).getBigUint64(0);
}

function distinctOf(hashes: readonly Uint8Array[]): Uint8Array[] {
  const byName = new Map<string, Uint8Array>();
  for (const hash of hashes) {
    if (hash.length !== HASH_BYTES) continue;
    const name = Buffer.from(hash.buffer, hash.byteOffset, hash.byteLength).toString('latin1');
    if (!byName.has(name)) byName.set(name, hash);
  }
  return [...byName.values()];
}

function reverse(ids: SyncIdList): void {
  const held = new Uint32Array(ID_WORDS);
  for (let from = 0, to = ids.count - 1; from < to; from++, to--) {
    held.set(ids.at(from));
    ids.at(from).set(ids.at(to));
    ids.at(to).set(held);
  }
}
