import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  findBackendsInDevices,
  findDanglingImports,
  findImportCycles,
  findImportsDownTheHouse,
  findNodeInBrowserCode,
  findTestCodeInProduct,
  findUndeclaredPackages,
  HOUSE,
} from './import-laws.ts';
import { readRepository, type Tree, treeOf } from './tree.ts';

const repository = readRepository();
const importing = (path: string, specifier: string): Tree => treeOf({ [path]: `import { a } from '${specifier}';\n` });

describe('the import law', () => {
  it('holds: imports point only up the house list', () => {
    assert.deepEqual(findImportsDownTheHouse(repository), []);
    assert.deepEqual(findDanglingImports(repository), []);
    assert.deepEqual(findTestCodeInProduct(repository), []);
  });

  it('lets a module import its own folder and those before', () => {
    assert.deepEqual(findImportsDownTheHouse(importing('src/lift/a.ts', './b.ts')), []);
    assert.deepEqual(findImportsDownTheHouse(importing('src/lift/a.ts', '../ir/b.ts')), []);
  });

  it('is broken by any import down the list, dynamic ones and workers included', () => {
    for (const [position, folder] of HOUSE.entries()) {
      for (const later of HOUSE.slice(position + 1)) {
        assert.equal(findImportsDownTheHouse(importing(`src/${folder}/a.ts`, `../${later}/b.ts`)).length, 1);
      }
    }
    for (const text of ["await import('../cli/b.ts')", "new URL('../cli/b.ts', import.meta.url)"]) {
      assert.equal(findImportsDownTheHouse(treeOf({ 'src/vm/a.ts': text })).length, 1);
    }
  });

  it('is broken by a folder without a place and by an import from outside src', () => {
    assert.equal(findImportsDownTheHouse(treeOf({ 'src/attic/a.ts': '' })).length, 1);
    assert.equal(findImportsDownTheHouse(importing('src/cli/a.ts', '../../tests/b.ts')).length, 1);
  });

  it('is not for tests, but product code must not import theirs', () => {
    assert.deepEqual(findImportsDownTheHouse(importing('src/ir/a.test.ts', '../lift/b.ts')), []);
    assert.equal(findTestCodeInProduct(importing('src/ir/a.ts', './b.fixture.ts')).length, 1);
    assert.equal(findTestCodeInProduct(importing('src/ir/a.ts', './testing/b.ts')).length, 1);
  });

  it('sees an import that leads nowhere', () => {
    assert.equal(findDanglingImports(importing('src/ir/a.ts', './b.ts')).length, 1);
  });
});

describe('modules', () => {
  it('form no ring', () => {
    assert.deepEqual(findImportCycles(repository), []);
  });

  it('are seen to form one', () => {
    const ring = treeOf({
      'src/ir/a.ts': "import './b.ts';",
      'src/ir/b.ts': "import './c.ts';",
      'src/ir/c.ts': "import type { B } from './b.ts';",
    });
    assert.deepEqual(findImportCycles(ring), ['src/ir/b.ts -> src/ir/c.ts -> src/ir/b.ts']);
  });
});

describe('code that runs in a browser', () => {
  it('has nothing of Node', () => {
    assert.deepEqual(findNodeInBrowserCode(repository), []);
  });

  it('is broken by an import of Node or of a package', () => {
    assert.equal(findNodeInBrowserCode(importing('src/devices/chips/x/x.ts', 'node:fs')).length, 1);
    assert.equal(findNodeInBrowserCode(importing('src/engine/software/x.ts', 'zod')).length, 1);
    assert.equal(findNodeInBrowserCode(importing('src/machine/x.ts', 'node:zlib')).length, 1);
    assert.equal(findNodeInBrowserCode(importing('src/vm/virtual-machine.ts', 'node:worker_threads')).length, 1);
    assert.deepEqual(findNodeInBrowserCode(importing('src/engine/kvm/x.ts', 'node:fs')), []);
    assert.deepEqual(findNodeInBrowserCode(importing('src/vm/x.ts', 'node:fs')), []);
    assert.deepEqual(findNodeInBrowserCode(importing('src/machine/config.ts', 'zod')), []);
  });

  it("is broken by Node's globals, and not by words that look like them", () => {
    const use = (text: string): number => findNodeInBrowserCode(treeOf({ 'src/ir/x.ts': text })).length;
    assert.equal(use('process.exit(1)'), 1);
    assert.equal(use('const b = Buffer.from(c);'), 1);
    assert.equal(use('const b = a ? Buffer : c;'), 1);
    assert.equal(use('// process\nconst text = "Buffer";'), 0);
    assert.equal(use('machine.process; ArrayBuffer; ({ global: 1 })'), 0);
  });
});

describe('devices', () => {
  it('import no backend', () => {
    assert.deepEqual(findBackendsInDevices(repository), []);
  });

  it('are seen to import one, even in a type or a test', () => {
    assert.equal(findBackendsInDevices(importing('src/devices/chips/x/x.ts', '../../../backends/y.ts')).length, 1);
    assert.equal(findBackendsInDevices(importing('src/devices/chips/x/x.test.ts', '../../../backends/y.ts')).length, 1);
  });
});

describe('packages', () => {
  const withManifest = (dependencies: string, text: string, path: string): Tree =>
    treeOf({ 'package.json': `{ "dependencies": { ${dependencies} } }`, [path]: text });

  it('that src imports are dependencies, and foreign calls stay in their place', () => {
    assert.deepEqual(findUndeclaredPackages(repository), []);
  });

  it('are missed when they are not declared', () => {
    const find = (dependencies: string, path: string, specifier: string): number =>
      findUndeclaredPackages(withManifest(dependencies, `import '${specifier}';`, path)).length;
    assert.equal(find('"zod": "4"', 'src/machine/x.ts', 'zod'), 0);
    assert.equal(find('"zod": "4"', 'src/machine/x.ts', 'zod/v4'), 0);
    assert.equal(find('"zod": "4"', 'src/machine/x.ts', '@a/b/c'), 1);
    assert.equal(find('"@a/b": "4"', 'src/machine/x.ts', '@a/b/c'), 0);
    assert.equal(find('"koffi": "2"', 'src/machine/x.ts', 'koffi'), 1);
    assert.equal(find('"koffi": "2"', 'src/engine/kvm/x.ts', 'koffi'), 0);
  });
});
