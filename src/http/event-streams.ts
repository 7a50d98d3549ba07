/**
 * Server-sent events: answers that do not end. So many at one time, and none of them keeps more than its share in
 * memory: who reads slower than things happen is cut off, and may come back.
 */
import type { ServerResponse } from 'node:http';
import { LacunaError } from '../errors.ts';
import { LIMITS } from '../limits.ts';
import type { Logger } from '../ports.ts';

export interface StreamEvent {
  readonly id: string;
  readonly event: string;
  /** One line of text. */
  readonly data: string;
}

/** Begins to send; returns what ends it. */
export type Subscribe = (send: (event: StreamEvent) => void) => () => void;

export class EventStreams {
  readonly #log: Logger;
  #open = 0;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** @throws LacunaError HTTP_BUSY. */
  open(response: ServerResponse, subscribe: Subscribe): void {
    if (this.#open >= LIMITS.httpEventStreams) {
      throw new LacunaError('HTTP_BUSY', `${this.#open} event streams are open`);
    }
    this.#open += 1;
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    const write = (text: string): void => {
      if (response.destroyed) return;
      if (response.writableLength + text.length <= LIMITS.httpEventBytes) {
        response.write(text);
        return;
      }
      this.#log.warn({ code: 'HTTP_BUSY' }, 'a listener does not keep up with the events: cut off');
      response.destroy();
    };
    // The answer begins at once, whenever the first event comes.
    write(': open\n\n');
    const heartbeat = setInterval(() => write(': alive\n\n'), LIMITS.httpHeartbeatMs);
    const unsubscribe = subscribe(({ id, event, data }) =>
      write(`id: ${id}\nevent: ${event}\ndata: ${data}\n\n`),
    );
    response.once('close', () => {
      clearInterval(heartbeat);
      unsubscribe();
      this.#open -= 1;
    });
  }
}
