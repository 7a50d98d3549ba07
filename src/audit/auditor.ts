/**
 * Runs audits: one snapshot of the own ids, a look at every node against it, the arithmetic, and where it is asked for
 * the repair and a second look. What fails at one node is said of that node.
 */
import { type Interval, isEmpty } from '../core/interval.ts';
import type { RangeIndex } from '../core/range-index.ts';
import { hashOf, SyncIdList } from '../core/sync-id.ts';
import { LacunaError, toLacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Clock, Logger, MessageStore, PeerLink, Records } from '../ports.ts';
import type { Ingest } from '../sync/ingest.ts';
import type { MissingBook } from '../sync/missing-book.ts';
import type { StoreClient } from '../sync/query/store-client.ts';
import type { SessionPlan, SessionResult } from '../sync/session.ts';
import { asBuffer, MessageView } from '../wire/waku-message.ts';
import type { AuditedNode, AuditPlan, AuditProgress, AuditResult, ListedMessage } from './audit.ts';
import { type Comparison, compareNodes, HAS, LACKS, LATE, UNKNOWN } from './comparison.ts';
import { AuditHistory } from './history.ts';
import { type Look, lookAt, NOTHING_KNOWN } from './node-look.ts';
import { type RepairInit, type RepairPartner, repair } from './repair.ts';
import { TopicBook } from './topic-book.ts';

export interface AuditorInit {
  /** The peer id of this node. */
  readonly ownPeer: string;
  readonly store: MessageStore;
  readonly ingest: Pick<Ingest, 'examineFrame' | 'append'>;
  readonly records: Records;
  /** Told what is missing here. */
  readonly missing: Pick<MissingBook, 'notice' | 'settle'>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Rejects with PEER_… for a node that cannot be reached. */
  readonly connect: (address: string, stop: AbortSignal) => Promise<PeerLink>;
  /** The peer id that an address names. Throws PEER_ADDRESS_INVALID. */
  readonly peerOf: (address: string) => string;
  readonly synchronise: RepairInit['synchronise'];
  readonly clientOf: (link: PeerLink) => Pick<StoreClient, 'pages' | 'lookUp' | 'peer' | 'tally'>;
  /** Fires when the node stops. */
  readonly stop: AbortSignal;
}

/** One node that was looked at, besides this one. */
interface Looked {
  readonly address: string;
  readonly peer: string;
  readonly look: Look;
  readonly link: PeerLink | undefined;
  readonly client: Pick<StoreClient, 'pages' | 'lookUp' | 'peer' | 'tally'> | undefined;
  readonly error: LacunaError | undefined;
  readonly durationMs: number;
}

/** Everything that one comparison of the fleet goes by. */
interface Survey {
  readonly window: Interval;
  readonly index: RangeIndex;
  readonly topics: TopicBook;
  readonly stop: AbortSignal;
  readonly stage: AuditProgress['stage'];
  /** Ids that are held of all nodes looked at so far. */
  held: number;
}

interface Surveyed {
  readonly nodes: readonly AuditedNode[];
  readonly looked: readonly Looked[];
  readonly comparison: Comparison;
  readonly messages: ListedMessage[] | undefined;
  readonly isListedWhole: boolean;
}

export class Auditor {
  readonly history: AuditHistory;
  readonly #init: AuditorInit;
  #running = 0;

  constructor(init: AuditorInit) {
    this.#init = init;
    this.history = new AuditHistory(init.records, init.log);
  }

  /**
   * Compares the nodes of the plan and this one.
   *
   * @throws LacunaError USAGE, PEER_ADDRESS_INVALID, SESSION_BUSY where as many run as may; SESSION_ABORTED, STORE_….
   */
  async run(plan: AuditPlan): Promise<AuditResult> {
    if (this.#running >= LIMITS.audits) throw new LacunaError('SESSION_BUSY', `${this.#running} audits run`);
    this.#running += 1;
    try {
      const result = await this.#run(plan);
      if (plan.watch) await this.history.add(result);
      return result;
    } finally {
      this.#running -= 1;
    }
  }

  async #run(plan: AuditPlan): Promise<AuditResult> {
    const { clock } = this.#init;
    const startedMs = clock.nowMs();
    const startedAt = clock.monotonicMs();
    const addresses = this.#addressesOf(plan);
    const window = this.#windowOf(plan, startedMs);
    const stop = plan.stop === undefined ? this.#init.stop : AbortSignal.any([this.#init.stop, plan.stop]);
    let surveyed = await this.#survey(plan, addresses, window, stop, 'comparing');
    let repaired: AuditResult['repair'];
    if (plan.repair && isRepairable(surveyed, plan.push)) {
      repaired = await this.#repair(plan, surveyed, stop);
      surveyed = await this.#survey(plan, addresses, window, stop, 'comparing again');
    }
    const { nodes, comparison, messages, isListedWhole } = surveyed;
    const differs = nodes.some(({ missing }) => missing > 0);
    return {
      ...window,
      startedMs,
      durationMs: Math.round(clock.monotonicMs() - startedAt),
      bucketNs: plan.bucketNs,
      nodes,
      rows: comparison.rows,
      existing: comparison.existing,
      differs,
      agree: !differs && nodes.every(({ error }) => error === undefined),
      messages,
      isListedWhole,
      repair: repaired,
    };
  }

  /** One for each node: who is named twice is asked once. */
  #addressesOf({ addresses }: AuditPlan): readonly string[] {
    const byPeer = new Map(addresses.map((address) => [this.#init.peerOf(address), address]));
    byPeer.delete(this.#init.ownPeer);
    if (byPeer.size === 0) throw new LacunaError('USAGE', 'an audit needs a node besides this one');
    if (byPeer.size > LIMITS.auditNodes) {
      throw new LacunaError('USAGE', `an audit compares ${LIMITS.auditNodes} nodes at most`);
    }
    return [...byPeer.values()];
  }

  /** What this store does not keep any more, it cannot hold others against. */
  #windowOf({ scope, sinceNs = 0n, untilNs }: AuditPlan, nowMs: number): Interval {
    const horizonNs = this.#init.store.horizonNs(scope);
    const window = {
      sinceNs: sinceNs < horizonNs ? horizonNs : sinceNs,
      untilNs: untilNs ?? BigInt(Math.floor(nowMs)) * 1_000_000n,
    };
    if (isEmpty(window))
      throw new LacunaError('USAGE', 'the window is empty, or older than what is kept here');
    return window;
  }

  async #survey(
    plan: AuditPlan,
    addresses: readonly string[],
    window: Interval,
    stop: AbortSignal,
    stage: AuditProgress['stage'],
  ): Promise<Surveyed> {
    const index = await this.#init.store.index(plan.scope, window.sinceNs, window.untilNs);
    const survey: Survey = { window, index, topics: new TopicBook(), stop, stage, held: 0 };
    const looked = await this.#lookAtAll(plan, addresses, survey);
    stop.throwIfAborted();
    const peers = [this.#init.ownPeer, ...looked.map(({ peer }) => peer)];
    const messages: ListedMessage[] = [];
    let isListedWhole = true;
    this.#init.missing.settle();
    const comparison = compareNodes({
      index,
      ownCovered: [window],
      isPruned: (id) => this.#init.store.knows(id) && !this.#init.store.has(id),
      nodes: looked.map(({ look }) => look.view),
      window,
      bucketNs: plan.bucketNs,
      lateSinceNs: BigInt(Math.floor(this.#init.clock.nowMs() - plan.lateMs)) * 1_000_000n,
      rowsMax: Math.min(LIMITS.auditRows, Math.floor(LIMITS.auditFigures / peers.length)),
      onDifference: (id, states) => {
        if (states[0] === LACKS) this.#init.missing.notice(id);
        if (!plan.list || !states.some((state) => state === LACKS || state === LATE)) return;
        if (messages.length >= LIMITS.auditListed) isListedWhole = false;
        else messages.push(listed(id, states, peers));
      },
    });
    if (plan.list) await this.#learnTopics(messages, looked, survey);
    return {
      nodes: this.#nodesOf(looked, comparison, window),
      looked,
      comparison,
      messages: plan.list
        ? messages.map((message) => ({ ...message, topics: survey.topics.of(message.id) }))
        : undefined,
      isListedWhole,
    };
  }

  async #lookAtAll(plan: AuditPlan, addresses: readonly string[], survey: Survey): Promise<Looked[]> {
    const looked: Looked[] = [];
    let next = 0;
    let done = 0;
    const { stage } = survey;
    const tell = (): void => plan.onProgress?.({ stage, done, nodes: addresses.length });
    const one = async (): Promise<void> => {
      for (let at = next++; at < addresses.length; at = next++) {
        looked[at] = await this.#lookAt(plan, addresses[at]!, survey);
        done += 1;
        tell();
      }
    };
    tell();
    await Promise.all(Array.from({ length: LIMITS.auditNodesAtOnce }, one));
    return looked;
  }

  async #lookAt({ scope }: AuditPlan, address: string, survey: Survey): Promise<Looked> {
    const { clock, connect, clientOf, peerOf, synchronise } = this.#init;
    const startedAt = clock.monotonicMs();
    const look: Look = { dialect: 'query', view: NOTHING_KNOWN, gaps: [], phantoms: 0, bytes: 0 };
    let link: PeerLink | undefined;
    let client: Looked['client'];
    let error: LacunaError | undefined;
    try {
      link = await connect(address, survey.stop);
      client = clientOf(link);
      const compare = (to: PeerLink, plan: SessionPlan, stop: AbortSignal): Promise<SessionResult> =>
        synchronise(to, plan, 'native', stop);
      await lookAt({ ...survey, link, client, compare, scope }, look);
    } catch (thrown) {
      error = toLacunaError(thrown);
    }
    const held = look.view.lacks.count + look.view.extra.count;
    if (survey.held + held > LIMITS.auditIds) {
      look.view = NOTHING_KNOWN;
      error = new LacunaError('SESSION_BUDGET', 'the nodes differ in more messages than an audit holds');
    } else survey.held += held;
    const durationMs = Math.round(clock.monotonicMs() - startedAt);
    return { address, peer: peerOf(address), look, link, client, error, durationMs };
  }

  #nodesOf(looked: readonly Looked[], { totals }: Comparison, window: Interval): AuditedNode[] {
    const own: AuditedNode = {
      ...totals[0]!,
      peer: this.#init.ownPeer,
      address: undefined,
      dialect: 'own',
      error: undefined,
      covered: [window],
      gaps: [],
      phantoms: 0,
      bytes: 0,
      durationMs: 0,
    };
    const others = looked.map(({ address, peer, look, link, error, durationMs }, at): AuditedNode => {
      const { gaps, phantoms, bytes, view } = look;
      const dialect = link === undefined ? undefined : look.dialect;
      const { covered } = view;
      return {
        ...totals[at + 1]!,
        peer,
        address,
        dialect,
        error,
        covered,
        gaps,
        phantoms,
        bytes,
        durationMs,
      };
    });
    return [own, ...others];
  }

  /** The own store knows those of what it has; of the rest a node that has it is asked, as far as it answers. */
  async #learnTopics(
    messages: readonly ListedMessage[],
    looked: readonly Looked[],
    { topics, stop }: Survey,
  ): Promise<void> {
    const view = new MessageView();
    const asked = new Map<string, Uint8Array[]>();
    let askedFor = 0;
    const { ownPeer, store, log } = this.#init;
    for (const { id, has } of messages) {
      const [first] = has;
      if (topics.of(id) !== undefined || first === undefined) continue;
      if (first === ownPeer) {
        for await (const encoded of store.read(SyncIdList.of(id)))
          topics.note(id, view.read(asBuffer(encoded)).topics());
      } else if (askedFor < LIMITS.auditTopicsAsked) {
        askedFor += 1;
        asked.set(first, [...(asked.get(first) ?? []), hashOf(id)]);
      }
    }
    for (const [peer, hashes] of asked) {
      const client = looked.find((node) => node.peer === peer)?.client;
      if (client === undefined) continue;
      try {
        for await (const page of client.lookUp(hashes, { includeData: true, stop })) {
          for (const message of page.messages) topics.note(message.id, message);
        }
      } catch (error) {
        // A Lacuna need not answer store queries; the message is named without its topics then.
        log.debug({ peer, code: toLacunaError(error).code }, 'topics of missing messages are not known');
      }
    }
  }

  async #repair(plan: AuditPlan, surveyed: Surveyed, stop: AbortSignal) {
    const { ingest, clock, synchronise } = this.#init;
    const partners: RepairPartner[] = surveyed.looked.flatMap(({ link, client, look, error }, at) =>
      link === undefined || client === undefined || error !== undefined
        ? []
        : [{ node: surveyed.nodes[at + 1]!, view: look.view, link, client }],
    );
    const before = surveyed.nodes.map(({ peer, missing }) => [peer, missing] as const);
    let done = 0;
    const tell = (): void =>
      plan.onProgress?.({ stage: 'repairing', done, nodes: partners.length * (plan.push ? 2 : 1) });
    tell();
    return await repair(
      {
        partners,
        scope: plan.scope,
        push: plan.push,
        ingest,
        synchronise,
        clock,
        stop,
        onDone: () => {
          done += 1;
          tell();
        },
      },
      Object.fromEntries(before),
    );
  }
}

/** Something is missing that may be moved. */
function isRepairable({ nodes, looked }: Surveyed, push: boolean): boolean {
  const isOwnLess = looked.some(({ look }) => look.view.extra.count > 0);
  return isOwnLess || (push && nodes.some(({ missing, late }) => missing + late > 0));
}

function listed(id: Uint32Array, states: Uint8Array, peers: readonly string[]): ListedMessage {
  const of = (state: number): string[] => peers.filter((_, at) => states[at] === state);
  return {
    id: id.slice(),
    topics: undefined,
    has: of(HAS),
    lacks: of(LACKS),
    late: of(LATE),
    unknown: of(UNKNOWN),
  };
}
