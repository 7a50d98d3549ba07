/** Links between two parties on which every frame of a native session is seen as it is written, and as it is read. */
import type { FrameChannel, PeerLink, StoredMessage } from '../../../src/ports.ts';
import { Examiner } from '../../../src/sync/ingest.ts';
import type { SessionPlan, SessionResult } from '../../../src/sync/session.ts';
import { systemSha256 } from '../../../src/system.ts';
import { lebLength } from '../../../src/wire/bytes.ts';
import type { NativeFrame } from '../../../src/wire/native-frame.ts';
import { decodeNativeFrame } from '../../../src/wire/native-frames.ts';
import { decodeMessageAndTopic } from '../../../src/wire/waku-message.ts';
import { hexOf } from '../../sample-messages.ts';
import { MemoryChannel } from '../memory-channel.ts';
import { HOUR, type Party } from '../party.ts';

export interface Seen {
  /** The party that wrote or read it. */
  readonly by: string;
  readonly did: 'wrote' | 'read';
  readonly atMs: number;
  readonly frame: NativeFrame;
  /** What it takes on the wire, prefix included. */
  readonly bytes: number;
}

type FrameOf<K extends NativeFrame['kind']> = Extract<NativeFrame, { kind: K }>;

export class Wiretap {
  readonly seen: Seen[] = [];
  /** The ends of every stream, with that of who opened it first. */
  readonly streams: [MemoryChannel, MemoryChannel][] = [];
  /** Called with everything that is seen. */
  onSeen: (seen: Seen) => void = () => undefined;
  /** Whether what a party writes arrives. */
  passes: (by: string, frame: NativeFrame) => boolean = () => true;
  /** Parties whose ends stay open whatever they do: they hang. */
  readonly stuck = new Set<string>();
  readonly #serving = new Set<Promise<void>>();

  link(from: Party, to: Party): PeerLink {
    return {
      ...from.linkTo(to),
      openSync: async () => {
        const ends = MemoryChannel.pair(from.clock);
        this.streams.push(ends);
        const served = to.native
          .serve(to.linkTo(from), this.#tapped(ends[1], to))
          .finally(() => this.#serving.delete(served));
        this.#serving.add(served);
        return this.#tapped(ends[0], from);
      },
    };
  }

  /** Resolves when nobody serves anybody any more. */
  async allServed(): Promise<void> {
    while (this.#serving.size > 0) await Promise.all(this.#serving);
  }

  /** Frames of a kind that a party wrote, in order. */
  written<K extends NativeFrame['kind']>(kind: K, by?: string): FrameOf<K>[] {
    return this.seen
      .filter((seen) => seen.did === 'wrote' && (by === undefined || seen.by === by))
      .map(({ frame }) => frame)
      .filter((frame): frame is FrameOf<K> => frame.kind === kind);
  }

  /** The bytes that a party wrote. */
  weight(by: string): number {
    return this.seen
      .filter((seen) => seen.did === 'wrote' && seen.by === by)
      .reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** The messages that were written by a party, or by all, in order, as hashes. */
  messages(by?: string): string[] {
    return this.written('batch', by).flatMap(({ messages }) => messages.map(hashOfEncoded));
  }

  #tapped(channel: MemoryChannel, { name, clock }: Party): FrameChannel {
    const see = (did: Seen['did'], bytes: Uint8Array): void => {
      const length = bytes.length + lebLength(bytes.length);
      const seen = {
        by: name,
        did,
        atMs: clock.monotonicMs(),
        frame: decodeNativeFrame(bytes),
        bytes: length,
      };
      this.seen.push(seen);
      this.onSeen(seen);
    };
    return {
      read: async (timeoutMs) => {
        const bytes = await channel.read(timeoutMs);
        if (bytes !== undefined) see('read', bytes);
        return bytes;
      },
      readMany: async (timeoutMs) => {
        const frames = await channel.readMany(timeoutMs);
        for (const bytes of frames ?? []) see('read', bytes);
        return frames;
      },
      write: async (frames) => {
        const passing = frames.filter((bytes) => this.passes(name, decodeNativeFrame(bytes)));
        const writing = passing.length > 0 ? channel.write(passing) : undefined;
        for (const bytes of frames) see('wrote', bytes);
        await writing;
      },
      close: async () => {
        if (!this.stuck.has(name)) await channel.close();
      },
      abort: (reason) => {
        if (!this.stuck.has(name)) channel.abort(reason);
      },
    };
  }
}

/** A session between two parties on a tapped stream, until both have reported it. */
export async function tappedSession(
  from: Party,
  to: Party,
  plan: Partial<SessionPlan> = {},
  tap: Wiretap = new Wiretap(),
): Promise<{ tap: Wiretap; result: SessionResult }> {
  const session = from.native.synchronise(tap.link(from, to), { ...HOUR, ...plan });
  try {
    return { tap, result: await from.clock.run(session) };
  } finally {
    await from.clock.run(tap.allServed());
  }
}

export function weightOf(messages: readonly Uint8Array[]): number {
  return messages.reduce((sum, { length }) => sum + length, 0);
}

const examiner = new Examiner(
  { nowMs: () => Number.MAX_SAFE_INTEGER, monotonicMs: () => 0, sleep: () => Promise.resolve() },
  systemSha256,
);

/** The message, whatever its time is. */
export function storedAs(encoded: Uint8Array): StoredMessage {
  const admission = examiner.examine(decodeMessageAndTopic(encoded), 0);
  if ('refused' in admission) throw new Error(`no message: ${admission.refused}`);
  return admission.stored;
}

function hashOfEncoded(encoded: Uint8Array): string {
  return hexOf(storedAs(encoded));
}
