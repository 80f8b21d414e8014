// The files of the repository, read once for all laws. A test may also make a small tree of its own, to see a law
// broken.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type SourceText, scanSource } from './source-text.ts';

export interface TreeFile {
  /** From the repository's root, with slashes. */
  readonly path: string;
  readonly text: string;
}

export interface SourceFile extends TreeFile {
  readonly source: SourceText;
}

export type Tree = readonly TreeFile[];

export const REPOSITORY_ROOT = fileURLToPath(new URL('../../', import.meta.url));
const SKIPPED_FOLDERS = new Set(['node_modules', '.git', 'dist']);
const TEXT_FILE = /\.(ts|js|c|sh|md|json|svg|ya?ml)$|^(\.ci\/run|\.gitignore)$/;

/** Every text file of the repository, fetched and generated folders aside. */
export function readRepository(): Tree {
  const files: TreeFile[] = [];
  const visit = (folder: string): void => {
    for (const entry of readdirSync(join(REPOSITORY_ROOT, folder), { withFileTypes: true })) {
      const path = `${folder}${entry.name}`;
      if (entry.isDirectory() && !SKIPPED_FOLDERS.has(entry.name)) visit(`${path}/`);
      if (entry.isFile() && TEXT_FILE.test(path)) {
        files.push({ path, text: readFileSync(join(REPOSITORY_ROOT, path), 'utf8') });
      }
    }
  };
  visit('');
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** A tree made by a test: path to text. */
export function treeOf(files: Readonly<Record<string, string>>): Tree {
  return Object.entries(files).map(([path, text]) => ({ path, text }));
}

const scanned = new WeakMap<TreeFile, SourceFile>();

/** The TypeScript files under the given folders, scanned. */
export function sourceFiles(tree: Tree, ...folders: string[]): SourceFile[] {
  return tree
    .filter(({ path }) => path.endsWith('.ts') && folders.some((folder) => path.startsWith(`${folder}/`)))
    .map((file) => {
      let source = scanned.get(file);
      if (source === undefined) {
        source = { ...file, source: scanSource(file.text) };
        scanned.set(file, source);
      }
      return source;
    });
}

/** Code that only tests use: tests, their fixtures, data and builders. */
export function isTestCode(path: string): boolean {
  return /\.(test|fixture|test-data)\.ts$|\/testing\//.test(path);
}

/** Line number of a position, from 1. */
export function lineOf(text: string, position: number): number {
  let line = 1;
  for (let k = 0; k < position; k++) if (text[k] === '\n') line++;
  return line;
}
