// Code that comes and goes: what it leaves behind, and that it runs right with little room.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodeChurn } from './code-churn.ts';

test('a guest that makes code again and again takes no more memory for it', () => {
  const churn = new CodeChurn();
  churn.run(200);
  const before = churn.vcpu.statistics();
  churn.run(800);
  const after = churn.vcpu.statistics();
  assert.ok(after.goneRegions! - before.goneRegions! > 600, `${after.goneRegions} regions are gone`);
  assert.ok(after.liveModules! <= before.liveModules! + 5, `${after.liveModules} modules are in use`);
  assert.ok(after.recordBytes! <= before.recordBytes! * 1.2, `${after.recordBytes} bytes of records`);
  assert.equal(after.flushes, 0);
});

test('modules make room for others where machine code is bounded', () => {
  const churn = new CodeChurn({ codeCacheBytes: 200_000 });
  churn.run(600);
  assert.ok(churn.vcpu.statistics().evictedRegions! > 0, 'nothing was evicted');
});

test('a small pool of records is used again without dropping everything', () => {
  const churn = new CodeChurn({ recordsBytes: 5 << 20 });
  churn.run(800);
  assert.equal(churn.vcpu.statistics().flushes, 0);
});
