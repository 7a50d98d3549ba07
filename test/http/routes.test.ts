/** What a node shows of itself over HTTP, and what it can be asked for, whatever the node is. */
import { get } from 'node:http';
import { describe, expect, it } from 'vitest';
import { LacunaError } from '../../src/errors.ts';
import { nodeRoutes } from '../../src/http/routes.ts';
import { LIMITS } from '../../src/limits.ts';
import { formatTimeNs, nsFromMs } from '../../src/time.ts';
import { NOW_MS, NOW_NS, samples } from '../sample-messages.ts';
import { ask, begin, refusal, serve } from './asking.ts';
import {
  auditEntry,
  clock,
  closedGap,
  gap,
  knownPeer,
  PlainNode,
  runningSession,
  sessionResult,
  verification,
} from './plain-node.ts';

async function shown(node: PlainNode): Promise<string> {
  return await serve(nodeRoutes(node, '/', clock.nowMs));
}

const post = (body: unknown): { method: string; body: string } => ({
  method: 'POST',
  body: JSON.stringify(body),
});
const at = (ms: number): string => formatTimeNs(nsFromMs(ms));

describe('readiness', () => {
  it('is of a node that serves and a store that takes writes, and says what is not so', async () => {
    const node = new PlainNode();
    const url = await shown(node);
    const answer = async (): Promise<unknown> => {
      const { status, json } = await ask(url, '/readyz');
      return [status, json['ready'], json['reasons']];
    };
    expect(await answer()).toEqual([200, true, undefined]);
    node.state = 'starting';
    expect(await answer()).toEqual([503, false, ['NODE_STARTING']]);
    node.state = 'stopping';
    node.store.writable = false;
    expect(await answer()).toEqual([503, false, ['NODE_STOPPING', 'STORE_CLOSED']]);
    node.state = 'serving';
    node.store.fault = new LacunaError('STORE_FAULT', 'for the test');
    expect(await answer()).toEqual([503, false, ['STORE_FAULT']]);
    // Alive it is all the time: a supervisor that started it anew would mend nothing.
    expect((await ask(url, '/healthz')).status).toBe(200);
    expect((await ask(url, '/api/v1/status')).json).toMatchObject({
      writable: false,
      fault: { code: 'STORE_FAULT' },
    });
  });
});

describe('the ledger', () => {
  it('is shown whole, its times as text', async () => {
    const node = new PlainNode();
    const url = await shown(node);
    expect((await ask(url, '/api/v1/gaps')).json).toEqual({ rows: [], verified: [], closed: [] });
    node.open.push(gap, {
      ...gap,
      id: 8,
      lastPeer: undefined,
      lastAttemptMs: undefined,
      lastCode: undefined,
    });
    node.closed.push(closedGap);
    node.verifications.push(verification);
    const row = {
      id: 7,
      since: formatTimeNs(gap.sinceNs),
      until: formatTimeNs(gap.untilNs),
      scope: gap.scope,
      cause: 'downtime',
      openedAt: at(gap.openedMs),
      attempts: 2,
      lastPeer: 'peer-a',
      lastAttemptAt: at(NOW_MS - 60_000),
      lastCode: 'PEER_TIMEOUT',
    };
    expect((await ask(url, '/api/v1/gaps')).json).toEqual({
      rows: [row, { ...row, id: 8, lastPeer: null, lastAttemptAt: null, lastCode: null }],
      verified: [
        {
          since: '1970-01-01T00:00:00Z',
          until: formatTimeNs(NOW_NS),
          scope: verification.scope,
          peer: 'peer-b',
          verifiedAt: at(verification.verifiedMs),
        },
      ],
      closed: [{ ...row, id: 3, closedAt: at(NOW_MS), verifiedWith: ['peer-b'] }],
    });
  });
});

describe('sessions and peers', () => {
  it('are those that run, and the last that ended, the newest first', async () => {
    const node = new PlainNode();
    const url = await shown(node);
    node.running.push(runningSession({ role: 'responder' }));
    for (let round = 0; round < LIMITS.sessionsShown + 5; round++) {
      node.events.emit({ event: 'session', result: sessionResult({ received: round }), error: undefined });
    }
    node.events.emit({
      event: 'session',
      result: sessionResult(),
      error: new LacunaError('PEER_TIMEOUT', 'for the test'),
    });
    const { running, ended } = (await ask(url, '/api/v1/sessions')).json as Record<string, object[]>;
    expect(running).toMatchObject([{ peer: 'peer-a', role: 'responder' }]);
    expect(ended).toHaveLength(LIMITS.sessionsShown);
    expect(ended![0]).toMatchObject({ error: { code: 'PEER_TIMEOUT' }, endedAt: at(NOW_MS) });
    expect(ended![1]).toMatchObject({ received: LIMITS.sessionsShown + 4, since: '1970-01-01T00:00:00Z' });
    expect(ended![1]).not.toHaveProperty('error');
  });

  it('are peers as they are known', async () => {
    const node = new PlainNode();
    const url = await shown(node);
    node.known.push(knownPeer);
    expect((await ask(url, '/api/v1/peers')).json).toEqual({
      rows: [
        {
          peer: 'peer-a',
          addresses: knownPeer.addresses,
          source: 'static',
          connected: true,
          dialect: 'native',
          lastSessionAt: at(NOW_MS - 60_000),
          lastVerifiedAt: null,
          failures: 0,
          lastCode: null,
          retryAt: null,
          skewMs: -1_500,
        },
      ],
    });
  });
});

describe('counts', () => {
  it('are by hour, by day or of all, as the query says', async () => {
    const url = await shown(new PlainNode(7_200));
    const { json } = await ask(url, '/api/v1/counts?by=hour&since=30d&until=now');
    expect(json).toMatchObject({ total: 7_200, bytes: expect.any(Number) });
    const rows = json['rows'] as { bucket: string; messages: number; bytes: number }[];
    expect(rows.map(({ messages }) => messages)).toEqual([3_600, 3_600]);
    expect(rows.map(({ bucket }) => bucket)).toEqual([...rows.map(({ bucket }) => bucket)].sort());
    expect(rows.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(json['bytes']);
    expect((await ask(url, '/api/v1/counts')).json['rows']).toMatchObject([{ bucket: 'all' }]);
  });

  it('refuse what is no query of theirs', async () => {
    const url = await shown(new PlainNode());
    for (const query of [
      'by=week',
      'by=hour&by=day',
      'since=yesterday',
      'since=1h&until=2h',
      'more=1',
      'until=',
      '__proto__=1',
    ]) {
      expect([query, await refusal(url, `/api/v1/counts?${query}`)]).toEqual([query, [400, 'USAGE']]);
    }
  });

  function closeGate(node: PlainNode): () => void {
    let open = (): void => undefined;
    node.store.gate = new Promise((resolve) => {
      open = resolve;
    });
    return () => open();
  }

  it('are a few at a time', async () => {
    const node = new PlainNode(10);
    const url = await shown(node);
    const open = closeGate(node);
    const asked = Array.from({ length: LIMITS.httpCounts }, () => begin(url, '/api/v1/counts'));
    await expect.poll(() => node.store.scanning).toBe(LIMITS.httpCounts);
    expect(await refusal(url, '/api/v1/counts')).toEqual([429, 'HTTP_BUSY']);
    open();
    for (const response of await Promise.all(asked)) expect(response.statusCode).toBe(200);
    expect((await ask(url, '/api/v1/counts')).status).toBe(200);
    expect(node.store.scanning).toBe(0);
  });

  it('end when nobody waits for them any more', async () => {
    const node = new PlainNode(10);
    const url = await shown(node);
    const open = closeGate(node);
    const asked = get(`${url}/api/v1/counts`).on('error', () => undefined);
    await expect.poll(() => node.store.scanning).toBe(1);
    asked.destroy();
    await new Promise((resolve) => setTimeout(resolve, 50));
    open();
    await expect.poll(() => node.store.scanning).toBe(0);
    expect(node.store.visited).toBe(1);
  });
});

describe('the explanation of a message', () => {
  const hash = `0x${'ab'.repeat(32)}`;
  const id = samples(1)[0]!.id;

  it('says what is known of it, or since when it is missed', async () => {
    const node = new PlainNode();
    const url = await shown(node);
    expect(await refusal(url, `/api/v1/explain?hash=${hash}`)).toEqual([404, 'MESSAGE_UNKNOWN']);
    const absent = { timestamp: NOW_NS, sinceMs: NOW_MS, askedPeers: ['peer-a', 'peer-b'] };
    node.missing = { find: (asked) => (asked === hash ? absent : undefined) };
    expect((await ask(url, `/api/v1/explain?hash=${hash.slice(2).toUpperCase()}`)).json).toMatchObject({
      messageHash: hash,
      state: 'missing',
      timestamp: String(NOW_NS),
      arrival: null,
      missing: { since: new Date(NOW_MS).toISOString(), askedPeers: ['peer-a', 'peer-b'] },
    });
    // It came after all.
    const arrival = { atMs: NOW_MS, by: { path: 'http' } } as const;
    const message = { pubsubTopic: 'p', contentTopic: 'c', bytes: 7 };
    node.store.known = { id, state: 'stored', message, arrival, hasDamagedCopy: false };
    expect((await ask(url, `/api/v1/explain?hash=${hash}`)).json).toMatchObject({
      state: 'stored',
      bytes: 7,
      arrival: { at: new Date(NOW_MS).toISOString(), path: 'http', dialect: null, peer: null },
      missing: null,
    });
  });

  it('is refused for what is no hash', async () => {
    const url = await shown(new PlainNode());
    const digits = 'ab'.repeat(32);
    const queries = [
      '',
      'hash=',
      'hash=0x',
      `hash=${digits}0`,
      `hash=${digits.slice(1)}g`,
      `hash=0x0x${digits}`,
    ];
    queries.push(`hash=${digits}&hash=${digits}`, `hash=${digits}&more=1`, `hash=${'a'.repeat(10_000)}`);
    queries.push(`hash=${digits}%00`, `hash=%ff${digits.slice(2)}`, `hash[]=${digits}`);
    for (const query of queries) {
      expect([query, await refusal(url, `/api/v1/explain?${query}`)]).toEqual([query, [400, 'USAGE']]);
    }
    const via = await refusal(url, '/store/v1/messages?via=elsewhere', post([]));
    expect(via).toEqual([400, 'USAGE']);
  });

  it('is looked for a few at a time', async () => {
    const node = new PlainNode();
    let open = (): void => undefined;
    node.store.gate = new Promise((resolve) => {
      open = resolve;
    });
    const url = await shown(node);
    const path = `/api/v1/explain?hash=${hash}`;
    const asked = Array.from({ length: LIMITS.httpExplanations }, () => begin(url, path));
    await expect.poll(() => node.store.scanning).toBe(LIMITS.httpExplanations);
    expect(await refusal(url, path)).toEqual([429, 'HTTP_BUSY']);
    open();
    for (const response of await Promise.all(asked)) expect(response.statusCode).toBe(404);
    expect(await refusal(url, path)).toEqual([404, 'MESSAGE_UNKNOWN']);
  });
});

describe('what a node can be asked to do', () => {
  it('is to audit, in words that mean something, and when there is room for it', async () => {
    const node = new PlainNode();
    const url = await shown(node);
    const peers = ['/ip4/127.0.0.1/tcp/1/p2p/peer-a'];
    expect(await refusal(url, '/api/v1/audit', post({ peers }))).toEqual([429, 'SESSION_BUSY']);
    const wrong = [
      {},
      { peers: [] },
      { peers: Array.from({ length: LIMITS.auditNodes + 1 }, () => peers[0]) },
      { peers, bucket: 'often' },
      { peers, bucket: '0s' },
      { peers, bucket: '-1h' },
      { peers, late: 'soon' },
      { peers, since: 'yesterday' },
      { peers, push: true },
      { peers, repair: 'yes' },
      { peers, more: 1 },
      null,
    ];
    for (const body of wrong) expect(await refusal(url, '/api/v1/audit', post(body))).toEqual([400, 'USAGE']);
    node.audits.push(auditEntry);
    expect((await ask(url, '/api/v1/audits')).json).toMatchObject({
      rows: [{ at: at(auditEntry.atMs).replace('Z', '.000Z'), total: 100, agree: false }],
    });
  });

  it('is to prune, and to say what that would remove', async () => {
    const node = new PlainNode();
    const url = await shown(node);
    expect((await ask(url, '/api/v1/prune', post({}))).json).toEqual({ removed: 5, bytes: 500 });
    await ask(url, '/api/v1/prune', post({ dryRun: true }));
    expect(node.store.passes).toEqual([false, true]);
    for (const body of [{ dryRun: 'yes' }, { dry: true }, [], null]) {
      expect(await refusal(url, '/api/v1/prune', post(body))).toEqual([400, 'USAGE']);
    }
    expect(node.store.passes).toHaveLength(2);
  });

  it('is no more than a small request', async () => {
    const url = await shown(new PlainNode());
    const body = ' '.repeat(LIMITS.httpCommandBytes + 1);
    for (const path of ['/api/v1/prune', '/api/v1/sync', '/api/v1/audit']) {
      expect(await refusal(url, path, { method: 'POST', body })).toEqual([413, 'HTTP_BODY_TOO_LARGE']);
    }
  });
});

describe('events', () => {
  it('are sent as they are printed, each with an id of its own', async () => {
    const node = new PlainNode();
    const url = await shown(node);
    const response = await begin(url, '/api/v1/events');
    let text = '';
    response.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
    await expect.poll(() => text).not.toBe('');
    const peerGaps = [{ sinceNs: 0n, untilNs: 1_000_000_000n }];
    node.events.emit({ event: 'session', result: sessionResult({ peerGaps }), error: undefined });
    node.events.emit({ event: 'gap-opened', gap });
    node.events.emit({ event: 'gap-closed', gap: closedGap });
    node.events.emit({ event: 'fault', error: new LacunaError('STORE_FAULT', 'two\nlines') });
    node.events.emit({ event: 'recovered' });
    node.events.emit({ event: 'pruned', removed: 3, bytes: 300 });
    node.events.emit({ event: 'skew', peer: 'peer-a', skewMs: -20_000 });
    await expect.poll(() => text).toContain('event: skew');
    const blocks = [...text.matchAll(/^id: (.+)\nevent: (.+)\ndata: (.+)\n\n/gm)];
    const events = blocks.map(([, , event, data]) => ({ event, data: JSON.parse(data!) as unknown }));
    expect(events).toMatchObject([
      {
        event: 'session',
        data: {
          event: 'session',
          peer: 'peer-a',
          received: 10,
          peerGaps: [{ since: '1970-01-01T00:00:00Z', until: '1970-01-01T00:00:01Z' }],
        },
      },
      { event: 'gap-opened', data: { event: 'gap-opened', id: 7, cause: 'downtime' } },
      { event: 'gap-closed', data: { event: 'gap-closed', id: 3, verifiedWith: ['peer-b'] } },
      { event: 'fault', data: { event: 'fault', error: { code: 'STORE_FAULT' } } },
      { event: 'recovered', data: { event: 'recovered' } },
      { event: 'pruned', data: { event: 'pruned', removed: 3, bytes: 300 } },
      { event: 'skew', data: { event: 'skew', peer: 'peer-a', skewMs: -20_000 } },
    ]);
    expect(new Set(blocks.map(([, id]) => id)).size).toBe(events.length);
  });
});
