// Every register operand there is, made once: decoding allocates none.

import type { RegisterFile, RegisterOperand } from './instruction.ts';

function registers(file: RegisterFile, count: number, sizeBytes: number): readonly RegisterOperand[] {
  return Array.from({ length: count }, (_, index) =>
    Object.freeze({ kind: 'register', file, index, highByte: false, sizeBytes } as const),
  );
}

function bySize(file: RegisterFile, count: number): readonly (readonly RegisterOperand[])[] {
  const table: (readonly RegisterOperand[])[] = [];
  for (const sizeBytes of [1, 2, 4, 8, 10, 16]) table[sizeBytes] = registers(file, count, sizeBytes);
  return Array.from(table, (entry) => entry ?? []);
}

/** Indexed by size in bytes, then by register. */
export const GENERAL_REGISTERS = bySize('gpr', 16);
export const XMM_REGISTERS = bySize('xmm', 16);
export const MMX_REGISTERS = bySize('mmx', 8);

/** SPL, BPL, SIL and DIL are in GENERAL_REGISTERS[1]; without REX the same numbers mean these: AH, CH, DH, BH. */
export const HIGH_BYTE_REGISTERS: readonly RegisterOperand[] = [0, 1, 2, 3].map((index) =>
  Object.freeze({ kind: 'register', file: 'gpr', index, highByte: true, sizeBytes: 1 } as const),
);

export const SEGMENT_REGISTERS = registers('segment', 6, 2);
export const STACK_REGISTERS = registers('st', 8, 10);
export const CONTROL_REGISTERS = bySize('control', 16);
export const DEBUG_REGISTERS = bySize('debug', 8);
