/** A look at a Lacuna with which more differs than one session tells of. */
import { describe, expect, it } from 'vitest';
import { type Look, lookAt, NOTHING_KNOWN } from '../../src/audit/node-look.ts';
import { TopicBook } from '../../src/audit/topic-book.ts';
import { DigestTree } from '../../src/core/digest-tree.ts';
import { EVERYTHING } from '../../src/core/scope.ts';
import { boundAt, compareIds, makeId, SyncIdList, timeOf } from '../../src/core/sync-id.ts';
import { LacunaError } from '../../src/errors.ts';
import type { SessionPlan, SessionResult } from '../../src/sync/session.ts';
import { endedIn } from '../ended-in.ts';
import { sessionResult } from '../http/plain-node.ts';

const WINDOW = { sinceNs: 0n, untilNs: 1_000n };

function idsAt(times: readonly number[]): SyncIdList {
  return SyncIdList.of(
    ...times.map((time, at) => makeId(BigInt(time), new Uint8Array(32).fill(1 + (at % 200)))),
  );
}

/** Sessions that tell of so many differences at most: beyond it they fail, or end without telling. */
class Sessions {
  readonly windows: (readonly [bigint, bigint])[] = [];
  readonly #theirs: SyncIdList;
  readonly #max: number;
  readonly #fails: boolean;

  constructor(theirs: SyncIdList, max: number, fails: boolean) {
    this.#theirs = theirs;
    this.#max = max;
    this.#fails = fails;
  }

  compare = async (_link: unknown, plan: SessionPlan): Promise<SessionResult> => {
    const { sinceNs, untilNs, listing } = plan;
    const theirs = DigestTree.from(this.#theirs);
    const [lower, upper] = [boundAt(sinceNs), boundAt(untilNs)];
    const without = (a: SyncIdList, b: { has(id: Uint32Array): boolean }): Uint32Array[] =>
      Array.from({ length: a.count }, (_, row) => a.at(row)).filter((id) => !b.has(id));
    const have = without(listing!.index.ids(lower, upper), theirs);
    const need = without(theirs.ids(lower, upper), listing!.index);
    if (have.length + need.length > this.#max) {
      if (this.#fails) throw new LacunaError('SESSION_BUDGET', 'too much');
      return sessionResult({ sinceNs, untilNs, bytesSent: 10, bytesReceived: 10 });
    }
    this.windows.push([sinceNs, untilNs]);
    // In no order, and one that is here after all.
    listing!.onDifferences(SyncIdList.of(...have.reverse()), SyncIdList.of(...need.reverse()));
    return sessionResult({ sinceNs, untilNs, bytesSent: 1, bytesReceived: 1 });
  };
}

async function look(own: SyncIdList, sessions: Sessions): Promise<{ seen: Look; code: string | undefined }> {
  const seen: Look = { dialect: 'query', view: NOTHING_KNOWN, gaps: [], phantoms: 0, bytes: 0 };
  const code = await endedIn(
    lookAt(
      {
        link: { isLacuna: true } as never,
        compare: sessions.compare,
        client: {} as never,
        index: DigestTree.from(own),
        scope: EVERYTHING,
        window: WINDOW,
        topics: new TopicBook(),
        stop: new AbortController().signal,
      },
      seen,
    ),
  );
  return { seen, code };
}

describe('a look at a node with which much differs', () => {
  const times = Array.from({ length: 200 }, (_, at) => at * 4);
  const own = idsAt(times);
  const theirs = idsAt(times.map((time, at) => (at % 2 === 0 ? time : time + 1)));

  it.each([true, false])('is divided until sessions tell of all of it (they fail: %s)', async (fails) => {
    const sessions = new Sessions(theirs, 10, fails);
    const { seen, code } = await look(own, sessions);
    expect(code).toBeUndefined();
    expect(seen.dialect).toBe('native');
    expect(seen.view.covered).toEqual([WINDOW]);
    expect(seen.view.lacks.isStrictlyAscending()).toBe(true);
    const timesOf = (ids: SyncIdList): number[] =>
      Array.from({ length: ids.count }, (_, row) => Number(timeOf(ids.at(row))));
    expect(timesOf(seen.view.lacks)).toEqual(times.filter((_, at) => at % 2 === 1));
    expect(timesOf(seen.view.extra)).toEqual(times.filter((_, at) => at % 2 === 1).map((time) => time + 1));
    expect(sessions.windows.length).toBeGreaterThan(10);
    expect(seen.bytes).toBeGreaterThan(0);
  });

  it('says what it came to know, and that it is not all, where one moment alone is too much', async () => {
    const burst = idsAt([...times.slice(0, 100), ...Array.from({ length: 50 }, () => 777)]);
    const { seen, code } = await look(burst, new Sessions(idsAt(times.slice(0, 100)), 10, true));
    expect(code).toBe('SESSION_BUDGET');
    expect(seen.view.lacks.count).toBe(0);
    const [first] = seen.view.covered;
    expect(first?.sinceNs).toBe(0n);
    expect(first!.untilNs > 300n && first!.untilNs <= 777n).toBe(true);
    const isKnown = seen.view.covered.some((one) => one.sinceNs <= 777n && 777n < one.untilNs);
    expect(isKnown).toBe(false);
  });

  it('does not take for a difference what is here', async () => {
    const liar = new Sessions(own, 1_000, true);
    const compare = liar.compare;
    liar.compare = async (link, plan) => {
      const result = await compare(link, plan);
      plan.listing!.onDifferences(new SyncIdList(), own.slice(0, 5));
      return result;
    };
    const { seen } = await look(own, liar);
    expect(seen.view.extra.count).toBe(0);
    expect(compareIds(own.at(0), 0, own.at(1), 0)).toBeLessThan(0);
  });
});
