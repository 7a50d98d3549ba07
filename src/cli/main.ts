#!/usr/bin/env node
/** The command line: `lacuna COMMAND`. */
import '../platform.ts';
import { Command, CommanderError } from 'commander';
import { VERSION } from '../version.ts';
import { addAuditCommand } from './audit.ts';
import { addCountCommand } from './count.ts';
import { addDemoCommand } from './demo.ts';
import { addExplainCommand } from './explain.ts';
import { addExportCommand } from './export.ts';
import { addGapsCommand } from './gaps.ts';
import { addImportCommand } from './import.ts';
import { addInitCommands } from './init.ts';
import { exitCodeOf, printError } from './output.ts';
import { addPruneCommand } from './prune.ts';
import { addQueryCommand } from './query.ts';
import { addStartCommand } from './start.ts';
import { addStatusCommand } from './status.ts';
import { addSyncCommand } from './sync.ts';
import { addVerifyCommand } from './verify.ts';

const EXIT_USAGE = 2;

const program = new Command('lacuna')
  .description('Finds and fills the gaps in Waku message stores.')
  .version(VERSION)
  .exitOverride()
  .showHelpAfterError('(lacuna COMMAND --help says more)')
  .addHelpText(
    'after',
    `
Exit codes: 0 done; 1 failed, with a code and what to do on stderr; 2 wrong usage; 3 differences found.

  lacuna demo                                   a fleet of real nodes, one of which sleeps and heals
  lacuna import messages.ndjson                 message lines into the store of ./lacuna-data
  lacuna start --peer /ip4/…/p2p/…              a node that keeps in step with a peer`,
  );

addStartCommand(program);
addSyncCommand(program);
addQueryCommand(program);
addImportCommand(program);
addExportCommand(program);
addCountCommand(program);
addAuditCommand(program);
addExplainCommand(program);
addVerifyCommand(program);
addPruneCommand(program);
addStatusCommand(program);
addGapsCommand(program);
addInitCommands(program);
addDemoCommand(program);

// A reader that went away (`lacuna export | head`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Help and version are not failures; every other complaint of the parser is about usage.
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
  } else {
    printError(error);
    process.exitCode = exitCodeOf(error);
  }
}
