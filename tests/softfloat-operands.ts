// Random operands for the floating-point tests: values at which implementations go wrong, and pairs that interact.

import type { Random } from './processor-oracle.ts';

/** Significand bits with long runs of equal bits, few set bits, or none of that. */
function fraction(random: Random, bits: number): bigint {
  const mask = (1n << BigInt(bits)) - 1n;
  const value = random.bits64() & mask;
  const shift = BigInt(random.below(bits + 1));
  switch (random.below(8)) {
    case 0:
      return 0n;
    case 1:
      return mask;
    case 2:
      return (1n << shift) & mask;
    case 3:
      return mask ^ ((1n << shift) & mask);
    case 4:
      return (value << shift) & mask;
    case 5:
      return (mask << shift) & mask;
    case 6:
      return value >> shift;
    default:
      return value;
  }
}

function exponent(random: Random, maximum: number): number {
  const bias = maximum >> 1;
  switch (random.below(10)) {
    case 0:
      return 0;
    case 1:
      return 1 + random.below(3);
    case 2:
      return maximum;
    case 3:
      return maximum - 1 - random.below(3);
    case 4:
      return bias + random.below(66);
    case 5:
      return bias - random.below(70);
    case 6:
      return Math.max(0, (bias >> 1) - 3 + random.below(6));
    case 7:
      return Math.min(maximum, bias + (bias >> 1) - 3 + random.below(6));
    default:
      return random.below(maximum + 1);
  }
}

export function randomF32(random: Random): number {
  const sign = random.below(2) * 2 ** 31;
  return sign + exponent(random, 0xff) * 2 ** 23 + Number(fraction(random, 23));
}

export function randomF64(random: Random): bigint {
  return (BigInt(random.below(2)) << 63n) | (BigInt(exponent(random, 0x7ff)) << 52n) | fraction(random, 52);
}

/** A second operand: unrelated, or one whose exponent or whole value is near the first's. */
export function randomF32Near(random: Random, first: number): number {
  if (random.below(3) !== 0) return randomF32(random);
  const near = (first + random.below(5) - 2 + random.below(60) * 2 ** 23 - 30 * 2 ** 23) >>> 0;
  return random.below(2) === 0 ? near : ((near & 0xff800000) | Number(fraction(random, 23))) >>> 0;
}

export function randomF64Near(random: Random, first: bigint): bigint {
  if (random.below(3) !== 0) return randomF64(random);
  const distance = BigInt(random.below(120) - 60) << 52n;
  const near = BigInt.asUintN(64, first + BigInt(random.below(5) - 2) + distance);
  return random.below(2) === 0 ? near : (near & 0xfff0000000000000n) | fraction(random, 52);
}

export interface F80Bits {
  signExponent: number;
  significand: bigint;
}

/** Every encoding, unsupported ones included. */
export function randomF80(random: Random): F80Bits {
  const field = exponent(random, 0x7fff);
  let significand = fraction(random, 63);
  const integerBit = random.below(12) === 0 ? field === 0 : field !== 0;
  if (integerBit) significand |= 1n << 63n;
  return { signExponent: random.below(2) * 0x8000 + field, significand };
}

export function randomF80Near(random: Random, first: F80Bits): F80Bits {
  if (random.below(3) !== 0) return randomF80(random);
  const field = Math.min(0x7fff, Math.max(0, (first.signExponent & 0x7fff) + random.below(140) - 70));
  let significand = BigInt.asUintN(64, first.significand + BigInt(random.below(5) - 2));
  if (random.below(2) === 0) significand = fraction(random, 63);
  if (field !== 0) significand |= 1n << 63n;
  return { signExponent: random.below(2) * 0x8000 + field, significand };
}
