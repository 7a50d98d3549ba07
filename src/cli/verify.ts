/** `verify`: re-hashes every message and checks every index entry; exits 3 when something is wrong and stays so. */
import type { Command } from 'commander';
import { verifyStore } from '../store/integrity.ts';
import { type CommonOptions, contextOf, withCommonOptions, withStore } from './context.ts';
import { count, print, printJson } from './output.ts';
import { Progress } from './progress.ts';

const EXIT_DIFFERENCES = 3;

export function addVerifyCommand(program: Command): void {
  withCommonOptions(
    program
      .command('verify')
      .description('re-hash every message and check every index entry')
      .option('--repair', 'set damaged messages aside, and mend the indexes'),
  ).action(runVerify);
}

async function runVerify(options: CommonOptions & { repair?: boolean }): Promise<void> {
  const context = await contextOf(options);
  const progress = new Progress('verifying', context.json);
  const report = await withStore(context, false, async (store) => {
    const expected = store.count;
    return await verifyStore(store, options.repair ?? false, (checked) =>
      progress.update(checked, checked / expected),
    );
  });
  progress.end();
  if (context.json) printJson(report);
  else {
    print(
      `${count(report.checked)} messages checked: ${count(report.damaged)} damaged, ${count(report.repaired)} repaired`,
    );
    if (report.damaged > report.repaired)
      print('run `lacuna verify --repair`, then `lacuna sync` to fetch what was lost');
  }
  if (report.damaged > report.repaired) process.exitCode = EXIT_DIFFERENCES;
}
