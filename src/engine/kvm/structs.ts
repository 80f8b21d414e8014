// The structures of <linux/kvm.h> and <asm/kvm.h> for x86, under the headers' names. A flexible array at the end is a
// structure of its own here (kvm_msr_entry behind kvm_msrs). tests/kvm/headers.test.ts holds them against the headers.

import { type StructLayout, struct, union } from './struct-layout.ts';

const KVM_NR_INTERRUPTS = 256;
const KVM_MAX_XCRS = 16;
export const KVM_IOAPIC_NUM_PINS = 24;
const KVM_APIC_REG_SIZE = 0x400;
export const KVM_MSR_FILTER_MAX_RANGES = 16;

export const kvm_regs = struct('kvm_regs', {
  rax: 'u64',
  rbx: 'u64',
  rcx: 'u64',
  rdx: 'u64',
  rsi: 'u64',
  rdi: 'u64',
  rsp: 'u64',
  rbp: 'u64',
  r8: 'u64',
  r9: 'u64',
  r10: 'u64',
  r11: 'u64',
  r12: 'u64',
  r13: 'u64',
  r14: 'u64',
  r15: 'u64',
  rip: 'u64',
  rflags: 'u64',
});

export const kvm_segment = struct('kvm_segment', {
  base: 'u64',
  limit: 'u32',
  selector: 'u16',
  type: 'u8',
  present: 'u8',
  dpl: 'u8',
  db: 'u8',
  s: 'u8',
  l: 'u8',
  g: 'u8',
  avl: 'u8',
  unusable: 'u8',
  padding: 'u8',
});

export const kvm_dtable = struct('kvm_dtable', { base: 'u64', limit: 'u16', padding: ['u16', 3] });

export const kvm_sregs = struct('kvm_sregs', {
  cs: kvm_segment,
  ds: kvm_segment,
  es: kvm_segment,
  fs: kvm_segment,
  gs: kvm_segment,
  ss: kvm_segment,
  tr: kvm_segment,
  ldt: kvm_segment,
  gdt: kvm_dtable,
  idt: kvm_dtable,
  cr0: 'u64',
  cr2: 'u64',
  cr3: 'u64',
  cr4: 'u64',
  cr8: 'u64',
  efer: 'u64',
  apic_base: 'u64',
  interrupt_bitmap: ['u64', KVM_NR_INTERRUPTS / 64],
});

export const kvm_vcpu_events = struct('kvm_vcpu_events', {
  exception: struct('', { injected: 'u8', nr: 'u8', has_error_code: 'u8', pending: 'u8', error_code: 'u32' }),
  interrupt: struct('', { injected: 'u8', nr: 'u8', soft: 'u8', shadow: 'u8' }),
  nmi: struct('', { injected: 'u8', pending: 'u8', masked: 'u8', pad: 'u8' }),
  sipi_vector: 'u32',
  flags: 'u32',
  smi: struct('', { smm: 'u8', pending: 'u8', smm_inside_nmi: 'u8', latched_init: 'u8' }),
  triple_fault: struct('', { pending: 'u8' }),
  reserved: ['u8', 26],
  exception_has_payload: 'u8',
  exception_payload: 'u64',
});

const kvm_sync_regs = struct('kvm_sync_regs', { regs: kvm_regs, sregs: kvm_sregs, events: kvm_vcpu_events });

const kvm_debug_exit_arch = struct('kvm_debug_exit_arch', {
  exception: 'u32',
  pad: 'u32',
  pc: 'u64',
  dr6: 'u64',
  dr7: 'u64',
});

/** What a KVM_RUN tells, and takes: shared with the kernel. Exits of other architectures are left out. */
export const kvm_run = struct('kvm_run', {
  request_interrupt_window: 'u8',
  immediate_exit: 'u8',
  padding1: ['u8', 6],
  exit_reason: 'u32',
  ready_for_interrupt_injection: 'u8',
  if_flag: 'u8',
  flags: 'u16',
  cr8: 'u64',
  apic_base: 'u64',
  $exit: union({
    hw: struct('', { hardware_exit_reason: 'u64' }),
    fail_entry: struct('', { hardware_entry_failure_reason: 'u64', cpu: 'u32' }),
    ex: struct('', { exception: 'u32', error_code: 'u32' }),
    io: struct('', { direction: 'u8', size: 'u8', port: 'u16', count: 'u32', data_offset: 'u64' }),
    debug: struct('', { arch: kvm_debug_exit_arch }),
    mmio: struct('', { phys_addr: 'u64', data: ['u8', 8], len: 'u32', is_write: 'u8' }),
    internal: struct('', { suberror: 'u32', ndata: 'u32', data: ['u64', 16] }),
    emulation_failure: struct('', {
      suberror: 'u32',
      ndata: 'u32',
      flags: 'u64',
      insn_size: 'u8',
      insn_bytes: ['u8', 15],
    }),
    system_event: struct('', { type: 'u32', ndata: 'u32', data: ['u64', 16] }),
    msr: struct('', { error: 'u8', pad: ['u8', 7], reason: 'u32', index: 'u32', data: 'u64' }),
    padding: ['u8', 256],
  }),
  kvm_valid_regs: 'u64',
  kvm_dirty_regs: 'u64',
  s: union({ regs: kvm_sync_regs, padding: ['u8', 2048] }),
});

export const kvm_debugregs = struct('kvm_debugregs', {
  db: ['u64', 4],
  dr6: 'u64',
  dr7: 'u64',
  flags: 'u64',
  reserved: ['u64', 9],
});

export const kvm_xsave = struct('kvm_xsave', { region: ['u32', 1024] });

const kvm_xcr = struct('kvm_xcr', { xcr: 'u32', reserved: 'u32', value: 'u64' });

export const kvm_xcrs = struct('kvm_xcrs', {
  nr_xcrs: 'u32',
  flags: 'u32',
  xcrs: [kvm_xcr, KVM_MAX_XCRS],
  padding: ['u64', 16],
});

export const kvm_msrs = struct('kvm_msrs', { nmsrs: 'u32', pad: 'u32' });
export const kvm_msr_entry = struct('kvm_msr_entry', { index: 'u32', reserved: 'u32', data: 'u64' });
export const kvm_msr_list = struct('kvm_msr_list', { nmsrs: 'u32' });

/** `bitmap` is a pointer. */
const kvm_msr_filter_range = struct('kvm_msr_filter_range', { flags: 'u32', nmsrs: 'u32', base: 'u32', bitmap: 'u64' });
export const kvm_msr_filter = struct('kvm_msr_filter', {
  flags: 'u32',
  ranges: [kvm_msr_filter_range, KVM_MSR_FILTER_MAX_RANGES],
});

export const kvm_mp_state = struct('kvm_mp_state', { mp_state: 'u32' });

export const kvm_cpuid2 = struct('kvm_cpuid2', { nent: 'u32', padding: 'u32' });
export const kvm_cpuid_entry2 = struct('kvm_cpuid_entry2', {
  function: 'u32',
  index: 'u32',
  flags: 'u32',
  eax: 'u32',
  ebx: 'u32',
  ecx: 'u32',
  edx: 'u32',
  padding: ['u32', 3],
});

export const kvm_lapic_state = struct('kvm_lapic_state', { regs: ['s8', KVM_APIC_REG_SIZE] });

export const kvm_pic_state = struct('kvm_pic_state', {
  last_irr: 'u8',
  irr: 'u8',
  imr: 'u8',
  isr: 'u8',
  priority_add: 'u8',
  irq_base: 'u8',
  read_reg_select: 'u8',
  poll: 'u8',
  special_mask: 'u8',
  init_state: 'u8',
  auto_eoi: 'u8',
  rotate_on_auto_eoi: 'u8',
  special_fully_nested_mode: 'u8',
  init4: 'u8',
  elcr: 'u8',
  elcr_mask: 'u8',
});

/** An entry of `redirtbl` is its 64 bits. */
export const kvm_ioapic_state = struct('kvm_ioapic_state', {
  base_address: 'u64',
  ioregsel: 'u32',
  id: 'u32',
  irr: 'u32',
  pad: 'u32',
  redirtbl: ['u64', KVM_IOAPIC_NUM_PINS],
});

export const kvm_irqchip = struct('kvm_irqchip', {
  chip_id: 'u32',
  pad: 'u32',
  chip: union({ dummy: ['s8', 512], pic: kvm_pic_state, ioapic: kvm_ioapic_state }),
});

const kvm_irq_routing_irqchip = struct('kvm_irq_routing_irqchip', { irqchip: 'u32', pin: 'u32' });
/** Entries for MSIs and others are left out of the union. */
export const kvm_irq_routing_entry = struct('kvm_irq_routing_entry', {
  gsi: 'u32',
  type: 'u32',
  flags: 'u32',
  pad: 'u32',
  u: union({ irqchip: kvm_irq_routing_irqchip, pad: ['u32', 8] }),
});
export const kvm_irq_routing = struct('kvm_irq_routing', { nr: 'u32', flags: 'u32' });
export const kvm_irq_level = struct('kvm_irq_level', { irq: 'u32', level: 'u32' });
export const kvm_interrupt = struct('kvm_interrupt', { irq: 'u32' });

export const kvm_pit_config = struct('kvm_pit_config', { flags: 'u32', pad: ['u32', 15] });

const kvm_pit_channel_state = struct('kvm_pit_channel_state', {
  count: 'u32',
  latched_count: 'u16',
  count_latched: 'u8',
  status_latched: 'u8',
  status: 'u8',
  read_state: 'u8',
  write_state: 'u8',
  write_latch: 'u8',
  rw_mode: 'u8',
  mode: 'u8',
  bcd: 'u8',
  gate: 'u8',
  count_load_time: 's64',
});

export const kvm_pit_state2 = struct('kvm_pit_state2', {
  channels: [kvm_pit_channel_state, 3],
  flags: 'u32',
  reserved: ['u32', 9],
});

export const kvm_userspace_memory_region = struct('kvm_userspace_memory_region', {
  slot: 'u32',
  flags: 'u32',
  guest_phys_addr: 'u64',
  memory_size: 'u64',
  userspace_addr: 'u64',
});

export const kvm_clock_data = struct('kvm_clock_data', {
  clock: 'u64',
  flags: 'u32',
  pad0: 'u32',
  realtime: 'u64',
  host_tsc: 'u64',
  pad: ['u32', 4],
});

/** `dirty_bitmap` is a pointer. */
export const kvm_dirty_log = struct('kvm_dirty_log', {
  slot: 'u32',
  padding1: 'u32',
  $: union({ dirty_bitmap: 'u64', padding2: 'u64' }),
});

const kvm_guest_debug_arch = struct('kvm_guest_debug_arch', { debugreg: ['u64', 8] });
export const kvm_guest_debug = struct('kvm_guest_debug', { control: 'u32', pad: 'u32', arch: kvm_guest_debug_arch });

export const kvm_enable_cap = struct('kvm_enable_cap', {
  cap: 'u32',
  flags: 'u32',
  args: ['u64', 4],
  pad: ['u8', 64],
});

export const kvm_translation = struct('kvm_translation', {
  linear_address: 'u64',
  physical_address: 'u64',
  valid: 'u8',
  writeable: 'u8',
  usermode: 'u8',
  pad: ['u8', 5],
});

/** All of them, for whoever holds them against the headers. */
export const KVM_STRUCTS: readonly StructLayout[] = [
  kvm_regs,
  kvm_segment,
  kvm_dtable,
  kvm_sregs,
  kvm_vcpu_events,
  kvm_sync_regs,
  kvm_debug_exit_arch,
  kvm_run,
  kvm_debugregs,
  kvm_xsave,
  kvm_xcr,
  kvm_xcrs,
  kvm_msrs,
  kvm_msr_entry,
  kvm_msr_list,
  kvm_msr_filter_range,
  kvm_msr_filter,
  kvm_mp_state,
  kvm_cpuid2,
  kvm_cpuid_entry2,
  kvm_lapic_state,
  kvm_pic_state,
  kvm_ioapic_state,
  kvm_irqchip,
  kvm_irq_routing_irqchip,
  kvm_irq_routing_entry,
  kvm_irq_routing,
  kvm_irq_level,
  kvm_interrupt,
  kvm_pit_config,
  kvm_pit_channel_state,
  kvm_pit_state2,
  kvm_userspace_memory_region,
  kvm_clock_data,
  kvm_dirty_log,
  kvm_guest_debug_arch,
  kvm_guest_debug,
  kvm_enable_cap,
  kvm_translation,
];
