/** How often each limit has turned somebody away, by its name, for who watches the node. */

/** `sessions`, `queries` and `scopes` are what all may cause; `peer-…` what one peer may; `bans` counts those who were banned. */
export const LIMIT_NAMES = [
  'sessions',
  'peer-sessions',
  'peer-bytes',
  'peer-messages',
  'peer-requests',
  'queries',
  'peer-queries',
  'scopes',
  'peer-scopes',
  'connections',
  'bans',
] as const;

export type LimitName = (typeof LIMIT_NAMES)[number];

export class LimitCounts {
  readonly #hits = new Map<LimitName, number>(LIMIT_NAMES.map((name) => [name, 0]));

  hit(name: LimitName): void {
    this.#hits.set(name, this.#hits.get(name)! + 1);
  }

  /** Every limit, those that nobody has met too. */
  get all(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#hits);
  }
}
