// Where files lie and what they are called; what documents say of them.

import { posix } from 'node:path';
import type { Tree } from './tree.ts';

const VAGUE_NAMES = new Set(['utils', 'util', 'helpers', 'helper', 'common', 'misc', 'manager', 'shared', 'lib']);
const KEBAB = /^[a-z0-9]+(-[a-z0-9]+)*$/;

const isOwnCode = (path: string): boolean => /^(src|tests|tools|bench|bin)\/.*\.(ts|js|c|sh)$/.test(path);

/** Files and folders are kebab-case nouns that say what they hold. */
export function findBadNames(tree: Tree): string[] {
  const violations: string[] = [];
  for (const { path } of tree) {
    if (!isOwnCode(path)) continue;
    const parts = path.split('/');
    const file = parts.pop()!;
    // The ending says the kind: x.ts, x.test.ts, x.test-data.ts.
    for (const name of [...parts, ...file.split('.').slice(0, -1)]) {
      if (!KEBAB.test(name)) violations.push(`${path}: '${name}' is not kebab-case`);
      if (VAGUE_NAMES.has(name)) violations.push(`${path}: '${name}' says nothing`);
    }
  }
  return violations;
}

/** x.test.ts stands beside x.ts; what tests more than one file stands in tests/. */
export function findLonelyTests(tree: Tree): string[] {
  const known = new Set(tree.map(({ path }) => path));
  return tree
    .filter(({ path }) => path.startsWith('src/') && path.endsWith('.test.ts'))
    .filter(({ path }) => !known.has(path.replace(/\.test\.ts$/, '.ts')))
    .map(({ path }) => `${path} stands beside no ${posix.basename(path, '.test.ts')}.ts`);
}

const DEVICE_FAMILIES = ['src/devices/chips/', 'src/devices/virtio/'];

/** A device folder holds the device, its wire layout, its saved state and its test, whatever else it holds. */
export function findIncompleteDevices(tree: Tree): string[] {
  const known = new Set(tree.map(({ path }) => path));
  const folders = new Set<string>();
  const violations: string[] = [];
  for (const { path } of tree) {
    const family = DEVICE_FAMILIES.find((prefix) => path.startsWith(prefix));
    if (family === undefined || !path.endsWith('.ts')) continue;
    const [device, file] = path.slice(family.length).split('/');
    // A family's own files (its transport, its queues) stand beside the device folders.
    if (file !== undefined) folders.add(`${family}${device}`);
  }
  for (const folder of folders) {
    const device = posix.basename(folder);
    for (const file of [`${device}.ts`, 'wire.ts', 'state.ts', `${device}.test.ts`]) {
      if (!known.has(`${folder}/${file}`)) violations.push(`${folder} has no ${file}`);
    }
  }
  return violations;
}

const TREE_PATH = /^(?:src|tests|tools|bench|docs|bin|\.ci)\/[\w./-]*$|^[\w-]+\.(?:md|json)$/;

/** Paths and links in the documents lead somewhere. */
export function findStaleReferences(tree: Tree): string[] {
  const known = new Set<string>();
  for (const { path } of tree) {
    const parts = path.split('/');
    for (let count = 1; count <= parts.length; count++) known.add(parts.slice(0, count).join('/'));
  }
  known.add('LICENSE');
  const violations: string[] = [];
  for (const { path, text } of tree) {
    if (!path.endsWith('.md')) continue;
    for (const [, word] of text.matchAll(/`([^`\n]+)`/g)) {
      if (TREE_PATH.test(word!) && !known.has(word!.replace(/\/$/, ''))) violations.push(`${path} names ${word}`);
    }
    for (const [, link] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:|^#/.test(link!)) continue;
      const target = posix.join(posix.dirname(path), link!.replace(/#.*/, ''));
      if (!known.has(target.replace(/\/$/, ''))) violations.push(`${path} links to ${link}`);
    }
  }
  return violations;
}
