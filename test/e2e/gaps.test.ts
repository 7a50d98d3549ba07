/**
 * Gaps of a node that was away for days, in real processes over real sockets: killed again and again while it fills
 * one, with nobody to ask who goes back as far, and with a peer on its list that is never there. What it says of them
 * all the while, through HTTP and the `gaps` command, running and stopped.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { EVERYTHING } from '../../src/core/scope.ts';
import { LevelMessageStore } from '../../src/store/message-store.ts';
import { Ingest } from '../../src/sync/ingest.ts';
import { encodePulse } from '../../src/sync/ledger-record.ts';
import { silentLogger, systemClock, systemSha256 } from '../../src/system.ts';
import { parseMessageLine } from '../../src/wire/message-line.ts';
import { ago, digestOf, exported, lineOf, makeMessages } from './message-lines.ts';
import {
  ask,
  endAll,
  errorCode,
  type JsonObject,
  lacuna,
  lacunaJson,
  type RunningNode,
  startNode,
  temporaryFolder,
} from './process.ts';

// They wait for time to pass more than for anything else, and so they run side by side.
afterAll(endAll);

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const INTERVAL = ['--sync-interval', '1s', '--sync-jitter', '0s'];

/** A folder with these messages, of a node that was alive for the last time so long ago. */
async function folderOf(lines: readonly string[], aliveAgoMs: number): Promise<string> {
  const directory = await temporaryFolder();
  const own = { clock: systemClock, log: silentLogger, sha256: systemSha256 };
  const store = await LevelMessageStore.open({ directory, create: true, ...own });
  const ingest = new Ingest(store, systemClock, systemSha256);
  const stored = lines.map((line) => {
    const { message, hash } = parseMessageLine(line);
    const admission = ingest.examine(message, 0, hash);
    if ('refused' in admission) throw new Error(admission.refused);
    return admission.stored;
  });
  for (let from = 0; from < stored.length; from += 10_000)
    await ingest.append(stored.slice(from, from + 10_000));
  const pulse = { aliveMs: Date.now() - aliveAgoMs, scope: EVERYTHING, rounds: 0 };
  await store.records.put('pulse', encodePulse(pulse));
  await store.close();
  return directory;
}

interface GapJson extends JsonObject {
  readonly since: string;
  readonly until: string;
  readonly cause: string;
  readonly attempts: number;
  readonly lastPeer: string | null;
  readonly lastCode: string | null;
}

interface LedgerJson {
  readonly rows: readonly GapJson[];
  readonly closed: readonly (GapJson & { readonly verifiedWith: readonly string[] })[];
}

async function ledgerOf(node: RunningNode): Promise<LedgerJson> {
  return (await ask(node, '/api/v1/gaps')).json as unknown as LedgerJson;
}

/** As the command has it, of a node that runs, or of a folder that is left alone. */
async function gapsOf(data: string): Promise<LedgerJson> {
  const { code, json } = await lacunaJson(['gaps', '--data', data]);
  expect(code).toBe(0);
  return json as unknown as LedgerJson;
}

/** The gap that reaches back further than a day. */
function oldGap<T extends GapJson>(gaps: readonly T[]): T | undefined {
  return gaps.find(({ since }) => Date.parse(since) < Date.now() - DAY_MS);
}

async function messagesOf(node: RunningNode): Promise<number> {
  return Number((await ask(node, '/api/v1/status')).json['messages']);
}

async function peerOf(node: RunningNode, peerId: string): Promise<JsonObject | undefined> {
  const { json } = await ask(node, '/api/v1/peers');
  return (json['rows'] as JsonObject[]).find(({ peer }) => peer === peerId);
}

/** Looks again and again until there is something to see. */
async function until<T>(look: () => Promise<T | undefined>, timeoutMs = 45_000): Promise<T> {
  for (const deadlineMs = Date.now() + timeoutMs; ; ) {
    const seen = await look();
    if (seen !== undefined) return seen;
    if (Date.now() > deadlineMs) throw new Error(`not within ${timeoutMs} ms`);
    await pause(100);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function killed(node: RunningNode): Promise<void> {
  node.process.kill('SIGKILL');
  await node.process.ended;
}

async function stopped(node: RunningNode): Promise<void> {
  node.process.kill('SIGTERM');
  expect((await node.process.ended).code).toBe(0);
}

async function exportOf(data: string): Promise<ReturnType<typeof digestOf>> {
  return digestOf((await lacuna(['export', '--data', data])).stdout);
}

/** How often it said that a session which it had asked for failed with this code. */
function failures(node: RunningNode, code: string, peer: string): JsonObject[] {
  return node.process.logs.filter((line) => line['code'] === code && line['peer'] === peer && 'gaps' in line);
}

/** Sessions that the node ran with a peer and that ended well. */
function sessionsWith(node: RunningNode, peerId: string): number {
  return node.process.events.filter(
    (event) => event['event'] === 'session' && event['peer'] === peerId && errorCode(event) === undefined,
  ).length;
}

describe.concurrent('a node that was away for days', () => {
  const before = makeMessages(200, ago(4 * DAY_MS), 1_000_000_000n).map(lineOf);

  it('fills the gap though it is killed twice meanwhile, and says with whom', async () => {
    const missed = makeMessages(30_000, ago(2 * HOUR_MS), 6_000_000_000n).map(lineOf);
    const [peerData, data] = await Promise.all([
      folderOf([...before, ...missed], 60_000),
      folderOf(before, 3 * DAY_MS),
    ]);
    const peer = await startNode(peerData, ['--upload-rate', '900kB']);
    const own: string[] = [];
    let stored = before.length;
    let since: string | undefined;
    const args = [...INTERVAL, '--peer', peer.address];
    for (let run = 0; run < 2; run++) {
      const node = await startNode(data, args);
      // What was on the disk before, and what it was told meanwhile, are still there.
      expect(await messagesOf(node)).toBeGreaterThanOrEqual(stored);
      const open = oldGap((await ledgerOf(node)).rows);
      expect(open).toMatchObject({ cause: 'downtime' });
      since ??= open?.since;
      expect(open?.since).toBe(since);
      const lines = makeMessages(20, ago(1_000), 1_000_000n, { seed: `run ${run}` }).map(lineOf);
      const told = await ask(
        node,
        '/store/v1/messages',
        lines.map((line) => JSON.parse(line) as unknown),
      );
      expect(told.json).toMatchObject({ stored: lines.length });
      own.push(...lines);
      const enough = stored + 4_000;
      stored = await until(async () => {
        const messages = await messagesOf(node);
        return messages >= enough ? messages : undefined;
      });
      await killed(node);
      expect(stored).toBeLessThan(before.length + missed.length);
      // Of a node that was killed, the folder tells.
      expect(oldGap((await gapsOf(data)).rows)).toMatchObject({ since, cause: 'downtime' });
    }

    const node = await startNode(data, args);
    expect(await messagesOf(node)).toBeGreaterThanOrEqual(stored);
    // To the end of the last downtime, and of what a publisher's clock may be off by.
    const closed = await until(async () => {
      const ledger = await ledgerOf(node);
      return ledger.rows.length === 0 ? ledger.closed : undefined;
    });
    expect(oldGap(closed)).toMatchObject({ since, cause: 'downtime', verifiedWith: [peer.peerId] });
    for (const { verifiedWith } of closed) expect(verifiedWith).toEqual([peer.peerId]);
    const all = [...before, ...missed, ...own];
    await until(async () => ((await messagesOf(peer)) === all.length ? true : undefined));
    await Promise.all([stopped(node), stopped(peer)]);
    expect(await gapsOf(data)).toMatchObject({ rows: [] });
    expect(await exportOf(data)).toEqual(digestOf(exported(all)));
    expect(await exportOf(peerData)).toEqual(digestOf(exported(all)));
  });

  it('keeps a gap that is older than all that its peer has, asks rarely, and closes it with one who has it', async () => {
    const missed = makeMessages(500, ago(2 * DAY_MS), 1_000_000_000n).map(lineOf);
    const recent = makeMessages(50, ago(60_000), 1_000_000_000n).map(lineOf);
    const [shortData, longData, data] = await Promise.all([
      folderOf(recent, 60_000),
      folderOf([...before, ...missed, ...recent], 60_000),
      folderOf(before, 3 * DAY_MS),
    ]);
    const short = await startNode(shortData, ['--retention', 'time:3h']);
    const args = [...INTERVAL, '--peer', short.address];
    const node = await startNode(data, args);
    /** The gap as it is when it was tried for more often than that, in vain. */
    const asked = async (node: RunningNode, attempts = 0): Promise<GapJson> =>
      await until(async () => {
        const gap = oldGap((await ledgerOf(node)).rows);
        return gap?.lastCode === 'SESSION_WINDOW' && gap.attempts > attempts ? gap : undefined;
      });
    await asked(node);
    await until(async () => ((await messagesOf(node)) === before.length + recent.length ? true : undefined));

    const roundsBefore = sessionsWith(node, short.peerId);
    const failuresBefore = failures(node, 'SESSION_WINDOW', short.peerId).length;
    await pause(8_000);
    // Its peer is asked for the recent past as before, and hardly ever for what it does not have.
    expect(sessionsWith(node, short.peerId) - roundsBefore).toBeGreaterThanOrEqual(4);
    expect(failures(node, 'SESSION_WINDOW', short.peerId).length - failuresBefore).toBeLessThanOrEqual(1);
    const open = await asked(node);
    expect(open).toMatchObject({ cause: 'downtime', lastPeer: short.peerId, lastCode: 'SESSION_WINDOW' });
    expect(open.attempts).toBeLessThanOrEqual(4);
    // What the peer does have of the time is no gap any more.
    expect(Date.now() - Date.parse(open.until)).toBeGreaterThan(2 * HOUR_MS);
    expect((await ask(node, '/readyz')).status).toBe(200);

    const [running, shown] = await Promise.all([gapsOf(data), lacuna(['gaps', '--data', data])]);
    expect(oldGap(running.rows)).toMatchObject({ since: open.since, until: open.until });
    expect(shown.code).toBe(0);
    expect(shown.stdout).toContain('SESSION_WINDOW');
    await stopped(node);
    const [left, shownAgain] = [await gapsOf(data), await lacuna(['gaps', '--data', data])];
    expect(oldGap(left.rows)).toMatchObject({ since: open.since, until: open.until, lastPeer: short.peerId });
    expect(oldGap(left.rows)!.attempts).toBeGreaterThanOrEqual(open.attempts);
    expect([shownAgain.code, shownAgain.stdout.includes('SESSION_WINDOW')]).toEqual([0, true]);

    const again = await startNode(data, args);
    await asked(again, oldGap(left.rows)!.attempts);
    const long = await startNode(longData, [...INTERVAL, '--peer', again.address]);
    const closed = await until(async () => oldGap((await ledgerOf(again)).closed));
    expect(closed).toMatchObject({ since: open.since, verifiedWith: [long.peerId] });
    expect(oldGap((await ledgerOf(again)).rows)).toBeUndefined();
    await Promise.all([stopped(again), stopped(long), stopped(short)]);
    const all = [...before, ...missed, ...recent];
    expect(await exportOf(data)).toEqual(digestOf(exported(all)));
    // And whoever does not keep that time was not given it.
    expect(await exportOf(shortData)).toEqual(digestOf(exported(recent)));
  });

  it('is held up by no peer that is never there, and tells which one that is', async () => {
    const [peerData, data] = await Promise.all([
      folderOf(before, 60_000),
      folderOf(before.slice(0, 100), 5 * DAY_MS),
    ]);
    // An address on which nobody listens any more, and one on which somebody will again.
    const gone = await startNode(await temporaryFolder());
    const peer = await startNode(peerData);
    await Promise.all([stopped(gone), stopped(peer)]);
    const node = await startNode(data, [...INTERVAL, '--peer', gone.address]);
    const failed = await until(async () => {
      const gap = oldGap((await ledgerOf(node)).rows);
      return gap?.lastCode == null ? undefined : gap;
    });
    expect(failed.attempts).toBeGreaterThanOrEqual(1);
    expect(failed).toMatchObject({ lastPeer: gone.peerId, lastCode: 'PEER_UNREACHABLE' });
    const [running, shown] = await Promise.all([gapsOf(data), lacuna(['gaps', '--data', data])]);
    expect(oldGap(running.rows)).toMatchObject({ lastPeer: gone.peerId, lastCode: 'PEER_UNREACHABLE' });
    expect([shown.code, shown.stdout.includes('PEER_UNREACHABLE')]).toEqual([0, true]);
    expect((await ask(node, '/readyz')).json).toEqual({ ready: true });
    await stopped(node);

    const listen = peer.address.replace(/\/p2p\/.*/, '');
    const back = await startNode(peerData, ['--listen', listen]);
    const both = await startNode(data, [...INTERVAL, '--peer', gone.address, '--peer', back.address]);
    const startedMs = Date.now();
    const closed = await until(async () => oldGap((await ledgerOf(both)).closed), 5_000);
    expect(closed.verifiedWith).toEqual([back.peerId]);
    const roundsBefore = sessionsWith(both, back.peerId);
    await pause(8_000);
    // A round whose turn it was to fail is made up for at once with the other one.
    expect(sessionsWith(both, back.peerId) - roundsBefore).toBeGreaterThanOrEqual(6);
    // Left alone for 1, 2, 4 s and then four intervals at a time.
    const tries = failures(both, 'PEER_UNREACHABLE', gone.peerId).length;
    expect(tries).toBeGreaterThanOrEqual(1);
    expect(tries).toBeLessThanOrEqual(4 + (Date.now() - startedMs) / 3_600);
    expect((await ask(both, '/readyz')).json).toEqual({ ready: true });
    expect(await peerOf(both, gone.peerId)).toMatchObject({
      connected: false,
      lastCode: 'PEER_UNREACHABLE',
      lastVerifiedAt: null,
      failures: tries,
    });
    expect(await peerOf(both, back.peerId)).toMatchObject({ failures: 0, lastCode: null, retryAt: null });
    expect((await peerOf(both, back.peerId))!['lastVerifiedAt']).not.toBeNull();
    await Promise.all([stopped(both), stopped(back)]);
    expect(await exportOf(data)).toEqual(digestOf(exported(before)));
  });
});
