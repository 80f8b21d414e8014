// Double extended precision as the x87 computes it (Intel SDM volume 1, chapter 8): 80-bit values are a 16-bit number
// of sign and exponent and a 64-bit significand. An operation returns sign and exponent and leaves the significand in
// context.significand; exceptions go to context.flags, C1 to context.roundedUp.
// Where an unmasked IE, DE or ZE was raised there is no result; after an unmasked OE or UE the exponent is wrapped by
// 24576, as in the processor. The operands of add … order can come from any format: set A and B first.

import {
  add,
  divide,
  fromInteger,
  multiply,
  order,
  roundToInteger,
  roundToIntegral,
  squareRoot,
  stopsOnDenormal,
} from './arithmetic.ts';
import type { FloatContext } from './context.ts';
import { BIG, countLeadingZeros, TOP_BIT, WORDS } from './significand.ts';
import {
  A,
  B,
  classifyF80,
  F32,
  F64,
  F80,
  F80_BY_PRECISION,
  type Format,
  KIND,
  packF32,
  packF64,
  packF80,
  QUIET_BIT,
  roundResult,
  setInfinity,
  setInvalid,
  setResult,
  setZero,
  type Unpacked,
  unpackF32,
  unpackF64,
  unpackF80,
  WORD_A,
  WORD_B,
} from './unpacked.ts';

/** The real indefinite: what a masked invalid operation returns. */
export const INDEFINITE_SIGN_EXPONENT = 0xffff;
export const INDEFINITE_SIGNIFICAND = 0xc000000000000000n;

export function setA(signExponent: number, significand: bigint): void {
  unpackF80(A, WORD_A, signExponent, significand);
}

export function setB(signExponent: number, significand: bigint): void {
  unpackF80(B, WORD_B, signExponent, significand);
}

/** setA and setB from 10 bytes in memory, as registers are kept. */
export function loadA(view: DataView, offset: number): void {
  WORDS[WORD_A] = view.getBigUint64(offset, true);
  classifyF80(A, WORD_A, view.getUint16(offset + 8, true));
}

export function loadB(view: DataView, offset: number): void {
  WORDS[WORD_B] = view.getBigUint64(offset, true);
  classifyF80(B, WORD_B, view.getUint16(offset + 8, true));
}

function widenF32(operand: Unpacked, word: number, bits: number): void {
  unpackF32(operand, word, bits, false);
  operand.exponent += F80.bias - F32.bias;
}

function widenF64(operand: Unpacked, word: number, bits: bigint): void {
  unpackF64(operand, word, bits, false);
  operand.exponent += F80.bias - F64.bias;
}

export function setBFromF32(bits: number): void {
  widenF32(B, WORD_B, bits);
}

export function setBFromF64(bits: bigint): void {
  widenF64(B, WORD_B, bits);
}

/** From a signed integer of up to 64 bits. */
export function setBFromInteger(value: bigint): void {
  B.sign = value < 0n ? 1 : 0;
  if (value === 0n) {
    B.kind = KIND.ZERO;
    B.exponent = 0;
    WORDS[WORD_B] = 0n;
    return;
  }
  const magnitude = BigInt.asUintN(64, value < 0n ? -value : value);
  const shift = countLeadingZeros(magnitude);
  B.kind = KIND.NORMAL;
  B.exponent = F80.bias + 63 - shift;
  WORDS[WORD_B] = BigInt.asUintN(64, magnitude << BIG[shift]!);
}

/** Exchanges A and B: for the reversed forms. */
export function swapOperands(): void {
  const { kind, sign, exponent } = A;
  A.kind = B.kind;
  A.sign = B.sign;
  A.exponent = B.exponent;
  B.kind = kind;
  B.sign = sign;
  B.exponent = exponent;
  const word = WORDS[WORD_A]!;
  WORDS[WORD_A] = WORDS[WORD_B]!;
  WORDS[WORD_B] = word;
}

/** Of two NaNs the quiet one, of two alike the larger significand, of two equal the positive (SDM 1, table 4-7). */
function firstNanWins(): boolean {
  if (B.kind < KIND.QUIET_NAN) return true;
  if (A.kind < KIND.QUIET_NAN) return false;
  if (A.kind !== B.kind) return A.kind === KIND.QUIET_NAN;
  const a = WORDS[WORD_A]!;
  const b = WORDS[WORD_B]!;
  return a === b ? A.sign === 0 : a > b;
}

/** True where A and B are numbers; else RESULT holds the NaN to return, and IE is raised where due. */
export function acceptOperands(context: FloatContext): boolean {
  if (A.kind < KIND.QUIET_NAN && B.kind < KIND.QUIET_NAN) return true;
  if (A.kind === KIND.UNSUPPORTED || B.kind === KIND.UNSUPPORTED) {
    setInvalid(context, F80);
    return false;
  }
  if (A.kind === KIND.SIGNALLING_NAN || B.kind === KIND.SIGNALLING_NAN) context.flags |= 0x01;
  if (firstNanWins()) setResult(A.sign, F80.maximumExponent, WORDS[WORD_A]! | QUIET_BIT);
  else setResult(B.sign, F80.maximumExponent, WORDS[WORD_B]! | QUIET_BIT);
  return false;
}

/** acceptOperands for A alone, with a result in `target`. */
export function acceptOperand(context: FloatContext, target: Format): boolean {
  if (A.kind < KIND.QUIET_NAN) return true;
  if (A.kind === KIND.UNSUPPORTED) {
    setInvalid(context, target);
    return false;
  }
  if (A.kind === KIND.SIGNALLING_NAN) context.flags |= 0x01;
  setResult(A.sign, target.maximumExponent, WORDS[WORD_A]! | QUIET_BIT);
  return false;
}

/** A + B, rounded as PC says. */
export function addOperands(context: FloatContext): number {
  if (acceptOperands(context)) add(context, F80_BY_PRECISION[context.precision]!, 0);
  return packF80();
}

/** A - B */
export function subtractOperands(context: FloatContext): number {
  if (acceptOperands(context)) add(context, F80_BY_PRECISION[context.precision]!, 1);
  return packF80();
}

/** A × B */
export function multiplyOperands(context: FloatContext): number {
  if (acceptOperands(context)) multiply(context, F80_BY_PRECISION[context.precision]!);
  return packF80();
}

/** A / B */
export function divideOperands(context: FloatContext): number {
  if (acceptOperands(context)) divide(context, F80_BY_PRECISION[context.precision]!);
  return packF80();
}

export const COMPARED = { GREATER: 0, LESS: 1, EQUAL: 2, UNORDERED: 3 } as const;

/**
 * A value of COMPARED for A against B, whatever exceptions are unmasked; `signalling` raises IE on quiet NaNs too
 * (FCOM; FUCOM does not).
 */
export function compareOperands(context: FloatContext, signalling: boolean): number {
  if (A.kind >= KIND.QUIET_NAN || B.kind >= KIND.QUIET_NAN) {
    const quiet = A.kind <= KIND.QUIET_NAN && B.kind <= KIND.QUIET_NAN;
    if (signalling || !quiet) context.flags |= 0x01;
    return COMPARED.UNORDERED;
  }
  stopsOnDenormal(context);
  const relation = order();
  return relation === 0 ? COMPARED.EQUAL : relation < 0 ? COMPARED.LESS : COMPARED.GREATER;
}

export function f80Add(context: FloatContext, aSE: number, a: bigint, bSE: number, b: bigint): number {
  context.roundedUp = false;
  setA(aSE, a);
  setB(bSE, b);
  return addOperands(context);
}

/** a - b */
export function f80Sub(context: FloatContext, aSE: number, a: bigint, bSE: number, b: bigint): number {
  context.roundedUp = false;
  setA(aSE, a);
  setB(bSE, b);
  return subtractOperands(context);
}

export function f80Mul(context: FloatContext, aSE: number, a: bigint, bSE: number, b: bigint): number {
  context.roundedUp = false;
  setA(aSE, a);
  setB(bSE, b);
  return multiplyOperands(context);
}

/** a / b */
export function f80Div(context: FloatContext, aSE: number, a: bigint, bSE: number, b: bigint): number {
  context.roundedUp = false;
  setA(aSE, a);
  setB(bSE, b);
  return divideOperands(context);
}

export function f80Sqrt(context: FloatContext, signExponent: number, significand: bigint): number {
  context.roundedUp = false;
  setA(signExponent, significand);
  if (acceptOperand(context, F80)) squareRoot(context, F80_BY_PRECISION[context.precision]!);
  return packF80();
}

/** A value of COMPARED. */
export function f80Compare(
  context: FloatContext,
  aSE: number,
  a: bigint,
  bSE: number,
  b: bigint,
  signalling: boolean,
): number {
  context.roundedUp = false;
  setA(aSE, a);
  setB(bSE, b);
  return compareOperands(context, signalling);
}

function finishWidening(context: FloatContext): number {
  context.roundedUp = false;
  if (acceptOperand(context, F80)) {
    if (A.kind === KIND.ZERO) setZero(A.sign);
    else if (A.kind === KIND.INFINITY) setInfinity(A.sign, F80);
    else {
      if (A.kind === KIND.DENORMAL) context.flags |= 0x02;
      setResult(A.sign, A.exponent, WORDS[WORD_A]!);
    }
  }
  return packF80();
}

/** FLD m32fp: exact; IE on signalling NaNs; DE on denormals, which are loaded even where DE is unmasked. */
export function f80FromF32(context: FloatContext, bits: number): number {
  widenF32(A, WORD_A, bits);
  return finishWidening(context);
}

/** FLD m64fp: as f80FromF32. */
export function f80FromF64(context: FloatContext, bits: bigint): number {
  widenF64(A, WORD_A, bits);
  return finishWidening(context);
}

function narrow(context: FloatContext, target: Format): void {
  context.roundedUp = false;
  if (!acceptOperand(context, target)) return;
  if (A.kind === KIND.ZERO) setZero(A.sign);
  else if (A.kind === KIND.INFINITY) setInfinity(A.sign, target);
  else {
    const before = context.flags;
    const exponent = A.exponent - F80.bias + target.bias;
    // Where an unmasked OE or UE cancels the store, the x87 (unlike SSE) leaves PE alone.
    if (!roundResult(context, target, A.sign, exponent, WORDS[WORD_A]!, 0n)) context.flags &= before | ~0x20;
  }
}

/** FST m32fp: no result after an unmasked IE, OE or UE. */
export function f80ToF32(context: FloatContext, signExponent: number, significand: bigint): number {
  setA(signExponent, significand);
  narrow(context, F32);
  return packF32();
}

/** FST m64fp: no result after an unmasked IE, OE or UE. */
export function f80ToF64(context: FloatContext, signExponent: number, significand: bigint): bigint {
  setA(signExponent, significand);
  narrow(context, F64);
  return packF64();
}

/** FILD: exact. */
export function f80FromInteger(context: FloatContext, value: bigint): number {
  fromInteger(context, F80, value < 0n ? 1 : 0, BigInt.asUintN(64, value < 0n ? -value : value));
  return packF80();
}

/** |A| rounded to an integer of at most `limit`, or `negativeLimit` where A is negative; -1 and IE where it is more. */
function integerMagnitude(context: FloatContext, rounding: number, limit: bigint, negativeLimit: bigint): bigint {
  context.roundedUp = false;
  if (A.kind < KIND.INFINITY) {
    const outcome = roundToInteger(rounding, F80.bias);
    const magnitude = WORDS[2]!;
    if (outcome >= 0 && magnitude <= (A.sign === 1 ? negativeLimit : limit)) {
      if (outcome !== 0) context.flags |= 0x20;
      context.roundedUp = outcome === 3;
      return magnitude;
    }
  }
  context.flags |= 0x01;
  return -1n;
}

/** FIST (with `truncate` FISTTP) to 16, 32 or 64 bits, as an unsigned bigint; IE and the most negative if it fails. */
export function f80ToInteger(
  context: FloatContext,
  signExponent: number,
  significand: bigint,
  bits: number,
  truncate: boolean,
): bigint {
  setA(signExponent, significand);
  const limit = 1n << BigInt(bits - 1);
  const magnitude = integerMagnitude(context, truncate ? 3 : context.rounding, limit - 1n, limit);
  if (magnitude < 0n) return limit;
  return BigInt.asUintN(bits, A.sign === 1 ? -magnitude : magnitude);
}

/** FRNDINT. */
export function f80RoundToIntegral(context: FloatContext, signExponent: number, significand: bigint): number {
  context.roundedUp = false;
  setA(signExponent, significand);
  B.kind = KIND.ZERO;
  if (acceptOperand(context, F80)) {
    if (A.kind === KIND.ZERO) setZero(A.sign);
    else if (A.kind === KIND.INFINITY) setInfinity(A.sign, F80);
    else if (!stopsOnDenormal(context)) roundToIntegral(context, F80, context.rounding, true);
  }
  return packF80();
}

/** FSCALE: a × 2^trunc(b). */
export function f80Scale(context: FloatContext, aSE: number, a: bigint, bSE: number, b: bigint): number {
  context.roundedUp = false;
  setA(aSE, a);
  setB(bSE, b);
  if (acceptOperands(context)) scale(context);
  return packF80();
}

function scale(context: FloatContext): void {
  if (B.kind === KIND.INFINITY) {
    if ((A.kind === KIND.ZERO && B.sign === 0) || (A.kind === KIND.INFINITY && B.sign === 1)) {
      setInvalid(context, F80);
      return;
    }
    if (stopsOnDenormal(context)) return;
    if (B.sign === 0) setInfinity(A.sign, F80);
    else setZero(A.sign);
    return;
  }
  if (stopsOnDenormal(context)) return;
  if (A.kind === KIND.ZERO) {
    setZero(A.sign);
    return;
  }
  if (A.kind === KIND.INFINITY) {
    setInfinity(A.sign, F80);
    return;
  }
  let distance = 0;
  if (B.kind !== KIND.ZERO && B.exponent >= F80.bias) {
    const shift = B.exponent - F80.bias;
    distance = shift > 16 ? 0x1ffff : Number(WORDS[WORD_B]! >> BigInt(63 - shift));
    if (B.sign === 1) distance = -distance;
  }
  roundResult(context, F80, A.sign, A.exponent + distance, WORDS[WORD_A]!, 0n);
}

/**
 * FXTRACT: leaves the significand (in 1 … 2) in context.significand with the sign and exponent returned, and the
 * exponent as a value in `exponent`; zero raises ZE.
 */
export function f80Extract(
  context: FloatContext,
  signExponent: number,
  significand: bigint,
  exponent: { signExponent: number; significand: bigint },
): number {
  context.roundedUp = false;
  setA(signExponent, significand);
  B.kind = KIND.ZERO;
  if (!acceptOperand(context, F80)) {
    const result = packF80();
    exponent.signExponent = result;
    exponent.significand = context.significand;
    return result;
  }
  if (A.kind === KIND.ZERO) {
    context.flags |= 0x04;
    exponent.signExponent = 0xffff;
    exponent.significand = TOP_BIT;
    setZero(A.sign);
    return packF80();
  }
  if (A.kind === KIND.INFINITY) {
    exponent.signExponent = 0x7fff;
    exponent.significand = TOP_BIT;
    setInfinity(A.sign, F80);
    return packF80();
  }
  if (stopsOnDenormal(context)) return signExponent;
  const unbiased = A.exponent - F80.bias;
  const fraction = WORDS[WORD_A]!;
  fromInteger(context, F80, unbiased < 0 ? 1 : 0, BigInt(Math.abs(unbiased)));
  exponent.signExponent = packF80();
  exponent.significand = context.significand;
  setResult(A.sign, F80.bias, fraction);
  return packF80();
}

/** What FPREM and FPREM1 report besides the remainder: the quotient's low bits, or that the reduction is incomplete. */
export interface RemainderReport {
  /** The quotient's magnitude modulo 8; 0 while incomplete, -1 where an operand or the result is no number. */
  quotient: number;
  /** C2: run the instruction again. */
  incomplete: boolean;
}

/** FPREM, or with `nearest` FPREM1 (the IEEE remainder): a mod b. */
export function f80Remainder(
  context: FloatContext,
  aSE: number,
  a: bigint,
  bSE: number,
  b: bigint,
  nearest: boolean,
  report: RemainderReport,
): number {
  context.roundedUp = false;
  report.quotient = 0;
  report.incomplete = false;
  setA(aSE, a);
  setB(bSE, b);
  if (acceptOperands(context)) remainder(context, nearest, report);
  else report.quotient = -1;
  return packF80();
}

function remainder(context: FloatContext, nearest: boolean, report: RemainderReport): void {
  if (A.kind === KIND.INFINITY || B.kind === KIND.ZERO) {
    report.quotient = -1;
    setInvalid(context, F80);
    return;
  }
  if (stopsOnDenormal(context)) return;
  if (A.kind === KIND.ZERO) {
    setZero(A.sign);
    return;
  }
  const distance = A.exponent - B.exponent;
  let rest = WORDS[WORD_A]!;
  if (B.kind === KIND.INFINITY || distance < -1) {
    roundResult(context, F80, A.sign, A.exponent, rest, 0n);
    return;
  }
  const divisor = WORDS[WORD_B]!;
  let sign = A.sign;
  let exponent = B.exponent;
  if (distance >= 64) {
    // The processor reduces the distance by N in 32 … 63 and leaves the rest to the next FPREM.
    const step = (distance & 31) | 32;
    report.incomplete = true;
    rest = (rest << BigInt(step)) % divisor;
    exponent = B.exponent + distance - step;
  } else {
    let unit = divisor;
    if (distance < 0) {
      unit <<= 1n;
      exponent--;
    } else {
      rest <<= BigInt(distance);
    }
    let quotient = rest / unit;
    rest -= quotient * unit;
    if (nearest && (2n * rest > unit || (2n * rest === unit && (quotient & 1n) !== 0n))) {
      quotient += 1n;
      rest = unit - rest;
      sign ^= 1;
    }
    report.quotient = Number(quotient & 7n);
  }
  if (rest === 0n) {
    setZero(A.sign);
    return;
  }
  const shift = countLeadingZeros(rest);
  roundResult(context, F80, sign, exponent - shift, rest << BigInt(shift), 0n);
}

/** FBLD: `digits` holds the 10 bytes as a bigint. */
export function f80FromBcd(context: FloatContext, digits: bigint): number {
  let magnitude = 0n;
  for (let shift = 68n; shift >= 0n; shift -= 4n) magnitude = magnitude * 10n + ((digits >> shift) & 15n);
  const sign = Number((digits >> 79n) & 1n);
  fromInteger(context, F80, sign, magnitude);
  if (magnitude === 0n) setZero(sign);
  return packF80();
}

const BCD_INDEFINITE = 0xffffc000000000000000n;
const BCD_LIMIT = 999_999_999_999_999_999n;

/** FBSTP: 10 bytes as a bigint; IE and the packed BCD indefinite where it does not fit. */
export function f80ToBcd(context: FloatContext, signExponent: number, significand: bigint): bigint {
  setA(signExponent, significand);
  let magnitude = integerMagnitude(context, context.rounding, BCD_LIMIT, BCD_LIMIT);
  if (magnitude < 0n) return BCD_INDEFINITE;
  let digits = A.sign === 1 ? 1n << 79n : 0n;
  for (let shift = 0n; magnitude !== 0n; shift += 4n) {
    digits |= (magnitude % 10n) << shift;
    magnitude /= 10n;
  }
  return digits;
}

/** Rounded as RC says: [sign and exponent, significand to nearest, what RC = up adds, what down and zero add]. */
const CONSTANTS: Record<string, [number, bigint, bigint, bigint]> = {
  one: [0x3fff, 0x8000000000000000n, 0n, 0n],
  log2Of10: [0x4000, 0xd49a784bcd1b8afen, 1n, 0n],
  log2OfE: [0x3fff, 0xb8aa3b295c17f0bcn, 0n, -1n],
  pi: [0x4000, 0xc90fdaa22168c235n, 0n, -1n],
  log10Of2: [0x3ffd, 0x9a209a84fbcff799n, 0n, -1n],
  logEOf2: [0x3ffe, 0xb17217f7d1cf79acn, 0n, -1n],
  zero: [0, 0n, 0n, 0n],
};
/** FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2 and FLDZ in the order of their opcodes (D9 E8 … EE). */
const CONSTANTS_BY_OPCODE = ['one', 'log2Of10', 'log2OfE', 'pi', 'log10Of2', 'logEOf2', 'zero'];

/** The constant that D9 E8 + `index` loads. */
export function f80Constant(context: FloatContext, index: number): number {
  const [signExponent, nearest, up, down] = CONSTANTS[CONSTANTS_BY_OPCODE[index]!]!;
  context.roundedUp = false;
  context.significand = nearest + (context.rounding === 0 ? 0n : context.rounding === 2 ? up : down);
  return signExponent;
}
