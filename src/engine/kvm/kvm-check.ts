// What Bulkhead looks at to know whether it can use KVM, and what it found.

export const KVM_DEVICE = '/dev/kvm';

/** One thing that KVM needs. */
export interface KvmCheck {
  /** What was looked at, in a word or two. */
  readonly name: string;
  readonly passed: boolean;
  /** What was found. */
  readonly finding: string;
  /** What to do about it where it has not passed. */
  readonly remedy?: string;
}

export interface KvmReport {
  /** Every check has passed: a stock kernel runs. */
  readonly usable: boolean;
  /** Processors can be made and run, whatever they are able to. */
  readonly opens: boolean;
  /** One line: why it is used, or why it is not. */
  readonly reason: string;
  /** In order; the ones after the first that has not passed are left out. */
  readonly checks: readonly KvmCheck[];
}
