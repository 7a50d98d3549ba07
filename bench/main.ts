/**
 * `npm run bench -- [NAME…] [--json]`: all benches, or those named. `core`, `reconcile`, `sync`,
 * `node` and `query` also take `--case NAME[,NAME]`, `reconcile` `--impl NAME[,NAME]`, `sync` `--samples N`, and `node`
 * `--minutes N`.
 */
import '../src/platform.ts';
import { parseArgs } from 'node:util';
import { benchAudit } from './audit.ts';
import { benchCore, CORE_CASES } from './core.ts';
import { benchNode, NODE_CASES, type NodeBenchOptions } from './node.ts';
import { benchQuery, QUERY_CASES } from './query.ts';
import { benchReconcile, type ReconcileOptions, unknownNames } from './reconcile.ts';
import { benchStore } from './store.ts';
import { benchSync, SYNC_CASES, type SyncBenchOptions } from './sync.ts';
import { benchSyncWaku } from './sync-waku.ts';

type Options = ReconcileOptions & SyncBenchOptions & NodeBenchOptions;

const BENCHES: Readonly<Record<string, (options: Options) => Promise<void>>> = {
  store: ({ json }) => benchStore(json),
  'sync-waku': ({ json }) => benchSyncWaku(json),
  core: ({ json, cases }) => benchCore(json, cases),
  reconcile: benchReconcile,
  sync: benchSync,
  node: benchNode,
  query: ({ json, cases }) => benchQuery(json, cases),
  audit: ({ json }) => benchAudit(json),
};
/** Those whose cases may be selected, and what their names are. */
const SELECTABLE: Readonly<Record<string, (options: Options) => string | undefined>> = {
  core: (options) => unknownCases(CORE_CASES, options) ?? noImplementations('core', options),
  reconcile: unknownNames,
  sync: (options) => unknownCases(SYNC_CASES, options) ?? noImplementations('sync', options),
  node: (options) => unknownCases(NODE_CASES, options) ?? noImplementations('node', options),
  query: (options) => unknownCases(QUERY_CASES, options) ?? noImplementations('query', options),
};

const { names, options } = readArguments();
for (const name of names) await BENCHES[name]!(options);

function readArguments(): { names: readonly string[]; options: Options } {
  const { values, positionals } = parsed();
  const options = {
    json: values.json,
    cases: namesIn(values.case),
    implementations: namesIn(values.impl),
    samples: values.samples === undefined ? undefined : countIn('samples', values.samples),
    minutes: values.minutes === undefined ? undefined : countIn('minutes', values.minutes),
  };
  const unknown = positionals.filter((name) => !Object.hasOwn(BENCHES, name));
  if (unknown.length > 0) {
    refuse(`no bench ${unknown.join(', ')}: there are ${Object.keys(BENCHES).join(', ')}`);
  }
  const [only] = positionals.length === 1 ? positionals : [];
  if (options.cases !== undefined || options.implementations !== undefined) {
    const problemOf = SELECTABLE[only ?? ''];
    if (problemOf === undefined) {
      refuse(`--case and --impl select within one bench: ${Object.keys(SELECTABLE).join(', ')}`);
    }
    const problem = problemOf(options);
    if (problem !== undefined) refuse(problem);
  }
  if (options.samples !== undefined && only !== 'sync') refuse('--samples is for sync');
  if (options.minutes !== undefined && only !== 'node') refuse('--minutes is for node');
  return { names: positionals.length > 0 ? positionals : Object.keys(BENCHES), options };
}

function unknownCases(known: readonly string[], { cases = [] }: Options): string | undefined {
  const unknown = cases.filter((name) => !known.includes(name));
  return unknown.length === 0 ? undefined : `no case ${unknown.join(', ')}: there are ${known.join(', ')}`;
}

function noImplementations(bench: string, { implementations }: Options): string | undefined {
  return implementations && `${bench} has one implementation: --impl is for reconcile`;
}

function parsed() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        json: { type: 'boolean', default: false },
        case: { type: 'string', multiple: true },
        impl: { type: 'string', multiple: true },
        samples: { type: 'string' },
        minutes: { type: 'string' },
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

function countIn(option: string, value: string): number {
  const count = Number(value);
  return Number.isInteger(count) && count > 0 ? count : refuse(`--${option} takes a whole number from 1`);
}

function refuse(problem: string): never {
  console.error(problem);
  process.exit(2);
}
