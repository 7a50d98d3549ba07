/** The configuration, read in-process: which source wins, what a value may be, and what is refused. */

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Config, type ConfigSources, configSchema, environmentName, loadConfig } from '../src/config.ts';
import { KEEP_EVERYTHING } from '../src/core/retention.ts';
import { endedIn } from './ended-in.ts';
import { temporaryFolder } from './temporary-folder.ts';

async function fileOf(yaml: string): Promise<string> {
  const file = join(await temporaryFolder(), 'lacuna.yaml');
  await writeFile(file, yaml);
  return file;
}

async function load(sources: Partial<ConfigSources>): Promise<Config> {
  return await loadConfig({ flags: {}, environment: {}, file: undefined, ...sources });
}

async function loadYaml(yaml: string): Promise<Config> {
  return await load({ file: await fileOf(yaml) });
}

describe('the configuration', () => {
  it('has defaults, for an empty file as well', async () => {
    const defaults = await load({});
    expect(defaults).toEqual({
      data: './lacuna-data',
      listen: ['/ip4/0.0.0.0/tcp/60000'],
      peer: [],
      bootstrap: [],
      mdns: false,
      learnPeers: true,
      allowPeer: [],
      denyPeer: [],
      private: false,
      connections: 300,
      http: '127.0.0.1:8645',
      pubsubTopic: [],
      contentTopic: [],
      retention: KEEP_EVERYTHING,
      syncInterval: 300_000,
      syncRange: 3_600_000,
      syncJitter: 20_000,
      logLevel: 'info',
    });
    expect(await loadYaml('')).toEqual(defaults);
    expect(await loadYaml('# nothing set\n')).toEqual(defaults);
  });

  it('takes a flag before the environment, the environment before the file, the file before the default', async () => {
    const settings: readonly (readonly [keyof Config, string, string, string])[] = [
      ['data', '/file', '/environment', '/flag'],
      ['http', '127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3'],
      ['logLevel', 'error', 'debug', 'silent'],
    ];
    for (const [name, inFile, inEnvironment, inFlags] of settings) {
      const file = await fileOf(`${name}: "${inFile}"\n`);
      const environment = { [environmentName(name)]: inEnvironment };
      const flags = { [name]: inFlags };
      expect((await load({ file }))[name]).toBe(inFile);
      expect((await load({ file, environment }))[name]).toBe(inEnvironment);
      expect((await load({ file, environment, flags }))[name]).toBe(inFlags);
      expect((await load({ file, flags }))[name]).toBe(inFlags);
      expect((await load({ environment, flags }))[name]).toBe(inFlags);
      expect(
        (await load({ file, environment: { [environmentName(name)]: undefined }, flags: {} }))[name],
      ).toBe(inFile);
    }
  });

  it('does not allow and deny one peer', async () => {
    const peer = '12D3KooWRawPbxPtP1eZaJpumGnyWX2DcUyd3RQnydr3eAto4Az7';
    expect(await load({ flags: { allowPeer: [peer] } })).toMatchObject({ allowPeer: [peer], denyPeer: [] });
    expect(await endedIn(load({ flags: { allowPeer: [peer], denyPeer: [peer] } }))).toBe('CONFIG_INVALID');
  });

  it('replaces a list as a whole', async () => {
    const file = await fileOf('contentTopic: [/a, /b]\npubsubTopic:\n  - /p\n');
    expect(await load({ file })).toMatchObject({ contentTopic: ['/a', '/b'], pubsubTopic: ['/p'] });
    const environment = { LACUNA_CONTENT_TOPIC: '/c,/d,,', LACUNA_PEER: '/ip4/127.0.0.1' };
    expect(await load({ file, environment })).toMatchObject({
      contentTopic: ['/c', '/d'],
      pubsubTopic: ['/p'],
      peer: ['/ip4/127.0.0.1'],
    });
    const flags = { contentTopic: ['/e'], pubsubTopic: [] };
    expect(await load({ file, environment, flags })).toMatchObject({ contentTopic: ['/e'], pubsubTopic: [] });
    expect((await load({ environment: { LACUNA_LISTEN: '' } })).listen).toEqual([]);
  });

  it('reads durations and numbers as people write them', async () => {
    const yaml = 'syncInterval: 90\nsyncRange: 1.5h\nsyncJitter: 0s\nclusterId: 16\n';
    expect(await loadYaml(yaml)).toMatchObject({
      syncInterval: 90_000,
      syncRange: 5_400_000,
      syncJitter: 0,
      clusterId: 16,
    });
    const environment = { LACUNA_SYNC_INTERVAL: '250ms', LACUNA_CLUSTER_ID: '65535' };
    expect(await load({ environment })).toMatchObject({ syncInterval: 250, clusterId: 65_535 });
  });

  it('names a variable for every setting', () => {
    const names = Object.keys(configSchema.shape).map(environmentName);
    expect(new Set(names).size).toBe(names.length);
    expect(names.filter((name) => !/^LACUNA_[A-Z]+(_[A-Z]+)*$/.test(name))).toEqual([]);
    expect(environmentName('pubsubTopic')).toBe('LACUNA_PUBSUB_TOPIC');
  });

  it('does not read other variables', async () => {
    expect(await load({ environment: { LACUNA_NOTHING: '1', DATA: '/x' } })).toEqual(await load({}));
  });

  it.each([
    ['broken YAML', 'peer: [\n'],
    ['a setting given twice', 'data: /a\ndata: /b\n'],
    ['a list instead of settings', '- a\n'],
    ['text instead of settings', 'data\n'],
    ['an unknown setting', 'peers: []\n'],
    ['a setting spelled as a flag', 'sync-interval: 5m\n'],
    ['a duration that is none', 'syncInterval: soon\n'],
    ['a duration below zero', 'syncInterval: -5\n'],
    ['a duration in an unknown unit', 'syncRange: 5y\n'],
    ['a duration that is a list', 'syncJitter: [5s]\n'],
    ['a list that is text', 'peer: /ip4/127.0.0.1\n'],
    ['an address that is no multiaddr', 'listen: [localhost]\n'],
    ['an empty topic', 'contentTopic: [""]\n'],
    ['a topic beyond its limit', `contentTopic: [${'/'.repeat(1_025)}]\n`],
    ['a cluster beyond 16 bits', 'clusterId: 65536\n'],
    ['a cluster with a fraction', 'clusterId: 1.5\n'],
    ['a cluster that is named and empty', 'clusterId:\n'],
    ['a cluster that is a word', 'clusterId: one\n'],
    ['a cluster that is true', 'clusterId: true\n'],
    ['no pause between sessions', 'syncInterval: 0\n'],
    ['a pause longer than any timer', 'syncInterval: 30d\n'],
    ['a log level that is none', 'logLevel: loud\n'],
    ['an empty data folder', 'data: ""\n'],
    ['a retention policy that is none', 'retention: [time]\n'],
    ['retention policies that contradict each other', 'retention: [none, "time:2d"]\n'],
  ])('refuses %s', async (_, yaml) => {
    expect(await endedIn(loadYaml(yaml))).toBe('CONFIG_INVALID');
  });

  it('refuses a faulty value from any source, and a file that cannot be read', async () => {
    const good = await fileOf('syncInterval: 5s\n');
    expect(await endedIn(load({ file: good, flags: { syncInterval: 'soon' } }))).toBe('CONFIG_INVALID');
    expect(await endedIn(load({ file: good, environment: { LACUNA_SYNC_INTERVAL: '' } }))).toBe(
      'CONFIG_INVALID',
    );
    expect(await endedIn(load({ environment: { LACUNA_PEER: 'nowhere' } }))).toBe('CONFIG_INVALID');
    expect(await endedIn(load({ environment: { LACUNA_CLUSTER_ID: '' } }))).toBe('CONFIG_INVALID');
    expect(await endedIn(load({ file: `${good}.none` }))).toBe('CONFIG_INVALID');
    expect(await endedIn(load({ file: await temporaryFolder() }))).toBe('CONFIG_INVALID');
  });
});
