/** A store node that answers queries and does nothing else, as naively as it can: a list that is filtered and cut. */
import { messageHash, type WakuMessage } from '../../src/core/message.ts';
import { LacunaError } from '../../src/errors.ts';
import type { FrameChannel, PeerLink } from '../../src/ports.ts';
import { systemSha256 } from '../../src/system.ts';
import {
  decodeStoreQueryRequest,
  encodeStoreQueryResponse,
  type StoreQueryRequest,
} from '../../src/wire/waku-store-query.ts';
import { MemoryChannel } from '../sync/memory-channel.ts';
import type { VirtualClock } from '../sync/virtual-clock.ts';

export class PlainStoreNode {
  readonly name: string;
  readonly messages: WakuMessage[];
  /** Hashes that it lists and has no message for. */
  readonly phantoms = new Set<string>();
  readonly #clock: VirtualClock;

  constructor(name: string, clock: VirtualClock, messages: readonly WakuMessage[]) {
    this.name = name;
    this.messages = [...messages].sort((a, b) => (a.timestamp < b.timestamp ? -1 : 1));
    this.#clock = clock;
  }

  get link(): PeerLink {
    const refuse = async (): Promise<FrameChannel> => {
      throw new LacunaError('PEER_PROTOCOL', 'it answers queries and nothing else');
    };
    return {
      peer: this.name,
      isLacuna: false,
      reconciles: false,
      openSync: refuse,
      openReconciliation: refuse,
      openTransfer: refuse,
      openStoreQuery: async () => {
        const [here, there] = MemoryChannel.pair(this.#clock);
        void this.#serve(there);
        return here;
      },
    };
  }

  async #serve(channel: FrameChannel): Promise<void> {
    const frame = await channel.read(1_000);
    await channel.write([encodeStoreQueryResponse(this.#answer(decodeStoreQueryRequest(frame!)))]);
    await channel.close();
  }

  /** The end of a window is a part of it, as nwaku has it. */
  #answer(request: StoreQueryRequest): Parameters<typeof encodeStoreQueryResponse>[0] {
    const { requestId, includeData, timeStartNs = 0n, timeEndNs = 2n ** 63n, messageHashes } = request;
    const isByHash = messageHashes.length > 0;
    const asked = new Set(messageHashes.map(textOf));
    const rows = this.messages
      .map((message) => ({ messageHash: messageHash(message, systemSha256), message }))
      .filter(({ messageHash: hash, message }) =>
        isByHash
          ? asked.has(textOf(hash)) && !this.phantoms.has(textOf(hash))
          : message.timestamp >= timeStartNs && message.timestamp <= timeEndNs,
      );
    if (!request.paginationForward) rows.reverse();
    const cursor = request.paginationCursor === undefined ? undefined : textOf(request.paginationCursor);
    const from = cursor === undefined ? 0 : rows.findIndex((row) => textOf(row.messageHash) === cursor) + 1;
    const page = rows.slice(from, from + (request.paginationLimit ?? 20));
    const isLast = from + page.length >= rows.length;
    const last = page.at(-1)?.messageHash;
    return {
      requestId,
      statusCode: 200,
      statusDesc: 'OK',
      messages: (request.paginationForward ? page : page.reverse()).map((row) => ({
        messageHash: row.messageHash,
        message: includeData ? row.message : undefined,
      })),
      paginationCursor: isLast ? undefined : last,
    };
  }
}

function textOf(hash: Uint8Array): string {
  return Buffer.from(hash).toString('hex');
}
