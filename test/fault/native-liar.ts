/** A peer that speaks the dialect of the Lacunas as far as it likes: it says hello, and from then on what a test wants. */
import type { Stream } from '@libp2p/interface';
import type { Answer, NativePayload, SketchAnswer } from '../../src/core/native/payload.ts';
import { boundAt, SyncIdList } from '../../src/core/sync-id.ts';
import type { HelloFrame, NativeFrame } from '../../src/wire/native-frame.ts';
import { decodeNativeFrame, encodeNativeFrame } from '../../src/wire/native-frames.ts';
import { ago } from '../e2e/message-lines.ts';
import { addressOf, FrameReader, frameOf, send, startPlainHost } from '../e2e/plain-host.ts';
import type { RunningNode } from '../e2e/process.ts';
import { type Attack, attack } from './hostile-peer.ts';

export const SYNC = '/lacuna/sync/1.0.0';
/** How long a liar waits for a word of the node. */
const ANSWER_MS = 10_000;

export function helloFrame(init: Partial<HelloFrame> = {}): HelloFrame {
  return {
    kind: 'hello',
    features: 0,
    gives: true,
    takes: true,
    audit: false,
    sinceNs: 0n,
    untilNs: ago(0),
    salt: new Uint8Array(16).fill(7),
    agreement: undefined,
    windowBytes: 2 ** 40,
    messagesMax: undefined,
    bytesMax: undefined,
    scope: { pubsubTopics: [], contentTopics: [] },
    clockMs: Date.now(),
    gaps: [],
    ...init,
  };
}

export function nativeBytes(frame: NativeFrame): Uint8Array {
  return frameOf(encodeNativeFrame(frame));
}

/** One stream of a session. */
export class NativeLiar {
  readonly stream: Stream;
  readonly #reader: FrameReader;

  constructor(stream: Stream) {
    this.stream = stream;
    this.#reader = new FrameReader(stream);
  }

  /** Opens a session as far as the hellos. */
  static async greet(peer: Attack, init: Partial<HelloFrame> = {}): Promise<NativeLiar> {
    const liar = await NativeLiar.open(peer);
    await liar.say(helloFrame(init));
    await liar.until('hello');
    return liar;
  }

  static async open({ connection }: Attack): Promise<NativeLiar> {
    return new NativeLiar(await connection.newStream(SYNC, { maxOutboundStreams: 1_000 }));
  }

  /** False when the node takes no more. */
  async say(...frames: readonly NativeFrame[]): Promise<boolean> {
    return await this.raw(Buffer.concat(frames.map(nativeBytes)));
  }

  async raw(bytes: Uint8Array): Promise<boolean> {
    return await send(this.stream, bytes);
  }

  /** undefined when the node has ended the session. */
  async next(timeoutMs = ANSWER_MS): Promise<NativeFrame | undefined> {
    const bytes = await this.#reader.read(timeoutMs);
    return bytes === undefined ? undefined : decodeNativeFrame(Uint8Array.from(bytes));
  }

  /** The next frame of this kind; undefined when the node ends the session before it says one. */
  async until<K extends NativeFrame['kind']>(
    kind: K,
  ): Promise<Extract<NativeFrame, { kind: K }> | undefined> {
    for (;;) {
      const frame = await this.next();
      if (frame === undefined) return undefined;
      if (isKind(frame, kind)) return frame;
    }
  }
}

function isKind<K extends NativeFrame['kind']>(
  frame: NativeFrame,
  kind: K,
): frame is Extract<NativeFrame, { kind: K }> {
  return frame.kind === kind;
}

/** A peer that nobody has seen before, and its hello. */
export async function liarAt(
  node: RunningNode,
  init: Partial<HelloFrame> = {},
): Promise<{ peer: Attack; liar: NativeLiar }> {
  const peer = await attack(node);
  return { peer, liar: await NativeLiar.greet(peer, init) };
}

/** The address of a peer that answers hellos with its own, and then does this. */
export async function liarThat(
  take: (liar: NativeLiar, theirs: HelloFrame) => Promise<void>,
): Promise<{ address: string; peerId: string }> {
  const host = await startPlainHost();
  await host.handle(SYNC, async (stream) => {
    const liar = new NativeLiar(stream);
    const theirs = await liar.until('hello');
    if (theirs === undefined) return;
    await liar.say(helloFrame({ sinceNs: theirs.sinceNs, untilNs: theirs.untilNs, scope: theirs.scope }));
    await take(liar, theirs);
  });
  return { address: addressOf(host), peerId: host.peerId.toString() };
}

export const NOTHING_SAID: NativePayload = {
  opening: undefined,
  answers: [],
  lists: [],
  wanted: [],
  sketchAnswers: [],
  extensions: [],
  sketches: [],
  found: 0,
  check: undefined,
  agreed: false,
};

/** Answers everything that a payload asks, and always so that there is more to be asked. */
export function contrary(theirs: NativePayload, seed: number): NativePayload {
  const cuts = [theirs.opening?.cut, ...theirs.answers.map(cutOf)];
  for (const answer of theirs.sketchAnswers) {
    if (answer.kind === 'undecoded') cuts.push(...answer.answers.map(cutOf));
  }
  const parts = cuts.reduce((sum, cut) => sum + (cut?.counts.length ?? 0), 0);
  const listed = [
    ...theirs.lists,
    ...theirs.answers.flatMap((answer) => (answer.kind === 'list' ? [answer.ids] : [])),
  ];
  const asked = theirs.answers.filter(({ kind }) => kind === 'ask').length;
  const sketches = theirs.sketches.map(({ ranges }): SketchAnswer => {
    return { kind: 'undecoded', answers: Array.from({ length: ranges }, (_, at) => differs(seed + at)) };
  });
  return {
    ...NOTHING_SAID,
    answers: Array.from({ length: parts }, (_, at) => differs(seed * 31 + at)),
    lists: Array.from({ length: asked }, () => new Uint32Array(0)),
    wanted: listed.map((ids) => new Uint8Array(Math.ceil(ids.length / 16))),
    sketchAnswers: sketches,
  };
}

function cutOf(answer: Answer): Extract<Answer, { kind: 'cut' }>['cut'] | undefined {
  return answer.kind === 'cut' ? answer.cut : undefined;
}

/** The part as a whole again, with as many ids as nobody has and a fingerprint of nothing. */
function differs(seed: number): Answer {
  const fingerprints = Uint32Array.of(Math.imul(seed + 1, 0x9e37_79b1));
  return { kind: 'cut', cut: { keyed: false, bounds: [], counts: [100_000 + seed], fingerprints } };
}

/** Ids in descending order that nobody has a message for, the newest an hour old. */
export function inventedIds(count: number, fromNs = ago(3_600_000)): SyncIdList {
  const ids = new SyncIdList(count);
  for (let row = 0; row < count; row++) {
    const id = boundAt(fromNs - BigInt(row));
    for (let word = 2; word < id.length; word++) id[word] = Math.imul(row + 1, 0x9e37_79b1 + word) >>> 0;
    ids.push(id, 0);
  }
  return ids;
}
