// Add, subtract, multiply, divide and square root on the operand registers, for every format (IEEE 754-2008 5.4.1).
// Operands are neither NaN nor unsupported: the callers have dealt with those by the rules of SSE or of the x87.

import type { FloatContext } from './context.ts';
import { BIG, countLeadingZeros, HALVES, shiftRightSticky, squareRootWords, TOP_BIT, WORDS } from './significand.ts';
import {
  A,
  B,
  type Format,
  KIND,
  roundHalves,
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
  let high = HALVES[2 * WORD_A + 1]!;
  let low = HALVES[2 * WORD_A]!;
  let smallHigh = HALVES[2 * WORD_B + 1]!;
  let smallLow = HALVES[2 * WORD_B]!;
  let distance = exponent - B.exponent;
  if (distance < 0 || (distance === 0 && (high < smallHigh || (high === smallHigh && low < smallLow)))) {
    sign = signB;
    exponent = B.exponent;
    distance = -distance;
    high = smallHigh;
    low = smallLow;
    smallHigh = HALVES[2 * WORD_A + 1]!;
    smallLow = HALVES[2 * WORD_A]!;
  }
  // The smaller operand in the larger one's place: 64 bits, 32 more, and a sticky lowest bit.
  let rest = 0;
  let sticky = 0;
  if (distance >= 96) {
    smallHigh = 0;
    smallLow = 0;
    rest = 1;
    distance = 0;
  } else if (distance >= 64) {
    sticky = smallLow;
    rest = smallHigh;
    smallLow = 0;
    smallHigh = 0;
    distance -= 64;
  } else if (distance >= 32) {
    rest = smallLow;
    smallLow = smallHigh;
    smallHigh = 0;
    distance -= 32;
  }
  if (distance !== 0) {
    sticky |= rest << (32 - distance);
    rest = ((smallLow << (32 - distance)) | (rest >>> distance)) >>> 0;
    smallLow = ((smallHigh << (32 - distance)) | (smallLow >>> distance)) >>> 0;
    smallHigh >>>= distance;
  }
  if (sticky !== 0) rest = (rest | 1) >>> 0;
  if (A.sign === signB) {
    const sumLow = low + smallLow;
    const sumHigh = high + smallHigh + (sumLow > 0xffffffff ? 1 : 0);
    high = sumHigh >>> 0;
    low = sumLow >>> 0;
    if (sumHigh > 0xffffffff) {
      rest = ((low << 31) | (rest >>> 1) | (rest & 1)) >>> 0;
      low = ((high << 31) | (low >>> 1)) >>> 0;
      high = ((high >>> 1) | 0x80000000) >>> 0;
      exponent++;
    }
    roundHalves(context, target, sign, exponent, high, low, rest);
    return;
  }
  const differenceLow = low - smallLow - (rest !== 0 ? 1 : 0);
  high = (high - smallHigh - (differenceLow < 0 ? 1 : 0)) >>> 0;
  low = differenceLow >>> 0;
  rest = -rest >>> 0;
  if (high < 0x80000000) {
    if (high === 0) {
      if ((low | rest) === 0) {
        setZero(context.rounding === 1 ? 1 : 0);
        return;
      }
      high = low;
      low = rest;
      rest = 0;
      exponent -= 32;
      if (high === 0) {
        high = low;
        low = 0;
        exponent -= 32;
      }
    }
    const shift = Math.clz32(high);
    if (shift !== 0) {
      high = ((high << shift) | (low >>> (32 - shift))) >>> 0;
      low = ((low << shift) | (rest >>> (32 - shift))) >>> 0;
      rest = (rest << shift) >>> 0;
      exponent -= shift;
    }
  }
  roundHalves(context, target, sign, exponent, high, low, rest);
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
  const aHigh = HALVES[2 * WORD_A + 1]!;
  const aLow = HALVES[2 * WORD_A]!;
  const bHigh = HALVES[2 * WORD_B + 1]!;
  const bLow = HALVES[2 * WORD_B]!;
  const lowest = Math.imul(aLow, bLow) >>> 0;
  const crossA = Math.imul(aHigh, bLow) >>> 0;
  const crossB = Math.imul(aLow, bHigh) >>> 0;
  const top = Math.imul(aHigh, bHigh) >>> 0;
  const third = highProduct(aLow, bLow, lowest) + crossA + crossB;
  const second = highProduct(aHigh, bLow, crossA) + highProduct(aLow, bHigh, crossB) + top + carryOf(third);
  let high = (highProduct(aHigh, bHigh, top) + carryOf(second)) >>> 0;
  let low = second >>> 0;
  let rest = ((third >>> 0) | (lowest !== 0 ? 1 : 0)) >>> 0;
  let exponent = A.exponent + B.exponent - target.bias + 1;
  if (high < 0x80000000) {
    high = ((high << 1) | (low >>> 31)) >>> 0;
    low = ((low << 1) | (rest >>> 31)) >>> 0;
    // The sticky bit stays where it is.
    rest = ((rest << 1) | (rest & 1)) >>> 0;
    exponent--;
  }
  roundHalves(context, target, sign, exponent, high, low, rest);
}

/** Bits 63:32 of a × b, whose bits 31:0 are `low`: the double is close enough that rounding finds the integer. */
function highProduct(a: number, b: number, low: number): number {
  return ((a * b - low) * 2 ** -32 + 0.5) >>> 0;
}

/** What a sum of a few 32-bit values carries into the next 32 bits. */
function carryOf(sum: number): number {
  return (sum * 2 ** -32) >>> 0;
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
  let restHigh = HALVES[2 * WORD_A + 1]!;
  let restLow = HALVES[2 * WORD_A]!;
  const divisorHigh = HALVES[2 * WORD_B + 1]!;
  const divisorLow = HALVES[2 * WORD_B]!;
  const divisor = divisorHigh * 2 ** 32 + divisorLow;
  const atLeastOne = restHigh > divisorHigh || (restHigh === divisorHigh && restLow >= divisorLow);
  if (atLeastOne) {
    restHigh -= divisorHigh;
    restLow -= divisorLow;
    if (restLow < 0) {
      restLow += 2 ** 32;
      restHigh--;
    }
  }
  // Two digits of 32 bits. Doubles guess one to within 1; the remainder tells.
  let high = 0;
  let low = 0;
  for (let digit = 0; digit < 2; digit++) {
    let guess = Math.min(0xffffffff, Math.floor(((restHigh * 2 ** 32 + restLow) * 2 ** 32) / divisor));
    const lowest = Math.imul(guess, divisorLow) >>> 0;
    const cross = Math.imul(guess, divisorHigh) >>> 0;
    const middle = highProduct(guess, divisorLow, lowest) + cross;
    let nextLow = -lowest;
    let nextHigh = restLow - (middle % 2 ** 32);
    let overflow = restHigh - highProduct(guess, divisorHigh, cross) - carryOf(middle);
    if (nextLow < 0) {
      nextLow += 2 ** 32;
      nextHigh--;
    }
    if (nextHigh < 0) {
      nextHigh += 2 ** 32;
      overflow--;
    }
    if (overflow < 0) {
      guess--;
      nextLow += divisorLow;
      nextHigh += divisorHigh + carryOf(nextLow);
      nextLow >>>= 0;
      nextHigh >>>= 0;
    } else if (overflow > 0 || nextHigh > divisorHigh || (nextHigh === divisorHigh && nextLow >= divisorLow)) {
      guess++;
      nextLow -= divisorLow;
      nextHigh -= divisorHigh + (nextLow < 0 ? 1 : 0);
      nextLow >>>= 0;
      nextHigh >>>= 0;
    }
    high = low;
    low = guess;
    restHigh = nextHigh;
    restLow = nextLow;
  }
  const exponent = A.exponent - B.exponent + target.bias;
  const inexact = (restHigh | restLow) !== 0 ? 1 : 0;
  if (atLeastOne) {
    const rest = ((low << 31) | inexact) >>> 0;
    low = ((high << 31) | (low >>> 1)) >>> 0;
    high = (0x80000000 | (high >>> 1)) >>> 0;
    roundHalves(context, target, sign, exponent, high, low, rest);
    return;
  }
  // What is left decides only between less than, exactly and more than half a unit in the last of 64 places.
  const doubledHigh = restHigh * 2 + (restLow >>> 31);
  const doubledLow = (restLow << 1) >>> 0;
  let rest: number = inexact;
  if (doubledHigh > divisorHigh || (doubledHigh === divisorHigh && doubledLow > divisorLow)) rest = 0xc0000000;
  else if (doubledHigh === divisorHigh && doubledLow === divisorLow) rest = 0x80000000;
  roundHalves(context, target, sign, exponent - 1, high, low, rest);
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
