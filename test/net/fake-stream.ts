/** A libp2p stream that does what the test says, in the order it says: for what real streams do once in a while. */
import {
  type Stream,
  StreamAbortEvent,
  StreamCloseEvent,
  StreamMessageEvent,
  StreamResetError,
  StreamResetEvent,
  TypedEventEmitter,
} from '@libp2p/interface';

interface Events {
  message: StreamMessageEvent;
  end: Event;
  drain: Event;
  close: StreamCloseEvent;
}

export class FakeStream extends TypedEventEmitter<Events> {
  status: Stream['status'] = 'open';
  readStatus: Stream['readStatus'] = 'readable';
  writeStatus: Stream['writeStatus'] = 'writable';
  readableEnded = false;
  readBufferLength = 0;
  writableNeedsDrain = false;
  /** What was sent, and what `send` says to it. */
  sent: Uint8Array[] = [];
  takesMore = true;
  pauses = 0;
  #held: Uint8Array[] = [];

  /** As the type that channels take. */
  get stream(): Stream {
    return this as unknown as Stream;
  }

  send(bytes: Uint8Array): boolean {
    if (this.writeStatus !== 'writable') throw new Error('closed');
    this.sent.push(bytes);
    this.writableNeedsDrain = !this.takesMore;
    return this.takesMore;
  }

  drain(): void {
    this.writableNeedsDrain = false;
    this.dispatchEvent(new Event('drain'));
  }

  async close(): Promise<void> {
    this.writeStatus = 'closed';
  }

  abort(error: Error): void {
    this.#over('aborted');
    this.dispatchEvent(new StreamAbortEvent(error));
  }

  pause(): void {
    this.pauses += 1;
    this.readStatus = 'paused';
  }

  resume(): void {
    this.readStatus = 'readable';
    for (const bytes of this.#held.splice(0)) {
      this.readBufferLength -= bytes.length;
      this.dispatchEvent(new StreamMessageEvent(bytes));
    }
  }

  /** Bytes from the peer; held while paused. */
  arrive(bytes: Uint8Array): void {
    if (this.readStatus !== 'paused') {
      this.dispatchEvent(new StreamMessageEvent(bytes));
      return;
    }
    this.#held.push(bytes);
    this.readBufferLength += bytes.length;
  }

  /** The peer has closed its side, and all was delivered. */
  end(): void {
    this.readableEnded = true;
    this.dispatchEvent(new Event('end'));
  }

  /** Both sides are closed. */
  finish(): void {
    this.#over('closed');
    this.dispatchEvent(new StreamCloseEvent());
  }

  reset(): void {
    this.#over('reset');
    this.dispatchEvent(new StreamResetEvent(new StreamResetError('reset')));
  }

  #over(status: Stream['status']): void {
    this.status = status;
    this.writeStatus = 'closed';
    if (this.#held.length === 0) this.readStatus = 'closed';
  }
}
