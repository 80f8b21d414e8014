import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KvmReport } from '../engine/kvm/kvm-check.ts';
import { decideEngine } from './engine-choice.ts';

const report = (changes: Partial<KvmReport>) => async (): Promise<KvmReport> => ({
  usable: true,
  opens: true,
  reason: 'all is well',
  checks: [],
  ...changes,
});
const refused = report({
  usable: false,
  opens: false,
  reason: 'no permission for /dev/kvm',
  checks: [{ name: 'permission', passed: false, finding: 'no permission for /dev/kvm', remedy: 'join the group kvm' }],
});
const incomplete = report({ usable: false, reason: 'this KVM cannot run a stock kernel' });

test('auto takes KVM where it works, without a remark', async () => {
  assert.deepEqual(await decideEngine('auto', undefined, report({})), { choice: { name: 'kvm', cpuModel: 'host' } });
});

test('auto takes the software engine elsewhere, and says why in one line', async () => {
  for (const examine of [refused, incomplete]) {
    const { choice, remark } = await decideEngine('auto', undefined, examine);
    assert.deepEqual(choice, { name: 'software' });
    assert.match(remark ?? '', /^not on KVM: [^\n]+$/);
  }
});

test('software is taken without a look at KVM', async () => {
  const examine = (): Promise<KvmReport> => assert.fail('it looked');
  assert.deepEqual(await decideEngine('software', 'portable', examine), { choice: { name: 'software' } });
});

test('kvm that cannot be had is an error with the remedy; one that is incomplete is taken with a remark', async () => {
  await assert.rejects(decideEngine('kvm', undefined, refused), (error: { message: string; hint: string }) => {
    assert.equal(error.message, 'KVM cannot be used: no permission for /dev/kvm');
    assert.match(error.hint, /join the group kvm.*--engine software/);
    return true;
  });
  const { choice, remark } = await decideEngine('kvm', 'portable', incomplete);
  assert.deepEqual(choice, { name: 'kvm', cpuModel: 'portable' });
  assert.match(remark ?? '', /cannot run a stock kernel/);
});

test('the CPU model host is refused without KVM', async () => {
  await assert.rejects(decideEngine('software', 'host'), /the CPU model host needs KVM/);
  await assert.rejects(decideEngine('auto', 'host', refused), /needs KVM, and this is not on KVM: no permission/);
});
