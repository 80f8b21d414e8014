import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RegionModules } from './region-modules.ts';

const MODULES = 8;

function createModules(): RegionModules {
  const modules = new RegionModules();
  for (let module = 0; module < MODULES; module++) modules.add([10 * module, 10 * module + 1], 1000);
  return modules;
}

test('a module counts until its last region is gone', () => {
  const modules = createModules();
  const before = modules.codeBytes;
  modules.remove(30);
  assert.equal(modules.size, 8);
  modules.remove(31);
  modules.remove(31);
  assert.equal(modules.size, 7);
  assert.equal(modules.codeBytes, (before * (MODULES - 1)) / MODULES);
});

test('the modules that have not been seen at work for longest make room, whole', () => {
  const modules = createModules();
  modules.used(1);
  assert.deepEqual([...modules.leastUsed((modules.codeBytes * 5) / MODULES)], [10, 11, 20, 21, 30, 31]);
});

test('a quarter of the regions makes room where only places in the table are scarce', () => {
  const modules = createModules();
  assert.deepEqual([...modules.leastUsed(Number.POSITIVE_INFINITY)], [0, 1, 10, 11]);
});

test('small modules count by their number too', () => {
  const [many, one] = [createModules(), new RegionModules()];
  one.add([0], 1000 * MODULES);
  assert.ok(many.codeBytes > 3 * one.codeBytes);
});
