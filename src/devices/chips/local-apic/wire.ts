// The local APIC's registers (SDM 3A chapter 11: table 11-1 offsets, 11.5 LVT, 11.6 ICR, 11.12 x2APIC).

export const LOCAL_APIC_BASE = 0xfee00000;
export const LOCAL_APIC_SIZE_BYTES = 0x1000;

/** Offsets in the page; the x2APIC MSR of a register is 0x800 + offset / 16. */
export const APIC = {
  ID: 0x020,
  VERSION: 0x030,
  TPR: 0x080,
  APR: 0x090,
  PPR: 0x0a0,
  EOI: 0x0b0,
  RRD: 0x0c0,
  LDR: 0x0d0,
  DFR: 0x0e0,
  SVR: 0x0f0,
  ISR: 0x100,
  TMR: 0x180,
  IRR: 0x200,
  ESR: 0x280,
  ICR_LOW: 0x300,
  ICR_HIGH: 0x310,
  LVT_TIMER: 0x320,
  LVT_THERMAL: 0x330,
  LVT_PERFORMANCE: 0x340,
  LVT_LINT0: 0x350,
  LVT_LINT1: 0x360,
  LVT_ERROR: 0x370,
  INITIAL_COUNT: 0x380,
  CURRENT_COUNT: 0x390,
  DIVIDE: 0x3e0,
  /** x2APIC only. */
  SELF_IPI: 0x3f0,
} as const;

export const MSR_INDEX = {
  IA32_APIC_BASE: 0x01b,
  IA32_TSC_DEADLINE: 0x6e0,
  X2APIC_FIRST: 0x800,
  X2APIC_LAST: 0x8ff,
} as const;

export const APIC_BASE = { BSP: 0x100, EXTD: 0x400, EN: 0x800 } as const;

/** Version 0x14, six LVT entries. */
export const APIC_VERSION = 0x00050014;

export const SVR = { SOFTWARE_ENABLE: 0x100, WRITABLE: 0x1ff } as const;

export const LVT = {
  VECTOR_MASK: 0x000ff,
  DELIVERY_MODE_SHIFT: 8,
  LEVEL_TRIGGERED: 0x08000,
  MASKED: 0x10000,
  TIMER_MODE_SHIFT: 17,
} as const;

/** Writable bits of the six LVT entries from LVT_TIMER up, 16 bytes apart. */
export const LVT_WRITABLE = [0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff] as const;

/** Read-only bits of LVT entries (delivery status, remote IRR): writing them is no error. */
export const LVT_READ_ONLY = 0x05000;

export const TIMER_MODE = { ONE_SHOT: 0, PERIODIC: 1, TSC_DEADLINE: 2 } as const;

export const ICR = {
  LOGICAL: 0x00800,
  LEVEL_ASSERT: 0x04000,
  LEVEL_TRIGGERED: 0x08000,
  SHORTHAND_SHIFT: 18,
  WRITABLE: 0xccfff,
  /** Delivery status: read-only in xAPIC mode, gone in x2APIC mode; writing it is no error here. */
  DELIVERY_STATUS: 0x01000,
} as const;

export const SHORTHAND = { NONE: 0, SELF: 1, ALL: 2, OTHERS: 3 } as const;

export const ESR = { SEND_ILLEGAL_VECTOR: 0x20, RECEIVE_ILLEGAL_VECTOR: 0x40, ILLEGAL_REGISTER: 0x80 } as const;

export const DFR = { FLAT: 0xf, CLUSTER: 0x0 } as const;

export const DIVIDE_WRITABLE = 0xb;

/** The timer's input clock: what CPUID leaf 0x15 calls the core crystal clock would be this. */
export const APIC_TIMER_HZ = 1_000_000_000;
