/** An event of a node as `start --json` prints it and `GET /api/v1/events` sends it. */
import type { LacunaError } from '../errors.ts';
import type { NodeEvent, NodeEvents } from '../sync/events.ts';
import { closedGapJson, gapJson } from '../sync/gap-json.ts';
import { sessionJson } from '../sync/session-json.ts';
import type { StreamEvent, Subscribe } from './event-streams.ts';

export function eventJson(event: NodeEvent): Record<string, unknown> {
  switch (event.event) {
    case 'session':
      return { event: event.event, ...sessionJson(event.result), ...failureOf(event.error) };
    case 'gap-opened':
      return { event: event.event, ...gapJson(event.gap) };
    case 'gap-closed':
      return { event: event.event, ...closedGapJson(event.gap) };
    case 'fault':
      return { event: event.event, ...failureOf(event.error) };
    default:
      return { ...event };
  }
}

export function failureOf(error: LacunaError | undefined): { error?: { code: string; message: string } } {
  return error === undefined ? {} : { error: { code: error.code, message: error.message } };
}

/** The events of a node, each numbered and put into JSON once, however many listen. */
export function eventFeed(events: NodeEvents, startedMs: number): Subscribe {
  const listeners = new Set<(event: StreamEvent) => void>();
  let number = 0;
  events.subscribe((event) => {
    number += 1;
    if (listeners.size === 0) return;
    // The start of the node is part of the id: numbers begin anew with it.
    const id = `${startedMs}-${number}`;
    const told = { id, event: event.event, data: JSON.stringify(eventJson(event)) };
    for (const listener of listeners) listener(told);
  });
  return (send) => {
    listeners.add(send);
    return () => listeners.delete(send);
  };
}
