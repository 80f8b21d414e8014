// EFLAGS bits (SDM volume 1, 3.4.3) and condition codes (SDM volume 1, appendix B.1).

export const EFLAGS = {
  CF: 0x1,
  /** Bit 1 is always set. */
  FIXED: 0x2,
  PF: 0x4,
  AF: 0x10,
  ZF: 0x40,
  SF: 0x80,
  TF: 0x100,
  IF: 0x200,
  DF: 0x400,
  OF: 0x800,
  IOPL: 0x3000,
  NT: 0x4000,
  RF: 0x1_0000,
  VM: 0x2_0000,
  AC: 0x4_0000,
  VIF: 0x8_0000,
  VIP: 0x10_0000,
  ID: 0x20_0000,
} as const;

export const IOPL_SHIFT = 12;

/** The six flags that arithmetic writes. */
export const STATUS_FLAGS = EFLAGS.CF | EFLAGS.PF | EFLAGS.AF | EFLAGS.ZF | EFLAGS.SF | EFLAGS.OF;

/** Suffixes of Jcc, SETcc and CMOVcc in the opcode map's words, by condition code 0 to 15. */
export const CONDITION_NAMES = [
  'o',
  'no',
  'b',
  'nb',
  'z',
  'nz',
  'be',
  'nbe',
  's',
  'ns',
  'p',
  'np',
  'l',
  'nl',
  'le',
  'nle',
] as const;
