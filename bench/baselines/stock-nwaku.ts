/**
 * The reconciliation policy of a stock nwaku: eight equal time slices, item sets at 100 ids and below, XOR over
 * a linear scan, and its habits where they differ from its specification (an unknown topic filters nothing,
 * ranges under 8 ns vanish). Written from the observed behaviour, and held to it by the recorded transcripts of
 * `spec/vectors`. It is what benches and tests compare with, never what a node runs.
 */

import { type Claim, isFinal, mergeSkips, type RangesPayload } from '../../src/core/range.ts';
import { boundAt, compareIds, HASH_WORDS, ID_WORDS, SyncIdList, timeOf } from '../../src/core/sync-id.ts';
import { LacunaError } from '../../src/errors.ts';

export const STOCK_THRESHOLD = 100;
export const STOCK_PARTITIONS = 8;

export interface StockElement {
  readonly id: Uint32Array;
  readonly pubsubTopic: string;
  readonly contentTopic: string;
}

export interface StockAnswer {
  /** undefined: the topics have nothing in common, and a zero-length payload is the answer. */
  readonly payload: RangesPayload | undefined;
  readonly send: SyncIdList;
  readonly receive: SyncIdList;
}

type Filter = (row: number) => boolean;

export class StockNwaku {
  readonly #ids: SyncIdList;
  readonly #pubsubTopics: readonly string[];
  readonly #contentTopics: readonly string[];
  /** Topics of each element, when any were given. */
  readonly #topics: readonly StockElement[];
  readonly #ownPubsubTopics: readonly string[];
  readonly #ownContentTopics: readonly string[];

  constructor(
    elements: readonly StockElement[] | SyncIdList,
    pubsubTopics: readonly string[] = [],
    contentTopics: readonly string[] = [],
  ) {
    if (elements instanceof SyncIdList) {
      this.#ids = elements;
      this.#topics = [];
    } else {
      this.#topics = [...elements].sort((a, b) => compareIds(a.id, 0, b.id, 0));
      this.#ids = SyncIdList.of(...this.#topics.map((element) => element.id));
    }
    this.#pubsubTopics = [...new Set(this.#topics.map((element) => element.pubsubTopic))];
    this.#contentTopics = [...new Set(this.#topics.map((element) => element.contentTopic))];
    this.#ownPubsubTopics = pubsubTopics;
    this.#ownContentTopics = contentTopics;
  }

  /** The fingerprint runs to (upper, ff..ff), though the bound on the wire carries no hash. */
  initiate(lowerNs: bigint, upperNs: bigint): RangesPayload {
    const lower = boundAt(lowerNs);
    const upper = boundAt(upperNs).fill(0xffff_ffff, 2);
    const filter = this.#filter(this.#ownPubsubTopics, this.#ownContentTopics);
    const span = this.#span(lower, upper);
    const fingerprint = span === undefined ? new Uint32Array(HASH_WORDS) : this.#xor(span, filter);
    return {
      pubsubTopics: this.#ownPubsubTopics,
      contentTopics: this.#ownContentTopics,
      claims: [{ kind: 'fingerprint', lower, upper, fingerprint }],
    };
  }

  process(input: RangesPayload): StockAnswer {
    const send = new SyncIdList();
    const receive = new SyncIdList();
    const pubsubTopics = common(this.#ownPubsubTopics, input.pubsubTopics);
    const contentTopics = common(this.#ownContentTopics, input.contentTopics);
    if (pubsubTopics === undefined || contentTopics === undefined)
      return { payload: undefined, send, receive };
    const filter = this.#filter(pubsubTopics, contentTopics);
    const claims: Claim[] = [];
    for (const claim of input.claims) {
      if (claim.kind === 'skip') claims.push(claim);
      else if (claim.kind === 'fingerprint') this.#toFingerprint(claim, filter, claims);
      else this.#toItems(claim, filter, claims, send, receive);
    }
    const payload = {
      pubsubTopics: this.#ownPubsubTopics,
      contentTopics: this.#ownContentTopics,
      claims: mergeSkips(claims),
    };
    return { payload, send, receive };
  }

  #toFingerprint(claim: Claim & { kind: 'fingerprint' }, filter: Filter, out: Claim[]): void {
    const { lower, upper } = claim;
    const span = this.#span(lower, upper);
    const own = span === undefined ? new Uint32Array(HASH_WORDS) : this.#xor(span, filter);
    if (own.every((word, index) => word === claim.fingerprint[index])) {
      out.push({ kind: 'skip', lower, upper });
      return;
    }
    if (span === undefined || span.to - span.from <= STOCK_THRESHOLD) {
      this.#list(lower, upper, span, filter, span === undefined, out);
      return;
    }
    for (const [from, to] of timeSlices(timeOf(lower), timeOf(upper))) {
      const bounds = { lower: boundAt(from), upper: boundAt(to) };
      const slice = this.#span(bounds.lower, bounds.upper);
      if (slice === undefined || slice.to - slice.from <= STOCK_THRESHOLD) {
        this.#list(bounds.lower, bounds.upper, slice, filter, slice === undefined, out);
      } else {
        out.push({ kind: 'fingerprint', ...bounds, fingerprint: this.#xor(slice, filter) });
      }
    }
  }

  #toItems(
    claim: Claim & { kind: 'items' },
    filter: Filter,
    out: Claim[],
    send: SyncIdList,
    receive: SyncIdList,
  ): void {
    const { lower, upper } = claim;
    const span = this.#span(lower, upper);
    if (span !== undefined) {
      const theirs = claim.items;
      let their = 0;
      for (let row = span.from; row < span.to; row++) {
        if (!filter(row)) continue;
        while (their < theirs.count && this.#compare(row, theirs, their) > 0) {
          receive.push(theirs.words, their * ID_WORDS);
          their += 1;
        }
        if (their < theirs.count && this.#compare(row, theirs, their) === 0) their += 1;
        else send.push(this.#ids.words, row * ID_WORDS);
      }
      receive.pushRows(theirs.words, their * ID_WORDS, theirs.count - their);
    }
    if (claim.reconciled) out.push({ kind: 'skip', lower, upper });
    else this.#list(lower, upper, span, filter, true, out);
  }

  #compare(row: number, theirs: SyncIdList, their: number): number {
    return compareIds(this.#ids.words, row * ID_WORDS, theirs.words, their * ID_WORDS);
  }

  #list(
    lower: Uint32Array,
    upper: Uint32Array,
    span: Span | undefined,
    filter: Filter,
    reconciled: boolean,
    out: Claim[],
  ): void {
    const items = new SyncIdList();
    if (span !== undefined) {
      for (let row = span.from; row < span.to; row++) {
        if (filter(row)) items.push(this.#ids.words, row * ID_WORDS);
      }
    }
    out.push({ kind: 'items', lower, upper, items, reconciled });
  }

  /** Both bounds included; undefined when the range lies wholly before or after all ids. */
  #span(lower: Uint32Array, upper: Uint32Array): Span | undefined {
    const from = this.#lowerRow(lower, false);
    const to = this.#lowerRow(upper, true);
    if (to < 1 || from >= this.#ids.count) return undefined;
    return { from, to };
  }

  #lowerRow(bound: Uint32Array, after: boolean): number {
    let low = 0;
    let high = this.#ids.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const order = compareIds(this.#ids.words, middle * ID_WORDS, bound, 0);
      if (order < 0 || (after && order === 0)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #xor(span: Span, filter: Filter): Uint32Array {
    const xor = new Uint32Array(HASH_WORDS);
    const { words } = this.#ids;
    for (let row = span.from; row < span.to; row++) {
      if (!filter(row)) continue;
      for (let word = 0; word < HASH_WORDS; word++) xor[word]! ^= words[row * ID_WORDS + 2 + word]!;
    }
    return xor;
  }

  /** A topic that no element has is dropped from the filter; a filter of only such topics lets everything pass. */
  #filter(pubsubTopics: readonly string[], contentTopics: readonly string[]): Filter {
    const pubsub = pubsubTopics.filter((topic) => this.#pubsubTopics.includes(topic));
    const content = contentTopics.filter((topic) => this.#contentTopics.includes(topic));
    if (pubsub.length === 0 && content.length === 0) return () => true;
    return (row) => {
      const element = this.#topics[row]!;
      return (
        (pubsub.length === 0 || pubsub.includes(element.pubsubTopic)) &&
        (content.length === 0 || content.includes(element.contentTopic))
      );
    };
  }
}

interface Span {
  from: number;
  to: number;
}

/** Equal slices of time, the remainder to the first ones; a range of fewer than eight ns gives none at all. */
function timeSlices(from: bigint, to: bigint): [bigint, bigint][] {
  const partitions = BigInt(STOCK_PARTITIONS);
  const length = to - from;
  if (length < partitions) return [];
  const slices: [bigint, bigint][] = [];
  let rest = length % partitions;
  let start = from;
  for (let slice = 0; slice < STOCK_PARTITIONS; slice++) {
    let end = start + length / partitions;
    if (rest > 0n) {
      end += 1n;
      rest -= 1n;
    }
    slices.push([start, end]);
    start = end;
  }
  return slices;
}

function common(own: readonly string[], theirs: readonly string[]): readonly string[] | undefined {
  if (own.length === 0) return theirs;
  if (theirs.length === 0) return own;
  const both = own.filter((topic) => theirs.includes(topic));
  return both.length > 0 ? both : undefined;
}

/** One side of a session run in this process: what it writes first, and what it answers. */
export interface Party {
  open(): RangesPayload;
  answer(payload: RangesPayload): {
    payload: RangesPayload | undefined;
    send: SyncIdList;
    receive: SyncIdList;
  };
}

export interface DialogueStep {
  readonly from: 'A' | 'B';
  readonly bytes: Uint8Array;
}

export interface Dialogue {
  readonly steps: readonly DialogueStep[];
  readonly sendA: SyncIdList;
  readonly sendB: SyncIdList;
  readonly receiveA: SyncIdList;
  readonly receiveB: SyncIdList;
}

/**
 * Runs a session of two parties through real bytes until one side has nothing more to say.
 *
 * @throws LacunaError SESSION_ROUNDS past `payloadsMax`.
 */
export function runDialogue(
  initiator: Party,
  responder: Party,
  encode: (payload: RangesPayload) => Uint8Array,
  decode: (bytes: Uint8Array) => RangesPayload,
  payloadsMax = 64,
): Dialogue {
  const sent = { A: new SyncIdList(), B: new SyncIdList() };
  const received = { A: new SyncIdList(), B: new SyncIdList() };
  const steps: DialogueStep[] = [{ from: 'A', bytes: encode(initiator.open()) }];
  for (let turn = 0; ; turn++) {
    const incoming = decode(steps.at(-1)!.bytes);
    if (isFinal(incoming.claims)) break;
    if (steps.length >= payloadsMax) throw new LacunaError('SESSION_ROUNDS', `${payloadsMax} payloads`);
    const side = turn % 2 === 0 ? 'B' : 'A';
    const answer = (side === 'B' ? responder : initiator).answer(incoming);
    sent[side].pushRows(answer.send.words, 0, answer.send.count);
    received[side].pushRows(answer.receive.words, 0, answer.receive.count);
    const bytes = answer.payload === undefined ? new Uint8Array(0) : encode(answer.payload);
    steps.push({ from: side, bytes });
    if (answer.payload === undefined || isFinal(answer.payload.claims)) break;
  }
  return { steps, sendA: sent.A, sendB: sent.B, receiveA: received.A, receiveB: received.B };
}

export function stockParty(stock: StockNwaku, lowerNs: bigint, upperNs: bigint): Party {
  return { open: () => stock.initiate(lowerNs, upperNs), answer: (payload) => stock.process(payload) };
}
