// Single precision as SSE computes it: every operation takes and returns the 32 bits as a number in 0 … 2^32 - 1.
// Rounding, DAZ, FTZ and masks come from the context (FloatContext.setMxcsr), exceptions go to context.flags.
// Where those say that an unmasked exception was raised, what an operation returns has no meaning.

import { add, divide, fromInteger, multiply, roundToInteger, roundToIntegral, squareRoot } from './arithmetic.ts';
import type { FloatContext } from './context.ts';
import { WORDS } from './significand.ts';
import { acceptOperand, acceptOperands, comparePredicate, compareToEflags, takesFirst } from './sse.ts';
import {
  A,
  B,
  F32,
  F64,
  KIND,
  packF32,
  packF64,
  setInfinity,
  setResult,
  setZero,
  unpackF32,
  WORD_A,
  WORD_B,
} from './unpacked.ts';

function load(context: FloatContext, a: number, b: number): void {
  unpackF32(A, WORD_A, a, context.denormalsAreZero);
  unpackF32(B, WORD_B, b, context.denormalsAreZero);
}

function loadOne(context: FloatContext, a: number): void {
  unpackF32(A, WORD_A, a, context.denormalsAreZero);
  B.kind = KIND.ZERO;
}

export function f32Add(context: FloatContext, a: number, b: number): number {
  load(context, a, b);
  if (acceptOperands(context, F32)) add(context, F32, 0);
  return packF32();
}

/** a - b */
export function f32Sub(context: FloatContext, a: number, b: number): number {
  load(context, a, b);
  if (acceptOperands(context, F32)) add(context, F32, 1);
  return packF32();
}

export function f32Mul(context: FloatContext, a: number, b: number): number {
  load(context, a, b);
  if (acceptOperands(context, F32)) multiply(context, F32);
  return packF32();
}

/** a / b */
export function f32Div(context: FloatContext, a: number, b: number): number {
  load(context, a, b);
  if (acceptOperands(context, F32)) divide(context, F32);
  return packF32();
}

export function f32Sqrt(context: FloatContext, a: number): number {
  loadOne(context, a);
  if (acceptOperand(context, F32)) squareRoot(context, F32);
  return packF32();
}

const flushed = (context: FloatContext, bits: number): number =>
  context.denormalsAreZero && (bits & 0x7f800000) === 0 ? (bits & 0x80000000) >>> 0 : bits;

/** MINSS a, b: the second operand where either is NaN or both are equal. */
export function f32Min(context: FloatContext, a: number, b: number): number {
  load(context, a, b);
  return flushed(context, takesFirst(context, -1) ? a : b);
}

/** MAXSS a, b: the second operand where either is NaN or both are equal. */
export function f32Max(context: FloatContext, a: number, b: number): number {
  load(context, a, b);
  return flushed(context, takesFirst(context, 1) ? a : b);
}

/** CMPSS; `predicate` is the immediate's bits 4:0, of which SSE uses 2:0. */
export function f32Compare(context: FloatContext, a: number, b: number, predicate: number): boolean {
  load(context, a, b);
  return comparePredicate(context, predicate);
}

/** COMISS: ZF, PF and CF as bits of EFLAGS (the other arithmetic flags become 0). */
export function f32Comi(context: FloatContext, a: number, b: number): number {
  load(context, a, b);
  return compareToEflags(context, true);
}

/** UCOMISS: as COMISS, but quiet NaNs raise nothing. */
export function f32Ucomi(context: FloatContext, a: number, b: number): number {
  load(context, a, b);
  return compareToEflags(context, false);
}

/** ROUNDSS: immediate bits 1:0 rounding, bit 2 take it from the context, bit 3 don't report PE. */
export function f32RoundToIntegral(context: FloatContext, a: number, immediate: number): number {
  loadOne(context, a);
  if (acceptOperand(context, F32)) {
    if (A.kind === KIND.ZERO) setZero(A.sign);
    else if (A.kind === KIND.INFINITY) setInfinity(A.sign, F32);
    else {
      const rounding = (immediate & 4) !== 0 ? context.rounding : immediate & 3;
      roundToIntegral(context, F32, rounding, (immediate & 8) === 0);
    }
  }
  return packF32();
}

/** CVTSS2SI, or with `truncate` CVTTSS2SI: a signed 32-bit number; IE and -2^31 where it does not fit. */
export function f32ToI32(context: FloatContext, a: number, truncate: boolean): number {
  loadOne(context, a);
  const magnitude = integerMagnitude(context, truncate, 31);
  return Number(A.sign === 1 ? -magnitude : magnitude) | 0;
}

/** CVTSS2SI r64: as f32ToI32, in 64 bits, as an unsigned bigint. */
export function f32ToI64(context: FloatContext, a: number, truncate: boolean): bigint {
  loadOne(context, a);
  const magnitude = integerMagnitude(context, truncate, 63);
  return BigInt.asUintN(64, A.sign === 1 ? -magnitude : magnitude);
}

function integerMagnitude(context: FloatContext, truncate: boolean, bits: number): bigint {
  if (A.kind < KIND.INFINITY) {
    const outcome = roundToInteger(truncate ? 3 : context.rounding, F32.bias);
    const magnitude = WORDS[2]!;
    if (outcome >= 0 && magnitude <= (1n << BigInt(bits)) - (A.sign === 1 ? 0n : 1n)) {
      if (outcome !== 0) context.flags |= 0x20;
      return magnitude;
    }
  }
  context.flags |= 0x01;
  return 1n << BigInt(bits);
}

/** CVTSI2SS from a signed 32-bit number. */
export function f32FromI32(context: FloatContext, value: number): number {
  fromInteger(context, F32, value < 0 ? 1 : 0, BigInt(Math.abs(value)));
  return packF32();
}

/** CVTSI2SS from a signed bigint. */
export function f32FromI64(context: FloatContext, value: bigint): number {
  fromInteger(context, F32, value < 0n ? 1 : 0, value < 0n ? -value : value);
  return packF32();
}

/** CVTSS2SD. */
export function f32ToF64(context: FloatContext, a: number): bigint {
  loadOne(context, a);
  if (acceptOperand(context, F64)) {
    if (A.kind === KIND.ZERO) setZero(A.sign);
    else if (A.kind === KIND.INFINITY) setInfinity(A.sign, F64);
    else {
      if (A.kind === KIND.DENORMAL) context.flags |= 0x02;
      setResult(A.sign, A.exponent - F32.bias + F64.bias, WORDS[WORD_A]!);
    }
  }
  return packF64();
}
