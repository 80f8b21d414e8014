import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkDevice, type KvmHost } from './availability.ts';

const host = (changes: Partial<KvmHost>): KvmHost => ({
  platform: 'linux',
  architecture: 'x64',
  exists: () => true,
  requireAccess: () => {},
  groupName: () => 'kvm',
  ...changes,
});

const refuse = (code: string) => () => {
  throw Object.assign(new Error('refused'), { code });
};

test('a device that may be used passes everything', () => {
  const checks = checkDevice(host({}));
  assert.deepEqual(
    checks.map(({ name, passed }) => [name, passed]),
    [
      ['host', true],
      ['device', true],
      ['permission', true],
    ],
  );
});

test('every reason for the lack of KVM is told apart, with a remedy, and ends the checks', () => {
  for (const [changes, name, finding, remedy] of [
    [{ platform: 'darwin' }, 'host', /part of Linux; this is darwin/, /on Linux/],
    [{ architecture: 'arm64' }, 'host', /arm64, and guests are x86-64/, /x86-64 host/],
    [{ exists: () => false }, 'device', /no \/dev\/kvm/, /firmware.*nested/],
    [{ requireAccess: refuse('EACCES') }, 'permission', /in the group kvm/, /usermod -aG kvm/],
    [
      { requireAccess: refuse('EACCES'), groupName: () => undefined },
      'permission',
      /no permission for \/dev\/kvm$/,
      /chgrp/,
    ],
    [{ requireAccess: refuse('ENXIO') }, 'permission', /cannot be used: refused/, /dmesg/],
  ] as const) {
    const last = checkDevice(host(changes)).at(-1)!;
    assert.equal(last.name, name);
    assert.equal(last.passed, false);
    assert.match(last.finding, finding);
    assert.match(last.remedy ?? '', remedy);
  }
});
