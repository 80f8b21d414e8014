// The KVM paravirtual clock's MSRs and structures (Linux Documentation/virt/kvm/x86/msr.rst and cpuid.rst).

export const KVM_MSR = {
  WALL_CLOCK: 0x11,
  SYSTEM_TIME: 0x12,
  WALL_CLOCK_NEW: 0x4b564d00,
  SYSTEM_TIME_NEW: 0x4b564d01,
} as const;

/** CPUID 0x40000001 EAX: what this clock lets the processor promise. */
export const KVM_FEATURE = {
  CLOCKSOURCE: 1 << 0,
  /** Port accesses need no delay after them. */
  NOP_IO_DELAY: 1 << 1,
  CLOCKSOURCE2: 1 << 3,
  CLOCKSOURCE_STABLE_BIT: 1 << 24,
} as const;

/** CPUID 0x40000000: "KVMKVMKVM\0\0\0" in EBX, ECX, EDX. */
export const KVM_SIGNATURE = { ebx: 0x4b4d564b, ecx: 0x564b4d56, edx: 0x4d } as const;

export const SYSTEM_TIME_ENABLE = 1n;

/** struct pvclock_wall_clock. */
export const WALL_CLOCK_STRUCT = { VERSION: 0, SEC: 4, NSEC: 8, SIZE_BYTES: 12 } as const;

/** struct pvclock_vcpu_time_info. */
export const TIME_INFO_STRUCT = {
  VERSION: 0,
  TSC_TIMESTAMP: 8,
  SYSTEM_TIME: 16,
  TSC_TO_SYSTEM_MUL: 24,
  TSC_SHIFT: 28,
  FLAGS: 29,
  SIZE_BYTES: 32,
} as const;

export const TIME_INFO_FLAG = { TSC_STABLE: 0x01, GUEST_STOPPED: 0x02 } as const;
