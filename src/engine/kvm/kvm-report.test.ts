import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KvmHost } from './availability.ts';
import { examineKvm } from './kvm-report.ts';

const willing: KvmHost = {
  platform: 'linux',
  architecture: 'x64',
  exists: () => true,
  requireAccess: () => {},
  groupName: () => 'kvm',
};

test('a host that passes everything is usable', async () => {
  const { usable, opens, checks } = await examineKvm(willing, async () => () => [
    { name: 'VM', passed: true, finding: 'can be made' },
  ]);
  assert.deepEqual([usable, opens, checks.length], [true, true, 4]);
});

test('foreign calls that cannot be loaded are a reason, in one line, not a failure', async () => {
  const { usable, opens, reason, checks } = await examineKvm(willing, () =>
    Promise.reject(new Error('Cannot find the native module\nRequire stack: ...')),
  );
  assert.deepEqual([usable, opens], [false, false]);
  assert.equal(reason, 'calls of the C library cannot be loaded: Cannot find the native module');
  assert.match(checks.at(-1)!.remedy ?? '', /install/);
});

test('a host without the device loads nothing', async () => {
  const { checks } = await examineKvm({ ...willing, exists: () => false }, () => assert.fail('it loaded'));
  assert.deepEqual(
    checks.map(({ name }) => name),
    ['host', 'device'],
  );
});
