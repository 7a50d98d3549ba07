/** Publishes messages to nodes over HTTP, one a request over connections that are kept, and tells how long each took. */
import { randomBytes } from 'node:crypto';
import { Agent, request } from 'node:http';
import type { BenchNode } from './node-process.ts';

const PUBSUB_TOPIC = '/waku/2/rs/16/32';

/** What became of one request, in ms on the monotonic clock. */
export interface Published {
  /** When it should have gone out. */
  readonly dueMs: number;
  readonly sentMs: number;
  readonly answeredMs: number;
  /** Undefined when it was stored; else the code or the HTTP status. */
  readonly refused: string | undefined;
}

export class Publisher {
  readonly #agent: Agent;
  readonly #node: BenchNode;

  /** `atATime`: requests that are under way together, at most; others wait for their turn. */
  constructor(node: BenchNode, atATime: number) {
    this.#node = node;
    this.#agent = new Agent({ keepAlive: true, maxSockets: atATime });
  }

  async publish(line: string, dueMs = performance.now()): Promise<Published> {
    let sentMs = dueMs;
    const { status, text } = await new Promise<{ status: number; text: string }>((resolve, reject) => {
      const sent = request(`${this.#node.http}/store/v1/messages`, {
        method: 'POST',
        agent: this.#agent,
        headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(line) },
      });
      sent.once('socket', () => {
        sentMs = performance.now();
      });
      sent.once('error', reject);
      sent.once('response', (answer) => {
        const parts: Buffer[] = [];
        answer.on('data', (part: Buffer) => parts.push(part));
        answer.once('error', reject);
        answer.once('end', () =>
          resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(parts).toString('utf8') }),
        );
      });
      sent.end(line);
    });
    return { dueMs, sentMs, answeredMs: performance.now(), refused: refusalOf(status, text) };
  }

  end(): void {
    this.#agent.destroy();
  }
}

/** A message of now. */
export function messageLine(payloadBytes: number, contentTopic: string, timeMs: number): string {
  // Publishers do not share their milliseconds.
  const timestamp = BigInt(timeMs) * 1_000_000n + BigInt(randomBytes(4).readUInt32LE() % 1_000_000);
  return JSON.stringify({
    message: {
      payload: randomBytes(payloadBytes).toString('base64'),
      contentTopic,
      version: 0,
      timestamp: String(timestamp),
      ephemeral: false,
    },
    pubsubTopic: PUBSUB_TOPIC,
  });
}

/** Calls `send` so many times a second until it is stopped, and makes up for ticks that came late. */
export class Metronome {
  readonly #timer: NodeJS.Timeout;
  #sent = 0;

  constructor(perSecond: number, send: (dueMs: number, timeMs: number) => void) {
    const startMs = performance.now();
    const startTimeMs = Date.now();
    this.#timer = setInterval(() => {
      for (;;) {
        const afterMs = (this.#sent * 1_000) / perSecond;
        if (startMs + afterMs > performance.now()) return;
        this.#sent += 1;
        send(startMs + afterMs, Math.floor(startTimeMs + afterMs));
      }
    }, 2);
  }

  get sent(): number {
    return this.#sent;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

function refusalOf(status: number, text: string): string | undefined {
  if (status !== 200) return `HTTP ${status} ${text.slice(0, 200)}`;
  const { refused, refusals } = JSON.parse(text) as { refused: number; refusals: object };
  return refused === 0 ? undefined : `refused: ${JSON.stringify(refusals)}`;
}
