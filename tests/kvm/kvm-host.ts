// Whether this host's KVM can be used by a test, and what of it.

import { examineKvm } from '../../src/engine/kvm/kvm-report.ts';

export const kvmReport = await examineKvm();

/** For `skip`: why no processor can be made, or false. */
export const withoutKvm: string | false = kvmReport.opens ? false : kvmReport.reason;

/** For `skip`: why a stock kernel does not run, or false. */
export const withoutStockKernel: string | false = kvmReport.usable ? false : kvmReport.reason;
