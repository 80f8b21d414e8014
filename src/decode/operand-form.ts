// An operand code as numbers, so that the decoder's inner loop compares no strings.

import type { AddressingMethod, ParsedOperand } from '../isa/operand-code.ts';
import { OPERAND_SIZES } from '../isa/operand-code.ts';
import type { Operand } from './instruction.ts';
import { GENERAL_REGISTERS, SEGMENT_REGISTERS, STACK_REGISTERS } from './register-operand.ts';

export const FORM = {
  GENERAL_REG: 0,
  GENERAL_RM: 1,
  GENERAL_OPCODE: 2,
  SEGMENT_REG: 3,
  CONTROL_REG: 4,
  DEBUG_REG: 5,
  XMM_REG: 6,
  XMM_RM: 7,
  MMX_REG: 8,
  MMX_RM: 9,
  STACK_RM: 10,
  IMMEDIATE: 11,
  IMMEDIATE_SIGNED_BYTE: 12,
  RELATIVE: 13,
  FAR: 14,
  OFFSET: 15,
  SOURCE_STRING: 16,
  DESTINATION_STRING: 17,
  BX_IMPLICIT: 18,
  DI_IMPLICIT: 19,
  FIXED: 20,
} as const;

export interface OperandForm {
  /** One of FORM. */
  readonly form: number;
  /** Bytes by operand size 2, 4, 8. */
  readonly registerBytes: readonly [number, number, number];
  readonly memoryBytes: readonly [number, number, number];
  /** FIXED: the operand itself, by operand size. */
  readonly fixed: readonly Operand[];
}

const FORMS: Record<AddressingMethod, number> = {
  G: FORM.GENERAL_REG,
  E: FORM.GENERAL_RM,
  R: FORM.GENERAL_RM,
  M: FORM.GENERAL_RM,
  Z: FORM.GENERAL_OPCODE,
  S: FORM.SEGMENT_REG,
  C: FORM.CONTROL_REG,
  D: FORM.DEBUG_REG,
  V: FORM.XMM_REG,
  W: FORM.XMM_RM,
  U: FORM.XMM_RM,
  P: FORM.MMX_REG,
  Q: FORM.MMX_RM,
  N: FORM.MMX_RM,
  STi: FORM.STACK_RM,
  I: FORM.IMMEDIATE,
  J: FORM.RELATIVE,
  A: FORM.FAR,
  O: FORM.OFFSET,
  X: FORM.SOURCE_STRING,
  Y: FORM.DESTINATION_STRING,
  BB: FORM.BX_IMPLICIT,
  BD: FORM.DI_IMPLICIT,
  fixed: FORM.FIXED,
};

function fixedOperands(name: string): readonly Operand[] {
  const general = (index: number, ...sizes: number[]): Operand[] =>
    sizes.map((size) => GENERAL_REGISTERS[size]![index]!);
  const segment = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS'].indexOf(name);
  if (segment >= 0) return Array<Operand>(3).fill(SEGMENT_REGISTERS[segment]!);
  switch (name) {
    case 'AL':
      return general(0, 1, 1, 1);
    case 'CL':
      return general(1, 1, 1, 1);
    case 'AX':
      return general(0, 2, 2, 2);
    case 'DX':
      return general(2, 2, 2, 2);
    case 'eAX':
      return general(0, 2, 4, 4);
    case 'rAX':
      return general(0, 2, 4, 8);
    case 'ST0':
      return Array<Operand>(3).fill(STACK_REGISTERS[0]!);
    case '1':
      return Array<Operand>(3).fill(Object.freeze({ kind: 'immediate', value: 1n, sizeBytes: 1 }));
    default:
      throw new Error(`no fixed operand is called '${name}'`);
  }
}

export function operandForm({ method, registerSize, memorySize, name }: ParsedOperand): OperandForm {
  return {
    form: method === 'I' && registerSize === 'bs' ? FORM.IMMEDIATE_SIGNED_BYTE : FORMS[method],
    registerBytes: OPERAND_SIZES[registerSize]!,
    memoryBytes: OPERAND_SIZES[memorySize]!,
    fixed: method === 'fixed' ? fixedOperands(name) : [],
  };
}
