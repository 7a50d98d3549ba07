/**
 * Checks golden vectors against this implementation: `npm run vectors -- FILE…`. The format of a file is told
 * from its content (spec/vectors/README.md). Prints one JSON line a file, `{file, cases, passed, failed}`, and
 * what failed on stderr; exits 1 when anything did.
 */
import '../src/platform.ts';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { checkVectors } from './vectors/check.ts';

const files = process.argv.slice(2);
if (files.length === 0) {
  console.error('usage: npm run vectors -- FILE…   (for example spec/vectors/*.json)');
  process.exit(2);
}

let failures = 0;
for (const file of files) {
  const result = checkFile(file);
  console.log(JSON.stringify({ file: basename(file), ...result }));
  failures += result.failed;
}
process.exitCode = failures > 0 ? 1 : 0;

function checkFile(file: string): { cases: number; passed: number; failed: number } {
  try {
    const results = checkVectors(JSON.parse(readFileSync(file, 'utf8')), file);
    const failed = results.filter((result) => result.fault !== undefined);
    for (const { name, fault } of failed) console.error(`${file}: ${name}: ${fault}`);
    return { cases: results.length, passed: results.length - failed.length, failed: failed.length };
  } catch (error) {
    console.error(`${file}: ${error instanceof Error ? error.message : String(error)}`);
    return { cases: 1, passed: 0, failed: 1 };
  }
}
