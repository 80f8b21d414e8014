// Add, subtract, multiply, divide and square root on the operand registers, for every format (IEEE 754-2008 5.4.1).
// Operands are neither NaN nor unsupported: the callers have dealt with those by the rules of SSE or of the x87.

import type { FloatContext } from './context.ts';
import {
  BIG,
  countLeadingZeros,
  divideWords,
  multiplyWords,
  shiftRightSticky,
  squareRootWords,
  TOP_BIT,
  WORDS,
} from './significand.ts';
import {
  A,
  B,
  type Format,
  KIND,
  roundResult,
  setInfinity,
  setInvalid,
  setResult,
  setZero,
  WORD_A,
  WORD_B,
} from './unpacked.ts';

/** Raises DE where an operand is denormal; true where the instruction must stop because DE is unmasked. */
export function stopsOnDenormal(context: FloatContext): boolean {
  if (A.kind !== KIND.DENORMAL && B.kind !== KIND.DENORMAL) return false;
  context.flags |= 0x02;
  return (context.masks & 0x02) === 0;
}

/** RESULT = A + B, or A - B where `flip` is 1. */
export function add(context: FloatContext, target: Format, flip: number): void {
  const signB = B.sign ^ flip;
  if (A.kind !== KIND.NORMAL || B.kind !== KIND.NORMAL) {
    if (A.kind === KIND.INFINITY && B.kind === KIND.INFINITY && A.sign !== signB) {
      setInvalid(context, target);
      return;
    }
    if (stopsOnDenormal(context)) return;
    if (A.kind === KIND.INFINITY) {
      setInfinity(A.sign, target);
      return;
    }
    if (B.kind === KIND.INFINITY) {
      setInfinity(signB, target);
      return;
    }
    if (A.kind === KIND.ZERO && B.kind === KIND.ZERO) {
      setZero(A.sign === signB ? signB : context.rounding === 1 ? 1 : 0);
      return;
    }
    if (A.kind === KIND.ZERO) {
      roundResult(context, target, signB, B.exponent, WORDS[WORD_B]!, 0n);
      return;
    }
    if (B.kind === KIND.ZERO) {
      roundResult(context, target, A.sign, A.exponent, WORDS[WORD_A]!, 0n);
      return;
    }
  }
  let sign = A.sign;
  let exponent = A.exponent;
  let large = WORDS[WORD_A]!;
  let small = WORDS[WORD_B]!;
  let distance = exponent - B.exponent;
  if (distance < 0 || (distance === 0 && large < small)) {
    sign = signB;
    exponent = B.exponent;
    distance = -distance;
    const swapped = large;
    large = small;
    small = swapped;
  }
  shiftRightSticky(small, 0n, distance);
  small = WORDS[2]!;
  let low = WORDS[3]!;
  if (A.sign === signB) {
    let sum = BigInt.asUintN(64, large + small);
    if (sum < large) {
      low = BigInt.asUintN(64, low >> 1n) | (low & 1n) | BigInt.asUintN(64, sum << 63n);
      sum = BigInt.asUintN(64, sum >> 1n) | TOP_BIT;
      exponent++;
    }
    roundResult(context, target, sign, exponent, sum, low);
    return;
  }
  let difference = BigInt.asUintN(64, large - small);
  if (low !== 0n) {
    low = BigInt.asUintN(64, -low);
    difference = BigInt.asUintN(64, difference - 1n);
  }
  if (difference < TOP_BIT) {
    if (difference === 0n) {
      if (low === 0n) {
        setZero(context.rounding === 1 ? 1 : 0);
        return;
      }
      difference = low;
      low = 0n;
      exponent -= 64;
    }
    const shift = countLeadingZeros(difference);
    if (shift !== 0) {
      difference = BigInt.asUintN(64, difference << BIG[shift]!) | BigInt.asUintN(64, low >> BIG[64 - shift]!);
      low = BigInt.asUintN(64, low << BIG[shift]!);
      exponent -= shift;
    }
  }
  roundResult(context, target, sign, exponent, difference, low);
}

/** RESULT = A × B. */
export function multiply(context: FloatContext, target: Format): void {
  const sign = A.sign ^ B.sign;
  if (A.kind !== KIND.NORMAL || B.kind !== KIND.NORMAL) {
    if ((A.kind === KIND.INFINITY && B.kind === KIND.ZERO) || (B.kind === KIND.INFINITY && A.kind === KIND.ZERO)) {
      setInvalid(context, target);
      return;
    }
    if (stopsOnDenormal(context)) return;
    if (A.kind === KIND.INFINITY || B.kind === KIND.INFINITY) {
      setInfinity(sign, target);
      return;
    }
    if (A.kind === KIND.ZERO || B.kind === KIND.ZERO) {
      setZero(sign);
      return;
    }
  }
  multiplyWords(WORDS[WORD_A]!, WORDS[WORD_B]!);
  let high = WORDS[2]!;
  let low = WORDS[3]!;
  let exponent = A.exponent + B.exponent - target.bias + 1;
  if (high < TOP_BIT) {
    high = BigInt.asUintN(64, high << 1n) | BigInt.asUintN(64, low >> 63n);
    low = BigInt.asUintN(64, low << 1n);
    exponent--;
  }
  roundResult(context, target, sign, exponent, high, low);
}

/** RESULT = A / B. */
export function divide(context: FloatContext, target: Format): void {
  const sign = A.sign ^ B.sign;
  if (A.kind !== KIND.NORMAL || B.kind !== KIND.NORMAL) {
    if (A.kind === B.kind && (A.kind === KIND.INFINITY || A.kind === KIND.ZERO)) {
      setInvalid(context, target);
      return;
    }
    if (B.kind === KIND.ZERO) {
      if (A.kind !== KIND.INFINITY) context.flags |= 0x04;
      setInfinity(sign, target);
      return;
    }
    if (stopsOnDenormal(context)) return;
    if (A.kind === KIND.INFINITY) {
      setInfinity(sign, target);
      return;
    }
    if (A.kind === KIND.ZERO || B.kind === KIND.INFINITY) {
      setZero(sign);
      return;
    }
  }
  const dividend = WORDS[WORD_A]!;
  const divisor = WORDS[WORD_B]!;
  let exponent = A.exponent - B.exponent + target.bias;
  if (dividend >= divisor) {
    // One bit right, so that the quotient fills 64 bits.
    divideWords(BigInt.asUintN(64, dividend >> 1n), BigInt.asUintN(64, dividend << 63n), divisor);
  } else {
    divideWords(dividend, 0n, divisor);
    exponent--;
  }
  const quotient = WORDS[2]!;
  const rest = WORDS[3]!;
  // What is left decides only between less than, exactly and more than half a unit in the last of 64 places.
  let low = 0n;
  if (rest !== 0n) {
    const doubled = BigInt.asUintN(64, rest << 1n);
    if (rest >= TOP_BIT || doubled > divisor) low = 0xc000000000000000n;
    else low = doubled === divisor ? TOP_BIT : 1n;
  }
  roundResult(context, target, sign, exponent, quotient, low);
}

/** RESULT = sqrt(A). */
export function squareRoot(context: FloatContext, target: Format): void {
  if (A.kind === KIND.ZERO) {
    setZero(A.sign);
    return;
  }
  if (A.sign === 1) {
    setInvalid(context, target);
    return;
  }
  if (A.kind === KIND.INFINITY) {
    setInfinity(0, target);
    return;
  }
  if (A.kind === KIND.DENORMAL) {
    context.flags |= 0x02;
    if ((context.masks & 0x02) === 0) return;
  }
  const exponent = A.exponent - target.bias;
  const odd = (exponent & 1) !== 0;
  const root = (exponent - (odd ? 1 : 0)) / 2 + target.bias;
  squareRootWords(WORDS[WORD_A]! << (odd ? 64n : 63n));
  roundResult(context, target, 0, root, WORDS[2]!, WORDS[3]!);
}

/** A < B, equal, greater: -1, 0, 1. No NaN. */
export function order(): number {
  if (A.kind === KIND.ZERO && B.kind === KIND.ZERO) return 0;
  if (A.sign !== B.sign || A.kind === KIND.ZERO || B.kind === KIND.ZERO) {
    if (A.kind === KIND.ZERO) return B.sign === 1 ? 1 : -1;
    if (B.kind === KIND.ZERO) return A.sign === 1 ? -1 : 1;
    return A.sign === 1 ? -1 : 1;
  }
  const greater = A.sign === 1 ? -1 : 1;
  if (A.kind === KIND.INFINITY || B.kind === KIND.INFINITY) {
    return A.kind === B.kind ? 0 : A.kind === KIND.INFINITY ? greater : -greater;
  }
  if (A.exponent !== B.exponent) return A.exponent > B.exponent ? greater : -greater;
  const a = WORDS[WORD_A]!;
  const b = WORDS[WORD_B]!;
  return a === b ? 0 : a > b ? greater : -greater;
}

/**
 * The magnitude of A as an integer, rounded by `rounding`: WORDS[2], with *inexact* and *rounded up* in bits 0 and 1 of
 * the returned value; -1 where it exceeds 2^64 - 1. A is finite; `bias` is its format's.
 */
export function roundToInteger(rounding: number, bias: number): number {
  if (A.kind === KIND.ZERO) {
    WORDS[2] = 0n;
    return 0;
  }
  const exponent = A.exponent - bias;
  if (exponent > 63) return -1;
  const significand = WORDS[WORD_A]!;
  shiftRightSticky(significand, 0n, 63 - exponent);
  const whole = WORDS[2]!;
  const fraction = WORDS[3]!;
  if (fraction === 0n) return 0;
  let up = false;
  if (rounding === 0) up = fraction > TOP_BIT || (fraction === TOP_BIT && (whole & 1n) !== 0n);
  else if (rounding === 1) up = A.sign === 1;
  else if (rounding === 2) up = A.sign === 0;
  // With a fraction the value is below 2^63 + 1, so that this can't wrap.
  if (up) WORDS[2] = BigInt.asUintN(64, whole + 1n);
  return up ? 3 : 1;
}

/** RESULT = A rounded to an integer in its own format, PE as asked by `reportInexact`. A is finite and not zero. */
export function roundToIntegral(context: FloatContext, source: Format, rounding: number, reportInexact: boolean): void {
  context.roundedUp = false;
  const exponent = A.exponent - source.bias;
  if (exponent >= source.precision - 1) {
    setResult(A.sign, A.exponent, WORDS[WORD_A]!);
    return;
  }
  const outcome = roundToInteger(rounding, source.bias);
  const whole = WORDS[2]!;
  if (outcome !== 0 && reportInexact) context.flags |= 0x20;
  context.roundedUp = outcome === 3;
  if (whole === 0n) {
    setZero(A.sign);
    return;
  }
  const shift = countLeadingZeros(whole);
  setResult(A.sign, source.bias + 63 - shift, BigInt.asUintN(64, whole << BIG[shift]!));
}

/** RESULT = ±magnitude, rounded to `target`. */
export function fromInteger(context: FloatContext, target: Format, sign: number, magnitude: bigint): void {
  context.roundedUp = false;
  if (magnitude === 0n) {
    setZero(0);
    return;
  }
  const shift = countLeadingZeros(magnitude);
  const significand = BigInt.asUintN(64, magnitude << BIG[shift]!);
  roundResult(context, target, sign, target.bias + 63 - shift, significand, 0n);
}
