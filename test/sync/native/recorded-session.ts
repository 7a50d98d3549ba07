/** A small session between two stores, frame by frame: what spec/native-sync.md and its vectors show. */
import type { WakuMessage } from '../../../src/core/message.ts';
import { EVERYTHING } from '../../../src/core/scope.ts';
import type { FrameChannel, PeerLink } from '../../../src/ports.ts';
import type { SessionResult } from '../../../src/sync/session.ts';
import { messageOf, NOW_NS, stored } from '../../sample-messages.ts';
import { MemoryChannel } from '../memory-channel.ts';
import { Party } from '../party.ts';
import { VirtualClock } from '../virtual-clock.ts';

export const SINCE_NS = NOW_NS - 3_600_000_000_000n;
export const UNTIL_NS = NOW_NS;

export interface RecordedFrame {
  readonly from: 'initiator' | 'responder';
  readonly frame: Uint8Array;
}

/** The messages of the worked example, a minute apart. */
export const MESSAGES: readonly WakuMessage[] = ['one', 'two', 'three'].map((text, index) =>
  messageOf({
    pubsubTopic: '/waku/2/rs/16/32',
    contentTopic: '/app/1/chat/proto',
    payload: new TextEncoder().encode(text),
    timestamp: SINCE_NS + BigInt(index + 1) * 60_000_000_000n,
  }),
);

/** The initiator holds the first and the second message, the responder the first and the third. */
export async function recordSession(): Promise<{ frames: RecordedFrame[]; result: SessionResult }> {
  const clock = new VirtualClock();
  const [one, two, three] = stored(MESSAGES);
  const initiator = new Party('initiator', clock, { messages: [one!, two!], random: counting(0x00) });
  const responder = new Party('responder', clock, { messages: [one!, three!], random: counting(0x10) });
  const frames: RecordedFrame[] = [];
  const [here, there] = MemoryChannel.pair(clock);
  const record = (channel: FrameChannel, from: RecordedFrame['from']): FrameChannel => ({
    read: (timeoutMs) => channel.read(timeoutMs),
    readMany: (timeoutMs) => channel.readMany(timeoutMs),
    close: () => channel.close(),
    abort: (reason) => channel.abort(reason),
    write: async (written) => {
      frames.push(...written.map((frame) => ({ from, frame })));
      await channel.write(written);
    },
  });
  const link: PeerLink = {
    ...initiator.linkTo(responder),
    openSync: async () => {
      void responder.native.serve(responder.linkTo(initiator), record(there, 'responder'));
      return record(here, 'initiator');
    },
  };
  const plan = {
    scope: EVERYTHING,
    sinceNs: SINCE_NS,
    untilNs: UNTIL_NS,
    direction: 'both',
    dryRun: false,
  } as const;
  const result = await clock.run(initiator.native.synchronise(link, plan));
  await clock.runOut();
  return { frames, result };
}

/** Salts that count up from a byte, so that everybody makes the same. */
function counting(first: number): { below(below: number): number } {
  let next = first;
  return { below: (below) => next++ % below };
}
