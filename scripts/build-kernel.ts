/**
 * Makes src/core/kernel-wasm.ts from scripts/kernel/kernel.ts: `npm run kernel`. With `-- --check` it writes nothing,
 * and exits 1 when the file is not what the source gives.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { compileKernel, KERNEL_FILE } from './kernel/compile.ts';

const compiled = compileKernel();
if (!process.argv.includes('--check')) {
  writeFileSync(KERNEL_FILE, compiled);
} else if (readFileSync(KERNEL_FILE, 'utf8') !== compiled) {
  console.error('src/core/kernel-wasm.ts is not what its source gives; run npm run kernel');
  process.exitCode = 1;
}
