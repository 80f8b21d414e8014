// Bits of CR0, CR3, CR4, CR8, EFER, XCR0, DR6 and DR7 (SDM volume 3, 2.5, 2.6 and 17.2).

export const CR0 = {
  PE: 0x1,
  MP: 0x2,
  EM: 0x4,
  TS: 0x8,
  ET: 0x10,
  NE: 0x20,
  WP: 0x1_0000,
  AM: 0x4_0000,
  NW: 0x2000_0000,
  CD: 0x4000_0000,
  PG: 0x8000_0000,
} as const;

export const CR4 = {
  VME: 0x1,
  PVI: 0x2,
  TSD: 0x4,
  DE: 0x8,
  PSE: 0x10,
  PAE: 0x20,
  MCE: 0x40,
  PGE: 0x80,
  PCE: 0x100,
  OSFXSR: 0x200,
  OSXMMEXCPT: 0x400,
  UMIP: 0x800,
  LA57: 0x1000,
  FSGSBASE: 0x1_0000,
  PCIDE: 0x2_0000,
  OSXSAVE: 0x4_0000,
  SMEP: 0x10_0000,
  SMAP: 0x20_0000,
  PKE: 0x40_0000,
} as const;

export const EFER = { SCE: 0x1, LME: 0x100, LMA: 0x400, NXE: 0x800 } as const;

export const XCR0 = { X87: 0x1, SSE: 0x2, AVX: 0x4 } as const;

/** With CR4.PCIDE: bits 11:0 of CR3 are the PCID, and bit 63 of a value written keeps that PCID's translations. */
export const CR3 = { PWT: 0x8, PCD: 0x10, PCID_MASK: 0xfff, NO_FLUSH: 1n << 63n } as const;

export const DR6 = {
  B0: 0x1,
  B1: 0x2,
  B2: 0x4,
  B3: 0x8,
  BD: 0x2000,
  BS: 0x4000,
  BT: 0x8000,
  FIXED: 0xffff_0ff0,
} as const;
export const DR7 = { LE: 0x100, GE: 0x200, FIXED: 0x400, GD: 0x2000 } as const;
