// The examination of a host's KVM as a whole. Foreign calls are loaded only where there is something to examine, so
// that this can be imported everywhere.

import { checkDevice, type KvmHost, thisHost } from './availability.ts';
import type { KvmReport } from './kvm-check.ts';

/** What KVM is here: all checks, with a look at what it can run where it opens. Takes some milliseconds then. */
export async function examineKvm(host: KvmHost = thisHost): Promise<KvmReport> {
  const checks = checkDevice(host);
  if (checks.every((check) => check.passed)) {
    const { checkEngine } = await import('./examination.ts');
    checks.push(...checkEngine());
  }
  const first = checks.find((check) => !check.passed);
  return {
    usable: first === undefined,
    opens: checks.some((check) => check.name === 'VM' && check.passed),
    reason: first?.finding ?? 'the host has KVM, and it runs what a stock kernel needs',
    checks,
  };
}
