/** Audits of fleets in which messages were taken away on purpose: exactly those are named, and nothing else. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { WakuMessage } from '../../src/core/message.ts';
import type { StoredMessage } from '../../src/ports.ts';
import { Chance } from '../core/random-sets.ts';
import { endedIn } from '../ended-in.ts';
import { MemoryStore } from '../memory-store.ts';
import {
  CHAT,
  hexOf,
  messageOf,
  NOW_MS,
  NOW_NS,
  SHARD_0,
  sampleMessages,
  stored,
} from '../sample-messages.ts';
import { Party } from '../sync/party.ts';
import { VirtualClock } from '../sync/virtual-clock.ts';
import { AuditFleet, columnOf, HOUR_NS, nodeOf, saidOf } from './fleet.ts';
import { PlainStoreNode } from './plain-store-node.ts';

/** Old enough that nothing of it is late. */
const BASE_NS = NOW_NS - (NOW_NS % HOUR_NS) - 7n * HOUR_NS;
let clock: VirtualClock;

beforeEach(() => {
  clock = new VirtualClock();
});

/** A message a minute in six hours, and more on every full hour: two of the same moment. */
const fleetMessages: readonly WakuMessage[] = [
  ...sampleMessages(360, { untilNs: BASE_NS + 6n * HOUR_NS, stepNs: 60_000_000_000n }),
  ...Array.from({ length: 6 }, (_, hour) =>
    messageOf({ timestamp: BASE_NS + BigInt(hour) * HOUR_NS, payload: new Uint8Array([9, hour]) }),
  ),
];
const all = stored(fleetMessages);

function without(places: readonly number[]): StoredMessage[] {
  return all.filter((_, place) => !places.includes(place));
}

function plainWithout(places: readonly number[]): WakuMessage[] {
  return fleetMessages.filter((_, place) => !places.includes(place));
}

function hashesAt(places: readonly number[]): string[] {
  return places.map((place) => hexOf(all[place]!)).sort();
}

function party(name: string, messages: readonly StoredMessage[]): Party {
  return new Party(name, clock, { messages });
}

describe('an audit', () => {
  it('of equal nodes finds nothing, in few bytes', async () => {
    const fleet = new AuditFleet(clock, party('own', all), [
      party('b', all),
      new PlainStoreNode('plain', clock, fleetMessages),
    ]);
    const result = await fleet.audit(['b', 'plain']);
    expect(result).toMatchObject({ agree: true, differs: false, existing: all.length, messages: [] });
    expect(result.nodes.map(({ dialect, messages }) => [dialect, messages])).toEqual([
      ['own', all.length],
      ['native', all.length],
      ['query', all.length],
    ]);
    expect(nodeOf(result, 'b').bytes).toBeLessThan(1_000);
    expect(nodeOf(result, 'plain').bytes).toBeGreaterThan(all.length * 34);
    // Five full hours and the minutes: nothing is counted in two buckets.
    expect(columnOf(result, 'plain', 'counts')).toEqual([61, 61, 61, 61, 61, 61]);
    expect(columnOf(result, 'b', 'counts')).toEqual([61, 61, 61, 61, 61, 61]);
  });

  it('names what is missing here, there, and everywhere but at one node', async () => {
    // Of the pairs at full hours (0, 60, … and 360 to 365), one or both; the first and the last; several of one hour.
    const lost = {
      own: [0, 5, 77, 360],
      b: [5, 60, 77, 361, 200, 201, 202],
      c: [5, 77, 299, 120, 362],
      plain: [5, 359, 240, 364],
    };
    const fleet = new AuditFleet(clock, party('own', without(lost.own)), [
      party('b', without(lost.b)),
      party('c', without(lost.c)),
      new PlainStoreNode('plain', clock, plainWithout(lost.plain)),
      party('d', without([77])),
    ]);
    // Nobody but d has 5; nobody but the plain node has 77.
    const result = await fleet.audit(['b', 'c', 'plain', 'd', 'down']);
    const expected = Object.entries({ ...lost, d: [77] }).map(([node, places]) => [node, hashesAt(places)]);
    expect(saidOf(result, 'lacks')).toEqual(Object.fromEntries(expected));
    expect(saidOf(result, 'has')['d']).toContain(hexOf(all[5]!));
    for (const [place, { id }] of all.entries()) {
      const missed = fleet.missing.find(`0x${hexOf({ id })}`);
      expect(missed?.askedPeers).toEqual(lost.own.includes(place) ? [] : undefined);
    }
    expect(result).toMatchObject({ differs: true, agree: false, existing: all.length });
    for (const [node, places] of Object.entries(lost)) {
      expect(nodeOf(result, node)).toMatchObject({
        missing: places.length,
        late: 0,
        unknownRows: 0,
        messages: all.length - places.length,
      });
      const perHour = Array.from(
        { length: 6 },
        (_, hour) => places.filter((place) => hourOf(place) === hour).length,
      );
      expect(columnOf(result, node, 'missing')).toEqual(perHour);
      expect(columnOf(result, node, 'counts')).toEqual(perHour.map((missing) => 61 - missing));
    }
    // A node that is down has neither something nor nothing.
    expect(nodeOf(result, 'down')).toMatchObject({ dialect: undefined, error: { code: 'PEER_UNREACHABLE' } });
    expect(new Set(columnOf(result, 'down', 'counts'))).toEqual(new Set([undefined]));
    expect(new Set(columnOf(result, 'down', 'missing'))).toEqual(new Set([undefined]));
    expect(saidOf(result, 'unknown')['down']).toHaveLength(result.messages!.length);
    // What is not here is known by its topics all the same, where a plain node was asked for it.
    const seventySeventh = result.messages!.find(({ id }) => hexOf({ id }) === hexOf(all[77]!));
    expect(seventySeventh).toMatchObject({
      has: ['plain'],
      topics: { pubsubTopic: SHARD_0, contentTopic: CHAT },
    });
    const there = result.messages!.find(({ id }) => hexOf({ id }) === hexOf(all[202]!));
    expect(there?.topics).toEqual({ pubsubTopic: SHARD_0, contentTopic: CHAT });
  });

  it('of fleets made by chance names exactly what each node lacks', async () => {
    const chance = new Chance(7);
    for (let round = 0; round < 12; round++) {
      const losses = Array.from({ length: 5 }, () =>
        all.flatMap((_, place) => (chance.below(20) < round ? [place] : [])),
      );
      const [own, b, c, plain, other] = losses as [number[], number[], number[], number[], number[]];
      const fleet = new AuditFleet(clock, party('own', without(own)), [
        party('b', without(b)),
        party('c', without(c)),
        new PlainStoreNode('plain', clock, plainWithout(plain)),
        new PlainStoreNode('other', clock, plainWithout(other)),
      ]);
      // The first message is everywhere: a plain node's history begins with its oldest.
      const result = await fleet.audit(['b', 'c', 'plain', 'other'], { sinceNs: BASE_NS + HOUR_NS });
      const lostBy = { own, b, c, plain, other };
      const places = all.flatMap((_, place) =>
        fleetMessages[place]!.timestamp >= BASE_NS + HOUR_NS && losses.some((lost) => !lost.includes(place))
          ? [place]
          : [],
      );
      expect(result.existing).toBe(places.length);
      const expected = Object.entries(lostBy).map(([node, lost]) => [
        node,
        hashesAt(places.filter((place) => lost.includes(place))),
      ]);
      const said = saidOf(result, 'lacks');
      for (const [node, hashes] of expected) expect(said[node as string] ?? []).toEqual(hashes);
    }
  });

  it('knows nothing of the time that a node does not keep', async () => {
    const keptSinceNs = BASE_NS + 2n * HOUR_NS + HOUR_NS / 2n;
    const young = new MemoryStore(all.filter((_, place) => fleetMessages[place]!.timestamp >= keptSinceNs));
    young.keptSinceNs = keptSinceNs;
    const oldest = 150;
    const fleet = new AuditFleet(clock, party('own', without([10, 100, 300])), [
      new Party('young', clock, { store: young }),
      party('b', all),
      new PlainStoreNode(
        'plain',
        clock,
        fleetMessages.filter(({ timestamp }) => timestamp >= keptSinceNs),
      ),
    ]);
    const result = await fleet.audit(['young', 'b', 'plain']);
    expect(saidOf(result, 'lacks')).toEqual({ own: hashesAt([10, 100, 300]) });
    for (const node of ['young', 'plain']) {
      expect(saidOf(result, 'unknown')[node]).toEqual(hashesAt([10, 100]));
      expect(columnOf(result, node, 'counts')).toEqual([undefined, undefined, undefined, 61, 61, 61]);
      expect(columnOf(result, node, 'missing')).toEqual([undefined, undefined, 0, 0, 0, 0]);
      expect(nodeOf(result, node).unknownRows).toBe(3);
      expect(nodeOf(result, node).covered).toHaveLength(1);
      expect(nodeOf(result, node).covered[0]!.sinceNs).toBe(
        node === 'young' ? keptSinceNs : fleetMessages[oldest]!.timestamp,
      );
    }
  });

  it('holds nobody against what this store does not keep any more', async () => {
    const own = new MemoryStore(all.slice(180, 360));
    own.keptSinceNs = BASE_NS + 3n * HOUR_NS;
    const fleet = new AuditFleet(clock, new Party('own', clock, { store: own }), [
      party('b', all.slice(0, 360)),
    ]);
    const result = await fleet.audit(['b']);
    expect(result).toMatchObject({ agree: true, sinceNs: own.keptSinceNs, existing: 180 });
    const older = fleet.audit(['b'], { untilNs: own.keptSinceNs });
    expect(await endedIn(older)).toBe('USAGE');
  });

  it('does not call missing what may be on its way', async () => {
    const fresh = stored(
      [90_000, 61_000, 59_000, 1_000].map((ageMs) =>
        messageOf({ timestamp: NOW_NS - BigInt(ageMs) * 1_000_000n, payload: new Uint8Array([ageMs & 255]) }),
      ),
    );
    const fleet = new AuditFleet(clock, party('own', fresh), [party('b', []), party('c', fresh)]);
    const result = await fleet.audit(['b', 'c'], { lateMs: 60_000 });
    expect(saidOf(result, 'lacks')).toEqual({ b: fresh.slice(0, 2).map(hexOf).sort() });
    expect(saidOf(result, 'late')).toEqual({ b: fresh.slice(2).map(hexOf).sort() });
    expect(nodeOf(result, 'b')).toMatchObject({ missing: 2, late: 2, messages: 0 });
    const onlyLate = await fleet.audit(['b'], { sinceNs: NOW_NS - 60_000_000_000n, lateMs: 60_000 });
    expect(onlyLate).toMatchObject({ agree: true, differs: false });
  });

  it('finds what comes late into the past on the next run', async () => {
    const others = [party('b', without([50])), party('c', without([50]))];
    const fleet = new AuditFleet(clock, party('own', without([50])), others);
    expect((await fleet.audit(['b', 'c'])).agree).toBe(true);
    await others[1]!.store.append([all[50]!]);
    const again = await fleet.audit(['b', 'c']);
    expect(saidOf(again, 'lacks')).toEqual({ own: hashesAt([50]), b: hashesAt([50]) });
  });

  it('holds all nodes against the same ids, whatever arrives meanwhile', async () => {
    const own = party('own', without([40, 41]));
    const fleet = new AuditFleet(clock, own, [party('b', all), party('c', all)]);
    fleet.onConnect = (address) => own.store.append([all[address === 'b' ? 40 : 41]!]);
    const result = await fleet.audit(['b', 'c']);
    expect(saidOf(result, 'lacks')).toEqual({ own: hashesAt([40, 41]) });
    expect((await fleet.audit(['b', 'c'])).agree).toBe(true);
  });

  it('looks at the window that it is given, its end not included', async () => {
    const fleet = new AuditFleet(clock, party('own', without([120])), [
      party('b', without([60])),
      new PlainStoreNode('plain', clock, fleetMessages),
    ]);
    const at = (place: number): bigint => fleetMessages[place]!.timestamp;
    const window = { sinceNs: at(60), untilNs: at(120) };
    const result = await fleet.audit(['b', 'plain'], window);
    expect(saidOf(result, 'lacks')).toEqual({ b: hashesAt([60]) });
    expect(result.existing).toBe(61);
    expect(nodeOf(result, 'plain').messages).toBe(61);
  });

  it('says of a node that covers fewer topics that it is not known', async () => {
    const narrow = new Party('narrow', clock, {
      messages: all,
      scope: { pubsubTopics: [SHARD_0], contentTopics: [] },
    });
    const fleet = new AuditFleet(clock, party('own', all), [narrow]);
    expect(nodeOf(await fleet.audit(['narrow']), 'narrow').error?.code).toBe('SESSION_SCOPE');
    const scope = { pubsubTopics: [SHARD_0], contentTopics: [] };
    expect((await fleet.audit(['narrow'], { scope })).agree).toBe(true);
  });

  it('is not misled by hashes without messages', async () => {
    const plain = new PlainStoreNode('plain', clock, fleetMessages);
    const fleet = new AuditFleet(clock, party('own', without([33])), [plain]);
    plain.phantoms.add(hexOf(all[33]!));
    const result = await fleet.audit(['plain']);
    expect(result).toMatchObject({ agree: true, existing: all.length - 1 });
    expect(nodeOf(result, 'plain').phantoms).toBe(1);
  });

  it('leaves every store as it was', async () => {
    const b = party('b', without([1]));
    const own = party('own', without([2]));
    await new AuditFleet(clock, own, [b]).audit(['b']);
    expect([own.store.count, b.store.count]).toEqual([all.length - 1, all.length - 1]);
    expect(own.ended.map(({ result }) => result.takes)).toEqual([false]);
    expect(b.strikes.isBanned('own')).toBe(false);
  });
});

describe('a repair', () => {
  it('fetches what this store lacks, of whoever has it, and looks again', async () => {
    const b = party('b', without([3, 4, 100]));
    const plain = new PlainStoreNode('plain', clock, plainWithout([7]));
    const own = party('own', without([3, 7, 100, 362]));
    const fleet = new AuditFleet(clock, own, [b, plain]);
    const result = await fleet.audit(['b', 'plain', 'down'], { repair: true });
    expect(result.repair).toMatchObject({ received: 4, sent: 0, missingBefore: { own: 4, b: 3, plain: 1 } });
    expect(own.holdings).toEqual(all.map(hexOf).sort());
    expect(saidOf(result, 'lacks')).toEqual({ b: hashesAt([3, 4, 100]), plain: hashesAt([7]) });
    expect(b.store.count).toBe(all.length - 3);
    expect(fleet.missing.size).toBe(0);
  });

  it('gives others what they lack when it is told to', async () => {
    const b = party('b', without([3, 4, 100]));
    const c = party('c', without([4, 5]));
    const own = party('own', without([3, 7, 100]));
    const fleet = new AuditFleet(clock, own, [b, c]);
    const result = await fleet.audit(['b', 'c'], { repair: true, push: true });
    expect(result).toMatchObject({ agree: true, repair: { received: 3, sent: 5, failures: [] } });
    for (const node of [own, b, c]) expect(node.holdings).toEqual(all.map(hexOf).sort());
  });

  it('is not told of where nothing is to be done', async () => {
    const fleet = new AuditFleet(clock, party('own', all), [party('b', without([1]))]);
    expect((await fleet.audit(['b'], { repair: true })).repair).toBeUndefined();
  });
});

describe('an auditor', () => {
  it('is not asked for nothing, or for too much at a time', async () => {
    const fleet = new AuditFleet(clock, party('own', all), [party('b', all)]);
    expect(await endedIn(fleet.audit([]))).toBe('USAGE');
    expect(await endedIn(fleet.audit(['own']))).toBe('USAGE');
    expect(await endedIn(fleet.audit(['b'], { bucketNs: 1n, sinceNs: NOW_NS }))).toBe('USAGE');
    const three = [fleet.audit(['b']), fleet.audit(['b']), fleet.audit(['b'])];
    expect((await Promise.all(three.map(endedIn))).sort()).toEqual(['SESSION_BUSY', undefined, undefined]);
  });

  it('asks a node once that is named twice', async () => {
    const fleet = new AuditFleet(clock, party('own', all), [party('b', all)]);
    expect((await fleet.audit(['b', 'b', 'own'])).nodes.map(({ peer }) => peer)).toEqual(['own', 'b']);
  });

  it('remembers those of a series, also for the next process', async () => {
    const own = party('own', without([9]));
    const fleet = new AuditFleet(clock, own, [party('b', all)]);
    await fleet.audit(['b']);
    await fleet.audit(['b', 'down'], { watch: true });
    await clock.advance(60_000);
    await fleet.audit(['b'], { watch: true });
    const entries = await fleet.auditor.history.entries();
    expect(
      entries.map(({ agree, nodes }) => [
        agree,
        nodes.map(({ peer, missing, code }) => [peer, missing, code]),
      ]),
    ).toEqual([
      [
        false,
        [
          ['own', 1, null],
          ['b', 0, null],
          ['down', 0, 'PEER_UNREACHABLE'],
        ],
      ],
      [
        false,
        [
          ['own', 1, null],
          ['b', 0, null],
        ],
      ],
    ]);
    expect(entries.map(({ atMs }) => atMs >= NOW_MS)).toEqual([true, true]);
    const next = new AuditFleet(clock, new Party('own', clock, { records: own.records.copy() }), []);
    expect(await next.auditor.history.entries()).toEqual(entries);
  });
});

function hourOf(place: number): number {
  return Number((fleetMessages[place]!.timestamp - BASE_NS) / HOUR_NS);
}
