/**
 * What has moved, in bytes: by protocol, direction and class of pubsub topic. A class is a topic that the operator has
 * named; all others share one, so that peers cannot make classes. What frames hold besides messages is overhead.
 */
import { pubsubTopicOf } from '../wire/waku-message.ts';

const OTHER = 'other';
const OVERHEAD = 'overhead';

export interface TrafficRow {
  readonly protocol: string;
  readonly direction: 'in' | 'out';
  /** A pubsub topic, `other`, or `overhead`. */
  readonly topicClass: string;
  readonly bytes: number;
}

export class Traffic {
  readonly #classOf: (message: Uint8Array) => string;
  readonly #protocols = new Map<string, ProtocolTraffic>();

  /** `covered` are the only topics that this node takes, if there are any; `named` are others to tell apart. */
  constructor(covered: readonly string[] = [], named: readonly string[] = []) {
    const classes = new Set([...covered, ...named]);
    const [only = OTHER] = classes;
    // With one class or none there is nothing to look for in a message.
    const isOne = classes.size === covered.length && classes.size <= 1;
    this.#classOf = isOne ? () => only : (message) => classIn(classes, message);
  }

  /** The counts of one protocol, for those who move its bytes. */
  of(protocol: string): ProtocolTraffic {
    const known = this.#protocols.get(protocol);
    if (known !== undefined) return known;
    const traffic = new ProtocolTraffic(this.#classOf);
    this.#protocols.set(protocol, traffic);
    return traffic;
  }

  /** All that was counted; nothing is told of what has not moved. */
  rows(): TrafficRow[] {
    const rows = [...this.#protocols].flatMap(([protocol, traffic]) =>
      traffic.rows().map((row) => ({ protocol, ...row })),
    );
    return rows.filter(({ bytes }) => bytes > 0);
  }
}

/** One protocol's share. */
export class ProtocolTraffic {
  readonly #classOf: (message: Uint8Array) => string;
  readonly #in = new Flow();
  readonly #out = new Flow();

  constructor(classOf: (message: Uint8Array) => string) {
    this.#classOf = classOf;
  }

  /** Bytes that have arrived on a stream, and that were handed to one: frames with their lengths. */
  received(bytes: number): void {
    this.#in.bytes += bytes;
  }

  sent(bytes: number): void {
    this.#out.bytes += bytes;
  }

  /** Messages among them, as they stand in their frames. */
  messagesReceived(messages: readonly Uint8Array[]): void {
    this.#in.add(messages, this.#classOf);
  }

  messagesSent(messages: readonly Uint8Array[]): void {
    this.#out.add(messages, this.#classOf);
  }

  rows(): Omit<TrafficRow, 'protocol'>[] {
    return [...this.#in.rows('in'), ...this.#out.rows('out')];
  }
}

class Flow {
  bytes = 0;
  readonly #classes = new Map<string, number>();

  add(messages: readonly Uint8Array[], classOf: (message: Uint8Array) => string): void {
    for (const message of messages) {
      const topicClass = classOf(message);
      this.#classes.set(topicClass, (this.#classes.get(topicClass) ?? 0) + message.length);
    }
  }

  rows(direction: 'in' | 'out'): Omit<TrafficRow, 'protocol'>[] {
    let overhead = this.bytes;
    for (const bytes of this.#classes.values()) overhead -= bytes;
    // Messages are counted before they are handed to the stream: for a moment there may be more of them than bytes.
    const rest = { direction, topicClass: OVERHEAD, bytes: Math.max(0, overhead) };
    return [rest, ...[...this.#classes].map(([topicClass, bytes]) => ({ direction, topicClass, bytes }))];
  }
}

function classIn(classes: ReadonlySet<string>, message: Uint8Array): string {
  const topic = pubsubTopicOf(message);
  return topic !== undefined && classes.has(topic) ? topic : OTHER;
}
