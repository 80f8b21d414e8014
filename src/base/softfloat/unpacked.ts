// Floating-point values taken apart: the operand registers A and B and the result register that every operation of
// this folder works on, the formats, and rounding (IEEE 754-2008 section 4; Intel SDM volume 1, 4.8 and 4.9).
//
// A finite value is sign, an exponent biased as in its format but without limits, and a 64-bit significand whose top
// bit is set: denormals are normalised with an exponent of zero or below. A zero's significand is 0.

import type { FloatContext } from './context.ts';
import { BIG, countLeadingZeros, HALVES, shiftRightSticky, TOP_BIT, WORDS } from './significand.ts';

export const KIND = {
  ZERO: 0,
  DENORMAL: 1,
  NORMAL: 2,
  INFINITY: 3,
  QUIET_NAN: 4,
  SIGNALLING_NAN: 5,
  /** An f80 encoding that processors since the 387 refuse: unnormals, pseudo-infinities, pseudo-NaNs. */
  UNSUPPORTED: 6,
} as const;

export class Unpacked {
  kind = 0;
  sign = 0;
  exponent = 0;
}

export const A = new Unpacked();
export const B = new Unpacked();
/** The result: the exponent is the format's biased field, 0 for zeros and denormals; kind is not kept. */
export const RESULT = new Unpacked();
/** Significands: WORDS[WORD_A], WORDS[WORD_B], WORDS[WORD_RESULT]. */
export const WORD_A = 0;
export const WORD_B = 1;
export const WORD_RESULT = 5;

export interface Format {
  /** Bits of the significand, the integer bit counted. */
  precision: number;
  bias: number;
  /** The exponent field of infinities. */
  maximumExponent: number;
  /** What an unmasked overflow subtracts from the exponent and an unmasked underflow adds; 0: no result then. */
  biasAdjustment: number;
  /** The weight of the last bit that is kept, in a 64-bit significand. */
  unit: bigint;
  /** The bits below the unit. */
  below: bigint;
  /** 64 - precision, and precision: shift counts. */
  belowBits: bigint;
  fractionShift: bigint;
}

const format = (precision: number, exponentBits: number, biasAdjustment: number): Format => ({
  precision,
  bias: 2 ** (exponentBits - 1) - 1,
  maximumExponent: 2 ** exponentBits - 1,
  biasAdjustment,
  unit: 1n << BigInt(64 - precision),
  below: (1n << BigInt(64 - precision)) - 1n,
  belowBits: BigInt(64 - precision),
  fractionShift: BigInt(precision),
});

export const F32 = format(24, 8, 0);
export const F64 = format(53, 11, 0);
export const F80 = format(64, 15, 24576);
/** F80 by the PC field of the x87 control word; the reserved value 1 acts as extended. */
export const F80_BY_PRECISION: Format[] = [format(24, 15, 24576), F80, format(53, 15, 24576), F80];

export const QUIET_BIT = 0x4000000000000000n;
export const DEFAULT_NAN = 0xc000000000000000n;

export function unpackF32(operand: Unpacked, word: number, bits: number, denormalsAreZero: boolean): void {
  const exponent = (bits >>> 23) & 0xff;
  const fraction = bits & 0x7fffff;
  operand.sign = bits >>> 31;
  operand.exponent = exponent;
  if (exponent !== 0 && exponent !== 0xff) {
    operand.kind = KIND.NORMAL;
    HALVES[2 * word] = 0;
    HALVES[2 * word + 1] = 0x80000000 | (fraction << 8);
  } else if (exponent === 0) {
    HALVES[2 * word] = 0;
    if (fraction === 0 || denormalsAreZero) {
      operand.kind = KIND.ZERO;
      HALVES[2 * word + 1] = 0;
    } else {
      operand.kind = KIND.DENORMAL;
      const shift = Math.clz32(fraction);
      operand.exponent = 9 - shift;
      HALVES[2 * word + 1] = fraction << shift;
    }
  } else {
    operand.kind = fraction === 0 ? KIND.INFINITY : (fraction & 0x400000) !== 0 ? KIND.QUIET_NAN : KIND.SIGNALLING_NAN;
    HALVES[2 * word] = 0;
    HALVES[2 * word + 1] = 0x80000000 | (fraction << 8);
  }
}

export function unpackF64(operand: Unpacked, word: number, bits: bigint, denormalsAreZero: boolean): void {
  WORDS[word] = bits;
  const high = HALVES[2 * word + 1]!;
  const low = HALVES[2 * word]!;
  const exponent = (high >>> 20) & 0x7ff;
  operand.sign = high >>> 31;
  operand.exponent = exponent;
  HALVES[2 * word + 1] = 0x80000000 | ((high & 0xfffff) << 11) | (low >>> 21);
  HALVES[2 * word] = low << 11;
  if (exponent !== 0 && exponent !== 0x7ff) {
    operand.kind = KIND.NORMAL;
  } else if (exponent === 0) {
    if (((high & 0xfffff) | low) === 0 || denormalsAreZero) {
      operand.kind = KIND.ZERO;
      WORDS[word] = 0n;
    } else {
      operand.kind = KIND.DENORMAL;
      const fraction = BigInt.asUintN(64, WORDS[word]! << 1n);
      const shift = countLeadingZeros(fraction);
      operand.exponent = -shift;
      WORDS[word] = BigInt.asUintN(64, fraction << BIG[shift]!);
    }
  } else {
    operand.kind =
      ((high & 0xfffff) | low) === 0 ? KIND.INFINITY : (high & 0x80000) !== 0 ? KIND.QUIET_NAN : KIND.SIGNALLING_NAN;
  }
}

export function unpackF80(operand: Unpacked, word: number, signExponent: number, significand: bigint): void {
  WORDS[word] = significand;
  classifyF80(operand, word, signExponent);
}

/** unpackF80 where the significand is in WORDS[word] already. */
export function classifyF80(operand: Unpacked, word: number, signExponent: number): void {
  const exponent = signExponent & 0x7fff;
  const high = HALVES[2 * word + 1]!;
  operand.sign = (signExponent >>> 15) & 1;
  operand.exponent = exponent;
  if (exponent === 0) {
    if ((high | HALVES[2 * word]!) === 0) {
      operand.kind = KIND.ZERO;
    } else {
      operand.kind = KIND.DENORMAL;
      const significand = WORDS[word]!;
      const shift = countLeadingZeros(significand);
      operand.exponent = 1 - shift;
      WORDS[word] = BigInt.asUintN(64, significand << BIG[shift]!);
    }
  } else if (high < 0x80000000) {
    operand.kind = KIND.UNSUPPORTED;
  } else if (exponent !== 0x7fff) {
    operand.kind = KIND.NORMAL;
  } else {
    operand.kind =
      high === 0x80000000 && HALVES[2 * word] === 0
        ? KIND.INFINITY
        : (high & 0x40000000) !== 0
          ? KIND.QUIET_NAN
          : KIND.SIGNALLING_NAN;
  }
}

export function packF32(): number {
  return ((RESULT.sign << 31) | (RESULT.exponent << 23) | ((HALVES[11]! >>> 8) & 0x7fffff)) >>> 0;
}

export function packF64(): bigint {
  const high = HALVES[11]!;
  const low = HALVES[10]!;
  HALVES[8] = (high << 21) | (low >>> 11);
  HALVES[9] = (RESULT.sign << 31) | (RESULT.exponent << 20) | ((high >>> 11) & 0xfffff);
  return WORDS[4]!;
}

/** Sign and exponent; the significand is context.significand. */
export function packF80(): number {
  return (RESULT.sign << 15) | RESULT.exponent;
}

export function setResult(sign: number, exponent: number, significand: bigint): void {
  RESULT.sign = sign;
  RESULT.exponent = exponent;
  WORDS[WORD_RESULT] = significand;
}

export function setZero(sign: number): void {
  setResult(sign, 0, 0n);
}

export function setInfinity(sign: number, target: Format): void {
  setResult(sign, target.maximumExponent, TOP_BIT);
}

/** Raises IE; the result is the default NaN ("QNaN floating-point indefinite"). */
export function setInvalid(context: FloatContext, target: Format): void {
  context.flags |= 1;
  setResult(1, target.maximumExponent, DEFAULT_NAN);
}

/** Whether a significand whose bits below the unit are `fraction` (half a unit = 2^63) is rounded away from zero. */
export function roundsUp(rounding: number, sign: number, odd: boolean, fraction: bigint): boolean {
  if (fraction === 0n) return false;
  switch (rounding) {
    case 0:
      return fraction > TOP_BIT || (fraction === TOP_BIT && odd);
    case 1:
      return sign === 1;
    case 2:
      return sign === 0;
    default:
      return false;
  }
}

/**
 * Rounds the non-zero finite value (sign, exponent, high:low with high's top bit set) to `target` and leaves it in
 * RESULT; raises OE, UE and PE. Returns false where an unmasked exception leaves no result.
 */
export function roundResult(
  context: FloatContext,
  target: Format,
  sign: number,
  exponent: number,
  high: bigint,
  low: bigint,
): boolean {
  if (exponent <= 0 || exponent >= target.maximumExponent - 1) {
    return roundExtreme(context, target, sign, exponent, high, low);
  }
  WORDS[4] = high;
  WORDS[6] = low;
  return roundHalves(
    context,
    target,
    sign,
    exponent,
    HALVES[9]!,
    HALVES[8]!,
    (HALVES[13]! | (HALVES[12]! !== 0 ? 1 : 0)) >>> 0,
  );
}

/**
 * roundResult for a significand in three unsigned 32-bit parts: `high` with its top bit set, `low`, and `rest`, whose
 * lowest bit also stands for everything below it. Most results take this path, which allocates no bigint.
 */
export function roundHalves(
  context: FloatContext,
  target: Format,
  sign: number,
  exponent: number,
  high: number,
  low: number,
  rest: number,
): boolean {
  if (exponent <= 0 || exponent >= target.maximumExponent - 1) {
    HALVES[8] = low;
    HALVES[9] = high;
    HALVES[12] = 0;
    HALVES[13] = rest;
    return roundExtreme(context, target, sign, exponent, WORDS[4]!, WORDS[6]!);
  }
  RESULT.sign = sign;
  RESULT.exponent = exponent;
  context.roundedUp = false;
  // The bits below the unit, half a unit being 2^31.
  let fraction = rest;
  let odd = low & 1;
  let keptHigh = high;
  let keptLow = low;
  const precision = target.precision;
  if (precision === 53) {
    fraction = ((low << 21) | (rest >>> 11) | ((rest & 0x7ff) !== 0 ? 1 : 0)) >>> 0;
    odd = low & 0x800;
    keptLow = (low & ~0x7ff) >>> 0;
  } else if (precision === 24) {
    fraction = ((high << 24) | (low >>> 8) | (((low & 0xff) | rest) !== 0 ? 1 : 0)) >>> 0;
    odd = high & 0x100;
    keptHigh = (high & ~0xff) >>> 0;
    keptLow = 0;
  }
  if (fraction !== 0) {
    context.flags |= 0x20;
    const rounding = context.rounding;
    const up =
      rounding === 0
        ? fraction > 0x80000000 || (fraction === 0x80000000 && odd !== 0)
        : rounding === 1
          ? sign === 1
          : rounding === 2 && sign === 0;
    if (up) {
      context.roundedUp = true;
      if (precision === 24) {
        keptHigh = (keptHigh + 0x100) >>> 0;
      } else {
        keptLow = (keptLow + (precision === 53 ? 0x800 : 1)) >>> 0;
        if (keptLow === 0) keptHigh = (keptHigh + 1) >>> 0;
      }
      if (keptHigh === 0) {
        keptHigh = 0x80000000;
        RESULT.exponent = exponent + 1;
      }
    }
  }
  HALVES[2 * WORD_RESULT] = keptLow;
  HALVES[2 * WORD_RESULT + 1] = keptHigh;
  return true;
}

/** roundResult where the exponent is at or beyond the ends of the format's range. */
function roundExtreme(
  context: FloatContext,
  target: Format,
  sign: number,
  exponent: number,
  high: bigint,
  low: bigint,
): boolean {
  const maximum = target.maximumExponent;
  // As if the exponent's range were unbounded: this decides overflow and, on x86, tininess too.
  const fraction =
    target.precision === 64 ? low : BigInt.asUintN(64, high << target.fractionShift) | (low !== 0n ? 1n : 0n);
  const up = roundsUp(context.rounding, sign, (high & target.unit) !== 0n, fraction);
  let kept = BigInt.asUintN(64, high - (high & target.below));
  let finalExponent = exponent;
  if (up) {
    kept = BigInt.asUintN(64, kept + target.unit);
    if (kept === 0n) {
      kept = TOP_BIT;
      finalExponent++;
    }
  }
  const inexact = fraction !== 0n;

  if (finalExponent >= maximum) {
    context.flags |= 0x08;
    if ((context.masks & 0x08) === 0) {
      if (inexact) context.flags |= 0x20;
      if (target.biasAdjustment === 0) return false;
      finalExponent -= target.biasAdjustment;
      if (finalExponent < maximum) {
        context.roundedUp = up;
        setResult(sign, finalExponent, kept);
        return true;
      }
      // Only fscale goes that far: infinity whatever RC says.
      context.flags |= 0x20;
      context.roundedUp = true;
      setInfinity(sign, target);
      return true;
    }
    context.flags |= 0x20;
    const toInfinity = context.rounding === 0 || context.rounding === (sign === 1 ? 1 : 2);
    context.roundedUp = toInfinity;
    if (toInfinity) setInfinity(sign, target);
    else setResult(sign, maximum - 1, BigInt.asUintN(64, -target.unit));
    return true;
  }

  if (finalExponent > 0) {
    if (exponent > 0) {
      if (inexact) context.flags |= 0x20;
      context.roundedUp = up;
      setResult(sign, finalExponent, kept);
      return true;
    }
  } else {
    if ((context.masks & 0x10) === 0) {
      context.flags |= 0x10;
      if (inexact) context.flags |= 0x20;
      if (target.biasAdjustment === 0) return false;
      finalExponent += target.biasAdjustment;
      if (finalExponent > 0) {
        context.roundedUp = up;
        setResult(sign, finalExponent, kept);
      } else {
        context.flags |= 0x20;
        setZero(sign);
      }
      return true;
    }
    if (context.flushToZero && target.biasAdjustment === 0) {
      context.flags |= 0x30;
      setZero(sign);
      return true;
    }
  }

  // The result is a denormal, or what is tiny only before rounding.
  shiftRightSticky(high, low, 1 - exponent);
  const denormalHigh = WORDS[2]!;
  const denormalLow = WORDS[3]!;
  const denormalFraction =
    target.precision === 64
      ? denormalLow
      : BigInt.asUintN(64, denormalHigh << target.fractionShift) | (denormalLow !== 0n ? 1n : 0n);
  let denormal = BigInt.asUintN(64, denormalHigh - (denormalHigh & target.below));
  context.roundedUp = roundsUp(context.rounding, sign, (denormalHigh & target.unit) !== 0n, denormalFraction);
  if (context.roundedUp) denormal = BigInt.asUintN(64, denormal + target.unit);
  if (denormalFraction !== 0n) context.flags |= finalExponent > 0 ? 0x20 : 0x30;
  setResult(sign, denormal >= TOP_BIT ? 1 : 0, denormal);
  return true;
}
