// A decoded instruction: what the bytes say, with nothing of what they do.

import type { Row } from '../isa/row.ts';

/** The processor mode that gives bytes their meaning: CS.L and CS.D, reduced to the default operand size. */
export type CodeSize = 16 | 32 | 64;

export const SEGMENT_INDEX = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5 } as const;

/** `base` of a memory operand that is relative to the next instruction's address. */
export const BASE_RIP = 16;
export const NO_REGISTER = -1;

export type RegisterFile = 'gpr' | 'segment' | 'control' | 'debug' | 'st' | 'mmx' | 'xmm';

export interface RegisterOperand {
  readonly kind: 'register';
  readonly file: RegisterFile;
  readonly index: number;
  /** AH, CH, DH, BH: bits 15:8 of GPR `index` (0 to 3). */
  readonly highByte: boolean;
  /** Bytes that the instruction reads or writes: 1, 2, 4, 8, 10, 16. */
  readonly sizeBytes: number;
}

export interface MemoryOperand {
  readonly kind: 'memory';
  /** SEGMENT_INDEX after any override (in 64-bit mode only fs and gs overrides count; others give the default). */
  readonly segment: number;
  /** GPR 0 to 15, BASE_RIP, or NO_REGISTER. */
  readonly base: number;
  readonly index: number;
  /** 0 to 3: the index is shifted left by it. */
  readonly scaleShift: number;
  /** Sign-extended; for moffs the zero-extended absolute offset. Not reduced to the address size. */
  readonly displacement: bigint;
  /** Effective address size: the sum is truncated to it. */
  readonly addressBytes: 2 | 4 | 8;
  /** Bytes accessed; 0 where it accesses none (LEA, INVLPG) or the size is its own affair (FXSAVE, FNSTENV). */
  readonly sizeBytes: number;
}

export interface ImmediateOperand {
  readonly kind: 'immediate';
  /** As the operation uses it: sign- or zero-extended to the operand size, then taken as unsigned of `sizeBytes`. */
  readonly value: bigint;
  readonly sizeBytes: number;
}

/** A near branch target: the displacement from the next instruction's address. */
export interface RelativeOperand {
  readonly kind: 'relative';
  readonly displacement: number;
}

/** A direct far pointer, ptr16:16 or ptr16:32. */
export interface FarOperand {
  readonly kind: 'far';
  readonly selector: number;
  readonly offset: number;
}

export type Operand = RegisterOperand | MemoryOperand | ImmediateOperand | RelativeOperand | FarOperand;

export interface Instruction {
  readonly row: Row;
  readonly lengthBytes: number;
  readonly codeSize: CodeSize;
  /** Effective operand size in bytes of the 'v' operands: 2, 4 or 8. */
  readonly operandBytes: 2 | 4 | 8;
  readonly addressBytes: 2 | 4 | 8;
  readonly operands: readonly Operand[];
  readonly lock: boolean;
  /** A repeat prefix that the row uses as such (`repz` stands for plain REP with rows that say `rep`). */
  readonly repeat: 'none' | 'repz' | 'repnz';
  /** FOP as the x87 keeps it: 3 bits of the opcode and ModR/M (SDM volume 1, 8.1.9); 0 for all other instructions. */
  readonly x87Opcode: number;
}

/** Why bytes are no instruction. */
export type DecodeFailure =
  /** #UD: no row, a row of another mode or of an absent feature, a LOCK that is not allowed. */
  | 'invalid'
  /** #GP: more than 15 bytes. */
  | 'too-long'
  /** The bytes given end within the instruction. */
  | 'truncated';
