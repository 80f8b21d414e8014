// The x87's transcendental instructions (Intel SDM volume 1, 8.3.5 to 8.3.10). Results are rounded from about 120
// correct bits, closer than any processor's: they can differ from one's in the last place. Trigonometric arguments are
// reduced by the processors' own 66-bit π, so that sines near its multiples agree. A finite non-zero result always
// raises PE, as in processors, even in the few cases where it is exact.
//
// Values between the operand and the rounding are fixed point with 128 fractional bits, or a bigint and the binary
// exponent of its unit where the relative error counts.

import { stopsOnDenormal } from './arithmetic.ts';
import type { FloatContext } from './context.ts';
import { acceptOperand, acceptOperands, setA, setB } from './f80.ts';
import { TOP_BIT, WORDS } from './significand.ts';
import {
  A,
  B,
  F80,
  KIND,
  packF80,
  RESULT,
  roundResult,
  setInfinity,
  setInvalid,
  setResult,
  setZero,
  WORD_A,
  WORD_B,
} from './unpacked.ts';

const FRACTION_BITS = 128;
const ONE = 1n << 128n;
/** π × 2^254. */
const PI = 0xc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22n;
/** ln 2 × 2^256. */
const LN_2 = 0xb17217f7d1cf79abc9e3b39803f2f6af40f343267298b62d8a0d175b8baafa2bn;
const LN_2_FIXED = LN_2 >> 128n;
/** π/2 in units of 2^-65, by the 66 bits of π that processors reduce with (SDM 1, 8.3.8). */
const HALF_PI_66 = 0xc90fdaa22168c234cn >> 2n;

/** Coefficients as fixed point: Σ coefficient[k] x^k. */
type Series = bigint[];

const factorialSeries = (first: number, step: number, terms: number): Series => {
  const series: Series = [];
  let factorial = 1n;
  for (let n = 1; n <= first; n++) factorial *= BigInt(n);
  for (let k = 0, n = first; k < terms; k++) {
    series.push(ONE / factorial);
    for (let i = 0; i < step; i++) factorial *= BigInt(++n);
  }
  return series;
};
const oddReciprocals = (terms: number): Series => Array.from({ length: terms }, (_, k) => ONE / BigInt(2 * k + 1));

/** sin x / x, cos x in -x²; (e^x - 1) / x in x; atanh x / x in x². */
const SINE = factorialSeries(1, 2, 17);
const COSINE = factorialSeries(0, 2, 18);
const EXPONENTIAL = factorialSeries(1, 1, 32);
const INVERSE_TANGENT = oddReciprocals(26);

function evaluate(series: Series, x: bigint, terms = series.length): bigint {
  let sum = series[terms - 1]!;
  for (let k = terms - 2; k >= 0; k--) sum = series[k]! + ((sum * x) >> 128n);
  return sum;
}

const shift = (value: bigint, count: number): bigint => (count >= 0 ? value << BigInt(count) : value >> BigInt(-count));

const DOUBLE = new Float64Array(1);
const DOUBLE_HALVES = new Uint32Array(DOUBLE.buffer);

/** The number of significant bits of a positive value below 2^1000. */
function bitLength(value: bigint): number {
  DOUBLE[0] = Number(value);
  const length = ((DOUBLE_HALVES[1]! >>> 20) & 0x7ff) - 1022;
  // The double may have been rounded up to a power of two.
  return value >> BigInt(length - 1) === 0n ? length - 1 : length;
}

/** RESULT = ±(mantissa × 2^unit), where `exact` is false plus something smaller than the mantissa's last place. */
function roundValue(context: FloatContext, sign: number, mantissa: bigint, unit: number, exact = false): void {
  const length = bitLength(mantissa);
  const excess = length - 128;
  const top = shift(mantissa, -excess);
  const lost = !exact || (excess > 0 && top << BigInt(excess) !== mantissa);
  const high = top >> 64n;
  const low = BigInt.asUintN(64, top) | (lost ? 1n : 0n);
  context.flags |= 0x20;
  roundResult(context, F80, sign, F80.bias + unit + length - 1, high, low);
  // Processors take an exact denormal for an inexact one here too.
  if (RESULT.exponent === 0) context.flags |= 0x10;
}

/** Fixed point of mantissa × 2^unit. */
const fixed = (mantissa: bigint, unit: number): bigint => shift(mantissa, unit + FRACTION_BITS);

// The argument of the trigonometric functions after reduction: |remainder| × 2^unit, its sign, and the quadrant.
let reduced = 0n;
let reducedUnit = 0;
let reducedSign = 0;
let quadrant = 0;

/**
 * Reduces A to |x| ≤ π/4 and a quadrant. A is finite, not zero, below 2^63. The remainder is never zero: no 64-bit
 * significand is a multiple of a 66-bit odd number.
 */
function reduceAngle(): void {
  const exponent = A.exponent - F80.bias;
  reduced = WORDS[WORD_A]!;
  reducedUnit = exponent - 63;
  reducedSign = A.sign;
  quadrant = 0;
  if (exponent < -1) return;
  // The significand's unit is at least 2^-64, so that units of 2^-65 hold the remainder exactly.
  const angle = reduced << BigInt(reducedUnit + 65);
  let quotient = angle / HALF_PI_66;
  let rest = angle - quotient * HALF_PI_66;
  if (2n * rest > HALF_PI_66) {
    quotient++;
    rest -= HALF_PI_66;
  }
  if (rest < 0n) {
    rest = -rest;
    reducedSign ^= 1;
  }
  reduced = rest;
  reducedUnit = -65;
  quadrant = Number(quotient & 3n);
  if (A.sign === 1) quadrant = -quadrant & 3;
}

/** sin |reduced| / |reduced|, and cos |reduced|: fixed point, both below one. */
function sineRatio(): bigint {
  const x = fixed(reduced, reducedUnit);
  return evaluate(SINE, -((x * x) >> 128n)) - 1n;
}
function cosine(): bigint {
  const x = fixed(reduced, reducedUnit);
  return evaluate(COSINE, -((x * x) >> 128n)) - 1n;
}

/** RESULT = sin (or with `turn` 1 cos) of what reduceAngle left. */
function roundSine(context: FloatContext, turn: number): void {
  const angle = (quadrant + turn) & 3;
  const sign = angle >> 1;
  if ((angle & 1) === 1) roundValue(context, sign, cosine(), -FRACTION_BITS);
  else roundValue(context, sign ^ reducedSign, reduced * sineRatio(), reducedUnit - FRACTION_BITS);
}

const OUT_OF_RANGE_EXPONENT = F80.bias + 63;

/**
 * True where A is fit for a trigonometric function: then it is reduced. Else RESULT holds what is to be returned,
 * or the instruction is to set C2 and leave its operand (`outOfRange`).
 */
function acceptAngle(context: FloatContext, report: AngleReport, atZero: () => void): boolean {
  context.roundedUp = false;
  report.outOfRange = false;
  B.kind = KIND.ZERO;
  if (!acceptOperand(context, F80)) return false;
  if (A.kind === KIND.INFINITY) {
    setInvalid(context, F80);
    return false;
  }
  if (A.kind === KIND.ZERO) {
    atZero();
    return false;
  }
  if (A.exponent >= OUT_OF_RANGE_EXPONENT) {
    report.outOfRange = true;
    return false;
  }
  if (stopsOnDenormal(context)) return false;
  reduceAngle();
  return true;
}

const setSameZero = (): void => setZero(A.sign);
const setOne = (): void => setResult(0, F80.bias, TOP_BIT);

/** What the trigonometric instructions report besides the result. */
export interface AngleReport {
  /** C2: the operand is 2^63 or more in magnitude; there is no result. */
  outOfRange: boolean;
}

/** FSIN. */
export function f80Sin(context: FloatContext, signExponent: number, significand: bigint, report: AngleReport): number {
  setA(signExponent, significand);
  if (acceptAngle(context, report, setSameZero)) roundSine(context, 0);
  return packF80();
}

/** FCOS. */
export function f80Cos(context: FloatContext, signExponent: number, significand: bigint, report: AngleReport): number {
  setA(signExponent, significand);
  if (acceptAngle(context, report, setOne)) roundSine(context, 1);
  return packF80();
}

/** FPTAN's tangent; the 1.0 is the caller's to push. */
export function f80Tan(context: FloatContext, signExponent: number, significand: bigint, report: AngleReport): number {
  setA(signExponent, significand);
  if (acceptAngle(context, report, setSameZero)) roundTangent(context);
  return packF80();
}

function roundTangent(context: FloatContext): void {
  const odd = (quadrant & 1) === 1;
  const sign = reducedSign ^ (odd ? 1 : 0);
  const sine = reduced * sineRatio();
  const numerator = odd ? cosine() : sine;
  const denominator = odd ? sine : cosine();
  const numeratorUnit = odd ? 0 : reducedUnit;
  const denominatorUnit = odd ? reducedUnit : 0;
  const scale = Math.max(0, 140 + bitLength(denominator) - bitLength(numerator));
  roundValue(context, sign, (numerator << BigInt(scale)) / denominator, numeratorUnit - denominatorUnit - scale);
}

/** F2XM1: 2^a - 1 for |a| ≤ 1; beyond, where the manuals define nothing, the operand. */
export function f80Exp2Minus1(context: FloatContext, signExponent: number, significand: bigint): number {
  context.roundedUp = false;
  setA(signExponent, significand);
  B.kind = KIND.ZERO;
  if (acceptOperand(context, F80)) exp2Minus1(context);
  return packF80();
}

function exp2Minus1(context: FloatContext): void {
  if (A.kind === KIND.ZERO) {
    setZero(A.sign);
    return;
  }
  if (A.kind === KIND.INFINITY) {
    if (A.sign === 1) setResult(1, F80.bias, TOP_BIT);
    else setInfinity(0, F80);
    return;
  }
  if (stopsOnDenormal(context)) return;
  const exponent = A.exponent - F80.bias;
  const significand = WORDS[WORD_A]!;
  if (exponent > 0 || (exponent === 0 && significand !== TOP_BIT)) {
    context.flags |= 0x20;
    setResult(A.sign, A.exponent, significand);
    return;
  }
  if (exponent === 0) {
    context.flags |= 0x20;
    setResult(A.sign, A.sign === 1 ? F80.bias - 1 : F80.bias, TOP_BIT);
    return;
  }
  const product = significand * LN_2_FIXED;
  const unit = exponent - 63 - FRACTION_BITS;
  const x = shift(product, unit + FRACTION_BITS);
  const terms = exponent < -64 ? 4 : exponent < -16 ? 12 : EXPONENTIAL.length;
  const ratio = evaluate(EXPONENTIAL, A.sign === 1 ? -x : x, terms);
  roundValue(context, A.sign, product * ratio, unit - FRACTION_BITS);
}

// A logarithm: sign, mantissa and unit.
let logarithm = 0n;
let logarithmUnit = 0;
let logarithmSign = 0;
let logarithmExact = false;

/** 2 atanh(numerator / denominator) / ln 2, both positive and the ratio below 0.18. */
function setLogarithmOfRatio(sign: number, numerator: bigint, denominator: bigint): void {
  const scale = 140 + bitLength(denominator) - bitLength(numerator);
  const ratio = (numerator << BigInt(scale)) / denominator;
  const x = fixed(ratio, -scale);
  const series = evaluate(INVERSE_TANGENT, (x * x) >> 128n) + 1n;
  logarithm = ((ratio * series) << 129n) / LN_2;
  logarithmUnit = -scale;
  logarithmSign = sign;
  logarithmExact = false;
}

/** log2 of the positive number mantissa × 2^unit. */
function setLogarithm(mantissa: bigint, unit: number): void {
  const length = bitLength(mantissa);
  let power = unit + length - 1;
  const one = 1n << BigInt(length - 1);
  if (mantissa === one) {
    logarithm = BigInt(Math.abs(power));
    logarithmUnit = 0;
    logarithmSign = power < 0 ? 1 : 0;
    logarithmExact = true;
    return;
  }
  // The fraction is taken in 0.7 … 1.4, so that the ratio below is small.
  let half = one;
  if (10n * mantissa > 14n * one) {
    half = one << 1n;
    power++;
  }
  const difference = mantissa - half;
  setLogarithmOfRatio(difference < 0n ? 1 : 0, difference < 0n ? -difference : difference, mantissa + half);
  if (power === 0) return;
  const fraction = fixed(logarithm, logarithmUnit);
  const sum = (BigInt(power) << 128n) + (logarithmSign === 1 ? -fraction : fraction);
  logarithm = sum < 0n ? -sum : sum;
  logarithmSign = sum < 0n ? 1 : 0;
  logarithmUnit = -FRACTION_BITS;
}

/** RESULT = B × the logarithm. */
function roundLogarithmTimesB(context: FloatContext): void {
  const unit = logarithmUnit + B.exponent - F80.bias - 63;
  roundValue(context, B.sign ^ logarithmSign, logarithm * WORDS[WORD_B]!, unit, logarithmExact);
}

/** FYL2X: y × log2 x, x the first operand (ST(0)). */
export function f80YLog2X(context: FloatContext, xSE: number, x: bigint, ySE: number, y: bigint): number {
  context.roundedUp = false;
  setA(xSE, x);
  setB(ySE, y);
  if (acceptOperands(context)) yLog2X(context);
  return packF80();
}

function yLog2X(context: FloatContext): void {
  if (A.kind === KIND.ZERO) {
    if (B.kind === KIND.ZERO) {
      setInvalid(context, F80);
      return;
    }
    if (B.kind !== KIND.INFINITY) context.flags |= 0x04;
    setInfinity(B.sign ^ 1, F80);
    return;
  }
  if (A.sign === 1) {
    setInvalid(context, F80);
    return;
  }
  const isOne = A.exponent === F80.bias && WORDS[WORD_A] === TOP_BIT;
  const below = A.exponent < F80.bias ? 1 : 0;
  if ((A.kind === KIND.INFINITY && B.kind === KIND.ZERO) || (B.kind === KIND.INFINITY && isOne)) {
    setInvalid(context, F80);
    return;
  }
  if (stopsOnDenormal(context)) return;
  if (A.kind === KIND.INFINITY) setInfinity(B.sign, F80);
  else if (B.kind === KIND.INFINITY) setInfinity(B.sign ^ below, F80);
  else if (B.kind === KIND.ZERO) setZero(B.sign ^ below);
  else if (isOne) setZero(B.sign);
  else {
    setLogarithm(WORDS[WORD_A]!, A.exponent - F80.bias - 63);
    roundLogarithmTimesB(context);
  }
}

/** FYL2XP1: y × log2(x + 1), x the first operand (ST(0)). */
export function f80YLog2XPlus1(context: FloatContext, xSE: number, x: bigint, ySE: number, y: bigint): number {
  context.roundedUp = false;
  setA(xSE, x);
  setB(ySE, y);
  if (acceptOperands(context)) yLog2XPlus1(context);
  return packF80();
}

function yLog2XPlus1(context: FloatContext): void {
  const exponent = A.exponent - F80.bias;
  if (
    (A.kind === KIND.INFINITY && (A.sign === 1 || B.kind === KIND.ZERO)) ||
    (A.kind === KIND.ZERO && B.kind === KIND.INFINITY)
  ) {
    setInvalid(context, F80);
    return;
  }
  if (stopsOnDenormal(context)) return;
  if (A.kind === KIND.INFINITY) {
    setInfinity(B.sign, F80);
    return;
  }
  if (B.kind === KIND.INFINITY) {
    setInfinity(A.sign ^ B.sign, F80);
    return;
  }
  if (A.kind === KIND.ZERO || B.kind === KIND.ZERO) {
    setZero(A.sign ^ B.sign);
    return;
  }
  const significand = WORDS[WORD_A]!;
  if (A.sign === 1 && exponent >= 0) {
    context.flags |= 0x20;
    setResult(A.sign, A.exponent, significand);
    return;
  }
  if (exponent < -200) {
    // ln(1 + x) is x.
    logarithm = (significand << 384n) / LN_2;
    logarithmUnit = exponent - 63 - 128;
    logarithmSign = A.sign;
    logarithmExact = false;
  } else if (exponent < -2) {
    const denominator = (2n << BigInt(63 - exponent)) + (A.sign === 1 ? -significand : significand);
    setLogarithmOfRatio(A.sign, significand, denominator);
  } else if (exponent > 200) {
    setLogarithm((significand << 256n) + 1n, exponent - 63 - 256);
  } else {
    const unit = Math.min(0, exponent - 63);
    const x = significand << BigInt(exponent - 63 - unit);
    setLogarithm((1n << BigInt(-unit)) + (A.sign === 1 ? -x : x), unit);
  }
  roundLogarithmTimesB(context);
}

/** atan(i / 32) as fixed point, made when first needed. */
const inverseTangents: (bigint | undefined)[] = [];

function inverseTangentOf32nds(i: number): bigint {
  let value = inverseTangents[i];
  if (value === undefined) {
    // atan x = Σ (2^2n n!² / (2n+1)!) x^(2n+1) / (1+x²)^(n+1), which converges for every x (Euler).
    const square = BigInt(i * i);
    let term = (32n * BigInt(i) * (1n << 160n)) / (1024n + square);
    value = 0n;
    for (let n = 1n; term > 0n; n++) {
      value += term;
      term = (term * 2n * n * square) / ((2n * n + 1n) * (1024n + square));
    }
    value >>= 32n;
    inverseTangents[i] = value;
  }
  return value;
}

/** FPATAN: the angle of the point (x, y), in -π … π; y is ST(1), x is ST(0). */
export function f80AtanYX(context: FloatContext, xSE: number, x: bigint, ySE: number, y: bigint): number {
  context.roundedUp = false;
  setA(xSE, x);
  setB(ySE, y);
  if (acceptOperands(context)) atanYX(context);
  return packF80();
}

const roundQuarters = (context: FloatContext, sign: number, quarters: bigint): void =>
  roundValue(context, sign, PI * quarters, -256);

function atanYX(context: FloatContext): void {
  if (stopsOnDenormal(context)) return;
  const sign = B.sign;
  const left = A.sign === 1;
  if (B.kind === KIND.INFINITY) {
    roundQuarters(context, sign, A.kind !== KIND.INFINITY ? 2n : left ? 3n : 1n);
    return;
  }
  if (B.kind === KIND.ZERO || A.kind === KIND.INFINITY) {
    if (left) roundQuarters(context, sign, 4n);
    else setZero(sign);
    return;
  }
  if (A.kind === KIND.ZERO) {
    roundQuarters(context, sign, 2n);
    return;
  }
  // The smaller of |x| and |y| over the larger; then the octant is put right.
  const steep = B.exponent > A.exponent || (B.exponent === A.exponent && WORDS[WORD_B]! > WORDS[WORD_A]!);
  const numerator = steep ? WORDS[WORD_A]! : WORDS[WORD_B]!;
  const denominator = steep ? WORDS[WORD_B]! : WORDS[WORD_A]!;
  const distance = steep ? B.exponent - A.exponent : A.exponent - B.exponent;
  if (!steep && !left && distance > 6) {
    // No reduction: the relative error counts.
    const ratio = (numerator << 140n) / denominator;
    roundValue(context, sign, ratio * inverseTangentRatio(fixed(ratio, -140 - distance)), -140 - 128 - distance);
    return;
  }
  let angle = 0n;
  if (distance < 140) {
    const tangent = (numerator << 144n) / denominator;
    const nearest = Number((((tangent >> BigInt(distance)) * 64n) >> 144n) + 1n) >> 1;
    const scaled = denominator << BigInt(distance);
    const top = 32n * numerator - BigInt(nearest) * scaled;
    const bottom = 32n * scaled + BigInt(nearest) * numerator;
    if (nearest === 0) {
      const ratio = fixed(tangent, -144 - distance);
      angle = (ratio * inverseTangentRatio(ratio)) >> 128n;
    } else {
      const ratio = ((top < 0n ? -top : top) << 128n) / bottom;
      const rest = (ratio * inverseTangentRatio(ratio)) >> 128n;
      angle = inverseTangentOf32nds(nearest) + (top < 0n ? -rest : rest);
    }
  }
  if (steep) angle = (PI >> 127n) + (left ? angle : -angle);
  else if (left) angle = (PI >> 126n) - angle;
  roundValue(context, sign, angle, -FRACTION_BITS);
}

/** atan x / x for |x| ≤ 1/64, below one. */
function inverseTangentRatio(x: bigint): bigint {
  const square = (x * x) >> 128n;
  let sum = 0n;
  for (let k = 13; k >= 0; k--) sum = INVERSE_TANGENT[k]! - ((sum * square) >> 128n);
  return sum - 1n;
}
