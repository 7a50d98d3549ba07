/**
 * What operators run a node with: events and metrics over HTTP, the token, the gaps and status commands, and the
 * dashboard, alerts and scrape example, which may speak of nothing that a node does not tell.
 */
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { nodeRoutes } from '../../src/http/routes.ts';
import { ask as askHttp, askText, begin, refusal, serve } from '../http/asking.ts';
import { PlainNode, tellEverything } from '../http/plain-node.ts';
import { namesOf, samplesOf } from '../http/prometheus-text.ts';
import { ago, lineOf, makeMessages, text } from './message-lines.ts';
import {
  endAll,
  failureCode,
  type JsonObject,
  LacunaProcess,
  lacuna,
  lacunaJson,
  sessionOf,
  startNode,
  temporaryFolder,
} from './process.ts';

afterEach(endAll);

const recent = makeMessages(40, ago(120_000), 1_000_000_000n).map(lineOf);
const TOKEN = 'a-token-of-more-than-sixteen';

describe('a node that asks for a token', () => {
  const environment = { LACUNA_HTTP_TOKEN: TOKEN };
  const headers = { authorization: `Bearer ${TOKEN}` };

  it('is reached from other machines, by whoever has it, and by commands that know it', async () => {
    const data = await temporaryFolder();
    const file = join(await temporaryFolder(), 'token');
    await writeFile(file, `${TOKEN}\n`);
    const node = await startNode(data, ['--http', '0.0.0.0:0', '--http-token-file', file]);
    expect(await refusal(node.http, '/api/v1/status')).toEqual([401, 'HTTP_UNAUTHORIZED']);
    expect((await askHttp(node.http, '/readyz')).status).toBe(200);
    expect((await askHttp(node.http, '/api/v1/status', { headers })).json).toMatchObject({
      peerId: node.peerId,
    });
    expect(readFileSync(join(data, 'http.json'), 'utf8')).not.toContain(TOKEN);

    const input = text(recent);
    const imported = await lacunaJson(['import', '-', '--data', data], { input, environment });
    expect(imported.json).toMatchObject({ stored: recent.length });
    const counted = await lacunaJson(['count', '--by', 'day', '--data', data, '--http-token-file', file]);
    expect(counted.json).toMatchObject({ total: recent.length });
    const unnamed = await lacuna(['status', '--data', data]);
    expect([unnamed.code, failureCode(unnamed)]).toEqual([1, 'HTTP_UNAUTHORIZED']);
    const wrong = await lacuna(['gaps', '--data', data], { environment: { LACUNA_HTTP_TOKEN: `${TOKEN}!` } });
    expect([wrong.code, failureCode(wrong)]).toEqual([1, 'HTTP_UNAUTHORIZED']);
  });

  it.each([
    ['beyond the loopback interface without one', ['--http', '0.0.0.0:0'], {}],
    ['with one that is short', ['--http', '127.0.0.1:0'], { LACUNA_HTTP_TOKEN: 'short' }],
    ['with a file that is not there', ['--http-token-file', '/nowhere/token'], {}],
    ['with two', ['--http-token-file', '/nowhere/token'], environment],
    ['with one that no header carries', ['--http', '127.0.0.1:0'], { LACUNA_HTTP_TOKEN: `${TOKEN} ü` }],
  ])('does not start %s', async (_, args, settings) => {
    const data = await temporaryFolder();
    const ended = await lacuna(['start', '--data', data, ...args], { environment: settings });
    expect([ended.code, failureCode(ended)]).toEqual([1, 'CONFIG_INVALID']);
    const checked = await lacuna(['config', 'validate', ...(args[0] === '--http' ? [] : args)], {
      environment: { ...settings, ...(args[0] === '--http' ? { LACUNA_HTTP: args[1]! } : {}) },
    });
    expect([checked.code, failureCode(checked)]).toEqual([1, 'CONFIG_INVALID']);
  });

  it('does not print it', async () => {
    const { stdout } = await lacuna(['config', 'validate'], { environment });
    expect(stdout).not.toContain(TOKEN);
  });
});

describe('what a node tells', () => {
  it('of a session: an event on stdout and over HTTP, the list of sessions, metrics', async () => {
    const [peerData, data] = [await temporaryFolder(), await temporaryFolder()];
    await lacunaJson(['import', '-', '--data', peerData], { input: text(recent) });
    const peer = await startNode(peerData);
    const node = await startNode(data);
    const stream = await begin(node.http, '/api/v1/events');
    let streamed = '';
    stream.setEncoding('utf8').on('data', (part: string) => {
      streamed += part;
    });
    // The node may have begun one of its own as soon as it knew the peer: the messages are shared then.
    expect(await sessionOf(node, peer.address)).toMatchObject({ verified: true });
    const store = async (): Promise<unknown> => (await askHttp(node.http, '/api/v1/status')).json['messages'];
    await expect.poll(store).toBe(recent.length);
    await expect.poll(() => streamed).toContain('event: session');
    const sent = /^event: session\ndata: (.*)$/m.exec(streamed)?.[1];
    const printed = await node.process.event(({ event }) => event === 'session');
    expect(JSON.parse(sent!)).toEqual(printed);

    const received = (sessions: JsonObject[]): number =>
      sessions.reduce((sum, session) => sum + Number(session['received']), 0);
    const list = async (): Promise<JsonObject[]> =>
      (await askHttp(node.http, '/api/v1/sessions')).json['ended'] as JsonObject[];
    await expect.poll(async () => received(await list())).toBe(recent.length);
    expect(await list()).toContainEqual(expect.objectContaining({ peer: peer.peerId, verified: true }));

    const samples = samplesOf((await askText(node.http, '/metrics')).text);
    const metric = (name: string, labels: JsonObject = {}): number | undefined =>
      samples.find((sample) => sample.name === name && matches(sample.labels, labels))?.value;
    expect(metric('lacuna_store_messages')).toBe(recent.length);
    expect(metric('lacuna_messages_received_total')).toBe(recent.length);
    expect(metric('lacuna_ingested_messages_total', { result: 'stored' })).toBe(recent.length);
    const verified = { dialect: 'native', role: 'initiator', result: 'verified' };
    expect(metric('lacuna_sessions_total', verified)).toBeGreaterThanOrEqual(1);
    expect(metric('lacuna_last_verification_age_seconds', { scope: 'all' })).toBeLessThan(60);
    expect(samples.filter(({ name }) => name === 'lacuna_bytes_total')).not.toEqual([]);

    const counts = await askHttp(node.http, '/api/v1/counts?by=hour');
    expect(counts.json).toMatchObject({ total: recent.length });
    const closed = new Promise((resolve) => stream.on('error', resolve).on('end', resolve));
    node.process.kill('SIGTERM');
    await closed;
    expect((await node.process.ended).code).toBe(0);
  });

  it('of gaps and status, through commands; status again and again until it is told to stop', async () => {
    const data = await temporaryFolder();
    const node = await startNode(data);
    const { code, json } = await lacunaJson(['gaps', '--data', data]);
    expect([code, Object.keys(json).sort()]).toEqual([0, ['closed', 'rows', 'verified']]);
    expect((await lacuna(['gaps', '--data', data])).code).toBe(0);
    expect((await lacuna(['status', '--data', data])).code).toBe(0);
    const watch = new LacunaProcess(['status', '--watch', '--json', '--data', data]);
    await watch.until(() => (watch.events.length >= 3 ? true : undefined));
    expect(watch.events[2]).toMatchObject({ running: true, peerId: node.peerId, state: 'serving' });
    node.process.kill('SIGTERM');
    await node.process.ended;
    await watch.event(({ running }) => running === false);
    watch.kill('SIGINT');
    expect((await watch.ended).code).toBe(0);
    const stopped = await lacunaJson(['gaps', '--data', data]);
    expect([stopped.code, Object.keys(stopped.json).sort()]).toEqual([0, ['closed', 'rows', 'verified']]);
  });
});

describe('the files to operate with', () => {
  const dashboardSchema = z.object({
    panels: z.array(z.object({ targets: z.array(z.object({ expr: z.string() })).optional() })),
    templating: z.object({ list: z.array(z.object({ query: z.unknown() })) }),
  });
  const alertsSchema = z.strictObject({
    groups: z.array(
      z.strictObject({
        name: z.string(),
        rules: z.array(
          z.strictObject({
            alert: z.string().regex(/^Lacuna[A-Z]/),
            expr: z.string(),
            for: z
              .string()
              .regex(/^\d+[smh]$/)
              .optional(),
            labels: z.strictObject({ severity: z.enum(['critical', 'warning', 'info']) }),
            annotations: z.strictObject({ summary: z.string(), description: z.string() }),
          }),
        ),
      }),
    ),
  });
  const scrapeSchema = z.looseObject({
    rule_files: z.array(z.string()),
    scrape_configs: z.array(z.looseObject({ job_name: z.string(), metrics_path: z.literal('/metrics') })),
  });

  const dashboard = dashboardSchema.parse(JSON.parse(operateFile('grafana-dashboard.json')));
  const alerts = alertsSchema.parse(parse(operateFile('alerts.yaml')));
  const expressions = [
    ...dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
    ...alerts.groups.flatMap(({ rules }) => rules.map(({ expr }) => expr)),
  ];

  it('are many, and name the rules and the job that there are', () => {
    expect(expressions.length).toBeGreaterThan(40);
    const scrape = scrapeSchema.parse(parse(operateFile('prometheus.yaml')));
    expect(scrape.rule_files).toEqual(['alerts.yaml']);
    expect(scrape.scrape_configs.map(({ job_name }) => job_name)).toEqual(['lacuna']);
    const names = alerts.groups.flatMap(({ rules }) => rules.map(({ alert }) => alert));
    expect(new Set(names).size).toBe(names.length);
  });

  it('ask for metrics that a running node has', async () => {
    const node = await startNode(await temporaryFolder());
    const known = namesOf((await askText(node.http, '/metrics')).text);
    const asked = new Set(expressions.flatMap((expression) => read(expression).metrics));
    expect([...asked].filter((name) => !known.has(name) && name !== 'up')).toEqual([]);
    // And leave none of our own out.
    const ours = [...known].filter((name) => name.startsWith('lacuna_') && !/_(sum|count)$/.test(name));
    expect(ours.filter((name) => !asked.has(name) && name !== 'lacuna_build_info')).toEqual([]);
  });

  it('ask for labels that these metrics have', async () => {
    const plain = new PlainNode();
    const url = await serve(nodeRoutes(plain, '/'));
    await tellEverything(plain);
    await askText(url, '/store/v3/messages');
    const samples = samplesOf((await askText(url, '/metrics')).text);
    const breaches = expressions.flatMap((expression) => {
      const { metrics, labels } = read(expression);
      const known = new Set(['job', 'instance']);
      for (const { name, labels: own } of samples)
        if (metrics.includes(name)) for (const label of Object.keys(own)) known.add(label);
      return labels.filter((label) => !known.has(label)).map((label) => `${label}: ${expression}`);
    });
    expect(breaches).toEqual([]);
  });

  it('are read as they are meant', () => {
    const { metrics, labels } = read(
      'histogram_quantile(0.5, sum by (le, dialect) (rate(a_b_bucket{x=~"$x",y="{z}"}[$__rate_interval])))' +
        ' > 0.5 * c unless on (job) d:e offset 5m',
    );
    expect(metrics).toEqual(['a_b_bucket', 'c', 'd:e']);
    expect(labels.sort()).toEqual(['dialect', 'job', 'le', 'x', 'y']);
  });
});

function operateFile(name: string): string {
  return readFileSync(fileURLToPath(new URL(`../../scripts/operate/${name}`, import.meta.url)), 'utf8');
}

function matches(labels: Readonly<Record<string, string>>, wanted: JsonObject): boolean {
  return Object.entries(wanted).every(([name, value]) => labels[name] === value);
}

const GROUPING = /\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)/g;
const SELECTOR = /\{([^}]*)\}/g;
const RANGE = /\[[^\]]*\]|\boffset\s+\w+/g;
const NAME = /(?<![\w:.])([a-zA-Z_:][\w:]*)\b(?!\s*\()/g;
const OPERATORS: ReadonlySet<string> = new Set(['and', 'or', 'unless', 'bool']);

/** The names of metrics and of labels in a PromQL expression. */
function read(expression: string): { metrics: string[]; labels: string[] } {
  const labels: string[] = [];
  const rest = expression
    .replace(/"(?:[^"\\]|\\.)*"/g, '""')
    .replace(GROUPING, (_, names: string) => {
      labels.push(...names.split(',').map((name) => name.trim()));
      return ' ';
    })
    .replace(SELECTOR, (_, matchers: string) => {
      labels.push(...[...matchers.matchAll(/([a-zA-Z_]\w*)\s*[=!]/g)].map(([, name]) => name!));
      return ' ';
    })
    .replace(RANGE, ' ');
  const metrics = [...rest.matchAll(NAME)].map(([, name]) => name!).filter((name) => !OPERATORS.has(name));
  return { metrics, labels: labels.filter((name) => name !== '') };
}
