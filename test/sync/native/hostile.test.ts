/**
 * Peers that break the native protocol, lie, flood, or never end: every session with them ends in a result or a code,
 * in time, the store holds only what hashes to its id, and honest peers are served meanwhile.
 */
import { describe, expect, it } from 'vitest';
import { DigestTree } from '../../../src/core/digest-tree.ts';
import type { NativePayload } from '../../../src/core/native/payload.ts';
import { boundAt, SyncIdList, timeOf } from '../../../src/core/sync-id.ts';
import type { ErrorCode } from '../../../src/errors.ts';
import { LIMITS } from '../../../src/limits.ts';
import type { StoredMessage } from '../../../src/ports.ts';
import type { Role, SessionPlan } from '../../../src/sync/session.ts';
import { STRIKE_MALFORMED } from '../../../src/sync/strikes.ts';
import type { BatchFrame, NativeFrame } from '../../../src/wire/native-frame.ts';
import { EMPTY } from '../../core/native-dialogue.ts';
import { Liar } from '../../core/native-liar.ts';
import { Chance } from '../../core/random-sets.ts';
import { endedIn } from '../../ended-in.ts';
import { CHAT, NOTES, NOW_NS, samples } from '../../sample-messages.ts';
import { HOUR, hashes, Party, type PartyInit } from '../party.ts';
import { VirtualClock } from '../virtual-clock.ts';
import { MoodyStore, sized } from './made-messages.ts';
import { type Act, descending, LIAR, meet, type NativeLiar } from './native-liar.ts';
import { storedAs, tappedSession, Wiretap } from './wiretap.ts';

const ROLES: readonly Role[] = ['initiator', 'responder'];
const untilNs = NOW_NS - 1_000_000_000n;
const pool = samples(340, { untilNs, contentTopics: [CHAT] });
/** What the victim holds, and what only others hold. */
const messages = pool.filter((_, at) => at % 17 < 15);
const others = pool.filter((_, at) => at % 17 >= 15);
const never = (): Promise<void> => new Promise(() => undefined);

function victimWith(init: PartyInit = {}): Party {
  return new Party('victim', new VirtualClock(), { messages, ...init });
}

const says =
  (...frames: NativeFrame[]): Act =>
  async (liar) => {
    await liar.greet();
    await liar.say(...frames);
    await never();
  };

/** Claims the others' messages, offers them all, and answers every want like this. */
const answering =
  (answer: (wanted: readonly StoredMessage[], wants: number) => BatchFrame, offered = others): Act =>
  async (liar) => {
    await liar.greet();
    await liar.claim(messages, offered);
    for (let wants = 1, left = offered.length; left > 0; wants++) {
      const want = await liar.hear('want');
      const wanted = liar.wanted(want, offered);
      left -= wanted.length;
      if (wanted.length > 0) await liar.say(answer(wanted, wants));
      else wants -= 1;
    }
    await liar.hear('result');
    await liar.say(RESULT);
    await never();
  };

const ALIVE = { kind: 'alive' } as const;
const RESULT = { kind: 'result', capped: false, received: 0, known: 0, refused: 0, missing: 0 } as const;
const batch = (wants: number, sent: readonly Uint8Array[]): BatchFrame => ({
  kind: 'batch',
  wants,
  messages: sent,
});
const bytesOf = (sent: readonly StoredMessage[]): Uint8Array[] => sent.map(({ encoded }) => encoded);
const unasked = samples(24, { seed: 9, untilNs });
const payload = (changes: Partial<NativePayload>): NativeFrame => ({
  kind: 'payload',
  payload: { ...EMPTY, ...changes },
});

interface Case {
  readonly title: string;
  readonly act: Act;
  readonly code: ErrorCode | undefined;
  readonly strikes: number;
  /** How long it may take, in virtual time. */
  readonly withinMs?: number;
  readonly roles?: readonly Role[];
  readonly plan?: Partial<SessionPlan>;
  readonly victim?: () => Party;
}

/** The victim is left in a state in which it waits for messages. */
const afterClaim =
  (...frames: NativeFrame[]): Act =>
  async (liar) => {
    await liar.greet();
    await liar.claim(messages, others);
    await liar.say(...frames);
    await never();
  };

/** The victim is left in a state in which it offers messages: the liar says to hold nothing. */
const afterOffer =
  (make: (page: { readonly count: number }) => NativeFrame[] = () => []): Act =>
  async (liar) => {
    await liar.greet();
    await liar.reconcile([]);
    const { ids } = await liar.hear('offer');
    await liar.say(...make({ count: ids.count }));
    await never();
  };

const want = (page: number, first: number, bits: number[], final = false): NativeFrame => ({
  kind: 'want',
  page,
  first,
  bits: Uint8Array.from(bits),
  final,
});

const READ_MS = LIMITS.sessionReadMs;

const silent: Case[] = [
  { title: 'that says nothing at all', act: never, code: 'PEER_TIMEOUT', strikes: 0 },
  { title: 'that says hello and nothing else', act: says(), code: 'PEER_TIMEOUT', strikes: 0 },
  { title: 'that offers and never brings', act: afterClaim(), code: 'PEER_TIMEOUT', strikes: 0 },
  {
    title: 'that lets itself be offered and asks for nothing',
    act: afterOffer(),
    code: 'PEER_TIMEOUT',
    strikes: 0,
  },
  {
    title: 'that asks and acknowledges nothing',
    act: afterOffer(() => [want(0, 0, [1])]),
    code: 'PEER_TIMEOUT',
    strikes: 0,
  },
];

const malformed: Case[] = [
  ...(
    [
      ['nothing', [], 'WIRE_TRUNCATED'],
      ['an unknown kind', [10], 'WIRE_TYPE'],
      ['flags of no meaning', [7, 0xf0, 0], 'WIRE_TYPE'],
      ['numbers without an end', [6, ...new Array<number>(12).fill(0xff)], 'WIRE_VARINT'],
      ['half a hello', [0, 1, 3], 'WIRE_TRUNCATED'],
      ['more than the frame', [9, 0], 'WIRE_FIELD_INVALID'],
    ] as [string, number[], ErrorCode][]
  ).flatMap(([what, bytes, code]): Case[] => [
    {
      title: `that begins with ${what}`,
      act: async (liar) => await liar.sayBytes(Uint8Array.from(bytes)),
      code,
      strikes: STRIKE_MALFORMED,
    },
    {
      title: `that says ${what} after its hello`,
      act: async (liar) => {
        await liar.greet();
        await liar.sayBytes(Uint8Array.from(bytes));
        await never();
      },
      code,
      strikes: STRIKE_MALFORMED,
    },
  ]),
  ...(
    [
      [
        'begins with an offer',
        async (liar) => await liar.say({ kind: 'offer', ids: descending(others), last: true }),
      ],
      [
        'says hello twice',
        async (liar) => {
          await liar.greet();
          await liar.say({ ...liar.hello });
          await never();
        },
      ],
      [
        'says a payload when all is over',
        async (liar) => {
          await liar.greet();
          await liar.claim(messages, others);
          await liar.say(payload({}));
          await never();
        },
      ],
      [
        'agrees with nothing',
        async (liar) => {
          await liar.greet();
          if (liar.role === 'initiator') await liar.hear('payload');
          await liar.say({ kind: 'over', state: 'agreed', have: 0 });
          await never();
        },
      ],
      ['ends the reconciliation twice', afterClaim({ kind: 'over', state: 'agreed', have: others.length })],
      ['says its result before the end', says(RESULT)],
      [
        'says its result twice',
        async (liar) => {
          await liar.greet();
          await liar.claim(messages, others);
          await liar.say(RESULT, RESULT);
          await never();
        },
      ],
      ['offers after its last offer', afterClaim({ kind: 'offer', ids: descending(unasked), last: true })],
      ['offers nothing', says({ kind: 'offer', ids: descending([]), last: false })],
      [
        'offers what lies beyond the window',
        says({
          kind: 'offer',
          ids: descending(samples(3, { untilNs: HOUR.sinceNs })),
          last: false,
        }),
      ],
      ['answers wants that were not asked', says(batch(1, []))],
      ['answers more wants than were asked', afterClaim(batch(5, []))],
      ['sends a batch of nothing', afterClaim(batch(0, []))],
      ['wants a page that is not on offer', says(want(0, 0, [1]))],
      ['wants another page than was offered', afterOffer(() => [want(7, 0, [1])])],
      ['wants a row beyond the page', afterOffer(({ count }) => [want(0, count, [1])])],
      ['wants the same twice', afterOffer(() => [want(0, 0, [1]), want(0, 0, [1])])],
      ['wants after its final word', afterOffer(() => [want(0, 0, [1], true), want(0, 1, [1])])],
      ['wants nothing', afterOffer(() => [want(0, 0, [])])],
      ['acknowledges what was not sent', says({ kind: 'ack', batches: 1 })],
    ] as [string, Act][]
  ).map(
    ([title, act]): Case => ({
      title: `that ${title}`,
      act,
      code: 'WIRE_FIELD_INVALID',
      strikes: STRIKE_MALFORMED,
    }),
  ),
  ...[2, 0].map(
    (batches): Case => ({
      title: `that acknowledges ${batches} batches where one was sent`,
      act: async (liar) => {
        await liar.greet();
        await liar.reconcile([]);
        await liar.say(want(0, 0, [1]));
        await liar.hear('batch');
        await liar.say({ kind: 'ack', batches });
        await never();
      },
      code: 'WIRE_FIELD_INVALID',
      strikes: STRIKE_MALFORMED,
    }),
  ),
  ...(
    [
      ['an earlier window', { sinceNs: HOUR.sinceNs - 1n }],
      ['a later window', { untilNs: HOUR.untilNs + 1n }],
      ['an empty window', { untilNs: HOUR.sinceNs }],
      ['a wider scope', { scope: { pubsubTopics: [], contentTopics: [] } }],
      ['another scope', { scope: { pubsubTopics: [], contentTopics: [NOTES] } }],
      ['an agreement that never was', { agreement: new Uint8Array(8).fill(7) }],
    ] as const
  ).map(
    ([what, changes]): Case => ({
      title: `that answers the hello with ${what}`,
      act: async (liar) => {
        await liar.greet(changes);
        await never();
      },
      code: 'WIRE_FIELD_INVALID',
      strikes: STRIKE_MALFORMED,
      roles: ['responder'],
      plan: { scope: { pubsubTopics: [], contentTopics: [CHAT] } },
    }),
  ),
  // It was told what is given and taken, and says that it gives and takes all the same.
  ...(
    [
      [
        'offers where nothing is taken',
        { direction: 'push' },
        { kind: 'offer', ids: descending(others), last: true },
      ],
      ['sends where nothing is taken', { direction: 'push' }, batch(0, bytesOf(unasked))],
      ['offers in a dry run', { dryRun: true }, { kind: 'offer', ids: descending(others), last: true }],
      ['asks where nothing is given', { direction: 'pull' }, want(0, 0, [1])],
      ['acknowledges where nothing is given', { direction: 'pull' }, { kind: 'ack', batches: 1 }],
      ['asks in a dry run', { dryRun: true }, want(0, 0, [1])],
    ] as [string, Partial<SessionPlan>, NativeFrame][]
  ).map(
    ([what, plan, frame]): Case => ({
      title: `that ${what}`,
      act: async (liar) => {
        await liar.greet({ gives: true, takes: true });
        await liar.say(frame);
        await never();
      },
      code: 'WIRE_FIELD_INVALID',
      strikes: STRIKE_MALFORMED,
      roles: ['responder'],
      plan,
    }),
  ),
];

const different = (wanted: readonly StoredMessage[]): Uint8Array[] =>
  wanted.map(({ encoded }) => {
    const changed = encoded.slice();
    // A byte of the payload, which comes first.
    changed[12] = changed[12]! ^ 1;
    return changed;
  });

/** One for each message that came, and one for each that did not, of which no answer counts more than 20. */
const TWICE = others.length + LIMITS.nativeFirstWants + 20;

const lying: Case[] = [
  {
    title: 'that offers what it lacks',
    act: answering((_, wants) => batch(wants, [])),
    code: undefined,
    strikes: others.length,
  },
  {
    title: 'that sends what was not asked for in place of what was',
    act: answering((wanted, wants) => batch(wants, bytesOf(unasked).slice(0, wanted.length))),
    code: undefined,
    strikes: TWICE,
  },
  {
    title: 'that sends messages with another hash',
    act: answering((wanted, wants) => batch(wants, different(wanted))),
    code: undefined,
    strikes: TWICE,
  },
  {
    title: 'that sends messages before any were asked for',
    act: says(batch(0, bytesOf(unasked))),
    code: 'PEER_TIMEOUT',
    strikes: unasked.length,
  },
];

async function expectEnd(given: Case, role: Role): Promise<void> {
  const { act, code, strikes, withinMs = READ_MS, plan, victim: makeVictim = victimWith } = given;
  const victim = makeVictim();
  const meeting = victim.clock.run(meet(victim, role, act, plan));
  expect([role, (await meeting).code]).toEqual([role, code]);
  expect([role, victim.strikes.strikesOf(LIAR)]).toEqual([role, strikes]);
  expect(victim.clock.monotonicMs()).toBeLessThanOrEqual(withinMs);
  expect(victim.sessions.running).toBe(0);
  expect(victim.ended).toHaveLength(1);
  expect(victim.ended[0]!.result.verified && code !== undefined).toBe(false);
  expect(victim.holdings).toEqual(hashes(messages));
  // Nothing is left that waits.
  await victim.clock.runOut();
}

async function expectBan(given: Case, role: Role): Promise<void> {
  const victim = victimWith();
  const times = Math.ceil(LIMITS.strikesBeforeBan / given.strikes);
  for (let time = 0; time < times; time++) {
    expect(victim.strikes.isBanned(LIAR)).toBe(false);
    await victim.clock.run(meet(victim, role, given.act, given.plan));
  }
  expect(victim.strikes.isBanned(LIAR)).toBe(true);
  expect((await victim.clock.run(meet(victim, role, given.act, given.plan))).code).toBe('PEER_BANNED');
  await victim.clock.advance(LIMITS.banMs);
  expect((await victim.clock.run(meet(victim, role, given.act, given.plan))).code).toBe(given.code);
}

/** An honest party has what the liar says to have; its session runs beside. */
async function expectHonestServed(given: Case, role: Role): Promise<void> {
  for (const opens of ['honest', 'victim'] as const) {
    const victim = victimWith();
    const { clock } = victim;
    const honest = new Party('honest', clock, { messages: pool });
    const tap = new Wiretap();
    const meeting = meet(victim, role, given.act, given.plan);
    // It has come further than the hello by then, and asked for something.
    await clock.advance(1);
    const session =
      opens === 'honest'
        ? honest.native.synchronise(tap.link(honest, victim), HOUR)
        : victim.native.synchronise(tap.link(victim, honest), HOUR);
    expect(await clock.run(session)).toMatchObject({ verified: true });
    expect(clock.monotonicMs()).toBeLessThanOrEqual(READ_MS + 2 * LIMITS.nativeAliveMs);
    await clock.run(Promise.all([meeting, tap.allServed()]));
    expect(victim.holdings).toEqual(hashes(pool));
    expect(victim.strikes.strikesOf('honest')).toBe(0);
    expect(victim.sessions.running).toBe(0);
  }
}

describe.each([...silent, ...malformed, ...lying])('a peer $title', (given) => {
  const roles = given.roles ?? ROLES;

  it('is left with a code, in time', async () => {
    for (const role of roles) await expectEnd(given, role);
  });

  it('does not keep honest ones from being served', async () => {
    for (const role of roles) await expectHonestServed(given, role);
  });

  if (given.strikes > 0) {
    it('is banned when it does so again and again', async () => {
      for (const role of roles) await expectBan(given, role);
    });
  }
});

describe('a peer that brings more than it should', () => {
  it('has the same message taken once, and the rest counted', async () => {
    for (const role of ROLES) {
      const victim = victimWith();
      const act = answering((wanted, wants) => batch(wants, bytesOf([...wanted, ...wanted])));
      const { code } = await victim.clock.run(meet(victim, role, act));
      expect(code).toBeUndefined();
      expect(victim.ended[0]!.result).toMatchObject({
        received: others.length,
        refusals: { TRANSFER_NOT_ASKED: others.length },
        missing: 0,
      });
      expect(victim.holdings).toEqual(hashes(pool));
      expect(victim.strikes.strikesOf(LIAR)).toBe(others.length);
    }
  });

  it('has messages of other topics refused', async () => {
    const notes = samples(30, { seed: 5, untilNs, contentTopics: [NOTES] });
    const scope = { pubsubTopics: [], contentTopics: [CHAT] };
    const victim = victimWith();
    const act = answering((wanted, wants) => batch(wants, bytesOf(wanted)), notes);
    const { code } = await victim.clock.run(meet(victim, 'responder', act, { scope }));
    expect(code).toBeUndefined();
    expect(victim.ended[0]!.result).toMatchObject({
      received: 0,
      refusals: { TRANSFER_OUT_OF_SCOPE: notes.length },
      missing: notes.length,
      verified: false,
    });
    expect(victim.strikes.strikesOf(LIAR)).toBe(notes.length);
    expect(victim.holdings).toEqual(hashes(messages));
  });

  it('has garbage in place of messages refused, and is banned for it', async () => {
    const junk = Array.from({ length: 5 }, (_, at) => new Uint8Array(20).fill(0xf0 + at));
    for (const role of ROLES) {
      const victim = victimWith();
      const { code } = await victim.clock.run(meet(victim, role, says(batch(0, junk), batch(0, junk))));
      expect(code).toBe('PEER_CLOSED');
      expect(victim.strikes.isBanned(LIAR)).toBe(true);
      expect(victim.holdings).toEqual(hashes(messages));
    }
  });

  it('without credit is left', async () => {
    const large = sized(120, 100_000);
    for (const role of ROLES) {
      const clock = new VirtualClock();
      // Nothing gets to the disk.
      const victim = new Party('victim', clock, { store: MoodyStore.slow(clock, 24 * 3_600_000) });
      const act: Act = async (liar) => {
        await liar.greet();
        await liar.claim([], large);
        for (let wants = 1; ; wants++) {
          const wanted = liar.wanted(await liar.hear('want'), large);
          for (const [at, message] of wanted.entries()) {
            await liar.say(batch(at === wanted.length - 1 ? wants : wants - 1, [message.encoded]));
          }
        }
      };
      const { code } = await clock.run(meet(victim, role, act));
      expect(code).toBe('TRANSFER_OVER_CREDIT');
      expect(victim.strikes.strikesOf(LIAR)).toBe(STRIKE_MALFORMED);
      expect(victim.ended[0]!.result.bytesReceived).toBeLessThan(
        LIMITS.nativeWindowBytes + LIMITS.nativeBatchBytesMax + 400_000,
      );
    }
  });

  it('in batches without an end is banned, and hung up on', async () => {
    for (const role of ROLES) {
      const victim = victimWith();
      let sent = 0;
      const act: Act = async (liar) => {
        await liar.greet();
        for (; ; sent += 1) {
          await liar.say(batch(0, [unasked[0]!.encoded]));
          await liar.clock.sleep(1);
        }
      };
      const { code } = await victim.clock.run(meet(victim, role, act));
      expect(code).toBe('PEER_CLOSED');
      expect(victim.strikes.isBanned(LIAR)).toBe(true);
      expect(sent).toBeLessThanOrEqual(LIMITS.strikesBeforeBan + 1);
    }
  });

  it('of offers that nobody could ask for is left', async () => {
    const chance = new Chance(4);
    const made = Array.from({ length: 20_000 }, (_, at) => chance.id(HOUR.untilNs - BigInt(at) - 1n));
    for (const role of ROLES) {
      const victim = victimWith();
      const act: Act = async (liar) => {
        await liar.greet();
        for (let from = 0; from < made.length; from += 1_000) {
          const ids = descending(made.slice(from, from + 1_000).map((id) => ({ ...unasked[0]!, id })));
          await liar.say({ kind: 'offer', ids, last: false });
        }
        await never();
      };
      const { code } = await victim.clock.run(meet(victim, role, act));
      expect(code).toBe('TRANSFER_OVER_CREDIT');
      expect(victim.strikes.strikesOf(LIAR)).toBe(STRIKE_MALFORMED);
      expect(victim.clock.monotonicMs()).toBe(0);
    }
  });

  it('of offers than it said it would make is left', async () => {
    for (const role of ROLES) {
      const victim = victimWith();
      let offers = 0;
      const act: Act = async (liar) => {
        await liar.greet();
        await liar.reconcile(pool);
        // What the victim has anyway: it is declined as soon as it is offered.
        for (; offers < 500; offers++) {
          await liar.say({ kind: 'offer', ids: descending(messages), last: false });
          await liar.clock.sleep(1);
        }
        await never();
      };
      const { code } = await victim.clock.run(meet(victim, role, act));
      expect([role, code]).not.toEqual([role, 'PEER_TIMEOUT']);
      expect(offers).toBeLessThan(500);
      expect(victim.ended[0]!.result).toMatchObject({ verified: false });
    }
  });
});

describe('a peer that says that it is there', () => {
  /** Every so often, and nothing else. */
  const aliveEvery =
    (ms: number, before: (liar: NativeLiar) => Promise<unknown>): Act =>
    async (liar) => {
      await before(liar);
      for (;;) {
        await liar.clock.sleep(ms);
        await liar.say(ALIVE);
      }
    };
  const owing: [string, (liar: NativeLiar) => Promise<unknown>][] = [
    ['a payload', (liar) => liar.greet()],
    ['messages', (liar) => liar.greet().then(() => liar.claim(messages, others))],
    [
      'offers',
      async (liar) => {
        await liar.greet();
        await liar.reconcile(pool);
      },
    ],
    [
      'an acknowledgement',
      async (liar) => {
        await liar.greet();
        await liar.reconcile([]);
        await liar.say(want(0, 0, [1], true));
      },
    ],
    [
      'its result',
      async (liar) => {
        await liar.greet();
        await liar.reconcile(messages);
        await liar.hear('result');
      },
    ],
  ];

  it.each(owing)('and owes %s is given up all the same', async (_, before) => {
    for (const role of ROLES) {
      const victim = victimWith();
      const { code } = await victim.clock.run(meet(victim, role, aliveEvery(5_000, before)));
      expect([role, code]).toEqual([role, 'PEER_TIMEOUT']);
      expect(victim.clock.monotonicMs()).toBeLessThanOrEqual(READ_MS + 2 * LIMITS.nativeAliveMs);
      expect(victim.strikes.strikesOf(LIAR)).toBe(0);
    }
  });

  it('and never decides on what it is offered is left when the time of a session is up', async () => {
    for (const role of ROLES) {
      const victim = victimWith();
      const undecided = aliveEvery(9_000, async (liar) => {
        await liar.greet();
        await liar.reconcile([]);
      });
      const { code } = await victim.clock.run(meet(victim, role, undecided));
      expect(code).toBe('SESSION_BUDGET');
      expect(victim.clock.monotonicMs()).toBe(LIMITS.nativeSessionMs);
    }
  });

  it('again and again is banned, and hung up on', async () => {
    for (const role of ROLES) {
      const victim = victimWith();
      const { code } = await victim.clock.run(meet(victim, role, says(...new Array(1_000).fill(ALIVE))));
      expect(code).toBe('PEER_CLOSED');
      expect(victim.strikes.isBanned(LIAR)).toBe(true);
      expect(victim.clock.monotonicMs()).toBe(0);
    }
  });
});

describe('a peer that talks of other things while it owes messages', () => {
  it('does not keep them from being had of others', async () => {
    for (const role of ROLES) {
      const victim = victimWith();
      const { clock } = victim;
      const act: Act = async (liar) => {
        await liar.greet();
        await liar.reconcile(pool);
        await liar.say({ kind: 'offer', ids: descending(others), last: false });
        for (;;) {
          await liar.clock.sleep(20_000);
          await liar.say({ kind: 'offer', ids: descending(messages.slice(0, 1)), last: false });
        }
      };
      const meeting = meet(victim, role, act);
      await clock.advance(1);
      const honest = new Party('honest', clock, { messages: pool });
      const result = await clock.run(honest.native.synchronise(honest.linkTo(victim), HOUR));
      expect(result).toMatchObject({ verified: true });
      expect(clock.monotonicMs()).toBeLessThan(5 * 60_000);
      await clock.run(meeting);
    }
  });
});

describe('a peer that gives hardly any credit', () => {
  it('is sent one batch at a time', async () => {
    const held = sized(100, 10_000);
    for (const role of ROLES) {
      for (const windowBytes of [0, 1]) {
        const clock = new VirtualClock();
        const victim = new Party('victim', clock, { messages: held });
        let batches = 0;
        const act: Act = async (liar) => {
          await liar.greet({ windowBytes });
          await liar.reconcile([]);
          await liar.hear('offer');
          await liar.say(want(0, 0, new Array(13).fill(0xff).with(12, 0x0f), true));
          for (let left = held.length; left > 0; batches += 1) {
            left -= (await liar.hear('batch')).messages.length;
            // Nothing more comes before this one is acknowledged.
            await liar.clock.sleep(100);
            expect(liar.unread).not.toContain('batch');
            await liar.say({ kind: 'ack', batches: batches + 1 });
          }
          await liar.hear('result');
          await liar.say({ ...RESULT, received: held.length });
        };
        const { code } = await clock.run(meet(victim, role, act));
        expect(code).toBeUndefined();
        expect(batches).toBeGreaterThan(2);
        expect(victim.ended[0]!.result).toMatchObject({ sent: held.length, verified: true });
      }
    }
  });
});

describe('a peer that never agrees', () => {
  const wrong = (liar: NativeLiar): NativeFrame => {
    const [lower, upper] = [liar.hello.sinceNs, liar.hello.untilNs].map((ns) => boundAt(ns));
    const words = new Uint32Array(4).fill(0x1234_5678);
    return payload({ check: { lower: lower!, upper: upper!, plain: words, keyed: words } });
  };

  it('is left after so many payloads, whatever it says', async () => {
    const endings: [string, (liar: NativeLiar) => NativeFrame][] = [
      ['nothing', () => payload({})],
      ['a wrong check', wrong],
    ];
    for (const [, make] of endings) {
      for (const role of ROLES) {
        const victim = victimWith();
        let said = 0;
        const act: Act = async (liar) => {
          await liar.greet();
          if (liar.role === 'initiator') await liar.hear('payload');
          for (; ; said += 1) {
            await liar.say(make(liar));
            const heard = await liar.hear('payload', 'over');
            if (heard.kind === 'over') await never();
          }
        };
        const { code } = await victim.clock.run(meet(victim, role, act));
        expect(['PEER_TIMEOUT', 'WIRE_FIELD_INVALID', 'SESSION_BUDGET']).toContain(code);
        expect(said).toBeLessThan(45);
        expect(victim.ended[0]!.result.verified).toBe(false);
        expect(victim.clock.monotonicMs()).toBeLessThanOrEqual(READ_MS);
        expect(victim.holdings).toEqual(hashes(messages));
      }
    }
  });

  it('makes things up, and gets a code or a result', async () => {
    const depths: number[] = [];
    for (let seed = 1; seed <= 60; seed++) {
      for (const role of ROLES) {
        const victim = victimWith();
        let depth = 0;
        const act: Act = async (liar) => {
          await liar.greet();
          const window = { lower: boundAt(liar.hello.sinceNs), upper: boundAt(liar.hello.untilNs) };
          const held = DigestTree.from(SyncIdList.of(...pool.map(({ id }) => id)).toAscending());
          const inventor = new Liar(window, held, new Chance(seed));
          if (liar.role === 'responder') await liar.say({ kind: 'payload', payload: inventor.open() });
          for (; ; depth += 1) {
            const heard = await liar.hear('payload');
            await liar.say({ kind: 'payload', payload: inventor.answer(heard.payload) });
          }
        };
        const { code } = await victim.clock.run(meet(victim, role, act));
        expect(code ?? 'none').toMatch(/^(PEER_TIMEOUT|PEER_CLOSED|SESSION_BUDGET|WIRE_\w+|none)$/);
        expect(victim.clock.monotonicMs()).toBeLessThanOrEqual(2 * READ_MS);
        expect(victim.ended[0]!.result.rounds).toBeLessThan(90);
        expect(victim.sessions.running).toBe(0);
        expect(victim.holdings).toEqual(hashes(messages));
        depths.push(depth);
      }
    }
    expect(depths.filter((depth) => depth >= 3).length).toBeGreaterThan(10);
  });
});

describe('a session that finds no place', () => {
  it('does not leave its stream open', async () => {
    const clock = new VirtualClock();
    const a = new Party('a', clock, { messages });
    const b = new Party('b', clock, { messages });
    for (let place = 0; place < LIMITS.sessionsPerPeer; place++) a.openSession('b');
    const tap = new Wiretap();
    const session = a.native.synchronise(tap.link(a, b), HOUR);
    expect(await endedIn(clock.run(session))).toBe('SESSION_BUSY');
    const [ours] = tap.streams[0] ?? [];
    expect(ours === undefined || ours.isClosed || ours.isReset).toBe(true);
    await clock.run(tap.allServed());
    expect(clock.monotonicMs()).toBe(0);
  });

  it('at the peer is told so, and when to come again', async () => {
    const clock = new VirtualClock();
    const a = new Party('a', clock, { messages });
    const b = new Party('b', clock, { messages });
    for (let place = 0; place < LIMITS.sessionsPerPeer; place++) b.openSession('a');
    const tap = new Wiretap();
    const session = a.native.synchronise(tap.link(a, b), HOUR);
    await expect(clock.run(session)).rejects.toMatchObject({
      code: 'PEER_BUSY',
      retryAfterMs: LIMITS.nativeRetryMs,
    });
    expect(tap.written('refuse', 'b')).toMatchObject([{ reason: 'busy' }]);
  });

  it('as its stream never opens is given up, and may be stopped', async () => {
    const victim = victimWith();
    const link = { ...victim.linkTo(victim), peer: LIAR, openSync: never as () => Promise<never> };
    const stop = new AbortController();
    let code: string | undefined = 'running';
    const session = endedIn(victim.native.synchronise(link, HOUR, stop.signal)).then((ended) => {
      code = ended;
    });
    await victim.clock.advance(5);
    stop.abort(new Error('enough'));
    await Promise.race([session, victim.clock.advance(5)]);
    expect(code).toBe('SESSION_ABORTED');
  });
});

interface Recorded {
  readonly frames: readonly Uint8Array[];
  /** Frames of the other side that had been written before each of them. */
  readonly after: readonly number[];
}

/** What a party is, down to its chance, so that a session with it can be told again. */
function replayed(name: string, held: readonly StoredMessage[]): Party {
  const chance = new Chance(name === 'a' ? 1 : 2);
  return new Party(name, new VirtualClock(), { messages: held, random: chance });
}

describe('an honest session, told again with one byte changed', () => {
  const few = samples(12, { payloadBytes: 6, untilNs });
  const held = { a: few.slice(0, 9), b: few.slice(4) };

  /** All that one side says, and when. */
  async function record(speaker: 'a' | 'b'): Promise<Recorded> {
    const clock = new VirtualClock();
    const [a, b] = (['a', 'b'] as const).map(
      (name) => new Party(name, clock, { messages: held[name], random: new Chance(name === 'a' ? 1 : 2) }),
    );
    const tap = new Wiretap();
    let others = 0;
    const after: number[] = [];
    tap.onSeen = ({ by, did }) => {
      if (did !== 'wrote') return;
      if (by === speaker) after.push(others);
      else others += 1;
    };
    const { result } = await tappedSession(a!, b!, {}, tap);
    expect(result.verified).toBe(true);
    const [ours, theirs] = tap.streams[0]!;
    return { frames: (speaker === 'a' ? ours : theirs).written, after };
  }

  /** Says the frames as they were said; waits a little for what came in between, and then goes on all the same. */
  const retell =
    ({ frames, after }: Recorded): Act =>
    async (liar) => {
      let heard = 0;
      for (const [at, frame] of frames.entries()) {
        while (heard < after[at]!) {
          const bytes = await liar.channel.read(20).catch(() => undefined);
          if (bytes === undefined) break;
          heard += 1;
        }
        await liar.sayBytes(frame);
      }
      await never();
    };

  async function tell(speaker: 'a' | 'b', recorded: Recorded) {
    const name = speaker === 'a' ? 'b' : 'a';
    const victim = replayed(name, held[name]);
    const meeting = meet(victim, speaker === 'a' ? 'initiator' : 'responder', retell(recorded));
    const { code } = await victim.clock.run(meeting);
    return { victim, code };
  }

  it.each(['a', 'b'] as const)('by %s ends in a result or a code, whichever byte it is', async (speaker) => {
    const recorded = await record(speaker);
    // Without a change, it is the session that it was.
    const honest = await tell(speaker, recorded);
    expect(honest.code).toBeUndefined();
    expect(honest.victim.ended[0]!.result).toMatchObject({ verified: true, missing: 0 });
    expect(honest.victim.holdings).toEqual(hashes(few));

    const codes = new Set<string>();
    let told = 0;
    let noticed = 0;
    for (const [at, frame] of recorded.frames.entries()) {
      for (let place = 0; place < frame.length; place++) {
        for (const change of [0x01, 0x80, 0xff]) {
          const changed = frame.slice();
          changed[place] = changed[place]! ^ change;
          const frames = recorded.frames.with(at, changed);
          const { victim, code } = await tell(speaker, { ...recorded, frames });
          const where = `${speaker} frame ${at} byte ${place} ^ ${change}`;
          const { result } = victim.ended[0]!;
          told += 1;
          codes.add(code ?? 'none');
          if (code !== undefined || !result.verified) noticed += 1;
          else if (victim.store.count !== few.length) expect.fail(`${where}: verified, and it is not`);
          if (code === 'INTERNAL' || code === 'WIRE_UNENCODABLE') expect.fail(`${where}: ${code}`);
          const timeMs = victim.clock.monotonicMs();
          if (timeMs > 2 * READ_MS) expect.fail(`${where}: ${timeMs} ms`);
          if (victim.sessions.running > 0) expect.fail(`${where}: a session is left`);
          if (victim.ended.length !== 1) expect.fail(`${where}: ${victim.ended.length} reports`);
          for (const { id, encoded } of victim.store.messages) {
            const { id: hashed } = storedAs(encoded);
            if (String(id) !== String(hashed)) expect.fail(`${where}: a message of another hash`);
          }
          // It may hold other messages than were meant, but only of the window.
          if (victim.store.messages.some(({ id }) => timeOf(id) > HOUR.untilNs))
            expect.fail(`${where}: beyond`);
        }
      }
    }
    // Changes are noticed, and by more than one check.
    expect(codes.size).toBeGreaterThan(5);
    expect(noticed).toBeGreaterThan((3 * told) / 4);
  });
});
