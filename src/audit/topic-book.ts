/** The topics of messages that an audit has come across, as far as there is room for them. */
import { LIMITS } from '../limits.ts';

export interface Topics {
  readonly pubsubTopic: string;
  readonly contentTopic: string;
}

export class TopicBook {
  readonly #topics = new Map<string, Topics>();

  note(id: Uint32Array, { pubsubTopic, contentTopic }: Topics): void {
    if (this.#topics.size < LIMITS.auditListed) this.#topics.set(id.join(), { pubsubTopic, contentTopic });
  }

  of(id: Uint32Array): Topics | undefined {
    return this.#topics.get(id.join());
  }
}
