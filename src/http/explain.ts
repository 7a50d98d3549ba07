/** What is known of one message: what `GET /api/v1/explain` answers and the `explain` command prints. */
import { z } from 'zod';
import { timeOf } from '../core/sync-id.ts';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { MessageFacts } from '../ports.ts';
import { momentOf } from '../sync/gap-json.ts';
import type { MissingMessage } from '../sync/missing-book.ts';
import { readQuery } from './query.ts';
import type { ExplainedStore, ServedNode } from './served-node.ts';

const HASH = /^(?:0x)?([0-9a-f]{64})$/i;
const NS_PER_MS = 1_000_000n;

export const explanationSchema = z.object({
  messageHash: z.string(),
  /** `missing`: peers named it and did not bring it, or an audit found that others have it. */
  state: z.enum(['stored', 'quarantined', 'pruned', 'missing']),
  /** ns since 1970, as a decimal. */
  timestamp: z.string(),
  time: z.string(),
  pubsubTopic: z.string().nullable(),
  contentTopic: z.string().nullable(),
  bytes: z.number().nullable(),
  /** Damaged bytes of it are set aside. */
  damagedCopy: z.boolean(),
  arrival: z
    .object({
      at: z.string(),
      /** null where it is not known, as of messages that an earlier version stored. */
      path: z.enum(['import', 'http', 'session']).nullable(),
      dialect: z.enum(['native', 'waku', 'query']).nullable(),
      role: z.enum(['initiator', 'responder']).nullable(),
      peer: z.string().nullable(),
    })
    .nullable(),
  missing: z.object({ since: z.string(), askedPeers: z.array(z.string()) }).nullable(),
});
export type Explanation = z.infer<typeof explanationSchema>;

/** The hash in `0x…` or plain hexadecimal digits. @throws LacunaError USAGE. */
export function parseHash(text: string): Uint8Array {
  const digits = HASH.exec(text)?.[1];
  if (digits === undefined) throw new LacunaError('USAGE', 'a message hash is 64 hexadecimal digits');
  return new Uint8Array(Buffer.from(digits, 'hex'));
}

/** @throws LacunaError MESSAGE_UNKNOWN when nothing is known of it; SESSION_ABORTED; STORE_…. */
export async function explain(
  store: ExplainedStore,
  hash: Uint8Array,
  missing?: ServedNode['missing'],
  stop?: AbortSignal,
): Promise<Explanation> {
  const messageHash = `0x${Buffer.from(hash).toString('hex')}`;
  const facts = await store.facts(hash, stop);
  // What has come since it was missed is missed no more.
  const absent = facts?.state === 'stored' ? undefined : missing?.find(messageHash);
  if (facts === undefined && absent === undefined) {
    throw new LacunaError('MESSAGE_UNKNOWN', `nothing is known of ${messageHash}`);
  }
  const timestamp = facts === undefined ? absent!.timestamp : timeOf(facts.id);
  return {
    messageHash,
    state: facts?.state ?? 'missing',
    timestamp: String(timestamp),
    time: momentOf(Number(timestamp / NS_PER_MS)) ?? '',
    pubsubTopic: facts?.message?.pubsubTopic ?? null,
    contentTopic: facts?.message?.contentTopic ?? null,
    bytes: facts?.message?.bytes ?? null,
    damagedCopy: facts?.hasDamagedCopy ?? false,
    arrival: arrivalJson(facts?.arrival),
    missing: missingJson(absent),
  };
}

function arrivalJson(arrival: MessageFacts['arrival']): Explanation['arrival'] {
  if (arrival === undefined) return null;
  const { by } = arrival;
  const session = by?.path === 'session' ? by : undefined;
  return {
    at: new Date(arrival.atMs).toISOString(),
    path: by?.path ?? null,
    dialect: session?.dialect ?? null,
    role: session?.role ?? null,
    peer: session?.peer ?? null,
  };
}

function missingJson(absent: MissingMessage | undefined): Explanation['missing'] {
  if (absent === undefined) return null;
  return { since: new Date(absent.sinceMs).toISOString(), askedPeers: [...absent.askedPeers] };
}

const explainQuery = z.strictObject({ hash: z.string().max(66) });

/** What was pruned is found by looking at the ids of all that was: few look at the same time. */
export class ExplainService {
  readonly #node: Pick<ServedNode, 'store' | 'missing'>;
  #running = 0;

  constructor(node: Pick<ServedNode, 'store' | 'missing'>) {
    this.#node = node;
  }

  /** @throws LacunaError USAGE, MESSAGE_UNKNOWN, HTTP_BUSY, SESSION_ABORTED, STORE_…. */
  async answer(query: URLSearchParams, gone: AbortSignal): Promise<Explanation> {
    const hash = parseHash(readQuery(explainQuery, query).hash);
    if (this.#running >= LIMITS.httpExplanations)
      throw new LacunaError('HTTP_BUSY', `${this.#running} messages are being looked for`);
    this.#running += 1;
    try {
      return await explain(this.#node.store, hash, this.#node.missing, gone);
    } finally {
      this.#running -= 1;
    }
  }
}
