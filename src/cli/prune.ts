/** `prune`: removes what the retention policies do not keep, now and not at the next pass; or says what would go. */
import type { Command } from 'commander';
import { z } from 'zod';
import { type CommonOptions, contextOf, each, withCommonOptions, withStore } from './context.ts';
import { bytes, count, print, printJson } from './output.ts';
import { RETENTION_HELP } from './retention-help.ts';
import { runningNode } from './running-node.ts';

const answerSchema = z.object({ removed: z.number(), bytes: z.number() });

export function addPruneCommand(program: Command): void {
  withCommonOptions(
    program
      .command('prune')
      .description('remove what the retention policies do not keep')
      .option('--dry-run', 'only say what would be removed')
      .option('--retention <policy>', 'what is kept, where no node runs (see below)', each),
  )
    .addHelpText(
      'after',
      `
A running node prunes by itself, and by the policies it was started with; where none runs, those of --retention, of
the environment or of the file named by --config apply.

${RETENTION_HELP}`,
    )
    .action(runPrune);
}

async function runPrune(options: CommonOptions & { dryRun?: boolean }): Promise<void> {
  const context = await contextOf(options);
  const isDry = options.dryRun ?? false;
  const node = await runningNode(context.config);
  const { removed, bytes: removedBytes } =
    node === undefined
      ? await withStore(context, false, (store) => store.retention.pass(isDry))
      : answerSchema.parse(await node.post('/api/v1/prune', { dryRun: isDry }));
  if (context.json) printJson({ removed, bytes: removedBytes });
  else
    print(`${count(removed)} messages of ${bytes(removedBytes)} ${isDry ? 'would be removed' : 'removed'}`);
}
