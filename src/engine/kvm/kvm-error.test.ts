import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UserError } from '../../base/errors.ts';
import { KvmError } from './kvm-error.ts';

test('a failed call names itself, errno, and what that means', () => {
  const error = new KvmError('KVM_CREATE_VM', 'EBUSY');
  assert.ok(error instanceof UserError);
  assert.equal(error.message, 'KVM: KVM_CREATE_VM failed with EBUSY');
  assert.match(error.hint ?? '', /another hypervisor .*--engine software/);
  assert.equal(error.failure, 'KVM_CREATE_VM failed with EBUSY');
  assert.match(error.meaning ?? '', /another hypervisor/);
});

test('a call may have a meaning of its own for an errno, and a detail', () => {
  const error = new KvmError('KVM_SET_CPUID2', 'EINVAL', 'model portable');
  assert.equal(error.message, 'KVM: KVM_SET_CPUID2 failed with EINVAL: model portable');
  assert.match(error.hint ?? '', /refuses the processor model/);
});

test('an unknown errno still says how to go on', () => {
  assert.equal(new KvmError('KVM_RUN', 'EXDEV').hint, '--engine software runs without KVM');
});
