/** The sessions that run and those that ended last, for whoever wants to see how they went. */

import { LIMITS } from '../limits.ts';
import type { NodeEvents } from '../sync/events.ts';
import { momentOf } from '../sync/gap-json.ts';
import type { RunningSession } from '../sync/session.ts';
import { sessionJson } from '../sync/session-json.ts';
import { failureOf } from './event-json.ts';

export class RecentSessions {
  readonly #ended: Record<string, unknown>[] = [];

  constructor(events: NodeEvents, nowMs: () => number) {
    events.subscribe((event) => {
      if (event.event !== 'session') return;
      const { result, error } = event;
      this.#ended.unshift({ endedAt: momentOf(nowMs()), ...sessionJson(result), ...failureOf(error) });
      if (this.#ended.length > LIMITS.sessionsShown) this.#ended.pop();
    });
  }

  json(running: readonly RunningSession[]): object {
    return { running: running.map((session) => sessionJson(session.result())), ended: this.#ended };
  }
}
