// The ioctls of /dev/kvm and its VM and vCPU descriptors (Linux, Documentation/virt/kvm/api.rst): numbers as
// <linux/kvm.h> makes them, each with the structure that it takes, and the header's constants that go with them.

import type { StructLayout } from './struct-layout.ts';
import * as structs from './structs.ts';

const KVMIO = 0xae;
const [WRITE, READ] = [1, 2];

export interface Ioctl {
  readonly name: string;
  readonly number: number;
}

function encode(direction: number, number: number, sizeBytes: number): number {
  return ((direction << 30) | (sizeBytes << 16) | (KVMIO << 8) | number) >>> 0;
}

const io = (name: string, number: number): Ioctl => ({ name, number: encode(0, number, 0) });
const ior = (name: string, number: number, { sizeBytes }: Pick<StructLayout, 'sizeBytes'>): Ioctl => ({
  name,
  number: encode(READ, number, sizeBytes),
});
const iow = (name: string, number: number, { sizeBytes }: Pick<StructLayout, 'sizeBytes'>): Ioctl => ({
  name,
  number: encode(WRITE, number, sizeBytes),
});
const iowr = (name: string, number: number, { sizeBytes }: Pick<StructLayout, 'sizeBytes'>): Ioctl => ({
  name,
  number: encode(READ | WRITE, number, sizeBytes),
});
const U64 = { sizeBytes: 8 };

export const KVM_GET_API_VERSION = io('KVM_GET_API_VERSION', 0x00);
export const KVM_CREATE_VM = io('KVM_CREATE_VM', 0x01);
export const KVM_GET_MSR_INDEX_LIST = iowr('KVM_GET_MSR_INDEX_LIST', 0x02, structs.kvm_msr_list);
export const KVM_CHECK_EXTENSION = io('KVM_CHECK_EXTENSION', 0x03);
export const KVM_GET_VCPU_MMAP_SIZE = io('KVM_GET_VCPU_MMAP_SIZE', 0x04);
export const KVM_GET_SUPPORTED_CPUID = iowr('KVM_GET_SUPPORTED_CPUID', 0x05, structs.kvm_cpuid2);

export const KVM_CREATE_VCPU = io('KVM_CREATE_VCPU', 0x41);
export const KVM_GET_DIRTY_LOG = iow('KVM_GET_DIRTY_LOG', 0x42, structs.kvm_dirty_log);
export const KVM_SET_USER_MEMORY_REGION = iow('KVM_SET_USER_MEMORY_REGION', 0x46, structs.kvm_userspace_memory_region);
export const KVM_SET_TSS_ADDR = io('KVM_SET_TSS_ADDR', 0x47);
export const KVM_SET_IDENTITY_MAP_ADDR = iow('KVM_SET_IDENTITY_MAP_ADDR', 0x48, U64);
export const KVM_CREATE_IRQCHIP = io('KVM_CREATE_IRQCHIP', 0x60);
export const KVM_IRQ_LINE = iow('KVM_IRQ_LINE', 0x61, structs.kvm_irq_level);
export const KVM_GET_IRQCHIP = iowr('KVM_GET_IRQCHIP', 0x62, structs.kvm_irqchip);
export const KVM_SET_IRQCHIP = ior('KVM_SET_IRQCHIP', 0x63, structs.kvm_irqchip);
export const KVM_SET_GSI_ROUTING = iow('KVM_SET_GSI_ROUTING', 0x6a, structs.kvm_irq_routing);
export const KVM_CREATE_PIT2 = iow('KVM_CREATE_PIT2', 0x77, structs.kvm_pit_config);
export const KVM_SET_CLOCK = iow('KVM_SET_CLOCK', 0x7b, structs.kvm_clock_data);
export const KVM_GET_CLOCK = ior('KVM_GET_CLOCK', 0x7c, structs.kvm_clock_data);
export const KVM_GET_PIT2 = ior('KVM_GET_PIT2', 0x9f, structs.kvm_pit_state2);
export const KVM_SET_PIT2 = iow('KVM_SET_PIT2', 0xa0, structs.kvm_pit_state2);
export const KVM_SET_TSC_KHZ = io('KVM_SET_TSC_KHZ', 0xa2);
export const KVM_GET_TSC_KHZ = io('KVM_GET_TSC_KHZ', 0xa3);
export const KVM_ENABLE_CAP = iow('KVM_ENABLE_CAP', 0xa3, structs.kvm_enable_cap);
export const KVM_X86_SET_MSR_FILTER = iow('KVM_X86_SET_MSR_FILTER', 0xc6, structs.kvm_msr_filter);

export const KVM_RUN = io('KVM_RUN', 0x80);
export const KVM_GET_REGS = ior('KVM_GET_REGS', 0x81, structs.kvm_regs);
export const KVM_SET_REGS = iow('KVM_SET_REGS', 0x82, structs.kvm_regs);
export const KVM_GET_SREGS = ior('KVM_GET_SREGS', 0x83, structs.kvm_sregs);
export const KVM_SET_SREGS = iow('KVM_SET_SREGS', 0x84, structs.kvm_sregs);
export const KVM_TRANSLATE = iowr('KVM_TRANSLATE', 0x85, structs.kvm_translation);
export const KVM_INTERRUPT = iow('KVM_INTERRUPT', 0x86, structs.kvm_interrupt);
export const KVM_GET_MSRS = iowr('KVM_GET_MSRS', 0x88, structs.kvm_msrs);
export const KVM_SET_MSRS = iow('KVM_SET_MSRS', 0x89, structs.kvm_msrs);
export const KVM_GET_LAPIC = ior('KVM_GET_LAPIC', 0x8e, structs.kvm_lapic_state);
export const KVM_SET_LAPIC = iow('KVM_SET_LAPIC', 0x8f, structs.kvm_lapic_state);
export const KVM_SET_CPUID2 = iow('KVM_SET_CPUID2', 0x90, structs.kvm_cpuid2);
export const KVM_GET_CPUID2 = iowr('KVM_GET_CPUID2', 0x91, structs.kvm_cpuid2);
export const KVM_GET_MP_STATE = ior('KVM_GET_MP_STATE', 0x98, structs.kvm_mp_state);
export const KVM_SET_MP_STATE = iow('KVM_SET_MP_STATE', 0x99, structs.kvm_mp_state);
export const KVM_NMI = io('KVM_NMI', 0x9a);
export const KVM_SET_GUEST_DEBUG = iow('KVM_SET_GUEST_DEBUG', 0x9b, structs.kvm_guest_debug);
export const KVM_GET_VCPU_EVENTS = ior('KVM_GET_VCPU_EVENTS', 0x9f, structs.kvm_vcpu_events);
export const KVM_SET_VCPU_EVENTS = iow('KVM_SET_VCPU_EVENTS', 0xa0, structs.kvm_vcpu_events);
export const KVM_GET_DEBUGREGS = ior('KVM_GET_DEBUGREGS', 0xa1, structs.kvm_debugregs);
export const KVM_SET_DEBUGREGS = iow('KVM_SET_DEBUGREGS', 0xa2, structs.kvm_debugregs);
export const KVM_GET_XSAVE = ior('KVM_GET_XSAVE', 0xa4, structs.kvm_xsave);
export const KVM_SET_XSAVE = iow('KVM_SET_XSAVE', 0xa5, structs.kvm_xsave);
export const KVM_GET_XCRS = ior('KVM_GET_XCRS', 0xa6, structs.kvm_xcrs);
export const KVM_SET_XCRS = iow('KVM_SET_XCRS', 0xa7, structs.kvm_xcrs);
export const KVM_KVMCLOCK_CTRL = io('KVM_KVMCLOCK_CTRL', 0xad);

/** What KVM_GET_API_VERSION has answered since Linux 2.6.22. */
export const KVM_API_VERSION = 12;

/** Numbers for KVM_CHECK_EXTENSION and KVM_ENABLE_CAP. */
export const KVM_CAP = {
  IRQCHIP: 0,
  USER_MEMORY: 3,
  SET_TSS_ADDR: 4,
  EXT_CPUID: 7,
  MP_STATE: 14,
  SET_GUEST_DEBUG: 23,
  PIT2: 33,
  SET_IDENTITY_MAP_ADDR: 37,
  PIT_STATE2: 35,
  ADJUST_CLOCK: 39,
  VCPU_EVENTS: 41,
  DEBUGREGS: 50,
  XSAVE: 55,
  XCRS: 56,
  TSC_CONTROL: 60,
  GET_TSC_KHZ: 61,
  TSC_DEADLINE_TIMER: 72,
  SYNC_REGS: 74,
  KVMCLOCK_CTRL: 76,
  X86_USER_SPACE_MSR: 188,
  X86_MSR_FILTER: 189,
  XSAVE2: 208,
  X86_TRIPLE_FAULT_EVENT: 218,
} as const;

export const KVM_EXIT = {
  UNKNOWN: 0,
  EXCEPTION: 1,
  IO: 2,
  HYPERCALL: 3,
  DEBUG: 4,
  HLT: 5,
  MMIO: 6,
  IRQ_WINDOW_OPEN: 7,
  SHUTDOWN: 8,
  FAIL_ENTRY: 9,
  INTR: 10,
  SET_TPR: 11,
  INTERNAL_ERROR: 17,
  SYSTEM_EVENT: 24,
  X86_RDMSR: 29,
  X86_WRMSR: 30,
} as const;

export const KVM_EXIT_IO_OUT = 1;
export const KVM_MEM_LOG_DIRTY_PAGES = 1;
export const KVM_CPUID_FLAG_SIGNIFCANT_INDEX = 1;
export const KVM_GUESTDBG = { ENABLE: 0x1, SINGLESTEP: 0x2, BLOCKIRQ: 0x10_0000 } as const;
export const KVM_MP_STATE = { RUNNABLE: 0, UNINITIALIZED: 1, INIT_RECEIVED: 2, HALTED: 3 } as const;
export const KVM_VCPUEVENT_VALID = {
  NMI_PENDING: 0x1,
  SIPI_VECTOR: 0x2,
  SHADOW: 0x4,
  SMM: 0x8,
  PAYLOAD: 0x10,
} as const;
export const KVM_X86_SHADOW_INT = { MOV_SS: 0x1, STI: 0x2 } as const;
export const KVM_INTERNAL_ERROR = { EMULATION: 1, SIMUL_EX: 2, DELIVERY_EV: 3, UNEXPECTED_EXIT_REASON: 4 } as const;
export const KVM_MSR_EXIT_REASON = { INVAL: 1, UNKNOWN: 2, FILTER: 4 } as const;
export const KVM_MSR_FILTER = { READ: 1, WRITE: 2, DEFAULT_ALLOW: 0 } as const;
export const KVM_IRQCHIP = { PIC_MASTER: 0, PIC_SLAVE: 1, IOAPIC: 2 } as const;
export const KVM_IRQ_ROUTING_IRQCHIP = 1;
export const KVM_PIT_SPEAKER_DUMMY = 1;
export const KVM_PIT_FLAGS_SPEAKER_DATA_ON = 2;
export const KVM_SYNC_X86 = { REGS: 1n, SREGS: 2n, EVENTS: 4n } as const;
