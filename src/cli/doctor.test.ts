import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KvmReport } from '../engine/kvm/kvm-check.ts';
import { formatReport, type Report } from './doctor.ts';

function reportWith(kvm: KvmReport): Report {
  return {
    engine: { used: kvm.usable ? 'kvm' : 'software', reason: 'a reason' },
    kvm,
    node: { version: '26.0.0', path: '/node' },
    host: { platform: 'linux', architecture: 'x64', processors: 2, memoryBytes: 2 ** 31, freeMemoryBytes: 2 ** 30 },
    guestMemory: { maximumBytes: 2 ** 30 },
    cache: { folder: '/cache', images: [] },
    mirror: { url: null, reason: 'none' },
  };
}

test('every check of KVM is a line, and one that has not passed has its remedy', () => {
  const text = formatReport(
    reportWith({
      usable: false,
      opens: false,
      reason: 'no permission',
      checks: [
        { name: 'host', passed: true, finding: 'x86-64 Linux' },
        { name: 'permission', passed: false, finding: 'no permission', remedy: 'join the group kvm' },
      ],
    }),
  );
  assert.match(text, /^engine +software: a reason\n/);
  assert.match(text, /\nKVM +not usable: no permission\n +ok +host: x86-64 Linux\n/);
  assert.match(text, /\n +missing permission: no permission\n +remedy: join the group kvm\n/);
});

test('a usable KVM is told as the engine', () => {
  const text = formatReport(reportWith({ usable: true, opens: true, reason: 'works', checks: [] }));
  assert.match(text, /^engine +kvm: /);
  assert.match(text, /\nKVM +usable: works\n/);
});
