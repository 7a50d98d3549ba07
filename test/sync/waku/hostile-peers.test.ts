/** What a session makes of a peer that breaks the protocol, never ends, or says nothing: a code, within bounds. */

import { describe, expect, it } from 'vitest';
import type { Claim } from '../../../src/core/range.ts';
import { boundAt } from '../../../src/core/sync-id.ts';
import type { ErrorCode } from '../../../src/errors.ts';
import { LIMITS } from '../../../src/limits.ts';
import type { FrameChannel, PeerLink } from '../../../src/ports.ts';
import { STRIKE_MALFORMED } from '../../../src/sync/strikes.ts';
import { ByteWriter } from '../../../src/wire/bytes.ts';
import { decodeRanges, encodeRanges } from '../../../src/wire/waku-ranges.ts';
import { endedIn } from '../../ended-in.ts';
import { NOW_NS, samples } from '../../sample-messages.ts';
import { MemoryChannel } from '../memory-channel.ts';
import { HOUR, hashes, Party, WAKU_ONLY } from '../party.ts';
import { VirtualClock } from '../virtual-clock.ts';

const messages = samples(300, { untilNs: NOW_NS - 1_000_000_000n });
const LONG_MS = 10 * LIMITS.sessionMs;

function victim(): Party {
  return new Party('victim', new VirtualClock(), { messages });
}

/** A peer that does this with every channel that is opened to it. */
function peerThat(party: Party, act: (channel: FrameChannel) => Promise<void>): PeerLink {
  const open = async (): Promise<FrameChannel> => {
    const [here, there] = MemoryChannel.pair(party.clock);
    act(there).catch(() => undefined);
    return here;
  };
  return { peer: 'peer', isLacuna: true, ...WAKU_ONLY, openReconciliation: open, openTransfer: open };
}

/** The victim opens a session with the peer. */
async function opened(party: Party, act: (channel: FrameChannel) => Promise<void>) {
  return await endedIn(party.clock.run(party.synchroniser.synchronise(peerThat(party, act), HOUR)));
}

/** The peer opens a session with the victim. */
async function served(party: Party, act: (channel: FrameChannel) => Promise<void>) {
  const [here, there] = MemoryChannel.pair(party.clock);
  act(there).catch(() => undefined);
  await party.clock.run(party.synchroniser.serve(peerThat(party, act), here));
  return party.lastError;
}

const sends = (bytes: Uint8Array) => (channel: FrameChannel) => channel.write([bytes]);
const differing = (seed: number): Claim => ({
  kind: 'fingerprint',
  lower: boundAt(HOUR.sinceNs),
  upper: boundAt(HOUR.untilNs),
  fingerprint: new Uint32Array(8).fill(seed * 0x1357 + 1),
});
const payload = (claims: readonly Claim[]): Uint8Array =>
  encodeRanges({ pubsubTopics: [], contentTopics: [], claims });

/** Says of the whole window that it differs, whatever it is told. */
async function neverAgrees(channel: FrameChannel): Promise<void> {
  for (let seed = 1; ; seed++) {
    await channel.write([payload([differing(seed)])]);
    if ((await channel.read(LONG_MS)) === undefined) return;
  }
}

function manyTopics(): Uint8Array {
  const writer = new ByteWriter(32);
  writer.leb64(0, LIMITS.payloadTopics + 1);
  for (let byte = 0; byte < 20; byte++) writer.byte(0);
  return writer.finish();
}

const whole = payload([differing(1)]);
const wrongType = whole.slice();
wrongType[wrongType.length - 33] = 9;
const unreadable: [string, Uint8Array, ErrorCode][] = [
  ['numbers without an end', new Uint8Array(40).fill(0xff), 'WIRE_VARINT'],
  ['a few bytes', Uint8Array.of(1, 2, 3), 'WIRE_TRUNCATED'],
  ['half a payload', whole.subarray(0, whole.length - 10), 'WIRE_TRUNCATED'],
  ['a type of no claim', wrongType, 'WIRE_TYPE'],
];

describe('a payload that cannot be read', () => {
  it.each(unreadable)('ends the session and counts: %s', async (_, bytes, code) => {
    const initiator = victim();
    expect(await opened(initiator, sends(bytes))).toBe(code);
    const responder = victim();
    expect(await served(responder, sends(bytes))).toBe(code);
    for (const party of [initiator, responder]) {
      expect(party.strikes.strikesOf('peer')).toBe(STRIKE_MALFORMED);
      expect(party.lastError).toBe(code);
      expect(party.sessions.running).toBe(0);
      expect(party.holdings).toEqual(hashes(messages));
    }
  });

  it('counts nothing where it is only larger than we take', async () => {
    const party = victim();
    expect(await opened(party, sends(manyTopics()))).toBe('WIRE_LIMIT');
    expect(party.strikes.strikesOf('peer')).toBe(0);
  });

  it('leads to a ban when it comes again and again', async () => {
    const party = victim();
    const times = LIMITS.strikesBeforeBan / STRIKE_MALFORMED;
    for (let time = 0; time < times; time++) expect(await served(party, sends(wrongType))).toBe('WIRE_TYPE');
    expect(await served(party, sends(whole))).toBe('PEER_BANNED');
    await party.clock.advance(LIMITS.banMs);
    expect(await served(party, neverAgrees)).toBe('SESSION_ROUNDS');
  });
});

describe('a peer that never agrees', () => {
  it('is left after the limit of rounds', async () => {
    for (const run of [opened, served]) {
      const party = victim();
      expect(await run(party, neverAgrees)).toBe('SESSION_ROUNDS');
      const { result } = party.ended[0]!;
      expect(result.rounds).toBeLessThanOrEqual(2 * LIMITS.sessionRounds + 2);
      expect(result.rounds).toBeGreaterThan(LIMITS.sessionRounds);
      expect(result.verified).toBe(false);
      expect(party.strikes.strikesOf('peer')).toBe(STRIKE_MALFORMED);
      expect(party.sessions.running).toBe(0);
    }
  });

  it('cannot stretch a session beyond its time', async () => {
    for (const run of [opened, served]) {
      const party = victim();
      const slow = async (channel: FrameChannel): Promise<void> => {
        for (let seed = 1; ; seed++) {
          await channel.write([payload([differing(seed)])]);
          await channel.read(LONG_MS);
          await party.clock.sleep(LIMITS.sessionReadMs - 1);
        }
      };
      expect(['SESSION_ROUNDS', 'SESSION_BUDGET']).toContain(await run(party, slow));
      expect(party.clock.monotonicMs()).toBeLessThanOrEqual(LIMITS.sessionMs);
    }
  });

  it('may echo what it is told without an end', async () => {
    for (const run of [opened, served]) {
      const party = victim();
      const mirror = async (channel: FrameChannel): Promise<void> => {
        if (run === served) await channel.write([payload([differing(1)])]);
        for (
          let bytes = await channel.read(LONG_MS);
          bytes !== undefined;
          bytes = await channel.read(LONG_MS)
        ) {
          const said = decodeRanges(bytes);
          const claims = said.claims.map((claim, row) =>
            claim.kind === 'skip'
              ? { ...claim, ...differing(row), lower: claim.lower, upper: claim.upper }
              : claim,
          );
          await channel.write([encodeRanges({ ...said, claims })]);
        }
      };
      await run(party, mirror);
      expect(party.ended).toHaveLength(1);
      expect(party.ended[0]!.result.rounds).toBeLessThanOrEqual(2 * LIMITS.sessionRounds + 2);
      expect(party.holdings).toEqual(hashes(messages));
    }
  });
});

describe('a peer that says nothing', () => {
  const silent = (): Promise<void> => new Promise(() => undefined);

  it('is given up after the limit', async () => {
    for (const run of [opened, served]) {
      const party = victim();
      expect(await run(party, silent)).toBe('PEER_TIMEOUT');
      expect(party.clock.monotonicMs()).toBe(LIMITS.sessionReadMs);
      expect(party.strikes.strikesOf('peer')).toBe(0);
      expect(party.sessions.running).toBe(0);
    }
  });

  it('may not even open a stream', async () => {
    const party = victim();
    const link = {
      ...peerThat(party, silent),
      ...WAKU_ONLY,
      openReconciliation: () => new Promise<never>(() => undefined),
    };
    const session = party.synchroniser.synchronise(link, HOUR);
    expect(await endedIn(party.clock.run(session))).toBe('SESSION_BUDGET');
    expect(party.clock.monotonicMs()).toBe(LIMITS.sessionMs);
  });

  it('does not keep a node from stopping', async () => {
    const party = victim();
    const stop = new AbortController();
    const session = party.synchroniser.synchronise(peerThat(party, silent), HOUR, stop.signal);
    await party.clock.advance(5);
    stop.abort(new Error('enough'));
    expect(await endedIn(session)).toBe('SESSION_ABORTED');
    expect(party.lastError).toBe('SESSION_ABORTED');
    expect(party.clock.monotonicMs()).toBe(5);
  });
});

describe('a peer that goes away', () => {
  it('ends the session with a code', async () => {
    for (const run of [opened, served]) {
      const closed = victim();
      expect(await run(closed, (channel) => channel.close())).toBe('PEER_CLOSED');
      const reset = victim();
      expect(await run(reset, async (channel) => channel.abort(new Error('gone')))).toBe('PEER_CLOSED');
      for (const party of [closed, reset]) {
        expect(party.strikes.strikesOf('peer')).toBe(0);
        expect(party.sessions.running).toBe(0);
      }
    }
  });
});
