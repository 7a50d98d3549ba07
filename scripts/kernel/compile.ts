/** Compiles the kernel, and writes the module of src/core that holds it as text. */
import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

export const KERNEL_FILE = fileURLToPath(new URL('../../src/core/kernel-wasm.ts', import.meta.url));

/** Four pages, 256 KiB: what src/core/kernel.ts lays out. */
const PAGES = '4';
const MEMORY = ['--initialMemory', PAGES, '--maximumMemory', PAGES];
const OPTIONS = ['-O3', '--noAssert', '--runtime', 'stub', '--enable', 'simd', ...MEMORY, '--outFile'];

/** What src/core/kernel-wasm.ts should be. The compiler is run, as its types would be everyone's. */
export function compileKernel(): string {
  const compiler = createRequire(import.meta.url).resolve('assemblyscript/bin/asc.js');
  const folder = fileURLToPath(new URL('.', import.meta.url));
  const binary = execFileSync(process.execPath, [compiler, 'kernel.ts', ...OPTIONS], { cwd: folder });
  return `/** The kernel of kernel.ts. Made from scripts/kernel/kernel.ts by \`npm run kernel\`; not to be edited. */
// biome-ignore format: one line is as good as any.
export const KERNEL_WASM = '${binary.toString('base64')}';
`;
}
