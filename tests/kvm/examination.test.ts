// How the examination of a host's KVM takes what stands in its way.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkEngine } from '../../src/engine/kvm/examination.ts';
import type { KvmCheck } from '../../src/engine/kvm/kvm-check.ts';
import { KvmError } from '../../src/engine/kvm/kvm-error.ts';
import { SystemCallError } from '../../src/engine/kvm/libc.ts';

const EAGAIN = 11;
const passed = (): KvmCheck => ({ name: 'interface', passed: true, finding: 'there' });
const failing = (error: Error) => (): KvmCheck => {
  throw error;
};

test('whatever the host lacks is a check that has not passed, and ends the examination', () => {
  for (const [error, finding, remedy] of [
    [new KvmError('KVM_CREATE_VM', 'ENOMEM'), /^KVM_CREATE_VM failed with ENOMEM$/, /memory/],
    [new SystemCallError('timer_create', EAGAIN), /^timer_create failed with EAGAIN$/, /ulimit -i/],
    [new RangeError('WebAssembly.Memory(): could not allocate memory'), /no memory for a guest/, /ulimit -v/],
  ] as const) {
    const checks = checkEngine([
      ['interface', passed],
      ['VM', failing(error)],
      ['kernel', () => assert.fail('it went on')],
    ]);
    assert.deepEqual(
      checks.map((check) => [check.name, check.passed]),
      [
        ['interface', true],
        ['VM', false],
      ],
    );
    assert.match(checks[1]!.finding, finding);
    assert.match(checks[1]!.remedy ?? '', remedy);
  }
});

test("a defect of the engine's own is thrown", () => {
  assert.throws(() => checkEngine([['VM', failing(new TypeError('undefined is no function'))]]), TypeError);
});
