// The examination of a host's KVM as a whole. Foreign calls are loaded only where there is something to examine, so
// that this can be imported everywhere.

import { checkDevice, type KvmHost, thisHost } from './availability.ts';
import type { KvmCheck, KvmReport } from './kvm-check.ts';

type CheckEngine = () => KvmCheck[];

const loadExamination = async (): Promise<CheckEngine> => (await import('./examination.ts')).checkEngine;

/** What KVM is here: all checks, with a look at what it can run where it opens. Takes some milliseconds then. */
export async function examineKvm(host: KvmHost = thisHost, load = loadExamination): Promise<KvmReport> {
  const checks = checkDevice(host);
  if (checks.every((check) => check.passed)) {
    let checkEngine: CheckEngine | undefined;
    try {
      checkEngine = await load();
    } catch (error) {
      checks.push(unloadable(error));
    }
    if (checkEngine !== undefined) checks.push(...checkEngine());
  }
  const first = checks.find((check) => !check.passed);
  return {
    usable: first === undefined,
    opens: checks.some((check) => check.name === 'VM' && check.passed),
    reason: first?.finding ?? 'the host has KVM, and it runs what a stock kernel needs',
    checks,
  };
}

/** koffi, whose part for this host and its C library is a package of its own, or a function of the C library. */
function unloadable(error: unknown): KvmCheck {
  const [line] = (error instanceof Error ? error.message : String(error)).split('\n');
  const finding = `calls of the C library cannot be loaded: ${line}`;
  return { name: 'calls', passed: false, finding, remedy: 'install Bulkhead anew, with its optional packages' };
}
