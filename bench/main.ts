/**
 * `npm run bench -- [NAME…] [--json]`: all benches, or those named. `core` and `reconcile` also take
 * `--case NAME[,NAME]`, `reconcile` `--impl NAME[,NAME]` as well.
 */
import '../src/platform.ts';
import { parseArgs } from 'node:util';
import { benchCore, CORE_CASES } from './core.ts';
import { benchReconcile, type ReconcileOptions, unknownNames } from './reconcile.ts';
import { benchStore } from './store.ts';
import { benchSyncWaku } from './sync-waku.ts';

const BENCHES: Readonly<Record<string, (options: ReconcileOptions) => Promise<void>>> = {
  store: ({ json }) => benchStore(json),
  'sync-waku': ({ json }) => benchSyncWaku(json),
  core: ({ json, cases }) => benchCore(json, cases),
  reconcile: benchReconcile,
};
/** Those whose cases may be selected. */
const SELECTABLE: ReadonlySet<string> = new Set(['core', 'reconcile']);

const { names, options } = readArguments();
for (const name of names) await BENCHES[name]!(options);

function readArguments(): { names: readonly string[]; options: ReconcileOptions } {
  const { values, positionals } = parsed();
  const options = { json: values.json, cases: namesIn(values.case), implementations: namesIn(values.impl) };
  const unknown = positionals.filter((name) => !Object.hasOwn(BENCHES, name));
  if (unknown.length > 0) {
    refuse(`no bench ${unknown.join(', ')}: there are ${Object.keys(BENCHES).join(', ')}`);
  }
  const selects = options.cases !== undefined || options.implementations !== undefined;
  if (selects && (positionals.length !== 1 || !SELECTABLE.has(positionals[0]!))) {
    refuse('--case and --impl select within one bench: core or reconcile');
  }
  const problem = positionals[0] === 'core' ? unknownCoreCases(options) : unknownNames(options);
  if (problem !== undefined) refuse(problem);
  return { names: positionals.length > 0 ? positionals : Object.keys(BENCHES), options };
}

function unknownCoreCases({ cases = [], implementations }: ReconcileOptions): string | undefined {
  if (implementations !== undefined) return 'core has one implementation: --impl is for reconcile';
  const unknown = cases.filter((name) => !CORE_CASES.includes(name));
  return unknown.length === 0
    ? undefined
    : `no case ${unknown.join(', ')}: there are ${CORE_CASES.join(', ')}`;
}

function parsed() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        case: { type: 'string', multiple: true },
        impl: { type: 'string', multiple: true },
      },
    });
  } catch (error) {
    refuse((error as Error).message);
  }
}

/** Options may be given more than once, and hold several names each. */
function namesIn(values: readonly string[] | undefined): readonly string[] | undefined {
  return values?.flatMap((value) => value.split(','));
}

function refuse(problem: string): never {
  console.error(problem);
  process.exit(2);
}
