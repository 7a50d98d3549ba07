/**
 * The files that Lacuna is deployed with: the image, the fleet in containers, the systemd unit, the example of a
 * configuration. They name flags, variables, ports and files, and each must be one that there is. What the dashboard
 * and the alerts ask for is held against a node in test/e2e/operate.test.ts.
 */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, readFileSync, symlinkSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { configSchema, environmentName } from '../src/config.ts';
import { LIMITS } from '../src/limits.ts';
import { parseDurationMs } from '../src/time.ts';
import { VERSION } from '../src/version.ts';
import {
  endAll,
  failureCode,
  LacunaProcess,
  lacuna,
  lacunaJson,
  startNode,
  temporaryFolder,
} from './e2e/process.ts';

afterEach(endAll);

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const run = promisify(execFile);
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

const SETTINGS: ReadonlySet<string> = new Set(Object.keys(configSchema.shape));
/** Names the file, and is no setting in it. */
const VARIABLES: ReadonlySet<string> = new Set([...[...SETTINGS].map(environmentName), 'LACUNA_CONFIG']);
const DEFAULTS = configSchema.parse({});
const DEPLOYED = [
  'Dockerfile',
  'compose.yaml',
  ...['lacuna.service', 'lacuna.yaml', 'prometheus.yaml'].map((name) => `scripts/operate/${name}`),
];

const manifest = z
  .object({ bin: z.record(z.string(), z.string()), scripts: z.record(z.string(), z.string()) })
  .parse(JSON.parse(read('package.json')));

interface Instruction {
  readonly word: string;
  readonly rest: string;
}

/** The stages of the image by name, the last one as '', each with its instructions in their order. */
const stages = stagesOf(read('Dockerfile'));
const build = stages.get('build') ?? [];
const image = stages.get('') ?? [];

function stagesOf(dockerfile: string): Map<string, Instruction[]> {
  const found = new Map<string, Instruction[]>();
  let stage: Instruction[] = [];
  const lines = dockerfile.replace(/^\s*#.*\n/gm, '').replace(/\\\n/g, ' ');
  for (const line of lines.split('\n').filter((text) => text.trim() !== '')) {
    const [, word = '', rest = ''] = /^(\S+)\s+(.*)$/.exec(line) ?? [];
    if (word === 'FROM') {
      stage = [];
      found.set(/ AS (\S+)$/.exec(rest)?.[1] ?? '', stage);
    }
    stage.push({ word, rest });
  }
  return found;
}

function all(stage: readonly Instruction[], word: string): string[] {
  return stage.filter((instruction) => instruction.word === word).map(({ rest }) => rest);
}

function one(stage: readonly Instruction[], word: string): string {
  const [rest, ...more] = all(stage, word);
  if (rest === undefined || more.length > 0) throw new Error(`${word} stands there once`);
  return rest;
}

function list(json: string): string[] {
  return z.array(z.string()).parse(JSON.parse(json));
}

/** What is copied out of the repository, as paths below it. */
const copied = all(build, 'COPY').flatMap((rest) => rest.split(/\s+/).slice(0, -1));

const composeSchema = z.looseObject({
  services: z.record(
    z.string(),
    z.looseObject({
      build: z.literal('.'),
      restart: z.string(),
      stop_grace_period: z.string(),
      environment: z.record(z.string(), z.string()),
      secrets: z.array(z.string()),
      ports: z.array(z.string()),
      volumes: z.array(z.string()),
    }),
  ),
  volumes: z.record(z.string(), z.null()),
  secrets: z.record(z.string(), z.object({ file: z.string() })),
});
const compose = composeSchema.parse(parse(read('compose.yaml'), { merge: true }));
const services = Object.entries(compose.services);

const unit = read('scripts/operate/lacuna.service');

/** The one value of a line of the unit. */
function unitValue(name: string): string {
  const values = [...unit.matchAll(new RegExp(`^${name}=(.*)$`, 'gm'))].map(([, value]) => value!);
  if (values.length !== 1) throw new Error(`${name} stands there once`);
  return values[0]!;
}

function portOf(place: string): number {
  return Number(/(?::|\/tcp\/)(\d+)$/.exec(place)?.[1]);
}

describe('the files to deploy with', () => {
  it('name no variable and no setting that there is not', () => {
    const named = DEPLOYED.flatMap((path) => read(path).match(/\bLACUNA_[A-Z_]+/g) ?? []);
    expect(new Set(named).size).toBeGreaterThan(5);
    expect(named.filter((name) => !VARIABLES.has(name))).toEqual([]);
    const example = read('scripts/operate/lacuna.yaml');
    const settings = [...example.matchAll(/^(?:# )?(\w+):(?:\s|$)/gm)].map(([, name]) => name!);
    expect(settings).toEqual(expect.arrayContaining(['peer', 'listen', 'retention', 'http']));
    expect(settings.filter((name) => !SETTINGS.has(name))).toEqual([]);
  });

  it('agree on the port of the HTTP interface', () => {
    const port = portOf(DEFAULTS.http);
    const prometheus = z
      .looseObject({
        scrape_configs: z.array(
          z.looseObject({ static_configs: z.array(z.object({ targets: z.array(z.string()) })) }),
        ),
      })
      .parse(parse(read('scripts/operate/prometheus.yaml')));
    const targets = prometheus.scrape_configs.flatMap(({ static_configs }) =>
      static_configs.flatMap((config) => config.targets),
    );
    expect(targets.map(portOf)).toEqual([port]);
    expect(portOf(configSchema.parse(parse(read('scripts/operate/lacuna.yaml'))).http)).toBe(port);
    expect(/http:\/\/127\.0\.0\.1:(\d+)\/readyz/.exec(one(image, 'HEALTHCHECK'))?.[1]).toBe(String(port));
    for (const [, { environment }] of services) expect(portOf(environment['LACUNA_HTTP']!)).toBe(port);
    const listening = DEFAULTS.listen.map(portOf);
    expect(one(image, 'EXPOSE').split(' ').map(Number).sort()).toEqual([...listening, port].sort());
  });
});

describe('the image', () => {
  it('is built of files that are there and that the build is given', () => {
    expect(copied).toEqual(expect.arrayContaining(['package.json', 'src']));
    expect(copied.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
    const [everything, ...given] = read('.dockerignore')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    expect(everything).toBe('*');
    expect(given.map((line) => line.replace(/^!/, '')).sort()).toEqual([...copied].sort());
  });

  it('is whole: it compiles from what is copied, and runs with what is taken over', async () => {
    const [buildFolder, folder] = [await temporaryFolder(), await temporaryFolder()];
    for (const path of copied) cpSync(join(ROOT, path), join(buildFolder, path), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules'), join(buildFolder, 'node_modules'));
    const script = /npm run (\w+)/.exec(all(build, 'RUN').join('\n'))?.[1];
    expect(manifest.scripts[script!]).toBe('tsc -p src');
    // Whether the types are right is not asked here; a file that is left out is missed when the program is loaded.
    await run(join(ROOT, 'node_modules/.bin/tsc'), ['-p', 'src', '--noCheck'], { cwd: buildFolder });
    const workFolder = one(build, 'WORKDIR');
    for (const rest of all(image, 'COPY')) {
      const [, path] = new RegExp(`^--from=build ${workFolder}/(\\S+) \\./`).exec(rest) ?? [];
      cpSync(join(buildFolder, path!), join(folder, path!), { recursive: true });
    }
    const [program, ...args] = list(one(image, 'ENTRYPOINT'));
    expect(program).toBe('node');
    const { stdout } = await run(process.execPath, [...args, '--version'], { cwd: folder });
    expect(stdout.trim()).toBe(VERSION);
  });

  it('starts a node in its volume, is healthy while it serves, and ends on its signal', async () => {
    const data = await temporaryFolder();
    const settings = Object.fromEntries(
      one(image, 'ENV')
        .split(' ')
        .map((pair) => pair.split('=', 2) as [string, string]),
    );
    expect(settings['LACUNA_DATA']).toBe(one(image, 'VOLUME'));
    const environment = {
      ...settings,
      LACUNA_DATA: data,
      LACUNA_LISTEN: '/ip4/127.0.0.1/tcp/0',
      LACUNA_HTTP: '127.0.0.1:0',
    };
    const node = new LacunaProcess(list(one(image, 'CMD')), { environment });
    const { http } = await node.event(({ event }) => event === 'listening');
    expect(await healthOf(portOf(String(http)))).toBe(0);
    node.kill(one(image, 'STOPSIGNAL') as NodeJS.Signals);
    expect((await node.ended).code).toBe(0);
    expect(await healthOf(portOf(String(http)))).toBe(1);
    expect((await lacuna(['verify', '--data', data])).code).toBe(0);
  });
});

/** What the health check of the image exits with, on this port. */
async function healthOf(port: number): Promise<number> {
  const [, command] = /CMD (\[.*\])$/.exec(one(image, 'HEALTHCHECK')) ?? [];
  const [program, ...args] = list(command!);
  expect(program).toBe('node');
  const own = args.map((text) => text.replace(`:${portOf(DEFAULTS.http)}/`, `:${port}/`));
  try {
    await run(process.execPath, own);
    return 0;
  } catch (error) {
    return z.object({ code: z.number() }).parse(error).code;
  }
}

describe('the fleet in containers', () => {
  it('is three nodes with a volume each, on ports of their own', () => {
    expect(services).toHaveLength(3);
    const folder = one(image, 'VOLUME');
    const volumes = services.map(([, { volumes }]) => volumes.join(' '));
    expect(volumes.sort()).toEqual(
      Object.keys(compose.volumes)
        .map((name) => `${name}:${folder}`)
        .sort(),
    );
    const published = services.flatMap(([, { ports }]) => ports);
    const places = published.map((port) => port.split(':').slice(0, -1).join(':'));
    expect(new Set(places).size).toBe(places.length);
    for (const [, { ports, environment }] of services) {
      const http = portOf(environment['LACUNA_HTTP']!);
      const listen = portOf(environment['LACUNA_LISTEN']!);
      expect(ports.map(portOf).sort()).toEqual([http, listen].sort());
      // The HTTP interface is for this machine alone.
      for (const port of ports) if (portOf(port) === http) expect(port).toMatch(/^127\.0\.0\.1:/);
    }
  });

  it.each(services)('gives %s an environment that it starts in', async (_, service) => {
    const { environment, secrets, stop_grace_period } = service;
    const file = join(await temporaryFolder(), 'http-token');
    await writeFile(file, `${'0123456789abcdef'.repeat(4)}\n`);
    const secret = environment['LACUNA_HTTP_TOKEN_FILE']?.replace('/run/secrets/', '');
    expect([secrets, Object.keys(compose.secrets)]).toEqual([[secret], [secret]]);
    const own = { ...environment, LACUNA_HTTP_TOKEN_FILE: file };
    const { code, json } = await lacunaJson(['config', 'validate'], { environment: own });
    expect([code, json['valid']]).toEqual([0, true]);
    const settings = [...SETTINGS].filter((name) => environmentName(name) in environment);
    expect(Object.keys(json['config'] as object)).toEqual(expect.arrayContaining(settings));

    const flags = ['--http', '0.0.0.0:0', '--listen', '/ip4/127.0.0.1/tcp/0'];
    const node = await startNode(await temporaryFolder(), flags, { environment: own });
    // Whoever checks its health has no token.
    expect(await healthOf(portOf(node.http))).toBe(0);
    const startedMs = Date.now();
    node.process.kill('SIGTERM');
    expect((await node.process.ended).code).toBe(0);
    const graceMs = parseDurationMs(stop_grace_period)!;
    expect(Date.now() - startedMs).toBeLessThan(graceMs);
    expect(graceMs).toBeGreaterThan(LIMITS.stopMs);
  });
});

describe('the systemd unit', () => {
  const [, name, ...command] = unitValue('ExecStart').split(' ');

  it('runs the program as it is installed, in the folder that it is given', () => {
    expect(existsSync(join(ROOT, manifest.bin[name!]!.replace(/^dist\/(.*)\.js$/, 'src/$1.ts')))).toBe(true);
    expect(command[command.indexOf('--data') + 1]).toBe(`/var/lib/${unitValue('StateDirectory')}`);
  });

  it('starts a node by the example of a configuration, and stops it in its time', async () => {
    const data = await temporaryFolder();
    const config = join(ROOT, 'scripts/operate/lacuna.yaml');
    const args = command.map((text, at) =>
      command[at - 1] === '--data' ? data : command[at - 1] === '--config' ? config : text,
    );
    const environment = { LACUNA_LISTEN: '/ip4/127.0.0.1/tcp/0', LACUNA_HTTP: '127.0.0.1:0' };
    const node = new LacunaProcess(args, { environment });
    await node.event(({ event }) => event === 'listening');
    node.kill(unitValue('KillSignal') as NodeJS.Signals);
    expect((await node.ended).code).toBe(0);
    expect(Number(unitValue('TimeoutStopSec')) * 1_000).toBeGreaterThan(LIMITS.stopMs);
  });

  it('gives up on wrong usage alone', async () => {
    const usage = await lacuna(['start', '--no-such-flag']);
    expect(usage.code).toBe(Number(unitValue('RestartPreventExitStatus')));
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'lacuna.yaml'), 'http: everywhere\n');
    const configuration = await lacuna(['start', '--config', join(folder, 'lacuna.yaml'), '--data', folder]);
    expect([configuration.code, failureCode(configuration)]).toEqual([1, 'CONFIG_INVALID']);
  });
});

describe('the example of a configuration', () => {
  it('is valid, and says what it seems to say', async () => {
    const path = 'scripts/operate/lacuna.yaml';
    const { code, json } = await lacunaJson(['config', 'validate', '--config', join(ROOT, path)]);
    expect([code, json['valid']]).toEqual([0, true]);
    const given = z.record(z.string(), z.unknown()).parse(parse(read(path)));
    const meant = configSchema.parse(given);
    expect(json['config']).toMatchObject({
      listen: meant.listen,
      pubsubTopic: meant.pubsubTopic,
      syncInterval: meant.syncInterval,
      uploadRate: { all: 20_000_000 },
    });
    // What is printed can be configured, and is the same again.
    const printed = (json['config'] as { retention: string[] }).retention;
    expect(configSchema.parse({ retention: printed }).retention.text).toBe(meant.retention.text);
    expect(meant.retention.topics).toHaveLength(2);
  });
});
