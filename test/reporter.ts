/**
 * The last word of a test run: one line of counts, and a failure where a test was skipped on the build machine. A
 * test that skips itself quietly proves nothing.
 */
import type { Reporter, TestModule } from 'vitest/node';

export default class CountsReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const counts = { passed: 0, failed: 0, skipped: 0, pending: 0 };
    let broken = 0;
    for (const module of modules) {
      for (const test of module.children.allTests()) counts[test.result().state] += 1;
      // A file that does not load has no tests to fail.
      if (!module.ok() && [...module.children.allTests('failed')].length === 0) broken += 1;
    }
    const skipped = counts.skipped + counts.pending;
    if (process.env['CI'] !== undefined && skipped > 0) {
      console.error(`${skipped} tests were skipped, which is a failure here`);
      process.exitCode = 1;
    }
    const total = counts.passed + counts.failed;
    if (total === 0) process.exitCode = 1;
    console.log(`\n${counts.passed} passed, ${counts.failed + broken} failed, ${skipped} skipped`);
  }
}
