/**
 * The names of topics that are known by their keys: each is read from the newest message of the topic, and remembered
 * as far as there is room. A key is a hash of the name, so that a name is never of another topic.
 */
import { LIMITS } from '../limits.ts';
import type { MessageView } from '../wire/waku-message.ts';
import type { Database } from './database.ts';
import { idOfKey, messageKey, type TopicKind, topicRange } from './keys.ts';
import { END, START } from './prune-sources.ts';
import { type TopicKey, topicKeyNamed } from './topic-counts.ts';

export interface TopicNamesInit {
  readonly database: Database;
  readonly topicKey: (topic: string) => TopicKey;
  readonly viewOf: (id: Uint32Array, encoded: Uint8Array) => MessageView | undefined;
}

const READ_TOGETHER = 64;

export class TopicNames {
  readonly #init: TopicNamesInit;
  readonly #names = new Map<string, string>();
  #length = 0;

  constructor(init: TopicNamesInit) {
    this.#init = init;
  }

  /** The names of these keys in their order; undefined for one whose message is not there, or damaged. */
  async of(kind: TopicKind, keys: readonly string[]): Promise<(string | undefined)[]> {
    const found = keys.map((key) => this.#names.get(key));
    const missing = keys.flatMap((key, at) => (found[at] === undefined ? [{ key, at }] : []));
    for (let from = 0; from < missing.length; from += READ_TOGETHER) {
      const some = missing.slice(from, from + READ_TOGETHER);
      const names = await this.#read(
        kind,
        some.map(({ key }) => key),
      );
      for (const [place, { at }] of some.entries()) found[at] = names[place];
    }
    return found;
  }

  async #read(kind: TopicKind, keys: readonly string[]): Promise<(string | undefined)[]> {
    const { database, topicKey, viewOf } = this.#init;
    const ids = await Promise.all(keys.map((key) => this.#newestOf(kind, key)));
    const messages = await database.getMany(ids.map((id) => messageKey(id ?? START)));
    return keys.map((key, at) => {
      const [id, encoded] = [ids[at], messages[at]];
      const topics = id === undefined || encoded === undefined ? undefined : viewOf(id, encoded)?.topics();
      const name = kind === 'pubsub' ? topics?.pubsubTopic : topics?.contentTopic;
      if (name === undefined || topicKey(name).name !== key) return undefined;
      this.#remember(key, name);
      return name;
    });
  }

  async #newestOf(kind: TopicKind, key: string): Promise<Uint32Array | undefined> {
    const entry = await this.#init.database.lastKey(topicRange(kind, topicKeyNamed(key).bytes, START, END));
    return entry === undefined ? undefined : idOfKey(entry);
  }

  #remember(key: string, name: string): void {
    if (this.#length + name.length > LIMITS.topicNamesLength) {
      this.#names.clear();
      this.#length = 0;
    }
    this.#names.set(key, name);
    this.#length += name.length;
  }
}
