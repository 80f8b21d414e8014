import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { findBadNames, findIncompleteDevices, findLonelyTests, findStaleReferences } from './layout-laws.ts';
import { readRepository, type Tree, treeOf } from './tree.ts';

const repository = readRepository();
const filesNamed = (...paths: string[]): Tree => treeOf(Object.fromEntries(paths.map((path) => [path, ''])));

describe('names', () => {
  it('are kebab-case and say something', () => {
    assert.deepEqual(findBadNames(repository), []);
  });

  it('are seen not to', () => {
    for (const path of [
      'src/ir/guestState.ts',
      'src/ir/guest_state.ts',
      'src/IR/x.ts',
      'src/ir/utils.ts',
      'src/common/x.ts',
    ]) {
      assert.equal(findBadNames(filesNamed(path)).length, 1, path);
    }
    assert.deepEqual(findBadNames(filesNamed('src/ir/guest-state.test.ts', 'README.md', 'src/ir/x.test-data.ts')), []);
  });
});

describe('a unit test', () => {
  it('stands beside what it tests', () => {
    assert.deepEqual(findLonelyTests(repository), []);
  });

  it('is seen to stand alone', () => {
    assert.equal(findLonelyTests(filesNamed('src/ir/a.test.ts')).length, 1);
    assert.deepEqual(findLonelyTests(filesNamed('src/ir/a.test.ts', 'src/ir/a.ts', 'tests/b.test.ts')), []);
  });
});

describe('a device folder', () => {
  const files = ['x.ts', 'wire.ts', 'state.ts', 'x.test.ts'].map((file) => `src/devices/chips/x/${file}`);

  it('holds the device, its wire layout, its state and its test', () => {
    assert.deepEqual(findIncompleteDevices(repository), []);
    assert.deepEqual(findIncompleteDevices(filesNamed(...files, 'src/devices/chips/x/timer.ts')), []);
  });

  it('is seen to lack any of them', () => {
    for (const file of files) {
      assert.deepEqual(findIncompleteDevices(filesNamed(...files.filter((other) => other !== file))), [
        `src/devices/chips/x has no ${file.split('/').at(-1)}`,
      ]);
    }
  });
});

describe('documents', () => {
  it('name files that are there', () => {
    assert.deepEqual(findStaleReferences(repository), []);
  });

  it('are seen to name and link others', () => {
    const find = (text: string): number => findStaleReferences(treeOf({ 'docs/a.md': text, 'src/ir/b.ts': '' })).length;
    assert.equal(find('see `src/ir/c.ts`'), 1);
    assert.equal(find('[c](../src/ir/c.ts)'), 1);
    assert.equal(find('see `src/ir/b.ts`, `src/ir/`, [b](../src/ir/b.ts), [x](https://example.org), `a + b`'), 0);
  });
});
