import assert from 'node:assert/strict';
import { dirname } from 'node:path';
import { describe, it } from 'node:test';
import {
  findBareAddresses,
  findConsoleOutput,
  findForbiddenSyntax,
  findForbiddenWords,
  findLockedHosts,
  findLockGaps,
  findLongLines,
  findMissingOpenings,
  MAXIMUM_LINE_LENGTH,
} from './text-laws.ts';
import { REPOSITORY_ROOT, readRepository, treeOf } from './tree.ts';

const repository = readRepository();

describe('lines', () => {
  it(`have at most ${MAXIMUM_LINE_LENGTH} characters`, () => {
    assert.deepEqual(findLongLines(repository), []);
  });

  it('are seen to have more', () => {
    const line = (length: number): string => `${'a'.repeat(length - 2)} b`;
    assert.deepEqual(findLongLines(treeOf({ 'src/a.ts': `short\n${line(121)}\n` })), ['src/a.ts:2 has 121 characters']);
    assert.deepEqual(
      findLongLines(treeOf({ 'src/a.ts': line(120), 'b.md': `| ${line(130)} |\n${'x'.repeat(130)}` })),
      [],
    );
    assert.equal(findLongLines(treeOf({ 'README.md': line(121) })).length, 1);
  });
});

describe('files', () => {
  it('say in their first lines what they are', () => {
    assert.deepEqual(findMissingOpenings(repository), []);
  });

  it('are seen not to, or to say too much', () => {
    const find = (text: string): number => findMissingOpenings(treeOf({ 'src/ir/a.ts': text })).length;
    assert.equal(find('const a = 1;\n'), 1);
    assert.equal(find('// What it is.\nconst a = 1;\n'), 0);
    assert.equal(find(`${'// Word.\n'.repeat(11)}const a = 1;\n`), 1);
    assert.equal(find(`// A layout:\n${'//     0x00  a\n'.repeat(11)}const a = 1;\n`), 0);
    assert.deepEqual(findMissingOpenings(treeOf({ 'src/ir/a.test.ts': 'const a = 1;\n' })), []);
  });

  it('hold no leftovers, nor the names of mirrors, registries and this machine', () => {
    // A root as short as `/app` would be a word of ordinary paths.
    const root = dirname(`${REPOSITORY_ROOT}x`);
    assert.deepEqual(findForbiddenWords(repository, root.split('/').length > 2 ? root : ''), []);
  });

  it('are seen to hold them', () => {
    const find = (text: string): string[] => findForbiddenWords(treeOf({ 'src/a.ts': text }), '/srv/clone');
    assert.deepEqual(find('\n// TO' + 'DO: later'), ['src/a.ts:2: an unfinished place']);
    for (const text of [
      '// FIX' + 'ME',
      'test.on' + "ly('a')",
      'https://registry.npm' + 'js.org/zod',
      'http://deb.deb' + 'ian.org/debian',
      'http://ftp.de.deb' + 'ian.org',
      '/srv/clone/src',
      '/home/' + 'person/x',
    ]) {
      assert.equal(find(text).length, 1, text);
    }
    assert.deepEqual(find('debian:13, www.debian.org, $HOME/x, ~/x'), []);
  });

  it('of the product leave output to the command line', () => {
    assert.deepEqual(findConsoleOutput(repository), []);
    const text = "console.log('a');";
    assert.equal(findConsoleOutput(treeOf({ 'src/vm/a.ts': text })).length, 1);
    assert.deepEqual(findConsoleOutput(treeOf({ 'src/cli/a.ts': text, 'src/vm/a.test.ts': text })), []);
  });

  it('call no address just addr', () => {
    assert.deepEqual(findBareAddresses(repository), []);
    assert.equal(findBareAddresses(treeOf({ 'src/ir/a.ts': 'const f = (addr) => addr;' })).length, 2);
    assert.deepEqual(findBareAddresses(treeOf({ 'src/ir/a.ts': 'x.addr; const y = { addr: 0 }; // addr' })), []);
  });

  it('hold only syntax that type stripping removes, and no any', () => {
    assert.deepEqual(findForbiddenSyntax(repository), []);
    const find = (text: string): number => findForbiddenSyntax(treeOf({ 'src/ir/a.ts': text })).length;
    assert.equal(find('export enum A { B }'), 1);
    assert.equal(find('namespace A { }'), 1);
    assert.equal(find('class A { constructor(private readonly b: number) {} }'), 1);
    assert.equal(find('const a = b as any;'), 1);
    assert.equal(find('class A { private readonly b = 1; constructor(b: number) {} } // any enum A {'), 0);
  });
});

describe('the lock file', () => {
  it('names no place to fetch from', () => {
    assert.deepEqual(findLockedHosts(repository), []);
  });

  it('is seen to name one', () => {
    assert.equal(findLockedHosts(treeOf({ 'package-lock.json': '{\n"resolved": "x"\n}' })).length, 1);
    assert.equal(findLockedHosts(treeOf({})).length, 1);
  });

  it('has an entry for every optional dependency', () => {
    assert.deepEqual(findLockGaps(repository), []);
  });

  it('is seen to lack one', () => {
    const lock = (entries: object): string[] => findLockGaps(treeOf({ 'package-lock.json': JSON.stringify(entries) }));
    const wanting = { 'node_modules/a': { optionalDependencies: { '@a/linux': '1', '@a/mac': '1' } } };
    const gap = lock({ packages: { ...wanting, 'node_modules/@a/linux': {} } });
    assert.deepEqual(gap, ['node_modules/a wants @a/mac, which has no entry']);
    assert.deepEqual(lock({ packages: { ...wanting, 'node_modules/@a/linux': {}, 'node_modules/@a/mac': {} } }), []);
  });
});
