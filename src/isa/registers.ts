// Register names by their numbers in instructions (SDM volume 2, table 3-1).

const NUMBERED = ['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'];

export const GPR_NAMES_64 = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', ...NUMBERED] as const;
export const GPR_NAMES_32 = [
  ...['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi'],
  ...NUMBERED.map((name) => `${name}d`),
] as const;
export const GPR_NAMES_16 = [
  ...['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di'],
  ...NUMBERED.map((name) => `${name}w`),
] as const;
/** With a REX prefix; without one, 4 to 7 are GPR_NAMES_HIGH_BYTE. */
export const GPR_NAMES_8 = [
  ...['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil'],
  ...NUMBERED.map((name) => `${name}b`),
] as const;
/** Bits 15:8 of GPR 0 to 3. */
export const GPR_NAMES_HIGH_BYTE = ['ah', 'ch', 'dh', 'bh'] as const;
export const SEGMENT_REGISTER_NAMES = ['es', 'cs', 'ss', 'ds', 'fs', 'gs'] as const;

export const GPR = {
  RAX: 0,
  RCX: 1,
  RDX: 2,
  RBX: 3,
  RSP: 4,
  RBP: 5,
  RSI: 6,
  RDI: 7,
  R8: 8,
  R9: 9,
  R10: 10,
  R11: 11,
  R12: 12,
  R13: 13,
  R14: 14,
  R15: 15,
} as const;
