// Bytes and processor mode -> Instruction (SDM volume 2, chapter 2; APM volume 3, chapter 1). The rows say which
// encodings there are; here are the rules that hold for all: prefixes, operand and address size, ModR/M and SIB.
// Where the vendors differ, Intel's rule holds: near branches ignore 66 in 64-bit code.

import type { Feature } from '../isa/row.ts';
import { ROWS } from '../isa/rows.ts';
import type { DispatchTable } from './dispatch-table.ts';
import {
  buildDispatchTable,
  modrmSlot,
  PREFIX_66,
  PREFIX_F2,
  PREFIX_F3,
  PREFIX_NONE,
  prefixSlot,
} from './dispatch-table.ts';
import type { CodeSize, DecodeFailure, Instruction, Operand } from './instruction.ts';
import { BASE_RIP, NO_REGISTER, SEGMENT_INDEX } from './instruction.ts';
import type { OperandForm } from './operand-form.ts';
import { FORM } from './operand-form.ts';
import {
  CONTROL_REGISTERS,
  DEBUG_REGISTERS,
  GENERAL_REGISTERS,
  HIGH_BYTE_REGISTERS,
  MMX_REGISTERS,
  SEGMENT_REGISTERS,
  STACK_REGISTERS,
  XMM_REGISTERS,
} from './register-operand.ts';

/**
 * Decodes the instruction at `bytes[offset]`, of which `available` bytes may be read. Pure but for reused scratch: not
 * reentrant within a thread, safe between threads.
 */
export type Decode = (
  bytes: Uint8Array,
  offset: number,
  available: number,
  codeSize: CodeSize,
) => Instruction | DecodeFailure;

export const MAXIMUM_LENGTH_BYTES = 15;

const { es: ES, ss: SS, ds: DS, fs: FS } = SEGMENT_INDEX;
const [RBX, RSP, RBP, RSI, RDI] = [3, 4, 5, 6, 7];

// What a byte is before the opcode.
const NOT_PREFIX = 0;
const SEGMENT_PREFIX = 1;
const OPERAND_SIZE_PREFIX = 2;
const ADDRESS_SIZE_PREFIX = 3;
const LOCK_PREFIX = 4;
const REPEAT_PREFIX = 5;
const REX_PREFIX = 6;

const PREFIX_KIND = new Uint8Array(256);
for (const byte of [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]) PREFIX_KIND[byte] = SEGMENT_PREFIX;
PREFIX_KIND[0x66] = OPERAND_SIZE_PREFIX;
PREFIX_KIND[0x67] = ADDRESS_SIZE_PREFIX;
PREFIX_KIND[0xf0] = LOCK_PREFIX;
PREFIX_KIND[0xf2] = REPEAT_PREFIX;
PREFIX_KIND[0xf3] = REPEAT_PREFIX;
PREFIX_KIND.fill(REX_PREFIX, 0x40, 0x50);

const NO_OPERANDS: readonly Operand[] = Object.freeze([]);

const SMALL_FIRST = -256;
const SMALL_COUNT = 512;
const SMALL = Array.from({ length: SMALL_COUNT }, (_, index) => BigInt(index + SMALL_FIRST));

function toBigInt(value: number): bigint {
  const index = value - SMALL_FIRST;
  return index >= 0 && index < SMALL_COUNT ? SMALL[index]! : BigInt(value);
}

// The scratch of one decode call. Module variables, since an object for each call would cost more than the decoding.
let code: Uint8Array = new Uint8Array(0);
let cursor = 0;
/** First byte that may not be read. */
let end = 0;
/** The instruction needs bytes at or after `end`. */
let ranOut = false;
/** A register field has a value without a register. */
let noSuchRegister = false;
let rex = 0;
let modrm = 0;
let opcodeByte = 0;
let isMemory = false;
let segmentOverride = NO_REGISTER;
let operandBytes: 2 | 4 | 8 = 4;
let addressBytes: 2 | 4 | 8 = 4;
let memorySegment = 0;
let memoryBase = 0;
let memoryIndex = 0;
let memoryScaleShift = 0;
let memoryDisplacement = 0;

function takeByte(): number {
  if (cursor >= end) {
    ranOut = true;
    return 0;
  }
  return code[cursor++]!;
}

/** Little-endian unsigned, 1, 2 or 4 bytes. */
function take(sizeBytes: number): number {
  if (cursor + sizeBytes > end) {
    ranOut = true;
    return 0;
  }
  const at = cursor;
  cursor += sizeBytes;
  if (sizeBytes === 1) return code[at]!;
  if (sizeBytes === 2) return code[at]! | (code[at + 1]! << 8);
  return (code[at]! | (code[at + 1]! << 8) | (code[at + 2]! << 16) | (code[at + 3]! << 24)) >>> 0;
}

function takeSigned(sizeBytes: number): number {
  const value = take(sizeBytes);
  if (sizeBytes === 1) return (value << 24) >> 24;
  return sizeBytes === 2 ? (value << 16) >> 16 : value | 0;
}

function takeQuadword(): bigint {
  const low = take(4);
  const high = take(4);
  return high === 0 ? BigInt(low) : (BigInt(high) << 32n) | BigInt(low);
}

/** `value` is signed; the result is unsigned of `sizeBytes`. */
function unsignedOf(value: number, sizeBytes: number): bigint {
  if (value >= 0) return toBigInt(value);
  switch (sizeBytes) {
    case 1:
      return toBigInt(value & 0xff);
    case 2:
      return BigInt(value & 0xffff);
    case 4:
      return BigInt(value >>> 0);
    default:
      return BigInt.asUintN(64, BigInt(value));
  }
}

/** 16-bit addressing forms by rm (SDM volume 2, table 2-1). */
const BASE_16 = [RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX];
const INDEX_16 = [RSI, RDI, RSI, RDI, NO_REGISTER, NO_REGISTER, NO_REGISTER, NO_REGISTER];

function readMemoryForm(is64: boolean): void {
  const mod = modrm >> 6;
  const rm = modrm & 7;
  let defaultSegment: number = DS;
  memoryIndex = NO_REGISTER;
  memoryScaleShift = 0;
  if (addressBytes === 2) {
    if (mod === 0 && rm === 6) {
      memoryBase = NO_REGISTER;
      memoryDisplacement = takeSigned(2);
    } else {
      memoryBase = BASE_16[rm]!;
      memoryIndex = INDEX_16[rm]!;
      memoryDisplacement = mod === 0 ? 0 : takeSigned(mod);
      if (memoryBase === RBP) defaultSegment = SS;
    }
  } else {
    let base = rm;
    if (rm === 4) {
      const sib = takeByte();
      base = sib & 7;
      const index = ((sib >> 3) & 7) | ((rex & 2) << 2);
      if (index !== 4) {
        memoryIndex = index;
        memoryScaleShift = sib >> 6;
      }
    }
    if (mod === 0 && base === 5) {
      memoryBase = is64 && rm === 5 ? BASE_RIP : NO_REGISTER;
      memoryDisplacement = takeSigned(4);
    } else {
      memoryBase = base | ((rex & 1) << 3);
      if (memoryBase === RSP || memoryBase === RBP) defaultSegment = SS;
      memoryDisplacement = mod === 0 ? 0 : takeSigned(mod === 1 ? 1 : 4);
    }
  }
  memorySegment = segmentOverride === NO_REGISTER ? defaultSegment : segmentOverride;
}

function memoryOperand(sizeBytes: number): Operand {
  return {
    kind: 'memory',
    segment: memorySegment,
    base: memoryBase,
    index: memoryIndex,
    scaleShift: memoryScaleShift,
    displacement: toBigInt(memoryDisplacement),
    addressBytes,
    sizeBytes,
  };
}

function implicitMemory(segment: number, base: number, displacement: bigint, sizeBytes: number): Operand {
  return {
    kind: 'memory',
    segment,
    base,
    index: NO_REGISTER,
    scaleShift: 0,
    displacement,
    addressBytes,
    sizeBytes,
  };
}

function dataSegment(): number {
  return segmentOverride === NO_REGISTER ? DS : segmentOverride;
}

function generalRegister(number: number, sizeBytes: number): Operand {
  if (sizeBytes === 1 && rex === 0 && number >= 4) return HIGH_BYTE_REGISTERS[number - 4]!;
  return GENERAL_REGISTERS[sizeBytes]![number]!;
}

function readOperand(operand: OperandForm, sizeIndex: number): Operand {
  switch (operand.form) {
    case FORM.GENERAL_REG:
      return generalRegister(((modrm >> 3) & 7) | ((rex & 4) << 1), operand.registerBytes[sizeIndex]!);
    case FORM.GENERAL_RM:
      if (isMemory) return memoryOperand(operand.memoryBytes[sizeIndex]!);
      return generalRegister((modrm & 7) | ((rex & 1) << 3), operand.registerBytes[sizeIndex]!);
    case FORM.IMMEDIATE: {
      const sizeBytes = operand.registerBytes[sizeIndex]!;
      if (sizeBytes === 8) return { kind: 'immediate', value: takeQuadword(), sizeBytes };
      // Iz with a 64-bit operand is 32 bits, sign-extended.
      if (sizeBytes === 4 && operandBytes === 8) {
        return { kind: 'immediate', value: unsignedOf(takeSigned(4), 8), sizeBytes: 8 };
      }
      return { kind: 'immediate', value: toBigInt(take(sizeBytes)), sizeBytes };
    }
    case FORM.IMMEDIATE_SIGNED_BYTE:
      return { kind: 'immediate', value: unsignedOf(takeSigned(1), operandBytes), sizeBytes: operandBytes };
    case FORM.GENERAL_OPCODE:
      return generalRegister((opcodeByte & 7) | ((rex & 1) << 3), operand.registerBytes[sizeIndex]!);
    case FORM.RELATIVE:
      return { kind: 'relative', displacement: takeSigned(operand.registerBytes[sizeIndex]!) };
    case FORM.FIXED:
      return operand.fixed[sizeIndex]!;
    case FORM.XMM_REG:
      return XMM_REGISTERS[operand.registerBytes[sizeIndex]!]![((modrm >> 3) & 7) | ((rex & 4) << 1)]!;
    case FORM.XMM_RM:
      if (isMemory) return memoryOperand(operand.memoryBytes[sizeIndex]!);
      return XMM_REGISTERS[operand.registerBytes[sizeIndex]!]![(modrm & 7) | ((rex & 1) << 3)]!;
    case FORM.MMX_REG:
      return MMX_REGISTERS[operand.registerBytes[sizeIndex]!]![(modrm >> 3) & 7]!;
    case FORM.MMX_RM:
      if (isMemory) return memoryOperand(operand.memoryBytes[sizeIndex]!);
      return MMX_REGISTERS[operand.registerBytes[sizeIndex]!]![modrm & 7]!;
    case FORM.STACK_RM:
      return STACK_REGISTERS[modrm & 7]!;
    case FORM.SOURCE_STRING:
      return implicitMemory(dataSegment(), RSI, 0n, operand.memoryBytes[sizeIndex]!);
    case FORM.DESTINATION_STRING:
      return implicitMemory(ES, RDI, 0n, operand.memoryBytes[sizeIndex]!);
    case FORM.BX_IMPLICIT:
      return implicitMemory(dataSegment(), RBX, 0n, operand.memoryBytes[sizeIndex]!);
    case FORM.DI_IMPLICIT:
      return implicitMemory(dataSegment(), RDI, 0n, operand.memoryBytes[sizeIndex]!);
    case FORM.SEGMENT_REG:
      return knownRegister(SEGMENT_REGISTERS[(modrm >> 3) & 7]);
    case FORM.CONTROL_REG: {
      const number = ((modrm >> 3) & 7) | ((rex & 4) << 1);
      const exists = number === 0 || number === 8 || (number >= 2 && number <= 4);
      return knownRegister(exists ? CONTROL_REGISTERS[operand.registerBytes[sizeIndex]!]![number] : undefined);
    }
    case FORM.DEBUG_REG:
      return knownRegister(DEBUG_REGISTERS[operand.registerBytes[sizeIndex]!]![((modrm >> 3) & 7) | ((rex & 4) << 1)]);
    case FORM.OFFSET: {
      const offset = addressBytes === 8 ? takeQuadword() : toBigInt(take(addressBytes));
      return implicitMemory(dataSegment(), NO_REGISTER, offset, operand.memoryBytes[sizeIndex]!);
    }
    case FORM.FAR: {
      const offset = take(operandBytes === 2 ? 2 : 4);
      return { kind: 'far', offset, selector: take(2) };
    }
    default:
      throw new Error(`operand form ${operand.form} has no reader`);
  }
}

function knownRegister(register: Operand | undefined): Operand {
  if (register !== undefined) return register;
  noSuchRegister = true;
  return STACK_REGISTERS[0]!;
}

function readOperands(forms: readonly OperandForm[], sizeIndex: number): readonly Operand[] {
  switch (forms.length) {
    case 0:
      return NO_OPERANDS;
    case 1:
      return [readOperand(forms[0]!, sizeIndex)];
    case 2:
      return [readOperand(forms[0]!, sizeIndex), readOperand(forms[1]!, sizeIndex)];
    default:
      return [readOperand(forms[0]!, sizeIndex), readOperand(forms[1]!, sizeIndex), readOperand(forms[2]!, sizeIndex)];
  }
}

function decodeWith(
  table: DispatchTable,
  bytes: Uint8Array,
  offset: number,
  available: number,
  codeSize: CodeSize,
): Instruction | DecodeFailure {
  const is64 = codeSize === 64;
  const readable = Math.min(available, bytes.length - offset);
  const outOfBytes: DecodeFailure = readable >= MAXIMUM_LENGTH_BYTES ? 'too-long' : 'truncated';
  code = bytes;
  cursor = offset;
  end = offset + Math.min(readable, MAXIMUM_LENGTH_BYTES);
  ranOut = false;
  noSuchRegister = false;
  rex = 0;
  segmentOverride = NO_REGISTER;
  let operandSizePrefix = false;
  let addressSizePrefix = false;
  let lock = false;
  let repeatPrefix = 0;

  let byte = takeByte();
  for (;;) {
    const kind = PREFIX_KIND[byte]!;
    if (kind === NOT_PREFIX || (kind === REX_PREFIX && !is64)) break;
    if (kind === REX_PREFIX) rex = byte;
    else {
      // REX counts only directly before the opcode.
      rex = 0;
      switch (kind) {
        case SEGMENT_PREFIX: {
          const segment = byte >= 0x64 ? byte - 0x64 + FS : (byte >> 3) & 3;
          if (!is64 || segment >= FS) segmentOverride = segment;
          break;
        }
        case OPERAND_SIZE_PREFIX:
          operandSizePrefix = true;
          break;
        case ADDRESS_SIZE_PREFIX:
          addressSizePrefix = true;
          break;
        case LOCK_PREFIX:
          lock = true;
          break;
        default:
          repeatPrefix = byte;
      }
    }
    if (cursor >= end) return outOfBytes;
    byte = code[cursor++]!;
  }

  let map = 0;
  if (byte === 0x0f) {
    map = 256;
    byte = takeByte();
    if (byte === 0x38 || byte === 0x3a) {
      map = byte === 0x38 ? 512 : 768;
      byte = takeByte();
    }
  }
  if (ranOut) return outOfBytes;
  opcodeByte = byte;
  const node = table[(is64 ? 1024 : 0) + map + byte];
  if (node === undefined) return 'invalid';

  let slot = 0;
  if (node.hasModrm) {
    if (cursor >= end) return outOfBytes;
    modrm = code[cursor++]!;
    slot = modrmSlot(node.modrmSlots, modrm);
  } else modrm = 0xc0;
  if (node.usesPrefixes) {
    let prefix = operandSizePrefix ? PREFIX_66 : PREFIX_NONE;
    if (repeatPrefix !== 0) prefix = repeatPrefix === 0xf3 ? PREFIX_F3 : PREFIX_F2;
    slot += prefixSlot(prefix, (rex >> 3) & 1, rex & 1) * node.modrmSlots;
  }
  const encoding = node.slots[slot];
  if (encoding === undefined) return 'invalid';
  isMemory = modrm < 0xc0 && !encoding.ignoresMod;

  const smallOperand = operandSizePrefix && !encoding.mandatory66;
  if (!is64) operandBytes = (codeSize === 16) === smallOperand ? 4 : 2;
  else if ((rex & 8) !== 0 || encoding.size64 === 2) operandBytes = 8;
  else if (smallOperand) operandBytes = 2;
  else operandBytes = encoding.size64 === 1 ? 8 : 4;
  if (is64) addressBytes = addressSizePrefix ? 4 : 8;
  else addressBytes = (codeSize === 16) === addressSizePrefix ? 4 : 2;

  if (isMemory) readMemoryForm(is64);
  const operands = readOperands(encoding.forms, operandBytes >> 2);
  if (ranOut) return outOfBytes;
  // Only a whole instruction is refused: a fault of its fetch comes first.
  if (noSuchRegister || (lock && !(encoding.lock && isMemory))) return 'invalid';
  const destination = operands[0];
  // MOV to CS does not exist; POP CS is no row.
  if (destination === SEGMENT_REGISTERS[SEGMENT_INDEX.cs] && encoding.row.lift === 'mov-to-sreg') return 'invalid';

  let repeat: Instruction['repeat'] = 'none';
  if (repeatPrefix !== 0 && encoding.repeat !== 0) {
    repeat = repeatPrefix === 0xf2 && encoding.repeat === 2 ? 'repnz' : 'repz';
  }
  return {
    row: encoding.row,
    lengthBytes: cursor - offset,
    codeSize,
    operandBytes,
    addressBytes,
    operands,
    lock,
    repeat,
    x87Opcode: map === 0 && (opcodeByte & 0xf8) === 0xd8 ? ((opcodeByte & 7) << 8) | modrm : 0,
  };
}

/** A decoder of a processor with these features: the encodings of all others are invalid. */
export function createDecoder(features: ReadonlySet<Feature>): Decode {
  const table = buildDispatchTable(ROWS.filter(({ feature }) => features.has(feature)));
  return (bytes, offset, available, codeSize) => decodeWith(table, bytes, offset, available, codeSize);
}

let decodeAll: Decode | undefined;

/** The decoder of a processor with every feature that the table knows. */
export const decode: Decode = (bytes, offset, available, codeSize) => {
  decodeAll ??= createDecoder(new Set(ROWS.map(({ feature }) => feature)));
  return decodeAll(bytes, offset, available, codeSize);
};
