/** Looks at one node: what it has more and less than the own ids, in the cheapest way that it understands. */
import { type Interval, joined } from '../core/interval.ts';
import type { RangeIndex } from '../core/range-index.ts';
import type { Scope } from '../core/scope.ts';
import { boundAt, ID_WORDS, SyncIdList, timeOf } from '../core/sync-id.ts';
import { LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { PeerLink } from '../ports.ts';
import type { StoreClient } from '../sync/query/store-client.ts';
import type { SessionPlan, SessionResult } from '../sync/session.ts';
import type { AuditDialect } from './audit.ts';
import type { NodeView } from './comparison.ts';
import { listNode } from './hash-listing.ts';
import type { TopicBook } from './topic-book.ts';

export interface LookInit {
  readonly link: PeerLink;
  /** Compares with a Lacuna. Rejects with PEER_PROTOCOL where it does not speak the dialect. */
  readonly compare: (link: PeerLink, plan: SessionPlan, stop: AbortSignal) => Promise<SessionResult>;
  readonly client: Pick<StoreClient, 'pages' | 'lookUp' | 'peer' | 'tally'>;
  readonly index: RangeIndex;
  readonly scope: Scope;
  readonly window: Interval;
  readonly topics: TopicBook;
  readonly stop: AbortSignal;
}

/** What it has cost stays known when it fails. */
export interface Look {
  dialect: AuditDialect;
  view: NodeView;
  gaps: readonly Interval[];
  phantoms: number;
  bytes: number;
}

export const NOTHING_KNOWN: NodeView = { covered: [], lacks: new SyncIdList(), extra: new SyncIdList() };

/** @throws LacunaError PEER_…, SESSION_…, WIRE_…, QUERY_…; `look` says by then what it has cost. */
export async function lookAt(init: LookInit, look: Look): Promise<void> {
  if (init.link.isLacuna) {
    look.dialect = 'native';
    try {
      await new DigestLook(init, look).run();
      return;
    } catch (error) {
      // One of the first versions.
      if (toLacunaError(error).code !== 'PEER_PROTOCOL') throw error;
    }
  }
  look.dialect = 'query';
  const { tally } = init.client;
  const before = tally.bytesSent + tally.bytesReceived;
  try {
    const { phantoms, ...view } = await listNode(init);
    look.view = view;
    look.phantoms = phantoms;
  } finally {
    look.bytes += tally.bytesSent + tally.bytesReceived - before;
  }
}

/** By range digests: what is sent grows with what differs. */
class DigestLook {
  readonly #init: LookInit;
  readonly #look: Look;
  readonly #covered: Interval[] = [];
  readonly #lacks = new SyncIdList();
  readonly #extra = new SyncIdList();
  #isIncomplete = false;

  constructor(init: LookInit, look: Look) {
    this.#init = init;
    this.#look = look;
  }

  /** @throws LacunaError SESSION_BUDGET where some of it could not be compared; what could be is in the look. */
  async run(): Promise<void> {
    await this.#compare(this.#init.window, 0);
    this.#look.view = {
      covered: joined(this.#covered),
      lacks: this.#lacks.toAscending(),
      extra: this.#extra.toAscending(),
    };
    if (this.#isIncomplete) {
      throw new LacunaError('SESSION_BUDGET', 'more differs than sessions tell of');
    }
  }

  async #compare(window: Interval, depth: number): Promise<void> {
    const { link, index, scope, compare, stop } = this.#init;
    let isTold = false;
    const listing = {
      index,
      onDifferences: (have: SyncIdList, need: SyncIdList): void => {
        isTold = true;
        this.#lacks.pushRows(have.words, 0, have.count);
        // What the peer names and is here is no difference, whatever it says.
        for (let row = 0; row < need.count; row++) {
          if (!index.has(need.at(row))) this.#extra.push(need.words, row * ID_WORDS);
        }
      },
    };
    const { sinceNs, untilNs } = window;
    const plan: SessionPlan = { scope, sinceNs, untilNs, direction: 'both', dryRun: true, listing };
    try {
      const result = await compare(link, plan, stop);
      this.#look.bytes += result.bytesSent + result.bytesReceived;
      this.#look.gaps = joined([...this.#look.gaps, ...result.peerGaps]);
      if (isTold) {
        this.#covered.push({ sinceNs: result.sinceNs, untilNs: result.untilNs });
        return;
      }
    } catch (error) {
      const { code } = toLacunaError(error);
      // A part may lie before all that the peer keeps.
      if (code === 'SESSION_WINDOW' && depth > 0) return;
      if (code !== 'SESSION_BUDGET') throw error;
    }
    // More differs than one session tells of: two tell of half each. A part that cannot be cut stays unknown.
    const middleNs = middleOf(index, window);
    if (depth >= LIMITS.auditSplits || middleNs <= sinceNs || middleNs >= untilNs) {
      this.#isIncomplete = true;
      return;
    }
    await this.#compare({ sinceNs, untilNs: middleNs }, depth + 1);
    await this.#compare({ sinceNs: middleNs, untilNs }, depth + 1);
  }
}

/** The moment with half of the own ids before it; of a window without any, the half of its time. */
function middleOf(index: RangeIndex, { sinceNs, untilNs }: Interval): bigint {
  const from = index.rank(boundAt(sinceNs));
  const to = index.rank(boundAt(untilNs));
  return to - from < 2 ? (sinceNs + untilNs) / 2n : timeOf(index.select((from + to) >>> 1));
}
