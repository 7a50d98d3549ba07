/** `status`: of the running node, or of the data folder where none runs. */
import type { Command } from 'commander';
import { loadIdentity, peerIdOf } from '../identity.ts';
import { VERSION } from '../version.ts';
import { type CommonOptions, contextOf, withCommonOptions, withStore } from './context.ts';
import { print, printJson } from './output.ts';
import { runningNode } from './running-node.ts';

export function addStatusCommand(program: Command): void {
  withCommonOptions(
    program.command('status').description('show the running node, or the data folder where none runs'),
  ).action(runStatus);
}

async function runStatus(options: CommonOptions): Promise<void> {
  const context = await contextOf(options);
  const node = await runningNode(context.config.data);
  const status =
    node === undefined
      ? await withStore(context, false, async (store) => ({
          running: false,
          version: VERSION,
          peerId: peerIdOf(await loadIdentity(context.config.data)),
          messages: store.count,
        }))
      : { running: true, http: node.url, ...((await node.get('/api/v1/status')) as object) };
  if (context.json) printJson(status);
  else
    print(
      Object.entries(status)
        .map(([key, value]) => `${key.padEnd(16)}${value}`)
        .join('\n'),
    );
}
