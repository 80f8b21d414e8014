// What a failed call of /dev/kvm means for whoever runs Bulkhead: the ioctl's name, errno's word, a sentence.

import { EXIT_STATUS, UserError } from '../../base/errors.ts';

/** By errno's word, for any ioctl. */
const MEANINGS: Readonly<Record<string, string>> = {
  EACCES: 'this user may not use KVM; its group is usually `kvm`',
  EPERM: 'the kernel forbids it: a container or a security policy keeps KVM from this process',
  EBUSY: 'the hardware is taken: another hypervisor on this host uses it and does not share it',
  ENOMEM: 'the kernel has no memory left for it, or the limit of the container is reached',
  EMFILE: 'this process has no descriptor left: raise `ulimit -n`',
  ENFILE: 'the host has no descriptor left: raise fs.file-max, or stop something',
  ENOSPC: 'a limit of KVM is reached',
  EINVAL: "this host's KVM does not take what was asked of it: its kernel may be too old, or its processor lack it",
  ENOTTY: "the device does not know the call: the host's kernel is too old for Bulkhead, or it is no KVM device",
  ENXIO: "this host's KVM does not have what was asked for",
  EFAULT: 'guest memory cannot be reached: was it unmapped, or its file truncated?',
  EEXIST: 'it is there already',
  E2BIG: 'there is more than was asked for',
  ENODEV: 'the processor lacks it, or the firmware has switched it off',
  EIO: 'the kernel ran into a defect of the hardware or of the VM, which cannot go on',
};

/** Where the common meaning would mislead. */
const SPECIAL_MEANINGS: Readonly<Record<string, string>> = {
  'KVM_CREATE_VM ENOMEM': "the kernel has no memory left for a VM's own tables",
  'KVM_CREATE_VM EINVAL': 'this kind of VM is unknown here',
  'KVM_CREATE_VM EINTR': 'a signal came in between; try again',
  'KVM_CREATE_VCPU EEXIST': 'the processor was made already: a defect of Bulkhead',
  'KVM_CREATE_VCPU EINVAL': 'there are more processors than KVM allows on this host',
  'KVM_SET_USER_MEMORY_REGION EEXIST': 'guest memory overlaps other guest memory: a defect of Bulkhead',
  'KVM_SET_CPUID2 EINVAL': "this host's KVM refuses the processor model",
  'KVM_RUN EFAULT': 'the guest touched memory that the host could not provide: it may be short of memory',
  'KVM_RUN ENOMEM': 'the kernel has no memory left to run the guest',
};

export class KvmError extends UserError {
  /** Errno's word, such as EBUSY. */
  readonly code: string;
  /** The call and its errno, without more. */
  readonly failure: string;
  /** What that means for the user; undefined for an errno that nobody expects. */
  readonly meaning: string | undefined;

  constructor(call: string, code: string, detail?: string) {
    const meaning = SPECIAL_MEANINGS[`${call} ${code}`] ?? MEANINGS[code];
    const failure = `${call} failed with ${code}${detail === undefined ? '' : `: ${detail}`}`;
    super(`KVM: ${failure}`, {
      hint: `${meaning === undefined ? '' : `${meaning}; `}--engine software runs without KVM`,
      exitStatus: EXIT_STATUS.guestFault,
    });
    this.code = code;
    this.failure = failure;
    this.meaning = meaning;
  }
}
