import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type KvmHost, probeKvm } from './doctor.ts';

const host = (changes: Partial<KvmHost>): KvmHost => ({
  platform: 'linux',
  architecture: 'x64',
  exists: () => true,
  requireAccess: () => {},
  ...changes,
});

test('KVM that is there is told as present, and that it is not used', () => {
  assert.deepEqual(probeKvm(host({})), { present: true, reason: 'not used: the KVM engine is not built yet' });
});

test('every reason for the lack of KVM is told apart', () => {
  const refuse = (code: string) => () => {
    throw Object.assign(new Error('refused'), { code });
  };
  for (const [changes, reason] of [
    [{ platform: 'darwin' }, /part of Linux/],
    [{ architecture: 'arm64' }, /arm64/],
    [{ exists: () => false }, /no \/dev\/kvm/],
    [{ requireAccess: refuse('EACCES') }, /no permission/],
    [{ requireAccess: refuse('ENXIO') }, /cannot be used: refused/],
  ] as const) {
    const kvm = probeKvm(host(changes));
    assert.equal(kvm.present, false);
    assert.match(kvm.reason, reason);
  }
});
