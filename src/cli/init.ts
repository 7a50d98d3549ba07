/** `init`, `id` and `config validate`: the data folder and its key, the peer id, the check of a configuration. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { Access, loadToken } from '../http/access.ts';
import { loadIdentity, loadOrCreateIdentity, peerIdOf } from '../identity.ts';
import { type CommonOptions, contextOf, openStore, withCommonOptions } from './context.ts';
import { print, printJson } from './output.ts';

export function addInitCommands(program: Command): void {
  withCommonOptions(
    program.command('init').description('make the data folder, the store and the node key'),
  ).action(runInit);
  withCommonOptions(program.command('id').description('print the peer id of this data folder')).action(runId);
  const config = program.command('config').description('look at the configuration');
  withCommonOptions(
    config.command('validate').description('check flags, environment and file, and print what results'),
  ).action(runValidate);
}

async function runInit(options: CommonOptions): Promise<void> {
  const context = await contextOf(options);
  const { data } = context.config;
  const store = await openStore(context, true);
  const messages = store.count;
  await store.close();
  const peerId = peerIdOf(await loadOrCreateIdentity(data));
  if (context.json) printJson({ data: resolve(data), peerId, messages });
  else print(`data folder  ${resolve(data)}\npeer id      ${peerId}\nmessages     ${messages}`);
}

async function runId(options: CommonOptions): Promise<void> {
  const { config, json } = await contextOf(options);
  const peerId = peerIdOf(await loadIdentity(config.data));
  if (json) printJson({ peerId });
  else print(peerId);
}

async function runValidate(options: CommonOptions): Promise<void> {
  const { config, json } = await contextOf(options, 'info');
  const token = await loadToken(config);
  if (config.http !== 'off') new Access(token).placeOf(config.http);
  const { text } = config.retention;
  const shown = {
    ...config,
    // What is printed here ends up in logs and in questions to others.
    ...(config.httpToken === undefined ? {} : { httpToken: '(set)' }),
    // As it is written, and not as it is read: ages in it are bigints, which JSON does not know.
    retention: text === '' ? [] : text.split('\n').map((policies) => policies.replace(/^=/, '')),
  };
  if (json) printJson({ valid: true, config: shown });
  else print(`valid\n${JSON.stringify(shown, undefined, 2)}`);
}
