/** Keeps the sidecar of an open store true: how many messages it ever held, and with that whether some were lost. */
import { toLacunaError } from '../errors.ts';
import type { Logger } from '../ports.ts';
import type { Database } from './database.ts';
import { type Sidecar, writeSidecar } from './sidecar.ts';

export interface SidecarKeeperInit {
  readonly directory: string;
  /** As it was read, or a new one. */
  readonly sidecar: Sidecar;
  readonly database: Database;
  readonly log: Logger;
  /** Messages that are here or were pruned: no fewer by itself. */
  readonly everHeld: () => number;
}

/** Stored since the sidecar was written, before it is written again. */
const MESSAGES_UNREMEMBERED_MAX = 10_000;

export class SidecarKeeper {
  readonly #init: SidecarKeeperInit;
  #sidecar: Sidecar;
  #writing: Promise<void> | undefined;

  constructor(init: SidecarKeeperInit) {
    this.#init = init;
    this.#sidecar = init.sidecar;
  }

  get storeId(): string {
    return this.#sidecar.storeId;
  }

  /** Messages that were here once and are not any more, as far as the sidecar remembers. */
  get lost(): number {
    return Math.max(0, this.#sidecar.count - this.#init.everHeld());
  }

  /** After a repair: what is lost is lost, and is not told again. */
  async acceptLoss(): Promise<void> {
    this.#sidecar = { ...this.#sidecar, count: this.#init.everHeld() };
    await this.write();
  }

  /** Writes the sidecar anew. */
  async write(): Promise<void> {
    await this.#writing;
    const { directory, database, everHeld } = this.#init;
    const count = Math.max(this.#sidecar.count, everHeld());
    this.#sidecar = { ...this.#sidecar, count, books: await database.books() };
    await writeSidecar(directory, this.#sidecar);
  }

  /** The same, beside other work, after many messages: what a killed store has lost is noticed by what it says. */
  noteAppended(): void {
    if (this.#init.everHeld() < this.#sidecar.count + MESSAGES_UNREMEMBERED_MAX) return;
    this.#writing ??= this.write()
      .catch((error: unknown) => {
        this.#init.log.warn({ error: toLacunaError(error).message }, 'the count could not be remembered');
      })
      .finally(() => {
        this.#writing = undefined;
      });
  }

  /** Resolves when nothing is being written. */
  async settled(): Promise<void> {
    await this.#writing;
  }
}
