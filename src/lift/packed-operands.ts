// How packed instructions reach their operands: XMM registers, MMX registers, memory and immediates, and the checks
// that come before all else (Intel SDM volume 2, 2.4 and table 22-1 of volume 3: #NM, #UD, #MF).
//
// An MMX register is worked on as a vector whose two halves both hold it; the low half of a result is written back.

import type { Builder, InstructionLift, OperandLift, Value } from '../ir/builder.ts';
import type { StateField } from '../ir/guest-state.ts';
import type { Lift, Lifts } from './lift.ts';

export const isMmx = (operand: OperandLift): boolean => operand.kind === 'register' && operand.file === 'mmx';
export const isXmm = (operand: OperandLift): boolean => operand.kind === 'register' && operand.file === 'xmm';
/** True for the form of an instruction that works on MMX registers alone. */
export const isMmxForm = (i: InstructionLift): boolean => i.operands.some(isMmx) && !i.operands.some(isXmm);

function raiseTrap(b: Builder, field: StateField): void {
  const trap = b.getField(field);
  b.if(trap, () => void b.call('raise', b.op('i32.sub', trap, b.i32(1)), b.i32(-1)));
}

/** Puts the checks of its register files before each lift. */
export function guarded(lifts: Lifts): Lifts {
  const guard =
    (lift: Lift): Lift =>
    (b, i) => {
      const xmm = i.operands.some(isXmm);
      raiseTrap(b, xmm ? 'sseTrap' : 'x87Trap');
      if (i.operands.some(isMmx)) b.call('x87Wait');
      lift(b, i);
    };
  return Object.fromEntries(Object.entries(lifts).map(([name, lift]) => [name, guard(lift)]));
}

/** What each MMX instruction does to the x87 state, after its last step that can fault. */
export function enterMmx(b: Builder, written?: OperandLift): void {
  b.call('mmxEnter', written === undefined ? b.i32(-1) : b.index(written));
}

// Constants.

export const zero = (b: Builder): Value => b.vector(0n, 0n);
export const bytes = (b: Builder, values: readonly number[]): Value => b.v128(Uint8Array.from(values));

export function words(b: Builder, values: readonly number[]): Value {
  return b.v128(new Uint8Array(Uint16Array.from(values).buffer));
}

export function dwords(b: Builder, values: readonly number[]): Value {
  return b.v128(new Uint8Array(Uint32Array.from(values).buffer));
}

/** `count` numbers from `first` on. */
export const sequence = (count: number, first = 0): number[] => Array.from({ length: count }, (_, k) => first + k);

// Operands.

/** A 64-bit or smaller value as the low lane of a vector that is zero above it. */
export function lowVector(b: Builder, value: Value): Value {
  return b.replaceLane('i64x2.replace_lane', zero(b), 0, value);
}

export const lowLane = (b: Builder, vector: Value): Value => b.lane('i64x2.extract_lane', vector, 0);
export const highLane = (b: Builder, vector: Value): Value => b.lane('i64x2.extract_lane', vector, 1);

/** The low 8 bytes, or fewer where the operand is smaller, as a zero-extended i64. */
export function readLow(b: Builder, operand: OperandLift): Value {
  if (operand.kind === 'register' && operand.file === 'xmm') {
    return b.truncate(lowLane(b, b.getVector(operand.location)), operand.sizeBytes);
  }
  return b.read(operand);
}

/** A whole operand; one of 8 bytes or fewer is in both halves. Memory of 16 bytes is checked for alignment. */
export function readPacked(b: Builder, operand: OperandLift, aligned = true): Value {
  if (operand.kind === 'register') {
    if (operand.file === 'xmm') return b.getVector(operand.location);
    return b.op('i64x2.splat', b.getRegister(operand.location, operand.file === 'mmx' ? 8 : operand.sizeBytes));
  }
  if (operand.kind === 'memory' && operand.sizeBytes === 16) return b.readVector(operand, aligned);
  return b.op('i64x2.splat', b.read(operand));
}

/** Writes a whole operand; to an MMX register or to 8 bytes of memory goes the low half. */
export function writePacked(b: Builder, operand: OperandLift, vector: Value, aligned = true): void {
  if (operand.kind === 'register' && operand.file === 'xmm') b.setVector(operand.location, vector);
  else if (operand.kind === 'memory' && operand.sizeBytes === 16) b.writeVector(operand, vector, aligned);
  else writeMmx(b, operand, lowLane(b, vector));
}

/** Writes an MMX register, or 8 bytes of memory. */
export function writeMmx(b: Builder, operand: OperandLift, value: Value): void {
  if (operand.kind === 'register') {
    enterMmx(b, operand);
    b.setRegister(operand.location, 8, value);
  } else {
    b.write(operand, value);
    enterMmx(b);
  }
}

// Immediates: constants in translated code, values in the interpreter's handlers.

export interface ImmediateByte {
  /** Known when the code is made, or undefined. */
  readonly constant: number | undefined;
  /** i32, 0 to 255. */
  readonly value: Value;
}

export function immediateByte(b: Builder, operand: OperandLift): ImmediateByte {
  if (operand.kind !== 'immediate') throw new Error('not an immediate');
  if (typeof operand.value === 'bigint') {
    const constant = Number(operand.value & 0xffn);
    return { constant, value: b.i32(constant) };
  }
  return { constant: undefined, value: b.op('i32.and', b.wrap(b.read(operand)), b.i32(0xff)) };
}

/** The i32 bits `mask` of an immediate shifted right by `shift`. */
export function immediateField(b: Builder, immediate: ImmediateByte, shift: number, mask: number): Value {
  if (immediate.constant !== undefined) return b.i32((immediate.constant >> shift) & mask);
  const shifted = shift === 0 ? immediate.value : b.op('i32.shr_u', immediate.value, b.i32(shift));
  return b.op('i32.and', shifted, b.i32(mask));
}
