/** `npm run bench -- [NAME…] [--json]`: all benches, or those named. */
import '../src/platform.ts';
import { benchStore } from './store.ts';
import { benchSyncWaku } from './sync-waku.ts';

const BENCHES: Readonly<Record<string, (json: boolean) => Promise<void>>> = {
  store: benchStore,
  'sync-waku': benchSyncWaku,
};

const names = process.argv.slice(2).filter((argument) => !argument.startsWith('--'));
const json = process.argv.includes('--json');
const unknown = names.filter((name) => !(name in BENCHES));
if (unknown.length > 0) {
  console.error(`no bench ${unknown.join(', ')}: there are ${Object.keys(BENCHES).join(', ')}`);
  process.exit(2);
}
for (const name of names.length > 0 ? names : Object.keys(BENCHES)) await BENCHES[name]!(json);
