// What a file may say and how: opening comment, line length, names, leftovers, words that do not belong in a
// repository.

import { isTestCode, lineOf, sourceFiles, type Tree } from './tree.ts';

export const MAXIMUM_LINE_LENGTH = 120;
/** Lines of prose; a diagram or a layout (indented, or empty) does not count. */
const MAXIMUM_OPENING_LINES = 10;

/** Files that name what the laws forbid, in order to forbid it. */
const LAWS = 'tests/laws/';
const CODE_FILE = /\.(ts|js|c|sh)$|^\.ci\//;

const withoutLaws = (tree: Tree): Tree => tree.filter(({ path }) => !path.startsWith(LAWS));

/** Lines of code, and of prose that could be wrapped: not a table's row, nor one word such as an address. */
export function findLongLines(tree: Tree): string[] {
  const violations: string[] = [];
  for (const { path, text } of tree) {
    const prose = path.endsWith('.md');
    if (!prose && !CODE_FILE.test(path)) continue;
    text.split('\n').forEach((line, index) => {
      if ([...line].length <= MAXIMUM_LINE_LENGTH) return;
      if (prose && (line.startsWith('|') || !line.trim().includes(' '))) return;
      violations.push(`${path}:${index + 1} has ${[...line].length} characters`);
    });
  }
  return violations;
}

/** A file says first what it is. Tests need not: their names say it. */
export function findMissingOpenings(tree: Tree): string[] {
  const violations: string[] = [];
  for (const { path, text } of sourceFiles(tree, 'src', 'tests', 'tools', 'bench')) {
    if (path.endsWith('.test.ts')) continue;
    const lines = text.replace(/^#!.*\n/, '').split('\n');
    const end = lines.findIndex((line) => !line.startsWith('//'));
    const opening = lines.slice(0, end < 0 ? undefined : end);
    const prose = opening.filter((line) => /^\/\/ {0,2}\S/.test(line));
    if (prose.length === 0) violations.push(`${path} does not say what it is`);
    if (prose.length > MAXIMUM_OPENING_LINES) violations.push(`${path} opens with ${prose.length} lines`);
  }
  return violations;
}

interface Forbidden {
  readonly what: string;
  readonly pattern: RegExp;
  /** Where it does not count. */
  readonly except?: RegExp;
}

const LEFTOVERS: readonly Forbidden[] = [
  { what: 'an unfinished place', pattern: /\b(TODO|FIXME|XXX|HACK)\b/ },
  { what: 'a test that runs alone', pattern: /\b(?:describe|it|test)\.only\(/ },
  { what: "a package registry's host", pattern: /registry\.(npmjs|yarnpkg)|npmmirror\.com/ },
  {
    what: "a mirror's host",
    pattern: /\b(?:deb|ftp|security|archive|snapshot|cdn)[\w.-]*\.(?:debian|ubuntu)\.(?:org|com)/,
  },
  { what: 'a home folder', pattern: /(?<![\w.])\/(?:home|Users)\/\w/ },
];

/** Leftovers, and what ties the repository to one machine. `root`: where the repository stands on this one. */
export function findForbiddenWords(tree: Tree, root: string): string[] {
  const violations: string[] = [];
  for (const { path, text } of withoutLaws(tree)) {
    text.split('\n').forEach((line, index) => {
      for (const { what, pattern, except } of LEFTOVERS) {
        if (pattern.test(line) && except?.test(path) !== true) violations.push(`${path}:${index + 1}: ${what}`);
      }
      if (root.length > 1 && line.includes(root)) violations.push(`${path}:${index + 1}: this machine's own path`);
    });
  }
  return violations;
}

/** Output is the command line's affair; tests may print their seeds. */
export function findConsoleOutput(tree: Tree): string[] {
  return sourceFiles(tree, 'src')
    .filter(({ path }) => !path.startsWith('src/cli/') && !isTestCode(path))
    .flatMap(({ path, text, source }) =>
      [...source.code.matchAll(/(?<![\w$.])console\.(?:log|error|warn|info|debug|trace|dir|table|assert)\b/g)].map(
        (match) => `${path}:${lineOf(text, match.index)} calls ${match[0]}`,
      ),
    );
}

/** An address says whose it is: guestPhysical, guestVirtual, hostOffset. Words of a specification are keys, `addr:`. */
export function findBareAddresses(tree: Tree): string[] {
  return sourceFiles(tree, 'src')
    .filter(({ path }) => !isTestCode(path))
    .flatMap(({ path, text, source }) =>
      [...source.code.matchAll(/(?<![\w$.])addr(?![\w$]|:)/g)].map(
        (match) => `${path}:${lineOf(text, match.index)} has a bare addr`,
      ),
    );
}

/** A modifier before a parameter's name; `readonly` in a type comes behind a colon. */
const PARAMETER_PROPERTY = /constructor\s*\((?:[^)]*,)?\s*(?:private|public|protected|readonly)\s+\w/g;

/** `as const` objects instead of enums; nothing that type stripping cannot remove. */
export function findForbiddenSyntax(tree: Tree): string[] {
  const forms = [
    { what: 'an enum', pattern: /(?<![\w$.])(?:const\s+)?enum\s+\w+\s*\{/g },
    { what: 'a namespace', pattern: /(?<![\w$.])namespace\s+\w+\s*\{/g },
    { what: 'a parameter property', pattern: PARAMETER_PROPERTY },
    { what: 'any', pattern: /(?::|\bas|<)\s*any\b/g },
  ];
  return sourceFiles(tree, 'src', 'tests', 'tools', 'bench').flatMap(({ path, text, source }) =>
    forms.flatMap(({ what, pattern }) =>
      [...source.code.matchAll(pattern)].map((match) => `${path}:${lineOf(text, match.index)} has ${what}`),
    ),
  );
}

/** The lock file says what is installed, not from where: it serves every registry. */
export function findLockedHosts(tree: Tree): string[] {
  const lock = tree.find(({ path }) => path === 'package-lock.json');
  if (lock === undefined) return ['package-lock.json is not there'];
  return lock.text
    .split('\n')
    .flatMap((line, index) =>
      /"resolved":|https?:\/\/[^"]*\.tgz/.test(line) ? [`package-lock.json:${index + 1}`] : [],
    );
}

/**
 * Every optional dependency has its entry, those of other platforms too: without one `npm ci` refuses the lock file. A
 * registry that lacks a platform's package leaves such a gap.
 */
export function findLockGaps(tree: Tree): string[] {
  const lock = tree.find(({ path }) => path === 'package-lock.json');
  const packages: Record<string, { optionalDependencies?: Record<string, string> }> =
    JSON.parse(lock?.text ?? '{}').packages ?? {};
  const names = new Set(Object.keys(packages).map((path) => path.slice(path.lastIndexOf('node_modules/') + 13)));
  return Object.entries(packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies)
      .filter((name) => !names.has(name))
      .map((name) => `${path} wants ${name}, which has no entry`),
  );
}
