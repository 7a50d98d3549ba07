/** Where a setting comes from: a flag beats the environment, which beats the file, which beats the default. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { ERROR_CODES } from '../../src/errors.ts';
import { endAll, failureCode, type JsonObject, lacuna, lacunaJson, temporaryFolder } from './process.ts';

afterEach(endAll);

const PEER = '/ip4/127.0.0.1/tcp/1/p2p/12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo';

async function fileOf(yaml: string): Promise<string> {
  const file = join(await temporaryFolder(), 'lacuna.yaml');
  await writeFile(file, yaml);
  return file;
}

async function configOf(
  args: readonly string[],
  environment: Record<string, string> = {},
): Promise<JsonObject> {
  const { code, json } = await lacunaJson(['config', 'validate', ...args], { environment });
  expect(code).toBe(0);
  return json['config'] as JsonObject;
}

describe('the configuration', () => {
  it('has defaults', async () => {
    expect(await configOf([])).toMatchObject({
      data: './lacuna-data',
      listen: ['/ip4/0.0.0.0/tcp/60000'],
      http: '127.0.0.1:8645',
      syncInterval: 300_000,
      syncRange: 3_600_000,
    });
  });

  it('takes a flag before the environment, the environment before the file, the file before the default', async () => {
    const file = await fileOf(
      `data: /from-file\nlogLevel: error\nsyncInterval: 7s\nsyncRange: 2h\npeer:\n  - ${PEER}\n`,
    );
    const environment = {
      LACUNA_DATA: '/from-environment',
      LACUNA_LOG_LEVEL: 'debug',
      LACUNA_SYNC_INTERVAL: '8s',
    };
    const args = ['--config', file, '--data', '/from-flag'];
    expect(await configOf(args, environment)).toMatchObject({
      data: '/from-flag',
      logLevel: 'debug',
      syncInterval: 8_000,
      syncRange: 7_200_000,
      peer: [PEER],
      http: '127.0.0.1:8645',
    });
  });

  it('takes lists from the environment, and the file from there too', async () => {
    const file = await fileOf('contentTopic: [/a, /b]\nclusterId: 16\n');
    const environment = { LACUNA_CONFIG: file, LACUNA_PUBSUB_TOPIC: '/waku/2/rs/16/32,/waku/2/rs/16/64' };
    expect(await configOf([], environment)).toMatchObject({
      contentTopic: ['/a', '/b'],
      pubsubTopic: ['/waku/2/rs/16/32', '/waku/2/rs/16/64'],
      clusterId: 16,
    });
  });

  it('is what the commands go by', async () => {
    const data = join(await temporaryFolder(), 'named-by-file');
    const file = await fileOf(`data: ${data}\n`);
    await lacunaJson(['init', '--config', file]);
    const { code } = await lacunaJson(['count'], { environment: { LACUNA_DATA: data } });
    expect(code).toBe(0);
  });

  it.each([
    ['broken YAML', 'peer: [\n'],
    ['a list instead of settings', '- a\n- b\n'],
    ['an unknown setting', 'peers: []\n'],
    ['a duration that is none', 'syncInterval: soon\n'],
    ['a cluster beyond 16 bits', 'clusterId: 65536\n'],
    ['an address that is no multiaddr', 'listen: [localhost]\n'],
    ['a log level that is none', 'logLevel: loud\n'],
  ])('refuses %s', async (_, yaml) => {
    const file = await fileOf(yaml);
    const ended = await lacuna(['config', 'validate', '--config', file]);
    expect([ended.code, failureCode(ended), ended.stdout]).toEqual([1, 'CONFIG_INVALID', '']);
  });

  it('says where the faulty value stands, and what to do', async () => {
    const file = await fileOf('logLevel: info\nsyncInterval: soon\n');
    const [inFile, inVariable, onCommandLine] = await Promise.all([
      lacuna(['start', '--config', file, '--data', await temporaryFolder()]),
      lacuna(['config', 'validate'], { environment: { LACUNA_SYNC_INTERVAL: 'soon' } }),
      lacuna(['start', '--sync-interval', 'soon', '--data', await temporaryFolder()]),
    ]);
    for (const [ended, place] of [
      [inFile, `${file}:2`],
      [inVariable, 'LACUNA_SYNC_INTERVAL'],
      [onCommandLine, 'syncInterval'],
    ] as const) {
      expect([ended.code, failureCode(ended)]).toEqual([1, 'CONFIG_INVALID']);
      expect(ended.stderr).toContain(place);
      expect(ended.stderr).toContain(ERROR_CODES.CONFIG_INVALID);
      expect(ended.stderr.trimEnd().split('\n')).toHaveLength(1);
    }
  });

  it('refuses a file that is not there, and a node does not start on a faulty one', async () => {
    const file = await fileOf('http: everywhere\n');
    const [missing, faulty, environment] = await Promise.all([
      lacuna(['config', 'validate', '--config', `${file}.none`]),
      lacuna(['start', '--config', file, '--data', await temporaryFolder()]),
      lacuna(['config', 'validate'], { environment: { LACUNA_SYNC_RANGE: 'long' } }),
    ]);
    for (const ended of [missing, faulty, environment]) {
      expect([ended.code, failureCode(ended)]).toEqual([1, 'CONFIG_INVALID']);
    }
  });
});
