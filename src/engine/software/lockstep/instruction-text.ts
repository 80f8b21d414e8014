// A decoded instruction as text for people: Intel's order of operands, sizes where no register tells them.

import {
  BASE_RIP,
  type Instruction,
  type MemoryOperand,
  NO_REGISTER,
  type Operand,
} from '../../../decode/instruction.ts';
import {
  GPR_NAMES_8,
  GPR_NAMES_16,
  GPR_NAMES_32,
  GPR_NAMES_64,
  GPR_NAMES_HIGH_BYTE,
  SEGMENT_REGISTER_NAMES,
} from '../../../isa/registers.ts';

const GPR_NAMES: Record<number, readonly string[]> = {
  1: GPR_NAMES_8,
  2: GPR_NAMES_16,
  4: GPR_NAMES_32,
  8: GPR_NAMES_64,
};
const SIZE_NAMES: Record<number, string> = {
  1: 'byte ',
  2: 'word ',
  4: 'dword ',
  8: 'qword ',
  10: 'tbyte ',
  16: 'xmmword ',
};
const FS = 4;

const hex = (value: bigint): string => (value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`);

function describeMemory(operand: MemoryOperand): string {
  const names = GPR_NAMES[operand.addressBytes]!;
  const terms: string[] = [];
  if (operand.base === BASE_RIP) terms.push('rip');
  else if (operand.base !== NO_REGISTER) terms.push(names[operand.base]!);
  if (operand.index !== NO_REGISTER) {
    terms.push(`${names[operand.index]!}${operand.scaleShift === 0 ? '' : `*${1 << operand.scaleShift}`}`);
  }
  const { displacement } = operand;
  if (displacement !== 0n || terms.length === 0) terms.push(hex(displacement));
  const segment = operand.segment >= FS ? `${SEGMENT_REGISTER_NAMES[operand.segment]!}:` : '';
  return `${SIZE_NAMES[operand.sizeBytes] ?? ''}${segment}[${terms.join('+').replaceAll('+-', '-')}]`;
}

function describeOperand(operand: Operand, next: bigint): string {
  switch (operand.kind) {
    case 'register':
      if (operand.file === 'gpr') {
        return operand.highByte ? GPR_NAMES_HIGH_BYTE[operand.index]! : GPR_NAMES[operand.sizeBytes]![operand.index]!;
      }
      if (operand.file === 'segment') return SEGMENT_REGISTER_NAMES[operand.index]!;
      return `${{ control: 'cr', debug: 'dr', st: 'st', mmx: 'mm', xmm: 'xmm' }[operand.file]}${operand.index}`;
    case 'memory':
      return describeMemory(operand);
    case 'immediate':
      return hex(operand.value);
    case 'relative':
      return hex(BigInt.asUintN(64, next + BigInt(operand.displacement)));
    case 'far':
      return `${operand.selector.toString(16)}:${operand.offset.toString(16)}`;
  }
}

/** `rip`: where the instruction stands; relative targets are given as addresses. */
export function describeInstruction(instruction: Instruction, rip: bigint): string {
  const next = rip + BigInt(instruction.lengthBytes);
  const prefix = instruction.lock ? 'lock ' : instruction.repeat === 'none' ? '' : `${instruction.repeat} `;
  const operands = instruction.operands.map((operand) => describeOperand(operand, next)).join(', ');
  return `${prefix}${instruction.row.mnemonic} ${operands}`.trimEnd();
}
