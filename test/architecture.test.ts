/** Walks the imports of src/ and holds the direction that ARCHITECTURE.md promises, and the tidiness of the house. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { VERSION } from '../src/version.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SRC = join(ROOT, 'src');

interface SourceFile {
  /** Path below src/, with forward slashes. */
  readonly path: string;
  readonly room: string;
  readonly text: string;
  /** Paths below src/ of the modules of ours it imports, types included. */
  readonly own: readonly string[];
  /** Names of packages and node: modules it imports. */
  readonly foreign: readonly string[];
}

const files = walk(SRC)
  .filter((path) => path.endsWith('.ts'))
  .map(readSource);

/** What each room may import, beside itself. Files at the root of src/ are rooms of their own. */
const LEAVES = ['errors', 'limits', 'ports', 'quantity', 'time', 'version'];
const MAY_USE: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  limits: [],
  platform: [],
  version: [],
  quantity: [],
  time: ['errors'],
  // Types only: what the outside lends is described in terms of the core.
  ports: ['core'],
  core: ['errors', 'limits'],
  wire: ['core', ...LEAVES],
  store: ['core', 'wire', ...LEAVES],
  sync: ['core', 'wire', ...LEAVES],
  net: ['core', 'wire', 'sync', ...LEAVES],
  audit: ['core', 'wire', 'sync', ...LEAVES],
  system: LEAVES,
  config: ['core', ...LEAVES],
  identity: ['store', ...LEAVES],
  'node-parts': ['core', 'store', 'sync', 'net', 'config', 'identity', 'system', ...LEAVES],
  node: ['core', 'store', 'sync', 'net', 'audit', 'config', 'node-parts', 'system', ...LEAVES],
  http: ['core', 'wire', 'sync', 'audit', 'node', ...LEAVES],
  cli: [
    'core',
    'wire',
    'store',
    'sync',
    'net',
    'audit',
    'http',
    'node',
    'config',
    'identity',
    'system',
    'platform',
    ...LEAVES,
  ],
  index: ['core', 'sync', 'audit', 'config', 'node', 'system', 'platform', ...LEAVES],
};

describe('the rooms', () => {
  it('use each other in one direction', () => {
    const breaches = files.flatMap(({ path, room, own }) =>
      own
        .map(roomOf)
        .filter((used) => used !== room && !(MAY_USE[room] ?? []).includes(used))
        .map((used) => `${path} uses ${used}`),
    );
    expect(breaches).toEqual([]);
    expect(files.map(({ room }) => room).filter((room) => !(room in MAY_USE))).toEqual([]);
  });

  it('have no cycles', () => {
    const open = new Set<string>();
    const done = new Set<string>();
    const cycles: string[] = [];
    const visit = (path: string, trail: readonly string[]): void => {
      if (done.has(path)) return;
      if (open.has(path)) {
        cycles.push([...trail.slice(trail.indexOf(path)), path].join(' → '));
        return;
      }
      open.add(path);
      for (const next of files.find((file) => file.path === path)?.own ?? []) visit(next, [...trail, path]);
      open.delete(path);
      done.add(path);
    };
    for (const { path } of files) visit(path, []);
    expect(cycles).toEqual([]);
  });

  it('keep LevelDB in store and libp2p in net', () => {
    const level = files.filter(({ foreign }) =>
      foreign.some((name) => name === 'level' || name === 'classic-level'),
    );
    expect(level.map(({ room }) => room)).toSatisfy((rooms: string[]) =>
      rooms.every((room) => room === 'store'),
    );
    const isLibp2p = (name: string): boolean =>
      /^libp2p$|^@libp2p\/|^@chainsafe\/libp2p|^@multiformats\//.test(name);
    const strays = files.filter(
      ({ room, foreign }) => room !== 'net' && room !== 'identity' && foreign.some(isLibp2p),
    );
    expect(strays.map(({ path }) => path)).toEqual([]);
  });
});

describe('the core', () => {
  it('is pure', () => {
    const impure =
      /\b(async|await|Promise|setTimeout|setInterval|Date\b|performance|Math\.random|process|console|Buffer)\b/;
    const breaches = files
      .filter(({ room }) => room === 'core')
      .flatMap(({ path, foreign, text }) => [
        ...foreign.map((name) => `${path} imports ${name}`),
        ...(impure.exec(withoutComments(text)) === null
          ? []
          : [`${path}: ${impure.exec(withoutComments(text))![0]}`]),
      ]);
    expect(breaches).toEqual([]);
  });
});

describe('every file', () => {
  it('says in its first lines what it is for', () => {
    expect(files.filter(({ text }) => !/^(#!.*\n)?\/\*\*/.test(text)).map(({ path }) => path)).toEqual([]);
  });

  it('has a name of its own', () => {
    const named = walk(ROOT, new Set(['node_modules', 'dist', '.git'])).map((path) => relative(ROOT, path));
    expect(named.filter((path) => /(^|\/)(utils?|helpers?|common|misc)(\/|\.|$)/i.test(path))).toEqual([]);
  });

  it('is typed', () => {
    const untyped = /\bany\b(?=\s*[;,)>\]=|&])|\bas any\b|@ts-ignore|@ts-nocheck|@ts-expect-error/;
    expect(files.filter(({ text }) => untyped.test(withoutComments(text))).map(({ path }) => path)).toEqual(
      [],
    );
  });
});

describe('the package', () => {
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    version: string;
    dependencies: Record<string, string>;
    devDependencies: Record<string, string>;
  };

  it('is of one version', () => {
    expect(VERSION).toBe(manifest.version);
  });

  it('pins what it depends on', () => {
    const versions = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies });
    expect(versions.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version))).toEqual([]);
  });

  it('declares what it imports', () => {
    const imported = new Set(
      files.flatMap(({ foreign }) => foreign).filter((name) => !name.startsWith('node:')),
    );
    expect([...imported].filter((name) => !(name in manifest.dependencies))).toEqual([]);
    expect(Object.keys(manifest.dependencies).filter((name) => !imported.has(name))).toEqual([]);
  });
});

function walk(folder: string, skipped: ReadonlySet<string> = new Set()): string[] {
  return readdirSync(folder).flatMap((name) => {
    if (skipped.has(name)) return [];
    const path = join(folder, name);
    return statSync(path).isDirectory() ? walk(path, skipped) : [path];
  });
}

function readSource(path: string): SourceFile {
  const text = readFileSync(path, 'utf8');
  const specifiers = [...text.matchAll(/^(?:import|export)\s(?:[^'"]*?\sfrom\s)?['"]([^'"]+)['"]/gm)].map(
    (match) => match[1]!,
  );
  const own = specifiers
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => below(resolve(dirname(path), specifier)));
  const foreign = specifiers.filter((specifier) => !specifier.startsWith('.')).map(packageOf);
  return { path: below(path), room: roomOf(below(path)), text, own, foreign };
}

function below(path: string): string {
  return relative(SRC, path).replaceAll('\\', '/');
}

function roomOf(path: string): string {
  return path.includes('/') ? path.split('/')[0]! : path.replace(/\.ts$/, '');
}

function packageOf(specifier: string): string {
  if (specifier.startsWith('node:')) return specifier;
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

function withoutComments(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/\/\/.*$/gm, '')
    .replace(/`[^`]*`|'[^'\n]*'/g, '');
}
