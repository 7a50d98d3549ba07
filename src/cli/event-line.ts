/** What happens in a node, in one line for a person. */
import type { NodeEvent } from '../sync/events.ts';
import type { Gap } from '../sync/gap.ts';
import { CAUSES, lengthInWords } from './gaps.ts';
import { bytes, count, duration, shortPeer } from './output.ts';

const NS_PER_MS = 1_000_000n;

export function eventLine(event: NodeEvent, nowMs: number): string {
  return `${new Date(nowMs).toISOString().slice(11, 19)}  ${textOf(event)}`;
}

function textOf(event: NodeEvent): string {
  switch (event.event) {
    case 'session': {
      const { role, peer, received, sent, missing, verified } = event.result;
      const verdict = event.error?.code ?? (verified ? 'verified equal' : 'not verified');
      const figures = `${count(received)} received, ${count(sent)} sent, ${count(missing)} missing`;
      return `session with ${shortPeer(peer)} (${role}): ${figures}, ${verdict}`;
    }
    case 'gap-opened':
      return `gap of ${lengthOf(event.gap)}: ${CAUSES[event.gap.cause]}`;
    case 'gap-closed': {
      const witnesses = event.gap.verifiedWith.map(shortPeer).join(', ');
      const how = witnesses === '' ? 'nothing of that time is kept' : `verified with ${witnesses}`;
      return `gap of ${lengthOf(event.gap)} closed: ${how}`;
    }
    case 'fault':
      return `the store takes no writes: ${event.error.code}: ${event.error.message}`;
    case 'recovered':
      return 'the store takes writes again';
    case 'pruned':
      return `pruned ${count(event.removed)} messages, ${bytes(event.bytes)}`;
    case 'skew': {
      const direction = event.skewMs > 0 ? 'ahead of' : 'behind';
      return `the clock of ${shortPeer(event.peer)} is ${duration(Math.abs(event.skewMs))} ${direction} this one`;
    }
  }
}

function lengthOf({ sinceNs, untilNs }: Gap): string {
  return lengthInWords(Number(sinceNs / NS_PER_MS), Number(untilNs / NS_PER_MS));
}
