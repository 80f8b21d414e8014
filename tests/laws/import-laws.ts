// Which module may import which (the house list in ARCHITECTURE.md). Each law gives its violations, one line each.

import { posix } from 'node:path';
import { importsOf } from './source-text.ts';
import { isTestCode, lineOf, type SourceFile, sourceFiles, type Tree } from './tree.ts';

/** The folders of src, from the one that knows nothing of the rest: a module imports from its own and those before. */
export const HOUSE = [
  'base',
  'isa',
  'decode',
  'ir',
  'lift',
  'wasm',
  'emit',
  'memory',
  'engine',
  'bus',
  'devices',
  'backends',
  'machine',
  'images',
  'vm',
  'host',
  'cluster',
  'api',
  'cli',
] as const;

/**
 * These run in a browser as they are: no Node, no package, no global of Node's. `base` because all others import it; of
 * `vm` the two ends of the channel, which the page of tests/browser uses.
 */
const BROWSER_CLEAN = [
  'base/',
  'isa/',
  'decode/',
  'ir/',
  'lift/',
  'wasm/',
  'emit/',
  'memory/',
  'bus/',
  'devices/',
  'engine/',
  'machine/',
  'vm/byte-ring.ts',
  'vm/channel.ts',
  'vm/machine-end.ts',
  'vm/messages.ts',
  'vm/virtual-machine.ts',
];
const NOT_BROWSER_CLEAN = 'engine/kvm/';
/** The one package that runs in browsers too, and the one file that wants it. */
const CHECKED_CONFIG = { path: 'src/machine/config.ts', specifier: 'zod' };
const NODE_GLOBAL =
  /(?<![\w$.])(process|Buffer|global|require|setImmediate|clearImmediate|__dirname|__filename)(?![\w$:])/g;

/** Foreign calls are made here alone. */
const FOREIGN_CALLERS = ['src/engine/kvm/', 'src/backends/'];

interface Import {
  readonly specifier: string;
  /** Path in the repository, for a relative import. */
  readonly target: string | undefined;
}

const importsIn = (file: SourceFile): Import[] =>
  importsOf(file.source).map((specifier) => ({
    specifier,
    target: specifier.startsWith('.') ? posix.join(posix.dirname(file.path), specifier) : undefined,
  }));

const productCode = (tree: Tree): SourceFile[] => sourceFiles(tree, 'src').filter(({ path }) => !isTestCode(path));

const folderOf = (path: string): string => path.split('/')[1] ?? '';

const isBrowserClean = (path: string): boolean => {
  const inside = path.slice('src/'.length);
  return !inside.startsWith(NOT_BROWSER_CLEAN) && BROWSER_CLEAN.some((folder) => inside.startsWith(folder));
};

/** Imports point only up the list; what is in src imports nothing outside it. */
export function findImportsDownTheHouse(tree: Tree): string[] {
  const order: readonly string[] = HOUSE;
  const violations: string[] = [];
  for (const file of productCode(tree)) {
    const rank = order.indexOf(folderOf(file.path));
    if (rank < 0) violations.push(`${file.path}: src/${folderOf(file.path)} has no place in the house`);
    for (const { target, specifier } of importsIn(file)) {
      if (target === undefined) continue;
      if (!target.startsWith('src/')) violations.push(`${file.path} imports ${target}, outside src`);
      else if (order.indexOf(folderOf(target)) > rank) violations.push(`${file.path} imports ${target}`);
      else if (!specifier.endsWith('.ts')) violations.push(`${file.path} imports ${specifier} without .ts`);
    }
  }
  return violations;
}

/** Every relative import leads to a file, so that the graph is the real one. */
export function findDanglingImports(tree: Tree): string[] {
  const known = new Set(tree.map(({ path }) => path));
  return sourceFiles(tree, 'src', 'tests', 'tools', 'bench').flatMap((file) =>
    importsIn(file)
      .filter(({ target }) => target?.endsWith('.ts') && !known.has(target))
      .map(({ target }) => `${file.path} imports ${target}, which is not there`),
  );
}

/** Modules that import each other in a ring, types included. */
export function findImportCycles(tree: Tree): string[] {
  const graph = new Map(
    productCode(tree).map((file) => [file.path, importsIn(file).flatMap(({ target }) => target ?? [])]),
  );
  const state = new Map<string, 'open' | 'done'>();
  const violations: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    if (state.get(path) === 'done') return;
    if (state.get(path) === 'open') {
      violations.push([...trail.slice(trail.indexOf(path)), path].join(' -> '));
      return;
    }
    state.set(path, 'open');
    for (const target of graph.get(path) ?? []) visit(target, [...trail, path]);
    state.set(path, 'done');
  };
  for (const path of graph.keys()) visit(path, []);
  return violations;
}

/** What runs in a browser imports neither Node nor packages (but for one), and uses no global of Node's. */
export function findNodeInBrowserCode(tree: Tree): string[] {
  const violations: string[] = [];
  for (const file of productCode(tree)) {
    if (!isBrowserClean(file.path)) continue;
    for (const { specifier, target } of importsIn(file)) {
      const isAllowed = file.path === CHECKED_CONFIG.path && specifier === CHECKED_CONFIG.specifier;
      if (target === undefined && !isAllowed) violations.push(`${file.path} imports ${specifier}`);
    }
    for (const match of file.source.code.matchAll(NODE_GLOBAL)) {
      violations.push(`${file.path}:${lineOf(file.text, match.index)} uses ${match[1]}`);
    }
  }
  return violations;
}

/** A device declares what it needs; the machine wires a backend to it. */
export function findBackendsInDevices(tree: Tree): string[] {
  return sourceFiles(tree, 'src/devices').flatMap((file) =>
    importsIn(file)
      .filter(({ target }) => target?.startsWith('src/backends/'))
      .map(({ target }) => `${file.path} imports ${target}`),
  );
}

/** Packages: those that src imports are dependencies of the package, not of its development. */
export function findUndeclaredPackages(tree: Tree): string[] {
  const manifest = tree.find(({ path }) => path === 'package.json');
  const declared = Object.keys(JSON.parse(manifest?.text ?? '{}').dependencies ?? {});
  const violations: string[] = [];
  for (const file of productCode(tree)) {
    for (const { specifier, target } of importsIn(file)) {
      if (target !== undefined || specifier.startsWith('node:')) continue;
      const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
      if (!declared.includes(name)) violations.push(`${file.path} imports ${specifier}, no dependency`);
      if (name === 'koffi' && !FOREIGN_CALLERS.some((folder) => file.path.startsWith(folder))) {
        violations.push(`${file.path} makes foreign calls`);
      }
    }
  }
  return violations;
}

/** Product code does not import what is there for tests. */
export function findTestCodeInProduct(tree: Tree): string[] {
  return productCode(tree).flatMap((file) =>
    importsIn(file)
      .filter(({ target }) => target !== undefined && isTestCode(target))
      .map(({ target }) => `${file.path} imports ${target}`),
  );
}
