/** What a peer may do that no peer should: bytes, payloads and habits for attacks on a running node. */
import type { Connection, Libp2p, Stream } from '@libp2p/interface';
import type { Claim } from '../../src/core/range.ts';
import { boundAt, SyncIdList } from '../../src/core/sync-id.ts';
import { encodeRanges } from '../../src/wire/waku-ranges.ts';
import { ago } from '../e2e/message-lines.ts';
import { dial, FrameReader, frameOf, send, startPlainHost } from '../e2e/plain-host.ts';
import { errorCode, type JsonObject, type RunningNode } from '../e2e/process.ts';
import { RECONCILIATION } from '../e2e/stock-nwaku-peer.ts';

/** A byte with no end to the number it begins. */
export const ENDLESS_PREFIX = new Uint8Array(64).fill(0x80);
export const PREFIX_2_31 = Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x08, 1, 2, 3);
export const PREFIX_2_63 = Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 1, 2, 3);
/** Announces 1,000 bytes and brings 10. */
export const HALF_FRAME = Uint8Array.of(0xe8, 0x07, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10);

/** Bytes that look random and are the same in every run. */
export function noiseBytes(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = (seed * 2_654_435_761 + 1) >>> 0;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

/** One range over the last hour whose fingerprint nobody can have. */
export function differing(seed: number): Uint8Array {
  const fingerprint = new Uint32Array(8).map((_, word) => (word + 1) * (seed + 7));
  return encodeRanges({
    pubsubTopics: [],
    contentTopics: [],
    claims: [{ kind: 'fingerprint', ...hour(), fingerprint }],
  });
}

/** One item set of the last hour with so many ids that nobody has a message for. */
export function inventedItems(count: number): Uint8Array {
  const items = new SyncIdList(count);
  const first = ago(1_800_000);
  for (let row = 0; row < count; row++) {
    const id = boundAt(first + BigInt(row));
    for (let word = 2; word < id.length; word++) id[word] = Math.imul(row + 1, 0x9e37_79b1 + word) >>> 0;
    items.push(id, 0);
  }
  const claim: Claim = { kind: 'items', ...hour(), items, reconciled: false };
  return encodeRanges({ pubsubTopics: [], contentTopics: [], claims: [claim] });
}

/** Asks for everything of the last hour: an item set with nothing in it. */
export function wantsEverything(): Uint8Array {
  const claim: Claim = { kind: 'items', ...hour(), items: new SyncIdList(), reconciled: true };
  return encodeRanges({ pubsubTopics: [], contentTopics: [], claims: [claim] });
}

function hour(): { lower: Uint32Array; upper: Uint32Array } {
  return { lower: boundAt(ago(3_600_000)), upper: boundAt(ago(20_000)) };
}

export interface Attack {
  readonly host: Libp2p;
  readonly peerId: string;
  readonly connection: Connection;
}

let attackers = 0;

/** A peer that nobody has seen before, at an address of its own, connected to the node. */
export async function attack(
  node: RunningNode,
  init: Parameters<typeof startPlainHost>[0] = {},
): Promise<Attack> {
  attackers += 1;
  const host = await startPlainHost({
    localAddress: `127.0.${1 + (attackers >> 7)}.${1 + (attackers & 127)}`,
    ...init,
  });
  return { host, peerId: host.peerId.toString(), connection: await dial(host, node.address) };
}

export async function openStream({ connection }: Attack, protocol: string): Promise<Stream> {
  const stream = await connection.newStream(protocol, { maxOutboundStreams: 1_000 });
  // Nobody reads what the node says, and nobody minds that it resets.
  stream.addEventListener('message', () => undefined);
  return stream;
}

/** Answers every payload with "it differs", for as long as it is asked. */
export async function disagree(stream: Stream): Promise<void> {
  const reader = new FrameReader(stream);
  for (let round = 0; ; round++) {
    if ((await reader.read()) === undefined) return;
    if (!(await send(stream, frameOf(differing(round))))) return;
  }
}

/** Opens a session and says "it differs" until the node has had enough. Returns how often it was answered. */
export async function disagreeFirst(opening: Attack): Promise<number> {
  const stream = await opening.connection.newStream(RECONCILIATION);
  const reader = new FrameReader(stream);
  for (let answers = 0; ; answers++) {
    await send(stream, frameOf(differing(answers)));
    if ((await reader.read()) === undefined) return answers;
  }
}

/** Resolves when the stream is closed or was reset, with how it ended. */
export async function endOf(stream: Stream, timeoutMs = 10_000): Promise<string> {
  for (const deadline = Date.now() + timeoutMs; stream.status === 'open'; ) {
    if (Date.now() > deadline) throw new Error('the stream is still open');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return stream.status;
}

/** The session that the node had with this peer, when it is over; by default the first one. */
export async function sessionWith(
  node: RunningNode,
  peerId: string,
  fits: (session: JsonObject) => boolean = () => true,
  timeoutMs = 20_000,
): Promise<JsonObject & { code: string | undefined }> {
  const event = await node.process.event(
    (session) => session['event'] === 'session' && session['peer'] === peerId && fits(session),
    timeoutMs,
  );
  return { ...event, code: errorCode(event) };
}

/** A log line of the node about this peer with this code. */
export async function logged(node: RunningNode, peerId: string, code: string): Promise<JsonObject> {
  return await node.process.until(() =>
    node.process.logs.find((line) => line['peer'] === peerId && line['code'] === code),
  );
}
