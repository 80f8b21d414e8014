// From a decoded instruction to its form and its record. The form is what a handler is generated for: the lifting
// function and the kinds of the operands. What varies within a form (registers, displacements, immediates) goes into
// the record.

import {
  BASE_RIP,
  type Instruction,
  type MemoryOperand,
  NO_REGISTER,
  type RegisterOperand,
  SEGMENT_INDEX,
} from '../../decode/instruction.ts';
import { ADDRESS_SIZE_CODE, BRANCH_COUNT, BRANCH_JUMPS, RECORD } from '../../emit/record.ts';
import type { AddressShape, InstructionLift, Location, OperandLift } from '../../ir/builder.ts';
import {
  FLAT_SEGMENT_OFFSET,
  gprOffset,
  mmxOffset,
  SEGMENT_FIELDS,
  STATE,
  segmentOffset,
  xmmOffset,
} from '../../ir/guest-state.ts';

/** Registers that the encoding itself names: the handler has them as constants. */
const FIXED_OPERANDS = new Set([
  'AL',
  'CL',
  'DX',
  'rAX',
  'eAX',
  'AX',
  'ST0',
  'XMM0',
  'ES',
  'CS',
  'SS',
  'DS',
  'FS',
  'GS',
]);

/** Lifting functions that look at the operand size though none of their operands says it. */
const SIZED_LIFTS = new Set([
  'cbw',
  'cwd',
  'pusha',
  'popa',
  'pushf',
  'popf',
  'enter',
  'leave',
  'ret',
  'retf',
  'iret',
  'call',
  'call-indirect',
  'jmpf',
  'callf',
  'push',
  'pop',
  'push-sreg',
  'pop-sreg',
  'les',
  'lds',
  'lss',
  'lfs',
  'lgs',
  'lgdt',
  'lidt',
  'sysret',
  'sysexit',
  'fxsave',
  'fxrstor',
  'xsave',
  'xsaveopt',
  'xrstor',
  'cmpxchg8b',
  'cmpxchg16b',
  'bound',
  'fnstenv',
  'fldenv',
  'fnsave',
  'frstor',
  'pcmpestri',
  'pcmpestrm',
]); // prettier-ignore

/** Lifting functions whose meaning depends on whether the code is 64-bit. */
const MODE_LIFTS = new Set([
  'jmp',
  'jcc',
  'loop',
  'loopz',
  'loopnz',
  'jrcxz',
  'push',
  'pop',
  'push-sreg',
  'pop-sreg',
  'pusha',
  'popa',
  'pushf',
  'popf',
  'enter',
  'leave',
  'call',
  'call-indirect',
  'ret',
  'lgdt',
  'lidt',
  'sgdt',
  'sidt',
  'movs',
  'stos',
  'cmps',
  'scas',
  'lods',
  'ins',
  'outs',
  'hlt',
  'popf',
]); // prettier-ignore

/** Lifting functions that count in RCX or address through fixed registers of the address size. */
const ADDRESS_SIZED_LIFTS = new Set([
  'movs',
  'stos',
  'cmps',
  'scas',
  'lods',
  'ins',
  'outs',
  'loop',
  'loopz',
  'loopnz',
  'jrcxz',
]); // prettier-ignore

export function registerOffset(operand: RegisterOperand): number {
  switch (operand.file) {
    case 'gpr':
      return gprOffset(operand.index) + (operand.highByte ? 1 : 0);
    case 'xmm':
      return xmmOffset(operand.index);
    case 'mmx':
      return mmxOffset(operand.index);
    case 'segment':
      return segmentOffset(operand.index) + SEGMENT_FIELDS.selector;
    default:
      return operand.index;
  }
}

const isFlat = (operand: MemoryOperand): boolean =>
  operand.addressBytes === 8 && operand.segment !== SEGMENT_INDEX.fs && operand.segment !== SEGMENT_INDEX.gs;

/** An offset of 64 bits, which MOV with AL, AX, EAX and RAX has, that is too long for a displacement. */
const isAbsolute = ({ base, index, displacement }: MemoryOperand): boolean =>
  base === NO_REGISTER && index === NO_REGISTER && (displacement < -0x80000000n || displacement > 0x7fffffffn);

function addressShape(operand: MemoryOperand, long: boolean): AddressShape {
  if (long && isAbsolute(operand)) return 'absolute';
  if (!long || operand.addressBytes !== 8) return 'generic';
  if (!isFlat(operand)) return 'segmented';
  return operand.index === NO_REGISTER ? 'base' : 'indexed';
}

/** The operand that the record describes: of two, as string instructions have them, the source. */
function recordedMemory({ operands }: Instruction): MemoryOperand | undefined {
  let found: MemoryOperand | undefined;
  for (let position = 0; position < operands.length; position++) {
    const operand = operands[position]!;
    if (operand.kind === 'memory' && (found === undefined || operand.base === RSI)) found = operand;
  }
  return found;
}

const SHAPE_CODES = { base: 1, indexed: 2, segmented: 3, generic: 4, absolute: 5 } as const;
const REPEAT_CODES = { none: 0, repz: 1, repnz: 2 } as const;

/**
 * A number of 31 bits at most that is equal only for instructions of the same form; some forms have several. Their row
 * says everything else.
 */
export function formNumber({ row, codeSize, operandBytes, addressBytes, operands, lock, repeat }: Instruction): number {
  const long = codeSize === 64;
  let shapes = 0;
  for (let position = 0; position < operands.length; position++) {
    const operand = operands[position]!;
    shapes = shapes * 8 + (operand.kind === 'memory' ? SHAPE_CODES[addressShape(operand, long)] : 0);
  }
  const sizes = (operandBytes >> 2) * 4 + (addressBytes >> 2);
  const prefixes = REPEAT_CODES[repeat] * 4 + (lock ? 2 : 0) + (long ? 1 : 0);
  return ((row.id * 512 + shapes) * 16 + sizes) * 16 + prefixes;
}

/** The interpreter's view of an instruction, and a key that is equal for instructions of the same form. */
export function formOf(instruction: Instruction): { key: string; lift: InstructionLift } {
  const { row } = instruction;
  const long = instruction.codeSize === 64;
  let key = row.lift;
  if (row.condition !== undefined) key += `.${row.condition}`;
  let registers = 0;
  let immediates = 0;
  const operands: OperandLift[] = [];
  instruction.operands.forEach((operand, position) => {
    switch (operand.kind) {
      case 'register': {
        const fixed = FIXED_OPERANDS.has(row.operands[position] ?? '');
        const location: Location = fixed
          ? { kind: 'fixed', offset: registerOffset(operand) }
          : { kind: 'slot', slot: registers++ === 0 ? 'r0' : 'r1' };
        const file =
          operand.file === 'gpr' || operand.file === 'xmm' || operand.file === 'mmx' ? operand.file : 'index';
        operands.push({ kind: 'register', file, location, sizeBytes: operand.sizeBytes });
        key += fixed ? ` =${location.kind === 'fixed' ? location.offset : ''}` : ` ${file}`;
        key += `:${operand.sizeBytes}`;
        return;
      }
      case 'memory': {
        const shape = addressShape(operand, long);
        operands.push({ kind: 'memory', shape, sizeBytes: operand.sizeBytes });
        key += ` m.${shape}:${operand.sizeBytes}`;
        return;
      }
      case 'immediate': {
        const one = row.operands[position] === '1';
        const value = one ? 1n : immediates++ === 0 ? 'imm0' : 'imm1';
        operands.push({ kind: 'immediate', value, sizeBytes: operand.sizeBytes });
        key += one ? ' 1' : ` i:${operand.sizeBytes}`;
        return;
      }
      case 'relative':
        operands.push({ kind: 'target' });
        key += ' rel';
        return;
      case 'far':
        operands.push({ kind: 'immediate', value: 'imm0', sizeBytes: instruction.operandBytes });
        key += ' far';
        return;
    }
  });
  if (SIZED_LIFTS.has(row.lift)) key += ` o${instruction.operandBytes}`;
  if (ADDRESS_SIZED_LIFTS.has(row.lift)) key += ` a${instruction.addressBytes}`;
  if (MODE_LIFTS.has(row.lift)) key += long ? ' long' : ' legacy';
  if (instruction.lock) key += ' lock';
  if (instruction.repeat !== 'none') key += ` ${instruction.repeat}`;
  return {
    key,
    lift: {
      lift: row.lift,
      mnemonic: row.mnemonic,
      condition: row.condition ?? 0,
      operands,
      operandBytes: instruction.operandBytes,
      addressBytes: instruction.addressBytes,
      long,
      lock: instruction.lock,
      repeat: instruction.repeat,
    },
  };
}

const PAGE_BYTES = 4096;
const RSI = 6;
/** Code that takes as long as a jump, some four instructions. */
const BYTES_PER_JUMP = 16;

/** Writes everything of a record but its handler. `ip` is the instruction's offset in its page. */
export function writeOperands(
  view: DataView,
  record: number,
  instruction: Instruction,
  { operands: lifts }: InstructionLift,
  ip: number,
  hotAfter: number,
): void {
  const { operands } = instruction;
  const long = instruction.codeSize === 64;
  const nextIp = ip + instruction.lengthBytes;
  view.setUint16(record + RECORD.r0, 0, true);
  view.setUint16(record + RECORD.r1, 0, true);
  view.setUint16(record + RECORD.base, STATE.zero.offset, true);
  view.setUint16(record + RECORD.index, STATE.zero.offset, true);
  view.setUint8(record + RECORD.scale, 0);
  view.setUint8(record + RECORD.length, instruction.lengthBytes);
  view.setUint16(record + RECORD.ip, ip, true);
  view.setUint16(record + RECORD.segment, FLAT_SEGMENT_OFFSET, true);
  view.setInt32(record + RECORD.displacement, 0, true);
  view.setUint32(record + RECORD.link, 0, true);
  // No x87 instruction has an immediate: its opcode lies there.
  writeSigned(view, record + RECORD.imm0, instruction.x87Opcode);
  const memory = recordedMemory(instruction);
  for (let position = 0; position < operands.length; position++) {
    const operand = operands[position]!;
    const lift = lifts[position]!;
    switch (operand.kind) {
      case 'register':
        if (lift.kind === 'register' && lift.location.kind === 'slot') {
          view.setUint16(record + RECORD[lift.location.slot], registerOffset(operand), true);
        }
        break;
      case 'memory':
        if (operand === memory) writeMemory(view, record, operand, long, nextIp);
        break;
      case 'immediate':
        if (lift.kind !== 'immediate') break;
        if (lift.value === 'imm0') view.setBigUint64(record + RECORD.imm0, BigInt.asUintN(64, operand.value), true);
        if (lift.value === 'imm1') {
          view.setUint32(record + RECORD.displacement, Number(operand.value & 0xffffffffn), true);
        }
        break;
      case 'relative': {
        writeSigned(view, record + RECORD.imm0, nextIp + operand.displacement);
        view.setInt32(record + BRANCH_COUNT, hotAfter, true);
        view.setUint16(record + BRANCH_JUMPS, jumpsOf(operand.displacement), true);
        const code = long ? 0 : ADDRESS_SIZE_CODE[instruction.operandBytes];
        view.setUint16(record + RECORD.segment, FLAT_SEGMENT_OFFSET | code, true);
        break;
      }
      case 'far':
        writeSigned(view, record + RECORD.imm0, operand.offset);
        view.setUint32(record + RECORD.displacement, operand.selector, true);
        break;
    }
  }
}

/** Writes an i64 of less than 33 bits and a sign. */
function writeSigned(view: DataView, at: number, value: number): void {
  view.setInt32(at, value | 0, true);
  view.setInt32(at + 4, value < 0 ? -1 : 0, true);
}

/** A branch backwards stands for the code between. */
function jumpsOf(displacement: number): number {
  return 1 + Math.floor(Math.min(Math.max(0, -displacement), PAGE_BYTES) / BYTES_PER_JUMP);
}

function writeMemory(view: DataView, record: number, operand: MemoryOperand, long: boolean, nextIp: number): void {
  const { base, index, displacement } = operand;
  const ripRelative = base === BASE_RIP;
  if (ripRelative) view.setUint16(record + RECORD.base, STATE.codePage.offset, true);
  else if (base !== NO_REGISTER) view.setUint16(record + RECORD.base, gprOffset(base), true);
  if (index !== NO_REGISTER) view.setUint16(record + RECORD.index, gprOffset(index), true);
  view.setUint8(record + RECORD.scale, operand.scaleShift);
  const ownSegment = !long || operand.segment === SEGMENT_INDEX.fs || operand.segment === SEGMENT_INDEX.gs;
  const segment = ownSegment ? segmentOffset(operand.segment) : FLAT_SEGMENT_OFFSET;
  view.setUint16(record + RECORD.segment, segment | ADDRESS_SIZE_CODE[operand.addressBytes], true);
  if (long && isAbsolute(operand)) {
    view.setBigUint64(record + RECORD.imm0, BigInt.asUintN(64, displacement), true);
    view.setUint16(record + RECORD.segment, segment, true);
    return;
  }
  // A displacement relative to RIP counts from the next instruction; the base is the page's address.
  view.setInt32(
    record + RECORD.displacement,
    Number(BigInt.asIntN(32, displacement)) + (ripRelative ? nextIp : 0),
    true,
  );
}
