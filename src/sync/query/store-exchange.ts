/**
 * One question to a store node and its answer: a fresh stream, the request, a half-close, one frame back. What may pass
 * by itself (a limit of the peer, a stream that broke) is tried again after a pause; everything else is a coded error.
 */
import { type ErrorCode, LacunaError, toLacunaError } from '../../errors.ts';
import { LIMITS } from '../../limits.ts';
import type { Clock, FrameChannel, PeerLink, Random } from '../../ports.ts';
import { lebLength } from '../../wire/bytes.ts';
import {
  decodeStoreQueryResponse,
  encodeStoreQueryRequest,
  type StoreQueryRequest,
  type StoreQueryResponse,
} from '../../wire/waku-store-query.ts';
import { within } from '../session-runner.ts';
import type { RequestPace } from './request-pace.ts';

const SUCCESS = 200;
const TOO_MANY_REQUESTS = 429;
const SERVICE_UNAVAILABLE = 503;

/** What may be otherwise in a moment. `SESSION_BUSY`: more has arrived on all streams than is held. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  'QUERY_RATE_LIMITED',
  'PEER_CLOSED',
  'PEER_TIMEOUT',
  'PEER_FAULT',
  'SESSION_BUSY',
]);
const REASON_LENGTH = 200;
const REQUEST_ID_WORDS = 4;

/** What the questions to one peer have cost. */
export interface QueryTally {
  /** Requests sent, those that were sent again too; and how many of them were answered with a 429. */
  requests: number;
  retries: number;
  rateLimited: number;
  /** Frames with their lengths. */
  bytesSent: number;
  bytesReceived: number;
  /** Messages that were given and not taken, by reason. */
  readonly dropped: Partial<Record<ErrorCode, number>>;
}

export interface StoreExchangeInit {
  readonly link: Pick<PeerLink, 'peer' | 'openStoreQuery'>;
  readonly clock: Clock;
  readonly random: Random;
  /** Of all who ask this peer. */
  readonly pace: RequestPace;
}

export class StoreExchange {
  readonly tally: QueryTally = {
    requests: 0,
    retries: 0,
    rateLimited: 0,
    bytesSent: 0,
    bytesReceived: 0,
    dropped: {},
  };
  readonly #init: StoreExchangeInit;

  constructor(init: StoreExchangeInit) {
    this.#init = init;
  }

  /**
   * The answer, whose status is 200. Its byte fields are views of one frame.
   *
   * @throws LacunaError QUERY_REFUSED; QUERY_RATE_LIMITED with `retryAfterMs`; PEER_PROTOCOL, PEER_CLOSED, PEER_TIMEOUT,
   * PEER_FAULT; WIRE_… for an answer that is none; SESSION_ABORTED or the reason of `stop`.
   */
  async ask(request: Omit<StoreQueryRequest, 'requestId'>, stop: AbortSignal): Promise<StoreQueryResponse> {
    const { clock, random } = this.#init;
    for (let tries = 1; ; tries++) {
      const outcome = await this.#once(request, stop);
      if (!(outcome instanceof LacunaError)) return outcome;
      stop.throwIfAborted();
      if (outcome.code === 'QUERY_RATE_LIMITED') this.tally.rateLimited += 1;
      // Half of the pause by chance, so that those who were refused together do not come back together.
      const longestMs = Math.min(LIMITS.queryBackOffMaxMs, LIMITS.queryBackOffMs * 2 ** (tries - 1));
      const pauseMs = longestMs / 2 + random.below(longestMs / 2);
      if (tries >= LIMITS.queryTries || !PASSING.has(outcome.code)) throw givenUp(outcome, pauseMs);
      this.tally.retries += 1;
      await clock.sleep(pauseMs, stop);
    }
  }

  async #once(
    request: Omit<StoreQueryRequest, 'requestId'>,
    stop: AbortSignal,
  ): Promise<StoreQueryResponse | LacunaError> {
    const { link, pace } = this.#init;
    const frame = encodeStoreQueryRequest({ ...request, requestId: this.#requestId() });
    await pace.turn(link.peer, stop);
    try {
      const response = decodeStoreQueryResponse(await this.#exchange(frame, stop));
      return response.statusCode === SUCCESS ? response : refusalOf(response);
    } catch (error) {
      return toLacunaError(error, 'PEER_CLOSED');
    }
  }

  async #exchange(frame: Uint8Array, stop: AbortSignal): Promise<Uint8Array> {
    const { tally } = this;
    const channel = await this.#open(stop);
    try {
      tally.requests += 1;
      tally.bytesSent += frame.length + lebLength(frame.length);
      await within(channel.write([frame]), stop);
      await within(channel.close(), stop);
      const answer = await within(wholeFrame(channel), stop);
      if (answer === undefined) throw new LacunaError('PEER_CLOSED', 'the peer closed without an answer');
      tally.bytesReceived += answer.length + lebLength(answer.length);
      void leave(channel);
      return answer;
    } catch (error) {
      channel.abort(new Error(toLacunaError(error).code));
      throw error;
    }
  }

  async #open(stop: AbortSignal): Promise<FrameChannel> {
    const opening = this.#init.link.openStoreQuery();
    try {
      return await within(opening, stop);
    } catch (error) {
      // A stream that opens for nobody must not stay.
      opening.then(
        (channel) => channel.abort(new Error('SESSION_ABORTED')),
        () => undefined,
      );
      throw error;
    }
  }

  #requestId(): string {
    const { random } = this.#init;
    const word = (): string =>
      random
        .below(2 ** 32)
        .toString(16)
        .padStart(8, '0');
    return Array.from({ length: REQUEST_ID_WORDS }, word).join('');
  }
}

/** A stream that ends within a frame has broken; what is in a whole frame is the peer's own doing. */
async function wholeFrame(channel: FrameChannel): Promise<Uint8Array | undefined> {
  try {
    return await channel.read(LIMITS.queryReadMs);
  } catch (error) {
    if (toLacunaError(error).code !== 'WIRE_TRUNCATED') throw error;
    throw new LacunaError('PEER_CLOSED', 'the stream ends within the answer', { cause: error });
  }
}

/** The peer closes its side behind its answer; one that does not, or that says more, is not waited for. */
async function leave(channel: FrameChannel): Promise<void> {
  const more = await channel.read(LIMITS.queryLingerMs).catch(() => 'silence');
  if (more !== undefined) channel.abort(new Error('the answer has come'));
}

function refusalOf({ statusCode, statusDesc }: StoreQueryResponse): LacunaError {
  const reason = `status ${statusCode}${statusDesc === '' ? '' : `, ${printable(statusDesc)}`}`;
  if (statusCode === TOO_MANY_REQUESTS) return new LacunaError('QUERY_RATE_LIMITED', reason);
  if (statusCode === SERVICE_UNAVAILABLE) return new LacunaError('PEER_FAULT', reason);
  return new LacunaError('QUERY_REFUSED', reason);
}

/** A text of the peer ends up in logs and on terminals. */
function printable(text: string): string {
  return text.slice(0, REASON_LENGTH).replace(/[^\x20-\x7e]/g, '?');
}

function givenUp(error: LacunaError, retryAfterMs: number): LacunaError {
  if (error.code !== 'QUERY_RATE_LIMITED') return error;
  return new LacunaError(error.code, error.message, { cause: error, retryAfterMs: Math.ceil(retryAfterMs) });
}
