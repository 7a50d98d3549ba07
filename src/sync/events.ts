/** What happens in a node, for whoever listens: the command that runs it, HTTP clients, metrics. */
import type { LacunaError } from '../errors.ts';
import type { ClosedGap, Gap } from './gap.ts';
import type { SessionResult } from './session.ts';

export type NodeEvent =
  | { readonly event: 'session'; readonly result: SessionResult; readonly error: LacunaError | undefined }
  | { readonly event: 'gap-opened'; readonly gap: Gap }
  | { readonly event: 'gap-closed'; readonly gap: ClosedGap }
  /** The store takes no writes; and takes them again. */
  | { readonly event: 'fault'; readonly error: LacunaError }
  | { readonly event: 'recovered' }
  | { readonly event: 'pruned'; readonly removed: number; readonly bytes: number }
  /** The clock of a peer differs from this one by more than is normal; positive: the peer's is ahead. */
  | { readonly event: 'skew'; readonly peer: string; readonly skewMs: number };

export type EventListener = (event: NodeEvent) => void;

export class NodeEvents {
  readonly #listeners = new Set<EventListener>();

  /** Returns what ends it. */
  subscribe(listener: EventListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  emit(event: NodeEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
