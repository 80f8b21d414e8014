// Double precision as SSE computes it: every operation takes and returns the 64 bits as a bigint in 0 … 2^64 - 1.
// Rounding, DAZ, FTZ and masks come from the context (FloatContext.setMxcsr), exceptions go to context.flags.
// Where those say that an unmasked exception was raised, what an operation returns has no meaning.

import {
  add,
  divide,
  fromInteger,
  multiply,
  roundToInteger,
  roundToIntegral,
  squareRoot,
  stopsOnDenormal,
} from './arithmetic.ts';
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
  roundResult,
  setInfinity,
  setZero,
  unpackF64,
  WORD_A,
  WORD_B,
} from './unpacked.ts';

function load(context: FloatContext, a: bigint, b: bigint): void {
  unpackF64(A, WORD_A, a, context.denormalsAreZero);
  unpackF64(B, WORD_B, b, context.denormalsAreZero);
}

function loadOne(context: FloatContext, a: bigint): void {
  unpackF64(A, WORD_A, a, context.denormalsAreZero);
  B.kind = KIND.ZERO;
}

export function f64Add(context: FloatContext, a: bigint, b: bigint): bigint {
  load(context, a, b);
  if (acceptOperands(context, F64)) add(context, F64, 0);
  return packF64();
}

/** a - b */
export function f64Sub(context: FloatContext, a: bigint, b: bigint): bigint {
  load(context, a, b);
  if (acceptOperands(context, F64)) add(context, F64, 1);
  return packF64();
}

export function f64Mul(context: FloatContext, a: bigint, b: bigint): bigint {
  load(context, a, b);
  if (acceptOperands(context, F64)) multiply(context, F64);
  return packF64();
}

/** a / b */
export function f64Div(context: FloatContext, a: bigint, b: bigint): bigint {
  load(context, a, b);
  if (acceptOperands(context, F64)) divide(context, F64);
  return packF64();
}

export function f64Sqrt(context: FloatContext, a: bigint): bigint {
  loadOne(context, a);
  if (acceptOperand(context, F64)) squareRoot(context, F64);
  return packF64();
}

const flushed = (context: FloatContext, bits: bigint): bigint =>
  context.denormalsAreZero && (bits & 0x7ff0000000000000n) === 0n ? bits & 0x8000000000000000n : bits;

/** MINSD a, b: the second operand where either is NaN or both are equal. */
export function f64Min(context: FloatContext, a: bigint, b: bigint): bigint {
  load(context, a, b);
  return flushed(context, takesFirst(context, -1) ? a : b);
}

/** MAXSD a, b: the second operand where either is NaN or both are equal. */
export function f64Max(context: FloatContext, a: bigint, b: bigint): bigint {
  load(context, a, b);
  return flushed(context, takesFirst(context, 1) ? a : b);
}

/** CMPSD; `predicate` is the immediate's bits 4:0, of which SSE uses 2:0. */
export function f64Compare(context: FloatContext, a: bigint, b: bigint, predicate: number): boolean {
  load(context, a, b);
  return comparePredicate(context, predicate);
}

/** COMISD: ZF, PF and CF as bits of EFLAGS (the other arithmetic flags become 0). */
export function f64Comi(context: FloatContext, a: bigint, b: bigint): number {
  load(context, a, b);
  return compareToEflags(context, true);
}

/** UCOMISD: as COMISD, but quiet NaNs raise nothing. */
export function f64Ucomi(context: FloatContext, a: bigint, b: bigint): number {
  load(context, a, b);
  return compareToEflags(context, false);
}

/** ROUNDSD: immediate bits 1:0 rounding, bit 2 take it from the context, bit 3 don't report PE. */
export function f64RoundToIntegral(context: FloatContext, a: bigint, immediate: number): bigint {
  loadOne(context, a);
  if (acceptOperand(context, F64)) {
    if (A.kind === KIND.ZERO) setZero(A.sign);
    else if (A.kind === KIND.INFINITY) setInfinity(A.sign, F64);
    else {
      const rounding = (immediate & 4) !== 0 ? context.rounding : immediate & 3;
      roundToIntegral(context, F64, rounding, (immediate & 8) === 0);
    }
  }
  return packF64();
}

/** CVTSD2SI, or with `truncate` CVTTSD2SI: a signed 32-bit number; IE and -2^31 where it does not fit. */
export function f64ToI32(context: FloatContext, a: bigint, truncate: boolean): number {
  loadOne(context, a);
  const magnitude = integerMagnitude(context, truncate, 31);
  return Number(A.sign === 1 ? -magnitude : magnitude) | 0;
}

/** CVTSD2SI r64: as f64ToI32, in 64 bits, as an unsigned bigint. */
export function f64ToI64(context: FloatContext, a: bigint, truncate: boolean): bigint {
  loadOne(context, a);
  const magnitude = integerMagnitude(context, truncate, 63);
  return BigInt.asUintN(64, A.sign === 1 ? -magnitude : magnitude);
}

function integerMagnitude(context: FloatContext, truncate: boolean, bits: number): bigint {
  if (A.kind < KIND.INFINITY) {
    const outcome = roundToInteger(truncate ? 3 : context.rounding, F64.bias);
    const magnitude = WORDS[2]!;
    if (outcome >= 0 && magnitude <= (1n << BigInt(bits)) - (A.sign === 1 ? 0n : 1n)) {
      if (outcome !== 0) context.flags |= 0x20;
      return magnitude;
    }
  }
  context.flags |= 0x01;
  return 1n << BigInt(bits);
}

/** CVTSI2SD from a signed 32-bit number; exact. */
export function f64FromI32(context: FloatContext, value: number): bigint {
  fromInteger(context, F64, value < 0 ? 1 : 0, BigInt(Math.abs(value)));
  return packF64();
}

/** CVTSI2SD from a signed bigint. */
export function f64FromI64(context: FloatContext, value: bigint): bigint {
  fromInteger(context, F64, value < 0n ? 1 : 0, value < 0n ? -value : value);
  return packF64();
}

/** CVTSD2SS. */
export function f64ToF32(context: FloatContext, a: bigint): number {
  loadOne(context, a);
  if (acceptOperand(context, F32)) {
    if (A.kind === KIND.ZERO) setZero(A.sign);
    else if (A.kind === KIND.INFINITY) setInfinity(A.sign, F32);
    else if (!stopsOnDenormal(context)) {
      roundResult(context, F32, A.sign, A.exponent - F64.bias + F32.bias, WORDS[WORD_A]!, 0n);
    }
  }
  return packF32();
}
