/**
 * Every way to reconcile two sets behind one interface of bytes, so that all are driven, timed and checked alike;
 * and the adapters of those that Lacuna is compared with, or compares itself with, on the wire of Waku.
 */
import { DigestTree } from '../../src/core/digest-tree.ts';
import { KeyedSums } from '../../src/core/keyed-sums.ts';
import { NativeReconciler } from '../../src/core/native/reconciler.ts';
import { isFinal } from '../../src/core/range.ts';
import { type ReconcilePolicy, WAKU_POLICY } from '../../src/core/reconcile.ts';
import { EVERYTHING } from '../../src/core/scope.ts';
import { boundAt, ID_WORDS, nextMoment, SyncIdList, TIMESTAMP_MAX } from '../../src/core/sync-id.ts';
import { lebLength } from '../../src/wire/bytes.ts';
import { decodeNativePayload, encodeNativePayload } from '../../src/wire/native-payload.ts';
import { decodeRanges, encodeRanges } from '../../src/wire/waku-ranges.ts';
import { differences, type SetPair } from '../sets.ts';
import { lacunaParty } from './lacuna-party.ts';
import { NegentropyInitiator, NegentropyResponder, NegentropySet } from './negentropy.ts';
import { type Party, StockNwaku, stockParty } from './stock-nwaku.ts';

/** One side of one session. */
export interface Contender {
  /** The first message. Only an initiator is asked. */
  open(): Uint8Array;
  /** The answer; undefined when nothing is left to say. */
  answer(message: Uint8Array): Uint8Array | undefined;
  /**
   * The ids that this side will send or ask for, in any order: with those of the other side, what the session
   * found. Told by their hashes; the times may be left zero, as not every protocol tells them.
   */
  found(): SyncIdList;
}

/** What both sides of a session know beforehand. */
export type SessionContext = Pick<SetPair, 'lowerNs' | 'upperNs' | 'probablyEqual'>;

/** Builds the index that a node would hold, which is not part of a session; each call of the result begins one. */
export type Side = (ids: SyncIdList, context: SessionContext) => () => Contender;

export interface Implementation {
  readonly name: string;
  /** Whether each message travels behind its length, which then counts. */
  readonly prefixed: boolean;
  readonly initiator: Side;
  readonly responder: Side;
}

export const STOCK: Implementation = {
  name: 'stock',
  prefixed: true,
  initiator: stockSide,
  responder: stockSide,
};
export const WAKU: Implementation = {
  name: 'waku',
  prefixed: true,
  initiator: lacunaSide,
  responder: stockSide,
};
export const WAKU_RESPONDER: Implementation = {
  name: 'waku-responder',
  prefixed: true,
  initiator: stockSide,
  responder: lacunaSide,
};
export const NEGENTROPY: Implementation = {
  name: 'negentropy',
  prefixed: false,
  initiator: negentropyInitiator,
  responder: negentropyResponder,
};

export const NATIVE: Implementation = {
  name: 'native',
  prefixed: true,
  initiator: nativeSide,
  responder: nativeSide,
};

/** What a node uses against a stock one: it is told only of what it takes to be sent what is missing. */
const AGAINST_STOCK: ReconcilePolicy = { ...WAKU_POLICY, echo: 'needed' };

/** Between two that met minutes ago the key of then is good, and what was hashed under it is remembered. */
const SALT_BYTES = 16;

function nativeSide(ids: SyncIdList, { probablyEqual }: SessionContext): () => Contender {
  const tree = DigestTree.from(ids);
  let session = 0;
  const remembered = new KeyedSums(Uint32Array.of(1, 2, 3, 4));
  return () => {
    session += 1;
    const keyed = probablyEqual ? remembered : new KeyedSums(Uint32Array.of(5, 6, 7, session));
    return new NativeContender(tree.snapshot(), keyed, probablyEqual, session);
  };
}

/**
 * A side of Lacuna's own protocol. The salts that the key is made of are counted: 16 bytes in the first message of
 * each side.
 */
class NativeContender implements Contender {
  readonly #reconciler: NativeReconciler;
  readonly #probablyEqual: boolean;
  readonly #found = new SyncIdList();
  #hasGreeted: boolean;
  #isGreeted: boolean;

  constructor(index: DigestTree, keyed: KeyedSums, probablyEqual: boolean, seed: number) {
    let state = seed;
    const random = (below: number): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const lower = boundAt(0n);
    const upper = nextMoment(boundAt(TIMESTAMP_MAX));
    this.#reconciler = new NativeReconciler({ index, lower, upper, keyed, random });
    this.#probablyEqual = probablyEqual;
    this.#hasGreeted = probablyEqual;
    this.#isGreeted = probablyEqual;
  }

  open(): Uint8Array {
    return this.#encode(this.#reconciler.open(this.#probablyEqual ? 1 : undefined));
  }

  answer(message: Uint8Array): Uint8Array | undefined {
    const payload = decodeNativePayload(this.#isGreeted ? message : message.subarray(SALT_BYTES));
    this.#isGreeted = true;
    const { reply, have } = this.#reconciler.step(payload);
    this.#found.pushRows(have.words, 0, have.count);
    return reply === undefined ? undefined : this.#encode(reply);
  }

  found(): SyncIdList {
    return this.#found;
  }

  #encode(payload: Parameters<typeof encodeNativePayload>[0]): Uint8Array {
    const bytes = encodeNativePayload(payload);
    if (this.#hasGreeted) return bytes;
    this.#hasGreeted = true;
    const greeting = new Uint8Array(SALT_BYTES + bytes.length);
    greeting.set(bytes, SALT_BYTES);
    return greeting;
  }
}

function stockSide(ids: SyncIdList, { lowerNs, upperNs }: SessionContext): () => Contender {
  const stock = new StockNwaku(ids);
  return () => new WakuContender(stockParty(stock, lowerNs, upperNs));
}

function lacunaSide(ids: SyncIdList, context: SessionContext): () => Contender {
  const tree = DigestTree.from(ids);
  // What a tree works out when it is first asked, a node has from the session before.
  tree.rank(boundAt(TIMESTAMP_MAX));
  return () =>
    new WakuContender(lacunaParty(() => tree, AGAINST_STOCK, context, EVERYTHING, context.probablyEqual));
}

/** A party on its wire. It sends what it found the other side to lack, and never asks. */
class WakuContender implements Contender {
  readonly #party: Party;
  readonly #sent = new SyncIdList();

  constructor(party: Party) {
    this.#party = party;
  }

  open(): Uint8Array {
    return encodeRanges(this.#party.open());
  }

  answer(message: Uint8Array): Uint8Array | undefined {
    const incoming = decodeRanges(message);
    if (isFinal(incoming.claims)) return undefined;
    const { payload, send } = this.#party.answer(incoming);
    this.#sent.pushRows(send.words, 0, send.count);
    return payload === undefined ? new Uint8Array(0) : encodeRanges(payload);
  }

  found(): SyncIdList {
    return this.#sent;
  }
}

function negentropyInitiator(ids: SyncIdList): () => Contender {
  const set = new NegentropySet(ids);
  return () => {
    const side = new NegentropyInitiator(set);
    return {
      open: () => side.open(),
      answer: (message) => side.answer(message),
      found: () => {
        const found = side.have.slice(0, side.have.count);
        found.pushRows(side.need.words, 0, side.need.count);
        return found;
      },
    };
  };
}

function negentropyResponder(ids: SyncIdList): () => Contender {
  const side = new NegentropyResponder(new NegentropySet(ids));
  return () => ({
    open: () => {
      throw new Error('a responder does not open');
    },
    answer: (message) => side.answer(message),
    found: () => new SyncIdList(),
  });
}

export interface SessionFigures {
  /** False when the two were still talking at the limit of messages. */
  readonly finished: boolean;
  /** Both ways, length prefixes included. */
  readonly bytes: number;
  readonly messages: number;
  readonly initiatorMs: number;
  readonly responderMs: number;
}

/** Runs one session of two sides. Time is that of the calls: in one thread, it is processor time and its waits. */
export function runSession(
  initiator: Contender,
  responder: Contender,
  prefixed: boolean,
  messagesMax: number,
): SessionFigures {
  const spent = { initiatorMs: 0, responderMs: 0 };
  let bytes = 0;
  let messages = 0;
  let message: Uint8Array | undefined = timed('initiatorMs', () => initiator.open());
  while (message !== undefined && messages < messagesMax) {
    const incoming: Uint8Array = message;
    messages += 1;
    bytes += incoming.length + (prefixed ? lebLength(incoming.length) : 0);
    const ours = messages % 2 === 0;
    message = timed(ours ? 'initiatorMs' : 'responderMs', () =>
      (ours ? initiator : responder).answer(incoming),
    );
  }
  return { finished: message === undefined, bytes, messages, ...spent };

  function timed<T>(side: keyof typeof spent, work: () => T): T {
    const startMs = performance.now();
    const result = work();
    spent[side] += performance.now() - startMs;
    return result;
  }
}

/** Of the true differences, how many a session missed; and how many ids it named that do not differ. */
export function verdictOf(
  pair: SetPair,
  initiator: Contender,
  responder: Contender,
): { missed: number; wrong: number } {
  const truth = hashesOf(pair.onlyA, pair.onlyB);
  const found = hashesOf(initiator.found(), responder.found());
  const [missed, wrong] = differences(truth, found);
  return { missed: missed.count, wrong: wrong.count };
}

/** The ids of both lists without their times, ascending and each once. */
function hashesOf(...lists: readonly SyncIdList[]): SyncIdList {
  const all = new SyncIdList();
  for (const list of lists) all.pushRows(list.words, 0, list.count);
  for (let row = 0; row < all.count; row++) all.words.fill(0, row * ID_WORDS, row * ID_WORDS + 2);
  return all.toAscending();
}
