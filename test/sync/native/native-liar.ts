/**
 * A peer that speaks the frames of a native session as a test tells it to: it says hello properly, can reconcile
 * properly over whatever it claims to hold, and beyond that does what no honest peer does.
 */
import { DigestTree } from '../../../src/core/digest-tree.ts';
import type { KeyedSums } from '../../../src/core/keyed-sums.ts';
import { NativeReconciler } from '../../../src/core/native/reconciler.ts';
import { EVERYTHING } from '../../../src/core/scope.ts';
import { boundAt, compareIds, SyncIdList } from '../../../src/core/sync-id.ts';
import { LacunaError, toLacunaError } from '../../../src/errors.ts';
import { LIMITS } from '../../../src/limits.ts';
import type { FrameChannel, PeerLink, StoredMessage } from '../../../src/ports.ts';
import { Agreements } from '../../../src/sync/native/agreements.ts';
import { helloOf, type OwnTerms, replyTo } from '../../../src/sync/native/greeting.ts';
import type { Role, SessionPlan } from '../../../src/sync/session.ts';
import { systemRandom, systemSha256 } from '../../../src/system.ts';
import type { HelloFrame, NativeFrame, WantFrame } from '../../../src/wire/native-frame.ts';
import { decodeNativeFrame, encodeNativeFrame } from '../../../src/wire/native-frames.ts';
import { endedIn } from '../../ended-in.ts';
import { MemoryRecords } from '../../memory-store.ts';
import { MemoryChannel } from '../memory-channel.ts';
import { HOUR, type Party } from '../party.ts';
import type { VirtualClock } from '../virtual-clock.ts';

export const LIAR = 'liar';
const LONG_MS = 10 * LIMITS.nativeSessionMs;

type Kind = NativeFrame['kind'];
type FrameOf<K extends Kind> = Extract<NativeFrame, { kind: K }>;

/** What it says of itself. */
const STATE = { clockMs: 0, agreement: undefined, gapsWithin: () => [] };

export class NativeLiar {
  readonly role: Role;
  readonly clock: VirtualClock;
  readonly channel: MemoryChannel;
  /** What both said, once they have. */
  hello!: HelloFrame;
  keyed!: KeyedSums;
  readonly #agreements: Agreements;
  #inbox: NativeFrame[] = [];

  constructor(role: Role, { clock, log }: Party, channel: MemoryChannel) {
    this.role = role;
    this.clock = clock;
    this.channel = channel;
    this.#agreements = new Agreements({ records: new MemoryRecords(), sha256: systemSha256, clock, log });
  }

  async say(...frames: NativeFrame[]): Promise<void> {
    await this.sayBytes(...frames.map(encodeNativeFrame));
  }

  async sayBytes(...frames: Uint8Array[]): Promise<void> {
    await this.channel.write(frames);
  }

  /** The next frame of one of these kinds; those of others wait until they are asked for. */
  async hear<K extends Kind>(...kinds: K[]): Promise<FrameOf<K>> {
    const isMeant = (frame: NativeFrame): frame is FrameOf<K> => kinds.some((kind) => kind === frame.kind);
    for (;;) {
      const at = this.#inbox.findIndex(isMeant);
      if (at >= 0) return this.#inbox.splice(at, 1)[0] as FrameOf<K>;
      const bytes = await this.channel.read(LONG_MS);
      if (bytes === undefined) throw new LacunaError('PEER_CLOSED', 'it has hung up');
      this.#inbox.push(decodeNativeFrame(bytes));
    }
  }

  /** Kinds of frames that have come and were not asked for. */
  get unread(): Kind[] {
    return [
      ...this.#inbox.map(({ kind }) => kind),
      ...this.channel.unread.map((bytes) => decodeNativeFrame(bytes).kind),
    ];
  }

  /** As an honest one would, but for these fields. */
  async greet(changes: Partial<HelloFrame> = {}): Promise<void> {
    if (this.role === 'responder') {
      const hello = await this.hear('hello');
      const kept: OwnTerms['kept'] = (scope, window) => [{ ...window, scope }];
      const own = { ...STATE, scope: EVERYTHING, untilNs: hello.untilNs, takes: true, kept };
      const reply = { ...replyTo(hello, own, systemRandom), ...changes };
      await this.say(reply);
      this.hello = reply;
      this.keyed = this.#agreements.keyOf(hello.salt, reply.salt);
    } else {
      const hello = { ...helloOf(HOUR, STATE, systemRandom), ...changes };
      await this.say(hello);
      this.hello = await this.hear('hello');
      this.keyed = this.#agreements.keyOf(hello.salt, this.hello.salt);
    }
  }

  /** Reconciles as one who holds these, to the end on both sides; returns what it said that the other lacks. */
  async reconcile(claims: readonly StoredMessage[]): Promise<number> {
    const reconciler = new NativeReconciler({
      index: DigestTree.from(SyncIdList.of(...claims.map(({ id }) => id)).toAscending()),
      lower: boundAt(this.hello.sinceNs),
      upper: boundAt(this.hello.untilNs),
      keyed: this.keyed,
    });
    let isOver = false;
    if (this.role === 'responder') await this.say({ kind: 'payload', payload: reconciler.open() });
    for (;;) {
      const frame = await this.hear('payload', 'over');
      const isTheirOver = frame.kind === 'over';
      if (!isTheirOver) {
        const { reply } = reconciler.step(frame.payload);
        if (reply !== undefined) await this.say({ kind: 'payload', payload: reply });
      }
      if (!isOver && (isTheirOver || reconciler.state === 'agreed')) {
        isOver = true;
        await this.say({ kind: 'over', state: 'agreed', have: reconciler.haveCount });
      }
      if (isTheirOver) return reconciler.haveCount;
    }
  }

  /** Reconciles as one who holds these, and offers `offered` in one go. */
  async claim(held: readonly StoredMessage[], offered: readonly StoredMessage[]): Promise<void> {
    await this.reconcile([...held, ...offered]);
    await this.say({ kind: 'offer', ids: descending(offered), last: true });
  }

  /** The messages that a want is for. */
  wanted({ page, first, bits }: WantFrame, offered: readonly StoredMessage[]): StoredMessage[] {
    if (page !== 0) throw new Error('one page was offered');
    const newestFirst = offered.toSorted((x, y) => compareIds(y.id, 0, x.id, 0));
    return newestFirst.filter(
      (_, row) => row >= first && ((bits[(row - first) >>> 3] ?? 0) & (1 << ((row - first) & 7))) !== 0,
    );
  }
}

/** At most 1,024 of them. */
export function descending(messages: readonly StoredMessage[]): SyncIdList {
  return SyncIdList.of(...messages.map(({ id }) => id).sort((x, y) => compareIds(y, 0, x, 0)));
}

export type Act = (liar: NativeLiar) => Promise<void>;

export interface Meeting {
  /** What the victim's session ended in; undefined when it ended well. */
  readonly code: string | undefined;
  readonly liar: NativeLiar | undefined;
}

/** The victim opens a session with the liar, or serves it. A ban hangs up, as the node does. */
export async function meet(
  victim: Party,
  roleOfLiar: Role,
  act: Act,
  plan: Partial<SessionPlan> = {},
): Promise<Meeting> {
  let liar: NativeLiar | undefined;
  let defect: unknown;
  const start = (): FrameChannel => {
    const [here, there] = MemoryChannel.pair(victim.clock);
    liar = new NativeLiar(roleOfLiar, victim, there);
    victim.strikes.onBan = (peer) => {
      if (peer === LIAR) there.abort(new Error('banned'));
    };
    act(liar).catch((error: unknown) => {
      // It was hung up on, in whatever it was doing.
      if (!(error instanceof LacunaError)) defect = error;
    });
    return here;
  };
  const link: PeerLink = { ...victim.linkTo(victim), peer: LIAR, openSync: async () => start() };
  let code: string | undefined;
  if (roleOfLiar === 'responder') {
    code = await endedIn(victim.native.synchronise(link, { ...HOUR, ...plan }));
  } else {
    await victim.native.serve(link, start());
    const last = victim.ended.findLast(({ result }) => result.peer === LIAR);
    code = last?.error === undefined ? undefined : toLacunaError(last.error).code;
  }
  if (defect !== undefined) throw defect;
  return { code, liar };
}
