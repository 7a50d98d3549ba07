/**
 * Peers that speak the dialect of the Lacunas and mean ill: bytes that are no frames, frames out of place, offers that
 * are not kept, messages that nobody asked for, sessions without end and by the hundred. Each ends in a code, costs a
 * running node bounded memory and time, leads to a ban when it is repeated, and keeps no honest peer from its sync.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { boundAt, makeId, SyncIdList } from '../../src/core/sync-id.ts';
import { LacunaError } from '../../src/errors.ts';
import { LIMITS } from '../../src/limits.ts';
import { STRIKE_MALFORMED } from '../../src/sync/strikes.ts';
import type { NativeFrame } from '../../src/wire/native-frame.ts';
import { encodeMessageAndTopic } from '../../src/wire/waku-message.ts';
import { ago, hashOf, makeMessage, makeMessages } from '../e2e/message-lines.ts';
import { frameOf } from '../e2e/plain-host.ts';
import {
  ask,
  errorCode,
  type JsonObject,
  memoryOf,
  type RunningNode,
  sessionOf,
  startNode,
  temporaryFolder,
} from '../e2e/process.ts';
import {
  type Attack,
  attack,
  ENDLESS_PREFIX,
  endOf,
  HALF_FRAME,
  logged,
  noiseBytes,
  PREFIX_2_31,
  PREFIX_2_63,
  sessionWith,
} from './hostile-peer.ts';
import {
  contrary,
  helloFrame,
  inventedIds,
  liarAt,
  liarThat,
  NativeLiar,
  NOTHING_SAID,
  nativeBytes,
} from './native-liar.ts';
import { nodeUnderAttack } from './node-under-attack.ts';

const PING = '/ipfs/ping/1.0.0';
const MEMORY_MIB_MAX = 350;
const messages = makeMessages(400, ago(60_000), 5_000_000_000n, { payloadBytes: 500 });
const scene = nodeUnderAttack(messages, MEMORY_MIB_MAX);
/** What bytes that no honest peer sends weigh is a tenth of a ban. */
const LIES_UNTIL_BAN = LIMITS.strikesBeforeBan / STRIKE_MALFORMED;

const others: RunningNode[] = [];
afterEach(async () => {
  const memory = memoryOf(scene.node.process.pid);
  if (memory !== undefined) expect(memory.now).toBeLessThan(MEMORY_MIB_MAX);
  for (const { process } of others.splice(0)) {
    process.kill('SIGTERM');
    expect((await process.ended).code).toBe(0);
  }
});

/** A node with nothing, which serves the same cluster as the one under attack. */
async function emptyNode(): Promise<RunningNode> {
  const node = await startNode(await temporaryFolder(), ['--cluster-id', '16', '--log-level', 'debug']);
  others.push(node);
  return node;
}

/** Does it again and again until the node has banned the peer, which may be in the middle of it. */
async function repeatUntilBanned(
  { peerId }: Attack,
  node: RunningNode,
  once: (times: number) => Promise<void>,
): Promise<void> {
  let isOver = false;
  const banned = logged(node, peerId, 'PEER_BANNED').finally(() => {
    isOver = true;
  });
  banned.catch(() => undefined);
  // One more than it takes: what the node has not counted yet does no harm.
  for (let times = 0; times <= LIES_UNTIL_BAN && !isOver; times++) {
    // The connection is cut at the ban.
    await Promise.race([once(times).catch(() => undefined), banned]);
  }
  await expect.poll(() => isOver, { timeout: 3_000 }).toBe(true);
  await banned;
}

async function sessionsWith(peerId: string, count: number): Promise<JsonObject[]> {
  const { process } = scene.node;
  return await process.until(() => {
    const sessions = process.events.filter(({ event, peer }) => event === 'session' && peer === peerId);
    return sessions.length >= count ? sessions : undefined;
  });
}

describe('in place of a hello', () => {
  const millionTopics = Buffer.concat([
    // Up to the topics: kind, features, flags, window, salt, credit, caps.
    Uint8Array.of(0, 0, 3, 0, 0x7f),
    new Uint8Array(16),
    Uint8Array.of(1, 0, 0, 0xc0, 0x84, 0x3d),
    Buffer.concat(Array.from({ length: 1_000_000 }, () => Uint8Array.of(1, 0x61))),
  ]);
  const BYTES: readonly [name: string, bytes: Uint8Array, code: RegExp, closes: boolean][] = [
    ['a length prefix without end', ENDLESS_PREFIX, /^WIRE_LENGTH_PREFIX$/, false],
    ['a frame of 2^31 bytes', PREFIX_2_31, /^WIRE_FRAME_TOO_LARGE$/, false],
    ['a frame of 2^63 bytes', PREFIX_2_63, /^WIRE_(FRAME_TOO_LARGE|LENGTH_PREFIX)$/, false],
    [
      'a frame of a byte more than 8 MiB',
      Uint8Array.of(0x81, 0x80, 0x80, 0x04, 0),
      /^WIRE_FRAME_TOO_LARGE$/,
      false,
    ],
    ['half a frame, then the end', HALF_FRAME, /^WIRE_TRUNCATED$/, true],
    ['nothing, then the end', new Uint8Array(0), /^PEER_CLOSED$/, true],
    ['an empty frame', frameOf(new Uint8Array(0)), /^WIRE_TRUNCATED$/, false],
    ['noise', noiseBytes(20_000, 3), /^WIRE_/, true],
    ['noise in a frame', frameOf(noiseBytes(20_000, 5)), /^WIRE_/, false],
    ['a kind of frame that there is not', frameOf(Uint8Array.of(0x63, 1)), /^WIRE_TYPE$/, false],
    ['a hello with a million topics', frameOf(millionTopics), /^WIRE_/, false],
    ['a sign of life', nativeBytes({ kind: 'alive' }), /^WIRE_FIELD_INVALID$/, false],
  ];

  it.each(BYTES)('%s, from one that visits', async (_, bytes, code, closes) => {
    const peer = await attack(scene.node);
    const liar = await NativeLiar.open(peer);
    await liar.raw(bytes);
    if (closes) await liar.stream.close();
    expect((await sessionWith(scene.node, peer.peerId)).code).toMatch(code);
  });

  it('any of them, one after the other, leads to a ban', async () => {
    const malformed = BYTES.filter(([, , code]) => !code.test('PEER_CLOSED'));
    const peer = await attack(scene.node);
    await repeatUntilBanned(peer, scene.node, async (at) => {
      const [, bytes, , closes] = malformed[at % malformed.length]!;
      const liar = await NativeLiar.open(peer);
      await liar.raw(bytes);
      if (closes) await liar.stream.close();
      await endOf(liar.stream);
    });
    await expect.poll(() => peer.connection.status).not.toBe('open');
  });
});

describe('after a hello', () => {
  const result = { kind: 'result', capped: false, received: 0, known: 0, refused: 0, missing: 0 } as const;
  const incomplete = { kind: 'over', state: 'incomplete', have: 0 } as const;
  const future = SyncIdList.of(boundAt(ago(-48 * 3_600_000)));
  const LIES: readonly [name: string, frames: readonly NativeFrame[]][] = [
    ['another hello', [helloFrame()]],
    ['an acknowledgement of what was not sent', [{ kind: 'ack', batches: 3 }]],
    [
      'a wish for what was not offered',
      [{ kind: 'want', page: 0, first: 0, bits: Uint8Array.of(1), final: false }],
    ],
    ['a result before the end', [result]],
    ['an end twice', [incomplete, incomplete]],
    ['an agreement before anything was compared', [{ kind: 'over', state: 'agreed', have: 0 }]],
    ['a batch for wishes that nobody had', [{ kind: 'batch', wants: 1, messages: [] }]],
    ['a batch of nothing', [{ kind: 'batch', wants: 0, messages: [] }]],
    ['an offer of nothing', [{ kind: 'offer', ids: new SyncIdList(), last: false }]],
    ['an offer from beyond the window', [{ kind: 'offer', ids: future, last: false }]],
    [
      'two last offers',
      [
        { kind: 'offer', ids: new SyncIdList(), last: true },
        { kind: 'offer', ids: new SyncIdList(), last: true },
      ],
    ],
    [
      'an answer to what was not asked',
      [{ kind: 'payload', payload: { ...NOTHING_SAID, lists: [new Uint32Array(2)] } }],
    ],
  ];

  it.each(LIES)('%s ends the session, whoever opened it', async (_, frames) => {
    const { peer, liar } = await liarAt(scene.node);
    await liar.say(...frames);
    expect((await sessionWith(scene.node, peer.peerId)).code).toBe('WIRE_FIELD_INVALID');

    const { address } = await liarThat(async (host) => {
      await host.say(...frames);
    });
    expect(errorCode(await sessionOf(scene.node, address, { dialect: 'native' }))).toBe('WIRE_FIELD_INVALID');
  });

  it('any of them, one after the other, leads to a ban', async () => {
    const peer = await attack(scene.node);
    await repeatUntilBanned(peer, scene.node, async (at) => {
      const liar = await NativeLiar.greet(peer);
      await liar.say(...LIES[at % LIES.length]![1]);
      await endOf(liar.stream);
    });
    await expect.poll(() => peer.connection.status).not.toBe('open');
  });

  it('a batch over the limit ends the session, and in the end there is a ban', async () => {
    const message = encodeMessageAndTopic(makeMessage({ timestamp: ago(50_000), payloadBytes: 140_000 }));
    const length = [
      (message.length & 0x7f) | 0x80,
      ((message.length >> 7) & 0x7f) | 0x80,
      message.length >> 14,
    ];
    const one = Buffer.concat([Uint8Array.from(length), message]);
    const batch = frameOf(Buffer.concat([Uint8Array.of(5, 0), one, one, one, one]));
    const peer = await attack(scene.node);
    await repeatUntilBanned(peer, scene.node, async () => {
      const liar = await NativeLiar.greet(peer);
      await liar.raw(batch);
      await endOf(liar.stream);
    });
    const [first] = await sessionsWith(peer.peerId, 1);
    expect(errorCode(first!)).toBe('WIRE_LIMIT');
  });
});

describe('a reconciliation that never agrees', () => {
  it('ends within its payloads, and in the end there is a ban', async () => {
    const peer = await attack(scene.node);
    let most = 0;
    await repeatUntilBanned(peer, scene.node, async (times) => {
      const liar = await NativeLiar.greet(peer);
      for (let payloads = 1; ; payloads++) {
        const asked = await liar.until('payload');
        most = Math.max(most, payloads);
        if (asked === undefined) break;
        await liar.say({ kind: 'payload', payload: contrary(asked.payload, times * 100 + payloads) });
      }
      // Only so many streams may be open that the node has closed and the peer has not.
      await liar.stream.close();
    });
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(45);
    const [first] = await sessionsWith(peer.peerId, 1);
    expect(errorCode(first!)).toMatch(/^(SESSION_BUDGET|WIRE_FIELD_INVALID)$/);
  });

  it('because it begins anew with every payload ends, too', async () => {
    const peer = await attack(scene.node);
    await repeatUntilBanned(peer, scene.node, async () => {
      const liar = await NativeLiar.greet(peer);
      const opening = (await liar.until('payload'))?.payload.opening;
      if (opening === undefined) return;
      const cut = { keyed: true, bounds: [], counts: [9_000], fingerprints: Uint32Array.of(5) };
      const payload = { ...NOTHING_SAID, opening: { ...opening, strict: true, cut } };
      do await liar.say({ kind: 'payload', payload });
      while ((await liar.until('payload')) !== undefined);
      await liar.stream.close();
    });
    const [first] = await sessionsWith(peer.peerId, 1);
    expect(errorCode(first!)).toBe('SESSION_BUDGET');
  });
});

describe('messages that nobody asked for', () => {
  it('are refused one by one, and 200 of them are enough for a ban', async () => {
    const unasked = makeMessages(250, ago(90_000), 1_000_000n, { seed: 'unasked' }).map(
      encodeMessageAndTopic,
    );
    const { peer, liar } = await liarAt(scene.node);
    for (const message of unasked) await liar.say({ kind: 'batch', wants: 0, messages: [message] });
    await logged(scene.node, peer.peerId, 'PEER_BANNED');
    const { code, received, refusals } = await sessionWith(scene.node, peer.peerId);
    expect({ code, received }).toEqual({ code: 'PEER_CLOSED', received: 0 });
    const { TRANSFER_NOT_ASKED: times } = refusals as Record<string, number>;
    expect(times).toBeGreaterThanOrEqual(LIMITS.strikesBeforeBan);
  });

  it('50 MB of them at once, past all credit, are cut off and cost no memory', async () => {
    const message = encodeMessageAndTopic(makeMessage({ timestamp: ago(50_000), payloadBytes: 150_000 }));
    const batch = nativeBytes({ kind: 'batch', wants: 0, messages: [message, message, message] });
    const { peer, liar } = await liarAt(scene.node);
    let sent = 0;
    while (sent < 50_000_000 && (await liar.raw(batch))) sent += batch.length;
    const { code, received } = await sessionWith(scene.node, peer.peerId);
    expect(code).toMatch(/^(TRANSFER_OVER_CREDIT|PEER_CLOSED)$/);
    expect(received).toBe(0);
    expect(await scene.servesHonestPeer()).toBe(true);
  });

  it('that are no messages are refused, and weigh as much as any other malformed bytes', async () => {
    const { peer, liar } = await liarAt(scene.node);
    for (let seed = 0; seed <= LIES_UNTIL_BAN; seed++) {
      await liar.say({ kind: 'batch', wants: 0, messages: [noiseBytes(300, seed)] });
    }
    await logged(scene.node, peer.peerId, 'PEER_BANNED');
  });
});

describe('offers', () => {
  const real = messages.map((message) =>
    makeId(message.timestamp, Buffer.from(hashOf(message).slice(2), 'hex')),
  );
  const realIds = SyncIdList.of(...real.reverse());

  it('by more than may be open end the session, and in the end there is a ban', async () => {
    const peer = await attack(scene.node);
    const pages = Array.from({ length: 20 }, (_, page): NativeFrame => {
      const ids = inventedIds(LIMITS.nativeOfferIds, ago(3_600_000) - BigInt(page * LIMITS.nativeOfferIds));
      return { kind: 'offer', ids, last: false };
    });
    await repeatUntilBanned(peer, scene.node, async () => {
      const liar = await NativeLiar.greet(peer);
      await liar.say(...pages);
      await endOf(liar.stream);
    });
    const [first] = await sessionsWith(peer.peerId, 1);
    expect(errorCode(first!)).toBe('TRANSFER_OVER_CREDIT');
  });

  it('that are answered with nothing lead to a ban; who brings them is served meanwhile', async () => {
    const node = await emptyNode();
    const { peer, liar } = await liarAt(node);
    await liar.say({ kind: 'offer', ids: realIds.slice(0, LIMITS.nativeFirstWants), last: false });
    expect(await liar.until('want')).toBeDefined();
    // Now these are asked of nobody else.
    const honest = sessionOf(node, scene.node.address, { dialect: 'native' });
    await expect
      .poll(async () => Number((await ask(node, '/api/v1/status')).json['messages']))
      .toBe(messages.length - LIMITS.nativeFirstWants);
    await liar.say({ kind: 'batch', wants: 1, messages: [] });
    expect(await honest).toMatchObject({ received: messages.length, missing: 0, verified: true });

    await liar.say({ kind: 'offer', ids: inventedIds(LIMITS.nativeOfferIds), last: false });
    for (let wants = 2; (await liar.until('want')) !== undefined; wants++) {
      if (!(await liar.say({ kind: 'batch', wants, messages: [] }))) break;
    }
    await logged(node, peer.peerId, 'PEER_BANNED');
    const session = await sessionWith(node, peer.peerId);
    expect(session).toMatchObject({ code: 'PEER_CLOSED', received: 0, verified: false });
  });

  it('of other ids than of the messages that then come are not kept', async () => {
    const node = await emptyNode();
    const { peer, liar } = await liarAt(node);
    await liar.say({ kind: 'offer', ids: inventedIds(300), last: false });
    const others = makeMessages(300, ago(90_000), 1_000_000n, { seed: 'others' }).map(encodeMessageAndTopic);
    for (const message of others) await liar.say({ kind: 'batch', wants: 0, messages: [message] });
    await logged(node, peer.peerId, 'PEER_BANNED');
    expect((await ask(node, '/api/v1/status')).json).toMatchObject({ messages: 0, writable: true });
  });
});

describe('sessions by the hundred', () => {
  it('from one peer are turned away beyond a few, with a time to come back', async () => {
    const peer = await attack(scene.node);
    const opened = await Promise.all(
      Array.from({ length: 200 }, async () => {
        try {
          const liar = await NativeLiar.open(peer);
          await liar.say(helloFrame());
          return liar;
        } catch {
          return undefined;
        }
      }),
    );
    const { json } = await ask(scene.node, '/api/v1/status');
    expect(json['sessionsRunning']).toBeLessThanOrEqual(LIMITS.sessionsPerPeer);
    expect(await scene.servesHonestPeer()).toBe(true);
    const isOpen = (liar: NativeLiar | undefined): boolean => liar?.stream.status === 'open';
    await expect.poll(() => opened.filter(isOpen).length).toBeLessThanOrEqual(LIMITS.streamsPerProtocol);
    const busy = await sessionWith(scene.node, peer.peerId, (session) => errorCode(session) !== undefined);
    expect(busy.code).toBe('SESSION_BUSY');
  });

  it('from many peers leave a place for an honest one after a while; till then it is told to come back', async () => {
    const peers = await Promise.all(Array.from({ length: 10 }, () => attack(scene.node)));
    // More than a few streams that come before libp2p has made the connection would end it.
    for (const { connection } of peers) (await connection.newStream(PING)).abort(new Error('it is there'));
    // Sessions of the tests before hold their places until they were silent for long enough.
    const before = Number((await ask(scene.node, '/api/v1/status')).json['sessionsRunning']);
    const liars = (
      await Promise.all(
        peers.flatMap((peer) =>
          Array.from({ length: 20 }, () => NativeLiar.open(peer).catch(() => undefined)),
        ),
      )
    ).filter((liar) => liar !== undefined);
    expect(liars.length).toBeGreaterThan(LIMITS.sessions);
    const answers = await Promise.all(
      liars.map(async (liar) => {
        try {
          await liar.say(helloFrame());
          return await liar.next(10_000);
        } catch {
          return undefined;
        }
      }),
    );
    const greeted = answers.filter((frame) => frame?.kind === 'hello');
    const refused = answers.filter((frame) => frame?.kind === 'refuse');
    const { json } = await ask(scene.node, '/api/v1/status');
    expect(json['sessionsRunning']).toBeLessThanOrEqual(LIMITS.sessions);
    expect(greeted.length).toBeGreaterThanOrEqual(LIMITS.sessions - before);
    expect(refused.length).toBeGreaterThan(0);
    for (const frame of refused) {
      expect(frame).toMatchObject({ reason: 'busy', retryAfterMs: LIMITS.nativeRetryMs });
    }
    const codes = new Set<string>();
    await expect
      .poll(
        () => scene.servesHonestPeer('native').catch((error: unknown) => codes.add(codeOf(error)) && false),
        {
          timeout: 10_000,
          interval: 200,
        },
      )
      .toBe(true);
    expect([...codes].filter((code) => code !== 'PEER_BUSY')).toEqual([]);
  });

  it('signs of life by the hundred lead to a ban', async () => {
    const { peer, liar } = await liarAt(scene.node);
    const many = Buffer.concat(Array.from({ length: 1_000 }, () => nativeBytes({ kind: 'alive' })));
    for (let times = 0; times < 100 && (await liar.raw(many)); times++);
    await logged(scene.node, peer.peerId, 'PEER_BANNED');
    expect((await sessionWith(scene.node, peer.peerId)).code).toBe('PEER_CLOSED');
  });
});

function codeOf(error: unknown): string {
  return error instanceof LacunaError ? error.code : String(error);
}
